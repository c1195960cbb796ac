"""Whatever a handler returns becomes an event that can be read again, or a failure of its attempt."""

import enum
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine import limits
from engine.errors import TaskError
from engine.model import AwaitSignal, Budget, Completed, Failed, Failure, FanOut, Lost, Outcome, Result, Sleep, Usage
from engine.outcomes import LAST_MOMENT, loss_of, portable, record_of, storable


class Number(float):
    """As numpy's."""


class Word(str):
    __slots__ = ()


class Color(enum.StrEnum):
    RED = "red"


def stored(outcome: Outcome, elapsed: float = 0.5) -> ev.Event:
    """The event as it will be read; it is the same as the one kept in memory."""
    event, record = record_of("t", outcome, elapsed)
    again = ev.decode(ev.StoredEvent(1, 1, record.type, 1, 0.0, 1, record.data))
    assert again == event
    return again


def refusal(outcome: Any) -> TaskError:
    with pytest.raises(TaskError) as caught:
        record_of("t", outcome, 0.0)
    assert not caught.value.retryable
    return caught.value


def test_outcomes_become_events() -> None:
    assert stored(Completed({"a": [1, "é"]}, "yes")) == ev.TaskCompleted("t", {"a": [1, "é"]}, "yes", 0.5)
    assert stored(Completed()) == ev.TaskCompleted("t", None, None, 0.5)
    assert stored(Sleep(3, output=[1])) == ev.TaskSleeping("t", 3.0, None, [1])
    assert stored(Sleep(until=12)) == ev.TaskSleeping("t", 0.0, 12.0)
    assert stored(Sleep(until=-5.0)) == ev.TaskSleeping("t", 0.0, 0.0)
    assert stored(AwaitSignal("go", 0)) == ev.TaskAwaiting("t", "go", 0.0)
    assert stored(AwaitSignal("go")) == ev.TaskAwaiting("t", "go")
    assert stored(FanOut(3, 2, 1)) == ev.TaskFannedOut("t", 3, 2, 1, 0.5)


@pytest.mark.parametrize(
    ("output", "plain"),
    [
        ((1, (2,)), [1, [2]]),
        ({"a": (1,)}, {"a": [1]}),
        ({1: 2}, {"1": 2}),
        (Number(1.5), 1.5),
        ([Word("x"), {Word("k"): Color.RED}], ["x", {"k": "red"}]),
        (True, True),
        (Failure("a", "b"), {"type": "a", "message": "b"}),
    ],
)
def test_what_can_be_json_is_made_json(output: Any, plain: Any) -> None:
    event = stored(Completed(output))
    assert isinstance(event, ev.TaskCompleted)
    assert event.output == plain
    assert type(event.output) is type(plain)


@pytest.mark.parametrize(
    "output",
    [
        object(),
        lambda: 1,
        math.nan,
        {"a": [math.inf]},
        Number("nan"),
        2**64,
        "\ud800",
        "a\0b",
        {"a\0": 1},
        {(1, 2): 3},
        [0] * 100_001,
    ],
)
def test_what_cannot_be_json_is_a_failure(output: Any) -> None:
    assert refusal(Completed(output)).type == "bad_output"
    assert refusal(Sleep(1, output=output)).type == "bad_output"


def test_an_output_that_contains_itself_is_a_failure() -> None:
    output: dict[str, Any] = {}
    output["again"] = output
    assert refusal(Completed(output)).type == "bad_output"


def test_an_output_is_taken_by_value() -> None:
    output: dict[str, Any] = {"list": [1]}
    event, _ = record_of("t", Completed(output), 0.0)
    output["list"].append(2)
    assert isinstance(event, ev.TaskCompleted)
    assert event.output == {"list": [1]}


def test_an_output_is_bounded() -> None:
    large = "a" * limits.PAYLOAD
    assert refusal(Completed(large)).type == "output_too_large"
    assert refusal(Sleep(1, output=large)).type == "output_too_large"
    stored(Completed("a" * (limits.PAYLOAD - 100)))


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        {"output": 1},
        Completed,
        "done",
        Completed(label=5),  # type: ignore[arg-type]
        Completed(label=""),
        Completed(label="@error"),
        Completed(label="a\ud800"),
        Completed(label="a" * 201),
        Sleep(-1),
        Sleep(math.nan),
        Sleep(math.inf),
        Sleep(limits.DURATION + 1),
        Sleep("1"),  # type: ignore[arg-type]
        Sleep(until=math.nan),
        Sleep(until=math.inf),
        Sleep(until=LAST_MOMENT + 1),
        Sleep(until="tomorrow"),  # type: ignore[arg-type]
        AwaitSignal(""),
        AwaitSignal(None),  # type: ignore[arg-type]
        AwaitSignal("go\0"),
        AwaitSignal("go", -1),
        AwaitSignal("go", math.inf),
        AwaitSignal("go", "soon"),  # type: ignore[arg-type]
        FanOut(-1),
        FanOut(10_001),
        FanOut(2.0),  # type: ignore[arg-type]
        FanOut(1, 0),
        FanOut(1, 1_001),
        FanOut(1, 1, -1),
    ],
    ids=repr,
)
def test_a_bad_outcome_is_a_failure(outcome: Any) -> None:
    assert refusal(outcome).type == "bad_outcome"


