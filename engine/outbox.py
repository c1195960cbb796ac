"""The outbox: the journal in the order of its commits, on its way to a publisher.

The store says what may go out and remembers how far it has come; a publisher takes it. Both are ports.
"""

from collections.abc import Sequence
from typing import Protocol

from engine.model import Record


class Position(Record, frozen=True, order=True):
    """A place in the order in which events are published; `order` is the store's, of commits. The start is zeros."""

    order: int = 0
    execution_id: int = 0
    seq: int = 0


class OutboxEvent(Record, frozen=True):
    """An event on its way out. `data` is JSON, `at` epoch seconds; `workflow_id` is 0 if the execution is gone."""

    order: int
    execution_id: int
    seq: int
    workflow_id: int
    type: str
    at: float
    data: bytes

    @property
    def position(self) -> Position:
        return Position(self.order, self.execution_id, self.seq)


class Outbox(Record, frozen=True):
    """What may be published next. `held`: more was appended, but an older transaction is still open before it."""

    events: tuple[OutboxEvent, ...] = ()
    held: bool = False


class RelayTerm(Record, frozen=True):
    """The right to publish: a lease of its own, the journal's name for good, and how far others have come."""

    lease: int
    journal: str
    mark: Position


class OutboxStore(Protocol):
    """The journal as the relay reads it: in the order of commits, and a mark of how far it has come."""

    async def take_relay(self, holder: str, ttl: float) -> RelayTerm | None:
        """The right to publish, under a new lease; None while another process's lease for it is live.

        An expired one is marked lost first. `release_lease` gives it up.
        """
        ...

    async def mark_relay(self, lease: int, mark: Position, ttl: float) -> None:
        """Everything up to `mark` is published; also renews the lease. Raises `LeaseLost`."""
        ...

    async def read_outbox(self, after: Position, limit: int) -> Outbox:
        """Up to `limit` events (and a few MiB, but at least one) after this position, in order.

        Only those before which nothing can still be committed: a later read never finds an earlier event.
        """
        ...

    async def rewind_outbox(self, before: Position, count: int) -> Position:
        """A position with at least `count` events between it and `before`, or the start."""
        ...


class Publisher(Protocol):
    """Where events go. It keeps, beside the events and changed together with them, the position of the last one.

    A server that does not answer, or refuses, is `PublisherUnavailable`; then nobody knows what was published.
    """

    capacity: int
    """Events that it keeps at least; older ones go."""

    async def last(self, journal: str) -> Position | None:
        """The position of the last event that it has of this journal; None: it has none, or was emptied."""
        ...

    async def publish(self, journal: str, events: Sequence[OutboxEvent]) -> bool:
        """All or nothing, in this order. False: since the last call here, it was emptied or another has published."""
        ...

    async def stop(self) -> None: ...
