"""What a task costs on Ray through us, beside Ray alone: the same cluster, as many at once, in turns."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from uuid import uuid4

from benchmarks import drive
from benchmarks.measure import Bench, Benchmark, Case, Goal
from bootstrap import tasks as hosts
from bootstrap.settings import Settings
from deploy import ray_node
from deploy.processes import ROOT
from engine.model import Result, TaskCall
from engine.service import WorkflowService
from engine.task_ports import ExecutorOptions
from executors.ray_executor import RayExecutor

AT_ONCE = 1000
TASKS = 10
"""Of an execution; all of them side by side."""
GOAL = Goal("at most", 1.5, "ratio")


async def cases(bench: Bench) -> AsyncIterator[Case]:
    many, few = bench.scale(10_000, 3_000, 20), bench.scale(300, 100, 3)
    address = bench.servers.ray()
    with _ray_alone(address) as alone, bench.servers.postgres() as database:
        async with _executor(address) as lane:
            both = {f"Ray alone, {how}": partial(_limit, alone, how, many, AT_ONCE) for how in ("tasks", "actors")}
            yield Case("calls, 1,000 at once", "ms/task", partial(lane.run, many, AT_ONCE), both, GOAL)
            one = {"Ray alone, tasks": partial(_limit, alone, "tasks", few, 1)}
            yield Case("calls, one by one", "ms/task", partial(lane.run, few, 1), one, GOAL)
        workflow = drive.define(database, *["noop"] * TASKS, execution_type="async")
        async with drive.service(database, executor="ray", ray_address=address) as running:
            whole = {"Ray alone, tasks": partial(_limit, alone, "tasks", many, AT_ONCE)}
            product = partial(_product, running, workflow, many // TASKS)
            yield Case(f"durable executions of {TASKS} tasks, {database.kind}", "ms/task", product, whole, GOAL)


class _Lane:
    """An executor without an engine."""

    def __init__(self, executor: RayExecutor) -> None:
        self._executor = executor
        self._names = iter(range(10**9))
        self._missing = 0
        self._all = asyncio.Event()

    def report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        self._missing -= 1
        if not self._missing:
            self._all.set()

    async def run(self, tasks: int, at_once: int) -> float:
        """Milliseconds per task."""
        began = time.perf_counter()
        for first in range(0, tasks, at_once):
            self._missing = min(at_once, tasks - first)
            self._all.clear()
            calls = [TaskCall(1, f"t{next(self._names)}", "noop", {}) for _ in range(self._missing)]
            self._executor.submit(calls)
            await self._all.wait()
        return (time.perf_counter() - began) / tasks * 1000


@asynccontextmanager
async def _executor(address: str) -> AsyncIterator[_Lane]:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    async with hosts.host(settings, hosts.catalog(settings)) as host:
        options = ExecutorOptions(host, hosts.open_host, 4, ray_address=address, installation=uuid4().hex)
        executor = RayExecutor(options)
        lane = _Lane(executor)
        await executor.start(lane.report)
        yield lane
        await executor.stop()


async def _product(running: WorkflowService, workflow: int, executions: int) -> float:
    return await drive.run_many(running, workflow, executions) / (executions * TASKS) * 1000


@contextmanager
def _ray_alone(address: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.ray_limit", address]
    environment = {**os.environ, **ray_node.environment()}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None, "Ray alone did not begin"
        yield process
        process.stdin.close()


async def _limit(alone: "subprocess.Popen[str]", how: str, tasks: int, at_once: int) -> float:
    assert alone.stdin is not None
    assert alone.stdout is not None
    alone.stdin.write(f"{how} {tasks} {at_once}\n")
    alone.stdin.flush()
    while line := await asyncio.to_thread(alone.stdout.readline):
        try:
            return float(line)
        except ValueError:
            continue  # what Ray prints of its workers
    raise AssertionError("Ray alone ended")


benchmark = Benchmark("ray", "a no-op task on Ray, beside Ray alone", cases)
