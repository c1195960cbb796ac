"""C4: a process is stopped past its lease, another takes over, the stopped one goes on: it must do no harm.

While it is stopped, callers go on to knock at its door; what it then writes, and what its tasks report, arrives under
a lost lease and must be refused.
"""

import asyncio
import random

import msgspec

from tests.chaos import history
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import call
from tests.chaos.world import Engine, World, open_world

EXECUTIONS = 20
KNOCK = 0.02
"""Seconds between the first knock and the stop: some starts are half done when it comes."""
DRAIN = 30.0
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
    await asyncio.gather(*(engine.start() for engine in engines))
    accepted: list[int] = []
    dice = random.Random(seed)
    async with Client(engines, seed=seed) as both, Client(engines[:1]) as one, Client(engines[1:]) as other:
        tasks = [call(world.ledger.url, key, query="?delay=0.3") for key in ("first", "second", "third")]
        workflow = await both.define("steps", tasks)
        for number in range(n):
            victim, knocker = (engines[0], one) if number % 2 == 0 else (engines[1], other)
            starts = (knocker.start(workflow, {"n": number}, f"{number}-{i}") for i in range(EXECUTIONS))
            accepted += await asyncio.gather(*starts)
            await asyncio.sleep(0.15)
            accepted += await _stop_and_go_on(world, victim, knocker, workflow, number, dice, outcome)
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
    owners = {row[0] for row in history.query(world.database_url, _OWNERS)}
    knocks = [
        asyncio.create_task(knocker.start(workflow, {"n": number}, f"{number}-late-{i}")) for i in range(EXECUTIONS)
    ]
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
    landed = _written(world, lost) - before
    if landed:
        outcome.double += 1
        outcome.problems.append(f"stop {number}: {landed} writes under the lost leases {sorted(lost)} landed")
    return list(answered)


_OWNERS = "SELECT DISTINCT owner FROM execution WHERE owner IS NOT NULL"


async def _taken_over(world: World, owners: set[int]) -> set[int]:
    """Those of `owners` that were marked lost, as soon as there are some and they own nothing any more."""
    deadline = asyncio.get_running_loop().time() + DRAIN
    while asyncio.get_running_loop().time() < deadline:
        lost = {row[0] for row in history.query(world.database_url, "SELECT id FROM lease WHERE lost")} & owners
        if lost and not lost & {row[0] for row in history.query(world.database_url, _OWNERS)}:
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
