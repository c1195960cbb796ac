"""`sql` on real PostgreSQL and SQLite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs

from egress.sql import Databases
from engine.model import Completed, Failed
from engine.task_ports import NodeContext
from tests.unit.nodes.harness import CATALOG, completed, connected, failure, faults, runner, timed_out

TABLE = "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, pay NUMERIC(10, 2))"


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, context: NodeContext, tmp_path: Path) -> AsyncIterator[NodeContext]:
    url = f"sqlite:///{tmp_path}/crm.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.begin() as connection:
        connection.execute(sa.text(TABLE))
        connection.execute(sa.text("INSERT INTO person VALUES (1, 'Ana', 10.50), (2, 'Bo', NULL)"))
    engine.dispose()
    databases = Databases()
    servers = {"crm": {"kind": "sql", "url": url}, "safe": {"kind": "sql", "url": url, "read_only": True}}
    yield structs.replace(connected(context, **servers), sql=databases)
    await databases.close()


def ask(statement: str, connection: str = "crm", **parameters: Any) -> dict[str, Any]:
    return {"statement": statement, "connection": connection, "parameters": parameters}


def is_sqlite(world: NodeContext) -> bool:
    return bool(world.connections.get("sql", "crm").server.url.startswith("sqlite"))


async def test_rows_come_back(world: NodeContext) -> None:
    output = await completed("sql", ask("SELECT id, name, pay FROM person ORDER BY id"), world)
    pay: Any = 10.5 if is_sqlite(world) else "10.50"
    assert output == {
        "columns": ["id", "name", "pay"],
        "rows": [{"id": 1, "name": "Ana", "pay": pay}, {"id": 2, "name": "Bo", "pay": None}],
        "row_count": 2,
    }
    none = await completed("sql", ask("SELECT id FROM person WHERE name = :name", name="Cy"), world)
    assert none == {"columns": ["id"], "rows": [], "row_count": 0}


async def test_a_change_is_committed_and_counted(world: NodeContext) -> None:
    output = await completed("sql", ask("UPDATE person SET pay = :pay", pay=7), world)
    assert output == {"columns": [], "rows": [], "row_count": 2}
    again = await completed(
        "sql", {"query": "SELECT count(*) AS n FROM person WHERE pay = 7", "connection": "crm"}, world
    )
    assert again["rows"] == [{"n": 2}]


@pytest.mark.parametrize(
    "name",
    [
        "x'; DROP TABLE person; --",
        "' OR 1=1 --",
        "'' UNION SELECT name FROM person --",
        "%s %(x)s :x ? $1 {}",
        "\\'; DELETE FROM person; --",
        "Ana\x00",
    ],
)
async def test_data_never_becomes_sql(world: NodeContext, name: str) -> None:
    found = await run_or_fail(world, ask("SELECT id FROM person WHERE name = :name", name=name))
    assert found in ([], "sql_refused")
    left = await completed("sql", ask("SELECT count(*) AS n FROM person"), world)
    assert left["rows"] == [{"n": 2}]


async def run_or_fail(world: NodeContext, config: dict[str, Any]) -> Any:
    async with runner(world) as attempts:
        result = await attempts.result("sql", config)
    return result.output["rows"] if isinstance(result, Completed) else result.error.type  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("statement", "parameters", "says"),
    [
        ("SELEKT 1", {}, "syntax error"),
        ("SELECT * FROM nobody", {}, "nobody"),
        ("SELECT :a", {}, "no value for :a"),
        ("INSERT INTO person VALUES (3, 'Ana', 1)", {}, ""),
        ("SELECT 1 AS a, 2 AS a", {}, "two columns"),
        ("SELECT '{\"a\":true}' AS a", {}, r"no value for :true; write \:true where a colon is meant"),
    ],
)
async def test_a_statement_that_is_refused(
    world: NodeContext, statement: str, parameters: dict[str, Any], says: str
) -> None:
    error = await failure("sql", ask(statement, **parameters), world)
    assert (error.type, error.retryable) == ("sql_refused", False)
    assert says in error.message


async def test_more_rows_than_allowed_are_a_failure(world: NodeContext) -> None:
    error = await failure("sql", {**ask("SELECT id FROM person"), "max_rows": 1}, world)
    assert (error.type, error.retryable) == ("too_many_rows", False)
    assert (await completed("sql", {**ask("SELECT id FROM person"), "max_rows": 2}, world))["row_count"] == 2


@pytest.mark.parametrize(
    "statement", ["DELETE FROM person", "CREATE TABLE x (y INTEGER)", "INSERT INTO person VALUES (9, 'Di', 1)"]
)
async def test_a_read_only_connection_changes_nothing(world: NodeContext, statement: str) -> None:
    assert (await failure("sql", ask(statement, "safe"), world)).type == "sql_refused"
    assert (await completed("sql", ask("SELECT id FROM person", "safe"), world))["row_count"] == 2


async def test_what_takes_too_long_is_ended_by_the_database(world: NodeContext) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n"
    error = await failure("sql", {**ask(endless), "timeout": 0.3}, world)
    assert (error.type, error.retryable) == ("timeout", True)
    await timed_out(world, "sql", {**ask(endless), "timeout": 1})
    begun = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, begun.set)
    async with runner(world) as attempts:
        await attempts.cancelled("sql", {**ask(endless), "timeout": 0.5}, begun)
    assert (await completed("sql", ask("SELECT 1 AS one"), world))["rows"] == [{"one": 1}]


async def test_it_can_be_tried_again(world: NodeContext) -> None:
    async with runner(world) as attempts:
        first = await attempts.result("sql", {**ask("SELECT 1 AS x"), "connection": "crm2"})
        second = await attempts.result("sql", ask("SELECT 1 AS x"), attempt=2)
    assert isinstance(first, Failed)
    assert isinstance(second, Completed)


async def test_a_sqlite_statement_stays_in_its_file(context: NodeContext, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    sqlite3.connect(other).close()
    databases = Databases()
    world = structs.replace(connected(context, crm={"kind": "sql", "url": f"sqlite:///{tmp_path}/a.db"}), sql=databases)
    for statement in (
        f"ATTACH DATABASE '{other}' AS other",
        "ATTACH DATABASE '/tmp/new-file-of-a-workflow.db' AS other",
        "PRAGMA journal_mode = DELETE",
        "SELECT load_extension('x')",
        "VACUUM INTO '/tmp/copy-of-a-workflow.db'",
    ):
        assert (await failure("sql", {"statement": statement}, world)).type == "sql_refused"
    await databases.close()


async def test_types_of_postgresql_become_json(context: NodeContext, postgres_url: str) -> None:
    databases = Databases()
    world = structs.replace(connected(context, crm={"kind": "sql", "url": postgres_url}), sql=databases)
    statement = """
        SELECT 1.10::numeric AS exact, '2026-01-02T03:04:05Z'::timestamptz AT TIME ZONE 'UTC' AS moment,
            DATE '2026-01-02' AS day, '\\x00ff'::bytea AS bytes, '{"a": [1]}'::jsonb AS json, ARRAY[1, 2] AS list,
            true AS yes, 'NaN'::float8 AS nan, '00000000-0000-0000-0000-000000000001'::uuid AS uuid,
            (:ids)::int[] AS ids, '50%' AS pct
        """
    output = await completed("sql", {"statement": statement, "parameters": {"ids": [3, 4]}}, world)
    await databases.close()
    assert output["rows"] == [
        {
            "exact": "1.10",
            "moment": "2026-01-02T03:04:05",
            "day": "2026-01-02",
            "bytes": "AP8=",
            "json": {"a": [1]},
            "list": [1, 2],
            "yes": True,
            "nan": "nan",
            "uuid": "00000000-0000-0000-0000-000000000001",
            "ids": [3, 4],
            "pct": "50%",
        }
    ]


async def test_a_database_that_is_not_there_keeps_its_password(context: NodeContext) -> None:
    databases = Databases()
    url = "postgresql://ana:secret@127.0.0.1:1/crm"
    world = structs.replace(connected(context, crm={"kind": "sql", "url": url}), sql=databases)
    error = await failure("sql", {"statement": "SELECT 1"}, world)
    await databases.close()
    assert (error.type, error.retryable) == ("connection", True)
    assert "secret" not in error.message
    assert "ana" not in error.message


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, ["/config/statement"]),
        ({"statement": "SELECT '{{input.name}}'"}, ["/config/statement"]),
        ({"query": "SELECT {{input.name}}"}, ["/config/query"]),
        ({"statement": "x", "params": {"a": {}}}, ["/config/params"]),
        ({"statement": "x", "maxRows": 0}, ["/config/maxRows"]),
        ({"statement": "x", "url": "sqlite:///a.db"}, ["/config/url"]),
        ({"statement": "x", "parameters": {"a": "{{input.name}}"}}, []),
    ],
)
def test_bad_configs_are_told_at_save(config: dict[str, Any], where: list[str]) -> None:
    assert faults("sql", config) == where


def test_spellings() -> None:
    assert CATALOG.canonical("sql_query", {"query": "x", "params": {}}) == ("sql", {"statement": "x", "parameters": {}})
