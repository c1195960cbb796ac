"""Reads signals for executions in memory. A wake-up makes it quick; the poll makes it certain."""

import asyncio

from engine.worker import Worker

POLL = 5.0


class Inbox:
    """`tell` says that these executions have signals; an empty tuple says: some may have."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._told = asyncio.Event()
        self._executions: set[int] = set()
        self._all = True
        worker.waker.tell_inbox = self.tell

    def tell(self, executions: tuple[int, ...] = ()) -> None:
        """Wakes the next round."""
        self._executions.update(executions)
        self._all = self._all or not executions
        self._told.set()

    async def round(self) -> None:
        """One round: wait for word or the poll, then read and hand over."""
        try:
            async with asyncio.timeout(POLL):
                await self._told.wait()
        except TimeoutError:
            self._all = True
        self._told.clear()
        worker = self._worker
        mine = None if self._all else [i for i in self._executions if i in worker.runs]
        if mine is not None and len(mine) < len(self._executions):
            worker.wake_claims.set()
        self._executions, self._all = set(), False
        if worker.runs and (mine is None or mine):
            worker.take_signals(await worker.store.inbox(worker.lease, mine))
