"""From the journal in PostgreSQL to a stream in Redis, with everything that goes wrong in between.

The consumer drops what it has seen; what it has seen of an execution must then be 1, 2, 3 … to the end.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from engine.caretakers import relay as relays
from engine.events import EventRecord
from engine.outbox import OutboxEvent, Position, RelayTerm
from engine.ports import Append, Store
from publish.redis_streams import RedisStreams
from storage import postgresql_outbox
from tests.conftest import StartRedis
from tests.stores import begins, locked, opened, says, sql, until
from tests.stream import STREAM, Consumer, publisher, relaying, straight


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "POLL", 0.02)
    monkeypatch.setattr(relays, "HELD_PAUSE", 0.05)
    monkeypatch.setattr(relays, "RETRY_PAUSES", (0.02, 0.1))


@pytest.fixture
async def store(migrated_postgres_url: str) -> AsyncIterator[Store]:
    async with opened(migrated_postgres_url) as store:
        yield store


@pytest.fixture
def consumer(redis_url: str) -> Iterator[Consumer]:
    consumer = Consumer(redis_url)
    yield consumer
    consumer.close()


class Feed:
    """Executions that go on, one event each per turn."""

    def __init__(self, store: Store, count: int = 20) -> None:
        self._store = store
        self._count = count
        self._turn = 0
        self.ids: Sequence[int] = ()

    async def turns(self, count: int, pause: float = 0.0) -> None:
        if not self.ids:
            self._lease = await self._store.acquire_lease("feed", 60)
            self.ids = await self._store.reserve_ids(self._count)
        for _ in range(count):
            self._turn += 1
            turn = self._turn
            appends = [begins(n) if turn == 1 else says(n, turn) for n in self.ids]
            await self._store.commit(self._lease, turn, appends)
            await asyncio.sleep(pause)


async def published(store: Store, relay: relays.Relay) -> None:
    """Returns when the relay knows that everything is published."""
    async with asyncio.timeout(20):
        while True:
            rest = await store.read_outbox(relay._reached, 1)
            if not rest.events and not rest.held:
                return
            await asyncio.sleep(0.01)


async def test_every_event_is_published_in_order(store: Store, redis_url: str, consumer: Consumer) -> None:
    feed = Feed(store)
    await feed.turns(10)
    async with relaying(store, publisher(redis_url)):
        await feed.turns(20)
        await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}
    assert consumer.dropped == 0
    entry = consumer.entries[0]
    assert set(entry) == {"execution_id", "workflow_id", "seq", "type", "at", "data"}
    assert (entry["workflow_id"], entry["seq"], entry["type"], entry["data"]) == ("1", "1", "ExecutionStarted", "{}")
    assert entry["at"].endswith("Z")


async def test_a_graceful_stop_leaves_nothing_to_repeat(store: Store, redis_url: str, consumer: Consumer) -> None:
    feed = Feed(store)
    for _ in range(3):
        async with relaying(store, publisher(redis_url)) as relay:
            await feed.turns(5)
            await published(store, relay)
    await consumer.catches_up(store, feed.ids)
    assert (consumer.gaps, consumer.dropped) == ({}, 0)


async def test_a_relay_that_dies_between_publish_and_mark_repeats_and_loses_nothing(
    store: Store, redis_url: str, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unmarked(_relay: relays.Relay, _term: RelayTerm) -> None:
        """It dies before its first mark."""

    monkeypatch.setattr(relays.Relay, "_mark", unmarked)
    feed = Feed(store)
    for _ in range(3):
        async with relaying(store, publisher(redis_url), ttl=0.2, dies=True):
            await feed.turns(5)
            await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}
    assert consumer.dropped > 0


async def test_events_of_commits_that_end_late_are_not_lost(
    store: Store, migrated_postgres_url: str, redis_url: str, consumer: Consumer
) -> None:
    lost = await publish_around_a_late_commit(store, migrated_postgres_url, redis_url, consumer)
    assert lost == set()


async def test_a_mark_that_looks_only_at_numbers_would_lose_them(
    store: Store, migrated_postgres_url: str, redis_url: str, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the guard taken out: the check above can fail."""
    monkeypatch.setattr(postgresql_outbox, "_XMIN", "'9223372036854775807'::xid8")
    lost = await publish_around_a_late_commit(store, migrated_postgres_url, redis_url, consumer)
    assert lost == {999_999}


