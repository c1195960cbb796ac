"""Whole processes that publish: who does it, when it is switched on, and what a `kill -9` of the relay leaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.settings import load_settings
from bootstrap.wiring import open_service
from deploy.processes import Process
from engine.errors import ConfigurationError
from engine.ports import NewTask
from engine.service import WorkflowService
from tests.stores import opened, sql, workflow
from tests.stream import STREAM, Consumer, straight

LEASE = 0.5


@asynccontextmanager
async def service(engine: bool = True, **settings: Any) -> AsyncIterator[WorkflowService]:
    async with open_service(load_settings(lease_seconds=LEASE, **settings), engine=engine) as running:
        yield running


async def run(running: WorkflowService, executions: int = 1, tasks: int = 3) -> list[int]:
    """Executions of a new workflow, started and not waited for."""
    made = await running.create_workflow(workflow())
    for n in range(tasks):
        await running.add_task(made.id, NewTask(f"t{n}", type="noop"))
    return [(await running.execute_workflow(made.id)).execution_id for _ in range(executions)]


async def finish(running: WorkflowService, ids: list[int]) -> None:
    views = await asyncio.gather(*(running.wait(number, 30) for number in ids))
    assert {view.status.value for view in views} == {"completed"}


@pytest.mark.parametrize("publish", ["auto", "on"])
async def test_what_is_executed_is_published(migrated_postgres_url: str, redis_url: str, publish: str) -> None:
    consumer = Consumer(redis_url)
    async with service(database_url=migrated_postgres_url, redis_url=redis_url, publish=publish) as running:
        ids = await run(running, 5)
        await finish(running, ids)
        async with opened(migrated_postgres_url) as store:
            await consumer.catches_up(store, ids)
    assert consumer.gaps == {}
    assert consumer.entries[-1]["type"] == "ExecutionCompleted"
    consumer.close()


async def test_an_embedded_engine_publishes_when_it_is_told_to(sqlite_url: str, redis_url: str) -> None:
    consumer = Consumer(redis_url)
    async with service(database_url=sqlite_url, redis_url=redis_url, publish="on") as running:
        ids = await run(running, 5)
        await finish(running, ids)
        ends = {number: (await running.read_events(number))[-1].seq for number in ids}
        async with asyncio.timeout(20):
            while {number: seen[-1] for number, seen in consumer.read().seen.items()} != ends:
                await asyncio.sleep(0.01)
    assert consumer.gaps == {}
    consumer.close()


@pytest.mark.parametrize("publish", ["auto", "off"])
async def test_an_embedded_engine_publishes_nothing_by_itself(sqlite_url: str, redis_url: str, publish: str) -> None:
    async with service(database_url=sqlite_url, redis_url=redis_url, publish=publish) as running:
        await finish(running, await run(running))
    assert sql(sqlite_url, "SELECT * FROM relay") == []
    with straight(redis_url) as client:
        assert not client.exists(STREAM)


async def test_a_door_without_an_engine_publishes_nothing(migrated_postgres_url: str, redis_url: str) -> None:
    async with service(False, database_url=migrated_postgres_url, redis_url=redis_url, publish="on") as running:
        await run(running)
        await asyncio.sleep(0.1)
    assert sql(migrated_postgres_url, "SELECT * FROM relay") == []


async def test_publishing_needs_a_redis(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        async with service(database_url=sqlite_url, publish="on"):
            pass


async def test_a_redis_that_is_away_holds_nothing_up(migrated_postgres_url: str) -> None:
    async with service(database_url=migrated_postgres_url, redis_url="redis://127.0.0.1:1/0") as running:
        await finish(running, await run(running, 5))


async def test_a_killed_relay_loses_nothing(migrated_postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Two engines; the one that publishes is killed, again and again, and started anew."""
    settings: dict[str, str | None] = {
        "DATABASE_URL": migrated_postgres_url,
        "REDIS_URL": redis_url,
        "CACHE": "off",
        "GRPC_PORT": "0",
        "LEASE_SECONDS": str(LEASE),
    }
    engines = [Process(f"engine{n}", ["-m", "server"], settings, tmp_path / f"engine{n}.log") for n in range(2)]
    consumer = Consumer(redis_url)
    ids: list[int] = []
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(service(False, database_url=migrated_postgres_url))
        store = await stack.enter_async_context(opened(migrated_postgres_url))
        for engine in engines:
            stack.enter_context(engine)
        killed = []
        for _ in range(3):
            engine = await relay_of(migrated_postgres_url, engines)
            batch = await run(running, 30, tasks=5)
            await asyncio.sleep(0.1)
            killed.append(engine.pid)
            await asyncio.to_thread(engine.kill)
            engine.start()
            ids += batch
        await finish(running, ids)
        await consumer.catches_up(store, ids)
    assert len(set(killed)) == 3
    assert consumer.gaps == {}
    assert sql(migrated_postgres_url, "SELECT count(*) FROM lease WHERE holder LIKE '% relay'")[0][0] >= 3
    consumer.close()


async def relay_of(url: str, engines: list[Process]) -> Process:
    """The process that publishes, as soon as one does."""
    holding = "SELECT holder FROM lease JOIN relay ON relay.lease = lease.id WHERE NOT lost"
    async with asyncio.timeout(30):
        while True:
            for (holder,) in sql(url, holding):
                for engine in engines:
                    if engine.alive and holder.endswith(f":{engine.pid} relay"):
                        return engine
            await asyncio.sleep(0.05)
