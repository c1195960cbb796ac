"""An executor whose calls are given the sealed secrets that their configs refer to, on the way to it."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import structlog
from msgspec import structs

from engine.errors import MillraceError, StoreUnavailable, TaskError
from engine.keeper import Keeper
from engine.model import Envelope, Failed, Failure, Result, TaskCall
from engine.secrets import names_in
from engine.task_ports import Executor, Report

RETRY = 0.2
"""Seconds between tries while the database is away."""

log = structlog.get_logger(__name__)


class SealingExecutor:
    """Calls without secrets pass through untouched; the others wait for one read of the store, also while it is away:
    that is no failure of the attempt.
    """

    name: ClassVar[str] = "sealing"
    outlives: ClassVar[bool] = False

    def __init__(self, inner: Executor, keeper: Keeper) -> None:
        self.name, self.outlives = inner.name, inner.outlives  # type: ignore[misc]
        self._inner = inner
        self._keeper = keeper
        self._report: Report
        self._fetching: dict[int, asyncio.Task[None]] = {}
        self._sent: dict[int, tuple[TaskCall, TaskCall]] = {}
        """By the identity of what was sent: that, and the call that the engine knows."""
        self._sealed: dict[int, TaskCall] = {}
        """By the identity of the engine's call: what was sent for it."""

    async def start(self, report: Report) -> None:
        self._report = report
        await self._inner.start(self._arrived)

    async def stop(self) -> None:
        for task in self._fetching.values():
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)
        await self._inner.stop()

    def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        return self._inner.attach(calls)

    def submit(self, calls: Sequence[TaskCall]) -> None:
        plain = []
        for call in calls:
            if names := names_in(call.config):
                self._fetching[id(call)] = asyncio.create_task(self._fetch(call, names))
            else:
                plain.append(call)
        if plain:
            self._inner.submit(plain)

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        self._inner.cancel(self._left(calls))

    def detach(self, calls: Sequence[TaskCall]) -> None:
        self._inner.detach(self._left(calls))

    async def _fetch(self, call: TaskCall, names: set[str]) -> None:
        try:
            envelopes = await self._insist(names)
        except MillraceError as error:
            retryable = error.retryable if isinstance(error, TaskError) else True
            kind = error.type if isinstance(error, TaskError) else error.code
            del self._fetching[id(call)]
            self._report(call, Failed(Failure(kind, error.message, call.task), retryable), 0.0)
            return
        del self._fetching[id(call)]
        sealed = structs.replace(call, secrets=envelopes)
        self._sent[id(sealed)] = sealed, call
        self._sealed[id(call)] = sealed
        self._inner.submit([sealed])

    async def _insist(self, names: set[str]) -> dict[str, Envelope]:
        while True:
            try:
                return await self._keeper.envelopes(names)
            except StoreUnavailable as error:
                log.warning("the database does not answer; a task waits for its secrets", error=str(error))
                await asyncio.sleep(RETRY)

    def _arrived(self, call: TaskCall, result: Result, elapsed: float) -> None:
        sent = self._sent.pop(id(call), None)
        if sent is not None:
            call = sent[1]
            self._sealed.pop(id(call), None)
        self._report(call, result, elapsed)

    def _left(self, calls: Sequence[TaskCall]) -> list[TaskCall]:
        """What the inner executor knows of `calls`; they are forgotten here."""
        known = []
        for call in calls:
            task = self._fetching.pop(id(call), None)
            if task is not None:
                task.cancel()
                continue
            sealed = self._sealed.pop(id(call), call)
            self._sent.pop(id(sealed), None)
            known.append(sealed)
        return known
