"""The write queue: one per process. It collects what all executions have to say and commits it together.

The more load, the larger the batch; a lone append waits for nobody. A refused batch is bisected, so that one bad
item harms nobody. While the database is away the batch is kept and tried again; the store finds out, by the batch's
number, whether a commit whose answer was lost took place.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from engine.errors import BatchRefused, LeaseLost, MillraceError, StoreUnavailable
from engine.failpoints import hit
from engine.ports import Append, Committed, JournalStore

MAX_ITEMS = 512
MAX_BYTES = 4 * 1024 * 1024
SMALL = 128
"""A smaller batch costs more in round trips than in rows: what the commit before it allowed joins it first."""
RETRY_FIRST, RETRY_LAST = 0.05, 2.0
"""Seconds between tries while the database is away."""

log = structlog.get_logger(__name__)

Done = Callable[[Committed | MillraceError], None]


class Item(NamedTuple):
    """An append and who wants to know what became of it."""

    append: Append
    done: Done


class WriteQueue:
    """Batches appends under one lease. `settled` is called once after each batch, when all its items were told."""

    def __init__(self, store: JournalStore, settled: Callable[[], None]) -> None:
        self._store = store
        self._settled = settled
        self._items: deque[Item] = deque()
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._batch = 0
        self._lease = 0
        self._broken = False
        self.on_lost: Callable[[], None] = lambda: None

    def start(self, lease: int) -> None:
        """Begins to commit under `lease`."""
        self._lease = lease
        self._broken = False
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="write-queue")

    async def stop(self) -> None:
        """Commits what is queued, if the database is there, and ends."""
        task, self._task = self._task, None
        if task is None:
            return
        self._drained.clear()
        self._wake.set()
        try:
            async with asyncio.timeout(5):
                await self._drained.wait()
        except TimeoutError:
            log.warning("write queue stopped with items left; nothing was answered for them", items=len(self._items))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, append: Append, done: Done) -> None:
        """Queues an append; everything in it is already encoded and checked."""
        if self._broken:
            asyncio.get_running_loop().call_soon(done, LeaseLost())
            return
        self._items.append(Item(append, done))
        self._wake.set()

    def lose(self) -> None:
        """The lease was lost: everything queued is refused, until `start` with a new one."""
        self._broken = True
        items, self._items = self._items, deque()
        for item in items:
            item.done(LeaseLost())

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._items:
                await self._commit(self._take(), self._lease)
                self._settled()
                if 0 < len(self._items) < SMALL:
                    await asyncio.sleep(0)
            self._drained.set()

    def _take(self) -> list[Item]:
        items = self._items
        batch: list[Item] = []
        size = 0
        while items and len(batch) < MAX_ITEMS and size < MAX_BYTES:
            item = items.popleft()
            for event in item.append.events:
                size += len(event.data)
            if item.append.children or item.append.signals:
                size += _told(item.append)
            batch.append(item)
        return batch

    async def _commit(self, batch: list[Item], lease: int) -> None:
        self._batch += 1
        try:
            committed = await self._insist(lease, [item.append for item in batch])
        except LeaseLost as error:
            log.warning("writes of a lost lease were refused", lease=lease, items=len(batch))
            self._tell(batch, error)
            if lease == self._lease and not self._broken:
                self.lose()
                self.on_lost()
        except Exception as error:
            await self._bisect(batch, lease, error)
        else:
            self._tell(batch, committed)

    async def _insist(self, lease: int, appends: list[Append]) -> Committed:
        pause = RETRY_FIRST
        while True:
            try:
                hit("commit.before")
                committed = await self._store.commit(lease, self._batch, appends)
                hit("commit.after")
                return committed
            except StoreUnavailable as error:
                log.warning("the database does not answer; the batch is kept", items=len(appends), error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_LAST)

    async def _bisect(self, batch: list[Item], lease: int, error: Exception) -> None:
        if len(batch) == 1:
            log.error("append refused", execution=batch[0].append.execution_id, error=str(error), exc_info=error)
            self._tell(batch, error if isinstance(error, BatchRefused) else BatchRefused(repr(error)))
            return
        middle = len(batch) // 2
        await self._commit(batch[:middle], lease)
        await self._commit(batch[middle:], lease)

    @staticmethod
    def _tell(batch: list[Item], answer: Committed | MillraceError) -> None:
        for item in batch:
            try:
                item.done(answer)
            except Exception:
                log.exception("what follows a commit failed", execution=item.append.execution_id)


def _told(append: Append) -> int:
    """Bytes of what it brings to other executions."""
    inputs = sum(len(event.data) for child in append.children for event in child.events)
    return inputs + sum(len(signal.payload) for signal in append.signals)
