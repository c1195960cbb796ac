"""Column types that mean the same on both databases."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine, UserDefinedType

MICROSECONDS = 1_000_000
MAX_ID = 2**63 - 1

Id = BigInteger().with_variant(Integer, "sqlite")
"""64 bits; on SQLite only `INTEGER` can be the row's own id."""


def is_id(number: int) -> bool:
    """Whether a row could have this id at all: the drivers refuse larger numbers."""
    return 0 < number <= MAX_ID


def to_microseconds(epoch: float) -> int:
    """Exact for every time that came from `from_microseconds`."""
    return round(epoch * MICROSECONDS)


def from_microseconds(microseconds: int) -> float:
    return microseconds / MICROSECONDS


class Instant(TypeDecorator[float]):
    """Epoch seconds with microseconds: `timestamptz` on PostgreSQL, integer microseconds on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kind: TypeEngine[Any] = BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: float | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        microseconds = to_microseconds(value)
        if dialect.name == "sqlite":
            return microseconds
        seconds, rest = divmod(microseconds, MICROSECONDS)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        if value is None:
            return None
        return from_microseconds(value) if dialect.name == "sqlite" else value.timestamp()


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction number; on SQLite the commit's time in microseconds."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


class current_xact(FunctionElement[int]):  # noqa: N801 - an SQL function
    """The number of the running transaction; NULL on SQLite, where the insert says it."""

    inherit_cache = True


@compiles(current_xact, "postgresql")
def _on_postgresql(_element: Any, _compiler: Any, **_: Any) -> str:
    return "pg_current_xact_id()"


@compiles(current_xact, "sqlite")
def _on_sqlite(_element: Any, _compiler: Any, **_: Any) -> str:
    return "NULL"
