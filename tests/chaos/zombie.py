"""C4: a process is stopped past its lease, another takes over, the stopped one goes on: it must do no harm.

While it is stopped, callers go on to knock at its door; what it then writes, and what its tasks report, arrives under
a lost lease and must be refused. The first stop comes from inside, in the moment before a commit: that batch is in its
hand when it goes on, so one stale write arrives for certain. The others come at random.
"""

import asyncio
import random

import msgspec

from tests.chaos import history
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.kill_matrix import landed
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import call
from tests.chaos.world import Engine, World, open_world

EXECUTIONS = 20
KNOCK = 0.02
"""Seconds between the first knock and the stop: some starts are half done when it comes."""
IN_HAND = "commit.before:stop"
FIRST = 2
"""The commit that the first stop comes before; the one before makes the process an owner."""
DRAIN = 90.0
REFUSED = b"writes of a lost lease were refused"


async def zombie(n: int, seed: int, *, lease: float = 0.5, guard: str | None = None) -> Outcome:
    """`n` times, on PostgreSQL, the two engines in turn."""
    outcome = Outcome("C4 zombie", seed, n, "stops")
    with Timed(outcome), open_world("postgresql", lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(90 + DRAIN + 30 * n):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    engines = [world.engine("one"), world.engine("other")]
    await asyncio.gather(engines[0].start(f"{IN_HAND}:{FIRST}"), engines[1].start())
    accepted: list[int] = []
    dice = random.Random(seed)
    async with (
        Client(engines, seed=seed, patience=DRAIN) as both,
        Client(engines[:1], patience=DRAIN) as one,
        Client(engines[1:], patience=DRAIN) as other,
    ):
        tasks = [call(world.ledger.url, key, query="?delay=0.3") for key in ("first", "second", "third")]
        workflow = await both.define("steps", tasks)
        for number in range(n):
            victim, knocker = (engines[0], one) if number % 2 == 0 else (engines[1], other)
            starts = asyncio.gather(*_knocks(knocker, workflow, number, ""))
            if number:
                await starts
                await asyncio.sleep(0.15)
            accepted += await _stop_and_go_on(world, victim, knocker, workflow, number, dice, outcome)
            accepted += await starts
        await both.all_ended(DRAIN)
        outcome.stale = sum(refused_writes(engine) for engine in engines)
        await audit(world, both, outcome, accepted)
        if not outcome.stale:
            outcome.problems.append("no stale write arrived: it proves nothing")
        ugly = both.ugly + one.ugly + other.ugly
        if ugly:
            outcome.problems.append(f"answers that nobody should see: {dict(ugly)}")


async def _stop_and_go_on(
    world: World, victim: Engine, knocker: Client, workflow: int, number: int, dice: random.Random, outcome: Outcome
) -> list[int]:
    """Stops `victim` until it is taken over, and counts what it still gets into the journal under its lost lease."""
    knocks: list[asyncio.Task[int]] = []
    if number == 0:
        if not await landed(victim, IN_HAND, DRAIN):
            outcome.problems.append("it did not stop before its commit")
            return []
        owners = _owners(world)
    else:
        owners = _owners(world)
        knocks = _knocks(knocker, workflow, number, "late-")
        await asyncio.sleep(dice.random() * KNOCK)
        victim.freeze()
    lost = await _taken_over(world, owners)
    before = _written(world, lost)
    victim.thaw()
    if not lost:
        outcome.problems.append(f"stop {number}: nobody took over in {DRAIN:g} s")
        return list(await asyncio.gather(*knocks))
    outcome.faults = (outcome.faults or 0) + 1
    answered = await asyncio.gather(*knocks)
    await asyncio.sleep(0.5)
    through = _written(world, lost) - before
    if through:
        outcome.double += 1
        outcome.problems.append(f"stop {number}: {through} writes under the lost leases {sorted(lost)} landed")
    return list(answered)


def _knocks(knocker: Client, workflow: int, number: int, which: str) -> list[asyncio.Task[int]]:
    starts = (knocker.start(workflow, {"n": number}, f"{number}-{which}{i}") for i in range(EXECUTIONS))
    return [asyncio.create_task(start) for start in starts]


def _owners(world: World) -> set[int]:
    return {row[0] for row in history.query(world.database_url, _OWNERS)}


_OWNERS = "SELECT DISTINCT owner FROM execution WHERE owner IS NOT NULL"


async def _taken_over(world: World, owners: set[int]) -> set[int]:
    """Those of `owners` that were marked lost, as soon as there are some and they own nothing any more."""
    deadline = asyncio.get_running_loop().time() + DRAIN
    while asyncio.get_running_loop().time() < deadline:
        lost = {row[0] for row in history.query(world.database_url, "SELECT id FROM lease WHERE lost")} & owners
        if lost and not lost & _owners(world):
            return lost
        await asyncio.sleep(0.05)
    return set()


def _written(world: World, leases: set[int]) -> int:
    """Events under these leases."""
    if not leases:
        return 0
    numbers = ", ".join(map(str, leases))
    return int(history.query(world.database_url, f"SELECT count(*) FROM event WHERE lease IN ({numbers})")[0][0])


def refused_writes(engine: Engine) -> int:
    """Appends that the database refused because the lease was lost, as the engine counted them."""
    lines = (line for line in engine.log.read_bytes().splitlines() if REFUSED in line)
    return sum(int(msgspec.json.decode(line)["items"]) for line in lines)
