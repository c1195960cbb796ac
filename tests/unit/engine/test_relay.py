"""The relay with a publisher in our hand: when it looks, when it marks, and when it lets go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.caretakers import relay as relays
from engine.caretakers.relay import Relay
from engine.errors import PublisherUnavailable, StoreUnavailable
from engine.outbox import Outbox, OutboxEvent, Position
from engine.ports import Store
from engine.progress import Progress
from tests.stores import begins, opened, says, sql, until
from tests.stream import relaying


class Recorder:
    """Keeps in memory what is published."""

    def __init__(self, capacity: int = 1000) -> None:
        self.capacity = capacity
        self.events: list[OutboxEvent] = []
        self.batches: list[int] = []
        self.away = self.stopped = False

    async def last(self, journal: str) -> Position | None:
        self._check()
        return self.events[-1].position if self.events else None

    async def publish(self, journal: str, events: Sequence[OutboxEvent]) -> bool:
        self._check()
        self.events += events
        self.batches.append(len(events))
        return True

    async def stop(self) -> None:
        self.stopped = True

    def _check(self) -> None:
        if self.away:
            raise PublisherUnavailable


class Rig:
    """A store with one execution that goes on, a publisher, and the news of this process."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.url = url
        self.to = Recorder()
        self.progress = Progress()
        self.seq = 0

    async def begin(self) -> "Rig":
        """On SQLite an engine's new lease ends all others."""
        self.lease = await self.store.acquire_lease("test", 60)
        (self.number,) = await self.store.reserve_ids(1)
        return self

    @asynccontextmanager
    async def relaying(self, **options: Any) -> AsyncIterator[Relay]:
        """At work, and it has published what there was."""
        async with relaying(self.store, self.to, progress=self.progress, **options) as relay:
            await until(lambda: bool(self.progress))
            yield relay

    async def append(self, *, quietly: bool = False) -> None:
        self.seq += 1
        event = says(self.number, self.seq) if self.seq > 1 else begins(self.number)
        await self.store.commit(self.lease, self.seq, [event])
        if not quietly:
            self.progress.moved([self.number])

    @property
    def seen(self) -> list[int]:
        return [event.seq for event in self.to.events]

    @property
    def mark(self) -> int:
        """The seq of the mark in the database."""
        return int(sql(self.url, "SELECT seq FROM relay")[0][0])


@pytest.fixture
async def rig(sqlite_url: str) -> AsyncIterator[Rig]:
    async with opened(sqlite_url) as store:
        yield await Rig(store, sqlite_url).begin()


def slowly(patch: pytest.MonkeyPatch, **seconds: Any) -> None:
    for name, value in seconds.items():
        patch.setattr(relays, name, value)


async def test_news_is_published_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, POLL=3600)
    async with rig.relaying():
        for n in range(1, 4):
            await rig.append()
            await until(lambda n=n: rig.seen == list(range(1, n + 1)))  # type: ignore[misc]


async def test_what_nobody_told_is_found_by_the_poll(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, POLL=0.02)
    async with rig.relaying():
        await rig.append(quietly=True)
        await until(lambda: rig.seen == [1])


async def test_an_idle_relay_asks_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, GATHER=0.0, MARK_PAUSE=0.0)
    reads = count_calls(monkeypatch, rig.store, "read_outbox")
    async with rig.relaying():
        await rig.append()
        await until(lambda: rig.seen == [1] and rig.mark == 1)
        await asyncio.sleep(0.1)
        before = len(reads)
        await asyncio.sleep(0.3)
        assert len(reads) == before


async def test_marks_follow_at_a_distance(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, MARK_PAUSE=0.3)
    marks = count_calls(monkeypatch, rig.store, "mark_relay")
    async with rig.relaying():
        for n in range(1, 21):
            await rig.append()
            await until(lambda n=n: len(rig.seen) == n)  # type: ignore[misc]
        await until(lambda: rig.mark == 20)
    assert len(marks) < 20


