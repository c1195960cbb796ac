"""A batch of appends on PostgreSQL: the statements of one query, which is one transaction.

Numbers, our own constants and hexadecimal bytes are written into array literals; whatever comes from outside is a
parameter that the driver quotes. What every batch says is prepared once per connection: that saves a fifth of a
lone commit.
"""

from collections.abc import Sequence
from typing import Any

from engine.model import FORMAT
from engine.ports import Append, NewExecution, Park
from engine.states import ExecutionStatus, SlotStage, is_terminal
from storage import postgresql_received, postgresql_waits
from storage.postgresql_journal import NOW, SIGNALS, array, lock_executions, signal_rows
from storage.postgresql_session import Part
from storage.records import encode_labels, with_children

_WAKE = "LEAST(now() + {0}.wake_in * interval '1 second', to_timestamp({0}.wake_at))"
_KEYS = """INSERT INTO idempotency (namespace, workflow_id, key, execution_id, request_digest)
SELECT namespace, workflow_id, key, id, digest
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::bytea[])
  WITH ORDINALITY AS k(namespace, workflow_id, key, id, digest, n)
ORDER BY namespace, workflow_id, key, n ON CONFLICT DO NOTHING"""
_DUPLICATES = f"""SELECT {NOW}, d.id, d.execution_id, d.request_digest FROM (SELECT 1) AS one LEFT JOIN (
  SELECT s.id, k.execution_id, k.request_digest
  FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[]) AS s(namespace, workflow_id, key, id)
  JOIN idempotency k USING (namespace, workflow_id, key) WHERE k.execution_id <> s.id) AS d ON true"""
_FIELDS = {
    "id": "bigint",
    "namespace": "text",
    "workflow_id": "bigint",
    "version_id": "bigint",
    "status": "text",
    "owner": "bigint",
    "wake_in": "float8",
    "wake_at": "float8",
    "started": "bool",
    "final": "bool",
    "idempotency_key": "text",
    "labels": "bytea",
    "priority": "int",
    "queue": "text",
    "parent_id": "bigint",
    "root_id": "bigint",
    "rerun_of": "bigint",
}
_START = f"""INSERT INTO execution (v, created_at, id, namespace, workflow_id, version_id, status, owner, wake_at,
  started_at, ended_at, idempotency_key, labels, priority, queue, parent_id, root_id, rerun_of)
SELECT {FORMAT}, now(), s.id, s.namespace, s.workflow_id, s.version_id, s.status, s.owner, {_WAKE.format("s")},
  CASE WHEN s.started THEN now() END, CASE WHEN s.final THEN now() END, s.idempotency_key, s.labels, s.priority,
  s.queue, s.parent_id, s.root_id, s.rerun_of
FROM unnest({", ".join(f"${n}" for n in range(1, len(_FIELDS) + 1))}) AS s({", ".join(_FIELDS)})
WHERE s.idempotency_key IS NULL OR EXISTS (SELECT 1 FROM idempotency k WHERE k.namespace = s.namespace
  AND k.workflow_id = s.workflow_id AND k.key = s.idempotency_key AND k.execution_id = s.id)"""
_EVENTS = f"""INSERT INTO event (execution_id, seq, type, v, at, lease, batch, data)
SELECT u.id, u.seq, u.type, {FORMAT}, now(), $5, $6, u.data FROM unnest($1, $2, $3, $4) AS u(id, seq, type, data)"""
# IS NOT DISTINCT FROM: with `=` the planner may walk everything that we own, once per row
_CHANGE = f"""WITH touched AS (UPDATE execution e SET status = coalesce(c.status, e.status),
  started_at = CASE WHEN c.started THEN coalesce(e.started_at, now()) ELSE e.started_at END,
  ended_at = CASE WHEN c.final THEN now() ELSE e.ended_at END,
  owner = CASE WHEN c.frees THEN NULL ELSE e.owner END,
  wake_at = CASE WHEN c.frees THEN {_WAKE.format("c")} ELSE e.wake_at END
FROM unnest($1, $2, $3, $4, $5, $6, $7) AS c(id, status, started, final, frees, wake_in, wake_at)
WHERE e.id = c.id AND e.owner IS NOT DISTINCT FROM $8 RETURNING 1)
SELECT millrace_expect(cardinality($1), (SELECT count(*) FROM touched))"""

