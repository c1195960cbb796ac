"""What REST says of executions: built as structs and encoded in one step."""

from collections.abc import Sequence
from typing import Any

import msgspec

from api import cost_answers as costs
from api.answers import Time, encode, moment
from api.cost_answers import UsageAnswer
from api.parameters import spell_cursor
from engine.clock import rfc3339
from engine.events import StoredEvent
from engine.model import (
    ExecutionRow,
    ExecutionView,
    Failure,
    TaskRun,
)
from engine.service import Started
from engine.states import ExecutionStatus, TaskStatus


class StartedAnswer(msgspec.Struct, frozen=True):
    """A durable execution, accepted."""

    execution_id: int
    id: int
    workflow_id: int
    status: ExecutionStatus


class FailureAnswer(msgspec.Struct, frozen=True):
    """Why an attempt, or an execution, failed; `task` is the key of the task to blame."""

    type: str
    message: str
    task: str | None


class TaskRunAnswer(msgspec.Struct, frozen=True):
    """One task inside an execution. `attempt` counts from 1; 0 before the first.

    `compensates` is set on the run that undoes a task: the key of that task.
    `child_id` is the execution that its last attempt started.
    """

    key: str
    name: str
    type: str
    status: TaskStatus
    iteration: str
    attempt: int
    input: Any
    output: Any
    error: FailureAnswer | None
    label: str | None
    reason: str | None
    executor: str | None
    scheduled_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    due_at: Time | None
    compensates: str | None
    usage: UsageAnswer | None
    child_id: int | None


class ExecutionAnswer(msgspec.Struct, frozen=True):
    """An execution: how it stands, what went in and came out, and every task."""

    execution_id: int
    id: int
    workflow_id: int
    workflow_version: int
    status: ExecutionStatus
    input: Any
    output: Any
    error: FailureAnswer | None
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    cancel_requested: bool
    labels: dict[str, str]
    rerun_of: int | None
    usage: UsageAnswer | None
    parent_id: int | None
    root_id: int | None
    last_seq: int
    tasks: list[TaskRunAnswer]


class ExecutionItem(msgspec.Struct, frozen=True):
    """An execution in a list: without its payloads."""

    execution_id: int
    id: int
    workflow_id: int
    status: ExecutionStatus
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    labels: dict[str, str]
    rerun_of: int | None
    parent_id: int | None
    root_id: int | None


class ExecutionPage(msgspec.Struct, frozen=True):
    """Newest first; `next_cursor` is null on the last page."""

    items: list[ExecutionItem]
    next_cursor: str | None


class EventAnswer(msgspec.Struct, frozen=True):
    """One event of a history: these fields, and those of its type."""

    seq: int
    type: str
    at: Time


class EventPage(msgspec.Struct, frozen=True):
    """Events in order; `last_seq` is what to ask `after` next."""

    items: list[EventAnswer]
    last_seq: int


class CancelAnswer(msgspec.Struct, frozen=True):
    """`cancelled` is recorded; `compensating`: recorded, and what was done is being undone; `cancel_requested` waits
    for its owner to record it.
    """

    execution_id: int
    status: str


class SignalAnswer(msgspec.Struct, frozen=True):
    """Whether the signal is new; false: this idempotency key was there already."""

    execution_id: int
    accepted: bool


def started(record: Started) -> bytes:
    execution_id = record.execution_id
    return encode(StartedAnswer(execution_id, execution_id, record.workflow_id, record.status))


def execution(view: ExecutionView) -> bytes:
    return encode(
        ExecutionAnswer(
            execution_id=view.id,
            id=view.id,
            workflow_id=view.workflow_id,
            workflow_version=view.version,
            status=view.status,
            input=view.input,
            output=view.output,
            error=_failure(view.error),
            created_at=moment(view.created_at),
            started_at=rfc3339(view.started_at),
            completed_at=rfc3339(view.ended_at),
            cancel_requested=view.cancel_requested,
            labels=view.labels,
            rerun_of=view.rerun_of,
            usage=costs.usage(view.usage),
            parent_id=view.parent_id,
            root_id=view.root_id,
            last_seq=view.last_seq,
            tasks=[_task_run(run) for run in view.tasks],
        )
    )


def steps(view: ExecutionView) -> bytes:
    return encode([_task_run(run) for run in view.tasks])


def executions(rows: Sequence[ExecutionRow], next_cursor: str | None) -> bytes:
    return encode(ExecutionPage([_item(row) for row in rows], next_cursor))


def next_cursor(rows: Sequence[ExecutionRow], limit: int) -> str | None:
    """Where the next page begins; None if this one is not full."""
    return spell_cursor(rows[-1]) if len(rows) == limit else None


def events(stored: Sequence[StoredEvent], after: int) -> bytes:
    last_seq = stored[-1].seq if stored else after
    return b'{"items":[%b],"last_seq":%d}' % (b",".join(map(_event, stored)), last_seq)


def cancelled(execution_id: int, status: ExecutionStatus | None) -> bytes:
    return encode(CancelAnswer(execution_id, status or "cancel_requested"))


def signalled(execution_id: int, accepted: bool) -> bytes:
    return encode(SignalAnswer(execution_id, accepted))


def _task_run(run: TaskRun) -> TaskRunAnswer:
    return TaskRunAnswer(
        key=run.key,
        name=run.name,
        type=run.type,
        status=run.status,
        iteration=run.iteration,
        attempt=run.attempt,
        input=run.input,
        output=run.output,
        error=_failure(run.error),
        label=run.label,
        reason=run.reason,
        executor=run.executor,
        scheduled_at=rfc3339(run.scheduled_at),
        started_at=rfc3339(run.started_at),
        completed_at=rfc3339(run.ended_at),
        due_at=rfc3339(run.due_at),
        compensates=run.compensates,
        usage=costs.usage(run.usage),
        child_id=run.child_id,
    )


def _item(row: ExecutionRow) -> ExecutionItem:
    return ExecutionItem(
        execution_id=row.id,
        id=row.id,
        workflow_id=row.workflow_id,
        status=row.status,
        created_at=moment(row.created_at),
        started_at=rfc3339(row.started_at),
        completed_at=rfc3339(row.ended_at),
        labels=row.labels,
        rerun_of=row.rerun_of,
        parent_id=row.parent_id,
        root_id=row.root_id,
    )


def _event(event: StoredEvent) -> bytes:
    """Its data is JSON already: only the three fields that all events have are put in front."""
    head = encode(EventAnswer(event.seq, event.type, moment(event.at)))
    return head if event.data == b"{}" else head[:-1] + b"," + event.data[1:]


def _failure(error: Failure | None) -> FailureAnswer | None:
    return None if error is None else FailureAnswer(error.type, error.message, error.task)
