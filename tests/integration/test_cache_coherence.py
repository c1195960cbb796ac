"""C19 in small (in full: `make chaos`): two API services on one store and one Redis, a delay between read and fill.

Each client reads and writes through both doors at random and never sees less than what it has itself written:
the number in its own workflow, the tasks that it added to a workflow that all of them write to.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cache.redis_cache import RedisCache
from tests import servers
from tests.rest import Rest, open_rest
from tests.stores import opened

CLIENTS = 8
STEPS = 80
SHARED = "/workflows/shared"


class Client:
    """One caller; `stale` counts reads that were older than its own last write."""

    def __init__(self, name: str, doors: Sequence[Rest], seed: int) -> None:
        self.name = name
        self.doors = doors
        self.random = random.Random(f"{seed} {name}")
        self.own = f"/workflows/{name}"
        self.number = 0
        self.tasks: set[int] = set()
        self.reads = self.hits = self.stale = 0

    async def run(self) -> None:
        await self.doors[0].post("/workflows/", {"name": self.name, "key": self.name, "description": "0"})
        for _ in range(STEPS):
            door = self.random.choice(self.doors)
            step = self.random.choices((self.count, self.add, self.read_own, self.read_shared, self.read_list), WEIGHTS)
            await step[0](door)

    async def count(self, door: Rest) -> None:
        answer = await door.put(self.own, {"description": str(self.number + 1)})
        assert answer.status == 200
        self.number += 1

    async def add(self, door: Rest) -> None:
        answer = await door.post(f"{SHARED}/tasks/", {"name": self.name})
        assert answer.status == 201
        self.tasks.add(answer.json()["id"])

    async def read_own(self, door: Rest) -> None:
        self.check_own(await self.read(door, self.own))

    async def read_shared(self, door: Rest) -> None:
        self.check_shared(await self.read(door, SHARED))

    async def read_list(self, door: Rest) -> None:
        found = {workflow["key"]: workflow for workflow in await self.read(door, "/workflows/")}
        self.check_own(found[self.name])
        self.check_shared(found["shared"])

    async def read(self, door: Rest, path: str) -> Any:
        answer = await door.get(path)
        assert answer.status == 200
        self.reads += 1
        self.hits += answer.headers["x-cache"] == "hit"
        return answer.json()

    def check_own(self, workflow: Any) -> None:
        self.stale += int(workflow["description"]) < self.number

    def check_shared(self, workflow: Any) -> None:
        self.stale += not self.tasks <= {task["id"] for task in workflow["tasks"]}


WEIGHTS = (10, 3, 50, 20, 10)
Put = Callable[[RedisCache, bytes, bytes, Sequence[str], object, float], Awaitable[None]]


async def play(database_url: str, redis_url: str, seed: int) -> list[Client]:
    async with AsyncExitStack() as stack:
        doors = [
            await stack.enter_async_context(open_rest(database_url, engine=False, redis_url=redis_url))
            for _ in range(2)
        ]
        await doors[0].post("/workflows/", {"name": "shared", "key": "shared"})
        clients = [Client(f"client-{number}", doors, seed) for number in range(CLIENTS)]
        await asyncio.gather(*(client.run() for client in clients))
    return clients


def delayed(put: Put) -> Put:
    """A fill that comes late."""

    async def late(cache: RedisCache, key: bytes, value: bytes, tags: Sequence[str], token: object, ttl: float) -> None:
        await asyncio.sleep(random.choice((0, 0, 0.002, 0.01)))
        await put(cache, key, value, tags, token, ttl)

    return late


async def test_no_client_reads_less_than_it_wrote(
    migrated_postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisCache, "put", delayed(RedisCache.put))
    clients = await play(migrated_postgres_url, redis_url, seed=1)
    assert sum(client.stale for client in clients) == 0
    assert sum(client.hits for client in clients) > sum(client.reads for client in clients) / 10


async def test_without_the_generation_of_the_read_it_would_be_seen(
    migrated_postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard removed: a fill takes the present generation in place of the one before its read."""
    put = RedisCache.put

    async def forgetful(
        cache: RedisCache, key: bytes, value: bytes, tags: Sequence[str], token: object, ttl: float
    ) -> None:
        await put(cache, key, value, tags, await cache.begin(tags), ttl)

    monkeypatch.setattr(RedisCache, "put", delayed(forgetful))
    for seed in range(1, 9):  # whether a late fill meets a write is a matter of chance
        if any(client.stale for client in await play(migrated_postgres_url, redis_url, seed=seed)):
            return
    raise AssertionError("nobody saw an old answer: the check watches over nothing")


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
async def test_two_installations_may_share_a_redis(
    kind: str, migrated_postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    with servers.database(servers.migrated_template()) as other_url:
        urls = (
            [migrated_postgres_url, other_url] if kind == "postgresql" else [f"sqlite:///{tmp_path}/{n}" for n in "ab"]
        )
        async with AsyncExitStack() as stack:
            doors = [await stack.enter_async_context(open_rest(url, engine=False, redis_url=redis_url)) for url in urls]
            for name, door in zip(("one", "other"), doors, strict=True):
                await door.post("/workflows/", {"name": name})
            for name, door in zip(("one", "other"), doors, strict=True):
                answers = [await door.get("/workflows/1") for _ in range(2)]
                assert [answer.json()["name"] for answer in answers] == [name, name]
                assert answers[-1].headers["x-cache"] == "hit"


async def test_whatever_url_leads_to_a_database_it_is_the_same(migrated_postgres_url: str) -> None:
    async with opened(migrated_postgres_url) as one, opened(f"{migrated_postgres_url}&connect_timeout=5") as other:
        assert await one.identity() == await other.identity()
