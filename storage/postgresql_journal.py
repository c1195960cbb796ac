"""The journal on PostgreSQL as text: each function answers the statements of one query, which is one transaction.

Numbers, our own constants and hexadecimal bytes are written into array literals; whatever comes from outside is a
parameter that the driver quotes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from engine.model import FORMAT
from engine.ports import Append, NewExecution, Park, Signal
from engine.states import ExecutionStatus, is_terminal
from storage.postgresql_session import Part
from storage.records import EXECUTION_COLUMNS, encode_labels

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


# --- appends ---

_WAKE = "LEAST(now() + {0}.wake_in * interval '1 second', to_timestamp({0}.wake_at))"
_KEYS = """INSERT INTO idempotency (namespace, workflow_id, key, execution_id, request_digest)
SELECT namespace, workflow_id, key, id, digest
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::bytea[])
  WITH ORDINALITY AS k(namespace, workflow_id, key, id, digest, n)
ORDER BY namespace, workflow_id, key, n ON CONFLICT DO NOTHING"""
_MINE = """s.idempotency_key IS NULL OR EXISTS (SELECT 1 FROM idempotency k WHERE k.namespace = s.namespace
  AND k.workflow_id = s.workflow_id AND k.key = s.idempotency_key AND k.execution_id = s.id)"""
_FIELDS = (
    ("id", "bigint"),
    ("namespace", "text"),
    ("workflow_id", "bigint"),
    ("version_id", "bigint"),
    ("status", "text"),
    ("owner", "bigint"),
    ("wake_in", "float8"),
    ("wake_at", "float8"),
    ("started", "bool"),
    ("final", "bool"),
    ("idempotency_key", "text"),
    ("labels", "bytea"),
    ("priority", "int"),
    ("queue", "text"),
    ("parent_id", "bigint"),
    ("root_id", "bigint"),
    ("rerun_of", "bigint"),
)
_EXECUTIONS = f"""INSERT INTO execution (v, created_at, id, namespace, workflow_id, version_id, status, owner, wake_at,
  started_at, ended_at, idempotency_key, labels, priority, queue, parent_id, root_id, rerun_of)
SELECT {FORMAT}, now(), s.id, s.namespace, s.workflow_id, s.version_id, s.status, s.owner, {_WAKE.format("s")},
  CASE WHEN s.started THEN now() END, CASE WHEN s.final THEN now() END, s.idempotency_key, s.labels, s.priority,
  s.queue, s.parent_id, s.root_id, s.rerun_of
