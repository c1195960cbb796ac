"""W3: one execution with many tasks side by side."""

from collections.abc import AsyncIterator
from functools import partial

from benchmarks import bare, drive
from benchmarks.bare import Bare
from benchmarks.measure import Bench, Benchmark, Case, Goal
from engine.service import WorkflowService

REPEATS = 5
"""One execution after the other, so that a sample is long enough."""


async def cases(bench: Bench) -> AsyncIterator[Case]:
    tasks = bench.scale(1_000, 1_000, 20)
    for database, empty in zip(bench.servers.databases(), bench.servers.databases(), strict=True):
        workflow = drive.define(database, *["noop"] * tasks, execution_type="async")
        async with drive.service(database) as running:
            with bare.journal(empty) as journal:
                yield Case(
                    f"1 × {tasks:,} parallel tasks, {database.kind}",
                    "tasks/s",
                    partial(_product, running, workflow, tasks),
                    {"bare group commits": partial(_limit, journal, tasks)},
                    Goal("at least", 10_000),
                )


async def _product(running: WorkflowService, workflow: int, tasks: int) -> float:
    return tasks * REPEATS / sum([await drive.run_one(running, workflow) for _ in range(REPEATS)])


async def _limit(journal: Bare, tasks: int) -> float:
    return bare.rate(journal, tasks * REPEATS)


benchmark = Benchmark("w3", "one execution of 1,000 parallel no-op tasks", cases)
