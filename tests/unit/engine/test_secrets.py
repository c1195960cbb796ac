"""References to secrets, and masks over their values."""

import base64
import json
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.expressions.templates import sealed
from engine.secrets import MASK, Masker, filled, names_in, shown

VALUE = 'p"ä ss/+w=\\d&\n'


def test_references_are_found_filled_and_shown() -> None:
    config = {"a": f"Bearer {sealed('x')}", "b": [{"c": sealed("y") + sealed("x")}, 1, None], "d": "plain"}
    assert names_in(config) == {"x", "y"}
    assert filled(config, {"x": "1", "y": "2"}) == {"a": "Bearer 1", "b": [{"c": "21"}, 1, None], "d": "plain"}
    assert shown(config)["b"] == [{"c": "{{secrets.y}}{{secrets.x}}"}, 1, None]
    assert names_in({"a": ["plain"]}) == set()


def test_a_value_that_looks_like_a_reference_is_not_filled_again() -> None:
    assert filled(sealed("x"), {"x": sealed("y"), "y": "no"}) == sealed("y")


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        json.dumps(VALUE)[1:-1],
        msgspec.json.encode(VALUE).decode()[1:-1],
    ],
)
def test_a_value_is_masked_in_every_form(form: str) -> None:
    masked = Masker([VALUE]).value({form: ["x" + form + "y", 1], "k": f"<{form}>"})
    assert form not in json.dumps(masked, ensure_ascii=False)
    assert masked[MASK] == [f"x{MASK}y", 1]


@given(st.text(min_size=8, max_size=40), st.text(max_size=12), st.text(max_size=12))
def test_most_of_a_value_inside_base64_is_masked(value: str, before: str, after: str) -> None:
    """As in basic authentication: at most the characters at both edges are left."""
    whole = base64.b64encode((before + value + after).encode("utf-8", "surrogatepass")).decode()
    masked = Masker([value]).text(whole)
    assert masked == MASK or MASK in masked


def test_longer_values_are_masked_first() -> None:
    assert Masker(["abcd", "abcdefgh"]).text("abcdefgh abcd") == f"{MASK} {MASK}"


def test_no_values_no_masks() -> None:
    value: Any = {"a": [1, "x"]}
    assert Masker([]).value(value) == value
