"""What waits for a slot lasts no longer than it may: over REST, on both databases, with a pool of one slot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.acceptance.test_rest_children import flow, start, until
from tests.rest import Rest, open_rest


@pytest.fixture(params=["sqlite", "postgresql"])
async def rest(request: pytest.FixtureRequest) -> AsyncIterator[Rest]:
    name = "sqlite_url" if request.param == "sqlite" else "migrated_postgres_url"
    async with open_rest(request.getfixturevalue(name)) as rest:
        yield rest


@asynccontextmanager
async def slow_server(answers: asyncio.Event) -> AsyncIterator[str]:
    """Where a task asks that is to hold its slot until the server answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answers.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def tasks_of(found: Any) -> dict[str, Any]:
    return {task["key"]: task for task in found["tasks"]}


async def until_task(rest: Rest, number: int, key: str, status: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            found = (await rest.get(f"/executions/{number}")).json()
            if tasks_of(found)[key]["status"] == status:
                return found
            await asyncio.sleep(0.02)


async def test_a_task_in_line_ends_when_its_time_is_over_and_leaves_the_line(rest: Rest) -> None:
    answers = asyncio.Event()
    async with slow_server(answers) as url:
        hold = {"key": "hold", "type": "http_request", "execution_type": "async", "parameters": {"url": url}}
        late = {"key": "late", "type": "noop", "execution_type": "async", "total_timeout": 0.5, "on_error": "continue"}
        await flow(rest, "one", hold, late, max_concurrency=1)
        first = await start(rest, "one")
        found = await until_task(rest, first["id"], "late", "failed")
        task = tasks_of(found)["late"]
        assert (task["attempt"], task["error"]["type"], task["due_at"]) == (0, "timeout", None)
        assert "total_timeout of 0.5 s" in task["error"]["message"]
        assert (found["status"], tasks_of(found)["hold"]["status"]) == ("running", "running")
        answers.set()
        await until(rest, first["id"], "completed")
        again = await start(rest, "one", wait=30)
        assert again["status"] == "completed", "somebody still holds the slot"


async def test_an_execution_of_which_all_stands_in_line_ends_when_its_time_is_over(rest: Rest) -> None:
    answers = asyncio.Event()
    async with slow_server(answers) as url:
        await flow(rest, "one", {"key": "hold", "type": "http_request", "parameters": {"url": url}}, max_concurrency=1)
        first = await start(rest, "one")
        await until_task(rest, first["id"], "hold", "running")
        assert (await rest.put("/workflows/one", {"timeout": 0.5})).status == 200
        second = await start(rest, "one", wait=30)
        assert (second["status"], second["error"]["type"]) == ("failed", "timeout")
        assert second["tasks"][0]["status"] == "cancelled"
        assert (await rest.get(f"/executions/{first['id']}")).json()["status"] == "running"
        answers.set()
        await until(rest, first["id"], "completed")
        third = await start(rest, "one", wait=30)
        assert third["status"] == "completed", "somebody still holds the slot"
