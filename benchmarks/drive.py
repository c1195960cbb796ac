"""An engine in this process, workflows to run on it, and how long they took."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import insert

from benchmarks.servers import Database
from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine.service import WorkflowService
from engine.states import ExecutionStatus
from storage.schema import migration_engine
from storage.tables import metadata

CALLERS = 256
LOOK = 0.01
"""Seconds between two looks whether all have ended."""


@asynccontextmanager
async def service(database: Database, *, engine: bool = True, **others: Any) -> AsyncIterator[WorkflowService]:
    """As in `python -m server`, without the door; `others` are settings."""
    settings = Settings(database_url=database.url, cache="off", _env_file=None, **others)  # type: ignore[call-arg]
    async with open_service(settings, engine=engine) as opened:
        yield opened


def define(database: Database, *types: str, execution_type: str = "sync", parameters: bytes = b"{}") -> int:
    """A workflow with one task of each of these node types, written into an unopened database; its id."""
    workflow, task = metadata.tables["workflow"], metadata.tables["task"]
    times = {"created_at": time.time(), "updated_at": time.time()}
    named: dict[str, Any] = {"namespace": "default", "name": "bench", "dialect": "ordered_tasks", **times}
    row: dict[str, Any] = {
        "execution_type": execution_type,
        "depends_on": b"[]",
        "condition": b"true",
        "retry": b"{}",
        "on_error": "fail",
        "resources": b"{}",
        "concurrency_limit": 1,
        "compensate": b"null",
        **times,
    }
    engine = migration_engine(database.url)
    with engine.begin() as connection:
        number: int = connection.execute(insert(workflow).values(**named).returning(workflow.c.id)).scalar_one()
        rows = [
            {
                **row,
                "workflow_id": number,
                "key": f"task_{n}",
                "name": f"Task {n}",
                "position": n,
                "type": kind,
                "parameters": b"{}" if kind == "noop" else parameters,
            }
            for n, kind in enumerate(types, 1)
        ]
        connection.execute(insert(task), rows)
    engine.dispose()
    return number


async def run_one(running: WorkflowService, workflow: int, value: Any = None) -> float:
    """Seconds from the start of one execution, with this input, until its caller sees it completed."""
    began = time.perf_counter()
    started = await running.execute_workflow(workflow, value)
    view = await running.wait(started.execution_id, 60)
    assert view.status is ExecutionStatus.COMPLETED, view.status
    return time.perf_counter() - began


async def start_many(running: WorkflowService, workflow: int, executions: int) -> None:
    """By many callers at once; returns when the last start is durable."""
    left = iter(range(executions))

    async def caller() -> None:
        for _ in left:
            await running.execute_workflow(workflow)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def run_many(running: WorkflowService, workflow: int, executions: int) -> float:
    """Seconds from the first start to the last end."""
    began = time.perf_counter()
    await start_many(running, workflow, executions)
    while await running.list_executions(statuses=(ExecutionStatus.RUNNING,), limit=1):
        await asyncio.sleep(LOOK)
    return time.perf_counter() - began
