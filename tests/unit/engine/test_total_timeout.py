"""`total_timeout` of a task: attempts, waits and retries together, never early, kept over a take-over."""

import msgspec
import pytest

from engine import events as ev
from engine.model import (
    AwaitSignal,
    Compensation,
    Completed,
    Edge,
    Failed,
    Failure,
    FanOut,
    Lost,
    RetryPolicy,
    Sleep,
    Task,
)
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


# --- of what waits for a slot, or for its runs ---


def start(drive: Driver) -> float:
    """From when the time of its first tasks counts."""
    return drive.stored[0].at


def late(drive: Driver, seconds: float) -> Driver:
    """`seconds` from the commit of its first step on, nothing having happened since."""
    drive.run.now = start(drive) + seconds
    return drive


def queued(*rest: Task, on_error: str = "fail") -> Driver:
    drive = Driver(Task("a", total_timeout=10.0, on_error=on_error), *rest, slots=0)
    drive.begin()
    return drive


def test_who_waits_for_a_slot_is_ended_when_its_time_is_over() -> None:
    drive = queued()
    assert drive.run.next_due() == start(drive) + 10.0
    assert not late(drive, 9.9).run.has_news
    assert late(drive, 10.0).run.has_news
    step = drive.step()
    assert names(step) == ["TaskFailed", "ExecutionFailed"]
    assert failure(step.events[0]) == Failure("timeout", "it took longer than its total_timeout of 10 s", "a")
    assert not drive.run.wanted
    drive.slots.release()
    assert drive.slots.free == 1


def test_others_go_on_with_the_slot_that_it_waited_for() -> None:
    drive = queued(Task("b"), on_error="continue")
    assert names(late(drive, 10.0).step()) == ["TaskFailed"]
    assert drive.run.next_due() is None
    drive.slots.release()
    assert names(drive.step()) == ["TaskStarted"]
    assert drive.slots.free == 0


def test_a_slot_that_comes_with_the_end_of_its_time_is_given_back() -> None:
    drive = queued(on_error="continue")
    drive.slots.release()
    late(drive, 10.0).step()
    assert drive.slots.free == 1


def test_a_slot_in_time_leaves_the_rest_to_the_attempt() -> None:
    drive = queued()
    drive.slots.release()
    (call,) = late(drive, 4.0).step().calls
    assert call.timeout == 6.0
    assert drive.run.next_due() is None


def test_a_retry_and_a_lost_attempt_that_wait_for_a_slot_have_the_same_end() -> None:
    drive = Driver(Task("a", retry=RetryPolicy(3, 2.0), total_timeout=10.0), Task("b"), slots=2)
    drive.begin()
    drive.result("a", BROKEN)
    drive.slots.close()  # so that nobody gets it
    assert names(late(drive, 5.0).step()) == ["TaskScheduled"]
    assert drive.run.next_due() == start(drive) + 10.0
    drive.now = start(drive) + 6.0
    drive.reload(E.RUNNING)
    assert drive.run.next_due() == start(drive) + 10.0
    assert names(drive.step()) == ["TakenOver"]
    assert names(late(drive, 10.0).step()) == ["TaskFailed", "TaskCancelled", "ExecutionFailed"]


def test_a_lost_attempt_that_waits_again_has_the_same_end() -> None:
    drive = hurried(slots=1)
    drive.begin()
    drive.slots.close()
    assert names(drive.result("a", Lost("gone"))) == ["TaskLost"]
    assert drive.run.next_due() == start(drive) + 10.0
    drive.reload(E.RUNNING)
    assert drive.run.next_due() == start(drive) + 10.0
    assert names(late(drive, 10.0).step()) == ["TaskFailed", "ExecutionFailed"]


@pytest.mark.parametrize("kind", ["map", "loop"])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_map_or_loop_ends_with_what_it_runs(kind: str, slots: int) -> None:
    body: dict[str, object] = {"type": "noop", "config": {}}
    config = {"items": [1, 2, 3], "task": body} if kind == "map" else {"while": True, "task": body}
    drive = Driver(Task("m", kind, config, total_timeout=10.0, on_error="continue"), slots=slots)
    drive.begin()
    runs = 3 if kind == "map" else 1
    drive.result("m", FanOut(3, runs))
    assert len(drive.run.flying) + len(drive.run.wanted) == runs
    assert drive.run.next_due() == start(drive) + 10.0
    step = late(drive, 10.0).step()
    assert names(step) == ["TaskCancelled"] * runs + ["TaskFailed", "ExecutionCompleted"]
    assert failure(step.events[-2]).type == "timeout"
    assert len(step.cancels) == min(slots, runs)
    assert drive.slots.free == slots


def test_a_run_whose_timer_runs_out_with_that_of_its_map_is_cancelled() -> None:
    body: dict[str, object] = {"type": "noop", "config": {}}
    drive = Driver(Task("m", "map", {"items": [1], "task": body}, total_timeout=10.0, on_error="continue"))
    drive.begin()
    drive.result("m", FanOut(1))
    park = drive.result("m[0]", Sleep(until=start(drive) + 10.0)).append.park
    assert park is not None
    assert park.wake_at == start(drive) + 10.0
    drive.reload()
    assert names(late(drive, 10.0).step()) == ["TaskCancelled", "TaskFailed", "ExecutionCompleted"]


def test_a_compensation_that_waits_after_the_end_is_not_woken_by_it() -> None:
    """The timeout of the whole has been said: it is no timer any more."""
    undo = Compensation("noop", retry=RetryPolicy(2, 50.0))
    drive = Driver(Task("a", compensate=undo), Task("b"), edges=(Edge("a", "b"),), timeout=10.0)
    drive.begin()
    drive.result("a", Completed())
    step = late(drive, 10.0).step()
    assert names(step) == ["TaskCancelled", "CompensationStarted", "TaskStarted"]
    assert drive.result("a~compensate", BROKEN).append.park == Park(50.0)


def test_a_child_that_nobody_waits_for_leaves_no_timer() -> None:
    drive = Driver(Task("a", total_timeout=10.0), Task("b"))
    drive.begin()
    assert names(drive.result("a", msgspec.structs.replace(OPENING, wait=False))) == ["ChildStarted", "TaskCompleted"]
    drive.result("b", Sleep(50.0))
    drive.reload()
    assert not late(drive, 11.0).run.has_news
