"""Leases, claims, signals and ids on PostgreSQL: each function answers statements of one query, one transaction.

Numbers and our own constants are written into the text; whatever comes from outside is a parameter that the driver
quotes.
"""

from collections.abc import Iterable, Sequence

from engine.model import FORMAT
from engine.ports import Signal
from storage.postgresql_session import Part
from storage.records import EXECUTION_COLUMNS

_TIMES = {"wake_at", "created_at", "started_at", "ended_at"}
NOW = "extract(epoch FROM now())::float8"


def columns(table: str) -> str:
    """What `execution_record` reads."""
    return ", ".join(
        f"extract(epoch FROM {table}.{name})::float8" if name in _TIMES else f"{table}.{name}"
        for name in EXECUTION_COLUMNS
    )


def array(values: Iterable[object], kind: str) -> str:
    """An array literal of numbers, booleans or our own constants."""
    return f"'{{{','.join(['NULL' if value is None else str(value) for value in values])}}}'::{kind}[]"


def fence(lease: int) -> str:
    return f"SELECT millrace_fence({lease:d})"


# --- claims and leases ---


def claim(lease: int, limit: int) -> list[Part]:
    """(now, *columns): one row at least, with NULLs when nothing is due."""
    return [
        fence(lease),
        f"""WITH due AS (SELECT id FROM execution WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= now()
  AND v <= {FORMAT} ORDER BY wake_at LIMIT {limit:d} FOR UPDATE SKIP LOCKED),
claimed AS (UPDATE execution e SET owner = {lease:d}, wake_at = NULL FROM due WHERE e.id = due.id RETURNING e.*)
SELECT {NOW}, {columns("c")} FROM (SELECT 1) AS one LEFT JOIN claimed c ON true""",
    ]


def acquire(holder: str, ttl: float) -> Part:
    sql = "INSERT INTO lease (holder, created_at, expires_at) VALUES (%s, now(), now() + %s * interval '1 second')"
    return f"{sql} RETURNING id", (holder, ttl)


def renew(lease: int, ttl: float) -> list[Part]:
    sql = "UPDATE lease SET expires_at = now() + %s * interval '1 second' WHERE id = %s AND NOT lost"
    return [fence(lease), (sql, (ttl, lease))]


def release(lease: int) -> list[Part]:
    return [
        f"UPDATE lease SET lost = true WHERE id = {lease:d}",
        free([lease]),
    ]


def expired(ttl: float) -> Part:
    """Ids of leases to mark lost; none while the database has only just started."""
    sql = (
        "SELECT id FROM lease WHERE NOT lost AND expires_at < now() "
        "AND pg_postmaster_start_time() < now() - %s * interval '1 second' ORDER BY id"
    )
    return sql, (ttl,)


def mark_lost(lease: int) -> list[Part]:
    """Fails with `lock_not_available` while its owner is in the middle of a commit: then it is alive."""
    return [
        "SELECT set_config('lock_timeout', '250ms', true)",
        f"UPDATE lease SET lost = true WHERE id = {lease:d} AND NOT lost AND expires_at < now()",
    ]


DEAD_OWNERS = """WITH RECURSIVE owners AS (
  (SELECT owner FROM execution WHERE owner IS NOT NULL ORDER BY owner LIMIT 1)
  UNION ALL
  SELECT (SELECT e.owner FROM execution e WHERE e.owner > o.owner ORDER BY e.owner LIMIT 1)
  FROM owners o WHERE o.owner IS NOT NULL)
SELECT owner FROM owners WHERE owner IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.id = owner AND NOT l.lost)
  AND pg_postmaster_start_time() < now() - %s * interval '1 second'"""
"""Lost or missing leases that still own something; walks from owner to owner, not from row to row."""


def free(owners: Sequence[int]) -> str:
    """By number, not by a look at the leases: a claim that comes in between must not be undone."""
    return f"""WITH orphans AS (SELECT id FROM execution WHERE owner = ANY({array(owners, "bigint")})
  ORDER BY id FOR NO KEY UPDATE SKIP LOCKED),
freed AS (UPDATE execution e SET owner = NULL, wake_at = now() FROM orphans o WHERE e.id = o.id RETURNING 1)
SELECT count(*) FROM freed"""


# --- signals and ids ---


SIGNALS = """WITH wanted AS (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bytea[], %s::text[])
  WITH ORDINALITY AS s(execution_id, kind, name, payload, dedupe_key, n)
  WHERE EXISTS (SELECT 1 FROM execution e WHERE e.id = s.execution_id AND e.ended_at IS NULL)),
stored AS (INSERT INTO signal (execution_id, kind, name, payload, dedupe_key, created_at)
  SELECT execution_id, kind, name, payload, dedupe_key, now() FROM wanted ORDER BY n
  ON CONFLICT (execution_id, dedupe_key) DO NOTHING RETURNING id, execution_id, dedupe_key),
woken AS (UPDATE execution e SET wake_at = now() FROM (SELECT DISTINCT execution_id FROM stored) AS s
  WHERE e.id = s.execution_id)
SELECT execution_id, dedupe_key, array_agg(id ORDER BY id DESC) FROM stored GROUP BY execution_id, dedupe_key"""


def put_signals(signals: Sequence[Signal]) -> list[Part]:
    """Rows (execution_id, dedupe_key, ids of those stored, the first one last).

    The rows of the executions are locked first, in order.
    """
    return [lock_executions(signal.execution_id for signal in signals), (SIGNALS, signal_rows(signals))]


def lock_executions(ids: Iterable[int]) -> str:
    """In order, before anything is said of them: whoever parks one of them comes before, or sees what is said."""
    return f"SELECT 1 FROM execution WHERE id = ANY({array(sorted(set(ids)), 'bigint')}) ORDER BY id FOR NO KEY UPDATE"


def signal_rows(signals: Sequence[Signal]) -> list[list[object]]:
    """For `SIGNALS`."""
    return [
        [signal.execution_id for signal in signals],
        [signal.kind for signal in signals],
        [signal.name for signal in signals],
        [signal.payload for signal in signals],
        [signal.dedupe_key for signal in signals],
    ]


def reserve(count: int) -> Part:
    sql = (
        "INSERT INTO id_block AS b (name, next) VALUES ('execution', 1 + %s) "
        "ON CONFLICT (name) DO UPDATE SET next = b.next + %s RETURNING b.next"
    )
    return sql, (count, count)
