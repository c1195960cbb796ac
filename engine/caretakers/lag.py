"""Measures how late the loop is: a blocked loop is an ill process, and `/health` says so."""

import asyncio

INTERVAL = 0.5
LATE = 2.0
"""Seconds of lateness at which the process counts as ill."""


class LoopLag:
    """The latest measure, and since when none came."""

    def __init__(self) -> None:
        self._seen = 0.0
        self._lag = 0.0

    async def round(self) -> None:
        """One measure."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(INTERVAL)
        self._seen = loop.time()
        self._lag = self._seen - before - INTERVAL

    def seconds(self) -> float:
        """How late the loop was at the last measure, or how long none has come."""
        loop = asyncio.get_running_loop()
        silent = loop.time() - self._seen - INTERVAL if self._seen else 0.0
        return max(self._lag, silent, 0.0)
