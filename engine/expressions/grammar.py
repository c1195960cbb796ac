"""The expression grammar: `input.total > 100 and tasks.check.output.ok`, from tokens to a tree.

    or < and < not < comparison, in, not in < + - < * / % < a minus sign or ! before a value

Comparisons are not chained, except `a < b < c` (and `<=`): b lies between.
"""

from functools import lru_cache
from typing import NamedTuple

from engine import limits
from engine.errors import Invalid
from engine.expressions.functions import FUNCTIONS, LOGIC, list_of
from engine.expressions.operators import JSONLOGIC
from engine.expressions.paths import parse_path
from engine.expressions.suggest import did_you_mean
from engine.expressions.tokens import KEYWORDS, Token, Wrong, tokenize
from engine.expressions.tree import Literal, Node, Operator, Path, call

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT = range(1, 7)


class _Infix(NamedTuple):
    level: int
    operator: Operator
    many: bool = False
    """Whether `a op b op c` is one call."""


_INFIX = {
    "or": _Infix(_OR, LOGIC["or"], many=True),
    "and": _Infix(_AND, LOGIC["and"], many=True),
    **{sign: _Infix(_COMPARISON, JSONLOGIC[sign]) for sign in ("==", "!=", "===", "!==", "<", "<=", ">", ">=", "in")},
    "||": _Infix(_OR, LOGIC["or"], many=True),
    "&&": _Infix(_AND, LOGIC["and"], many=True),
    "+": _Infix(_SUM, JSONLOGIC["+"], many=True),
    "-": _Infix(_SUM, JSONLOGIC["-"]),
    "*": _Infix(_PRODUCT, JSONLOGIC["*"], many=True),
    "/": _Infix(_PRODUCT, JSONLOGIC["/"]),
    "%": _Infix(_PRODUCT, JSONLOGIC["%"]),
}
_SHORT = 300
_CONSTANTS = {"true": Literal(True), "false": Literal(False), "null": Literal(None)}


def parse_template(source: str, start: int, *, suggest: bool = True) -> tuple[Node, int]:
    """The expression between `{{` (which ends at `start`) and `}}`, and where that ends. Raises `Wrong`.

    Looking for a suggestion costs more than all else; who reads many faults does without.
    """
    tokens = tokenize(source, start, template=True)
    end = tokens[-1].end
    try:
        if len(tokens) == 1:
            raise Wrong("nothing stands between {{ and }}", start)
        return _Parser(source, tokens, suggest=suggest).whole(), end + 2
    except Invalid as error:
        fault = error if isinstance(error, Wrong) else Wrong(error.message, start)
        fault.resume = end
        raise fault from None


def parse_condition(source: str) -> Node:
    """A condition: one expression, in which `{{ … }}` are parentheses. Raises `Invalid` with the column."""
    return _remembered(source) if len(source) <= _SHORT else _parse_condition(source)


def _parse_condition(source: str) -> Node:
    tokens = tokenize(source)
    if len(tokens) == 1:
        raise Wrong("a condition is empty; write true, false, or an expression such as {{input.value}} > 10", 0)
    return _Parser(source, tokens).whole()


_remembered = lru_cache(1024)(_parse_condition)
"""A workflow is compiled many times: when it is checked, saved and loaded."""


