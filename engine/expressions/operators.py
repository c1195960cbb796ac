"""JSONLogic's operators (all but those that take the data or a body), each a maker of closures.

Whatever costs more with larger data spends from the budget; the rest is bounded by the size of the expression.
"""

import math
import operator
from collections.abc import Callable
from itertools import pairwise
from operator import itemgetter
from typing import Any

from engine.expressions.scope import Budget, Render, failure, spend, spend_text
from engine.expressions.tree import Operator
from engine.expressions.values import (
    NUMBERS,
    Number,
    contains,
    equal,
    join,
    operand,
    ordered,
    result,
    same,
    to_number,
    to_text,
    truthy,
)

Args = tuple[Render, ...]
Truth = Callable[[Any], bool]


def nothing(scope: Any, budget: Budget) -> None:
    return None


# --- comparison ---


def _equality(test: Callable[[Any, Any, Budget], bool], *, wanted: bool) -> Callable[[Args], Render]:
    def build(args: Args) -> Render:
        left, right = args

        def render(scope: Any, budget: Budget) -> bool:
            return test(left(scope, budget), right(scope, budget), budget) is wanted

        return render

    return build


def _order(compare: Callable[[Any, Any], bool]) -> Callable[[Args], Render]:
    def test(x: Any, y: Any, budget: Budget) -> bool:
        if type(x) in NUMBERS and type(y) in NUMBERS:
            return compare(x, y)
        return ordered(compare, x, y, budget)

    def build(args: Args) -> Render:
        if len(args) > 2:
            return _between(test, args)
        left, right = args
        return lambda scope, budget: test(left(scope, budget), right(scope, budget), budget)

    return build


def _between(test: Callable[[Any, Any, Budget], bool], args: Args) -> Render:
    def render(scope: Any, budget: Budget) -> bool:
        values = [arg(scope, budget) for arg in args]
        return all(test(x, y, budget) for x, y in pairwise(values))

    return render


def _in(args: Args) -> Render:
    part, whole = args
    return lambda scope, budget: contains(whole(scope, budget), part(scope, budget), budget)


# --- logic; `truth` is what counts as true ---


def all_of(truth: Truth) -> Callable[[Args], Render]:
    """The first argument that is not true, or the last."""

    def build(args: Args) -> Render:
        def render(scope: Any, budget: Budget) -> Any:
            value = None
            for arg in args:
                value = arg(scope, budget)
                if not truth(value):
                    return value
            return value

        return render

    return build


def any_of(truth: Truth) -> Callable[[Args], Render]:
    """The first argument that is true, or the last."""

    def build(args: Args) -> Render:
        def render(scope: Any, budget: Budget) -> Any:
            value = None
            for arg in args:
                value = arg(scope, budget)
                if truth(value):
                    return value
            return value

        return render

    return build


def negation(truth: Truth, *, twice: bool = False) -> Callable[[Args], Render]:
    def build(args: Args) -> Render:
        arg = args[0] if args else nothing
        return lambda scope, budget: truth(arg(scope, budget)) is twice

    return build


def choice(truth: Truth) -> Callable[[Args], Render]:
    """Condition, value, condition, value, …, else."""

    def build(args: Args) -> Render:
        pairs = tuple(zip(args[0 : len(args) - 1 : 2], args[1::2], strict=True))
        otherwise = args[-1] if len(args) % 2 else nothing

        def render(scope: Any, budget: Budget) -> Any:
            for condition, value in pairs:
                if truth(condition(scope, budget)):
                    return value(scope, budget)
            return otherwise(scope, budget)

        return render

    return build


# --- calculation ---


def _fold(step: Callable[[Number, Number], Number], first: Number) -> Callable[[Args], Render]:
    def build(args: Args) -> Render:
        def render(scope: Any, budget: Budget) -> Number:
            total = first
            for arg in args:
                total = result(step(total, operand(arg(scope, budget), budget)))
            return total

        return render

    return build


def _calculate(step: Callable[[Number, Number], Number]) -> Callable[[Args], Render]:
    def build(args: Args) -> Render:
        left, right = args

        def render(scope: Any, budget: Budget) -> Number:
            return result(step(operand(left(scope, budget), budget), operand(right(scope, budget), budget)))

        return render

    return build


