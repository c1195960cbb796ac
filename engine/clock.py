"""Epoch seconds to RFC 3339 and back. Only doors and people need the text."""

from datetime import UTC, datetime
from functools import lru_cache

from engine.errors import Invalid


def rfc3339(epoch: float | None) -> str | None:
    """`2026-11-20T12:00:00.000000Z`; None stays None."""
    if epoch is None:
        return None
    second, micros = divmod(round(epoch * 1_000_000), 1_000_000)
    return f"{_second(second)}.{micros:06}Z"


@lru_cache(1024)
def _second(epoch: int) -> str:
    """Most times that a door writes lie within the same few seconds."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_rfc3339(text: str, pointer: str = "") -> float:
    """Epoch seconds. A time without an offset is refused: it could mean anything. Raises `Invalid`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid(f"{text!r} is not an RFC 3339 time; write it like 2026-11-20T12:00:00Z", pointer=pointer)
    return moment.timestamp()
