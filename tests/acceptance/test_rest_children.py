"""A workflow that executes others, over REST, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.rest import Rest, open_rest

OPEN = ("pending", "running", "waiting")


@pytest.fixture(params=["sqlite", "postgresql"])
async def rest(request: pytest.FixtureRequest) -> AsyncIterator[Rest]:
    name = "sqlite_url" if request.param == "sqlite" else "migrated_postgres_url"
    async with open_rest(request.getfixturevalue(name)) as rest:
        await flow(rest, "double", {"key": "t", "type": "set", "parameters": {"twice": "{{input.n * 2}}"}})
        await flow(rest, "slow", {"key": "t", "type": "delay", "parameters": {"duration_seconds": 3600}})
        await flow(rest, "broken", {"key": "t", "type": "fail", "parameters": {"message": "as told"}})
        yield rest


async def flow(rest: Rest, key: str, *tasks: dict[str, Any], **fields: Any) -> int:
    made = await rest.post("/workflows/", {"name": key, "key": key, **fields})
    assert made.status == 201, made.body
    for task in tasks:
        added = await rest.post(f"/workflows/{key}/tasks/", {"name": task["key"], **task})
        assert added.status == 201, added.body
    number: int = made.json()["id"]
    return number


def calls(workflow: Any, key: str = "call", kind: str = "sub_workflow", **task: Any) -> dict[str, Any]:
    parameters = {"workflow": workflow, **task.pop("parameters", {})}
    return {"key": key, "type": kind, "parameters": parameters, **task}


async def start(rest: Rest, key: str, value: Any = None, wait: int = 0) -> Any:
    answer = await rest.post(f"/workflows/{key}/execute?wait={wait}", {"input": value})
    assert answer.status in (200, 202), answer.body
    return answer.json()


async def until(rest: Rest, number: int, *statuses: str) -> Any:
    async with asyncio.timeout(30):
        while (found := (await rest.get(f"/executions/{number}")).json())["status"] not in statuses:
            await asyncio.sleep(0.02)
        return found


async def child_of(rest: Rest, number: int, key: str = "call") -> Any:
    """The child that a task has started, when it has."""
    async with asyncio.timeout(30):
        while True:
            found = (await rest.get(f"/executions/{number}")).json()
            (task,) = (task for task in found["tasks"] if task["key"] == key)
            if task["child_id"] is not None:
                return (await rest.get(f"/executions/{task['child_id']}")).json()
            await asyncio.sleep(0.02)


async def test_a_task_executes_another_workflow_and_has_its_output(rest: Rest) -> None:
    asks = {"input": {"n": "{{input.n}}"}, "labels": {"of": "{{input.who}}"}}
    sees = {"key": "after", "type": "set", "parameters": {"saw": "{{tasks.call.output.t.twice}}"}}
    await flow(rest, "outer", calls("double", parameters=asks), sees)
    outer = await start(rest, "outer", {"n": 21, "who": "ana"}, wait=30)
    assert (outer["status"], outer["output"]) == ("completed", {"after": {"saw": 42}})
    assert (outer["parent_id"], outer["root_id"]) == (None, None)
    child = await child_of(rest, outer["id"])
    assert (child["input"], child["output"], child["labels"]) == ({"n": 21}, {"t": {"twice": 42}}, {"of": "ana"})
    assert (child["parent_id"], child["root_id"], child["status"]) == (outer["id"], outer["id"], "completed")
    listed = (await rest.get(f"/executions?parent_id={outer['id']}")).json()["items"]
    assert [(item["id"], item["parent_id"], item["root_id"]) for item in listed] == [
        (child["id"],) + (outer["id"],) * 2
    ]
    assert (await rest.get(f"/executions?parent_id={child['id']}")).json()["items"] == []


async def test_a_task_need_not_wait(rest: Rest) -> None:
    await flow(rest, "outer", calls("slow", kind="child_workflow", parameters={"wait": False}))
    outer = await start(rest, "outer", wait=30)
    child = await child_of(rest, outer["id"])
    assert (outer["status"], outer["output"]) == ("completed", {"call": {"execution_id": child["id"]}})
    assert (await until(rest, child["id"], "waiting"))["parent_id"] == outer["id"]
    assert (await rest.post(f"/executions/{child['id']}/cancel")).status in (200, 202)
    await until(rest, child["id"], "cancelled")


async def test_a_failure_is_passed_on(rest: Rest) -> None:
    await flow(rest, "outer", calls("broken"))
    outer = await start(rest, "outer", wait=30)
    child = await child_of(rest, outer["id"])
    assert (outer["status"], outer["error"]["type"], outer["error"]["task"]) == ("failed", "child_failed", "call")
    assert str(child["id"]) in outer["error"]["message"]
    assert "as told" in outer["error"]["message"]


async def test_a_retry_is_another_child_and_on_error_goes_on(rest: Rest) -> None:
    retry = {"max_attempts": 2, "initial_interval": 0.05}
    await flow(rest, "outer", calls("broken", retry=retry, on_error="continue"))
    outer = await start(rest, "outer", wait=30)
    assert outer["status"] == "completed"
    listed = (await rest.get(f"/executions?parent_id={outer['id']}&status=failed")).json()["items"]
    assert len(listed) == 2
    assert outer["tasks"][0]["child_id"] == listed[0]["id"]
    assert (outer["tasks"][0]["status"], outer["tasks"][0]["attempt"]) == ("failed", 2)


async def test_a_cancel_is_passed_on_to_the_youngest(rest: Rest) -> None:
    await flow(rest, "middle", calls("slow"))
    await flow(rest, "outer", calls("middle"), calls("slow", "beside"))
    outer = await start(rest, "outer")
    middle = await child_of(rest, outer["id"])
    leaf = await child_of(rest, middle["id"])
    assert (leaf["parent_id"], leaf["root_id"]) == (middle["id"], outer["id"])
    assert (await rest.post(f"/executions/{outer['id']}/cancel", {"reason": "enough"})).status == 200
    for one in (outer, middle, leaf):
        assert (await until(rest, one["id"], "cancelled"))["error"] is None


async def test_a_child_that_is_cancelled_fails_its_task(rest: Rest) -> None:
    await flow(rest, "outer", calls("slow"))
    outer = await start(rest, "outer")
    child = await child_of(rest, outer["id"])
    assert (await rest.post(f"/executions/{child['id']}/cancel")).status in (200, 202)
    assert (await until(rest, outer["id"], "failed"))["error"]["type"] == "child_cancelled"


async def test_a_workflow_that_does_not_exist_is_a_typed_failure(rest: Rest) -> None:
    await flow(rest, "outer", calls("nowhere", retry={"max_attempts": 5}))
    outer = await start(rest, "outer", wait=30)
    assert (outer["status"], outer["error"]["type"]) == ("failed", "workflow_not_found")
    assert outer["tasks"][0]["attempt"] == 1


async def test_a_task_takes_an_id_a_key_or_a_version(rest: Rest) -> None:
    number = await flow(rest, "inner", {"key": "t", "type": "set", "parameters": {"v": 1}})
    await start(rest, "inner", wait=30)
    task = (await rest.get("/workflows/inner/tasks/")).json()[0]
    await rest.put(f"/workflows/inner/tasks/{task['id']}", {"parameters": {"v": 2}})
    pinned = calls(number, "old", parameters={"version": 1})
    await flow(rest, "outer", pinned, calls("inner", "new"), calls(str(number), "text"))
    outer = await start(rest, "outer", wait=30)
    outputs = {task["key"]: task["output"] for task in outer["tasks"]}
    assert outputs == {"old": {"t": {"v": 1}}, "new": {"t": {"v": 2}}, "text": {"t": {"v": 2}}}


async def test_a_task_gives_a_child_so_much_time(rest: Rest) -> None:
    await flow(rest, "outer", calls("slow", timeout=0.3))
    outer = await start(rest, "outer", wait=30)
    assert (outer["status"], outer["error"]["type"]) == ("failed", "timeout")
    child = await child_of(rest, outer["id"])
    assert (await until(rest, child["id"], "cancelled"))["parent_id"] == outer["id"]


async def test_an_execution_lasts_so_long_even_while_it_waits(rest: Rest) -> None:
    await flow(rest, "outer", calls("slow"), timeout=0.4)
    assert (await rest.get("/workflows/outer")).json()["timeout"] == 0.4
    outer = await start(rest, "outer", wait=30)
    assert (outer["status"], outer["error"]["type"], outer["error"]["task"]) == ("failed", "timeout", None)
    events = (await rest.get(f"/executions/{outer['id']}/events")).json()["items"]
    assert [event["type"] for event in events][-2:] == ["TaskCancelled", "ExecutionFailed"]
    child = await child_of(rest, outer["id"])
    await until(rest, child["id"], "cancelled")
    await rest.put("/workflows/outer", {"timeout": None})
    longer = await start(rest, "outer")
    await until(rest, longer["id"], "waiting")
    await asyncio.sleep(0.6)
    assert (await rest.get(f"/executions/{longer['id']}")).json()["status"] in OPEN
    await rest.post(f"/executions/{longer['id']}/cancel")


async def test_a_task_lasts_so_long_with_all_its_attempts(rest: Rest) -> None:
    retry = {"max_attempts": 100, "initial_interval": 0.1, "backoff_coefficient": 1.0}
    await flow(rest, "outer", calls("broken", retry=retry, total_timeout=3))
    assert (await rest.get("/workflows/outer")).json()["tasks"][0]["total_timeout"] == 3
    outer = await start(rest, "outer", wait=30)
    assert outer["status"] == "failed"
    assert outer["error"]["type"] in ("child_failed", "timeout"), "by the last child that there was time for"
    assert 1 <= outer["tasks"][0]["attempt"] <= 31
    await flow(rest, "patient", calls("slow", timeout=60, total_timeout=0.4))
    patient = await start(rest, "patient", wait=30)
    assert (patient["status"], patient["error"]["type"]) == ("failed", "timeout")
    assert "total_timeout" in patient["error"]["message"]
    child = await child_of(rest, patient["id"])
    await until(rest, child["id"], "cancelled")


async def test_bad_configs_are_told_at_save(rest: Rest) -> None:
    made = await rest.post("/workflows/", {"name": "bad", "key": "bad"})
    assert made.status == 201
    for parameters, pointer in (
        ({}, "/parameters/workflow"),
        ({"workflow": 1.5}, "/parameters/workflow"),
        ({"workflow": "x", "version": 0}, "/parameters/version"),
        ({"workflow": "x", "wait": "yes"}, "/parameters/wait"),
        ({"workflow": "x", "labels": {"a": 1}}, "/parameters/labels"),
        ({"workflow": "x", "depth": 3}, "/parameters/depth"),
    ):
        answer = await rest.post(
            "/workflows/bad/tasks/", {"name": "t", "type": "sub_workflow", "parameters": parameters}
        )
        assert answer.status == 422
        assert answer.pointers[0].startswith(pointer)
    for timeout in (0, -1, 1e12, "soon"):
        assert (await rest.post("/workflows/", {"name": "bad", "timeout": timeout})).status == 422


async def test_a_trial_starts_nothing(rest: Rest) -> None:
    config = {"workflow": "double", "input": {"n": "{{input.n}}"}, "wait": False}
    answer = await rest.post("/nodes/sub_workflow/test", {"config": config, "input": {"n": 4}})
    assert answer.status == 200
    trial = answer.json()
    assert (trial["status"], trial["starts"]) == (
        "completed",
        {"workflow": "double", "version": None, "input": {"n": 4}, "wait": False, "labels": {}},
    )
    assert (await rest.get("/executions")).json()["items"] == []
