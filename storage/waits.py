"""Pages of waits: all of a kind, the open ones, or those of a decision, each backwards along an index; `limit` rows.

Those of one execution are found by it, and sorted.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select

from engine.waits import Wait, WaitFilter
from storage.tables import metadata

wait = metadata.tables["wait"]

COLUMNS = (
    "id",
    "namespace",
    "workflow_id",
    "execution_id",
    "task",
    "kind",
    "topic",
    "details",
    "opened_at",
    "due_at",
    "decided_at",
    "decision",
    "decided_by",
    "comment",
)
"""In the order of the fields of `Wait`."""
_DETAILS = COLUMNS.index("details")
_EQUAL = ("kind", "id", "execution_id", "task", "topic", "decision")


def list_waits(connection: Connection, where: WaitFilter, before: int | None, limit: int) -> list[Wait]:
    return [_record(row) for row in connection.execute(page(where, before, limit))]


def page(where: WaitFilter, before: int | None, limit: int) -> Select[Any]:
    terms = [wait.c.namespace == where.namespace]
    terms += [wait.c[name] == getattr(where, name) for name in _EQUAL if getattr(where, name) is not None]
    if where.pending is not None:
        terms.append(wait.c.decided_at.is_(None) if where.pending else wait.c.decided_at.is_not(None))
    if before is not None:
        terms.append(wait.c.id < before)
    columns = (wait.c[name] for name in COLUMNS)
    return select(*columns).where(*terms).order_by(wait.c.id.desc()).limit(limit)


def _record(row: Sequence[Any]) -> Wait:
    values = list(row)
    values[_DETAILS] = msgspec.json.decode(bytes(values[_DETAILS]))
    return Wait(*values)
