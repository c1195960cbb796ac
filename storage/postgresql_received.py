"""Events from outside on PostgreSQL: the text of each query and the records that its rows make."""

from collections.abc import Sequence

from engine.model import DEFAULT_NAMESPACE
from engine.received import ANY, WAITS, EventWait, NewReceived, ReceivedEvent, Trigger
from storage.columns import is_id
from storage.postgresql_session import Part, Rows
from storage.records import (
    RECEIVED_COLUMNS,
    TRIGGER_COLUMNS,
    WAIT_COLUMNS,
    WOKEN,
    event_wait_record,
    received_record,
    trigger_record,
)


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(f"extract(epoch FROM {name})::float8" if name.endswith("_at") else name for name in names)


_RECEIVED = _columns(RECEIVED_COLUMNS)
_LATER = "now() + %s * interval '1 second'"


def triggers_for(namespace: str, event: str, after: int, limit: int) -> Part:
    sql = (
        f"SELECT {_columns(TRIGGER_COLUMNS)} FROM trigger WHERE event = ANY(%s) AND enabled AND id > %s "
        "AND namespace = %s ORDER BY id LIMIT %s"
    )
    return sql, ([event, ANY], after, namespace, limit)


def trigger_records(rows: Rows) -> list[Trigger]:
    return [trigger_record(row) for row in rows]


def receive(namespace: str, new: NewReceived, hold: float) -> Part:
    """No row when the key is known."""
    sql = (
        "INSERT INTO received_event (namespace, type, key, payload, digest, depth, received_at, due_at) "
        f"VALUES (%s, %s, %s, %s, %s, %s, now(), {_LATER}) ON CONFLICT DO NOTHING RETURNING {_RECEIVED}"
    )
    return sql, (namespace, new.type, new.key, new.payload, new.digest, new.depth, hold)


def publish(events: Sequence[NewReceived]) -> Part:
    """Events of tasks, free for anybody to handle; those whose key is known are left out. Keys are locked in order."""
    sql = """INSERT INTO received_event (namespace, type, key, payload, digest, depth, received_at, due_at)
SELECT %s, type, key, payload, digest, depth, now(), now()
FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::bytea[], %s::int[])
  WITH ORDINALITY AS p(type, key, payload, digest, depth, n)
ORDER BY key, n ON CONFLICT DO NOTHING"""
    rows = [(e.type, e.key, e.payload, e.digest, e.depth) for e in events]
    return sql, [DEFAULT_NAMESPACE, *(list(column) for column in zip(*rows, strict=True))]


def known(namespace: str, key: str | None) -> Part:
    return f"SELECT {_RECEIVED} FROM received_event WHERE namespace = %s AND key = %s", (namespace, key)


def get(namespace: str, event_id: int) -> Part:
    return f"SELECT {_RECEIVED} FROM received_event WHERE namespace = %s AND id = %s", (namespace, event_id)


NEXT_OUTSIDE = """SELECT least(
  (SELECT extract(epoch FROM due_at - now())::float8 FROM received_event WHERE due_at IS NOT NULL
    ORDER BY due_at, id LIMIT 1),
  (SELECT 0::float8 FROM wait WHERE lookback IS NOT NULL AND decided_at IS NULL ORDER BY id LIMIT 1))"""


def claim(limit: int, hold: float, only: int | None) -> Part:
    one = "" if only is None or not is_id(only) else f" AND id = {only:d}"
    sql = f"""WITH due AS (SELECT id FROM received_event WHERE due_at IS NOT NULL AND due_at <= now(){one}
  ORDER BY due_at, id LIMIT {limit:d} FOR UPDATE SKIP LOCKED),
claimed AS (UPDATE received_event r SET due_at = {_LATER} FROM due WHERE r.id = due.id RETURNING r.*)
SELECT {_RECEIVED} FROM claimed ORDER BY id"""
    return sql, (hold,)


def settle(event_id: int, outcome: bytes) -> list[Part]:
    """In two statements of one transaction: the second sees what the first has waited for."""
    said = "outcome = %s, handled_at = now(), due_at = NULL"
    return [
        (f"UPDATE received_event SET {said} WHERE id = %s AND outcome IS NULL", (outcome, event_id)),
        (f"SELECT {_RECEIVED} FROM received_event WHERE id = %s", (event_id,)),
    ]


def records(rows: Rows) -> list[ReceivedEvent]:
    return [received_record(row) for row in rows]


# --- waits for events ---


_WAITS = f"SELECT {', '.join(WAIT_COLUMNS)} FROM wait WHERE"


def waits_for(namespace: str, event: str, after: int, limit: int) -> Part:
    where = "topic = %s AND decided_at IS NULL AND kind = %s AND namespace = %s AND id > %s ORDER BY id LIMIT %s"
    return f"{_WAITS} {where}", (event, WAITS, namespace, after, limit)


def woken_by(by: str, limit: int) -> Part:
    return f"{WOKEN} WHERE kind = '{WAITS}' AND decided_by = %s ORDER BY id LIMIT {limit:d}", (by,)


def looking_back(after: int, limit: int) -> str:
    where = f"lookback IS NOT NULL AND decided_at IS NULL AND id > {after:d} ORDER BY id LIMIT {limit:d}"
    return f"{_WAITS} {where}"


def wait_records(rows: Rows) -> list[EventWait]:
    return [event_wait_record(row) for row in rows]


def events_before(wait_id: int, after: int, limit: int) -> str:
    names = [f"r.{name}" for name in RECEIVED_COLUMNS]
    past = f"AND (r.received_at, r.id) > (SELECT received_at, id FROM received_event WHERE id = {after:d})"
    return f"""SELECT {_columns(tuple(names))} FROM wait w JOIN received_event r ON r.type = w.topic
AND r.received_at >= w.opened_at - w.lookback * interval '1 second' AND r.namespace = w.namespace
WHERE w.id = {wait_id:d} {past if after else ""} ORDER BY r.received_at, r.id LIMIT {limit:d}"""


def looked_back(wait_id: int) -> str:
    return f"UPDATE wait SET lookback = NULL WHERE id = {wait_id:d}"
