"""C1: every named place in the engine × {kill, raise, hang} × {SQLite, PostgreSQL}; each cell must recover.

A real process, armed with one failpoint, takes the workload. When the fault has landed the process dies (`kill`), is
killed after its lease while a second engine goes on (`hang`, on PostgreSQL), or must first go on by itself (`raise`);
then it is started again, and everything accepted must end as promised.
"""

import asyncio
import random
from typing import NamedTuple

from engine.failpoints import NAMES as ALL
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome
from tests.chaos.workload import Promises, check_promises, define, drive
from tests.chaos.world import KINDS, NONE, Engine, Kind, Settings, World, open_world

NAMES = tuple(name for name in ALL if not name.startswith("event."))
"""Those of events from outside, which this workload has not, are killed in `tests/acceptance/test_events.py`."""
LAND = 20.0
"""Seconds in which the fault must land."""
DRAIN = 30.0
"""Seconds in which everything must have ended."""
WAVES = 4
"""Workloads, one after the other, until the fault has landed."""
REACHED = {"signal": 3, "claim": 4, "load": 4, "start": 12}
OTHERWISE = 30
"""How often a place is surely reached, by the first part of its name; others more often."""
ACTIONS = ("kill", "raise", "hang")
"""Of `engine.failpoints`; C4 stops and continues processes."""
PAIRS = tuple((kind, action) for kind in KINDS for action in ACTIONS)
SIZE = len(PAIRS) * len(NAMES)
"""Cells of the whole matrix."""


class Cell(NamedTuple):
    """One fault: at the `nth` time that `place` is reached."""

    kind: Kind
    place: str
    action: str
    nth: int

    @property
    def failpoint(self) -> str:
        return f"{self.place}:{self.action}:{self.nth}"

    def __str__(self) -> str:
        return f"{self.kind} {self.failpoint}"


def cells(n: int, seed: int) -> list[Cell]:
    """The first `n` of the shuffled matrix, as often as it takes; every place comes before any comes twice."""
    dice = random.Random(seed)
    found: list[Cell] = []
    while len(found) < n:
        pairs = list(PAIRS)
        dice.shuffle(pairs)
        for turn in range(len(pairs)):
            for index, place in enumerate(NAMES):
                kind, action = pairs[(turn + index) % len(pairs)]
                found.append(
                    Cell(kind, place, action, dice.randint(1, REACHED.get(place.partition(".")[0], OTHERWISE)))
                )
    return found[:n]


def run(one: Cell, seed: int) -> Outcome:
    """One cell, in a process of a pool."""
    return asyncio.run(cell(one, seed))


async def cell(
    cell: Cell, seed: int, *, lease: float = 0.5, guard: str | None = None, settings: Settings = NONE
) -> Outcome:
    """One cell, with processes of its own."""
    outcome = Outcome(str(cell), seed, 1, "cell")
    with open_world(cell.kind, lease=lease, guard=guard, settings=settings) as world:
        try:
            async with asyncio.timeout(2 * LAND + 2 * DRAIN + 60):
                await _run(cell, seed, world, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
        if outcome.problems:
            outcome.problems = [f"{cell}: {problem}" for problem in outcome.problems]
    return outcome


async def _run(cell: Cell, seed: int, world: World, outcome: Outcome) -> None:
    armed = world.engine("armed")
    engines = [armed]
    await armed.start(cell.failpoint)
    if cell.kind == "postgresql" and cell.action == "hang":
        engines.append(world.engine("second"))
        await engines[1].start()
    promises = Promises()
    async with Client(engines, seed=seed) as client:
        workflows = await define(client, world.ledger.url)
        driving = asyncio.create_task(_waves(armed, client, workflows, seed, promises))
        try:
            await _fault(cell, armed, client, driving, outcome)
            await armed.start()
            await driving
        finally:
            driving.cancel()
        await client.all_ended(DRAIN)
        history = await audit(world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        _check_count(len(history.executions), len(promises.accepted), outcome)
        if client.ugly and cell.action != "raise":
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")


async def _waves(armed: Engine, client: Client, workflows: tuple[int, int], seed: int, promises: Promises) -> None:
    for wave in range(WAVES):
        await drive(client, workflows, seed * WAVES + wave, promises)
        if armed.said("failpoint "):
            return
        await asyncio.sleep(1)


async def _fault(cell: Cell, armed: Engine, client: Client, driving: "asyncio.Task[None]", outcome: Outcome) -> None:
    """Until the armed process is gone."""
    if not await landed(armed, f"{cell.place}:{cell.action}", LAND):
        outcome.problems.append("the fault did not land")
        armed.kill()
        return
    outcome.faults = 1
    match cell.action:
        case "kill":
            await _gone(armed)
        case "hang" if cell.kind == "postgresql":
            await driving
            await _own_recovery(client, "the second engine did not finish what the hung one had", outcome)
        case "hang":
            await asyncio.sleep(0.5)
        case _:
            await driving
            await _own_recovery(client, "the process did not go on by itself", outcome)
    armed.kill()


async def _own_recovery(client: Client, complaint: str, outcome: Outcome) -> None:
    left = await client.all_ended(DRAIN)
    if left:
        outcome.problems.append(f"{complaint}: {len(left)} executions are open after {DRAIN:g} s")


async def landed(engine: Engine, what: str, seconds: float) -> bool:
    """Whether the process has said, within `seconds`, that its failpoint acts."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not engine.said(f"failpoint {what}"):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def _gone(engine: Engine) -> None:
    while engine.alive:
        await asyncio.sleep(0.01)


def _check_count(there: int, accepted: int, outcome: Outcome) -> None:
    """One key, one execution: what a caller asked for twice is there once."""
    if there != accepted:
        outcome.double += abs(there - accepted)
        outcome.problems.append(f"{accepted} keys made {there} executions")
