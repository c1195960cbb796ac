"""What time it is for the database, from below: timers that fire by this clock are never early."""

import time


class DatabaseClock:
    """A lower bound of the database's clock between answers that carried it."""

    def __init__(self) -> None:
        self._at = 0.0
        self._seen = time.monotonic()

    def observe(self, at: float) -> None:
        """An answer that carried the database's time has just arrived."""
        self._at = at
        self._seen = time.monotonic()

    @property
    def known(self) -> bool:
        """Whether any answer has carried a time yet."""
        return bool(self._at)

    def now(self) -> float:
        """Epoch seconds; 0 before the first answer."""
        return self._at + (time.monotonic() - self._seen) if self._at else 0.0
