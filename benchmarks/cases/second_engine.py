"""What a second engine process costs: processor seconds per task of two engines beside those of one."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from benchmarks import drive
from benchmarks.measure import Bench, Benchmark, Case, Goal
from benchmarks.servers import Servers
from deploy.health import grpc_is_up
from deploy.processes import Process
from deploy.servers import free_port
from engine.service import WorkflowService
from engine.states import ExecutionStatus

TASKS = 10
OPEN = (ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.WAITING)
TICKS = os.sysconf("SC_CLK_TCK")


async def cases(bench: Bench) -> AsyncIterator[Case]:
    executions = bench.scale(2_000, 1_000, 4)
    async with AsyncExitStack() as stack:
        samplers = []
        for count in (2, 1):
            database = stack.enter_context(bench.servers.postgres())
            workflow = drive.define(database, *["noop"] * TASKS)
            engines = [await _engine(bench.servers, stack, database.url) for _ in range(count)]
            running = await stack.enter_async_context(drive.service(database, engine=False))
            samplers.append(partial(_cpu, running, workflow, executions, engines))
        yield Case(
            f"{executions:,} × {TASKS} tasks on two engines, PostgreSQL",
            "CPU µs/task",
            samplers[0],
            {"one engine": samplers[1]},
            Goal("at most", 1.1, "ratio"),
        )


async def _engine(servers: Servers, stack: AsyncExitStack, url: str) -> Process:
    port = free_port()
    process = stack.enter_context(servers.process("engine", "-m", "server", DATABASE_URL=url, GRPC_PORT=str(port)))
    await asyncio.to_thread(process.wait_ready, lambda: grpc_is_up(f"127.0.0.1:{port}"))
    return process


async def _cpu(running: WorkflowService, workflow: int, executions: int, engines: Sequence[Process]) -> float:
    """Of the engines alone, from the first start to the last end."""
    before = sum(map(_ticks, engines))
    await drive.start_many(running, workflow, executions)
    while await running.list_executions(statuses=OPEN, limit=1):
        await asyncio.sleep(drive.LOOK)
    return max(1, sum(map(_ticks, engines)) - before) / TICKS / (executions * TASKS) * 1e6


def _ticks(process: Process) -> int:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


benchmark = Benchmark("second_engine", "processor seconds per task of two engines beside one", cases)
