"""100,000 executions that wait for a timer: they cost rows, and an idle engine nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

import msgspec
import psycopg2

from benchmarks import drive
from benchmarks.measure import Bench, Benchmark, Case, Goal, Sampler
from benchmarks.servers import Database, Door, cpu_seconds, resident_mb
from engine.states import ExecutionStatus


class Idle(msgspec.Struct, frozen=True):
    """What an idle engine costs: MB, percent of one core, queries a minute (PostgreSQL)."""

    memory: float
    cpu: float
    queries: float


async def cases(bench: Bench) -> AsyncIterator[Case]:
    waiting, settle = bench.scale(100_000, 10_000, 10), bench.scale(15, 5, 0)
    for none, many in zip(bench.databases(), bench.databases(), strict=True):
        await _park(many, waiting)
        with ExitStack() as stack:
            doors = [stack.enter_context(bench.servers.grpc(each)) for each in (none, many)]
            await asyncio.sleep(settle)
            idle, busy = await _observe(doors, [none, many], bench.scale(60, 15, 1))
        for name, unit, value, limit, goal in (
            ("memory", "MB", busy.memory, idle.memory, Goal("at most", 1.1, "ratio")),
            ("CPU", "% of a core", busy.cpu, idle.cpu, Goal("at most", 2.0)),
            ("queries", "a minute", busy.queries, idle.queries, Goal("at most", 120.0)),
        ):
            if limit:
                yield Case(
                    f"idle engine, {waiting:,} waiting: {name}, {many.kind}",
                    unit,
                    _known(value),
                    {"none waiting": _known(limit)},
                    goal,
                    rounds=1,
                    warm=False,
                )


async def _park(database: Database, executions: int) -> None:
    workflow = drive.define(database, "delay", parameters=b'{"duration_seconds":86400}')
    async with drive.service(database) as running:
        await drive.start_many(running, workflow, executions)
        while await running.list_executions(statuses=(ExecutionStatus.RUNNING,), limit=1):
            await asyncio.sleep(drive.LOOK)


async def _observe(doors: list[Door], databases: list[Database], seconds: int) -> list[Idle]:
    def read() -> list[tuple[float, float]]:
        return [(cpu_seconds(door.process.pid), _queries(each)) for door, each in zip(doors, databases, strict=True)]

    before = read()
    await asyncio.sleep(seconds)
    return [
        Idle(
            resident_mb(door.process.pid),
            (cpu - cpu_before) / seconds * 100,
            (queries - queries_before) / seconds * 60,
        )
        for door, (cpu, queries), (cpu_before, queries_before) in zip(doors, read(), before, strict=True)
    ]


def _queries(database: Database) -> float:
    """Transactions so far, as the server counts them; ours go to another database. SQLite does not count."""
    if database.kind == "SQLite":
        return 0
    name = database.url.partition("?")[0].rpartition("/")[2]
    connection = psycopg2.connect(database.url.replace(f"/{name}", "/postgres", 1))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s", (name,))
            return float(cursor.fetchall()[0][0])
    finally:
        connection.close()


def _known(value: float) -> Sampler:
    async def sample() -> float:
        return value

    return sample


benchmark = Benchmark("growth_waiting", "an idle engine with 100,000 waiting executions", cases)
