"""Publishes the journal: at least once, in order per execution, from where the last relay stopped.

One relay in all processes holds the relay's lease. It reads what has been committed, publishes it, and marks how far
it has come; a crash in between publishes again what was not marked. A publisher that lost what it had gets it again:
from its own last event, or, emptied, as many events as it keeps.
"""

import asyncio
from contextlib import suppress

import structlog

from engine.errors import LeaseLost, MillraceError, PublisherUnavailable
from engine.outbox import Outbox, Position, Publisher, RelayTerm
from engine.ports import Store
from engine.progress import Progress

log = structlog.get_logger(__name__)

BATCH = 500
GATHER = 0.01
"""Seconds between two batches that are not full: news comes in crowds."""
POLL = 10.0
"""Seconds between looks that nothing asked for: the guarantee behind all wake-ups."""
MARK_PAUSE = 0.2
"""Seconds between two marks; after a crash at most this much is published again."""
HELD_PAUSE = 2.0
"""The longest pause while an open transaction holds back what follows it, in seconds."""
RETRY_PAUSES = (0.1, 5.0)
"""The first and the longest pause while the publisher does not answer, in seconds."""


class Relay:
    """The caretaker. `holder` names this process in the lease; `ttl` is the lease's length in seconds."""

    def __init__(self, store: Store, publisher: Publisher, progress: Progress, *, holder: str, ttl: float) -> None:
        self._store = store
        self._publisher = publisher
        self._progress = progress
        self._holder = holder
        self._ttl = ttl
        self._term: RelayTerm | None = None
        self._place: Position | None = None
        """Up to where the publisher has everything; None: it must be asked."""
        self._reached = Position()
        """The furthest place of this term: the mark never goes back."""
        self._marked = Position()
        self._marked_at = 0.0
        self._held_pause, self._retry_pause = GATHER, RETRY_PAUSES[0]

    async def round(self) -> None:
        """One round: become the relay, or (being it) publish until the lease or the publisher is lost."""
        try:
            if self._term is None:
                await self._take()
            else:
                with self._progress.follow_all() as news:
                    await self._publish(self._term, news)
        except LeaseLost:
            self._term = None
            log.warning("the relay's lease was lost; another process may publish now")
        except PublisherUnavailable as error:
            log.warning("events wait in the journal", error=str(error))
            await self._give_up()
            await asyncio.sleep(self._retry_pause)
            self._retry_pause = min(2 * self._retry_pause, RETRY_PAUSES[1])

    async def stop(self) -> None:
        """Marks how far it has come and lets another process go on at once."""
        try:
            if self._term is not None and self._reached != self._marked:
                await self._store.mark_relay(self._term.lease, self._reached, self._ttl)
            await self._give_up()
        except MillraceError as error:
            log.warning("the relay's lease was not released; it will expire", error=str(error))
        await self._publisher.stop()

    async def _take(self) -> None:
        """A process that cannot reach the publisher leaves the lease to one that can."""
        await self._publisher.last("")
        self._retry_pause = RETRY_PAUSES[0]
        term = await self._store.take_relay(self._holder, self._ttl)
        if term is None:
            await asyncio.sleep(self._ttl / 2)
            return
        self._term, self._place = term, None
        self._reached = self._marked = term.mark
        self._marked_at = _now()
        log.info("publishing events", lease=term.lease)

    async def _give_up(self) -> None:
        term, self._term = self._term, None
        if term is not None:
            await self._store.release_lease(term.lease)

    async def _publish(self, term: RelayTerm, news: asyncio.Event) -> None:
        while True:
            place = self._place or await self._find_place(term)
            self._place = None
            news.clear()
            outbox = await self._store.read_outbox(place, BATCH)
            if outbox.events:
                if not await self._publisher.publish(term.journal, outbox.events):
                    log.warning("the publisher was emptied, or another relay has published; looking where to go on")
                    continue
                place = outbox.events[-1].position
            self._place = place
            self._reached = max(self._reached, place)
            await self._mark(term)
            await self._pause(term, outbox, news)

    async def _find_place(self, term: RelayTerm) -> Position:
        """Never after what we know to be published, whatever the publisher says: it may know another past of ours."""
        last = await self._publisher.last(term.journal)
        if last is not None:
            return min(last, self._reached)
        if self._reached == Position():
            return self._reached
        log.warning("the publisher has no events of ours; publishing the latest ones again")
        return await self._store.rewind_outbox(self._reached, self._publisher.capacity)

    async def _mark(self, term: RelayTerm) -> None:
        if _now() >= self._mark_due:
            reached = self._reached
            if reached == self._marked:
                await self._store.renew_lease(term.lease, self._ttl)
            else:
                await self._store.mark_relay(term.lease, reached, self._ttl)
            self._marked, self._marked_at = reached, _now()

    @property
    def _mark_due(self) -> float:
        """A mark also renews the lease; without anything to mark, it is only renewed."""
        renewal = self._ttl / 2
        return self._marked_at + (renewal if self._reached == self._marked else min(MARK_PAUSE, renewal))

    async def _pause(self, term: RelayTerm, outbox: Outbox, news: asyncio.Event) -> None:
        if len(outbox.events) == BATCH:
            await asyncio.sleep(0)
        elif not outbox.held:
            self._held_pause = GATHER
            await asyncio.sleep(GATHER)
            await self._idle(term, news)
        else:  # news cannot be published either
            self._held_pause = GATHER if outbox.events else min(2 * self._held_pause, HELD_PAUSE)
            await asyncio.sleep(min(self._held_pause, max(0.0, self._mark_due - _now())))

    async def _idle(self, term: RelayTerm, news: asyncio.Event) -> None:
        """Until there is news, or the poll is due; what is to be marked or renewed meanwhile needs no look."""
        end = _now() + POLL
        while not news.is_set() and _now() < end:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(end, self._mark_due) - _now())):
                    await news.wait()
            await self._mark(term)


def _now() -> float:
    return asyncio.get_running_loop().time()
