"""What a running cluster would have added to manifests: default roles, and what aggregated ones are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from posture.model import Content, Key, Snapshot
from posture.text import count, listed

from .aggregate import rules
from .evaluate import CLUSTER_ROLES


def completed(
    snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]
) -> tuple[Mapping[Key, Content], tuple[str, ...]]:
    """What a running cluster would have added to a folder's objects, and the same in words.

    Every default ClusterRole whose name the folder does not hold: one more in it says nothing about the others. What
    the folder leaves out of one, as applying it would. And what aggregated roles get from the roles that they select;
    never less than is stored, for a folder may hold only some of these.
    """
    assumed: list[str] = []
    roles = dict(snapshot.objects(CLUSTER_ROLES))
    defaults = {key: content for key, content in shipped if key.resource == CLUSTER_ROLES}
    added = {key: content for key, content in defaults.items() if key not in roles}
    if added:
        assumed.append(f"{count(len(added), 'default ClusterRole')} as Kubernetes ships them")
    laid = {key: _laid_over(roles[key], content) for key, content in defaults.items() if key in roles}
    laid = {key: content for key, content in laid.items() if content != roles[key]}
    if laid:
        assumed.append(f"what is left out of {listed(sorted(key.name for key in laid))}, as Kubernetes ships it")
    roles |= laid
    every = added | roles
    made = [key for key, content in every.items() if content.get("aggregationRule")]
    computed: dict[Key, Content] = {}
    for _ in made:  # one may be made of another
        grown = {key: fuller for key in made if (fuller := _with_sources(key, every)) is not every[key]}
        if not grown:
            break
        computed |= grown
        every |= grown
    own = sorted(key.name for key in computed if key in roles)
    if own:
        assumed.append(f"the rules of {listed(own)}, computed from the roles that they aggregate")
    return added | laid | computed, tuple(assumed)


def _laid_over(content: Content, shipped: Content) -> Content:
    """A default role with what its manifest does not speak of: on a server that is there, and applying leaves it.

    Labels are merged as `kubectl apply` and an API server that starts do: what selects roles finds the shipped ones.
    """
    missing = {field: shipped[field] for field in ("rules", "aggregationRule") if field in shipped}
    labels = {**(shipped.get("labels") or {}), **(content.get("labels") or {})}
    return {**missing, **content, **({"labels": labels} if labels else {})}


def _with_sources(key: Key, roles: Mapping[Key, Content]) -> Content:
    """An aggregated role with the rules that it gets and does not have yet; itself when there are none."""
    content = roles[key]
    stored = content.get("rules") or []
    missing = [rule for rule in rules(key, content, roles) if rule not in stored]
    return {**content, "rules": [*stored, *missing]} if missing else content
