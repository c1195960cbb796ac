"""Events from outside: sent once, they start workflows and wake tasks. The journal of an execution is elsewhere."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Response

from api import event_answers
from api.answers import Json
from api.body import StrictRoute
from api.contract import answer, link, refusals
from api.event_answers import ReactionAnswer, ReceivedAnswer
from api.parameters import IdempotencyKey, Service
from engine import limits
from engine.received import EVENT_TYPE, UNNAMED

router = APIRouter(prefix="/events", tags=["events"], route_class=StrictRoute, default_response_class=Response)

_found = {"get_event": link("get_event", event_id="$response.body#/event_id")}


@router.post(
    "",
    operation_id="send_event",
    summary="Send an event",
    status_code=202,
    responses=answer(
        202,
        "Durable; what it has started, and woken.",
        ReactionAnswer,
        headers=("Location", "Idempotency-Replayed"),
        links=_found,
    )
    | refusals(413, 415),
)
async def send_event(
    service: Service,
    payload: Annotated[Any, Body(description="Any JSON: the input of what it starts.", examples=[{"lead": {}}])],
    event_type: Annotated[
        str,
        Query(
            alias="type",
            min_length=1,
            max_length=limits.NAME,
            pattern=f"^{EVENT_TYPE.pattern}$",
            description="What kind of event it is; triggers may ask for one.",
            examples=["lead.created"],
        ),
    ] = UNNAMED,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The whole body is the payload. Sent again with the same `Idempotency-Key` it starts nothing twice."""
    made = await service.reception.receive(payload, event_type, idempotency_key)
    headers = {"Location": f"/events/{made.event.id}"} | ({"Idempotency-Replayed": "true"} if made.replayed else {})
    return Json(event_answers.reaction(made), 202, headers)


@router.get(
    "/{event_id}",
    operation_id="get_event",
    summary="Get an event",
    responses=answer(200, "The event, and what followed.", ReceivedAnswer) | refusals(404),
)
async def get_event(
    event_id: Annotated[int, Path(ge=1, le=limits.ID, description="The id of the event.")], service: Service
) -> Response:
    """Those that tasks have published too."""
    return Json(event_answers.received(await service.reception.get(event_id)), 200, {"Cache-Control": "no-store"})
