"""One execution in memory: what a step says in the cases that are easier told than drawn by chance."""

import math
from itertools import pairwise
from typing import Any

import pytest

from engine import events as ev
from engine import limits
from engine.graph import CompiledGraph
from engine.model import AwaitSignal, Completed, Edge, Failed, Failure, Graph, Presentation, RetryPolicy, Sleep, Task
from engine.ports import NewExecution, Park, Signal
from engine.runner import KEPT, Run
from engine.slots import Slots
from engine.states import ExecutionStatus as E
from engine.steps import Step

NEW = NewExecution("default", 1, 1, E.PENDING, True)


class Driver:
    """A run whose steps are committed at once, one second apart."""

    def __init__(
        self, *tasks: Task, edges: tuple[Edge, ...] = (), slots: int = 10, timeout: float | None = None
    ) -> None:
        self.graph = CompiledGraph(Graph(tasks, edges, timeout=timeout), Presentation())
        self.slots = Slots(slots)
        self.woken = 0
        self.now = 1_000.0
        self.events: list[ev.Event] = []
        self.stored: list[ev.StoredEvent] = []
        self.run = Run(1, self.graph, self.slots, self._wake)
        self.run.now = self.now

    def _wake(self, run: Run) -> None:
        self.woken += 1

    def begin(self, value: Any = None) -> Step:
        self.run.begin(NEW, value)
        return self.step()

    def step(self) -> Step:
        step = self.run.advance()
        assert step is not None
        self.now += 1
        for place, record in enumerate(step.append.events):
            seq = step.append.first_seq + place
            assert seq == len(self.stored) + 1
            self.stored.append(ev.StoredEvent(1, seq, record.type, 1, self.now, 1, record.data))
        self.events += step.events
        self.run.committed(step, self.now)
        return step

    def result(self, key: str, result: Any) -> Step:
        self.run.result(self.run.flying[key], result, 0.5)
        return self.step()

    def signal(self, number: int, name: str, payload: bytes = b"1", kind: str = "event") -> None:
        self.run.signal(Signal(1, kind, name, payload, id=number))

    def reload(self, status: E = E.WAITING) -> None:
        self.run = Run(1, self.graph, self.slots, self._wake, status)
        self.run.load(self.stored, self.now)
        self.run.resume(self.run.running(), ())


def names(step: Step) -> list[str]:
    return [type(event).__name__ for event in step.events]


def test_the_first_step_is_the_row_the_plan_and_the_first_attempts() -> None:
    drive = Driver(Task("a", timeout=2.0, config={"x": "{{input.n}}"}), Task("b"), edges=(Edge("a", "b"),))
    step = drive.begin({"n": 5})
    assert names(step) == ["ExecutionStarted", "TaskStarted"]
    assert step.append.start is not None
    assert (step.append.start.status, step.append.status, step.append.started) == (E.RUNNING, None, False)
    (call,) = step.calls
    assert (call.task, call.attempt, call.config, call.timeout) == ("a", 1, {"x": 5}, 2.0)
    assert call.idempotency_key == "1/a/"


def test_a_result_and_all_that_follows_are_one_step() -> None:
    drive = Driver(Task("a"), Task("b"), edges=(Edge("a", "b"),))
    drive.begin()
    assert names(drive.result("a", Completed(1))) == ["TaskCompleted", "TaskStarted"]
    last = drive.result("b", Completed({"x": 2}))
    assert names(last) == ["TaskCompleted", "ExecutionCompleted"]
    assert (last.append.status, last.ended, last.append.park) == (E.COMPLETED, True, None)
    assert drive.run.state.output() == {"b": {"x": 2}}
    assert drive.run.dropped


def test_the_row_is_touched_only_when_its_status_changes() -> None:
    drive = Driver(Task("a"), Task("b"), edges=(Edge("a", "b"),))
    drive.begin()
    assert drive.result("a", Completed()).append.status is None


