"""Slots of pools on PostgreSQL: each function answers statements of one query, one transaction.

Whoever hands out slots of a workflow holds its advisory lock, so that what it counts stays true; giving back needs no
lock. Locks are taken in this order everywhere: lease, workflows, slots, executions, each in the order of their ids.
"""

from collections.abc import Iterable, Sequence

from engine.ports import PoolSlot, SlotGrant, SlotPool
from engine.states import SlotStage
from storage.postgresql_journal import array, fence
from storage.postgresql_reads import known
from storage.postgresql_session import Part, Rows

LOCKS = 0x6D72 << 48
"""Where our advisory locks begin: one per workflow."""
NO_BOUND = 2**31 - 1
MENDED = 1000
"""Pools in one round of mending."""

_KEY, _WORKFLOW, _HELD = (int(stage) for stage in SlotStage)

_ASK = f"""INSERT INTO slot (execution_id, task, workflow_id, key, key_limit, workflow_limit, stage, asked_at, held_at)
SELECT a.execution_id, a.task, a.workflow_id, a.key, a.key_limit, a.workflow_limit, a.stage, now(),
  CASE WHEN a.stage = {_HELD} THEN now() END
FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::int[], %s::int[], %s::smallint[])
  WITH ORDINALITY AS a(execution_id, task, workflow_id, key, key_limit, workflow_limit, stage, n)
WHERE EXISTS (SELECT 1 FROM execution e WHERE e.id = a.execution_id AND e.owner = %s)
ORDER BY n ON CONFLICT DO NOTHING"""

_TAKE_KEYS = f"""WITH ready AS MATERIALIZED (
  SELECT w.id FROM unnest(%s::bigint[], %s::text[]) AS p(workflow_id, key)
  CROSS JOIN LATERAL (SELECT h.key_limit - (SELECT count(*) FROM slot u WHERE u.workflow_id = p.workflow_id
      AND u.key = p.key AND u.stage > {_KEY}) AS room
    FROM slot h WHERE h.workflow_id = p.workflow_id AND h.key = p.key AND h.stage = {_KEY} ORDER BY h.id LIMIT 1) AS r
  CROSS JOIN LATERAL (SELECT s.id FROM slot s WHERE s.workflow_id = p.workflow_id AND s.key = p.key
    AND s.stage = {_KEY} ORDER BY s.id LIMIT greatest(r.room, 0) FOR UPDATE SKIP LOCKED) AS w)
UPDATE slot s SET stage = {_WORKFLOW} FROM ready WHERE s.id = ready.id"""

_TAKE = f"""WITH asked AS MATERIALIZED (SELECT * FROM unnest(%s::bigint[], %s::text[]) AS a(execution_id, task)),
ready AS MATERIALIZED (
  SELECT w.id FROM unnest(%s::bigint[]) AS p(workflow_id)
  CROSS JOIN LATERAL (SELECT CASE WHEN h.workflow_limit IS NULL THEN {NO_BOUND} ELSE h.workflow_limit - (
      SELECT count(*) FROM slot u WHERE u.workflow_id = p.workflow_id AND u.stage = {_HELD}) END AS room
    FROM slot h WHERE h.workflow_id = p.workflow_id AND h.stage = {_WORKFLOW} ORDER BY h.id LIMIT 1) AS r
  CROSS JOIN LATERAL (SELECT s.id FROM slot s WHERE s.workflow_id = p.workflow_id AND s.stage = {_WORKFLOW}
    ORDER BY s.id LIMIT greatest(r.room, 0) FOR UPDATE SKIP LOCKED) AS w),
granted AS (UPDATE slot s SET stage = {_HELD}, held_at = now() FROM ready WHERE s.id = ready.id
  RETURNING s.id, s.execution_id, s.task),
others AS MATERIALIZED (SELECT e.id FROM execution e WHERE e.id IN (SELECT g.execution_id FROM granted g)
  AND e.owner IS DISTINCT FROM %s AND e.ended_at IS NULL ORDER BY e.id FOR NO KEY UPDATE),
woken AS (UPDATE execution e SET wake_at = now() FROM others WHERE e.id = others.id RETURNING e.id, e.owner)
SELECT g.execution_id, g.task, CASE WHEN w.id IS NULL THEN %s::bigint ELSE w.owner END
FROM (SELECT * FROM granted ORDER BY id) AS g LEFT JOIN woken w ON w.id = g.execution_id
UNION ALL SELECT s.execution_id, s.task, %s::bigint FROM asked JOIN slot s USING (execution_id, task)
WHERE s.stage = {_HELD}"""

_IDLE = f"""WITH idle AS MATERIALIZED (SELECT e.id FROM execution e WHERE e.id = ANY({{0}}) AND e.owner IS NULL
  AND (e.ended_at IS NOT NULL OR e.wake_at < now() - {{1}} * interval '1 second')
  ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED)
DELETE FROM slot s WHERE s.execution_id = ANY({{0}}) AND s.stage = {_HELD} AND (s.execution_id IN (SELECT id FROM idle)
  OR NOT EXISTS (SELECT 1 FROM execution e WHERE e.id = s.execution_id))"""

