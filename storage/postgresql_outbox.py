"""The journal on PostgreSQL as the relay reads it: the text of each query and the records that its rows make.

Commits are ordered by the number of their transaction. A number is given when a transaction begins to write, and
transactions end in any order: below `pg_snapshot_xmin` all have ended, so nothing can appear there any more.
"""

from uuid import uuid4

from engine.outbox import Outbox, OutboxEvent, Position, RelayTerm
from storage.postgresql_journal import renew
from storage.postgresql_session import Part, Rows
from storage.records import OUTBOX_BYTES, RELAY

_XMIN = "pg_snapshot_xmin(pg_current_snapshot())"
_ALONG_THE_INDEX = "SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)"
"""Also without statistics: a plan that sorts all that is waiting, once per batch, would never catch up."""
_XMAX = "pg_snapshot_xmax(pg_current_snapshot())"
_RELAY = f"relay WHERE name = '{RELAY}'"

_ADOPT = f"""WITH strangers AS (SELECT DISTINCT execution_id FROM event WHERE xid >= {_XMAX}),
moved AS (UPDATE event SET xid = pg_current_xact_id() WHERE execution_id IN (SELECT execution_id FROM strangers))
UPDATE relay SET xid = 0, execution_id = 0, seq = 0
WHERE name = '{RELAY}' AND (xid >= {_XMAX}::text::bigint OR EXISTS (SELECT 1 FROM strangers))"""
"""A database that was moved to another server (dump and restore) holds numbers that are not this server's: its
events become one commit of now, and everything is published once more."""


def take(holder: str, ttl: float) -> list[Part]:
    """(lease, journal, xid, execution_id, seq), or no row while another lease is live."""
    return [
        (f"INSERT INTO relay (name, journal) VALUES ('{RELAY}', %s) ON CONFLICT DO NOTHING", (uuid4().hex,)),
        f"SELECT 1 FROM {_RELAY} FOR UPDATE",
        f"UPDATE lease SET lost = true WHERE id = (SELECT lease FROM {_RELAY}) AND NOT lost AND expires_at < now()",
        _ADOPT,
        (
            f"""WITH mine AS (INSERT INTO lease (holder, created_at, expires_at)
  SELECT %s, now(), now() + %s * interval '1 second' WHERE NOT EXISTS (
    SELECT 1 FROM lease WHERE id = (SELECT lease FROM {_RELAY}) AND NOT lost) RETURNING id)
UPDATE relay SET lease = mine.id FROM mine WHERE name = '{RELAY}'
RETURNING lease, journal, xid, execution_id, seq""",
            (holder, ttl),
        ),
    ]


def term(rows: Rows) -> RelayTerm | None:
    return RelayTerm(rows[0][0], rows[0][1], Position(*rows[0][2:])) if rows else None


def mark(lease: int, position: Position, ttl: float) -> list[Part]:
    """In the order of `take`: the relay's row, then the lease's.

    Not waited for by the disk: a mark that a crash takes back costs duplicates, and whatever is deleted after it is
    written to the log after it.
    """
    place = f"xid = {position.order:d}, execution_id = {position.execution_id:d}, seq = {position.seq:d}"
    return [
        "SELECT set_config('synchronous_commit', 'off', true)",
        f"UPDATE relay SET {place} WHERE name = '{RELAY}' AND lease = {lease:d}",
        *renew(lease, ttl),
    ]


def read(after: Position, limit: int) -> list[Part]:
    """(held, xid, execution_id, seq, workflow_id, type, at, data): one row at least, with NULLs if nothing is ready."""
    sql = f"""SELECT EXISTS (SELECT 1 FROM event WHERE xid >= {_XMIN}),
  e.xid, e.execution_id, e.seq, coalesce(x.workflow_id, 0), e.type, extract(epoch FROM e.at)::float8, e.data
FROM (SELECT 1) AS one LEFT JOIN (
  SELECT *, sum(octet_length(data)) OVER (ORDER BY xid, execution_id, seq ROWS UNBOUNDED PRECEDING)
    - octet_length(data) AS before
  FROM (SELECT * FROM event WHERE (xid, execution_id, seq) > {_row(after)} AND xid >= '{after.order:d}'
    AND xid < {_XMIN} ORDER BY xid, execution_id, seq LIMIT {limit:d}) AS ready) AS e ON e.before < {OUTBOX_BYTES}
LEFT JOIN execution x ON x.id = e.execution_id ORDER BY e.xid, e.execution_id, e.seq"""
    return [_ALONG_THE_INDEX, sql]


def records(rows: Rows) -> Outbox:
    events = tuple(
        OutboxEvent(int(xid), number, seq, workflow_id, kind, at, bytes(data))
        for _, xid, number, seq, workflow_id, kind, at, data in rows
        if xid is not None
    )
    return Outbox(events, held=rows[0][0])


def rewind(before: Position, count: int) -> list[Part]:
    sql = (
        f"SELECT xid FROM event WHERE xid <= '{before.order:d}' ORDER BY xid DESC OFFSET {max(count - 1, 0):d} LIMIT 1"
    )
    return [_ALONG_THE_INDEX, sql]


def start(rows: Rows) -> Position:
    """Before the whole commit that was found."""
    return Position(int(rows[0][0])) if rows else Position()


def _row(position: Position) -> str:
    return f"('{position.order:d}'::xid8, {position.execution_id:d}, {position.seq:d})"
