"""Actions on one SQLAlchemy connection, inside a transaction that the caller begins and ends."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from engine.actions import Action, NewAction
from engine.errors import KeyTaken
from storage.tables import metadata

action = metadata.tables["action"]
workflow = metadata.tables["workflow"]

GATE = 0x6D696C6C
"""The number of the lock below, in PostgreSQL's table of such locks."""


class Actions:
    """The verbs of `engine.actions.ActionStore`, synchronous. `now` is the SQL for the time of this transaction."""

    def __init__(self, connection: Connection, now: ColumnElement[float]) -> None:
        self._connection = connection
        self._now = now

    def create(self, namespace: str, new: NewAction) -> Action:
        gate(self._connection, change=True)
        values = _values(msgspec.structs.asdict(new)) | {"namespace": namespace, "created_at": self._now}
        statement = insert(action).values(**values, updated_at=self._now).returning(action)
        try:
            made = _record(self._connection.execute(statement).one())
        except IntegrityError as error:
            message = f"there is an action {new.name!r} already; change it with PUT /actions/{new.name}"
            raise KeyTaken(message, pointer="/name") from error
        self._renew(namespace, new.name)
        return made

    def update(self, namespace: str, name: str, changes: Mapping[str, Any]) -> Action | None:
        gate(self._connection, change=True)
        values = _values(changes) | {"updated_at": self._now}
        statement = update(action).where(_this(namespace, name)).values(**values).returning(action)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            return None
        self._renew(namespace, name)
        return _record(row)

    def delete(self, namespace: str, name: str) -> bool:
        gate(self._connection, change=True)
        gone = self._connection.execute(delete(action).where(_this(namespace, name))).rowcount > 0
        if gone:
            self._renew(namespace, name)
        return gone

    def page(self, namespace: str, skip: int, limit: int) -> tuple[list[Action], int]:
        mine = action.c.namespace == namespace
        total = self._connection.execute(select(func.count()).select_from(action).where(mine)).scalar_one()
        rows = self._connection.execute(select(action).where(mine).order_by(action.c.name).offset(skip).limit(limit))
        return [_record(row) for row in rows], total

    def get(self, namespace: str, names: Collection[str]) -> dict[str, Action]:
        these = (action.c.namespace == namespace) & action.c.name.in_(names)
        return {row.name: _record(row) for row in self._connection.execute(select(action).where(these))}

    def _renew(self, namespace: str, name: str) -> None:
        """A new revision of each draft that refers to it: the versions before stay what they are."""
        using = (workflow.c.namespace == namespace) & workflow.c.actions.is_not(None)
        rows = self._connection.execute(select(workflow.c.id, workflow.c.actions).where(using)).all()
        ids = [row.id for row in rows if name in msgspec.json.decode(row.actions)]
        if ids:
            change = update(workflow).where(workflow.c.id.in_(ids)).values(revision=workflow.c.revision + 1)
            self._connection.execute(change)


def gate(connection: Connection, *, change: bool = False) -> None:
    """Held to the end of the transaction: while a draft is compiled no action changes, and the other way round.

    Taken before any row: else a version could be made of an action that changes, and not be seen to refer to it. On
    SQLite one transaction writes at a time.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if change else func.pg_advisory_xact_lock_shared
        connection.execute(select(lock(GATE)))


def _this(namespace: str, name: str) -> ColumnElement[bool]:
    return (action.c.namespace == namespace) & (action.c.name == name)


def _values(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: msgspec.json.encode(value) if name == "config" else value for name, value in fields.items()}


def _record(row: Row[Any]) -> Action:
    config = msgspec.json.decode(row.config)
    return Action(row.name, row.handler_type, config, row.description, row.created_at, row.updated_at)
