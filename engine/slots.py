"""Slots: how many attempts this engine runs at once. Whoever waits longest gets the next free one."""

from collections import deque
from collections.abc import Callable

Grant = Callable[[], bool]
"""Takes the slot; False when it is no longer wanted."""


class Slots:
    """A counter with a queue. Held from `TaskStarted` until the attempt's result was taken in."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self.closed = False
        self._waiting: deque[Grant] = deque()

    def take(self) -> bool:
        """A slot at once, unless others have waited longer."""
        if self.free > 0 and not self._waiting and not self.closed:
            self.free -= 1
            return True
        return False

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for a slot."""
        return self.free <= 0 and bool(self._waiting)

    def close(self) -> None:
        """From now on nobody gets one: this engine stops."""
        self.closed = True

    def force(self) -> None:
        """For an attempt that runs already: it holds a slot, whether there was one or not."""
        self.free -= 1

    def wait(self, grant: Grant) -> None:
        """Calls `grant` when a slot is free."""
        self._waiting.append(grant)
        self._hand_out()

    def release(self) -> None:
        """One attempt has ended."""
        self.free += 1
        if self._waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        while self.free > 0 and self._waiting and not self.closed:
            if self._waiting.popleft()():
                self.free -= 1
