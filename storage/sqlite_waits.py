"""Waits on SQLite: each function is one job, or a part of one, inside the writer's transaction."""

import sqlite3
from collections.abc import Sequence

import msgspec

from engine.errors import BatchRefused
from engine.ports import Append
from engine.waits import Decision, Lapse, signal_name
from storage.columns import MICROSECONDS

_OPEN = """INSERT INTO wait
  (namespace, workflow_id, execution_id, task, kind, topic, details, opened_at, due_at, lookback)
SELECT namespace, workflow_id, id, ?, ?, ?, ?, ?, ?, ? FROM execution WHERE id = ?"""
_LAPSE = "UPDATE wait SET decided_at = ?, decision = ? WHERE execution_id = ? AND task = ? AND decided_at IS NULL"
_KNOWN = "SELECT 1 FROM wait WHERE execution_id = ? AND task = ?"
_DECIDE = """UPDATE wait SET decided_at = ?, decision = ?, decided_by = ?, comment = ?
WHERE execution_id = ? AND task = ? AND decided_at IS NULL
  AND EXISTS (SELECT 1 FROM execution WHERE id = wait.execution_id AND ended_at IS NULL)"""
_TELL = "INSERT INTO signal (execution_id, kind, name, payload, created_at) VALUES (?, 'answer', ?, ?, ?)"
_WAKE = "UPDATE execution SET wake_at = ? WHERE id = ?"


def follow(db: sqlite3.Connection, now: int, appends: Sequence[Append]) -> None:
    """Opens and ends what these appends say. Raises `BatchRefused` for a time-out that came too late."""
    for append in appends:
        for wait in append.asks:
            due = None if wait.due_in is None else now + round(wait.due_in * MICROSECONDS)
            asked = (wait.task, wait.kind, wait.topic, wait.details, now, due, wait.lookback)
            db.execute(_OPEN, (*asked, append.execution_id))
        for ended in append.lapses:
            place = append.execution_id, ended.task
            touched = db.execute(_LAPSE, (now, ended.lapse.value, *place)).rowcount
            if not touched and ended.lapse is Lapse.TIMEOUT and db.execute(_KNOWN, place).fetchone():
                raise BatchRefused(f"the wait of task {ended.task!r} was decided before its time was over")


def decide(db: sqlite3.Connection, now: int, decisions: Sequence[Decision]) -> list[bool]:
    return [_decide(db, now, decision) for decision in decisions]


def _decide(db: sqlite3.Connection, now: int, decision: Decision) -> bool:
    number, task = decision.execution_id, decision.task
    said = (now, decision.decision, decision.by, decision.comment)
    if not db.execute(_DECIDE, (*said, number, task)).rowcount:
        return False
    db.execute(_TELL, (number, signal_name(task), msgspec.json.encode(decision.answer), now))
    db.execute(_WAKE, (now, number))
    return True
