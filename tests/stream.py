"""A consumer of published events as `docs/events.md` describes it, and the relay that it listens to."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis

from engine.caretakers.loop import repeat
from engine.caretakers.relay import Relay
from engine.outbox import Publisher
from engine.ports import Store
from engine.progress import Progress
from publish.redis_streams import open_publisher
from tests.stores import seqs

STREAM = "millrace:events"


class Consumer:
    """Reads a stream from its beginning and drops what it has seen."""

    def __init__(self, url: str, stream: str = STREAM) -> None:
        self._client = straight(url)
        self._stream = stream
        self._after = "0"
        self.seen: dict[int, list[int]] = defaultdict(list)
        """By execution the seqs that were not dropped."""
        self.entries: list[dict[str, str]] = []
        self.dropped = 0

    def read(self) -> "Consumer":
        """All that is there now."""
        while found := self._client.xread({self._stream: self._after}, count=500):
            for entry_id, fields in found[0][1]:
                self._after = entry_id
                self._take({name.decode(): value.decode() for name, value in fields.items()})
        return self

    def _take(self, entry: dict[str, str]) -> None:
        number, seq = int(entry["execution_id"]), int(entry["seq"])
        if self.seen[number] and seq <= self.seen[number][-1]:
            self.dropped += 1
            return
        self.seen[number].append(seq)
        self.entries.append(entry)

    async def catches_up(self, store: Store, ids: Any) -> None:
        """Returns when it has seen the journal of these executions to its end."""
        ends = {number: (await seqs(store, number))[-1] for number in ids}
        async with asyncio.timeout(20):
            while any(self.read().seen[number][-1:] != [end] for number, end in ends.items()):
                await asyncio.sleep(0.01)

    @property
    def gaps(self) -> dict[int, list[int]]:
        """What was seen of the executions of which not everything was."""
        return {number: seen for number, seen in self.seen.items() if seen != list(range(1, len(seen) + 1))}

    def close(self) -> None:
        self._client.close()


def straight(url: str) -> Any:
    """A client of Redis beside ours."""
    return redis.Redis.from_url(url)


def publisher(url: str, **options: Any) -> Publisher:
    values: dict[str, Any] = {"stream": STREAM, "shards": 1, "max_length": 50_000, "per_workflow": False}
    return open_publisher(url, **values | options)


@asynccontextmanager
async def relaying(
    store: Store, to: Publisher, *, ttl: float = 60.0, dies: bool = False, progress: Progress | None = None
) -> AsyncIterator[Relay]:
    """A relay at work. `dies`: at the end it vanishes as a killed process does, without a mark or a release."""
    relay = Relay(store, to, Progress() if progress is None else progress, holder="test", ttl=ttl)
    task = asyncio.create_task(repeat("relay", relay.round))
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await (to.stop() if dies else relay.stop())