async def publish_around_a_late_commit(store: Store, url: str, redis_url: str, consumer: Consumer) -> set[int]:
    """A transaction gets its number first and ends last; the executions of which the consumer missed something."""
    late = "INSERT INTO event (execution_id, seq, type, v, at, data) VALUES (999999, 1, 'x', 1, now(), '{}')"
    feed = Feed(store)
    async with relaying(store, publisher(redis_url)) as relay:
        async with locked(url, late):
            await feed.turns(3)
            await asyncio.sleep(0.2)
        await feed.turns(3)
        await consumer.catches_up(store, feed.ids)
        await published(store, relay)
    consumer.read()
    return {999_999, *feed.ids} - set(consumer.seen)


async def test_nothing_is_published_while_an_older_transaction_is_open(
    store: Store, migrated_postgres_url: str, redis_url: str, consumer: Consumer
) -> None:
    feed = Feed(store)
    async with relaying(store, publisher(redis_url)):
        await feed.turns(1)
        await consumer.catches_up(store, feed.ids)
        async with locked(migrated_postgres_url, "SELECT pg_current_xact_id()"):
            await feed.turns(3)
            await asyncio.sleep(0.2)
            assert consumer.read().seen[feed.ids[0]] == [1]
            assert (await store.read_outbox(Position(), 1000)).held
        await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}


async def test_writers_at_the_same_time_lose_nothing(
    store: Store, migrated_postgres_url: str, redis_url: str, consumer: Consumer
) -> None:
    """Several processes commit as they like, some transactions linger."""

    async def linger() -> None:
        for n in range(20):
            insert = (
                "INSERT INTO event (execution_id, seq, type, v, at, data) VALUES (888888, {}, 'x', 1, now(), '{{}}')"
            )
            async with locked(migrated_postgres_url, insert.format(n + 1)):
                await asyncio.sleep(0.03)

    async with opened(migrated_postgres_url) as second, relaying(store, publisher(redis_url)):
        feeds = [Feed(store, 5), Feed(second, 5)]
        await asyncio.gather(linger(), *(feed.turns(60, pause=0.005) for feed in feeds))
        ids = [888_888, *feeds[0].ids, *feeds[1].ids]
        await consumer.catches_up(store, ids)
    assert consumer.gaps == {}
    assert set(ids) == set(consumer.seen)


# --- two relays ---


async def test_of_two_relays_one_publishes_and_the_other_takes_over(
    store: Store, migrated_postgres_url: str, redis_url: str, consumer: Consumer
) -> None:
    feed = Feed(store)
    async with opened(migrated_postgres_url) as second, relaying(second, publisher(redis_url), ttl=2.0) as heir:
        await until(lambda: heir._term is not None)
        first = heir._term
        async with relaying(store, publisher(redis_url), ttl=2.0) as standby:
            await feed.turns(20, pause=0.03)
            assert heir._term == first
            assert standby._term is None
            await heir.stop()
            await feed.turns(20, pause=0.03)
            await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}


class Sleepy:
    """A publisher whose process is stopped just before it publishes, until it is woken."""

    def __init__(self, inner: RedisStreams) -> None:
        self.inner = inner
        self.capacity = inner.capacity
        self.stopped = self.woken = False
        self.answers: list[bool] = []

    async def last(self, journal: str) -> Position | None:
        return await self.inner.last(journal)

    async def publish(self, journal: str, events: Sequence[OutboxEvent]) -> bool:
        first = not self.stopped
        while not self.woken:
            self.stopped = True
            await asyncio.sleep(0.01)
        answer = await self.inner.publish(journal, events)
        if first:
            self.answers.append(answer)
        return answer

    async def stop(self) -> None:
        await self.inner.stop()


