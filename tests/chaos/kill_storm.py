"""C2: three engines on one PostgreSQL, and at every moment one of them may die. Nobody waits until it is back."""

import asyncio
import random

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import EXECUTIONS as A_ROUND
from tests.chaos.workload import Promises, call, check_promises, define, mixed, one
from tests.chaos.world import Engine, World, open_world

ENGINES = 3
EXECUTIONS = 1000
"""In the full check of 300 kills; a smaller one has as many per kill."""
KILLS = 300
REST = 1.5
"""Most seconds between two kills."""
DRAIN = 120.0


async def kill_storm(n: int, seed: int, *, lease: float = 0.5, guard: str | None = None) -> Outcome:
    """`n` kills."""
    outcome = Outcome("C2 kill storm", seed, n, "kills")
    with Timed(outcome), open_world("postgresql", lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(120 + DRAIN + 20 * n):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    engines = [world.engine(f"engine-{number}") for number in range(ENGINES)]
    await asyncio.gather(*(engine.start() for engine in engines))
    promises = Promises()
    async with Client(engines, seed=seed, patience=120) as client:
        _, held = await define(client, world.ledger.url)
        branch = [call(world.ledger.url, "large", when="{{input.n}} > 9"), *mixed(world.ledger.url)]
        workflows = await client.define("storm", branch), held
        executions = max(1, EXECUTIONS * n // KILLS)
        killing = asyncio.create_task(_kill(engines, n, seed, outcome))
        dice = random.Random(seed)
        long = n * REST / 2
        driving = (
            one(client, workflows, f"{seed}-{k}", k % A_ROUND, dice.random() * long, dice.random(), promises)
            for k in range(executions)
        )
        await asyncio.gather(killing, *driving)
        await client.all_ended(DRAIN)
        history = await audit(world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        outcome.note("executions", len(history.executions))
        failed = [row.id for row in history.executions.values() if row.status == "failed"]
        outcome.problems += [f"execution {number} failed" for number in failed]
        outcome.note("taken over", sum(e.type == "TakenOver" for s in history.events.values() for e in s))
        if len(history.executions) != len(promises.accepted):
            outcome.problems.append(f"{len(promises.accepted)} keys made {len(history.executions)} executions")
        if client.ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")


async def _kill(engines: list[Engine], n: int, seed: int, outcome: Outcome) -> None:
    """The dead are started again at once, and may die again before they are ready; one other is always ready."""
    dice = random.Random(seed)
    starting: dict[Engine, asyncio.Task[None]] = {}
    while (outcome.faults or 0) < n:
        await asyncio.sleep(dice.random() * REST)
        victim = dice.choice(engines)
        others = [starting[engine] for engine in engines if engine is not victim and engine in starting]
        if len(others) == len(engines) - 1 and not any(other.done() for other in others):
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        old = starting.pop(victim, None)
        if old is not None:
            old.cancel()
        outcome.faults = (outcome.faults or 0) + victim.alive
        victim.kill()
        victim.spawn()
        starting[victim] = asyncio.create_task(victim.ready())
    await asyncio.gather(*starting.values())
