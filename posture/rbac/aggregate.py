"""What the clusterrole-aggregation controller makes of labels.

Source: pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go (syncClusterRole): for each
selector in order, the selected roles sorted by name, without the role itself, rules that are already there left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from posture.model import Changed, Content, Key, Snapshot
from posture.selectors import matches

from .evaluate import CLUSTER_ROLES
from .rules import parse


def selects(role: Content, labels: Mapping[str, str]) -> bool:
    """Whether an aggregated role draws from roles with these labels."""
    rule = role.get("aggregationRule") or {}
    return any(matches(selector, labels) for selector in rule.get("clusterRoleSelectors") or ())


def sources(role: Key, content: Content, roles: Mapping[Key, Content]) -> Iterator[tuple[Key, Content]]:
    """The roles that an aggregated role is made of, sorted by name within each selector."""
    for selector in (content.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        for key in sorted(roles):
            if key != role and matches(selector, roles[key].get("labels") or {}):
                yield key, roles[key]


def rules(role: Key, content: Content, roles: Mapping[Key, Content]) -> list[Any]:
    """The rules that the controller would write."""
    found: list[Any] = []
    for _, source in sources(role, content, roles):
        for rule in source.get("rules") or ():
            if rule not in found:
                found.append(rule)
    return found


def aggregated(snapshot: Snapshot) -> Mapping[Key, Content]:
    """The aggregated roles of a snapshot, found once."""
    kept = snapshot.derived_from(CLUSTER_ROLES)
    if "aggregated" not in kept:
        kept["aggregated"] = {
            key: content for key, content in snapshot.objects(CLUSTER_ROLES) if content.get("aggregationRule")
        }
    found: Mapping[Key, Content] = kept["aggregated"]
    return found


def settle(snapshot: Snapshot, changed: Iterable[Changed]) -> tuple[Changed, ...]:
    """Changes, and what the controller would do about them: rules of aggregated roles that they reach.

    A role whose rules come from labels cannot be mended in place: the controller writes them again.
    """
    given = {change.key: change for change in changed}
    moved = [change for change in given.values() if change.key.resource == CLUSTER_ROLES]
    if not moved:
        return tuple(given.values())
    after = dict(snapshot.objects(CLUSTER_ROLES))
    for change in moved:
        if change.new is None:
            after.pop(change.key, None)
        else:
            after[change.key] = change.new
    made = [key for key, content in after.items() if content.get("aggregationRule")]
    for _ in made:  # an aggregated role may be made of others: one round more for each
        reached = []
        for key in made:
            content = after[key]
            if not any(change.key == key or _reaches(content, change) for change in moved):
                continue
            wanted = rules(key, content, after)
            if parse(wanted) is not parse(content.get("rules") or ()):
                after[key] = {**content, "rules": wanted}
                given[key] = Changed(key, snapshot.get(key), after[key])
                reached.append(given[key])
        if not reached:
            break
        moved += reached
    return tuple(given.values())


def _reaches(role: Content, change: Changed) -> bool:
    return any(side is not None and selects(role, side.get("labels") or {}) for side in (change.old, change.new))


def contributors(snapshot: Snapshot, role: Key) -> tuple[Key, ...]:
    """The roles that a ClusterRole is made of, and what these are made of; () when its rules are its own."""
    if role not in aggregated(snapshot):
        return ()
    memo: dict[Key, tuple[Key, ...]] = snapshot.derived_from(CLUSTER_ROLES).setdefault("contributors", {})
    if role not in memo:
        roles = dict(snapshot.objects(CLUSTER_ROLES))
        found = {role: None}
        pending = [role]
        for key in pending:
            fresh = [source for source, _ in sources(key, roles[key], roles) if source not in found]
            found |= dict.fromkeys(fresh)
            pending += fresh
        memo[role] = tuple(found)[1:]
    return memo[role]