FROM unnest({", ".join(f"%s::{kind}[]" for _, kind in _FIELDS)}) AS s({", ".join(name for name, _ in _FIELDS)})"""
_DUPLICATES = f"""SELECT {NOW}, d.id, d.execution_id, d.request_digest FROM (SELECT 1) AS one LEFT JOIN (
  SELECT s.id, k.execution_id, k.request_digest
  FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[]) AS s(namespace, workflow_id, key, id)
  JOIN idempotency k USING (namespace, workflow_id, key) WHERE k.execution_id <> s.id) AS d ON true"""


class Batch:
    """What one batch of appends says, taken apart by table."""

    def __init__(self, lease: int | None, batch: int | None, appends: Sequence[Append]) -> None:
        self._lease, self._batch = lease, batch
        self._starts = [(a, a.start) for a in appends if a.start is not None]
        self._keyed = [(a.execution_id, s, s.idempotency_key) for a, s in self._starts if s.idempotency_key is not None]
        changing = [a for a in appends if a.start is None]
        self._changes = [a for a in changing if a.status is not None or a.park is not None or a.started]
        self._consumed = [number for a in changing for number in a.consumed]
        unsure = {number for number, _, _ in self._keyed}
        self._sure = [a for a in appends if a.execution_id not in unsure]
        self._unsure = [a for a in appends if a.execution_id in unsure]
        self._first = [(a.execution_id, a.first_seq) for a in appends if a.events]

    def statements(self) -> list[Part]:
        """The whole transaction; its rows are those of `duplicates`."""
        parts: list[Part] = [] if self._lease is None else [fence(self._lease)]
        if self._keyed:
            parts.append((_KEYS, self._keys()))
        if self._starts:
            parts.append((f"{_EXECUTIONS} WHERE {_MINE}" if self._keyed else _EXECUTIONS, self._rows()))
        if events := self._events(self._sure, ""):
            parts.append(events)
        if events := self._events(self._unsure, "WHERE EXISTS (SELECT 1 FROM execution e WHERE e.id = u.id)"):
            parts.append(events)
        parts.extend(self._updates())
        parts.append(self.duplicates())
        return parts

    def duplicates(self) -> Part:
        """(now, id, execution_id, request_digest): one row at least, with NULLs when there is no duplicate."""
        if not self._keyed:
            return f"SELECT {NOW}, NULL::bigint"
        return _DUPLICATES, self._keys()[:4]

    def find(self) -> list[Part]:
        """After a lost answer: waits for the old transaction, then answers (at,) of those of our events that exist.

        A leaseless start is known by its execution ids, which nobody else has.
        """
        ids, seqs = array([n for n, _ in self._first], "bigint"), array([s for _, s in self._first], "int")
        parts: list[Part] = []
        whose = ""
        if self._lease is not None:
            parts.append(f"SELECT 1 FROM lease WHERE id = {self._lease:d} FOR UPDATE")
            whose = f" WHERE e.lease = {self._lease:d} AND e.batch = {self._batch or 0:d}"
        parts.append(
            f"SELECT extract(epoch FROM e.at)::float8 FROM event e "
            f"JOIN unnest({ids}, {seqs}) AS u(id, seq) ON e.execution_id = u.id AND e.seq = u.seq{whose}"
        )
        return parts

    def _keys(self) -> list[list[Any]]:
        return [
            [start.namespace for _, start, _ in self._keyed],
            [start.workflow_id for _, start, _ in self._keyed],
            [key for _, _, key in self._keyed],
            [number for number, _, _ in self._keyed],
            [start.request_digest for _, start, _ in self._keyed],
        ]

    def _rows(self) -> list[list[Any]]:
        rows = [_new_row(append, start, self._lease) for append, start in self._starts]
        return [list(column) for column in zip(*rows, strict=True)]

    def _events(self, appends: Sequence[Append], where: str) -> str | None:
        ids: list[str] = []
        seqs: list[str] = []
        types: list[str] = []
        data: list[str] = []
        for append in appends:
            number, seq = str(append.execution_id), append.first_seq
            for event in append.events:
                ids.append(number)
                seqs.append(str(seq))
                types.append(event.type)
                data.append(event.data.hex())
                seq += 1
        if not ids:
            return None
        lease = "NULL" if self._lease is None else f"{self._lease:d}"
        batch = "NULL" if self._batch is None else f"{self._batch:d}"
        return (
            "INSERT INTO event (execution_id, seq, type, v, at, lease, batch, data) "
            f"SELECT u.id, u.seq, u.type, {FORMAT}, now(), {lease}, {batch}, u.data FROM unnest("
            f"'{{{','.join(ids)}}}'::bigint[], '{{{','.join(seqs)}}}'::int[], '{{{','.join(types)}}}'::text[], "
            f"'{{\"\\\\x{_NEXT_BYTES.join(data)}\"}}'::bytea[]) AS u(id, seq, type, data) {where}"
        )

    def _updates(self) -> list[Part]:
        parts: list[Part] = []
        if self._changes:
            parts.append(self._change())
        if self._consumed:
            parts.append(f"DELETE FROM signal WHERE id = ANY({array(self._consumed, 'bigint')})")
        ended = [a.execution_id for a in self._changes if _is_final(a)]
        parked = [a.execution_id for a in self._changes if a.park is not None and not _is_final(a)]
        if ended:
            parts.append(f"DELETE FROM signal WHERE execution_id = ANY({array(ended, 'bigint')})")
        if parked:
            parts.append(
                f"UPDATE execution SET wake_at = now() WHERE id = ANY({array(parked, 'bigint')}) "
                "AND EXISTS (SELECT 1 FROM signal s WHERE s.execution_id = execution.id)"
            )
        return parts

    def _change(self) -> str:
        changes = sorted(self._changes, key=lambda append: append.execution_id)
        finals = [_is_final(a) for a in changes]
        parks = [None if final else a.park for a, final in zip(changes, finals, strict=True)]
        frees = [final or park is not None for final, park in zip(finals, parks, strict=True)]
        return f"""WITH touched AS (UPDATE execution e SET status = coalesce(c.status, e.status),
  started_at = CASE WHEN c.started THEN coalesce(e.started_at, now()) ELSE e.started_at END,
  ended_at = CASE WHEN c.final THEN now() ELSE e.ended_at END,
  owner = CASE WHEN c.frees THEN NULL ELSE e.owner END,
  wake_at = CASE WHEN c.frees THEN {_WAKE.format("c")} ELSE e.wake_at END
FROM unnest({array([a.execution_id for a in changes], "bigint")},
  {array([None if a.status is None else a.status.value for a in changes], "text")},
  {array([a.started for a in changes], "bool")}, {array(finals, "bool")}, {array(frees, "bool")},
  {array([None if park is None else park.wake_in for park in parks], "float8")},
  {array([None if park is None else park.wake_at for park in parks], "float8")})
  AS c(id, status, started, final, frees, wake_in, wake_at)
WHERE e.id = c.id AND e.owner = {self._lease or 0:d} RETURNING 1)
SELECT millrace_expect({len(changes)}, (SELECT count(*) FROM touched))"""


_NEXT_BYTES = '","\\\\x'


def _is_final(append: Append) -> bool:
    return append.status is not None and is_terminal(append.status)


def _new_row(append: Append, start: NewExecution, lease: int | None) -> tuple[Any, ...]:
    """In the order of `_FIELDS`."""
    status = append.status or start.status
    final = is_terminal(status)
    park = append.park or (Park() if final or start.owned else Park(wake_in=0.0))
    owned = start.owned and not final and append.park is None
    return (
        append.execution_id,
        start.namespace,
        start.workflow_id,
        start.version_id,
        status.value,
        lease if owned else None,
        None if final else park.wake_in,
        None if final else park.wake_at,
        append.started or status is not ExecutionStatus.PENDING,
        final,
        start.idempotency_key,
        encode_labels(start.labels),
        start.priority,
        start.queue,
        start.parent_id,
        start.root_id,
        start.rerun_of,
    )


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


_SIGNALS = """WITH wanted AS (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bytea[], %s::text[])
  WITH ORDINALITY AS s(execution_id, kind, name, payload, dedupe_key, n)
  WHERE EXISTS (SELECT 1 FROM execution e WHERE e.id = s.execution_id AND e.ended_at IS NULL)),
