"""Monty: an interpreter of its own for a part of Python, in worker processes that are thrown away when they misbehave.

No files, no network, no environment; time and memory are counted by the interpreter. 0.3 ms a call.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pydantic_monty as monty

from engine.errors import TaskError
from engine.task_ports import CodeLimits, Ran
from sandbox._program import CALL, PRINTED, raised, refused, value_of

_SOURCE = "<python-input-0>"
"""What the interpreter calls the first text it is given."""
_EDGES = (
    "the sandbox runs a part of Python: no yield, no class inheritance, no del, none of your packages; modules: "
    "asyncio, base64, bisect, collections, copy, csv, dataclasses, datetime, decimal, functools, hashlib, itertools, "
    "json, math, pathlib, random, re, time, typing, unicodedata"
)


class MontyRunner:
    """Workers start with the first call; there are as many as processors."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._pool: monty.AsyncMonty | None = None

    async def run(self, code: str, inputs: Mapping[str, Any], limits: CodeLimits) -> Ran:
        printed = monty.CollectString(PRINTED)
        try:
            text = await self._text(code, inputs, limits, printed)
        except monty.MontyCrashedError as error:
            if error.timed_out:
                raise TaskError(f"the code took longer than {limits.seconds:g} s", type="timeout") from None
            raise TaskError(f"the sandbox died of this code: {error}", type="code_crashed") from None
        except monty.MontyError as error:
            raise _failure(error, limits) from None
        return Ran(value_of(text), printed.output)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _text(
        self, code: str, inputs: Mapping[str, Any], limits: CodeLimits, printed: monty.CollectString
    ) -> str:
        pool = await self._opened()
        bounds = monty.ResourceLimits(
            max_feed_duration_secs=limits.seconds, max_memory=limits.memory, max_recursion_depth=500
        )
        async with pool.checkout(limits=bounds, os_policy={"sleep": "zero"}) as session:
            await session.feed_run(code, print_callback=printed)
            text = await session.feed_run(CALL, inputs={"_inputs": dict(inputs)}, print_callback=printed)
        assert isinstance(text, str)
        return text

    async def _opened(self) -> monty.AsyncMonty:
        async with self._opening:
            if self._pool is None:
                self._pool = await self._stack.enter_async_context(monty.AsyncMonty())
            return self._pool


def _failure(error: monty.MontyError, limits: CodeLimits) -> TaskError:
    inner = error.exception()
    kind, message = type(inner).__name__, str(inner)
    line = _line(error)
    match inner:
        case TimeoutError():
            return TaskError(f"the code took longer than {limits.seconds:g} s", type="timeout")
        case MemoryError():
            return refused(f"the code used more than it may: {message}", "code_memory")
        case SyntaxError():
            return refused(f"the code is not Python: {message} (line {line} of the code)", "invalid_code")
        case NotImplementedError() | ModuleNotFoundError():
            return refused(f"{message} (line {line} of the code); {_EDGES}", "code_not_supported")
        case NameError() if "'process'" in message:
            return refused("the code defines no function process(…)", "invalid_code")
        case _:
            return raised(kind, message, line)


def _line(error: monty.MontyError) -> int | None:
    """The innermost line of the code itself."""
    if not isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError):
        return None
    return next((frame.line for frame in reversed(error.traceback()) if frame.filename == _SOURCE), None)


def open_runner() -> MontyRunner:
    """Starts nothing yet."""
    return MontyRunner()
