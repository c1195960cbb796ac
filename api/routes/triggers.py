"""Triggers of a workflow: which events start it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from api import event_answers
from api.answers import Json
from api.body import StrictRoute
from api.contract import answer, link, refusals
from api.event_answers import TriggerAnswer
from api.parameters import WHAT_IDS_ARE, Ref, Service, parse_id
from api.trigger_schemas import TriggerBody, TriggerChanges
from engine import limits
from engine.errors import TriggerNotFound

router = APIRouter(
    prefix="/workflows/{ref}/triggers", tags=["triggers"], route_class=StrictRoute, default_response_class=Response
)
_FRESH = {"Cache-Control": "no-store"}


async def _trigger_id(
    trigger_id: Annotated[
        str,
        Path(
            description="The id of the trigger.",
            json_schema_extra={"type": "integer", "minimum": 1, "maximum": limits.ID, "examples": [1]},
        ),
    ],
) -> int:
    number = parse_id(trigger_id)
    if number is None:
        raise TriggerNotFound(f"there is no trigger {trigger_id[:80]!r}; {WHAT_IDS_ARE}")
    return number


TriggerId = Annotated[int, Depends(_trigger_id)]

_added = {
    name: link(name, ref="$response.body#/workflow_id", trigger_id="$response.body#/id")
    for name in ("get_trigger", "update_trigger", "delete_trigger")
}


@router.post(
    "",
    operation_id="add_trigger",
    summary="Add a trigger",
    status_code=201,
    responses=answer(201, "Added.", TriggerAnswer, headers=("Location",), links=_added) | refusals(404, 413, 415),
)
async def add_trigger(ref: Ref, body: TriggerBody, service: Service) -> Response:
    """From now on events of its type for which its condition holds start the workflow; their payload is the input."""
    made = await service.triggers.add(ref, body.spec())
    where = {"Location": f"/workflows/{made.workflow_id}/triggers/{made.id}"}
    return Json(event_answers.trigger(made), 201, where)


@router.get(
    "",
    operation_id="list_triggers",
    summary="List the triggers of a workflow",
    responses=answer(200, "All of them, by id.", TriggerAnswer, many=True) | refusals(404),
)
async def list_triggers(ref: Ref, service: Service) -> Response:
    """Those of its document, which are changed there, and those that were added."""
    return Json(event_answers.triggers(await service.triggers.list(ref)), 200, _FRESH)


@router.get(
    "/{trigger_id}",
    operation_id="get_trigger",
    summary="Get a trigger",
    responses=answer(200, "The trigger.", TriggerAnswer) | refusals(404),
)
async def get_trigger(ref: Ref, trigger_id: TriggerId, service: Service) -> Response:
    """One trigger."""
    return Json(event_answers.trigger(await service.triggers.get(ref, trigger_id)), 200, _FRESH)


@router.put(
    "/{trigger_id}",
    operation_id="update_trigger",
    summary="Change a trigger",
    responses=answer(200, "As it is now.", TriggerAnswer) | refusals(404, 409, 413, 415),
)
async def update_trigger(ref: Ref, trigger_id: TriggerId, body: TriggerChanges, service: Service) -> Response:
    """Changes the fields given; the others stay. 409 if it stands in the workflow's document."""
    return Json(event_answers.trigger(await service.triggers.update(ref, trigger_id, body.changes())))


@router.delete(
    "/{trigger_id}",
    operation_id="delete_trigger",
    summary="Delete a trigger",
    status_code=204,
    responses=answer(204, "Deleted.") | refusals(404, 409),
)
async def delete_trigger(ref: Ref, trigger_id: TriggerId, service: Service) -> Response:
    """What it has started goes on. 409 if it stands in the workflow's document."""
    await service.triggers.delete(ref, trigger_id)
    return Response(status_code=204)
