"""The answers, as they go out: records of the engine to JSON bytes. The contract shows these very classes."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from api import cost_answers as costs
from api.cost_answers import BudgetAnswer, UsageAnswer
from api.parameters import spell_cursor
from engine.authoring import Report, Written
from engine.clock import rfc3339
from engine.errors import Fault
from engine.events import StoredEvent
from engine.model import (
    Compensation,
    DraftTask,
    ExecutionRow,
    ExecutionView,
    Failure,
    Resources,
    RetryPolicy,
    TaskRun,
    Workflow,
)
from engine.ports import VersionRow
from engine.service import Health, Started
from engine.states import ExecutionStatus, TaskStatus


class Json(Response):
    """JSON that is encoded already."""

    media_type = "application/json"


SHOWN = 1000
"""Faults, and warnings, listed in a report."""

encode = msgspec.json.Encoder().encode

Time = Annotated[str, Meta(description="RFC 3339, UTC", extra_json_schema={"format": "date-time"})]


class RetryAnswer(msgspec.Struct, frozen=True):
    """How often and when a failed attempt is tried again; intervals in seconds."""

    max_attempts: int
    initial_interval: float
    backoff_coefficient: float
    maximum_interval: float
    jitter: float
    non_retryable: tuple[str, ...]


class ResourcesAnswer(msgspec.Struct, frozen=True):
    """What an attempt needs of a Ray cluster; `memory` in bytes."""

    num_cpus: float | None
    num_gpus: float | None
    memory: int | None


class CompensationAnswer(msgspec.Struct, frozen=True):
    """What undoes a task, once it has completed, when its execution fails or is cancelled."""

    type: str
    config: dict[str, Any]
    retry: RetryAnswer
    timeout: float | None
    executor: str | None
    heartbeat_timeout: float | None
    resources: ResourcesAnswer


class TaskAnswer(msgspec.Struct, frozen=True):
    """A task of a workflow's draft."""

    name: str
    description: str | None
    order: int
    execution_type: str
    parameters: dict[str, Any]
    id: int
    workflow_id: int
    key: str
    type: str | None
    depends_on: tuple[str, ...]
    when: bool | str | dict[str, Any]
    retry: RetryAnswer
    timeout: float | None
    executor: str | None
    on_error: str
    heartbeat_timeout: float | None
    resources: ResourcesAnswer
    concurrency_key: str | None
    concurrency_limit: int
    compensate: CompensationAnswer | None
    created_at: Time
    updated_at: Time


class WorkflowAnswer(msgspec.Struct, frozen=True):
    """A workflow and its tasks, in order."""

    name: str
    description: str | None
    id: int
    created_at: Time
    updated_at: Time
    tasks: list[TaskAnswer]
    key: str | None
    dialect: str
    max_concurrency: int | None
    budget: BudgetAnswer | None


class FaultAnswer(msgspec.Struct, frozen=True):
    """One thing about a document: `pointer` (RFC 6901) and, if it can be told, `line` say where."""

    pointer: str
    line: int | None
    message: str
    code: str


class ReportAnswer(msgspec.Struct, frozen=True):
    """What is known of a document that was not saved; `digest` is the same for the same meaning."""

    valid: bool
    dialect: str | None
    name: str | None
    key: str | None
    digest: str | None
    errors: list[FaultAnswer]
    warnings: list[FaultAnswer]


