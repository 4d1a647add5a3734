"""The functions of Kubernetes' own CEL libraries, in Python: quantities, addresses, URLs, versions, lists, regexps.

Source: k8s.io/apiserver v0.36.3, pkg/cel/library. Values of a library's own types are mappings with one key, `@` and
the type, which holds the canonical form: two of them are equal when the values are. An error is a ValueError. What is
not worked out here raises `Unanswered`: the expression that needs it has no answer.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

type Opaque = dict[str, str]

MAX_INT, MIN_INT = 2**63 - 1, -(2**63)


class Unanswered(Exception):
    """What a function gives cannot be told; the message says why."""


class Function(NamedTuple):
    """One overload: its name, its parameters and its result by the names of CEL's types, and what it does."""

    name: str
    parameters: str
    result: str
    work: Callable[..., Any]
    member: bool = True


def _held(value: Any, *kinds: str) -> tuple[str, str]:
    """The type and the canonical form of a value of a library's own type."""
    for kind in kinds:
        if isinstance(value, dict) and len(value) == 1 and f"@{kind}" in value:
            return kind, str(value[f"@{kind}"])
    raise ValueError("no such overload")


def _is(parse: Callable[..., object]) -> Callable[..., bool]:
    def found(*given: Any) -> bool:
        try:
            parse(*given)
        except ValueError:
            return False
        return True

    return found


# Quantities ---------------------------------------------------------------------------------------------------------

_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)?|[eE]([+-]?[0-9]{1,4}))", re.ASCII
)
_DECIMAL = {suffix: Fraction(10) ** (3 * power) for power, suffix in enumerate("num kMGTPE", -3)}
_BINARY = {f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}
_NANO = Fraction(1, 10**9)


def quantity(text: str) -> Opaque:
    """The value of a quantity such as `500m`. Finer than nano is rounded up, as the server does."""
    if len(text) > 100:
        raise Unanswered("a quantity of more than 100 characters")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"quantity {text!r} is malformed")
    number, suffix, exponent = match.groups()
    scale = Fraction(10) ** int(exponent) if exponent else (_DECIMAL | _BINARY).get(suffix or "", Fraction(1))
    return _quantity(Fraction(number) * scale)


def _quantity(value: Fraction) -> Opaque:
    if abs(value) > MAX_INT or value % _NANO:
        raise Unanswered("a quantity beyond what 64 bits hold, or finer than nano")
    return {"@quantity": str(value)}


def _number(value: Any) -> Fraction:
    return Fraction(_held(value, "quantity")[1])


def _term(value: Any) -> Fraction:
    return Fraction(value) if isinstance(value, int) and not isinstance(value, bool) else _number(value)


def _as_integer(value: Any) -> int:
    found = _number(value)
    if found.denominator != 1:
        raise ValueError("cannot convert value to integer")
    return int(found)


# Addresses ----------------------------------------------------------------------------------------------------------

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type _Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _parsed_ip(text: str) -> _Address:
    found = ipaddress.ip_address(text)
    if "%" in text or (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None):
        raise ValueError(f"IP address {text!r} has a zone or is an IPv4 address in IPv6")
    return found


def ip(text: str) -> Opaque:
    """An IP address."""
    return {"@ip": str(_parsed_ip(text))}


def _parsed_cidr(text: str) -> _Interface:
    if re.search(r"/(0|[1-9][0-9]{0,2})\Z", text, re.ASCII) is None:
        raise ValueError(f"{text!r} has no prefix length")
    _parsed_ip(text.rpartition("/")[0])
    return ipaddress.ip_interface(text)


def cidr(text: str) -> Opaque:
    """A range of addresses, with the address that it was written with."""
    return {"@cidr": str(_parsed_cidr(text))}


def _address(value: Any) -> _Address:
    return _parsed_ip(value) if isinstance(value, str) else ipaddress.ip_address(_held(value, "ip")[1])


def _range(value: Any) -> _Interface:
    return _parsed_cidr(value) if isinstance(value, str) else ipaddress.ip_interface(_held(value, "cidr")[1])


def _global_unicast(one: _Address) -> bool:
    special = one.is_unspecified or one.is_loopback or one.is_multicast or one.is_link_local
    return not special and str(one) != "255.255.255.255"


def _link_local_multicast(one: _Address) -> bool:
    if one.version == 4:
        return one in ipaddress.ip_network("224.0.0.0/24")
    return one.packed[0] == 0xFF and one.packed[1] & 0x0F == 2


