"""Slots of pools on SQLite: each function is one job inside the writer's transaction. Times are microseconds."""

import sqlite3
from collections.abc import Iterable, Sequence

from engine.ports import PoolSlot, SlotGrant, SlotPool
from engine.states import SlotStage
from storage.sqlite_journal import fence
from storage.sqlite_reads import id_list

_ASK = """INSERT INTO slot (execution_id, task, workflow_id, key, key_limit, workflow_limit, stage, asked_at)
SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM execution WHERE id = ? AND owner = ?)
ON CONFLICT DO NOTHING"""
_KEY_ROOM = f"""SELECT key_limit - (SELECT count(*) FROM slot WHERE workflow_id = ? AND key = ?
  AND stage > {SlotStage.KEY}) FROM slot WHERE workflow_id = ? AND key = ? AND stage = {SlotStage.KEY}
ORDER BY id LIMIT 1"""
_TAKE_KEY = f"""UPDATE slot SET stage = {SlotStage.WORKFLOW} WHERE id IN (SELECT id FROM slot
  WHERE workflow_id = ? AND key = ? AND stage = {SlotStage.KEY} ORDER BY id LIMIT ?)"""
_ROOM = f"""SELECT workflow_limit - (SELECT count(*) FROM slot WHERE workflow_id = ? AND stage = {SlotStage.HELD})
FROM slot WHERE workflow_id = ? AND stage = {SlotStage.WORKFLOW} ORDER BY id LIMIT 1"""
_TAKE = f"""UPDATE slot SET stage = {SlotStage.HELD}, held_at = ? WHERE id IN (SELECT id FROM slot
  WHERE workflow_id = ? AND stage = {SlotStage.WORKFLOW} ORDER BY id LIMIT ?) RETURNING execution_id, task"""
_HELD = f"SELECT 1 FROM slot WHERE execution_id = ? AND task = ? AND stage = {SlotStage.HELD}"
_WAKE = "UPDATE execution SET wake_at = ? WHERE id = ? AND owner IS NULL AND ended_at IS NULL"
_IDLE = f"""DELETE FROM slot WHERE id IN (
  SELECT s.id FROM slot s LEFT JOIN execution e ON e.id = s.execution_id
  WHERE s.stage = {SlotStage.HELD} AND (e.id IS NULL OR e.ended_at IS NOT NULL OR (e.owner IS NULL AND e.wake_at < ?)))
RETURNING workflow_id, key"""
_WAITED_FOR = f"SELECT DISTINCT workflow_id, key FROM slot WHERE stage < {SlotStage.HELD}"
_SLOTS = """SELECT execution_id, task, workflow_id, key, key_limit, workflow_limit, stage FROM slot
WHERE execution_id IN (SELECT value FROM json_each(?)) ORDER BY id"""
_ALL = -1
"""As a limit: none."""


def share(
    db: sqlite3.Connection, now: int, lease: int, asks: Sequence[PoolSlot], pools: Sequence[SlotPool]
) -> list[SlotGrant]:
    fence(db, lease)
    for ask in asks:
        stage = max(ask.stage, SlotStage.KEY if ask.key is not None else SlotStage.WORKFLOW)
        place = (ask.execution_id, ask.task, ask.workflow_id, ask.key, ask.key_limit, ask.workflow_limit, stage)
        db.execute(_ASK, (*place, now, ask.execution_id, lease))
    known = [(ask.execution_id, ask.task) for ask in asks if db.execute(_HELD, (ask.execution_id, ask.task)).fetchone()]
    granted = _hand_out(db, now, {*pools, *(ask.pool for ask in asks)})
    return _grants(db, now, [*known, *granted])


def mend(db: sqlite3.Connection, now: int, lease: int, unclaimed: int) -> list[SlotGrant]:
    fence(db, lease)
    pools = {SlotPool(*row) for row in db.execute(_IDLE, (now - unclaimed,)).fetchall()}
    pools |= {SlotPool(*row) for row in db.execute(_WAITED_FOR).fetchall()}
    return _grants(db, now, _hand_out(db, now, pools))


def slots(db: sqlite3.Connection, executions: Sequence[int]) -> list[PoolSlot]:
    rows = db.execute(_SLOTS, (id_list(executions),)).fetchall()
    return [
        PoolSlot(number, task, workflow, key, key_limit, workflow_limit, SlotStage(stage))
        for number, task, workflow, key, key_limit, workflow_limit, stage in rows
    ]


def _hand_out(db: sqlite3.Connection, now: int, pools: Iterable[SlotPool]) -> list[tuple[int, str]]:
    granted: list[tuple[int, str]] = []
    for workflow, key in pools:
        if key is not None:
            db.execute(_TAKE_KEY, (workflow, key, _room(db, _KEY_ROOM, (workflow, key, workflow, key))))
    for workflow in sorted({pool.workflow_id for pool in pools}):
        granted += db.execute(_TAKE, (now, workflow, _room(db, _ROOM, (workflow, workflow)))).fetchall()
    return granted


def _room(db: sqlite3.Connection, sql: str, places: tuple[object, ...]) -> int:
    """Free slots, by the bound of the first in line; none when nobody waits."""
    row = db.execute(sql, places).fetchone()
    if row is None:
        return 0
    return _ALL if row[0] is None else max(0, row[0])


def _grants(db: sqlite3.Connection, now: int, places: Sequence[tuple[int, str]]) -> list[SlotGrant]:
    db.executemany(_WAKE, [(now, number) for number, _ in places])
    owners = dict(
        db.execute(
            "SELECT id, owner FROM execution WHERE id IN (SELECT value FROM json_each(?))",
            (id_list([number for number, _ in places]),),
        ).fetchall()
    )
    return [SlotGrant(number, task, owners.get(number)) for number, task in places]
