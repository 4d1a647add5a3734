"""Sets of IP addresses as sorted ranges on one line of numbers: IPv4 first, IPv6 behind it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from posture import cidr as notation

_SIX = 1 << 32
"""Where the addresses of IPv6 begin."""

type Ranges = tuple[tuple[int, int], ...]
"""Disjoint ranges, first and last included, sorted, none touching the next."""

EVERYWHERE: Ranges = ((0, _SIX - 1), (_SIX, _SIX + (1 << 128) - 1))
"""All addresses. IPv4 and IPv6 are never one range."""


@cache
def number(address: str) -> int:
    """The number of an address. Raises ValueError for what is none."""
    found = notation.address(address)
    return int(found) if found.version == 4 else int(found) + _SIX


@cache
def network(cidr: str) -> tuple[int, int]:
    """The range of a CIDR, or of one address; bits below the prefix are not looked at.

    Raises ValueError for what is none.
    """
    if "/" not in cidr:
        return number(cidr), number(cidr)
    found, _ = notation.network(cidr)
    base = 0 if found.version == 4 else _SIX
    return int(found.network_address) + base, int(found.broadcast_address) + base


def block(cidr: str, excepted: Iterable[str] = ()) -> Ranges:
    """A CIDR without others."""
    return minus((network(cidr),), union(network(one) for one in excepted))


def around(ranges: Ranges) -> tuple[int, int]:
    """The smallest network that holds a set of one family."""
    base = 0 if ranges[0][0] < _SIX else _SIX
    first, last = ranges[0][0] - base, ranges[-1][1] - base
    rest = (1 << (first ^ last).bit_length()) - 1
    return base + (first & ~rest), base + (last | rest)


def family(address: int) -> int:
    """4 or 6."""
    return 4 if address < _SIX else 6


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Any ranges as a set."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1 and not found[-1][1] < _SIX <= first:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def minus(one: Ranges, other: Ranges) -> Ranges:
    """What is in one set and not in the other."""
    found: list[tuple[int, int]] = []
    for begin, last in one:
        first = begin
        for low, high in other:
            if high < first or low > last:
                continue
            if low > first:
                found.append((first, low - 1))
            first = high + 1
        if first <= last:
            found.append((first, last))
    return tuple(found)


def common(one: Ranges, other: Ranges) -> Ranges:
    """What is in both sets."""
    return minus(one, minus(EVERYWHERE, other))


def holds(ranges: Ranges, address: int) -> bool:
    """Whether a set holds an address."""
    return any(first <= address <= last for first, last in ranges)


def edges(sets: Sequence[Ranges]) -> tuple[int, ...]:
    """Where some set begins or ends: between two edges all addresses are alike to every set."""
    found = {first for ranges in (EVERYWHERE, *sets) for first, _ in ranges}
    found |= {last + 1 for ranges in sets for _, last in ranges}
    return tuple(sorted(found - {EVERYWHERE[-1][1] + 1}))


def like(marks: Sequence[int], address: int) -> int:
    """The first of the addresses that all sets of these edges take for the same."""
    return marks[bisect_right(marks, address) - 1]


@lru_cache(maxsize=4096)
def cidrs(ranges: Ranges) -> Sequence[str]:
    """A set as the fewest CIDRs."""
    found: list[str] = []
    for first, last in ranges:
        kind, base = (IPv4Address, 0) if first < _SIX else (IPv6Address, _SIX)
        found += map(str, summarize_address_range(kind(first - base), kind(last - base)))
    return tuple(found)
