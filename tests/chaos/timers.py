"""C11: timers of 0 to 5 seconds over an outage: none early, none lost, none twice, each by the database's clock.

Half of the executions only wait: they are parked, and the database says when they are due. In the others a task runs
beside the timer: they stay in memory, and their owner says it.
"""

import asyncio
import random

import msgspec

from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.history import History
from tests.chaos.report import Outcome, Timed
from tests.chaos.world import Kind, World, open_world

LONGEST = 5.0
OUTAGE = 1.5
"""Seconds without any process: timers fall due meanwhile."""
CALLERS = 20


async def timers(kind: Kind, n: int, seed: int, *, lease: float = 0.5, guard: str | None = None) -> Outcome:
    """`n` timers; the process is killed while about half of them wait."""
    outcome = Outcome(f"C11 timers, {kind}", seed, n, "timers")
    with Timed(outcome), open_world(kind, lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(120 + n / 20):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    engine = world.engine("engine")
    await engine.start()
    async with Client([engine], seed=seed) as client:
        wait = {"key": "wait", "type": "delay", "parameters": {"duration_seconds": "{{input.seconds}}"}}
        busy = {"key": "busy", "execution_type": "async", "parameters": {"duration": LONGEST + 1}}
        workflows = await client.define("parked", [wait]), await client.define("in memory", [busy, wait])
        gate = asyncio.Semaphore(CALLERS)

        async def one(number: int) -> int:
            async with gate:
                seconds = {"seconds": dice.uniform(0, LONGEST)}
                return await client.start(workflows[number % 2], seconds, f"timer-{number}")

        accepted = await asyncio.gather(*(one(number) for number in range(n)))
        await asyncio.sleep(1.0)
        outcome.faults = int(engine.alive)
        engine.kill()
        await asyncio.sleep(OUTAGE)
        await engine.start()
        await client.all_ended(LONGEST + 30)
        history = await audit(world, client, outcome, accepted)
        _lateness(history, outcome)
        if len(history.executions) != n:
            outcome.problems.append(f"{n} keys made {len(history.executions)} executions")


def _lateness(history: History, outcome: Outcome) -> None:
    late: list[float] = []
    for stored in history.events.values():
        due: float | None = None
        for event in stored:
            if event.type == "TaskSleeping":
                due = event.at + float(msgspec.json.decode(event.data).get("seconds", 0.0))
            elif event.type == "TaskCompleted" and due is not None and b'"wait"' in event.data:
                late.append(event.at - due)
    late.sort()
    outcome.notes.setdefault("early", 0)
    outcome.note("fired", len(late))
    if late:
        outcome.note("late p50 s", round(late[len(late) // 2], 3))
        outcome.note("late max s", round(late[-1], 3))
