"""One connection to Redis: what all callers ask while one flight is on its way goes out together with the next.

A broken or slow server closes the link at once and for all callers; one background task tries to open it again, so
that a dead Redis costs a request nothing. redis-py would connect again by itself, in silence; a cache must know,
because a restarted server may have gone back in time: `run` names one life of one server.

A link that broke by accident is open again within milliseconds. Whoever must know whether it is one (a writer whose
announcement was lost, while others may still read) waits for `verdict`.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

TICKS, TICK = 5, 0.1
"""A flight may take so many ticks of so many seconds; a stall of our own loop, however long, is one tick."""
CONNECT_TIMEOUT = 1.0
COOLDOWN = 1.0
"""Seconds between attempts to open a link that stays broken; the first ones follow each other faster."""
PATIENCE = 3.0
"""Seconds after which a broken link is no accident."""

Answers = Mapping[bytes, bytes | None]
Command = tuple[bytes | str | int, ...]


class LinkDown(RedisError):
    """Redis does not answer; the background task looks after it."""


class _Flight:
    """Keys to look up together, commands, and the futures that wait for them."""

    __slots__ = ("answers", "commands", "keys")

    def __init__(self) -> None:
        self.keys: dict[bytes, None] = {}
        self.answers: asyncio.Future[Answers | Exception] = asyncio.get_running_loop().create_future()
        self.commands: list[tuple[Command, asyncio.Future[Any]]] = []

    def packed(self) -> list[Command]:
        commands = [command for command, _ in self.commands]
        return [("MGET", *self.keys), *commands] if self.keys else commands

    def land(self, replies: list[Any]) -> None:
        if self.keys:
            values = replies.pop(0)
            # errors travel as values: a caller that went away leaves no unretrieved exception behind
            answers = values if isinstance(values, Exception) else dict(zip(self.keys, values, strict=True))
            _resolve(self.answers, answers)
        for (_, future), reply in zip(self.commands, replies, strict=True):
            _resolve(future, reply)

    def crash(self, error: Exception) -> None:
        for future in (self.answers, *(future for _, future in self.commands)):
            _resolve(future, error)


class RedisLink:
    """`run` is the id of the server process while the link is open, else None.

    `on_open(run)` is called before anybody else may use a link that was opened; if it raises, it is closed again.
    """

    def __init__(self, url: str, on_open: Callable[[bytes], Awaitable[None]]) -> None:
        self.run: bytes | None = None
        self._pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        self._on_open = on_open
        self._connection: AbstractConnection | None = None
        self._boarding: _Flight | None = None
        self._pilot: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._lost_at = 0.0
        self._judged = asyncio.Event()
        self._log = structlog.get_logger("cache")

    async def start(self) -> None:
        """Returns when the first attempt to connect is over, well or not."""
        self._lost_at = time.monotonic()
        await self._try_open()
        self._keeper = asyncio.create_task(self._keep(), name="redis-link")

    async def stop(self) -> None:
        tasks = [task for task in (self._keeper, self._pilot) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.run = None
        self._judged.set()
        await self.break_off(LinkDown("stopped"))

    async def values(self, keys: Iterable[bytes]) -> Answers:
        """The values of `keys`, and maybe of others, read after this call. Raises `LinkDown`, `RedisError`."""
        flight = self._board()
        flight.keys.update(dict.fromkeys(keys))
        answers = await flight.answers
        if isinstance(answers, Exception):
            raise answers
        return answers

    async def call(self, *command: bytes | str | int) -> Any:
        """The reply. Raises `LinkDown`, `RedisError`."""
        flight = self._board()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        flight.commands.append((command, future))
        reply = await future
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def verdict(self) -> None:
        """Returns when the link is open, or known to be no accident: refused, or broken for `PATIENCE` seconds."""
        await self._judged.wait()

    async def break_off(self, error: Exception) -> None:
        """Closes the link; everybody who waits for an answer gets none."""
        connection, self._connection = self._connection, None
        if self.run is not None:
            self._log.warning("redis lost, cached answers are off", error=str(error))
            self._lost_at = time.monotonic()
            self._judged.clear()
        self.run = None
        self._lost.set()
        if self._boarding is not None:
            self._boarding.crash(LinkDown(str(error)))
            self._boarding = None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _board(self) -> _Flight:
        if self._connection is None:
            raise LinkDown()
        if self._boarding is None:
            self._boarding = _Flight()
            if self._pilot is None:
                self._pilot = asyncio.create_task(self._fly(), name="redis-flights")
        return self._boarding

    async def _fly(self) -> None:
        try:
            while (flight := self._boarding) is not None:
                self._boarding = None
                await self._send(flight)
        finally:
            self._pilot = None

    async def _send(self, flight: _Flight) -> None:
        try:
            replies = await self._exchange(flight.packed())
        except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as error:
            flight.crash(LinkDown(str(error) or "no answer"))
            await self.break_off(LinkDown(str(error) or f"no answer in {TICKS * TICK:g} s"))
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            flight.land(replies)

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        connection = self._connection
        if connection is None:
            raise LinkDown()
        async with _patience():
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            return [await _read(connection) for _ in commands]

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            pause = 0.0
            while self.run is None:
                await asyncio.sleep(min(pause, COOLDOWN))
                pause = 2 * pause + 0.02
                await self._try_open()

    async def _try_open(self) -> None:
        self._lost.clear()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                self._connection = await self._connect()
                run = _run_id(await self.call("INFO", "server"))
                await self._on_open(run)
        except (RedisError, OSError, TimeoutError) as error:
            await self.break_off(error)
            if _is_refused(error) or time.monotonic() - self._lost_at > PATIENCE:
                self._judged.set()
        else:
            self.run = run
            self._judged.set()
            self._log.info("redis found, cached answers are on")

    async def _connect(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    handle: asyncio.TimerHandle

    def tick(left: int) -> None:
        nonlocal handle
        if left:
            handle = loop.call_later(TICK, tick, left - 1)
        else:
            scope.reschedule(0)

    handle = loop.call_later(TICK, tick, TICKS - 1)
    try:
        async with asyncio.timeout(None) as scope:
            yield
    finally:
        handle.cancel()


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


def _is_refused(error: BaseException | None) -> bool:
    """Whether nobody listens there: then nobody else reads there either."""
    while error is not None and not isinstance(error, ConnectionRefusedError):
        error = error.__cause__ or error.__context__
    return error is not None


def _run_id(info: bytes) -> bytes:
    found = re.search(rb"^run_id:(\w+)", info, re.MULTILINE)
    if found is None:
        raise LinkDown("the server does not tell its run_id")
    return found[1][:16]


def _resolve(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)
