"""The limit of a journal: a bare group-commit loop, the lease's fence and two events for each task, nothing else.

The same tables, drivers, durability and bytes as the product's; no engine, no loop, no port.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg2
from psycopg2.extensions import cursor

from benchmarks.servers import Database
from storage import schema

EVENTS = (
    ("TaskCompleted", b'{"task":"task_17","output":{},"elapsed":0.0000031200000086690124}'),
    ("TaskStarted", b'{"task":"task_18"}'),
)
BATCH = 512
"""Tasks in one commit."""
LENGTH = 10
"""Tasks of an execution."""


class Bare(Protocol):
    """One connection that only writes."""

    def commit(self, executions: int) -> None:
        """One task of each of so many executions; durable on return."""
        ...


def rate(bare: Bare, tasks: int) -> float:
    """Tasks per second in full batches."""
    began = time.perf_counter()
    for _ in range(max(1, tasks // BATCH)):
        bare.commit(BATCH)
    return max(1, tasks // BATCH) * BATCH / (time.perf_counter() - began)


def one_by_one(bare: Bare, tasks: int) -> float:
    """Milliseconds a task, each in its own commit."""
    began = time.perf_counter()
    for _ in range(tasks):
        bare.commit(1)
    return (time.perf_counter() - began) / tasks * 1000


@contextmanager
def journal(database: Database) -> Iterator[Bare]:
    """Over an empty database of its own."""
    opened: BareSQLite | BarePostgres = (BareSQLite if database.kind == "SQLite" else BarePostgres)(database.url)
    try:
        yield opened
    finally:
        opened.close()


class _Rows:
    """Executions that go on with every commit, and make room for others after `LENGTH` tasks."""

    def __init__(self) -> None:
        self._first = 1
        self._seq = 1

    def next(self, executions: int) -> Iterator[tuple[int, int, str, bytes]]:
        if self._seq > LENGTH * len(EVENTS):
            self._first += BATCH
            self._seq = 1
        seq = self._seq
        self._seq += len(EVENTS)
        for execution in range(self._first, self._first + executions):
            for offset, (kind, data) in enumerate(EVENTS):
                yield execution, seq + offset, kind, data


class BarePostgres:
    """psycopg2, blocking; one query with several statements is one transaction."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._cursor: cursor = self._connection.cursor()
        self._cursor.execute("INSERT INTO lease (holder, created_at, expires_at) VALUES ('bare', now(), now())")
        self._rows = _Rows()

    def commit(self, executions: int) -> None:
        ids, seqs, kinds, data = zip(*self._rows.next(executions), strict=True)
        payloads = '","\\\\x'.join([each.hex() for each in data])
        self._cursor.execute(
            "SELECT millrace_fence(1); INSERT INTO event (execution_id, seq, type, v, at, lease, batch, data) "
            "SELECT u.id, u.seq, u.type, 1, now(), 1, 1, u.data FROM unnest("
            f"'{{{','.join(map(str, ids))}}}'::bigint[], '{{{','.join(map(str, seqs))}}}'::int[], "
            f"'{{{','.join(kinds)}}}'::text[], '{{\"\\\\x{payloads}\"}}'::bytea[]) AS u(id, seq, type, data); "
            "SELECT now()"
        )
        self._cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


class BareSQLite:
    """sqlite3 in this thread; many rows a statement."""

    CHUNK = 256

    def __init__(self, url: str) -> None:
        path = str(schema.parse_url(url).database)
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-65536"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("INSERT INTO lease (holder, created_at, expires_at) VALUES ('bare', 0, 0)")
        self._rows = _Rows()

    def commit(self, executions: int) -> None:
        db, now = self._db, time.time_ns() // 1000
        db.execute("BEGIN IMMEDIATE")
        assert db.execute("SELECT 1 FROM lease WHERE id = 1 AND NOT lost").fetchone()
        rows = list(self._rows.next(executions))
        for start in range(0, len(rows), self.CHUNK):
            chunk = rows[start : start + self.CHUNK]
            values = ",".join(["(?,?,?,?)"] * len(chunk))
            db.execute(
                "INSERT INTO event (v, at, xid, lease, batch, execution_id, seq, type, data) "
                f"SELECT 1, {now:d}, {now:d}, 1, 1, * FROM (VALUES {values})",
                [field for row in chunk for field in row],
            )
        db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()
