"""A lost database is 503 with `Retry-After` until it is back, and nothing else."""

import asyncio

from storage.schema import prepare
from tests.conftest import StartPostgres
from tests.rest import open_rest

REQUESTS = (
    ("GET", "/workflows/1/tasks"),
    ("GET", "/executions"),
    ("GET", "/executions/1/events"),
    ("POST", "/workflows"),
    ("PUT", "/workflows/1"),
    ("POST", "/workflows/1/execute"),
    ("POST", "/executions/1/cancel"),
)


async def test_a_lost_database(start_postgres: StartPostgres) -> None:
    server = start_postgres()
    prepare(server.url())
    async with open_rest(server.url(), engine=False) as rest:
        assert (await rest.post("/workflows", {"name": "a"})).status == 201
        assert (await rest.post("/workflows/1/execute")).status == 202
        await asyncio.to_thread(server.stop, "crash")
        for method, path in REQUESTS:
            answer = await rest.send(method, path, {"name": "b"} if path in ("/workflows", "/workflows/1") else b"")
            assert (answer.status, answer.code) == (503, "store_unavailable"), path
            assert answer.headers["retry-after"] == "1"
        health = await rest.get("/health")
        assert health.status == 503
        assert health.json()["ok"] is False
        assert health.json()["checks"]["database"] != "ok"
        assert (await rest.get("/ping")).status == 200
        await asyncio.to_thread(server.start)
        assert (await rest.get("/health")).status == 200
        assert (await rest.get("/workflows/1")).json()["name"] == "a"
        assert (await rest.get("/executions/1")).json()["status"] == "pending"
