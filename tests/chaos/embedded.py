"""C10: fifty writers on one SQLite file, `kill -9` again and again: what was answered with yes is there afterwards.

Writers create, change and archive workflows, add, change and delete tasks, and start executions over REST. What was
under way when the process died may have happened or not; everything answered must have, and the file must be whole.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.audit import audit
from tests.chaos.client import Answered, Client
from tests.chaos.report import Outcome, Timed
from tests.chaos.world import World, open_world

WRITERS = 50
SHORTEST, LONGEST = 0.3, 1.2
"""Seconds of load before a kill."""
PAUSE = 0.05
"""Seconds that a writer thinks, on average."""
DRAIN = 60.0
LOCKED = "database is locked"

Name = str | None
"""What a thing is called; None: it is not there."""


class Thing(msgspec.Struct):
    """A workflow or a task, and what a reader may find: more than one name after an answer that never came."""

    names: set[Name]
    tasks: dict[int, "Thing"] = {}

    def will_be(self, name: Name) -> None:
        self.names.add(name)

    def is_now(self, name: Name) -> None:
        self.names = {name}


class Writer:
    """One caller, its workflows, and the executions that were promised to it."""

    def __init__(self, client: Client, number: int, seed: int) -> None:
        self.workflows: dict[int, Thing] = {}
        self.executions: set[int] = set()
        self.answers = 0
        self._client = client
        self._dice = random.Random(f"{seed}-{number}")
        self._number = number
        self._turn = 0

    async def write(self) -> None:
        """Until the process dies."""
        try:
            while True:
                await asyncio.sleep(self._dice.random() * 2 * PAUSE)
                self._turn += 1
                await self._step()(f"w{self._number}-{self._turn}")
                self.answers += 1
        except ConnectionError:
            return

    def _step(self) -> Callable[[str], Awaitable[None]]:
        if not self._alive() or self._dice.random() < 0.1:
            return self._create
        steps = (self._rename, self._archive, self._add_task, self._add_bad_task, self._change_task, self._start)
        return self._dice.choices(steps, (4, 1, 6, 1, 4, 6))[0]

    def _alive(self) -> list[int]:
        return [number for number, thing in self.workflows.items() if None not in thing.names]

    def _one(self) -> tuple[int, Thing]:
        number = self._dice.choice(self._alive())
        return number, self.workflows[number]

    async def _call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return await self._client.rest_once(0, method, path, body, headers)

    async def _create(self, word: str) -> None:
        made = await self._call("POST", "/workflows/", {"name": word})
        self.workflows[made["id"]] = Thing({word})

    async def _rename(self, word: str) -> None:
        number, thing = self._one()
        thing.will_be(word)
        await self._call("PUT", f"/workflows/{number}", {"name": word})
        thing.is_now(word)

    async def _archive(self, word: str) -> None:
        number, thing = self._one()
        thing.will_be(None)
        await self._call("DELETE", f"/workflows/{number}")
        thing.is_now(None)

    async def _add_task(self, word: str) -> None:
        number, thing = self._one()
        made = await self._call("POST", f"/workflows/{number}/tasks/", {"name": word})
        thing.tasks[made["id"]] = Thing({word})

    async def _add_bad_task(self, word: str) -> None:
        """Refused by the check of the whole draft; nothing of it may stay."""
        number, _ = self._one()
        try:
            await self._call("POST", f"/workflows/{number}/tasks/", {"name": f"bad {word}", "depends_on": ["nobody"]})
        except Answered as answer:
            if answer.status != 422:
                raise
        else:
            raise AssertionError("a task that depends on nobody was accepted")

    async def _change_task(self, word: str) -> None:
        number, thing = self._one()
        alive = [task for task, known in thing.tasks.items() if None not in known.names]
        if not alive:
            await self._add_task(word)
            return
        task = self._dice.choice(alive)
        known = thing.tasks[task]
        gone = self._dice.random() < 0.2
        known.will_be(None if gone else word)
        path = f"/workflows/{number}/tasks/{task}"
        await (self._call("DELETE", path) if gone else self._call("PUT", path, {"name": word}))
        known.is_now(None if gone else word)

    async def _start(self, word: str) -> None:
        number, _ = self._one()
        body = {"input": {"by": word}}
        made = await self._call("POST", f"/workflows/{number}/execute", body, {"Idempotency-Key": word})
        self.executions.add(made["execution_id"])

    # --- afterwards ---

    async def check(self, outcome: Outcome) -> None:
        """Reads back all that it wrote; from then on what it saw is what must be."""
        for number, thing in self.workflows.items():
            found = await self._get(f"/workflows/{number}")
            _compare(f"workflow {number}", thing, found, outcome)
            seen = {} if found is None else {task["id"]: task for task in found["tasks"]}
            if found is None:
                continue
            for task, known in thing.tasks.items():
                _compare(f"workflow {number}: task {task}", known, seen.get(task), outcome)
            bad = [task["name"] for task in seen.values() if task["name"].startswith("bad")]
            outcome.problems += [f"workflow {number}: the refused task {name} is there" for name in bad]

    async def _get(self, path: str) -> Any:
        try:
            return await self._client.rest("GET", path)
        except Answered as answer:
            if answer.status == 404:
                return None
            raise


def _compare(where: str, thing: Thing, found: Any, outcome: Outcome) -> None:
    name = None if found is None else found["name"]
    if name not in thing.names:
        outcome.lost += 1
        outcome.problems.append(f"{where} is {name!r} and was answered as {sorted(map(str, thing.names))}")
    thing.is_now(name)


async def embedded(n: int, seed: int, *, guard: str | None = None) -> Outcome:
    """`n` kills on one file."""
    outcome = Outcome("C10 embedded", seed, n, "kills")
    with Timed(outcome), open_world("sqlite", lease=0.5, guard=guard) as world:
        try:
            async with asyncio.timeout(120 + 60 * n):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    dice = random.Random(seed)
    engine = world.engine("engine")
    await engine.start()
    async with Client([engine], seed=seed) as client:
        writers = [Writer(client, number, seed) for number in range(WRITERS)]
        for number in range(n):
            writing = [asyncio.create_task(writer.write()) for writer in writers]
            await asyncio.sleep(dice.uniform(SHORTEST, LONGEST))
            outcome.faults = (outcome.faults or 0) + engine.alive
            engine.kill()
            await asyncio.gather(*writing)
            _check_integrity(world, number, outcome)
            await engine.start()
            await asyncio.gather(*(writer.check(outcome) for writer in writers))
        await client.all_ended(DRAIN)
        accepted = {number for writer in writers for number in writer.executions}
        history = await audit(world, client, outcome, accepted)
        outcome.note("answers", sum(writer.answers for writer in writers))
        outcome.note("executions", len(history.executions))
        locked = [text for text in client.seen if LOCKED in text]
        if client.ugly or locked or engine.said(LOCKED):
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)} {locked[:3]}")


def _check_integrity(world: World, number: int, outcome: Outcome) -> None:
    """On a copy of what the dead process left, so that the next start has the recovery to do."""
    copy = world.folder / "copy"
    copy.mkdir(exist_ok=True)
    for name in ("millrace.db", "millrace.db-wal"):
        if (world.folder / name).exists():
            shutil.copy(world.folder / name, copy / name)
    verdict = _integrity(copy / "millrace.db")
    if verdict == "ok":
        outcome.note("integrity ok")
    else:
        outcome.problems.append(f"kill {number}: integrity_check says {verdict}")
    shutil.rmtree(copy)


def _integrity(file: Path) -> str:
    with closing(sqlite3.connect(file)) as db:
        return str(db.execute("PRAGMA integrity_check").fetchone()[0])
