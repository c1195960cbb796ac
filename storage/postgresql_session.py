"""One PostgreSQL connection inside the event loop: psycopg2's asynchronous mode, no thread.

Queries queue and are sent one after the other; a caller that is cancelled leaves its query running, and the next one
waits for it. Every query is its own transaction, several statements in one query are one transaction.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_WRITE, connection, cursor, parse_dsn

from engine.errors import StoreUnavailable

Part = str | tuple[str, Sequence[Any]]
"""A statement: plain, or with parameters that the driver quotes."""
Rows = list[tuple[Any, ...]]

CONNECT_SECONDS = 5.0
OPTIONS = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "synchronous_commit": "on",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
}
PLANS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Every query of the journal goes by an index, row after row in the order of ids, also while tables are small.

So one plan is as good as another, and making one again at each EXECUTE costs a quarter of a lone commit.
"""
CONNECT: dict[str, Any] = {
    "application_name": "millrace",
    "client_encoding": "UTF8",
    "connect_timeout": int(CONNECT_SECONDS),
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": " ".join(f"-c {name}={value}" for name, value in OPTIONS.items()),
}
JOURNAL = CONNECT | {"options": " ".join(f"-c {name}={value}" for name, value in (OPTIONS | PLANS).items())}


class Broken(Exception):
    """The connection broke while a query was under way: nobody knows whether it was committed."""


class _Query(NamedTuple):
    parts: Sequence[Part]
    future: asyncio.Future[Rows]


class Session:
    """Connects when first used, and again after it broke. `greet` are statements for each new connection."""

    def __init__(self, dsn: str, *, greet: Sequence[Part] = (), heard: Callable[[Any], None] | None = None) -> None:
        self._dsn = dsn
        self._greet = greet
        self._heard = heard
        self._queue: deque[_Query] = deque()
        self._active: _Query | None = None
        self._connection: connection | None = None
        self._cursor: cursor | None = None
        self._connecting = asyncio.Lock()
        self._number = -1
        self._writing = False
        self.broke: Callable[[], None] = lambda: None

    @property
    def load(self) -> int:
        """Queries that wait or run."""
        return len(self._queue) + (self._active is not None)

    @property
    def pid(self) -> int | None:
        """The server's process of this connection."""
        return None if self._connection is None else self._connection.info.backend_pid

    async def run(self, *parts: Part) -> Rows:
        """The rows of the last statement.

        Raises `StoreUnavailable` if there is no connection to be had (nothing was sent), `Broken` if it broke
        afterwards, `psycopg2.Error` for what the database refused.
        """
        while self._connection is None:  # it may break again between its greeting and this query
            await self.connect()
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._queue.append(_Query(parts, future))
        if self._active is None:
            self._next()
        return await future

    async def connect(self) -> None:
        """Raises `StoreUnavailable`."""
        async with self._connecting:
            if self._connection is not None:
                return
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    made = await _connect(self._dsn)
            except (psycopg2.Error, OSError, TimeoutError) as error:
                raise StoreUnavailable(f"the database does not answer: {str(error).strip() or 'no answer'}") from error
            self._connection, self._cursor = made, made.cursor()
            # a copy of our own, because libpq closes its descriptor by itself when the connection breaks
            self._number = os.dup(made.fileno())
            asyncio.get_running_loop().add_reader(self._number, self._ready)
        if self._greet:
            await self._say_hello()

    async def _say_hello(self) -> None:
        """A connection that could not be greeted is of no use."""
        greeted = self._connection
        try:
            await self.run(*self._greet)
        except (Broken, psycopg2.Error) as error:
            if self._connection is greeted:
                self._disconnect(error)
            raise StoreUnavailable(f"the database does not answer: {str(error).strip() or 'no answer'}") from error

    def close(self) -> None:
        self._disconnect(Broken("the connection was closed"))

    # --- callbacks of the loop ---

    def _ready(self) -> None:
        before = self._active
        self._advance()
        if self._active is before:
            self._watch_again()
        self._next()

    def _watch_again(self) -> None:
        """libuv reports an error of a socket once and then watches it no more: the end of the stream comes later."""
        if self._connection is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._number)
        loop.add_reader(self._number, self._ready)
        if self._writing:
            loop.remove_writer(self._number)
            loop.add_writer(self._number, self._ready)

    def _next(self) -> None:
        while self._queue and self._active is None and self._cursor is not None:
            query = self._queue.popleft()
            if query.future.done():
                continue
            try:
                self._cursor.execute(_compiled(self._cursor, query.parts))
            except (psycopg2.Error, ValueError) as error:
                self._fail(query, error)
            else:
                self._active = query
                self._advance()

    def _advance(self) -> None:
        if self._connection is None:
            return
        try:
            state = self._connection.poll()
        except psycopg2.Error as error:
            query, self._active = self._active, None
            self._fail(query, error)
            return
        self._watch(writing=state == POLL_WRITE)
        if state == POLL_OK:
            self._finish()
            self._hear()

    def _finish(self) -> None:
        query, self._active = self._active, None
        if query is None or self._cursor is None:
            return
        rows = self._cursor.fetchall() if self._cursor.description else []
        if not query.future.done():
            query.future.set_result(rows)

    def _hear(self) -> None:
        notices = self._connection.notifies if self._connection is not None else []
        while notices:
            notice = notices.pop(0)
            if self._heard is not None:
                self._heard(notice)

    def _watch(self, *, writing: bool) -> None:
        if writing == self._writing or self._connection is None:
            return
        self._writing = writing
        loop = asyncio.get_running_loop()
        if writing:
            loop.add_writer(self._number, self._ready)
        else:
            loop.remove_writer(self._number)

    def _fail(self, query: _Query | None, error: Exception) -> None:
        broken = query is None or (isinstance(error, psycopg2.Error) and _is_broken(self._connection, error))
        if query is not None and not query.future.done():
            query.future.set_exception(Broken(str(error).strip()) if broken else error)
        if broken:
            self._disconnect(error)

    def _disconnect(self, error: Exception) -> None:
        gone, self._connection, self._cursor = self._connection, None, None
        if gone is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._number)
        loop.remove_writer(self._number)
        os.close(self._number)
        gone.close()
        self._writing = False
        waiting = [*([self._active] if self._active else []), *self._queue]
        self._active = None
        self._queue.clear()
        for query in waiting:
            if not query.future.done():
                query.future.set_exception(Broken(str(error).strip()))
        self.broke()


