"""Events to Redis Streams. The position of the last one is a key beside the streams, changed in the same transaction.

    WATCH position, GET position -> is it what we left there? -> MULTI, XADD ..., SET position, EXEC

So a Redis that was emptied, or went back in time, or took events from another relay is noticed before anything is
added to it, and no event can overtake an earlier one: neither out of memory (the whole transaction is refused) nor
by a process that slept (the watched key has changed). Everything of one execution goes to one stream, in one order.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from engine.clock import rfc3339
from engine.errors import PublisherUnavailable
from engine.outbox import OutboxEvent, Position, Publisher

SECONDS = 5.0
"""The longest wait for an answer."""
WORKFLOW_LIFE = 86_400
"""Seconds after its last event at which the stream of one workflow goes."""

Command = tuple[bytes | str | int, ...]


def open_publisher(url: str, *, stream: str, shards: int, max_length: int, per_workflow: bool) -> Publisher:
    """Connects when first used. `max_length` events are kept per stream, give or take Redis's own node size."""
    return RedisStreams(url, stream, shards, max_length, per_workflow)


class RedisStreams:
    """Satisfies `engine.outbox.Publisher`."""

    def __init__(self, url: str, stream: str, shards: int, max_length: int, per_workflow: bool) -> None:
        self.capacity = max_length * shards
        self._streams = [stream] if shards == 1 else [f"{stream}:{n}" for n in range(shards)]
        self._of_workflow = f"{stream}:workflow:" if per_workflow else ""
        self._bound = ("MAXLEN", "~", max_length, "*")
        self._position = f"{stream}:position"
        self._left: bytes | None = None
        self._pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 0)
        )
        self._connection: AbstractConnection | None = None

    async def last(self, journal: str) -> Position | None:
        (self._left,) = await self._exchange([("GET", self._position)])
        name, *place = (self._left or b"").decode().split(" ")
        return Position(*map(int, place)) if name == journal else None

    async def publish(self, journal: str, events: Sequence[OutboxEvent]) -> bool:
        _, found = await self._exchange([("WATCH", self._position), ("GET", self._position)])
        if found != self._left:
            return False
        last = events[-1]
        left = f"{journal} {last.order} {last.execution_id} {last.seq}".encode()
        commands: list[Command] = [("MULTI",), *self._entries(events), ("SET", self._position, left), ("EXEC",)]
        added = (await self._exchange(commands))[-1]
        if added is None:
            return False
        self._left = left
        return True

    async def stop(self) -> None:
        await self._disconnect()

    def _entries(self, events: Sequence[OutboxEvent]) -> Iterator[Command]:
        streams, shards = self._streams, len(self._streams)
        times = {at: rfc3339(at) or "" for at in {event.at for event in events}}
        for event in events:
            fields = (
                *self._bound,
                *("execution_id", event.execution_id, "workflow_id", event.workflow_id, "seq", event.seq),
                *("type", event.type, "at", times[event.at], "data", event.data),
            )
            yield "XADD", streams[event.execution_id % shards], *fields
            if self._of_workflow:
                yield "XADD", f"{self._of_workflow}{event.workflow_id}", *fields
        if self._of_workflow:
            for workflow_id in {event.workflow_id for event in events}:
                yield "EXPIRE", f"{self._of_workflow}{workflow_id}", WORKFLOW_LIFE

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        """The replies. After any error the connection is closed, and with it what it watched or queued."""
        try:
            async with asyncio.timeout(SECONDS):
                connection = self._connection or await self._connect()
                packed = b"".join(pack_command(command) for command in commands)  # type: ignore[arg-type]
                await connection.send_packed_command(packed, check_health=False)
                replies = [await _read(connection) for _ in commands]
            _raise_first(replies)
        except (RedisError, OSError, TimeoutError) as error:
            await self._disconnect()
            raise PublisherUnavailable(f"redis does not take events: {str(error) or 'no answer'}") from error
        except BaseException:
            await self._disconnect()
            raise
        return replies

    async def _connect(self) -> AbstractConnection:
        self._connection = self._pool.make_connection()
        await self._connection.connect()
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


def _raise_first(replies: Sequence[Any]) -> None:
    """The first refusal says why; also one inside the transaction, whose other commands were done."""
    *_, last = replies
    for reply in (*replies, *(last if isinstance(last, list) else ())):
        if isinstance(reply, Exception):
            raise reply
