"""`watch` on a terminal."""

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from deploy.processes import ROOT
from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import Served


class Screen:
    """`python cli.py …` on a terminal; what it showed so far, colours apart."""

    def __init__(self, served: Served, *words: str) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        self._command = subprocess.Popen(
            [sys.executable, "cli.py", *words],
            cwd=ROOT,
            env={**os.environ, **served.settings, "TERM": "xterm", "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def read_until(self, pattern: str) -> None:
        for _ in range(1000):
            if re.search(pattern, self.shown):
                return
            assert self._read(), "it ended"
        raise AssertionError(f"no {pattern!r} in:\n{self.shown[-2000:]}")

    def close(self) -> int:
        """Reads to its end. The exit code."""
        while self._read():
            pass
        os.close(self._ours)
        return self._command.wait()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 60)
        assert ready, f"nothing new to read after:\n{self.shown[-2000:]}"
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="ignore"))
        return bool(data)


def watched(served: Served, *tasks: Mapping[str, Any]) -> tuple[Screen, int]:
    """The screen of a new execution of these tasks, and its id."""
    execution_id = served.execute(served.workflow(*tasks)).execution_id
    return Screen(served, "watch", str(execution_id)), execution_id


def cancel(served: Served, execution_id: int) -> None:
    served.stub.CancelExecution(pb.CancelExecutionRequest(execution_id=execution_id))


def test_a_line_per_task_until_the_end(served: Served) -> None:
    screen, _ = watched(
        served, {"key": "first", "name": "The first"}, {"key": "not-run", "when": False}, {"key": "last"}
    )
    assert screen.close() == 0
    assert re.search(r"✔ first +completed +0\.\d+ s +The first", screen.shown)
    assert re.search(r"↷ not-run +skipped", screen.shown)
    assert re.search(r"✔ last +completed", screen.shown)
    assert "3/3" in screen.shown
    assert re.search(r"execution \d+ completed after \d", screen.shown)


def test_a_running_task_turns_and_a_cancel_is_seen(served: Served) -> None:
    screen, execution_id = watched(served, {"key": "slow", "parameters": {"duration": 3600}}, {"key": "never"})
    screen.read_until(r"⠋ slow +running(.|\n|\r)*⠙ slow +running")
    assert re.search(r"· never +pending", screen.shown)
    cancel(served, execution_id)
    assert screen.close() == 1
    assert re.search(r"■ slow +cancelled", screen.shown)
    assert re.search(r"execution \d+ cancelled after", screen.shown)


def test_a_failure_is_shown_with_its_reason(served: Served) -> None:
    screen, _ = watched(served, {"key": "bad", "type": "set", "parameters": {"v": "{{input.nope}}"}}, {"key": "never"})
    assert screen.close() == 1
    assert re.search(r"✘ bad +failed +.*input\.nope", screen.shown)
    assert re.search(r"execution \d+ failed after .*input\.nope", screen.shown)


def test_a_retry_is_shown_with_a_long_reason_on_one_line(served: Served) -> None:
    retry = {"max_attempts": 2, "initial_interval": 3600}
    request = {"url": f"http://127.0.0.1:1/{'x' * 200}", "method": "GET"}
    screen, execution_id = watched(
        served, {"key": "flaky", "type": "http_request", "parameters": request, "retry": retry}
    )
    screen.read_until(r"↻ flaky +retrying +[0-9.]+ s +GET http://127.*…")
    cancel(served, execution_id)
    assert screen.close() == 1
