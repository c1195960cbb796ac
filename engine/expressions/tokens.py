"""The tokenizer of the expression grammar.

A path is one token, so that its segments may contain `-` and be keywords; a minus sign between two values therefore
has white space on both sides.
"""

import re
from typing import Literal, NamedTuple

from engine import limits
from engine.errors import Invalid
from engine.expressions.paths import SEGMENT

KEYWORDS = frozenset({"and", "or", "not", "in", "true", "false", "null", "True", "False", "None"})
NAME = r"[A-Za-z_$][A-Za-z0-9_$-]*"
_TOKEN = re.compile(
    rf"""[ \t\r\n]* (?:
      (?P<number> [0-9]+ (?:\.[0-9]+)? (?:[eE][+-]?[0-9]+)? (?![A-Za-z0-9_$.]) )
    | (?P<word> {NAME} ) (?P<rest> (?:{SEGMENT})* )
    | (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<sign> \{{\{{ | \}}\}} | === | !== | == | != | >= | <= | && | \|\| | [-+*/%<>()\[\],!] )
    )""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"[ \t\r\n]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_HINTS = {
    "=": "; to compare, write ==",
    "|": "; there are no filters, write upper(input.x)",
    "&": "; write and",
    ".": "; a path is written like input.order.items[0]",
    "{": "; write {{ or give the object in the input",
    '"': "; the text does not end",
    "'": "; the text does not end",
}
_SYNONYMS = {"True": "true", "False": "false", "None": "null"}

Kind = Literal["number", "path", "word", "text", "sign", "end"]


class Token(NamedTuple):
    """`text` is as written (of a text: its value); `start` and `end` are places in the source, from 0."""

    kind: Kind
    text: str
    start: int
    end: int


class Wrong(Invalid):
    """A fault at a place of the source (from 0; people see columns from 1). Reading may go on after `resume`."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(f"{message} (column {position + 1})")
        self.resume = position


def tokenize(source: str, start: int = 0, *, template: bool = False) -> list[Token]:
    """Tokens from `start` on, the last of kind `end`: the end of `source`, or of a template its first `}}`.

    Raises `Wrong`.
    """
    tokens: list[Token] = []
    position = start
    while (match := _TOKEN.match(source, position)) is not None and not (template and match["sign"] == "}}"):
        if len(tokens) == limits.EXPRESSION:
            raise Wrong(f"an expression has at most {limits.EXPRESSION} parts", start)
        tokens.append(_token(match, source))
        position = match.end() if tokens[-1].kind != "word" else tokens[-1].end
    blank = _BLANK.match(source, position)
    position = blank.end() if blank else position
    if template and position == len(source):
        fault = Wrong("a template begins with {{ and does not end with }}", start - 2)
        fault.resume = position
        raise fault
    if position < len(source) and not (template and source.startswith("}}", position)):
        raise Wrong(f"cannot read {source[position]!r}{_HINTS.get(source[position], '')}", position)
    tokens.append(Token("end", "", position, position))
    return tokens


def _token(match: re.Match[str], source: str) -> Token:
    end = match.end()
    match match.lastgroup:
        case "sign" | "number" as kind:
            return Token(kind, match[kind], match.start(kind), end)
        case "text":
            start = match.start("text")
            return Token("text", _unescape(match["text"][1:-1], start), start, end)
        case _:
            word, start = match["word"], match.start("word")
    if word in KEYWORDS:
        return Token("word", _SYNONYMS.get(word, word), start, match.end("word"))
    if source.startswith("(", end) and not match["rest"]:
        return Token("word", word, start, end)
    return Token("path", source[start:end], start, end)


def _unescape(text: str, position: int) -> str:
    if "\\" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        escaped = _ESCAPES.get(match[1])
        if escaped is None:
            raise Wrong(f"cannot read the escape \\{match[1]} in a text; write \\\\ for a backslash", position)
        return escaped

    return _ESCAPE.sub(replace, text)
