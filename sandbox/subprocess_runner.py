"""All of Python, in a child process with bounded time, memory and files. For code that you trust.

This is a fence against accidents, not against malice: the child can read what this user can read, and use the
network. `CODE_RUNNER=subprocess` chooses it.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine import limits as bounds
from engine.errors import TaskError
from engine.task_ports import CodeLimits, Ran
from sandbox._program import CALL, PRINTED, raised, refused, value_of

_CHILD = str(Path(__file__).with_name("_child.py"))
_ANSWER = 2 * bounds.PAYLOAD + 8 * PRINTED
"""Bytes of the answer that are read; JSON inside JSON is longer than what it says."""


class SubprocessRunner:
    """One process for each call."""

    async def run(self, code: str, inputs: Mapping[str, Any], limits: CodeLimits) -> Ran:
        job = {
            "code": code,
            "call": CALL,
            "inputs": dict(inputs),
            "seconds": limits.seconds,
            "memory": limits.memory + 64 * 1024 * 1024,
            "printed": PRINTED,
        }
        answer = await _answer(json.dumps(job).encode(), limits.seconds)
        if "text" in answer:
            return Ran(value_of(answer["text"]), answer["printed"])
        raise _failure(answer["kind"], answer["message"], answer["line"])

    async def close(self) -> None:
        """Nothing is held."""


async def _answer(job: bytes, seconds: float) -> dict[str, Any]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-ISB",
        _CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
        cwd="/",
    )
    try:
        async with asyncio.timeout(seconds):
            output = await _talk(child, job)
            status = await child.wait()
    except TimeoutError:
        raise TaskError(f"the code took longer than {seconds:g} s", type="timeout") from None
    finally:
        await _end(child)
    try:
        answer = json.loads(output)
    except ValueError:
        raise TaskError(f"the process of this code died with status {status}", type="code_crashed") from None
    return answer if isinstance(answer, dict) else {}


async def _talk(child: asyncio.subprocess.Process, job: bytes) -> bytes:
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(ConnectionError):
        child.stdin.write(job)
        await child.stdin.drain()
        child.stdin.close()
    try:
        output = await child.stdout.readexactly(_ANSWER)
    except asyncio.IncompleteReadError as error:
        return error.partial
    raise refused(f"the code answered more than {len(output)} bytes", "bad_output")


async def _end(child: asyncio.subprocess.Process) -> None:
    """Its own children too."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await asyncio.shield(child.wait())


def _failure(kind: str, message: str, line: int | None) -> TaskError:
    match kind:
        case "MemoryError":
            return refused("the code used more memory than it may", "code_memory")
        case "SyntaxError" | "IndentationError" | "TabError":
            return refused(f"the code is not Python: {message} (line {line} of the code)", "invalid_code")
        case "ModuleNotFoundError":
            return refused(
                f"{message} (line {line} of the code); only the standard library is there", "code_not_supported"
            )
        case "NameError" if "'process'" in message:
            return refused("the code defines no function process(…)", "invalid_code")
        case _:
            return raised(kind, message, line)


def open_runner() -> SubprocessRunner:
    """Needs nothing."""
    return SubprocessRunner()
