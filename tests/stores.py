"""Words for tests of storage: open a store of any kind, and say in a line what an engine would append."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from engine import registry
from engine.events import EventRecord
from engine.ports import Append, NewExecution, NewTask, NewWorkflow, Park, Store, TaskEdit
from engine.states import ExecutionStatus
from storage.postgresql_session import Session
from storage.schema import migration_engine

SPACE = "default"
STARTED = EventRecord("ExecutionStarted", b"{}")
TOLD = EventRecord("TaskStarted", b'{"task":"a"}')


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """A store on the database at `url`, closed afterwards."""
    kind = url.partition(":")[0].partition("+")[0]
    store: Store = registry.load("storage", kind, "open_store")(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def sql(url: str, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Beside every store, straight into the database."""
    engine = migration_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def execution(**changes: Any) -> NewExecution:
    values: dict[str, Any] = {
        "namespace": SPACE,
        "workflow_id": 1,
        "version_id": 1,
        "status": ExecutionStatus.RUNNING,
        "owned": True,
    }
    return NewExecution(**values | changes)


def begins(number: int, **changes: Any) -> Append:
    """The first append of an execution, with its row and one event."""
    return Append(number, 1, (STARTED,), execution(**changes))


def waits(number: int, **changes: Any) -> Append:
    """The first append of an execution that no engine owns; it is due at once."""
    return begins(number, owned=False, status=ExecutionStatus.PENDING, **changes)


def says(number: int, seq: int, **changes: Any) -> Append:
    """One event of a running execution."""
    return Append(number, seq, (TOLD,), **changes)


def parks(number: int, seq: int, **park: Any) -> Append:
    return says(number, seq, status=ExecutionStatus.WAITING, park=Park(**park))


def ends(number: int, seq: int) -> Append:
    return says(number, seq, status=ExecutionStatus.COMPLETED)


def adds(name: str = "task", **fields: Any) -> TaskEdit:
    """An edit that adds a task."""
    return TaskEdit(check=lambda draft: None, new=NewTask(name, **fields))


def workflow(name: str = "flow", **fields: Any) -> NewWorkflow:
    return NewWorkflow(SPACE, name, **fields)


async def seqs(store: Store, number: int) -> list[int]:
    """What the journal holds of an execution."""
    return [event.seq for event in (await store.read_events({number: 0}))[number]]


@asynccontextmanager
async def locked(url: str, statement: str, end: str = "COMMIT") -> AsyncIterator[None]:
    """A transaction of somebody else on PostgreSQL that stays open meanwhile."""
    session = Session(url)
    await session.run("BEGIN")
    await session.run(statement)
    yield
    await session.run(end)
    session.close()


def cut_connections(url: str) -> int:
    """Ends every connection of ours to this database; other tests share the server."""
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
    return len(sql(url, f"{kill} application_name = 'millrace'"))


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what must come."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)
