"""C5: PostgreSQL is restarted at once, in the middle of its work, under load. Callers are asked to try again."""

import asyncio
import random

from deploy.servers import PostgresServer, free_port
from storage.schema import prepare
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import EXECUTIONS, Promises, check_promises, define, drive
from tests.chaos.world import World, open_world

DRAIN = 90.0
LONGEST = 1.0
"""Seconds after the begin of a round in which the restart falls."""


async def restarts(n: int, seed: int, *, lease: float = 2.0, guard: str | None = None) -> Outcome:
    """`n` immediate restarts, two engines."""
    outcome = Outcome("C5 database restarts", seed, n, "restarts")
    with Timed(outcome), PostgresServer(port=free_port()) as server:
        prepare(server.url())
        with open_world("postgresql", lease=lease, guard=guard, database_url=server.url()) as world:
            try:
                async with asyncio.timeout(120 + DRAIN + 30 * n):
                    await _run(world, server, n, seed, outcome)
            except Exception as error:
                outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, server: PostgresServer, n: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    engines = [world.engine(f"engine-{number}") for number in range(2)]
    await asyncio.gather(*(engine.start() for engine in engines))
    promises = Promises()
    async with Client(engines, seed=seed, patience=90) as client:
        workflows = await define(client, world.ledger.url)
        for number in range(n):
            driving = asyncio.create_task(drive(client, workflows, seed * n + number, promises, EXECUTIONS))
            await asyncio.sleep(dice.random() * LONGEST)
            await asyncio.to_thread(server.stop, "crash")
            await asyncio.sleep(dice.random() * LONGEST)
            await asyncio.to_thread(server.start)
            outcome.faults = (outcome.faults or 0) + 1
            await driving
        await client.all_ended(DRAIN)
        history = await audit(world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        outcome.note("executions", len(history.executions))
        outcome.note("asked to try again", len(client.seen))
        if not all(engine.alive for engine in engines):
            outcome.problems.append("an engine died with its database")
        if client.ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")
