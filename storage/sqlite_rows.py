"""Many rows per statement: the driver gives the interpreter's lock away at every step, so steps must be few.

Statements come in fixed sizes, so that each is prepared once.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

SIZES = (256, 64, 16, 4, 1)


def execute_rows(
    db: sqlite3.Connection,
    before: str,
    rows: Sequence[tuple[Any, ...]],
    *,
    head: tuple[Any, ...] = (),
    after: str = "",
    tail: tuple[Any, ...] = (),
) -> int:
    """Runs `before (VALUES …) after` until all rows went in; returns how many rows were touched.

    The columns of `VALUES` are `column1`, `column2`, …; `head` and `tail` are the parameters around it.
    """
    touched = 0
    for chunk in _chunks(rows):
        sql = _statement(before, len(chunk), len(chunk[0]), after)
        touched += db.execute(sql, (*head, *chain.from_iterable(chunk), *tail)).rowcount
    return touched


def _chunks(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    start, left = 0, len(rows)
    for size in SIZES:
        while left >= size:
            yield rows[start : start + size]
            start += size
            left -= size


@lru_cache(maxsize=256)
def _statement(before: str, rows: int, width: int, after: str) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return f"{before} (VALUES {','.join([row] * rows)}) {after}"