def test_a_late_or_second_report_is_dropped() -> None:
    drive = Driver(Task("a", retry=RetryPolicy(max_attempts=3, initial_interval=0.0)), Task("b"))
    drive.begin()
    old = drive.run.flying["a"]
    drive.result("a", Failed(Failure("boom", "x")))
    drive.step()
    assert drive.run.flying["a"].attempt == 2
    drive.run.result(old, Completed("late"), 0.0)
    assert drive.run.advance() is None
    drive.run.result(drive.run.flying["a"], Completed("in time"), 0.0)
    drive.run.result(drive.run.flying["a"], Completed("again"), 0.0)
    drive.step()
    assert drive.run.state.tasks["a"].output == "in time"


@pytest.mark.parametrize("outcome", [None, 5, Completed(object()), Completed(label="@error"), Sleep(math.inf)])
def test_what_no_journal_can_hold_is_a_failure_of_the_task(outcome: Any) -> None:
    drive = Driver(Task("a", retry=RetryPolicy(max_attempts=5)))
    drive.begin()
    assert names(drive.result("a", outcome)) == ["TaskFailed", "ExecutionFailed"]
    drive.reload(E.FAILED)


def test_an_error_text_that_cannot_be_encoded_is_made_so() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    step = drive.result("a", Failed(Failure("OSError", "no file caf\udce9")))
    assert step.events[0] == ev.TaskFailed("a", Failure("OSError", "no file caf?", "a"), None, 0.5)


# --- slots ---


def test_a_long_execution_gives_its_slot_to_one_that_waits() -> None:
    keys = [f"t{number}" for number in range(100)]
    long = Driver(*map(Task, keys), edges=tuple(Edge(*pair) for pair in pairwise(keys)), slots=1)
    short = Driver(Task("only"))
    short.run = Run(2, short.graph, long.slots, short._wake)
    long.begin()
    for key in keys[:40]:
        long.result(key, Completed())
    assert list(long.run.flying) == ["t40"], "nobody waits: the slot is kept"
    assert names(short.begin()) == ["ExecutionStarted", "TaskScheduled"]
    done = 40
    while not short.woken:
        long.result(keys[done], Completed())
        done += 1
    assert done == 40 + KEPT + 1
    assert (long.run.flying, long.run.wanted) == ({}, {keys[done]})
    assert names(short.step()) == ["TaskStarted"]
    short.result("only", Completed())
    assert long.woken
    assert names(long.step()) == ["TaskStarted"]
    assert (long.slots.free, list(long.run.flying)) == (0, [keys[done]])


# --- waiting ---


def test_an_execution_that_only_waits_is_parked_until_its_first_timer() -> None:
    drive = Driver(Task("a"), Task("b"), Task("c"))
    drive.begin()
    drive.result("a", Sleep(60))
    drive.result("b", Sleep(until=1_030.0))
    step = drive.result("c", AwaitSignal("go", 20))
    assert step.parked
    assert step.append.status is E.WAITING
    assert step.append.park == Park(20.0, 1_030.0)
    assert drive.slots.free == drive.slots.size


def test_timers_fire_in_the_order_of_their_moments_and_each_once() -> None:
    drive = Driver(*(Task(key) for key in "abcd"))
    drive.begin()
    for key, seconds in (("a", 40), ("b", 20), ("c", 60)):
        drive.result(key, Sleep(seconds))
    assert drive.run.next_due() == drive.now - 1 + 20
    drive.run.now = drive.now + 50
    assert [event.task for event in drive.step().events] == ["b", "a"]  # type: ignore[union-attr]
    assert not drive.run.has_news
    assert drive.run.next_due() == drive.now - 1 + 60


def test_a_timer_set_again_counts_anew() -> None:
    retry = RetryPolicy(max_attempts=3, initial_interval=10, backoff_coefficient=1, jitter=0)
    drive = Driver(Task("a", retry=retry), Task("b"))
    drive.begin()
    drive.result("a", Failed(Failure("x", "x")))
    drive.run.now = drive.now + 10
    drive.step()
    drive.result("a", Failed(Failure("x", "x")))
    assert drive.run.next_due() == drive.now + 10
    assert drive.run.state.alarms == [(drive.now + 10, "a")]


