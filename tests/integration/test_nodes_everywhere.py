"""Every node type on every executor: happy path, bad config, time-out, cancellation, retry. The rows: `node_rows.py`.

One server with its worker runs it all: each test is one execution whose tasks are the node types.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from engine import limits, registry
from engine.secrets import MASK
from proto.workflow.v1 import workflow_pb2 as pb
from tests.integration.node_rows import ROWS, Config, Row
from tests.integration.stage import EXECUTORS, Stage, open_stage, overheard

TWICE = {"max_attempts": 2, "initial_interval": 0.01}
CALLS = 4
"""Slow rows that call the site: http_request, llm, object_store, send_notification."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("everywhere")) as stage:
        yield stage


def test_every_node_type_has_a_row() -> None:
    types = {handler.type for handler in registry.scan("nodes", "handler")}
    assert types == set(ROWS), "a node type of nodes/ needs a row in tests/integration/node_rows.py"


def task(kind: str, config: Config, **more: Any) -> Config:
    if kind in ROWS and ROWS[kind].inside:
        more = {name: value for name, value in more.items() if name != "retry"} | {"executor": None}
    return {"type": kind, "parameters": config, **more}


def rows(has: Callable[[Row], Any]) -> dict[str, Row]:
    """Those that the test is about."""
    return {kind: row for kind, row in ROWS.items() if has(row) is not None}


# --- the tests ---


@pytest.mark.parametrize("place", EXECUTORS)
def test_it_does_its_work(stage: Stage, place: str) -> None:
    tasks = {kind: task(kind, row.good(stage.world, place), on_error="continue") for kind, row in ROWS.items()}
    execution = stage.run(place, tasks)
    for kind, row in rows(lambda row: row.outside).items():
        assert row.outside is not None
        row.outside(stage.served, execution, kind)
    runs = stage.ended(execution)
    for kind, row in ROWS.items():
        assert runs[kind]["executor"] == (None if row.inside else place)
        assert runs[kind]["status"] == ("failed" if row.error else "completed"), runs[kind]
        if row.error:
            assert runs[kind]["error"]["type"] == row.error
        elif callable(row.output):
            assert row.output(runs[kind]["output"]), runs[kind]
        else:
            assert runs[kind]["output"] == row.output, kind


@pytest.mark.parametrize("kind", rows(lambda row: row.bad))
def test_a_bad_config_is_refused_at_save_with_its_pointer(stage: Stage, kind: str) -> None:
    field, value = ROWS[kind].bad or ("", None)
    config = {**ROWS[kind].good(stage.world, "asyncio"), field: value}
    with pytest.raises(AssertionError, match=f"/parameters/{field}"):
        stage.served.workflow(task(kind, config))


@pytest.mark.parametrize("place", EXECUTORS)
def test_a_config_that_renders_badly_fails_with_its_pointer(stage: Stage, place: str) -> None:
    bad = {kind: row.bad for kind, row in ROWS.items() if row.bad is not None and row.renders}
    configs = {
        kind: {**ROWS[kind].good(stage.world, place), field: f"{{{{input.{kind}}}}}"}
        for kind, (field, _) in bad.items()
    }
    tasks = {kind: task(kind, config, on_error="continue", retry=TWICE) for kind, config in configs.items()}
    runs = stage.ended(stage.run(place, tasks, {kind: value for kind, (_, value) in bad.items()}))
    for kind, (field, _) in bad.items():
        assert (runs[kind]["status"], runs[kind]["attempt"]) == ("failed", 1), runs[kind]
        assert runs[kind]["error"]["type"] == "invalid_config", runs[kind]
        assert f"/{field}" in runs[kind]["error"]["message"]


@pytest.mark.parametrize("place", EXECUTORS)
def test_what_takes_too_long_times_out(stage: Stage, place: str) -> None:
    late = {kind: row for kind, row in rows(lambda row: row.slow).items() if row.late is not None}
    tasks = {
        kind: task(kind, row.slow(stage.world, place), on_error="continue", **row.late)
        for kind, row in late.items()
        if row.slow is not None and row.late is not None
    }
    runs = stage.ended(stage.run(place, tasks))
    for kind in late:
        assert runs[kind]["status"] == "failed", runs[kind]
        assert runs[kind]["error"]["type"] == "timeout", runs[kind]
    stage.left_alone()


@pytest.mark.parametrize("place", EXECUTORS)
def test_it_is_cancelled_with_its_execution(stage: Stage, place: str) -> None:
    slow = {kind: row.slow(stage.world, place) for kind, row in ROWS.items() if row.slow is not None}
    execution = stage.run(place, {kind: task(kind, config) for kind, config in slow.items()})
    stage.seen(execution, lambda seen: all(run["status"] in ("running", "waiting") for run in seen["tasks"]))
    stage.reached(CALLS)
    stage.served.rest("POST", f"/executions/{execution}/cancel")
    runs = stage.ended(execution)
    assert {kind: run["status"] for kind, run in runs.items()} == dict.fromkeys(slow, "cancelled")
    stage.left_alone()
    after = stage.ended(stage.run(place, {"after": task("set", {})}))
    assert after["after"]["status"] == "completed"


