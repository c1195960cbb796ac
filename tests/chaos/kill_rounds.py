"""Rounds of `kill -9` under load: new work in every round, a death at a random moment, and a new start.

On PostgreSQL two engines share the work and one of them, by dice, dies; the other takes over.
"""

import asyncio
import random

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import Promises, check_promises, define, drive
from tests.chaos.world import Kind, World, open_world

DRAIN = 60.0
LONGEST = 1.0
"""Seconds after the begin of a round in which the kill falls."""


async def rounds(kind: Kind, n: int, seed: int, *, lease: float = 0.5, guard: str | None = None) -> Outcome:
    """`n` kills on one database."""
    outcome = Outcome(f"kill rounds, {kind}", seed, n, "kills")
    with Timed(outcome), open_world(kind, lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(60 + DRAIN + 20 * n):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    engines = [world.engine(f"engine-{number}") for number in range(1 if world.kind == "sqlite" else 2)]
    await asyncio.gather(*(engine.start() for engine in engines))
    promises = Promises()
    async with Client(engines, seed=seed, patience=60) as client:
        workflows = await define(client, world.ledger.url)
        for number in range(n):
            driving = asyncio.create_task(drive(client, workflows, seed * n + number, promises))
            await asyncio.sleep(dice.random() * LONGEST)
            victim = dice.choice(engines)
            outcome.faults = (outcome.faults or 0) + victim.alive
            victim.kill()
            await victim.start()
            await driving
        await client.all_ended(DRAIN)
        history = await audit(world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        outcome.note("executions", len(history.executions))
        outcome.note("taken over", sum(e.type == "TakenOver" for s in history.events.values() for e in s))
        if len(history.executions) != len(promises.accepted):
            outcome.problems.append(f"{len(promises.accepted)} keys made {len(history.executions)} executions")
        if client.ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")