def _contains_ip(outer: Any, inner: Any) -> bool:
    return _address(inner) in _range(outer).network


def _contains_cidr(outer: Any, inner: Any) -> bool:
    mine, other = _range(outer).network, _range(inner)
    return mine.version == other.version and mine.prefixlen <= other.network.prefixlen and other.ip in mine


# URLs ---------------------------------------------------------------------------------------------------------------

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]+))?"
    r"(?P<path>/[A-Za-z0-9._~/-]*)?(?:\?(?P<query>[A-Za-z0-9._~&=+-]*))?",
    re.ASCII,
)


def url(text: str) -> Opaque:
    """An absolute URL of plain letters, or a path; of what Go's parser makes of others there is no telling."""
    if _URL.fullmatch(text) is None:
        if text == "" or re.fullmatch(r"[A-Za-z0-9._-]+", text, re.ASCII):
            raise ValueError("URL parse error: invalid URI for request")
        raise Unanswered(f"URL {text[:100]!r} is not one of plain letters")
    return {"@url": text}


def _part(name: str) -> Callable[[Any], str]:
    def found(value: Any) -> str:
        match = _URL.fullmatch(_held(value, "url")[1])
        return (match[name] or "") if match else ""

    return found


def _host(value: Any) -> str:
    port = _part("port")(value)
    return _part("host")(value) + (f":{port}" if port else "")


def _query(value: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in filter(None, _part("query")(value).split("&")):
        key, _, text = pair.partition("=")
        found.setdefault(unquote_plus(key), []).append(unquote_plus(text))
    return found


# Semantic versions --------------------------------------------------------------------------------------------------

_NUMBER = r"(0|[1-9][0-9]*)"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII)


def semver(text: str, normalize: bool = False) -> Opaque:
    """A semantic version. Of build metadata, which is compared with nothing, only `==` would know."""
    if normalize and text != "":
        raise Unanswered("a version that is to be normalized")
    match = _SEMVER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:100]!r} is no semantic version")
    labels = match[4].split(".") if match[4] else []
    if any(label == "" or (label.isdigit() and label != "0" and label[0] == "0") for label in labels):
        raise ValueError(f"{text[:100]!r} is no semantic version")
    return {"@semver": text}


def _precedence(value: Any) -> tuple[Any, ...]:
    match = _SEMVER.fullmatch(_held(value, "semver")[1])
    assert match is not None
    labels = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in (match[4] or "").split("."))
    return (*(int(match[number]) for number in (1, 2, 3)), match[4] is None, labels)


def _ordered(one: Any, other: Any) -> int:
    if isinstance(one, dict) and "@semver" in one:
        mine, its = _precedence(one), _precedence(other)
        return (mine > its) - (mine < its)
    left, right = _number(one), _number(other)
    return (left > right) - (left < right)


# Lists --------------------------------------------------------------------------------------------------------------


def _comparable(items: Sequence[Any]) -> None:
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in items)
    if not numbers and len({type(one) for one in items}) > 1:
        raise ValueError("no such overload")
    if any(isinstance(one, (dict, list)) or one is None for one in items):
        raise ValueError("no such overload")


def _is_sorted(items: list[Any]) -> bool:
    _comparable(items)
    return all(one <= other for one, other in itertools.pairwise(items))


