"""Sets of peers, exactly: pods by the labels of their namespace and their own, addresses, and the ports of each.

What selectors say is closed under intersection and difference: each label by itself is one of some values or none of
them, and may be absent or not. So two policies are compared for all pods that there could be, not only for those that
there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from posture.model import Through

from .addresses import EVERYWHERE, Ranges, common, minus, union
from .addresses import holds as holds_address
from .endpoints import NAME_LABEL
from .policies import Pods, Ports, Unsure
from .ports import EVERY, PROTOCOLS, span

MOST = 2000
"""Pieces of one difference. Beyond that what is left is called different: too much may be said, never too little."""


class State(NamedTuple):
    """What one label may be: among some values, or none of them; and whether it may be absent."""

    among: bool
    values: frozenset[str]
    absent: bool


_FREE = State(False, frozenset(), True)
_NEVER = State(True, frozenset(), False)


def _both(one: State, other: State) -> State:
    absent = one.absent and other.absent
    if one.among and other.among:
        return State(True, one.values & other.values, absent)
    if not one.among and not other.among:
        return State(False, one.values | other.values, absent)
    among, rest = (one, other) if one.among else (other, one)
    return State(True, among.values - rest.values, absent)


def _not(one: State) -> State:
    return State(not one.among, one.values, not one.absent)


def _is(one: State, value: str | None) -> bool:
    return one.absent if value is None else (value in one.values) == one.among


type _Label = tuple[bool, str]
"""(whether of the pod itself, key): labels of namespaces come first"""


class Term(NamedTuple):
    """Pods that have some labels, in namespaces that have some: every state must hold. () is every pod."""

    states: tuple[tuple[_Label, State], ...] = ()

    @property
    def namespace(self) -> str:
        """The one namespace that it speaks of by name; "" where it may be several."""
        for label, state in self.states:
            if label == _NAME and state.among and not state.absent and len(state.values) == 1:
                return next(iter(state.values))
        return ""

    def part(self, pods: bool) -> tuple[tuple[_Label, State], ...]:
        """What it says of pods, or of their namespaces."""
        return tuple(one for one in self.states if one[0][0] == pods)


_NAME: _Label = (False, NAME_LABEL)
ALL = Term()
type Known = Callable[[str], Mapping[str, str] | None]
"""the labels of a namespace that is there"""


def _term(states: Mapping[_Label, State]) -> Term | None:
    """A term; None for one that no pod can be."""
    if _NEVER in states.values():
        return None
    return Term(tuple(sorted(pair for pair in states.items() if pair[1] != _FREE)))


def both(one: Term, other: Term) -> Term | None:
    """The pods that are in both; None when there can be none."""
    states = dict(one.states)
    for label, state in other.states:
        states[label] = _both(states.get(label, _FREE), state)
    return _term(states)


def without(one: Term, other: Term) -> Iterator[Term]:
    """The pods that are in one and not in the other, as terms that share none."""
    states = dict(one.states)
    for label, state in other.states:
        here = states.get(label, _FREE)
        rest = _term({**states, label: _both(here, _not(state))})
        if rest is not None:
            yield rest
        states[label] = _both(here, state)
        if states[label] == _NEVER:
            return


def holds(term: Term, namespace: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a pod is in a term."""
    return all(_is(state, (labels if pod else namespace).get(key)) for (pod, key), state in term.states)


def term_of(peer: Pods) -> Term | None:
    """The pods that a selector picks; None for a selector that picks none."""
    states: dict[_Label, State] = {}
    if peer.namespaces is None:
        states[_NAME] = State(True, frozenset({peer.namespace}), False)
    for pod, selector in ((False, peer.namespaces or {}), (True, peer.pods)):
        for key, state in _states(selector):
            states[pod, key] = _both(states.get((pod, key), _FREE), state)
    return _term(states)


def _states(selector: Mapping[str, Any]) -> Iterator[tuple[str, State]]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield key, State(True, frozenset({value}), False)
    for one in selector.get("matchExpressions") or ():
        operator, values = one["operator"], frozenset(one.get("values") or ())
        if operator in ("In", "DoesNotExist"):
            yield one["key"], State(True, values, operator == "DoesNotExist")
        else:
            yield one["key"], State(False, values, operator == "NotIn")


