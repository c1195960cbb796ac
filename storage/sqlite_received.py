"""Events from outside on SQLite: each function is one job inside a transaction. Times are microseconds."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from engine.errors import EventNotFound
from engine.model import DEFAULT_NAMESPACE
from engine.received import ANY, WAITS, EventWait, NewReceived, ReceivedEvent, Trigger, WokenByEvent
from storage.columns import MICROSECONDS, from_microseconds, is_id
from storage.records import (
    RECEIVED_COLUMNS,
    TRIGGER_COLUMNS,
    WAIT_COLUMNS,
    WOKEN,
    event_wait_record,
    received_record,
    trigger_record,
    woken_records,
)
from storage.sqlite_reads import id_list

_TRIGGERS = f"""SELECT {", ".join(TRIGGER_COLUMNS)} FROM "trigger"
WHERE event IN (?, '{ANY}') AND enabled AND id > ? AND namespace = ? ORDER BY id LIMIT ?"""
_SELECT = f"SELECT {', '.join(RECEIVED_COLUMNS)} FROM received_event"
_INSERT = """INSERT INTO received_event (namespace, type, key, payload, digest, depth, received_at, due_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_RECEIVE = f"{_INSERT} RETURNING {', '.join(RECEIVED_COLUMNS)}"
_DUE = "SELECT id FROM received_event WHERE due_at IS NOT NULL AND due_at <= ?"
_CLAIM = f"""UPDATE received_event SET due_at = ? WHERE id IN (SELECT value FROM json_each(?)) AND due_at <= ?
RETURNING {", ".join(RECEIVED_COLUMNS)}"""
_NEXT = "SELECT due_at FROM received_event WHERE due_at IS NOT NULL ORDER BY due_at, id"
_SETTLE = "UPDATE received_event SET outcome = ?, handled_at = ?, due_at = NULL WHERE id = ? AND outcome IS NULL"


def triggers_for(db: sqlite3.Connection, namespace: str, event: str, after: int, limit: int) -> list[Trigger]:
    rows = db.execute(_TRIGGERS, (event, after, namespace, limit)).fetchall()
    return [trigger_record((*row[:-2], *map(from_microseconds, row[-2:]))) for row in rows]


def receive(
    db: sqlite3.Connection, now: int, namespace: str, new: NewReceived, hold: float
) -> tuple[ReceivedEvent, bool]:
    values = (namespace, new.type, new.key, new.payload, new.digest, new.depth, now, _later(now, hold))
    rows = db.execute(_RECEIVE, values).fetchall()
    if rows:
        return _record(rows[0]), True
    return _record(db.execute(f"{_SELECT} WHERE namespace = ? AND key = ?", (namespace, new.key)).fetchone()), False


def publish(db: sqlite3.Connection, now: int, events: Sequence[NewReceived]) -> None:
    """Events of tasks, free for anybody to handle; those whose key is known are left out."""
    rows = [(DEFAULT_NAMESPACE, e.type, e.key, e.payload, e.digest, e.depth, now, now) for e in events]
    db.executemany(_INSERT, rows)


def get(db: sqlite3.Connection, namespace: str, event_id: int) -> ReceivedEvent:
    known = is_id(event_id)
    row = db.execute(f"{_SELECT} WHERE namespace = ? AND id = ?", (namespace, event_id)).fetchone() if known else None
    if row is None:
        raise EventNotFound(f"there is no event {event_id}; POST /events answers the ids")
    return _record(row)


def due(db: sqlite3.Connection, now: int, limit: int, only: int | None) -> list[int]:
    """Ids, the longest due first; a look that finds nothing needs no writer."""
    if only is not None:
        rows = db.execute(f"{_DUE} AND id = ?", (now, only))
    else:
        rows = db.execute(f"{_DUE} ORDER BY due_at, id LIMIT ?", (now, limit))
    return [row[0] for row in rows]


def next_outside(db: sqlite3.Connection, now: int) -> float | None:
    if looking_back(db, 0, 1):
        return 0.0
    row = db.execute(
        "SELECT due_at FROM received_event WHERE due_at IS NOT NULL ORDER BY due_at, id LIMIT 1"
    ).fetchone()
    return None if row is None else (row[0] - now) / MICROSECONDS


def claim(db: sqlite3.Connection, now: int, ids: Sequence[int], hold: float) -> list[ReceivedEvent]:
    rows = db.execute(_CLAIM, (_later(now, hold), id_list(ids), now)).fetchall()
    return sorted(map(_record, rows), key=lambda event: event.id)


def settle(db: sqlite3.Connection, now: int, event_id: int, outcome: bytes) -> ReceivedEvent:
    db.execute(_SETTLE, (outcome, now, event_id))
    return _record(db.execute(f"{_SELECT} WHERE id = ?", (event_id,)).fetchone())


def _later(now: int, seconds: float) -> int:
    return now + round(seconds * MICROSECONDS)


def _record(row: Sequence[Any]) -> ReceivedEvent:
    *fields, received_at, handled_at, outcome = row
    handled = None if handled_at is None else from_microseconds(handled_at)
    return received_record((*fields, from_microseconds(received_at), handled, outcome))


# --- waits for events ---


def waits(db: sqlite3.Connection, where: str, *values: Any) -> list[EventWait]:
    rows = db.execute(f"SELECT {', '.join(WAIT_COLUMNS)} FROM wait WHERE {where}", values)
    return [event_wait_record(row) for row in rows]


def waits_for(db: sqlite3.Connection, namespace: str, event: str, after: int, limit: int) -> list[EventWait]:
    where = f"topic = ? AND decided_at IS NULL AND kind = '{WAITS}' AND namespace = ? AND id > ? ORDER BY id LIMIT ?"
    return waits(db, where, event, namespace, after, limit)


def woken_by(db: sqlite3.Connection, by: str, limit: int) -> tuple[list[WokenByEvent], int]:
    rows = db.execute(f"{WOKEN} WHERE kind = '{WAITS}' AND decided_by = ? ORDER BY id LIMIT ?", (by, limit))
    return woken_records(rows.fetchall())


def looking_back(db: sqlite3.Connection, after: int, limit: int) -> list[EventWait]:
    return waits(db, "lookback IS NOT NULL AND decided_at IS NULL AND id > ? ORDER BY id LIMIT ?", after, limit)


def events_before(db: sqlite3.Connection, wait_id: int, after: int, limit: int) -> list[ReceivedEvent]:
    wait = db.execute("SELECT namespace, topic, opened_at, lookback FROM wait WHERE id = ?", (wait_id,)).fetchone()
    if wait is None or wait[-1] is None:
        return []
    namespace, event, opened_at, lookback = wait
    since = opened_at - round(lookback * MICROSECONDS)
    past = "(received_at, id) > (SELECT received_at, id FROM received_event WHERE id = ?) AND" if after else "? = 0 AND"
    where = f"{past} type = ? AND received_at >= ? AND namespace = ? ORDER BY received_at, id LIMIT ?"
    return [_record(row) for row in db.execute(f"{_SELECT} WHERE {where}", (after, event, since, namespace, limit))]


def looked_back(db: sqlite3.Connection, wait_id: int) -> None:
    db.execute("UPDATE wait SET lookback = NULL WHERE id = ?", (wait_id,))
