"""C30: one guard at a time is taken out of the product, and the check that watches over it must turn red.

Each sabotage has its control: the same check without it, with the same moments made longer, must stay green. So a red
check is the guard's absence and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.chaos import kill_matrix
from tests.chaos.coherence import coherence
from tests.chaos.embedded import embedded
from tests.chaos.families import at_each_commit
from tests.chaos.idempotent_start import idempotent_start
from tests.chaos.kill_matrix import Cell
from tests.chaos.limits import limits
from tests.chaos.lost_answers import lost_answers
from tests.chaos.parking import parking
from tests.chaos.ray_kills import ray_kills
from tests.chaos.redis_loss import redis_loss
from tests.chaos.report import Outcome, Timed
from tests.chaos.rolling import rolling
from tests.chaos.timers import timers
from tests.chaos.worker_kills import worker_kills
from tests.chaos.world import NONE, Settings
from tests.chaos.zombie import zombie

ONE_SLOT = {"MAX_CONCURRENT_TASKS": "1"}
REMARKS = 3
"""Reasons of a red check that are told."""

Check = Callable[[int, str | None], Awaitable[Outcome]]
"""By seed and the patches to run under."""


class Sabotage(NamedTuple):
    """`guard` is the patch that must make `check` red. `control` makes moments longer, with the guard in place."""

    guard: str
    says: str
    check: Check
    control: str | None = None
    both: bool = False
    """Whether the sabotage needs the control's patch beside its own."""


def _cell(cell: Cell, settings: Settings = NONE) -> Check:
    async def check(seed: int, guard: str | None) -> Outcome:
        return await kill_matrix.cell(cell, seed, guard=guard, settings=settings)

    return check


SABOTAGES = (
    Sabotage("fence", "C4 zombie", lambda seed, guard: zombie(4, seed, guard=guard)),
    Sabotage(
        "dispatch-after-commit",
        "C1 kill matrix",
        _cell(Cell("sqlite", "commit.before", "kill", 6)),
        control="slow-commit",
    ),
    Sabotage("lost-answer", "C6 lost answers", lambda seed, guard: lost_answers(500, 0.1, seed, guard=guard)),
    Sabotage(
        "park-then-look",
        "cancels while parking",
        lambda seed, guard: parking("postgresql", 100, seed, guard=guard),
        control="slow-park",
    ),
    Sabotage(
        "recall",
        "cancels while parking",
        lambda seed, guard: parking("sqlite", 50, seed, guard=guard),
        control="slow-commit",
        both=True,
    ),
    Sabotage(
        "idempotency", "C18 idempotent start", lambda seed, guard: idempotent_start("sqlite", 20, seed, guard=guard)
    ),
    Sabotage("generation", "C19 cache coherence", lambda seed, guard: coherence(1000, seed, guard=guard)),
    Sabotage("generation-before-read", "C19 cache coherence", lambda seed, guard: coherence(3000, seed, guard=guard)),
    Sabotage(
        "one-transaction",
        "C1 kill matrix",
        _cell(Cell("sqlite", "commit.after", "kill", 6)),
        control="die-in-a-step",
        both=True,
    ),
    Sabotage("child-with-its-parent", "C3 families", lambda seed, guard: at_each_commit("sqlite", seed, guard=guard)),
    Sabotage("end-with-its-child", "C3 families", lambda seed, guard: at_each_commit("sqlite", seed, guard=guard)),
    Sabotage("savepoint", "C10 embedded", lambda seed, guard: embedded(4, seed, guard=guard)),
    Sabotage("clock", "C11 timers", lambda seed, guard: timers("sqlite", 50, seed, guard=guard)),
    Sabotage("sweep", "C1 kill matrix", _cell(Cell("postgresql", "step.after", "kill", 8))),
    Sabotage("slots", "C1 kill matrix", _cell(Cell("sqlite", "result.before", "raise", 3), ONE_SLOT)),
    Sabotage("drain", "rolling restart", lambda seed, guard: rolling(3, seed, guard=guard)),
    Sabotage("pool-room", "limits", lambda seed, guard: limits(40, seed, faults=1, guard=guard)),
    Sabotage(
        "pool-lock",
        "limits",
        lambda seed, guard: limits(90, seed, faults=1, guard=guard),
        control="slow-share",
        both=True,
    ),
    Sabotage("bury-the-dead", "C8 RQ kills", lambda seed, guard: worker_kills(3, seed, guard=guard)),
    Sabotage("ask-after-calls", "C7 Redis loss", lambda seed, guard: redis_loss(3, seed, guard=guard)),
    Sabotage("claim-once", "C7 Redis loss", lambda seed, guard: redis_loss(3, seed, guard=guard)),
    Sabotage("ray-ask-again", "C9 Ray kills", lambda seed, guard: ray_kills(2, seed, drain=60.0, guard=guard)),
    Sabotage("read-again", "C1 kill matrix", _cell(Cell("sqlite", "result.before", "raise", 3))),
)


def run(number: int, seed: int) -> Outcome:
    """One of `SABOTAGES`, in a process of a pool."""
    return asyncio.run(sabotage(SABOTAGES[number], seed))


async def sabotage(one: Sabotage, seed: int) -> Outcome:
    """Green without, red with: anything else is a problem."""
    outcome = Outcome(f"C30 without {one.guard}: {one.says}", seed, 2, "runs", faults=0)
    with Timed(outcome):
        green = await one.check(seed, one.control)
        if not green.ok:
            outcome.problems.append(f"it is red with its guard in place: {green.why()[:3]}")
        red = await one.check(seed, f"{one.guard},{one.control}" if one.both else one.guard)
        outcome.faults = int(not red.ok)
        outcome.stale = red.stale
        outcome.remarks = red.why()[:REMARKS]
        if red.ok:
            outcome.problems.append("it stays green without its guard: it watches over nothing")
    return outcome
