"""Whether this process is alive, and whether it can do its work."""

from fastapi import APIRouter, Response

from api import answers
from api.answers import Json, PingAnswer
from api.body import StrictRoute
from api.contract import answer
from api.parameters import Service
from engine.service import Health

router = APIRouter(tags=["health"], route_class=StrictRoute, default_response_class=Response)
_PONG = answers.encode(PingAnswer("ok"))
_FRESH = {"Cache-Control": "no-store"}


@router.get(
    "/health",
    operation_id="health",
    summary="Can this process do its work?",
    responses=answer(200, "Yes.", Health) | answer(503, "No; `checks` says what is wrong.", Health),
)
async def health(service: Service) -> Response:
    """Looks at the loop, the database and, if there is one in this process, the engine."""
    state = await service.health()
    return Json(answers.health(state), 200 if state.ok else 503, _FRESH)


@router.get("/ping", operation_id="ping", summary="Does it answer?", responses=answer(200, "Yes.", PingAnswer))
async def ping() -> Response:
    """Touches nothing."""
    return Json(_PONG, 200, _FRESH)
