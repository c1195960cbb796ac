"""Limits in an engine on a SQLite file: how many run at once, in which order, and that nothing is kept."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from engine import events as ev
from engine.caretakers import pools as caretaker
from engine.errors import StoreUnavailable
from engine.model import Compensation, Completed, Edge, Outcome, RetryPolicy, Sleep, Task, TaskCall
from engine.ports import PoolSlot, SlotGrant, SlotPool
from engine.runner import Run
from engine.states import ExecutionStatus as E
from engine.steps import Step
from engine.views import Views
from tests.unit.engine.harness import Engine
from tests.unit.engine.test_worker import Outside


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path, slots=50) as engine:
        yield engine


class Works:
    """A handler that waits until it may end, and counts who runs beside it."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, call: TaskCall) -> Outcome:
        key = str(call.config.get("key", ""))
        self.order.append(call.execution_id)
        self.running[key] += 1
        self.most[key] = max(self.most[key], self.running[key])
        self.most["all"] = max(self.most["all"], self.running.total())
        try:
            await self.gate.wait()
            await asyncio.sleep(0.001)
        finally:
            self.running[key] -= 1
        return Completed()


@pytest.fixture
def works(engine: Engine) -> Works:
    engine.handlers["work"] = works = Works()
    return works


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def kept(engine: Engine) -> int:
    return int(engine.sql("SELECT count(*) FROM slot")[0][0])


async def settled(engine: Engine, numbers: list[int]) -> None:
    for number in numbers:
        assert (await engine.ended(number)).status is E.COMPLETED
    assert await engine.is_idle()
    assert kept(engine) == 0


async def test_no_more_of_a_workflow_than_it_allows_run_at_once_in_the_order_of_asking(
    engine: Engine, works: Works
) -> None:
    version = await engine.define(Task("a", "work"), max_concurrency=3)
    works.gate.clear()
    numbers = [(await engine.start(version))[0] for _ in range(200)]
    await reached(lambda: len(works.order) == 3 and kept(engine) == 200)
    works.gate.set()
    await settled(engine, numbers)
    assert works.most["all"] == 3
    assert works.order == numbers
    events = await engine.events(numbers[-1])
    assert [type(event).__name__ for event in events] == [
        "ExecutionStarted",
        "TaskScheduled",
        "TaskStarted",
        "TaskCompleted",
        "ExecutionCompleted",
    ]


async def test_different_keys_run_side_by_side(engine: Engine, works: Works) -> None:
    task = Task("a", "work", {"key": "{{input.who}}"}, concurrency_key="{{input.who}}", concurrency_limit=2)
    version = await engine.define(task)
    works.gate.clear()
    numbers = [(await engine.start(version, {"who": who}))[0] for who in ["ann", "bob", {"x": 1}, "n" * 500] * 5]
    await reached(lambda: works.running.total() == 8)
    works.gate.set()
    await settled(engine, numbers)
    assert works.most.pop("all") == 8
    assert set(works.most.values()) == {2}


async def test_a_bound_of_the_workflow_and_one_of_a_key_do_not_block_each_other(engine: Engine, works: Works) -> None:
    tasks = [
        Task(f"t{n}", "work", {"key": f"k{n % 3}"}, concurrency_key=f"k{n % 3}", concurrency_limit=1) for n in range(6)
    ]
    version = await engine.define(*tasks, edges=[Edge("t0", "t3"), Edge("t1", "t5")], max_concurrency=2)
    numbers = [(await engine.start(version))[0] for _ in range(30)]
    await settled(engine, numbers)
    assert works.most == {"k0": 1, "k1": 1, "k2": 1, "all": 2}


async def test_a_freed_slot_wakes_the_next_without_a_poll(engine: Engine, works: Works) -> None:
    """The caretakers are gone: only what follows from the commit itself can start the next one."""
    version = await engine.define(Task("a", "work"), max_concurrency=1)
    for task in engine.caretakers:
        task.cancel()
    numbers = [(await engine.start(version))[0] for _ in range(20)]
    await settled(engine, numbers)
    assert works.order == numbers


