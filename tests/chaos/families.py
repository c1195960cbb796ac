"""C3: parents with children, and kills at every commit and at random: each child once, each end told to its parent.

A parent has several `sub_workflow` tasks: children that complete, that fail, that have children themselves, and one
that is tried again. Some parents are cancelled. Afterwards the journals of parents and children must tell the same.
"""

import asyncio
import random
from collections import Counter
from typing import Any, TypeVar

import msgspec

from engine import events as ev
from engine.events import decode
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.history import History, query
from tests.chaos.report import Outcome, Timed
from tests.chaos.world import Engine, Kind, World, open_world

CHILDREN = 10
DRAIN = 90.0
REST = 20.0
"""Seconds in which everything must have ended: of all families, of a small one."""
COMMITS = 6
"""Commits of a small family, about."""
SHORTEST, LONGEST = 0.3, 1.5
"""Seconds between two kills."""
T = TypeVar("T")


async def families(
    kind: Kind, n: int, seed: int, *, kills: int, lease: float = 0.5, guard: str | None = None
) -> Outcome:
    """`n` parents with ten children each; `kills` of random engines meanwhile."""
    outcome = Outcome(f"C3 families, {kind}", seed, n, f"parents × {CHILDREN}")
    with Timed(outcome), open_world(kind, lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(300 + 2 * n + 30 * kills):
                await _storm(world, n, kills, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def at_each_commit(kind: Kind, seed: int, *, lease: float = 0.5, guard: str | None = None) -> Outcome:
    """A small family per commit: the process dies before it, or after it."""
    outcome = Outcome(f"C3 families at each commit, {kind}", seed, 2 * COMMITS, "places")
    with Timed(outcome), open_world(kind, lease=lease, guard=guard) as world:
        try:
            async with asyncio.timeout(120 + 120 * COMMITS):
                await _places(world, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _storm(world: World, n: int, kills: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    engines = [world.engine(f"engine-{number}") for number in range(1 if world.kind == "sqlite" else 2)]
    await asyncio.gather(*(engine.start() for engine in engines))
    async with Client(engines, seed=seed, patience=60) as client:
        parent = await define(client, CHILDREN)
        accepted: set[int] = set()

        async def one(number: int) -> None:
            await asyncio.sleep(dice.random() * (0.5 + kills))
            execution = await client.start(parent, {"n": number}, f"parent-{number}")
            accepted.add(execution)
            if dice.random() < 0.15:
                await asyncio.sleep(dice.random())
                await client.cancel(execution)

        driving = [asyncio.create_task(one(number)) for number in range(n)]
        for _ in range(kills):
            await asyncio.sleep(dice.uniform(SHORTEST, LONGEST))
            victim = dice.choice(engines)
            outcome.faults = (outcome.faults or 0) + victim.alive
            victim.kill()
            await victim.start()
        await asyncio.gather(*driving)
        await _check(world, client, accepted, outcome)


async def _places(world: World, seed: int, outcome: Outcome) -> None:
    engine = world.engine("engine")
    await engine.start()
    accepted: set[int] = set()
    async with Client([engine], seed=seed, patience=60) as client:
        parent = await define(client, 2)
        for number in range(2 * COMMITS):
            place = f"commit.{('before', 'after')[number % 2]}:kill:{1 + number // 2}"
            engine.kill()
            await engine.start(place)
            starting = asyncio.create_task(client.start(parent, {"n": number}, f"parent-{number}"))
            outcome.faults = (outcome.faults or 0) + await _died(engine)
            engine.kill()
            await engine.start()
            accepted.add(await starting)
            left = await client.all_ended(REST)  # what it goes on with must not take the next fault
            if left:
                outcome.lost += len(left)
                outcome.problems.append(f"after {place}: {sorted(left)} are open after {REST:g} s")
                return
        await _check(world, client, accepted, outcome)
    if (outcome.faults or 0) < COMMITS:
        outcome.problems.append(f"only {outcome.faults} of {2 * COMMITS} faults landed")


async def _died(engine: Engine) -> bool:
    """Whether it is dead within a while; it is not if there were fewer commits."""
    for _ in range(200):
        if not engine.alive:
            return True
        await asyncio.sleep(0.01)
    return False


async def define(client: Client, children: int) -> int:
    """The workflow of the parents."""
    await client.define(
        "leaf",
        [
            {"key": "broken", "type": "fail", "when": "{{input.kind}} == 'bad'", "parameters": {"message": "as told"}},
            {"key": "work", "type": "noop", "parameters": {"duration": 0.02, "n": "{{input.n}}"}},
        ],
        key="leaf",
    )
    below = {"workflow": "leaf", "input": {"n": "{{input.n}}", "kind": "good"}}
    await client.define("middle", [{"key": "below", "type": "sub_workflow", "parameters": below}], key="middle")
    return await client.define("parent", [_task(number) for number in range(children)])


def _task(number: int) -> dict[str, Any]:
    kind = ("good", "bad", "good", "nested", "again")[number % 5]
    task: dict[str, Any] = {
        "key": f"c{number}",
        "type": "sub_workflow",
        "execution_type": "async",
        "on_error": "continue",
        "parameters": {
            "workflow": "middle" if kind == "nested" else "leaf",
            "input": {"n": "{{input.n}}", "kind": "bad" if kind == "again" else kind},
        },
    }
    return task | ({"retry": {"max_attempts": 2, "initial_interval": 0.05}} if kind == "again" else {})


# --- what must hold afterwards ---


async def _check(world: World, client: Client, accepted: set[int], outcome: Outcome) -> None:
    await client.all_ended(DRAIN)
    history = await audit(world, client, outcome, accepted)
    rows = query(world.database_url, "SELECT id, parent_id FROM execution WHERE parent_id IS NOT NULL")
    parents: dict[int, int] = dict(rows)
    started = Counter(
        (event.execution_id, number) for number in history.events for event in _of(history, number, ev.ChildStarted)
    )
    outcome.note("children", len(parents))
    for (child, parent), count in started.items():
        if count != 1 or parents.get(child) != parent:
            outcome.problems.append(
                f"execution {parent} started {child} {count} times; its row has {parents.get(child)}"
            )
            outcome.double += 1
    orphans = [child for child, parent in parents.items() if (child, parent) not in started]
    outcome.double += len(orphans)
    outcome.problems += [f"execution {child} has no start in its parent {parents[child]}" for child in orphans]
    for parent in set(parents.values()):
        _check_ends(parent, history, outcome)
    outcome.problems += [f"execution {number}: the signal {name} was never read" for number, name in history.unread]
    if client.ugly:
        outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)}")


def _check_ends(parent: int, history: History, outcome: Outcome) -> None:
    """What the parent's tasks came to is what their children came to."""
    waiting: dict[str, int] = {}
    for stored in history.events[parent]:
        event = decode(stored)
        match event:
            case ev.ChildStarted(task=task, execution_id=child):
                waiting[task] = child
            case ev.TaskCompleted(task=task, output=output) if task in waiting:
                wanted = _output(history, waiting.pop(task))
                if output != wanted:
                    outcome.problems.append(f"execution {parent}: {task} has {output}, its child {wanted}")
            case ev.TaskFailed(task=task, error=error) if task in waiting:
                child = waiting.pop(task)
                ended = history.executions[child].status
                if error.type != f"child_{ended}" or str(child) not in error.message:
                    outcome.problems.append(f"execution {parent}: {task} says {error.type}, its child {child} {ended}")
            case ev.TaskCancelled(task=task) if task in waiting:
                child = waiting.pop(task)
                outcome.note(f"let go, then {history.executions[child].status}")
            case _:
                pass
    if waiting:
        outcome.lost += len(waiting)
        outcome.problems.append(f"execution {parent} has ended and waits for {sorted(waiting.values())}")


def _output(history: History, child: int) -> object:
    """As its journal has it: the outputs of its last tasks."""
    graph = history.graphs[history.executions[child].version_id]
    done = {event.task: event.output for event in _of(history, child, ev.TaskCompleted)}
    return msgspec.to_builtins({key: done[key] for key in graph.sinks if key in done})


def _of(history: History, number: int, kind: type[T]) -> list[T]:
    return [event for event in map(decode, history.events[number]) if isinstance(event, kind)]
