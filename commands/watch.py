"""`watch`: an execution as it happens, from the stream of its events."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.live import Live

from commands.calls import call, connected, plain
from commands.failure import Lost
from commands.output import say, say_json
from commands.progress import Progress, line
from proto.workflow.v1 import workflow_pb2 as pb

RECONNECT = 30.0
"""Seconds that a server which has answered may be away: the stream goes on after the last event."""
PAUSE = 0.2
EXIT_CODES = {"ExecutionCompleted": 0, "ExecutionFailed": 1, "ExecutionCancelled": 1}

Event = dict[str, Any]


def watch(execution_id: int, as_json: bool) -> int:
    """The exit code: 0 if it completed, 1 if it failed or was cancelled. Raises `CommandError`."""
    if sys.stdout.isatty() and not as_json:
        return _live(execution_id)
    last = ""
    for event in follow(execution_id, 0, _warn):
        if as_json:
            say_json(event)
        else:
            say(line(event))
        last = event["type"]
    return EXIT_CODES.get(last, 1)


def follow(execution_id: int, after: int, on_lost: Callable[[str], None]) -> Iterator[Event]:
    """Events with `seq > after`, until the last one. A lost server is called again; `on_lost` is told once each time.

    Raises `CommandError`.
    """
    heard, told = 0.0, False
    while True:
        request = pb.WatchExecutionRequest(execution_id=execution_id, after_seq=after)
        try:
            with connected() as stub:
                for message in stub.WatchExecution(request):
                    heard, told, after = time.monotonic(), False, message.seq
                    yield plain(message)
            return
        except Lost as error:
            if not heard or time.monotonic() - heard > RECONNECT:
                raise
            if not told:
                on_lost(str(error))
            told = True
            time.sleep(PAUSE)


def _live(execution_id: int) -> int:
    request = pb.GetWorkflowStatusRequest(execution_id=execution_id, omit_payloads=True)
    progress = Progress(plain(call(lambda stub: stub.GetWorkflowStatus, request)))
    with Live(get_renderable=progress.render, refresh_per_second=10, transient=False):
        for event in follow(execution_id, progress.last_seq, progress.lost):
            progress.apply(event)
    say(progress.conclusion())
    return 0 if progress.status == "completed" else 1


def _warn(message: str) -> None:
    sys.stderr.write(f"{message}; trying again\n")