async def wake_a_zombie(url: str, redis_url: str, consumer: Consumer) -> list[bool]:
    """A relay sleeps past its lease, another goes on, the first wakes: what Redis said to it."""
    inner = publisher(redis_url)
    assert isinstance(inner, RedisStreams)
    sleepy = Sleepy(inner)
    async with opened(url) as one, opened(url) as two:
        feed = Feed(two)
        await feed.turns(3)
        async with relaying(one, sleepy, ttl=0.2):
            await until(lambda: sleepy.stopped)
            async with relaying(two, publisher(redis_url), ttl=0.2):
                await feed.turns(5)
                await consumer.catches_up(two, feed.ids)
                sleepy.woken = True
                await until(lambda: bool(sleepy.answers))
                await feed.turns(5)
                await consumer.catches_up(two, feed.ids)
    return sleepy.answers


async def test_a_relay_that_slept_past_its_lease_publishes_nothing(
    migrated_postgres_url: str, redis_url: str, consumer: Consumer
) -> None:
    assert await wake_a_zombie(migrated_postgres_url, redis_url, consumer) == [False]
    assert consumer.gaps == {}


# --- Redis ---


async def flush_unread(store: Store, url: str, consumer: Consumer) -> None:
    """Redis is emptied when something was published, and marked, that nobody has read."""
    feed = Feed(store)
    async with relaying(store, publisher(url)) as relay:
        await feed.turns(5)
        await published(store, relay)
        with straight(url) as client:
            client.flushdb()
        await feed.turns(5)
        await consumer.catches_up(store, feed.ids)


async def test_an_emptied_redis_gets_everything_again(store: Store, redis_url: str, consumer: Consumer) -> None:
    await flush_unread(store, redis_url, consumer)
    assert consumer.gaps == {}


