"""JSONLogic, from JSON to a tree. Objects with one key are operators; all other values stand for themselves."""

from typing import Any

from engine import limits
from engine.errors import Fault, Invalid
from engine.expressions.data import dynamic_missing, dynamic_missing_some, dynamic_var, missing, missing_some
from engine.expressions.functions import list_of
from engine.expressions.operators import JSONLOGIC
from engine.expressions.paths import MAX_SEGMENTS
from engine.expressions.suggest import did_you_mean
from engine.expressions.tree import Each, Literal, Node, Operator, Place, Text, Var, call, deeper, pointer_of

EACH = frozenset({"map", "filter", "all", "none", "some", "reduce"})
NAMES = EACH.union(JSONLOGIC, ("var", "missing", "missing_some"))


def parse_logic(value: Any, place: Place) -> tuple[Node, list[Fault]]:
    """The tree of a rule, and all that is wrong with it."""
    parser = _Parser()
    return parser.node(value, place), parser.faults


class _Parser:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.left = limits.EXPRESSION
        self.level = 0

    def node(self, value: Any, place: Place) -> Node:
        """Never deeper than `limits.DEPTH`: what is below is not looked at."""
        self.left -= 1
        self.level += 1
        try:
            if self.left < 0 or self.level > limits.DEPTH:
                return self.too_much(place)
            return self.any_node(value, place)
        except Invalid as error:
            return self.fault(error.message, place)
        finally:
            self.level -= 1

    def any_node(self, value: Any, place: Place) -> Node:
        if isinstance(value, str) and "{{" in value:
            return Text(value, place)
        if isinstance(value, list):
            return list_of(tuple(self.nodes(value, place)))
        if not isinstance(value, dict) or len(value) != 1:
            return Literal(value)
        ((name, given),) = value.items()
        inside: Place = (place, name)
        if isinstance(given, list):
            return self.operation(name, given, [(inside, i) for i in range(len(given))], inside)
        return self.operation(name, [given], [inside], inside)

    def operation(self, name: str, args: list[Any], places: list[Place], place: Place) -> Node:
        if name in EACH:
            return self.each(name, args, places, place)
        of_data = {"var": self.var, "missing": self.missing, "missing_some": self.missing_some}.get(name)
        if of_data is not None:
            return of_data(args, places, place)
        operator = JSONLOGIC.get(name)
        if operator is None:
            hint = did_you_mean(name, NAMES) if not self.faults else ""
            return self.fault(f"there is no JSONLogic operator {name[:100]!r}{hint}", place)
        if (fault := operator.arity_fault(len(args))) is not None:
            return self.fault(f"{name!r} {fault}", place)
        return call(operator, tuple(map(self.node, args, places)))

    def nodes(self, values: list[Any], place: Place) -> list[Node]:
        return [self.node(child, (place, i)) for i, child in enumerate(values)]

    def var(self, args: list[Any], places: list[Place], place: Place) -> Node:
        if len(args) > 2:
            return self.fault(f"'var' takes a path and a default, not {len(args)} arguments", place)
        default = self.node(args[1], places[1]) if len(args) == 2 else None
        if args and isinstance(args[0], dict | list):
            nodes = (self.node(args[0], places[0]), default or Literal(None))
            return call(dynamic_var, nodes)
        return self.path(args[0] if args else "", places[0] if args else place, default)

    def path(self, name: Any, place: Place, default: Node | None = None) -> Node:
        if isinstance(name, bool):
            return self.fault("'var' takes a path such as 'order.total', or the index of an item", place)
        segments = () if name is None or name == "" else tuple(str(name).split("."))
        if len(segments) > MAX_SEGMENTS:
            return self.fault(f"a path has at most {MAX_SEGMENTS} segments", place)
        return Var(segments, place, default, deeper((default,)))

    def missing(self, args: list[Any], places: list[Place], _place: Place) -> Node:
        if len(args) == 1 and isinstance(args[0], list):
            places = [(places[0], i) for i in range(len(args[0]))]
            (args,) = args
        if _constant(args):
            return call(Operator(0, None, missing(args)), tuple(map(self.path, args, places)))
        return call(dynamic_missing, tuple(map(self.node, args, places)))

    def missing_some(self, args: list[Any], places: list[Place], place: Place) -> Node:
        if len(args) != 2:
            return self.fault("'missing_some' takes a number and a list of paths", place)
        need = self.node(args[0], places[0])
        if isinstance(args[1], list) and _constant(args[1]):
            paths = tuple(self.path(name, (places[1], i)) for i, name in enumerate(args[1]))
            return call(Operator(1, None, missing_some(args[1])), (need, *paths))
        return call(dynamic_missing_some, (need, self.node(args[1], places[1])))

    def each(self, kind: str, args: list[Any], places: list[Place], place: Place) -> Node:
        most = 3 if kind == "reduce" else 2
        if not 2 <= len(args) <= most:
            last = " and a first value" if kind == "reduce" else ""
            return self.fault(f"{kind!r} takes a list and an expression for its items{last}", place)
        source, body, *initial = map(self.node, args, places)
        nodes = (source, body, *initial)
        return Each(kind, source, body, initial[0] if initial else None, deeper(nodes))

    def too_much(self, place: Place) -> Node:
        if self.left >= 0:
            return self.fault(f"nested deeper than {limits.DEPTH} levels; split it", place)
        if self.left == -1:
            self.fault(f"an expression has at most {limits.EXPRESSION} parts", place)
        return Literal(None)

    def fault(self, message: str, place: Place) -> Literal:
        self.faults.append(Fault(message, pointer_of(place), "jsonlogic"))
        return Literal(None)


def _constant(names: list[Any]) -> bool:
    return all(isinstance(name, str | int) for name in names)