def selector_of(states: Iterable[tuple[_Label, State]]) -> dict[str, Any]:
    """The selector that says the same: matchLabels where one value is meant, expressions for the rest."""
    labels: dict[str, str] = {}
    found: list[dict[str, Any]] = []
    for (_, key), (among, values, absent) in states:
        if among and not absent and len(values) == 1:
            labels[key] = next(iter(values))
        elif not among and not absent:
            found += [{"key": key, "operator": "Exists"}]
            found += [{"key": key, "operator": "NotIn", "values": sorted(values)}] if values else []
        elif among and absent and values:  # one of some or absent is no single expression: it is what is left of others
            found.append({"key": key, "operator": "InOrAbsent", "values": sorted(values)})
        elif among:
            operator = "DoesNotExist" if absent else "In"
            found.append({"key": key, "operator": operator} | ({"values": sorted(values)} if values else {}))
        else:
            found.append({"key": key, "operator": "NotIn", "values": sorted(values)})
    made: dict[str, Any] = {"matchLabels": labels} if labels else {}
    return made | ({"matchExpressions": found} if found else {})


def from_selectors(namespaces: Mapping[str, Any], pods: Mapping[str, Any]) -> Term:
    """The term of two selectors as `selector_of` writes them. Raises ValueError for one that picks nothing."""
    states: dict[_Label, State] = {}
    for pod, selector in ((False, namespaces), (True, pods)):
        plain = [one for one in selector.get("matchExpressions") or () if one["operator"] != "InOrAbsent"]
        for key, state in _states({**selector, "matchExpressions": plain}):
            states[pod, key] = _both(states.get((pod, key), _FREE), state)
        for one in selector.get("matchExpressions") or ():
            if one["operator"] == "InOrAbsent":
                states[pod, one["key"]] = State(True, frozenset(one["values"]), True)
    term = _term(states)
    if term is None:
        raise ValueError("a selector picks nothing")
    return term


# Pieces -------------------------------------------------------------------------------------------------------------


class Workload(NamedTuple):
    """The pods of one workload, whatever their labels are."""

    name: str


type Who = Term | Workload | Unsure | None
"""Pods by labels, pods of one workload, addresses that the cluster's objects do not say; None is addresses."""


class Piece(NamedTuple):
    """A set of peers with ports. `ranges` are the addresses themselves, or those that the pods may have.

    `through` is what allows it.
    """

    who: Who
    ranges: Ranges
    ports: Ports
    through: Through = Through("", "", "")


def without_ports(one: Ports, other: Ports) -> Ports:
    """The ports that are not in the other. A name may be any port of its protocol."""
    named = tuple(
        (name, protocol) for name, protocol in one.named
        if (name, protocol) not in other.named and (name, "") not in other.named
        and not all(_whole(other, each) for each in _protocols((name, protocol)))
    )  # fmt: skip
    return Ports(one.numbered & ~other.numbered, named)


def _whole(ports: Ports, protocol: str) -> bool:
    every = span(protocol)
    return ports.numbered & every == every


def common_ports(one: Ports, other: Ports) -> Ports:
    """The ports that are in both. A name that may be a port of the other is."""
    named = {each for here, there in ((one, other), (other, one)) for each in here.named
             if each in there.named or any(there.numbered & span(its) for its in _protocols(each))}  # fmt: skip
    return Ports(one.numbered & other.numbered, tuple(sorted(named)))


def _protocols(named: tuple[str, str]) -> Sequence[str]:
    return (named[1],) if named[1] else PROTOCOLS


def joined_ports(one: Ports, other: Ports) -> Ports:
    """The ports of either."""
    return Ports(one.numbered | other.numbered, tuple(sorted({*one.named, *other.named})))


def _same(one: Ports, other: Ports) -> bool:
    return (one.numbered, one.named) == (other.numbered, other.named)


NO_PORTS = Ports(0)


def _empty(ports: Ports) -> bool:
    return not ports.numbered and not ports.named


def nobody(_: str) -> None:
    """No namespace is known."""


def _seen_from(who: Term, other: Term, known: Known) -> Term | None:
    """What another term says to one that names its namespace: the labels of that namespace are known."""
    name = who.namespace
    labels = known(name) if name else None
    if labels is None:
        return other
    if all(_is(state, labels.get(key)) for (_, key), state in other.part(pods=False)):
        return Term(other.part(pods=True))
    return None


