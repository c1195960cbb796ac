"""Every response cache: a hit is never older than a write that was settled before it was asked for."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from cache import memory, redis_cache
from engine import registry
from engine.cache_port import ResponseCache

Pair = tuple[ResponseCache, ResponseCache]
OPEN: dict[str, Callable[[str], Pair]] = {
    "memory": lambda _: (cache := memory.open_cache(), cache),
    "redis_cache": lambda url: (redis_cache.open_cache(url), redis_cache.open_cache(url)),
}


@pytest.fixture(params=sorted(OPEN))
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Two users of one cache: two processes' view on one Redis, or the same object."""
    url = request.getfixturevalue("redis_url") if request.param == "redis_cache" else ""
    async with AsyncExitStack() as stack:
        yield await started(stack, OPEN[request.param](url))


async def started(stack: AsyncExitStack, pair: Pair) -> Pair:
    for cache in dict.fromkeys(pair):
        await cache.start()
        stack.push_async_callback(cache.stop)
    return pair


async def fill(cache: ResponseCache, key: bytes, value: bytes, tags: Sequence[str], ttl: float = 30) -> None:
    await cache.put(key, value, tags, await cache.begin(tags), ttl)


async def hit(cache: ResponseCache, key: bytes) -> bytes | None:
    return cache.get_local(key) or await cache.get(key)


def test_every_cache_is_here() -> None:
    assert sorted(OPEN) == registry.names("cache")


async def test_what_is_filled_is_found_by_all(pair: Pair) -> None:
    one, two = pair
    await fill(one, b"k", b"value\x00\xff", ["t"])
    assert await hit(one, b"k") == b"value\x00\xff"
    assert await hit(two, b"k") == b"value\x00\xff"
    assert await hit(two, b"other") is None


async def test_a_write_ends_every_entry_with_its_tag(pair: Pair) -> None:
    one, two = pair
    for cache, key, tags in ((one, b"a", ["t"]), (two, b"b", ["t", "u"]), (one, b"c", ["u"])):
        await fill(cache, key, b"old", tags)
    await two.invalidate(["t"])
    await two.settle(["t"])
    found = [await hit(cache, key) for key in (b"a", b"b", b"c") for cache in pair]
    assert found == [None, None, None, None, b"old", b"old"]


async def test_during_a_write_hits_and_fills_miss(pair: Pair) -> None:
    one, two = pair
    await fill(one, b"k", b"old", ["t"])
    assert await hit(two, b"k") == b"old"
    await one.invalidate(["t"])
    assert await hit(two, b"k") is None
    await fill(two, b"k", b"old", ["t"])
    assert await hit(one, b"k") is None
    assert await hit(two, b"k") is None
    await one.settle(["t"])
    assert await hit(two, b"k") is None
    await fill(two, b"k", b"new", ["t"])
    assert await hit(one, b"k") == b"new"


async def test_the_first_of_two_writers_does_not_end_the_write_of_the_second(pair: Pair) -> None:
    one, two = pair
    await one.invalidate(["t"])
    await two.invalidate(["t"])
    await one.settle(["t"])
    await fill(one, b"k", b"old", ["t"])
    assert await hit(one, b"k") is None
    await two.settle(["t"])
    await fill(one, b"k", b"new", ["t"])
    assert await hit(two, b"k") == b"new"


@pytest.mark.parametrize("write_begins_first", [True, False])
async def test_a_slow_fill_loses_against_a_write(pair: Pair, write_begins_first: bool) -> None:
    one, two = pair
    if write_begins_first:
        await one.invalidate(["t"])
    token = await two.begin(["t", "u"])
    if not write_begins_first:
        await one.invalidate(["t"])
    await one.settle(["t"])
    await two.put(b"k", b"read before the commit", ["t", "u"], token, 30)
    assert await hit(one, b"k") is None
    assert await hit(two, b"k") is None


async def test_an_entry_ends_with_its_life(pair: Pair) -> None:
    one, two = pair
    await fill(one, b"k", b"v", ["t"], ttl=0.05)
    assert await hit(two, b"k") == b"v"
    await asyncio.sleep(0.1)
    assert await hit(one, b"k") is None
    assert await hit(two, b"k") is None


async def test_many_at_once_get_their_own(pair: Pair) -> None:
    one, two = pair
    await asyncio.gather(*(fill(one, b"%d" % i, b"v%d" % i, [f"t{i}"]) for i in range(50)))
    found = await asyncio.gather(*(hit(two, b"%d" % (i % 50)) for i in range(200)))
    assert found == [b"v%d" % (i % 50) for i in range(200)]


# --- the race between a read, its fill and a write ---

Seen = Callable[[], Awaitable[int]]


class Race:
    """Readers with a delay between read and fill, writers with delays around the commit; one number is the store."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair = pair
        self.random = random.Random(seed)
        self.store = 0
        self.settled = 0
        self.stale = 0
        self.hits = 0

    async def pause(self) -> None:
        await asyncio.sleep(self.random.choice((0, 0, 0.0005, 0.002)))

    async def read(self, cache: ResponseCache) -> None:
        at_least = self.settled
        found = await hit(cache, b"k")
        if found is None:
            token = await cache.begin(["t"])
            await self.pause()
            found = b"%d" % self.store
            await self.pause()
            await cache.put(b"k", found, ["t"], token, 30)
        else:
            self.hits += 1
        self.stale += int(found) < at_least

    async def write(self, cache: ResponseCache) -> None:
        await cache.invalidate(["t"])
        await self.pause()
        self.store += 1
        mine = self.store
        await self.pause()
        await cache.settle(["t"])
        self.settled = max(self.settled, mine)

    async def client(self, steps: int) -> None:
        for _ in range(steps):
            cache = self.random.choice(self.pair)
            await (self.write if self.random.random() < 0.1 else self.read)(cache)
            await self.pause()

    async def run(self) -> "Race":
        await asyncio.gather(*(self.client(60) for _ in range(12)))
        return self


@pytest.mark.parametrize("seed", range(3))
async def test_no_read_is_older_than_a_settled_write(pair: Pair, seed: int) -> None:
    race = await Race(pair, seed).run()
    assert race.stale == 0
    assert race.hits > 50


# --- the same with one guard removed: the race must see it ---


class BlindMemory(memory.MemoryCache):
    """Fills whatever was written since it read."""

    def _is_fresh(self, tags: Sequence[str], token: int) -> bool:
        return True


class LateRedis(redis_cache.RedisCache):
    """Takes its token after the read."""

    async def put(self, key: bytes, value: bytes, tags: Sequence[str], token: object, ttl: float) -> None:
        await super().put(key, value, tags, await self.begin(tags), ttl)


class MuteRedis(redis_cache.RedisCache):
    """Announces its writes before the commit only, and so that fills go on."""

    async def invalidate(self, tags: Sequence[str]) -> None:
        await super().settle(tags)

    async def settle(self, tags: Sequence[str]) -> None: ...


@pytest.mark.parametrize("kind", [LateRedis, MuteRedis])
async def test_the_race_sees_a_missing_guard_of_redis(kind: type[redis_cache.RedisCache], redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        pair = await started(stack, (kind(redis_url), kind(redis_url)))
        races = [await Race(pair, seed).run() for seed in range(3)]
    assert sum(race.stale for race in races) > 0


async def test_the_race_sees_a_missing_guard_of_the_memory() -> None:
    cache = BlindMemory()
    races = [await Race((cache, cache), seed).run() for seed in range(3)]
    assert sum(race.stale for race in races) > 0
