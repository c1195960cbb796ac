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
from engine.errors import Invalid, InvalidDocument, TooLarge
from engine.waits import OWN

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


def check_key(key: str | None) -> None:
    """Refuses an idempotency key that no caller may give. Raises `Invalid`."""
    if key is None:
        return
    if not 0 < len(key) <= limits.IDEMPOTENCY_KEY or key.startswith(OWN):
        message = f"an idempotency key has 1 to {limits.IDEMPOTENCY_KEY} characters, the first not {OWN!r}"
        raise Invalid(message, pointer="/idempotency_key")
    check_value({"idempotency_key": key})


def check_value(value: Any) -> None:
    """Refuses a value that is not plain, bounded JSON. Raises `InvalidDocument` with a pointer, or `TooLarge`."""
    left = limits.NODES
    stack: list[tuple[Any, Any, int]] = [([value], None, 0)]
    while stack:
        node, path, depth = stack.pop()
        left -= len(node)
        if left < 0:
            raise TooLarge(f"the document has more than {limits.NODES} values")
        if depth > limits.DEPTH:
            raise InvalidDocument(f"nested deeper than {limits.DEPTH} levels", pointer=_pointer(path))
        for segment, child in node.items() if type(node) is dict else enumerate(node):
            kind = type(child)
            if kind is dict:
                _check_keys(child, path, segment)
            if kind is dict or kind is list:
                stack.append((child, (path, segment), depth + 1))
            elif (fault := _scalar_fault(child, kind)) is not None:
                raise InvalidDocument(fault, pointer=_pointer((path, segment)))


def _check_keys(node: dict[Any, Any], path: Any, segment: str | int) -> None:
    for key in node:
        if type(key) is not str:
            raise InvalidDocument(f"an object key must be a string, not {key!r}", pointer=_pointer((path, segment)))
        if _bad_text(key):
            raise InvalidDocument("a key contains NUL or a lone surrogate", pointer=_pointer((path, segment)))


def _scalar_fault(node: Any, kind: type) -> str | None:
    if kind is str:
        return "the string contains NUL or a lone surrogate" if _bad_text(node) else None
    if kind is int:
        fits = limits.MIN_INTEGER <= node <= limits.MAX_INTEGER
        return None if fits else "the integer does not fit into 64 bits; send it as a string"
    if kind is float:
        return None if math.isfinite(node) else "NaN and Infinity are not JSON; send null or a string"
    if kind is bool or node is None:
        return None
    return f"the key {node.key!r} stands twice in one object" if kind is _Duplicate else f"{kind.__name__} is not JSON"


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
    """Of a linked list of segments, the last first; the first of all is the place of the whole."""
    segments: list[str | int] = []
    while path is not None:
        path, segment = path
        segments.append(segment)
    return pointer(*reversed(segments[:-1]))


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
