"""A whole engine on a SQLite file, with handlers that tests give it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from engine.caretakers.claims import claims
from engine.caretakers.inbox import Inbox
from engine.caretakers.loop import Duty, repeat
from engine.caretakers.pools import PoolWatch
from engine.dialect_ports import Definition
from engine.events import Event, decode
from engine.graph import compile_definition
from engine.library import Library
from engine.model import Completed, Edge, ExecutionRow, Graph, Outcome, Presentation, Task, TaskCall
from engine.ports import Committed, NewExecution, NewWorkflow, Signal, Store
from engine.progress import Progress
from engine.service import WorkflowService
from engine.states import ExecutionStatus, is_terminal
from engine.task_ports import ExecutorOptions, Host
from engine.views import Views
from engine.worker import Terms, Worker
from executors.asyncio_executor import AsyncioExecutor
from storage.sqlite import SQLiteStore
from tests.stores import sql


def open_nothing() -> AbstractAsyncContextManager[Host]:
    """For executors that start no process."""
    raise AssertionError("no other process is needed here")


Handler = Callable[[TaskCall], Outcome | Awaitable[Outcome]]


class Engine:
    """One process's engine. Use it as an async context manager; leaving it stops the engine gracefully."""

    def __init__(self, path: Path, *, slots: int = 4, stop_seconds: float = 0.0, store: Store | None = None) -> None:
        self.stop_seconds = stop_seconds
        self.url = f"sqlite:///{path}/engine.db"
        self.store: Store = store or SQLiteStore(self.url)
        self.handlers: dict[str, Handler] = {"noop": lambda call: Completed(call.config)}
        self.ran: list[tuple[str, int]] = []
        """Task and attempt of each handler that was called."""
        self.slots = slots

    async def __aenter__(self) -> "Engine":
        await self.store.open()
        self.library = Library(self.store)
        host = Host(self._run, lambda kind: kind.startswith("blocking"))
        options = ExecutorOptions(host, open_nothing, threads=4)
        self.worker = Worker(
            self.store,
            self.library,
            {"asyncio": partial(AsyncioExecutor, options)},
            "asyncio",
            Progress(),
            Terms("test", 60, self.slots, self.stop_seconds),
        )
        await self.worker.start()
        self.inbox = Inbox(self.worker)
        self.look_after()
        return self

    def look_after(self) -> None:
        """Starts the caretakers."""
        self.pools = PoolWatch(self.worker)
        duties: dict[str, Duty] = {
            "claims": partial(claims, self.worker),
            "inbox": self.inbox.round,
            "pools": self.pools.round,
        }
        self.caretakers = [asyncio.create_task(repeat(name, duty)) for name, duty in duties.items()]

    async def __aexit__(self, *_: object) -> None:
        for task in self.caretakers:
            task.cancel()
        await asyncio.gather(*self.caretakers, return_exceptions=True)
        await self.worker.stop()
        await self.store.close()

    def _run(self, call: TaskCall, beat: Callable[[], None]) -> Outcome | Awaitable[Outcome]:
        self.ran.append((call.task, call.attempt))
        return self.handlers[call.type](call)

    # --- what a service does ---

    async def define(self, *tasks: Task, edges: Iterable[Edge] = (), max_concurrency: int | None = None) -> int:
        """A workflow; answers the id of its version."""
        definition = Definition(Graph(tasks, tuple(edges), max_concurrency=max_concurrency), Presentation())
        workflow = await self.store.create_workflow(NewWorkflow("default", "w"))
        version, _ = await self.store.ensure_version(
            "default", workflow.id, lambda draft, read: compile_definition(definition)
        )
        return version.id

    async def start(self, version: int, value: Any = None, *, key: str | None = None) -> tuple[int, Committed]:
        """An execution owned by this engine, durable on return."""
        (number,) = await self.store.reserve_ids(1)
        entry = (await self.library.get([version]))[version]
        new = NewExecution("default", 1, version, ExecutionStatus.PENDING, True, key, b"same")
        answer: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()

        def done(result: object) -> None:
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                assert isinstance(result, Committed)
                answer.set_result(result)

        self.worker.begin(number, entry, new, value, done)
        return number, await answer

    async def run(self, *tasks: Task, edges: Iterable[Edge] = (), value: Any = None) -> ExecutionRow:
        """Defines, starts and waits for the end."""
        number, _ = await self.start(await self.define(*tasks, edges=edges), value)
        return await self.ended(number)

    async def tell(self, number: int, name: str, payload: bytes = b"null", kind: str = "event") -> None:
        await self.store.put_signals([Signal(number, kind, name, payload)])
        self.inbox.tell((number,))
        self.worker.wake_claims.set()

    # --- what tests look at ---

    async def row(self, number: int) -> ExecutionRow:
        return (await self.store.get_executions([number]))[number]

    async def events(self, number: int) -> list[Event]:
        return [decode(stored) for stored in (await self.store.read_events({number: 0}))[number]]

    async def ended(self, number: int) -> ExecutionRow:
        return await self.until(number, lambda row: is_terminal(row.status))

    async def until(self, number: int, reached: Callable[[ExecutionRow], bool]) -> ExecutionRow:
        """The row when `reached` holds of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while not reached(row := await self.row(number)):
                    await asyncio.sleep(0.005)
                return row
        raise AssertionError(f"{row} {await self.events(number)}")

    def sql(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Beside the engine, straight into the database."""
        return sql(self.url, statement, **values)

    async def is_idle(self) -> bool:
        """Whether nothing is held any more: no slot, no run. The row says the end before the engine has heard of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while self.worker.runs or self.worker._slots.free != self.slots:
                    await asyncio.sleep(0.005)
                return True
        return False


def looking_service(store: Store, views: Views) -> WorkflowService:
    """One that reads and cancels, of another process: nobody tells it of what an engine does."""
    nobody: Any = None
    return WorkflowService(
        store,
        nobody,
        views,
        Progress(),
        cache=None,
        worker=None,
        lag=nobody,
        tell_inbox=lambda _: None,
        trials=nobody,
        secrets=nobody,
        actions=nobody,
        dry_runs=nobody,
    )
