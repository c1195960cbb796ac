"""W2: what one engine process does when it has much to do."""

from collections.abc import AsyncIterator
from functools import partial

from benchmarks import bare, drive
from benchmarks.bare import Bare
from benchmarks.measure import Bench, Benchmark, Case, Goal
from engine.service import WorkflowService

TASKS = 10
SHARE = {"PostgreSQL": 1 / 3, "SQLite": 1 / 6}


async def cases(bench: Bench) -> AsyncIterator[Case]:
    executions = bench.scale(2_000, 2_000, 4)
    for database, empty in zip(bench.servers.databases(), bench.servers.databases(), strict=True):
        workflow = drive.define(database, *["noop"] * TASKS)
        async with drive.service(database) as running:
            with bare.journal(empty) as journal:
                yield Case(
                    f"{executions:,} × {TASKS} sequential tasks, {database.kind}",
                    "tasks/s",
                    partial(_product, running, workflow, executions),
                    {"bare group commits": partial(_limit, journal, executions * TASKS)},
                    Goal("at least", SHARE[database.kind], "ratio"),
                )


async def _product(running: WorkflowService, workflow: int, executions: int) -> float:
    return executions * TASKS / await drive.run_many(running, workflow, executions)


async def _limit(journal: Bare, tasks: int) -> float:
    return bare.rate(journal, tasks)


benchmark = Benchmark("w2", "2,000 executions of 10 sequential no-op tasks, one engine process", cases)