async def test_a_task_that_sleeps_or_tries_again_later_holds_no_slot(engine: Engine, works: Works) -> None:
    def fail_once(call: TaskCall) -> Outcome:
        if call.attempt == 1:
            raise ValueError
        return Completed()

    engine.handlers |= {"nap": lambda call: Sleep(0.2), "flaky": fail_once}
    retry = RetryPolicy(max_attempts=2, initial_interval=0.2)
    version = await engine.define(Task("n", "nap"), Task("f", "flaky", retry=retry), max_concurrency=1)
    sleeping = [(await engine.start(version))[0] for _ in range(5)]
    for number in sleeping:
        await engine.until(number, lambda row: row.status is E.WAITING)
    await settled(engine, sleeping)


async def test_a_cancel_while_it_waits_leaves_the_line(engine: Engine, works: Works) -> None:
    version = await engine.define(Task("a", "work"), max_concurrency=1)
    works.gate.clear()
    first, second, third = [(await engine.start(version))[0] for _ in range(3)]
    await reached(lambda: kept(engine) == 3)
    await engine.tell(second, "", kind="cancel")
    assert (await engine.ended(second)).status is E.CANCELLED
    assert kept(engine) == 2
    works.gate.set()
    await settled(engine, [first, third])
    assert works.order == [first, third]


async def test_a_cancel_of_one_that_runs_hands_its_slot_on(engine: Engine, works: Works) -> None:
    version = await engine.define(Task("a", "work"), max_concurrency=1)
    works.gate.clear()
    first, second = [(await engine.start(version))[0] for _ in range(2)]
    await reached(lambda: works.order == [first])
    await engine.tell(first, "", kind="cancel")
    assert (await engine.ended(first)).status is E.CANCELLED
    await reached(lambda: works.order == [first, second])
    works.gate.set()
    await settled(engine, [second])


async def test_what_undoes_a_task_takes_a_slot_of_its_workflow_too(engine: Engine, works: Works) -> None:
    tasks = [Task("a", "work", compensate=Compensation("work")), Task("last", config={"x": "{{input.nothing}}"})]
    version = await engine.define(*tasks, edges=[Edge("a", "last")], max_concurrency=2)
    numbers = [(await engine.start(version, {}))[0] for _ in range(20)]
    for number in numbers:
        assert (await engine.ended(number)).status is E.FAILED
    assert 1 <= works.most["all"] <= 2
    assert Counter(works.order) == dict.fromkeys(numbers, 2)
    assert await engine.is_idle()
    assert kept(engine) == 0


async def test_a_key_that_cannot_be_rendered_fails_its_task(engine: Engine, works: Works) -> None:
    row = await engine.run(Task("a", "work", concurrency_key="{{input.nobody}}"))
    assert row.status is E.FAILED
    last = (await engine.events(row.id))[-1]
    assert isinstance(last, ev.ExecutionFailed)
    assert (last.error.type, last.error.message.split(":")[0]) == ("template", "concurrency_key")
    assert await engine.is_idle()
    assert kept(engine) == 0