_NEEDY = f"""WITH RECURSIVE keys AS (
  (SELECT workflow_id, key FROM slot WHERE key IS NOT NULL ORDER BY workflow_id, key LIMIT 1)
  UNION ALL SELECT n.workflow_id, n.key FROM keys k CROSS JOIN LATERAL (SELECT s.workflow_id, s.key FROM slot s
    WHERE s.key IS NOT NULL AND (s.workflow_id, s.key) > (k.workflow_id, k.key)
    ORDER BY s.workflow_id, s.key LIMIT 1) AS n),
workflows AS (
  (SELECT workflow_id FROM slot ORDER BY workflow_id LIMIT 1)
  UNION ALL SELECT n.workflow_id FROM workflows w CROSS JOIN LATERAL (SELECT s.workflow_id FROM slot s
    WHERE s.workflow_id > w.workflow_id ORDER BY s.workflow_id LIMIT 1) AS n),
idle AS (SELECT s.workflow_id, s.key, s.execution_id FROM slot s LEFT JOIN execution e ON e.id = s.execution_id
  WHERE s.stage = {_HELD} AND (e.id IS NULL OR (e.owner IS NULL
    AND (e.ended_at IS NOT NULL OR e.wake_at < now() - {{0}} * interval '1 second'))))
(SELECT workflow_id, key, execution_id FROM idle LIMIT {MENDED})
UNION ALL (SELECT k.workflow_id, k.key, NULL FROM keys k CROSS JOIN LATERAL (
  SELECT key_limit FROM slot h WHERE h.workflow_id = k.workflow_id AND h.key = k.key AND h.stage = {_KEY}
  ORDER BY h.id LIMIT 1) AS h WHERE h.key_limit > (SELECT count(*) FROM slot u WHERE u.workflow_id = k.workflow_id
  AND u.key = k.key AND u.stage > {_KEY}) LIMIT {MENDED})
UNION ALL (SELECT w.workflow_id, NULL, NULL FROM workflows w CROSS JOIN LATERAL (
  SELECT workflow_limit FROM slot h WHERE h.workflow_id = w.workflow_id AND h.stage = {_WORKFLOW}
  ORDER BY h.id LIMIT 1) AS h WHERE h.workflow_limit IS NULL OR h.workflow_limit > (SELECT count(*) FROM slot u
  WHERE u.workflow_id = w.workflow_id AND u.stage = {_HELD}) LIMIT {MENDED})"""


def share(lease: int, asks: Sequence[PoolSlot], pools: Iterable[SlotPool]) -> list[Part]:
    """Rows as `grants` reads them."""
    touched = {*pools, *(ask.pool for ask in asks)}
    parts: list[Part] = [fence(lease), _lock(touched)]
    if asks:
        parts.append((_ASK, (*_columns(asks), lease)))
    return [*parts, *_hand_out(lease, asks, touched)]


def needy(unclaimed: float) -> str:
    """(workflow_id, key, execution_id): pools where somebody waits and a slot is free, and holders that are idle."""
    return _NEEDY.format(f"{unclaimed:f}")


def take_back(lease: int, unclaimed: float, rows: Rows) -> list[Part]:
    """What the idle of `needy` hold; for a transaction of its own, because it locks executions before slots."""
    idle = array(sorted({number for *_, number in rows if number is not None}), "bigint")
    return [fence(lease), _lock(needy_pools(rows)), _IDLE.format(idle, f"{unclaimed:f}")]


def needy_pools(rows: Rows) -> set[SlotPool]:
    return {SlotPool(workflow, key) for workflow, key, _ in rows}


def grants(rows: Rows) -> list[SlotGrant]:
    return [SlotGrant(*row) for row in rows]


def slots(executions: Sequence[int]) -> str:
    return (
        "SELECT execution_id, task, workflow_id, key, key_limit, workflow_limit, stage FROM slot "
        f"WHERE execution_id = ANY({array(known(executions), 'bigint')}) ORDER BY id"
    )


def slot_records(rows: Rows) -> list[PoolSlot]:
    return [
        PoolSlot(number, task, workflow, key, key_limit, workflow_limit, SlotStage(stage))
        for number, task, workflow, key, key_limit, workflow_limit, stage in rows
    ]


def _lock(pools: Iterable[SlotPool]) -> str:
    keys = array(sorted({LOCKS + pool.workflow_id for pool in pools}), "bigint")
    return f"SELECT pg_advisory_xact_lock(k) FROM unnest({keys}) AS k"


def _hand_out(lease: int, asks: Sequence[PoolSlot], pools: Iterable[SlotPool]) -> list[Part]:
    keyed = [pool for pool in pools if pool.key is not None]
    workflows = sorted({pool.workflow_id for pool in pools})
    asked = [ask.execution_id for ask in asks], [ask.task for ask in asks]
    parts: list[Part] = [(_TAKE, (*asked, workflows, lease, lease, lease))]
    if keyed:
        parts.insert(0, (_TAKE_KEYS, ([pool.workflow_id for pool in keyed], [pool.key for pool in keyed])))
    return parts


def _columns(asks: Sequence[PoolSlot]) -> list[list[object]]:
    stages = [max(ask.stage, _KEY if ask.key is not None else _WORKFLOW) for ask in asks]
    return [
        [ask.execution_id for ask in asks],
        [ask.task for ask in asks],
        [ask.workflow_id for ask in asks],
        [ask.key for ask in asks],
        [ask.key_limit for ask in asks],
        [ask.workflow_limit for ask in asks],
        [int(stage) for stage in stages],
    ]
