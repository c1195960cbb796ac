"""The journal on SQLite: each function is one job inside the writer's transaction. Times are microseconds."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from engine.errors import BatchRefused, LeaseLost
from engine.model import FORMAT
from engine.ports import Append, Claims, Committed, Duplicate, NewExecution, Park, Signal
from engine.received import NewReceived
from engine.states import ExecutionStatus, SlotStage, is_terminal
from storage import sqlite_received, sqlite_waits
from storage.columns import MICROSECONDS, from_microseconds, to_microseconds
from storage.records import encode_labels, with_children
from storage.sqlite_reads import EXECUTION, execution_from, id_list
from storage.sqlite_rows import execute_rows

_EVENTS = (
    f"INSERT INTO event (v, at, xid, lease, batch, execution_id, seq, type, data) "
    f"SELECT {FORMAT}, ?, ?, ?, ?, column1, column2, column3, column4 FROM"
)
_EXECUTIONS = (
    f"INSERT INTO execution (v, created_at, id, namespace, workflow_id, version_id, status, owner, wake_at, "
    f"started_at, ended_at, idempotency_key, labels, priority, queue, parent_id, root_id, rerun_of) "
    f"SELECT {FORMAT}, ?, * FROM"
)
_UPDATE = """UPDATE execution SET
  status = coalesce(column2, status),
  started_at = CASE WHEN column3 THEN coalesce(started_at, ?) ELSE started_at END,
  ended_at = CASE WHEN column4 THEN ? ELSE ended_at END,
  owner = CASE WHEN column5 THEN NULL ELSE owner END,
  wake_at = CASE WHEN column5 THEN column6 ELSE wake_at END
FROM"""
_KEY = "INSERT INTO idempotency (namespace, workflow_id, key, execution_id, request_digest) VALUES (?, ?, ?, ?, ?)"
_KNOWN = "SELECT execution_id, request_digest FROM idempotency WHERE namespace = ? AND workflow_id = ? AND key = ?"
_FORGET = "DELETE FROM signal WHERE id IN (SELECT value FROM json_each(?))"
_EMPTY = "DELETE FROM signal WHERE execution_id IN (SELECT value FROM json_each(?))"
_RECALL = """UPDATE execution SET wake_at = ? WHERE id IN (SELECT value FROM json_each(?))
  AND EXISTS (SELECT 1 FROM signal WHERE execution_id = execution.id)"""
_RECALL_HOLDERS = f"""UPDATE execution SET wake_at = ? WHERE id IN (SELECT value FROM json_each(?))
  AND EXISTS (SELECT 1 FROM slot WHERE execution_id = execution.id AND stage = {SlotStage.HELD})"""
_FREE = "DELETE FROM slot WHERE execution_id = ? AND task = ?"
_CLAIM = f"""UPDATE execution SET owner = ?, wake_at = NULL WHERE id IN (
  SELECT id FROM execution
  WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= ? AND v <= {FORMAT}
  ORDER BY wake_at LIMIT ?)
RETURNING {EXECUTION}"""


# --- leases ---


def acquire_lease(db: sqlite3.Connection, now: int, holder: str, ttl: float) -> int:
    """The file's lock is ours, so every older lease is dead: its executions are due at once, and the events it had."""
    db.execute("UPDATE lease SET lost = 1 WHERE NOT lost")
    db.execute("UPDATE received_event SET due_at = ? WHERE due_at IS NOT NULL", (now,))
    db.execute("UPDATE execution SET owner = NULL, wake_at = ? WHERE owner IS NOT NULL", (now,))
    return new_lease(db, now, holder, ttl)


def new_lease(db: sqlite3.Connection, now: int, holder: str, ttl: float) -> int:
    sql = "INSERT INTO lease (holder, created_at, expires_at) VALUES (?, ?, ?)"
    number: int | None = db.execute(sql, (holder, now, now + _span(ttl))).lastrowid
    assert number is not None
    return number


