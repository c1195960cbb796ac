"""Answers that are put together from bytes."""

import json

import msgspec

from api import execution_answers
from engine.events import Event, ExecutionStarted, StoredEvent, TakenOver, TaskStarted, encode


def stored(seq: int, event: Event) -> StoredEvent:
    record = encode(event)
    return StoredEvent(1, seq, record.type, 1, 0.5, None, record.data)


def test_events_are_their_fields_and_what_they_have_in_common() -> None:
    history = [stored(1, ExecutionStarted({"a": [1]})), stored(2, TaskStarted("t", 2)), stored(3, TakenOver())]
    page = json.loads(execution_answers.events(history, 0))
    at = "1970-01-01T00:00:00.500000Z"
    assert page == {
        "items": [
            {"seq": 1, "type": "ExecutionStarted", "at": at, "input": {"a": [1]}},
            {"seq": 2, "type": "TaskStarted", "at": at, "task": "t", "attempt": 2},
            {"seq": 3, "type": "TakenOver", "at": at},
        ],
        "last_seq": 3,
    }
    assert json.loads(execution_answers.events([], 7)) == {"items": [], "last_seq": 7}


def test_no_event_has_a_field_of_the_common_ones() -> None:
    common = set(execution_answers.EventAnswer.__struct_fields__)
    for kind in Event.__args__:
        assert common.isdisjoint(field.encode_name for field in msgspec.structs.fields(kind))
