"""The REST door: `build(service)` is the whole ASGI application."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from api import contract, errors, pages
from api.cache_middleware import CacheMiddleware
from api.door import BelowApi, BothSlashes, HeadAsGet, Net
from api.routes import (
    actions,
    approvals,
    definitions,
    events,
    executions,
    health,
    nodes,
    secrets,
    tasks,
    triggers,
    workflows,
)
from engine.service import WorkflowService

VERSION = "0.1.0"
DESCRIPTION = """
Define workflows, execute them durably, watch them.

A workflow has tasks; executing it makes an execution, whose history is kept event by event. Paths work with and
without a slash at the end, those of workflows also below `/api/v1`. Every refusal is a problem (RFC 9457): `code` for
programs, `detail` for people, and `errors` with a JSON pointer for each thing that is wrong.
"""
ROOMS = (definitions, workflows, tasks, triggers, executions, approvals, events, nodes, actions, secrets, health)
"""In the order of the pages."""
TAGS = [
    {"name": "workflows", "description": "What is to be done: the editable template."},
    {"name": "definitions", "description": "What it means, in any dialect; its versions."},
    {"name": "tasks", "description": "Its steps. sync ones run one after another, async ones beside the others."},
    {"name": "executions", "description": "One run of a workflow, on an unchangeable version of it."},
    {"name": "approvals", "description": "What executions wait for a person to decide."},
    {"name": "triggers", "description": "Which events start a workflow."},
    {"name": "events", "description": "What happens elsewhere: it starts workflows and wakes tasks."},
    {"name": "nodes", "description": "What a task can do. The same paths answer below `/api/v1`."},
    {"name": "actions", "description": "Work that is stored under a name, for tasks to refer to."},
    {"name": "secrets", "description": "Values that tasks send and nobody is shown."},
    {"name": "health", "description": "For whoever looks after this process."},
]


def build(service: WorkflowService) -> ASGIApp:
    """Answers for `service`, which must outlive it."""
    return HeadAsGet(BelowApi(CacheMiddleware(BothSlashes(Net(build_fastapi(service))), service.cache)))


def build_fastapi(service: WorkflowService) -> FastAPI:
    """The application inside, without its cache."""
    app = FastAPI(
        title="Millrace",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for room in ROOMS:
        app.include_router(room.router)
    app.include_router(nodes.router, prefix="/api/v1", include_in_schema=False)
    errors.install(app)
    contract.install(app)
    pages.install(app)
    return app
