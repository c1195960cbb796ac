"""What is known of maps and loops: which of their runs are open, which failed, and what their templates refer to.

Folded from events like the rest of a state; what one event costs does not depend on the number of items.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from engine import limits
from engine.bodies import LOOP, MAP, address, number_of, outer_of
from engine.expressions.scope import Named
from engine.graph import CompiledGraph
from engine.model import Failure

_encode = msgspec.json.Encoder().encode
IN_LINE = 16
"""Runs of one map that wait for a slot at once; more would keep the tasks of others from their turn."""


class Fan(msgspec.Struct):
    """A map or loop that has begun: at most `parallel` runs are open, and at most `tolerated` of them may fail."""

    kind: str
    count: int
    parallel: int
    tolerated: int
    opened: int = 0
    open: dict[str, None] = {}
    """Runs that have not ended."""
    line: dict[str, None] = {}
    """Those of them that wait for a slot."""
    failures: list[str] = []
    """Runs that failed for good, the first one first."""
    size: int = 0
    """Bytes of JSON that the ended runs of a map have put out, their errors among them: its output is no smaller."""
    over: bool = False

    @property
    def is_too_large(self) -> bool:
        """Whether its output will be larger than one may be, whatever its other runs put out."""
        return self.size > limits.PAYLOAD

    @property
    def stirs(self) -> bool:
        """Whether there is something to decide."""
        if self.over:
            return False
        if len(self.failures) > self.tolerated or self.is_too_large:
            return True
        if self.opened < self.count:
            return len(self.open) < self.parallel and len(self.line) < IN_LINE
        return not self.open

    def first(self, outer: str) -> Iterator[str]:
        """The addresses of the runs that were begun, in order."""
        start = 0 if self.kind == MAP else 1
        return (address(self.kind, outer, number) for number in range(start, start + self.opened))

    def next(self, outer: str) -> str:
        """The address of the run that comes next."""
        return address(self.kind, outer, self.opened + (self.kind == LOOP))


class Fans(dict[str, Fan]):
    """By address. `astir` are those with something to decide; `lists` are items rendered already."""

    def __init__(self) -> None:
        self.astir: dict[str, None] = {}
        self.lists: dict[str, list[Any]] = {}

    def begin(self, outer: str, fan: Fan) -> None:
        """A map or loop has begun."""
        self[outer] = fan
        self._review(outer, fan)

    def enter(self, inner: str) -> None:
        """The first event of a run."""
        outer = outer_of(inner)
        fan = self[outer]
        fan.opened += 1
        fan.open[inner] = None
        self._review(outer, fan)

    def wait(self, inner: str) -> None:
        """It waits for a slot, if it is a run."""
        outer = outer_of(inner)
        if outer:
            fan = self[outer]
            fan.line[inner] = None
            self._review(outer, fan)

    def go(self, inner: str) -> None:
        """It does not wait for a slot any more, if it is a run."""
        outer = outer_of(inner)
        if outer:
            fan = self[outer]
            fan.line.pop(inner, None)
            self._review(outer, fan)

    def end(self, ended: str, *, failed: bool) -> bool:
        """Something has ended; whether it was a run, which the graph does not count."""
        own = self.get(ended)
        if own is not None:
            own.over = True
            self.astir.pop(ended, None)
            self.lists.pop(ended, None)
        outer = outer_of(ended)
        if not outer:
            return False
        fan = self[outer]
        fan.open.pop(ended, None)
        if failed:
            fan.failures.append(ended)
        self._review(outer, fan)
        return True

    def collect(self, ended: str, output: Any) -> None:
        """What an ended run adds to the output of its map; of a loop's rounds only the last one counts."""
        outer = outer_of(ended)
        if outer and (fan := self[outer]).kind == MAP:
            fan.size += len(_encode(output))
            self._review(outer, fan)

    def open_below(self, outer: str) -> Iterator[str]:
        """All runs that have not ended, those inside others before these."""
        for inner in self[outer].open:
            if inner in self:
                yield from self.open_below(inner)
            yield inner

    def _review(self, outer: str, fan: Fan) -> None:
        if fan.stirs:
            self.astir[outer] = None
        else:
            self.astir.pop(outer, None)


class _Ended(Protocol):
    output: Any
    error: Failure | None


def output_of(fan: Fan, outer: str, tasks: Mapping[str, _Ended]) -> dict[str, Any]:
    """What a map or loop puts out: no event repeats what its runs have put out already.

    Of a map `{"results", "errors"}`, in the order of its items, null for one that failed; of a loop
    `{"last", "rounds"}`.
    """
    if fan.kind == LOOP:
        return {"last": _last(outer, fan.opened, tasks), "rounds": fan.opened}
    failures = sorted(map(number_of, fan.failures))
    errors = [(number, tasks[address(MAP, outer, number)].error) for number in failures]
    return {
        "results": [tasks[inner].output for inner in fan.first(outer)],
        "errors": [
            {"index": number, "type": error.type, "message": error.message}
            for number, error in errors
            if error is not None
        ],
    }


def _last(outer: str, rounds: int, tasks: Mapping[str, _Ended]) -> Any:
    return tasks[address(LOOP, outer, rounds)].output if rounds else None


# --- what templates refer to ---


class Folded(Protocol):
    """What is needed of a state; it is a `Scope` itself."""

    graph: CompiledGraph
    fans: Fans

    @property
    def tasks(self) -> Mapping[str, Any]: ...


def scope_of(state: Folded, run: str) -> Any:
    """The `Scope` of a run: `item` and `index`, or `round` and `last`, and all that those around it refer to."""
    outer = outer_of(run)
    if not outer:
        return state
    number = number_of(run)
    if state.fans[outer].kind == LOOP:
        return round_scope(state, outer, number, number - 1)
    items = _items(state, outer)
    item = items[number] if number < len(items) else None
    return _named(scope_of(state, outer), {"item": item, "index": number})


def round_scope(state: Folded, outer: str, number: int, ended: int) -> Named:
    """The scope of round `number` of a loop, when `ended` rounds have ended."""
    return _named(scope_of(state, outer), {"round": number, "last": _last(outer, ended, state.tasks)})


def _named(scope: Any, names: dict[str, Any]) -> Named:
    return Named(scope, {**scope.names, **names} if isinstance(scope, Named) else names)


def _items(state: Folded, outer: str) -> list[Any]:
    """Rendered once, here or after a crash: templates refer to ancestors only, so no event repeats them."""
    items = state.fans.lists.get(outer)
    if items is None:
        rendered = state.graph.by_key[outer].config.render(scope_of(state, outer))
        items = state.fans.lists[outer] = rendered["items"]
    return items
