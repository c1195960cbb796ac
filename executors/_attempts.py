"""Attempts in one process: light handlers at once, async ones on the loop, blocking ones in threads.

What the asyncio executor is made of, and what a worker of any other executor runs its calls with.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from engine.errors import TaskError
from engine.model import Failed, Failure, Outcome, Result, TaskCall
from engine.task_ports import Host, Report
from executors._threads import Job, Threads

STOP_SECONDS = 5.0
"""How long `stop` waits for handlers that were cancelled; one that ignores it is left behind."""
TEXT = 10_000
"""Characters of an error that are reported."""
_FAILURES = (Exception, SystemExit)
"""What a handler may raise without harm to the process."""


class Attempts:
    """Runs calls; each is reported once, in the loop's thread, unless it was cancelled.

    The clock of an attempt runs while its handler runs: waiting for a thread is none of it. A timed-out thread cannot
    be killed: its result is dropped, and its thread is busy until it returns, or until the process ends.
    """

    def __init__(self, host: Host, report: Report, threads: int) -> None:
        self._run = host.run
        self._is_blocking = host.is_blocking
        self._run_alone = host.run_alone
        self._report = report
        self._threads = Threads(threads)
        self._running: dict[int, tuple[asyncio.Task[None], Awaitable[Result]]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def stop(self) -> None:
        """Cancels what runs; nothing is reported afterwards."""
        running = list(self._running.values())
        self._running.clear()
        for task, work in running:
            _cancel(task, work)
        if running:
            await asyncio.wait([task for task, _ in running], timeout=STOP_SECONDS)
        self._threads.stop()

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """Begins all; a light one is reported before this returns."""
        for call in calls:
            pulse = Pulse()
            if call.alone and self._run_alone is not None:
                self._spawn(call, self._run_alone(call), pulse)
                continue
            if self._is_blocking(call.type):
                self._spawn(call, self._threads.submit(partial(self._blocking, call, pulse)), pulse)
                continue
            began = time.monotonic()
            try:
                outcome = self._run(call, pulse.beat)
            except (*_FAILURES, asyncio.CancelledError) as error:
                self._report(call, failed(call, error), time.monotonic() - began)
                continue
            if isinstance(outcome, msgspec.Struct) or not isinstance(outcome, Awaitable):
                self._report(call, outcome, time.monotonic() - began)
            else:
                self._spawn(call, outcome, pulse)

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        """Stops what can be stopped; nothing is reported for these calls afterwards."""
        for call in calls:
            running = self._running.pop(id(call), None)
            if running is not None:
                _cancel(*running)

    def _spawn(self, call: TaskCall, work: Awaitable[Result], pulse: "Pulse") -> None:
        self._running[id(call)] = asyncio.create_task(self._watch(call, work, pulse)), work

    async def _watch(self, call: TaskCall, work: Awaitable[Result], pulse: "Pulse") -> None:
        if isinstance(work, Job):
            await work.begun.wait()
        began = time.monotonic()
        result = await self._attempt(call, work, pulse)
        if self._running.pop(id(call), None) is not None:
            self._report(call, result, time.monotonic() - began)

    async def _attempt(self, call: TaskCall, work: Awaitable[Result], pulse: "Pulse") -> Result:
        if call.alone and self._run_alone is not None:
            return await work  # its own process watches it
        deadline = asyncio.timeout(call.timeout)
        try:
            async with deadline:
                if call.heartbeat_timeout is None:
                    return await work
                async with pulse.watched(call.heartbeat_timeout):
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

    def _blocking(self, call: TaskCall, pulse: "Pulse") -> Outcome:
        try:
            outcome = self._run(call, pulse.beat)
        except StopIteration as error:  # a future cannot carry it: the attempt would never end
            raise RuntimeError("the handler raised StopIteration") from error
        if isinstance(outcome, Awaitable):
            raise TaskError(f"the blocking node type {call.type!r} returned an awaitable", retryable=False)
        return outcome


class Pulse:
    """The sign of life of one attempt. `beat` may be called from any thread."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0.0

    def beat(self) -> None:
        self._last = time.monotonic()

    @asynccontextmanager
    async def watched(self, seconds: float) -> AsyncIterator[None]:
        """Raises `TaskError` (`heartbeat_timeout`) when no beat comes for `seconds`, counted from now."""
        loop = asyncio.get_running_loop()
        silence = asyncio.timeout(None)

        def look() -> None:
            left = self._last + seconds - time.monotonic()
            if left > 0:
                timer[0] = loop.call_later(left, look)
            else:
                silence.reschedule(loop.time())

        self.beat()
        timer = [loop.call_later(seconds, look)]
        try:
            async with silence:
                yield
        except TimeoutError:
            if not silence.expired():
                raise
            message = f"no heartbeat came for {seconds:g} s"
            raise TaskError(message, type="heartbeat_timeout") from None
        finally:
            timer[0].cancel()


def _cancel(task: asyncio.Task[None], work: Awaitable[Result]) -> None:
    task.cancel()
    if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
        work.close()
    elif isinstance(work, Job):
        work.cancel()


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
        return Failed(Failure(str(error.type), text, call.task), bool(error.retryable), error.usage)
    return Failed(Failure(name, text, call.task))