def fence(db: sqlite3.Connection, lease: int) -> None:
    """Raises `LeaseLost`."""
    if db.execute("SELECT 1 FROM lease WHERE id = ? AND NOT lost", (lease,)).fetchone() is None:
        raise LeaseLost


def renew_lease(db: sqlite3.Connection, now: int, lease: int, ttl: float) -> None:
    fence(db, lease)
    db.execute("UPDATE lease SET expires_at = ? WHERE id = ?", (now + _span(ttl), lease))


def release_lease(db: sqlite3.Connection, now: int, lease: int) -> None:
    db.execute("UPDATE lease SET lost = 1 WHERE id = ?", (lease,))
    db.execute("UPDATE execution SET owner = NULL, wake_at = ? WHERE owner = ?", (now, lease))


def sweep(db: sqlite3.Connection, now: int) -> int:
    """Frees what no live lease owns. An expired lease is not lost here: its process holds the file's lock."""
    sql = (
        "UPDATE execution SET owner = NULL, wake_at = ? WHERE owner IS NOT NULL "
        "AND owner NOT IN (SELECT id FROM lease WHERE NOT lost)"
    )
    return db.execute(sql, (now,)).rowcount


# --- appends ---


def commit(db: sqlite3.Connection, now: int, lease: int | None, batch: int | None, appends: Sequence[Append]) -> Any:
    """Everything or nothing. Raises `LeaseLost`, `BatchRefused`; without a lease only starts are taken."""
    if lease is not None:
        fence(db, lease)
    try:
        return _write(db, now, lease, batch, appends)
    except (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError, UnicodeError) as error:
        raise BatchRefused(f"the batch cannot be stored: {error}") from error


def _write(
    db: sqlite3.Connection, now: int, lease: int | None, batch: int | None, appends: Sequence[Append]
) -> Committed:
    appends = with_children(appends)
    duplicates = _claim_keys(db, appends)
    rows, events, changes = [], [], []
    parked: list[int] = []
    ended: list[int] = []
    consumed: list[int] = []
    published: list[NewReceived] = []
    for append in appends:
        number = append.execution_id
        if number in duplicates:
            continue
        seq = append.first_seq
        for event in append.events:
            events.append((number, seq, event.type, event.data))
            published.extend(event.publishes)
            seq += 1
        if append.start is not None:
            rows.append(_new_row(append, append.start, now, lease))
            continue
        consumed.extend(append.consumed)
        if append.status is None and append.park is None and not append.started:
            continue
        final = append.status is not None and is_terminal(append.status)
        if final:
            ended.append(number)
        elif append.park is not None:
            parked.append(number)
        changes.append(_change(append, final, now))
    execute_rows(db, _EXECUTIONS, rows, head=(now,))
    execute_rows(db, _EVENTS, events, head=(now, now, lease, batch))
    _update(db, now, lease, changes)
    if consumed:
        db.execute(_FORGET, (id_list(consumed),))
    if ended:
        db.execute(_EMPTY, (id_list(ended),))
    put_signals(db, now, [signal for append in appends for signal in append.signals])
    if parked:
        db.execute(_RECALL, (now, id_list(parked)))
    _leave_pools(db, now, appends)
    _turn_outside(db, now, appends, published)
    return Committed(from_microseconds(now), duplicates)


def _turn_outside(
    db: sqlite3.Connection, now: int, appends: Sequence[Append], published: Sequence[NewReceived]
) -> None:
    """What others see of these appends: waits and events."""
    if any(append.asks or append.lapses for append in appends):
        sqlite_waits.follow(db, now, appends)
    if published:
        sqlite_received.publish(db, now, published)


def _leave_pools(db: sqlite3.Connection, now: int, appends: Sequence[Append]) -> None:
    freed = [(append.execution_id, task) for append in appends if append.freed for task in append.freed]
    if freed:
        db.executemany(_FREE, freed)
    in_line = [append.execution_id for append in appends if append.park is not None and append.park.for_slots]
    if in_line:
        db.execute(_RECALL_HOLDERS, (now, id_list(in_line)))


