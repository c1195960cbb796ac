"""Values with `{{ }}` in their strings, conditions and JSONLogic, compiled to one closure each.

A string that is one template keeps the type of its value; other strings are joined as text (numbers, objects and
lists as JSON). Rendering copies containers, so nothing rendered shares state with the journal, and spends a budget:
bytes, so that a small template cannot multiply a large value, and steps, so that none runs for long.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from engine import limits
from engine.errors import Fault, Invalid
from engine.expressions.compiler import Compiler
from engine.expressions.grammar import parse_condition, parse_template
from engine.expressions.jsonlogic import parse_logic
from engine.expressions.paths import SEGMENT, parse_path
from engine.expressions.roots import plain_path
from engine.expressions.scope import Budget, Render, new_budget, spend, too_deep, too_large
from engine.expressions.tokens import KEYWORDS, NAME, Wrong
from engine.expressions.tree import Path, Place
from engine.expressions.values import holds, to_json

_encode = msgspec.json.Encoder().encode
_KEYWORD = rf"(?:{'|'.join(sorted(KEYWORDS))})(?![A-Za-z0-9_$-])"
_PLAIN = re.compile(rf"[ \t\r\n]*(?!{_KEYWORD})({NAME}(?:{SEGMENT})*)[ \t\r\n]*\}}\}}")
_SCALARS = frozenset({int, float, bool, type(None)})


class Template:
    """A compiled value. `references` are the keys of the tasks it refers to, `secrets` the names of secrets, each with
    its first place (`pointer_of` gives the pointer); `constant`: it has no expression at all; `parts`: how many its
    expressions have, without paths that stand alone.
    """

    __slots__ = ("_render", "constant", "parts", "references", "secrets")

    def __init__(self, render: Render, compiler: Compiler) -> None:
        self._render = render
        self.references = compiler.references
        self.secrets = compiler.secrets
        self.constant = not compiler.expressions
        self.parts = compiler.size

    def render(self, scope: Any) -> Any:
        """The value for a `Scope`. Raises `TaskError` (not retryable) when a part is not there, or it is too large."""
        return self._render(scope, new_budget())


def compile_template(value: Any, where: str = "", names: Collection[str] = ()) -> tuple[Template, list[Fault]]:
    """Any JSON with `{{ }}` in its strings. Faults carry pointers below `where`.

    `names` are roots of its own, such as `item`; the scope is then a `Named`.
    """
    compiler = _Compiler(names)
    render = compiler.value(value, (None, where))
    return Template(render, compiler), compiler.faults


def compile_condition(value: Any, where: str = "", names: Collection[str] = ()) -> tuple[Template, list[Fault]]:
    """True, false, a JSONLogic object, or one expression in which `{{ }}` are parentheses. Renders to a bool.

    What counts as true says `values.holds`: the texts "false", "no", "off", "0", "null" and "" do not.
    """
    compiler = _Compiler(names)
    place: Place = (None, where)
    render = compiler.condition(value, place)
    return Template(lambda scope, budget: holds(render(scope, budget)), compiler), compiler.faults


def compile_logic(value: Any, where: str = "", names: Collection[str] = ()) -> tuple[Template, list[Fault]]:
    """A JSONLogic rule. Renders to its value."""
    compiler = _Compiler(names)
    render = _owned(compiler.logic(value, (None, where)))
    return Template(render, compiler), compiler.faults


def has_template(value: Any) -> bool:
    """Whether any string in `value` has a template."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, dict):
        return any(has_template(child) for child in value.values())
    return isinstance(value, list) and any(has_template(child) for child in value)


def sealed(name: str) -> str:
    """What stands for a secret in a rendered config; no text from outside can have a NUL."""
    return f"\0secret:{name}\0"


