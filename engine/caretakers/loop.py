"""Calls a duty again and again; a database that is away, or a bug, delays it and never ends it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from engine.errors import StoreUnavailable

log = structlog.get_logger(__name__)

Duty = Callable[[], Awaitable[None]]
"""One round, including its own pause."""

PAUSE_AFTER_ERROR = 1.0


async def repeat(name: str, duty: Duty) -> None:
    """Runs until cancelled."""
    while True:
        try:
            await duty()
        except StoreUnavailable as error:
            log.warning("the database does not answer", caretaker=name, error=str(error))
            await asyncio.sleep(PAUSE_AFTER_ERROR)
        except Exception:
            log.exception("a caretaker's round failed; it goes on", caretaker=name)
            await asyncio.sleep(PAUSE_AFTER_ERROR)
