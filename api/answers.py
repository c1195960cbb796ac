"""The answers, as they go out: records of the engine to JSON bytes. The contract shows these very classes."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from api import cost_answers as costs
from api.cost_answers import BudgetAnswer
from engine.authoring import Report, Saved, Written
from engine.clock import rfc3339
from engine.errors import Fault
from engine.model import (
    Compensation,
    DraftTask,
    Resources,
    RetryPolicy,
    Workflow,
)
from engine.ports import VersionRow
from engine.service import Health


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
    total_timeout: float | None
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
    timeout: float | None
    budget: BudgetAnswer | None


class FaultAnswer(msgspec.Struct, frozen=True):
    """One thing about a document: `pointer` (RFC 6901) and, if it can be told, `line` say where."""

    pointer: str
    line: int | None
    message: str
    code: str


class SavedAnswer(WorkflowAnswer, frozen=True):
    """A workflow as it was saved; `warnings`: what of its document fails when it is reached, at most a hundred."""

    warnings: list[FaultAnswer]


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


class PingAnswer(msgspec.Struct, frozen=True):
    """This process answers."""

    status: str


def workflow(record: Workflow) -> bytes:
    return encode(_workflow(record))


def saved(made: Saved) -> bytes:
    fields = msgspec.structs.asdict(_workflow(made.workflow))
    return encode(SavedAnswer(**fields, warnings=list(map(_fault, made.warnings[:SHOWN]))))


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
    return encode([VersionAnswer(row.number, row.digest, moment(row.created_at), row.current) for row in rows])


def document(written: Written) -> Response:
    """As JSON or YAML."""
    return Response(written.data, media_type="application/yaml") if written.is_yaml else Json(written.data)


def health(state: Health) -> bytes:
    return encode(state)


def _workflow(record: Workflow) -> WorkflowAnswer:
    return WorkflowAnswer(
        name=record.name,
        description=record.description,
        id=record.id,
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
        tasks=[_task(row) for row in record.tasks],
        key=record.key,
        dialect=record.dialect,
        max_concurrency=record.max_concurrency,
        timeout=record.timeout,
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
        total_timeout=row.total_timeout,
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
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


def moment(epoch: float) -> str:
    return rfc3339(epoch) or ""
