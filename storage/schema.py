"""The state of a database's schema. Alembic is imported only when there is something to migrate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from engine.errors import ConfigurationError, StoreUnavailable
from storage.tables import metadata

HEAD = "0001"
"""The newest migration."""
CURE = "python cli.py db upgrade"

_VERSION_TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def parse_url(url: str) -> URL:
    """Raises `ConfigurationError` for anything but SQLite in a file and PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError("the database URL cannot be read; write sqlite:///file.db or postgresql://…") from None
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed.set(drivername="sqlite")
    if kind in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg2")
    raise ConfigurationError(f"no storage for {kind!r} here; write sqlite:///file.db or postgresql://…")


def migration_engine(url: str) -> Engine:
    """Connections for schema changes; on SQLite each transaction locks the file from its first statement."""
    parsed = parse_url(url)
    engine = create_engine(parsed, poolclass=NullPool)
    if parsed.drivername == "sqlite":
        event.listen(engine, "connect", lambda dbapi, _record: setattr(dbapi, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def current(url: str) -> str | None:
    """The version of the schema, None for an empty database. Raises `StoreUnavailable`."""
    parsed = parse_url(url)
    if parsed.drivername == "sqlite" and not Path(str(parsed.database)).exists():
        return None
    with _connected(url) as connection:
        return version_of(connection)


def version_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def upgrade(url: str) -> None:
    """Brings the schema to `HEAD`. Raises `StoreUnavailable`; `ConfigurationError` for a later release's schema."""
    from storage.migrate import run  # noqa: PLC0415 - 0.3 s that a start without migration must not pay

    with _explained():
        run(url)


def prepare(url: str) -> None:
    """For the embedded start: a fresh database gets all tables at once, an older one is migrated.

    Raises `ConfigurationError` for a database that is somebody else's.
    """
    with _connected(url) as connection:
        found = version_of(connection)
        if found is None:
            _claim(connection)
            return
    if found != HEAD:
        upgrade(url)


def _claim(connection: Connection) -> None:
    tables = inspect(connection).get_table_names()
    if tables:
        raise ConfigurationError(f"the database is in use by others (table {tables[0]}); set DATABASE_URL to a new one")
    create(connection)


def create(connection: Connection) -> None:
    """All tables and the stamp, in the caller's transaction; equal to running every migration."""
    metadata.create_all(connection)
    connection.execute(text(_VERSION_TABLE))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    """One transaction on a connection of its own. Raises `StoreUnavailable`, `ConfigurationError`."""
    engine = migration_engine(url)
    try:
        with _explained(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise StoreUnavailable(f"the database does not answer: {error.orig}") from error
    except DatabaseError as error:
        raise ConfigurationError(f"the database cannot be used: {error.orig}; set DATABASE_URL to another") from error
