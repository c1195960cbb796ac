"""Reads of the journal on SQLite, on a connection that only reads."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from engine.events import StoredEvent
from engine.model import ExecutionRow, WorkflowVersion
from engine.ports import Signal
from storage.columns import MICROSECONDS, from_microseconds, is_id
from storage.drafts import nameable
from storage.records import EXECUTION_COLUMNS, execution_record, version_record

EXECUTION = ", ".join(EXECUTION_COLUMNS)
_TIMES = tuple(EXECUTION_COLUMNS.index(name) for name in ("wake_at", "created_at", "started_at", "ended_at"))
_EXECUTIONS = f"SELECT {EXECUTION} FROM execution WHERE id IN (SELECT value FROM json_each(?))"
_encode = msgspec.json.Encoder().encode


def id_list(numbers: Sequence[int]) -> str:
    """For `json_each`; as text, because newer versions take bytes for JSONB."""
    return _encode([number for number in numbers if is_id(number)]).decode()


def execution_from(row: Sequence[Any]) -> ExecutionRow:
    values = list(row)
    for index in _TIMES:
        if values[index] is not None:
            values[index] = from_microseconds(values[index])
    return execution_record(values)


def executions(db: sqlite3.Connection, ids: Sequence[int]) -> list[ExecutionRow | None]:
    found = {row[0]: execution_from(row) for row in db.execute(_EXECUTIONS, (id_list(ids),))}
    return [found.get(number) for number in ids]


def events(db: sqlite3.Connection, questions: Sequence[tuple[int, int, int]]) -> list[list[StoredEvent]]:
    """Per (execution id, after seq, limit)."""
    return [_events(db, *question) if is_id(question[0]) else [] for question in questions]


def _events(db: sqlite3.Connection, number: int, after: int, limit: int) -> list[StoredEvent]:
    sql = "SELECT seq, type, v, at, lease, data FROM event WHERE execution_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    rows = db.execute(sql, (number, after, limit)).fetchall()
    return [
        StoredEvent(number, seq, kind, v, from_microseconds(at), lease, data) for seq, kind, v, at, lease, data in rows
    ]


def revisions(db: sqlite3.Connection, refs: Sequence[tuple[str, int | str]]) -> list[tuple[int, int] | None]:
    """Per (namespace, ref): (workflow id, revision)."""
    head = "SELECT id, revision FROM workflow WHERE namespace = ? AND archived_at IS NULL AND "
    return [
        db.execute(head + ("id = ?" if isinstance(ref, int) else "key = ?"), (namespace, ref)).fetchone()
        if nameable(ref)
        else None
        for namespace, ref in refs
    ]


def versions(db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, WorkflowVersion]:
    sql = (
        "SELECT id, workflow_id, number, digest, graph, presentation, created_at FROM workflow_version "
        "WHERE id IN (SELECT value FROM json_each(?))"
    )
    rows = db.execute(sql, (id_list(ids),)).fetchall()
    return {row[0]: version_record((*row[:-1], from_microseconds(row[-1]))) for row in rows}


def owned(db: sqlite3.Connection, lease: int) -> list[int]:
    return [row[0] for row in db.execute("SELECT id FROM execution WHERE owner = ?", (lease,)).fetchall()]


def inbox(db: sqlite3.Connection, lease: int, ids: Sequence[int] | None) -> list[Signal]:
    numbers = owned(db, lease) if ids is None else ids
    sql = (
        "SELECT execution_id, kind, name, payload, dedupe_key, id FROM signal "
        "WHERE execution_id IN (SELECT value FROM json_each(?)) ORDER BY id"
    )
    return [Signal(*row) for row in db.execute(sql, (id_list(numbers),)).fetchall()]


def next_wake(db: sqlite3.Connection, now: int) -> float | None:
    sql = "SELECT wake_at FROM execution WHERE owner IS NULL AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1"
    row = db.execute(sql).fetchone()
    return None if row is None else (row[0] - now) / MICROSECONDS


def last_time(db: sqlite3.Connection) -> int:
    """When the newest event was written, as far as anybody knows: it may be gone, and published."""
    row = db.execute("SELECT max(coalesce((SELECT max(xid) FROM event), 0), coalesce((SELECT max(xid) FROM relay), 0))")
    return int(row.fetchone()[0])
