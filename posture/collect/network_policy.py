"""A NetworkPolicy's spec as the API server would store it: what it refuses, drops and fills in.

As k8s.io/api networking/v1 decodes it, pkg/apis/networking/v1 defaults it and pkg/apis/networking/validation checks it.
tests/collect/test_refused.py compares all of it with a real server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from posture.text import visible

_LAST_PORT = 65535
_LABEL = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9A-Fa-f])")


class RefusedError(ValueError):
    """A field that the API server refuses, and why."""


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
    given = _mapping("spec", spec)
    selector = _selector("spec.podSelector", given.get("podSelector"))
    ingress = [_rule(path, rule, "from") for path, rule in _items("spec.ingress", given.get("ingress"))]
    egress = [_rule(path, rule, "to") for path, rule in _items("spec.egress", given.get("egress"))]
    types = [
        _one_of(path, one, ("Ingress", "Egress")) for path, one in _items("spec.policyTypes", given.get("policyTypes"))
    ]
    if len(types) > 2:
        raise RefusedError("spec.policyTypes has more than two items")
    types = types or (["Ingress", "Egress"] if egress else ["Ingress"])
    return {"podSelector": selector, **_filled(ingress=ingress, egress=egress, policyTypes=types)}


def _rule(path: str, rule: Any, others: str) -> dict[str, Any]:
    given = _mapping(path, rule)
    ports = [_port(where, one) for where, one in _items(f"{path}.ports", given.get("ports"))]
    peers = [_peer(where, one) for where, one in _items(f"{path}.{others}", given.get(others))]
    return _filled(**{"ports": ports, others: peers})


def _port(path: str, port: Any) -> dict[str, Any]:
    given = _mapping(path, port)
    protocol, number, last = (given.get(field) for field in ("protocol", "port", "endPort"))
    protocol = "TCP" if protocol is None else _one_of(f"{path}.protocol", protocol, ("TCP", "UDP", "SCTP"))
    if isinstance(number, str):
        if not _PORT_NAME.fullmatch(number):
            raise RefusedError(f"{path}.port is {_quoted(number)}, neither a number nor a port's name")
    elif number is not None:
        number = _port_number(f"{path}.port", number)
    if last is not None:
        last = _port_number(f"{path}.endPort", last)
        if not isinstance(number, int):
            raise RefusedError(f"{path}.endPort stands beside no port number")
        if last < number:
            raise RefusedError(f"{path}.endPort is less than port")
    return {"protocol": protocol, **_filled(port=number, endPort=last)}


def _port_number(path: str, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():  # kubectl sends 80.0 as 80
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LAST_PORT:
        raise RefusedError(f"{path} is no port number from 1 to {_LAST_PORT}")
    return int(value)


def _peer(path: str, peer: Any) -> dict[str, Any]:
    given = _mapping(path, peer)
    found = {
        field: _selector(f"{path}.{field}", given[field])
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
    given = _mapping(path, block)
    cidr = _text(f"{path}.cidr", given.get("cidr"))
    network = _network(f"{path}.cidr", cidr)
    excepted = []
    for where, one in _items(f"{path}.except", given.get("except")):
        text = _text(where, one)
        within = _network(where, text)
        inside = within.version == network.version and within.network_address in network
        if not inside or within.prefixlen <= network.prefixlen:
            raise RefusedError(f"{where} is {text}, no part of {cidr}")
        excepted.append(text)
    return {"cidr": cidr, **_filled(**{"except": excepted})}


def _network(path: str, cidr: str) -> IPv4Network | IPv6Network:
    """The network of a CIDR as ParseCIDRSloppy reads it: leading zeros are decimal, bits below the prefix go.

    Kubernetes refuses both in new objects only since 1.36 (StrictIPCIDRValidation), and never in those that it has.
    """
    address, _, length = cidr.partition("/")
    if length.isascii() and length.isdigit() and "%" not in address:
        with suppress(ValueError):
            return ip_network((ip_address(_LEADING_ZEROS.sub("", address)), int(length)), strict=False)
    raise RefusedError(f"{path} is {_quoted(cidr)}, no CIDR")


def _selector(path: str, selector: Any) -> dict[str, Any]:
    """A LabelSelector, as pkg/apis/meta/v1/validation of apimachinery reads it."""
    given = _mapping(path, selector)
    labels = {}
    for key, value in _mapping(f"{path}.matchLabels", given.get("matchLabels")).items():
        _label_key(f"{path}.matchLabels", key)
        labels[key] = _label_value(f"{path}.matchLabels[{visible(key, 80)}]", value)
    expressions = [
        _expression(where, one) for where, one in _items(f"{path}.matchExpressions", given.get("matchExpressions"))
    ]
    return _filled(matchLabels=labels or None, matchExpressions=expressions)


def _expression(path: str, expression: Any) -> dict[str, Any]:
    given = _mapping(path, expression)
    key = _text(f"{path}.key", given.get("key"))
    _label_key(f"{path}.key", key)
    operator = _one_of(f"{path}.operator", given.get("operator"), ("In", "NotIn", "Exists", "DoesNotExist"))
    values = [_label_value(where, one) for where, one in _items(f"{path}.values", given.get("values"))]
    if bool(values) != (operator in ("In", "NotIn")):
        raise RefusedError(f"{path}.values is {'not empty' if values else 'empty'}, and the operator is {operator}")
    return {"key": key, "operator": operator, **_filled(values=values)}


def _label_key(path: str, key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL.fullmatch(name) or (slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix))):
        raise RefusedError(f"{path}: {visible(key, 80) or 'the empty text'} is no label's key")


def _label_value(path: str, value: Any) -> str:
    text = _text(path, value)
    if text and not _LABEL.fullmatch(text):
        raise RefusedError(f"{path} is {_quoted(text)}, no label's value")
    return text


# JSON as Go decodes it: null is what was left out. --------------------------------------------------------------------


def _filled(**fields: Any) -> dict[str, Any]:
    """Fields without those that are left out of JSON when they are empty."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def _mapping(path: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RefusedError(f"{path} is not a mapping")
    return value


def _items(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The items of a list, each with its path."""
    if value is not None and not isinstance(value, list):
        raise RefusedError(f"{path} is not a list")
    return ((f"{path}[{number}]", item) for number, item in enumerate(value or ()))


def _text(path: str, value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise RefusedError(f"{path} is not a string")
    return value or ""


def _one_of(path: str, value: Any, known: tuple[str, ...]) -> str:
    text = _text(path, value)
    if text not in known:
        raise RefusedError(f"{path} is {_quoted(text)}, not {' or '.join(known)}")
    return text


def _quoted(text: str) -> str:
    return visible(text, 80) or "empty"