def _most(choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def found(items: list[Any]) -> Any:
        if not items:
            raise ValueError("called on empty list")
        _comparable(items)
        return choose(items)

    return found


def _sum(items: list[Any]) -> Any:
    kinds = {type(one) for one in items}
    if len(kinds) != 1 or not kinds <= {int, float}:
        raise Unanswered("the sum of an empty list, or of values that are no numbers of one type")
    found = sum(items)
    if isinstance(found, int) and not MIN_INT <= found <= MAX_INT:
        raise ValueError("integer overflow")
    return found


# Regular expressions ------------------------------------------------------------------------------------------------

_GROUP = re.compile(r"(\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\])|\((?!\?)|\(\?P?<[A-Za-z_]\w*>", re.DOTALL)


def uncaptured(pattern: str) -> str:
    """The pattern with no group captured: what it matches stays the same."""
    if "\\Q" in pattern:
        raise Unanswered("a quoted part of a regular expression")
    return _GROUP.sub(lambda match: match[1] or "(?:", pattern)


# The table ----------------------------------------------------------------------------------------------------------


def _authorizer(*_: Any) -> Any:
    raise Unanswered("what the authorizer would say is not asked")


_AUTHORIZER = (
    ("path", "dyn string"), ("group", "dyn string"), ("serviceAccount", "dyn string string"),
    ("resource", "dyn string"), ("subresource", "dyn string"), ("namespace", "dyn string"), ("name", "dyn string"),
    ("fieldSelector", "dyn string"), ("labelSelector", "dyn string"), ("check", "dyn string"), ("check", "dyn"),
    ("allowed", "dyn"), ("reason", "dyn"), ("errored", "dyn"), ("error", "dyn"),
)  # fmt: skip
_BOOLEAN = {"allowed": "bool", "errored": "bool", "reason": "string", "error": "string"}

FUNCTIONS: tuple[Function, ...] = (
    Function("quantity", "string", "map", quantity, member=False),
    Function("isQuantity", "string", "bool", _is(quantity), member=False),
    Function("sign", "map", "int", lambda one: (_number(one) > 0) - (_number(one) < 0), member=False),
    Function("isInteger", "map", "bool", lambda one: _number(one).denominator == 1),
    Function("asInteger", "map", "int", _as_integer),
    Function("asApproximateFloat", "map", "double", lambda one: float(_number(one))),
    Function("add", "map map", "map", lambda one, other: _quantity(_number(one) + _term(other))),
    Function("add", "map int", "map", lambda one, other: _quantity(_number(one) + _term(other))),
    Function("sub", "map map", "map", lambda one, other: _quantity(_number(one) - _term(other))),
    Function("sub", "map int", "map", lambda one, other: _quantity(_number(one) - _term(other))),
    Function("isGreaterThan", "map map", "bool", lambda one, other: _ordered(one, other) > 0),
    Function("isLessThan", "map map", "bool", lambda one, other: _ordered(one, other) < 0),
    Function("compareTo", "map map", "int", _ordered),
    Function("ip", "string", "map", ip, member=False),
    Function("ip", "map", "map", lambda one: {"@ip": str(_range(one).ip)}),
    Function("isIP", "string", "bool", _is(ip), member=False),
    Function("ip.isCanonical", "string", "bool", lambda text: str(_parsed_ip(text)) == text, member=False),
    Function("family", "map", "int", lambda one: _address(one).version),
    Function("isUnspecified", "map", "bool", lambda one: _address(one).is_unspecified),
    Function("isLoopback", "map", "bool", lambda one: _address(one).is_loopback),
    Function("isLinkLocalMulticast", "map", "bool", lambda one: _link_local_multicast(_address(one))),
    Function("isLinkLocalUnicast", "map", "bool", lambda one: _address(one).is_link_local),
    Function("isGlobalUnicast", "map", "bool", lambda one: _global_unicast(_address(one))),
    Function("cidr", "string", "map", cidr, member=False),
    Function("isCIDR", "string", "bool", _is(cidr), member=False),
    Function("containsIP", "map map", "bool", _contains_ip),
    Function("containsIP", "map string", "bool", _contains_ip),
    Function("containsCIDR", "map map", "bool", _contains_cidr),
    Function("containsCIDR", "map string", "bool", _contains_cidr),
    Function("masked", "map", "map", lambda one: {"@cidr": str(_range(one).network)}),
    Function("prefixLength", "map", "int", lambda one: _range(one).network.prefixlen),
    Function("url", "string", "map", url, member=False),
    Function("isURL", "string", "bool", _is(url), member=False),
    Function("getScheme", "map", "string", _part("scheme")),
    Function("getHost", "map", "string", _host),
    Function("getHostname", "map", "string", _part("host")),
    Function("getPort", "map", "string", _part("port")),
    Function("getEscapedPath", "map", "string", _part("path")),
    Function("getQuery", "map", "map", _query),
    Function("semver", "string", "map", semver, member=False),
    Function("semver", "string bool", "map", semver, member=False),
    Function("isSemver", "string", "bool", _is(semver), member=False),
    Function("isSemver", "string bool", "bool", _is(semver), member=False),
    Function("major", "map", "int", lambda one: _precedence(one)[0]),
    Function("minor", "map", "int", lambda one: _precedence(one)[1]),
    Function("patch", "map", "int", lambda one: _precedence(one)[2]),
    Function("isSorted", "list", "bool", _is_sorted),
    Function("min", "list", "dyn", _most(min)),
    Function("max", "list", "dyn", _most(max)),
    Function("sum", "list", "dyn", _sum),
    *(Function(name, given, _BOOLEAN.get(name, "dyn"), _authorizer) for name, given in _AUTHORIZER),
)
"""`find` and `findAll` are not here: the environment has the engine for regular expressions that they need."""
