"""W1: how long a task takes that nobody shares a commit with."""

from collections.abc import AsyncIterator
from functools import partial

from benchmarks import bare, drive
from benchmarks.bare import Bare
from benchmarks.measure import Bench, Benchmark, Case, Goal
from engine.service import WorkflowService

TASKS = 40


async def cases(bench: Bench) -> AsyncIterator[Case]:
    repeats = bench.scale(20, 5, 1)
    for database, empty in zip(bench.servers.databases(), bench.servers.databases(), strict=True):
        workflow = drive.define(database, *["noop"] * TASKS)
        async with drive.service(database) as running:
            with bare.journal(empty) as journal:
                yield Case(
                    f"1 × {TASKS} sequential tasks, {database.kind}",
                    "ms/task",
                    partial(_product, running, workflow, repeats),
                    {"bare commits": partial(_limit, journal, repeats)},
                    Goal("at most", 0.7) if database.kind == "PostgreSQL" else None,
                )


async def _product(running: WorkflowService, workflow: int, repeats: int) -> float:
    seconds = sum([await drive.run_one(running, workflow) for _ in range(repeats)])
    return seconds / repeats / TASKS * 1000


async def _limit(journal: Bare, repeats: int) -> float:
    return bare.one_by_one(journal, TASKS * repeats)


benchmark = Benchmark("w1", "one execution of 40 sequential no-op tasks", cases)
