"""What commands print."""

from typing import Any

import pytest

from commands import output
from commands.failure import one_line


def test_columns_are_as_wide_as_their_content(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_table(("ID", "NAME"), [(1, "long name"), (12345, None)])
    assert capsys.readouterr().out == "ID     NAME\n1      long name\n12345  -\n"


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_table(("ID", "NAME"), [])
    assert capsys.readouterr().out == "ID  NAME\n"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), ("", "-"), ("a\n b", "a b"), ({"x": "é"}, '{"x": "é"}'), (True, "true"), (1, "1")]
)
def test_a_cell_is_one_line(value: Any, text: str) -> None:
    assert output.cell(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0123, "0.012 s"),
        (2.34, "2.3 s"),
        (75, "1 min 15 s"),
        (3599.9, "1 h 00 min"),
        (7300, "2 h 01 min"),
    ],
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


def test_seconds_between_two_times() -> None:
    assert output.seconds_between("2026-11-20T12:00:00.000000Z", "2026-11-20T12:00:01.500000Z") == 1.5
    assert output.seconds_between("2026-11-20T12:00:00.000000Z", None) is None


def test_a_pointer_is_told_once() -> None:
    assert one_line("wrong\n  here", ["/a", ""]) == "wrong here (at /a)"
    assert one_line("/a: wrong", ["/a", "/b"]) == "/a: wrong (at /b)"
