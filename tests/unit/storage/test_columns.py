"""Times and rows, without a database server."""

import sqlite3
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from storage.columns import Instant, from_microseconds, is_id, to_microseconds
from storage.sqlite_rows import execute_rows

SQLITE = make_url("sqlite://").get_dialect()()
POSTGRESQL = make_url("postgresql+psycopg2://").get_dialect()()


@given(st.integers(0, 2**32 * 1_000_000))
def test_microseconds_survive_the_float(microseconds: int) -> None:
    epoch = from_microseconds(microseconds)
    assert to_microseconds(epoch) == microseconds
    for dialect in (SQLITE, POSTGRESQL):
        stored = Instant().process_bind_param(epoch, dialect)
        assert Instant().process_result_value(stored, dialect) == epoch


def test_postgresql_gets_a_time_with_a_zone() -> None:
    stored = Instant().process_bind_param(1.5, POSTGRESQL)
    assert stored == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert Instant().process_bind_param(None, POSTGRESQL) is None
    assert Instant().process_result_value(None, SQLITE) is None


@pytest.mark.parametrize(
    ("number", "possible"), [(1, True), (2**63 - 1, True), (0, False), (-1, False), (2**63, False)]
)
def test_ids_that_a_row_can_have(number: int, possible: bool) -> None:
    assert is_id(number) is possible


@given(st.lists(st.tuples(st.integers(0, 100), st.binary(max_size=4)), max_size=700))
def test_every_row_goes_in_once_and_in_order(rows: list[tuple[int, bytes]]) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, mark TEXT, a INTEGER, b BLOB)")
    insert = "INSERT INTO t (mark, a, b) SELECT ?, column1, column2 FROM"
    assert execute_rows(db, insert, rows, head=("x",), after="WHERE ? = 1", tail=(1,)) == len(rows)
    assert db.execute("SELECT a, b FROM t WHERE mark = 'x' ORDER BY id").fetchall() == rows
    db.close()
