"""What stands in Redis after events were published, and what does not."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from deploy.processes import ROOT
from engine.errors import PublisherUnavailable
from engine.outbox import OutboxEvent, Position, Publisher
from publish import redis_streams
from publish.redis_streams import RedisStreams
from tests.stream import STREAM, Consumer, publisher, straight

JOURNAL = "j"
Open = Callable[..., Publisher]


def event(n: int, execution: int = 1, workflow: int = 7, data: bytes = b"{}") -> OutboxEvent:
    return OutboxEvent(n, execution, n, workflow, "TaskStarted", 1_700_000_000.25, data)


@pytest.fixture
async def opened(redis_url: str) -> AsyncIterator[Open]:
    """Publishers to an empty database; each has looked at what is there."""
    async with AsyncExitStack() as stack:

        def opened(**options: Any) -> Publisher:
            made = publisher(redis_url, **options)
            stack.push_async_callback(made.stop)
            return made

        yield opened


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with straight(redis_url) as client:
        yield client


async def test_an_entry_holds_what_is_promised(opened: Open, client: Any) -> None:
    one = opened()
    assert await one.last(JOURNAL) is None
    assert await one.publish(JOURNAL, [event(1, data='{"output":"ü\\u0000"}'.encode())])
    ((_, fields),) = client.xrange(STREAM)
    assert fields == {
        b"execution_id": b"1",
        b"workflow_id": b"7",
        b"seq": b"1",
        b"type": b"TaskStarted",
        b"at": b"2023-11-14T22:13:20.250000Z",
        b"data": '{"output":"ü\\u0000"}'.encode(),
    }
    assert set(client.scan_iter()) == {STREAM.encode(), f"{STREAM}:position".encode()}


async def test_the_position_travels_with_the_events(opened: Open) -> None:
    one, other = opened(), opened()
    await one.last(JOURNAL)
    assert await one.publish(JOURNAL, [event(1), event(2)])
    assert await other.last(JOURNAL) == Position(2, 1, 2)
    assert await other.last("another journal") is None
    assert await other.publish(JOURNAL, [event(3)])
    assert not await one.publish(JOURNAL, [event(3)])
    assert await one.last(JOURNAL) == Position(3, 1, 3)


async def test_shards_keep_an_execution_together(opened: Open, client: Any) -> None:
    one = opened(shards=3, max_length=100)
    assert one.capacity == 300
    await one.last(JOURNAL)
    await one.publish(JOURNAL, [event(n, execution=n % 9) for n in range(1, 46)])
    found = [client.xrange(f"{STREAM}:{shard}") for shard in range(3)]
    assert [{int(fields[b"execution_id"]) % 3 for _, fields in entries} for entries in found] == [{0}, {1}, {2}]
    assert sum(map(len, found)) == 45
    assert not client.exists(STREAM)


async def test_a_workflow_has_a_stream_of_its_own_for_a_while(opened: Open, client: Any) -> None:
    one = opened(per_workflow=True)
    await one.last(JOURNAL)
    await one.publish(JOURNAL, [event(n, workflow=n % 2) for n in range(1, 11)])
    for workflow in range(2):
        key = f"{STREAM}:workflow:{workflow}"
        assert [int(fields[b"seq"]) % 2 for _, fields in client.xrange(key)] == [workflow] * 5
        assert 0 < client.ttl(key) <= redis_streams.WORKFLOW_LIFE
    assert client.xlen(STREAM) == 10
    assert client.ttl(STREAM) == -1


async def test_streams_are_bounded(opened: Open, client: Any) -> None:
    one = opened(max_length=100, per_workflow=True)
    await one.last(JOURNAL)
    for start in range(0, 3000, 500):
        await one.publish(JOURNAL, [event(n) for n in range(start + 1, start + 501)])
    for key in (STREAM, f"{STREAM}:workflow:7"):
        assert 100 <= client.xlen(key) <= 300
        assert client.xrevrange(key, count=1)[0][1][b"seq"] == b"3000"


async def test_another_relay_that_publishes_in_between_is_noticed(
    opened: Open, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the position and the entries: then none of the entries is added."""
    slow, quick = opened(), opened()
    events = [event(n) for n in range(1, 41)]
    assert [await one.last(JOURNAL) for one in (slow, quick)] == [None, None]
    exchange = RedisStreams._exchange

    async def interrupted(self: RedisStreams, commands: Sequence[Any]) -> list[Any]:
        replies = await exchange(self, commands)
        if self is slow and commands[0][0] == "WATCH":
            assert await quick.publish(JOURNAL, events[:30])
        return replies

    monkeypatch.setattr(RedisStreams, "_exchange", interrupted)
    assert not await slow.publish(JOURNAL, events)
    consumer = Consumer(redis_url).read()
    assert (len(consumer.entries), consumer.dropped) == (30, 0)
    consumer.close()
    assert await slow.last(JOURNAL) == events[29].position


async def test_a_refusal_is_no_success(opened: Open, client: Any) -> None:
    one = opened()
    await one.last(JOURNAL)
    client.set(STREAM, "not a stream")
    with pytest.raises(PublisherUnavailable, match="WRONGTYPE"):
        await one.publish(JOURNAL, [event(1)])


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://nowhere.invalid/0"])
async def test_a_redis_that_is_not_there_is_said(url: str) -> None:
    one = publisher(url)
    with pytest.raises(PublisherUnavailable):
        await one.last(JOURNAL)
    await one.stop()


async def test_a_redis_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_streams, "SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = publisher(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(PublisherUnavailable):
            await one.last(JOURNAL)
        await one.stop()


async def test_a_lost_answer_closes_the_transaction(opened: Open, client: Any) -> None:
    """A caller that went away leaves nothing half done on a connection that is used again."""
    one = opened()
    await one.last(JOURNAL)
    task = asyncio.create_task(one.publish(JOURNAL, [event(n) for n in range(1, 500)]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    last = await one.last(JOURNAL)
    assert client.xlen(STREAM) == (499 if last else 0)
    assert await one.publish(JOURNAL, [event(500)])


async def test_the_consumer_of_the_documentation_works(
    opened: Open, redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that come twice are printed once."""
    one = opened()
    await one.last(JOURNAL)
    for start in (1, 3):
        await one.publish(JOURNAL, [event(n, data=b'{"task":"a"}') for n in range(start, start + 4)])
    (example,) = re.findall(r"```python\n(.+?)```", (ROOT / "docs/events.md").read_text(), re.DOTALL)
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    monkeypatch.setattr(redis, "Redis", lambda **_options: client)
    exec(example.replace("while True:", "for _ in range(2):").replace("block=5000", "block=10"), {})
    client.close()
    assert capsys.readouterr().out.splitlines() == [f"1 {n} TaskStarted {{'task': 'a'}}" for n in range(1, 7)]
