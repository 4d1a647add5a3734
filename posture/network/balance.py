"""Balance: what was opened and what was closed in return. Both sets are exact, and both are shown.

An opening is compensated by a closing at the same workload in the same direction that covers the ports which were
opened and let in no fewer peers (other clients of the same port), or that covers the peers and no fewer ports (a port
that moved). Fewer peers with more ports are neither, and one closing does not pay for several openings of its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from posture.model import Change, Unit

from .addresses import common
from .conditions import INTERNET
from .portset import PortSet, without_ports
from .regions import Piece, Term, Workload, difference
from .units import piece_of

type Verdict = Literal["unchanged", "tightened", "compensated", "latent", "loosened"]


class Balance(NamedTuple):
    """One namespace: how many things were opened, how many of them in effect, and how many were closed.

    `open` are the workloads whose openings nothing was closed for.
    """

    namespace: str
    opened: int
    effective: int
    closed: int
    open: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """In one word. What nobody can use yet is latent while nothing else is open."""
        if not self.opened:
            return "tightened" if self.closed else "unchanged"
        if not self.open:
            return "compensated"
        return "loosened" if self.effective else "latent"


def weighed(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Changes, the loosened ones with whether nothing was closed in return for what they opened."""
    closed: dict[tuple[str, str], list[_Closing]] = {}
    for change in changes:
        mine = closed.setdefault((change.subject, change.scope), [])
        mine += [_Closing(unit) for unit in change.lost]
    found = []
    for change in changes:
        paying = closed[change.subject, change.scope]
        # No short cut: what one closing paid for here it cannot pay for elsewhere.
        paid = [any(closing.pays(unit) for closing in paying) for unit in change.gained]
        if change.direction == "loosened" and not all(paid):
            change = replace(change, uncompensated=True)  # noqa: PLW2901 - the same change, weighed
        found.append(change)
    return tuple(found)


def balances(changes: Iterable[Change]) -> list[Balance]:
    """What weighed changes mean for each namespace, sorted; those without any are left out."""
    by: dict[str, list[Change]] = {}
    for change in changes:
        by.setdefault(change.scope, []).append(change)
    found = []
    for namespace, mine in sorted(by.items()):
        opened = [change for change in mine if change.direction == "loosened"]
        still = [change for change in opened if change.uncompensated]
        found.append(
            Balance(
                namespace,
                sum(len(change.gained) for change in opened),
                sum(len(change.gained) for change in still if change.effective),
                sum(len(change.lost) for change in mine),
                tuple(sorted({change.subject for change in still})),
            )
        )
    return found


class _Closing:
    """What was closed, and what of it is left to pay for openings: peers or ports, each spent once."""

    def __init__(self, lost: Unit) -> None:
        self.lost = lost
        self.piece = piece_of(lost)
        self.width = _width(self.piece)
        self.public = _public(self.piece)
        self.number = _number(self.piece.ports)

    def pays(self, gained: Unit) -> bool:
        """Whether it is worth an opening; what that costs is spent."""
        lost = self.lost
        if lost["direction"] != gained["direction"] or lost.get("podSelector") != gained.get("podSelector"):
            return False
        one, other = self.piece, piece_of(gained)
        if not _any(without_ports(other.ports, one.ports)) and _kind(one) == _kind(other):
            width, public = _width(other), _public(other)
            if width <= self.width and public <= self.public:
                self.width, self.public, self.number = self.width - width, self.public - public, 0
                return True
        number = _number(other.ports)
        if number <= self.number and not difference(other, one._replace(ports=other.ports)):
            self.number, self.width = self.number - number, 0  # it pays in one way or the other
            return True
        return False


def _any(ports: PortSet) -> bool:
    return bool(ports.numbered or ports.named)


def _number(ports: PortSet) -> int:
    return ports.numbered.bit_count() + len(ports.named)


def _kind(piece: Piece) -> str:
    return "pods" if isinstance(piece.who, Term | Workload) else type(piece.who).__name__


def _public(piece: Piece) -> int:
    """How many addresses of the Internet: no private one pays for these."""
    if isinstance(piece.who, Term | Workload):
        return 0
    return sum(last - first + 1 for part in INTERNET for first, last in common(piece.ranges, part))


def _width(piece: Piece) -> int:
    """How wide peers are among those of one kind: addresses by number, pods by what their labels leave free."""
    if not isinstance(piece.who, Term | Workload):
        return sum(last - first + 1 for first, last in piece.ranges)
    if isinstance(piece.who, Workload):
        return 1
    spaces, pods = piece.who.part(pods=False), piece.who.part(pods=True)
    one = bool(piece.who.namespace)
    return 1 + (not pods) + 2 * (not one) + 2 * (not spaces)
