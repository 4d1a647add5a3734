"""The spec of a policy of policy.networking.k8s.io as the API server would store it: what it refuses, drops, fills in.

As the CustomResourceDefinitions of network-policy-api say it (v1alpha2 of v0.2.0, v1alpha1 of v0.1.7), with the fields
of their experimental channel. Selectors that their schemas take and that no implementation can read are refused too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from posture import cidr as notation
from posture.collect.fields import (
    RefusedError,
    filled,
    integer,
    items,
    mapping,
    one_of,
    port_number,
    quoted,
    selector,
    text,
)

_LAST_PRIORITY = 1000
_LONGEST_CIDR, _MOST_NETWORKS, _LONGEST_NAME = 43, 25, 100
_DOMAIN = re.compile(
    r"(?:\*\.)?(?:[A-Za-z0-9](?:[-A-Za-z0-9_]*[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[-A-Za-z0-9_]*[A-Za-z0-9])?\.?"
)
_PROTOCOLS = ("TCP", "UDP", "SCTP")


class _Api(NamedTuple):
    """What differs between the kinds. `most` items has each list; `ports` is the field that holds them."""

    ranked: tuple[str, ...]
    actions: tuple[str, ...]
    outside: tuple[str, ...]
    most: int
    ports: str

    @property
    def old(self) -> bool:
        """Whether it is v1alpha1."""
        return self.ports == "ports"


_APIS: Mapping[str, _Api] = {
    "ClusterNetworkPolicy": _Api(
        ("tier", "priority"), ("Accept", "Deny", "Pass"), ("networks", "nodes", "domainNames"), 25, "protocols"
    ),
    "AdminNetworkPolicy": _Api(
        ("priority",), ("Allow", "Deny", "Pass"), ("networks", "nodes", "domainNames"), 100, "ports"
    ),
    "BaselineAdminNetworkPolicy": _Api((), ("Allow", "Deny"), ("networks", "nodes"), 100, "ports"),
}


def refused(kind: str, name: str, spec: Any) -> str:
    """What the API server would refuse in a policy; "" when nothing."""
    if kind == "BaselineAdminNetworkPolicy" and name != "default":
        return "metadata.name is not default, and there is no other BaselineAdminNetworkPolicy"
    try:
        stored(kind, spec)
    except RefusedError as error:
        return str(error)
    return ""


def stored(kind: str, spec: Any) -> dict[str, Any]:
    """A spec with the API's defaults and without what means nothing: null, unknown fields.

    Raises RefusedError for what the server refuses.
    """
    api, given = _APIS[kind], mapping("spec", spec)
    found: dict[str, Any] = {}
    if "tier" in api.ranked:
        found["tier"] = one_of("spec.tier", given.get("tier"), ("Admin", "Baseline"))
    if "priority" in api.ranked:
        found["priority"] = integer("spec.priority", given.get("priority"), 0, _LAST_PRIORITY)
    found["subject"] = _one("spec.subject", given.get("subject"), _choosing(api))
    for direction, others in (("ingress", "from"), ("egress", "to")):
        rules = _listed(f"spec.{direction}", given.get(direction), 0, api.most)
        found |= filled(**{direction: [_rule(path, rule, others, api) for path, rule in rules]})
    return found


def _rule(path: str, rule: Any, others: str, api: _Api) -> dict[str, Any]:
    given = mapping(path, rule)
    kinds = _choosing(api) | (_outside(api) if others == "to" else {})
    found: dict[str, Any] = {"action": one_of(f"{path}.action", given.get("action"), api.actions)}
    name = text(f"{path}.name", given.get("name"))
    if len(name) > _LONGEST_NAME:
        raise RefusedError(f"{path}.name is longer than {_LONGEST_NAME} characters")
    peers = _listed(f"{path}.{others}", given.get(others), 1, api.most)
    found[others] = [_one(where, peer, kinds) for where, peer in peers]
    if given.get(api.ports) is not None:
        ports = _listed(f"{path}.{api.ports}", given[api.ports], 1, api.most)
        found[api.ports] = [_one(where, port, _PORTS if api.old else _NEW_PORTS) for where, port in ports]
        named = any("namedPort" in port or "destinationNamedPort" in port for port in found[api.ports])
        if named and any(set(peer) & set(api.outside) for peer in found[others]):
            raise RefusedError(f"{path} has the name of a port beside {', '.join(api.outside)}, which have none")
    return found | ({"name": name} if name else {})


def _listed(path: str, value: Any, least: int, most: int) -> Sequence[tuple[str, Any]]:
    """A list of some length."""
    found = tuple(items(path, value))
    if not least <= len(found) <= most:
        raise RefusedError(f"{path} has {len(found)} items, not {least} to {most}")
    return found


type _Kinds = Mapping[str, Callable[[str, Any], Any]]


def _one(path: str, value: Any, kinds: _Kinds) -> dict[str, Any]:
    """A mapping of which exactly one of some fields is set."""
    given = mapping(path, value)
    found = {field: read(f"{path}.{field}", given[field]) for field, read in kinds.items()
             if given.get(field) is not None}  # fmt: skip
    if len(found) != 1:
        raise RefusedError(f"{path} has {len(found) or 'none'} of {', '.join(kinds)}, not one")
    return found


# Who ----------------------------------------------------------------------------------------------------------------


def _choosing(api: _Api) -> dict[str, Callable[[str, Any], Any]]:
    """What selects pods."""
    needed = ("namespaceSelector", "podSelector") if api.old else ("podSelector",)

    def pods(path: str, value: Any) -> dict[str, Any]:
        given = mapping(path, value)
        for field in needed:
            if given.get(field) is None:
                raise RefusedError(f"{path}.{field} is missing")
        return {field: selector(f"{path}.{field}", given.get(field)) for field in ("namespaceSelector", "podSelector")}

    return {"namespaces": selector, "pods": pods}


def _outside(api: _Api) -> dict[str, Callable[[str, Any], Any]]:
    """What says where traffic goes beside the selectors of pods."""

    def network(path: str, value: Any) -> str:
        cidr = text(path, value)
        try:
            found, _ = notation.network(cidr)
        except ValueError:
            raise RefusedError(f"{path} is {quoted(cidr)}, no CIDR") from None
        mixed = "." in cidr if api.old else found.version == 4  # of v1alpha1, a rule of its own; of v1alpha2, isCIDR
        if len(cidr) > _LONGEST_CIDR or not notation.is_strict(cidr) or (":" in cidr and mixed):
            raise RefusedError(f"{path} is {quoted(cidr)}, no CIDR without leading zeros or IPv4 inside of IPv6")
        return cidr

    known = {"networks": _distinct(network), "nodes": selector, "domainNames": _distinct(_domain)}
    return {field: known[field] for field in api.outside}


def _distinct(read: Callable[[str, Any], str]) -> Callable[[str, Any], list[str]]:
    def distinct(path: str, value: Any) -> list[str]:
        found = [read(where, one) for where, one in _listed(path, value, 1, _MOST_NETWORKS)]
        if len(set(found)) < len(found):
            raise RefusedError(f"{path} has the same item twice")
        return found

    return distinct


def _domain(path: str, value: Any) -> str:
    found = text(path, value)
    if not _DOMAIN.fullmatch(found):
        raise RefusedError(f"{path} is {quoted(found)}, no domain's name")
    return found


# Ports --------------------------------------------------------------------------------------------------------------


def _number(path: str, value: Any) -> dict[str, Any]:
    """A portNumber of v1alpha1."""
    given = mapping(path, value)
    return {"protocol": _protocol(path, given), "port": port_number(f"{path}.port", given.get("port"))}


def _range(path: str, value: Any) -> dict[str, Any]:
    """A portRange of v1alpha1, in which start and end may be the same."""
    given = mapping(path, value)
    start, end = (port_number(f"{path}.{field}", given.get(field)) for field in ("start", "end"))
    if start > end:
        raise RefusedError(f"{path}.start is not less than end")
    return {"protocol": _protocol(path, given), "start": start, "end": end}


def _protocol(path: str, given: Mapping[str, Any]) -> str:
    protocol = given.get("protocol")
    return "TCP" if protocol is None else one_of(f"{path}.protocol", protocol, _PROTOCOLS)


def _destination(path: str, value: Any) -> dict[str, Any]:
    """A protocol of v1alpha2: its schema wants a port in it."""
    given = mapping(path, value)
    if given.get("destinationPort") is None:
        raise RefusedError(f"{path}.destinationPort is missing")
    kinds = {"number": port_number, "range": _new_range}
    return {"destinationPort": _one(f"{path}.destinationPort", given["destinationPort"], kinds)}


def _new_range(path: str, value: Any) -> dict[str, int]:
    given = mapping(path, value)
    start, end = (port_number(f"{path}.{field}", given.get(field)) for field in ("start", "end"))
    if start >= end:
        raise RefusedError(f"{path}.start is not less than end")
    return {"start": start, "end": end}


_PORTS: _Kinds = {"portNumber": _number, "portRange": _range, "namedPort": text}
_NEW_PORTS: _Kinds = {"tcp": _destination, "udp": _destination, "sctp": _destination, "destinationNamedPort": text}
