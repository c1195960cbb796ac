"""What a caller sees of an execution, folded from its journal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine import views as views_module
from engine.clock import rfc3339
from engine.errors import ExecutionNotFound
from engine.model import (
    AwaitSignal,
    Completed,
    Edge,
    ExecutionView,
    Failure,
    RetryPolicy,
    Sleep,
    Task,
    TaskCall,
    TaskRun,
)
from engine.state import EVENT
from engine.states import ExecutionStatus as E
from engine.states import TaskStatus as T
from engine.views import Views
from tests.unit.engine.harness import Engine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path) as engine:
        yield engine


def task(view: ExecutionView, key: str) -> TaskRun:
    return next(run for run in view.tasks if run.key == key)


async def test_what_nobody_started_is_not_found(engine: Engine) -> None:
    with pytest.raises(ExecutionNotFound):
        await Views(engine.store, engine.library).get(404)


async def test_now_is_the_time_of_the_attempt(engine: Engine) -> None:
    row = await engine.run(Task("a", config={"at": "{{now}}"}, when="now > '2020' and now < '2999'"))
    a = task(await Views(engine.store, engine.library).get(row.id), "a")
    assert a.status is T.COMPLETED
    assert a.input == {"at": rfc3339(a.started_at)}
    assert a.output["at"][:4] >= "2026"


async def test_a_completed_execution(engine: Engine) -> None:
    row = await engine.run(
        Task("a", config={"n": "{{input.n}}"}),
        Task("off", when=False),
        Task("b", config={"from": "{{tasks.a.output.n}}"}),
        edges=[Edge("a", "b")],
        value={"n": 5},
    )
    view = await Views(engine.store, engine.library).get(row.id)
    assert (view.status, view.input, view.output, view.error) == (E.COMPLETED, {"n": 5}, {"b": {"from": 5}}, None)
    assert view.last_seq == len(await engine.events(row.id))
    a, off, b = (task(view, key) for key in ("a", "off", "b"))
    assert (a.status, a.attempt, a.input, a.output) == (T.COMPLETED, 1, {"n": 5}, {"n": 5})
    assert (off.status, off.reason, off.attempt, off.input) == (T.SKIPPED, "when", 0, None)
    assert b.input == {"from": 5}
    assert a.started_at is not None
    assert a.ended_at is not None
    assert a.started_at <= a.ended_at


async def test_what_a_failure_left_undone(engine: Engine) -> None:
    def fail(*_: object) -> None:
        raise ValueError("too low")

    engine.handlers["fail"] = fail  # type: ignore[assignment]
    row = await engine.run(Task("a", "fail"), Task("b"), edges=[Edge("a", "b")])
    view = await Views(engine.store, engine.library).get(row.id)
    error = Failure("ValueError", "too low", "a")
    assert (view.status, view.output, view.error) == (E.FAILED, {}, error)
    assert task(view, "a").error == error
    assert (task(view, "b").status, task(view, "b").reason) == (T.SKIPPED, "execution_ended")


async def test_an_error_that_was_overcome_is_no_longer_shown(engine: Engine) -> None:
    def flaky(call: TaskCall) -> Completed:
        if call.attempt == 1:
            raise ValueError("first")
        return Completed("second")

    engine.handlers["flaky"] = flaky
    row = await engine.run(Task("a", "flaky", retry=RetryPolicy(max_attempts=2, initial_interval=0.0)))
    (run,) = (await Views(engine.store, engine.library).get(row.id)).tasks
    assert (run.status, run.attempt, run.output, run.error) == (T.COMPLETED, 2, "second", None)


async def test_what_is_not_yet_the_output_is_not_shown(engine: Engine) -> None:
    engine.handlers["nap"] = lambda call: Sleep(60, output="later")
    engine.handlers["wait"] = lambda call: AwaitSignal("go")
    number, _ = await engine.start(await engine.define(Task("a", "nap"), Task("b", "wait")))
    await engine.until(number, lambda row: row.status is E.WAITING)
    reader = Views(engine.store, engine.library)
    view = await reader.get(number)
    a, b = task(view, "a"), task(view, "b")
    assert (view.status, view.output) == (E.WAITING, None)
    assert (a.status, a.output, b.status, b.due_at) == (T.WAITING, None, T.WAITING, None)
    assert a.due_at is not None
    await engine.tell(number, "cancel", kind="cancel")
    await engine.ended(number)
    view = await reader.get(number)
    assert (view.status, view.cancel_requested, task(view, "a").output) == (E.CANCELLED, True, None)


async def test_what_is_kept_is_counted_once_and_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "KEPT_WEIGHT", 20 * EVENT)
    rows = [await engine.run(*(Task(f"t{i}") for i in range(3))) for _ in range(6)]
    reader = Views(engine.store, engine.library)
    for _ in range(3):
        await asyncio.gather(*(reader.get(row.id) for row in rows for _ in range(5)))
        assert reader._weight == sum(folded.state.weight for folded in reader._kept.values()) <= 20 * EVENT
    assert {(await reader.get(row.id)).status for row in rows} == {E.COMPLETED}


async def test_what_is_kept_is_bounded_by_the_bytes_of_its_events(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_module, "KEPT_WEIGHT", 500_000)
    rows = [await engine.run(Task("a"), value={"text": "x" * 100_000}) for _ in range(6)]
    reader = Views(engine.store, engine.library)
    for row in rows:
        await reader.get(row.id)
    assert list(reader._kept) == [row.id for row in rows[-4:]]
    assert reader._weight <= 500_000