stored AS (INSERT INTO signal (execution_id, kind, name, payload, dedupe_key, created_at)
  SELECT execution_id, kind, name, payload, dedupe_key, now() FROM wanted ORDER BY n
  ON CONFLICT (execution_id, dedupe_key) DO NOTHING RETURNING execution_id, dedupe_key),
woken AS (UPDATE execution e SET wake_at = now() FROM (SELECT DISTINCT execution_id FROM stored) AS s
  WHERE e.id = s.execution_id)
SELECT execution_id, dedupe_key, count(*) FROM stored GROUP BY execution_id, dedupe_key"""


def put_signals(signals: Sequence[Signal]) -> list[Part]:
    """Rows (execution_id, dedupe_key, how many were stored). The rows of the executions are locked first, in order."""
    ids = array(sorted({signal.execution_id for signal in signals}), "bigint")
    rows = [
        [signal.execution_id for signal in signals],
        [signal.kind for signal in signals],
        [signal.name for signal in signals],
        [signal.payload for signal in signals],
        [signal.dedupe_key for signal in signals],
    ]
    return [
        f"SELECT 1 FROM execution WHERE id = ANY({ids}) ORDER BY id FOR NO KEY UPDATE",
        (_SIGNALS, rows),
    ]


def reserve(count: int) -> Part:
    sql = (
        "INSERT INTO id_block AS b (name, next) VALUES ('execution', 1 + %s) "
        "ON CONFLICT (name) DO UPDATE SET next = b.next + %s RETURNING b.next"
    )
    return sql, (count, count)
