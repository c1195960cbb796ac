"""Other people's databases: a statement at a time, with bound parameters, through connections that the operator named.

The only module outside `storage` that speaks SQL: what a workflow says to a database of its own is a call to the
outside, and has nothing to do with where Millrace keeps its state.
"""

import base64
import math
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from egress.statements import Rows, SqlError, Statement

POOL = 5
_DENIED = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA})
"""What would lead out of the file that the operator named, or change how it is kept."""
_READING = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_TRANSACTION,
    }
)


class Databases:
    """A small pool of connections for each URL. Any thread may use it."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, bool], sa.Engine] = {}
        self._lock = threading.Lock()

    def run(self, url: str, statement: Statement) -> Rows:
        """One statement in one transaction. Raises `SqlError`; no message has the URL or a parameter."""
        try:
            engine = self._engine(url, statement.read_only)
            with engine.connect() as connection, _bounded(connection, statement), connection.begin():
                result = connection.execute(sa.text(statement.text), dict(statement.parameters))
                return _rows(result, statement.max_rows)
        except exc.DBAPIError as error:
            raise _reason(error, statement) from None
        except exc.StatementError as error:
            raise SqlError(_unbound(str(error.orig)), "sql_refused", retryable=False) from None
        except (OverflowError, TypeError, ValueError) as error:  # of the driver, for a value that it cannot send
            raise SqlError(f"a parameter cannot be bound: {error}", "sql_refused", retryable=False) from None
        except exc.ArgumentError:
            raise SqlError("the URL of this connection is not one", "connection", retryable=False) from None
        except exc.SQLAlchemyError as error:
            raise SqlError(
                f"the database cannot be used: {type(error).__name__}", "connection", retryable=True
            ) from None

    async def close(self) -> None:
        for engine in self._engines.values():
            engine.dispose()

    def _engine(self, url: str, read_only: bool) -> sa.Engine:
        with self._lock:
            if (url, read_only) not in self._engines:
                self._engines[url, read_only] = _open(url, read_only)
            return self._engines[url, read_only]


def _open(url: str, read_only: bool) -> sa.Engine:
    parsed = sa.make_url(url.replace("postgres://", "postgresql://", 1))
    if parsed.get_backend_name() == "sqlite":
        # a statement that outlives its attempt, and us, closes its connection all the same
        engine = sa.create_engine(
            parsed, poolclass=sa.NullPool, connect_args={"timeout": 5.0, "check_same_thread": False}
        )
        sa.event.listen(engine, "checkout", _fence(read_only))
        return engine
    if parsed.get_backend_name() != "postgresql":
        raise exc.ArgumentError("only postgresql and sqlite")
    connect = {
        "connect_timeout": 10,
        "application_name": "millrace-sql",
        "options": f"-c default_transaction_read_only={'on' if read_only else 'off'}",
    }
    psycopg = parsed.set(drivername="postgresql+psycopg2")
    return sa.create_engine(psycopg, pool_size=POOL, pool_pre_ping=True, pool_recycle=600, connect_args=connect)


def _fence(read_only: bool) -> Callable[[sqlite3.Connection, object, object], None]:
    """Statements of workflows stay inside the file."""

    def allow(action: int, *_: object) -> int:
        refused = action in _DENIED or (read_only and action not in _READING)
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    def checkout(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        connection.set_authorizer(allow)

    return checkout


@contextmanager
def _bounded(connection: sa.Connection, statement: Statement) -> Iterator[None]:
    """The database itself ends what takes too long, so that no thread is lost to it."""
    if connection.dialect.name == "postgresql":
        with connection.begin():
            connection.execute(sa.text("SELECT set_config('statement_timeout', :t, false)"), {"t": _ms(statement)})
        yield
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    timer = threading.Timer(statement.seconds, driver.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _ms(statement: Statement) -> str:
    return str(max(1, round(statement.seconds * 1000)))


def _rows(result: sa.CursorResult[Any], most: int) -> Rows:
    if not result.returns_rows:
        return Rows([], [], result.rowcount if result.rowcount >= 0 else None)
    columns = list(result.keys())
    if len(set(columns)) < len(columns):
        raise SqlError("two columns have the same name; give one another with AS", "sql_refused", retryable=False)
    found = result.fetchmany(most + 1)
    if len(found) > most:
        message = f"the statement has more than {most} rows; add a LIMIT, or raise max_rows"
        raise SqlError(message, "too_many_rows", retryable=False)
    return Rows(columns, [dict(zip(columns, map(_plain, row), strict=True)) for row in found], None)


def _plain(value: Any) -> Any:
    """As JSON: exact numbers and times as text, bytes as base64."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | memoryview():
            return base64.b64encode(value).decode()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case _:
            return str(value)


_PARAMETER = re.compile(r"value is required for bind parameter '([^']+)'")
_STATE = re.compile(r"[0-9A-Z]{5}")
_PASSING = ("08", "40", "53", "55", "57")
"""Classes of SQLSTATE after which trying again may help: connection, rollback, resources, locks, operator."""


def _unbound(reason: str) -> str:
    found = _PARAMETER.search(reason)
    if found is None:
        return f"the statement cannot be run: {reason}"
    return f"parameters gives no value for :{found[1]}; write \\:{found[1]} where a colon is meant"


def _reason(error: exc.DBAPIError, statement: Statement) -> SqlError:
    said = str(error.orig).strip()
    message = said.split("\n", 1)[0][:500]
    code = getattr(error.orig, "pgcode", None)
    if code == "57014" or message == "interrupted":
        return SqlError(f"the statement took longer than {statement.seconds:g} s", "timeout", retryable=True)
    if isinstance(code, str) and _STATE.fullmatch(code):
        return SqlError(f"{message} ({code})", "sql_refused", retryable=code.startswith(_PASSING))
    if error.connection_invalidated or _is_connecting(error):
        return SqlError("the database cannot be reached", "connection", retryable=True)
    busy = isinstance(error.orig, sqlite3.OperationalError) and "locked" in message
    return SqlError(message, "sql_refused", retryable=busy)


def _is_connecting(error: exc.DBAPIError) -> bool:
    """psycopg2 gives no code when there is no connection; its message names host and user."""
    return isinstance(error, exc.OperationalError) and not isinstance(error.orig, sqlite3.Error)


def open_databases() -> Databases:
    """Connects to nothing yet."""
    return Databases()
