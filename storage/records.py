"""Rows to records and back: the only place that knows how a field lies in a column."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Row

from engine.model import (
    Budget,
    Compensation,
    DraftTask,
    ExecutionRow,
    Resources,
    RetryPolicy,
    Workflow,
    WorkflowVersion,
)
from engine.ports import Append, NewTask
from engine.received import EventWait, ReceivedEvent, Trigger, WokenByEvent
from engine.states import ExecutionStatus

_encode = msgspec.json.Encoder().encode
_retry = msgspec.json.Decoder(RetryPolicy).decode
_keys = msgspec.json.Decoder(tuple[str, ...]).decode
_labels = msgspec.json.Decoder(dict[str, str]).decode
_any = msgspec.json.Decoder().decode

_resources = msgspec.json.Decoder(Resources).decode
_undo = msgspec.json.Decoder(Compensation | None).decode
_budget = msgspec.json.Decoder(Budget).decode

RELAY = "events"
"""The relay's row."""
OUTBOX_BYTES = 4 * 1024 * 1024
"""What events on their way out may weigh together, the last one not counted."""

_JSON_COLUMNS = {
    "parameters": "parameters",
    "depends_on": "depends_on",
    "when": "condition",
    "retry": "retry",
    "resources": "resources",
    "compensate": "compensate",
}


def workflow_record(row: Row[Any], tasks: tuple[DraftTask, ...] = ()) -> Workflow:
    source = None if row.source is None else bytes(row.source)
    return Workflow(
        row.id,
        row.namespace,
        row.key,
        row.name,
        row.description,
        row.dialect,
        source,
        row.revision,
        row.created_at,
        row.updated_at,
        tasks,
        row.max_concurrency,
        row.timeout,
        None if row.budget is None else _budget(bytes(row.budget)),
    )


def workflow_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a workflow as its columns hold them."""
    budget = fields.get("budget")
    return {**fields, "budget": _encode(budget)} if budget is not None else dict(fields)


TASK_COLUMNS = (
    "id",
    "workflow_id",
    "key",
    "name",
    "description",
    "position",
    "execution_type",
    "type",
    "parameters",
    "depends_on",
    "condition",
    "retry",
    "timeout",
    "executor",
    "on_error",
    "heartbeat_timeout",
    "resources",
    "concurrency_key",
    "concurrency_limit",
    "compensate",
    "total_timeout",
    "created_at",
    "updated_at",
)
"""In the order of the fields of `DraftTask`."""
_JSON = slice(TASK_COLUMNS.index("parameters"), TASK_COLUMNS.index("timeout"))
_RESOURCES = TASK_COLUMNS.index("resources")
_COMPENSATE = TASK_COLUMNS.index("compensate")


def task_record(row: Sequence[Any]) -> DraftTask:
    """From `TASK_COLUMNS`."""
    values = list(row)
    parameters, depends_on, condition, retry = (bytes(data) for data in values[_JSON])
    values[_JSON] = _any(parameters), _keys(depends_on), _any(condition), _policy(retry)
    values[_RESOURCES] = _needs(bytes(values[_RESOURCES]))
    values[_COMPENSATE] = _undo(bytes(values[_COMPENSATE]))
    return DraftTask(*values)


@lru_cache(maxsize=256)
def _policy(data: bytes) -> RetryPolicy:
    return _retry(data)


@lru_cache(maxsize=256)
def _needs(data: bytes) -> Resources:
    return _resources(data)


def task_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the fields of a `NewTask`."""
    values = {name: value for name, value in fields.items() if name not in _JSON_COLUMNS and name != "order"}
    for name, column in _JSON_COLUMNS.items():
        if name in fields:
            values[column] = _encode(fields[name])
    if "order" in fields:
        values["position"] = fields["order"]
    return values


def new_task_values(new: NewTask) -> dict[str, Any]:
    return task_values(msgspec.structs.asdict(new))


def version_record(row: Sequence[Any]) -> WorkflowVersion:
    """From (id, workflow_id, number, digest, graph, presentation, created_at)."""
    number, workflow_id, count, digest, graph, presentation, created_at = row
    return WorkflowVersion(number, workflow_id, count, digest, bytes(graph), bytes(presentation), created_at)


def with_children(appends: Sequence[Append]) -> Sequence[Append]:
    """The appends, and the starts that take place with them, each after its parent."""
    if not any(append.children for append in appends):
        return appends
    return [one for append in appends for one in (append, *append.children)]


EXECUTION_COLUMNS = (
    "id",
    "namespace",
    "workflow_id",
    "version_id",
    "status",
    "owner",
    "wake_at",
    "idempotency_key",
    "created_at",
    "started_at",
    "ended_at",
    "labels",
    "priority",
    "queue",
    "parent_id",
    "root_id",
    "rerun_of",
)
"""In the order of the fields of `ExecutionRow`."""
_STATUS, _LABELS = EXECUTION_COLUMNS.index("status"), EXECUTION_COLUMNS.index("labels")


def execution_record(row: Sequence[Any]) -> ExecutionRow:
    """From `EXECUTION_COLUMNS`, times as epoch seconds."""
    values = list(row)
    values[_STATUS] = ExecutionStatus(values[_STATUS])
    values[_LABELS] = {} if values[_LABELS] is None else _labels(bytes(values[_LABELS]))
    return ExecutionRow(*values)


def encode_labels(labels: Mapping[str, str]) -> bytes | None:
    return _encode(labels) if labels else None


TRIGGER_COLUMNS = ("id", "workflow_id", "event", "condition", "enabled", "written", "created_at", "updated_at")
"""In the order of the fields of `Trigger`."""
RECEIVED_COLUMNS = ("id", "type", "payload", "key", "digest", "depth", "received_at", "handled_at", "outcome")
"""In the order of the fields of `ReceivedEvent`."""


def trigger_record(row: Sequence[Any]) -> Trigger:
    """From `TRIGGER_COLUMNS`, times as epoch seconds."""
    number, workflow_id, event, condition, enabled, written, created_at, updated_at = row
    rule = _any(bytes(condition))
    return Trigger(number, workflow_id, event, rule, bool(enabled), bool(written), created_at, updated_at)


def received_record(row: Sequence[Any]) -> ReceivedEvent:
    """From `RECEIVED_COLUMNS`, times as epoch seconds."""
    number, kind, payload, key, digest, depth, received_at, handled_at, outcome = row
    said = None if outcome is None else bytes(outcome)
    return ReceivedEvent(number, kind, bytes(payload), key, bytes(digest), depth, received_at, handled_at, said)


WAIT_COLUMNS = ("id", "execution_id", "task", "topic", "details")
"""In the order of the fields of `EventWait`."""


def event_wait_record(row: Sequence[Any]) -> EventWait:
    """From `WAIT_COLUMNS`."""
    number, execution_id, task, event, details = row
    return EventWait(number, execution_id, task, event, bytes(details))


WOKEN = "SELECT execution_id, task, count(*) OVER () FROM wait"
"""How many there are stands in each row, whatever limit the rows have."""


def woken_records(rows: Sequence[Sequence[Any]]) -> tuple[list[WokenByEvent], int]:
    """From rows of `WOKEN`."""
    return [WokenByEvent(execution_id, task) for execution_id, task, _ in rows], rows[0][2] if rows else 0
