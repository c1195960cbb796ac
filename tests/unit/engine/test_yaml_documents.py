"""YAML as JSON could say it: what is read, what is refused and where, and that what is written is read back."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import limits
from engine.documents import pointer
from engine.errors import Invalid, InvalidDocument, TooLarge
from engine.yaml_documents import decode_yaml, encode_yaml, read_yaml
from tests.hostile.yaml_documents import HOSTILE

SCALARS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "nULL": "nULL",
    "true": True,
    "TRUE": True,
    "tRue": "tRue",
    "on": "on",
    "off": "off",
    "yes": "yes",
    "No": "No",
    "y": "y",
    "1.0": 1.0,
    "1.10": 1.1,
    "1e3": 1000.0,
    "-.5": -0.5,
    "5.": 5.0,
    "12": 12,
    "-12": -12,
    "+12": 12,
    "0o17": 15,
    "017": 17,
    "0x1F": 31,
    "0b11": "0b11",
    "1_000": "1_000",
    "12:30": "12:30",
    "12:30:45": "12:30:45",
    "190:20:30": "190:20:30",
    "2026-11-26": "2026-11-26",
    "2026-11-26T10:00:00Z": "2026-11-26T10:00:00Z",
    "1.2.3": "1.2.3",
    "=": "=",
    "-": None,
    ".": ".",
    "+": "+",
    "NaN": "NaN",
    "inf": "inf",
    "'1'": "1",
    '"true"': "true",
    "{{input.x}} > 10": None,
}


@pytest.mark.parametrize("text", [text for text in SCALARS if text not in {"-", "{{input.x}} > 10"}])
def test_a_plain_scalar_is_what_the_core_schema_says(text: str) -> None:
    value = decode_yaml(f"a: {text}".encode())["a"]
    assert (type(value), value) == (type(SCALARS[text]), SCALARS[text])


def test_a_key_is_the_text_that_stands_there() -> None:
    document = b"on: 1\n12:30: 2\n1.0: 3\ntrue: 4\n200: 5\nnull: 6\n'': 7\n\"<<\": 8\n"
    keys = ["on", "12:30", "1.0", "true", "200", "null", "", "<<"]
    assert decode_yaml(document) == dict(zip(keys, range(1, 9), strict=True))


def test_blocks_and_flows() -> None:
    document = b"""
%YAML 1.2
---
text: |
  one
  two
folded: >
  a
  b
flow: {a: [1, "two", {b: null}]}
list:
- x
- - y
...
"""
    assert decode_yaml(document.lstrip()) == {
        "text": "one\ntwo\n",
        "folded": "a b\n",
        "flow": {"a": [1, "two", {"b": None}]},
        "list": ["x", ["y"]],
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused_with_their_line(name: str) -> None:
    data, words, line = HOSTILE[name]
    with pytest.raises(Invalid) as caught:
        decode_yaml(data)
    faults = caught.value.faults
    told = "\n".join([caught.value.message, *(fault.message for fault in faults)])
    assert words in told
    if line is not None:
        assert faults[0].line == line


@pytest.mark.parametrize(
    "data", [b"a: " + b"x" * limits.DOCUMENT, b"- 1\n" * (limits.NODES + 1), b"a: [" + b"1," * limits.NODES + b"]"]
)
def test_bounds(data: bytes) -> None:
    with pytest.raises(TooLarge):
        decode_yaml(data)


def test_all_that_is_refused_is_told_at_once() -> None:
    value, _, faults = read_yaml(b"a: &x 1\nb: *x\nc: !!str x\na: 4\nd: .inf\n")
    assert [fault.line for fault in faults] == [1, 2, 3, 4, 5]
    assert value["c"] == "x"


def test_the_line_of_a_pointer() -> None:
    _, lines, _ = read_yaml(b"name: x\ntasks:\n  - id: a\n    config: {url: 1}\n  - id: b\n\n    a/b: {'~': 1}\n")
    for where, line in {
        "": 1,
        "/name": 1,
        "/tasks": 2,
        "/tasks/0": 3,
        "/tasks/0/config/url": 4,
        "/tasks/1": 5,
        "/tasks/1/a~1b/~0": 7,
        "/tasks/1/nothing": 5,
        "/tasks/9": 2,
        "/tasks/x": 2,
        "/other": 1,
        "/name/deeper": 1,
    }.items():
        assert lines.at(where) == line, where


TRICKY = st.from_regex(r"[-+.0-9eExo~<=!&*#:%?|>@`\[\]{},'\" ynYNoOaAtTfFuUlL_\t\n]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | TRICKY
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@settings(max_examples=300)
@example({"on": "off", "0o17": "1e5", "<<": "~", "": "", "=": "=", "a": ["null", "2026-01-01", "-0", -0.0, 1e300]})
def test_what_is_written_is_read_back(value: Any) -> None:
    again = decode_yaml(encode_yaml(value))
    assert repr(again) == repr(value)


@given(VALUES.filter(lambda value: isinstance(value, dict | list)))
@settings(max_examples=100)
def test_every_value_has_a_line(value: Any) -> None:
    data = encode_yaml(value)
    _, lines, _ = read_yaml(data)
    last = data.count(b"\n") + 1

    def walk(node: Any, path: tuple[str | int, ...]) -> None:
        assert 1 <= lines.at(pointer(*path)) <= last
        for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            walk(child, (*path, key))

    walk(value, ())


@given(
    st.binary(max_size=60) | TRICKY.map(str.encode) | st.lists(TRICKY, max_size=6).map(lambda p: "\n".join(p).encode())
)
@settings(max_examples=400)
def test_whatever_comes_is_a_value_or_a_refusal(data: bytes) -> None:
    try:
        value = decode_yaml(data)
    except Invalid:
        return
    assert not isinstance(value, float) or math.isfinite(value)


def test_a_refusal_is_an_invalid_document() -> None:
    with pytest.raises(InvalidDocument, match=r"line 2"):
        decode_yaml(b"a: 1\n b: 2\n")
