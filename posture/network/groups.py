"""Changes that read alike, whatever workload and namespace they are of: what a person reads where many changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from posture.model import Change
from posture.text import count, listed

from .allowed import NON_ISOLATED
from .connectivity import Connectivity
from .endpoints import NAMESPACE
from .policies import Direction
from .sentences import counted, flows, subject_shown, using

SHOWN = 3


class Group[Item](NamedTuple):
    """Changes with the same flows through things of one kind and name, and a line that says all of them."""

    members: tuple[Item, ...]
    text: str


def grouped[Item](
    items: Iterable[Item], split: Callable[[Item], tuple[Hashable, Change]], live: Connectivity
) -> list[Group[Item]]:
    """Items by what their changes say. `split` gives what tells items apart beside that, and the change."""
    found: dict[Hashable, list[tuple[Item, Change]]] = {}
    for item in items:
        mark, change = split(item)
        through = change.through.kind, change.through.name
        future = change.subject.startswith(NAMESPACE)
        place = (
            mark,
            change.direction,
            through,
            tuple(flows(change, live)),
            change.effective,
            change.uncompensated,
            future,
        )
        found.setdefault(place, []).append((item, change))
    return [
        Group(tuple(item for item, _ in members), _text([change for _, change in members], live))
        for members in found.values()
    ]


def _text(changes: list[Change], live: Connectivity) -> str:
    """`anyone, anywhere → 7 workloads of pay (api, db, web and 4 more): every port (+9 workloads)`, and how."""
    first = changes[0]
    subjects = _subjects(changes)
    parts = [_flow(direction, peers, ports, subjects) for direction, peers, ports in flows(first, live)]
    text = listed(parts, SHOWN)
    workloads: set[str] = set()
    addresses = 0
    for change in changes:
        if change.effective:
            more, each = using(change, live)
            workloads |= more - {change.subject}
            addresses = max(addresses, each)
    used = counted(len(workloads), addresses)
    if not first.effective:
        text += ", once there is somebody who can use it"
    elif used:
        text += f" ({used if first.direction == 'loosened' else used.replace('+', '-')})"
    if first.uncompensated:
        text += "; nothing was closed in return"
    return f"{text}, through {_through(changes)}"


def _flow(direction: Direction, peers: str, ports: str, subjects: str) -> str:
    ends = (peers, subjects) if direction == "ingress" else (subjects, peers)
    return f"{' → '.join(ends)}: {ports}"


def _subjects(changes: list[Change]) -> str:
    names = sorted({subject_shown(change.subject, change.gained or change.lost) for change in changes})
    spaces = sorted({change.scope for change in changes})
    where = spaces[0] if len(spaces) == 1 else f"{len(spaces):,} namespaces ({listed(spaces, SHOWN)})"
    if changes[0].subject.startswith(NAMESPACE):
        return f"new pods of {where}"
    if len(spaces) == 1:
        where += f" ({listed([name.partition('/')[2] for name in names], SHOWN)})"
    return f"{count(len(names), 'workload')} of {where}"


def _through(changes: list[Change]) -> str:
    through = changes[0].through
    if through.kind == NON_ISOLATED:
        return f"the default: no policy isolates them for {through.name}"
    places = sorted({change.through.namespace for change in changes})
    if places == [""]:
        return f"{through.kind} {through.name}"
    return f"{through.kind} {through.name} of {listed(places, SHOWN)}"
