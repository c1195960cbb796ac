"""Executions: start, look at, cancel, signal."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Path, Query, Request, Response

from api import execution_answers
from api.answers import Json
from api.body import StrictRoute
from api.contract import answer, cached, link, refusals
from api.execution_answers import (
    CancelAnswer,
    EventPage,
    ExecutionAnswer,
    ExecutionPage,
    SignalAnswer,
    StartedAnswer,
    TaskRunAnswer,
)
from api.execution_schemas import CancelBody, DataBody, ParametersBody, StartBody
from api.parameters import (
    After,
    CreatedFrom,
    CreatedTo,
    ExecutionId,
    IdempotencyKey,
    Limit,
    ParentFilter,
    Ref,
    Service,
    Statuses,
    WorkflowFilter,
)
from engine import limits
from engine.model import ExecutionView
from engine.service import Started, WorkflowService
from engine.states import is_terminal

router = APIRouter(tags=["executions"], route_class=StrictRoute, default_response_class=Response)

Wait = Annotated[
    float, Query(ge=0, le=limits.WAIT, description="Seconds to wait for the end of the execution.", examples=[5])
]

_started_links = {
    name: link(name, execution_id="$response.body#/id")
    for name in ("get_execution", "list_steps", "list_events", "cancel_execution")
}
_started = (
    answer(
        202,
        "Accepted: durable, and on its way.",
        StartedAnswer,
        headers=("Location", "Idempotency-Replayed"),
        links=_started_links,
    )
    | answer(200, "It ended while you waited.", ExecutionAnswer, headers=("Location", "Idempotency-Replayed"))
    | refusals(404, 413, 415, 429)
)


@router.post(
    "/workflows/{ref}/execute",
    operation_id="execute_workflow",
    summary="Execute a workflow",
    status_code=202,
    responses=_started,
)
async def execute_workflow(
    ref: Ref,
    service: Service,
    body: StartBody | None = None,
    wait: Wait = 0.0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The answer means that the execution is durable. With `wait` and an end in time: 200 and the whole execution."""
    start = body or StartBody()
    made = await service.execute_workflow(ref, start.input, idempotency_key=idempotency_key, labels=start.labels)
    return await _answer_start(service, made, wait)


