"""Node types: what there is, how a config looks, and a trial of one."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api import node_answers
from api.answers import Json
from api.body import StrictRoute
from api.contract import answer, link, refusals
from api.node_answers import NodeTypeAnswer, TrialAnswer
from api.parameters import Service
from api.schemas import TrialBody
from engine import limits

router = APIRouter(prefix="/nodes", tags=["nodes"], route_class=StrictRoute, default_response_class=Response)
"""Also mounted below /api/v1."""

Type = Annotated[
    str,
    Path(
        min_length=1,
        max_length=limits.NAME,
        description="A node type, one of its aliases, or one major of it: `type@1`.",
        examples=["http_request"],
    ),
]


@router.get(
    "",
    operation_id="list_node_types",
    summary="List the node types",
    responses=answer(200, "All of them, by name.", NodeTypeAnswer, many=True) | refusals(),
)
async def list_node_types(service: Service) -> Response:
    """What a task can do here, and the JSON Schema of each config."""
    return Json(node_answers.node_types(service.trials.list()))


@router.get(
    "/{type}",
    operation_id="get_node_type",
    summary="Get a node type",
    responses=answer(
        200,
        "The node type.",
        NodeTypeAnswer,
        links={"test_node_type": link("test_node_type", type="$response.body#/type")},
    )
    | refusals(404),
)
async def get_node_type(type: Type, service: Service) -> Response:  # noqa: A002
    """With the JSON Schema of its config, as it is once templates are rendered."""
    return Json(node_answers.node_type(service.trials.describe(type)))


@router.post(
    "/{type}/test",
    operation_id="test_node_type",
    summary="Try a config of a node type",
    responses=answer(200, "What came of it, be it a failure.", TrialAnswer) | refusals(404, 413, 415),
)
async def test_node_type(type: Type, body: TrialBody, service: Service) -> Response:  # noqa: A002
    """Runs one attempt in this process, with all its effects; nothing of it is kept. 422 if the config has faults."""
    made = await service.trials.run(type, body.config, body.input, body.tasks, body.timeout)
    return Json(node_answers.trial(made))
