"""Messages to plain words and back: Struct and Value, execution views, events, rows, page tokens.

A Value keeps every number as a double. Integral ones below 2**53 become `int`; others are refused, because
nobody can tell what was meant. In the other direction an integer beyond 2**53 leaves the Value unset, and the
exact JSON beside it speaks.
"""

import base64
import binascii
import math
from collections.abc import Iterable
from typing import Any

import msgspec
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from engine.approvals import Approval
from engine.clock import rfc3339
from engine.documents import decode_json, pointer
from engine.errors import Invalid, InvalidDocument
from engine.events import StoredEvent
from engine.model import ExecutionRow, ExecutionView, TaskRun
from engine.model import Failure as EngineFailure
from engine.model import Usage as EngineUsage
from engine.ports import Cursor
from engine.reception import Reaction
from engine.states import ExecutionStatus, TaskStatus, is_terminal
from proto.workflow.v1 import workflow_pb2 as pb

EXACT = 2**53
_encode = msgspec.json.Encoder().encode


class _Inexact(Exception):
    """A number that a double cannot carry as it was meant."""


# --- Struct and Value ---


def from_struct(struct: Struct) -> dict[str, Any]:
    """The object in `struct`. Raises `InvalidDocument`."""
    try:
        return {key: _from_value(value) for key, value in struct.fields.items()}
    except _Inexact:
        raise _fault(_inexact_in_struct(struct)) from None


def from_value(value: Value) -> Any:
    """The JSON value in `value`. Raises `InvalidDocument`."""
    try:
        return _from_value(value)
    except _Inexact:
        raise _fault(_inexact(value)) from None


def given(request: Message, field: str) -> Any:
    """The JSON value of `field`, or of its twin `<field>_json`; None if neither is set. Raises `Invalid`."""
    twin = f"{field}_json"
    text = getattr(request, twin)
    if text and request.HasField(field):
        raise Invalid(f"give {field} or {twin}, not both", pointer=f"/{twin}")
    try:
        if text:
            return decode_json(text.encode())
        return from_value(getattr(request, field)) if request.HasField(field) else None
    except InvalidDocument as error:
        raise inside(f"/{twin if text else field}", error) from None


def inside(field: str, error: InvalidDocument) -> InvalidDocument:
    """The same fault, with the field that it is in before its pointer."""
    return InvalidDocument(error.message, pointer=field + error.pointer)


def to_value(value: Value, content: Any) -> bool:
    """Writes plain JSON into an empty `value`; False, and still empty, if a double cannot carry an integer in it."""
    try:
        _to_value(value, content)
    except _Inexact:
        value.Clear()
        return False
    return True


def _from_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return _number(value.number_value)
        case "struct_value":
            return {key: _from_value(child) for key, child in value.struct_value.fields.items()}
        case "list_value":
            return [_from_value(child) for child in value.list_value.values]
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _number(number: float) -> int | float:
    if number.is_integer():
        if -EXACT < number < EXACT:
            return int(number)
        raise _Inexact
    if math.isfinite(number):
        return number
    raise _Inexact


def _inexact(value: Value) -> list[str | int] | None:
    """The path of the first number that is refused."""
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return None if math.isfinite(number) and not (number.is_integer() and abs(number) >= EXACT) else []
        case "struct_value":
            return _inexact_in_struct(value.struct_value)
        case "list_value":
            for index, child in enumerate(value.list_value.values):
                if (path := _inexact(child)) is not None:
                    return [index, *path]
        case _:
            pass
    return None


def _inexact_in_struct(struct: Struct) -> list[str | int] | None:
    for key, child in struct.fields.items():
        if (path := _inexact(child)) is not None:
            return [key, *path]
    return None


def _fault(path: list[str | int] | None) -> InvalidDocument:
    message = (
        "a Struct cannot carry this number: it is NaN, infinite or an integer beyond 2^53; "
        "send the whole as JSON text (input_json, payload_json), or the number as a string"
    )
    return InvalidDocument(message, pointer=pointer(*path or ()))


def _to_value(value: Value, content: Any) -> None:
    kind = type(content)
    if kind is str:
        value.string_value = content
    elif kind is bool:
        value.bool_value = content
    elif kind is float:
        value.number_value = content
    elif kind is int:
        if not -EXACT < content < EXACT:
            raise _Inexact
        value.number_value = content
    elif kind is dict:
        fields = value.struct_value.fields
        value.struct_value.SetInParent()
        for key, child in content.items():
            _to_value(fields[key], child)
    elif kind is list:
        values = value.list_value.values
        value.list_value.SetInParent()
        for child in content:
            _to_value(values.add(), child)
    else:
        value.null_value = NULL_VALUE


# --- executions ---


def status_message(view: ExecutionView, *, tasks: bool = True, payloads: bool = True) -> pb.WorkflowStatusResponse:
    """How an execution stands; without its `tasks`, or with them but without their `payloads`."""
    message = pb.WorkflowStatusResponse(
        execution_id=view.id,
        workflow_id=view.workflow_id,
        workflow_version=view.version,
        status=view.status,
        created_at=rfc3339(view.created_at),
        started_at=rfc3339(view.started_at),
        last_seq=view.last_seq,
        input_json=_encode(view.input).decode(),
        cancel_requested=view.cancel_requested,
        tasks=[_task(run, payloads) for run in view.tasks] if tasks else None,
    )
    if view.labels:
        message.labels.update(view.labels)
    if view.rerun_of is not None:
        message.rerun_of = view.rerun_of
    if view.parent_id is not None:
        message.parent_id = view.parent_id
    if view.root_id is not None:
        message.root_id = view.root_id
    if view.error is not None:
        message.error.CopyFrom(_failure(view.error))
    if view.usage is not None:
        message.usage.CopyFrom(_usage(view.usage))
    if is_terminal(view.status):
        _add_end(message, view)
    return message


