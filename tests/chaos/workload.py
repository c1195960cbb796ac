"""Twenty executions with everything that waits: calls, retries, timers, tasks beside others, cancels, signals."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.events import StoredEvent
from tests.chaos.client import Client
from tests.chaos.report import Outcome

EXECUTIONS = 20
CANCELLED = 3
SIGNALLED = 4
UNDONE = ("first", "second")
HELD = 60.0
"""Seconds of the timer that only a cancel ends."""


def call(ledger: str, key: str, *, query: str = "", **task: Any) -> dict[str, Any]:
    """A task that leaves a line in the ledger."""
    parameters = {"method": "POST", "url": f"{ledger}/{key}{query}", "body": {"n": "{{input.n}}"}}
    return {"key": key, "type": "http_request", "parameters": parameters, **task}


def mixed(ledger: str) -> list[dict[str, Any]]:
    """A call, one beside it, one that fails first, a timer, and one that uses an output."""
    last = call(ledger, "last")
    last["parameters"]["body"] = {"at": "{{tasks.first.output.body.at}}"}
    return [
        call(ledger, "first"),
        call(ledger, "beside", query="?delay=0.1", execution_type="async"),
        call(ledger, "flaky", query="?fail=1", retry={"max_attempts": 3, "initial_interval": 0.1}),
        {"key": "pause", "type": "delay", "parameters": {"duration_seconds": 0.3}},
        last,
    ]


def held(ledger: str) -> list[dict[str, Any]]:
    """One that waits until it is cancelled: then what it did is undone, and its last task must never run."""
    wait = {"key": "wait", "type": "delay", "parameters": {"duration_seconds": HELD}}
    return [*(call(ledger, key, compensate=_undo(ledger, key)) for key in UNDONE), wait, call(ledger, "never")]


def _undo(ledger: str, key: str) -> dict[str, Any]:
    config = {"method": "POST", "url": f"{ledger}/undo?delay=0.05", "body": {"at": f"{{{{{key}.output.body.at}}}}"}}
    return {"type": "http_request", "config": config}


class Promises(msgspec.Struct):
    """What the doors have said yes to."""

    accepted: set[int] = set()
    signals: dict[tuple[int, str], bool] = {}
    """Those that were taken, and whether their execution surely was there to read them."""
    cancelled: set[int] = set()


async def define(client: Client, ledger: str) -> tuple[int, int]:
    """The two workflows."""
    return await client.define("mixed", mixed(ledger)), await client.define("held", held(ledger))


async def drive(
    client: Client, workflows: tuple[int, int], seed: int, promises: Promises, count: int = EXECUTIONS
) -> None:
    """Starts `count` executions over half a second, signals some, cancels the held ones; insists on each answer."""
    dice = random.Random(seed)
    tasks = [
        one(client, workflows, f"{seed}-{n}", n, dice.random() * 0.5, dice.random() * 0.5, promises)
        for n in range(count)
    ]
    await asyncio.gather(*tasks)


async def one(
    client: Client, workflows: tuple[int, int], key: str, n: int, before: float, between: float, promises: Promises
) -> None:
    """One execution, `before` seconds from now; what else is done to it `between` seconds later hangs on `n`."""
    await asyncio.sleep(before)
    holds = n < CANCELLED
    execution = await client.start(workflows[1 if holds else 0], {"n": n}, key)
    promises.accepted.add(execution)
    await asyncio.sleep(between)
    if n < CANCELLED + SIGNALLED and await client.signal(execution, f"note-{n}", f"{key}-signal"):
        promises.signals[execution, f"note-{n}"] = holds
    if holds:
        promises.cancelled.add(execution)
        await client.cancel(execution)


def _completed(events: Sequence[StoredEvent]) -> list[str]:
    """The tasks that have completed, in their order."""
    return [msgspec.json.decode(event.data)["task"] for event in events if event.type == "TaskCompleted"]


def check_promises(promises: Promises, events: Mapping[int, Sequence[StoredEvent]], outcome: Outcome) -> None:
    """Cancels and signals that were answered with yes are in the journal."""
    for execution in promises.cancelled:
        if "ExecutionCancelled" not in {event.type for event in events.get(execution, ())}:
            outcome.problems.append(f"execution {execution} was not cancelled")
        completed = _completed(events.get(execution, ()))
        done, undone = [key for key in completed if key in UNDONE], [key for key in completed if "~" in key]
        outcome.note("undone", len(undone))
        if undone != [f"{key}~compensate" for key in reversed(done)]:
            outcome.problems.append(f"execution {execution}: of {done} was undone {undone}")
    for (execution, name), surely in promises.signals.items():
        stored = [event for event in events.get(execution, ()) if event.type == "SignalReceived"]
        times = sum(1 for event in stored if msgspec.json.decode(event.data)["name"] == name)
        if times > 1 or (surely and not times):
            outcome.problems.append(f"execution {execution}: the signal {name} is {times} times in the journal")
