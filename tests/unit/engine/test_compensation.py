"""Compensations, in memory: what is undone, when, in which order, and what the end says of it."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine import events as ev
from engine import limits
from engine.checks import check, stored
from engine.dialect_ports import Definition
from engine.errors import Fault
from engine.graph import CompiledGraph, canonical, compile_definition, load
from engine.model import (
    AwaitSignal,
    Compensation,
    Completed,
    Edge,
    Failed,
    Failure,
    Graph,
    Lost,
    Outcome,
    Presentation,
    RetryPolicy,
    Sleep,
    Task,
    TaskCall,
)
from engine.ports import Signal
from engine.states import ExecutionStatus as E
from tests.unit.engine.harness import Engine
from tests.unit.engine.test_runner import Driver, names

BOOM = Failed(Failure("boom", "it broke"))
ENDED = Failure("boom", "it broke", "last")


def undone(key: str, **options: Any) -> Task:
    """A task that a `noop` undoes."""
    return Task(key, compensate=Compensation("noop", **options))


def chain(*tasks: Task) -> Driver:
    """One after another."""
    edges = tuple(Edge(one.key, other.key) for one, other in pairwise(tasks))
    return Driver(*tasks, edges=edges)


def cancel(drive: Driver, number: int = 9) -> None:
    drive.run.signal(Signal(1, "cancel", "cancel", b'"why not"', "cancel", number))


def flying(drive: Driver) -> list[str]:
    return list(drive.run.flying)


# --- order ---


def test_what_completed_last_is_undone_first_and_one_at_a_time() -> None:
    drive = Driver(*map(undone, "abc"), Task("last"), edges=tuple(Edge(key, "last") for key in "abc"))
    drive.begin()
    for key in "bca":
        drive.result(key, Completed(key))
    step = drive.result("last", BOOM)
    assert names(step) == ["TaskFailed", "CompensationStarted", "TaskStarted"]
    assert step.append.status is E.COMPENSATING
    seen = []
    while not step.ended:
        (key,) = flying(drive)
        seen.append(key)
        step = drive.result(key, Completed())
    assert seen == ["a~compensate", "c~compensate", "b~compensate"]
    assert step.events[-1] == ev.ExecutionFailed(ENDED)


def test_only_what_has_completed_is_undone() -> None:
    drive = Driver(
        undone("done"),
        Task("plain"),
        Task("skipped", when=False, compensate=Compensation("noop")),
        Task("last", compensate=Compensation("noop")),
        Task("never", compensate=Compensation("noop")),
        edges=(Edge("done", "last"), Edge("plain", "last"), Edge("last", "never")),
    )
    drive.begin()
    drive.result("done", Completed())
    drive.result("plain", Completed())
    drive.result("last", BOOM)
    assert flying(drive) == ["done~compensate"]
    assert drive.result("done~compensate", Completed()).events[-1] == ev.ExecutionFailed(ENDED)


def test_nothing_is_undone_when_all_has_completed() -> None:
    drive = chain(undone("a"), undone("b"))
    drive.begin()
    drive.result("a", Completed())
    assert names(drive.result("b", Completed())) == ["TaskCompleted", "ExecutionCompleted"]


def test_a_failure_that_is_handled_undoes_nothing() -> None:
    drive = chain(undone("a"), Task("b", on_error="continue"), Task("c"))
    drive.begin()
    drive.result("a", Completed())
    assert names(drive.result("b", BOOM)) == ["TaskFailed", "TaskStarted"]


def test_without_compensations_a_failure_ends_at_once() -> None:
    drive = chain(Task("a"), undone("last"))
    drive.begin()
    drive.result("a", Completed())
    assert names(drive.result("last", BOOM)) == ["TaskFailed", "ExecutionFailed"]


# --- what runs beside it ---


def test_running_siblings_are_stopped_before_anything_is_undone() -> None:
    drive = Driver(undone("a"), Task("last"), Task("beside"), Task("waits"), slots=3, edges=(Edge("a", "last"),))
    drive.begin()
    drive.result("waits", Sleep(60))
    drive.result("a", Completed())
    beside = drive.run.flying["beside"]
    step = drive.result("last", BOOM)
    assert names(step) == ["TaskFailed", "TaskCancelled", "TaskCancelled", "CompensationStarted", "TaskStarted"]
    assert step.cancels == (beside,)
    assert [call.task for call in step.calls] == ["a~compensate"]
    drive.run.result(beside, Completed("late"), 0.1)
    assert drive.run.advance() is None, "nobody listens to an attempt that was stopped"
    assert drive.run.state.tasks["beside"].output is None
    assert drive.slots.free == 2


def test_an_attempt_of_the_same_step_does_not_begin() -> None:
    drive = Driver(undone("a"), Task("last"), Task("again"), edges=(Edge("a", "last"),))
    drive.begin()
    drive.result("a", Completed())
    drive.run.result(drive.run.flying["again"], Lost("its worker died"), 0.1)
    drive.run.result(drive.run.flying["last"], BOOM, 0.1)
    step = drive.step()
    assert step.events[:2] == [ev.TaskLost("again", "its worker died"), ev.TaskStarted("again", 2)]
    assert [call.task for call in step.calls] == ["a~compensate"]
    assert step.cancels == ()


def test_a_task_that_waits_for_a_slot_leaves_the_line() -> None:
    drive = Driver(undone("a"), Task("last"), Task("more"), slots=1, edges=(Edge("a", "last"), Edge("a", "more")))
    drive.begin()
    drive.result("a", Completed())
    assert drive.run.wanted == {"more"}
    drive.result("last", BOOM)
    assert (flying(drive), drive.run.wanted) == (["a~compensate"], set())
    drive.result("a~compensate", Completed())
    assert drive.slots.free == 1


def test_a_compensation_waits_for_its_slot_as_a_task_does() -> None:
    drive = Driver(undone("a"), Task("b"), edges=(Edge("a", "b"),), slots=1)
    drive.begin()
    drive.result("a", Completed())
    drive.result("b", Sleep(60))
    drive.reload()
    assert drive.slots.take()
    cancel(drive)
    assert names(drive.step()) == ["CancelRequested", "TaskCancelled", "CompensationStarted", "TaskScheduled"]
    drive.slots.release()
    assert names(drive.step()) == ["TaskStarted"]


# --- what it is given ---


def test_it_sees_what_its_task_saw_its_output_and_the_error() -> None:
    config = {
        "id": "{{tasks.a.output.id}}",
        "n": "{{input.n}}",
        "why": "{{error.type}}",
        "text": "{{error.message}}!",
    }
    drive = chain(undone("a", config=config, timeout=5.0), Task("last"))
    drive.begin({"n": 4})
    drive.result("a", Completed({"id": "X1"}))
    (call,) = drive.result("last", BOOM).calls
    assert call.config == {"id": "X1", "n": 4, "why": "boom", "text": "it broke!"}
    assert (call.timeout, call.idempotency_key) == (5.0, "1/a~compensate/")


@pytest.mark.parametrize(("payload", "message"), [(b'"why"', "why"), (b"null", "the execution was cancelled")])
def test_a_cancel_is_an_error_too(payload: bytes, message: str) -> None:
    drive = chain(undone("a", config={"e": "{{error}}"}), Task("b"))
    drive.begin()
    drive.result("a", Completed())
    drive.run.signal(Signal(1, "cancel", "cancel", payload, "cancel", 9))
    (call,) = drive.step().calls
    assert call.config == {"e": {"type": "cancelled", "message": message, "task": None}}


# --- cancel ---


def test_a_cancel_undoes_and_ends_as_cancelled() -> None:
    drive = chain(undone("a"), Task("b"))
    drive.begin()
    drive.result("a", Completed())
    cancel(drive)
    step = drive.step()
    assert names(step) == ["CancelRequested", "TaskCancelled", "CompensationStarted", "TaskStarted"]
    assert step.append.status is E.COMPENSATING
    assert drive.result("a~compensate", Completed()).events[-1] == ev.ExecutionCancelled("why not")


@pytest.mark.parametrize("first", ["cancel", "failure"])
def test_a_cancel_of_what_is_being_undone_changes_nothing(first: str) -> None:
    drive = chain(undone("a"), Task("last"))
    drive.begin()
    drive.result("a", Completed())
    if first == "cancel":
        cancel(drive)
        drive.step()
    else:
        drive.result("last", BOOM)
    before = list(drive.events)
    cancel(drive, 10)
    assert drive.run.advance() is None
    step = drive.result("a~compensate", Completed())
    assert drive.events[len(before) :] == step.events
    assert step.append.consumed == (10,)
    end = ev.ExecutionCancelled("why not") if first == "cancel" else ev.ExecutionFailed(ENDED)
    assert step.events[-1] == end


# --- attempts ---


def test_it_is_tried_again_as_its_own_policy_says_and_leaves_memory_meanwhile() -> None:
    retry = RetryPolicy(max_attempts=2, initial_interval=30.0)
    drive = chain(undone("a", retry=retry), Task("last"))
    drive.begin()
    drive.result("a", Completed())
    drive.result("last", BOOM)
    step = drive.result("a~compensate", BOOM)
    assert step.parked
    assert step.append.park is not None
    assert step.append.park.wake_in == 30.0
    assert step.append.status is None, "it compensates all the while"
    drive.now += 40
    drive.reload(E.COMPENSATING)
    assert names(drive.step()) == ["TaskStarted"]
    assert drive.run.flying["a~compensate"].attempt == 2
    assert drive.result("a~compensate", Completed()).events[-1] == ev.ExecutionFailed(ENDED)


def test_one_that_fails_does_not_keep_the_others_from_running() -> None:
    drive = chain(*map(undone, "abc"), Task("last"))
    drive.begin()
    for key in "abc":
        drive.result(key, Completed())
    drive.result("last", BOOM)
    drive.result("c~compensate", Failed(Failure("http_500", "no")))
    drive.result("b~compensate", Completed())
    end = drive.result("a~compensate", Failed(Failure("http_500", "no"))).events[-1]
    assert end == ev.ExecutionFailed(
        Failure("boom", "it broke; the compensations of 'c', 'a' failed", "last"),
    )


def test_a_cancel_tells_of_what_could_not_be_undone() -> None:
    drive = chain(*(undone(f"t{n}") for n in range(7)), Task("last"))
    drive.begin()
    for n in range(7):
        drive.result(f"t{n}", Completed())
    cancel(drive)
    step = drive.step()
    while not step.ended:
        (key,) = flying(drive)
        step = drive.result(key, BOOM)
    left = "the compensations of 't6', 't5', 't4', 't3', 't2' and 2 more failed"
    assert step.events[-1] == ev.ExecutionCancelled("why not", Failure("compensation_failed", left, "t6"))
    assert drive.run.state.error == Failure("compensation_failed", left, "t6")


def test_one_whose_config_cannot_be_rendered_has_failed() -> None:
    drive = chain(undone("a"), undone("b", config={"x": "{{b.output.nothing}}"}), Task("last"))
    drive.begin()
    drive.result("a", Completed())
    drive.result("b", Completed({}))
    assert names(drive.result("last", BOOM)) == ["TaskFailed", "CompensationStarted", "TaskFailed", "TaskStarted"]
    assert flying(drive) == ["a~compensate"]


def test_it_may_wait_for_a_signal() -> None:
    drive = chain(undone("a"), Task("last"))
    drive.begin()
    drive.result("a", Completed())
    drive.result("last", BOOM)
    assert drive.result("a~compensate", AwaitSignal("go")).parked
    drive.reload(E.COMPENSATING)
    drive.signal(3, "go")
    assert names(drive.step()) == ["SignalReceived", "TaskCompleted", "ExecutionFailed"]


# --- the journal ---


def test_after_a_crash_what_is_undone_stays_so_and_the_rest_goes_on() -> None:
    drive = chain(undone("a"), undone("b"), Task("last"))
    drive.begin()
    drive.result("a", Completed())
    drive.result("b", Completed())
    drive.result("last", BOOM)
    drive.result("b~compensate", Completed())
    drive.reload(E.COMPENSATING)
    assert names(drive.step()) == ["TakenOver", "TaskStarted"]
    assert drive.run.flying["a~compensate"].attempt == 2
    assert drive.result("a~compensate", Completed()).events[-1] == ev.ExecutionFailed(ENDED)


def test_a_full_history_undoes_too_and_tries_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = chain(undone("a", retry=RetryPolicy(max_attempts=9)), Task("b"))
    monkeypatch.setattr(limits, "HISTORY", 2)
    drive.begin()
    step = drive.result("a", Completed())
    assert step.append.status is E.COMPENSATING
    drive.reload(E.COMPENSATING)
    drive.signal(4, "anything")
    assert names(drive.step()) == ["TakenOver", "TaskStarted"], "no signal is taken in that nobody waits for"
    error = drive.result("a~compensate", BOOM).events[-1]
    assert isinstance(error, ev.ExecutionFailed)
    assert error.error.type == "history_limit"
    assert "the compensation of 'a' failed" in error.error.message


# --- in an engine ---


async def test_what_runs_beside_is_really_stopped_before_its_execution_ends(tmp_path: Path) -> None:
    stopped = asyncio.Event()

    async def work(call: TaskCall) -> Outcome:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return Completed()

    async def undo(call: TaskCall) -> Outcome:
        await stopped.wait()
        return Completed()

    async with Engine(tmp_path) as engine:
        engine.handlers |= {"work": work, "undo": undo}
        tasks = (
            Task("a", compensate=Compensation("undo")),
            Task("last", config={"x": "{{input.x}}"}),
            Task("beside", "work"),
        )
        row = await engine.run(*tasks, edges=[Edge("a", "last")], value={})
        assert row.status is E.FAILED
        assert engine.ran[-1] == ("a~compensate", 1)
        assert await engine.is_idle()


async def test_one_that_sleeps_is_woken_again(tmp_path: Path) -> None:
    async with Engine(tmp_path) as engine:
        engine.handlers["nap"] = lambda call: Sleep(0.1)
        tasks = Task("a", compensate=Compensation("nap")), Task("last", config={"x": "{{input.x}}"})
        number, _ = await engine.start(await engine.define(*tasks, edges=[Edge("a", "last")]), {})
        row = await engine.until(number, lambda row: row.owner is None and row.wake_at is not None)
        assert row.status is E.COMPENSATING
        assert (await engine.ended(number)).status is E.FAILED
        assert await engine.is_idle()


# --- the definition ---


class Nodes:
    """As much of a catalog as the check needs."""

    def config_faults(self, kind: str, config: Any, pointer: str) -> list[Fault]:
        return [Fault("bad", f"{pointer}/bad")] if "bad" in config else []

    def names(self) -> list[str]:
        return ["noop", "http_request", "branch"]

    def resolve(self, kind: str) -> str | None:
        return {"nothing": "noop"}.get(kind, kind) if kind in ("noop", "nothing", "branch") else None

    def canonical(self, kind: str, config: Any) -> tuple[str, dict[str, Any]]:
        return self.resolve(kind) or kind, dict(config)

    def conditions(self, kind: str, config: Any) -> tuple[str, ...]:
        return ("/if",) if "if" in config else ()

    def public(self, kind: str, config: Any) -> Any:
        return config

    def executors(self) -> list[str]:
        return ["asyncio"]


def faults(compensate: Compensation, *more: Task) -> list[tuple[str, str]]:
    """Code and pointer of each."""
    tasks = (Task("first"), Task("a", compensate=compensate), Task("after"), *more)
    graph = Graph(tasks, (Edge("first", "a"), Edge("a", "after")))
    pointers = {task.key: f"/tasks/{place}" for place, task in enumerate(tasks)}
    found = check(Definition(graph, Presentation(), pointers), Nodes())
    return [(fault.code, fault.pointer) for fault in found]


@pytest.mark.parametrize("path", ["first.output", "a.output.id", "error.message", "input.x", "tasks.a.status"])
def test_its_templates_may_refer_to_what_has_been(path: str) -> None:
    assert faults(Compensation("noop", {"x": "{{" + path + "}}"})) == []


@pytest.mark.parametrize(
    ("compensate", "code", "place"),
    [
        (Compensation("noop", {"x": "{{after.output}}"}), "template_not_ancestor", "/config/x"),
        (Compensation("noop", {"x": "{{nobody.output}}"}), "template_unknown_task", "/config/x"),
        (Compensation("noop", {"x": "{{ | }}"}), "template", "/config/x"),
        (Compensation("nope"), "unknown_node_type", "/type"),
        (Compensation("noop", {"bad": 1}), "invalid", "/config/bad"),
        (Compensation("noop", timeout=-1.0), "out_of_range", "/timeout"),
        (Compensation("noop", heartbeat_timeout=0.0), "out_of_range", "/heartbeat_timeout"),
        (Compensation("noop", executor="moon"), "unknown_executor", "/executor"),
    ],
)
def test_it_is_checked_as_a_task_is(compensate: Compensation, code: str, place: str) -> None:
    assert faults(compensate) == [(code, f"/tasks/1/compensate{place}")]


def test_a_task_cannot_see_the_error_of_the_execution_nor_take_over_as_a_compensation() -> None:
    codes = faults(Compensation("noop"), Task("x", config={"y": "{{error.type}}"}, on_error="a~compensate"))
    assert {code for code, _ in codes} == {"unknown_task", "template_unknown_path"}


def test_a_graph_without_compensations_keeps_its_digest() -> None:
    assert b"compensate" not in canonical(Graph((Task("a"),)))
    given = Graph((Task("a", compensate=Compensation("noop", {}, RetryPolicy(max_attempts=2), timeout=3.0)),))
    assert canonical(given) == (
        b'{"format":1,"tasks":[{"compensate":{"retry":{"max_attempts":2},"timeout":3,"type":"noop"},"key":"a"}]}'
    )


def test_it_is_stored_under_its_own_names_and_its_conditions_are_evaluated() -> None:
    given = Graph((Task("a", compensate=Compensation("nothing", {"if": "{{error.type}} == 'boom'"})),))
    compiled = compile_definition(stored(Definition(given, Presentation()), Nodes()))
    graph = load(compiled.graph, compiled.presentation)
    assert graph.by_key["a~compensate"].task.type == "noop"
    drive = Driver(Task("a"))
    drive.graph = graph
    drive.reload(E.PENDING)
    drive.begin()
    drive.result("a", Completed())
    assert drive.run.state.graph.by_key["a~compensate"].compensates == "a"
    drive.run.state.failed = Failure("boom", "x")
    assert graph.by_key["a~compensate"].config.render(drive.run.state) == {"if": True}


def test_a_compensation_is_no_task_of_the_graph() -> None:
    graph = CompiledGraph(Graph((undone("a"), undone("b"))), Presentation())
    assert [vertex.key for vertex in graph.vertices] == ["a", "b"]
    assert (graph.display_order, graph.sinks) == (("a", "b"), ("a", "b"))
