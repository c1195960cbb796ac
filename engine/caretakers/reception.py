"""Handles events that nobody has handled: published by a task, or left by a process that died over them.

And looks, for tasks that have begun to wait for an event, whether one has come before.
"""

import asyncio
from contextlib import suppress

from engine.reception import Reception

POLL = 5.0
"""Seconds between looks that nothing asked for: the guarantee behind all wake-ups."""


class Receptionist:
    """`told` is set when a task of this process has published an event, or waits for one that may have come."""

    def __init__(self, reception: Reception, told: asyncio.Event) -> None:
        self._reception = reception
        self._told = told

    async def round(self) -> None:
        """One round: handle all that is due, look back, then wait for word or the poll."""
        self._told.clear()
        while await self._reception.handle_due():
            pass
        await self._reception.look_back()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._told.wait()
