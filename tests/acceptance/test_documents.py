"""The examples of the documents, executed as they stand; addresses elsewhere are those of local servers.

Their texts, and where each comes from, are in `tests/unit/definitions/test_examples.py`; 000 is run with its actions in
`test_rest_actions.py`, the events of 001 in `test_events.py`.
"""

import json
from typing import Any

import pytest

from tests.acceptance.shop_world import World
from tests.unit.definitions.test_examples import CODE, CONDITIONAL, CUSTOM, HOT_LEAD, HTTP, LLM, SUPPORT

LEAD = {"lead": {"source": "LinkedIn", "score": 90, "title": "CEO"}}


def run(world: World, document: Any, value: Any) -> dict[str, Any]:
    """The ended execution of a document."""
    made = world.served.rest("POST", "/workflows/", document)
    body = {"input": value}
    return world.ended(world.served.rest("POST", f"/workflows/{made['id']}/execute", body)["execution_id"])


def task(view: dict[str, Any], key: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [one for one in view["tasks"] if one["key"] == key]
    return found


def test_001_as_it_stands_goes_as_far_as_the_gift_that_is_not_there(world: World) -> None:
    """ "Workflow structure"."""
    view = run(world, json.loads(HOT_LEAD.replace("https://httpbin.org/post", f"{world.shop.url}/post")), LEAD)
    assert [task(view, key)["status"] for key in ("start", "notify", "wait", "call")] == ["completed"] * 4
    assert (view["status"], view["error"]["type"], view["error"]["task"]) == ("failed", "unknown_label", "branch")
    assert len(world.shop.did("post")) == 1


@pytest.mark.parametrize(("title", "taken", "left"), [("CEO", "gift", "drip"), ("clerk", "drip", "gift")])
def test_001_with_the_targets_that_it_lacks(world: World, title: str, taken: str, left: str) -> None:
    document = json.loads(HOT_LEAD.replace("https://httpbin.org/post", f"{world.shop.url}/post"))
    document["nodes"] += [{"id": "gift", "type": "noop"}, {"id": "drip", "type": "noop"}]
    view = run(world, document, {"lead": {"title": title}})
    assert view["status"] == "completed"
    assert (task(view, taken)["status"], task(view, left)["status"]) == ("completed", "skipped")


def test_003_custom_workflow_fetches(world: World) -> None:
    """ "Creating a Custom Workflow": registered by its name, run with parameters."""
    text = CUSTOM.replace("https://httpbin.org/get", f"{world.shop.url}/stock/lamp")
    made = world.served.rest("POST", "/workflows/", text.encode(), **{"Content-Type": "application/yaml"})
    path = f"/executions/workflows/{made['id']}/execute"
    view = world.ended(world.served.rest("POST", path, {"parameters": {}})["execution_id"])
    assert view["status"] == "completed"
    assert task(view, "task1")["output"]["body"] == {"sku": "lamp", "available": 10}


def node(world: World, one: dict[str, Any], value: Any) -> dict[str, Any]:
    return run(world, {"nodes": [one], "edges": []}, value)


def test_004_an_llm_node_is_given_its_prompt(world: World) -> None:
    """ "Node Types"."""
    world.models.reply = "Forty-two"
    view = node(world, LLM, {"prompt": "What is the answer?"})
    assert task(view, "llm_node")["output"]["text"] == "Forty-two"
    asked = world.models.asked[-1]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("gpt-4", 0.7, 1000)
    assert asked["messages"][-1] == {"role": "user", "content": "What is the answer?"}


def test_004_a_code_node_doubles(world: World) -> None:
    assert task(node(world, CODE, {"value": 21}), "code_node")["output"] == {"output": 42}


def test_004_an_http_node_without_its_secret_says_so(world: World) -> None:
    """With it: `test_secrets.py`."""
    there = {**HTTP, "config": {**HTTP["config"], "url": f"{world.shop.url}/endpoint"}}
    view = node(world, there, {"data": 1})
    assert view["status"] == "failed"
    assert "secret" in view["error"]["type"]


@pytest.mark.parametrize(("value", "path"), [(11, "success_path"), (10, "failure_path")])
def test_004_a_conditional_takes_the_path_that_its_condition_says(world: World, value: int, path: str) -> None:
    document = {"nodes": [CONDITIONAL, *({"id": key, "type": "noop"} for key in ("success_path", "failure_path"))]}
    view = run(world, {**document, "edges": []}, {"value": value})
    taken = [key for key in ("success_path", "failure_path") if task(view, key)["status"] == "completed"]
    assert taken == [path]


@pytest.mark.parametrize(("category", "target"), [("technical", "technical_support"), ("billing", "general_support")])
def test_004_customer_support_is_routed_by_the_model(world: World, category: str, target: str) -> None:
    """ "Workflow Definition"; the two nodes that it names and lacks are added."""
    document = json.loads(SUPPORT)
    document["nodes"] += [{"id": key, "type": "noop"} for key in ("technical_support", "general_support")]
    world.models.reply = json.dumps({"category": category})
    view = run(world, document, {"message": "It does not work"})
    assert view["status"] == "completed"
    assert world.models.asked[-1]["messages"][-1]["content"] == "Classify this customer inquiry: It does not work"
    assert task(view, target)["status"] == "completed"


def test_004_as_it_stands_fails_where_it_leads_nowhere(world: World) -> None:
    world.models.reply = '{"category": "technical"}'
    view = run(world, json.loads(SUPPORT), {"message": "It does not work"})
    assert (view["status"], view["error"]["type"], view["error"]["task"]) == ("failed", "unknown_label", "route")
