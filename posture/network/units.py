"""The units of findings: what may be sent from or to whom on which ports, in a form that says itself what it covers.

A unit is shaped like a rule of a NetworkPolicy: `direction`; `peer` with `namespaceSelector` and `podSelector`, with
`cidrs` for addresses (or for those pods that have such addresses), with `workload`, or with `other` for what only the
network knows; `ports` as a NetworkPolicy has them, [] for all. `podSelector` beside these says which pods a unit of a
namespace is about that are not there yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from posture import selectors
from posture.model import Unit

from . import addresses
from .addresses import EVERYWHERE
from .policies import Direction, Ports, Unsure
from .ports import EVERY, LAST, span, spans
from .regions import Piece, Term, Who, Workload, from_selectors, gathered, selector_of, subtracted


def unit_of(piece: Piece, direction: Direction, pods: Mapping[str, Any] | None = None) -> Unit:
    """A piece as a unit; `pods` selects the pods that it is about, where they are not there yet."""
    found: dict[str, Any] = {"direction": direction, "peer": _peer(piece), "ports": ports_out(piece.ports)}
    return found if pods is None else {**found, "podSelector": pods}


def _peer(piece: Piece) -> dict[str, Any]:
    who, cidrs = piece.who, list(addresses.cidrs(piece.ranges))
    if who is None:
        return {"cidrs": cidrs}
    if isinstance(who, Workload):
        return {"workload": who.name}
    if isinstance(who, Unsure):
        return {"other": f"{who.what}: {who.text}"} | ({} if piece.ranges == EVERYWHERE else {"cidrs": cidrs})
    found = {"namespaceSelector": selector_of(who.part(pods=False)), "podSelector": selector_of(who.part(pods=True))}
    return found if piece.ranges == EVERYWHERE else {**found, "cidrs": cidrs}


def piece_of(unit: Unit) -> Piece:
    """The piece that a unit says. Raises ValueError or KeyError for what is no unit."""
    peer = unit["peer"]
    ranges = addresses.union(map(addresses.network, peer["cidrs"])) if "cidrs" in peer else EVERYWHERE
    who: Who = None
    if "workload" in peer:
        who = Workload(peer["workload"])
    elif "other" in peer:
        what, _, text = peer["other"].partition(": ")
        who = Unsure(what, text)
    elif "podSelector" in peer:
        who = from_selectors(peer["namespaceSelector"], peer["podSelector"])
    return Piece(who, ranges, ports_in(unit["ports"]))


def ports_out(ports: Ports) -> list[dict[str, Any]]:
    """Ports as a NetworkPolicy writes them; [] is every port."""
    if ports.numbered == EVERY:
        return []
    found: list[dict[str, Any]] = []
    for protocol, first, last in spans(ports.numbered):
        whole = (first, last) == (1, LAST)
        more = {} if whole else {"port": first} if first == last else {"port": first, "endPort": last}
        found.append({"protocol": protocol, **more})
    return found + [{"protocol": protocol, "port": name} for name, protocol in ports.named]


def ports_in(given: Sequence[Mapping[str, Any]]) -> Ports:
    """The reverse of `ports_out`."""
    if not given:
        return Ports(EVERY)
    numbered, named = 0, []
    for one in given:
        port = one.get("port")
        if isinstance(port, str):
            named.append((port, one["protocol"]))
        elif port is None:
            numbered |= span(one["protocol"])
        else:
            numbered |= span(one["protocol"], port, one.get("endPort", port))
    return Ports(numbered, tuple(sorted(named)))


type _Place = tuple[Direction, str]


def _sorted_out(units: Iterable[Unit]) -> dict[_Place, list[Piece]]:
    found: dict[_Place, list[Piece]] = {}
    for unit in units:
        pods = json.dumps(unit["podSelector"], sort_keys=True) if "podSelector" in unit else ""
        found.setdefault((unit["direction"], pods), []).append(piece_of(unit))
    return found


def beyond(given: tuple[Unit, ...], recorded: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The units that recorded ones do not cover: exactly, whatever words they are in."""
    if given == recorded:
        return ()
    known = _sorted_out(recorded)
    found: list[Unit] = []
    for (direction, pods), pieces in sorted(_sorted_out(given).items()):
        others = known.get((direction, pods), [])
        if any(not subtracted([piece], others) for piece in pieces) or subtracted(pieces, others) != pieces:
            pieces = gathered(subtracted(pieces, others))  # noqa: PLW2901 - what is left of them
        found += [unit_of(piece, direction, json.loads(pods) if pods else None) for piece in pieces]
    return tuple(found)


# For people ---------------------------------------------------------------------------------------------------------


def peer_shown(unit: Unit) -> str:
    """Who is at the other end: `every pod of every namespace`, `pods app=api of pay`, `10.0.0.0/8`."""
    peer = unit["peer"]
    if "workload" in peer:
        return str(peer["workload"])
    if "other" in peer:
        return str(peer["other"])
    if "podSelector" not in peer:
        return "external:" + ",".join(peer["cidrs"]) if set(peer["cidrs"]) != {"0.0.0.0/0", "::/0"} else "every address"
    pods, spaces = shown(peer["podSelector"]), shown(peer["namespaceSelector"])
    name = (peer["namespaceSelector"].get("matchLabels") or {}).get("kubernetes.io/metadata.name")
    where = name if name and len(peer["namespaceSelector"]["matchLabels"]) == 1 else ""
    of = where or (f"namespaces {spaces}" if spaces else "every namespace")
    text = f"pods {pods} of {of}" if pods else f"every pod of {of}"
    return text + (f" in {','.join(peer['cidrs'])}" if "cidrs" in peer else "")


def shown(selector: Mapping[str, Any]) -> str:
    """A selector as kubectl writes it; what no single expression says is spelled out."""
    plain = [one for one in selector.get("matchExpressions") or () if one["operator"] != "InOrAbsent"]
    rest = [one for one in selector.get("matchExpressions") or () if one["operator"] == "InOrAbsent"]
    parts = [selectors.shown({**selector, "matchExpressions": plain})]
    parts += [f"{one['key']} in ({','.join(one['values'])}) or absent" for one in rest]
    return ",".join(part for part in parts if part)


def ports_shown(unit: Unit) -> str:
    """`TCP 80,443`, `TCP http`, `every port`."""
    if not unit["ports"]:
        return "every port"
    words: dict[str, list[str]] = {}
    for one in unit["ports"]:
        text = "" if "port" not in one else str(one["port"]) + (f"-{one['endPort']}" if "endPort" in one else "")
        words.setdefault(one["protocol"] or "any", []).append(text)
    return ", ".join(f"{protocol} {','.join(found)}".rstrip() for protocol, found in words.items())


def permissions(given: Iterable[Unit]) -> Iterator[dict[str, str]]:
    """Every unit as one connection in words: direction, peer, ports."""
    for unit in given:
        found = {"direction": unit["direction"], "peer": peer_shown(unit), "ports": ports_shown(unit)}
        if "podSelector" in unit:
            found["pods"] = shown(unit["podSelector"]) or "every pod"
        yield found


__all__ = ["Term", "beyond", "peer_shown", "permissions", "piece_of", "ports_shown", "shown", "unit_of"]
