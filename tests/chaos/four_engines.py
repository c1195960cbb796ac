"""Four engines and two RQ workers; one engine is stopped for long and continued, and Redis is emptied in between."""

import asyncio
import random
from typing import Any

import redis.asyncio as redis

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.rq_world import RQWorld, open_rq_world
from tests.chaos.workload import EXECUTIONS as A_ROUND
from tests.chaos.workload import Promises, check_promises, held, mixed, one
from tests.chaos.zombie import refused_writes

ENGINES = 4
WORKERS = 2
FULL = 1000
STOPPED = 30.0
"""Seconds that an engine is stopped for in the full check; a smaller one is shorter."""
DRAIN = 90.0
ON = {"beside": "rq", "last": "rq", "first": "asyncio"}
"""Where tasks of the workload run; the others have no executor of their own."""


async def four_engines(n: int, seed: int, *, guard: str | None = None) -> Outcome:
    """`n` executions."""
    outcome = Outcome("four engines, a stop and a flush", seed, n, "executions")
    with Timed(outcome):
        try:
            async with (
                asyncio.timeout(240 + DRAIN + n / 2),
                open_rq_world(WORKERS, guard, engines=ENGINES, executor="asyncio") as place,
            ):
                await _run(place, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(place: RQWorld, n: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    promises = Promises()
    stopped = max(5.0, STOPPED * min(1.0, n / FULL))
    async with Client(place.engines, seed=seed, patience=90) as client:
        url = place.world.ledger.url
        workflows = await client.define("mixed", _spread(mixed(url))), await client.define("held", _spread(held(url)))
        long = stopped + 4
        driving = (
            one(client, workflows, f"{seed}-{k}", k % A_ROUND, dice.random() * long, dice.random(), promises)
            for k in range(n)
        )
        await asyncio.gather(_harm(place, stopped, outcome), *driving)
        await client.all_ended(DRAIN)
        outcome.stale = sum(refused_writes(engine) for engine in place.engines)
        history = await audit(place.world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        leases = {event.lease for stored in history.events.values() for event in stored if event.lease}
        outcome.note("leases that wrote", len(leases))
        if len(history.executions) != n:
            outcome.problems.append(f"{n} keys made {len(history.executions)} executions")
        if client.ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")


def _spread(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [task | ({"executor": ON[task["key"]]} if task["key"] in ON else {}) for task in tasks]


async def _harm(place: RQWorld, stopped: float, outcome: Outcome) -> None:
    await asyncio.sleep(2)
    place.engines[0].freeze()
    await asyncio.sleep(stopped / 2)
    async with redis.Redis.from_url(place.redis.url()) as client:
        await client.execute_command("FLUSHALL")
    await asyncio.sleep(stopped / 2)
    place.engines[0].thaw()
    outcome.faults = 2
