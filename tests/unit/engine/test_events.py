"""Every event is read as it was written; what was not written by us is refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.model import Answer, Failure, Parent, Usage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBER = st.floats(0, 1e9)
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    str | None: st.none() | TEXT,
    float: NUMBER,
    float | None: st.none() | NUMBER,
    int: st.integers(0, 2**53),
    int | None: st.none() | st.integers(0, 2**53),
    bool: st.booleans(),
    Any: ANY,
    Parent | None: st.none() | st.builds(Parent, st.integers(1, 2**53), st.integers(1, 2**53), st.integers(1, 32)),
    Failure: st.builds(Failure, TEXT, TEXT, st.none() | TEXT),
    Answer | None: st.none() | st.builds(Answer, ANY, st.none() | TEXT, st.none() | st.builds(Failure, TEXT, TEXT)),
    Failure | None: st.none() | st.builds(Failure, TEXT, TEXT, st.none() | TEXT),
    Usage | None: st.none() | st.builds(Usage, st.integers(0, 2**40), st.integers(0, 2**40), st.none() | NUMBER),
    tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
}
TYPES: list[type[ev.Event]] = list(ev.Event.__args__)


def back(event: ev.Event, **changes: Any) -> ev.Event:
    record = ev.encode(event)
    return ev.decode(ev.StoredEvent(1, 1, record.type, 1, 0.0, 1, changes.get("data", record.data)))


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
@settings(max_examples=15)
def test_an_event_comes_back(kind: type[ev.Event], data: st.DataObject) -> None:
    fields = {field.name: data.draw(FIELDS[field.type]) for field in msgspec.structs.fields(kind)}
    event = kind(**fields)
    assert back(event) == event
    assert type(back(event)) is kind


def test_the_vocabulary_is_closed() -> None:
    assert len({kind.__name__ for kind in TYPES}) == len(TYPES) == 20
    assert set(ev.TERMINAL_EVENTS) <= set(TYPES)


def test_defaults_take_no_room() -> None:
    assert ev.encode(ev.TaskStarted("a")).data == b'{"task":"a"}'
    assert ev.encode(ev.ExecutionCompleted()).data == b"{}"


DEFAULTS: dict[str, dict[str, Any]] = {
    "ExecutionStarted": {"input": None, "depth": 0, "parent": None},
    "TakenOver": {"lost": ()},
    "TaskStarted": {"attempt": 1},
    "TaskCompleted": {"output": None, "label": None, "elapsed": 0.0, "usage": None},
    "TaskFailed": {"retry_in": None, "elapsed": 0.0, "usage": None},
    "TaskLost": {"suspect": True},
    "TaskSleeping": {"seconds": 0.0, "until": None, "output": None},
    "TaskAwaiting": {"timeout": None, "kind": None, "reason": None, "otherwise": None},
    "TaskFannedOut": {"max_parallel": 1, "tolerated": 0, "elapsed": 0.0},
    "ChildStarted": {"wait": True, "timeout": None},
    "TaskSkipped": {"reason": "not_taken"},
    "SignalReceived": {"payload": None, "signal_id": 0, "dedupe_key": None},
    "BudgetRaised": {"cost": None, "tokens": None},
    "CancelRequested": {"reason": None},
    "CompensationStarted": {"error": None},
    "ExecutionCancelled": {"reason": None, "error": None},
}
"""What a field means that was left out when it was stored; to change one is to change every history."""


def test_what_was_left_out_means_what_it_meant() -> None:
    found = {kind.__name__: _defaults(kind) for kind in TYPES}
    assert {name: fields for name, fields in found.items() if fields} == DEFAULTS


def _defaults(kind: type[ev.Event]) -> dict[str, Any]:
    return {field.name: field.default for field in msgspec.structs.fields(kind) if not field.required}


def test_a_field_of_a_later_release_is_no_fault() -> None:
    assert back(ev.TaskStarted("a"), data=b'{"task":"a","later":[1]}') == ev.TaskStarted("a")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"task":5}', b'{"task":"a","attempt":"x"}', b'{"task":"a"'])
def test_a_journal_that_is_not_ours_is_refused(data: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        back(ev.TaskStarted("a"), data=data)
    with pytest.raises(KeyError):
        ev.decode(ev.StoredEvent(1, 1, "TaskDreamt", 1, 0.0, 1, b"{}"))