class VersionAnswer(msgspec.Struct, frozen=True):
    """An unchangeable version; `current` is the one that the next execution takes."""

    version: int
    digest: str
    created_at: Time
    current: bool


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
    """One task inside an execution. `attempt` counts from 1; 0 before the first. `usage` is of all attempts.

    `compensates` is set on the run that undoes a task: the key of that task.
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


class PingAnswer(msgspec.Struct, frozen=True):
    """This process answers."""

    status: str


def workflow(record: Workflow) -> bytes:
    return encode(_workflow(record))


def workflows(records: Iterable[Workflow]) -> bytes:
    return encode([_workflow(record) for record in records])


def task(record: DraftTask) -> bytes:
    return encode(_task(record))


def tasks(records: Iterable[DraftTask]) -> bytes:
    return encode([_task(record) for record in records])


def report(found: Report) -> bytes:
    return encode(
        ReportAnswer(
            valid=not found.faults,
            dialect=found.dialect,
            name=found.head.name,
            key=found.head.key,
            digest=found.digest,
            errors=list(map(_fault, found.faults[:SHOWN])),
            warnings=list(map(_fault, found.warnings[:SHOWN])),
        )
    )


def _fault(fault: Fault) -> FaultAnswer:
    return FaultAnswer(fault.pointer, fault.line, fault.message, fault.code)


def versions(rows: Iterable[VersionRow]) -> bytes:
    return encode([VersionAnswer(row.number, row.digest, _time(row.created_at), row.current) for row in rows])


def document(written: Written) -> Response:
    """As JSON or YAML."""
    return Response(written.data, media_type="application/yaml") if written.is_yaml else Json(written.data)


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
            created_at=_time(view.created_at),
            started_at=rfc3339(view.started_at),
            completed_at=rfc3339(view.ended_at),
            cancel_requested=view.cancel_requested,
            labels=view.labels,
            rerun_of=view.rerun_of,
            usage=costs.usage(view.usage),
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


def health(state: Health) -> bytes:
    return encode(state)


def _workflow(record: Workflow) -> WorkflowAnswer:
    return WorkflowAnswer(
        name=record.name,
        description=record.description,
        id=record.id,
        created_at=_time(record.created_at),
        updated_at=_time(record.updated_at),
        tasks=[_task(row) for row in record.tasks],
        key=record.key,
        dialect=record.dialect,
        max_concurrency=record.max_concurrency,
        budget=costs.budget(record.budget),
    )


def _task(row: DraftTask) -> TaskAnswer:
    return TaskAnswer(
        name=row.name,
        description=row.description,
        order=row.order,
        execution_type=row.execution_type,
        parameters=row.parameters,
        id=row.id,
        workflow_id=row.workflow_id,
        key=row.key,
        type=row.type,
        depends_on=row.depends_on,
        when=row.when,
        retry=_retry(row.retry),
        timeout=row.timeout,
        executor=row.executor,
        on_error=row.on_error,
        heartbeat_timeout=row.heartbeat_timeout,
        resources=_resources(row.resources),
        concurrency_key=row.concurrency_key,
        concurrency_limit=row.concurrency_limit,
        compensate=_compensation(row.compensate),
        created_at=_time(row.created_at),
        updated_at=_time(row.updated_at),
    )


def _retry(policy: RetryPolicy) -> RetryAnswer:
    return RetryAnswer(
        policy.max_attempts,
        policy.initial_interval,
        policy.backoff_coefficient,
        policy.maximum_interval,
        policy.jitter,
        policy.non_retryable,
    )


def _resources(needs: Resources) -> ResourcesAnswer:
    return ResourcesAnswer(needs.num_cpus, needs.num_gpus, needs.memory)


def _compensation(undo: Compensation | None) -> CompensationAnswer | None:
    if undo is None:
        return None
    return CompensationAnswer(
        undo.type,
        undo.config,
        _retry(undo.retry),
        undo.timeout,
        undo.executor,
        undo.heartbeat_timeout,
        _resources(undo.resources),
    )


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
    )


def _item(row: ExecutionRow) -> ExecutionItem:
    return ExecutionItem(
        execution_id=row.id,
        id=row.id,
        workflow_id=row.workflow_id,
        status=row.status,
        created_at=_time(row.created_at),
        started_at=rfc3339(row.started_at),
        completed_at=rfc3339(row.ended_at),
        labels=row.labels,
        rerun_of=row.rerun_of,
    )


def _event(event: StoredEvent) -> bytes:
    """Its data is JSON already: only the three fields that all events have are put in front."""
    head = encode(EventAnswer(event.seq, event.type, _time(event.at)))
    return head if event.data == b"{}" else head[:-1] + b"," + event.data[1:]


def _failure(error: Failure | None) -> FailureAnswer | None:
    return None if error is None else FailureAnswer(error.type, error.message, error.task)


def _time(epoch: float) -> str:
    return rfc3339(epoch) or ""
