"""The functions of the expression grammar, all pure, and its logic: what `holds` counts as true."""

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from engine.expressions.operators import JSONLOGIC, Args, all_of, any_of, choice, negation
from engine.expressions.scope import Budget, NoValue, Render, failure, spend, spend_text
from engine.expressions.tree import Literal, Node, Operator, call, deeper
from engine.expressions.values import Number, contains, holds, operand, result, shown, to_json

_EXACT = Context(prec=60)


def _text(value: Any, name: str, budget: Budget) -> str:
    if type(value) is not str:
        raise failure(f"{name}(…) takes a text, not {shown(value)}; string(…) makes one")
    spend_text(budget, len(value))
    return value


def _of_text(name: str, work: Callable[[str], str]) -> Callable[[Args], Render]:
    def build(args: Args) -> Render:
        (arg,) = args
        return lambda scope, budget: work(_text(arg(scope, budget), name, budget))

    return build


def _ends(name: str, test: Callable[[str, str], bool]) -> Callable[[Args], Render]:
    def build(args: Args) -> Render:
        whole, part = args
        return lambda scope, budget: test(
            _text(whole(scope, budget), name, budget), _text(part(scope, budget), name, budget)
        )

    return build


def _len(args: Args) -> Render:
    (arg,) = args

    def render(scope: Any, budget: Budget) -> int:
        value = arg(scope, budget)
        if type(value) not in (str, list, dict):
            raise failure(f"len(…) takes a text, a list or an object, not {shown(value)}")
        return len(value)

    return render


def _default(args: Args) -> Render:
    """The first value that is there and not null; the last as it is."""

    def render(scope: Any, budget: Budget) -> Any:
        for arg in args[:-1]:
            try:
                value = arg(scope, budget)
            except NoValue:
                continue
            if value is not None:
                return value
        return args[-1](scope, budget)

    return render


def _zero(scope: Any, budget: Budget) -> int:
    return 0


def _round(args: Args) -> Render:
    """Half away from zero, as people do; `digits` after the point, 0 to 15."""
    arg, digits_of = args if len(args) == 2 else (*args, _zero)

    def render(scope: Any, budget: Budget) -> Number:
        number, digits = operand(arg(scope, budget), budget), digits_of(scope, budget)
        if type(digits) is not int or not 0 <= digits <= 15:
            raise failure(f"round(…) takes 0 to 15 digits, not {shown(digits)}")
        if type(number) is int or abs(number) >= 2**53:
            return number
        rounded = Decimal(repr(number)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _EXACT)
        return result(float(rounded))

    return render


def _whole(work: Callable[[Number], Number]) -> Callable[[Args], Render]:
    def build(args: Args) -> Render:
        (arg,) = args
        return lambda scope, budget: result(work(operand(arg(scope, budget), budget)))

    return build


def _contains(args: Args) -> Render:
    whole, part = args

    def render(scope: Any, budget: Budget) -> bool:
        value, wanted = whole(scope, budget), part(scope, budget)
        if type(value) is dict:
            return type(wanted) is str and wanted in value
        return contains(value, wanted, budget)

    return render


def _string(args: Args) -> Render:
    (arg,) = args

    def render(scope: Any, budget: Budget) -> str:
        value = arg(scope, budget)
        return value if type(value) is str else to_json(value, budget)

    return render


def _number(args: Args) -> Render:
    (arg,) = args

    def render(scope: Any, budget: Budget) -> Number:
        value = arg(scope, budget)
        if value is None or (type(value) is str and not value.strip()):
            raise failure(f"{shown(value)} is not a number")
        return operand(value, budget)

    return render


def _json(args: Args) -> Render:
    (arg,) = args
    return lambda scope, budget: to_json(arg(scope, budget), budget)


def _list(args: Args) -> Render:
    def render(scope: Any, budget: Budget) -> list[Any]:
        spend(budget, len(args) >> 2)
        return [arg(scope, budget) for arg in args]

    return render


_LIST = Operator(0, None, _list)


def list_of(nodes: tuple[Node, ...]) -> Node:
    """A list as written, `[a, b]`. Raises `Invalid` when it is nested too deep."""
    if all(isinstance(node, Literal) for node in nodes):
        return Literal([node.value for node in nodes if isinstance(node, Literal)], deeper(nodes))
    return call(_LIST, nodes)


LOGIC = {
    "and": Operator(2, None, all_of(holds)),
    "or": Operator(2, None, any_of(holds)),
    "not": Operator(1, 1, negation(holds)),
}
FUNCTIONS = {
    "abs": Operator(1, 1, _whole(abs)),
    "ceil": Operator(1, 1, _whole(math.ceil)),
    "concat": JSONLOGIC["cat"],
    "contains": Operator(2, 2, _contains),
    "default": Operator(2, None, _default),
    "ends_with": Operator(2, 2, _ends("ends_with", str.endswith)),
    "floor": Operator(1, 1, _whole(math.floor)),
    "if": Operator(2, 3, choice(holds)),
    "json": Operator(1, 1, _json),
    "len": Operator(1, 1, _len),
    "lower": Operator(1, 1, _of_text("lower", str.lower)),
    "max": JSONLOGIC["max"],
    "min": JSONLOGIC["min"],
    "number": Operator(1, 1, _number),
    "round": Operator(1, 2, _round),
    "starts_with": Operator(2, 2, _ends("starts_with", str.startswith)),
    "string": Operator(1, 1, _string),
    "substr": JSONLOGIC["substr"],
    "trim": Operator(1, 1, _of_text("trim", str.strip)),
    "upper": Operator(1, 1, _of_text("upper", str.upper)),
}
