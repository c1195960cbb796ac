"""Takes what is due: starts, timers, retries, signals and freed executions all come through `wake_at`."""

import asyncio
import math
from contextlib import suppress

from engine.errors import LeaseLost
from engine.worker import CLAIM, Worker

RECONCILE_PAUSE = 0.2
"""Seconds before executions are read again, so that one that fails at once does not keep the loop busy."""
DUE_PAUSE = 0.05
"""Seconds before the next look while something is due that cannot be taken: we are full, or others are quicker."""
POLL = 5.0
"""Seconds between looks that nothing asked for: the guarantee behind all wake-ups."""
BUSY, GATHER = 16, 0.02
"""With so many executions in memory, so many seconds are waited for more to take with the same claim."""


async def claims(worker: Worker) -> None:
    """One round: claim all that is due, then sleep until the next `wake_at`, a wake-up, or the poll."""
    try:
        await _round(worker)
    except LeaseLost:
        worker.lost()


async def _round(worker: Worker) -> None:
    if worker.unsure:
        await asyncio.sleep(RECONCILE_PAUSE)
        await worker.reconcile()
    woken = worker.wake_claims.is_set() and bool(worker.runs)
    if woken and len(worker.runs) >= BUSY:
        await asyncio.sleep(GATHER)
    worker.wake_claims.clear()
    delay = 0.0 if woken else await worker.store.next_wake()  # with work in hand, a claim is the look
    if delay is not None and delay <= 0 and worker.accepts:
        taken = await worker.claim()
        if taken == CLAIM:
            return
        delay = await worker.store.next_wake()
    pause = POLL if delay is None else min(delay, POLL) if delay > 0 else DUE_PAUSE
    worker.next_look = worker.clock.now() + pause if worker.clock.known else math.inf
    with suppress(TimeoutError):
        async with asyncio.timeout(pause):
            await worker.wake_claims.wait()
