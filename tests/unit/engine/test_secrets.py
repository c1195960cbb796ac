"""References to secrets, and masks over their values."""

import base64
import json
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

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


@pytest.mark.parametrize(
    "form",
    [
        quote(VALUE, safe="").replace("%2F", "%2f"),
        json.dumps(VALUE)[1:-1].replace("/", "\\/"),
        json.dumps(VALUE)[1:-1].replace("\\u00e4", "\\u00E4"),
        quote(base64.b64encode(VALUE.encode()).decode(), safe=""),
        repr(VALUE)[1:-1],
        VALUE.encode().decode("latin-1"),
    ],
)
def test_the_spellings_of_a_form_are_masked(form: str) -> None:
    assert Masker([VALUE]).text(f"<{form}>") == f"<{MASK}>"


PUNCTUATION = "p4ss !\"#$%&'()*+,-./:;<=>?@[]^_`{|}~ä"


@pytest.mark.parametrize("value", [PUNCTUATION, base64.b64encode(PUNCTUATION.encode()).decode()])
def test_what_writers_of_urls_make_of_a_value_is_masked(value: str) -> None:
    """They differ in what they leave as it is; a server that answers with the address it was asked for shows it."""
    ours = URL("http://site").with_query(q=value).raw_query_string
    path = URL("http://site").with_path(f"/a{value.replace('%', '')}b").raw_path
    component = quote(value, safe="!'()*")
    form = quote(value, safe="*").replace("%20", "+").replace("~", "%7E")
    masker = Masker([PUNCTUATION])
    for written in (ours.removeprefix("q="), component, form, quote(value, safe=";/?:@&=+$,#!'()*")):
        assert masker.text(f"/x?q={written}&z") == f"/x?q={MASK}&z"
    assert Masker([value.replace("%", "")]).text(path) == f"/a{MASK}b"


def test_a_line_of_a_value_is_masked() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END KEY-----"
    assert Masker([key]).text("near MIIEvQIBADANBgkqhkiG9w0BAQ") == f"near {MASK}"


@pytest.mark.parametrize("value", ["12345678", "0.123456789"])
def test_a_number_that_is_a_value_is_masked(value: str) -> None:
    assert Masker([value]).value({"n": json.loads(value), "ok": True, "m": 5}) == {"n": MASK, "ok": True, "m": 5}


SECRET = "s3cr3t-value-0123456789"


@pytest.mark.parametrize("length", range(8, len(SECRET)))
def test_the_beginning_of_a_value_that_was_cut_off_is_masked(length: int) -> None:
    assert Masker([SECRET]).message(f"you sent {SECRET[:length]}") == f"you sent {MASK}"
    said = Masker([SECRET]).message(f"you sent {SECRET[:length]}' (5 tokens)")
    assert said == f"you sent {MASK}' (5 tokens)" or length < 12


def test_only_messages_are_cut_off() -> None:
    """In an output an ordinary word may be the beginning of a value."""
    masker = Masker(["completed-0123456789"])
    assert masker.value({"status": "complete"}) == {"status": "complete"}
    assert masker.message("complete") == MASK


def test_a_long_value_takes_no_time() -> None:
    masker = Masker(["ab" * 32_000])
    assert masker.message("ab" * 20_000 + "x" + "ab" * 1_000) == f"{MASK}x{MASK}"
