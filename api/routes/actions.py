"""Actions: work that is stored under a name, for tasks to refer to."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.action_answers import ActionAnswer, action, actions
from api.answers import Json
from api.body import StrictRoute
from api.contract import answer, link, refusals
from api.parameters import Limit, Service
from api.routes.workflows import MAX_SKIP
from api.schemas import ActionBody, ActionChanges

router = APIRouter(prefix="/actions", tags=["actions"], route_class=StrictRoute, default_response_class=Response)
_FRESH = {"Cache-Control": "no-store"}

Name = Annotated[str, Path(min_length=1, max_length=200, description="Its name.", examples=["fetch-github-issues"])]
_made = {name: link(name, name="$response.body#/name") for name in ("get_action", "update_action", "delete_action")}


@router.post(
    "",
    operation_id="create_action",
    summary="Create an action",
    status_code=201,
    responses=answer(201, "Created.", ActionAnswer, headers=("Location",), links=_made) | refusals(409, 413, 415),
)
async def create_action(body: ActionBody, service: Service) -> Response:
    """From their next start on, workflows whose tasks name it do what it says."""
    made = await service.actions.create(body.new())
    return Json(action(made), 201, {"Location": f"/actions/{made.name}"})


@router.get(
    "",
    operation_id="list_actions",
    summary="List the actions",
    responses=answer(200, "A page, by name.", ActionAnswer, many=True, headers=("X-Total-Count",)) | refusals(),
)
async def list_actions(
    service: Service,
    skip: Annotated[int, Query(description="Rows to leave out.", ge=0, le=MAX_SKIP)] = 0,
    limit: Limit = 100,
) -> Response:
    """The header `X-Total-Count` says how many there are in all."""
    page, total = await service.actions.page(skip, limit)
    return Json(actions(page), 200, {**_FRESH, "X-Total-Count": str(total)})


@router.get(
    "/{name}",
    operation_id="get_action",
    summary="Get an action",
    responses=answer(200, "The action.", ActionAnswer) | refusals(404),
)
async def get_action(name: Name, service: Service) -> Response:
    """As it was written."""
    return Json(action(await service.actions.get(name)), 200, _FRESH)


@router.put(
    "/{name}",
    operation_id="update_action",
    summary="Change an action",
    responses=answer(200, "As it is now.", ActionAnswer) | refusals(404, 413, 415),
)
async def update_action(name: Name, body: ActionChanges, service: Service) -> Response:
    """Changes the fields given; `config` is replaced as a whole.

    Executions go on with what they began with; workflows that name it get a new version at their next start.
    """
    return Json(action(await service.actions.update(name, body.changes())), 200, _FRESH)


@router.delete(
    "/{name}",
    operation_id="delete_action",
    summary="Delete an action",
    status_code=204,
    responses=answer(204, "Deleted.") | refusals(404),
)
async def delete_action(name: Name, service: Service) -> Response:
    """Tasks that name it fail with `unknown_action` from the next start on."""
    await service.actions.delete(name)
    return Response(status_code=204)
