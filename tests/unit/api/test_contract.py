"""What the OpenAPI document promises."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from api import contract, errors
from api.app import ROOMS, VERSION
from tests.rest import Rest

DOCUMENTED = {
    "/workflows": {"get", "post"},
    "/workflows/{ref}": {"get", "put", "delete"},
    "/workflows/{ref}/tasks": {"get", "post"},
    "/workflows/{ref}/tasks/{task_id}": {"get", "put", "delete"},
    "/workflows/{ref}/triggers": {"get", "post"},
    "/workflows/{ref}/triggers/{trigger_id}": {"get", "put", "delete"},
    "/events": {"post"},
    "/events/{event_id}": {"get"},
    "/workflows/{ref}/execute": {"post"},
    "/workflows/{ref}/run": {"post"},
    "/workflows/validate": {"post"},
    "/workflows/dry-run": {"post"},
    "/workflows/{ref}/versions": {"get"},
    "/workflows/{ref}/versions/{version}": {"get"},
    "/workflows/{ref}/rollback": {"post"},
    "/executions/workflows/{ref}/execute": {"post"},
    "/executions": {"get"},
    "/executions/{execution_id}": {"get"},
    "/executions/{execution_id}/steps": {"get"},
    "/executions/{execution_id}/events": {"get"},
    "/executions/{execution_id}/cancel": {"post"},
    "/executions/{execution_id}/signals/{name}": {"post"},
    "/approvals": {"get"},
    "/approvals/{approval_id}": {"get"},
    "/approvals/{approval_id}/decision": {"post"},
    "/executions/{execution_id}/approvals": {"get"},
    "/executions/{execution_id}/tasks/{task}/approve": {"post"},
    "/executions/{execution_id}/tasks/{task}/reject": {"post"},
    "/nodes": {"get"},
    "/nodes/{type}": {"get"},
    "/nodes/{type}/test": {"post"},
    "/actions": {"get", "post"},
    "/actions/{name}": {"get", "put", "delete"},
    "/secrets": {"get"},
    "/secrets/{name}": {"get", "put", "delete"},
    "/secrets/actions/rotate": {"post"},
    "/health": {"get"},
    "/ping": {"get"},
}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    app = FastAPI(title="t", version=VERSION)
    for room in ROOMS:
        app.include_router(room.router)
    errors.install(app)
    contract.install(app)
    return app


@pytest.fixture(scope="module")
def document(app: FastAPI) -> Any:
    return app.openapi()


def test_paths(document: Any) -> None:
    assert {path: set(operations) for path, operations in document["paths"].items()} == DOCUMENTED


def test_every_operation_says_what_it_does_and_how_it_refuses(document: Any) -> None:
    names = set()
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            names.add(operation["operationId"])
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and operation["operationId"] != "health":
                    assert list(answer["content"]) == ["application/problem+json"]
                if status in ("429", "503") and operation["operationId"] != "health":
                    assert "Retry-After" in answer["headers"]
    assert len(names) == 52


def test_every_reference_and_link_leads_somewhere(document: Any) -> None:
    schemas = document["components"]["schemas"]
    names = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    references, operations = [], []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            references.extend([node["$ref"]] if "$ref" in node else [])
            operations.extend([node["operationId"]] if "parameters" in node and "operationId" in node else [])
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                walk(child)

    walk(document)
    assert references
    assert {ref.removeprefix("#/components/schemas/") for ref in references} <= set(schemas)
    assert set(operations) <= names


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


async def test_405_names_the_methods(app: FastAPI) -> None:
    rest = Rest(app)
    assert (await rest.send("POST", "/workflows/1")).headers["allow"] == "DELETE, GET, HEAD, PUT"
    assert "GET" in (await rest.send("POST", "/openapi.json")).headers["allow"]
