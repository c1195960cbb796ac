"""A PostgreSQL with 30 connections carries four engines and an API, whatever 200 callers do at once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.servers import run_sql
from storage.schema import upgrade
from tests.chaos.nursery import Forked, Nursery
from tests.chaos.world import SERVE, Engine
from tests.conftest import StartPostgres
from tests.stores import opened, sql, until, workflow

CALLERS, ROUNDS = 200, 2
ENGINES = 4
API = ("-m", "uvicorn", "api.main:app", "--host", "127.0.0.1", "--port", "{rest_port}", "--no-access-log")
PER_ENGINE, PER_API = 5, 6
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'millrace' AND usename = 'plain'"


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def urls(start_postgres: StartPostgres) -> tuple[str, str]:
    """Of a database of a role without privileges, for whom three connections of the thirty are out of reach."""
    server = start_postgres(settings={"max_connections": "30"})
    run_sql(server.url(), "CREATE ROLE plain LOGIN", "CREATE DATABASE millrace OWNER plain")
    plain = server.url("millrace").replace("postgres@", "plain@", 1)
    assert plain != server.url("millrace")
    upgrade(plain)
    return plain, server.url("millrace")


@asynccontextmanager
async def running(nursery: Nursery, url: str, folder: Path) -> AsyncIterator[list[Engine]]:
    settings = {"DATABASE_URL": url, "LOG_LEVEL": "warning", "LEASE_SECONDS": "5"}
    processes = [Engine(f"engine-{number}", settings, folder, SERVE) for number in range(ENGINES)]
    processes.append(Engine("api", settings, folder, API))
    try:
        await asyncio.gather(*(process.start() for process in processes))
        yield processes
    finally:
        for process in processes:
            process.kill()


async def call(door: str, name: str, session: aiohttp.ClientSession, statuses: Counter[int]) -> None:
    """What one caller does: writes, reads, lists, starts and watches, through one door."""

    async def send(method: str, path: str, body: Any = None) -> Any:
        async with session.request(method, door + path, json=body) as response:
            answer = await response.json()
            statuses[response.status] += 1
            assert response.status < 300, answer
            return answer

    flow = (await send("POST", "/workflows/", {"name": name}))["id"]
    for number in range(ROUNDS):
        await send("POST", f"/workflows/{flow}/tasks/", {"name": "t"})
        await send("PUT", f"/workflows/{flow}", {"description": str(number)})
        await send("GET", f"/workflows/{flow}")
        await send("GET", "/workflows/?limit=20")
        execution = (await send("POST", f"/workflows/{flow}/execute?wait=5", {}))["execution_id"]
        await send("GET", f"/executions/{execution}")
        await send("GET", f"/executions/{execution}/events")
        await send("GET", "/executions/?limit=20")


async def count(url: str, seen: list[int]) -> None:
    while True:
        seen.append((await asyncio.to_thread(sql, url, COUNT))[0][0])
        await asyncio.sleep(0.05)


async def test_thirty_connections_are_enough(
    nursery: Nursery, urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "make", lambda *args: Forked(nursery, *args))
    plain, outside = urls
    statuses: Counter[int] = Counter()
    seen: list[int] = []
    async with running(nursery, plain, tmp_path) as processes:
        counting = asyncio.create_task(count(outside, seen))
        timeout = aiohttp.ClientTimeout(120)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            doors = [process.rest for process in processes]
            await asyncio.gather(*(call(doors[n % len(doors)], f"w{n}", session, statuses) for n in range(CALLERS)))
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
    print(max(seen), statuses)
    assert sum(statuses.values()) == CALLERS * (1 + 8 * ROUNDS)
    assert 2 * (ENGINES + 1) < max(seen) <= ENGINES * PER_ENGINE + PER_API


async def test_connections_that_nobody_needs_are_closed(
    migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.postgresql_pool.IDLE", 0.1)
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'millrace'"
    async with opened(migrated_postgres_url) as store:
        before = sql(migrated_postgres_url, mine)
        for _ in range(2):
            await asyncio.gather(*(store.list_workflows("default", 0, 1) for _ in range(8)))
            await until(lambda: sql(migrated_postgres_url, mine) == before)
        made = await store.create_workflow(workflow())
        assert (await store.list_workflows("default", 0, 1))[0] == [made]
