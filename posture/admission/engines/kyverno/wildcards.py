"""Wildcards, kinds and label selectors as Kyverno reads them.

Source: kyverno v1.19.0: ext/wildcard (go-wildcard v1.0.3: `*` is any text, `?` exactly one character), pkg/utils/kube
(ParseKindSelector), pkg/utils/match and pkg/engine/wildcards (ReplaceInSelector).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from posture import selectors
from posture.admission.pods import mapping, mappings, texts
from posture.admission.requests import Request

_VERSION = re.compile(r"v\d((alpha|beta)\d)?|\*", re.ASCII)


def wild(text: str) -> bool:
    """Whether a text has wildcards."""
    return "*" in text or "?" in text


@lru_cache(16384)
def matches(pattern: str, text: str) -> bool:
    """Whether a text is as a pattern with wildcards says. Costs the product of their lengths at most."""
    if not wild(pattern):
        return pattern == text
    at = place = 0
    star, mark = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark, at = at, place, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = star + 1, mark
        else:
            return False
    return not pattern[at:].strip("*")


def any_matches(patterns: Iterable[str], text: str) -> bool:
    """Whether a text is as one of some patterns says."""
    return any(matches(one, text) for one in patterns)


def strings(value: Any) -> tuple[str, ...]:
    """The texts of a list that holds texts."""
    return tuple(one for one in texts(value) if isinstance(one, str))


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether labels are as a selector says, which may have wildcards in the keys and values of `matchLabels`."""
    plain = {}
    for key, value in mapping(mapping(selector).get("matchLabels")).items():
        if not isinstance(value, str) or not (wild(key) or wild(value)):
            plain[key] = value
        elif not any(matches(key, one) and matches(value, text) for one, text in labels.items()):
            plain[key.translate(_ZERO)] = value.translate(_ZERO)
    requirements = [
        {**one, "values": strings(one.get("values"))} for one in mappings(mapping(selector).get("matchExpressions"))
    ]
    return selectors.matches({"matchLabels": plain, "matchExpressions": requirements}, labels)


_ZERO = str.maketrans("*?", "00")
"""What stands for wildcards that nothing matches."""


class KindSelector(NamedTuple):
    """What a kind such as `Pod`, `apps/v1/Deployment` or `Pod/exec` selects."""

    group: str
    version: str
    kind: str
    subresource: str


@lru_cache(4096)
def kind_selector(text: str) -> KindSelector:
    """Read a kind. `*` is all kinds and no subresource, `*/*` all of both."""
    *first, last = text.split("/")
    parts = [*first, *last.split(".")]
    if len(parts) == 1:
        return KindSelector("*", "*", parts[0], "")
    if len(parts) == 2:
        if parts == ["*", "*"]:
            return KindSelector("*", "*", "*", "*")
        if parts[0] == "*" and parts[1].lower() == parts[1]:
            return KindSelector("*", "*", "*", parts[1])
        if _VERSION.fullmatch(parts[0]):
            return KindSelector("*", parts[0], parts[1], "")
        return KindSelector("*", "*", parts[0], parts[1])
    if len(parts) == 3:
        if _VERSION.fullmatch(parts[0]):
            return KindSelector("*", *parts)
        return KindSelector(parts[0], parts[1], parts[2], "")
    return KindSelector(*parts) if len(parts) == 4 else KindSelector("", "", "", "")


def of_kind(kinds: Iterable[str], request: Request) -> bool:
    """Whether a request is about one of some kinds. Who names pods names their ephemeral containers too."""
    found = request.kind
    ephemeral = found == ("", "v1", "Pod") and request.subresource == "ephemeralcontainers"
    return any(
        selects_kind(one, found) and (ephemeral or matches(one.subresource, request.subresource))
        for one in map(kind_selector, kinds)
    )


def selects_kind(selector: KindSelector, kind: tuple[str, str, str]) -> bool:
    """Whether it is of a group, version and kind, whatever the subresource is."""
    group, version, name = kind
    return matches(selector.group, group) and matches(selector.version, version) and matches(selector.kind, name)


def kinds_meet(one: str, other: str) -> bool:
    """Whether there may be something of both kinds."""
    first, second = kind_selector(one).kind, kind_selector(other).kind
    return wild(first) or wild(second) or first == second
