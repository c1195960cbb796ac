"""Waits that the world can see: what a task asks, and the one decision that ends its wait.

A row stands for each, unique by execution and task, written by the commit that says `TaskAwaiting`. Whoever decides
first has decided: a door by `decide_waits`, which leaves the answer as a signal; the owner of the execution, when the
time is over, by the very append that says what follows. The other one is refused.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from engine.model import Answer, Record

OWN = "@"
"""Begins the names of signals, and the idempotency keys, that only the engine may give."""


def signal_name(task: str) -> str:
    """The signal that answers the wait of `task` (its address: key and iteration), and no other."""
    return OWN + task


class Lapse(StrEnum):
    """How a wait ends of which nobody has decided."""

    TIMEOUT = "timeout"
    """Its time is over. The append is refused (`BatchRefused`) if somebody has decided before."""
    CLOSED = "closed"
    """Its execution needs no answer any more; a decision that came before stands."""


class NewWait(Record, frozen=True):
    """A wait that an append opens. `details` is JSON for those who may decide; `due_in` seconds after the commit.

    With a `lookback` (seconds) it is open for events that came before, until that was looked for: `engine.received`.
    """

    task: str
    kind: str
    topic: str | None
    details: bytes
    due_in: float | None
    lookback: float | None = None


class WaitLapse(Record, frozen=True):
    """A wait that an append ends."""

    task: str
    lapse: Lapse


class Decision(Record, frozen=True):
    """What somebody has decided: one word for lists, and what the task gets."""

    execution_id: int
    task: str
    decision: str
    answer: Answer
    by: str | None = None
    comment: str | None = None


class Wait(Record, frozen=True, omit_defaults=False):
    """A wait as it stands. `id` grows with the time of its opening."""

    id: int
    namespace: str
    workflow_id: int
    execution_id: int
    task: str
    kind: str
    topic: str | None
    details: dict[str, Any]
    opened_at: float
    due_at: float | None
    decided_at: float | None = None
    decision: str | None = None
    decided_by: str | None = None
    comment: str | None = None


class WaitFilter(Record, frozen=True):
    """Which waits a list shows; None means any. `pending`: nobody has decided."""

    namespace: str
    kind: str | None = None
    id: int | None = None
    execution_id: int | None = None
    task: str | None = None
    topic: str | None = None
    decision: str | None = None
    pending: bool | None = None


class WaitStore(Protocol):
    """Waits: opened, lapsed and closed by appends (`Append.asks`, `Append.lapses`); decided here."""

    async def decide_waits(self, decisions: Sequence[Decision]) -> list[bool]:
        """One transaction: ends each wait that is open, puts its answer into the inbox and sets `wake_at = now()`.

        False: it was decided before, its execution has ended, or there is none.
        """
        ...

    async def list_waits(self, where: WaitFilter, before: int | None, limit: int) -> list[Wait]:
        """A page, newest first, of those with an id below `before`."""
        ...
