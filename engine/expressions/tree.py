"""What both languages parse to: a tree of calls, bounded in depth."""

from collections.abc import Callable
from typing import Any, NamedTuple

from engine import limits
from engine.documents import pointer
from engine.errors import Invalid
from engine.expressions.paths import Segment
from engine.expressions.scope import Render

Place = tuple[Any, Segment] | None
"""Where a value stands in its document: a linked list of segments, the last first. The first is a pointer as it is."""


def pointer_of(place: Place) -> str:
    segments: list[Segment] = []
    while place is not None:
        place, segment = place
        segments.append(segment)
    return f"{segments[-1]}{pointer(*reversed(segments[:-1]))}" if segments else ""


class Operator(NamedTuple):
    """`least` to `most` arguments; `build` makes one closure of theirs."""

    least: int
    most: int | None
    build: Callable[[tuple[Render, ...]], Render]

    def arity_fault(self, given: int) -> str | None:
        if self.least <= given and (self.most is None or given <= self.most):
            return None
        if self.most is None:
            expected = f"at least {self.least}"
        else:
            expected = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        return f"takes {expected} argument{'' if expected.endswith('1') else 's'}, not {given}"


class Literal(NamedTuple):
    """A constant."""

    value: Any
    depth: int = 0


class Path(NamedTuple):
    """A path from a root; a value must be there."""

    segments: tuple[Segment, ...]
    text: str
    column: int
    depth: int = 0


class Var(NamedTuple):
    """JSONLogic's `var`: a path into the data, or from a reserved root; null or the default if nothing is there."""

    segments: tuple[str, ...]
    place: Place
    default: "Node | None" = None
    depth: int = 0


class Text(NamedTuple):
    """A string with `{{ }}` inside JSONLogic."""

    text: str
    place: Place
    depth: int = 0


class Call(NamedTuple):
    """An operator or function and its arguments; made by `call`."""

    operator: Operator
    args: "tuple[Node, ...]"
    depth: int = 1


class Each(NamedTuple):
    """One of JSONLogic's array operators; the body is evaluated once for each item."""

    kind: str
    source: "Node"
    body: "Node"
    initial: "Node | None" = None
    depth: int = 1


Node = Literal | Path | Var | Text | Call | Each


def call(operator: Operator, args: "tuple[Node, ...]") -> Call:
    """Raises `Invalid` when the tree is too deep."""
    return Call(operator, args, deeper(args))


def deeper(args: "tuple[Node | None, ...]") -> int:
    """One more than the deepest. Raises `Invalid` beyond `limits.DEPTH`."""
    depth = 1 + max((arg.depth for arg in args if arg is not None), default=0)
    if depth > limits.DEPTH:
        raise Invalid(f"an expression is nested deeper than {limits.DEPTH} levels; split it")
    return depth
