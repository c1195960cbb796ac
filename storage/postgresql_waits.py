"""Waits on PostgreSQL: statements of one query, one transaction.

Locks are taken in this order everywhere: executions, then waits, each in the order of their ids and tasks.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.ports import Append
from engine.waits import Decision, Lapse, signal_name
from storage.postgresql_journal import array
from storage.postgresql_session import Part

_OPEN = """INSERT INTO wait
  (namespace, workflow_id, execution_id, task, kind, topic, details, opened_at, due_at, lookback)
SELECT e.namespace, e.workflow_id, e.id, a.task, a.kind, a.topic, a.details, now(),
  now() + a.due_in * interval '1 second', a.lookback
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::float8[], %s::float8[])
  WITH ORDINALITY AS a(id, task, kind, topic, details, due_in, lookback, n)
JOIN execution e ON e.id = a.id ORDER BY a.n"""

_LAPSE = f"""WITH asked AS MATERIALIZED (
  SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS a(id, task, lapse)),
open AS MATERIALIZED (SELECT w.id, a.lapse FROM asked a JOIN wait w ON w.execution_id = a.id AND w.task = a.task
  WHERE w.decided_at IS NULL ORDER BY w.execution_id, w.task FOR UPDATE OF w),
ended AS (UPDATE wait w SET decided_at = now(), decision = o.lapse FROM open o WHERE w.id = o.id RETURNING o.lapse)
SELECT millrace_expect(
  (SELECT count(*) FROM asked a JOIN wait w ON w.execution_id = a.id AND w.task = a.task
    WHERE a.lapse = '{Lapse.TIMEOUT}'),
  (SELECT count(*) FROM ended WHERE lapse = '{Lapse.TIMEOUT}'))"""

_DECIDE = """WITH asked AS MATERIALIZED (
  SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[])
  WITH ORDINALITY AS a(execution_id, task, decision, decided_by, comment, name, payload, n)),
open AS MATERIALIZED (SELECT w.id, a.* FROM asked a JOIN wait w USING (execution_id, task)
  JOIN execution e ON e.id = a.execution_id WHERE w.decided_at IS NULL AND e.ended_at IS NULL
  ORDER BY w.execution_id, w.task FOR UPDATE OF w),
ended AS (UPDATE wait w SET decided_at = now(), decision = o.decision, decided_by = o.decided_by, comment = o.comment
  FROM open o WHERE w.id = o.id RETURNING o.execution_id, o.name, o.payload, o.n),
told AS (INSERT INTO signal (execution_id, kind, name, payload, created_at)
  SELECT execution_id, 'answer', name, payload, now() FROM ended ORDER BY n),
woken AS (UPDATE execution e SET wake_at = now() FROM (SELECT DISTINCT execution_id FROM ended) AS d
  WHERE e.id = d.execution_id)
SELECT n FROM ended"""


def follow(appends: Sequence[Append]) -> list[Part]:
    """Opens and ends what these appends say; fails for a time-out that came too late."""
    parts: list[Part] = []
    asks = [(append.execution_id, wait) for append in appends for wait in append.asks]
    lapses = [(append.execution_id, ended) for append in appends for ended in append.lapses]
    if asks:
        rows = [(number, w.task, w.kind, w.topic, w.details, w.due_in, w.lookback) for number, w in asks]
        parts.append((_OPEN, _columns(rows)))
    if lapses:
        parts.append((_LAPSE, _columns([(number, ended.task, ended.lapse.value) for number, ended in lapses])))
    return parts


def decide(decisions: Sequence[Decision]) -> list[Part]:
    """Rows (n,), from 1, of those that were the first."""
    ids = array(sorted({decision.execution_id for decision in decisions}), "bigint")
    rows = [
        (d.execution_id, d.task, d.decision, d.by, d.comment, signal_name(d.task), msgspec.json.encode(d.answer))
        for d in decisions
    ]
    return [f"SELECT 1 FROM execution WHERE id = ANY({ids}) ORDER BY id FOR NO KEY UPDATE", (_DECIDE, _columns(rows))]


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
