"""Limits under faults: two engines on one PostgreSQL are killed and stopped while they hold slots of pools.

The ledger is the observer: a call lasts at least from its line to its delay's end, so what overlaps there surely ran
at once. Never more than the limit may; and everything must end, with no slot left behind. A task that a stopped engine
had begun may still call when it goes on, beside its heir's attempt: that is one task, under one idempotency key.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tests.chaos import history
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.workload import call
from tests.chaos.world import Engine, World, open_world
from tests.ledger import Effect

CALL = 0.1
"""Seconds of one call: well below a lease, so that a call of a dead engine has ended before it is made again."""
SURELY = 0.9 * CALL
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
    async with Client(engines, seed=seed) as client, Client(engines[::-1], seed=seed) as other:
        bounded = await _define(world, client, "bounded")
        keyed = await _define(world, client, "keyed", concurrency_key="{{input.who}}", concurrency_limit=1)
        whose: dict[int, dict[int, str]] = {bounded: {}, keyed: {}}
        for number in range(faults):
            for place in range(n // faults):
                kind, who = dice.choice((bounded, keyed)), dice.choice(KEYS)
                execution = await dice.choice((client, other)).start(
                    kind, {"n": place, "who": who}, f"{seed}-{number}-{place}"
                )
                whose[kind][execution] = who
            await _fault(world, number, dice, outcome)
        await client.all_ended(DRAIN)
        await audit(world, client, outcome, [*whose[bounded], *whose[keyed]])
    _check(world, whose[bounded], whose[keyed], outcome)


async def _define(world: World, client: Client, name: str, **task: object) -> int:
    tasks = [call(world.ledger.url, key, query=f"?delay={CALL}", **task) for key in ("a", "b")]
    return await client.define(name, tasks, max_concurrency=BOUND)


async def _fault(world: World, number: int, dice: random.Random, outcome: Outcome) -> None:
    """Kills or stops the engine that holds the most slots; it comes back when the other has taken over."""
    await asyncio.sleep(dice.random() * 2 * CALL)
    held = {engine.name: _held(world, engine) for engine in world.engines}
    victim = max(world.engines, key=lambda engine: len(held[engine.name]))
    lease = _lease_of(world, victim)
    if number % 2:
        victim.freeze()
    else:
        victim.kill()
    outcome.faults = (outcome.faults or 0) + bool(held[victim.name])
    outcome.note("slots held by the victims", len(held[victim.name]))
    deadline = asyncio.get_running_loop().time() + DRAIN
    while history.query(world.database_url, f"SELECT 1 FROM execution WHERE owner = {lease} LIMIT 1"):
        if asyncio.get_running_loop().time() > deadline:
            outcome.problems.append(f"fault {number}: nobody took over in {DRAIN:g} s")
            return
        await asyncio.sleep(0.05)
    if number % 2:
        victim.thaw()
    else:
        await victim.start()


def _held(world: World, engine: Engine) -> list[int]:
    sql = "SELECT s.id FROM slot s JOIN execution e ON e.id = s.execution_id WHERE s.stage = 2 AND e.owner = "
    return [row[0] for row in history.query(world.database_url, f"{sql}{_lease_of(world, engine)}")]


def _lease_of(world: World, engine: Engine) -> int:
    sql = f"SELECT max(id) FROM lease WHERE holder LIKE '%:{engine.pid}'"
    return int(history.query(world.database_url, sql)[0][0])


def _check(world: World, bounded: Mapping[int, str], keyed: Mapping[int, str], outcome: Outcome) -> None:
    """Of tasks that were called once: what a stopped engine still sends when it goes on is a second call."""
    calls: dict[str, list[Effect]] = defaultdict(list)
    times = Counter(effect.key for effect in world.ledger.effects())
    for effect in world.ledger.effects():
        if times[effect.key] > 1:
            outcome.note("calls of tasks that were called again")
        elif effect.execution in bounded:
            calls["bounded"].append(effect)
        else:
            calls["keyed"].append(effect)
            calls[f"key {keyed[effect.execution]}"].append(effect)
    for pool, effects in calls.items():
        together, limit = at_once(effects), 1 if pool.startswith("key ") else BOUND
        outcome.note(f"most at once, {pool}", len(together))
        if len(together) > limit:
            shown = ", ".join(f"{effect.execution}/{effect.task} {effect.time:.3f}" for effect in together)
            outcome.problems.append(f"{pool}: {len(together)} ran at once, and {limit} may: {shown}")
    left = history.query(world.database_url, "SELECT execution_id, task, stage FROM slot")
    if left:
        outcome.problems.append(f"{len(left)} slots were left behind: {left[:3]}")


def at_once(effects: Iterable[Effect]) -> list[Effect]:
    """Calls of the most tasks that surely overlapped, at the moment when the last of them began."""
    running: list[Effect] = []
    most: list[Effect] = []
    for effect in sorted(effects, key=lambda effect: effect.time):
        running = [*(one for one in running if one.time + SURELY > effect.time and one.key != effect.key), effect]
        if len(running) > len(most):
            most = running
    return most
