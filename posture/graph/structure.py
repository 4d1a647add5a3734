"""What an edge needs beside what it says: that a ServiceAccount exists, that the API serves a resource, what a role
holds, how a workload is on its node's network, and what the server's version does.

It is asked of edges that a baseline does not have, which are few: no edge carries it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from posture.model import CLUSTER_SCOPE, Through

from . import crossing
from .catalogue import IN_COMING, IN_NEW, PODS, Escalation
from .closed import is_closed
from .effects import subject_of
from .evaluate import Graph
from .following import Catalogue
from .nodes import ABSENT, ACCOUNT, CAN, ROLE, STRUCTURE, WORKLOAD, Edge, Fact, condition, is_set, namespace_of, role_of

SERVER = "server"
"""The subject of what a version of Kubernetes opens."""
RESOURCE, CLUSTER_ROLE = "apiresource:", "clusterrole:"
ESCALATION = "Escalation"


def facts(edge: Edge, live: Graph) -> Iterator[Fact]:
    """What has to be so for an edge, each of it."""
    tail, head = edge.tail[0], edge.head
    if tail.startswith(ROLE):
        yield _of_role(tail)
    if edge.rule == crossing.METADATA and not edge.needs:
        runs = live.runs(namespace_of(tail)).get(tail)
        if runs is not None:
            yield Fact(STRUCTURE, tail, namespace_of(tail), runs.through)
    if head.startswith(ACCOUNT) and not is_set(head) and (tail.startswith(CAN) or is_set(tail)):
        namespace, _, name = head.removeprefix(ACCOUNT).partition("/")
        yield Fact(STRUCTURE, head, namespace, Through("ServiceAccount", namespace, name))
    escalation = _escalation(edge, live.catalogue)
    if escalation is not None:
        yield Fact(STRUCTURE, SERVER, CLUSTER_SCOPE, Through(ESCALATION, "", escalation.id))
        serves = escalation.where.get("serves")
        if serves:
            yield Fact(STRUCTURE, f"{RESOURCE}{serves}", CLUSTER_SCOPE, Through("CustomResourceDefinition", "", serves))


def opened(edge: Edge, live: Graph, baselines: Collection[Graph]) -> Iterator[Fact]:
    """The fact that pods are admitted where every baseline refused each of them; no edge needs it where it is so."""
    escalation = _escalation(edge, live.catalogue)
    place = next((node for node in edge.tail if node.startswith(CAN)), "")
    if escalation is None or not place or not live.catalogue.makes_pods(escalation):
        return
    scope, new = condition(place).scope, bool({IN_NEW, IN_COMING} & escalation.where.keys())
    if all(is_closed(base.results["admission"], scope, new=new) for base in baselines):
        yield Fact("admission", subject_of(scope), scope, Through(PODS, scope, "pods"))


def _of_role(node: str) -> Fact:
    """The fact that a role holds what it does; `node` is its rules, granted in a scope."""
    through, scope = role_of(node)
    if through.kind == "ClusterRole":
        return Fact(STRUCTURE, f"{CLUSTER_ROLE}{through.name}", CLUSTER_SCOPE, through)
    return Fact(STRUCTURE, f"namespace:{scope}", scope, through)


def _escalation(edge: Edge, catalogue: Catalogue) -> Escalation | None:
    """The escalation that an edge is about: its rule, or the ability that it gives."""
    if edge.rule in catalogue.all:
        return catalogue.all[edge.rule]
    return catalogue.all.get(condition(edge.head).escalation) if edge.head.startswith(CAN) else None


def moved(node: str, namespace: str, other: str) -> str:
    """The node of another namespace that is what this one is here."""
    for kind in (ACCOUNT, ABSENT, WORKLOAD):
        if node.startswith(f"{kind}{namespace}/"):
            return f"{kind}{other}/{node.removeprefix(f'{kind}{namespace}/')}"
    for mark in ("@", "/"):
        if node.endswith(f"{mark}{namespace}"):
            return f"{node.removesuffix(namespace)}{other}"
    return node
