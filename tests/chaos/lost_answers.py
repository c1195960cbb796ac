"""C6: the answers of some commits never arrive. What was committed is found again, and nothing runs twice."""

import asyncio
import re

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.proxy import Proxy
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import call
from tests.chaos.world import World, open_world

TASKS = 10
"""Tasks in a row per execution."""
CALLERS = 20
DRAIN = 120.0
MARKER = re.compile(rb"EXECUTE (events|started)\(")
"""What every commit of the journal says, and nothing else."""


async def lost_answers(n: int, rate: float, seed: int, *, lease: float = 2.0, guard: str | None = None) -> Outcome:
    """`n` tasks; `rate` is the share of commits whose answers are swallowed."""
    outcome = Outcome(f"C6 lost answers, {rate:.0%}", seed, n, "tasks")
    with Timed(outcome), open_world("postgresql", lease=lease, guard=guard) as world:
        try:
            proxy = Proxy(world.database_url, rate, seed, MARKER)
            async with asyncio.timeout(120 + DRAIN + n / 10), proxy.listening():
                await _run(world, proxy, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, proxy: Proxy, n: int, seed: int, outcome: Outcome) -> None:
    engine = world.engine("engine", DATABASE_URL=proxy.url)
    await engine.start()
    async with Client([engine], seed=seed, patience=60) as client:
        workflow = await client.define("row", [call(world.ledger.url, f"task-{number}") for number in range(TASKS)])
        gate = asyncio.Semaphore(CALLERS)

        async def one(number: int) -> int:
            async with gate:
                return await client.start(workflow, {"n": number}, f"row-{number}")

        accepted = await asyncio.gather(*(one(number) for number in range(max(1, n // TASKS))))
        await client.all_ended(DRAIN)
        outcome.faults = proxy.dropped
        outcome.note("commits", proxy.seen)
        history = await audit(world, client, outcome, accepted)
        again = sum(event.type == "TakenOver" for stored in history.events.values() for event in stored)
        if again:
            outcome.rerun += again
            outcome.problems.append(f"{again} times results were thrown away and tasks begun again")
        if client.ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")
