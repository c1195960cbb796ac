"""Which addresses an outgoing call may reach.

`ipaddress.is_private` misses several forms; this is an explicit list, applied after unwrapping IPv4 inside IPv6.
The services in which clouds hand out credentials are never allowed, wherever they are.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_NEVER = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "64:ff9b:1::/48",
        "100::/63",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fd00:ec2::/32",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
]
_PRIVATE = [
    ip_network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
]
_NAT64 = IPv6Network("64:ff9b::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_ISATAP = 0x5EFE


def refusal(text: str, *, allow_private: bool) -> str | None:
    """Why this address may not be called, or None. `allow_private` admits loopback and private networks."""
    address = ip_address(text.split("%", 1)[0])
    inside = _unwrap(address)
    if _listed(address, _NEVER) or _listed(inside, _NEVER):
        return f"{text} is a reserved, link-local or multicast address"
    if not allow_private and (_listed(address, _PRIVATE) or _listed(inside, _PRIVATE)):
        return f"{text} is a loopback or private address (EGRESS_ALLOW_PRIVATE=true admits these)"
    return None


def _listed(address: Address, networks: list[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one: mapped, translated, compatible, NAT64, 6to4, ISATAP."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    inside = IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64 or address in _TRANSLATED or int(address) >> 32 & 0xFDFFFFFF == _ISATAP:
        return inside
    if address in _COMPATIBLE and int(address) > 1:
        return inside
    return address
