"""What only the executor inside this process can do wrong."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable

import pytest

from engine.model import Completed, Failed, Outcome, Result, TaskCall
from engine.task_ports import ExecutorOptions, Host, Run
from executors import _attempts
from executors.asyncio_executor import AsyncioExecutor
from tests.unit.engine.harness import open_nothing


def options(run: Run) -> ExecutorOptions:
    return ExecutorOptions(Host(run, lambda kind: False), open_nothing, threads=1)


CALL = TaskCall(1, "a", "work", {})


async def started(work: Awaitable[Outcome], reports: list[Result]) -> AsyncioExecutor:
    executor = AsyncioExecutor(options(lambda call, beat: work))
    await executor.start(lambda call, result, elapsed: reports.append(result))
    return executor


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
    executor = await started(stubborn(), reports)
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
    executor = await started(future, reports)
    executor.submit([CALL])
    await asyncio.sleep(0)
    future.cancel()
    await asyncio.sleep(0.01)
    assert [result.error.type for result in reports if isinstance(result, Failed)] == ["cancelled"]
    await executor.stop()


async def test_an_executor_that_never_ran_stops() -> None:
    await AsyncioExecutor(options(lambda call, beat: Completed())).stop()
