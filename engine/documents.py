"""The one strict decoder for everything that comes from outside.

JSON as RFC 8259 has it, and no more: no duplicate keys, no NaN or Infinity, no NUL, no lone surrogates,
integers within 64 bits, bounded depth, size and number of values. Each refusal carries a JSON pointer.
"""

import hashlib
import json
import math
import re
from typing import Any

import msgspec

from engine import limits
from engine.errors import InvalidDocument, TooLarge

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_BAD_TEXT = re.compile("[\0\ud800-\udfff]").search


class _Duplicate:
    """Stands where an object named one key twice."""

    def __init__(self, key: str) -> None:
        self.key = key


def decode_json(data: bytes, *, max_bytes: int = limits.DOCUMENT) -> Any:
    """The value of `data`. Raises `InvalidDocument` (pointer says where) or `TooLarge`."""
    if len(data) > max_bytes:
        raise TooLarge(f"the document has {len(data)} bytes; at most {max_bytes} are allowed")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"the document is not UTF-8 (byte {error.start})") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        raise InvalidDocument(message) from None
    except RecursionError:
        raise InvalidDocument(f"nested deeper than {limits.DEPTH} levels") from None
    check_value(value)
    return value


def check_value(value: Any) -> None:
    """Refuses a value that is not plain, bounded JSON. Raises `InvalidDocument` with a pointer, or `TooLarge`."""
    budget = limits.NODES
    stack: list[tuple[Any, Any, int]] = [(value, None, 0)]
    while stack:
        node, path, depth = stack.pop()
        budget -= 1
        if budget < 0:
            raise TooLarge(f"the document has more than {limits.NODES} values")
        kind = type(node)
        if kind is dict or kind is list:
            if depth >= limits.DEPTH:
                raise InvalidDocument(f"nested deeper than {limits.DEPTH} levels", pointer=_pointer(path))
            _push_children(node, path, depth + 1, stack)
        else:
            _check_scalar(node, kind, path)


def _push_children(node: Any, path: Any, depth: int, stack: list[tuple[Any, Any, int]]) -> None:
    if isinstance(node, dict):
        for key, child in node.items():
            if type(key) is not str:
                raise InvalidDocument(f"an object key must be a string, not {key!r}", pointer=_pointer(path))
            if _bad_text(key):
                raise InvalidDocument("a key contains NUL or a lone surrogate", pointer=_pointer(path))
            stack.append((child, (path, key), depth))
    else:
        stack.extend((child, (path, index), depth) for index, child in enumerate(node))


def _check_scalar(node: Any, kind: type, path: Any) -> None:
    if kind is str:
        if _bad_text(node):
            raise InvalidDocument("the string contains NUL or a lone surrogate", pointer=_pointer(path))
    elif kind is float:
        if not math.isfinite(node):
            raise InvalidDocument("NaN and Infinity are not JSON; send null or a string", pointer=_pointer(path))
    elif kind is int:
        if not limits.MIN_INTEGER <= node <= limits.MAX_INTEGER:
            raise InvalidDocument("the integer does not fit into 64 bits; send it as a string", pointer=_pointer(path))
    elif kind is _Duplicate:
        raise InvalidDocument(f"the key {node.key!r} stands twice in one object", pointer=_pointer(path))
    elif kind is not bool and node is not None:
        raise InvalidDocument(f"{kind.__name__} is not a JSON value", pointer=_pointer(path))


def check_payload(value: Any, what: str) -> bytes:
    """The JSON of a checked `value` of at most `limits.PAYLOAD` bytes. Raises as `check_value`."""
    check_value(value)
    data = _encode(value)
    if len(data) > limits.PAYLOAD:
        raise TooLarge(f"the {what} has {len(data)} bytes as JSON; at most {limits.PAYLOAD} are allowed")
    return data


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, integral floats as integers: equal values give equal bytes (1.0 = 1)."""
    return _encode_sorted(_canonical(value))


def digest(value: Any) -> bytes:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value)).digest()


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(child) for child in value]
    if isinstance(value, float) and value.is_integer() and limits.MIN_INTEGER <= value <= limits.MAX_INTEGER:
        return int(value)
    return value


def pointer(*segments: str | int) -> str:
    """The JSON pointer (RFC 6901) of `segments`."""
    return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)


def _pointer(path: Any) -> str:
    segments: list[str | int] = []
    while path is not None:
        path, segment = path
        segments.append(segment)
    return pointer(*reversed(segments))


def _bad_text(text: str) -> bool:
    return "\0" in text if text.isascii() else _BAD_TEXT(text) is not None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                value[key] = _Duplicate(key)
            seen.add(key)
    return value


def _constant(name: str) -> float:
    return math.nan


def _integer(text: str) -> int:
    """What does not fit into 64 bits is cut to 21 characters, so that it costs little and still does not fit."""
    return int(text[:21])


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
