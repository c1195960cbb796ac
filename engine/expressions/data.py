"""JSONLogic's operators that look into the data: `var` and `missing` with computed paths, and the array operators.

A computed path leads into the data only, never to a reserved root: what an expression refers to is known beforehand.
"""

from collections.abc import Callable, Iterator
from typing import Any

from engine.expressions.operators import Args, nothing
from engine.expressions.paths import MAX_SEGMENTS
from engine.expressions.scope import Budget, Inner, Render, failure, spend, spend_text
from engine.expressions.tree import Operator
from engine.expressions.values import to_number, to_text, truthy
from engine.expressions.walks import lenient


def _input(scope: Any) -> Any:
    return scope.input


def _look_up(scope: Any, budget: Budget, name: Any, default: Render = nothing) -> Any:
    text = "" if name is None else to_text(name, budget)
    spend_text(budget, len(text) + 64)
    segments = text.split(".", MAX_SEGMENTS) if text else []
    if len(segments) > MAX_SEGMENTS:
        raise failure(f"a path has at most {MAX_SEGMENTS} segments")
    return lenient(_input, segments, default)(scope, budget)


def _dynamic_var(args: Args) -> Render:
    name, default = args
    return lambda scope, budget: _look_up(scope, budget, name(scope, budget), default)


def missing(names: list[Any]) -> Callable[[Args], Render]:
    """Which of these paths lead to nothing, to null or to an empty text; the arguments are their values."""

    def build(args: Args) -> Render:
        def render(scope: Any, budget: Budget) -> list[Any]:
            return [name for name, arg in zip(names, args, strict=True) if _is_missing(arg(scope, budget))]

        return render

    return build


def missing_some(names: list[Any]) -> Callable[[Args], Render]:
    """The same, or nothing if as many are there as the first argument says."""

    def build(args: Args) -> Render:
        need, found = args[0], missing(names)(args[1:])
        return lambda scope, budget: _unless_enough(need(scope, budget), len(names), found(scope, budget), budget)

    return build


def _dynamic_missing(args: Args) -> Render:
    def render(scope: Any, budget: Budget) -> list[Any]:
        names = [arg(scope, budget) for arg in args]
        return _missing_of(names[0] if names and type(names[0]) is list else names, scope, budget)

    return render


def _dynamic_missing_some(args: Args) -> Render:
    need, names_of = args

    def render(scope: Any, budget: Budget) -> list[Any]:
        names = names_of(scope, budget)
        names = names if type(names) is list else [names]
        return _unless_enough(need(scope, budget), len(names), _missing_of(names, scope, budget), budget)

    return render


def _missing_of(names: list[Any], scope: Any, budget: Budget) -> list[Any]:
    spend(budget, 4 * len(names))
    return [name for name in names if _is_missing(_look_up(scope, budget, name))]


def _unless_enough(need: Any, count: int, found: list[Any], budget: Budget) -> list[Any]:
    wanted = to_number(need, budget)
    return [] if wanted is not None and count - len(found) >= wanted else found


def _is_missing(value: Any) -> bool:
    return value is None or value == ""


dynamic_var = Operator(2, 2, _dynamic_var)
dynamic_missing = Operator(0, None, _dynamic_missing)
dynamic_missing_some = Operator(2, 2, _dynamic_missing_some)


# --- array operators ---


def each(kind: str, source: Render, body: Render, initial: Render, cost: int) -> Render:
    """One closure for an array operator; `cost` are the steps of the body."""

    def through(items: list[Any], scope: Any, budget: Budget) -> Iterator[Inner]:
        inner = Inner(scope.outer if type(scope) is Inner else scope)
        for item in items:
            spend(budget, cost)
            inner.input = item
            yield inner

    def reduce(scope: Any, budget: Budget) -> Any:
        items = source(scope, budget)
        total = initial(scope, budget)
        if type(items) is list:
            for inner in through(items, scope, budget):
                inner.input = {"current": inner.input, "accumulator": total}
                total = body(inner, budget)
        return total

    def collect(scope: Any, budget: Budget) -> list[Any]:
        items = source(scope, budget)
        inners = through(items if type(items) is list else [], scope, budget)
        if kind == "map":
            return [body(inner, budget) for inner in inners]
        return [inner.input for inner in inners if truthy(body(inner, budget))]

    def ask(scope: Any, budget: Budget) -> bool:
        items = source(scope, budget)
        if type(items) is not list or not items:
            return kind == "none"
        truths = (truthy(body(inner, budget)) for inner in through(items, scope, budget))
        return all(truths) if kind == "all" else any(truths) is (kind == "some")

    match kind:
        case "reduce":
            return reduce
        case "map" | "filter":
            return collect
        case _:
            return ask
