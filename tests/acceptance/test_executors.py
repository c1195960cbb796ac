"""The same story wherever tasks run: in the engine, on a Ray cluster, or some here and some there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes import Process
from tests import servers
from tests.acceptance.serving import Served, serving
from tests.ledger import Ledger


@pytest.fixture
def on_ray(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, EXECUTOR="ray", RAY_ADDRESS=servers.ray_head()) as served:
        yield served


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


def test_the_story_of_sync_and_async_tasks_on_ray(on_ray: Served, ledger: Ledger) -> None:
    workflow = json.loads(on_ray.cli("create", "Pipeline", "--json").out)["id"]
    call = {"type": "http_request", "execution_type": "async"}
    on_ray.rest(
        "POST",
        f"/workflows/{workflow}/tasks/",
        {"name": "Extract", "key": "extract", "order": 1, "parameters": {"rows": [1, 2]}},
    )
    for number in (1, 2):
        parameters = {"method": "POST", "url": f"{ledger.url}/load{number}?delay=0.2", "body": {"n": number}}
        task = {"name": f"Load {number}", "key": f"load{number}", "order": 2, "parameters": parameters, **call}
        on_ray.rest("POST", f"/workflows/{workflow}/tasks/", task)
    last = {"name": "Report", "key": "report", "order": 3, "parameters": {"rows": "{{tasks.extract.output.rows}}"}}
    on_ray.rest("POST", f"/workflows/{workflow}/tasks/", last)
    execution = json.loads(on_ray.cli("execute", str(workflow), "--wait", "60", "--json").out)["execution_id"]
    seen = json.loads(on_ray.cli("status", str(execution), "--json").out)
    assert seen["status"] == "completed", seen
    assert seen["output"]["report"] == {"rows": [1, 2]}
    assert len(ledger.effects()) == 2


def test_a_task_that_fails_on_ray_says_why(on_ray: Served) -> None:
    workflow = on_ray.workflow({"key": "call", "type": "http_request", "parameters": {"url": "http://127.0.0.1:1/"}})
    execution = on_ray.execute(workflow, 30).execution_id
    seen = on_ray.rest("GET", f"/executions/{execution}")
    assert seen["status"] == "failed"
    assert seen["error"]["task"] == "call"


def test_one_execution_runs_here_and_there(tmp_path: Path, ledger: Ledger, redis_url: str) -> None:
    settings = {"REDIS_URL": redis_url, "RAY_ADDRESS": servers.ray_head()}
    where = ("asyncio", "rq", "ray")
    worker = Process("worker", ["cli.py", "worker"], settings, tmp_path / "worker.log")
    with worker, serving(tmp_path, **settings) as served:
        tasks = [
            {
                "key": f"on_{name}",
                "type": "http_request",
                "executor": name,
                "parameters": {"method": "POST", "url": f"{ledger.url}/{name}", "body": {"n": "{{input.n}}"}},
            }
            for name in where
        ]
        calls = {name: f"{{{{tasks.on_{name}.output.body.calls}}}}" for name in where}
        workflow = served.workflow(*tasks, {"key": "last", "executor": "ray", "parameters": calls})
        execution = served.execute(workflow, 60, input_json='{"n": 1}').execution_id
        seen = served.rest("GET", f"/executions/{execution}")
        assert seen["status"] == "completed", seen
        assert seen["output"]["last"] == dict.fromkeys(where, 1)
        assert [task["executor"] for task in seen["tasks"]] == [*where, "ray"]
        assert {effect.task for effect in ledger.effects()} == {"on_asyncio", "on_rq", "on_ray"}
