"""Child executions: what a run says of them in its steps, and what an engine makes of that."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from definitions.ordered_tasks import dialect
from engine import events as ev
from engine import limits
from engine.authoring import Authoring
from engine.catalog import Catalog
from engine.child_starts import ChildStarts
from engine.children import ChildEnd, Opening, child_of, told_parent
from engine.drafts import Drafts
from engine.errors import TaskError
from engine.events import StoredEvent, decode
from engine.graph import CompiledGraph
from engine.model import (
    Completed,
    Edge,
    Failed,
    Failure,
    Graph,
    Parent,
    Presentation,
    RetryPolicy,
    Sleep,
    StartChild,
    Task,
)
from engine.ports import Append, NewTask, NewWorkflow, Park, Signal
from engine.state import State
from engine.states import ExecutionStatus as E
from engine.states import TaskStatus as T
from engine.timers import replay
from tests.stub_nodes import stub
from tests.unit.engine.harness import Engine
from tests.unit.engine.test_runner import Driver, names

OPENING = Opening(70, 7, 9, {"x": 1}, labels={"a": "b"})
TWO = (Task("a"), Task("b"))
THEN = (Edge("a", "b"),)


def end(drive: Driver, number: int = 70, status: E = E.COMPLETED, **fields: Any) -> None:
    data = msgspec.json.encode(ChildEnd(number, status, **fields))
    drive.run.signal(Signal(1, "child", "child", data, f"child:{number}", number))


def waiting(*tasks: Task, edges: tuple[Edge, ...] = (), opening: Opening = OPENING) -> Driver:
    drive = Driver(*(tasks or TWO), edges=edges)
    drive.begin()
    drive.result("a", opening)
    return drive


# --- the start ---


def test_a_child_and_the_word_of_it_are_one_append() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    step = drive.result("a", OPENING)
    assert step.events == [ev.ChildStarted("a", 70)]
    (child,) = step.append.children
    assert (child.execution_id, child.first_seq) == (70, 1)
    start = child.start
    assert start is not None
    assert (start.workflow_id, start.version_id, start.owned, start.labels) == (7, 9, False, {"a": "b"})
    assert (start.parent_id, start.root_id, start.status) == (1, 1, E.PENDING)
    assert started(child) == ev.ExecutionStarted({"x": 1}, parent=Parent(1, 1, 1))
    assert (step.append.status, step.append.park, step.parked) == (E.WAITING, Park(), True)
    task = drive.run.state.tasks["a"]
    assert (task.status, task.child, drive.slots.free) == (T.WAITING, 70, 10)


def test_a_task_that_does_not_wait_has_completed() -> None:
    drive = Driver(*TWO, edges=THEN)
    drive.begin()
    step = drive.result("a", msgspec.structs.replace(OPENING, wait=False))
    assert names(step) == ["ChildStarted", "TaskCompleted", "TaskStarted"]
    assert started(step.append.children[0]).parent == Parent(1, 1, 1, waits=False)
    task = drive.run.state.tasks["a"]
    assert (task.output, task.child, drive.run.state.children) == ({"execution_id": 70}, 70, {})


@pytest.mark.parametrize("reloaded", [False, True], ids=["in memory", "reloaded"])
def test_a_task_that_does_not_wait_is_never_due(reloaded: bool) -> None:
    """Also when its start is read from the journal and its total_timeout has gone by since."""
    drive = waiting(
        Task("a", total_timeout=5.0), Task("b"), edges=THEN, opening=msgspec.structs.replace(OPENING, wait=False)
    )
    drive.result("b", Sleep(100.0))
    if reloaded:
        drive.reload()
    assert drive.run.next_due() == drive.now + 100.0


def test_a_child_of_a_child_has_the_same_root() -> None:
    state = State(5, CompiledGraph(Graph((Task("a"),)), Presentation()))
    state.parent = Parent(4, 2, 3)
    assert started(child_of(state, OPENING)).parent == Parent(5, 2, 4)


def test_executions_that_call_each_other_come_to_an_end() -> None:
    drive = Driver(Task("a", retry=RetryPolicy(max_attempts=5)))
    drive.begin()
    drive.run.state.parent = Parent(4, 2, limits.DEPTH_OF_CHILDREN)
    step = drive.result("a", OPENING)
    assert names(step) == ["TaskFailed", "ExecutionFailed"]
    assert step.append.children == ()
    assert failure(step.events[0]).type == "child_depth"


# --- the end ---


def test_the_end_of_a_child_completes_its_task() -> None:
    drive = waiting(*TWO, edges=THEN)
    end(drive, output={"n": 5})
    step = drive.step()
    assert step.events == [ev.TaskCompleted("a", {"n": 5}), ev.TaskStarted("b")]
    assert step.append.consumed == (70,)
    assert drive.run.state.children == {}


@pytest.mark.parametrize(
    ("status", "fields", "kind", "told"),
    [
        (E.FAILED, {"error": Failure("boom", "it broke", "z")}, "child_failed", "boom: it broke"),
        (E.FAILED, {}, "child_failed", "70 failed"),
        (E.CANCELLED, {}, "child_cancelled", "70 was cancelled"),
        (E.COMPLETED, {"error": Failure("output_too_large", "9 bytes")}, "child_failed", "output_too_large"),
    ],
)
def test_another_end_of_a_child_fails_its_task(status: E, fields: dict[str, Any], kind: str, told: str) -> None:
    drive = waiting()
    end(drive, status=status, **fields)
    step = drive.step()
    assert names(step)[0] == "TaskFailed"
    error = failure(step.events[0])
    assert (error.type, error.task) == (kind, "a")
    assert told in error.message
    assert step.append.signals == ()


def test_a_retry_starts_another_child_and_hears_no_more_of_the_first() -> None:
    drive = waiting(Task("a", retry=RetryPolicy(max_attempts=2, initial_interval=0.0)))
    end(drive, status=E.FAILED)
    assert names(drive.step()) == ["TaskFailed"]
    assert names(drive.step()) == ["TaskStarted"]
    drive.result("a", msgspec.structs.replace(OPENING, execution_id=71))
    end(drive, status=E.COMPLETED, output="late")
    drive.run.signal(Signal(1, "child", "child", msgspec.json.encode(ChildEnd(70, E.COMPLETED)), "child:70", 900))
    step = drive.run.advance()
    assert step is not None
    assert (step.events, step.append.consumed) == ([], (900,))
    end(drive, 71, output=1)
    assert names(drive.step()) == ["TaskCompleted", "ExecutionCompleted"]


def test_on_error_goes_on_after_a_failed_child() -> None:
    drive = waiting(Task("a", on_error="continue"), Task("b"), edges=THEN)
    end(drive, status=E.CANCELLED)
    assert names(drive.step()) == ["TaskFailed", "TaskStarted"]


def test_an_end_tells_the_parent_in_the_same_append() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    drive.run.state.parent = Parent(44, 4, 2)
    step = drive.result("a", Completed({"n": 1}))
    (signal,) = step.append.signals
    assert (signal.execution_id, signal.kind, signal.dedupe_key) == (44, "child", "child:1")
    assert msgspec.json.decode(signal.payload, type=ChildEnd) == ChildEnd(1, E.COMPLETED, {"a": {"n": 1}})


def test_nobody_is_told_who_does_not_wait() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    drive.run.state.parent = Parent(44, 4, 2, waits=False)
    assert drive.result("a", Completed()).append.signals == ()


def test_an_output_that_is_too_large_to_be_told_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAYLOAD", 100)
    drive = Driver(Task("a"), Task("b"))
    drive.begin()
    drive.run.state.parent = Parent(44, 4, 2)
    drive.result("a", Completed("x" * 60))
    (signal,) = drive.result("b", Completed("x" * 60)).append.signals
    told = msgspec.json.decode(signal.payload, type=ChildEnd).failure("t")
    assert told is not None
    assert "output_too_large" in told.message


def test_a_state_that_has_no_parent_tells_nobody() -> None:
    assert told_parent(State(1, CompiledGraph(Graph(), Presentation()))) == ()


# --- letting go ---


def test_a_cancel_is_passed_on_to_open_children() -> None:
    drive = waiting()
    drive.signal(1, "cancel", b'"enough"', "cancel")
    step = drive.step()
    assert names(step) == ["CancelRequested", "TaskCancelled", "TaskCancelled", "ExecutionCancelled"]
    (signal,) = step.append.signals
    assert (signal.execution_id, signal.kind, signal.dedupe_key) == (70, "cancel", "cancel")
    assert "1" in msgspec.json.decode(signal.payload)


def test_a_failure_cancels_open_children() -> None:
    drive = waiting()
    step = drive.result("b", Failed(Failure("boom", "x")))
    assert names(step)[-1] == "ExecutionFailed"
    assert [(s.execution_id, s.kind) for s in step.append.signals] == [(70, "cancel")]


def test_a_child_that_has_ended_is_not_cancelled() -> None:
    drive = waiting(Task("a", retry=RetryPolicy(max_attempts=2)), Task("b"))
    end(drive, status=E.FAILED)
    drive.step()
    assert drive.result("b", Failed(Failure("boom", "x"))).append.signals == ()


def test_a_task_waits_for_its_child_as_long_as_its_timeout() -> None:
    drive = Driver(Task("a", timeout=5.0, retry=RetryPolicy(max_attempts=2, initial_interval=1.0)))
    drive.begin()
    assert drive.result("a", OPENING).append.park == Park(5.0)
    drive.run.now = drive.now + 4.9
    assert not drive.run.has_news
    drive.run.now = drive.now + 5.0
    step = drive.step()
    assert names(step) == ["TaskFailed"]
    assert failure(step.events[0]).type == "timeout"
    assert [(s.execution_id, s.kind) for s in step.append.signals] == [(70, "cancel")]
    assert step.append.park is not None


# --- the timeout of the whole ---


class Timed(Driver):
    """With ten seconds for the whole."""

    def __init__(self, *tasks: Task) -> None:
        super().__init__(*tasks)
        self.graph.timeout = 10.0


def test_an_execution_that_lasts_too_long_fails() -> None:
    drive = Timed(Task("a"), Task("b"))
    drive.begin()
    begun = drive.now
    drive.result("a", OPENING)
    for now, late in ((begun + 9.9, False), (begun + 10.0, True)):
        drive.run.now = now
        assert drive.run.has_news is late
    step = drive.step()
    assert names(step) == ["TaskCancelled", "TaskCancelled", "ExecutionFailed"]
    assert failure(step.events[-1]).type == "timeout"
    assert [call.task for call in step.cancels] == ["b"]
    assert len(step.append.signals) == 1


def test_a_parked_execution_is_due_at_its_timeout() -> None:
    drive = Timed(Task("a"))
    drive.begin()
    begun = drive.now
    assert drive.result("a", OPENING).append.park == Park(None, begun + 10.0)
    drive.reload()
    assert drive.run.next_due() == begun + 10.0
    drive.run.now = begun + 10.5
    assert names(drive.step()) == ["TaskCancelled", "ExecutionFailed"]


def test_one_that_parks_in_its_first_step_is_due_too() -> None:
    drive = Timed(Task("a", when="{{input.missing}} > 1", on_error="continue"), Task("b"))
    drive.slots.close()
    drive.begin()
    assert drive.run.hand_over(()).append.park == Park(0.0)
    step = drive.run._next
    step.events.append(ev.ExecutionStarted())
    assert step.park(State(2, drive.graph), for_slots=False) == Park(10.0)


def test_a_cancel_comes_before_the_timeout() -> None:
    drive = Timed(Task("a"))
    drive.begin()
    drive.signal(1, "cancel", b"null", "cancel")
    drive.run.now = drive.now + 100
    assert names(drive.step())[-1] == "ExecutionCancelled"
    assert drive.run.next_due() is None


# --- an engine ---


class Family(Engine):
    """An engine whose tasks may start children."""

    async def __aenter__(self) -> "Family":
        await super().__aenter__()
        nodes = Catalog([stub(name) for name in ("noop", "branch", "boom", "child", "wait")], ["asyncio"])
        self.drafts = Drafts(self.store, self.library, Authoring([dialect], nodes), None)
        self.worker.child_starts = ChildStarts(self.store, self.library, self.drafts)
        return self

    async def flow(self, key: str, kind: str = "noop", **fields: Any) -> int:
        workflow = await self.drafts.create(NewWorkflow("default", key, key))
        await self.drafts.add_task(workflow.id, NewTask("t", "t", type=kind, **fields))
        return (await self.drafts.current(workflow.id))[1].version.id

    async def children(self, number: int) -> list[int]:
        rows = self.sql("SELECT id FROM execution WHERE parent_id = :n ORDER BY id", n=number)
        return [row[0] for row in rows]


@pytest.fixture
async def family(tmp_path: Path) -> AsyncIterator[Family]:
    async with Family(tmp_path) as engine:
        engine.handlers["child"] = lambda call: StartChild(**call.config)
        yield engine


async def test_a_parent_waits_for_its_child_and_gets_its_output(family: Family) -> None:
    family.handlers["noop"] = lambda call: Completed({"doubled": 2})
    await family.flow("inner", parameters={"x": "{{input.n}}"})
    version = await family.flow("outer", "child", parameters={"workflow": "inner", "input": {"n": 1}})
    number, _ = await family.start(version)
    assert (await family.ended(number)).status is E.COMPLETED
    (child,) = await family.children(number)
    row = await family.row(child)
    assert (row.status, row.root_id) == (E.COMPLETED, number)
    told = [event.output for event in await family.events(number) if isinstance(event, ev.TaskCompleted)]
    assert told == [{"t": {"doubled": 2}}]
    assert (await family.events(child))[0] == ev.ExecutionStarted({"n": 1}, parent=Parent(number, number, 1))
    assert family.sql("SELECT count(*) FROM signal") == [(0,)]
    assert await family.is_idle()


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"workflow": "nowhere"}, "workflow_not_found"),
        ({"workflow": 4711}, "workflow_not_found"),
        ({"workflow": "inner", "version": 9}, "version_not_found"),
        ({"workflow": "empty/", "version": None}, "workflow_not_found"),
        ({"workflow": ""}, "bad_outcome"),
        ({"workflow": None}, "bad_outcome"),
        ({"workflow": True}, "bad_outcome"),
        ({"workflow": 2**70}, "bad_outcome"),
        ({"workflow": "in\0ner"}, "bad_outcome"),
        ({"workflow": "inner", "version": 0}, "bad_outcome"),
        ({"workflow": "inner", "version": "1"}, "bad_outcome"),
        ({"workflow": "inner", "labels": {"a": 1}}, "bad_outcome"),
        ({"workflow": "inner", "labels": {str(n): "" for n in range(33)}}, "bad_outcome"),
        ({"workflow": "inner", "input": {"x": "\ud800"}}, "bad_output"),
        ({"workflow": "inner", "input": ["x" * limits.PAYLOAD]}, "input_too_large"),
    ],
    ids=str,
)
async def test_a_child_that_cannot_be_started_is_a_typed_failure(
    family: Family, wanted: dict[str, Any], kind: str
) -> None:
    await family.flow("inner")
    family.handlers["child"] = lambda call: StartChild(**wanted)
    version = await family.flow("outer", "child", retry=RetryPolicy(max_attempts=3))
    number, _ = await family.start(version)
    assert (await family.ended(number)).status is E.FAILED
    events = await family.events(number)
    assert [event.error.type for event in events if isinstance(event, ev.TaskFailed)] == [kind]
    assert await family.children(number) == []


async def test_a_pinned_version_is_the_one_that_runs(family: Family) -> None:
    first = await family.flow("inner", parameters={"v": 1})
    task = (await family.drafts.tasks("inner"))[0]
    await family.drafts.update_task("inner", task.id, {"parameters": {"v": 2}})
    version = await family.flow("outer", "child", parameters={"workflow": "inner", "version": 1})
    number, _ = await family.start(version)
    await family.ended(number)
    (child,) = await family.children(number)
    assert (await family.row(child)).version_id == first


async def test_a_failed_child_is_tried_again_as_another_one(family: Family) -> None:
    family.handlers["boom"] = lambda call: (_ for _ in ()).throw(TaskError("it broke", type="boom"))
    await family.flow("inner", "boom")
    policy = RetryPolicy(max_attempts=3, initial_interval=0.01)
    number, _ = await family.start(await family.flow("outer", "child", parameters={"workflow": "inner"}, retry=policy))
    assert (await family.ended(number)).status is E.FAILED
    children = await family.children(number)
    assert len(children) == 3
    errors = [event.error for event in await family.events(number) if isinstance(event, ev.TaskFailed)]
    assert [error.type for error in errors] == ["child_failed"] * 3
    assert [str(child) in error.message for child, error in zip(children, errors, strict=True)] == [True] * 3


async def test_a_cancel_reaches_the_grandchildren(family: Family) -> None:
    reached = asyncio.Event()

    async def wait(call: Any) -> Completed:
        reached.set()
        await asyncio.sleep(60)
        return Completed()

    family.handlers["wait"] = wait
    await family.flow("leaf", "wait")
    await family.flow("middle", "child", parameters={"workflow": "leaf"})
    number, _ = await family.start(await family.flow("top", "child", parameters={"workflow": "middle"}))
    await reached.wait()
    (middle,) = await family.children(number)
    (leaf,) = await family.children(middle)
    await family.tell(number, "cancel", kind="cancel")
    for one in (number, middle, leaf):
        assert (await family.ended(one)).status is E.CANCELLED
    assert await family.is_idle()
    assert family.sql("SELECT count(*) FROM signal") == [(0,)]


async def test_workflows_that_call_themselves_end(family: Family) -> None:
    await family.flow("self", "child", parameters={"workflow": "self"})
    version = (await family.drafts.current("self"))[1].version.id
    number, _ = await family.start(version)
    row = await family.ended(number)
    assert row.status is E.FAILED
    assert family.sql("SELECT count(*) FROM execution") == [(limits.DEPTH_OF_CHILDREN + 1,)]
    last = (await family.events(number))[-1]
    assert "child_depth" in failure(last).message


async def test_many_children_of_many_parents(family: Family) -> None:
    await family.flow("inner")
    workflow = await family.drafts.create(NewWorkflow("default", "outer", "outer"))
    for n in range(10):
        task = NewTask(f"t{n}", execution_type="async", type="child", parameters={"workflow": "inner"})
        await family.drafts.add_task(workflow.id, task)
    version = (await family.drafts.current("outer"))[1].version.id
    numbers = [(await family.start(version))[0] for _ in range(20)]
    for number in numbers:
        assert (await family.ended(number)).status is E.COMPLETED
    assert family.sql("SELECT parent_id, count(*) FROM execution GROUP BY parent_id HAVING parent_id IS NOT NULL") == [
        (number, 10) for number in numbers
    ]
    assert await family.is_idle()


def started(child: Append) -> ev.ExecutionStarted:
    event = decode(StoredEvent(child.execution_id, 1, child.events[0].type, 1, 0.0, 1, child.events[0].data))
    assert isinstance(event, ev.ExecutionStarted)
    return event


def failure(event: ev.Event) -> Failure:
    assert isinstance(event, ev.TaskFailed | ev.ExecutionFailed)
    return event.error


def test_the_journal_of_a_parent_folds_to_the_same() -> None:
    drive = waiting(*TWO, edges=THEN)
    again = State(1, drive.graph)
    replay(again, drive.stored)
    assert (again.children, again.tasks["a"].child, again.tasks["a"].status) == ({70: "a"}, 70, T.WAITING)