_FREE = """DELETE FROM slot s USING unnest(%s::bigint[], %s::text[]) AS f(id, task)
WHERE s.execution_id = f.id AND s.task = f.task"""
_CONSUME = "DELETE FROM signal WHERE id = ANY($1)"
_EMPTY = "DELETE FROM signal WHERE execution_id = ANY($1)"
_WAKE_FOR_SIGNALS = """UPDATE execution SET wake_at = now() WHERE id = ANY($1)
AND EXISTS (SELECT 1 FROM signal s WHERE s.execution_id = execution.id)"""
_WAKE_FOR_SLOTS = f"""UPDATE execution SET wake_at = now() WHERE id = ANY($1)
AND EXISTS (SELECT 1 FROM slot s WHERE s.execution_id = execution.id AND s.stage = {SlotStage.HELD:d})"""
_IF_STARTED = "WHERE EXISTS (SELECT 1 FROM execution e WHERE e.id = u.id)"

PREPARED: tuple[Part, ...] = (
    "PREPARE fence(bigint) AS SELECT millrace_fence($1)",
    f"PREPARE start({', '.join(f'{kind}[]' for kind in _FIELDS.values())}) AS {_START}",
    f"PREPARE events(bigint[], int[], text[], bytea[], bigint, bigint) AS {_EVENTS}",
    f"PREPARE started(bigint[], int[], text[], bytea[], bigint, bigint) AS {_EVENTS} {_IF_STARTED}",
    f"PREPARE change(bigint[], text[], bool[], bool[], bool[], float8[], float8[], bigint) AS {_CHANGE}",
    f"PREPARE consume(bigint[]) AS {_CONSUME}",
    f"PREPARE empty(bigint[]) AS {_EMPTY}",
    f"PREPARE wake_for_signals(bigint[]) AS {_WAKE_FOR_SIGNALS}",
    f"PREPARE wake_for_slots(bigint[]) AS {_WAKE_FOR_SLOTS}",
    f"PREPARE moment AS SELECT {NOW}, NULL::bigint",
)
"""To be said on each new connection that commits batches."""

_EXECUTE_START = f"EXECUTE start({', '.join(f'%s::{kind}[]' for kind in _FIELDS.values())})"
_NEXT_BYTES = '","\\\\x'


