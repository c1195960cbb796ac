"""Runs calls in this process: light handlers at once, async ones on the loop, blocking ones in threads."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from engine.errors import TaskError
from engine.model import Failed, Failure, Outcome, Result, TaskCall
from engine.ports import Report, Run

STOP_SECONDS = 5.0
"""How long `stop` waits for handlers that were cancelled; one that ignores it is left behind."""
TEXT = 10_000
"""Characters of an error that are reported."""
_FAILURES = (Exception, SystemExit)
"""What a handler may raise without harm to the process."""


class AsyncioExecutor:
    """A timed-out thread cannot be killed: its result is dropped, and its thread is busy until it returns."""

    name: ClassVar[str] = "asyncio"

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="task")
        self._running: dict[int, tuple[asyncio.Task[None], Awaitable[Outcome]]] = {}

    async def start(self, run: Run, is_blocking: Callable[[str], bool], report: Report) -> None:
        self._run = run
        self._is_blocking = is_blocking
        self._report = report

    async def stop(self) -> None:
        running = list(self._running.values())
        self._running.clear()
        for task, work in running:
            _cancel(task, work)
        if running:
            await asyncio.wait([task for task, _ in running], timeout=STOP_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        return ()

    def submit(self, calls: Sequence[TaskCall]) -> None:
        for call in calls:
            if self._is_blocking(call.type):
                self._spawn(call, self._in_thread(call))
                continue
            began = time.monotonic()
            try:
                outcome = self._run(call)
            except (*_FAILURES, asyncio.CancelledError) as error:
                self._report(call, failed(call, error), time.monotonic() - began)
                continue
            if isinstance(outcome, Awaitable):
                self._spawn(call, outcome)
            else:
                self._report(call, outcome, time.monotonic() - began)

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        for call in calls:
            running = self._running.pop(id(call), None)
            if running is not None:
                _cancel(*running)

    def detach(self, calls: Sequence[TaskCall]) -> None:
        self.cancel(calls)

    def _spawn(self, call: TaskCall, work: Awaitable[Outcome]) -> None:
        self._running[id(call)] = asyncio.create_task(self._watch(call, work)), work

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
        except _FAILURES as error:
            if deadline.expired():
                message = f"the attempt took longer than its timeout of {call.timeout:g} s"
                return failed(call, TaskError(message, type="timeout"))
            return failed(call, error)
        except asyncio.CancelledError:
            if id(call) not in self._running or _is_cancelled():
                raise
            return failed(call, TaskError("something that the handler waited for was cancelled", type="cancelled"))

    async def _in_thread(self, call: TaskCall) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._blocking, call)

    def _blocking(self, call: TaskCall) -> Outcome:
        try:
            outcome = self._run(call)
        except StopIteration as error:  # a future cannot carry it: the attempt would never end
            raise RuntimeError("the handler raised StopIteration") from error
        if isinstance(outcome, Awaitable):
            raise TaskError(f"the blocking node type {call.type!r} returned an awaitable", retryable=False)
        return outcome


def _cancel(task: asyncio.Task[None], work: Awaitable[Outcome]) -> None:
    task.cancel()
    if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
        work.close()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def failed(call: TaskCall, error: BaseException) -> Failed:
    """How an exception of an attempt is reported: a `TaskError` by its own type, any other by its class."""
    name = type(error).__name__
    try:
        text = str(error)[:TEXT] or name
    except Exception:
        text = name
    if isinstance(error, TaskError):
        return Failed(Failure(str(error.type), text, call.task), bool(error.retryable))
    return Failed(Failure(name, text, call.task))


def open_executor(*, threads: int) -> AsyncioExecutor:
    """The executor of the embedded set-up."""
    return AsyncioExecutor(threads)
