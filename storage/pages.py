"""Keyset pages of executions: each query walks one index backwards and stops after `limit` rows."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, or_, select, union_all

from engine.model import ExecutionRow
from engine.ports import Cursor, ExecutionFilter
from engine.states import ExecutionStatus
from storage.records import EXECUTION_COLUMNS, execution_record
from storage.tables import metadata

execution = metadata.tables["execution"]

_COLUMNS = tuple(execution.c[name] for name in EXECUTION_COLUMNS)


def list_executions(
    connection: Connection, where: ExecutionFilter, after: Cursor | None, limit: int
) -> list[ExecutionRow]:
    """Newest first. Statuses are read one by one and merged, because an index has an order per status only.

    The children of one execution have an index of their own, and are few.
    """
    statuses = tuple(dict.fromkeys(where.statuses))
    of_parent = where.parent_id is not None
    if not statuses and where.workflow_id is not None and not of_parent:
        statuses = tuple(ExecutionStatus)
    if len(statuses) < 2 or of_parent:
        statement = _walk(where, after, limit, statuses)
    else:
        walks = (_walk(where, after, limit, (status,)).subquery() for status in statuses)
        merged = union_all(*(select(walk) for walk in walks)).subquery()
        statement = select(merged).order_by(merged.c.created_at.desc(), merged.c.id.desc()).limit(limit)
    return [execution_record(row) for row in connection.execute(statement)]


def _walk(where: ExecutionFilter, after: Cursor | None, limit: int, statuses: Sequence[ExecutionStatus]) -> Select[Any]:
    column = execution.c
    terms = [column.namespace == where.namespace]
    if len(statuses) == 1:
        terms.append(column.status == statuses[0].value)
    elif statuses:
        terms.append(column.status.in_([status.value for status in statuses]))
    if where.parent_id is not None:
        terms.append(column.parent_id == where.parent_id)
    if where.workflow_id is not None:
        terms.append(column.workflow_id == where.workflow_id)
    if where.created_from is not None:
        terms.append(column.created_at >= where.created_from)
    if where.created_to is not None:
        terms.append(column.created_at < where.created_to)
    if after is not None:
        earlier = and_(column.created_at == after.created_at, column.id < after.id)
        terms.append(column.created_at <= after.created_at)
        terms.append(or_(column.created_at < after.created_at, earlier))
    return select(*_COLUMNS).where(*terms).order_by(column.created_at.desc(), column.id.desc()).limit(limit)