async def test_a_stop_marks_and_lets_another_go_on_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, MARK_PAUSE=3600, POLL=0.02)
    async with rig.relaying() as relay:
        await rig.append()
        await until(lambda: relay._reached.seq == 1)
        assert rig.mark == 0
    assert rig.to.stopped
    assert rig.mark == 1
    async with rig.relaying():
        await rig.append()
        await until(lambda: rig.seen == [1, 2])


async def test_the_lease_is_renewed_when_nothing_happens(rig: Rig) -> None:
    async with rig.relaying(ttl=0.2) as relay:
        term = relay._term
        await asyncio.sleep(0.6)
        assert await rig.store.take_relay("another", 60) is None
        assert relay._term == term


async def test_a_publisher_that_is_away_is_left_to_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, RETRY_PAUSES=(0.01, 0.02))
    async with rig.relaying() as relay:
        rig.to.away = True
        await rig.append()
        await until(lambda: relay._term is None)
        other = await rig.store.take_relay("another", 60)
        assert other is not None
        await rig.store.release_lease(other.lease)
        leases = sql(rig.url, "SELECT count(*) FROM lease")
        await asyncio.sleep(0.1)
        assert sql(rig.url, "SELECT count(*) FROM lease") == leases
        rig.to.away = False
        await until(lambda: rig.seen == [1])


async def test_a_lost_lease_is_taken_again(rig: Rig, logs: list[Any]) -> None:
    async with rig.relaying(ttl=0.2) as relay:
        first = relay._term
        assert first is not None
        sql(rig.url, "UPDATE lease SET lost = 1")
        await until(lambda: relay._term not in {None, first})
        rig.progress.perhaps()
    assert any("lease was lost" in line["event"] for line in logs)


async def test_a_database_that_is_away_ends_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.caretakers.loop.PAUSE_AFTER_ERROR", 0.01)
    failures = [StoreUnavailable("away")] * 3
    read = rig.store.read_outbox

    async def broken(after: Position, limit: int) -> Outbox:
        if failures:
            raise failures.pop()
        return await read(after, limit)

    monkeypatch.setattr(rig.store, "read_outbox", broken)
    await rig.append()
    async with rig.relaying() as relay:
        await until(lambda: rig.seen == [1])
        assert relay._term is not None
    assert failures == []


async def test_a_backlog_goes_out_in_batches(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, BATCH=4, POLL=3600)
    for _ in range(10):
        await rig.append()
    async with rig.relaying():
        await until(lambda: rig.seen == list(range(1, 11)))
    assert rig.to.batches == [4, 4, 2]


async def test_what_is_held_back_is_looked_for_soon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No news comes when an open transaction ends."""
    slowly(monkeypatch, POLL=3600, HELD_PAUSE=0.02)
    looks: list[Position] = []
    read = rig.store.read_outbox

    async def held(after: Position, limit: int) -> Outbox:
        looks.append(after)
        return await read(after, limit) if len(looks) > 10 else Outbox(held=True)

    monkeypatch.setattr(rig.store, "read_outbox", held)
    await rig.append()
    async with rig.relaying():
        await until(lambda: rig.seen == [1])


async def test_an_emptied_publisher_gets_what_it_keeps(rig: Rig) -> None:
    for _ in range(10):
        await rig.append()
    async with rig.relaying():
        await until(lambda: len(rig.seen) == 10)
    rig.to.events.clear()
    rig.to.capacity = 4
    async with rig.relaying():
        await until(lambda: rig.seen == [7, 8, 9, 10])
        await rig.append()
        await until(lambda: rig.seen == [7, 8, 9, 10, 11])


def count_calls(patch: pytest.MonkeyPatch, store: Store, name: str) -> list[str]:
    """Grows with each call of the store's method."""
    calls: list[str] = []
    method: Callable[..., Any] = getattr(store, name)

    async def counted(*args: Any) -> Any:
        calls.append(name)
        return await method(*args)

    patch.setattr(store, name, counted)
    return calls
