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


BILLION = "a: &a [x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
HOSTILE: dict[str, tuple[bytes, str, int | None]] = {
    "an alias": (b"a: &x 1\nb: *x\n", "anchor", 1),
    "an alias bomb": (b"a: &a [*a, *a]\n", "anchor", 1),
    "a billion laughs": (BILLION.encode(), "anchor", 1),
    "an anchor nobody uses": (b"a: 1\nb: &x 2\n", "anchor", 2),
    "an alias as a key": (b"? *x\n: 1\n", "", None),
    "an undefined alias": (b"a: *nobody\n", "alias", 1),
    "a merge key": (b"a: {x: 1}\nb:\n  <<: {y: 2}\n", "merge", 3),
    "a list of merges": (b"<<: [{a: 1}, {b: 2}]\n", "merge", 1),
    "a duplicate key": (b"a: 1\nb: 2\na: 3\n", "twice", 3),
    "a duplicate key, quoted": (b"a: 1\n'a': 2\n", "twice", 2),
    "a duplicate key in a flow": (b"x: {a: 1, a: 2}\n", "twice", 1),
    "keys that differ as values only": (b'1: a\n"1": b\n', "twice", 2),
    "a tag that runs code": (b"a: !!python/object/apply:os.system ['id']\n", "tag", 1),
    "a tag that makes a name": (b"a: !!python/name:os.system\n", "tag", 1),
    "a local tag": (b"a: !mine x\n", "tag", 1),
    "a core tag": (b"a: !!str 1\n", "tag", 1),
    "a binary": (b"a: !!binary aGk=\n", "tag", 1),
    "a set": (b"a: !!set {x, y}\n", "tag", 1),
    "a tagged key": (b"!!int 1: x\n", "tag", 1),
    "a tag directive": (b"%TAG !e! tag:evil,2000:\n---\na: 1\n", "directive", 1),
    "another version of YAML": (b"%YAML 1.1\n---\na: on\n", "directive", 1),
    "two documents": (b"a: 1\n---\nb: 2\n", "second document", 2),
    "a list as a key": (b"? [a]\n: 1\n", "key is a text", 1),
    "a mapping as a key": (b"? {a: 1}\n: 1\n", "key is a text", 1),
    "no key": (b"? \n: 1\n", "key is missing", 1),
    "deep flow lists": (b"[" * 100_000, "deeper than 64", 1),
    "deep flow mappings": (b"{a: " * 50_000, "deeper than 64", 1),
    "deep block lists": (b"- " * 5_000 + b"x", "deeper than 64", 1),
    "deep mappings": ("".join(f"{' ' * n}a:\n" for n in range(200)).encode(), "deeper than 64", 66),
    "a huge integer": (b"a: " + b"9" * 1_000_000, "64 bits", 1),
    "a huge hexadecimal": (b"a: 0x" + b"f" * 100_000, "64 bits", 1),
    "a huge octal": (b"a: 0o" + b"7" * 100_000, "64 bits", 1),
    "a float beyond all": (b"a: 1e999\n", "Infinity", 1),
    "not a number": (b"a: .nan\n", "not a JSON value", 1),
    "infinity": (b"a:\n  - 1\n  - -.INF\n", "not a JSON value", 3),
    "NUL, escaped": (b'a: 1\nb: "x\\0"\n', "NUL", 2),
    "NUL in a key": (b'a: 1\n"\\0": 2\n', "NUL", None),
    "NUL, raw": (b"a: \0\n", "not valid YAML", 1),
    "a lone surrogate": (b'a: "\\ud800"\n', "not valid YAML", 1),
    "a pair of surrogates": (b'a: "\\ud83d\\ude00"\n', "not valid YAML", 1),
    "a surrogate in UTF-8": (b"a: \xed\xa0\x80\n", "UTF-8", None),
    "UTF-16": ("a: 1\n".encode("utf-16"), "UTF-8", None),
    "Latin-1": (b"a: \xe4\n", "UTF-8", None),
    "a control character": (b"a: \x01\n", "not valid YAML", 1),
    "a tab as indentation": (b"a:\n\tb: 1\n", "not valid YAML", 2),
    "an open quote": (b"a: 'x\nb: 1\n", "not valid YAML", None),
    "an open flow": (b"a: [1, 2\n", "not valid YAML", None),
    "a colon too many": (b"a: b: c\n", "not valid YAML", 1),
    "a reserved letter": (b"a: @x\n", "not valid YAML", 1),
    "a percent sign": (b"a: %x\n", "not valid YAML", 1),
    "a template without quotes": (b"a: {{input.x}}\n", "key is a text", 1),
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