def test_the_one_that_waits_longest_gets_the_signal() -> None:
    drive = Driver(*(Task(key) for key in "abc"))
    drive.begin()
    for key in "bca":
        drive.result(key, AwaitSignal("go"))
    drive.reload()
    for number, key in enumerate("bca"):
        drive.signal(number, "go")
        assert drive.step().events[1] == ev.TaskCompleted(key, 1)


def test_a_thousand_that_wait_are_not_looked_at_one_by_one() -> None:
    """Counts the looks at tasks while one after the other is done."""

    class Counted(dict[str, Any]):
        looks = 0

        def __getitem__(self, key: str) -> Any:
            Counted.looks += 1
            return super().__getitem__(key)

        def values(self) -> Any:
            Counted.looks += len(self)
            return super().values()

        def items(self) -> Any:
            Counted.looks += len(self)
            return super().items()

    def looks(count: int) -> int:
        drive = Driver(*(Task(f"t{n}") for n in range(count)), Task("busy"), slots=count + 1)
        drive.begin()
        state = drive.run.state
        state.tasks, state.active, Counted.looks = Counted(state.tasks), Counted(state.active), 0
        for number in range(count):
            drive.result(f"t{number}", AwaitSignal(f"s{number}", 1000 + number) if number % 2 else Sleep(1000 + number))
            assert not drive.run.has_news
        for number in range(1, count, 2):
            drive.signal(number, f"s{number}")
            drive.step()
        drive.run.now = drive.now + 10_000
        drive.step()
        assert list(state.active) == ["busy"]
        return Counted.looks

    assert looks(400) < 2.5 * looks(200)


def test_a_wait_without_a_limit_is_never_due() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    assert drive.result("a", AwaitSignal("go")).append.park == Park(None, None)


def test_a_timer_does_not_fire_before_it_is_due() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    drive.result("a", Sleep(60, output="slept"))
    due = drive.run.next_due()
    assert due == drive.now + 60
    drive.reload()
    drive.run.now = due - 0.001
    assert not drive.run.has_news
    drive.run.now = due
    assert names(drive.step()) == ["TaskCompleted", "ExecutionCompleted"]
    assert drive.run.state.output() == {"a": "slept"}


def test_what_was_woken_for_nothing_is_parked_again_and_says_nothing() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    drive.result("a", Sleep(60))
    due = drive.run.next_due()
    drive.reload()
    step = drive.step()
    assert (names(step), step.parked, step.append.park) == ([], True, Park(None, due))


def test_a_signal_that_came_first_is_kept_and_each_is_taken_once() -> None:
    drive = Driver(Task("a"), Task("b", config={"n": "{{tasks.a.output}}"}), edges=(Edge("a", "b"),))
    drive.begin()
    drive.signal(1, "go", b'"first"')
    drive.signal(1, "go", b'"first"')
    drive.signal(2, "go", b'"second"')
    step = drive.step()
    assert names(step) == ["SignalReceived", "SignalReceived"]
    assert step.append.consumed == (1, 2)
    assert names(drive.result("a", AwaitSignal("go"))) == ["TaskAwaiting", "TaskCompleted", "TaskStarted"]
    assert drive.run.flying["b"].config == {"n": "first"}
    drive.result("b", AwaitSignal("go"))
    assert drive.run.state.tasks["b"].output == "second"


def test_a_signal_with_a_known_key_is_taken_from_the_inbox_and_not_heard() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    for number in (1, 2):
        drive.run.signal(Signal(1, "event", "go", b"1", "key", number))
    step = drive.step()
    assert (names(step), step.append.consumed) == (["SignalReceived"], (1, 2))
    drive.run.signal(Signal(1, "event", "go", b"1", "key", 3))
    assert drive.run.advance() is None
    assert drive.result("a", Completed()).append.consumed == (3,)


