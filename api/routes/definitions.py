"""What workflows mean: define one in any dialect, check it, replace it, look at its versions, go back to one."""

import asyncio
import time
from typing import Annotated, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from api import answers, dry_run_answers
from api.answers import Json, ReportAnswer, SavedAnswer, VersionAnswer, WorkflowAnswer
from api.body import StrictRoute, hinted, read_source
from api.contract import answer, document_body, link, refusals, written
from api.dry_run_answers import DryRunAnswer
from api.parameters import Limit, Ref, Service, parse_ref
from api.schemas import DryRunBody, RollbackBody, WorkflowBody, WorkflowChanges
from api.shapes import DOCUMENTS
from engine import limits
from engine.authoring import Form, Saved
from engine.clock import parse_rfc3339
from engine.errors import Fault, Invalid, InvalidDocument, InvalidWorkflow, WorkflowNotFound
from engine.sources import Source

router = APIRouter(prefix="/workflows", tags=["definitions"], route_class=StrictRoute, default_response_class=Response)
Model = TypeVar("Model", bound=BaseModel)
KINDS = ("nodes", "steps", "tasks")
"""The fields that tell of what dialect a document is."""

_created = {
    name: link(name, ref="$response.body#/id")
    for name in ("get_workflow", "update_workflow", "archive_workflow", "list_tasks", "add_task", "execute_workflow")
}


@router.post(
    "",
    operation_id="create_workflow",
    summary="Create a workflow",
    status_code=201,
    responses=answer(201, "Created.", SavedAnswer, headers=("Location",), links=_created) | refusals(409, 413, 415),
    openapi_extra=document_body(*DOCUMENTS, "WorkflowBody"),
)
async def create_workflow(request: Request, service: Service) -> Response:
    """Fields alone make a workflow without tasks; add them one by one, each is checked.

    Or send a whole definition, in JSON or YAML, in any dialect: told by its `steps`, its `nodes` or its `tasks`; the
    answer says which in `dialect`.
    """
    source = _given(await read_source(request))
    if service.is_document(source.value):
        made = await service.create_document(source)
    else:
        made = Saved(await service.create_workflow(_fields(WorkflowBody, source).new()), ())
    return Json(answers.saved(made), 201, {"Location": f"/workflows/{made.workflow.id}"})


@router.put(
    "/{ref}",
    operation_id="update_workflow",
    summary="Change a workflow",
    responses=answer(200, "As it is now.", SavedAnswer) | refusals(404, 409, 413, 415),
    openapi_extra=document_body(*DOCUMENTS, "WorkflowChanges"),
)
async def update_workflow(ref: Ref, request: Request, service: Service) -> Response:
    """Changes the fields given; the others stay. A whole definition takes the place of the one before.

    Executions go on with the version they began with.
    """
    source = _given(await read_source(request))
    if service.is_document(source.value):
        changed = await service.replace_document(ref, source)
    else:
        changed = Saved(await service.update_workflow(ref, _fields(WorkflowChanges, source).changes()), ())
    return Json(answers.saved(changed))


@router.post(
    "/validate",
    operation_id="validate_workflow",
    summary="Check a definition",
    responses=answer(200, "What is known of it; `valid` says whether it would be saved.", ReportAnswer)
    | refusals(413, 415),
    openapi_extra=document_body(),
)
async def validate_workflow(request: Request, service: Service) -> Response:
    """Saves nothing, and lists all that is wrong with its place and a suggestion; warnings do not prevent saving."""
    source = _given(await read_source(request), lenient=True)
    return Json(answers.report(await service.inspect_document(source)))