@router.post(
    "/executions/workflows/{ref}/execute",
    operation_id="execute_workflow_with_parameters",
    summary="Execute a workflow (the input is called parameters)",
    status_code=202,
    responses=_started,
)
async def execute_workflow_with_parameters(
    ref: Ref,
    service: Service,
    body: ParametersBody | None = None,
    wait: Wait = 0.0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The same as `POST /workflows/{ref}/execute`, in another spelling."""
    parameters = (body or ParametersBody()).parameters
    made = await service.execute_workflow(ref, parameters, idempotency_key=idempotency_key)
    return await _answer_start(service, made, wait)


@router.post(
    "/workflows/{ref}/run",
    operation_id="run_workflow",
    summary="Execute a workflow (the input is called data)",
    status_code=202,
    responses=_started,
)
async def run_workflow(
    ref: Ref,
    service: Service,
    body: DataBody | None = None,
    wait: Wait = 0.0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The same as `POST /workflows/{ref}/execute`, in another spelling."""
    made = await service.execute_workflow(ref, (body or DataBody()).data, idempotency_key=idempotency_key)
    return await _answer_start(service, made, wait)


async def _answer_start(service: WorkflowService, made: Started, wait: float) -> Response:
    headers = {"Location": f"/executions/{made.execution_id}"}
    if made.replayed:
        headers["Idempotency-Replayed"] = "true"
    if wait:
        view = await service.wait(made.execution_id, wait)
        if is_terminal(view.status):
            return Json(execution_answers.execution(view), 200, headers)
        made = Started(made.execution_id, made.workflow_id, view.status, made.replayed)
    return Json(execution_answers.started(made), 202, headers)


@router.get(
    "/executions",
    operation_id="list_executions",
    summary="List executions",
    responses=answer(200, "A page, newest first.", ExecutionPage, headers=("Link",)) | refusals(404),
)
async def list_executions(  # noqa: PLR0913, PLR0917 - one per query parameter
    request: Request,
    service: Service,
    workflow_id: WorkflowFilter,
    status: Statuses,
    created_from: CreatedFrom,
    created_to: CreatedTo,
    cursor: After,
    parent_id: ParentFilter = None,
    limit: Limit = 100,
) -> Response:
    """Without inputs and outputs. `next_cursor` goes into `cursor` of the next call; so does the `Link` header."""
    rows = await service.list_executions(
        workflow=workflow_id,
        statuses=status,
        created_from=created_from,
        created_to=created_to,
        parent=parent_id,
        after=cursor,
        limit=limit,
    )
    following = execution_answers.next_cursor(rows, limit)
    headers = {"Link": f'<{_with_cursor(request, following)}>; rel="next"'} if following else {}
    return Json(execution_answers.executions(rows, following), 200, headers)


def _with_cursor(request: Request, cursor: str) -> str:
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"/executions?{urlencode([*asked, ('cursor', cursor)])}"


@router.get(
    "/executions/{execution_id}",
    operation_id="get_execution",
    summary="Get an execution",
    responses=cached("How it stands.", ExecutionAnswer) | refusals(404),
)
async def get_execution(execution_id: ExecutionId, service: Service) -> Response:
    """Status, input, output, error, and every task. Only an execution that has ended is ever cached."""
    view = await service.get_execution(execution_id)
    return Json(execution_answers.execution(view), 200, _life(view))


@router.get(
    "/executions/{execution_id}/steps",
    operation_id="list_steps",
    summary="List the task runs of an execution",
    responses=cached("All of them, in the order of the definition.", TaskRunAnswer, many=True) | refusals(404),
)
async def list_steps(execution_id: ExecutionId, service: Service) -> Response:
    """State, attempt, times, input and output of every task."""
    view = await service.get_execution(execution_id)
    return Json(execution_answers.steps(view), 200, _life(view))


def _life(view: ExecutionView) -> dict[str, str]:
    return {} if is_terminal(view.status) else {"Cache-Control": "no-store"}


@router.get(
    "/executions/{execution_id}/events",
    operation_id="list_events",
    summary="Read the history of an execution",
    responses=answer(200, "Events in order.", EventPage) | refusals(404),
)
async def list_events(
    execution_id: ExecutionId,
    service: Service,
    after: Annotated[int, Query(ge=0, le=limits.ID, description="The last `seq` that you have.")] = 0,
    limit: Limit = 1000,
) -> Response:
    """Contiguous, from `after` on; ask again with `last_seq` as `after`."""
    events = await service.read_events(execution_id, after, limit)
    return Json(execution_answers.events(events, after))


@router.post(
    "/executions/{execution_id}/cancel",
    operation_id="cancel_execution",
    summary="Cancel an execution",
    responses=answer(200, "Cancelled: recorded.", CancelAnswer)
    | answer(202, "Asked for; its owner will record it. Or recorded, and what was done is being undone.", CancelAnswer)
    | refusals(404, 409, 413, 415),
)
async def cancel_execution(execution_id: ExecutionId, service: Service, body: CancelBody | None = None) -> Response:
    """From the record on no task starts, compensations excepted. 409 if it has ended, or has failed and compensates."""
    status = await service.cancel_execution(execution_id, body.reason if body else None)
    ended = status is not None and is_terminal(status)
    return Json(execution_answers.cancelled(execution_id, status), 200 if ended else 202)


@router.post(
    "/executions/{execution_id}/signals/{name}",
    operation_id="signal_execution",
    summary="Send a signal to an execution",
    status_code=202,
    responses=answer(202, "Durable; its owner will take it.", SignalAnswer) | refusals(404, 409, 413, 415),
)
async def signal_execution(
    execution_id: ExecutionId,
    name: Annotated[str, Path(min_length=1, max_length=limits.NAME, description="What a task waits for.")],
    service: Service,
    payload: Annotated[Any, Body(description="Any JSON: what the waiting task completes with.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The body is the payload."""
    accepted = await service.signal_execution(execution_id, name, payload, idempotency_key)
    return Json(execution_answers.signalled(execution_id, accepted), 202)
