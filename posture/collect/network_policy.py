"""A NetworkPolicy's spec as the API server would store it: what it refuses, drops and fills in.

As k8s.io/api networking/v1 decodes it, pkg/apis/networking/v1 defaults it and pkg/apis/networking/validation checks it.
tests/collect/test_refused.py compares all of it with a real server.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from posture import cidr as notation
from posture.collect.fields import RefusedError, filled, items, mapping, one_of, port_number, quoted, selector, text

_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")


def refused(spec: Any) -> str:
    """What the API server would refuse in a spec; "" when nothing."""
    try:
        stored(spec)
    except RefusedError as error:
        return str(error)
    return ""


def stored(spec: Any) -> dict[str, Any]:
    """A spec with the API's defaults and without what means nothing: null, empty lists, unknown fields.

    Raises RefusedError for what the server refuses.
    """
    given = mapping("spec", spec)
    pods = selector("spec.podSelector", given.get("podSelector"))
    ingress = [_rule(path, rule, "from") for path, rule in items("spec.ingress", given.get("ingress"))]
    egress = [_rule(path, rule, "to") for path, rule in items("spec.egress", given.get("egress"))]
    types = [
        one_of(path, one, ("Ingress", "Egress")) for path, one in items("spec.policyTypes", given.get("policyTypes"))
    ]
    if len(types) > 2:
        raise RefusedError("spec.policyTypes has more than two items")
    types = types or (["Ingress", "Egress"] if egress else ["Ingress"])
    return {"podSelector": pods, **filled(ingress=ingress, egress=egress, policyTypes=types)}


def _rule(path: str, rule: Any, others: str) -> dict[str, Any]:
    given = mapping(path, rule)
    ports = [_port(where, one) for where, one in items(f"{path}.ports", given.get("ports"))]
    peers = [_peer(where, one) for where, one in items(f"{path}.{others}", given.get(others))]
    return filled(**{"ports": ports, others: peers})


def _port(path: str, port: Any) -> dict[str, Any]:
    given = mapping(path, port)
    protocol, number, last = (given.get(field) for field in ("protocol", "port", "endPort"))
    protocol = "TCP" if protocol is None else one_of(f"{path}.protocol", protocol, ("TCP", "UDP", "SCTP"))
    if isinstance(number, str):
        if not _PORT_NAME.fullmatch(number):
            raise RefusedError(f"{path}.port is {quoted(number)}, neither a number nor a port's name")
    elif number is not None:
        number = port_number(f"{path}.port", number)
    if last is not None:
        last = port_number(f"{path}.endPort", last)
        if not isinstance(number, int):
            raise RefusedError(f"{path}.endPort stands beside no port number")
        if last < number:
            raise RefusedError(f"{path}.endPort is less than port")
    return {"protocol": protocol, **filled(port=number, endPort=last)}


def _peer(path: str, peer: Any) -> dict[str, Any]:
    given = mapping(path, peer)
    found = {
        field: selector(f"{path}.{field}", given[field])
        for field in ("podSelector", "namespaceSelector")
        if given.get(field) is not None
    }
    if given.get("ipBlock") is not None:
        if found:
            raise RefusedError(f"{path} has an ipBlock and another field beside it")
        found["ipBlock"] = _block(f"{path}.ipBlock", given["ipBlock"])
    if not found:
        raise RefusedError(f"{path} has neither a selector nor an ipBlock")
    return found


def _block(path: str, block: Any) -> dict[str, Any]:
    given = mapping(path, block)
    cidr = text(f"{path}.cidr", given.get("cidr"))
    network, length = _network(f"{path}.cidr", cidr)
    excepted = []
    for where, one in items(f"{path}.except", given.get("except")):
        inner = text(where, one)
        within, longer = _network(where, inner)
        inside = within.version == network.version and within.network_address in network
        if not inside or longer <= length:  # the lengths as they are written, even of IPv4 inside of IPv6
            raise RefusedError(f"{where} is {inner}, no part of {cidr}")
        excepted.append(inner)
    return {"cidr": cidr, **filled(**{"except": excepted})}


def _network(path: str, cidr: str) -> tuple[IPv4Network | IPv6Network, int]:
    try:
        return notation.network(cidr)
    except ValueError:
        raise RefusedError(f"{path} is {quoted(cidr)}, no CIDR") from None