_subtract = _calculate(operator.sub)


def _minus(args: Args) -> Render:
    if len(args) == 2:
        return _subtract(args)
    (arg,) = args
    return lambda scope, budget: result(-operand(arg(scope, budget), budget))


def _divide(x: Number, y: Number) -> Number:
    if not y:
        raise failure("division by zero")
    if type(x) is int and type(y) is int and not x % y:
        return x // y
    return x / y


def _remainder(x: Number, y: Number) -> Number:
    """With the sign of `x`, as JavaScript has it."""
    if not y:
        raise failure("division by zero")
    if type(x) is int and type(y) is int:
        return abs(x) % abs(y) * (-1 if x < 0 else 1)
    return math.fmod(x, y)


def _extreme(choose: Callable[[list[Number]], Number]) -> Callable[[Args], Render]:
    """Of the arguments, or of the items of a list that is the only argument."""

    def build(args: Args) -> Render:
        def render(scope: Any, budget: Budget) -> Number:
            values = [arg(scope, budget) for arg in args]
            if len(values) == 1 and type(values[0]) is list:
                (values,) = values
                spend(budget, len(values))
                if not values:
                    raise failure("an empty list has neither a smallest nor a largest item")
            return choose([operand(value, budget) for value in values])

        return render

    return build


# --- lists and texts ---


def _merge(args: Args) -> Render:
    def render(scope: Any, budget: Budget) -> list[Any]:
        merged: list[Any] = []
        for arg in args:
            value = arg(scope, budget)
            if type(value) is list:
                spend(budget, len(value) >> 2)
                merged += value
            else:
                merged.append(value)
        return merged

    return render


def _cat(args: Args) -> Render:
    def render(scope: Any, budget: Budget) -> str:
        values = [arg(scope, budget) for arg in args]
        return join(["" if value is None else to_text(value, budget) for value in values], "", budget)

    return render


def _substr(args: Args) -> Render:
    text_of, start_of, length_of = (*args, nothing)[:3]
    bounded = len(args) == 3

    def render(scope: Any, budget: Budget) -> str:
        text = to_text(text_of(scope, budget), budget)
        spend_text(budget, len(text))
        start = _whole(start_of(scope, budget), budget)
        text = text[max(start + len(text), 0) if start < 0 else start :]
        if not bounded:
            return text
        length = _whole(length_of(scope, budget), budget)
        return text[: max(len(text) + length, 0) if length < 0 else length]

    return render


def _whole(value: Any, budget: Budget) -> int:
    return int(to_number(value, budget) or 0)


_if = Operator(0, None, choice(truthy))
JSONLOGIC = {
    "==": Operator(2, 2, _equality(equal, wanted=True)),
    "!=": Operator(2, 2, _equality(equal, wanted=False)),
    "===": Operator(2, 2, _equality(same, wanted=True)),
    "!==": Operator(2, 2, _equality(same, wanted=False)),
    "<": Operator(2, 3, _order(operator.lt)),
    "<=": Operator(2, 3, _order(operator.le)),
    ">": Operator(2, 2, _order(operator.gt)),
    ">=": Operator(2, 2, _order(operator.ge)),
    "in": Operator(2, 2, _in),
    "if": _if,
    "?:": _if,
    "and": Operator(0, None, all_of(truthy)),
    "or": Operator(0, None, any_of(truthy)),
    "!": Operator(0, 1, negation(truthy)),
    "!!": Operator(0, 1, negation(truthy, twice=True)),
    "+": Operator(0, None, _fold(operator.add, 0)),
    "*": Operator(1, None, _fold(operator.mul, 1)),
    "-": Operator(1, 2, _minus),
    "/": Operator(2, 2, _calculate(_divide)),
    "%": Operator(2, 2, _calculate(_remainder)),
    "min": Operator(1, None, _extreme(min)),
    "max": Operator(1, None, _extreme(max)),
    "merge": Operator(0, None, _merge),
    "cat": Operator(0, None, _cat),
    "substr": Operator(2, 3, _substr),
    "log": Operator(1, 1, itemgetter(0)),
}
