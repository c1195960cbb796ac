"""A wait that the world can see: what a run says of it, and who decides when two do at once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bootstrap.vault import new_key, open_vault
from engine import events as ev
from engine import limits
from engine.errors import TaskError
from engine.model import Answer, Ask, AwaitSignal, Completed, Edge, Failed, Failure, Outcome, Task, TaskCall
from engine.opening import opened
from engine.outcomes import portable, record_of
from engine.ports import Signal
from engine.secrets import MASK
from engine.states import ExecutionStatus as E
from engine.task_ports import NodeContext
from engine.waits import Decision, Lapse, NewWait, WaitFilter, WaitLapse, signal_name
from tests.unit.engine.harness import Engine
from tests.unit.engine.test_runner import Driver, names

ASK = Ask("approval", "waits for approval by anna", "finance", {"who": ["anna"]})
YES = Answer({"by": "anna"}, "approved")
NO = Answer({"by": "anna"}, "rejected", Failure("rejected", "rejected by anna"))
WAYS = (Edge("a", "ship", "approved"), Edge("a", "tell", "rejected"), Edge("a", "log"))


def answer(drive: Driver, given: Answer, number: int = 1, task: str = "a") -> None:
    drive.run.signal(Signal(1, "answer", signal_name(task), msgspec.json.encode(given), id=number))


def asking(*edges: Edge, timeout: float | None = None, otherwise: Answer | None = None) -> Driver:
    """The task `a` asks; it is the only one that has begun."""
    targets = sorted({edge.target for edge in edges})
    drive = Driver(Task("a"), *map(Task, targets), edges=edges)
    drive.begin()
    drive.result("a", AwaitSignal(timeout=timeout, ask=ASK, otherwise=otherwise))
    return drive


def test_the_row_of_a_wait_is_of_the_append_that_says_so() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    step = drive.result("a", AwaitSignal(timeout=20, ask=ASK))
    assert step.events == [ev.TaskAwaiting("a", "@a", 20.0, "approval", "waits for approval by anna")]
    assert step.append.asks == (NewWait("a", "approval", "finance", b'{"who":["anna"]}', 20.0),)
    assert (step.parked, step.append.status) == (True, E.WAITING)
    assert drive.run.state.tasks["a"].reason == ASK.reason
    drive.reload()
    assert drive.run.state.tasks["a"].reason == ASK.reason
    assert drive.step().append.asks == ()


def test_a_wait_for_a_signal_has_no_row() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    append = drive.result("a", AwaitSignal("go", 5)).append
    drive.run.now = drive.now + 5
    assert (append.asks, drive.step().append.lapses) == ((), ())


@pytest.mark.parametrize("reloaded", [False, True])
@pytest.mark.parametrize(("given", "followed"), [(YES, ["ship", "log"]), (NO, ["tell", "log"])])
def test_the_label_of_an_answer_chooses_among_the_edges(given: Answer, followed: list[str], reloaded: bool) -> None:
    drive = asking(*WAYS)
    if reloaded:
        drive.reload()
    answer(drive, given)
    step = drive.step()
    assert step.events[1] == ev.TaskCompleted("a", {"by": "anna"}, given.label)
    assert sorted(call.task for call in step.calls) == sorted(followed)
    assert step.append.lapses == ()
    assert (drive.run.state.asking, drive.run.state.tasks["a"].reason) == ({}, None)


def test_an_error_without_an_edge_for_its_label_is_a_failure() -> None:
    drive = asking(Edge("a", "b"))
    answer(drive, NO)
    step = drive.step()
    assert names(step) == ["SignalReceived", "TaskFailed", "ExecutionFailed"]
    assert drive.run.state.error == Failure("rejected", "rejected by anna", "a")


def test_a_label_without_an_edge_takes_only_those_without_a_label() -> None:
    drive = asking(Edge("a", "tell", "rejected"), Edge("a", "log"))
    answer(drive, YES)
    step = drive.step()
    assert step.events[1] == ev.TaskCompleted("a", {"by": "anna"}, None)
    assert [call.task for call in step.calls] == ["log"]


def test_without_labelled_edges_the_label_is_kept() -> None:
    drive = asking(Edge("a", "b"))
    answer(drive, YES)
    assert drive.step().events[1] == ev.TaskCompleted("a", {"by": "anna"}, "approved")


def test_two_that_ask_get_their_own_answers() -> None:
    drive = Driver(Task("a"), Task("b"))
    drive.begin()
    for key in "ab":
        drive.result(key, AwaitSignal(ask=ASK))
    answer(drive, Answer("for b"), 1, "b")
    assert drive.step().events[1] == ev.TaskCompleted("b", "for b")
    drive.reload()
    answer(drive, Answer("for a"), 2)
    assert drive.step().events[1] == ev.TaskCompleted("a", "for a")


@pytest.mark.parametrize(
    ("otherwise", "event"),
    [
        (None, ev.TaskFailed("a", Failure("timeout", "nothing came in time: it waits for approval by anna", "a"))),
        (YES, ev.TaskCompleted("a", {"by": "anna"}, "approved")),
        (NO, ev.TaskFailed("a", Failure("rejected", "rejected by anna", "a"))),
    ],
)
def test_what_nobody_answers_in_time_ends_as_was_said(otherwise: Answer | None, event: ev.Event) -> None:
    drive = asking(timeout=5, otherwise=otherwise)
    drive.reload()
    drive.run.now = drive.now + 5
    step = drive.step()
    assert step.events[0] == event
    assert step.append.lapses == (WaitLapse("a", Lapse.TIMEOUT),)
    drive.reload(E.COMPLETED)
    assert drive.run.state.asking == {}


def test_a_wait_for_a_signal_may_end_otherwise_too() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    drive.result("a", AwaitSignal("go", 5, otherwise=Answer("nothing")))
    drive.run.now = drive.now + 5
    step = drive.step()
    assert (step.events[0], step.append.lapses) == (ev.TaskCompleted("a", "nothing"), ())


def test_an_answer_that_came_before_the_end_of_the_time_counts() -> None:
    drive = asking(timeout=5)
    drive.run.now = drive.now + 5
    answer(drive, YES)
    step = drive.step()
    assert names(step) == ["SignalReceived", "TaskCompleted", "ExecutionCompleted"]
    assert step.append.lapses == ()


@pytest.mark.parametrize("end", ["cancel", "failure"])
def test_the_end_closes_what_still_asks(end: str) -> None:
    drive = Driver(Task("a"), Task("b"), Task("c"))
    drive.begin()
    for key in "ab":
        drive.result(key, AwaitSignal(ask=ASK))
    answer(drive, YES, 1, "b")
    drive.step()
    if end == "cancel":
        drive.signal(2, "cancel", b"null", "cancel")
        step = drive.step()
    else:
        step = drive.result("c", Failed(Failure("boom", "x"), retryable=False))
    assert step.ended
    assert step.append.lapses == (WaitLapse("a", Lapse.CLOSED),)


def test_what_asks_in_the_step_of_the_end_is_closed_by_it() -> None:
    drive = Driver(Task("a"), Task("b"))
    drive.begin()
    for key, result in (("a", AwaitSignal(ask=ASK)), ("b", Failed(Failure("boom", "x"), retryable=False))):
        drive.run.result(drive.run.flying[key], result, 0.5)
    append = drive.step().append
    assert (len(append.asks), append.lapses) == (1, (WaitLapse("a", Lapse.CLOSED),))


# --- what nodes may say ---

BAD: list[Any] = [
    AwaitSignal(ask="approval"),  # type: ignore[arg-type]
    AwaitSignal(ask=Ask("")),
    AwaitSignal(ask=Ask("approval", topic="")),
    AwaitSignal(ask=Ask("approval", details=[])),  # type: ignore[arg-type]
    AwaitSignal(ask=Ask("approval", details={"approvers": "anna"})),
    AwaitSignal(ask=Ask("approval", details={"x": "y" * limits.PAYLOAD})),
    AwaitSignal("go", otherwise=Completed()),  # type: ignore[arg-type]
    AwaitSignal("go", otherwise=Answer(label="@error")),
]


@pytest.mark.parametrize("outcome", BAD, ids=lambda outcome: repr(outcome)[:60])
def test_what_cannot_be_shown_is_a_failure_of_the_task(outcome: Any) -> None:
    with pytest.raises(TaskError) as caught:
        record_of("t", outcome, 0.0)
    assert caught.value.type == "bad_outcome"


def test_a_wait_travels() -> None:
    outcome = AwaitSignal("", 3.0, Ask("approval", "waits", "t", {"a": (1,)}), Answer((1,), "x", Failure("f", "m")))
    sent = portable("t", outcome, 0.0)
    assert sent == AwaitSignal(
        "@t", 3.0, Ask("approval", "waits", "t", {"a": [1]}), Answer([1], "x", Failure("f", "m"))
    )
    assert msgspec.json.decode(msgspec.json.encode(sent), type=AwaitSignal) == sent
    assert record_of("t", sent, 0.0) == record_of("t", outcome, 0.0)


def test_a_wait_says_nothing_of_secrets() -> None:
    vault = open_vault(new_key("k"))
    secret = TaskCall(1, "a", "x", {}, secrets={"s": vault.seal("default", "s", "open-sesame", ())})
    told = AwaitSignal(ask=Ask("approval", "of open-sesame", "open-sesame", {"x": ["open-sesame"]}))
    told = msgspec.structs.replace(told, otherwise=Answer("open-sesame", None, Failure("x", "open-sesame")))
    outcome = opened(secret, NodeContext(None, None, vault=vault), lambda call, context: told, blocking=True)
    assert "sesame" not in repr(outcome)
    assert repr(outcome).count(MASK) == 5


# --- with a store ---


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path) as engine:
        yield engine


async def waiting(engine: Engine, outcome: Outcome) -> int:
    engine.handlers["ask"] = lambda call: outcome
    number, _ = await engine.start(await engine.define(Task("a", "ask")))
    await engine.until(number, lambda row: row.status is not E.RUNNING)
    return number


async def test_an_execution_that_asks_is_parked_until_somebody_decides(engine: Engine) -> None:
    number = await waiting(engine, AwaitSignal(ask=ASK))
    assert await engine.is_idle()
    assert await engine.store.decide_waits([Decision(number, "a", "approved", YES, "anna")]) == [True]
    engine.worker.wake_claims.set()
    assert (await engine.ended(number)).status is E.COMPLETED
    assert ev.TaskCompleted("a", {"by": "anna"}, "approved") in await engine.events(number)
    assert await engine.is_idle()


@pytest.mark.parametrize("first", ["a person", "the time"])
async def test_a_decision_at_the_edge_of_the_time_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The engine has planned the time-out when the decision is made: its append is refused, and the run read again."""
    number = await waiting(engine, AwaitSignal(timeout=0.05, ask=ASK))
    decision = Decision(number, "a", "approved", YES, "anna")
    commit = engine.store.commit
    decided: list[bool] = []

    async def commit_late(lease: int, batch: int, appends: Any) -> Any:
        if any(append.lapses for append in appends) and not decided and first == "a person":
            decided.extend(await engine.store.decide_waits([decision]))
        return await commit(lease, batch, appends)

    monkeypatch.setattr(engine.store, "commit", commit_late)
    row = await engine.ended(number)
    (wait,) = await engine.store.list_waits(WaitFilter("default"), None, 10)
    if first == "a person":
        assert (decided, row.status, wait.decision, wait.decided_by) == ([True], E.COMPLETED, "approved", "anna")
    else:
        assert await engine.store.decide_waits([decision]) == [False]
        assert (row.status, wait.decision, wait.decided_by) == (E.FAILED, "timeout", None)
    assert await engine.is_idle()


async def test_a_cancel_closes_the_wait(engine: Engine) -> None:
    number = await waiting(engine, AwaitSignal(ask=ASK))
    await engine.tell(number, "cancel", kind="cancel")
    assert (await engine.ended(number)).status is E.CANCELLED
    (wait,) = await engine.store.list_waits(WaitFilter("default"), None, 10)
    assert wait.decision == "closed"
