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
from posture.text import listed

from . import addresses
from .addresses import EVERYWHERE
from .endpoints import NAME_LABEL
from .policies import Direction, Unsure
from .ports import LAST, PROTOCOLS, span, spans
from .portset import EVERY_PORT, PortSet, with_names
from .regions import Piece, Who, Workload, from_selectors, gathered, selector_of, subtracted


def unit_of(piece: Piece, direction: Direction, pods: Mapping[str, Any] | None = None, *, latent: bool = False) -> Unit:
    """A piece as a unit; `pods` selects the pods that it is about, where they are not there yet.

    `latent` ones nobody can use yet: whoever agrees to these has not agreed to their use.
    """
    found: dict[str, Any] = {"direction": direction, "peer": _peer(piece), "ports": ports_out(piece.ports)}
    found |= {} if pods is None else {"podSelector": pods}
    return {**found, "latent": True} if latent else found


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


def ports_out(ports: PortSet) -> list[dict[str, Any]]:
    """Ports as a NetworkPolicy writes them; [] is every port.

    `numbers` beside a name: a port of that name counts if its number is one of these, and not otherwise.
    """
    if ports == EVERY_PORT:
        return []
    found = [each for protocol in PROTOCOLS for each in _numbers(ports.numbered & span(protocol))]
    for (name, protocol), numbers in ports.named:
        only = {} if numbers == span(protocol) else {"numbers": _numbers(numbers)}
        found.append({"protocol": protocol, "port": name, **only})
    return found


def ports_written(ports: PortSet) -> list[dict[str, Any]]:
    """Ports as a NetworkPolicy can say them; [] for none. A name that means some numbers only cannot be said."""
    if not ports.numbered and not ports.named:
        return []
    return [
        one for one in ports_out(ports) or [{"protocol": protocol} for protocol in PROTOCOLS] if "numbers" not in one
    ]


def _numbers(numbered: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for protocol, first, last in spans(numbered):
        whole = (first, last) == (1, LAST)
        more = {} if whole else {"port": first} if first == last else {"port": first, "endPort": last}
        found.append({"protocol": protocol, **more})
    return found


def ports_in(given: Sequence[Mapping[str, Any]]) -> PortSet:
    """The reverse of `ports_out`."""
    if not given:
        return EVERY_PORT
    named = [one for one in given if isinstance(one.get("port"), str)]
    return with_names(
        _numbered(one for one in given if not isinstance(one.get("port"), str)),
        [((one["port"], one["protocol"]), _numbered(one["numbers"]) if "numbers" in one else span(one["protocol"]))
         for one in named],
    )  # fmt: skip


def _numbered(given: Iterable[Mapping[str, Any]]) -> int:
    found = 0
    for one in given:
        port = one.get("port")
        found |= span(one["protocol"]) if port is None else span(one["protocol"], port, one.get("endPort", port))
    return found


type _Place = tuple[Direction, str, bool]


def _sorted_out(units: Iterable[Unit]) -> dict[_Place, list[Piece]]:
    found: dict[_Place, list[Piece]] = {}
    for unit in units:
        pods = json.dumps(unit["podSelector"], sort_keys=True) if "podSelector" in unit else ""
        found.setdefault((unit["direction"], pods, bool(unit.get("latent"))), []).append(piece_of(unit))
    return found


def beyond(given: tuple[Unit, ...], recorded: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The units that recorded ones do not cover: exactly, whatever words they are in."""
    if given == recorded:
        return ()
    known = _sorted_out(recorded)
    found: list[Unit] = []
    for (direction, pods, latent), pieces in sorted(_sorted_out(given).items(), key=lambda row: row[0]):
        others = known.get((direction, pods, False), []) + (known.get((direction, pods, True), []) if latent else [])
        if any(not subtracted([piece], others) for piece in pieces) or subtracted(pieces, others) != pieces:
            pieces = gathered(subtracted(pieces, others))  # noqa: PLW2901 - what is left of them
        found += [unit_of(piece, direction, json.loads(pods) if pods else None, latent=latent) for piece in pieces]
    return tuple(found)


# For people ---------------------------------------------------------------------------------------------------------

_NAMED = NAME_LABEL, "Exists"  # every namespace has a name


def peer_shown(unit: Unit) -> str:
    """Who is at the other end: `every pod of every namespace`, `pods app=api of pay`, `10.0.0.0/8`."""
    peer = unit["peer"]
    if "workload" in peer:
        return str(peer["workload"])
    if "other" in peer:
        return str(peer["other"])
    if "podSelector" not in peer:
        every = set(peer["cidrs"]) == {"0.0.0.0/0", "::/0"}
        return "every address" if every else "external:" + ",".join(_addresses_shown(peer["cidrs"]))
    pods, of = shown(peer["podSelector"]), _namespaces_shown(peer["namespaceSelector"])
    text = f"pods {pods} of {of}" if pods else f"every pod of {of}"
    return text + (f" in {','.join(_addresses_shown(peer['cidrs']))}" if "cidrs" in peer else "")


def _addresses_shown(cidrs: Sequence[str]) -> Iterator[str]:
    """Addresses of each family; by what is left out of one network, where that takes fewer words."""
    ranges = addresses.union(map(addresses.network, cidrs))
    for family in (4, 6):
        mine = tuple(span for span in ranges if addresses.family(span[0]) == family)
        if not mine:
            continue
        plain, whole = addresses.cidrs(mine), (addresses.around(mine),)
        holes = addresses.cidrs(addresses.minus(whole, mine))
        if len(holes) + 1 < len(plain):
            yield f"{addresses.cidrs(whole)[0]} but {listed([*holes])}"
        else:
            yield from plain


def _namespaces_shown(selector: Mapping[str, Any]) -> str:
    """Namespaces by name where they are selected by name: `pay`, `every namespace but pay and web`."""
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or ()
    if labels.keys() == {NAME_LABEL} and not expressions:
        return str(labels[NAME_LABEL])
    names = [name for one in expressions if (one["key"], one["operator"]) == (NAME_LABEL, "NotIn")
             for name in one["values"]]  # fmt: skip
    rest = [one for one in expressions if (one["key"], one["operator"]) not in ((NAME_LABEL, "NotIn"), _NAMED)]
    words = shown({**selector, "matchExpressions": rest})
    return (f"namespaces {words}" if words else "every namespace") + (f" but {listed(names)}" if names else "")


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
        if "numbers" in one:
            text += f" ({ports_shown({'ports': one['numbers']})} only)" if one["numbers"] else " (not)"
        words.setdefault(one["protocol"], []).append(text)
    return ", ".join(f"{protocol} {','.join(found)}".rstrip() for protocol, found in words.items())


def permissions(given: Iterable[Unit]) -> Iterator[dict[str, str]]:
    """Every unit as one connection in words: direction, peer, ports."""
    for unit in given:
        found = {"direction": unit["direction"], "peer": peer_shown(unit), "ports": ports_shown(unit)}
        if "podSelector" in unit:
            found["pods"] = shown(unit["podSelector"]) or "every pod"
        yield found
