"""Takes what is due: starts, timers, retries, signals and freed executions all come through `wake_at`."""

import asyncio
from contextlib import suppress

from engine.worker import CLAIM, Worker

POLL = 5.0
"""Seconds between looks that nothing asked for: the guarantee behind all wake-ups."""


async def claims(worker: Worker) -> None:
    """One round: claim all that is due, then sleep until the next `wake_at`, a wake-up, or the poll."""
    worker.wake_claims.clear()
    delay = await worker.store.next_wake()
    if delay is not None and delay <= 0 and worker.accepts:
        taken = await worker.claim()
        if taken == CLAIM:
            return
        delay = await worker.store.next_wake()
    pause = POLL if delay is None else min(max(delay, 0.001), POLL)
    worker.next_look = worker.clock.now() + pause
    with suppress(TimeoutError):
        async with asyncio.timeout(pause):
            await worker.wake_claims.wait()
