"""Dry runs over REST."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.rest import Rest, open_rest
from tests.unit.definitions.test_examples import CUSTOM, HOT_LEAD, INVOICE, SUPPORT

YAML = {"content_type": "application/yaml"}
CALL = {
    "key": "call",
    "start_at": "call",
    "steps": {
        "call": {"type": "http_request", "url": "http://127.0.0.1:9/{{input.id}}", "next": "tell"},
        "tell": {"type": "set", "config": {"status": "{{call.output.status}}"}, "next": "end"},
    },
}


@pytest.fixture
async def rest(sqlite_url: str) -> AsyncIterator[Rest]:
    async with open_rest(sqlite_url) as rest:
        yield rest


async def walk(rest: Rest, definition: Any, **more: Any) -> Any:
    done = await rest.post("/workflows/dry-run", {"definition": definition, **more})
    assert done.status == 200, done.body
    return done.json()


async def test_a_definition_is_walked_and_nothing_is_saved(rest: Rest) -> None:
    done = await walk(rest, CALL, input={"id": 7}, mocks={"call": {"output": {"status": 204}}})
    assert (done["status"], done["output"], done["path"]) == ("completed", {"tell": {"status": 204}}, ["call", "tell"])
    call, tell = done["steps"]
    assert (call["calls"], call["source"], call["config"]["url"]) == (True, "mock", "http://127.0.0.1:9/7")
    assert (tell["calls"], tell["source"]) == (False, "evaluated")
    assert (await rest.get("/workflows/")).json() == []
    assert (await rest.get("/executions")).json()["items"] == []


async def test_a_stored_workflow_is_walked_by_id_or_key(rest: Rest) -> None:
    made = (await rest.post("/workflows", CALL)).json()
    for ref in (made["id"], str(made["id"]), "call"):
        done = (await rest.post("/workflows/dry-run", {"workflow": ref, "input": {"id": 1}})).json()
        assert (done["status"], done["unknown"]) == ("completed", ["call", "tell"]), done
    rows = (await rest.post("/workflows", {"name": "Rows"})).json()["id"]
    await rest.post(f"/workflows/{rows}/tasks", {"name": "T", "type": "set", "parameters": {"a": "{{input.a}}"}})
    done = (await rest.post("/workflows/dry-run", {"workflow": rows, "input": {"a": 1}})).json()
    assert done["output"] == {"task_1": {"a": 1}}
    assert [row["version"] for row in (await rest.get(f"/workflows/{rows}/versions")).json()] == []
    for ref in (99, "none", "", "a b", 2**60):
        refused = await rest.post("/workflows/dry-run", {"workflow": ref})
        assert (refused.status, refused.code) == (404, "workflow_not_found")


@pytest.mark.parametrize("text", [INVOICE, HOT_LEAD, CUSTOM, SUPPORT], ids=["000", "001", "003", "004"])
async def test_every_example_of_the_documents_can_be_walked(rest: Rest, text: str) -> None:
    value = {
        "lead": {"title": "CEO"},
        "message": "Hello world",
        "order_id": "ORD-12345",
        "customer_id": "CUST-789",
    }
    done = await rest.post("/workflows/dry-run", {"definition": text, "input": value})
    assert done.status == 200, done.body
    assert done.json()["steps"]


async def test_it_may_be_yaml(rest: Rest) -> None:
    text = b"""
definition:
  tasks:
    - {id: a, type: delay, config: {ms: 1000}}
now: "2026-11-20T12:00:00Z"
"""
    done = await rest.post("/workflows/dry-run", text, **YAML)
    assert (done.status, done.json()["elapsed"]) == (200, 1.0)


async def test_actions_are_merged(rest: Rest) -> None:
    await rest.post("/actions", {"name": "greet", "handler_type": "set", "config": {"text": "Hello {{input.who}}"}})
    done = await walk(rest, {"start_at": "greet", "steps": {"greet": {}}}, input={"who": "Ana"})
    assert done["output"] == {"greet": {"text": "Hello Ana"}}
    unknown = await walk(rest, {"start_at": "gone", "steps": {"gone": {}}})
    assert (unknown["error"]["type"], unknown["warnings"][0]["code"]) == ("unknown_action", "unknown_action")


async def test_secrets_are_shown_as_they_were_written(rest: Rest) -> None:
    task = {"type": "http_request", "url": "http://x/", "headers": {"Authorization": "Bearer {{secrets.key}}"}}
    done = await walk(rest, {"start_at": "a", "steps": {"a": task}})
    assert done["steps"][0]["config"]["headers"] == {"Authorization": "Bearer {{secrets.key}}"}


async def test_faults_point_into_the_body(rest: Rest) -> None:
    text = b"input: 1\ndefinition:\n  tasks:\n    - {id: a, type: dely}\n"
    refused = await rest.post("/workflows/dry-run", text, **YAML)
    (error,) = refused.json()["errors"]
    assert (refused.code, error["pointer"], error["line"]) == ("invalid_workflow", "/definition/tasks/0/type", 4)
    assert "did you mean 'delay'?" in error["message"]
    written = await rest.post("/workflows/dry-run", {"definition": "tasks:\n- id: a\n  type: dely\n"})
    assert [(e["pointer"], e["line"]) for e in written.json()["errors"]] == [("/definition", 3)]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({}, 422, "/definition"),
        ({"definition": CALL, "workflow": 1}, 422, "/definition"),
        ({"definition": []}, 422, "/definition"),
        ({"definition": {}}, 422, "/definition"),
        ({"definition": "a: *b"}, 422, "/definition"),
        ({"definition": CALL, "mocks": {"cal": {}}}, 422, "/mocks/cal"),
        ({"definition": CALL, "mocks": {"call": {"x": 1}}}, 422, "/mocks/call/x"),
        ({"definition": CALL, "mocks": []}, 422, "/mocks"),
        ({"definition": CALL, "now": "yesterday"}, 422, "/now"),
        ({"definition": CALL, "mock": {}}, 422, "/mock"),
    ],
)
async def test_refusals(rest: Rest, body: Any, status: int, pointer: str) -> None:
    refused = await rest.post("/workflows/dry-run", body)
    assert refused.status == status
    assert any(found == pointer or found.startswith(pointer) for found in refused.pointers), refused.body
