"""Where a graph keeps the edges of its nodes, and which of them an update may change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from posture.kinds import API_RESOURCES
from posture.model import CLUSTER_SCOPE, Changed
from posture.rbac import subjects
from posture.rbac.evaluate import SERVICE_ACCOUNTS, Where

from . import crossing
from .nodes import ABSENT, ACCOUNT, GROUP, OUTSIDE, REWRITE, ROLE, USER, is_set, namespace_of

SUBJECTS = "subject:"
"""The place of a namespace's ServiceAccounts, or of users and groups, each of which an update tells apart."""
_SHARED = (GROUP + subjects.AUTHENTICATED, GROUP + subjects.SERVICE_ACCOUNTS, GROUP + subjects.NODES)


class Gone(NamedTuple):
    """Places whose edges may be others, None for all of them, and single nodes of the others."""

    places: frozenset[str] | None
    nodes: frozenset[str]

    def __or__(self, other: Gone) -> Gone:
        if self.places is None or other.places is None:
            return ALL
        return Gone(self.places | other.places, self.nodes | other.nodes)


ALL = Gone(None, frozenset())
NOTHING = Gone(frozenset(), frozenset())


def place_of(node: str) -> str:
    """The place of a node's edges: the namespace that they depend on, "" for the whole cluster."""
    if node == OUTSIDE:
        return OUTSIDE
    namespace = namespace_of(node)
    if node.startswith((USER, GROUP, ACCOUNT)) and not is_set(node):
        return SUBJECTS + namespace
    if node.startswith(ABSENT) and namespace:
        return SUBJECTS + namespace
    return "" if node.startswith((f"{ROLE}ClusterRole/", REWRITE)) else namespace


class Sided(Protocol):
    """A graph, as far as is asked for here."""

    def meaning(self, where: Where) -> object:
        """What may follow from what is granted somewhere: equal where the same does."""


def gone(
    results: Mapping[str, Any], changed: Iterable[Changed], sides: Iterable[Sided], others: Iterable[Where]
) -> Gone:
    """What an update of all domains by some objects may change; `sides` are the graphs before and after it, `others`
    where grants mean something else though they are the same.
    """
    places, nodes = {""}, set()
    for key, old, new in changed:
        if key.resource == API_RESOURCES or (key.resource == crossing.VOLUMES and (old or new)):
            return ALL  # a volume of which something is kept is a place of its node: there are few
        places.add(key.namespace or key.name if key.resource == "namespaces" else key.namespace)
        if key.resource == SERVICE_ACCOUNTS:
            nodes.add(f"{ABSENT}{key.namespace}/*")
        if key.resource in crossing.DOORS:
            places.add(OUTSIDE)
    for where in (*results["rbac"].touched, *others):
        subject, _ = where
        nodes |= {subject, f"{ABSENT}{namespace_of(subject)}/*"}
        if subject.startswith(f"{GROUP}system:") and _differ(one.meaning(where) for one in sides):
            if subject in _SHARED:
                return ALL
            places.add(SUBJECTS + subjects.namespace_of(subject))  # its members have what it has
    for name in ("network", "admission"):
        places |= {scope for _, scope in results[name].touched if scope != CLUSTER_SCOPE}
    return Gone(frozenset(places | ({OUTSIDE} if results["network"].touched else set())), frozenset(nodes))


def _differ(values: Iterable[object]) -> bool:
    one, other = values
    return one != other


def kept[T](known: Mapping[str, dict[str, T]], lost: Gone) -> dict[str, dict[str, T]]:
    """What is known of places that stay: the same dicts, so that what either graph finds out serves both."""
    if lost.places is None:
        return {}
    mine: dict[str, set[str]] = {}
    for node in lost.nodes:
        mine.setdefault(place_of(node), set()).add(node)
    return {
        place: {node: its for node, its in nodes.items() if node not in mine[place]} if place in mine else nodes
        for place, nodes in known.items() if place not in lost.places
    }  # fmt: skip


def nodes_of(known: Mapping[str, Collection[str]], lost: Gone) -> Iterable[str]:
    """The nodes whose edges may be others, of those that are known; not to be asked where all may."""
    for place in lost.places or ():
        yield from known.get(place, ())
    yield from lost.nodes
