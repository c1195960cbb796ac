"""`publish_event`: an event for the triggers, and the waiting tasks, of this installation."""

from typing import Annotated, Any, ClassVar

import msgspec

from engine import limits
from engine.model import Completed, Outcome, Publication, TaskCall
from engine.received import check_event_type
from engine.task_ports import NodeContext, Shape
from engine.waits import OWN


def _check_key(key: str | None) -> None:
    if key is not None and key.startswith(OWN):
        raise ValueError(f"the first character of a key is not {OWN!r}: such keys are given to tasks without one")


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The type of the event, what it carries, and perhaps a key: events with the same one are one event."""

    event: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME, extra={"check": check_event_type})]
    payload: Any = None
    key: Annotated[
        Annotated[str, msgspec.Meta(min_length=1, max_length=limits.IDEMPOTENCY_KEY)] | None,
        msgspec.Meta(extra={"check": _check_key}),
    ] = None

    def __post_init__(self) -> None:
        check_event_type(self.event)
        _check_key(self.key)


class PublishEvent:
    """Publishes an event, durable in the same commit as this task's completion.

    The output says its type and the key that it is found by.
    """

    type: ClassVar[str] = "publish_event"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False
    aliases: ClassVar[tuple[str, ...]] = ("emit_event", "emit")
    spellings: ClassVar[dict[str, str]] = {"event_type": "event", "data": "payload", "idempotency_key": "key"}

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        key = config.key or f"{OWN}execution:{call.idempotency_key}"
        return Completed({"event": config.event, "key": key}, publish=(Publication(config.event, config.payload, key),))


handler = PublishEvent()
