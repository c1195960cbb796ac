"""Handles events that nobody has handled: published by a task, or left by a process that died over them.

And looks, for tasks that have begun to wait for an event, whether one has come before.
"""

import asyncio
from contextlib import suppress

from engine.reception import Reception

POLL = 20.0
"""Seconds between looks that nothing asked for: the guarantee behind all wake-ups."""
PAUSE = 0.05
"""Seconds before the next look while what is due is in the hands of others."""


class Receptionist:
    """`told` is set when a task of this process has published an event, or waits for one that may have come."""

    def __init__(self, reception: Reception, told: asyncio.Event) -> None:
        self._reception = reception
        self._told = told

    async def round(self) -> None:
        """One round: do all that is due, or wait until something is, for word, or for the poll."""
        self._told.clear()
        delay = await self._reception.next_due()
        if delay is not None and delay <= 0:
            handled = await self._reception.handle_due()
            await self._reception.look_back()
            await asyncio.sleep(0 if handled else PAUSE)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL if delay is None else min(delay, POLL)):
                await self._told.wait()
