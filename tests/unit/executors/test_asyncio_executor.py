"""What only the executor inside this process can do wrong."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable

import pytest

from engine.model import Completed, Failed, Outcome, Result, TaskCall
from engine.task_ports import ExecutorOptions, Host
from executors import _attempts
from executors.asyncio_executor import AsyncioExecutor
from tests.unit.engine.harness import open_nothing

Work = Callable[[TaskCall], Outcome | Awaitable[Outcome]]

CALL = TaskCall(1, "a", "work", {})


def options(work: Work, blocking: str = "") -> ExecutorOptions:
    return ExecutorOptions(Host(lambda call, beat: work(call), lambda kind: kind == blocking), open_nothing, threads=1)


async def started(work: Work, reports: list[Result], blocking: str = "") -> AsyncioExecutor:
    executor = AsyncioExecutor(options(work, blocking))
    await executor.start(lambda call, result, elapsed: reports.append(result))
    return executor


async def reported(reports: list[Result], count: int) -> None:
    async with asyncio.timeout(10):
        while len(reports) < count:
            await asyncio.sleep(0.001)


async def test_a_handler_that_ignores_its_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_attempts, "STOP_SECONDS", 0.02)
    over = asyncio.Event()

    async def stubborn() -> Outcome:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue
        return Completed("at last")

    reports: list[Result] = []
    executor = await started(lambda call: stubborn(), reports)
    executor.submit([CALL])
    await asyncio.sleep(0)
    await executor.stop()
    over.set()
    await asyncio.sleep(0.01)
    assert reports == []


STUCK = """
import asyncio, threading
from engine.model import Completed, TaskCall
from engine.task_ports import ExecutorOptions, Host
from executors.asyncio_executor import AsyncioExecutor
from tests.unit.engine.harness import open_nothing

began = threading.Event()

def stuck(call, beat):
    began.set()
    threading.Event().wait()

async def main():
    executor = AsyncioExecutor(ExecutorOptions(Host(stuck, lambda kind: True), open_nothing, threads=2))
    await executor.start(lambda call, result, elapsed: print("reported", flush=True))
    executor.submit([TaskCall(1, key, "work", {}) for key in "abc"])
    assert await asyncio.to_thread(began.wait, 30)
    await executor.stop()
    print("stopped", flush=True)

asyncio.run(main())
"""


def test_a_stuck_blocking_handler_does_not_keep_the_process_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "stopped\n"


async def test_a_future_that_others_cancel_is_a_failure() -> None:
    reports: list[Result] = []
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    executor = await started(lambda call: future, reports)
    executor.submit([CALL])
    await asyncio.sleep(0)
    future.cancel()
    await asyncio.sleep(0.01)
    assert [result.error.type for result in reports if isinstance(result, Failed)] == ["cancelled"]
    await executor.stop()


class Endless:
    """An async handler that runs until it is cancelled, and a count of where it is."""

    def __init__(self) -> None:
        self.began = 0
        self.cancelled = 0

    async def __call__(self, call: TaskCall) -> Outcome:
        self.began += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Completed()

    async def running(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.began < count:
                await asyncio.sleep(0.001)


async def test_calls_that_are_equal_are_not_the_same() -> None:
    reports: list[Result] = []
    executor = await started(endless := Endless(), reports)
    one, other = TaskCall(1, "a", "work", {}), TaskCall(1, "a", "work", {})
    assert one == other
    executor.submit([one, other])
    await endless.running(2)
    executor.cancel([one])
    await asyncio.sleep(0.01)
    assert endless.cancelled == 1
    executor.cancel([other])
    await asyncio.sleep(0.01)
    assert endless.cancelled == 2
    await executor.stop()


async def test_a_call_that_is_cancelled_at_once_never_begins() -> None:
    reports: list[Result] = []
    executor = await started(endless := Endless(), reports)
    executor.submit([CALL])
    executor.cancel([CALL])
    await asyncio.sleep(0.02)
    assert (endless.began, reports) == (0, [])
    await executor.stop()


async def test_stopping_cancels_what_runs_and_reports_nothing() -> None:
    began, go = threading.Event(), threading.Event()
    endless = Endless()

    def work(call: TaskCall) -> Outcome | Awaitable[Outcome]:
        if call.type != "thread":
            return endless(call)
        began.set()
        assert go.wait(10)
        return Completed("late")

    reports: list[Result] = []
    executor = await started(work, reports, blocking="thread")
    executor.submit([CALL, TaskCall(1, "b", "work", {}), TaskCall(1, "c", "thread", {})])
    await endless.running(2)
    assert await asyncio.to_thread(began.wait, 10)
    await executor.stop()
    go.set()
    await asyncio.sleep(0.05)
    assert (endless.cancelled, reports) == (2, [])


async def test_a_light_call_is_reported_before_submit_returns() -> None:
    reports: list[Result] = []
    executor = await started(lambda call: Completed("now"), reports)
    executor.submit([CALL])
    assert reports == [Completed("now")]
    assert list(executor.attach([CALL])) == []
    await executor.stop()


class Late:
    """A blocking handler that answers when it may."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()
        self.ran: list[str] = []

    def __call__(self, call: TaskCall) -> Outcome:
        self.ran.append(call.task)
        self.began.set()
        assert self.go.wait(10)
        return Completed(call.task)


async def test_waiting_for_a_thread_is_not_part_of_the_attempt() -> None:
    reports: list[Result] = []
    executor = await started(late := Late(), reports, blocking="thread")
    executor.submit([TaskCall(1, "first", "thread", {})])
    assert await asyncio.to_thread(late.began.wait, 10)
    executor.submit([TaskCall(1, "quick", "thread", {}, timeout=0.2, heartbeat_timeout=0.2)])
    await asyncio.sleep(0.4)
    assert reports == []
    late.go.set()
    await reported(reports, 2)
    assert reports == [Completed("first"), Completed("quick")]
    await executor.stop()


async def test_what_waits_for_a_thread_can_be_cancelled() -> None:
    reports: list[Result] = []
    executor = await started(late := Late(), reports, blocking="thread")
    executor.submit([TaskCall(1, "first", "thread", {})])
    assert await asyncio.to_thread(late.began.wait, 10)
    waiting = TaskCall(1, "never", "thread", {})
    executor.submit([waiting])
    await asyncio.sleep(0)
    executor.cancel([waiting])
    late.go.set()
    executor.submit([TaskCall(1, "last", "thread", {})])
    await reported(reports, 2)
    assert late.ran == ["first", "last"]
    await executor.stop()