@pytest.mark.parametrize("elapsed", [math.nan, math.inf, -1.0, None, "1"])
def test_a_bad_duration_is_none(elapsed: Any) -> None:
    assert stored(Completed(), elapsed) == ev.TaskCompleted("t")


@pytest.mark.parametrize(
    ("given_error", "message"),
    [
        (Failure("a", "b\ud800c"), "b?c"),
        (Failure("a", "x" * 20_000), "x" * 10_000),
        (Failure("a", {"not": "text"}), "{'not': 'text'}"),  # type: ignore[arg-type]
        (Failure("a", "é"), "é"),
    ],
)
def test_an_error_is_made_storable(given_error: Failure, message: str) -> None:
    kept = storable(given_error, "t")
    assert kept == Failure("a", message, "t")
    ev.encode(ev.TaskFailed("t", kept))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3)
    | st.builds(Number, st.floats())
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=3) | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.builds(Completed, ANYTHING, ANYTHING) | st.builds(Sleep, ANYTHING, ANYTHING, ANYTHING) | ANYTHING)
@settings(max_examples=150)
def test_any_outcome_is_readable_or_a_failure(outcome: Any) -> None:
    failure = None
    try:
        stored(outcome)
    except TaskError as error:
        failure = error
    travelled = portable("t", outcome, 0.5)
    assert msgspec.json.decode(msgspec.json.encode(travelled), type=Result) == travelled
    if failure is None:
        assert not isinstance(travelled, Failed | Lost)
        assert stored(travelled) == stored(outcome)
    else:
        assert travelled == Failed(Failure(failure.type, failure.message, "t"), failure.retryable)
        assert failure.type in ("bad_output", "bad_outcome")
        ev.encode(ev.TaskFailed("t", storable(Failure(failure.type, failure.message), "t")))


def test_what_was_spent_is_kept_whatever_came_of_it() -> None:
    usage = Usage(10, 2, 0.25)
    assert stored(Completed("x", usage=usage)) == ev.TaskCompleted("t", "x", None, 0.5, usage)
    assert portable("t", Completed(math.nan, usage=usage), 0.0).usage == usage  # type: ignore[union-attr]
    assert portable("t", Failed(Failure("a", "b"), usage=usage), 0.0) == Failed(Failure("a", "b", "t"), usage=usage)


@pytest.mark.parametrize(
    "usage",
    [Usage(-1), Usage(2**60), Usage(1.5), Usage(True), Usage(1, 1, math.nan), Usage(1, 1, -1.0), {"cost": 1}, 5],  # type: ignore[arg-type]
)
def test_nonsense_was_not_spent(usage: Any) -> None:
    assert stored(Completed("x", usage=usage)) == ev.TaskCompleted("t", "x", None, 0.5)


def test_costs_that_are_not_known_add_none() -> None:
    assert Usage(1, 2) + Usage(3, 4) == Usage(4, 6)
    assert Usage(1, 2, 0.1) + Usage(3, 4) + Usage(0, 0, 0.2) == Usage(4, 6, 0.3)


def test_a_budget_is_never_less_than_nothing() -> None:
    assert Budget(1.0, 100).after(None) == Budget(1.0, 100)
    assert Budget(1.0, 100).after(Usage(30, 20)) == Budget(1.0, 50)
    assert Budget(1.0, 100).after(Usage(300, 20, 7.0)) == Budget(0.0, 0)
    assert Budget(tokens=5).after(Usage(1, 1, 1.0)) == Budget(tokens=3)


@pytest.mark.parametrize("shared", [False, True], ids=["its own process", "a worker"])
@pytest.mark.parametrize("alone", [False, True], ids=["beside others", "alone"])
def test_who_runs_alone_is_not_blamed_for_the_death_of_a_worker(alone: bool, shared: bool) -> None:
    event = loss_of("a", Lost("it died", shared=shared), alone=alone)
    assert event == ev.TaskLost("a", "it died", suspect=not (alone and shared))
    assert loss_of("a", Lost("it is forgotten", suspect=False), alone=alone).suspect is False
