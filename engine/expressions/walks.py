"""Paths as closures: the fastest part, and the one that hostile paths meet.

Only objects by key and lists by index are entered; a value has no attributes here.
"""

from collections.abc import Callable, Sequence
from typing import Any

from engine.expressions.paths import Segment
from engine.expressions.scope import Budget, NoValue, Render

Get = Callable[[Any], Any]
_NOWHERE: dict[Any, Any] = {}
"""Entered instead of a value that has no parts."""
_MISSED = (KeyError, IndexError, TypeError)


def strict(get: Get, segments: Sequence[Segment], text: str) -> Render:
    """The value at a path. Raises `NoValue` when nothing is there."""
    steps = _steps(segments)
    if not steps:
        return lambda scope, budget: get(scope)

    def render(scope: Any, budget: Budget) -> Any:
        value = get(scope)
        key: str = ""
        try:
            for key, index in steps:
                value = value[key] if type(value) is dict else value[index] if type(value) is list else _NOWHERE[key]
        except _MISSED:
            raise NoValue(f"no value at {text[:200]!r} (segment {key[:100]!r})") from None
        return value

    return render


def lenient(get: Get, segments: Sequence[Segment], default: Render) -> Render:
    """The value at a path, or the default when nothing is there."""
    steps = _steps(segments)

    def render(scope: Any, budget: Budget) -> Any:
        value = get(scope)
        try:
            for key, index in steps:
                value = value[key] if type(value) is dict else value[index] if type(value) is list else _NOWHERE[key]
        except _MISSED:
            return default(scope, budget)
        return value

    return render


def _steps(segments: Sequence[Segment]) -> tuple[tuple[str, Any], ...]:
    """Of each segment the key for objects and the index for lists; the index None is no index of any list."""
    return tuple((str(segment), _index(segment)) for segment in segments)


def _index(segment: Segment) -> int | None:
    if isinstance(segment, int):
        return segment
    return int(segment) if len(segment) <= 9 and segment.isascii() and segment.isdecimal() else None
