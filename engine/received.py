"""Events from outside, and the triggers that they set off: the records, and what the engine asks of a store.

Not to be confused with `engine.events`, the journal of an execution. A received event is stored before anything
follows from it; whoever holds it until `due_at` does what follows, and once that moment has passed anybody may.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from engine import limits
from engine.model import Record

ANY = "*"
"""What a trigger names in place of a type when it wants events of every type."""
UNNAMED = "event"
"""The type of an event whose sender gave it none."""
EVENT_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]*")
Condition = bool | str | dict[str, Any]


def is_event_type(word: object) -> bool:
    """Whether an event could be of this type."""
    return isinstance(word, str) and len(word) <= limits.NAME and EVENT_TYPE.fullmatch(word) is not None


def check_event_type(text: str) -> None:
    """Raises `ValueError`."""
    if not is_event_type(text):
        raise ValueError(f"the type of an event has {WHAT_TYPES_ARE}")


WHAT_TYPES_ARE = f"letters, digits and any of _ . : / -, at most {limits.NAME} characters, such as order.paid"


class TriggerSpec(Record, frozen=True, omit_defaults=False):
    """Starts the workflow for each event of the type `event` for which `condition` holds; `ANY`: of every type."""

    event: str = ANY
    condition: Condition = True
    enabled: bool = True


class Trigger(Record, frozen=True, omit_defaults=False):
    """A stored one. `written`: its workflow's document says it, and is where it is changed."""

    id: int
    workflow_id: int
    event: str
    condition: Condition
    enabled: bool
    written: bool
    created_at: float
    updated_at: float


class NewReceived(Record, frozen=True):
    """An event to be stored. `key` makes that idempotent, `digest` tells whether it comes again with the same content.

    `payload` is JSON. `depth` counts the events that led to it: 0 from outside, one more for each execution between.
    """

    type: str
    payload: bytes
    key: str | None = None
    digest: bytes = b""
    depth: int = 0


class ReceivedEvent(Record, frozen=True, omit_defaults=False):
    """A stored one. `outcome` (JSON) says what followed; None: that is still to be done, or being done."""

    id: int
    type: str
    payload: bytes
    key: str | None
    digest: bytes
    depth: int
    received_at: float
    handled_at: float | None
    outcome: bytes | None


WAITS = "event"
"""The kind of the waits that are for events; their topic is the type of the event."""


class EventWait(Record, frozen=True, omit_defaults=False):
    """An open wait for an event of the type `event`. `details` is JSON: what the task has asked (`engine.matching`)."""

    id: int
    execution_id: int
    task: str
    event: str
    details: bytes


class WokenByEvent(Record, frozen=True, omit_defaults=False):
    """A task that waited for an event, and has it now."""

    execution_id: int
    task: str


class EventStore(Protocol):
    """Triggers, and events from outside."""

    async def list_triggers(self, namespace: str, ref: int | str) -> list[Trigger]:
        """Of a workflow, by id. Raises `WorkflowNotFound`."""
        ...

    async def get_trigger(self, namespace: str, ref: int | str, trigger_id: int) -> Trigger:
        """Raises `WorkflowNotFound`, `TriggerNotFound`."""
        ...

    async def add_trigger(self, namespace: str, ref: int | str, spec: TriggerSpec) -> Trigger:
        """Raises `WorkflowNotFound`, `Invalid` when the workflow has `limits.TRIGGERS`."""
        ...

    async def update_trigger(
        self, namespace: str, ref: int | str, trigger_id: int, changes: Mapping[str, Any]
    ) -> Trigger:
        """Fields of `TriggerSpec` to set. Raises `WorkflowNotFound`, `TriggerNotFound`, `WrittenOtherwise`."""
        ...

    async def delete_trigger(self, namespace: str, ref: int | str, trigger_id: int) -> None:
        """Raises `WorkflowNotFound`, `TriggerNotFound`, `WrittenOtherwise`."""
        ...

    async def triggers_for(self, namespace: str, event: str, after: int, limit: int) -> list[Trigger]:
        """Enabled ones for events of this type, those for `ANY` among them, with `id > after`, by id."""
        ...

    async def receive_event(self, namespace: str, new: NewReceived, hold: float) -> tuple[ReceivedEvent, bool]:
        """Stores it, durable on return, for the caller to handle within `hold` seconds; then anybody may.

        False: there was one with this key before, and this is it.
        """
        ...

    async def get_received(self, namespace: str, event_id: int) -> ReceivedEvent:
        """Raises `EventNotFound`."""
        ...

    async def next_outside(self) -> float | None:
        """Seconds until an event may be claimed, or 0 if a wait has not looked back; None: there is nothing to do."""
        ...

    async def claim_received(self, limit: int, hold: float, only: int | None = None) -> Sequence[ReceivedEvent]:
        """Events that nobody handles, the longest due first, now held for `hold` seconds. `only`: this one at most."""
        ...

    async def settle_received(self, event_id: int, outcome: bytes) -> ReceivedEvent:
        """Says what followed; if somebody has said it before, that stands."""
        ...

    async def waits_for(self, namespace: str, event: str, after: int, limit: int) -> list[EventWait]:
        """Open waits for events of this type, with `id > after`, by id."""
        ...

    async def woken_by(self, by: str, limit: int) -> tuple[list[WokenByEvent], int]:
        """Whose waits for events were decided by whom `Decision.by` called so: the first by id, and how many in all."""
        ...

    async def waits_looking_back(self, after: int, limit: int) -> list[EventWait]:
        """Open waits for which nobody has looked yet for an earlier event, with `id > after`, by id."""
        ...

    async def events_before(self, wait_id: int, after: int, limit: int) -> list[ReceivedEvent]:
        """Events of the type, and within the look-back, of a wait, in the order of their receipt.

        Those that came since it was opened are among them. `after`: after this event.
        """
        ...

    async def looked_back(self, wait_id: int) -> None:
        """All earlier events were looked at."""
        ...