def difference(one: Piece, other: Piece, known: Known = nobody) -> list[Piece]:
    """What is in one piece and not in another. `known` are the namespaces of the other's side."""
    if _same(without_ports(one.ports, other.ports), one.ports):
        return [one]
    rest: list[Who] = []
    mine: Who = one.who
    if isinstance(one.who, Term) and isinstance(other.who, Term):
        seen = _seen_from(one.who, other.who, known)
        inside = both(one.who, seen) if seen is not None else None
        if seen is None or inside is None:
            return [one]
        rest, mine = [*without(one.who, seen)], inside
    elif isinstance(one.who, Workload):
        if other.who not in (one.who, ALL):
            return [one]
    elif one.who != other.who and not (isinstance(one.who, Unsure) and other.who is None):
        return [one]
    found = [one._replace(who=who) for who in rest]
    ranges = minus(one.ranges, other.ranges)
    if ranges:
        found.append(one._replace(who=mine, ranges=ranges))
    ports = without_ports(one.ports, other.ports)
    inside_ranges = common(one.ranges, other.ranges)
    if not _empty(ports) and inside_ranges:
        found.append(one._replace(who=mine, ranges=inside_ranges, ports=ports))
    return found


def overlap(one: Piece, other: Piece) -> Piece | None:
    """What is in both, allowed through the other."""
    if isinstance(one.who, Term) and isinstance(other.who, Term):
        who: Who = both(one.who, other.who)
        if who is None:
            return None
    elif one.who is None and isinstance(other.who, Unsure):
        who = other.who
    elif one.who == other.who:
        who = one.who
    else:
        return None
    ranges, ports = common(one.ranges, other.ranges), common_ports(one.ports, other.ports)
    return Piece(who, ranges, ports, other.through) if ranges and not _empty(ports) else None


def subtracted(given: Iterable[Piece], others: Sequence[Piece], known: Known = nobody) -> list[Piece]:
    """What is in some pieces and in none of the others."""
    found: list[Piece] = []
    for piece in given:
        left = [piece]
        for other in others:
            left = [rest for one in left for rest in difference(one, other, known)]
            if not left or len(left) > MOST:
                break
        found += left
    return found


def gathered(given: Iterable[Piece]) -> list[Piece]:
    """The same pieces in as few as are found by joining ports of equal peers and addresses of equal ports, sorted."""
    ports: dict[tuple[Any, ...], Ports] = {}
    for one in given:
        place = one.who, one.ranges, one.through
        ports[place] = joined_ports(ports.get(place, NO_PORTS), one.ports)
    ranges: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for (who, spans, through), each in ports.items():
        ranges.setdefault((who, each.numbered, each.named, through), []).extend(spans)
    made = [
        Piece(who, union(spans), Ports(numbered, named), through)
        for (who, numbered, named, through), spans in ranges.items()
    ]
    return sorted(_outermost(made), key=order)


def _outermost(given: list[Piece]) -> Iterator[Piece]:
    """Those that lie in no other of the same way there."""
    for number, one in enumerate(given):
        around = (at for at, other in enumerate(given)
                  if at != number and other.through == one.through and not difference(one, other))  # fmt: skip
        if not any(at < number or difference(given[at], one) for at in around):
            yield one


def order(piece: Piece) -> tuple[Any, ...]:
    """A place for each piece."""
    who: Any = piece.who
    if isinstance(who, Term):
        who = [(label, state.among, sorted(state.values), state.absent) for label, state in who.states]
    return (
        piece.through, type(piece.who).__name__, repr(who), piece.ranges, piece.ports.numbered, piece.ports.named
    )  # fmt: skip


def has(piece: Piece, namespace: Mapping[str, str], labels: Mapping[str, str], places: Iterable[int] = ()) -> bool:
    """Whether a pod is in a piece; `places` are its addresses, if they are known."""
    if not isinstance(piece.who, Term) or not holds(piece.who, namespace, labels):
        return False
    found = [*places]
    return piece.ranges == EVERYWHERE or not found or any(holds_address(piece.ranges, each) for each in found)


def within(piece: Piece, name: str, labels: Mapping[str, str]) -> Piece | None:
    """What of a piece is about the pods of one namespace, which has some labels."""
    if not isinstance(piece.who, Term):
        return None
    if not all(_is(state, labels.get(key)) for (_, key), state in piece.who.part(pods=False)):
        return None
    own = (_NAME, State(True, frozenset({name}), False))
    return piece._replace(who=Term((own, *piece.who.part(pods=True))))


def resolved(given: Iterable[Piece], known: Known) -> list[Piece]:
    """Pieces that name a namespace which is there say no more of it than its name; those it is not in are left out."""
    found: list[Piece] = []
    for piece in given:
        name = piece.who.namespace if isinstance(piece.who, Term) else ""
        labels = known(name) if name else None
        kept = piece if labels is None else within(piece, name, labels)
        if kept is not None:
            found.append(kept)
    return found


ANYONE = (Piece(ALL, EVERYWHERE, Ports(EVERY)), Piece(None, EVERYWHERE, Ports(EVERY)))
"""Every pod, and every address."""
