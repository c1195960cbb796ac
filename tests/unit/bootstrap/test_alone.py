"""A suspect runs in a process of its own, and that process alone dies of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bootstrap.alone import MOST, Suspects
from engine.errors import TaskError
from engine.model import Completed, Failed, Failure, Lost, Outcome, Result, TaskCall
from engine.task_ports import Host
from executors._attempts import Attempts


def _run(call: TaskCall, beat: Callable[[], None]) -> Outcome:
    match call.type:
        case "die":
            os.kill(os.getpid(), 9)
        case "exit":
            os._exit(3)
        case "fail":
            raise TaskError("no", type="refused", retryable=False)
        case _:
            print("a handler may print")
    return Completed([call.task, call.alone, os.getpid()])


async def _sleep(call: TaskCall, beat: Callable[[], None]) -> Outcome:
    await asyncio.sleep(60)
    return Completed()


@asynccontextmanager
async def open_host() -> AsyncIterator[Host]:
    yield Host(lambda call, beat: _sleep(call, beat) if call.type == "sleep" else _run(call, beat), lambda kind: False)


@pytest.fixture
async def suspects() -> AsyncIterator[Suspects]:
    suspects = Suspects(open_host)
    yield suspects
    await suspects.close()


def call(kind: str, **fields: float) -> TaskCall:
    return TaskCall(1, "t", kind, {}, alone=True, **fields)  # type: ignore[arg-type]


async def test_the_result_comes_back_from_another_process(suspects: Suspects) -> None:
    result = await suspects.run(call("work"))
    assert isinstance(result, Completed)
    assert result.output[:2] == ["t", False]
    assert result.output[2] != os.getpid()


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("die", Lost("the process that ran it alone was killed by SIGKILL")),
        ("exit", Lost("the process that ran it alone exited with 3")),
        ("fail", Failed(Failure("refused", "no", "t"), retryable=False)),
    ],
)
async def test_its_end_is_told_as_it_was(suspects: Suspects, kind: str, result: Result) -> None:
    assert await suspects.run(call(kind)) == result


async def test_it_watches_its_own_timeout(suspects: Suspects) -> None:
    result = await suspects.run(call("sleep", timeout=0.1))
    assert isinstance(result, Failed)
    assert result.error.type == "timeout"


async def test_a_process_that_answered_well_gets_the_next_and_no_other_does(suspects: Suspects) -> None:
    first, second = [await suspects.run(call("work")) for _ in range(2)]
    assert isinstance(first, Completed)
    assert first == second
    assert isinstance(await suspects.run(call("fail")), Failed)
    third = await suspects.run(call("work"))
    assert isinstance(third, Completed)
    assert third.output[2] != first.output[2]


async def test_many_suspects_share_a_few_processes(suspects: Suspects) -> None:
    results = await asyncio.gather(*(suspects.run(call("work")) for _ in range(40)))
    assert len({result.output[2] for result in results if isinstance(result, Completed)}) <= MOST
    assert len(results) == 40


async def test_attempts_run_suspects_apart_and_the_others_here(suspects: Suspects) -> None:
    reports: list[Result] = []
    host = Host(_run, lambda kind: False, suspects.run)
    attempts = Attempts(host, lambda call, result, elapsed: reports.append(result), threads=1)
    suspect = call("die")
    attempts.submit([suspect, TaskCall(1, "t", "work", {})])
    assert [type(result) for result in reports] == [Completed]
    async with asyncio.timeout(30):
        while len(reports) < 2:
            await asyncio.sleep(0.01)
    assert isinstance(reports[1], Lost)
    await attempts.stop()


async def test_a_cancelled_suspect_is_killed(suspects: Suspects) -> None:
    reports: list[Result] = []
    host = Host(_run, lambda kind: False, suspects.run)
    attempts = Attempts(host, lambda call, result, elapsed: reports.append(result), threads=1)
    suspect = call("sleep")
    attempts.submit([suspect])
    await asyncio.sleep(0.2)
    running = asyncio.all_tasks() - {asyncio.current_task()}
    attempts.cancel([suspect])
    await asyncio.wait(running, timeout=30)
    await attempts.stop()
    assert reports == []