@router.post(
    "/dry-run",
    operation_id="dry_run",
    summary="Walk through a definition without doing it",
    responses=answer(200, "What would be done.", DryRunAnswer) | refusals(404, 413, 415),
    openapi_extra=document_body("DryRunBody"),
)
async def dry_run(request: Request, service: Service) -> Response:
    """Nothing is called, done or saved, and no time passes.

    Shows each task: whether it would be called and with which config, where a branch goes, what is waited for, what is
    tried again. Tasks with effects come to what `mocks` say, else their output is left open, and what depends on it.
    """
    source = _given(await read_source(request))
    body = _fields(DryRunBody, source)
    if (body.definition is None) == (body.workflow is None):
        raise Invalid("say what to walk through: either a definition or a workflow", pointer="/definition")
    now = time.time() if body.now is None else parse_rfc3339(body.now, "/now")
    value = {} if body.input is None else body.input
    try:
        done = await service.dry_runs.run(await _what(body), value, body.mocks, now)
    except (InvalidWorkflow, InvalidDocument) as error:
        faults = [_inside(fault, body, source) for fault in error.faults]
        raise type(error)(error.message, faults=faults) from None
    return Json(dry_run_answers.dry_run(done))


async def _what(body: DryRunBody) -> int | str | Source:
    if body.definition is not None:
        written = body.definition
        data = written.encode() if isinstance(written, str) else msgspec.json.encode(written)
        return await asyncio.to_thread(Source, data, strict_json=not isinstance(written, str))
    ref = parse_ref(str(body.workflow))
    if ref is None:
        raise WorkflowNotFound(f"there is no workflow {str(body.workflow)[:80]!r}; list them with GET /workflows/")
    return ref


def _inside(fault: Fault, body: DryRunBody, source: Source) -> Fault:
    """A fault of the definition, in the body; one in a text keeps its line there. JSON would have to be read again."""
    if isinstance(body.definition, str):
        return msgspec.structs.replace(fault, pointer="/definition")
    inside = Fault(fault.message, f"/definition{fault.pointer}", fault.code)
    return inside if source.is_json else source.placed(inside)


@router.get(
    "/{ref}/versions",
    operation_id="list_versions",
    summary="List the versions of a workflow",
    responses=answer(200, "Newest first.", VersionAnswer, many=True) | refusals(404),
)
async def list_versions(ref: Ref, service: Service, limit: Limit = 100) -> Response:
    """Of ordered tasks a version is made when it is first executed, of documents when they are saved."""
    return Json(answers.versions(await service.list_versions(ref, limit)))


@router.get(
    "/{ref}/versions/{version}",
    operation_id="get_version",
    summary="Read a version as a document",
    responses=written("What it means.", answer(200, "")) | refusals(404, 409),
)
async def get_version(
    ref: Ref,
    version: Annotated[int, Path(ge=1, le=limits.ID, description="The number of the version.")],
    service: Service,
    format: Annotated[Form, Query(description="The dialect, or `source`: as it was written.")] = "yaml",  # noqa: A002
) -> Response:
    """In the words of a dialect; versions never change."""
    return answers.document(await service.written_version(ref, version, format))


@router.post(
    "/{ref}/rollback",
    operation_id="rollback_workflow",
    summary="Go back to a version",
    responses=answer(200, "As it is now.", WorkflowAnswer) | refusals(404, 409, 413, 415),
)
async def rollback_workflow(ref: Ref, body: RollbackBody, service: Service) -> Response:
    """The draft becomes what that version was written in. No new version is made: the old one is current again."""
    return Json(answers.workflow(await service.rollback_workflow(ref, body.version)))


def _given(source: Source | None, *, lenient: bool = False) -> Source:
    """Refuses a body that is missing or cannot be read; `lenient`: only if there is nothing to go by."""
    if source is None:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "this is required"}])
    if source.faults and (not source.readable or not lenient):
        kind = InvalidDocument if source.faults[0].code != Invalid.code else Invalid
        raise kind(source.faults[0].message, faults=source.faults)
    return source


def _fields(model: type[Model], source: Source) -> Model:
    try:
        return model.model_validate(source.value)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        known = {*model.model_fields, *(() if model is DryRunBody else KINDS)}
        raise RequestValidationError(hinted(faults, known), body=source.value) from None
