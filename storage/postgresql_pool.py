"""Synchronous connections for drafts and pages: few, each with a thread, closed when nobody needs them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg2
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from engine.errors import StoreUnavailable
from storage.postgresql_session import CONNECT

T = TypeVar("T")
IDLE = 10.0
"""Seconds without work after which its connections are closed."""


class Pool:
    """Connects when first used, at most `size` times at once; more work waits."""

    def __init__(self, url: URL, size: int) -> None:
        self._engine = create_engine(url, connect_args=CONNECT, pool_size=size, max_overflow=0)
        self._threads = ThreadPoolExecutor(size, "postgresql-draft")
        self._busy = 0
        self._rest: asyncio.TimerHandle | None = None

    async def run(self, job: Callable[[Connection], T], isolation: str) -> T:
        """`job` in a thread, in a transaction of its own. Raises what it raises, and `StoreUnavailable`."""
        loop = asyncio.get_running_loop()
        if self._rest is not None:
            self._rest.cancel()
        self._busy += 1
        try:
            return await loop.run_in_executor(self._threads, self._transaction, job, isolation)
        finally:
            self._busy -= 1
            if not self._busy:
                self._rest = loop.call_later(IDLE, self._threads.submit, self._engine.dispose)

    async def close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _transaction(self, job: Callable[[Connection], T], isolation: str) -> T:
        """In a thread. A pooled connection that broke unseen is replaced once: nothing was committed on it."""
        try:
            try:
                return self._attempt(job, isolation)
            except _BrokenBefore:
                return self._attempt(job, isolation)
        except (_BrokenBefore, DBAPIError, psycopg2.Error) as error:
            reason = str(error.orig if isinstance(error, DBAPIError) else error).strip()
            raise StoreUnavailable(f"the database does not answer: {reason}") from error

    def _attempt(self, job: Callable[[Connection], T], isolation: str) -> T:
        with self._connected(isolation) as connection:
            with connection.begin() as transaction:
                try:
                    answer = job(connection)
                except DBAPIError as error:
                    if error.connection_invalidated:
                        raise _BrokenBefore(str(error.orig).strip()) from error
                    raise
                transaction.commit()
            return answer

    def _connected(self, isolation: str) -> Connection:
        """The pool passes on what the driver raises when it sets up a connection that is dead already."""
        connection = self._engine.connect()
        try:
            return connection.execution_options(isolation_level=isolation)
        except psycopg2.Error as error:
            connection.invalidate(error)
            connection.close()
            raise _BrokenBefore(str(error).strip()) from error


class _BrokenBefore(Exception):
    """The connection broke before the commit."""
