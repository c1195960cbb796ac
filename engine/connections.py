"""Named servers that the operator allows: workflows say a name, only the settings know address and key."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from engine.errors import ConfigurationError, TaskError
from engine.task_ports import Shape


class Connection(NamedTuple):
    """`server` is of the shape that the kind has."""

    name: str
    kind: str
    server: Any


class Connections:
    """All of this installation. `kinds` are the shapes that node types declare.

    Raises `ConfigurationError` that names the connection and its field, never a value.
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, Shape]) -> None:
        self._named = {name: _connection(name, dict(given), kinds) for name, given in settings.items()}

    def of(self, *kinds: str) -> list[Connection]:
        """Those of these kinds, in the order of the settings."""
        return [connection for connection in self._named.values() if connection.kind in kinds]

    def get(self, kind: str, name: str | None) -> Connection:
        """The one of this name; without a name the only one of its kind. Raises `TaskError`, not retryable."""
        known = self.of(kind)
        found = [connection for connection in known if name in (None, connection.name)]
        if len(found) == 1:
            return found[0]
        there = ", ".join(connection.name for connection in known) or "none"
        what = f"there is no {kind} connection {name!r:.100}" if name is not None else f"say which {kind} connection"
        raise TaskError(f"{what}; CONNECTIONS has: {there}", type="unknown_connection", retryable=False)


def _connection(name: str, given: dict[str, Any], kinds: Mapping[str, Shape]) -> Connection:
    kind = given.pop("kind", None)
    if kind not in kinds:
        raise ConfigurationError(f"CONNECTIONS: {name}: its kind is one of {', '.join(sorted(kinds))}")
    try:
        return Connection(name, kind, msgspec.convert(given, kinds[kind]))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"CONNECTIONS: {name}: {error}") from None
