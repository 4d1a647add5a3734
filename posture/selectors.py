"""Label selectors. Source: apimachinery pkg/apis/meta/v1 (LabelSelectorAsSelector), pkg/labels/selector.go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a LabelSelector. An empty selector matches everything, None nothing."""
    if not selector:
        return selector is not None
    for key, value in (selector.get("matchLabels") or {}).items():  # a loop: this is asked millions of times
        if labels.get(key) != value:
            return False
    return all(_holds(requirement, labels) for requirement in selector.get("matchExpressions") or ())


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = requirement.get("key") or "", requirement.get("operator"), requirement.get("values") or ()
    if not isinstance(key, str) or not isinstance(values, list | tuple):
        return False  # no server stores it where it knows what a selector is
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":  # true where the key is absent
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    return operator == "DoesNotExist" and key not in labels


def shown(selector: Mapping[str, Any]) -> str:
    """A LabelSelector as kubectl writes it: `team=pay,env in (dev,test),!legacy`; "" matches everything."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for requirement in selector.get("matchExpressions") or ():
        key, operator, values = requirement["key"], requirement["operator"], ",".join(requirement.get("values") or ())
        words = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        parts.append(words.get(operator, f"!{key}"))
    return ",".join(parts)