class Batch:
    """What one batch of appends says, taken apart by table."""

    def __init__(self, lease: int | None, batch: int | None, appends: Sequence[Append]) -> None:
        self._lease, self._batch = lease, batch
        appends = with_children(appends)
        self._starts = [(a, a.start) for a in appends if a.start is not None]
        self._keyed = [(a.execution_id, s, s.idempotency_key) for a, s in self._starts if s.idempotency_key is not None]
        changing = [a for a in appends if a.start is None]
        self._changes = [a for a in changing if a.status is not None or a.park is not None or a.started]
        self._consumed = [number for a in changing for number in a.consumed]
        self._freed = [(a.execution_id, task) for a in changing if a.freed for task in a.freed]
        self._signals = [signal for a in appends if a.signals for signal in a.signals]
        unsure = {number for number, _, _ in self._keyed}
        self._sure = [a for a in appends if a.execution_id not in unsure] if unsure else appends
        self._unsure = [a for a in appends if a.execution_id in unsure] if unsure else ()
        self._waits = [a for a in appends if a.asks or a.lapses]
        self._published = [one for a in changing for event in a.events if event.publishes for one in event.publishes]
        self._first = [(a.execution_id, a.first_seq) for a in appends if a.events]

    @property
    def fenced(self) -> bool:
        """Whether it is known by a lease and a number."""
        return self._lease is not None

    def statements(self) -> list[Part]:
        """The whole transaction; its rows are those of `duplicates`."""
        parts: list[Part] = [] if self._lease is None else [f"EXECUTE fence({self._lease:d})"]
        if self._keyed:
            parts.append((_KEYS, self._keys()))
        if self._starts:
            parts.append((_EXECUTE_START, self._rows()))
        parts.extend(self._events("events", self._sure))
        parts.extend(self._events("started", self._unsure))
        parts.extend(self._updates())
        if self._waits:
            parts.extend(postgresql_waits.follow(self._waits))
        if self._published:
            parts.append(postgresql_received.publish(self._published))
        parts.append(self.duplicates())
        return parts

    def duplicates(self) -> Part:
        """(now, id, execution_id, request_digest): one row at least, with NULLs when there is no duplicate."""
        if not self._keyed:
            return "EXECUTE moment"
        return _DUPLICATES, self._keys()[:4]

    def find(self) -> list[Part]:
        """After a lost answer: waits for the old transaction, then answers (at,) of those of our events that exist.

        A leaseless start is known by its execution ids, which nobody else has; a batch without events only gives
        executions up, so it took place if they are not ours any more.
        """
        ids, seqs = array([n for n, _ in self._first], "bigint"), array([s for _, s in self._first], "int")
        parts: list[Part] = []
        whose = ""
        if self._lease is not None:
            parts.append(f"SELECT 1 FROM lease WHERE id = {self._lease:d} FOR UPDATE")
            whose = f" WHERE e.lease = {self._lease:d} AND e.batch = {self._batch or 0:d}"
        if self._lease is not None and not self._first:
            parked = array([append.execution_id for append in self._changes], "bigint")
            parts.append(
                f"SELECT {NOW} FROM execution WHERE id = ANY({parked}) AND owner IS DISTINCT FROM {self._lease:d}"
            )
            return parts
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

    def _events(self, statement: str, appends: Sequence[Append]) -> list[Part]:
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
            return []
        lease = "NULL" if self._lease is None else f"{self._lease:d}"
        batch = "NULL" if self._batch is None else f"{self._batch:d}"
        rows = f"'{{{','.join(ids)}}}', '{{{','.join(seqs)}}}', '{{{','.join(types)}}}'"
        payloads = f"'{{\"\\\\x{_NEXT_BYTES.join(data)}\"}}'"
        return [f"EXECUTE {statement}({rows}, {payloads}, {lease}, {batch})"]

    def _updates(self) -> list[Part]:
        parts: list[Part] = []
        if self._freed:  # before any row of an execution is locked: see `postgresql_slots`
            parts.append((_FREE, ([number for number, _ in self._freed], [task for _, task in self._freed])))
        if self._signals:  # with all that is changed below, in one order: two engines may tell each other's
            told = (signal.execution_id for signal in self._signals)
            parts.append(lock_executions([*told, *(append.execution_id for append in self._changes)]))
        if self._changes:
            parts.append(self._change())
        ended = [a.execution_id for a in self._changes if _is_final(a)]
        parked = [a for a in self._changes if a.park is not None and not _is_final(a)]
        if self._signals:
            parts.append((SIGNALS, signal_rows(self._signals)))
        for statement, ids in (
            ("consume", self._consumed),
            ("empty", ended),
            ("wake_for_signals", [a.execution_id for a in parked]),
            ("wake_for_slots", [a.execution_id for a in parked if a.park is not None and a.park.for_slots]),
        ):
            if ids:
                parts.append(f"EXECUTE {statement}({array(ids, 'bigint')})")
        return parts

    def _change(self) -> str:
        changes = sorted(self._changes, key=lambda append: append.execution_id)
        finals = [_is_final(a) for a in changes]
        parks = [None if final else a.park for a, final in zip(changes, finals, strict=True)]
        columns = (
            array([a.execution_id for a in changes], "bigint"),
            array([None if a.status is None else a.status.value for a in changes], "text"),
            array([a.started for a in changes], "bool"),
            array(finals, "bool"),
            array([final or park is not None for final, park in zip(finals, parks, strict=True)], "bool"),
            array([None if park is None else park.wake_in for park in parks], "float8"),
            array([None if park is None else park.wake_at for park in parks], "float8"),
        )
        return f"EXECUTE change({', '.join(columns)}, {self._lease or 0:d})"


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