async def test_without_a_look_at_the_position_it_would_not(
    store: Store, redis_url: str, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard taken out: the check above can fail."""
    exchange = RedisStreams._exchange

    async def blind(self: RedisStreams, commands: Sequence[Any]) -> list[Any]:
        replies = await exchange(self, commands)
        return [replies[0], self._left] if commands[0][0] == "WATCH" else replies

    monkeypatch.setattr(RedisStreams, "_exchange", blind)
    await flush_unread(store, redis_url, consumer)
    assert set(consumer.gaps) == set(consumer.seen)


async def test_an_emptied_redis_gets_as_much_as_it_keeps(store: Store, redis_url: str, consumer: Consumer) -> None:
    feed = Feed(store)
    small = publisher(redis_url, max_length=40)
    async with relaying(store, small):
        await feed.turns(10)
        await consumer.catches_up(store, feed.ids)
        with straight(redis_url) as client:
            client.flushdb()
        late = Consumer(redis_url)
        await feed.turns(1)
        await late.catches_up(store, feed.ids)
    assert {tuple(seen) for seen in late.seen.values()} == {(9, 10, 11)}
    late.close()


async def test_a_redis_that_restarts_empty_or_is_away_loses_nothing(store: Store, start_redis: StartRedis) -> None:
    server = start_redis()
    feed = Feed(store)
    consumer = Consumer(server.url())
    async with relaying(store, publisher(server.url())):
        await feed.turns(5)
        await consumer.catches_up(store, feed.ids)
        for _ in range(3):
            await feed.turns(5)
            server.stop("crash")
            await feed.turns(5)
            await asyncio.sleep(0.1)
            server.start()
            await feed.turns(5)
        await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}
    consumer.close()


async def test_a_redis_that_goes_back_in_time_gets_the_rest_again(store: Store, start_redis: StartRedis) -> None:
    server = start_redis(durable=True)
    feed = Feed(store)
    consumer = Consumer(server.url())
    async with relaying(store, publisher(server.url())) as relay:
        await feed.turns(5)
        await consumer.catches_up(store, feed.ids)
        with straight(server.url()) as client:
            before = {key: client.dump(key) for key in client.scan_iter()}
            await feed.turns(5)
            await published(store, relay)
            for key, value in before.items():
                client.restore(key, 0, value, replace=True)
        await feed.turns(5)
        await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}
    consumer.close()


async def test_a_redis_without_room_takes_all_or_nothing(
    store: Store, start_redis: StartRedis, migrated_postgres_url: str
) -> None:
    server = start_redis()
    (number,) = await store.reserve_ids(1)
    lease = await store.acquire_lease("feed", 60)
    wide = EventRecord("TaskCompleted", b'"' + b"x" * 20_000 + b'"')
    consumer = Consumer(server.url())
    with straight(server.url()) as client:
        async with relaying(store, publisher(server.url())):
            await store.commit(lease, 1, [begins(number)])
            await consumer.catches_up(store, [number])
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
            for n in range(30):
                await store.commit(lease, 2 + n, [Append(number, 2 + 10 * n, (wide,) * 10)])
            await asyncio.sleep(0.3)
            assert consumer.read().seen[number][-1] < 301
            client.config_set("maxmemory", 0)
            await consumer.catches_up(store, [number])
    assert consumer.gaps == {}
    consumer.close()


async def test_a_key_that_is_no_stream_is_waited_for(store: Store, redis_url: str, consumer: Consumer) -> None:
    feed = Feed(store)
    with straight(redis_url) as client:
        client.set(STREAM, "mine")
        async with relaying(store, publisher(redis_url)):
            await feed.turns(3)
            await asyncio.sleep(0.2)
            client.delete(STREAM)
            await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}


# --- the database ---


def set_position(url: str, order: int, journal: str = "") -> None:
    """What Redis says about how far it has come."""
    with straight(url) as client:
        name, _, *rest = client.get(f"{STREAM}:position").decode().split(" ")
        client.set(f"{STREAM}:position", " ".join([journal or name, str(order), *rest]))


async def test_a_database_on_another_server_is_published_again(
    store: Store, migrated_postgres_url: str, redis_url: str, consumer: Consumer
) -> None:
    """Dumped and restored: the numbers in its events are not those of the new server."""
    feed = Feed(store)
    await feed.turns(3)
    async with relaying(store, publisher(redis_url)):
        await consumer.catches_up(store, feed.ids)
    await feed.turns(2)
    sql(migrated_postgres_url, "UPDATE event SET xid = (xid::text::bigint + 10^12::bigint)::text::xid8")
    sql(migrated_postgres_url, "UPDATE relay SET xid = xid + 10^12::bigint")
    set_position(redis_url, 2 * 10**12)
    async with relaying(store, publisher(redis_url)) as relay:
        await until(lambda: relay._term is not None)
        await feed.turns(3)
        await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}


async def test_a_database_that_went_back_in_time_skips_nothing(
    store: Store, redis_url: str, consumer: Consumer
) -> None:
    """Restored from a backup: Redis has come further than this journal."""
    feed = Feed(store)
    await feed.turns(3)
    async with relaying(store, publisher(redis_url)):
        await consumer.catches_up(store, feed.ids)
    set_position(redis_url, 10**12)
    async with relaying(store, publisher(redis_url)):
        await feed.turns(3)
        await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}


async def test_two_databases_with_one_stream_do_not_skip(store: Store, redis_url: str, consumer: Consumer) -> None:
    """A database made anew finds the position of its forerunner in Redis, and does not believe it."""
    feed = Feed(store)
    async with relaying(store, publisher(redis_url)):
        await feed.turns(1)
        await consumer.catches_up(store, feed.ids)
    set_position(redis_url, 10**12, journal="0" * 32)
    async with relaying(store, publisher(redis_url)):
        await feed.turns(3)
        await consumer.catches_up(store, feed.ids)
    assert consumer.gaps == {}


async def test_reading_goes_along_the_index_without_statistics(store: Store, migrated_postgres_url: str) -> None:
    """A plan that sorts the whole backlog for each batch would never catch up."""
    feed = Feed(store, 50)
    await feed.turns(40)
    prepare, query = postgresql_outbox.read(Position(1), 100)
    explain = f"{prepare}; EXPLAIN {query}"
    plan = "\n".join(line for (line,) in sql(migrated_postgres_url, explain.replace(":", r"\:")))
    assert "Incremental Sort" in plan
    assert "Bitmap" not in plan
