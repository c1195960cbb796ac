"""Reads of the journal on PostgreSQL: the text of each query and the records that its rows make."""

from collections.abc import Sequence

from engine.events import StoredEvent
from engine.model import ExecutionRow, WorkflowVersion
from engine.ports import Signal
from storage.columns import is_id
from storage.drafts import nameable
from storage.postgresql_journal import array, columns
from storage.postgresql_session import Part, Rows
from storage.records import execution_record, version_record

MAX_SEQ = 2**31 - 1


def known(ids: Sequence[int]) -> list[int]:
    """Those that the database could hold at all."""
    return [number for number in ids if is_id(number)]


def events(questions: Sequence[tuple[int, int, int]]) -> str:
    """Per (execution id, after seq, limit)."""
    asked = [(number if is_id(number) else 0, min(max(after, 0), MAX_SEQ), limit) for number, after, limit in questions]
    ids, afters, limits = zip(*asked, strict=True)
    return (
        "SELECT q.n, e.execution_id, e.seq, e.type, e.v, extract(epoch FROM e.at)::float8, e.lease, e.data "
        f"FROM unnest({array(ids, 'bigint')}, {array(afters, 'int')}, {array(limits, 'bigint')}) "
        "WITH ORDINALITY AS q(id, after, most, n) CROSS JOIN LATERAL "
        "(SELECT * FROM event WHERE execution_id = q.id AND seq > q.after ORDER BY seq LIMIT q.most) AS e "
        "ORDER BY q.n, e.seq"
    )


def event_records(rows: Rows, count: int) -> list[list[StoredEvent]]:
    found: list[list[StoredEvent]] = [[] for _ in range(count)]
    for n, number, seq, kind, v, at, lease, data in rows:
        found[n - 1].append(StoredEvent(number, seq, kind, v, at, lease, bytes(data)))
    return found


def executions(ids: Sequence[int]) -> str:
    return f"SELECT {columns('e')} FROM execution e WHERE e.id = ANY({array(known(ids), 'bigint')})"


def execution_records(rows: Rows, ids: Sequence[int]) -> list[ExecutionRow | None]:
    found = {row[0]: execution_record(row) for row in rows}
    return [found.get(number) for number in ids]


def revisions(refs: Sequence[tuple[str, int | str]]) -> Part:
    """Per (namespace, ref)."""
    asked = [(namespace, ref) if nameable(ref) else (namespace, 0) for namespace, ref in refs]
    values = (
        [namespace for namespace, _ in asked],
        [ref if isinstance(ref, int) else None for _, ref in asked],
        [ref if isinstance(ref, str) else None for _, ref in asked],
    )
    sql = (
        "WITH q AS (SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[]) "
        "WITH ORDINALITY AS u(namespace, id, key, n)) "
        "SELECT q.n, w.id, w.revision FROM q JOIN workflow w ON w.id = q.id AND w.namespace = q.namespace "
        "WHERE w.archived_at IS NULL UNION ALL "
        "SELECT q.n, w.id, w.revision FROM q JOIN workflow w ON w.namespace = q.namespace AND w.key = q.key "
        "WHERE w.archived_at IS NULL"
    )
    return sql, values


def revision_records(rows: Rows, count: int) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = [None] * count
    for n, number, revision in rows:
        found[n - 1] = number, revision
    return found


def versions(ids: Sequence[int]) -> str:
    return (
        "SELECT id, workflow_id, number, digest, graph, presentation, extract(epoch FROM created_at)::float8 "
        f"FROM workflow_version WHERE id = ANY({array(known(ids), 'bigint')})"
    )


def version_records(rows: Rows) -> dict[int, WorkflowVersion]:
    return {row[0]: version_record(row) for row in rows}


def owned(lease: int) -> str:
    return f"SELECT id FROM execution WHERE owner = {lease:d}"


def inbox(lease: int, ids: Sequence[int] | None) -> str:
    which = f"ARRAY({owned(lease)})" if ids is None else array(known(ids), "bigint")
    return (
        "SELECT execution_id, kind, name, payload, dedupe_key, id FROM signal "
        f"WHERE execution_id = ANY({which}) ORDER BY id"
    )


def signal_records(rows: Rows) -> list[Signal]:
    return [Signal(number, kind, name, bytes(payload), key, n) for number, kind, name, payload, key, n in rows]


NEXT_WAKE = (
    "SELECT extract(epoch FROM wake_at - now())::float8 FROM execution "
    "WHERE owner IS NULL AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1"
)

IDENTITY = """SELECT c.system_identifier, d.oid::bigint FROM pg_control_system() AS c
JOIN pg_database d ON d.datname = current_database()"""
