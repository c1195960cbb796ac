"""C7 in small: Redis dies, hangs, forgets, fills up, or goes back in time. Never an error, never an old answer."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import redis

from cache import _redis_link, redis_cache
from cache.redis_cache import RedisCache
from deploy.servers import RedisServer
from tests.conftest import StartRedis

TAGS = ("t",)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_redis_link, "COOLDOWN", 0.02)


@pytest.fixture
async def open_cache() -> AsyncIterator[Callable[[RedisServer], Awaitable[RedisCache]]]:
    async with AsyncExitStack() as stack:

        async def opened(server: RedisServer) -> RedisCache:
            cache = redis_cache.open_cache(server.url())
            await cache.start()
            stack.push_async_callback(cache.stop)
            return cache

        yield opened


Open = Callable[[RedisServer], Awaitable[RedisCache]]


async def fill(cache: RedisCache, value: bytes) -> None:
    await cache.put(b"k", value, TAGS, await cache.begin(TAGS), 30)


async def write(cache: RedisCache) -> None:
    await cache.invalidate(TAGS)
    await cache.settle(TAGS)


async def works(cache: RedisCache, key: bytes = b"k", tag: str = "t") -> None:
    """Returns when the cache holds what is put into it."""
    async with asyncio.timeout(10):
        while True:
            await cache.put(key, b"fresh", [tag], await cache.begin([tag]), 30)
            if await cache.get(key) == b"fresh":
                return
            await asyncio.sleep(0.01)


async def test_a_redis_that_is_not_there_is_a_miss_until_it_comes(start_redis: StartRedis, open_cache: Open) -> None:
    server = start_redis()
    server.stop()
    cache = await open_cache(server)
    await fill(cache, b"v")
    assert await cache.get(b"k") is None
    await write(cache)
    server.start()
    await works(cache)


async def test_a_killed_redis_is_a_miss_and_comes_back_empty(start_redis: StartRedis, open_cache: Open) -> None:
    server = start_redis()
    cache = await open_cache(server)
    await fill(cache, b"v")
    server.stop("crash")
    assert await cache.get(b"k") is None
    await write(cache)
    await fill(cache, b"v")
    assert await cache.get(b"k") is None
    server.start()
    await works(cache)


async def test_a_hanging_redis_is_asked_once(start_redis: StartRedis, open_cache: Open) -> None:
    server = start_redis()
    cache = await open_cache(server)
    await fill(cache, b"v")
    assert server._process is not None
    server._process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(cache.get(b"k") for _ in range(1000))) == [None] * 1000
            for _ in range(1000):
                assert await cache.get(b"k") is None
    finally:
        server._process.send_signal(signal.SIGCONT)
    await works(cache)


async def test_what_was_written_while_the_link_was_down_is_never_served(
    start_redis: StartRedis, open_cache: Open
) -> None:
    server = start_redis()
    writer, reader = await open_cache(server), await open_cache(server)
    await fill(reader, b"old")
    assert await writer.get(b"k") == b"old"
    await writer._link.break_off(_redis_link.LinkDown("a cut cable"))
    await write(writer)
    assert (await reader.get(b"k"), await writer.get(b"k")) == (None, None)
    await works(writer)
    assert await reader.get(b"k") == b"fresh"


async def test_a_write_waits_for_a_hanging_redis_only_once(
    start_redis: StartRedis, open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "LIFE", 0.2)  # of the mark that Redis sets when it goes on
    monkeypatch.setattr(_redis_link, "PATIENCE", 0.1)
    monkeypatch.setattr(_redis_link, "CONNECT_TIMEOUT", 0.1)
    server = start_redis()
    cache = await open_cache(server)
    assert server._process is not None
    server._process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            for _ in range(1000):
                await write(cache)
    finally:
        server._process.send_signal(signal.SIGCONT)
    await works(cache)


async def test_a_redis_that_goes_back_in_time_serves_nothing_old(start_redis: StartRedis, open_cache: Open) -> None:
    server = start_redis(durable=True)
    writer, reader = await open_cache(server), await open_cache(server)
    await fill(reader, b"old")
    with redis.Redis.from_url(server.url()) as client:
        client.config_set("appendonly", "no")  # what follows is lost by the crash
    await write(writer)
    server.restart("crash")
    await works(reader, b"other", "other")
    await works(writer, b"other", "other")
    with redis.Redis.from_url(server.url()) as client:
        assert any(b":e:" in key for key in client.scan_iter()), "the old entry did not survive: nothing was proved"
    assert (await reader.get(b"k"), await writer.get(b"k")) == (None, None)


async def test_flushall_serves_nothing_old(start_redis: StartRedis, open_cache: Open) -> None:
    server = start_redis()
    one, two = await open_cache(server), await open_cache(server)
    with redis.Redis.from_url(server.url()) as client:
        await fill(one, b"old")
        await write(two)
        client.flushall()
        assert await one.get(b"k") is None
        token = await one.begin(TAGS)
        await two.invalidate(TAGS)
        client.flushall()
        await two.settle(TAGS)
        await one.put(b"k", b"old", TAGS, token, 30)
        assert await two.get(b"k") is None
    await works(one)


async def test_out_of_memory_a_write_still_ends_old_answers(start_redis: StartRedis, open_cache: Open) -> None:
    server = start_redis()
    one, two = await open_cache(server), await open_cache(server)
    with redis.Redis.from_url(server.url()) as client:
        await fill(one, b"old")
        assert await two.get(b"k") == b"old"
        client.config_set("maxmemory", "1")
        await write(two)
        assert (await one.get(b"k"), await two.get(b"k")) == (None, None)
        await fill(one, b"new")
        assert await two.get(b"k") is None
        client.config_set("maxmemory", "0")
    await works(one)


async def test_a_writer_that_died_in_between_blocks_nobody_for_long(
    start_redis: StartRedis, open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "LIFE", 0.2)
    server = start_redis()
    dead, alive = await open_cache(server), await open_cache(server)
    await fill(alive, b"old")
    await dead.invalidate(TAGS)
    await dead.stop()
    assert await alive.get(b"k") is None
    await fill(alive, b"old")
    assert await alive.get(b"k") is None
    await works(alive)
