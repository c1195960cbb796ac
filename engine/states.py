"""The statuses of an execution and of a task run, and the legal moves between them.

Nobody else compares status strings: ask `is_terminal`, `is_open`, or the tables below.

Execution: `pending -> running <-> waiting -> completed | failed | cancelled`, the last two perhaps by `compensating`.
Task run:  `pending -> scheduled -> running -> (retrying | waiting)* -> completed | failed | skipped | cancelled`.
"""

from enum import IntEnum, StrEnum


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    PENDING = "pending"
    """Accepted and durable; no engine has taken it yet. Entered by a start, left by the first claim."""
    RUNNING = "running"
    """At least one task holds, or waits for, a slot; an engine owns it, unless all of them wait in line for pools."""
    WAITING = "waiting"
    """Every open task waits for a timer or a signal; it owns no memory and no slot."""
    PAUSED = "paused"
    """Held by a person; nothing starts until it is resumed."""
    COMPENSATING = "compensating"
    """It will fail or be cancelled; the compensations of what has completed run, one by one, in reverse order.

    Entered when a task fails or a cancel is recorded and something is to be undone; left when all have ended.
    """
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskStatus(StrEnum):
    """Where one task of an execution stands."""

    PENDING = "pending"
    """Its join is not decided."""
    SCHEDULED = "scheduled"
    """It may start and waits for a slot."""
    RUNNING = "running"
    """An attempt holds a slot."""
    RETRYING = "retrying"
    """An attempt failed; the next one is due later."""
    WAITING = "waiting"
    """It sleeps, awaits a signal, or the end of a child execution; it holds no slot."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class SlotStage(IntEnum):
    """How far a task has come that needs slots of pools: first its key's, then its workflow's."""

    KEY = 0
    """It waits for a slot of its concurrency key."""
    WORKFLOW = 1
    """It holds its key's slot, if it needs one, and waits for one of its workflow."""
    HELD = 2
    """It holds all that it needs and may start."""


E, T = ExecutionStatus, TaskStatus

EXECUTION_MOVES: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    E.PENDING: frozenset({E.RUNNING, E.WAITING, E.PAUSED, E.COMPLETED, E.FAILED, E.CANCELLED}),
    E.RUNNING: frozenset({E.WAITING, E.PAUSED, E.COMPENSATING, E.COMPLETED, E.FAILED, E.CANCELLED}),
    E.WAITING: frozenset({E.RUNNING, E.PAUSED, E.COMPENSATING, E.COMPLETED, E.FAILED, E.CANCELLED}),
    E.PAUSED: frozenset({E.RUNNING, E.WAITING, E.COMPENSATING, E.CANCELLED}),
    E.COMPENSATING: frozenset({E.FAILED, E.CANCELLED}),
    E.COMPLETED: frozenset(),
    E.FAILED: frozenset(),
    E.CANCELLED: frozenset(),
}

TASK_MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    T.PENDING: frozenset({T.SCHEDULED, T.RUNNING, T.FAILED, T.SKIPPED}),
    T.SCHEDULED: frozenset({T.RUNNING, T.FAILED, T.CANCELLED}),
    T.RUNNING: frozenset({T.SCHEDULED, T.RETRYING, T.WAITING, T.COMPLETED, T.FAILED, T.CANCELLED}),
    T.RETRYING: frozenset({T.SCHEDULED, T.RUNNING, T.FAILED, T.CANCELLED}),
    T.WAITING: frozenset({T.SCHEDULED, T.RETRYING, T.COMPLETED, T.FAILED, T.CANCELLED}),
    T.COMPLETED: frozenset(),
    T.FAILED: frozenset(),
    T.SKIPPED: frozenset(),
    T.CANCELLED: frozenset(),
}

TERMINAL_EXECUTION = frozenset(s for s, to in EXECUTION_MOVES.items() if not to)
TERMINAL_TASK = frozenset(s for s, to in TASK_MOVES.items() if not to)


def is_terminal(status: ExecutionStatus | TaskStatus | str) -> bool:
    """Whether nothing can follow `status`."""
    return status in TERMINAL_EXECUTION or status in TERMINAL_TASK
