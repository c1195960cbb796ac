"""Tasks of a workflow's draft: add, read, change, delete."""

from fastapi import APIRouter, Response

from api import answers
from api.answers import Json, TaskAnswer
from api.body import StrictRoute
from api.contract import answer, cached, link, refusals
from api.parameters import Ref, Service, TaskId
from api.schemas import TaskBody, TaskChanges

router = APIRouter(
    prefix="/workflows/{ref}/tasks", tags=["tasks"], route_class=StrictRoute, default_response_class=Response
)

_added = {
    name: link(name, ref="$response.body#/workflow_id", task_id="$response.body#/id")
    for name in ("get_task", "update_task", "delete_task")
}


@router.post(
    "",
    operation_id="add_task",
    summary="Add a task",
    status_code=201,
    responses=answer(201, "Added.", TaskAnswer, headers=("Location",), links=_added) | refusals(404, 409, 413, 415),
)
async def add_task(ref: Ref, body: TaskBody, service: Service) -> Response:
    """The workflow with the new task is checked as a whole; if anything is wrong, nothing is written."""
    made = await service.add_task(ref, body.new())
    return Json(answers.task(made), 201, {"Location": f"/workflows/{made.workflow_id}/tasks/{made.id}"})


@router.get(
    "",
    operation_id="list_tasks",
    summary="List the tasks of a workflow",
    responses=cached("All of them, in order.", TaskAnswer, many=True) | refusals(404, 409),
)
async def list_tasks(ref: Ref, service: Service) -> Response:
    """In the order in which they start."""
    return Json(answers.tasks(await service.list_tasks(ref)))


@router.get(
    "/{task_id}",
    operation_id="get_task",
    summary="Get a task",
    responses=cached("The task.", TaskAnswer) | refusals(404, 409),
)
async def get_task(ref: Ref, task_id: TaskId, service: Service) -> Response:
    """One task of the draft."""
    return Json(answers.task(await service.get_task(ref, task_id)))


@router.put(
    "/{task_id}",
    operation_id="update_task",
    summary="Change a task",
    responses=answer(200, "As it is now.", TaskAnswer) | refusals(404, 409, 413, 415),
)
async def update_task(ref: Ref, task_id: TaskId, body: TaskChanges, service: Service) -> Response:
    """Changes the fields given; the others stay. The workflow is checked as a whole."""
    return Json(answers.task(await service.update_task(ref, task_id, body.changes())))


@router.delete(
    "/{task_id}",
    operation_id="delete_task",
    summary="Delete a task",
    status_code=204,
    responses=answer(204, "Deleted.") | refusals(404, 409),
)
async def delete_task(ref: Ref, task_id: TaskId, service: Service) -> Response:
    """Refused while other tasks refer to it."""
    await service.delete_task(ref, task_id)
    return Response(status_code=204)
