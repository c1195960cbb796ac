"""Ids of executions, reserved in blocks."""

import asyncio
from collections import deque

from engine.ports import JournalStore

BLOCK = 100
"""Reserved at once."""


class ExecutionIds:
    """Each id is given once."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self._ids: deque[int] = deque()
        self._reserving = asyncio.Lock()

    async def next(self) -> int:
        while not self._ids:
            async with self._reserving:  # one block for all who wait
                if not self._ids:
                    self._ids.extend(await self._store.reserve_ids(BLOCK))
        return self._ids.popleft()
