"""Runs nodes as the engine runs them: through the catalog with a rendered config, or as an attempt of an executor."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from msgspec import structs

from engine import registry
from engine.catalog import Catalog
from engine.connections import Connections
from engine.errors import TaskError
from engine.model import AwaitSignal, Completed, Failed, FanOut, Outcome, Result, Sleep, StartChild, TaskCall
from engine.task_ports import Host, NodeContext, NodeHandler
from executors._attempts import Attempts

HANDLERS: list[NodeHandler] = registry.scan("nodes", "handler")
CATALOG = Catalog(HANDLERS, ["asyncio"])


def call_of(kind: str, config: dict[str, Any], **more: Any) -> TaskCall:
    """As it comes from a stored graph."""
    kind, config = CATALOG.canonical(kind, config)
    return TaskCall(7, "a", kind, config, idempotency_key="7/a/", **more)


async def run(kind: str, config: dict[str, Any], context: NodeContext | None = None) -> Outcome:
    call = call_of(kind, config)
    work = partial(CATALOG.run, call, lambda: None, context or NodeContext(None, None))
    outcome = await asyncio.to_thread(work) if CATALOG.is_blocking(kind) else work()
    if inspect.isawaitable(outcome):
        return await outcome
    assert isinstance(outcome, Completed | Sleep | AwaitSignal | FanOut | StartChild)
    return outcome


async def completed(kind: str, config: dict[str, Any], context: NodeContext | None = None) -> Any:
    outcome = await run(kind, config, context)
    assert isinstance(outcome, Completed)
    return outcome.output


async def failure(kind: str, config: dict[str, Any], context: NodeContext | None = None) -> TaskError:
    with pytest.raises(TaskError) as caught:
        await run(kind, config, context)
    return caught.value


def connected(context: NodeContext, **settings: dict[str, Any]) -> NodeContext:
    """The same world with named servers."""
    return structs.replace(context, connections=Connections(settings, CATALOG.connection_kinds()))


def faults(kind: str, config: dict[str, Any]) -> list[str]:
    """Pointers of what is found at save."""
    return [fault.pointer for fault in CATALOG.config_faults(kind, config, "/config")]


class Runner:
    """Attempts as in an executor."""

    def __init__(self, context: NodeContext) -> None:
        host = Host(partial(CATALOG.run, context=context), CATALOG.is_blocking)
        self.attempts = Attempts(host, self._report, 2)
        self.results: list[Result] = []
        self._arrived = asyncio.Event()

    def _report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        self.results.append(result)
        self._arrived.set()

    async def result(self, kind: str, config: dict[str, Any], **more: Any) -> Result:
        self._arrived.clear()
        self.attempts.submit([call_of(kind, config, **more)])
        await self._arrived.wait()
        return self.results[-1]

    async def cancelled(self, kind: str, config: dict[str, Any], begun: asyncio.Event) -> None:
        """Cancels a call when `begun` says so, and lets what is left of it come to its end."""
        call = call_of(kind, config)
        self.attempts.submit([call])
        await begun.wait()
        self.attempts.cancel([call])
        await asyncio.sleep(0.05)
        assert self.results == []
        assert len(self.attempts) == 0


@asynccontextmanager
async def runner(context: NodeContext) -> AsyncIterator[Runner]:
    running = Runner(context)
    try:
        yield running
    finally:
        await running.attempts.stop()


async def timed_out(context: NodeContext, kind: str, config: dict[str, Any]) -> Failed:
    """What an attempt that is too slow for its task's timeout comes to."""
    async with runner(context) as attempts:
        result = await attempts.result(kind, config, timeout=0.2)
    assert isinstance(result, Failed)
    assert result.error.type == "timeout"
    assert result.retryable
    return result
