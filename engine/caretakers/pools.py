"""Looks for slots of pools that other engines have handed out, and mends what a death has left undone."""

import asyncio
from collections.abc import Iterable

from engine.errors import LeaseLost
from engine.states import SlotStage
from engine.worker import Worker

POLL = 10.0
"""Seconds between looks that nothing asked for: the guarantee behind all wake-ups."""


class PoolWatch:
    """`tell` says that tasks of these executions were granted slots; an empty tuple says: some may have been."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._told = asyncio.Event()
        self._executions: set[int] = set()
        self._all = False
        self._next = 0.0

    def tell(self, executions: tuple[int, ...] = ()) -> None:
        """Wakes the next round."""
        self._executions.update(executions)
        self._all = self._all or not executions
        self._told.set()

    async def round(self) -> None:
        """One round: wait for word or the poll, then look."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(self._next):
                await self._told.wait()
        except TimeoutError:
            self._next = loop.time() + POLL
            await self._poll()
        else:
            self._told.clear()
            told, self._executions = self._executions, set()
            everybody, self._all = self._all, False
            await self._look(self._in_line() if everybody else told)

    async def _look(self, executions: Iterable[int]) -> None:
        worker = self._worker
        mine = [number for number in executions if number in worker.runs]
        worker.wake_claims.set()  # one that has just been parked is due at once
        for slot in await worker.store.get_slots(mine) if mine else ():
            run = worker.runs.get(slot.execution_id)
            if run is not None and slot.stage is SlotStage.HELD:
                run.admit(slot.task)

    async def _poll(self) -> None:
        worker = self._worker
        lease = worker.lease
        try:
            worker.granted(await worker.store.mend_slots(lease, worker.lease_seconds / 2))
        except LeaseLost:
            if lease == worker.lease:
                worker.lost()
            return
        line = self._in_line()
        if line:
            await self._look(line)
        for number in line:
            if number in worker.runs:
                worker.runs[number].polled()

    def _in_line(self) -> list[int]:
        runs = self._worker.runs
        mine = ((number, run.tickets) for number, run in runs.items())
        return [number for number, tickets in mine if tickets is not None and (tickets.line or tickets.owes)]
