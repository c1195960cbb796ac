"""What is said to a database of somebody else, and what comes back; `egress.sql` does it."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class SqlError(Exception):
    """A statement that did not do its work. `type` is `sql_refused`, `timeout`, `connection` or `too_many_rows`."""

    def __init__(self, message: str, type: str, *, retryable: bool) -> None:  # noqa: A002
        super().__init__(message)
        self.type = type
        self.retryable = retryable


class Statement(NamedTuple):
    """`:name` in `text` is bound to the parameter of this name. At most `max_rows` rows may come back."""

    text: str
    parameters: Mapping[str, Any]
    max_rows: int
    seconds: float
    read_only: bool


class Rows(NamedTuple):
    """`changed` is how many rows a statement without rows of its own has changed; None if the database does not say."""

    columns: list[str]
    rows: list[dict[str, Any]]
    changed: int | None