def _add_end(message: pb.WorkflowStatusResponse, view: ExecutionView) -> None:
    message.completed_at = rfc3339(view.ended_at) or ""
    message.output_json = _encode(view.output).decode()
    if not to_value(message.output, view.output):
        message.ClearField("output")


_TIMES = (
    ("scheduled_at", "scheduled_at"),
    ("started_at", "started_at"),
    ("completed_at", "ended_at"),
    ("due_at", "due_at"),
)
_WORDS = ("iteration", "label", "reason", "executor", "compensates")


def _task(run: TaskRun, payloads: bool) -> pb.TaskStatus:
    """Sets what is there: an argument that is None costs as much as one that is not."""
    message = pb.TaskStatus(key=run.key, name=run.name, type=run.type, status=run.status, attempt=run.attempt)
    if payloads and run.attempt:
        message.input_json = _encode(run.input).decode()
    if payloads and run.status is TaskStatus.COMPLETED:
        message.output_json = _encode(run.output).decode()
    if run.error is not None:
        message.error.CopyFrom(_failure(run.error))
    if run.child_id is not None:
        message.child_id = run.child_id
    if run.usage is not None:
        message.usage.CopyFrom(_usage(run.usage))
    for field, source in _TIMES:
        if (time := getattr(run, source)) is not None:
            setattr(message, field, rfc3339(time))
    for field in _WORDS:
        if word := getattr(run, field):
            setattr(message, field, word)
    return message


def _failure(failure: EngineFailure) -> pb.Failure:
    return pb.Failure(type=failure.type, message=failure.message, task=failure.task)


def _usage(usage: EngineUsage) -> pb.Usage:
    return pb.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost=usage.cost)


def summary_message(row: ExecutionRow) -> pb.ExecutionSummary:
    """An execution in a list."""
    return pb.ExecutionSummary(
        execution_id=row.id,
        workflow_id=row.workflow_id,
        status=row.status,
        created_at=rfc3339(row.created_at),
        started_at=rfc3339(row.started_at),
        completed_at=rfc3339(row.ended_at),
        idempotency_key=row.idempotency_key,
        labels=row.labels,
        parent_id=row.parent_id,
    )


def event_message(event: StoredEvent) -> pb.ExecutionEvent:
    """One event of the history."""
    return pb.ExecutionEvent(
        execution_id=event.execution_id,
        seq=event.seq,
        type=event.type,
        at=rfc3339(event.at),
        data_json=event.data.decode(),
    )


# --- approvals ---


def approval_message(approval: Approval) -> pb.Approval:
    """What is asked of whom, and how it stands."""
    wait, request = approval.wait, approval.request
    comment = request.require_comment
    return pb.Approval(
        approval_id=wait.id,
        execution_id=wait.execution_id,
        workflow_id=wait.workflow_id,
        task=wait.task,
        status=approval.status,
        title=request.title,
        message=request.message,
        details_json="" if request.details is None else _encode(request.details).decode(),
        approvers=request.approvers,
        roles=request.roles,
        form_json="" if request.form is None else _encode(request.form).decode(),
        require_comment=comment if isinstance(comment, str) else "always" if comment else "never",
        requested_at=rfc3339(wait.opened_at),
        due_at=rfc3339(wait.due_at),
        decided_at=rfc3339(wait.decided_at),
        decided_by=wait.decided_by,
        comment=wait.comment,
    )


def approval_place(token: str) -> int:
    """Where a page of approvals goes on: the id before it. Raises `Invalid`."""
    if not token.isdecimal() or len(token) > 16:
        raise Invalid("page_token is not one of ours; begin again without it", pointer="/page_token")
    return int(token)


# --- events from outside ---


def reaction_message(made: Reaction) -> pb.EmitEventResponse:
    """An event from outside, and what followed."""
    event, outcome, plain = made.event, made.outcome, msgspec.structs.asdict
    return pb.EmitEventResponse(
        event_id=event.id,
        type=event.type,
        received_at=rfc3339(event.received_at),
        handled=made.handled,
        replayed=made.replayed,
        started=[pb.StartedByEvent(**plain(one)) for one in outcome.started],
        woken=[pb.WokenByEvent(**plain(one)) for one in outcome.woken],
        woken_count=outcome.woken_count,
        problems=[pb.TriggerProblem(**plain(one)) for one in outcome.problems],
    )


# --- lists ---


def statuses(words: Iterable[str]) -> tuple[ExecutionStatus, ...]:
    """Raises `Invalid` for a word that is no status."""
    return tuple(_status(word, f"/statuses/{index}") for index, word in enumerate(words))


def _status(word: str, where: str) -> ExecutionStatus:
    try:
        return ExecutionStatus(word)
    except ValueError:
        raise Invalid(f"{word!r} is no status; there are {', '.join(ExecutionStatus)}", pointer=where) from None


def page_token(row: ExecutionRow) -> str:
    """Where the page that ends with `row` goes on."""
    return base64.urlsafe_b64encode(f"{row.created_at!r} {row.id}".encode()).decode()


def cursor(token: str) -> Cursor:
    """The place that `page_token` wrote down. Raises `Invalid`."""
    try:
        created_at, execution_id = base64.urlsafe_b64decode(token).decode().split(" ")
        return Cursor(float(created_at), int(execution_id))
    except (binascii.Error, ValueError):
        raise Invalid("page_token is not one of ours; begin again without it", pointer="/page_token") from None
