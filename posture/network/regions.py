"""Sets of peers, exactly: pods by the labels of their namespace and their own, addresses, and the ports of each.

What selectors say is closed under intersection and difference: each label by itself is one of some values or none of
them, and may be absent or not. So two policies are compared for all pods that there could be, not only for those that
there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from posture.model import Through

from .addresses import EVERYWHERE, Ranges, common, minus, union
from .addresses import holds as holds_address
from .endpoints import NAME_LABEL
from .policies import Pods, Unsure
from .portset import EVERY_PORT, PortSet, common_ports, joined_ports, without_ports

MOST = 256
"""Pieces of one difference: each exclusion by labels of its own doubles them. Beyond that what is left is called
different: too much may be said, never too little. Where too much must not be said it is an error.
"""


class IntricateError(Exception):
    """What policies say takes more pieces than anybody could compare."""


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
        return next(iter(self.names)) if len(self.names) == 1 else ""

    @property
    def names(self) -> frozenset[str]:
        """The namespaces that it speaks of by name; none where it may be any others."""
        return next((state.values for label, state in self.states if label == _NAME and state.among), frozenset())

    def part(self, pods: bool) -> tuple[tuple[_Label, State], ...]:
        """What it says of pods, or of their namespaces."""
        return tuple(one for one in self.states if one[0][0] == pods)


_NAME: _Label = (False, NAME_LABEL)
ALL = Term()
type Known = Callable[[str], Mapping[str, str] | None]
"""the labels of a namespace that is there"""


def _term(states: Mapping[_Label, State]) -> Term | None:
    """A term; None for one that no pod can be. Every namespace has the label of its name."""
    name = states.get(_NAME)
    if name is not None and name.absent == name.among:
        states = {**states, _NAME: State(name.among, name.values, not name.among)}
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
    ports: PortSet
    through: Through = Through("", "", "")


def _empty(ports: PortSet) -> bool:
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
    if _empty(common_ports(one.ports, other.ports)):
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
    elif isinstance(one.who, Unsure | None) and isinstance(other.who, Unsure | None):
        who = one.who or other.who  # of two that nobody knows each may be the other
    elif one.who == other.who:
        who = one.who
    else:
        return None
    ranges, ports = common(one.ranges, other.ranges), common_ports(one.ports, other.ports)
    return Piece(who, ranges, ports, other.through) if ranges and not _empty(ports) else None


def subtracted(
    given: Iterable[Piece], others: Sequence[Piece], known: Known = nobody, *, exactly: bool = False
) -> list[Piece]:
    """What is in some pieces and in none of the others; perhaps more, where that takes too many pieces.

    Raises IntricateError then, if it has to be `exactly` that.
    """
    found: list[Piece] = []
    for piece in given:
        left = [piece]
        for other in others:
            if len(left) + len(found) > MOST and exactly:
                raise IntricateError
            if not left or len(left) + len(found) > MOST:
                break
            left = [rest for one in left for rest in difference(one, other, known)]
        found += left
    return found


def gathered(given: Iterable[Piece]) -> list[Piece]:
    """The same pieces in as few as are found by joining ports of equal peers and addresses of equal ports, sorted."""
    ports: dict[tuple[Any, ...], PortSet] = {}
    for one in given:
        place = one.who, one.ranges, one.through
        ports[place] = joined_ports(ports[place], one.ports) if place in ports else one.ports
    ranges: dict[tuple[Any, ...], list[Ranges]] = {}
    for (who, spans, through), each in ports.items():
        ranges.setdefault((who, each, through), []).append(spans)
    made = [
        Piece(who, found[0] if len(found) == 1 else union(span for spans in found for span in spans), each, through)
        for (who, each, through), found in ranges.items()
    ]
    return sorted(_outermost(made), key=order) if len(made) > 1 else made


def _outermost(given: list[Piece]) -> Iterator[Piece]:
    """Those that lie in no other of the same way there."""
    for number, one in enumerate(given):
        around = (at for at, other in enumerate(given)
                  if at != number and _may_lie(one, other) and not difference(one, other))  # fmt: skip
        if not any(at < number or difference(given[at], one) for at in around):
            yield one


def _may_lie(one: Piece, other: Piece) -> bool:
    """Whether a piece may lie in another, at first sight: most cannot."""
    if one.through != other.through:
        return False
    if isinstance(one.who, Workload) and isinstance(other.who, Workload):
        return one.who == other.who
    if isinstance(one.who, Term) and isinstance(other.who, Term):
        return not other.who.namespace or one.who.namespace == other.who.namespace
    return True


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
    """Pieces that name namespaces which are there say no more of each than its name; others of them are left out."""
    found: list[Piece] = []
    for piece in given:
        names = piece.who.names if isinstance(piece.who, Term) else frozenset[str]()
        there = {name: labels for name in sorted(names) if (labels := known(name)) is not None}
        kept = (within(piece, name, labels) for name, labels in there.items())
        found += [one for one in kept if one is not None]
        if len(there) < len(names) or not names:
            found.append(_but(piece, there))
    return found


def _but(piece: Piece, names: Collection[str]) -> Piece:
    """What of a piece is in none of some of the namespaces that it names."""
    if not names or not isinstance(piece.who, Term):
        return piece
    states = dict(piece.who.states)
    states[_NAME] = states[_NAME]._replace(values=states[_NAME].values - frozenset(names))
    return piece._replace(who=Term(tuple(states.items())))


def plain(piece: Piece, known: Known) -> Piece:
    """A piece that leaves out no namespaces of which it would not be anyway, by the labels that they have."""
    if not isinstance(piece.who, Term):
        return piece
    states = dict(piece.who.states)
    name = states.pop(_NAME, _FREE)
    if name.among:
        return piece
    others = [(key, state) for (pod, key), state in states.items() if not pod]

    def meant(namespace: str) -> bool:
        labels = known(namespace)
        return labels is None or all(_is(state, labels.get(key)) for key, state in others)

    kept = frozenset(filter(meant, name.values))
    if kept == name.values:
        return piece
    return piece._replace(who=_term({**states, _NAME: name._replace(values=kept)}))


ANYONE = (Piece(ALL, EVERYWHERE, EVERY_PORT), Piece(None, EVERYWHERE, EVERY_PORT))
"""Every pod, and every address."""
