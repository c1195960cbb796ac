"""A rolling restart under load: engines are asked to stop in turn, and nothing is lost, repeated or taken over."""

import asyncio

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import Promises, check_promises, define, drive
from tests.chaos.world import World, open_world

DRAIN = 60.0


async def rolling(n: int, seed: int, *, guard: str | None = None) -> Outcome:
    """`n` stops with SIGTERM, two engines in turn."""
    outcome = Outcome("rolling restart", seed, n, "stops")
    with Timed(outcome), open_world("postgresql", lease=5.0, guard=guard) as world:
        try:
            async with asyncio.timeout(60 + DRAIN + 30 * n):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    engines = [world.engine(f"engine-{number}") for number in range(2)]
    await asyncio.gather(*(engine.start() for engine in engines))
    promises = Promises()
    async with Client(engines, seed=seed, patience=60) as client:
        workflows = await define(client, world.ledger.url)
        for number in range(n):
            driving = asyncio.create_task(drive(client, workflows, seed * n + number, promises))
            await asyncio.sleep(0.4)
            engine = engines[number % 2]
            if await asyncio.to_thread(engine.stop) != 0:
                outcome.problems.append(f"{engine.name} did not stop well: {engine.tail()}")
            outcome.faults = (outcome.faults or 0) + 1
            await engine.start()
            await driving
        await client.all_ended(DRAIN)
        history = await audit(world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        taken = sum(event.type == "TakenOver" for stored in history.events.values() for event in stored)
        retried = sum(event.type == "TaskFailed" for stored in history.events.values() for event in stored)
        again = int(outcome.notes.get("effects again", 0)) - retried
        if taken or again:
            outcome.problems.append(f"{taken} executions were taken over, {again} effects repeated")
        if client.ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")
