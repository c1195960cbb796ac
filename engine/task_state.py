"""One task of an execution, folded from its events."""

from typing import Any

from engine.model import Answer, Failure, Usage
from engine.states import TaskStatus


class TaskState:
    """One task of the execution. `due` is epoch seconds, known once the event that set it has been stamped."""

    __slots__ = (
        "asked",
        "attempt",
        "awaiting",
        "child",
        "deadline",
        "due",
        "ended_at",
        "error",
        "failures",
        "label",
        "losses",
        "otherwise",
        "output",
        "reason",
        "scheduled_at",
        "started_at",
        "status",
        "usage",
    )

    def __init__(self) -> None:
        self.status = TaskStatus.PENDING
        self.attempt = 0
        self.failures = 0
        self.losses = 0
        self.output: Any = None
        self.error: Failure | None = None
        self.label: str | None = None
        self.reason: str | None = None
        self.awaiting: str | None = None
        self.otherwise: Answer | None = None
        self.child: int | None = None
        self.deadline: float | None = None
        """When it has taken too long, all attempts together."""
        self.due: float | None = None
        self.scheduled_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.usage: Usage | None = None
        self.asked: bool | None = None
        """Whether it was given more budget: it does not ask again."""
