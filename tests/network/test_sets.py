"""Sets of ports and of addresses are sets."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posture.network import addresses
from posture.network.addresses import EVERYWHERE, Ranges, common, holds, minus, union
from posture.network.ports import EVERY, PROTOCOLS, shown, span, spans

SIX = EVERYWHERE[1][0]
ends = st.integers(SIX - 12, SIX + 12)
pairs = st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))
ranges = st.lists(pairs.filter(lambda pair: not pair[0] < SIX <= pair[1]), max_size=6).map(union)
runs = st.lists(st.tuples(st.sampled_from(PROTOCOLS), st.integers(1, 65535), st.integers(1, 65535)), max_size=6)


def of(some: Ranges) -> set[int]:
    """The addresses near the border of the families that a set holds."""
    return {number for number in range(SIX - 12, SIX + 13) if holds(some, number)}


@given(ranges, ranges)
def test_addresses(one: Ranges, other: Ranges) -> None:
    """Union, difference and intersection; one way to write a set, and no range of both families."""
    assert of(union((*one, *other))) == of(one) | of(other)
    assert of(minus(one, other)) == of(one) - of(other)
    assert of(common(one, other)) == of(one) & of(other)
    assert (of(one) == of(other)) == (one == other)
    assert all((first < SIX) == (last < SIX) for first, last in one)
    assert union(addresses.network(cidr) for cidr in addresses.cidrs(one)) == one


@given(runs)
def test_ports(given: list[tuple[str, int, int]]) -> None:
    """What is shown of a set is the set."""
    ports = 0
    for protocol, one, other in given:
        ports |= span(protocol, min(one, other), max(one, other))
    assert sum(span(*run) for run in spans(ports)) == ports
    assert (ports == EVERY) == (shown(ports) == "every port")


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        (EVERY, "every port"), (0, "no port"), (span("UDP"), "UDP"), (span("TCP", 80, 80), "TCP 80"),
        (span("TCP", 80, 81) | span("TCP", 443, 443) | span("SCTP", 1, 1), "TCP 80-81,443, SCTP 1"),
    ],
    ids=["every", "none", "a protocol", "one", "several"],
)  # fmt: skip
def test_ports_for_people(ports: int, text: str) -> None:
    """A protocol alone is all of its ports."""
    assert shown(ports) == text


@pytest.mark.parametrize("given", [("ICMP", 1, 1), ("TCP", 0, 1), ("TCP", 2, 1), ("TCP", 1, 65536)])
def test_what_is_no_port(given: tuple[str, int, int]) -> None:
    """Another protocol, and numbers that no port has."""
    with pytest.raises(ValueError, match=r"none of|are no ports"):
        span(*given)


def test_a_block_is_a_cidr_without_its_exceptions() -> None:
    """Bits below the prefix are not looked at; exceptions may overlap."""
    found = addresses.block("10.0.0.9/24", ["10.0.0.0/26", "10.0.0.32/27", "10.0.0.128/25"])
    assert [*addresses.cidrs(found)] == [str(ip_network("10.0.0.64/26"))]


@pytest.mark.parametrize(
    ("cidr", "same"),
    [
        ("010.0.0.0/8", "10.0.0.0/8"), ("10.0.0.0/08", "10.0.0.0/8"), ("01.2.3.4/32", "1.2.3.4"),
        ("::1.02.3.4/128", "::102:304"), ("::ffff:0:0/96", "0.0.0.0/0"), ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:1.2.3.4", "1.2.3.4"), ("::ffff:1.2.3.4/95", "::fffe:0:0/95"),
    ],
)  # fmt: skip
def test_a_cidr_is_read_as_go_reads_it(cidr: str, same: str) -> None:
    """Leading zeros are decimal, and IPv4 inside of IPv6 is IPv4 from the prefix on that says so."""
    assert addresses.network(cidr) == addresses.network(same)


@pytest.mark.parametrize("cidr", ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/255.0.0.0", "fe80::%eth0/64", "x", "::/129"])
def test_what_is_no_cidr(cidr: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        addresses.network(cidr)
