"""One task of an execution, folded from its events."""

from typing import Any

import msgspec

from engine.model import Answer, Failure, Usage
from engine.states import TaskStatus


class TaskState(msgspec.Struct, eq=False):
    """One task of the execution. `due` is epoch seconds, known once the event that set it has been stamped."""

    status: TaskStatus = TaskStatus.PENDING
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    output: Any = None
    error: Failure | None = None
    label: str | None = None
    reason: str | None = None
    awaiting: str | None = None
    otherwise: Answer | None = None
    child: int | None = None
    deadline: float | None = None
    """When it has taken too long, all attempts together."""
    due: float | None = None
    scheduled_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    usage: Usage | None = None
    asked: bool | None = None
    """Whether it was given more budget: it does not ask again."""
