"""JavaScript's conversions and comparisons, as JSONLogic's specification expects them.

Three deliberate differences: lists and objects are compared by content, an object as text is its JSON, and what is not
a finite number is a failure instead of NaN or Infinity, which JSON cannot say.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from engine import limits
from engine.expressions.scope import Budget, failure, spend, spend_text, too_deep, too_large

Number = int | float
NUMBERS = frozenset({int, float})
_encode = msgspec.json.Encoder().encode
_NUMERAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGRAL = 2**53
_SHORT = 40
"""Characters of a text that is worth looking at."""
_FALSE_TEXTS = frozenset({"", "false", "0", "no", "off", "null", "none"})


def truthy(value: Any) -> bool:
    """As JSONLogic has it: null, false, 0, "" and [] are not; "0", "false" and {} are."""
    return bool(value) or type(value) is dict


def holds(value: Any) -> bool:
    """As conditions have it: `truthy`, but texts that say no (false, 0, no, off, null, none, in any case) are not."""
    if type(value) is str:
        return len(value) > _SHORT or value.strip().lower() not in _FALSE_TEXTS
    return truthy(value)


# --- to numbers ---


def to_number(value: Any, budget: Budget) -> Number | None:
    """None is JavaScript's NaN. The empty text, null and false are 0."""
    if type(value) in NUMBERS:
        return value  # type: ignore[no-any-return]
    if type(value) is str:
        return _parse(value, budget)
    if value is None or value is True or value is False:
        return int(bool(value))
    return _parse(to_text(value, budget), budget) if type(value) is list else None


def _parse(text: str, budget: Budget) -> Number | None:
    spend_text(budget, len(text))
    text = text.strip()
    if not text:
        return 0
    if not _NUMERAL.fullmatch(text):
        return None
    return int(text) if len(text) <= 18 and text.lstrip("+-").isdecimal() else _settled(float(text))


def operand(value: Any, budget: Budget) -> Number:
    """A number to calculate with. Raises `TaskError` for what is none."""
    if type(value) in NUMBERS:
        return value  # type: ignore[no-any-return]
    number = None if type(value) in (list, dict) else to_number(value, budget)
    if number is None:
        hint = "; texts are joined with concat(…)" if type(value) is str else ""
        raise failure(f"{shown(value)} is not a number{hint}")
    return number


def result(number: Number) -> Number:
    """What a calculation answers: integers within 64 bits stay exact, integral floats become integers."""
    settled = _settled(number)
    if settled is None:
        raise failure("the result of a calculation is too large, or is no number")
    return settled


def _settled(number: Number) -> Number | None:
    if type(number) is int:
        return number if limits.MIN_INTEGER <= number <= limits.MAX_INTEGER else float(number)
    if -_INTEGRAL <= number <= _INTEGRAL:
        return int(number) if number == int(number) else number
    return number if abs(number) < float("inf") else None


# --- to text ---


def to_text(value: Any, budget: Budget, depth: int = 0) -> str:
    """JavaScript's `String(value)`; null inside a list is empty."""
    if type(value) is str:
        return value
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return _float_text(value)
    if type(value) is not list:
        return to_json(value, budget)
    if depth > limits.DEPTH:
        raise too_deep()
    spend(budget, len(value) + 1)
    return join(["" if child is None else to_text(child, budget, depth + 1) for child in value], ",", budget)


def join(parts: list[str], separator: str, budget: Budget) -> str:
    spend_text(budget, sum(map(len, parts)))
    return separator.join(parts)


def _float_text(value: float) -> str:
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa.removesuffix(".0")
    sign, digits = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    whole, _, rest = digits.partition(".")
    power = int(exponent)
    if power < -6 or power >= 21:
        return f"{mantissa}e{power:+}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{whole}{rest}"
    return sign + (whole + rest).ljust(power + 1, "0")


def to_json(value: Any, budget: Budget, most: int = limits.PAYLOAD) -> str:
    """The JSON of a value, of at most so many bytes; looked at before it is written. Raises `TaskError`."""
    left = [most, 0]
    _measure(value, left)
    data = _encode(value)
    spend(budget, (-left[1] >> 1) + (len(data) >> 6))
    if len(data) > most:
        raise too_large()
    return data.decode()


def _measure(value: Any, left: Budget, depth: int = 0) -> None:
    """Takes the bytes and the parts of `value`, which may name one part many times. Raises `TaskError`."""
    if type(value) is str:
        left[0] -= len(value)
    elif type(value) is dict or type(value) is list:
        if depth > 2 * limits.DEPTH:
            raise too_deep()
        left[0] -= 2 * len(value)
        left[1] -= len(value)
        for child in value.values() if type(value) is dict else value:
            _measure(child, left, depth + 1)
    if left[0] < 0:
        raise too_large()


def shown(value: Any) -> str:
    """For messages: the value if it is short, else what it is."""
    if type(value) is str:
        return repr(value) if len(value) <= 40 else f"{value[:40]!r}…"
    if type(value) is list:
        return "a list"
    return "an object" if type(value) is dict else _encode(value).decode()


# --- to compare ---


def same(a: Any, b: Any, budget: Budget, depth: int = 0) -> bool:
    """JavaScript's `===`; lists and objects by content."""
    kind = type(a)
    if kind is str:
        if type(b) is not str or len(a) != len(b):
            return False
        if len(a) > 64:
            spend(budget, len(a) >> 6)
        return a == b  # type: ignore[no-any-return]
    if kind in NUMBERS:
        return type(b) in NUMBERS and a == b
    if kind is not type(b):
        return False
    if kind is not list and kind is not dict:
        return a is b
    if depth > 2 * limits.DEPTH:
        raise too_deep()
    spend(budget, len(a))
    if len(a) != len(b):
        return False
    if kind is list:
        return all(same(x, y, budget, depth + 1) for x, y in zip(a, b, strict=True))
    return all(key in b and same(child, b[key], budget, depth + 1) for key, child in a.items())


def equal(a: Any, b: Any, budget: Budget) -> bool:
    """JavaScript's `==`."""
    if type(a) is type(b):
        return same(a, b, budget)
    if a is None or b is None:
        return False
    if type(a) is dict or type(b) is dict:
        return False
    if {type(a), type(b)} == {list, str}:
        return same(to_text(a, budget), to_text(b, budget), budget)
    x, y = to_number(a, budget), to_number(b, budget)
    return x is not None and y is not None and x == y


def ordered(compare: Callable[[Any, Any], bool], a: Any, b: Any, budget: Budget) -> bool:
    """`compare` of two texts by their characters, of all else as numbers; what is no number is in no order."""
    if type(a) is list:
        a = to_text(a, budget)
    if type(b) is list:
        b = to_text(b, budget)
    if type(a) is str and type(b) is str:
        spend(budget, min(len(a), len(b)) >> 6)
        return compare(a, b)
    x, y = to_number(a, budget), to_number(b, budget)
    return x is not None and y is not None and compare(x, y)


def contains(whole: Any, part: Any, budget: Budget) -> bool:
    """Whether a text has the other as a part, or a list has an item that is the `same`."""
    if type(whole) is str:
        text = to_text(part, budget)
        spend(budget, len(whole) + len(text) >> 5)
        return text in whole
    if type(whole) is not list:
        return False
    spend(budget, len(whole))
    return any(same(part, item, budget) for item in whole)
