"""Struct and Value to plain words and back."""

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from engine.documents import canonical_json
from engine.errors import Invalid, InvalidDocument
from engine.model import ExecutionRow, ExecutionView, Failure, TaskRun
from engine.states import ExecutionStatus, TaskStatus
from server import conversion

EXACT = 2**53 - 1
finite = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not (x.is_integer() and abs(x) > EXACT))
text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-EXACT, EXACT) | finite | text
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)


@given(documents)
def test_what_goes_into_a_value_comes_out_of_it(document: Any) -> None:
    value = Value()
    assert conversion.to_value(value, document)
    parsed = conversion.from_value(Value.FromString(value.SerializeToString()))
    assert canonical_json(parsed) == canonical_json(document)


@given(st.dictionaries(text, documents))
def test_a_struct_is_an_object(document: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(document)
    assert canonical_json(conversion.from_struct(struct)) == canonical_json(document)


def test_integral_numbers_become_integers() -> None:
    struct = Struct()
    struct.update({"a": 3, "b": 3.0, "c": 3.5, "d": EXACT, "e": -0.0})
    assert [type(v) for v in conversion.from_struct(struct).values()].count(int) == 4
    assert conversion.from_struct(struct)["d"] == EXACT


@pytest.mark.parametrize("number", [2.0**53, -(2.0**53), 1e300, math.nan, math.inf, -math.inf])
def test_a_number_that_a_double_cannot_mean_is_refused_with_its_place(number: float) -> None:
    struct = Struct()
    struct.update({"fine": 1, "a/b": [{"x": 1}, {"n": number}]})
    with pytest.raises(InvalidDocument, match="input_json") as refused:
        conversion.from_struct(struct)
    assert refused.value.pointer == "/a~1b/1/n"
    with pytest.raises(InvalidDocument) as refused:
        conversion.from_value(Value(number_value=number))
    assert refused.value.pointer == ""


def test_a_value_never_carries_an_integer_that_is_not_exact() -> None:
    value = Value()
    assert not conversion.to_value(value, {"a": [1, 2**53 + 1]})
    assert value.WhichOneof("kind") is None


def test_an_unset_value_is_null() -> None:
    assert conversion.from_value(Value()) is None


# --- executions ---

RUN = TaskRun("a", "A", "noop", TaskStatus.COMPLETED, "", 1, {}, {"n": 1}, None, None, None, 1.0, 1.0, 2.5, None, None)
VIEW = ExecutionView(
    7, 3, 2, ExecutionStatus.COMPLETED, {"x": 2**60}, {"n": 1}, None, 0.0, 1.0, 2.5, 9, (RUN,), {"k": "v"}
)


def changed(view: Any, **fields: Any) -> Any:
    return type(view)(**{name: fields.get(name, getattr(view, name)) for name in view.__struct_fields__})


def test_a_status_says_all() -> None:
    message = conversion.status_message(VIEW)
    assert (message.execution_id, message.workflow_id, message.workflow_version) == (7, 3, 2)
    assert (message.status, message.last_seq, dict(message.labels)) == ("completed", 9, {"k": "v"})
    assert message.created_at == "1970-01-01T00:00:00.000000Z"
    assert message.completed_at == "1970-01-01T00:00:02.500000Z"
    assert message.output.struct_value.fields["n"].number_value == 1
    assert (message.output_json, message.input_json) == ('{"n":1}', f'{{"x":{2**60}}}')
    assert not message.HasField("error")
    assert not message.HasField("rerun_of")
    (task,) = message.tasks
    assert (task.key, task.name, task.status, task.attempt, task.output_json) == ("a", "A", "completed", 1, '{"n":1}')


def test_before_the_end_there_is_no_output() -> None:
    message = conversion.status_message(changed(VIEW, status=ExecutionStatus.RUNNING, output=None, ended_at=None))
    assert not message.HasField("output")
    assert (message.output_json, message.completed_at) == ("", "")


def test_an_output_that_is_not_exact_is_text_only() -> None:
    message = conversion.status_message(changed(VIEW, output=[2**60]))
    assert not message.HasField("output")
    assert message.output_json == f"[{2**60}]"


def test_tasks_can_be_left_out() -> None:
    assert not conversion.status_message(VIEW, tasks=False).tasks


def test_payloads_can_be_left_out() -> None:
    (task,) = conversion.status_message(VIEW, payloads=False).tasks
    assert (task.status, task.input_json, task.output_json) == ("completed", "", "")


def test_failures_are_named() -> None:
    failure = Failure("timeout", "too slow", "a")
    run = changed(RUN, status=TaskStatus.FAILED, output=None, error=failure)
    message = conversion.status_message(changed(VIEW, status=ExecutionStatus.FAILED, error=failure, tasks=(run,)))
    assert (message.error.type, message.error.message, message.error.task) == ("timeout", "too slow", "a")
    assert message.tasks[0].error == message.error
    assert message.tasks[0].output_json == ""


# --- lists ---

ROW = ExecutionRow(5, "default", 1, 1, ExecutionStatus.RUNNING, None, None, None, 1795223632.897535, None, None)


def test_a_page_token_comes_back_as_the_place_it_was_made_for() -> None:
    cursor = conversion.cursor(conversion.page_token(ROW))
    assert (cursor.created_at, cursor.id) == (ROW.created_at, ROW.id)


@pytest.mark.parametrize("token", ["x", "!!!!", "MTIz", "8J-YgA==", "é"])
def test_a_foreign_page_token_is_refused(token: str) -> None:
    with pytest.raises(Invalid) as refused:
        conversion.cursor(token)
    assert refused.value.pointer == "/page_token"


def test_an_unknown_status_is_refused_with_its_place() -> None:
    assert conversion.statuses(["failed"]) == (ExecutionStatus.FAILED,)
    with pytest.raises(Invalid, match="cancelled") as refused:
        conversion.statuses(["failed", "done"])
    assert refused.value.pointer == "/statuses/1"
