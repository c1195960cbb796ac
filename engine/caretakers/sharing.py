"""No engine hoards while another idles: a crowded one says so, those with free slots ask, and it gives away."""

import asyncio

from engine.worker import Worker

INTERVAL = 0.5


async def sharing(worker: Worker) -> None:
    """One round: a word while tasks wait here for a slot; nothing otherwise."""
    await asyncio.sleep(INTERVAL)
    if worker.crowded:
        worker.store.notify("crowded")
