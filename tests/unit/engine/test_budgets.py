"""A budget in the life of an execution: what is left of it goes with each call, and more can be asked for, once."""

import msgspec
import pytest

from engine import events as ev
from engine import limits
from engine.graph import CompiledGraph
from engine.model import (
    Answer,
    Ask,
    AwaitSignal,
    Budget,
    Completed,
    Edge,
    Failed,
    Failure,
    Graph,
    Presentation,
    RetryPolicy,
    Task,
    TaskCall,
    Usage,
)
from engine.ports import Signal
from engine.runner import Run
from engine.states import ExecutionStatus as E
from engine.states import TaskStatus as T
from engine.verdicts import ApprovalRequest, Verdict, more_budget
from engine.waits import signal_name
from tests.unit.engine.test_runner import Driver, names

ASK = AwaitSignal(ask=Ask("approval", "waits for more budget"))
MORE = Answer({"by": "anna"}, "approved", raised=Budget(0.5, 10))


def driver(budget: Budget, *tasks: Task, edges: tuple[Edge, ...] = (), slots: int = 10) -> Driver:
    drive = Driver(*tasks, edges=edges, slots=slots)
    drive.graph = CompiledGraph(Graph(tasks, edges, budget=budget), Presentation())
    drive.run = Run(1, drive.graph, drive.slots, drive._wake)
    drive.run.now = drive.now
    return drive


def answer(drive: Driver, given: Answer, task: str = "a") -> None:
    drive.run.signal(Signal(1, "answer", signal_name(task), msgspec.json.encode(given), id=1))


def test_each_call_knows_what_is_left() -> None:
    chain = (Edge("a", "b"), Edge("b", "c"))
    drive = driver(Budget(1.0, 100), Task("a"), Task("b"), Task("c"), edges=chain)
    assert drive.begin().calls[0].budget == Budget(1.0, 100)
    assert drive.result("a", Completed(usage=Usage(10, 5, 0.25))).calls[0].budget == Budget(0.75, 85)
    drive.reload(E.RUNNING)
    drive.step()
    assert drive.run.flying["b"].budget == Budget(0.75, 85)
    assert drive.result("b", Completed(usage=Usage(200, 0, 2.0))).calls[0].budget == Budget(0.0, 0)


def test_a_failed_attempt_takes_from_it_too() -> None:
    drive = driver(Budget(tokens=100), Task("a", retry=RetryPolicy(2, initial_interval=1)))
    drive.begin()
    drive.result("a", Failed(Failure("llm_output", "no JSON"), usage=Usage(30, 20)))
    drive.run.now = drive.now + 1
    assert drive.step().calls[0].budget == Budget(tokens=50)
    assert drive.run.state.usage == drive.run.state.tasks["a"].usage == Usage(30, 20)


def test_an_execution_without_a_budget_has_none() -> None:
    assert Driver(Task("a")).begin().calls[0].budget is None


@pytest.mark.parametrize("reloaded", [False, True])
def test_more_is_given_once(reloaded: bool) -> None:
    drive = driver(Budget(1.0, 5, "ask"), Task("a"))
    assert drive.begin().calls[0].budget == Budget(1.0, 5, "ask")
    assert drive.result("a", ASK).append.status is E.WAITING
    if reloaded:
        drive.reload()
    answer(drive, MORE)
    step = drive.step()
    assert step.events[1:] == [ev.BudgetRaised("a", 0.5, 10), ev.TaskStarted("a", 2)]
    assert step.append.status is E.RUNNING
    assert (step.calls[0].attempt, step.calls[0].budget) == (2, Budget(1.5, 15))
    state = drive.run.state
    assert (state.asking, state.awaiting, list(state.mail["@a"])) == ({}, {}, [])
    drive.reload(E.RUNNING)
    drive.step()
    assert drive.run.flying["a"].budget == Budget(1.5, 15)
    assert names(drive.result("a", Completed())) == ["TaskCompleted", "ExecutionCompleted"]


def test_it_waits_for_a_slot_when_there_is_none() -> None:
    drive = driver(Budget(tokens=5, on_exceeded="ask"), Task("a"), Task("b"), slots=1)
    drive.begin()
    assert names(drive.result("a", ASK)) == ["TaskAwaiting"]
    assert names(drive.step()) == ["TaskStarted"]
    answer(drive, MORE)
    assert names(drive.step()) == ["SignalReceived", "BudgetRaised"]
    assert drive.run.state.tasks["a"].status is T.SCHEDULED
    assert names(drive.result("b", Completed())) == ["TaskCompleted"]
    assert names(drive.step()) == ["TaskStarted"]
    assert drive.run.flying["a"].budget == Budget(tokens=15)


def test_a_cancel_wins_over_more() -> None:
    drive = driver(Budget(tokens=5, on_exceeded="ask"), Task("a"))
    drive.begin()
    drive.result("a", ASK)
    drive.signal(2, "", b"null", kind="cancel")
    answer(drive, MORE)
    step = drive.step()
    assert (step.append.status, step.calls) == (E.CANCELLED, [])


def asked(budget: Budget, needed: Budget) -> ApprovalRequest:
    request = more_budget("why", budget, needed)
    return msgspec.convert(msgspec.to_builtins(request), ApprovalRequest)


@pytest.mark.parametrize(
    ("budget", "data", "pointers"),
    [
        (Budget(1.0, 100), {"tokens": 20}, []),
        (Budget(1.0, 100), {"tokens": 20, "cost": 0.1}, []),
        (Budget(1.0, 100), {"tokens": 19}, ["/data/tokens"]),
        (Budget(1.0, 100), {"cost": 1}, ["/data"]),
        (Budget(1.0, 100), None, ["/data", "/data"]),
        (Budget(tokens=100), {"cost": 1, "tokens": 50}, ["/data"]),
        (Budget(0.1), {"cost": 0.4}, []),
        (Budget(0.1), {"cost": 0.39}, ["/data/cost"]),
        (Budget(0.1), {"cost": 1e13}, ["/data/cost"]),
        (Budget(tokens=100), {"tokens": 2**60}, ["/data/tokens"]),
    ],
)
def test_the_form_says_what_is_lacking(budget: Budget, data: object, pointers: list[str]) -> None:
    request = asked(budget, Budget(0.5, 120))
    assert [fault.pointer for fault in request.faults(Verdict.APPROVED, None, None, data)] == pointers


def test_what_is_given_raises_and_what_is_refused_fails() -> None:
    request = asked(Budget(tokens=100), Budget(tokens=120))
    assert request.answer(Verdict.APPROVED, "anna", None, {"tokens": 20}).raised == Budget(tokens=20)
    refused = request.answer(Verdict.REJECTED, "anna", "too dear")
    assert refused.error == Failure("budget_exceeded", "rejected by anna: too dear")


@pytest.mark.parametrize("data", [{"tokens": 5_000.0}, {"tokens": limits.TOKENS}, {"tokens": 20, "cost": limits.COST}])
def test_whatever_the_form_lets_through_can_be_taken_in(data: dict[str, float]) -> None:
    budget = Budget(1.0 if "cost" in data else None, 100, "ask")
    request = asked(budget, Budget(None if budget.cost is None else 1.5, 120))
    assert request.faults(Verdict.APPROVED, None, None, data) == []
    drive = driver(budget, Task("a"))
    drive.begin()
    drive.result("a", ASK)
    answer(drive, request.answer(Verdict.APPROVED, None, None, data))
    (call,) = drive.step().calls
    assert msgspec.json.decode(msgspec.json.encode(call), type=TaskCall) == call
