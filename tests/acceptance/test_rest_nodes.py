"""Node types over REST: what there is, and a trial of one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.rest import Rest, open_rest

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[True, False], ids=["engine", "no engine"])
async def rest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rest]:
    url = f"sqlite:///{tmp_path_factory.mktemp('rest')}/millrace.db"
    async with open_rest(url, engine=request.param) as rest:
        yield rest


@pytest.mark.parametrize("root", ["/nodes", "/api/v1/nodes", "/nodes/"])
async def test_all_types_are_listed(rest: Rest, root: str) -> None:
    answer = await rest.get(root)
    assert answer.status == 200
    types = [found["type"] for found in answer.json()]
    assert types == sorted(types)
    assert {"code", "delay", "fail", "http_request", "llm", "object_store", "send_notification", "set", "sql"} < set(
        types
    )


@pytest.mark.parametrize("name", ["http_request", "http_call", "http", "http_request@1"])
async def test_a_type_is_found_by_each_of_its_names(rest: Rest, name: str) -> None:
    found = (await rest.get(f"/api/v1/nodes/{name}")).json()
    assert found["type"] == "http_request"
    assert found["aliases"] == ["http_call", "http"]
    assert "url" in found["schema"]["$defs"]["Config"]["properties"]


@pytest.mark.parametrize("name", ["htpp_request", "http_request@9", "a" * 100, "%00", "..", "noop/x"])
async def test_no_other_type_is_found(rest: Rest, name: str) -> None:
    assert (await rest.get(f"/nodes/{name}")).status == 404
    assert (await rest.post(f"/nodes/{name}/test", {"config": {}})).status == 404


async def trial(rest: Rest, kind: str, **body: Any) -> Any:
    answer = await rest.post(f"/nodes/{kind}/test", body)
    assert answer.status == 200, answer.body
    return answer.json()


async def test_a_config_is_tried_with_its_templates(rest: Rest) -> None:
    config = {"a": "{{input.x}}", "b": "n={{tasks.fetch.output.n}}"}
    made = await trial(rest, "set", config=config, input={"x": [1]}, tasks={"fetch": {"n": 2}})
    assert (made["status"], made["output"]) == ("completed", {"a": [1], "b": "n=2"})
    assert made["config"] == made["output"]


async def test_a_branch_is_tried_with_its_rules(rest: Rest) -> None:
    cases = [{"label": "CEO", "condition": {"==": [{"var": "lead.title"}, "CEO"]}}, {"else": True, "label": "rest"}]
    made = await trial(rest, "branch", config={"cases": cases}, input={"lead": {"title": "CEO"}})
    assert (made["label"], made["config"]["cases"][0]["condition"]) == ("CEO", True)
    assert (await trial(rest, "if", config={"condition": "{{input.n}} > 1"}, input={"n": 1}))["label"] == "false"


async def test_each_outcome_has_its_status(rest: Rest) -> None:
    assert (await trial(rest, "delay", config={"ms": 1500}))["seconds"] == 1.5
    until = (await trial(rest, "delay", config={"until": "2026-11-21T00:00:00Z"}))["until"]
    assert until.startswith("2026-11-21T00:00:00")
    asks = await trial(rest, "approval", config={"approvers": ["anna"], "timeout": 60})
    assert (asks["status"], asks["seconds"], asks["signal"]) == ("waiting", 60, None)
    assert asks["reason"] == "waits for approval by anna"
    failed = await trial(rest, "fail", config={"message": "no stock", "errorType": "stock"})
    assert (failed["status"], failed["error"]["type"], failed["retryable"]) == ("failed", "stock", False)
    late = await trial(rest, "noop", config={"duration": 30}, timeout=0.1)
    assert (late["status"], late["error"]["type"]) == ("failed", "timeout")
    code = await trial(rest, "code", config={"code": "def process(x):\n  return x * 2", "inputs": {"x": 21}})
    assert code["output"] == 42
    body = {"type": "noop", "config": {"of": "{{item}}"}}
    fan = await trial(rest, "for_each", config={"items": "{{input}}", "task": body}, input=[1, 2])
    assert (fan["status"], fan["count"], fan["config"]["task"]) == ("fanned_out", 2, body)
    blocking = await trial(rest, "sql", config={"statement": "SELECT 1"})
    assert blocking["error"]["type"] == "unknown_connection"


@pytest.mark.parametrize(
    ("kind", "body", "pointers"),
    [
        ("http_request", {"config": {"method": "STEAL"}}, ["/config/url", "/config/method"]),
        ("set", {"config": {"a": "{{input"}}, ["/config/a"]),
        ("set", {"config": {"a": "{{input.x}}"}, "input": {}}, ["/config"]),
        ("set", {"config": {"a": "{{tasks.b.output}}"}}, ["/config/a"]),
        ("set", {"config": {}, "timeout": 61}, ["/timeout"]),
        ("set", {"config": []}, ["/config"]),
        ("set", {"confg": {}}, ["/confg"]),
    ],
)
async def test_a_bad_config_is_refused(rest: Rest, kind: str, body: dict[str, Any], pointers: list[str]) -> None:
    answer = await rest.post(f"/nodes/{kind}/test", body)
    assert (answer.status, answer.pointers) == (422, pointers)