class _Compiler(Compiler):
    guarded = False
    """Whether secrets are refused even where they stand alone: what a rule answers is compared."""

    def value(self, value: Any, place: Place) -> Render:
        """The closure of a JSON value; what it returns is a copy."""
        if isinstance(value, str) and "{{" in value:
            return _owned(self.text(value, place))
        if isinstance(value, dict):
            return self.container({**value}, value.items(), place)
        if isinstance(value, list):
            return self.container([*value], enumerate(value), place)
        return lambda scope, budget: value

    def container(self, blank: Any, items: Any, place: Place) -> Render:
        """Only what is no constant is rendered; the rest is copied in one go."""
        parts = [(key, self.value(v, (place, key))) for key, v in items if _varies(v)]
        copy = blank.copy

        def render(scope: Any, budget: Budget) -> Any:
            rendered = copy()
            for key, part in parts:
                rendered[key] = part(scope, budget)
            return rendered

        return render if parts else lambda scope, budget: copy()

    def text(self, text: str, place: Place) -> Render:
        """What it answers may be shared; it is a text unless `text` is one template."""
        if len(text) > limits.TEMPLATE:
            self.expressions += 1
            return self.fault(f"a template has at most {limits.TEMPLATE} characters", place, "template")
        pieces = list(self.pieces(text, place))
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            return pieces[0]
        return _render_text(pieces)

    def pieces(self, text: str, place: Place) -> Iterator[str | Render]:
        position = 0
        while (begin := text.find("{{", position)) >= 0:
            if begin > position:
                yield text[position:begin]
            try:
                piece, position = self.piece(text, begin + 2, place)
            except Wrong as error:
                self.expressions += 1
                self.size += 1 + (error.resume - begin) // 4
                piece = self.fault(error.message, place, "template")
                position = text.find("}}", error.resume) + 2
            yield piece
            if position < 2:
                return
        if position < len(text):
            yield text[position:]

    def piece(self, text: str, start: int, place: Place) -> tuple[Render, int]:
        """One `{{ }}` and where it ends; a lone path, the most frequent by far, needs no tokens."""
        match = _PLAIN.match(text, start)
        if match is None:
            if self.size > limits.PARTS:
                raise Wrong(f"the expressions of a task have at most {limits.PARTS} parts", len(text))
            node, end = parse_template(text, start, suggest=not self.faults)
            return self.expression(node, place, text[start - 2 : end]), end
        path = match[1]
        try:
            if not self.names and (plain := plain_path(path)) is not None:
                self.expressions += 1
                self.refer(plain[1], place)
                return plain[0], match.end()
            node = Path(parse_path(path), path, match.start(1))
        except Invalid as error:
            raise Wrong(error.message, match.start(1)) from None
        if node.segments[0] == "secrets" and len(node.segments) == 2:
            return self.secret(str(node.segments[1]), place), match.end()
        return self.expression(node, place), match.end()

    def secret(self, name: str, place: Place) -> Render:
        self.expressions += 1
        if self.guarded:
            return self.fault("no expression can look at a secret", place, "template_secret")
        self.secrets.setdefault(name, place)
        text = sealed(name)
        return lambda scope, budget: text

    def condition(self, value: Any, place: Place) -> Render:
        if isinstance(value, bool):
            return lambda scope, budget: value
        if isinstance(value, dict):
            return self.logic(value, place)
        if not isinstance(value, str) or len(value) > limits.TEMPLATE:
            message = "a condition is true, false, a JSONLogic object or an expression"
            return self.fault(f"{message} of at most {limits.TEMPLATE} characters", place, "invalid_condition")
        before = len(self.faults)
        try:
            render = self.expression(parse_condition(value), place, value)
        except Invalid as error:
            return self.fault(error.message, place, "invalid_condition")
        if "{{" not in value:
            self.faults[before:] = [msgspec.structs.replace(f, code="invalid_condition") for f in self.faults[before:]]
        return render

    def logic(self, value: Any, place: Place) -> Render:
        node, faults = parse_logic(value, place)
        self.faults += faults
        self.guarded = True
        return self.expression(node, place)


def _varies(value: Any) -> bool:
    return isinstance(value, dict | list) or (isinstance(value, str) and "{{" in value)


def _owned(render: Render) -> Render:
    """A copy of what `render` answers, paid from the budget."""

    def owned(scope: Any, budget: Budget) -> Any:
        value = render(scope, budget)
        if type(value) in _SCALARS:
            return value
        value = _copy(value, budget)
        if budget[0] < 0:
            raise too_large()
        return value

    return owned


def _copy(value: Any, budget: Budget, depth: int = 0) -> Any:
    """Spends no more than the value has bytes as JSON."""
    kind = type(value)
    if kind is str:
        budget[0] -= len(value)
    elif kind is dict or kind is list:
        budget[0] -= 2 * len(value)
        if budget[0] < 0:
            raise too_large()
        if depth > 2 * limits.DEPTH:
            raise too_deep()
        if kind is list:
            return [child if type(child) in _SCALARS else _copy(child, budget, depth + 1) for child in value]
        return {k: child if type(child) in _SCALARS else _copy(child, budget, depth + 1) for k, child in value.items()}
    return value


def _render_text(pieces: list[str | Render]) -> Render:
    def render(scope: Any, budget: Budget) -> str:
        left = budget[0]
        parts = []
        for piece in pieces:
            part = piece if isinstance(piece, str) else _as_text(piece(scope, budget), budget, left)
            left -= len(part)
            if left < 0:
                raise too_large()
            parts.append(part)
        spend(budget, budget[0] - left >> 6)
        return "".join(parts)

    return render


def _as_text(value: Any, budget: Budget, left: int) -> str:
    if type(value) is str:
        return value
    return _encode(value).decode() if type(value) in _SCALARS else to_json(value, budget, left)
