"""Which addresses may be called, in all the ways in which one can be written."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.addresses import _unwrap, refusal
from tests.hostile.addresses import NEVER, PRIVATE

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::8a",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::",
]


def test_there_are_enough_hostile_forms() -> None:
    assert len({*PRIVATE, *NEVER}) >= 90


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_need_the_setting(text: str) -> None:
    refused = refusal(text, allow_private=False)
    assert refused is not None
    assert "EGRESS_ALLOW_PRIVATE" in refused
    assert refusal(text, allow_private=True) is None


@pytest.mark.parametrize("text", NEVER)
def test_reserved_addresses_are_refused_always(text: str) -> None:
    assert refusal(text, allow_private=False)
    assert refusal(text, allow_private=True)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert refusal(text, allow_private=False) is None


@given(st.ip_addresses(v=4))
def test_every_wrapping_of_an_address_is_judged_like_it(address: IPv4Address) -> None:
    number = int(address)
    wrapped = [
        f"::ffff:{address}",
        f"::ffff:0:{address}",
        f"64:ff9b::{address}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
        f"2a00:1450::5efe:{address}",
    ]
    for allow in (True, False):
        plain = refusal(str(address), allow_private=allow) is None
        assert [text for text in wrapped if (refusal(text, allow_private=allow) is None) != plain] == []


@given(st.ip_addresses())
def test_nothing_is_allowed_that_the_library_knows_to_be_private(address: IPv4Address | IPv6Address) -> None:
    if refusal(str(address), allow_private=False) is None and _unwrap(address) == address:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3.4.5", "::g"]
)
def test_what_is_no_address_is_never_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        refusal(text, allow_private=False)
    with pytest.raises(ValueError, match="address"):
        ip_address(text)
