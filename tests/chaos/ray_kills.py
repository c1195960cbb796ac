"""C9: Ray workers are killed under load, and now and then the head with its whole cluster.

The engine lives on: what a dead worker ran is lost and begins again elsewhere, what a lost head knew is dispatched
again when it is back. Every attempt beyond the first has its reason in the journal.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Iterable, Sequence

from deploy.servers import RayNode
from engine import events as ev
from engine.events import StoredEvent, decode
from executors._ray_worker import RayWorker
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import EXECUTIONS, Promises, check_promises, define, drive
from tests.chaos.world import World, open_world

DRAIN = 180.0
HEAD_EVERY = 10
"""Worker kills for each head."""
LONGEST = 1.0
"""Seconds after the begin of a round in which the kill falls."""
BACK = 60.0
"""Seconds for workers to be there again."""
QUEUE = 2 * EXECUTIONS
"""Executions that may be open when a round begins. All that two workers hold is lost with each kill, begun or not: with
a queue that only grows, tasks would be given up for what they never did."""
CALM = 120.0
"""Seconds for the queue to be so short again."""


async def ray_kills(
    n: int, seed: int, *, heads: int | None = None, drain: float = DRAIN, guard: str | None = None
) -> Outcome:
    """`n` kills of workers, and of `heads` heads between them."""
    outcome = Outcome("C9 Ray kills", seed, n, "worker kills")
    heads = max(1, n // HEAD_EVERY) if heads is None else heads
    with Timed(outcome), RayNode() as head:
        settings = {"EXECUTOR": "ray", "RAY_ADDRESS": head.address}
        with open_world("postgresql", lease=2.0, settings=settings, guard=guard) as world:
            try:
                async with asyncio.timeout(300 + drain + 30 * n + 120 * heads):
                    await _run(world, head, _falls(n, heads, seed), drain, outcome)
            except Exception as error:
                outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


def _falls(n: int, heads: int, seed: int) -> list[bool]:
    """Whether the head falls, by round."""
    chosen = set(random.Random(seed).sample(range(n), heads))
    return [number in chosen for number in range(n)]


async def _run(world: World, head: RayNode, falls: Sequence[bool], drain: float, outcome: Outcome) -> None:
    seed, dice = outcome.seed, random.Random(outcome.seed)
    engine = world.engine("engine")
    await engine.start()
    promises = Promises()
    async with Client([engine], seed=seed, patience=60) as client:
        workflows = await define(client, world.ledger.url)
        for number, head_falls in enumerate(falls):
            await _calm(client)
            workers = await _workers(head)
            driving = asyncio.create_task(drive(client, workflows, seed * len(falls) + number, promises))
            await asyncio.sleep(dice.random() * LONGEST)
            _kill(dice.choice(workers), outcome)
            if head_falls:
                await asyncio.sleep(dice.random() * LONGEST)
                await asyncio.to_thread(head.restart)
                outcome.faults = (outcome.faults or 0) + 1
                outcome.note("heads killed")
            await driving
        await client.all_ended(drain)
        history = await audit(world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        _check_attempts(history.events.values(), outcome)
        outcome.note("executions", len(history.executions))
        if not engine.alive:
            outcome.problems.append(f"the engine died with Ray:\n{engine.tail()}")


async def _calm(client: Client) -> None:
    async with asyncio.timeout(CALM):
        while len(await client.open_executions()) > QUEUE:
            await asyncio.sleep(0.1)


async def _workers(head: RayNode) -> list[int]:
    """Those that there are; waits for the first."""
    async with asyncio.timeout(BACK):
        while not (found := await asyncio.to_thread(head.workers, RayWorker.__name__)):
            await asyncio.sleep(0.1)
        return found


def _kill(pid: int, outcome: Outcome) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        outcome.note("gone before the kill")
    else:
        outcome.faults = (outcome.faults or 0) + 1
        outcome.note("workers killed")


def _check_attempts(histories: Iterable[Sequence[StoredEvent]], outcome: Outcome) -> None:
    """Each attempt after the first follows a loss, or a failure that is tried again."""
    for stored in histories:
        attempts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for event in map(decode, stored):
            match event:
                case ev.TaskStarted(task=key):
                    attempts[key] += 1
                case ev.TaskLost(task=key, suspect=suspect):
                    reasons[key] += 1
                    outcome.note("lost, suspect" if suspect else "lost, no suspect")
                case ev.TaskFailed(task=key, retry_in=float()):
                    reasons[key] += 1
                case ev.TakenOver(lost=keys):
                    reasons.update(keys)
                case _:
                    pass
        for key, count in attempts.items():
            if count > 1 + reasons[key]:
                where = f"execution {stored[0].execution_id}: {key}"
                outcome.problems.append(f"{where} began {count} times with {reasons[key]} reasons to begin again")
