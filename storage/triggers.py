"""Triggers on one SQLAlchemy connection, inside a transaction that the caller begins and ends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from engine import limits
from engine.documents import canonical_json
from engine.errors import Invalid, TriggerNotFound, WrittenOtherwise
from engine.received import Condition, Trigger, TriggerSpec
from storage.columns import is_id
from storage.records import TRIGGER_COLUMNS, trigger_record
from storage.tables import metadata

trigger = metadata.tables["trigger"]

_COLUMNS = tuple(trigger.c[name] for name in TRIGGER_COLUMNS)


class Triggers:
    """`find` reads, and locks, the row of a workflow that exists. `now` is the SQL for the time of this transaction."""

    def __init__(self, connection: Connection, now: ColumnElement[float], find: Callable[..., Row[Any]]) -> None:
        self._connection = connection
        self._now = now
        self._find = find

    def of(self, namespace: str, ref: int | str) -> list[Trigger]:
        return self._of(self._find(namespace, ref).id)

    def get(self, namespace: str, ref: int | str, trigger_id: int) -> Trigger:
        return self._one(self._find(namespace, ref), trigger_id)

    def add(self, namespace: str, ref: int | str, spec: TriggerSpec) -> Trigger:
        row = self._find(namespace, ref, lock=True)
        mine = select(func.count()).select_from(trigger).where(trigger.c.workflow_id == row.id)
        if self._connection.execute(mine).scalar_one() >= limits.TRIGGERS:
            message = f"workflow {ref!r} has {limits.TRIGGERS} triggers, which is the most; delete one"
            raise Invalid(message, code="too_many_triggers")
        return self._insert(row, spec, written=False)

    def update(self, namespace: str, ref: int | str, trigger_id: int, changes: Mapping[str, Any]) -> Trigger:
        this = self._mine(namespace, ref, trigger_id)
        values = dict(changes) | {"updated_at": self._now}
        if "condition" in changes:
            values["condition"] = canonical_json(changes["condition"])
        statement = update(trigger).where(trigger.c.id == this).values(**values).returning(*_COLUMNS)
        return trigger_record(self._connection.execute(statement).one())

    def delete(self, namespace: str, ref: int | str, trigger_id: int) -> None:
        this = self._mine(namespace, ref, trigger_id)
        self._connection.execute(delete(trigger).where(trigger.c.id == this))

    # --- with the draft ---

    def take_over(self, workflow: Row[Any], specs: Sequence[TriggerSpec]) -> None:
        """Those of its document become `specs`; one that says the same as before stays what it was, its id too."""
        before = {_meaning(one.event, one.condition): one for one in self._of(workflow.id) if one.written}
        for spec in specs:
            known = before.pop(_meaning(spec.event, spec.condition), None)
            if known is None:
                self._insert(workflow, spec, written=True)
            elif known.enabled != spec.enabled:
                values = {"enabled": spec.enabled, "updated_at": self._now}
                self._connection.execute(update(trigger).where(trigger.c.id == known.id).values(**values))
        gone = [one.id for one in before.values()]
        if gone:
            self._connection.execute(delete(trigger).where(trigger.c.id.in_(gone)))

    def disable(self, workflow_id: int) -> None:
        """For good: an archived workflow is found no more."""
        mine = (trigger.c.workflow_id == workflow_id) & trigger.c.enabled
        self._connection.execute(update(trigger).where(mine).values(enabled=False, updated_at=self._now))

    def _of(self, workflow_id: int) -> list[Trigger]:
        statement = select(*_COLUMNS).where(trigger.c.workflow_id == workflow_id).order_by(trigger.c.id)
        return [trigger_record(row) for row in self._connection.execute(statement)]

    def _mine(self, namespace: str, ref: int | str, trigger_id: int) -> int:
        """The id, of one that may be changed."""
        row = self._find(namespace, ref, lock=True)
        if self._one(row, trigger_id).written:
            message = f"trigger {trigger_id} stands in the document of workflow {row.id}; change it there"
            raise WrittenOtherwise(f"{message}: GET /workflows/{row.id}?format=source, then PUT /workflows/{row.id}")
        return trigger_id

    def _one(self, workflow: Row[Any], trigger_id: int) -> Trigger:
        wanted = (trigger.c.workflow_id == workflow.id) & (trigger.c.id == trigger_id)
        found = self._connection.execute(select(*_COLUMNS).where(wanted)).one_or_none() if is_id(trigger_id) else None
        if found is None:
            where = f"GET /workflows/{workflow.id}/triggers/"
            raise TriggerNotFound(f"workflow {workflow.id} has no trigger {trigger_id}; list them with {where}")
        return trigger_record(found)

    def _insert(self, workflow: Row[Any], spec: TriggerSpec, *, written: bool) -> Trigger:
        values = {
            "namespace": workflow.namespace,
            "workflow_id": workflow.id,
            "event": spec.event,
            "condition": canonical_json(spec.condition),
            "enabled": spec.enabled,
            "written": written,
            "created_at": self._now,
            "updated_at": self._now,
        }
        return trigger_record(self._connection.execute(insert(trigger).values(**values).returning(*_COLUMNS)).one())


def _meaning(event: str, condition: Condition) -> tuple[str, bytes]:
    return event, canonical_json(condition)
