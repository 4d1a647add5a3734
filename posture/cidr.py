"""IP addresses and CIDRs as Kubernetes reads them: ParseIPSloppy and ParseCIDRSloppy of k8s.io/utils/net.

Leading zeros are decimal, bits below a prefix go, and what is IPv4 inside of IPv6 (`::ffff:0:0/96`) is IPv4: Go's
net.IPNet takes it for the same. Kubernetes refuses these in new objects only since 1.36 (StrictIPCIDRValidation), and
never in those that it has.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9A-Fa-f])")
_MAPPED = 96
"""The length of the prefix behind which an IPv6 address is one of IPv4."""


def address(text: str) -> IPv4Address | IPv6Address:
    """An address. Raises ValueError for what is none."""
    found = _written(text)
    return _mapped(found) or found


def network(text: str) -> tuple[IPv4Network | IPv6Network, int]:
    """The network of a CIDR, and the length of its prefix as it is written. Raises ValueError for what is none."""
    start, _, length = text.partition("/")
    found = _written(start)
    if not (length.isascii() and length.isdigit()) or int(length) > found.max_prefixlen:
        raise ValueError(f"{text!r} is no CIDR")
    size, mapped = int(length), _mapped(found)
    if mapped is not None and size >= _MAPPED:
        return ip_network((mapped, size - _MAPPED), strict=False), size
    return ip_network((found, size), strict=False), size


def is_strict(text: str) -> bool:
    """Whether a CIDR has no leading zeros: with them net.ParseCIDR and isCIDR of CEL refuse it."""
    start, _, length = text.partition("/")
    try:
        return bool(ip_address(start)) and length == str(int(length))
    except ValueError:
        return False


def _written(text: str) -> IPv4Address | IPv6Address:
    if "%" in text:  # a zone
        raise ValueError(f"{text!r} is an address with a zone")
    return ip_address(_LEADING_ZEROS.sub("", text))


def _mapped(given: IPv4Address | IPv6Address) -> IPv4Address | None:
    return given.ipv4_mapped if isinstance(given, IPv6Address) else None
