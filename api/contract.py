"""What the OpenAPI document says beyond what FastAPI knows: our answers, our refusals, their headers and links."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import (
    action_answers,
    answers,
    approval_answers,
    dry_run_answers,
    event_answers,
    execution_answers,
    node_answers,
    secret_answers,
)
from api.errors import PROBLEM_JSON, RETRY_AFTER, Problem
from api.schemas import DryRunBody, WorkflowBody, WorkflowChanges
from api.shapes import DOCUMENTS
from engine.service import Health

_REF = "#/components/schemas/{name}"
_KINDS = (
    Problem,
    Health,
    answers.WorkflowAnswer,
    answers.SavedAnswer,
    answers.ReportAnswer,
    answers.VersionAnswer,
    execution_answers.StartedAnswer,
    execution_answers.ExecutionAnswer,
    execution_answers.ExecutionPage,
    execution_answers.EventPage,
    execution_answers.CancelAnswer,
    execution_answers.SignalAnswer,
    answers.PingAnswer,
    approval_answers.ApprovalAnswer,
    approval_answers.ApprovalPage,
    node_answers.NodeTypeAnswer,
    node_answers.TrialAnswer,
    event_answers.TriggerAnswer,
    event_answers.ReactionAnswer,
    event_answers.ReceivedAnswer,
    action_answers.ActionAnswer,
    dry_run_answers.DryRunAnswer,
    secret_answers.SecretAnswer,
    secret_answers.RotationAnswer,
)
_REASONS = {
    404: "There is no such thing.",
    409: "Not possible in the present state.",
    413: "Larger than a written limit.",
    415: "The body is not application/json (nor application/yaml, for a definition) in UTF-8.",
    422: "Not acceptable as it is; `errors` says where.",
    429: "Too much at once; come back after `Retry-After` seconds.",
    503: "A server that is needed does not answer; come back after `Retry-After` seconds.",
}
_HEADERS: dict[str, dict[str, Any]] = {
    "Location": {"description": "Where it is found.", "schema": {"type": "string", "format": "uri-reference"}},
    "X-Total-Count": {"description": "How many there are in all.", "schema": {"type": "integer", "minimum": 0}},
    "Link": {"description": "The next page, `rel=next`; absent on the last.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "`true`: the key was known, and this is what was started then.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "examples": [int(RETRY_AFTER)]}},
    "ETag": {"description": "Send it as `If-None-Match` to get 304.", "schema": {"type": "string"}},
    "X-Cache": {"description": "`hit` or `miss`.", "schema": {"type": "string", "enum": ["hit", "miss"]}},
}

Responses = dict[int | str, dict[str, Any]]


def answer(
    status: int,
    description: str,
    kind: type[msgspec.Struct] | None = None,
    *,
    many: bool = False,
    headers: tuple[str, ...] = (),
    links: Mapping[str, Any] | None = None,
) -> Responses:
    """One documented answer; `kind` is one of the structs that are sent."""
    documented: dict[str, Any] = {"description": description}
    if kind is not None:
        schema: dict[str, Any] = {"$ref": _REF.format(name=kind.__name__)}
        documented["content"] = {"application/json": {"schema": {"type": "array", "items": schema} if many else schema}}
    if headers:
        documented["headers"] = {name: _HEADERS[name] for name in headers}
    if links:
        documented["links"] = dict(links)
    return {status: documented}


def cached(
    description: str, kind: type[msgspec.Struct], *, many: bool = False, headers: tuple[str, ...] = ()
) -> Responses:
    """An answer that the response cache may give, and the 304 that goes with its ETag."""
    headers = (*headers, "ETag", "X-Cache")
    return answer(200, description, kind, many=many, headers=headers) | answer(
        304, "Not changed since `If-None-Match`.", headers=("ETag", "X-Cache")
    )


def written(description: str, responses: Responses) -> Responses:
    """`responses` whose 200 may also be a definition, in JSON or YAML."""
    ok = responses[200]
    content = ok.get("content", {}).get("application/json")
    known = [content["schema"]] if content else []
    schemas = [*known, *({"$ref": _REF.format(name=name)} for name in DOCUMENTS)]
    media = {"application/json": {"schema": {"anyOf": schemas}}, "application/yaml": {"schema": {"type": "string"}}}
    return {**responses, 200: {**ok, "description": description, "content": media}}


def document_body(*names: str) -> dict[str, Any]:
    """A request body in JSON or YAML that is one of the named schemas; none: anything."""
    schema: dict[str, Any] = {"anyOf": [{"$ref": _REF.format(name=name)} for name in names]} if names else {}
    media = {"schema": schema}
    return {"requestBody": {"required": True, "content": {"application/json": media, "application/yaml": media}}}


def refusals(*statuses: int) -> Responses:
    """Documented problems; every operation has 422 and 503."""
    return {status: _refusal(status) for status in sorted({*statuses, 422, 503})}


def link(operation: str, **parameters: str) -> dict[str, Any]:
    """An OpenAPI link to `operation`; parameters are runtime expressions."""
    return {"operationId": operation, "parameters": parameters}


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` answer the whole contract."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    for body in (WorkflowBody, WorkflowChanges, DryRunBody):
        schema = body.model_json_schema(ref_template=_REF.replace("{name}", "{model}"))
        _components(document).update(schema.pop("$defs", {}))
        _components(document)[body.__name__] = schema
    _components(document).update(DOCUMENTS)
    _, components = msgspec.json.schema_components(_KINDS, ref_template=_REF)
    _components(document).update(components)
    return document


def _components(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    return found


def _refusal(status: int) -> dict[str, Any]:
    documented: dict[str, Any] = {
        "description": _REASONS[status],
        "content": {PROBLEM_JSON: {"schema": {"$ref": _REF.format(name=Problem.__name__)}}},
    }
    if status in (429, 503):
        documented["headers"] = {"Retry-After": _HEADERS["Retry-After"]}
    return documented