@pytest.mark.parametrize("place", EXECUTORS)
def test_it_is_tried_again(stage: Stage, place: str) -> None:
    flaky = {kind: row for kind, row in ROWS.items() if row.flaky is not None}
    tasks = {
        kind: task(kind, row.flaky(stage.world, place), on_error="continue", retry=TWICE)
        for kind, row in flaky.items()
        if row.flaky is not None
    }
    runs = stage.ended(stage.run(place, tasks))
    for kind, row in flaky.items():
        assert runs[kind]["attempt"] == 2, runs[kind]
        assert runs[kind]["status"] == ("completed" if row.recovers else "failed"), runs[kind]


@pytest.mark.parametrize("place", EXECUTORS)
def test_the_file_of_the_documentation_is_a_node_type(stage: Stage, place: str) -> None:
    """Dropped into NODES_DIR; see `tests/acceptance/test_own_node.py` for how it is checked and described."""
    loud, tactless = task("shout", {"text": "{{input.n}} x"}), task("shout", {"text": "psst"}, on_error="continue")
    runs = stage.ended(stage.run(place, {"loud": loud, "tactless": tactless}))
    assert runs["loud"]["output"] == {"said": "2 X"}
    assert runs["tactless"]["error"]["type"] == "tact"


# --- what models cost ---

HELLO = {"model": "m", "prompt": "Say hello now", "connection": "models"}
"""3 tokens in, 1 out, at 0.00015; guessed to be 11 tokens in and 1 out."""


@pytest.mark.parametrize("place", EXECUTORS)
def test_what_models_cost_is_summed_and_shown_through_every_door(stage: Stage, place: str) -> None:
    in_vain = task("llm", {**HELLO, "response_format": "json"}, on_error="continue", retry=TWICE)
    execution = stage.run(place, {"hello": task("llm", HELLO), "in_vain": in_vain, "other": task("set", {})})
    runs = stage.ended(execution)
    assert runs["hello"]["usage"] == {"input_tokens": 3, "output_tokens": 1, "cost": 0.00015}
    assert (runs["in_vain"]["status"], runs["in_vain"]["error"]["type"]) == ("failed", "llm_output")
    assert runs["in_vain"]["usage"] == {"input_tokens": 6, "output_tokens": 2, "cost": 0.0003}
    assert runs["other"]["usage"] is None
    seen = stage.served.rest("GET", f"/executions/{execution}")
    assert seen["usage"] == {"input_tokens": 9, "output_tokens": 3, "cost": 0.00045}
    told = stage.served.stub.GetWorkflowStatus(pb.GetWorkflowStatusRequest(execution_id=execution))
    assert told.usage == pb.Usage(input_tokens=9, output_tokens=3, cost=0.00045)
    usages = {run.key: run.usage for run in told.tasks if run.HasField("usage")}
    assert usages["in_vain"] == pb.Usage(input_tokens=6, output_tokens=2, cost=0.0003)
    assert set(usages) == {"hello", "in_vain"}
    assert "9 tokens in, 3 out, cost 0.00045" in stage.served.cli("status", str(execution)).out


@pytest.mark.parametrize("budget", [{"tokens": 16}, {"cost": 0.0006}])
@pytest.mark.parametrize("place", EXECUTORS)
def test_a_budget_stops_the_models_of_its_execution(stage: Stage, place: str, budget: Config) -> None:
    """What is left after the second answer is less than what a third would take: it is not asked for."""
    names = ("first", "second", "third")
    tasks = {name: task("llm", HELLO, execution_type="sync") for name in names}
    execution = stage.run(place, tasks, budget=budget)
    runs = stage.ended(execution)
    assert [runs[name]["status"] for name in names] == ["completed", "completed", "failed"]
    assert runs["third"]["error"]["type"] == "budget_exceeded"
    assert runs["third"]["usage"] is None
    seen = stage.served.rest("GET", f"/executions/{execution}")
    assert (seen["status"], seen["error"]["type"]) == ("failed", "budget_exceeded")
    assert seen["usage"] == {"input_tokens": 6, "output_tokens": 2, "cost": 0.0003}


