"""Fields of a spec as the API server decodes and checks them: JSON in which null is what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from posture.text import visible

_LAST_PORT = 65535
_LONGEST_NAME = 253
_LABEL = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


class RefusedError(ValueError):
    """A field that the API server refuses, and why."""


def filled(**fields: Any) -> dict[str, Any]:
    """Fields without those that are left out of JSON when they are empty."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def mapping(path: str, value: Any) -> Mapping[str, Any]:
    """A mapping; {} where it is left out."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RefusedError(f"{path} is not a mapping")
    return value


def items(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The items of a list, each with its path."""
    if value is not None and not isinstance(value, list):
        raise RefusedError(f"{path} is not a list")
    return ((f"{path}[{number}]", item) for number, item in enumerate(value or ()))


def text(path: str, value: Any) -> str:
    """A string; "" where it is left out."""
    if value is not None and not isinstance(value, str):
        raise RefusedError(f"{path} is not a string")
    return value or ""


def one_of(path: str, value: Any, known: tuple[str, ...]) -> str:
    """One of the strings that are known."""
    found = text(path, value)
    if found not in known:
        raise RefusedError(f"{path} is {quoted(found)}, not {' or '.join(known)}")
    return found


def quoted(given: str) -> str:
    """A string from an object, for people."""
    return visible(given, 80) or "empty"


def port_number(path: str, value: Any) -> int:
    """A port."""
    return integer(path, value, 1, _LAST_PORT, "port number")


def integer(path: str, value: Any, first: int, last: int, called: str = "integer") -> int:
    """An integer of a range."""
    if isinstance(value, float) and value.is_integer():  # kubectl sends 80.0 as 80
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not first <= value <= last:
        raise RefusedError(f"{path} is no {called} from {first} to {last}")
    return int(value)


def subdomain(path: str, value: Any) -> str:
    """A DNS subdomain (RFC 1123), as most objects are named."""
    found = text(path, value)
    if len(found) > _LONGEST_NAME or not _SUBDOMAIN.fullmatch(found):
        raise RefusedError(f"{path} is {quoted(found)}, no DNS subdomain")
    return found


def qualified(path: str, value: Any) -> str:
    """A qualified name, as a label's key is."""
    found = text(path, value)
    if not _is_qualified(found):
        raise RefusedError(f"{path} is {quoted(found)}, no qualified name")
    return found


def segment(path: str, value: Any) -> str:
    """A name that is one segment of a URL's path."""
    found = text(path, value)
    if found in (".", "..") or "/" in found or "%" in found:
        raise RefusedError(f"{path} is {quoted(found)}, no name of an object")
    return found


def selector(path: str, selector: Any) -> dict[str, Any]:
    """A LabelSelector, as pkg/apis/meta/v1/validation of apimachinery reads it."""
    given = mapping(path, selector)
    labels = {}
    for key, value in mapping(f"{path}.matchLabels", given.get("matchLabels")).items():
        _label_key(f"{path}.matchLabels", key)
        labels[key] = _label_value(f"{path}.matchLabels[{visible(key, 80)}]", value)
    expressions = [
        _expression(where, one) for where, one in items(f"{path}.matchExpressions", given.get("matchExpressions"))
    ]
    return filled(matchLabels=labels or None, matchExpressions=expressions)


def _expression(path: str, expression: Any) -> dict[str, Any]:
    given = mapping(path, expression)
    key = text(f"{path}.key", given.get("key"))
    _label_key(f"{path}.key", key)
    operator = one_of(f"{path}.operator", given.get("operator"), ("In", "NotIn", "Exists", "DoesNotExist"))
    values = [_label_value(where, one) for where, one in items(f"{path}.values", given.get("values"))]
    if bool(values) != (operator in ("In", "NotIn")):
        raise RefusedError(f"{path}.values is {'not empty' if values else 'empty'}, and the operator is {operator}")
    return {"key": key, "operator": operator, **filled(values=values)}


def _is_qualified(name: str) -> bool:
    prefix, slash, last = name.rpartition("/")
    return bool(_LABEL.fullmatch(last)) and (
        not slash or (len(prefix) <= _LONGEST_NAME and bool(_SUBDOMAIN.fullmatch(prefix)))
    )


def _label_key(path: str, key: str) -> None:
    if not _is_qualified(key):
        raise RefusedError(f"{path}: {visible(key, 80) or 'the empty text'} is no label's key")


def _label_value(path: str, value: Any) -> str:
    found = text(path, value)
    if found and not _LABEL.fullmatch(found):
        raise RefusedError(f"{path} is {quoted(found)}, no label's value")
    return found
