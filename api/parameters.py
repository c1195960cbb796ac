"""Parameters that several routes read, each turned into the engine's words."""

import base64
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args

import msgspec
from fastapi import Depends, Header, Path, Query, Request

from engine import limits
from engine.approvals import STATUSES
from engine.authoring import KEY, Form
from engine.clock import parse_rfc3339
from engine.errors import ApprovalNotFound, ExecutionNotFound, Invalid, TaskNotFound, WorkflowNotFound
from engine.model import ExecutionRow
from engine.ports import Cursor
from engine.service import WorkflowService
from engine.states import ExecutionStatus
from engine.waits import OWN

WHAT_IDS_ARE = f"an id is a whole number from 1 to {limits.ID}"
_NUMBER = re.compile(r"[0-9]{1,16}")
_LATEST = 253_402_300_799.0


def parse_id(text: str) -> int | None:
    """The id that `text` spells, or None."""
    if _NUMBER.fullmatch(text) and int(text) <= limits.ID:
        return int(text)
    return None


def parse_ref(text: str) -> int | str | None:
    """Digits alone are an id, else it is a key; None if it can be neither."""
    number = parse_id(text)
    if number is not None:
        return number
    return text if len(text) <= limits.NAME and KEY.fullmatch(text) else None


def _shown(**schema: Any) -> Callable[[dict[str, Any]], None]:
    """Shows a parameter in the contract as `schema`: a parameter that is left out is not null."""

    def show(generated: dict[str, Any]) -> None:
        generated.pop("anyOf", None)
        generated.update(schema)

    return show


_ID = _shown(type="integer", minimum=1, maximum=limits.ID, examples=[1])
_TIME = _shown(type="string", format="date-time", examples=["2026-11-20T12:00:00Z"])
_APPROVAL = _shown(type="string", enum=list(STATUSES))
_STATUS = _shown(type="array", items={"type": "string", "enum": [status.value for status in ExecutionStatus]})


async def _service(request: Request) -> WorkflowService:
    service: WorkflowService = request.app.state.service
    return service


async def _workflow_ref(
    ref: Annotated[str, Path(description="The id of the workflow, or its key.", examples=["1", "nightly-report"])],
) -> int | str:
    found = parse_ref(ref)
    if found is None:
        raise WorkflowNotFound(f"there is no workflow {ref[:80]!r}; list them with GET /workflows/")
    return found


async def _task_id(task_id: Annotated[str, Path(description="The id of the task.", json_schema_extra=_ID)]) -> int:
    number = parse_id(task_id)
    if number is None:
        raise TaskNotFound(f"there is no task {task_id[:80]!r}; {WHAT_IDS_ARE}")
    return number


async def _execution_id(
    execution_id: Annotated[str, Path(description="The id of the execution.", json_schema_extra=_ID)],
) -> int:
    number = parse_id(execution_id)
    if number is None:
        raise ExecutionNotFound(f"there is no execution {execution_id[:80]!r}; {WHAT_IDS_ARE}")
    return number


async def _approval_id(
    approval_id: Annotated[str, Path(description="The id of the approval.", json_schema_extra=_ID)],
) -> int:
    number = parse_id(approval_id)
    if number is None:
        raise ApprovalNotFound(f"there is no approval {approval_id[:80]!r}; {WHAT_IDS_ARE}")
    return number


async def _workflow_filter(
    workflow_id: Annotated[
        str | None,
        Query(description="Only those of this workflow: its id or its key.", json_schema_extra=_shown(type="string")),
    ] = None,
) -> int | str | None:
    if workflow_id is None:
        return None
    ref = parse_ref(workflow_id)
    if ref is None:
        raise Invalid(f"{workflow_id[:80]!r} is neither an id nor a key", pointer="/workflow_id")
    return ref


async def _statuses(
    status: Annotated[
        list[str] | None,
        Query(description="Only those that stand so; repeat it for several.", json_schema_extra=_STATUS),
    ] = None,
) -> tuple[ExecutionStatus, ...]:
    words = [word.strip() for text in status or () for word in text.split(",")]
    try:
        return tuple(dict.fromkeys(ExecutionStatus(word) for word in words))
    except ValueError:
        known = ", ".join(ExecutionStatus)
        raise Invalid(f"status is one or more of {known}", pointer="/status", code="enum") from None


async def _approval_status(
    status: Annotated[str | None, Query(description="Only those that stand so.", json_schema_extra=_APPROVAL)] = None,
) -> str | None:
    return status


async def _created_from(
    created_from: Annotated[
        str | None, Query(description="Only those accepted then or later.", json_schema_extra=_TIME)
    ] = None,
) -> float | None:
    return None if created_from is None else parse_rfc3339(created_from, "/created_from")


async def _created_to(
    created_to: Annotated[
        str | None, Query(description="Only those accepted before that.", json_schema_extra=_TIME)
    ] = None,
) -> float | None:
    return None if created_to is None else parse_rfc3339(created_to, "/created_to")


async def _cursor(
    cursor: Annotated[
        str | None,
        Query(description="`next_cursor` of the page before.", json_schema_extra=_shown(type="string")),
    ] = None,
) -> Cursor | None:
    return None if cursor is None else parse_cursor(cursor)


def parse_cursor(text: str) -> Cursor:
    """Raises `Invalid` for anything but what `spell_cursor` made."""
    try:
        created_at, number = msgspec.json.decode(
            base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[float, int]
        )
    except (ValueError, msgspec.MsgspecError):
        created_at, number = -1.0, -1
    if not 0 <= created_at <= _LATEST or not 0 <= number <= limits.ID:
        raise Invalid("the cursor is not one of ours; take next_cursor of the page before", pointer="/cursor")
    return Cursor(created_at, number)


def spell_cursor(last: ExecutionRow) -> str:
    """The place after `last`, opaque to callers."""
    return spell_place(last.created_at, last.id)


def spell_place(created_at: float, number: int) -> str:
    """The place after what was made then and has this id."""
    return base64.urlsafe_b64encode(msgspec.json.encode((created_at, number))).decode().rstrip("=")


Service = Annotated[WorkflowService, Depends(_service)]
Ref = Annotated[int | str, Depends(_workflow_ref)]
TaskId = Annotated[int, Depends(_task_id)]
ApprovalId = Annotated[int, Depends(_approval_id)]
ApprovalStatus = Annotated[str | None, Depends(_approval_status)]
ExecutionId = Annotated[int, Depends(_execution_id)]
WorkflowFilter = Annotated[int | str | None, Depends(_workflow_filter)]
Statuses = Annotated[tuple[ExecutionStatus, ...], Depends(_statuses)]
CreatedFrom = Annotated[float | None, Depends(_created_from)]
CreatedTo = Annotated[float | None, Depends(_created_to)]
After = Annotated[Cursor | None, Depends(_cursor)]
ParentFilter = Annotated[
    int | None, Query(ge=1, le=limits.ID, description="Those that tasks of this execution started.", examples=[1])
]
Limit = Annotated[int, Query(description="Rows of the page.", ge=1, le=limits.PAGE)]
AsDocument = Annotated[
    Form | None,
    Query(
        alias="format",
        description="As a document: `tasks`, `graph`, `steps`, `yaml`, or `source`: as it was written.",
        json_schema_extra=_shown(type="string", enum=list(get_args(Form))),
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description=f"Requests with the same key and body have one effect. Its first character is not `{OWN}`.",
        json_schema_extra=_shown(type="string", minLength=1, maxLength=limits.IDEMPOTENCY_KEY, pattern=f"^[^{OWN}]"),
    ),
]
