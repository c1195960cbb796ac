"""`total_timeout` of a task: attempts, waits and retries together, never early, kept over a take-over."""

import pytest

from engine import events as ev
from engine.model import AwaitSignal, Completed, Edge, Failed, Failure, RetryPolicy, Sleep, Task
from engine.ports import Park
from engine.states import ExecutionStatus as E
from tests.unit.engine.test_children import OPENING, failure
from tests.unit.engine.test_runner import Driver, names

BROKEN = Failed(Failure("boom", "x"))


def hurried(seconds: float = 10.0, *, slots: int = 10, attempts: int = 1, timeout: float | None = None) -> Driver:
    retry = RetryPolicy(max_attempts=attempts, initial_interval=2.0, backoff_coefficient=1.0)
    return Driver(Task("a", retry=retry, timeout=timeout, total_timeout=seconds), slots=slots)


@pytest.mark.parametrize(("timeout", "expected"), [(None, 10.0), (4.0, 4.0), (40.0, 10.0)])
def test_the_first_attempt_has_all_of_it(timeout: float | None, expected: float) -> None:
    (call,) = hurried(timeout=timeout).begin().calls
    assert call.timeout == expected


def test_a_later_attempt_has_what_is_left() -> None:
    drive = hurried(attempts=5)
    drive.begin()
    begun = drive.now
    drive.result("a", BROKEN)
    drive.run.now = begun + 6.0
    (call,) = drive.step().calls
    assert call.timeout == 4.0
    (again,) = drive.run.running()
    assert again.attempt == 2


def test_no_retry_begins_after_it() -> None:
    drive = hurried(2.5, attempts=5)
    drive.begin()
    drive.run.now = drive.now + 1.0
    step = drive.result("a", BROKEN)
    assert names(step) == ["TaskFailed", "ExecutionFailed"]
    assert failure(step.events[0]).type == "boom"


@pytest.mark.parametrize("outcome", [Sleep(100.0), AwaitSignal("go"), AwaitSignal("go", 99.0), OPENING], ids=repr)
def test_a_wait_ends_with_it(outcome: object) -> None:
    drive = hurried(attempts=3)
    drive.begin()
    begun = drive.now
    step = drive.result("a", outcome)
    assert step.append.park is not None
    assert step.append.park.wake_at == begun + 10.0
    drive.reload()
    for now, late in ((begun + 9.9, False), (begun + 10.0, True)):
        drive.run.now = now
        assert drive.run.has_news is late
    step = drive.step()
    assert names(step) == ["TaskFailed", "ExecutionFailed"]
    assert (failure(step.events[0]).type, failure(step.events[0]).task) == ("timeout", "a")
    assert len(step.append.signals) == (outcome is OPENING)


def test_a_wait_that_ends_in_time_is_as_ever() -> None:
    drive = hurried()
    drive.begin()
    assert drive.result("a", Sleep(5.0)).append.park == Park(5.0, drive.now - 1.0 + 10.0)
    drive.run.now = drive.now + 5.0
    assert names(drive.step()) == ["TaskCompleted", "ExecutionCompleted"]


def test_the_time_before_a_slot_counts() -> None:
    drive = hurried(slots=0)
    assert names(drive.begin()) == ["ExecutionStarted", "TaskScheduled"]
    begun = drive.now
    drive.run.now = begun + 10.0
    drive.slots.release()
    step = drive.step()
    assert names(step) == ["TaskFailed", "ExecutionFailed"]
    assert failure(step.events[0]).type == "timeout"
    assert drive.slots.free == 1


def test_it_counts_from_the_first_attempt_whoever_goes_on() -> None:
    drive = hurried()
    drive.begin()
    begun = drive.now
    drive.now += 3.0
    drive.reload(E.RUNNING)
    step = drive.step()
    assert names(step) == ["TakenOver", "TaskStarted"]
    assert drive.run.state.tasks["a"].deadline == begun + 10.0
    assert step.calls[0].timeout == pytest.approx(begun + 10.0 - drive.run.now + 1.0)


def test_tasks_without_one_have_no_deadline() -> None:
    drive = Driver(Task("a"), Task("b", total_timeout=5.0), edges=(Edge("a", "b"),))
    drive.begin()
    drive.result("a", Completed())
    assert drive.run.state.tasks["a"].deadline is None
    assert drive.run.state.tasks["b"].deadline == drive.now + 5.0
    assert isinstance(drive.events[-1], ev.TaskStarted)
