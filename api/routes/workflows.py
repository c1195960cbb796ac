"""Workflows: create, read, change, archive."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import answers
from api.answers import Json, WorkflowAnswer
from api.body import StrictRoute
from api.contract import answer, cached, link, refusals
from api.parameters import Limit, Ref, Service
from api.schemas import WorkflowBody, WorkflowChanges

router = APIRouter(prefix="/workflows", tags=["workflows"], route_class=StrictRoute, default_response_class=Response)
MAX_SKIP = 2**31 - 1

_created = {
    name: link(name, ref="$response.body#/id")
    for name in ("get_workflow", "update_workflow", "archive_workflow", "list_tasks", "add_task", "execute_workflow")
}


@router.post(
    "",
    operation_id="create_workflow",
    summary="Create a workflow",
    status_code=201,
    responses=answer(201, "Created.", WorkflowAnswer, headers=("Location",), links=_created) | refusals(409, 413, 415),
)
async def create_workflow(body: WorkflowBody, service: Service) -> Response:
    """A workflow begins without tasks; add them one by one, each is checked."""
    made = await service.create_workflow(body.new())
    return Json(answers.workflow(made), 201, {"Location": f"/workflows/{made.id}"})


@router.get(
    "",
    operation_id="list_workflows",
    summary="List workflows",
    responses=cached("A page, oldest first.", WorkflowAnswer, many=True, headers=("X-Total-Count",)) | refusals(),
)
async def list_workflows(
    service: Service,
    skip: Annotated[int, Query(description="Rows to leave out.", ge=0, le=MAX_SKIP)] = 0,
    limit: Limit = 100,
) -> Response:
    """With their tasks. The header `X-Total-Count` says how many there are in all."""
    page, total = await service.list_workflows(skip, limit)
    return Json(answers.workflows(page), 200, {"X-Total-Count": str(total)})


@router.get(
    "/{ref}",
    operation_id="get_workflow",
    summary="Get a workflow",
    responses=cached("The workflow.", WorkflowAnswer) | refusals(404),
)
async def get_workflow(ref: Ref, service: Service) -> Response:
    """With its tasks, in order."""
    return Json(answers.workflow(await service.get_workflow(ref)))


@router.put(
    "/{ref}",
    operation_id="update_workflow",
    summary="Change a workflow",
    responses=answer(200, "As it is now.", WorkflowAnswer) | refusals(404, 409, 413, 415),
)
async def update_workflow(ref: Ref, body: WorkflowChanges, service: Service) -> Response:
    """Changes the fields given; the others stay. Executions go on with the version they began with."""
    return Json(answers.workflow(await service.update_workflow(ref, body.changes())))


@router.delete(
    "/{ref}",
    operation_id="archive_workflow",
    summary="Archive a workflow",
    status_code=204,
    responses=answer(204, "Archived.") | refusals(404),
)
async def archive_workflow(ref: Ref, service: Service) -> Response:
    """It is found no more and its key is free; its executions stay, and those that live go on."""
    await service.archive_workflow(ref)
    return Response(status_code=204)
