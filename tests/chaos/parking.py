"""Cancels at the edge of parking: no wake-up may be lost between the last look into the inbox and the park."""

import asyncio
import random

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.world import Kind, World, open_world

EDGE = 0.03
"""Seconds after a start within which its cancel falls."""
HELD = 300.0
LIMIT = 10.0
"""Seconds after which a cancel that was not recorded counts as lost: twice the poll of an engine."""
CALLERS = 25


async def parking(kind: Kind, n: int, seed: int, *, lease: float = 2.0, guard: str | None = None) -> Outcome:
    """`n` executions that wait for a timer of minutes; each is cancelled while it parks."""
    outcome = Outcome(f"cancels while parking, {kind}", seed, n, "cancels", faults=None)
    with Timed(outcome), open_world(kind, lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(120 + LIMIT + n):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    engine = world.engine("engine")
    await engine.start()
    async with Client([engine], seed=seed, call=10.0) as client:
        wait = {"key": "wait", "type": "delay", "parameters": {"duration_seconds": HELD}}
        workflow = await client.define("parked", [wait])
        gate = asyncio.Semaphore(CALLERS)

        async def one(number: int) -> int:
            async with gate:
                execution = await client.start(workflow, {}, f"parked-{number}")
                await asyncio.sleep(dice.random() * EDGE)
                await client.cancel(execution)
                return execution

        accepted = await asyncio.gather(*(one(number) for number in range(n)))
        left = await client.all_ended(LIMIT)
        if left:
            outcome.problems.append(f"{len(left)} cancels were never heard")
        await audit(world, client, outcome, accepted)
