"""What a task costs in a workflow of 10,000 beside one of 10: the planner must not see the whole graph each time.

Processor time, because that is where a planner's share would show; both sides share their commits alike.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial

from benchmarks import drive
from benchmarks.measure import Bench, Benchmark, Case, Goal
from engine.service import WorkflowService

SMALL = 10
LANES = 8
"""Sequential executions side by side."""


async def cases(bench: Bench) -> AsyncIterator[Case]:
    large = bench.scale(10_000, 2_000, 40)
    goal = Goal("at most", 1.3, "ratio")
    limit = f"workflows of {SMALL}"
    for database in bench.servers.databases():
        wide, wide_small, long, long_small = (
            drive.define(database, *["noop"] * size, execution_type=shape)
            for shape in ("async", "sync")
            for size in (large, SMALL)
        )
        async with drive.service(database) as running:
            yield Case(
                f"{large:,} parallel tasks, {database.kind}",
                "µs of CPU/task",
                partial(_lanes, running, wide, 1, 1, large),
                {limit: partial(_many, running, wide_small, large)},
                goal,
            )
            yield Case(
                f"{LANES} × {large:,} sequential tasks, {database.kind}",
                "µs of CPU/task",
                partial(_lanes, running, long, LANES, 1, large),
                {limit: partial(_lanes, running, long_small, LANES, large // SMALL, SMALL)},
                goal,
            )


async def _lanes(running: WorkflowService, workflow: int, lanes: int, each: int, tasks: int) -> float:
    """In each lane so many executions, one after the other."""

    async def lane() -> None:
        for _ in range(each):
            await drive.run_one(running, workflow)

    return await _cost(asyncio.gather(*(lane() for _ in range(lanes))), lanes * each * tasks)


async def _many(running: WorkflowService, workflow: int, tasks: int) -> float:
    return await _cost(drive.run_many(running, workflow, tasks // SMALL), tasks)


async def _cost(work: Awaitable[object], tasks: int) -> float:
    began = time.process_time()
    await work
    return (time.process_time() - began) / tasks * 1e6


benchmark = Benchmark("growth_tasks", "cost of a task in large and small workflows", cases)
