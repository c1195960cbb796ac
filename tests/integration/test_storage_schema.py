"""The schema: migrations, the fresh database, and what a process says about a database that does not fit."""

import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from engine.errors import ConfigurationError, StoreUnavailable
from storage import schema
from storage.migrate import config
from storage.tables import metadata
from tests.stores import opened, sql, workflow


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


def test_the_newest_migration_is_the_head() -> None:
    assert ScriptDirectory.from_config(config("sqlite:///x.db")).get_heads() == [schema.HEAD]


def test_an_upgrade_may_be_repeated(fresh_url: str) -> None:
    assert schema.current(fresh_url) is None
    schema.upgrade(fresh_url)
    assert schema.current(fresh_url) == schema.HEAD
    before = outline(fresh_url)
    schema.upgrade(fresh_url)
    assert outline(fresh_url) == before


def test_a_fresh_database_equals_the_migrations(fresh_url: str) -> None:
    schema.upgrade(fresh_url)
    migrated = outline(fresh_url)
    wipe(fresh_url)
    assert outline(fresh_url) == []
    with schema.migration_engine(fresh_url).begin() as connection:
        schema.create(connection)
    assert outline(fresh_url) == migrated
    assert schema.current(fresh_url) == schema.HEAD


def test_the_migrations_make_what_the_classes_say(fresh_url: str) -> None:
    schema.upgrade(fresh_url)
    with schema.migration_engine(fresh_url).begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def wipe(url: str) -> None:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
    else:
        sql(url, "DROP SCHEMA public CASCADE")
        sql(url, "CREATE SCHEMA public")


def outline(url: str) -> list[tuple[object, ...]]:
    """Everything that a schema consists of, as text."""
    if url.startswith("sqlite"):
        if not Path(url.removeprefix("sqlite:///")).exists():
            return []
        rows = sql(url, "SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        return [(kind, name, *sorted(re.sub(r'[\s"()]', "", text or "").split(","))) for kind, name, text in rows]
    return [
        *sql(
            url,
            "SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default FROM "
            "information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
        ),
        *sql(url, "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef"),
        *sql(
            url,
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace ORDER BY conname, conrelid",
        ),
        *sql(
            url,
            "SELECT proname, pg_get_functiondef(oid) FROM pg_proc "
            "WHERE pronamespace = 'public'::regnamespace ORDER BY proname",
        ),
    ]


# --- the embedded start ---


async def test_an_embedded_start_migrates_by_itself(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        await store.create_workflow(workflow(key="k"))
    assert schema.current(sqlite_url) == schema.HEAD
    async with opened(sqlite_url) as store:
        assert (await store.get_workflow("default", "k")).key == "k"


async def test_a_file_of_somebody_else_is_left_alone(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    with pytest.raises(ConfigurationError, match="theirs"):
        async with opened(sqlite_url):
            pass
    assert [name for _, name, _ in outline(sqlite_url)] == ["theirs"]


async def test_a_file_of_a_later_release_is_refused(sqlite_url: str) -> None:
    async with opened(sqlite_url):
        pass
    sql(sqlite_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="9999"):
        async with opened(sqlite_url):
            pass


def test_a_file_that_is_no_database_is_said(sqlite_url: str) -> None:
    Path(sqlite_url.removeprefix("sqlite:///")).write_text("this is no database, and long enough to tell" * 100)
    for verb in (schema.prepare, schema.current, schema.upgrade):
        with pytest.raises(ConfigurationError, match="not a database"):
            verb(sqlite_url)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", "://"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        schema.parse_url(url)


@pytest.mark.parametrize("url", ["postgres://h/d", "postgresql://h/d", "postgresql+psycopg2://h/d"])
def test_every_spelling_of_postgresql(url: str) -> None:
    assert schema.parse_url(url).render_as_string() == "postgresql+psycopg2://h/d"


def test_no_server_is_said() -> None:
    for verb in (schema.current, schema.upgrade):
        with pytest.raises(StoreUnavailable):
            verb("postgresql://nobody@127.0.0.1:1/nothing")
