"""Ended executions in bulk, as an engine would have left them after a long time."""

from sqlalchemy import text

from benchmarks.servers import Database
from storage.columns import MICROSECONDS
from storage.schema import migration_engine

WORKFLOWS = 50
"""Ended executions belong to so many workflows in turn."""
FIRST = 1_790_000_000
"""When the first of them was created; one every 10 ms."""
_SERIES = {
    "SQLite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :count) SELECT n FROM s) AS s",
    "PostgreSQL": "generate_series(1, :count) AS s(n)",
}


def created_at(number: int) -> float:
    """Of the n-th ended execution."""
    return FIRST + number / 100


def executions(database: Database, count: int) -> None:
    """Ended ones, one in a hundred failed, without events."""
    at = {
        "SQLite": f"{FIRST * MICROSECONDS} + s.n * 10000",
        "PostgreSQL": f"to_timestamp({FIRST} + s.n / 100.0)",
    }[database.kind]
    sql = (
        "INSERT INTO execution (id, namespace, workflow_id, version_id, status, queue, v, created_at, started_at, "
        f"ended_at) SELECT s.n, 'default', 1 + s.n % {WORKFLOWS}, 1, "
        f"CASE WHEN s.n % 100 = 0 THEN 'failed' ELSE 'completed' END, 'default', 1, {at}, {at}, {at} "
        f"FROM {_SERIES[database.kind]}"
    )
    engine = migration_engine(database.url)
    with engine.begin() as connection:
        connection.execute(text(sql), {"count": count})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()
