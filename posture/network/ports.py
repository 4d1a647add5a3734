"""Sets of ports as integers: one bit for each port of TCP, UDP and SCTP.

NetworkPolicy says nothing about other protocols (ICMP among them), and neither does posture.
"""

from __future__ import annotations

from collections.abc import Iterator

PROTOCOLS = ("TCP", "UDP", "SCTP")
LAST = 65535
_BITS = LAST + 1


def span(protocol: str, first: int = 1, last: int = LAST) -> int:
    """The ports from `first` to `last`, both included, of a protocol. Raises ValueError for what is no port."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol} is none of {', '.join(PROTOCOLS)}")
    if not 1 <= first <= last <= LAST:
        raise ValueError(f"{first} to {last} are no ports")
    return ((1 << (last - first + 1)) - 1) << (PROTOCOLS.index(protocol) * _BITS + first)


EVERY = sum(span(protocol) for protocol in PROTOCOLS)
"""All ports of all protocols."""


def spans(ports: int) -> Iterator[tuple[str, int, int]]:
    """The runs of a set: (protocol, first, last), in order."""
    for number, protocol in enumerate(PROTOCOLS):
        rest, at = (ports >> (number * _BITS)) & ((1 << _BITS) - 1), 0
        while rest:
            skip = (rest & -rest).bit_length() - 1
            rest >>= skip
            length = (~rest & (rest + 1)).bit_length() - 1
            yield protocol, at + skip, at + skip + length - 1
            rest >>= length
            at += skip + length


def shown(ports: int) -> str:
    """A set for people: `TCP 80,443,8000-8080`, `UDP`, `every port`; a protocol alone is all its ports."""
    if ports == EVERY:
        return "every port"
    runs: dict[str, list[str]] = {}
    for protocol, first, last in spans(ports):
        whole = (first, last) == (1, LAST)
        text = "" if whole else str(first) if first == last else f"{first}-{last}"
        runs.setdefault(protocol, []).append(text)
    return ", ".join(f"{protocol} {','.join(found)}".rstrip() for protocol, found in runs.items()) or "no port"
