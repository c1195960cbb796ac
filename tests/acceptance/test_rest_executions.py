"""Starting, watching and steering executions over REST."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.rest import Rest, open_rest


@pytest.fixture
async def rest(sqlite_url: str) -> AsyncIterator[Rest]:
    async with open_rest(sqlite_url) as rest:
        await rest.post("/workflows/", {"name": "quick", "key": "quick"})
        await rest.post("/workflows/1/tasks/", {"name": "t", "key": "t", "parameters": {"answer": "{{input.n}}"}})
        await rest.post("/workflows/", {"name": "slow", "key": "slow"})
        wait = {"name": "t", "type": "delay", "parameters": {"duration_seconds": 3600}}
        assert (await rest.post("/workflows/2/tasks/", wait)).status == 201
        yield rest


async def ended(rest: Rest, execution_id: int) -> Any:
    while True:
        execution = (await rest.get(f"/executions/{execution_id}")).json()
        if execution["status"] in ("completed", "failed", "cancelled"):
            return execution
        await asyncio.sleep(0.01)


async def test_execute_is_accepted_and_ends(rest: Rest) -> None:
    started = await rest.post("/workflows/1/execute", {"input": {"n": 5}})
    assert started.status == 202
    assert started.headers["location"] == "/executions/1"
    answer = started.json()
    assert (answer["execution_id"], answer["id"], answer["workflow_id"]) == (1, 1, 1)
    assert answer["status"] in ("pending", "running")
    execution = await ended(rest, 1)
    assert execution["status"] == "completed"
    assert execution["input"] == {"n": 5}
    assert execution["output"] == {"t": {"answer": 5}}
    assert execution["error"] is None
    (step,) = (await rest.get("/executions/1/steps")).json()
    assert (step["key"], step["status"], step["attempt"], step["output"]) == ("t", "completed", 1, {"answer": 5})
    assert execution["tasks"] == [step]


async def test_wait_answers_the_result_in_the_same_call(rest: Rest) -> None:
    answer = await rest.post("/workflows/quick/execute?wait=20", {"input": {"n": 1}})
    assert answer.status == 200
    assert answer.headers["location"] == "/executions/1"
    assert answer.json() == (await rest.get("/executions/1")).json()
    late = await rest.post("/workflows/slow/execute?wait=0.05")
    assert late.status == 202
    assert late.json()["status"] in ("running", "waiting")


async def test_the_spelling_with_parameters(rest: Rest) -> None:
    answer = await rest.post("/executions/workflows/1/execute?wait=20", {"parameters": {"n": "ORD-12345"}})
    assert answer.status == 200
    assert answer.json()["input"] == {"n": "ORD-12345"}


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
async def test_the_body_may_be_left_out(rest: Rest, body: bytes) -> None:
    assert (await rest.post("/workflows/2/execute", body)).status == 202
    assert (await rest.get("/executions/1")).json()["input"] == {}


@pytest.mark.parametrize("wait", ["", "?wait=20"])
async def test_a_repeated_start_is_the_same_execution(rest: Rest, wait: str) -> None:
    path = f"/workflows/1/execute{wait}"
    first = await rest.post(path, {"input": {"n": 1}}, idempotency_key="k")
    second = await rest.post(path, {"input": {"n": 1.0}}, idempotency_key="k")
    assert second.status == first.status
    assert second.json()["id"] == first.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert (await rest.post(path, {"input": {"n": 2}}, idempotency_key="k")).code == "idempotency_mismatch"
    assert (await rest.post(path, {"input": {"n": 2}}, idempotency_key="k" * 256)).pointers == ["/idempotency_key"]


async def test_history_is_contiguous_and_goes_on_from_a_seq(rest: Rest) -> None:
    await rest.post("/workflows/1/execute?wait=20", {"input": {"n": 1}})
    whole = (await rest.get("/executions/1/events")).json()
    assert [event["seq"] for event in whole["items"]] == list(range(1, whole["last_seq"] + 1))
    assert whole["items"][0]["type"] == "ExecutionStarted"
    assert whole["items"][0]["input"] == {"n": 1}
    assert whole["items"][-1]["type"] == "ExecutionCompleted"
    page = (await rest.get("/executions/1/events?after=1&limit=2")).json()
    assert page == {"items": whole["items"][1:3], "last_seq": 3}
    assert (await rest.get("/executions/1/events?after=99")).json() == {"items": [], "last_seq": 99}


async def test_executions_are_found_by_workflow_status_and_time(rest: Rest) -> None:
    for _ in range(3):
        await rest.post("/workflows/1/execute?wait=20", {"input": {"n": 1}})
    await rest.post("/workflows/2/execute?wait=0.01")
    middle = (await rest.get("/executions/2")).json()["created_at"]

    async def ids(query: str) -> list[int]:
        return [item["id"] for item in (await rest.get(f"/executions?{query}")).json()["items"]]

    assert await ids("") == [4, 3, 2, 1]
    assert await ids("workflow_id=1") == [3, 2, 1]
    assert await ids("workflow_id=slow") == [4]
    assert await ids("status=completed") == [3, 2, 1]
    assert await ids("status=running,waiting&status=pending") == [4]
    assert await ids(f"created_from={middle}") == [4, 3, 2]
    assert await ids(f"created_to={middle}") == [1]
    assert await ids("workflow_id=77") == []
    assert (await rest.get("/executions?workflow_id=nobody")).code == "workflow_not_found"


async def test_pages_show_everything_once(rest: Rest) -> None:
    for _ in range(5):
        await rest.post("/workflows/2/execute")
    seen, path = [], "/executions?limit=2&workflow_id=2"
    while path:
        page = await rest.get(path)
        seen += [item["id"] for item in page.json()["items"]]
        link = page.headers.get("link", "")
        assert bool(link) == bool(page.json()["next_cursor"])
        assert not link or link.endswith('>; rel="next"')
        path = link.partition(">")[0][1:]
    assert seen == [5, 4, 3, 2, 1]


async def test_lists_carry_no_payloads(rest: Rest) -> None:
    await rest.post("/workflows/1/execute?wait=20", {"input": {"n": "secret"}})
    assert b"secret" not in (await rest.get("/executions")).body


async def test_cancel(rest: Rest) -> None:
    await rest.post("/workflows/2/execute")
    answer = await rest.post("/executions/1/cancel", {"reason": "enough"})
    assert answer.status == 200
    assert answer.json() == {"execution_id": 1, "status": "cancelled"}
    assert (await rest.get("/executions/1")).json()["status"] == "cancelled"
    assert (await rest.post("/executions/1/cancel")).code == "already_ended"
    assert (await rest.post("/executions/9/cancel")).code == "execution_not_found"


async def test_cancel_without_an_engine_is_asked_for(sqlite_url: str) -> None:
    async with open_rest(sqlite_url, engine=False) as rest:
        await rest.post("/workflows/", {"name": "a"})
        await rest.post("/workflows/1/execute")
        answer = await rest.post("/executions/1/cancel")
    assert answer.status == 202
    assert answer.json() == {"execution_id": 1, "status": "cancel_requested"}


async def test_signal(rest: Rest) -> None:
    await rest.post("/workflows/2/execute")
    first = await rest.post("/executions/1/signals/approved", {"by": "anna"}, idempotency_key="s1")
    again = await rest.post("/executions/1/signals/approved", {"by": "anna"}, idempotency_key="s1")
    assert (first.status, first.json()) == (202, {"execution_id": 1, "accepted": True})
    assert (again.status, again.json()) == (202, {"execution_id": 1, "accepted": False})
    await rest.post("/executions/1/cancel")
    assert (await rest.post("/executions/1/signals/approved")).code == "already_ended"


async def test_health_and_ping(rest: Rest) -> None:
    health = await rest.get("/health")
    assert health.status == 200
    checks = dict.fromkeys(("loop", "database", "engine", "triggers", "workflows"), "ok")
    assert health.json() == {"ok": True, "checks": checks}
    assert (await rest.get("/ping")).json() == {"status": "ok"}
    assert b"swagger" in (await rest.get("/docs")).body
