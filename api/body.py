"""How a request is read: bodies by the engine's one strict decoder, unknown query parameters refused."""

import asyncio
import difflib
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from engine import limits
from engine.documents import decode_json, pointer
from engine.errors import Invalid, TooLarge
from engine.graph import suggestion
from engine.sources import Source

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
DRAINED = 4 * limits.DOCUMENT
"""Bytes of a body that is too large that are still read, so that its sender gets to read the refusal."""


class StrictRoute(APIRoute):
    """A route whose body has passed `engine.documents.decode_json` before anything else sees it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = frozenset(_query_names(self.dependant))
        takes_body = self.body_field is not None
        fields = _field_names(self.body_field.field_info.annotation) if self.body_field is not None else ()

        async def strict(request: Request) -> Response:
            _refuse_unknown(request, known)
            try:
                return await handle(await _decoded(request) if takes_body else request)
            except RequestValidationError as error:
                raise RequestValidationError(hinted(error.errors(), fields), body=error.body) from None

        return strict


def hinted(faults: Iterable[Mapping[str, Any]], known: Collection[str]) -> list[dict[str, Any]]:
    """The faults of a body that has `known` fields: of a field that is none of them, which one was meant."""
    return [
        {**fault, "msg": f"there is no field {fault['loc'][1]!r:.100}{suggestion(fault['loc'][1], known)}"}
        if known and fault["type"] == "extra_forbidden" and len(fault["loc"]) == 2
        else dict(fault)
        for fault in faults
    ]


def _field_names(model: Any) -> Collection[str]:
    """Those of a body's model."""
    return getattr(model, "model_fields", {}).keys()


class _Decoded(Request):
    """A request whose body was read and decoded."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._raw = raw
        self._value = value

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._value


async def _decoded(request: Request) -> Request:
    raw = await read_body(request)
    if not raw:
        return _Decoded(request, b"", None)
    _kind(request.headers.get("content-type", ""), yaml=False)
    return _Decoded(request, raw, decode_json(raw))


async def read_body(request: Request) -> bytes:
    """All of it. Raises `TooLarge`."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > DRAINED:
            break
        if size <= limits.DOCUMENT:
            chunks.append(chunk)
    if size > limits.DOCUMENT:
        raise TooLarge(f"the body has more than {limits.DOCUMENT} bytes, which is the most that is accepted")
    return b"".join(chunks)


async def read_source(request: Request) -> Source | None:
    """The body as a document, in JSON or YAML; None if there is no body. Raises `TooLarge`."""
    raw = await read_body(request)
    if not raw:
        return None
    is_yaml = _is(_kind(request.headers.get("content-type", "")), "yaml")
    return await asyncio.to_thread(Source, raw, strict_json=not is_yaml)


def _kind(content_type: str, *, yaml: bool = True) -> str:
    """The media type. Raises 415."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    accepted = _is(kind, "json") or (yaml and _is(kind, "yaml"))
    charsets = [value.strip("\"'") for name, _, value in (p.partition("=") for p in parameters) if name == "charset"]
    if not accepted or any(charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets):
        raise HTTPException(415)
    return kind


def _is(kind: str, word: str) -> bool:
    known = ("application/json",) if word == "json" else YAML_TYPES
    return kind in known or (kind.startswith("application/") and kind.endswith(f"+{word}"))


def _query_names(dependant: Dependant) -> Iterable[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _refuse_unknown(request: Request, known: frozenset[str]) -> None:
    if not request.scope["query_string"]:
        return
    for name in request.query_params:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            there = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known)) or 'none'}"
            message = f"there is no query parameter {name!r}; {there}"
            raise Invalid(message, pointer=pointer(name), code="unknown_parameter")
