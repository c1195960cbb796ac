"""`python -m benchmarks.redis_gets`: the limit of a cache in Redis, redis-py alone in one process."""

import asyncio
import json
import sys
import time

import redis.asyncio as redis
import uvloop

from benchmarks.child import ask

SIZE = 4_000
"""Bytes of the value."""


def rate(url: str, callers: int, seconds: float) -> float:
    """Gets per second, in a process of its own."""
    found: float = ask("redis_gets", {"url": url, "callers": callers, "seconds": seconds})["rate"]
    return found


async def _run(url: str, callers: int, seconds: float) -> float:
    gets = 0
    async with redis.Redis.from_url(url, single_connection_client=False) as client:
        await client.set("bench", b"x" * SIZE)
        end = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal gets
            while time.perf_counter() < end:
                await client.get("bench")
                gets += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
    return gets / seconds


if __name__ == "__main__":
    print(json.dumps({"rate": uvloop.run(_run(**json.load(sys.stdin)))}))
