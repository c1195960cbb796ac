"""Decisions that are plain enough to be written down, and the waits before retries."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.graph import CompiledGraph
from engine.model import Edge, Failure, Graph, Presentation, RetryPolicy, Task
from engine.planner import NOTHING, next_retry, plan
from engine.state import State, apply, derived_status
from engine.states import ExecutionStatus

BOOM = Failure("boom", "it broke")


def state(graph: Graph, *events: ev.Event) -> State:
    folded = State(1, CompiledGraph(graph, Presentation()))
    for event in events:
        apply(folded, event, 0)
    return folded


def starts(folded: State) -> list[str]:
    return plan(folded).start


def test_nothing_follows_before_the_start_and_after_the_end() -> None:
    graph = Graph((Task("a"),))
    assert plan(state(graph)) == NOTHING
    assert starts(state(graph, ev.ExecutionStarted())) == ["a"]
    over = state(graph, ev.ExecutionStarted(), ev.TaskStarted("a"), ev.TaskCompleted("a"), ev.ExecutionCompleted())
    assert plan(over) == NOTHING


def test_no_tasks_is_an_end() -> None:
    assert plan(state(Graph(), ev.ExecutionStarted())).end == ev.ExecutionCompleted()


@pytest.mark.parametrize(("label", "taken"), [("yes", {"y", "c"}), ("no", {"n", "c"}), (None, {"c"}), ("other", {"c"})])
def test_an_outcome_takes_its_label_and_the_unlabelled(label: str | None, taken: set[str]) -> None:
    graph = Graph(tuple(map(Task, "aync")), (Edge("a", "y", "yes"), Edge("a", "n", "no"), Edge("a", "c")))
    folded = state(graph, ev.ExecutionStarted(), ev.TaskStarted("a"), ev.TaskCompleted("a", label=label))
    assert set(starts(folded)) == taken
    assert set(plan(folded).settle) == {ev.TaskSkipped(key) for key in {"y", "n", "c"} - taken}


@pytest.mark.parametrize(
    ("when", "value", "decided"),
    [
        (True, {}, "start"),
        (False, {}, "skip"),
        ("{{input.x}}", {"x": True}, "start"),
        ("{{input.x}}", {"x": 0}, "skip"),
        ("{{input.x}}", {"x": ""}, "skip"),
        ("{{input.x}}", {"x": []}, "skip"),
        ("{{input.x}}", {"x": None}, "skip"),
        ("{{input.x}}", {"x": "maybe"}, "start"),
        ("{{input.x}}", {"x": "false"}, "skip"),
        ("{{input.x}}", {"x": "No"}, "skip"),
        ("not {{input.x}}", {"x": "false"}, "start"),
        ("{{input.x}} > 10", {"x": 11}, "start"),
        ("{{input.x}} > 10", {"x": 10}, "skip"),
        ({">": [{"var": "x"}, 10]}, {"x": 11}, "start"),
        ({">": [{"var": "x"}, 10]}, {}, "skip"),
        ("{{input.x}}", {}, "fail"),
    ],
)
def test_when(when: bool | str | dict[str, Any], value: Any, decided: str) -> None:
    decision = plan(state(Graph((Task("a", when=when),)), ev.ExecutionStarted(value)))
    match decided:
        case "start":
            assert decision.start == ["a"]
        case "skip":
            assert decision.settle == [ev.TaskSkipped("a", "when")]
        case _:
            (failed,) = decision.settle
            assert isinstance(failed, ev.TaskFailed)
            assert failed.error.message.startswith("when: no value at")


def test_a_failure_cancels_what_is_open_and_ends_with_its_task() -> None:
    graph = Graph((Task("a"), Task("b"), Task("c")), (Edge("a", "c"),))
    begun = (ev.ExecutionStarted(), ev.TaskStarted("a"), ev.TaskScheduled("b"), ev.TaskFailed("a", BOOM))
    decision = plan(state(graph, *begun))
    assert decision.settle == [ev.TaskCancelled("b")]
    assert decision.end == ev.ExecutionFailed(Failure("boom", "it broke", "a"))
    assert decision.start == []


def test_a_cancel_comes_before_a_failure() -> None:
    begun = (ev.ExecutionStarted(), ev.TaskStarted("a"), ev.TaskFailed("a", BOOM), ev.CancelRequested("stop"))
    assert plan(state(Graph((Task("a"),)), *begun)).end == ev.ExecutionCancelled("stop")


def test_the_output_is_that_of_completed_tasks_that_nothing_follows() -> None:
    graph = Graph(
        (Task("a"), Task("b", on_error="h"), Task("h"), Task("c")),
        (Edge("a", "b"), Edge("b", "h", "@error"), Edge("a", "c")),
    )
    folded = state(
        graph,
        ev.ExecutionStarted(),
        *(e for key in "abc" for e in (ev.TaskStarted(key), ev.TaskCompleted(key, key.upper()))),
        ev.TaskSkipped("h"),
    )
    assert folded.output() == {"b": "B", "c": "C"}


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], ExecutionStatus.PENDING),
        ([ev.ExecutionStarted()], ExecutionStatus.PENDING),
        ([ev.ExecutionStarted(), ev.TaskScheduled("a")], ExecutionStatus.RUNNING),
        ([ev.ExecutionStarted(), ev.TaskStarted("a")], ExecutionStatus.RUNNING),
        ([ev.ExecutionStarted(), ev.TaskStarted("a"), ev.TaskSleeping("a", 1)], ExecutionStatus.WAITING),
        ([ev.ExecutionStarted(), ev.TaskStarted("a"), ev.TaskAwaiting("a", "go")], ExecutionStatus.WAITING),
        ([ev.ExecutionStarted(), ev.TaskStarted("a"), ev.TaskFailed("a", BOOM, 1.0)], ExecutionStatus.WAITING),
        ([ev.ExecutionStarted(), ev.CancelRequested(), ev.ExecutionCancelled()], ExecutionStatus.CANCELLED),
    ],
)
def test_the_status_as_the_events_have_it(events: list[ev.Event], status: ExecutionStatus) -> None:
    assert derived_status(state(Graph((Task("a"), Task("b"))), *events)) is status


# --- retries ---

POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 10_000),
    initial_interval=st.floats(0, 31_536_000),
    backoff_coefficient=st.floats(1, 100) | st.integers(1, 100),
    maximum_interval=st.floats(0, 31_536_000),
    jitter=st.floats(0, 1),
)


def exact(policy: RetryPolicy, failures: int) -> Fraction:
    """The wait without jitter, by hand, as far as it can matter."""
    wait, most = Fraction(policy.initial_interval), Fraction(policy.maximum_interval)
    if not wait or policy.backoff_coefficient == 1:
        return min(wait, most)
    for _ in range(failures - 1):
        if wait > 2 * most:
            break
        wait *= Fraction(policy.backoff_coefficient)
        wait = Fraction(float(wait)) if wait < 10**18 else wait
    return min(wait, most)


@given(POLICIES, st.integers(1, 400), st.floats(0, 1, exclude_max=True))
def test_the_wait_grows_by_the_coefficient_up_to_the_maximum(policy: RetryPolicy, failures: int, chance: float) -> None:
    wait = next_retry(policy, failures, BOOM, True, chance)
    if failures >= policy.max_attempts:
        assert wait is None
        return
    assert wait is not None
    base = float(exact(policy, failures))
    assert base * 0.999999 <= wait <= base * (1 + policy.jitter) * 1.000001


def test_there_is_no_next_attempt_after_a_final_failure() -> None:
    policy = RetryPolicy(max_attempts=5, non_retryable=("fatal",))
    assert next_retry(policy, 1, BOOM, True, 0.0) == 1.0
    assert next_retry(policy, 1, BOOM, False, 0.0) is None
    assert next_retry(policy, 1, Failure("fatal", ""), True, 0.0) is None
    assert next_retry(policy, 5, BOOM, True, 0.0) is None
    assert next_retry(RetryPolicy(), 1, BOOM, True, 0.0) is None


def test_no_interval_stays_none_however_often() -> None:
    policy = RetryPolicy(max_attempts=10_000, initial_interval=0.0, backoff_coefficient=100.0)
    assert {next_retry(policy, failures, BOOM, True, 0.5) for failures in (1, 2, 200, 9_999)} == {0.0}
