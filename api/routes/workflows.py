"""Workflows: list, read, archive. How they are defined: `definitions.py`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import answers
from api.answers import Json, WorkflowAnswer
from api.body import StrictRoute
from api.contract import answer, cached, refusals, written
from api.parameters import AsDocument, Limit, Ref, Service

router = APIRouter(prefix="/workflows", tags=["workflows"], route_class=StrictRoute, default_response_class=Response)
MAX_SKIP = 2**31 - 1


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
    responses=written("The workflow.", cached("", WorkflowAnswer)) | refusals(404, 409),
)
async def get_workflow(ref: Ref, service: Service, form: AsDocument = None) -> Response:
    """With its tasks, in order, or as a document that can be posted again."""
    if form is not None:
        return answers.document(await service.written_workflow(ref, form))
    return Json(answers.workflow(await service.get_workflow(ref)))


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
