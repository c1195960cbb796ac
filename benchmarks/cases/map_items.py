"""A map over many items: events of one execution, several in a commit."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec

from benchmarks import bare, drive
from benchmarks.bare import Bare
from benchmarks.measure import Bench, Benchmark, Case, Goal
from engine.service import WorkflowService

PARALLEL = (10, 100)
"""`max_parallel`: the default, and what a list of cheap items is given."""


async def cases(bench: Bench) -> AsyncIterator[Case]:
    items = bench.scale(10_000, 10_000, 20)
    for database, empty in zip(bench.servers.databases(), bench.servers.databases(), strict=True):
        workflows = {parallel: drive.define(database, "map", parameters=_config(parallel)) for parallel in PARALLEL}
        async with drive.service(database) as running:
            with bare.journal(empty) as journal:
                for parallel, workflow in workflows.items():
                    yield Case(
                        f"a map of {items:,} items, {parallel} at once, {database.kind}",
                        "items/s",
                        partial(_product, running, workflow, items),
                        {"bare group commits": partial(_limit, journal, items)},
                        Goal("at least", 5_000),
                    )


def _config(parallel: int) -> bytes:
    task: dict[str, Any] = {"type": "noop", "config": {"item": "{{item}}"}}
    return msgspec.json.encode({"items": "{{input.items}}", "max_parallel": parallel, "task": task})


async def _product(running: WorkflowService, workflow: int, items: int) -> float:
    return items / await drive.run_one(running, workflow, {"items": list(range(items))})


async def _limit(journal: Bare, items: int) -> float:
    return bare.rate(journal, items)


benchmark = Benchmark("map", "one map over 10,000 no-op items", cases)
