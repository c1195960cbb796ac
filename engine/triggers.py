"""Triggers: which events start a workflow. Checked when they are saved, evaluated against each event."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from engine.authoring import summary
from engine.documents import canonical_json
from engine.drafts import Ref
from engine.errors import Fault, Invalid, TaskError
from engine.expressions.scope import TaskScope
from engine.expressions.templates import Template, compile_condition
from engine.expressions.tree import pointer_of
from engine.model import DEFAULT_NAMESPACE
from engine.received import ANY, WHAT_TYPES_ARE, EventStore, Trigger, TriggerSpec, is_event_type

COMPILED = 4096
"""Conditions that are kept compiled."""


class EventScope:
    """What a condition may look at: the payload of the event, and when it was received."""

    def __init__(self, payload: Any, received_at: float) -> None:
        self.execution_id = 0
        self.tasks: Mapping[str, TaskScope] = {}
        self.input = payload
        self.now = received_at


def trigger_faults(spec: TriggerSpec, where: str = "") -> list[Fault]:
    """All that is wrong with a trigger, with pointers below `where`."""
    faults = []
    if spec.event != ANY and not is_event_type(spec.event):
        message = f"event is {ANY} for any, or a type of {WHAT_TYPES_ARE}; not {spec.event!r:.100}"
        faults.append(Fault(message, f"{where}/event", "invalid_event_type"))
    template, wrong = compile_condition(spec.condition, f"{where}/condition")
    for key, place in template.references.items():
        message = f"there is no task {key!r:.100} when an event comes; a condition looks at its payload: payload.…"
        wrong.append(Fault(message, pointer_of(place), "template_unknown_task"))
    for name, place in template.secrets.items():
        wrong.append(Fault(f"no condition can look at a secret ({name!r:.100})", pointer_of(place), "template_secret"))
    return faults + wrong


def holds(trigger: Trigger, scope: EventScope) -> bool:
    """Whether `trigger`, whose type fits, starts its workflow. Raises `TaskError` if its condition cannot be said."""
    if trigger.condition is True:
        return True
    answer: bool = _compiled(canonical_json(trigger.condition)).render(scope)
    return answer


@lru_cache(COMPILED)
def _compiled(condition: bytes) -> Template:
    template, faults = compile_condition(msgspec.json.decode(condition))
    if faults:
        raise TaskError(summary(faults), type="template", retryable=False)
    return template


class Triggers:
    """Of one installation."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def list(self, ref: Ref) -> list[Trigger]:
        """By id. Raises `WorkflowNotFound`."""
        return await self._store.list_triggers(DEFAULT_NAMESPACE, ref)

    async def get(self, ref: Ref, trigger_id: int) -> Trigger:
        """Raises `WorkflowNotFound`, `TriggerNotFound`."""
        return await self._store.get_trigger(DEFAULT_NAMESPACE, ref, trigger_id)

    async def add(self, ref: Ref, spec: TriggerSpec) -> Trigger:
        """Raises `WorkflowNotFound`, `Invalid` with all faults, or when there are too many."""
        _check(spec)
        return await self._store.add_trigger(DEFAULT_NAMESPACE, ref, spec)

    async def update(self, ref: Ref, trigger_id: int, changes: Mapping[str, Any]) -> Trigger:
        """Raises `WorkflowNotFound`, `TriggerNotFound`, `Invalid`; `WrittenOtherwise` for one in a document."""
        _check(TriggerSpec(**changes))
        return await self._store.update_trigger(DEFAULT_NAMESPACE, ref, trigger_id, changes)

    async def delete(self, ref: Ref, trigger_id: int) -> None:
        """Raises `WorkflowNotFound`, `TriggerNotFound`; `WrittenOtherwise` for one in a document."""
        await self._store.delete_trigger(DEFAULT_NAMESPACE, ref, trigger_id)


def _check(spec: TriggerSpec) -> None:
    faults = trigger_faults(spec)
    if faults:
        raise Invalid(summary(faults), faults=faults, code=faults[0].code)
