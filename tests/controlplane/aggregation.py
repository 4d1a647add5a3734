"""Says when the controllers have filled in every aggregated ClusterRole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def aggregated(cluster_roles: Sequence[dict[str, Any]]) -> bool:
    """Says whether each role with an aggregationRule holds exactly the rules of the roles that it selects.

    An aggregated role may select another one (`admin` selects `edit`, which selects `view`); when every one of them is
    right at the same moment, no controller has anything left to do. There are some aggregated roles in every cluster:
    with none of them in the list the answer is no.
    """
    aggregating = [role for role in cluster_roles if role.get("aggregationRule")]
    return bool(aggregating) and all(_holds(role, cluster_roles) for role in aggregating)


def _holds(role: dict[str, Any], cluster_roles: Sequence[dict[str, Any]]) -> bool:
    selectors = role["aggregationRule"].get("clusterRoleSelectors") or []
    name = role["metadata"]["name"]
    selected = [
        other for other in cluster_roles
        if other["metadata"]["name"] != name and any(_selects(selector, other) for selector in selectors)
    ]  # fmt: skip
    return _rules(role) == {text for other in selected for text in _rules(other)}


def _selects(selector: dict[str, Any], role: dict[str, Any]) -> bool:
    """Compares labels only by matchLabels, which is all that the default roles use."""
    labels = role["metadata"].get("labels") or {}
    wanted = selector.get("matchLabels") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def _rules(role: dict[str, Any]) -> set[str]:
    return {json.dumps(rule, sort_keys=True) for rule in role.get("rules") or []}
