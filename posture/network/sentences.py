"""Sentences of this domain, as a person would say them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain

from posture.model import Change, Check, Unit
from posture.text import count, listed

from .allowed import NON_ISOLATED, regions, through_of
from .connectivity import Connectivity
from .effect import ends
from .endpoints import NAME_LABEL, NAMESPACE
from .policies import DIRECTIONS, Direction
from .regions import ANYONE, Piece, difference, gathered
from .units import peer_shown, piece_of, ports_shown, shown, unit_of

_VERBS: dict[tuple[str, bool], str] = {
    ("ingress", True): "can now be reached",
    ("ingress", False): "can no longer be reached",
    ("egress", True): "can now reach",
    ("egress", False): "can no longer reach",
}
ANYBODY = "anyone, anywhere"
MOST = 1 << 31
"""Addresses: half of those of IPv4 are the whole Internet for people."""


def subject_shown(subject: str, units: Sequence[Unit]) -> str:
    """`pay/db`, or `Pods app=api of pay, once there are any,` for a namespace."""
    if subject.startswith(NAMESPACE) and not any("podSelector" in unit for unit in units):
        return f"Pods of {subject.removeprefix('namespace:')}"
    if subject.startswith(NAMESPACE):
        selectors = sorted({shown(unit["podSelector"]) for unit in units if "podSelector" in unit})
        which = f" {selectors[0]}" if len(selectors) == 1 and selectors[0] else ""
        return f"Pods{which} of {subject.removeprefix('namespace:')}, once there are any,"
    return subject.removeprefix("workload:").partition("[")[0]


def sentence(change: Change, check: Check | None, live: Connectivity) -> str:
    """What a change makes possible, or no longer possible, in one sentence without the way there."""
    loosened = change.direction == "loosened"
    units = change.gained if loosened else change.lost
    subject = subject_shown(change.subject, units)
    if not units:
        what = check.title if check is not None else "says nothing"
        return f"{change.through.kind} {change.through.namespace}/{change.through.name}: {what}"
    known: dict[str, str] = live.__dict__.setdefault("_spoken", {})
    same = repr(units) if loosened and change.through.kind == NON_ISOLATED else ""  # in no policy's words
    if same not in known or not same:
        known[same] = _spoken(change, units, live, loosened=loosened)
    text = f"{subject} {known[same]}"
    if not loosened:
        return text
    used = _used(change, live)
    if not change.effective:
        text += "" if change.subject.startswith(NAMESPACE) else ", once there is somebody who can use it"
    elif used:
        text += f" ({used})"
    if change.uncompensated:
        text += "; nothing was closed in return"
    return text


def _spoken(change: Change, units: Sequence[Unit], live: Connectivity, *, loosened: bool) -> str:
    """What can or cannot be done, without who."""
    parts = []
    for direction in DIRECTIONS:
        said = [unit for unit in units if unit["direction"] == direction]
        if said:
            parts.append(_said(direction, _worded(change, said, live) if loosened else said, loosened=loosened))
    return " and ".join(parts)


def _said(direction: str, units: Sequence[Unit], *, loosened: bool) -> str:
    verb = _VERBS[direction, loosened]
    ports = sorted({ports_shown(unit) for unit in units})
    groups = [[unit for unit in units if ports_shown(unit) == port] for port in ports]
    said = [f"{_from(direction, _peers(found))} on {port}" for port, found in zip(ports, groups, strict=True)]
    more = [count(len(said) - 2, "more group") + " of ports"] if len(said) > 2 else []
    return f"{verb} {listed([*said[:2], *more])}"


def _from(direction: str, whom: str) -> str:
    """Anyone reaches; what is named is where it comes from."""
    return f"{'by' if whom == ANYBODY else 'from'} {whom}" if direction == "ingress" else whom


def _peers(units: Iterable[Unit]) -> str:
    """Who is at the other end, in a few words: anyone where it is every pod and every address."""
    names = list(dict.fromkeys(peer_shown(unit) for unit in units))
    if {"every pod of every namespace", "every address"} <= set(names):
        return ANYBODY
    return listed(list(chain.from_iterable(map(_plain, names))), 3)


def _plain(name: str) -> list[str]:
    if name.startswith("workload:"):
        return [name.removeprefix("workload:").partition("[")[0]]
    return re.split(",(?! )", name.removeprefix("external:")) if name.startswith("external:") else [name]


# In the words of the policy -----------------------------------------------------------------------------------------


def _worded(change: Change, units: Sequence[Unit], live: Connectivity) -> list[Unit]:
    """Gains of one direction for people: what is left of a peer when what was agreed is taken out reads badly, and
    whom the policy itself names there can do it now.
    """
    direction: Direction = units[0]["direction"]
    own = [*_own(change, direction, live)]
    inside: dict[int, list[Unit]] = {}
    for unit in units:
        piece = piece_of(unit)
        place = next((number for number, region in enumerate(own) if not difference(piece, region)), -1)
        inside.setdefault(place, []).append(unit)
    found: list[Unit] = []
    for place, parts in inside.items():
        if place >= 0 and _remains(parts, unit_of(own[place], direction)):
            said = gathered(own[place]._replace(ports=piece_of(unit).ports) for unit in parts)
            found += [unit_of(piece, direction) for piece in said]
        else:
            found += parts
    return found


def _own(change: Change, direction: Direction, live: Connectivity) -> Iterator[Piece]:
    """What it goes through allows in its own words: the peers of a policy; anyone where no policy isolates."""
    if change.through.kind == NON_ISOLATED:
        yield from ANYONE
        return
    space = live.spaces.get(change.scope)
    for policy in (*space.policies, *space.above) if space else ():
        if through_of(policy) == change.through:
            whom = [one for one in space.classes if one.workload == change.subject] if space else []
            yield from gathered(
                region for rule in policy.rules(direction) or () if rule.action == "accept"
                for one in whom or (None,) for region in regions(rule, policy, direction, one)
            )  # fmt: skip


def _remains(parts: Sequence[Unit], whole: Unit) -> bool:
    """Whether gains are what is left of a peer: said by what they are not, or by more addresses than it takes."""
    if any(_excludes(unit["peer"]) for unit in parts):
        return True
    addresses = [cidr for unit in parts for cidr in unit["peer"].get("cidrs", ())]
    return len(addresses) > len(whole["peer"].get("cidrs", ()))


def _excludes(peer: Unit) -> bool:
    expressions = [one for field in ("namespaceSelector", "podSelector")
                   for one in (peer.get(field) or {}).get("matchExpressions") or ()]  # fmt: skip
    return any(one["operator"] in ("NotIn", "DoesNotExist", "InOrAbsent") for one in expressions)


# Who can use it -----------------------------------------------------------------------------------------------------


def _used(change: Change, live: Connectivity) -> str:
    """How many workloads and addresses that opens today."""
    workloads, addresses = using(change, live)
    return counted(len(workloads) - (change.subject in workloads), addresses)


def using(change: Change, live: Connectivity) -> tuple[frozenset[str], int]:
    """The workloads that can use a gain (or could use what was lost), perhaps with itself, and how many addresses."""
    known: dict[Hashable, tuple[frozenset[str], int]] = live.__dict__.setdefault("_using", {})
    place = change.direction, change.where, repr((change.gained, change.lost))
    if place not in known:
        known[place] = _using(change, live)
    return known[place]


def _using(change: Change, live: Connectivity) -> tuple[frozenset[str], int]:
    space = live.spaces.get(change.scope)
    classes = [one for one in space.classes if one.workload == change.subject] if space else []
    workloads: frozenset[str] = frozenset()
    addresses = 0
    for unit in (*change.gained, *change.lost):
        piece = piece_of(unit)
        direction: Direction = unit["direction"]
        if piece.who is None:
            addresses += sum(last - first + 1 for first, last in piece.ranges)
        else:
            for one in classes:
                found = ends(live).everyone(one, direction, piece)
                workloads = workloads | found if workloads - found else found  # rather the set that others share
    return workloads, addresses


def counted(workloads: int, addresses: int) -> str:
    """`+3 workloads and the whole Internet`."""
    parts = [f"+{count(workloads, 'workload')}"] if workloads else []
    parts += [f"+{count(addresses, 'address', 'addresses')}" if addresses < MOST else "the whole Internet"] * bool(
        addresses
    )
    return " and ".join(parts)


def flows(change: Change, live: Connectivity) -> Iterator[tuple[Direction, str, str]]:
    """A change as (direction, who is at the other end, on which ports); its own namespace has no name there."""
    units = change.gained or change.lost
    for direction in DIRECTIONS:
        said = [unit for unit in units if unit["direction"] == direction]
        if said and change.gained:
            said = _worded(change, said, live)
        by: dict[str, list[Unit]] = {}
        for unit in said:
            by.setdefault(ports_shown(unit), []).append(_unnamed(unit, change.scope))
        for ports, found in sorted(by.items()):
            yield direction, _peers(found), ports


def _unnamed(unit: Unit, scope: str) -> Unit:
    """A unit in which a namespace is called its own, so that equal changes of several namespaces read alike."""
    selector = unit["peer"].get("namespaceSelector") or {}
    if (selector.get("matchLabels") or {}).get(NAME_LABEL) != scope:
        return unit
    labels = {**selector["matchLabels"], NAME_LABEL: "their own namespace"}
    return {**unit, "peer": {**unit["peer"], "namespaceSelector": {**selector, "matchLabels": labels}}}
