"""Sentences of this domain, as a person would say them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from posture.model import Change, Check, Unit
from posture.text import count, listed

from .connectivity import Connectivity
from .effect import ends
from .policies import Direction
from .units import peer_shown, piece_of, ports_shown, shown

_VERBS: dict[tuple[str, bool], str] = {
    ("ingress", True): "can now be reached",
    ("ingress", False): "can no longer be reached",
    ("egress", True): "can now reach",
    ("egress", False): "can no longer reach",
}


def subject_shown(subject: str, units: Sequence[Unit]) -> str:
    """`pay/db`, or `Pods app=api of pay that may come` for a namespace."""
    if subject.startswith("namespace:"):
        selectors = sorted({shown(unit["podSelector"]) for unit in units if "podSelector" in unit})
        which = f" {selectors[0]}" if len(selectors) == 1 and selectors[0] else ""
        return f"New pods{which} of {subject.removeprefix('namespace:')}"
    return subject.removeprefix("workload:").partition("[")[0]


def sentence(change: Change, check: Check | None, live: Connectivity) -> str:
    """What a change makes possible, or no longer possible, in one sentence without the way there."""
    loosened = change.direction == "loosened"
    units = change.gained if loosened else change.lost
    subject = subject_shown(change.subject, units)
    if not units:
        what = check.title if check is not None else "says nothing"
        return f"{change.through.kind} {change.through.namespace}/{change.through.name}: {what}"
    parts = [_said(direction, [unit for unit in units if unit["direction"] == direction], loosened=loosened)
             for direction in ("ingress", "egress")]  # fmt: skip
    text = f"{subject} {' and '.join(part for part in parts if part)}"
    if not loosened:
        return text
    used = _used(change, live)
    if not change.effective:
        text += ", once there is somebody who can use it"
    elif used:
        text += f" ({used})"
    if change.uncompensated:
        text += "; nothing was closed in return"
    return text


def _said(direction: str, units: Sequence[Unit], *, loosened: bool) -> str:
    if not units:
        return ""
    verb = _VERBS[direction, loosened]
    preposition = "from " if direction == "ingress" else ""
    ports = sorted({ports_shown(unit) for unit in units})
    if len(ports) == 1:
        return f"{verb} {preposition}{_peers(units)} on {ports[0]}"
    groups = [(port, [unit for unit in units if ports_shown(unit) == port]) for port in ports]
    text = ", ".join(f"{_peers(found)} on {port}" for port, found in groups[:2])
    more = f" and {count(len(groups) - 2, 'more group')} of ports" if len(groups) > 2 else ""
    return f"{verb} {preposition}{text}{more}"


def _peers(units: Iterable[Unit]) -> str:
    """Who is at the other end, in a few words: anyone where it is every pod and every address."""
    names = [peer_shown(unit) for unit in units]
    if {"every pod of every namespace", "every address"} <= set(names):
        return "anyone, anywhere"
    return listed([_plain(name) for name in names], 3)


def _plain(name: str) -> str:
    if name.startswith("workload:"):
        return name.removeprefix("workload:").partition("[")[0]
    if name.startswith("external:"):
        cidrs = name.removeprefix("external:").split(",")
        return f"{listed(cidrs, 2)}"
    return name


def _used(change: Change, live: Connectivity) -> str:
    """How many workloads and addresses that opens today."""
    space = live.spaces.get(change.scope)
    classes = [one for one in space.classes if one.workload == change.subject] if space else []
    workloads: set[str] = set()
    addresses = 0
    for unit in change.gained:
        piece = piece_of(unit)
        direction: Direction = unit["direction"]
        if piece.who is None:
            addresses += sum(last - first + 1 for first, last in piece.ranges)
        else:
            for one in classes:
                workloads |= {*ends(live).users(one, direction, piece)}
    parts = [f"+{count(len(workloads), 'workload')}"] if workloads else []
    parts += [f"+{addresses:,} addresses" if addresses < 1 << 32 else "the whole Internet"] if addresses else []
    return " and ".join(parts)
