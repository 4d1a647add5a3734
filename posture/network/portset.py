"""Sets of ports at a destination that is not known: ports by number, and what becomes of those that have a name.

A rule may speak of a port by the name that a container gives it, and it may deny it as well as allow it. So for each
name the numbers are kept that are meant where a port has that name; all other ports go by their number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from operator import and_, or_
from typing import NamedTuple

from .endpoints import Endpoint
from .policies import Ports
from .ports import EVERY, PROTOCOLS, span

type Name = tuple[str, str]
"""(name, protocol)"""


class PortSet(NamedTuple):
    """Ports. `named` are the names of which other numbers are meant than `numbered` says, each with these."""

    numbered: int
    named: tuple[tuple[Name, int], ...] = ()

    def at(self, one: Endpoint) -> int:
        """The ports of some pods, whose names for them are known."""
        if not self.named:
            return self.numbered
        spoken = meant = 0
        for (name, protocol), numbers in self.named:
            for its, number in one.port(name, protocol):
                port = span(its, number, number)
                spoken, meant = spoken | port, meant | port & numbers
        return self.numbered & ~spoken | meant


NO_PORTS = PortSet(0)
EVERY_PORT = PortSet(EVERY)


@cache
def _every(protocol: str) -> int:
    return span(protocol)


def _made(numbered: int, named: Iterable[tuple[Name, int]]) -> PortSet:
    kept = ((name, numbers) for name, numbers in named if numbers != numbered & _every(name[1]))
    return PortSet(numbered, tuple(sorted(kept)))


def port_set(ports: Ports) -> PortSet:
    """The ports of a rule: a name of no protocol is one of each."""
    names = {(name, each) for name, protocol in ports.named for each in ([protocol] if protocol else PROTOCOLS)}
    return _made(ports.numbered, ((name, _every(name[1])) for name in names))


def with_names(numbered: int, named: Iterable[tuple[Name, int]]) -> PortSet:
    """Ports by number, and names with the numbers that are meant by them."""
    return _made(numbered, named)


def _each(one: PortSet, other: PortSet, both: Callable[[int, int], int]) -> PortSet:
    if not one.named and not other.named:
        return PortSet(both(one.numbered, other.numbered))
    mine, theirs = dict(one.named), dict(other.named)
    named = []
    for name in mine.keys() | theirs.keys():
        every = _every(name[1])
        left = mine.get(name, one.numbered & every), theirs.get(name, other.numbered & every)
        named.append((name, both(*left)))
    return _made(both(one.numbered, other.numbered), named)


def without_ports(one: PortSet, other: PortSet) -> PortSet:
    """The ports that are not in the other."""
    return _each(one, other, lambda mine, theirs: mine & ~theirs)


def common_ports(one: PortSet, other: PortSet) -> PortSet:
    """The ports that are in both."""
    return _each(one, other, and_)


def joined_ports(one: PortSet, other: PortSet) -> PortSet:
    """The ports of either."""
    return _each(one, other, or_)
