"""Suspects — tasks that may have killed their process — each alone in a process that nothing else runs in.

`python -m bootstrap.alone module:function` opens its host by that name; each line of its standard input is a call, each
line of its standard output the result. A process that answered well gets the next suspect, so that a thousand tasks
that were lost together with one culprit do not start a thousand processes. It ends with its parent, whose end closes
its standard input.
"""

import asyncio
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

import msgspec

from engine import limits, registry
from engine.errors import MillraceError, TaskError
from engine.model import Failed, Failure, Lost, Result, TaskCall
from engine.outcomes import portable
from engine.task_ports import OpenHost
from executors._attempts import Attempts, failed

MOST = 4
"""Processes at once; more suspects wait."""
IDLE_SECONDS = 5.0
"""How long a process waits for the next suspect."""
START_SECONDS = 30.0
"""What a process may take to start, beyond the timeout of its call, which it watches itself."""
LINE = 4 * limits.PAYLOAD
"""Bytes of one result."""

_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(TaskCall).decode
_decode_result = msgspec.json.Decoder(Result).decode


class Suspects:
    """The processes of one host."""

    def __init__(self, open_host: OpenHost) -> None:
        self._name = f"{open_host.__module__}:{open_host.__qualname__}"
        self._room = asyncio.Semaphore(MOST)
        self._idle: list[tuple[Process, asyncio.TimerHandle]] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, call: TaskCall) -> Result:
        """The result, or `Lost` when the process died of it. Cancelled: the process is killed."""
        async with self._room:
            process = await self._take()
            good = False
            try:
                async with asyncio.timeout(None if call.timeout is None else call.timeout + START_SECONDS):
                    result = await _ask(process, call)
                good = not isinstance(result, Failed | Lost)
            except TimeoutError:
                return failed(call, TaskError("the process that ran it alone did not answer", type="timeout"))
            finally:
                if good:
                    self._keep(process)
                else:
                    self._end(process)
        return result

    async def close(self) -> None:
        """Ends them all."""
        idle, self._idle = self._idle, []
        for process, timer in idle:
            timer.cancel()
            self._end(process)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _take(self) -> Process:
        while self._idle:
            process, timer = self._idle.pop()
            timer.cancel()
            if process.returncode is None:
                return process
            self._end(process)
        paths = os.pathsep.join(path for path in sys.path if path)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bootstrap.alone", self._name),
            stdin=PIPE,
            stdout=PIPE,
            limit=LINE,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def _keep(self, process: Process) -> None:
        timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire, process)
        self._idle.append((process, timer))

    def _retire(self, process: Process) -> None:
        self._idle = [entry for entry in self._idle if entry[0] is not process]
        self._end(process)

    def _end(self, process: Process) -> None:
        task = asyncio.create_task(_ended(process))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _ask(process: Process, call: TaskCall) -> Result:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(_encode(msgspec.structs.replace(call, alone=False)) + b"\n")
        await process.stdin.drain()
    except ConnectionError:
        pass  # it died already: how, its exit code says
    said = await process.stdout.readline()
    if said.endswith(b"\n"):
        result: Result = _decode_result(said)
        return result
    return Lost(f"the process that ran it alone {_words(await process.wait())}")


async def _ended(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    assert process.stdin is not None
    process.stdin.close()
    await process.communicate()


def _words(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


# --- inside the process ---


def main(name: str) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a handler prints goes to the log

    def answer(result: Result) -> None:
        answers.write(_encode(result) + b"\n")
        answers.flush()

    asyncio.run(_serve(name, answer))


async def _serve(name: str, answer: Callable[[Result], None]) -> None:
    loop = asyncio.get_running_loop()
    calls: asyncio.Queue[TaskCall] = asyncio.Queue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(calls.put_nowait, _decode_call(line))
        os._exit(0)  # the parent is gone, or needs us no more; a handler's thread keeps nobody waiting

    threading.Thread(target=listen, daemon=True).start()
    try:
        async with registry.resolve(name)() as host:
            attempts = Attempts(host, lambda call, result, took: answer(portable(call.task, result, took)), threads=1)
            while True:
                attempts.submit([await calls.get()])
    except MillraceError as error:
        answer(Failed(Failure(error.code, error.message, (await calls.get()).task)))


if __name__ == "__main__":
    main(sys.argv[1])