def test_one_signal_completes_one_of_those_that_wait() -> None:
    drive = Driver(Task("a"), Task("b"))
    drive.begin()
    drive.result("a", AwaitSignal("go"))
    drive.result("b", AwaitSignal("go"))
    drive.signal(1, "other")
    assert names(drive.step()) == ["SignalReceived"]
    drive.signal(2, "go")
    assert names(drive.step()) == ["SignalReceived", "TaskCompleted"]
    drive.signal(3, "go")
    assert names(drive.step()) == ["SignalReceived", "TaskCompleted", "ExecutionCompleted"]


def test_a_wait_that_is_over_fails_the_task() -> None:
    drive = Driver(Task("a", on_error="continue"))
    drive.begin()
    drive.result("a", AwaitSignal("go", 5))
    drive.run.now = drive.now + 5
    step = drive.step()
    assert step.events[0] == ev.TaskFailed("a", Failure("timeout", "no signal 'go' came in time", "a"))


# --- the end ---


@pytest.mark.parametrize("reason", [b"null", b'"enough"'])
def test_a_cancel_ends_it_in_one_step_and_nothing_starts(reason: bytes) -> None:
    drive = Driver(Task("a"), Task("b", retry=RetryPolicy(max_attempts=2, initial_interval=1.0)), Task("c"), slots=2)
    drive.begin()
    drive.result("b", Failed(Failure("boom", "x")))
    drive.step()
    running = list(drive.run.flying.values())
    drive.signal(1, "cancel", reason, kind="cancel")
    drive.signal(2, "cancel", reason, kind="cancel")
    drive.run.now += 100
    step = drive.step()
    assert names(step)[:1] == ["CancelRequested"]
    assert names(step).count("CancelRequested") == 1
    assert names(step)[-1] == "ExecutionCancelled"
    assert "TaskStarted" not in names(step)
    assert (step.calls, step.cancels, step.append.consumed) == ([], tuple(running), (1, 2))
    assert drive.slots.free == 2


def test_a_failure_stops_the_running_siblings() -> None:
    drive = Driver(Task("a"), Task("b"))
    drive.begin()
    sibling = drive.run.flying["b"]
    step = drive.result("a", Failed(Failure("boom", "x")))
    assert names(step) == ["TaskFailed", "TaskCancelled", "ExecutionFailed"]
    assert step.cancels == (sibling,)
    assert drive.slots.free == drive.slots.size


def test_what_starts_and_ends_in_one_step_is_never_sent() -> None:
    drive = Driver(Task("a", when="{{input.x}}"), Task("b"))
    step = drive.begin({})
    assert names(step)[-1] == "ExecutionFailed"
    assert (step.calls, step.cancels) == ([], ())
    assert drive.slots.free == drive.slots.size


def test_a_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY", 20)
    drive = Driver(Task("a", retry=RetryPolicy(max_attempts=10_000, initial_interval=0.0)))
    step = drive.begin()
    while not step.ended:
        step = drive.result("a", Failed(Failure("boom", "x"))) if drive.run.flying else drive.step()
    assert step.append.status is E.FAILED
    assert drive.run.state.error == Failure("history_limit", "the history has more than 20 events")
    assert 20 < drive.run.state.seq < 26


# --- take-over ---


def test_attempts_of_a_dead_engine_are_lost_and_start_again() -> None:
    drive = Driver(Task("a"), Task("b"), slots=1)
    drive.begin()
    drive.slots = Slots(1)
    drive.reload(E.RUNNING)
    step = drive.step()
    assert step.events == [ev.TakenOver(("a",)), ev.TaskStarted("a", 2)]
    drive.result("a", Completed())
    assert drive.step().events == [ev.TaskStarted("b")]
    assert drive.run.state.tasks["a"].losses == 1
    assert drive.run.state.tasks["a"].failures == 0


def test_a_loss_is_no_failure_of_the_retry_policy() -> None:
    drive = Driver(Task("a", retry=RetryPolicy(max_attempts=2, initial_interval=1.0)))
    drive.begin()
    for _ in range(5):
        drive.reload(E.RUNNING)
        drive.step()
    assert drive.run.state.tasks["a"].attempt == 6
    failed = drive.result("a", Failed(Failure("boom", "x"))).events[0]
    assert isinstance(failed, ev.TaskFailed)
    assert failed.retry_in == 1.0


