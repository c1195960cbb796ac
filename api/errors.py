"""Every refusal as problem details (RFC 9457). THE table from errors to HTTP status stands here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.schemas import PATTERNS
from engine.documents import pointer
from engine.errors import (
    ConfigurationError,
    Conflict,
    Exhausted,
    Fault,
    Invalid,
    MillraceError,
    NotFound,
    Refused,
    TaskError,
    TooLarge,
    Unavailable,
)

STATUS: dict[type[MillraceError], int] = {
    MillraceError: 500,
    Invalid: 422,
    TooLarge: 413,
    NotFound: 404,
    Conflict: 409,
    Exhausted: 429,
    Unavailable: 503,
    Refused: 503,
    ConfigurationError: 500,
    TaskError: 500,
}
"""The nearest class decides."""

RETRY_AFTER = "1"
"""Seconds after which trying again is worth it."""
PROBLEM_JSON = "application/problem+json"
SHOWN = 100
"""Faults listed in one answer."""

_HTTP = {
    404: ("no_such_path", "there is no such path; the paths are listed at /docs"),
    405: ("method_not_allowed", "this path does not take this method; the header Allow lists those that it takes"),
    415: (
        "unsupported_media_type",
        "send the body as application/json, a workflow also as application/yaml, in UTF-8",
    ),
}


class ProblemFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong; `pointer` (RFC 6901) says where in the body, or names the parameter; so may `line`."""

    pointer: str
    message: str
    code: str
    line: int | None = None


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused (RFC 9457). Programs look at `code`, people read `detail`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[ProblemFault]


def status_of(error: MillraceError) -> int:
    """The HTTP status that answers `error`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def install(app: FastAPI) -> None:
    """Makes `app` answer every error with a problem."""
    app.add_exception_handler(MillraceError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    instance: str,
    faults: Iterable[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer of one refusal. 429 and 503 say when to come back."""
    body = Problem(
        f"urn:millrace:problem:{code}",
        code.replace("_", " ").capitalize(),
        status,
        detail,
        instance,
        code,
        [ProblemFault(fault.pointer, fault.message, fault.code, fault.line) for fault in faults][:SHOWN],
    )
    more = {"Retry-After": RETRY_AFTER} if status in (429, 503) else {}
    return Response(
        msgspec.json.encode(body), status, {"Cache-Control": "no-store", **more, **(headers or {})}, PROBLEM_JSON
    )


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, MillraceError):
        raise error
    status = status_of(error)
    if status == 500:
        raise error
    return problem(status, error.code, error.message, instance=_instance(request), faults=error.faults)


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = list(dict.fromkeys(_fault(fault, error.body) for fault in error.errors()))
    return problem(422, "invalid", _summary(faults), instance=_instance(request), faults=faults)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code, detail = _HTTP.get(error.status_code, ("http_error", str(error.detail)))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request)) or headers.get("Allow", "")
    return problem(error.status_code, code, detail, instance=_instance(request), headers=headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    """Starlette raises `error` again after this answer; the door logs it."""
    return internal_error(_instance(request))


def internal_error(instance: str) -> Response:
    """What a caller sees of a fault of ours: nothing of the inside."""
    detail = "something went wrong here; it is in the log of the server"
    return problem(500, "internal", detail, instance=instance)


def _instance(request: Request) -> str:
    return request.url.path


def _allowed(request: Request) -> list[str]:
    """All methods of this path: Starlette names those of the first matching route only."""
    methods: set[str] = set()
    paths = request.app.openapi()["paths"]
    path = request.scope["path"]
    for contract, operations in ((path, paths[path]),) if path in paths else paths.items():
        if _same_shape(contract.split("/"), request.scope["path"].split("/")):
            methods.update(method.upper() for method in operations)
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _same_shape(contract: Sequence[str], path: Sequence[str]) -> bool:
    return len(contract) == len(path) and all(
        part == other or (part.startswith("{") and other != "") for part, other in zip(contract, path, strict=True)
    )


def _summary(faults: Sequence[Fault]) -> str:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    where = f"{faults[0].pointer}: " if faults[0].pointer else ""
    return f"{where}{faults[0].message}{more}"


def _fault(fault: Mapping[str, Any], body: Any) -> Fault:
    source, *location = fault["loc"]
    message = _message(fault)
    if source == "body":
        return Fault(message, pointer(*_inside(body, location, fault["type"])), fault["type"])
    return Fault(f"{source} parameter: {message}", pointer(*location[:1]), fault["type"])


def _message(fault: Mapping[str, Any]) -> str:
    said = str(fault["msg"]).removeprefix("Value error, ")
    match fault["type"]:
        case "missing":
            return "this is required" if len(fault["loc"]) > 1 else "send a body, as application/json"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be an object"
        case "extra_forbidden" if said == "Extra inputs are not permitted":
            return "there is no such field"
        case "string_pattern_mismatch" if fault["ctx"]["pattern"] in PATTERNS:
            return PATTERNS[fault["ctx"]["pattern"]]
        case _:
            return said.replace("Input should", "must", 1).replace("String should", "must", 1)


def _inside(body: Any, location: Sequence[str | int], kind: str) -> list[str | int]:
    """The part of `location` that exists in the body: the members of a union are no places."""
    path: list[str | int] = []
    for segment in location:
        try:
            body = body[segment]
        except (LookupError, TypeError):
            return [*path, segment] if kind == "missing" else path
        path.append(segment)
    return path
