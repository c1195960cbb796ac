"""Tasks that run another task many times: a `map` once for each of its items, a `loop` round after round.

What they run stands in their config as `task`, without a key. It is rendered once for each run, with roots of its own.
A run has an *address*: the key and the path of its iteration, `m[17]` for an item, `l.2` for a round, `m[17].2` for a
round of a loop inside a map. Keys have neither `[` nor `.`, so an address says what it is.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from engine.model import Resources, RetryPolicy, Task

MAP, LOOP = "map", "loop"
BODY = "task"
"""The field of a config that says what is run."""


class Kind(NamedTuple):
    """`names` are the roots that templates of the body have besides; `guards` the conditions asked between rounds."""

    names: tuple[str, ...]
    guards: tuple[str, ...] = ()

    @property
    def apart(self) -> tuple[str, ...]:
        """Fields that are not rendered with the config."""
        return (BODY, *self.guards)


SPELLINGS = frozenset({MAP, "for_each", LOOP})
"""What their types are called in a document."""
KINDS = {MAP: Kind(("item", "index")), LOOP: Kind(("round", "last"), ("while", "until"))}


Guard = Annotated[
    Any,
    msgspec.Meta(
        extra={"guard": True},
        description="A condition that is asked between rounds, with the roots `round` and `last`.",
        extra_json_schema={"type": ["boolean", "object", "string", "null"]},
    ),
]
"""Evaluated by the engine, again and again; a node gets it as it is written."""


class Retry(RetryPolicy, frozen=True, forbid_unknown_fields=True):
    """As for any task."""


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """What is run: a type with its config, and of what a task may have that which concerns one run."""

    type: str
    config: dict[str, Any] = {}
    retry: Retry = Retry()
    timeout: float | None = None
    executor: str | None = None
    heartbeat_timeout: float | None = None
    resources: Resources = Resources()
    concurrency_key: str | None = None
    concurrency_limit: int = 1


def kind_of(type: str) -> str | None:  # noqa: A002
    """`map` or `loop`, for the name under which one of these is stored; None for any other type."""
    name = type.partition("@")[0]
    return name if name in KINDS else None


def apart(type: str) -> tuple[str, ...]:  # noqa: A002
    """The fields of a config of this type that are not rendered with it."""
    kind = kind_of(type)
    return () if kind is None else KINDS[kind].apart


def body_of(key: str, config: Mapping[str, Any]) -> Task | None:
    """The task that is run for each item or round; None if it is not written as one. Its failure is nobody else's."""
    body = config.get(BODY)
    try:
        msgspec.convert(body, Body)
        return msgspec.convert({**body, "key": key, "on_error": "continue"}, Task)  # type: ignore[dict-item]
    except msgspec.ValidationError:
        return None


def inside(pointers: Iterable[str]) -> tuple[str, ...]:
    """Those of the pointers into a config that lead into the config of its body, from there on."""
    prefix = f"/{BODY}/config"
    return tuple(place.removeprefix(prefix) for place in pointers if place.startswith(f"{prefix}/"))


# --- addresses ---


def address(kind: str, outer: str, number: int) -> str:
    """Items count from 0, rounds from 1."""
    return f"{outer}[{number}]" if kind == MAP else f"{outer}.{number}"


def outer_of(inner: str) -> str:
    """The address of what runs this; empty for a task of the graph."""
    cut = max(inner.rfind("["), inner.rfind("."))
    return inner[:cut] if cut > 0 else ""


def number_of(inner: str) -> int:
    """Which item or round of its outer task this is."""
    cut = max(inner.rfind("["), inner.rfind("."))
    return int(inner[cut + 1 :].rstrip("]"))
