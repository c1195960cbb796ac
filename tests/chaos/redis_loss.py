"""C7: Redis is killed, emptied or full while RQ and the response cache use it, and each job is delivered twice."""

import asyncio
import random
from contextlib import suppress

import redis.asyncio as redis
from redis.exceptions import RedisError
from rq.utils import as_text

from executors._rq_link import end
from tests.chaos.report import Outcome, Timed
from tests.chaos.rq_world import RQWorld, open_rq_world, rounds

WORKERS = 2
DOWN = 0.5
"""Seconds that Redis is away, or full."""
AGAIN = 0.02
"""Seconds between two looks for jobs that were delivered once only."""
KINDS = ("killed", "emptied", "full")


async def redis_loss(n: int, seed: int, *, guard: str | None = None) -> Outcome:
    """`n` faults, of the three kinds in turn."""
    outcome = Outcome("C7 Redis loss", seed, n, "faults")
    with Timed(outcome):
        try:
            async with asyncio.timeout(180 + 20 * n), open_rq_world(WORKERS, guard) as place:
                harm = _Harm(place, outcome)
                repeating = asyncio.create_task(harm.deliver_again())
                try:
                    await rounds(place, n, seed, outcome, harm.once)
                finally:
                    await end([repeating])
                    await harm.close()
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    for kind in KINDS[:n]:
        if not outcome.notes.get(kind):
            outcome.problems.append(f"Redis was never {kind}")
    if not outcome.notes.get("delivered again"):
        outcome.problems.append("no job was delivered twice")
    return outcome


class _Harm:
    def __init__(self, place: RQWorld, outcome: Outcome) -> None:
        self._server = place.redis
        self._client = redis.Redis.from_url(place.redis.url(), socket_timeout=2)
        self._outcome = outcome
        self._number = 0

    async def close(self) -> None:
        await self._client.aclose()

    async def once(self, dice: random.Random) -> None:
        kind = KINDS[self._number % len(KINDS)]
        self._number += 1
        match kind:
            case "killed":
                await asyncio.to_thread(self._server.stop, "crash")
                await asyncio.sleep(dice.random() * DOWN)
                await asyncio.to_thread(self._server.start)
            case "emptied":
                await self._order("FLUSHALL")
            case _:
                await self._order("CONFIG", "SET", "maxmemory", "1")
                await asyncio.sleep(DOWN)
                await self._order("CONFIG", "SET", "maxmemory", "0")
        self._outcome.faults = (self._outcome.faults or 0) + 1
        self._outcome.note(kind)

    async def _order(self, *command: str) -> None:
        """Over a connection of its own: an older one may have died with a server."""
        async with redis.Redis.from_url(self._server.url()) as client:
            await client.execute_command(*command)

    async def deliver_again(self) -> None:
        """Puts the id of each job into the queue once more: at once, or when it runs, or when it is over."""
        known: set[str] = set()
        while True:
            with suppress(RedisError, OSError):
                for key in map(as_text, await self._client.keys("rq:job:*")):
                    if key not in known:
                        known.add(key)
                        await self._client.rpush("rq:queue:millrace", key.removeprefix("rq:job:"))
                        self._outcome.note("delivered again")
            await asyncio.sleep(AGAIN)
