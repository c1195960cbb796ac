"""The strict decoder: what it takes, and where it says that the rest is wrong."""

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import limits
from engine.documents import canonical_json, check_payload, check_value, decode_json, digest, pointer
from engine.errors import InvalidDocument, TooLarge

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(limits.MIN_INTEGER, limits.MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@given(VALUES)
@settings(max_examples=50)
def test_what_is_json_comes_back(value: Any) -> None:
    assert decode_json(json.dumps(value).encode()) == value
    assert decode_json(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\u0d8eE+-.NIaflnsty019 \ufeff', max_size=40).map(str.encode))
@settings(max_examples=300)
def test_any_bytes_are_a_value_or_a_typed_refusal(data: bytes) -> None:
    with suppress(InvalidDocument, TooLarge):
        check_value(decode_json(data))


REFUSED = [
    (b'{"a":1,"a":2}', "/a", "twice"),
    (b'{"x":[{"b":1},{"a":1,"b":0,"a":2}]}', "/x/1/a", "twice"),
    (b'{"a/b":{"~":{"k":1,"k":1}}}', "/a~1b/~0/k", "twice"),
    (b'{"a":{"a":1,"a":1},"a":1}', "/a", "twice"),
    (b'{"x":NaN}', "/x", "NaN"),
    (b'{"x":[1,Infinity]}', "/x/1", "Infinity"),
    (b'{"x":-Infinity}', "/x", "Infinity"),
    (b'{"x":1e999}', "/x", "Infinity"),
    (b'{"x":-1E+400}', "/x", "Infinity"),
    (b'{"x":9223372036854775808}', "/x", "64 bits"),
    (b'{"x":-9223372036854775809}', "/x", "64 bits"),
    (b'{"x":' + b"9" * 100_000 + b"}", "/x", "64 bits"),
    (b'{"x":-' + b"9" * 100_000 + b"}", "/x", "64 bits"),
    (b'{"x":"a\\u0000b"}', "/x", "NUL"),
    (b'{"y":{"a\\u0000":1}}', "/y", "NUL"),
    (b'["\\ud800"]', "/0", "surrogate"),
    (b'["\\udc00\\ud800"]', "/0", "surrogate"),
    (b'{"\\udfff":1}', "", "surrogate"),
]


@pytest.mark.parametrize(("data", "where", "why"), REFUSED)
def test_a_refusal_says_where_and_why(data: bytes, where: str, why: str) -> None:
    with pytest.raises(InvalidDocument, match=why) as caught:
        decode_json(data)
    assert caught.value.pointer == where


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b"[1,]",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b"nan",
        b"True",
        b"undefined",
        b'"\t"',
        b'"\\x41"',
        b"// no\n1",
        b"\xef\xbb\xbf{}",
        b'{"a":"\0"}',
        b"\xff\xfe{\0}\0",
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b'"\xf5\x80\x80\x80"',
    ],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDocument):
        decode_json(data)


def test_an_escaped_pair_is_one_character() -> None:
    assert decode_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("number", [limits.MAX_INTEGER, limits.MIN_INTEGER, 0, 2**53 + 1])
def test_integers_of_64_bits_are_exact(number: int) -> None:
    assert decode_json(b"%d" % number) == number


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded(opening: bytes, closing: bytes) -> None:
    decode_json(opening * 64 + b"1" + closing * 64)
    for depth in (65, 300, 1_000, 100_000):
        with pytest.raises(InvalidDocument, match="64 levels"):
            decode_json(opening * depth + b"1" + closing * depth)
    with pytest.raises(InvalidDocument):
        decode_json(opening * 100_000)


def test_brackets_in_strings_are_no_depth() -> None:
    assert decode_json(b'["' + b"[" * 1_000 + b'"]') == ["[" * 1_000]


def test_size_and_number_of_values_are_bounded() -> None:
    with pytest.raises(TooLarge, match="2097152"):
        decode_json(b" " * 10_000_000)
    with pytest.raises(TooLarge):
        decode_json(b'"1234"', max_bytes=5)
    assert decode_json(b'"123"', max_bytes=5) == "123"
    with pytest.raises(TooLarge, match=f"{limits.NODES} values"):
        decode_json(b"[" + b"0," * limits.NODES + b"0]")


def test_a_payload_is_bounded_as_json() -> None:
    assert check_payload("a" * (limits.PAYLOAD - 2), "input")
    with pytest.raises(TooLarge, match="the input has 1048577 bytes"):
        check_payload("a" * (limits.PAYLOAD - 1), "input")
    with pytest.raises(TooLarge):
        check_payload("é" * (limits.PAYLOAD // 2), "input")


@pytest.mark.parametrize(
    "value",
    [object(), b"x", {1: 2}, {"a": (1,)}, {"a": {1, 2}}, math.nan, [math.inf], 2**63, "\ud800", {"a\0": 1}, {None: 1}],
)
def test_a_value_that_is_not_plain_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidDocument):
        check_value(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidDocument, match="64 levels"):
        check_value(value)


# --- canonical form ---


def shuffled(value: Any) -> Any:
    """The same in another order and with other spellings of the same numbers."""
    if isinstance(value, dict):
        return {key: shuffled(child) for key, child in reversed(value.items())}
    if isinstance(value, list):
        return [shuffled(child) for child in value]
    if type(value) is int and int(float(value)) == value and float(value) <= limits.MAX_INTEGER:
        return float(value)
    return value


@given(VALUES)
@settings(max_examples=50)
def test_equal_values_have_equal_bytes(value: Any) -> None:
    assert canonical_json(shuffled(value)) == canonical_json(value)
    assert decode_json(canonical_json(value)) == value
    assert digest(shuffled(value)) == digest(value)


@given(VALUES, VALUES)
@settings(max_examples=50)
def test_different_values_have_different_bytes(one: Any, other: Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (typed(one) == typed(other))


def typed(value: Any) -> Any:
    """Equality that knows true from 1."""
    if isinstance(value, dict):
        return {key: typed(child) for key, child in value.items()}
    if isinstance(value, list):
        return [typed(child) for child in value]
    return (isinstance(value, bool), value)


def test_the_canonical_form() -> None:
    assert canonical_json({"b": 1.0, "a": [1e18, 0.5, -0.0, 1e300], "é": True}) == (
        '{"a":[1000000000000000000,0.5,0,1e300],"b":1,"é":true}'.encode()
    )
    assert canonical_json(2.0**60) == canonical_json(2**60)
    assert canonical_json(-(2.0**63)) == canonical_json(-(2**63))


def test_pointers_are_rfc_6901() -> None:
    assert pointer("a/b", 0, "~1", "") == "/a~1b/0/~01/"
    assert pointer() == ""
