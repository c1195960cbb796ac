"""C18: the same keys from many callers, over REST and gRPC, with kills in between: one execution per key."""

import asyncio
import random

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.world import Kind, World, open_world

CALLERS = 16
BURST = 50
"""Keys that are asked for at once, each by all callers."""
DRAIN = 60.0


async def idempotent_start(
    kind: Kind,
    n: int,
    seed: int,
    *,
    callers: int = CALLERS,
    lease: float = 0.5,
    guard: str | None = None,
) -> Outcome:
    """`n` keys × `callers`; one kill in every burst."""
    outcome = Outcome(f"C18 idempotent start, {kind}", seed, n, f"keys × {callers}")
    with Timed(outcome), open_world(kind, lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(120 + n):
                await _run(world, n, callers, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, callers: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    engines = [world.engine(f"engine-{number}") for number in range(1 if world.kind == "sqlite" else 2)]
    await asyncio.gather(*(engine.start() for engine in engines))
    answers: dict[int, set[int]] = {key: set() for key in range(n)}
    async with Client(engines, seed=seed, patience=60) as client:
        workflow = await client.define("once", [{"key": "only", "type": "set", "parameters": {"n": "{{input.n}}"}}])

        async def one(key: int) -> None:
            await asyncio.sleep(dice.random() * 0.5)
            answers[key].add(await client.start(workflow, {"n": key}, f"key-{key}"))

        for first in range(0, n, BURST):
            keys = range(first, min(first + BURST, n))
            calls = [asyncio.create_task(one(key)) for key in keys for _ in range(callers)]
            await asyncio.sleep(0.1 + dice.random() * 0.3)
            victim = dice.choice(engines)
            outcome.faults = (outcome.faults or 0) + (victim.alive and not all(call.done() for call in calls))
            victim.kill()
            await victim.start()
            await asyncio.gather(*calls)
        await client.all_ended(DRAIN)
        accepted = {number for numbers in answers.values() for number in numbers}
        history = await audit(world, client, outcome, accepted)
        split = [key for key, numbers in answers.items() if len(numbers) != 1]
        outcome.double += len(history.executions) - n if len(history.executions) > n else len(split)
        outcome.problems += [f"key {key} was answered with executions {sorted(answers[key])}" for key in split]
        outcome.note("executions", len(history.executions))
        if len(history.executions) != n:
            outcome.problems.append(f"{n} keys made {len(history.executions)} executions")
        if client.ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")
