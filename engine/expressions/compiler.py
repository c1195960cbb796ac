"""From a tree to closures: finds the roots of paths, and remembers which tasks and secrets they refer to."""

from collections.abc import Collection
from typing import Any, assert_never

from engine.errors import Fault, TaskError
from engine.expressions.data import each
from engine.expressions.operators import nothing
from engine.expressions.roots import RESERVED, find_root, input_of, plain_path, root_hint
from engine.expressions.scope import Budget, Render, failure, spend
from engine.expressions.tree import Call, Each, Literal, Node, Path, Place, Text, Var, pointer_of
from engine.expressions.walks import lenient, strict

_LARGE = 16
"""Parts of an expression that are not worth counting."""


class Compiler:
    """Compiles the expressions of one value. `names` are roots of its own, such as `item` inside a map."""

    def __init__(self, names: Collection[str] = ()) -> None:
        self.names = frozenset(names)
        self.faults: list[Fault] = []
        self.references: dict[str, Place] = {}
        self.secrets: dict[str, Place] = {}
        self.expressions = 0
        self.size = 0

    def expression(self, node: Node, place: Place, source: str = "") -> Render:
        """The closure of a whole expression; a failure says in which."""
        self.expressions += 1
        before = self.size
        render = self.node(node, place, inner=False)
        size = self.size - before
        if isinstance(node, Path):
            return render

        def whole(scope: Any, budget: Budget) -> Any:
            if size > _LARGE:
                spend(budget, size)
            try:
                return render(scope, budget)
            except TaskError as error:
                raise failure(f"{error} in {source[:200]!r}" if source else str(error)) from None

        return whole

    def node(self, node: Node, place: Place, *, inner: bool) -> Render:
        self.size += 1
        match node:
            case Literal(value):
                return lambda scope, budget: value
            case Path():
                return self.path(node, place)
            case Var():
                return self.var(node, inner=inner)
            case Text(text, where):
                return _outside(self.text(text, where), inner=inner)
            case Call(operator, args):
                return operator.build(tuple(self.node(arg, place, inner=inner) for arg in args))
            case Each():
                return self.each(node, place, inner=inner)
            case _:
                assert_never(node)

    def text(self, text: str, place: Place) -> Render:
        """A string with `{{ }}`; `templates` knows how."""
        raise NotImplementedError

    def each(self, node: Each, place: Place, *, inner: bool) -> Render:
        source = self.node(node.source, place, inner=inner)
        initial = nothing if node.initial is None else self.node(node.initial, place, inner=inner)
        before = self.size
        body = self.node(node.body, place, inner=True)
        return each(node.kind, source, body, initial, 2 + self.size - before)

    def path(self, node: Path, place: Place) -> Render:
        root = node.segments[0]
        if root == "secrets":
            message = "a secret stands alone, as {{secrets.name}}: nothing can be asked of it or made of it"
            return self.fault(f"{message} (column {node.column + 1})", place, "template_secret")
        if root not in self.names and (plain := plain_path(node.text)) is not None:
            render, task = plain
            self.refer(task, place)
            return render
        found = find_root(node.segments, self.names)
        if found is not None:
            return strict(found.get, found.rest, node.text)
        hint = root_hint(root, suggest=not self.faults)
        message = f"unknown path {node.text[:200]!r} in a template (column {node.column + 1}){hint}"
        return self.fault(message, place, "template_unknown_path")

    def var(self, node: Var, *, inner: bool) -> Render:
        default = nothing if node.default is None else self.node(node.default, node.place, inner=inner)
        root = node.segments[0] if node.segments else ""
        if root == "secrets":
            return self.fault("no expression can look at a secret", node.place, "template_secret")
        if root in RESERVED or root in self.names:
            found = find_root(node.segments, self.names)
            if found is None:
                path = ".".join(node.segments)
                message = f"unknown path {path[:200]!r} in 'var'{root_hint(root)}"
                return self.fault(message, node.place, "template_unknown_path")
            self.refer(found.task, node.place)
            outside = _outside(lenient(found.get, found.rest, _nowhere), inner=inner)
            return _or_default(outside, default)
        inside = lenient(input_of, node.segments, _nowhere if root == "input" else default)
        if root != "input":
            return inside
        outside = _outside(lenient(input_of, node.segments[1:], _nowhere), inner=inner)
        return _or_default(_or_default(inside, outside), default)

    def refer(self, task: str | None, place: Place) -> None:
        if task is not None:
            self.references.setdefault(task, place)

    def fault(self, message: str, place: Place, code: str) -> Render:
        self.faults.append(Fault(message, pointer_of(place), code))
        return nothing


def _outside(render: Render, *, inner: bool) -> Render:
    """Inside an array operator, what is not of the item is of the scope of the whole."""
    return (lambda scope, budget: render(scope.outer, budget)) if inner else render


_MISSING = object()


def _nowhere(scope: Any, budget: Budget) -> object:
    return _MISSING


def _or_default(first: Render, default: Render) -> Render:
    def render(scope: Any, budget: Budget) -> Any:
        value = first(scope, budget)
        return default(scope, budget) if value is _MISSING else value

    return render
