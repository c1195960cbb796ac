"""One call in a process of its own: for a task that is suspected of having killed its process.

`python -m bootstrap.alone module:function` opens its host by that name, reads the call from its standard input, and
writes the result to its standard output. It dies with its parent, whose end closes its standard input.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from engine import registry
from engine.errors import MillraceError
from engine.model import Failed, Failure, Lost, Result, TaskCall
from engine.outcomes import portable
from engine.task_ports import OpenHost
from executors._attempts import Attempts

_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(TaskCall).decode
_decode_result = msgspec.json.Decoder(Result).decode


async def run_alone(open_host: OpenHost, call: TaskCall) -> Result:
    """The result of `call`, or `Lost` when its process died of it. Cancelled: the process is killed."""
    async with _process(open_host) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(_encode(msgspec.structs.replace(call, alone=False)) + b"\n")
            await process.stdin.drain()
        except ConnectionError:
            pass  # it died already: how, its exit code says
        said = await process.stdout.read()
        code = await process.wait()
    result: Result = _decode_result(said) if code == 0 else Lost(f"the process that ran it alone {_ended(code)}")
    return result


@asynccontextmanager
async def _process(open_host: OpenHost) -> AsyncIterator[asyncio.subprocess.Process]:
    name = f"{open_host.__module__}:{open_host.__qualname__}"
    paths = os.pathsep.join(path for path in sys.path if path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bootstrap.alone", name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()


def _ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


# --- inside the process ---


def main(name: str) -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the handler prints goes to the log
    call = _decode_call(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    answer.write(_encode(asyncio.run(_run(name, call))))
    answer.flush()
    os._exit(0)  # a thread of the handler that does not end keeps nobody waiting


def _die_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


async def _run(name: str, call: TaskCall) -> Result:
    done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def report(call: TaskCall, result: Result, elapsed: float) -> None:
        done.set_result(portable(call.task, result, elapsed))

    try:
        async with registry.resolve(name)() as host:
            attempts = Attempts(host, report, threads=1)
            attempts.submit([call])
            return await done
    except MillraceError as error:
        return Failed(Failure(error.code, error.message, call.task))


if __name__ == "__main__":
    main(sys.argv[1])
