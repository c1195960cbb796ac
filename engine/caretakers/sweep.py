"""Finds engines that died: marks their leases lost, then frees their executions for whoever claims first."""

import asyncio

import structlog

from engine.worker import Worker

log = structlog.get_logger(__name__)


async def sweep(worker: Worker) -> None:
    """One round: look for executions whose lease is lost or missing, every time; then half a lease of sleep."""
    freed = await worker.store.sweep(worker.lease_seconds)
    if freed:
        log.warning("executions of a dead engine were freed", count=freed)
        worker.wake_claims.set()
        worker.outside.set()
    await asyncio.sleep(worker.lease_seconds / 2)
