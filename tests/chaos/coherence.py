"""C19: two API processes, one Redis: whoever was answered sees what it wrote, whichever process it asks.

Owners write to workflows of their own through either process and read them back through either; readers ask for the
same answers all the time, so that fills race with writes. Between its read and its fill each process waits a little.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from deploy.servers import RedisServer
from tests.chaos.report import Outcome, Timed
from tests.chaos.world import Engine, World, open_world

API = ("-m", "uvicorn", "api.main:app", "--host", "127.0.0.1", "--port", "{rest_port}", "--no-access-log")
SLOW_FILL = "slow-fill"
OWNERS = 16
READERS = 8
WORKFLOWS = 3
"""Per owner."""
PROCESSES = 2


class Doors:
    """Both processes, and how often the cache answered."""

    def __init__(self, engines: Sequence[Engine], seed: int) -> None:
        self.hits = 0
        self.misses = 0
        self.left = 0
        """Operations that are still to be done."""
        self._bases = [engine.rest for engine in engines]
        self._dice = random.Random(seed)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(30), raise_for_status=True
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Through either process. Raises for anything but a 2xx."""
        self.left -= 1
        url = self._dice.choice(self._bases) + path
        async with self._session.request(method, url, json=body) as response:
            content = await response.read()
            if method == "GET":
                self.hits += response.headers.get("X-Cache") == "hit"
                self.misses += response.headers.get("X-Cache") == "miss"
            return msgspec.json.decode(content) if content else None


class Owner:
    """The only one who writes to its workflows: what it reads is what it wrote last."""

    def __init__(self, doors: Doors, number: int, seed: int) -> None:
        self.paths: dict[int, list[str]] = {}
        self.stale: list[str] = []
        self._doors = doors
        self._dice = random.Random(f"{seed}-{number}")
        self._number = number
        self._names: dict[int, str] = {}
        self._tasks: dict[int, dict[int, str]] = {}
        self._turn = 0

    async def prepare(self) -> None:
        for _ in range(WORKFLOWS):
            name = self._word()
            made = await self._doors.call("POST", "/workflows/", {"name": name, "key": f"k{name}"})
            self._names[made["id"]] = name
            self._tasks[made["id"]] = {}
            path = f"/workflows/{made['id']}"
            self.paths[made["id"]] = [path, f"/workflows/k{name}", f"{path}/tasks/"]

    async def work(self) -> None:
        while self._doors.left > 0:
            number = self._dice.choice(list(self._names))
            if self._dice.random() < 0.3:
                await self._write(number)
            await self._read(number)

    def _word(self) -> str:
        self._turn += 1
        return f"w{self._number}-{self._turn}"

    async def _write(self, number: int) -> None:
        tasks = self._tasks[number]
        path = f"/workflows/{number}"
        word = self._word()
        kind = self._dice.choice(("rename", "add", "change", "delete"))
        if kind == "rename":
            await self._doors.call("PUT", path, {"name": word})
            self._names[number] = word
        elif (kind == "add" and len(tasks) < 5) or not tasks:
            made = await self._doors.call("POST", f"{path}/tasks/", {"name": word})
            tasks[made["id"]] = word
        elif kind == "delete":
            task = self._dice.choice(list(tasks))
            await self._doors.call("DELETE", f"{path}/tasks/{task}")
            del tasks[task]
        else:
            task = self._dice.choice(list(tasks))
            await self._doors.call("PUT", f"{path}/tasks/{task}", {"name": word})
            tasks[task] = word

    async def _read(self, number: int) -> None:
        path = self._dice.choice(self.paths[number])
        found = await self._doors.call("GET", path)
        rows = found if isinstance(found, list) else found["tasks"]
        seen = {task["id"]: task["name"] for task in rows}
        name = self._names[number] if isinstance(found, list) else found["name"]
        if (name, seen) != (self._names[number], self._tasks[number]):
            self.stale.append(f"{path}: read {name} {seen}, had written {self._names[number]} {self._tasks[number]}")


async def coherence(n: int, seed: int, *, guard: str | None = None) -> Outcome:
    """`n` operations on fresh servers of its own."""
    outcome = Outcome("C19 cache coherence", seed, n, "operations", faults=None)
    patches = ",".join(filter(None, (SLOW_FILL, guard)))
    with Timed(outcome), ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        settings = {"REDIS_URL": redis.url(), "ENGINE": "off"}
        world = stack.enter_context(open_world("postgresql", lease=2.0, guard=patches, settings=settings))
        try:
            async with asyncio.timeout(120 + n / 20):
                await _run(world, n, seed, outcome)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


async def _run(world: World, n: int, seed: int, outcome: Outcome) -> None:
    engines = [world.engine(f"api-{number}", API) for number in range(PROCESSES)]
    await asyncio.gather(*(engine.start() for engine in engines))
    async with Doors(engines, seed) as doors:
        owners = [Owner(doors, number, seed) for number in range(OWNERS)]
        await asyncio.gather(*(owner.prepare() for owner in owners))
        doors.left = n
        paths = [path for owner in owners for paths in owner.paths.values() for path in paths]
        readers = [_reader(doors, paths, f"{seed}-reader-{number}") for number in range(READERS)]
        await asyncio.gather(*(owner.work() for owner in owners), *readers)
        stale = [text for owner in owners for text in owner.stale]
        outcome.note("stale own-reads", len(stale))
        outcome.note("hits", doors.hits)
        outcome.note("misses", doors.misses)
        outcome.problems += stale
        if not doors.hits:
            outcome.problems.append("the cache never answered: it proves nothing")


async def _reader(doors: Doors, paths: Sequence[str], seed: str) -> None:
    dice = random.Random(seed)
    while doors.left > 0:
        await doors.call("GET", dice.choice(paths))
