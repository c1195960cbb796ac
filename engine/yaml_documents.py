"""The one strict reader and writer of YAML: what JSON could say, in the core schema of YAML 1.2, and no more.

`on`, `yes` and `12:30` are texts and `1.0` is a number; a key is the text that stands there. No aliases and anchors, no
tags, no merge keys, no key twice in a mapping, one document; size, depth and number of values are bounded as for JSON.
The line of every value is kept, so that a fault of meaning can say where it stands.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from engine import limits
from engine.documents import check_value
from engine.errors import Fault, InvalidDocument, TooLarge

SHOWN = 100
"""Faults of one document that are listed."""

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMERIC = frozenset("+-.0123456789")
_NO_KEY = object()


class Lines:
    """The line (from 1) of each value below `root`, found by its JSON pointer."""

    __slots__ = ("_marks", "_root")

    def __init__(self, root: Any, marks: dict[int, dict[str, int] | list[int]]) -> None:
        self._root = root
        self._marks = marks

    def at(self, pointer: str) -> int:
        """Of the deepest value on the way to `pointer` that is there."""
        node, line = self._root, 1
        for segment in pointer.split("/")[1:]:
            marks = self._marks.get(id(node))
            key: Any = segment.replace("~1", "/").replace("~0", "~")
            if isinstance(marks, list):
                key = int(key) if key.isdecimal() and int(key) < len(marks) else None
            elif marks is None or key not in marks:
                key = None
            if key is None or marks is None:
                return line
            line, node = marks[key], node[key]
        return line


class _Frame:
    """A container that is not yet closed."""

    __slots__ = ("key", "key_line", "marks", "value")

    def __init__(self, value: Any, marks: Any) -> None:
        self.value = value
        self.marks = marks
        self.key: Any = _NO_KEY
        self.key_line = 0


class _Reader:
    """Events to values without recursion; goes on after a fault, so that all of them are told."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.root: Any = None
        self.marks: dict[int, dict[str, int] | list[int]] = {}
        self._stack: list[_Frame] = []
        self._left = limits.NODES
        self._documents = 0

    def read(self, text: str) -> None:
        for event in _events(text):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, {} if kind is yaml.MappingStartEvent else [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._stack.pop()
            elif kind is yaml.AliasEvent:
                self._fault(event, "aliases (*name) are not accepted; write the value out", "yaml_alias")
                self._put(event, None)
            elif kind is yaml.DocumentStartEvent:
                self._begin(event)

    def _begin(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _refusal("a second document begins; send one document", event.start_mark.line + 1)
        if event.version not in (None, (1, 2)) or event.tags:
            message = "directives other than %YAML 1.2 are not accepted; leave the line out"
            self._fault(event, message, "yaml_directive")

    def _open(self, event: Any, value: Any) -> None:
        self._check_node(event)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and type(frame.value) is dict and frame.key is _NO_KEY:
            raise _refusal(
                "a key is a text, not a list or mapping; quote a text that begins with {", event.start_mark.line + 1
            )
        if len(self._stack) > limits.DEPTH:
            raise _refusal(TOO_DEEP, event.start_mark.line + 1)
        self._put(event, value)
        marks: Any = {} if type(value) is dict else []
        self.marks[id(value)] = marks
        self._stack.append(_Frame(value, marks))

    def _scalar(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self._check_node(event)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and type(frame.value) is dict and frame.key is _NO_KEY:
            self._key(frame, event)
        else:
            self._put(event, self._plain(event) if event.implicit[0] else event.value)

    def _key(self, frame: _Frame, event: Any) -> None:
        key, line = event.value, event.start_mark.line + 1
        if event.implicit[0] and key in ("", "<<"):
            missing = "a key is missing before the colon"
            message = "merge keys (<<) are not accepted; write the fields out" if key else missing
            self._fault(event, message, "yaml_key")
        elif key in frame.marks:
            message = f"the key {key[:100]!r} stands twice in one mapping, first at line {frame.marks[key]}"
            self._fault(event, message, "duplicate_key")
        frame.key, frame.key_line = key, line

    def _put(self, event: Any, value: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooLarge(f"the document has more than {limits.NODES} values")
        if not self._stack:
            self.root = value
            return
        frame = self._stack[-1]
        if type(frame.value) is list:
            frame.value.append(value)
            frame.marks.append(event.start_mark.line + 1)
        elif frame.key is _NO_KEY:
            raise _refusal("a key is a text, not an alias", event.start_mark.line + 1)
        else:
            frame.value[frame.key] = value
            frame.marks[frame.key] = frame.key_line
            frame.key = _NO_KEY

    def _plain(self, event: Any) -> Any:
        text = event.value
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMERIC:
            return text
        if _NOT_FINITE.fullmatch(text):
            self._fault(event, f"{text} is not a JSON value; write null or a text", "yaml_number")
            return None
        return number(text)

    def _check_node(self, event: Any) -> None:
        if event.anchor is not None:
            self._fault(event, "anchors (&name) are not accepted; write the value out where it is used", "yaml_anchor")
        if event.tag is not None:
            message = f"tags ({event.tag[:100]}) are not accepted; leave it out, quote what is a text"
            self._fault(event, message, "yaml_tag")

    def _fault(self, event: Any, message: str, code: str) -> None:
        if len(self.faults) < SHOWN:
            self.faults.append(Fault(message, "", code, event.start_mark.line + 1))


def number(text: str) -> Any:
    """What a plain scalar is if it is a number of the core schema, else the text itself.

    An integer beyond 64 bits is cut to 21 characters: it costs little and still does not fit.
    """
    if _INTEGER.fullmatch(text):
        return int(text[:21])
    if _OCTAL.fullmatch(text):
        return int(text[:30], 8)
    if _HEX.fullmatch(text):
        return int(text[:21], 16)
    return float(text) if _FLOAT.fullmatch(text) else text


def read_yaml(data: bytes, *, max_bytes: int = limits.DOCUMENT) -> tuple[Any, Lines, list[Fault]]:
    """The value, its lines, and what is refused in it, each with its line. With faults the value is only a guess.

    Raises `InvalidDocument` for what cannot be read at all, `TooLarge`.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"the document has {len(data)} bytes; at most {max_bytes} are allowed")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"the document is not UTF-8 (byte {error.start})") from None
    reader = _Reader()
    reader.read(text)
    lines = Lines(reader.root, reader.marks)
    if not reader.faults:
        try:
            check_value(reader.root)
        except InvalidDocument as error:
            reader.faults = [Fault(f.message, f.pointer, f.code, lines.at(f.pointer)) for f in error.faults] or [
                Fault(error.message, "", error.code)
            ]
    return reader.root, lines, reader.faults


def decode_yaml(data: bytes, *, max_bytes: int = limits.DOCUMENT) -> Any:
    """The value of `data`. Raises `InvalidDocument` with every fault, or `TooLarge`."""
    value, _, faults = read_yaml(data, max_bytes=max_bytes)
    if faults:
        raise InvalidDocument(faults[0].message, faults=faults)
    return value


TOO_DEEP = f"nested deeper than {limits.DEPTH} levels"
"""libyaml may say it first: it has a depth of its own, and reads ahead."""


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        message = TOO_DEEP if "maximum nesting depth" in words else f"not valid YAML: {words}"
        raise _refusal(message, mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
        reason = getattr(error, "reason", None) or "it cannot be read"
        raise _refusal(f"not valid YAML: {reason}", line) from None


def _refusal(message: str, line: int | None) -> InvalidDocument:
    shown = message if line is None else f"{message} (line {line})"
    return InvalidDocument(shown, faults=[Fault(message, "", "invalid_document", line)])


# --- writing --------------------------------------------------------------------------------------


class _Dumper(yaml.CSafeDumper):
    """Quotes every text that the reader, or a reader of YAML 1.1, would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    taken = value in _WORDS or (value[0] in _NUMERIC and (_NOT_FINITE.fullmatch(value) or number(value) is not value))
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if taken else None)


_Dumper.add_representer(str, _text)


def encode_yaml(value: Any) -> bytes:
    """Plain JSON as block-style YAML that `decode_yaml` reads back as the same value."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()
