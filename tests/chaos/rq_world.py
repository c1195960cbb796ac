"""Two engines whose tasks run on workers of RQ, on a Redis of their own that can be harmed."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import count

from deploy.processes import Process
from deploy.servers import RedisServer
from engine import events as ev
from engine.events import StoredEvent, decode
from tests.chaos.audit import audit
from tests.chaos.client import Client
from tests.chaos.report import Outcome
from tests.chaos.workload import Promises, check_promises, define, drive
from tests.chaos.world import START, Engine, World, open_world

ENGINES = 2
LEASE = 2.0
"""Also the life of a worker: a busy machine must not make it look dead."""
DRAIN = 60.0

Fault = Callable[[random.Random], Awaitable[None]]


class Team:
    """The workers, by place; who was killed is replaced."""

    def __init__(self, world: World, settings: Mapping[str, str], size: int) -> None:
        self._world = world
        self._settings = settings
        self._names = count()
        self._size = size
        self.workers: list[Process] = []

    async def start(self) -> None:
        self.workers = [self._spawn() for _ in range(self._size)]
        for worker in self.workers:
            await self._ready(worker)

    async def replace(self, place: int) -> None:
        """The dead one by a new one."""
        self.workers[place] = self._spawn()
        await self._ready(self.workers[place])

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()

    def _spawn(self) -> Process:
        name = f"worker-{next(self._names)}"
        command = [*self._world.prefix, "cli.py", "worker", "--ready-file", str(self._world.folder / f"{name}.ready")]
        worker = Engine.make(name, command, self._settings, self._world.folder / f"{name}.log")
        worker.start()
        return worker

    async def _ready(self, worker: Process) -> None:
        file = self._world.folder / f"{worker.name}.ready"
        await asyncio.to_thread(worker.wait_ready, file.exists, START)


class RQWorld:
    """What a check harms."""

    def __init__(self, world: World, redis: RedisServer, team: Team, engines: Sequence[Engine]) -> None:
        self.world = world
        self.redis = redis
        self.team = team
        self.engines = engines


@asynccontextmanager
async def open_rq_world(
    workers: int, guard: str | None = None, *, engines: int = ENGINES, executor: str = "rq"
) -> AsyncIterator[RQWorld]:
    """Ready: PostgreSQL, Redis (RQ and the response cache), so many engines and workers.

    `executor` runs the tasks that name none.
    """
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        settings = {"REDIS_URL": redis.url(), "EXECUTOR": executor, "EGRESS_ALLOW_PRIVATE": "true"}
        world = stack.enter_context(open_world("postgresql", lease=LEASE, guard=guard, settings=settings))
        team = Team(world, {**settings, "LEASE_SECONDS": str(LEASE), "LOG_FORMAT": "json"}, workers)
        stack.callback(team.close)
        doors = [world.engine(f"engine-{number}") for number in range(engines)]
        await asyncio.gather(team.start(), *(door.start() for door in doors))
        yield RQWorld(world, redis, team, doors)


async def rounds(place: RQWorld, n: int, seed: int, outcome: Outcome, fault: Fault) -> None:
    """`n` times new work, and a fault at a moment by dice; then everything must end, and be told as one story."""
    dice = random.Random(seed)
    promises = Promises()
    async with Client(place.engines, seed=seed, patience=60) as client:
        workflows = await define(client, place.world.ledger.url)
        for number in range(n):
            driving = asyncio.create_task(drive(client, workflows, seed * n + number, promises))
            await asyncio.sleep(dice.random())
            await fault(dice)
            await driving
            await client.rest("GET", f"/workflows/{workflows[0]}")
        await client.all_ended(DRAIN)
        history = await audit(place.world, client, outcome, promises.accepted)
        check_promises(promises, history.events, outcome)
        outcome.note("executions", len(history.executions))
        for execution, stored in history.events.items():
            _check_attempts(execution, stored, outcome)
        if client.ugly or client.seen:
            outcome.problems.append(f"answers that nobody should see: {dict(client.ugly)} {sorted(client.seen)}")


def _check_attempts(execution: int, stored: Sequence[StoredEvent], outcome: Outcome) -> None:
    """Every attempt after the first has its reason in the journal, and every reason has its attempt."""
    started: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    cancelled = False
    for event in map(decode, stored):
        match event:
            case ev.TaskStarted(task=key):
                started[key] += 1
            case ev.TaskLost(task=key, suspect=suspect):
                reasons[key] += 1
                outcome.note("lost with their worker" if suspect else "forgotten by Redis")
            case ev.TaskFailed(task=key, retry_in=float()):
                reasons[key] += 1
            case ev.TakenOver(lost=keys):
                reasons.update(keys)
            case ev.CancelRequested():
                cancelled = True
            case _:
                pass
    for key, attempts in started.items():
        if attempts != 1 + reasons[key] and not (cancelled and attempts == reasons[key]):
            outcome.problems.append(f"execution {execution}: {attempts} attempts of {key} for {reasons[key]} reasons")
