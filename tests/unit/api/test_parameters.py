"""References and cursors: what they spell, and that nothing else is taken for one."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.parameters import parse_cursor, parse_ref, spell_cursor
from engine import limits
from engine.errors import Invalid
from engine.model import ExecutionRow
from engine.ports import Cursor
from engine.states import ExecutionStatus


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("1", 1),
        ("007", 7),
        (str(limits.ID), limits.ID),
        ("nightly", "nightly"),
        ("2nd", "2nd"),
        ("a.b-c_d", "a.b-c_d"),
        (str(limits.ID + 1), None),
        ("1" * 400, None),
        ("", None),
        ("a b", None),
        ("a/b", None),
        ("\u0663", None),
        ("k" * 201, None),
        ("a\0", None),
        ("a\n", None),
    ],
)
def test_refs(text: str, ref: int | str | None) -> None:
    assert parse_ref(text) == ref


@given(st.floats(0, 253_402_300_799), st.integers(0, limits.ID))
def test_a_cursor_comes_back(created_at: float, number: int) -> None:
    row = ExecutionRow(number, "default", 1, 1, ExecutionStatus.RUNNING, None, None, None, created_at, None, None)
    assert parse_cursor(spell_cursor(row)) == Cursor(created_at, number)


@given(st.text())
def test_nothing_else_is_a_cursor(text: str) -> None:
    with suppress(Invalid):
        assert 0 <= parse_cursor(text).id <= limits.ID
