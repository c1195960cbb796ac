"""Approvals: what waits for a person, and what the person says."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request, Response

from api import approval_answers as answers
from api.answers import Json
from api.approval_answers import ApprovalAnswer, ApprovalPage
from api.body import StrictRoute
from api.contract import answer, refusals
from api.execution_schemas import DecisionBody, VerdictBody
from api.parameters import After, ApprovalId, ApprovalStatus, ExecutionId, Limit, Service
from engine import limits
from engine.approvals import Approval
from engine.service import WorkflowService
from engine.verdicts import Verdict

router = APIRouter(tags=["approvals"], route_class=StrictRoute, default_response_class=Response)
_FRESH = {"Cache-Control": "no-store"}

TaskAddress = Annotated[
    str,
    Path(
        min_length=1,
        max_length=2 * limits.NAME,
        description="The key of the task; inside a map or loop with its place, such as `check[17]`.",
        examples=["manager_approval"],
    ),
]
_decided = answer(200, "Durable: this decision stands.", ApprovalAnswer) | refusals(404, 409, 413, 415)


@router.get(
    "/approvals",
    operation_id="list_approvals",
    summary="List approvals",
    responses=answer(200, "A page, newest first.", ApprovalPage, headers=("Link",)) | refusals(),
)
async def list_approvals(
    request: Request, service: Service, status: ApprovalStatus, cursor: After, limit: Limit = 100
) -> Response:
    """`next_cursor` goes into `cursor` of the next call; so does the `Link` header."""
    found = await service.approvals.page(status, cursor.id if cursor else None, limit)
    following = answers.next_cursor(found, limit)
    headers = {"Link": f'<{_with_cursor(request, following)}>; rel="next"'} if following else {}
    return Json(answers.page(found, following), 200, _FRESH | headers)


def _with_cursor(request: Request, cursor: str) -> str:
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"/approvals?{urlencode([*asked, ('cursor', cursor)])}"


@router.get(
    "/approvals/{approval_id}",
    operation_id="get_approval",
    summary="Get an approval",
    responses=answer(200, "How it stands.", ApprovalAnswer) | refusals(404),
)
async def get_approval(approval_id: ApprovalId, service: Service) -> Response:
    """What is asked of whom, and who has decided what."""
    return Json(answers.approval(await service.approvals.get(approval_id)), 200, _FRESH)


@router.post(
    "/approvals/{approval_id}/decision",
    operation_id="decide_approval",
    summary="Decide an approval",
    responses=_decided,
)
async def decide_approval(approval_id: ApprovalId, service: Service, body: DecisionBody) -> Response:
    """The first decision stands; every other is a 409 that says who decided what, and when."""
    return await _decide(service, await service.approvals.get(approval_id), Verdict(body.decision), body)


@router.get(
    "/executions/{execution_id}/approvals",
    operation_id="list_execution_approvals",
    summary="List the approvals of an execution",
    responses=answer(200, "The newest first, decided or not.", ApprovalAnswer, many=True) | refusals(404),
)
async def list_execution_approvals(execution_id: ExecutionId, service: Service) -> Response:
    """What it has asked for, and what was said."""
    return Json(answers.approvals(await service.approvals.of_execution(execution_id)), 200, _FRESH)


@router.post(
    "/executions/{execution_id}/tasks/{task}/approve",
    operation_id="approve_task",
    summary="Approve what a task asks",
    responses=_decided,
)
async def approve_task(
    execution_id: ExecutionId, task: TaskAddress, service: Service, body: VerdictBody | None = None
) -> Response:
    """The first decision stands; every other is a 409. Data that does not fit the form is a 422 with pointers."""
    approval = await service.approvals.of_task(execution_id, task)
    return await _decide(service, approval, Verdict.APPROVED, body or VerdictBody())


@router.post(
    "/executions/{execution_id}/tasks/{task}/reject",
    operation_id="reject_task",
    summary="Reject what a task asks",
    responses=_decided,
)
async def reject_task(
    execution_id: ExecutionId, task: TaskAddress, service: Service, body: VerdictBody | None = None
) -> Response:
    """The first decision stands; every other is a 409."""
    approval = await service.approvals.of_task(execution_id, task)
    return await _decide(service, approval, Verdict.REJECTED, body or VerdictBody())


async def _decide(service: WorkflowService, approval: Approval, verdict: Verdict, body: VerdictBody) -> Response:
    decided = await service.approvals.decide(approval, verdict, body.by, body.comment, body.data)
    return Json(answers.approval(decided), 200, _FRESH)