async def _connect(dsn: str) -> connection:
    loop = asyncio.get_running_loop()
    where = await _addresses(loop, parse_dsn(dsn))
    made: connection = psycopg2.connect(dsn, async_=1, **JOURNAL, **where)
    try:
        while (state := made.poll()) != POLL_OK:
            await _until_ready(loop, made.fileno(), writing=state == POLL_WRITE)
    except BaseException:
        with suppress(psycopg2.Error):
            made.close()
        raise
    return made


async def _addresses(loop: asyncio.AbstractEventLoop, dsn: dict[str, str]) -> dict[str, Any]:
    """Where the host is: looked up here, because libpq would block the loop."""
    host, port = dsn.get("host", ""), dsn.get("port", "5432")
    if not host or "/" in host or "," in host or "hostaddr" in dsn:
        return {}
    found = await loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    places = list(dict.fromkeys(str(address[0]) for *_, address in found))
    each = len(places)
    return {"host": ",".join([host] * each), "port": ",".join([port] * each), "hostaddr": ",".join(places)}


async def _until_ready(loop: asyncio.AbstractEventLoop, number: int, *, writing: bool) -> None:
    ready = asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(number, ready.set)
    try:
        await ready.wait()
    finally:
        remove(number)


def _compiled(using: cursor, parts: Sequence[Part]) -> bytes:
    return b";".join(part.encode() if isinstance(part, str) else using.mogrify(*part) for part in parts)


def _is_broken(on: connection | None, error: psycopg2.Error) -> bool:
    """Whether the connection is of no more use; libpq says so in errors without a code."""
    if on is None or on.closed or isinstance(error, psycopg2.InterfaceError):
        return True
    code = error.pgcode
    if code is None:
        return type(error) in {psycopg2.OperationalError, psycopg2.DatabaseError}
    return code[:2] == "08" or code[:3] == "57P"