def _claim_keys(db: sqlite3.Connection, appends: Sequence[Append]) -> dict[int, Duplicate]:
    duplicates = {}
    for append in appends:
        start = append.start
        if start is None or start.idempotency_key is None:
            continue
        key = (start.namespace, start.workflow_id, start.idempotency_key)
        known = db.execute(_KNOWN, key).fetchone()
        if known is None:
            db.execute(_KEY, (*key, append.execution_id, start.request_digest))
        else:
            duplicates[append.execution_id] = Duplicate(known[0], known[1])
    return duplicates


def _new_row(append: Append, start: NewExecution, now: int, lease: int | None) -> tuple[Any, ...]:
    status = append.status or start.status
    final = is_terminal(status)
    owner, wake_at = (lease, None) if start.owned else (None, now)
    if final:
        owner, wake_at = None, None
    elif append.park is not None:
        owner, wake_at = None, _wake(append.park, now)
    started = append.started or status is not ExecutionStatus.PENDING
    return (
        append.execution_id,
        start.namespace,
        start.workflow_id,
        start.version_id,
        status.value,
        owner,
        wake_at,
        now if started else None,
        now if final else None,
        start.idempotency_key,
        encode_labels(start.labels),
        start.priority,
        start.queue,
        start.parent_id,
        start.root_id,
        start.rerun_of,
    )


def _change(append: Append, final: bool, now: int) -> tuple[Any, ...]:
    status = None if append.status is None else append.status.value
    frees = final or append.park is not None
    wake_at = None if final or append.park is None else _wake(append.park, now)
    return append.execution_id, status, append.started, final, frees, wake_at


def _update(db: sqlite3.Connection, now: int, lease: int | None, changes: list[tuple[Any, ...]]) -> None:
    after = "WHERE id = column1 AND owner = ?"
    touched = execute_rows(db, _UPDATE, changes, head=(now, now), after=after, tail=(lease,))
    if touched != len(changes):
        raise BatchRefused(f"{len(changes) - touched} of {len(changes)} executions are not owned by lease {lease}")


def _wake(park: Park, now: int) -> int | None:
    dues = []
    if park.wake_in is not None:
        dues.append(now + _span(park.wake_in))
    if park.wake_at is not None:
        dues.append(to_microseconds(park.wake_at))
    return min(dues, default=None)


def _span(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


# --- claims, signals, ids ---


def claim(db: sqlite3.Connection, now: int, lease: int, limit: int) -> Claims:
    fence(db, lease)
    rows = db.execute(_CLAIM, (lease, now, limit)).fetchall()
    return Claims(from_microseconds(now), tuple(execution_from(row) for row in rows))


def put_signals(db: sqlite3.Connection, now: int, signals: Sequence[Signal]) -> list[int | None]:
    return [_put_signal(db, now, signal) for signal in signals]


def _put_signal(db: sqlite3.Connection, now: int, signal: Signal) -> int | None:
    alive = "SELECT 1 FROM execution WHERE id = ? AND ended_at IS NULL"
    if db.execute(alive, (signal.execution_id,)).fetchone() is None:
        return None
    sql = (
        "INSERT INTO signal (execution_id, kind, name, payload, dedupe_key, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    )
    values = (signal.execution_id, signal.kind, signal.name, signal.payload, signal.dedupe_key, now)
    cursor = db.execute(sql, values)
    if cursor.rowcount == 0:
        return None
    db.execute("UPDATE execution SET wake_at = ? WHERE id = ?", (now, signal.execution_id))
    return cursor.lastrowid


def reserve_ids(db: sqlite3.Connection, count: int) -> range:
    sql = (
        "INSERT INTO id_block (name, next) VALUES ('execution', 1 + ?) "
        "ON CONFLICT (name) DO UPDATE SET next = next + ? RETURNING next"
    )
    after: int = db.execute(sql, (count, count)).fetchone()[0]
    return range(after - count, after)
