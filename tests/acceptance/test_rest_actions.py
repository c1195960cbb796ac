"""Actions over REST: kept under a name, referred to by a step, merged when a version is made."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.rest import Rest, open_rest
from tests.unit.definitions.test_examples import INVOICE


@pytest.fixture
async def rest(sqlite_url: str) -> AsyncIterator[Rest]:
    async with open_rest(sqlite_url) as rest:
        yield rest


def action(name: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "handler_type": "set", "config": config}


def steps(key: str = "w", **more: Any) -> dict[str, Any]:
    return {"key": key, "start_at": "greet", "steps": {"greet": {"next": "end", **more}}}


async def run(rest: Rest, key: str = "w") -> Any:
    ended = await rest.post(f"/workflows/{key}/run?wait=10", {"data": {"who": "Ana"}})
    assert ended.status == 200, ended.body
    return ended.json()


async def versions(rest: Rest, key: str = "w") -> list[tuple[int, bool]]:
    return [(row["version"], row["current"]) for row in (await rest.get(f"/workflows/{key}/versions")).json()]


async def test_000_an_action_is_a_handler_type_and_a_config(rest: Rest) -> None:
    """000, "Defining Workflows & Actions": name, `handler_type` (e.g. `http_request`) and `config`."""
    body = {
        "name": "fetch-github-issues",
        "handler_type": "http_request",
        "config": {"url": "https://api.github.com/issues", "method": "GET"},
    }
    made = await rest.post("/actions", body)
    assert (made.status, made.headers["location"]) == (201, "/actions/fetch-github-issues")
    answer = made.json()
    assert {name: answer[name] for name in body} == body
    assert (await rest.get("/actions/fetch-github-issues")).json() == answer
    listed = await rest.get("/actions/")
    assert (listed.json(), listed.headers["x-total-count"]) == ([answer], "1")
    changed = (await rest.put("/actions/fetch-github-issues", {"description": "open ones"})).json()
    assert (changed["description"], changed["config"]) == ("open ones", body["config"])
    assert (await rest.post("/actions", body)).code == "key_taken"
    assert (await rest.delete("/actions/fetch-github-issues")).status == 204
    assert (await rest.get("/actions/fetch-github-issues")).code == "action_not_found"
    assert (await rest.delete("/actions/fetch-github-issues")).code == "action_not_found"
    assert (await rest.put("/actions/fetch-github-issues", {})).code == "action_not_found"


async def test_000_the_example_completes_once_its_actions_are_there(rest: Rest) -> None:
    """000, "Workflow Definition", with its delay made short."""
    document = json.loads(INVOICE)
    document["steps"]["generate_report"]["duration_seconds"] = 0
    await rest.post("/workflows", {**document, "unique_name": "invoice"})
    body = {"data": {"invoice_id": "inv_12345"}}
    ended = (await rest.post("/workflows/invoice/run?wait=10", body)).json()
    assert (ended["status"], ended["error"]["type"]) == ("failed", "unknown_action")
    for name in ("fetch_invoice", "validate_invoice", "archive_report"):
        await rest.post("/actions", action(name, did=name, invoice="{{input.invoice_id}}"))
    ended = (await rest.post("/workflows/invoice/run?wait=10", body)).json()
    assert (ended["status"], ended["workflow_version"]) == ("completed", 2)
    assert ended["output"] == {"archive_report": {"did": "archive_report", "invoice": "inv_12345"}}


async def test_the_config_of_the_step_goes_first_field_by_field(rest: Rest) -> None:
    await rest.post("/actions", action("greet", text="Hello {{input.who}}", deep={"a": 1, "b": [1]}, kept=True))
    await rest.post("/workflows", steps(text="Bye {{input.who}}", deep={"b": [2], "c": 3}))
    assert (await run(rest))["output"] == {
        "greet": {"text": "Bye Ana", "deep": {"a": 1, "b": [2], "c": 3}, "kept": True}
    }


async def test_a_version_does_not_change_with_its_action(rest: Rest) -> None:
    await rest.post("/actions", action("greet", n=1))
    await rest.post("/workflows", steps())
    assert (await run(rest))["output"] == {"greet": {"n": 1}}
    assert await versions(rest) == [(1, True)]
    await rest.put("/actions/greet", {"config": {"n": 2}})
    assert (await rest.get("/workflows/w/versions/1?format=steps")).json()["steps"]["greet"]["config"] == {"n": 1}
    second = await run(rest)
    assert (second["output"], second["workflow_version"]) == ({"greet": {"n": 2}}, 2)
    await rest.put("/actions/greet", {"config": {"n": 1}})
    assert (await run(rest))["workflow_version"] == 1
    assert await versions(rest) == [(2, False), (1, True)]
    await rest.delete("/actions/greet")
    gone = await run(rest)
    assert (gone["status"], gone["error"]["type"], gone["workflow_version"]) == ("failed", "unknown_action", 3)


async def test_every_dialect_and_rows_can_refer_to_one(rest: Rest) -> None:
    await rest.post("/actions", action("greet", n=1))
    config = {"action": "greet", "config": {"m": 2}}
    await rest.post("/workflows", {"key": "g", "nodes": [{"id": "x", "type": "action", "data": config}]})
    await rest.post("/workflows", {"key": "t", "tasks": [{"id": "x", "type": "action", "config": config}]})
    await rest.post("/workflows", {"key": "s", "start_at": "x", "steps": {"x": {"action": "greet", "m": 2}}})
    await rest.post("/workflows", {"key": "r", "name": "rows"})
    await rest.post("/workflows/r/tasks", {"name": "x", "key": "x", "type": "action", "parameters": config})
    digests = set()
    for key in ("g", "t", "s", "r"):
        assert (await run(rest, key))["output"] == {"x": {"n": 1, "m": 2}}, key
        digests.add((await rest.get(f"/workflows/{key}/versions")).json()[0]["digest"])
    assert len(digests) == 1


async def test_what_refers_to_an_action_is_given_back_as_a_reference(rest: Rest) -> None:
    await rest.post("/actions", action("greet", n=1))
    await rest.post("/workflows", steps(m=2))
    for form in ("graph", "tasks", "yaml", "steps"):
        shown = await rest.get(f"/workflows/w?format={form}")
        assert b'"n":1' not in shown.body.replace(b" ", b"")
        kind = {"content_type": "application/yaml"} if form == "yaml" else {}
        report = (await rest.post("/workflows/validate", shown.body, **kind)).json()
        version = (await rest.get("/workflows/w/versions")).json()[0]
        assert (report["valid"], report["digest"], report["warnings"]) == (True, version["digest"], []), form


async def test_an_unknown_action_is_a_warning(rest: Rest) -> None:
    report = (await rest.post("/workflows/validate", steps())).json()
    assert (report["valid"], [warning["code"] for warning in report["warnings"]]) == (True, ["unknown_action"])
    await rest.post("/actions", action("greet"))
    assert (await rest.post("/workflows/validate", steps())).json()["warnings"] == []


async def test_what_is_wrong_once_it_is_merged_is_told_with_the_action(rest: Rest) -> None:
    await rest.post("/actions", {"name": "call", "handler_type": "http_request", "config": {"method": "GET"}})
    document: dict[str, Any] = {"key": "c", "start_at": "a", "steps": {"a": {"action": "call", "bdoy": 1}}}
    refused = await rest.post("/workflows", document)
    assert (refused.status, refused.code) == (422, "invalid_workflow")
    assert {error["code"] for error in refused.json()["errors"]} == {"required", "unknown_field"}
    assert all("with the action 'call' merged in" in error["message"] for error in refused.json()["errors"])
    assert "did you mean 'body'?" in refused.body.decode()
    document["steps"]["a"] = {"action": "call", "url": "http://127.0.0.1:1/"}
    assert (await rest.post("/workflows", document)).status == 201
    await rest.put("/actions/call", {"handler_type": "code", "config": {}})
    started = await rest.post("/workflows/c/execute", {})
    assert (started.status, started.code) == (422, "invalid_workflow")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "-x", "handler_type": "set"}, "/name"),
        ({"name": "x" * 201, "handler_type": "set"}, "/name"),
        ({"name": "x", "handler_type": "htpp_request"}, "/handler_type"),
        ({"name": "x", "handler_type": "action"}, "/handler_type"),
        ({"name": "x", "handler_type": "http_request", "config": {"urll": "x"}}, "/config/urll"),
        ({"name": "x", "handler_type": "http_request", "config": {"timeout": "x"}}, "/config/timeout"),
        ({"name": "x", "handler_type": "set", "config": {"a": "{{input.}}"}}, "/config/a"),
        ({"name": "x", "handler_type": "set", "config": {"a": "{{secrets.key}}"}}, "/config/a"),
        ({"name": "x", "handler_type": "set", "config": []}, "/config"),
        ({"name": "x", "handler_type": "set", "other": 1}, "/other"),
    ],
)
async def test_what_no_action_can_be(rest: Rest, body: dict[str, Any], pointer: str) -> None:
    refused = await rest.post("/actions", body)
    assert refused.status == 422
    assert pointer in refused.pointers
    await rest.post("/actions", {"name": "there", "handler_type": "noop"})
    change = {name: value for name, value in body.items() if name != "name"}
    if pointer != "/name":
        assert (await rest.put("/actions/there", change)).status == 422


async def test_what_undoes_a_task_may_be_an_action(rest: Rest) -> None:
    undo = {"type": "action", "config": {"action": "undo", "config": {"m": 2}}}
    document = {
        "key": "u",
        "tasks": [
            {"id": "a", "type": "set", "compensate": undo},
            {"id": "b", "type": "fail", "config": {"message": "no"}, "depends_on": ["a"]},
        ],
    }
    report = (await rest.post("/workflows/validate", document)).json()
    assert [(w["code"], w["pointer"]) for w in report["warnings"]] == [("unknown_action", "/tasks/0/compensate")]
    await rest.post("/actions", action("undo", n=1))
    assert (await rest.post("/workflows/validate", document)).json()["warnings"] == []
    await rest.post("/workflows", document)
    ended = await run(rest, "u")
    (undone,) = [task for task in ended["tasks"] if task["key"] == "a~compensate"]
    assert (ended["status"], undone["status"], undone["output"]) == ("failed", "completed", {"n": 1, "m": 2})
