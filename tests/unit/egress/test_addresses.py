"""Which addresses may be called, in all the ways in which one can be written."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.addresses import _unwrap, refusal

PRIVATE = [
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::1%lo",
    "fc00::1",
    "fd12:3456:789a::1",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "0:0:0:0:0:ffff:7f00:0001",
    "::ffff:10.0.0.1",
    "::ffff:192.168.1.1",
    "::ffff:100.64.0.1",
    "::7f00:1",
    "::127.0.0.1",
    "::10.0.0.1",
    "::ffff:0:127.0.0.1",
    "::ffff:0:7f00:1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::c0a8:101",
    "2002:7f00:1::",
    "2002:7f00:0001::1",
    "2002:a00:1::",
    "2002:c0a8:101:1::1",
    "2002:6440:1::",
    "2a00:1450::5efe:127.0.0.1",
    "2a00:1450::200:5efe:a00:1",
    "fd00::5efe:8.8.8.8",
]
"""Loopback and private networks: allowed only by an explicit setting."""
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "100::1",
    "100:0:0:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001::f5ff:fffe",
    "2001:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::5efe:8.8.8.8",
    "2a00:1450::5efe:169.254.169.254",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0.0.0.0",
    "::ffff:255.255.255.255",
    "::a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::0.0.0.0",
    "64:ff9b:1::1",
    "64:ff9b:1:7f00:0:100::",
    "2002:a9fe:a9fe::",
    "2002:e000:1::",
    "2001:0:4136:e378:8000:63bf:5601:5601",
]
"""Reserved, link-local, multicast, and where clouds hand out credentials: never."""
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
