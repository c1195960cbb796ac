"""Limits under faults: two engines on one PostgreSQL are killed and stopped while they hold slots of pools.

The ledger is the observer: a call lasts at least from its line to its delay's end, so what overlaps there surely ran
at once. Never more than the limit may; and everything must end, with no slot left behind.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping

from tests.chaos import history
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import call
from tests.chaos.world import Engine, World, open_world

CALL = 0.1
"""Seconds of one call: well below a lease, so that a call of a dead engine has ended before it is made again."""
BOUND = 3
"""Of the first workflow, and of the second as a whole."""
KEYS = ("ann", "bob", "cy", "dee")
"""Of the second workflow: one call of each at once."""
DRAIN = 60.0


async def limits(n: int, seed: int, *, lease: float = 0.6, faults: int = 3, guard: str | None = None) -> Outcome:
    """`n` executions of two workflows with limits, and `faults` kills and stops in turn."""
    outcome = Outcome("limits", seed, n, "executions")
    with Timed(outcome), open_world("postgresql", lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(60 + DRAIN + 20 * faults):
                await _run(world, n, seed, faults, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, faults: int, outcome: Outcome) -> None:
    engines = [world.engine("one"), world.engine("other")]
    await asyncio.gather(*(engine.start() for engine in engines))
    dice = random.Random(seed)
    async with Client(engines, seed=seed) as client:
        first = await _define(world, client, "bounded")
        second = await _define(world, client, "keyed", concurrency_key="{{input.who}}", concurrency_limit=1)
        kinds = [dice.choice((first, second)) for _ in range(n)]
        whose = {kind: {} for kind in (first, second)}  # type: dict[int, dict[int, str]]
        for number, kind in enumerate(kinds):
            who = dice.choice(KEYS)
            whose[kind][await client.start(kind, {"n": number, "who": who}, f"{seed}-{number}")] = who
        for number in range(faults):
            await _fault(world, engines[number % 2], number, dice, outcome)
        await client.all_ended(DRAIN)
        await audit(world, client, outcome, [*whose[first], *whose[second]])
    _check(world, whose[first], whose[second], outcome)


async def _define(world: World, client: Client, name: str, **task: object) -> int:
    tasks = [call(world.ledger.url, key, query=f"?delay={CALL}", **task) for key in ("a", "b")]
    return await client.define(name, tasks, max_concurrency=BOUND)


async def _fault(world: World, victim: Engine, number: int, dice: random.Random, outcome: Outcome) -> None:
    """Kills or stops an engine that holds slots; it comes back when the other has taken over."""
    await asyncio.sleep(dice.random() * 4 * CALL)
    holders = _HOLDERS.format(_lease_of(world, victim))
    held = {row[0] for row in history.query(world.database_url, holders)}
    if number % 2:
        victim.freeze()
    else:
        victim.kill()
    outcome.faults = (outcome.faults or 0) + bool(held)
    outcome.note("slots held by the victims", len(held))
    deadline = asyncio.get_running_loop().time() + DRAIN
    while history.query(world.database_url, holders):
        if asyncio.get_running_loop().time() > deadline:
            outcome.problems.append(f"fault {number}: nobody took over what held slots in {DRAIN:g} s")
            return
        await asyncio.sleep(0.05)
    if number % 2:
        victim.thaw()
    else:
        await victim.start()


_HOLDERS = (
    "SELECT s.execution_id FROM slot s JOIN execution e ON e.id = s.execution_id WHERE s.stage = 2 AND e.owner = {}"
)


def _lease_of(world: World, engine: Engine) -> int:
    sql = f"SELECT max(id) FROM lease WHERE holder LIKE '%:{engine.pid}'"
    return int(history.query(world.database_url, sql)[0][0])


def _check(world: World, bounded: Mapping[int, str], keyed: Mapping[int, str], outcome: Outcome) -> None:
    begun: dict[str, list[float]] = defaultdict(list)
    for effect in world.ledger.effects():
        if effect.execution in bounded:
            begun["bounded"].append(effect.time)
        else:
            begun["keyed"].append(effect.time)
            begun[f"key {keyed[effect.execution]}"].append(effect.time)
    for pool, times in begun.items():
        most, limit = at_once(times), 1 if pool.startswith("key ") else BOUND
        outcome.note(f"most at once, {pool}", most)
        if most > limit:
            outcome.problems.append(f"{pool}: {most} ran at once, and {limit} may")
    left = history.query(world.database_url, "SELECT execution_id, task, stage FROM slot")
    if left:
        outcome.problems.append(f"{len(left)} slots were left behind: {left[:3]}")


def at_once(begun: Iterable[float]) -> int:
    """The most calls that surely overlapped."""
    moments = sorted([(at, 1) for at in begun] + [(at + CALL, -1) for at in begun])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most
