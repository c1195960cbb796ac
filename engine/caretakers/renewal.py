"""Renews the lease. A lease that somebody marked lost is gone: the engine goes on under a new one."""

import asyncio
import time

from engine.errors import LeaseLost
from engine.worker import Worker


async def renewal(worker: Worker) -> None:
    """One round: a third of the lease's length, then renew."""
    await asyncio.sleep(worker.lease_seconds / 3)
    lease, asked = worker.lease, time.monotonic()
    try:
        await worker.store.renew_lease(lease, worker.lease_seconds)
    except LeaseLost:
        if lease == worker.lease:
            worker.lost()
    else:
        if lease == worker.lease:
            worker.renewed(asked)
