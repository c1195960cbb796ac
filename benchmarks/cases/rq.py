"""Tasks on workers of RQ, beside RQ's own workers, as many processes of the one as of the other."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks import drive, rq_bare
from benchmarks.measure import Bench, Benchmark, Case, Goal
from benchmarks.servers import Servers
from engine.service import WorkflowService

WORKERS = (1, 2)
LAST = 15
"""The database of Redis that RQ alone has, and empties: the first ones belong to whoever else uses the server."""


async def cases(bench: Bench) -> AsyncIterator[Case]:
    tasks = bench.scale(1_000, 500, 10)
    for workers in WORKERS[: bench.scale(2, 2, 1)]:
        url = bench.servers.redis()
        with bench.servers.postgres() as database, _workers(bench.servers, url, workers):
            workflow = drive.define(database, *["noop"] * tasks, execution_type="async")
            async with drive.service(database, executor="rq", redis_url=url) as running:
                yield Case(
                    f"1 × {tasks:,} parallel tasks on {workers} worker{'s'[: workers - 1]}, PostgreSQL",
                    "ms/task",
                    partial(_product, running, workflow, tasks),
                    {"RQ SimpleWorker": partial(_limit, f"{url.rpartition('/')[0]}/{LAST}", tasks, workers)},
                    Goal("at most", 1.2, "ratio"),
                )


@contextmanager
def _workers(servers: Servers, url: str, count: int) -> Iterator[None]:
    """Ready ones, one task at a time each, as RQ's."""
    with ExitStack() as stack:
        folder = servers.new_folder()
        for number in range(count):
            ready = folder / f"{number}.json"
            command = ["cli.py", "worker", "--concurrency", "1", "--ready-file", str(ready)]
            process = stack.enter_context(servers.process("worker", *command, REDIS_URL=url))
            process.wait_ready(ready.exists)
            assert json.loads(ready.read_text())["pid"] == process.pid
        yield


async def _product(running: WorkflowService, workflow: int, tasks: int) -> float:
    return await drive.run_one(running, workflow) / tasks * 1000


async def _limit(url: str, tasks: int, workers: int) -> float:
    return await asyncio.to_thread(rq_bare.milliseconds, url, tasks, workers)


benchmark = Benchmark("rq", "tasks on workers of RQ", cases)
