"""What the database holds, read past the product: plain SQL of our own, so that the audit believes nobody."""

import sqlite3
from contextlib import closing
from typing import Any

import msgspec
import psycopg2

from engine.events import StoredEvent
from engine.graph import CompiledGraph, load

_EXECUTIONS = "SELECT id, workflow_id, version_id, status, owner, idempotency_key, {ended} FROM execution ORDER BY id"
_EVENTS = "SELECT execution_id, seq, type, v, {at}, lease, data FROM event ORDER BY execution_id, seq"
_VERSIONS = "SELECT id, graph, presentation FROM workflow_version"
_SIGNALS = "SELECT execution_id, name FROM signal"


class Row(msgspec.Struct, frozen=True):
    """One row of the table of executions."""

    id: int
    workflow_id: int
    version_id: int
    status: str
    owner: int | None
    idempotency_key: str | None
    ended_at: float | None


class History(msgspec.Struct):
    """Everything recorded, at one moment. `unread` are signals that no owner has taken, as (execution, name)."""

    executions: dict[int, Row]
    events: dict[int, list[StoredEvent]]
    graphs: dict[int, CompiledGraph]
    unread: list[tuple[int, str]]


def read(url: str) -> History:
    """In one transaction."""
    sqlite = url.startswith("sqlite")
    seconds = "{0} / 1000000.0" if sqlite else "extract(epoch FROM {0})::float8"
    statements = (
        _EXECUTIONS.format(ended=seconds.format("ended_at")),
        _EVENTS.format(at=seconds.format("at")),
        _VERSIONS,
        _SIGNALS,
    )
    rows, events, versions, signals = (_sqlite if sqlite else _postgresql)(url, statements)
    found: dict[int, list[StoredEvent]] = {}
    for execution_id, seq, kind, v, at, lease, data in events:
        stored = StoredEvent(execution_id, seq, kind, v, at, lease, bytes(data))
        found.setdefault(execution_id, []).append(stored)
    return History(
        {row[0]: Row(*row) for row in rows},
        found,
        {version: load(bytes(graph), bytes(names)) for version, graph, names in versions},
        [(execution_id, name) for execution_id, name in signals],
    )


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    return (_sqlite if url.startswith("sqlite") else _postgresql)(url, (statement,))[0]


def _sqlite(url: str, statements: tuple[str, ...]) -> list[list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10.0, isolation_level=None)) as db:
        db.execute("BEGIN")
        return [db.execute(statement).fetchall() for statement in statements]


def _postgresql(url: str, statements: tuple[str, ...]) -> list[list[tuple[Any, ...]]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        answers = []
        for statement in statements:
            cursor.execute(statement)
            answers.append(cursor.fetchall())
        return answers
