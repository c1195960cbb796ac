"""Compensations: what undoes completed tasks when their execution fails or is cancelled (a saga).

A compensation is a vertex of its own that no edge leads to. Its address is a key that no task can have, so events,
states, attempts and idempotency keys are those of any task.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from engine.expressions.scope import Named
from engine.expressions.templates import Template
from engine.model import Failure, Task
from engine.rendering import ConfigTemplate
from engine.states import TaskStatus

SUFFIX = "~compensate"
ERROR = "error"
"""The root of its templates that says why: `{{error.type}}`, `{{error.message}}`, `{{error.task}}`."""
NAMES = (ERROR,)
CANCELLED = "cancelled"
"""The type of that error when nothing failed."""
NAMED = 5
"""Compensations that an error names; of more it tells how many."""


class _HasStatus(Protocol):
    status: TaskStatus


def address(key: str) -> str:
    """What the compensation of the task `key` is called."""
    return key + SUFFIX


def is_compensation(key: str) -> bool:
    """Whether `key` is the address of one."""
    return key.endswith(SUFFIX)


def compensation(task: Task) -> Task | None:
    """The compensation of `task` as a task: if it fails for good, the others run all the same."""
    undo = task.compensate
    if undo is None:
        return None
    return Task(
        address(task.key),
        undo.type,
        undo.config,
        retry=undo.retry,
        timeout=undo.timeout,
        executor=undo.executor,
        on_error="continue",
        heartbeat_timeout=undo.heartbeat_timeout,
        resources=undo.resources,
    )


def broken(tasks: Mapping[str, _HasStatus]) -> Failure | None:
    """What to say of compensations among `tasks`, by key, that failed; None: there are none."""
    failed = [
        key.removesuffix(SUFFIX)
        for key, task in tasks.items()
        if is_compensation(key) and task.status is TaskStatus.FAILED
    ]
    if not failed:
        return None
    more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    what = "the compensation of" if len(failed) == 1 else "the compensations of"
    message = f"{what} {', '.join(map(repr, failed[:NAMED]))}{more} failed"
    return Failure("compensation_failed", message, failed[0])


class CompensationConfig:
    """A config whose scope also has `error`: why the execution ends."""

    __slots__ = ("_config", "references", "secrets")

    def __init__(self, config: Template | ConfigTemplate) -> None:
        self._config = config
        self.references = config.references
        self.secrets = config.secrets

    def render(self, state: Any) -> dict[str, Any]:
        """The config for the state of an execution. Raises `TaskError` (not retryable)."""
        config: dict[str, Any] = self._config.render(Named(state, {ERROR: _error(state)}))
        return config


def _error(state: Any) -> dict[str, Any]:
    if state.cancelling or state.failed is None:
        return {"type": CANCELLED, "message": state.cancel_reason or "the execution was cancelled", "task": None}
    return {"type": state.failed.type, "message": state.failed.message, "task": state.failed.task}
