"""What a running cluster would have added to manifests: default roles, and the rules of aggregated ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from posture.model import Content, Key, Snapshot
from posture.text import count, listed

from .aggregate import rules
from .evaluate import CLUSTER_ROLES, default_role, role_of


def completed(
    snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]
) -> tuple[Mapping[Key, Content], tuple[str, ...]]:
    """What a running cluster would have added to a folder's objects, and the same in words.

    The default ClusterRoles, if the folder holds none, and the rules of aggregated roles that have none.
    """
    assumed: list[str] = []
    roles = dict(snapshot.objects(CLUSTER_ROLES))
    added: dict[Key, Content] = {}
    if not any(default_role(role_of(key)) for key in roles):
        added = {key: content for key, content in shipped if key.resource == CLUSTER_ROLES}
        assumed.append(f"{count(len(added), 'default ClusterRole')} as Kubernetes ships them")
    every = added | roles
    made = [
        key for key, content in every.items()
        if content.get("aggregationRule") and (key in added or not content.get("rules"))
    ]  # fmt: skip
    computed: dict[Key, Content] = {}
    for _ in made:  # one may be made of another
        before, computed = computed, {key: {**every[key], "rules": rules(key, every[key], every)} for key in made}
        if computed == before:
            break
        every |= computed
    own = sorted(key.name for key in computed if key in roles)
    if own:
        assumed.append(f"the rules of {listed(own)}, computed from the roles that they aggregate")
    return added | computed, tuple(assumed)