async def test_who_waits_for_long_leaves_memory_and_is_woken_by_the_slot(
    engine: Engine, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await engine.define(Task("a", "work"), max_concurrency=1)
    works.gate.clear()
    numbers = [(await engine.start(version))[0] for _ in range(12)]
    monkeypatch.setattr(caretaker, "POLL", 0.01)
    engine.pools._next = 0.0
    engine.pools.tell()
    await reached(lambda: list(engine.worker.runs) == numbers[:1])
    assert {(await engine.row(number)).owner for number in numbers[1:]} == {None}
    works.gate.set()
    await settled(engine, numbers)
    assert works.order == numbers
    assert works.most["all"] == 1


async def test_a_cancel_reaches_one_that_left_memory(
    engine: Engine, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await engine.define(Task("a", "work"), max_concurrency=1)
    works.gate.clear()
    first, second, third = [(await engine.start(version))[0] for _ in range(3)]
    monkeypatch.setattr(caretaker, "POLL", 0.01)
    engine.pools._next = 0.0
    engine.pools.tell()
    await reached(lambda: list(engine.worker.runs) == [first])
    await engine.tell(second, "", kind="cancel")
    assert (await engine.ended(second)).status is E.CANCELLED
    works.gate.set()
    await settled(engine, [first, third])


async def test_what_a_stopped_engine_held_goes_on_under_its_heir(tmp_path: Path) -> None:
    async with Engine(tmp_path) as one:
        one.handlers["work"] = works = Works()
        works.gate.clear()
        version = await one.define(Task("a", "work"), max_concurrency=2)
        numbers = [(await one.start(version))[0] for _ in range(6)]
        await reached(lambda: len(works.order) == 2)
    assert sorted(works.order) == numbers[:2]
    async with Engine(tmp_path) as other:
        other.handlers["work"] = heir = Works()
        await settled(other, numbers)
        assert heir.most["all"] == 2
        assert set(heir.order[:2]) == set(numbers[:2])


async def test_the_database_goes_away_while_tasks_wait(
    engine: Engine, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    share, broken = engine.store.share_slots, [StoreUnavailable(), ValueError(), StoreUnavailable()]

    async def share_later(lease: int, asks: list[PoolSlot], pools: list[SlotPool]) -> list[SlotGrant]:
        if broken:
            raise broken.pop()
        return await share(lease, asks, pools)

    monkeypatch.setattr(engine.store, "share_slots", share_later)
    version = await engine.define(Task("a", "work"), Task("b", "work"), max_concurrency=1)
    numbers = [(await engine.start(version))[0] for _ in range(4)]
    await settled(engine, numbers)


async def test_a_step_that_breaks_keeps_the_slot_of_what_it_held(
    engine: Engine, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, broken = Run.advance, [True]

    def advance_once_badly(self: Run) -> Step | None:
        if self._results and broken:
            broken.clear()
            raise ZeroDivisionError
        return advance(self)

    monkeypatch.setattr(Run, "advance", advance_once_badly)
    version = await engine.define(Task("a", "work"), max_concurrency=1)
    numbers = [(await engine.start(version))[0] for _ in range(5)]
    await settled(engine, numbers)
    assert works.most["all"] == 1
    assert works.order == [numbers[0], *numbers]


async def test_a_lost_lease_gives_the_slots_to_whoever_goes_on(engine: Engine, works: Works) -> None:
    version = await engine.define(Task("a", "work"), max_concurrency=2)
    works.gate.clear()
    numbers = [(await engine.start(version))[0] for _ in range(6)]
    await reached(lambda: len(works.order) == 2)
    engine.sql("UPDATE lease SET lost = 1 WHERE id = :id", id=engine.worker.lease)
    await engine.store.sweep(0.0)
    engine.worker.lost()
    await reached(lambda: len(works.order) == 4)
    works.gate.set()
    await settled(engine, numbers)
    assert works.most["all"] == 2
    assert set(works.order[2:4]) == set(numbers[:2])


async def test_without_limits_nothing_is_asked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    for verb in ("share_slots", "get_slots"):
        monkeypatch.setattr(engine.store, verb, never)
    engine.handlers["nap"] = lambda call: Sleep(0.01)
    assert (await engine.run(Task("a", "nap"), Task("b"), edges=[Edge("a", "b")])).status is E.COMPLETED


async def test_a_view_says_which_slot_a_task_waits_for(engine: Engine, works: Works) -> None:
    keyed = Task("a", "work", concurrency_key="acme", concurrency_limit=1)
    version = await engine.define(keyed, Task("b", "work"), max_concurrency=2)
    works.gate.clear()
    numbers = [(await engine.start(version))[0] for _ in range(2)]
    await reached(lambda: len(works.order) == 2 and kept(engine) == 4)
    views = Views(engine.store, engine.library)
    assert {task.key: task.reason for task in (await views.get(numbers[1])).tasks} == {
        "a": "waits for a slot of the concurrency key 'acme', which has 1",
        "b": "waits for a slot of its workflow, which has 2",
    }
    works.gate.set()
    await settled(engine, numbers)
    assert {task.reason for task in (await views.get(numbers[1])).tasks} == {None}


async def test_an_attempt_that_outlives_its_engine_keeps_its_slot(tmp_path: Path) -> None:
    outside = Outside()
    async with Engine(tmp_path) as one:
        outside.serve(one)
        version = await one.define(Task("a", executor="outside"), max_concurrency=1)
        first, second = [(await one.start(version))[0] for _ in range(2)]
        await reached(lambda: "a" in outside.calls and kept(one) == 2)
    async with Engine(tmp_path) as heir:
        outside.serve(heir)
        await reached(lambda: {first, second} <= set(heir.worker.runs))
        await reached(lambda: not any(run.committing for run in heir.worker.runs.values()))
        assert dict(heir.sql("SELECT execution_id, stage FROM slot")) == {first: 2, second: 1}
        assert outside.submitted == 1
        outside.finish("a")
        assert (await heir.ended(first)).status is E.COMPLETED
        await reached(lambda: "a" in outside.calls)
        outside.finish("a")
        await settled(heir, [first, second])


async def test_an_attempt_whose_slot_was_taken_back_meanwhile_holds_one_again(tmp_path: Path) -> None:
    """Nobody claimed its execution for long, so that others went on without it; it runs all the same, and counts."""
    outside = Outside()
    async with Engine(tmp_path) as one:
        outside.serve(one)
        version = await one.define(Task("a", executor="outside"), max_concurrency=1)
        number, _ = await one.start(version)
        await reached(lambda: "a" in outside.calls)
    one.sql("DELETE FROM slot")
    async with Engine(tmp_path) as heir:
        outside.serve(heir)
        await reached(lambda: kept(heir) == 1)
        assert heir.sql("SELECT execution_id, stage FROM slot") == [(number, 2)]
        outside.finish("a")
        await settled(heir, [number])


@pytest.mark.parametrize("leaves", [True, False], ids=["left memory", "in memory"])
async def test_who_waits_too_long_leaves_the_line(
    engine: Engine, works: Works, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    hold, late = Task("hold", "work", when="{{input}}"), Task("late", "work", when="{{!input}}", total_timeout=0.5)
    version = await engine.define(hold, late, max_concurrency=1)
    works.gate.clear()
    first, second = [(await engine.start(version, value))[0] for value in (True, False)]
    await reached(lambda: works.order == [first] and kept(engine) == 2)
    if leaves:
        monkeypatch.setattr(caretaker, "POLL", 0.01)
        engine.pools._next = 0.0
        engine.pools.tell()
        await reached(lambda: list(engine.worker.runs) == [first])
    assert (await engine.ended(second)).status is E.FAILED
    last = (await engine.events(second))[-1]
    assert isinstance(last, ev.ExecutionFailed)
    assert (last.error.type, last.error.task) == ("timeout", "late")
    assert kept(engine) == 1
    works.gate.set()
    await settled(engine, [first])
    assert works.order == [first]


async def test_a_slot_that_comes_after_the_end_of_its_task_is_given_back(
    engine: Engine, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store answers late: when it puts the task in line, the time of the task is over."""
    share, answers, came = engine.store.share_slots, asyncio.Event(), []

    async def share_late(lease: int, asks: list[PoolSlot], pools: list[SlotPool]) -> list[SlotGrant]:
        await answers.wait()
        grants = await share(lease, asks, pools)
        came.append(kept(engine))
        return grants

    monkeypatch.setattr(engine.store, "share_slots", share_late)
    monkeypatch.setattr(caretaker, "POLL", 0.05)
    engine.pools._next = 0.0
    engine.pools.tell()
    engine.handlers["rest"] = rest = Works()
    rest.gate.clear()
    task = Task("a", "work", concurrency_key="k", total_timeout=0.2, on_error="continue")
    number, _ = await engine.start(await engine.define(task, Task("b", "rest")))
    await reached(lambda: "a" not in engine.worker.runs[number].state.active)
    answers.set()
    await reached(lambda: 1 in came and kept(engine) == 0)
    rest.gate.set()
    await settled(engine, [number])
    assert works.order == []


async def test_a_slot_of_a_task_that_ended_is_given_back_by_who_takes_its_execution(engine: Engine) -> None:
    """It came while the execution left memory."""
    engine.handlers["nap"] = lambda call: Sleep(3600.0)
    version = await engine.define(Task("a", concurrency_key="k"), Task("b", "nap"))
    number, _ = await engine.start(version)
    await engine.until(number, lambda row: row.status is E.WAITING and row.owner is None)
    columns = "execution_id, task, workflow_id, key, key_limit, workflow_limit, stage, asked_at, held_at"
    engine.sql(f"INSERT INTO slot ({columns}) VALUES (:id, 'a', 1, 'k', 1, NULL, 2, 1, 1)", id=number)
    await engine.tell(number, "anything")
    await reached(lambda: kept(engine) == 0)
    await engine.tell(number, "", kind="cancel")
    await engine.ended(number)
