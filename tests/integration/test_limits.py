"""Two engines on one PostgreSQL share the slots of a workflow: who wakes whom, with every poll switched off."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from engine.caretakers import claims, inbox, pools
from engine.model import Completed, Outcome, Task, TaskCall
from engine.states import ExecutionStatus as E
from storage.postgresql import PostgreSQLStore
from tests.stores import sql, until
from tests.unit.engine.harness import Engine


class Line:
    """Who ran, by execution, in order, and how many at once over all engines."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.running = self.most = 0
        self.gates: dict[int, asyncio.Event] = {}

    async def __call__(self, call: TaskCall) -> Outcome:
        self.order.append(call.execution_id)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gates.setdefault(call.execution_id, asyncio.Event()).wait()
        self.running -= 1
        return Completed()

    def end(self, number: int) -> None:
        self.gates.setdefault(number, asyncio.Event()).set()


def hear(engine: Engine, topic: str, executions: tuple[int, ...]) -> None:
    """As the composition root has it."""
    if topic == "slot":
        engine.pools.tell(executions)
    elif topic == "claim":
        engine.worker.wake_claims.set()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def engines(
    tmp_path: Path, migrated_postgres_url: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Engine, Engine]]:
    """Nothing but wake-ups moves them: polls come once in an hour."""
    for caretaker in (claims, inbox, pools):
        monkeypatch.setattr(caretaker, "POLL", 3600.0)
    one, two = (Engine(tmp_path, slots=50, store=PostgreSQLStore(migrated_postgres_url, drafts=1)) for _ in range(2))
    async with one, two:
        for engine in (one, two):
            engine.handlers["work"] = line
            engine.store.listen(partial(hear, engine))
        yield one, two


async def started(engine: Engine, version: int, count: int, line: Line, in_line: Callable[[], int]) -> list[int]:
    """Executions of this engine that stand in line, one after the other."""
    numbers = []
    for _ in range(count):
        before = in_line()
        numbers.append((await engine.start(version))[0])
        async with asyncio.timeout(10):
            while in_line() == before:
                await asyncio.sleep(0.01)
    return numbers


async def test_a_slot_freed_here_wakes_the_first_in_line_there(
    engines: tuple[Engine, Engine], line: Line, migrated_postgres_url: str
) -> None:
    def in_line() -> int:
        return int(sql(migrated_postgres_url, "SELECT count(*) FROM slot")[0][0])

    one, two = engines
    version = await one.define(Task("a", "work"), max_concurrency=2)
    first = await started(one, version, 2, line, in_line)
    second = await started(two, version, 3, line, in_line)
    third = await started(one, version, 3, line, in_line)
    everybody = [*first, *second, *third]
    await until(lambda: line.order == first)
    for count, number in enumerate(everybody, 1):
        line.end(number)
        await until(lambda count=count: line.order == everybody[: count + 2])  # type: ignore[misc]
    for number in everybody:
        assert (await one.ended(number)).status is E.COMPLETED
    assert line.most == 2
    assert in_line() == 0


async def test_one_that_left_memory_is_taken_by_whoever_is_told(
    engines: tuple[Engine, Engine], line: Line, migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = engines
    version = await one.define(Task("a", "work"), max_concurrency=1)
    numbers = [(await one.start(version))[0] for _ in range(5)]
    await until(lambda: line.order == numbers[:1])
    monkeypatch.setattr(pools, "POLL", 0.05)
    one.pools._next = 0.0
    one.pools.tell()
    await until(lambda: list(one.worker.runs) == numbers[:1])
    monkeypatch.setattr(pools, "POLL", 3600.0)
    for number in numbers:
        await until(lambda number=number: number in line.order)  # type: ignore[misc]
        line.end(number)
    for number in numbers:
        assert (await two.ended(number)).status is E.COMPLETED
    assert line.order == numbers
    assert line.most == 1