# --- slots ---


def test_a_dropped_run_gives_everything_back() -> None:
    drive = Driver(Task("a"), Task("b"), Task("c"), slots=2)
    drive.begin()
    running = list(drive.run.flying.values())
    drive.run.result(running[0], Completed(), 0.0)
    assert list(drive.run.drop()) == running
    assert drive.slots.free == 2
    drive.run.drop()
    assert drive.slots.free == 2


def test_a_step_that_breaks_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = Driver(Task("a"), Task("b"), slots=2)
    drive.begin()
    drive.run.result(drive.run.flying["a"], Completed(), 0.0)
    monkeypatch.setattr(Run, "_decide", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drive.run.advance()
    drive.run.drop()
    assert drive.slots.free == 2


def test_tasks_that_wait_for_a_slot_say_so_and_are_woken() -> None:
    drive = Driver(*map(Task, "abc"), slots=1)
    assert names(drive.begin()) == ["ExecutionStarted", "TaskStarted", "TaskScheduled", "TaskScheduled"]
    drive.result("a", Completed())
    assert drive.woken == 1
    step = drive.step()
    assert step.events == [ev.TaskStarted("b")]


# --- ways that lead nowhere ---


def ended(drive: Driver) -> Failure | None:
    failed = [event for event in drive.events if isinstance(event, ev.TaskFailed)]
    return failed[0].error if failed else None


BRANCH = (Edge("a", "b", "yes"), Edge("a", "", "no"), Edge("a", "gift", "vip"))


@pytest.mark.parametrize(
    ("label", "failure"),
    [
        ("yes", None),
        ("no", None),
        (None, None),
        ("maybe", "no edge has its label 'maybe'; there are: no, vip, yes"),
        ("vip", "its label 'vip' leads to the task 'gift', which does not exist; add it"),
    ],
)
def test_a_label_that_leads_nowhere_fails_the_task(label: str | None, failure: str | None) -> None:
    drive = Driver(Task("a", retry=RetryPolicy(3)), Task("b"), edges=BRANCH)
    drive.begin()
    step = drive.result("a", Completed(1, label))
    error = ended(drive)
    assert (error and error.message) == failure
    if failure is not None:
        assert error is not None
        assert error.type == "unknown_label"
        assert step.ended
    assert ("TaskStarted" in names(step)) == (label == "yes")


def test_labels_mean_nothing_where_no_edge_has_one() -> None:
    drive = Driver(Task("a"), Task("b"), edges=(Edge("a", "b"),))
    drive.begin()
    assert names(drive.result("a", Completed(1, "anything"))) == ["TaskCompleted", "TaskStarted"]


@pytest.mark.parametrize("outcome", [Completed(1), Completed(1, "yes"), Sleep(5), AwaitSignal("s")])
def test_a_task_that_leads_to_one_that_does_not_exist_fails_when_it_has_ended(outcome: Any) -> None:
    drive = Driver(Task("a"), Task("b"), edges=(Edge("a", "nowhere"), Edge("a", "b", "yes")))
    drive.begin()
    drive.result("a", outcome)
    if isinstance(outcome, Sleep):
        drive.run.now += 100
        drive.step()
    elif isinstance(outcome, AwaitSignal):
        drive.signal(1, "s")
        drive.step()
    error = ended(drive)
    assert error is not None
    assert (error.type, error.task) == ("unknown_target", "a")


def test_a_handler_of_errors_takes_over_from_a_label_that_leads_nowhere() -> None:
    edges = (*BRANCH, Edge("a", "h", "@error"))
    drive = Driver(Task("a", on_error="h"), Task("b"), Task("h"), edges=edges)
    drive.begin()
    assert names(drive.result("a", Completed(1, "vip"))) == ["TaskFailed", "TaskSkipped", "TaskStarted"]
