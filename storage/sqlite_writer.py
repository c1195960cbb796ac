"""The one thread that writes to a SQLite file: it drains all waiting jobs into one transaction."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, StaticPool, create_engine

from engine.errors import StoreUnavailable
from storage.columns import MICROSECONDS

T = TypeVar("T")

MAX_JOBS = 1024
"""Jobs in one transaction."""
BUSY = 5.0
"""Seconds to wait for a foreign process that holds the file's lock."""


class Work(NamedTuple):
    """What a job gets: the driver's connection, SQLAlchemy's view of it, and the time in microseconds."""

    db: sqlite3.Connection
    connection: Connection
    now: int


class Clock:
    """The machine's clock in microseconds, but never the same twice: after a step back it runs on monotonically."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._tick = time.monotonic_ns()

    def floor(self, microseconds: int) -> None:
        """Nothing earlier than this is ever told."""
        with self._lock:
            self._last = max(self._last, microseconds)

    def now(self) -> int:
        with self._lock:
            tick = time.monotonic_ns()
            onward = self._last + (tick - self._tick) // 1000
            self._last, self._tick = max(time.time_ns() // 1000, onward, self._last + 1), tick
            return self._last

    def seconds(self) -> float:
        return self.now() / MICROSECONDS


class _Job(NamedTuple):
    run: Callable[[Work], Any]
    future: asyncio.Future[Any]


class Writer:
    """Owns the write connection. Each job has its own savepoint, so that a refused one harms nobody.

    `undone` is called in the thread when a whole transaction was rolled back.
    """

    def __init__(self, path: str, clock: Clock, undone: Callable[[], None]) -> None:
        self._undone = undone
        self._path = path
        self._clock = clock
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._closed = False
        self._thread.start()

    def submit(self, run: Callable[[Work], T]) -> "asyncio.Future[T]":
        """Resolved when the job's transaction is durable. Raises what `run` raised, or `StoreUnavailable`."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(StoreUnavailable("the database was closed"))
        else:
            self._jobs.put(_Job(run, future))
        return future

    async def close(self) -> None:
        """After everything queued so far is done."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    # --- in the thread ---

    def _work(self) -> None:
        try:
            db = self._open()
        except sqlite3.Error as error:
            while jobs := self._take():
                self._tell(jobs, [StoreUnavailable(f"the database file cannot be opened: {error}")] * len(jobs))
            return
        engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
        with engine.connect() as connection:
            while jobs := self._take():
                self._round(jobs, db, connection)
        engine.dispose()
        db.close()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=BUSY, isolation_level=None, check_same_thread=False, cached_statements=1024
        )
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-65536"):
                db.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _take(self) -> list[_Job]:
        first = self._jobs.get()
        jobs: list[_Job] = []
        while first is not None:
            jobs.append(first)
            if len(jobs) >= MAX_JOBS:
                return jobs
            try:
                first = self._jobs.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._jobs.put(None)
        return jobs

    def _round(self, jobs: list[_Job], db: sqlite3.Connection, connection: Connection) -> None:
        answers: list[Any]
        try:
            db.execute("BEGIN IMMEDIATE")
            work = Work(db, connection, self._clock.now())
            answers = [_attempt(job, work) for job in jobs] if len(jobs) > 1 else [_alone(jobs[0], work)]
            db.execute("COMMIT")
        except Exception as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._undone()
            answers = [StoreUnavailable(f"the database file cannot be written: {error}")] * len(jobs)
        self._tell(jobs, answers)

    def _tell(self, jobs: list[_Job], answers: list[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, jobs, answers)
        except RuntimeError:  # the loop was closed without closing the store: nobody listens any more
            self._closed = True


def _alone(job: _Job, work: Work) -> Any:
    """Without a savepoint: every statement is a moment at which another thread may take the interpreter."""
    try:
        return job.run(work)
    except Exception as error:
        if not work.db.in_transaction:
            raise
        work.db.execute("ROLLBACK")
        work.db.execute("BEGIN IMMEDIATE")
        return error


def _attempt(job: _Job, work: Work) -> Any:
    work.db.execute("SAVEPOINT job")
    try:
        answer = job.run(work)
    except Exception as error:
        if not work.db.in_transaction:
            raise
        work.db.execute("ROLLBACK TO job")
        answer = error
    work.db.execute("RELEASE job")
    return answer


def _resolve(jobs: Sequence[_Job], answers: Sequence[Any]) -> None:
    for job, answer in zip(jobs, answers, strict=True):
        if job.future.done():
            continue
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
