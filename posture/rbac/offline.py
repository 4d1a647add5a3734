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

    Every default ClusterRole whose name the folder does not hold: one more in it says nothing about the others. And
    what aggregated roles get from the roles that they select; never less than is stored, for a folder may hold only
    some of these.
    """
    assumed: list[str] = []
    roles = dict(snapshot.objects(CLUSTER_ROLES))
    added = {key: content for key, content in shipped if key.resource == CLUSTER_ROLES and key not in roles}
    if added:
        assumed.append(f"{count(len(added), 'default ClusterRole')} as Kubernetes ships them")
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
    return added | computed, tuple(assumed)


def _with_sources(key: Key, roles: Mapping[Key, Content]) -> Content:
    """An aggregated role with the rules that it gets and does not have yet; itself when there are none."""
    content = roles[key]
    stored = content.get("rules") or []
    missing = [rule for rule in rules(key, content, roles) if rule not in stored]
    return {**content, "rules": [*stored, *missing]} if missing else content
