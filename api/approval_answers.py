"""The answers about approvals, as they go out."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from api.answers import Time, encode
from api.parameters import spell_place
from engine.approvals import Approval, Status
from engine.clock import rfc3339


class ApprovalAnswer(msgspec.Struct, frozen=True):
    """What is asked of whom, and how it stands. `form` is the JSON Schema of the data that an approval brings."""

    id: int
    execution_id: int
    workflow_id: int
    task: str
    status: Status
    title: str | None
    message: str | None
    details: Any
    approvers: tuple[str, ...]
    roles: tuple[str, ...]
    form: dict[str, Any] | None
    require_comment: bool | Literal["on_reject"]
    requested_at: Time
    due_at: Time | None
    decided_at: Time | None
    decided_by: str | None
    comment: str | None


class ApprovalPage(msgspec.Struct, frozen=True):
    """Newest first; `next_cursor` is null on the last page."""

    items: list[ApprovalAnswer]
    next_cursor: str | None


def approval(record: Approval) -> bytes:
    return encode(_answer(record))


def approvals(records: Sequence[Approval]) -> bytes:
    return encode([_answer(record) for record in records])


def page(records: Sequence[Approval], following: str | None) -> bytes:
    return encode(ApprovalPage([_answer(record) for record in records], following))


def next_cursor(records: Sequence[Approval], limit: int) -> str | None:
    """Where the next page begins; None if this one is not full."""
    if len(records) < limit:
        return None
    last = records[-1].wait
    return spell_place(last.opened_at, last.id)


def _answer(record: Approval) -> ApprovalAnswer:
    wait, request = record.wait, record.request
    return ApprovalAnswer(
        id=wait.id,
        execution_id=wait.execution_id,
        workflow_id=wait.workflow_id,
        task=wait.task,
        status=record.status,
        title=request.title,
        message=request.message,
        details=request.details,
        approvers=request.approvers,
        roles=request.roles,
        form=request.form,
        require_comment=request.require_comment,
        requested_at=rfc3339(wait.opened_at) or "",
        due_at=rfc3339(wait.due_at),
        decided_at=rfc3339(wait.decided_at),
        decided_by=wait.decided_by,
        comment=wait.comment,
    )