class _Parser:
    def __init__(self, source: str, tokens: list[Token], *, suggest: bool = True) -> None:
        self.suggest = suggest
        self.source = source
        self.tokens = tokens
        self.place = 0
        self.depth = 0
        self.braces = False

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def whole(self) -> Node:
        node = self.expression(_OR)
        if self.token.kind != "end":
            raise self.unexpected("after the end of the expression")
        return node

    def expression(self, level: int) -> Node:
        """All that binds as tightly as `level` or tighter."""
        self.depth += 1
        if self.depth > limits.DEPTH:
            raise Wrong(f"an expression is nested deeper than {limits.DEPTH} levels; split it", self.token.start)
        node = self.prefix()
        while (found := self.infix()) is not None and found[1].level >= level:
            node = self.binary(node, *found)
        self.depth -= 1
        return node

    def infix(self) -> tuple[str, _Infix] | None:
        token = self.token
        if token.kind not in ("sign", "word"):
            return None
        if token.text == "not" and self.tokens[self.place + 1][:2] == ("word", "in"):
            return "not in", _INFIX["in"]
        infix = _INFIX.get(token.text)
        return None if infix is None else (token.text, infix)

    def binary(self, left: Node, name: str, infix: _Infix) -> Node:
        args = [left]
        while True:
            self.check_minus(name)
            self.place += 2 if name == "not in" else 1
            args.append(self.expression(infix.level + 1))
            following = self.infix()
            if following is None or following[0] != name or not infix.many:
                break
        if infix.level == _COMPARISON and following is not None and following[1].level == _COMPARISON:
            args.append(self.between(name, following[0]))
        node = call(infix.operator, tuple(args))
        return call(LOGIC["not"], (node,)) if name == "not in" else node

    def between(self, name: str, following: str) -> Node:
        if name != following or name not in ("<", "<="):
            raise Wrong("comparisons are not chained; join them with and", self.token.start)
        self.place += 1
        node = self.expression(_SUM)
        again = self.infix()
        if again is not None and again[1].level == _COMPARISON:
            raise Wrong("comparisons are not chained; join them with and", self.token.start)
        return node

    def check_minus(self, name: str) -> None:
        before, after = self.source[self.token.start - 1], self.source[self.token.end : self.token.end + 1]
        if name == "-" and not (before.isspace() and after.isspace()):
            raise Wrong("a minus sign between two values needs a space on both sides", self.token.start)

    def prefix(self) -> Node:
        token = self.token
        self.place += 1
        match token.kind:
            case "number":
                return Literal(_number(token))
            case "text":
                if "{{" in token.text:
                    raise Wrong("leave the quotes around {{ }} away: it is a value, not text", token.start)
                return Literal(token.text)
            case "path":
                return Path(self.segments(token), token.text, token.start)
            case "word":
                return self.word(token)
            case "sign":
                return self.sign(token)
            case _:
                self.place -= 1
                raise self.unexpected("where a value is expected")

    def segments(self, token: Token) -> tuple[str | int, ...]:
        try:
            return parse_path(token.text)
        except Invalid as error:
            raise Wrong(error.message, token.start) from None

    def word(self, token: Token) -> Node:
        if token.text == "not":
            return call(LOGIC["not"], (self.expression(_COMPARISON),))
        if token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        if not self.at("(") or token.text in KEYWORDS:
            raise Wrong(f"unexpected {token.text!r} where a value is expected", token.start)
        function = FUNCTIONS.get(token.text)
        if function is None:
            hint = did_you_mean(token.text, FUNCTIONS) if self.suggest else ""
            raise Wrong(f"there is no function {token.text[:100]!r}{hint}", token.start)
        self.place += 1
        args = self.listed(")")
        if (fault := function.arity_fault(len(args))) is not None:
            raise Wrong(f"{token.text}(…) {fault}", token.start)
        return call(function, args)

    def sign(self, token: Token) -> Node:
        match token.text:
            case "(":
                return self.closed(")")
            case "[":
                return list_of(self.listed("]"))
            case "{{" if not self.braces:
                self.braces = True
                node = self.closed("}}")
                self.braces = False
                return node
            case "-" if self.token.kind == "number" and self.token.start == token.end:
                self.place += 1
                return Literal(_number(self.tokens[self.place - 1], "-"))
            case "-":
                return call(JSONLOGIC["-"], (self.expression(_PRODUCT + 1),))
            case "!":
                return call(LOGIC["not"], (self.expression(_PRODUCT + 1),))
            case _:
                self.place -= 1
                raise self.unexpected("where a value is expected")

    def closed(self, end: str) -> Node:
        node = self.expression(_OR)
        if not self.at(end):
            raise self.unexpected(f"where {end} is expected")
        self.place += 1
        return node

    def listed(self, end: str) -> tuple[Node, ...]:
        """Expressions with commas between them, up to `end`, which is taken too."""
        nodes: list[Node] = []
        while not self.at(end):
            if nodes:
                if not self.at(","):
                    raise self.unexpected(f"where a comma or {end} is expected")
                self.place += 1
            nodes.append(self.expression(_OR))
        self.place += 1
        return tuple(nodes)

    def at(self, sign: str) -> bool:
        return self.token[:2] == ("sign", sign)

    def unexpected(self, where: str) -> Invalid:
        token = self.token
        if token.kind == "end":
            return Wrong(f"the expression ends {where}", token.start)
        return Wrong(f"unexpected {self.source[token.start : token.end][:100]!r} {where}", token.start)


def _number(token: Token, sign: str = "") -> int | float:
    text = sign + token.text
    value = int(text[:21]) if text.lstrip("-").isdecimal() else float(text)
    if limits.MIN_INTEGER <= value <= limits.MAX_INTEGER or (isinstance(value, float) and abs(value) < float("inf")):
        return value
    raise Wrong(f"the number {text[:40]} is too large", token.start)
