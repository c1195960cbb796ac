"""Workflows written as documents, over REST: every dialect in, every format out, checked, versioned, executed."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bootstrap import tasks as composition
from engine.yaml_documents import decode_yaml
from tests.rest import Answer, Rest, open_rest
from tests.stub_nodes import catalog
from tests.unit.definitions.test_examples import (
    CODE,
    CONDITIONAL,
    CUSTOM,
    HOT_LEAD,
    HTTP,
    INVOICE,
    LLM,
    SUPPORT,
)

YAML = {"content_type": "application/yaml"}


@pytest.fixture
async def rest(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rest]:
    """With stand-ins for node types that are not built yet."""
    whole = catalog()
    monkeypatch.setattr(composition, "catalog", lambda settings: whole)
    async with open_rest(sqlite_url) as rest:
        yield rest


async def post(rest: Rest, text: str, path: str = "/workflows/") -> Answer:
    """As JSON if it is that."""
    return await rest.post(path, text.encode(), **({} if text.lstrip()[0] == "{" else YAML))


@pytest.mark.parametrize(
    ("text", "dialect", "name"),
    [
        (INVOICE, "steps", "Untitled workflow"),
        (HOT_LEAD, "graph", "Untitled workflow"),
        (CUSTOM, "yaml_tasks", "my-workflow"),
        (SUPPORT, "graph", "Customer Support Workflow"),
    ],
    ids=["000", "001", "003", "004"],
)
async def test_every_example_is_accepted_and_given_back(rest: Rest, text: str, dialect: str, name: str) -> None:
    made = await post(rest, text)
    assert made.status == 201, made.body
    answer = made.json()
    assert (answer["dialect"], answer["name"], answer["tasks"], answer["key"]) == (dialect, name, [], None)
    source = await rest.get(f"{made.headers['location']}?format=source")
    assert source.body == text.encode()
    assert source.headers["content-type"] == ("application/yaml" if dialect == "yaml_tasks" else "application/json")
    (version,) = (await rest.get("/workflows/1/versions")).json()
    for form in ("graph", "tasks", "steps", "yaml", "source"):
        shown = await rest.get(f"/workflows/1?format={form}")
        again = await post(rest, shown.body.decode(), "/workflows/validate")
        assert (again.json()["valid"], again.json()["digest"]) == (True, version["digest"]), form


@pytest.mark.parametrize("node", [LLM, HTTP, CODE, CONDITIONAL], ids=lambda node: node["id"])
async def test_the_nodes_of_004_are_accepted(rest: Rest, node: dict[str, Any]) -> None:
    report = (await rest.post("/workflows/validate", {"nodes": [node], "edges": []})).json()
    assert (report["valid"], report["errors"]) == (True, [])


async def test_004_below_api_v1(rest: Rest) -> None:
    """004, "API Endpoints", "Workflows"; templates apart, whose language grows elsewhere."""
    document = json.loads(SUPPORT)
    for node in document["nodes"]:
        node["config"] = {k: v for k, v in node["config"].items() if "{{" not in v} | (
            {"condition": "{{input.message}}"} if node["type"] == "conditional" else {"prompt": "{{input.message}}"}
        )
    document["nodes"][0]["config"] = {}
    made = await rest.post("/api/v1/workflows", document)
    assert made.status == 201, made.body
    assert (await rest.get("/api/v1/workflows")).json() == (await rest.get("/workflows/")).json()
    assert (await rest.get("/api/v1/workflows/1/")).json()["name"] == "Customer Support Workflow"
    assert (await rest.put("/api/v1/workflows/1", {"name": "x"})).json()["name"] == "x"
    assert (await rest.get("/api/v1/workflows/1")).json()["name"] == "x"
    started = await rest.post("/api/v1/workflows/1/execute", {"input": {"message": "Hello world"}})
    assert started.status == 202
    assert (await rest.delete("/api/v1/workflows/1")).status == 204
    assert (await rest.get("/workflows/1")).status == 404


async def test_003_execute_with_parameters(rest: Rest) -> None:
    """003, "Demo Workflow" and "Executing a Workflow"."""
    await post(rest, "key: order\ntasks: [{id: a, type: set, config: {id: '{{parameters.order_id}}'}}]")
    body = {
        "parameters": {
            "order_id": "ORD-12345",
            "customer_id": "CUST-789",
            "order_amount": 1500.00,
            "items": [{"product_id": "PROD-1", "quantity": 2}],
            "payment_method": {"type": "credit_card", "last4": "1234"},
            "customer_email": "customer@example.com",
            "customer_phone": "+1234567890",
        }
    }
    ended = (await rest.post("/executions/workflows/1/execute?wait=10", body)).json()
    assert (ended["status"], ended["output"]) == ("completed", {"a": {"id": "ORD-12345"}})


async def test_000_run_with_data(rest: Rest) -> None:
    """000, "Interacting with the API"."""
    steps = {"a": {"type": "set", "config": {"id": "{{data.invoice_id}}"}, "next": "end"}}
    await rest.post("/workflows", {"unique_name": "invoices", "start_at": "a", "steps": steps})
    ended = (await rest.post("/workflows/invoices/run?wait=10", {"data": {"invoice_id": "inv_12345"}})).json()
    assert (ended["status"], ended["output"]) == ("completed", {"a": {"id": "inv_12345"}})


async def test_000_fails_at_its_first_action_which_nobody_has_defined(rest: Rest) -> None:
    await post(rest, INVOICE)
    ended = (await rest.post("/workflows/1/run?wait=10", {"data": {"invoice_id": "inv_12345"}})).json()
    assert (ended["status"], ended["error"]["type"]) == ("failed", "unknown_action")


async def test_001_fails_where_its_branch_leads_nowhere(rest: Rest) -> None:
    document = json.loads(HOT_LEAD)
    document["nodes"] = [
        {**node, "type": "noop", "data": {}} if node["id"] != "branch" else node for node in document["nodes"]
    ]
    document["nodes"][4]["type"] = "branch"
    report = (await rest.post("/workflows/validate", document)).json()
    assert [warning["code"] for warning in report["warnings"]] == ["unknown_target"] * 2
    saved = (await rest.post("/workflows", document)).json()
    assert saved["warnings"] == report["warnings"]
    assert (await rest.put("/workflows/1", {"name": "renamed"})).json()["warnings"] == []
    assert (await rest.put("/workflows/1", document)).json()["warnings"] == report["warnings"]
    body = {"input": {"lead": {"source": "LinkedIn", "score": 90, "title": "CEO"}}}
    ended = (await rest.post("/workflows/1/execute?wait=10", body)).json()
    assert (ended["status"], ended["error"]["type"], ended["error"]["task"]) == ("failed", "unknown_label", "branch")


async def test_an_editor_gets_back_what_it_saved(rest: Rest) -> None:
    """Positions and fields that nobody here knows; Frontend of 001."""
    drawn = {
        "name": "Drawn",
        "nodes": [
            {
                "id": "1",
                "type": "noop",
                "position": {"x": 12.5, "y": -3},
                "data": {"label": "One"},
                "measured": {"w": 1},
            },
            {"id": "2", "type": "noop", "position": {"x": 0, "y": 0}, "data": {}, "selected": False},
        ],
        "edges": [{"id": "e", "source": "1", "target": "2", "animated": True, "markerEnd": {"type": "arrow"}}],
        "viewport": {"x": 1, "y": 2, "zoom": 0.5},
    }
    await rest.post("/workflows", drawn)
    assert (await rest.get("/workflows/1?format=graph")).json() == drawn
    moved = {**drawn, "viewport": {"x": 0, "y": 0, "zoom": 1}}
    await rest.put("/workflows/1", moved)
    assert (await rest.get("/workflows/1?format=graph")).json() == moved
    assert [row["version"] for row in (await rest.get("/workflows/1/versions")).json()] == [1]


async def test_ordered_tasks_as_documents(rest: Rest) -> None:
    await rest.post("/workflows", {"name": "Rows", "key": "rows"})
    for order, kind in enumerate(("sync", "async", "sync")):
        await rest.post("/workflows/rows/tasks/", {"name": f"T{order}", "order": order, "execution_type": kind})
    text = (await rest.get("/workflows/rows?format=yaml")).body
    document = decode_yaml(text)
    assert (document["name"], document["key"]) == ("Rows", "rows")
    assert [task.get("depends_on") for task in document["tasks"]] == [None, ["task_1"], ["task_1"]]
    assert (await rest.get("/workflows/rows?format=source")).code == "written_otherwise"
    await rest.post("/workflows/rows/execute?wait=10")
    (version,) = (await rest.get("/workflows/rows/versions")).json()
    assert (await rest.get("/workflows/rows/versions/1")).body == text
    assert (await rest.post("/workflows/rows/rollback", {"version": 1})).code == "written_otherwise"
    changed = await rest.put("/workflows/rows", text, **YAML)
    assert (changed.json()["dialect"], changed.json()["tasks"]) == ("yaml_tasks", [])
    rows = (await rest.get("/workflows/rows/versions")).json()
    assert [(row["version"], row["digest"], row["current"]) for row in rows] == [(1, version["digest"], True)]


async def test_tasks_of_a_document_are_not_edited_one_by_one(rest: Rest) -> None:
    await post(rest, CUSTOM)
    for answer in (
        await rest.get("/workflows/1/tasks"),
        await rest.post("/workflows/1/tasks", {"name": "x"}),
        await rest.get("/workflows/1/tasks/1"),
        await rest.put("/workflows/1/tasks/1", {"name": "x"}),
        await rest.delete("/workflows/1/tasks/1"),
    ):
        assert (answer.status, answer.code) in {(409, "written_otherwise"), (404, "task_not_found")}
        if answer.status == 409:
            assert "PUT it to /workflows/1" in answer.json()["detail"]
    assert (await rest.post("/workflows/1/tasks", {"name": "x"})).status == 409


async def test_put_changes_fields_or_replaces_the_definition(rest: Rest) -> None:
    await post(
        rest,
        "name: One\nkey: k\ndescription: d\nmax_concurrency: 2\ntimeout: 1h\nbudget: {tokens: 9}\ntasks: [{id: a}]\n",
    )
    changed = (await rest.put("/workflows/k", {"description": "other"})).json()
    assert (changed["name"], changed["description"], changed["dialect"]) == ("One", "other", "yaml_tasks")
    assert changed["timeout"] == 3600
    assert changed["budget"] == {"cost": None, "tokens": 9, "on_exceeded": "fail"}
    steps = {"name": "Two", "start_at": "a", "steps": {"a": {"type": "noop"}}}
    replaced = (await rest.put("/workflows/k", steps)).json()
    assert (replaced["name"], replaced["description"], replaced["key"]) == ("Two", "other", "k")
    assert (replaced["dialect"], replaced["max_concurrency"], replaced["timeout"]) == ("steps", None, None)
    assert replaced["budget"] is None
    back = (await rest.post("/workflows/k/rollback", {"version": 1})).json()
    assert (back["dialect"], back["timeout"]) == ("yaml_tasks", 3600)
    assert (await rest.put("/workflows/k", steps)).status == 200
    replaced = (await rest.get("/workflows/k")).json()
    same = (await rest.put("/workflows/k", steps)).json()
    assert same == {**replaced, "warnings": []}
    refused = await rest.put("/workflows/k", {"start_at": "b", "steps": {"a": {}}})
    assert (refused.status, refused.code, refused.pointers) == (422, "invalid_workflow", ["/start_at"])
    assert (await rest.get("/workflows/k")).json() == replaced


async def test_going_back_makes_no_new_version(rest: Rest) -> None:
    for number, kind in enumerate(("noop", "set", "noop")):
        text = f"key: k\nname: N{number}\ntasks: [{{id: a, type: {kind}}}]\n".encode()
        await (rest.put("/workflows/k", text, **YAML) if number else rest.post("/workflows", text, **YAML))

    async def standing() -> list[tuple[int, bool]]:
        return [(row["version"], row["current"]) for row in (await rest.get("/workflows/k/versions")).json()]

    assert await standing() == [(2, False), (1, True)]
    back = (await rest.post("/workflows/k/rollback", {"version": 2})).json()
    assert back["name"] == "N1"
    assert await standing() == [(2, True), (1, False)]
    assert b"type: set" in (await rest.get("/workflows/k?format=source")).body
    assert b"type: set" in (await rest.get("/workflows/k/versions/2?format=source")).body
    ended = (await rest.post("/workflows/k/execute?wait=10")).json()
    assert ended["workflow_version"] == 2
    assert (await rest.post("/workflows/k/rollback", {"version": 9})).code == "version_not_found"
    assert (await rest.get("/workflows/k/versions/9")).code == "version_not_found"


async def test_validate_saves_nothing_and_tells_everything(rest: Rest) -> None:
    text = "name: x\nkey: '17'\ntasks:\n  - id: a\n    type: htpp_request\n  - id: b\n    depends_on: [c]\n    id: d\n"
    report = (await post(rest, text, "/workflows/validate")).json()
    assert (report["valid"], report["dialect"], report["digest"]) == (False, "yaml_tasks", None)
    assert [(fault["line"], fault["code"]) for fault in report["errors"]] == [
        (2, "invalid_key"),
        (5, "unknown_node_type"),
        (7, "unknown_task"),
        (8, "duplicate_key"),
    ]
    assert "did you mean 'http_request'?" in report["errors"][1]["message"]
    assert (await rest.get("/workflows/")).json() == []


async def test_refusals_have_lines(rest: Rest) -> None:
    refused = await post(rest, "name: x\ntasks:\n  - id: a\n    type: nop\n")
    assert (refused.status, refused.code) == (422, "invalid_workflow")
    assert [fault["line"] for fault in refused.json()["errors"]] == [4]
    unreadable = await post(rest, "a: &x 1\nb: *x\n")
    assert (unreadable.status, unreadable.code) == (422, "invalid_document")
    assert [fault["line"] for fault in unreadable.json()["errors"]] == [1, 2]


async def test_the_same_delay_has_the_same_digest(rest: Rest) -> None:
    """001 writes milliseconds, 000 seconds."""
    graph = {"nodes": [{"id": "wait", "type": "delay", "data": {"ms": 15_000}}]}
    steps = {"start_at": "wait", "steps": {"wait": {"type": "delay", "duration_seconds": 15, "next": "end"}}}
    digests = {(await rest.post("/workflows/validate", one)).json()["digest"] for one in (graph, steps)}
    assert len(digests) == 1
    assert None not in digests


@pytest.mark.parametrize("path", ["/workflows", "/workflows/validate"])
async def test_media_types(rest: Rest, path: str) -> None:
    text = b"tasks: []\n"
    for kind in ("application/yaml", "application/x-yaml", "text/yaml; charset=utf-8", "application/vnd.x+yaml"):
        assert (await rest.post(path, text, content_type=kind)).status in {200, 201}
    assert (await rest.post(path, text)).code == "invalid_document"
    assert (await rest.post(path, text, content_type="text/plain")).status == 415
    assert (await rest.post(path, text, content_type="text/yaml; charset=latin-1")).status == 415
    assert (await rest.post("/workflows/1/execute", b"input: 1", **YAML)).status == 415


async def test_fields_alone_may_be_yaml(rest: Rest) -> None:
    made = await post(rest, "name: Rows\nkey: rows\n")
    assert (made.status, made.json()["dialect"]) == (201, "ordered_tasks")


async def test_two_dialects_at_once_are_refused(rest: Rest) -> None:
    refused = await rest.post("/workflows", {"name": "x", "tasks": [], "nodes": []})
    assert (refused.status, refused.code) == (422, "invalid_document")