@pytest.mark.parametrize("place", EXECUTORS)
def test_a_budget_can_be_raised_by_who_is_asked(stage: Stage, place: str) -> None:
    """The third call of 12 guessed tokens finds 8 left; it begins again with as much more as it is given."""
    names = ("first", "second", "third", "fourth")
    tasks = {name: task("llm", HELLO, execution_type="sync") for name in names}
    execution = stage.run(place, tasks, budget={"tokens": 16, "on_exceeded": "ask"})
    path = f"/executions/{execution}/tasks"
    waiting = stage.seen(execution, lambda seen: seen["status"] == "waiting")
    assert [(run["status"], run["reason"]) for run in waiting["tasks"]][2] == ("waiting", "waits for more budget")
    (approval,) = stage.served.rest("GET", f"/executions/{execution}/approvals")
    assert approval["form"]["properties"] == {"tokens": {"type": "integer", "minimum": 4, "maximum": limits.TOKENS}}
    with pytest.raises(AssertionError, match="/data/tokens"):
        stage.served.rest("POST", f"{path}/third/approve", {"data": {"tokens": 3}})
    stage.served.rest("POST", f"{path}/third/approve", {"by": "ana", "data": {"tokens": 4}})
    stage.seen(execution, lambda seen: seen["tasks"][3]["status"] == "waiting")
    stage.served.rest("POST", f"{path}/fourth/reject", {"by": "ana", "comment": "too dear"})
    runs = stage.ended(execution)
    assert [runs[name]["status"] for name in names] == ["completed", "completed", "completed", "failed"]
    assert runs["third"]["attempt"] == 2
    refused = {"type": "budget_exceeded", "message": "rejected by ana: too dear", "task": "fourth"}
    assert runs["fourth"]["error"] == refused


# --- what must not be seen ---

VALUE = "s3cr3t/+välue=9"
MISREAD = VALUE.encode().decode("latin-1")
SENT = {VALUE, MISREAD, quote(VALUE, safe=""), base64.b64encode(f"ana:{VALUE}".encode()).decode()}
FORMS = SENT | {base64.b64encode(VALUE.encode()).decode(), json.dumps(VALUE)[1:-1], json.dumps(MISREAD)[1:-1]}
KEY = "{{secrets.key}}"


def leaks(stage: Stage, place: str) -> dict[str, Config]:
    """Every way out that a secret has; the other side says what it got, in an answer or in a refusal."""
    echo, deny = stage.world.url("/echo"), stage.world.url("/deny")
    sql = {"statement": "SELECT :key AS key, length(:key) AS size", "parameters": {"key": KEY}}
    configs: dict[str, tuple[str, Config]] = {
        "header": ("http_request", {"url": echo, "headers": {"X-Key": f"Bearer {KEY}"}}),
        "basic": ("http_request", {"url": echo, "auth": {"type": "basic", "username": "ana", "password": KEY}}),
        "body": ("http_request", {"url": echo, "method": "POST", "body": {"k": [KEY]}, "query": {"k": KEY}}),
        "form": ("http_request", {"url": echo, "method": "POST", "form": {"k": KEY}}),
        "denied": ("http_request", {"url": deny, "headers": {"X-Key": KEY}, "method": "POST", "body": KEY}),
        "model": ("llm", {**HELLO, "connection": "echo_models", "api_key": KEY, "headers": {"X-Key": KEY}}),
        "denied_model": ("llm", {**HELLO, "connection": "deny_models", "api_key": KEY}),
        "no_json": ("llm", {**HELLO, "connection": "echo_models", "api_key": KEY, "response_format": "json"}),
        "rows": ("sql", sql),
        "refused": ("sql", {**sql, "statement": "SELECT CAST(:key AS integer)"}),
        "notice": ("send_notification", {"message": "m", "channels": "echo_hook", "headers": {"X-Key": KEY}}),
        "denied_notice": ("send_notification", {"message": "m", "channels": "deny_hook", "headers": {"X-Key": KEY}}),
    }
    return {key: task(kind, config, on_error="continue") for key, (kind, config) in configs.items()}


@pytest.mark.parametrize("place", EXECUTORS)
def test_a_secret_goes_out_and_is_nowhere_to_be_seen(stage: Stage, place: str) -> None:
    served = stage.served
    served.rest("PUT", "/secrets/key", {"value": VALUE})
    stage.site.heard.clear()
    with overheard(stage.redis_url) as said:
        execution = stage.run(place, leaks(stage, place))
        runs = stage.ended(execution)
    failed = {"denied", "denied_model", "no_json", "refused", "denied_notice"}
    assert {key for key, run in runs.items() if run["status"] == "failed"} == failed
    assert all(any(form in told for told in stage.site.heard) for form in SENT)
    hidden = [key for key, run in runs.items() if MASK in json.dumps([run["output"], run["error"]], ensure_ascii=False)]
    assert set(hidden) == runs.keys() - {"notice", "denied_notice"}
    assert runs["rows"]["output"]["rows"] == [{"key": MASK, "size": len(VALUE)}]
    assert runs["header"]["input"]["headers"] == {"X-Key": f"Bearer {KEY}"}
    paths = [f"/executions/{execution}{more}" for more in ("", "/steps", "/events")]
    seen = [json.dumps(served.rest("GET", path), ensure_ascii=False) for path in [*paths, "/workflows", "/secrets"]]
    told = served.stub.GetWorkflowStatus(pb.GetWorkflowStatusRequest(execution_id=execution))
    seen += [str(told), *(run.output_json + run.input_json for run in told.tasks), *said]
    seen += [served.cli(command, str(execution)).out for command in ("status", "events")]
    seen += [path.read_bytes().decode("utf-8", "replace") for path in stage.folder.iterdir() if path.is_file()]
    assert place != "rq" or any("SET" in command for command in said)
    for form in FORMS:
        assert not [text for text in seen if form in text]
