"""Secrets: kept sealed, referred to as `{{secrets.name}}`; no answer has a value."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.answers import Json, encode
from api.body import StrictRoute
from api.contract import answer, refusals
from api.parameters import Service
from api.schemas import SecretBody
from api.secret_answers import RotationAnswer, SecretAnswer, secret, secrets

router = APIRouter(prefix="/secrets", tags=["secrets"], route_class=StrictRoute, default_response_class=Response)
_FRESH = {"Cache-Control": "no-store"}

Name = Annotated[str, Path(min_length=1, max_length=200, description="Its name.", examples=["api_key"])]


@router.put(
    "/{name}",
    operation_id="put_secret",
    summary="Keep a secret",
    responses=answer(200, "Kept.", SecretAnswer) | refusals(409, 413, 415),
)
async def put_secret(name: Name, body: SecretBody, service: Service) -> Response:
    """Makes it or gives it a new value. Tasks that begin afterwards use the new one. 409 without SECRET_KEYS."""
    return Json(secret(await service.secrets.put(name, body.value, body.allowed_hosts)), 200, _FRESH)


@router.get(
    "",
    operation_id="list_secrets",
    summary="List the secrets",
    responses=answer(200, "All of them, by name.", SecretAnswer, many=True) | refusals(),
)
async def list_secrets(service: Service) -> Response:
    """Without values."""
    return Json(secrets(await service.secrets.list()), 200, _FRESH)


@router.get(
    "/{name}",
    operation_id="get_secret",
    summary="Get a secret",
    responses=answer(200, "Without its value.", SecretAnswer) | refusals(404),
)
async def get_secret(name: Name, service: Service) -> Response:
    """Which key seals it, and where it may be sent."""
    return Json(secret(await service.secrets.get(name)), 200, _FRESH)


@router.delete(
    "/{name}",
    operation_id="delete_secret",
    summary="Delete a secret",
    status_code=204,
    responses=answer(204, "Deleted.") | refusals(404),
)
async def delete_secret(name: Name, service: Service) -> Response:
    """Tasks that refer to it fail from now on."""
    await service.secrets.delete(name)
    return Response(status_code=204)


@router.post(
    "/actions/rotate",
    operation_id="rotate_secrets",
    summary="Seal all secrets with the first key",
    responses=answer(200, "Done.", RotationAnswer) | refusals(409),
)
async def rotate_secrets(service: Service) -> Response:
    """After a new key was put before the others in SECRET_KEYS; then the old ones may go."""
    return Json(encode(RotationAnswer(await service.secrets.rotate())), 200, _FRESH)
