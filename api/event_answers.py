"""The answers about triggers and events from outside, as they go out."""

from collections.abc import Iterable
from typing import Any

import msgspec

from api.answers import Time, encode
from engine.clock import rfc3339
from engine.received import Trigger
from engine.reception import Reaction


class TriggerAnswer(msgspec.Struct, frozen=True):
    """A trigger; `written`: it stands in the document of its workflow, and is changed there."""

    id: int
    workflow_id: int
    event: str
    condition: bool | str | dict[str, Any]
    enabled: bool
    written: bool
    created_at: Time
    updated_at: Time


class StartedByEventAnswer(msgspec.Struct, frozen=True):
    """An execution that an event has started, and the trigger that it was for."""

    execution_id: int
    workflow_id: int
    trigger_id: int


class WokenByEventAnswer(msgspec.Struct, frozen=True):
    """A task that waited for the event."""

    execution_id: int
    task: str


class TriggerProblemAnswer(msgspec.Struct, frozen=True):
    """A trigger that could not do its work; it harmed no other."""

    trigger_id: int
    workflow_id: int
    code: str
    message: str


class ReactionAnswer(msgspec.Struct, frozen=True):
    """An event and what followed. Not `handled`: it is stored, and the rest follows by itself.

    `woken` names the first 1,000 of the `woken_count` tasks.
    """

    event_id: int
    type: str
    idempotency_key: str | None
    received_at: Time
    handled: bool
    replayed: bool
    started: list[StartedByEventAnswer]
    woken: list[WokenByEventAnswer]
    woken_count: int
    problems: list[TriggerProblemAnswer]


class ReceivedAnswer(msgspec.Struct, frozen=True):
    """An event as it was received, and what followed. `woken` names the first 1,000 of the `woken_count` tasks."""

    event_id: int
    type: str
    idempotency_key: str | None
    received_at: Time
    handled: bool
    payload: msgspec.Raw
    started: list[StartedByEventAnswer]
    woken: list[WokenByEventAnswer]
    woken_count: int
    problems: list[TriggerProblemAnswer]


def trigger(one: Trigger) -> bytes:
    return encode(_trigger(one))


def triggers(found: Iterable[Trigger]) -> bytes:
    return encode([_trigger(one) for one in found])


def _trigger(one: Trigger) -> TriggerAnswer:
    fields = msgspec.structs.asdict(one)
    times = {name: rfc3339(fields[name]) for name in ("created_at", "updated_at")}
    return TriggerAnswer(**{**fields, **times})


def reaction(found: Reaction) -> bytes:
    return encode(ReactionAnswer(**_head(found), replayed=found.replayed, **_outcome(found)))


def received(found: Reaction) -> bytes:
    return encode(ReceivedAnswer(**_head(found), payload=msgspec.Raw(found.event.payload), **_outcome(found)))


def _head(found: Reaction) -> dict[str, Any]:
    event = found.event
    return {
        "event_id": event.id,
        "type": event.type,
        "idempotency_key": event.key,
        "received_at": rfc3339(event.received_at),
        "handled": found.handled,
    }


def _outcome(found: Reaction) -> dict[str, Any]:
    outcome, plain = found.outcome, msgspec.structs.asdict
    return {
        "started": [StartedByEventAnswer(**plain(one)) for one in outcome.started],
        "woken": [WokenByEventAnswer(**plain(one)) for one in outcome.woken],
        "woken_count": outcome.woken_count,
        "problems": [TriggerProblemAnswer(**plain(one)) for one in outcome.problems],
    }
