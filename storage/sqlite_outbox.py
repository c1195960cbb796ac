"""The journal on SQLite as the relay reads it: one writer, so the time of a commit is its place in the order."""

import sqlite3
from uuid import uuid4

from engine.outbox import Outbox, OutboxEvent, Position, RelayTerm
from storage.columns import from_microseconds
from storage.records import OUTBOX_BYTES, RELAY
from storage.sqlite_journal import new_lease, renew_lease

_READ = """SELECT e.xid, e.execution_id, e.seq, coalesce(x.workflow_id, 0), e.type, e.at, e.data
FROM event e LEFT JOIN execution x ON x.id = e.execution_id
WHERE e.xid >= ? AND (e.xid, e.execution_id, e.seq) > (?, ?, ?)
ORDER BY e.xid, e.execution_id, e.seq LIMIT ?"""


def take(db: sqlite3.Connection, now: int, holder: str, ttl: float) -> RelayTerm | None:
    db.execute("INSERT OR IGNORE INTO relay (name, journal) VALUES (?, ?)", (RELAY, uuid4().hex))
    sql = "SELECT lease, journal, xid, execution_id, seq FROM relay WHERE name = ?"
    holding, journal, *place = db.execute(sql, (RELAY,)).fetchone()
    db.execute("UPDATE lease SET lost = 1 WHERE id = ? AND expires_at < ?", (holding, now))
    if db.execute("SELECT 1 FROM lease WHERE id = ? AND NOT lost", (holding,)).fetchone() is not None:
        return None
    lease = new_lease(db, now, holder, ttl)
    db.execute("UPDATE relay SET lease = ? WHERE name = ?", (lease, RELAY))
    return RelayTerm(lease, journal, Position(*place))


def mark(db: sqlite3.Connection, now: int, lease: int, position: Position, ttl: float) -> None:
    """Raises `LeaseLost`."""
    renew_lease(db, now, lease, ttl)
    sql = "UPDATE relay SET xid = ?, execution_id = ?, seq = ? WHERE name = ? AND lease = ?"
    db.execute(sql, (position.order, position.execution_id, position.seq, RELAY, lease))


def read(db: sqlite3.Connection, after: Position, limit: int) -> Outbox:
    events: list[OutboxEvent] = []
    size = 0
    for order, number, seq, workflow_id, kind, at, data in db.execute(
        _READ, (after.order, after.order, after.execution_id, after.seq, limit)
    ):
        events.append(OutboxEvent(order, number, seq, workflow_id, kind, from_microseconds(at), data))
        size += len(data)
        if size >= OUTBOX_BYTES:
            break
    return Outbox(tuple(events))


def rewind(db: sqlite3.Connection, before: Position, count: int) -> Position:
    """Before the whole commit that is so far back."""
    sql = "SELECT xid FROM event WHERE xid <= ? ORDER BY xid DESC LIMIT 1 OFFSET ?"
    row = db.execute(sql, (before.order, max(count - 1, 0))).fetchone()
    return Position() if row is None else Position(row[0])
