"""A page of executions out of a million beside one out of ten thousand."""

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from benchmarks import drive, rows
from benchmarks.measure import Bench, Benchmark, Case, Goal, Sampler
from engine.ports import Cursor
from engine.service import WorkflowService
from engine.states import ExecutionStatus


async def cases(bench: Bench) -> AsyncIterator[Case]:
    small, large = bench.scale(10_000, 10_000, 200), bench.scale(1_000_000, 200_000, 1_000)
    pages = bench.scale(100, 100, 5)
    for few, many in zip(bench.servers.databases(), bench.servers.databases(), strict=True):
        rows.executions(few, small)
        rows.executions(many, large)
        async with AsyncExitStack() as stack:
            services = [await stack.enter_async_context(drive.service(each, engine=False)) for each in (few, many)]
            middles = [rows.created_at(count // 2) for count in (small, large)]
            for name, asks in _questions(middles).items():
                yield Case(
                    f"page of 100 of {large:,}, {name}, {many.kind}",
                    "ms",
                    _pages(services[1], asks[1], pages),
                    {f"out of {small:,}": _pages(services[0], asks[0], pages)},
                    Goal("at most", 1.5, "ratio"),
                )


def _questions(middles: list[float]) -> dict[str, list[dict[str, Any]]]:
    """By name, what is asked of the small and of the large table."""
    return {
        "newest": [{}, {}],
        "from the middle": [{"after": Cursor(middle, 2**53)} for middle in middles],
        "failed only": [{"statuses": (ExecutionStatus.FAILED,)}] * 2,
        "of one workflow": [{"workflow": rows.WORKFLOWS}] * 2,
    }


def _pages(running: WorkflowService, asked: dict[str, Any], pages: int) -> Sampler:
    async def sample() -> float:
        times = []
        for _ in range(pages):
            began = time.perf_counter()
            assert await running.list_executions(**asked)
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1000

    return sample


benchmark = Benchmark("growth_list", "a list page of executions, many and few rows", cases)
