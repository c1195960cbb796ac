"""C15: cancels and time-outs that fall together with the completion, decisions that fall together with each other.

One of them wins, and all say which.
"""

import asyncio
import random
from typing import Any

from engine.events import TaskCompleted, TaskFailed, decode
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.decisions import check_decisions, decide
from tests.chaos.history import History
from tests.chaos.report import Outcome, Timed
from tests.chaos.world import Kind, World, open_world

LONG = 0.05
"""Seconds that the task takes."""
EDGE = 0.02
"""Seconds around its completion in which a cancel falls, or its time-out."""
CALLERS = 50
STEPS = 20
"""Workflows with a time-out each, a little before to a little after the completion."""
DRAIN = 30.0


async def races(kind: Kind, n: int, seed: int, *, guard: str | None = None) -> Outcome:
    """`n` cancels, `n` time-outs and `n` approvals."""
    outcome = Outcome(f"C15 races, {kind}", seed, n, "cancels, time-outs and approvals each", faults=None)
    with Timed(outcome), open_world(kind, lease=2.0, guard=guard) as world:
        try:
            async with asyncio.timeout(120 + DRAIN + n / 5):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    engine = world.engine("engine")
    await engine.start()
    dice = random.Random(seed)
    async with Client([engine], seed=seed, patience=60) as client:
        plain = await client.define("work", [_work(), {"key": "after", "type": "set"}])
        timed = [
            await client.define(f"timed-{step}", [_work(timeout=LONG - EDGE + 2 * EDGE * step / STEPS)])
            for step in range(STEPS)
        ]
        gate = asyncio.Semaphore(CALLERS)
        said: dict[int, str] = {}

        async def cancel(number: int) -> None:
            async with gate:
                execution = await client.start(plain, {}, f"cancel-{number}")
                await asyncio.sleep(LONG - EDGE + 2 * EDGE * dice.random())
                said[execution] = await client.cancel(execution)

        async def time_out(number: int) -> int:
            async with gate:
                return await client.start(timed[number % STEPS], {}, f"time-out-{number}")

        await asyncio.gather(*(cancel(number) for number in range(n)))
        late = await asyncio.gather(*(time_out(number) for number in range(n)))
        decided = await decide(client, n, dice, gate)
        stuck = await client.all_ended(DRAIN)
        outcome.problems += [f"execution {number} is stuck" for number in sorted(stuck)]
        history = await audit(world, client, outcome, [*said, *late, *decided])
        _check_cancels(history, said, outcome)
        _check_time_outs(history, late, outcome)
        check_decisions(history, decided, outcome)


def _work(**fields: Any) -> dict[str, Any]:
    return {"key": "work", "type": "noop", "parameters": {"duration": LONG}, **fields}


def _check_cancels(history: History, said: dict[int, str], outcome: Outcome) -> None:
    """What the caller was told is what was recorded, and after the record nothing began."""
    for execution, answer in said.items():
        status = history.executions[execution].status
        outcome.note(f"cancel: {answer}, {status}")
        if (answer == "cancelled") != (status == "cancelled") and answer != "cancel_requested":
            outcome.problems.append(f"execution {execution}: the cancel was answered {answer!r} and it is {status}")
        types = [event.type for event in history.events[execution]]
        if "CancelRequested" in types and "TaskStarted" in types[types.index("CancelRequested") :]:
            outcome.problems.append(f"execution {execution}: a task began after the record of its cancel")


def _check_time_outs(history: History, late: list[int], outcome: Outcome) -> None:
    for execution in late:
        events = map(decode, history.events[execution])
        ends = [event for event in events if isinstance(event, TaskCompleted | TaskFailed)]
        status = history.executions[execution].status
        outcome.note(f"time-out: {status}")
        if len(ends) != 1 or isinstance(ends[0], TaskCompleted) != (status == "completed"):
            outcome.problems.append(f"execution {execution} is {status} and its task ended {len(ends)} times")
