"""An engine on a SQLite file: what it promises while handlers, the journal and the lease misbehave."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine import events as ev
from engine.caretakers import loop
from engine.errors import StoreUnavailable
from engine.model import AwaitSignal, Completed, Edge, Failure, Outcome, RetryPolicy, Sleep, Task, TaskCall
from engine.ports import Signal
from engine.runner import Run
from engine.states import ExecutionStatus as E
from engine.steps import Step
from tests.unit.engine.harness import Engine

Logs = list[MutableMapping[str, Any]]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path) as engine:
        yield engine


def kinds(events: list[ev.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


CHAIN = (Task("a"), Task("b"), Task("c"))
LINKS = (Edge("a", "b"), Edge("b", "c"))


async def test_a_chain_runs_in_order_and_leaves_nothing_behind(engine: Engine) -> None:
    row = await engine.run(*CHAIN, edges=LINKS)
    assert row.status is E.COMPLETED
    assert engine.ran == [("a", 1), ("b", 1), ("c", 1)]
    assert kinds(await engine.events(row.id)) == [
        "ExecutionStarted",
        *(["TaskStarted", "TaskCompleted"] * 3),
        "ExecutionCompleted",
    ]
    assert await engine.is_idle()


async def test_a_start_whose_key_is_known_holds_nothing(engine: Engine) -> None:
    version = await engine.define(Task("a"))
    first, _ = await engine.start(version, key="k")
    for _ in range(3 * engine.slots):
        number, answer = await engine.start(version, key="k")
        assert answer.duplicates[number].execution_id == first
    assert (await engine.ended(first)).status is E.COMPLETED
    assert engine.ran == [("a", 1)]
    assert await engine.is_idle()


@pytest.mark.parametrize("outcome", [None, {"x": 1}, Completed(object()), Completed(label="\ud800"), Sleep(-1)])
async def test_a_handler_that_returns_nonsense_fails_its_task_alone(engine: Engine, outcome: Any) -> None:
    engine.handlers["odd"] = lambda call: outcome
    assert (await engine.run(Task("a", "odd", retry=RetryPolicy(max_attempts=9)))).status is E.FAILED
    assert (await engine.run(Task("a"))).status is E.COMPLETED
    assert engine.ran == [("a", 1), ("a", 1)]
    assert await engine.is_idle()


@pytest.mark.parametrize("error", [ValueError("caf\udce9"), SystemExit(3), StopIteration(), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["light", "async", "blocking"])
async def test_a_handler_that_raises_anything_fails_its_task_alone(
    engine: Engine, kind: str, error: BaseException
) -> None:
    def raise_it(call: TaskCall) -> Outcome:
        raise error

    async def raise_later(call: TaskCall) -> Outcome:
        await asyncio.sleep(0)
        raise error

    engine.handlers[kind] = raise_later if kind == "async" else raise_it
    row = await engine.run(Task("a", kind))
    assert row.status is E.FAILED
    assert (await engine.run(Task("a"))).status is E.COMPLETED
    assert await engine.is_idle()


async def test_a_task_whose_executor_is_not_here_fails_and_says_so(engine: Engine) -> None:
    row = await engine.run(Task("a", executor="elsewhere"), Task("b"))
    assert row.status is E.FAILED
    last = (await engine.events(row.id))[-1]
    error = Failure("unknown_executor", "this engine runs no executor 'elsewhere'", "a")
    assert last == ev.ExecutionFailed(error)
    assert await engine.is_idle()


# --- waiting ---


async def test_what_sleeps_holds_no_memory_and_wakes(engine: Engine) -> None:
    engine.handlers["nap"] = lambda call: Sleep(0.4, output="slept")
    version = await engine.define(
        Task("a", "nap"), Task("b", config={"x": "{{tasks.a.output}}"}), edges=[Edge("a", "b")]
    )
    number, _ = await engine.start(version)
    waiting = await engine.until(number, lambda row: row.status is not E.RUNNING)
    assert (waiting.status, waiting.owner) == (E.WAITING, None)
    assert (await engine.ended(number)).status is E.COMPLETED
    started = (await engine.store.read_events({number: 0}))[number]
    by_type = {stored.type: stored.at for stored in started if b'"a"' in stored.data}
    assert by_type["TaskCompleted"] - by_type["TaskSleeping"] >= 0.4
    assert engine.ran == [("a", 1), ("b", 1)]
    assert await engine.is_idle()


async def test_a_signal_wakes_what_waits_for_it(engine: Engine) -> None:
    engine.handlers["wait"] = lambda call: AwaitSignal("go")
    number, _ = await engine.start(await engine.define(Task("a", "wait")))
    await engine.until(number, lambda row: row.status is E.WAITING)
    assert await engine.is_idle()
    await engine.tell(number, "go", b'{"by":"ann"}')
    assert (await engine.ended(number)).status is E.COMPLETED
    assert ev.TaskCompleted("a", {"by": "ann"}) in await engine.events(number)


async def test_a_cancel_reaches_the_handler_that_runs(engine: Engine) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def work(call: TaskCall) -> Outcome:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return Completed()

    engine.handlers["work"] = work
    number, _ = await engine.start(await engine.define(Task("a", "work"), Task("b"), edges=[Edge("a", "b")]))
    await began.wait()
    await engine.tell(number, "cancel", b'"enough"', kind="cancel")
    assert (await engine.ended(number)).status is E.CANCELLED
    await asyncio.wait_for(stopped.wait(), 5)
    assert kinds(await engine.events(number))[-3:] == ["CancelRequested", "TaskCancelled", "ExecutionCancelled"]
    assert engine.ran == [("a", 1)]
    assert await engine.is_idle()


# --- the journal, the lease and the engine itself misbehave ---


async def test_an_execution_that_cannot_be_read_harms_no_other(engine: Engine, logs: Logs) -> None:
    engine.handlers["nap"] = lambda call: Sleep(0.2)
    version = await engine.define(Task("a", "nap"))
    numbers = [(await engine.start(version))[0] for _ in range(3)]
    for number in numbers:
        await engine.until(number, lambda row: row.status is E.WAITING)
    engine.sql("UPDATE event SET type = 'TaskDreamt' WHERE execution_id = :id AND seq = 2", id=numbers[1])
    assert (await engine.ended(numbers[0])).status is E.COMPLETED
    assert (await engine.ended(numbers[2])).status is E.COMPLETED
    assert any("cannot be read" in line["event"] for line in logs)
    assert await engine.is_idle()


async def test_what_was_claimed_and_could_not_be_read_is_read_later(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PAUSE_AFTER_ERROR", 0.01)
    engine.handlers["nap"] = lambda call: Sleep(0.1)
    number, _ = await engine.start(await engine.define(Task("a", "nap")))
    await engine.until(number, lambda row: row.status is E.WAITING)
    inbox, away = engine.store.inbox, [True]

    async def inbox_after_a_while(lease: int, executions: Sequence[int] | None = None) -> list[Signal]:
        if executions and away:
            away.clear()
            raise StoreUnavailable
        return await inbox(lease, executions)

    monkeypatch.setattr(engine.store, "inbox", inbox_after_a_while)
    assert (await engine.ended(number)).status is E.COMPLETED
    assert not away
    assert await engine.is_idle()


async def test_a_step_that_breaks_is_read_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, broken = Run.advance, [True]

    def advance_once_badly(self: Run) -> Step | None:
        if self._results and broken:
            broken.clear()
            self._take_result(*self._results[0])
            raise ZeroDivisionError
        return advance(self)

    monkeypatch.setattr(Run, "advance", advance_once_badly)
    row = await engine.run(*CHAIN, edges=LINKS)
    assert row.status is E.COMPLETED
    assert engine.ran == [("a", 1), ("a", 2), ("b", 1), ("c", 1)]
    assert await engine.is_idle()


async def test_an_append_that_is_refused_is_read_again(engine: Engine) -> None:
    gate = asyncio.Event()

    async def work(call: TaskCall) -> Outcome:
        await gate.wait()
        return Completed()

    engine.handlers["work"] = work
    number, _ = await engine.start(await engine.define(Task("a", "work")))
    columns = ", ".join(name for (_, name, *_rest) in engine.sql("PRAGMA table_info(event)") if name != "seq")
    values = columns.replace("type", "'SignalReceived'", 1).replace("data", '\'{"name":"x"}\'', 1)
    engine.sql(
        f"INSERT INTO event (seq, {columns}) SELECT 3, {values} FROM event WHERE execution_id = :id AND seq = 2",
        id=number,
    )
    gate.set()
    assert (await engine.ended(number)).status is E.COMPLETED
    assert kinds(await engine.events(number)) == [
        "ExecutionStarted",
        "TaskStarted",
        "SignalReceived",
        "TakenOver",
        "TaskStarted",
        "TaskCompleted",
        "ExecutionCompleted",
    ]
    assert await engine.is_idle()


async def test_a_lost_lease_stops_its_tasks_and_the_engine_goes_on_under_a_new_one(engine: Engine) -> None:
    gate, stopped = asyncio.Event(), asyncio.Event()

    async def work(call: TaskCall) -> Outcome:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            stopped.set()
            raise
        return Completed(call.attempt)

    engine.handlers["work"] = work
    number, _ = await engine.start(await engine.define(Task("a", "work")))
    old = engine.worker.lease
    engine.sql("UPDATE lease SET lost = 1 WHERE id = :id", id=old)
    await engine.store.sweep(0.0)
    engine.worker.lost()
    await asyncio.wait_for(stopped.wait(), 5)
    gate.set()
    assert (await engine.ended(number)).status is E.COMPLETED
    assert engine.worker.lease > old
    assert ev.TaskCompleted("a", 2) in [
        ev.TaskCompleted(e.task, e.output) for e in await engine.events(number) if isinstance(e, ev.TaskCompleted)
    ]
    assert await engine.is_idle()


async def test_what_a_stopped_engine_leaves_another_finishes(tmp_path: Path) -> None:
    async def forever(call: TaskCall) -> Outcome:
        await asyncio.sleep(60)
        return Completed()

    async with Engine(tmp_path) as one:
        one.handlers["work"] = forever
        number, _ = await one.start(await one.define(Task("a"), Task("b", "work"), edges=[Edge("a", "b")]))
        await one.until(number, lambda row: len(one.ran) == 2)
    async with Engine(tmp_path) as other:
        other.handlers["work"] = lambda call: Completed(call.attempt)
        assert (await other.ended(number)).status is E.COMPLETED
        assert other.ran == [("b", 2)]
        assert kinds(await other.events(number)).count("TaskCompleted") == 2


async def test_stopping_in_the_middle_of_work_loses_no_execution(tmp_path: Path) -> None:
    tasks = [Task(f"t{i}") for i in range(40)]
    links = [Edge(f"t{i}", f"t{i + 1}") for i in range(39)]
    async with Engine(tmp_path) as one:
        version = await one.define(*tasks, edges=links)
        numbers = [(await one.start(version))[0] for _ in range(5)]
    async with Engine(tmp_path) as other:
        for number in numbers:
            assert (await other.ended(number)).status is E.COMPLETED
            events = await other.events(number)
            done = [event.task for event in events if isinstance(event, ev.TaskCompleted)]
            assert done == [task.key for task in tasks]
        assert await other.is_idle()


async def test_what_runs_when_it_is_asked_to_stop_may_end_and_is_not_repeated(tmp_path: Path) -> None:
    async def work(call: TaskCall) -> Outcome:
        await asyncio.sleep(0.1)
        return Completed(call.attempt)

    async with Engine(tmp_path, stop_seconds=30) as one:
        one.handlers["work"] = work
        version = await one.define(Task("a", "work"), Task("b"), edges=[Edge("a", "b")])
        number, _ = await one.start(version)
        await one.until(number, lambda row: bool(one.ran))
    assert one.ran == [("a", 1)]
    async with Engine(tmp_path) as other:
        assert (await other.ended(number)).status is E.COMPLETED
        assert other.ran == [("b", 1)]
        assert "TakenOver" not in kinds(await other.events(number))


async def test_what_runs_too_long_is_stopped_and_nobody_is_blamed(tmp_path: Path) -> None:
    async def forever(call: TaskCall) -> Outcome:
        await asyncio.sleep(60)
        return Completed()

    async with Engine(tmp_path) as one:
        one.handlers["work"] = forever
        number, _ = await one.start(await one.define(Task("a", "work")))
        await one.until(number, lambda row: bool(one.ran))
    async with Engine(tmp_path) as other:
        other.handlers["work"] = lambda call: Completed([call.attempt, call.alone])
        assert (await other.ended(number)).status is E.COMPLETED
        events = await other.events(number)
        assert ev.TaskLost("a", "its engine was stopped", suspect=False) in events
        assert "TakenOver" not in kinds(events)
        assert [event.output for event in events if isinstance(event, ev.TaskCompleted)] == [[2, False]]


async def test_a_crowded_engine_gives_away_half_of_what_only_waits(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def work(call: TaskCall) -> Outcome:
        await go.wait()
        return Completed()

    async with Engine(tmp_path, slots=1) as engine:
        engine.handlers["work"] = work
        version = await engine.define(Task("a", "work"))
        numbers = [(await engine.start(version))[0] for _ in range(7)]
        assert engine.worker.crowded
        assert engine.worker.free_slots == 0
        for caretaker in engine.caretakers:  # nobody claims what is given away
            caretaker.cancel()
        engine.worker.share(100)
        rows = [await engine.until(number, lambda row: True) for number in numbers]
        while sum(row.owner is None for row in rows) < 3:
            rows = [await engine.row(number) for number in numbers]
        assert [row.owner is None for row in rows] == [False] * 4 + [True] * 3
        engine.look_after()
        go.set()
        for number in numbers:
            assert (await engine.ended(number)).status is E.COMPLETED
        assert sorted(engine.ran) == [("a", 1)] * 7


async def test_more_tasks_than_slots_all_run_and_never_too_many(engine: Engine) -> None:
    running, most = 0, 0

    async def work(call: TaskCall) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return Completed()

    engine.handlers["work"] = work
    row = await engine.run(*(Task(f"t{i}", "work") for i in range(60)))
    assert row.status is E.COMPLETED
    assert len(engine.ran) == 60
    assert most == engine.slots
    assert await engine.is_idle()


# --- executors that outlive an engine ---


class Outside:
    """Calls that run wherever engines come and go; it reports to the engine that submitted or attached last."""

    name: ClassVar[str] = "outside"
    outlives: ClassVar[bool] = True

    def __init__(self) -> None:
        self.calls: dict[str, TaskCall] = {}
        self.submitted = 0
        self.cancelled: list[str] = []
        self.refuses = False

    def serve(self, engine: Engine) -> None:
        engine.worker._dispatch._ready["outside"] = self
        self._report = engine.worker.report

    async def start(self, report: object) -> None: ...

    async def stop(self) -> None: ...

    def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        if self.refuses:
            self.refuses = False
            raise OSError("not now")
        known = [call for call in calls if call.task in self.calls]
        self.calls |= {call.task: call for call in known}
        return known

    def submit(self, calls: Sequence[TaskCall]) -> None:
        self.submitted += len(calls)
        self.calls |= {call.task: call for call in calls}

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        self.cancelled += [call.task for call in calls if self.calls.pop(call.task, None)]

    def detach(self, calls: Sequence[TaskCall]) -> None: ...

    def finish(self, task: str) -> None:
        self._report(self.calls.pop(task), Completed(task), 0.0)


@pytest.fixture
def outside() -> Outside:
    return Outside()


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_engine_that_stops_leaves_to_its_heir_what_runs_elsewhere(tmp_path: Path, outside: Outside) -> None:
    async with Engine(tmp_path) as first:
        outside.serve(first)
        version = await first.define(Task("a", executor="outside"), Task("b"), edges=[Edge("a", "b")])
        number, _ = await first.start(version)
        await reached(lambda: "a" in outside.calls)
    assert outside.cancelled == []
    outside.refuses = True
    async with Engine(tmp_path) as second:
        outside.serve(second)
        await reached(lambda: number in second.worker.runs and not second.worker.runs[number].committing)
        outside.finish("a")
        assert (await second.ended(number)).status is E.COMPLETED
        events = await second.events(number)
        assert await second.is_idle()
    assert outside.submitted == 1
    assert ev.TakenOver not in [type(event) for event in events]
    assert [event.attempt for event in events if isinstance(event, ev.TaskStarted)] == [1, 1]


async def test_what_nobody_runs_any_more_begins_again_under_the_heir(tmp_path: Path, outside: Outside) -> None:
    async with Engine(tmp_path) as first:
        outside.serve(first)
        number, _ = await first.start(await first.define(Task("a", executor="outside")))
        await reached(lambda: "a" in outside.calls)
    outside.calls.clear()
    async with Engine(tmp_path) as second:
        outside.serve(second)
        await reached(lambda: "a" in outside.calls)
        assert outside.calls["a"].attempt == 2
        outside.finish("a")
        assert (await second.ended(number)).status is E.COMPLETED


async def test_a_cancel_stops_what_runs_elsewhere(engine: Engine, outside: Outside) -> None:
    outside.serve(engine)
    number, _ = await engine.start(await engine.define(Task("a", executor="outside")))
    await reached(lambda: "a" in outside.calls)
    await engine.tell(number, "", kind="cancel")
    assert (await engine.ended(number)).status is E.CANCELLED
    await reached(lambda: outside.cancelled == ["a"])


# --- an engine that was stopped ---


async def test_what_was_allowed_before_a_long_stop_begins_after_the_lease_was_renewed(engine: Engine) -> None:
    engine.worker.renewed(time.monotonic() - 2 * engine.worker.lease_seconds)
    number, _ = await engine.start(await engine.define(Task("a")))
    cancelled, _ = await engine.start(await engine.define(Task("b")))
    await engine.tell(cancelled, "", kind="cancel")
    assert (await engine.ended(cancelled)).status is E.CANCELLED
    assert engine.ran == []
    engine.worker.renewed(time.monotonic())
    assert (await engine.ended(number)).status is E.COMPLETED
    assert engine.ran == [("a", 1)]
    assert await engine.is_idle()


async def test_what_was_allowed_before_a_long_stop_never_begins_when_the_lease_is_lost(engine: Engine) -> None:
    engine.worker.renewed(time.monotonic() - 2 * engine.worker.lease_seconds)
    number, _ = await engine.start(await engine.define(Task("a")))
    engine.sql("UPDATE lease SET lost = 1 WHERE id = :id", id=engine.worker.lease)
    await engine.store.sweep(0.0)
    engine.worker.lost()
    assert (await engine.ended(number)).status is E.COMPLETED
    assert engine.ran == [("a", 2)]
