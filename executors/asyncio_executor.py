"""Runs calls in this process: light handlers at once, async ones on the loop, blocking ones in threads."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from engine.errors import TaskError
from engine.model import Failed, Failure, Outcome, Result, TaskCall
from engine.ports import Report, Run


class AsyncioExecutor:
    """A timed-out thread cannot be killed: its result is dropped, and its thread is busy until it returns."""

    name: ClassVar[str] = "asyncio"

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="task")
        self._running: dict[int, asyncio.Task[None]] = {}

    async def start(self, run: Run, is_blocking: Callable[[str], bool], report: Report) -> None:
        self._run = run
        self._is_blocking = is_blocking
        self._report = report

    async def stop(self) -> None:
        running = list(self._running.values())
        self._running.clear()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, calls: Sequence[TaskCall]) -> None:
        for call in calls:
            if self._is_blocking(call.type):
                self._spawn(call, self._in_thread(call))
                continue
            began = time.monotonic()
            try:
                outcome = self._run(call)
            except Exception as error:
                self._report(call, failed(call, error), time.monotonic() - began)
                continue
            if isinstance(outcome, Awaitable):
                self._spawn(call, outcome)
            else:
                self._report(call, outcome, time.monotonic() - began)

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        for call in calls:
            task = self._running.pop(id(call), None)
            if task is not None:
                task.cancel()

    def _spawn(self, call: TaskCall, work: Awaitable[Outcome]) -> None:
        self._running[id(call)] = asyncio.create_task(self._watch(call, work))

    async def _watch(self, call: TaskCall, work: Awaitable[Outcome]) -> None:
        began = time.monotonic()
        result = await self._attempt(call, work)
        if self._running.pop(id(call), None) is not None:
            self._report(call, result, time.monotonic() - began)

    async def _attempt(self, call: TaskCall, work: Awaitable[Outcome]) -> Result:
        deadline = asyncio.timeout(call.timeout)
        try:
            async with deadline:
                return await work
        except Exception as error:
            if deadline.expired():
                message = f"the attempt took longer than its timeout of {call.timeout:g} s"
                return failed(call, TaskError(message, type="timeout"))
            return failed(call, error)

    async def _in_thread(self, call: TaskCall) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._blocking, call)

    def _blocking(self, call: TaskCall) -> Outcome:
        outcome = self._run(call)
        if isinstance(outcome, Awaitable):
            raise TaskError(f"the blocking node type {call.type!r} returned an awaitable", retryable=False)
        return outcome


def failed(call: TaskCall, error: Exception) -> Failed:
    """How an exception of an attempt is reported: a `TaskError` by its own type, any other by its class."""
    if isinstance(error, TaskError):
        return Failed(Failure(error.type, error.message[:10_000], call.task), error.retryable)
    return Failed(Failure(type(error).__name__, str(error)[:10_000] or type(error).__name__, call.task))


def open_executor(*, threads: int) -> AsyncioExecutor:
    """The executor of the embedded set-up."""
    return AsyncioExecutor(threads)
