"""Questions to the graph: who reaches what and how, and what is lost with somebody's token. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from posture.model import CLUSTER_SCOPE, INCOMPLETE, Gap, Snapshot
from posture.network.allowed import pieces_of
from posture.network.effect import ends
from posture.rbac import subjects
from posture.text import gap_place, listed

from . import sentences
from .crossing import EVERYWHERE, unsure
from .evaluate import MEMBER, READS, Graph
from .nodes import (
    ACCOUNT,
    CAN,
    CLOUD,
    CLUSTER_ADMIN,
    ENGINE,
    EVERY_NODE,
    GROUP,
    MACHINE,
    NAMESPACE_ADMIN,
    NODE,
    NODE_IDENTITY,
    OUTSIDE,
    SECRETS,
    USER,
    WORKLOAD,
    Edge,
    Fact,
    namespace_of,
)
from .paths import Path, held, proof, targets
from .survey import Found, ease, of_everybody, to, widest

RUN_PODS = "create-pods"
"""The escalation whose condition is that pods can be run."""
FIRST = 20
"""Names of a longer list that are given beside their number."""
_NEAR = 3
_KINDS = {USER: "users", GROUP: "groups", ACCOUNT: "serviceaccounts", WORKLOAD: "workloads"}


@dataclass(frozen=True, slots=True)
class Blast:
    """What is lost with a token or a workload: a path to each target, the Secrets of each namespace among them; the
    identities that it becomes by kind, the namespaces in which it can run pods, the workloads of other namespaces that
    it may talk to. All sorted.

    `everything`: it reaches cluster-admin, and so everybody; then no identity is listed.
    """

    source: str
    paths: tuple[Found, ...]
    everything: bool
    identities: Mapping[str, tuple[str, ...]]
    namespaces: tuple[str, ...]
    connections: tuple[str, ...]


# Names --------------------------------------------------------------------------------------------------------------


def source_of(graph: Graph, text: str) -> str:
    """The node that somebody names: `outside`, a subject, `workload:NS/NAME[Kind]`, `NS/NAME` of one workload,
    `node:NAME`. Users and groups need not be known to any grant (`unknown` says so). Raises ValueError for what is
    nothing.
    """
    if text == OUTSIDE or (text.startswith(GROUP) and text != GROUP):
        return text
    if text.startswith(USER) and text != USER:
        return subjects.of_user(text.removeprefix(USER))
    if text.startswith(ACCOUNT):
        namespace, _, name = text.removeprefix(ACCOUNT).partition("/")
        if text in graph.of.subjects or name in graph.of.accounts.get(namespace, ()):
            return text
        known = [f"{ACCOUNT}{place}/{one}" for place in _near(graph, namespace)
                 for one in graph.of.accounts.get(place, ())]  # fmt: skip
        raise _nothing(f"there is no ServiceAccount {text.removeprefix(ACCOUNT)}", text, known)
    if text.startswith(MACHINE):
        machines = {one for place in graph.of.namespaces for its in graph.runs(place).values() for one in its.nodes}
        if text.removeprefix(MACHINE) not in machines:
            known = [f"{MACHINE}{one}" for one in sorted(machines - {EVERYWHERE})]
            raise _nothing(f"no pod is known to run on node {text.removeprefix(MACHINE)}", text, known)
        return text
    return _workload(graph, text)


def _workload(graph: Graph, text: str) -> str:
    wanted = text.removeprefix(WORKLOAD)
    namespace, slash, _ = wanted.partition("/")
    if not slash:
        raise ValueError(f"{text} is nobody's name: write outside, NS/NAME, serviceaccount:NS/NAME, user:NAME")
    known = [name.removeprefix(WORKLOAD) for name in graph.runs(namespace)]
    found = [name for name in known if wanted in (name, name.rpartition("[")[0])]
    if len(found) > 1:
        raise ValueError(f"there are several workloads {wanted}: {listed(sorted(found), 5)}")
    if not found:
        near = [name.removeprefix(WORKLOAD).rpartition("[")[0] for place in _near(graph, namespace)
                for name in graph.runs(place)]  # fmt: skip
        raise _nothing(f"there is no workload {wanted}", wanted, near)
    return WORKLOAD + found[0]


def _near(graph: Graph, namespace: str) -> list[str]:
    """The namespace, or those of which the names are near to it."""
    known = graph.of.namespaces
    return [namespace] if namespace in known else get_close_matches(namespace, known, _NEAR, 0.4)


def _nothing(what: str, text: str, known: Iterable[str]) -> ValueError:
    return ValueError(what + _alike(text, known))


def _alike(text: str, known: Iterable[str]) -> str:
    near = get_close_matches(text, sorted(set(known)), _NEAR, 0.4)
    return f"; near to it: {listed(near)}" if near else ""


def unknown(graph: Graph, node: str) -> str:
    """That no grant names a user or a group, with near names; "" where one does, and of all that is no user or group.

    Only who authenticates them knows whether they are there.
    """
    kind, _, name = node.partition(":")
    if not node.startswith((USER, GROUP)) or node in graph.of.subjects or name.startswith("system:"):
        return ""
    return f"no grant names {node}" + _alike(node, (one for one in graph.of.subjects if one.startswith(f"{kind}:")))


def sink_of(graph: Graph, text: str) -> str:
    """The node that somebody wants to see reached: a target, or whatever can be a source. Raises ValueError."""
    kinds = (ENGINE, CLOUD, NAMESPACE_ADMIN, f"{SECRETS}/")
    if ":" in text.partition("/")[0] or ("/" in text and not text.startswith(kinds)):
        return source_of(graph, text)
    held_by = graph.results["rbac"].roles.values()
    known = {CLUSTER_ADMIN, NODE, SECRETS, f"{SECRETS}/kube-system", NODE_IDENTITY}
    known |= {f"{start}{name}" for name in graph.of.namespaces for start in (NAMESPACE_ADMIN, f"{SECRETS}/")}
    known |= {f"{ENGINE}{name}" for name in graph.of.engines}
    known |= {f"{CLOUD}{name}" for held in held_by for word, name in held.opaque if word == "assume"}
    if text not in known:
        raise _nothing(f"there is no target {text}", text, known)
    return text


def incomplete(snapshot: Snapshot) -> Gap | None:
    """The gap that may hide a path; None where all was read."""
    return next((gap for gap in snapshot.gaps if gap.reason in INCOMPLETE and gap.resource in (*READS, "*")), None)


def doubts(graph: Graph, *asked: str) -> list[str]:
    """Why there may be paths that were not found, in words: a gap, and for the sources that are asked a door of which
    nobody can say whether policies close it, and the root of a node of which nobody knows what else runs there.
    """
    gap = incomplete(graph.snapshot)
    found = [] if gap is None else [f"{gap_place(gap.resource, gap.namespace, str)}: {gap.reason}, {gap.message}"]
    if OUTSIDE in asked:
        shut = next(unsure(graph.results["network"]), "")
        found += [f"nobody can say whether policies let the outside reach {sentences.name(shut)}"] if shut else []
    return found + [text for source in asked if (text := _unplaced(graph, source))]


def _unplaced(graph: Graph, source: str) -> str:
    """That a privileged workload was taken over, and on which nodes its pods run is not known: in a folder no pod has
    one, and where pods were read from a cluster a workload without any runs nowhere.
    """
    held_by = held(graph.edges, [source])
    if CLUSTER_ADMIN in held_by or EVERY_NODE in held_by:
        return ""
    runs = {node: its for node in held_by if (its := graph.runs(namespace_of(node)).get(node)) is not None}
    name = next((node for node, its in runs.items() if its.escape and not its.nodes), "")
    if not name or any(its.nodes - {EVERYWHERE} for place in graph.of.namespaces for its in graph.runs(place).values()):
        return ""
    return f"{sentences.name(name)} has the root of its node, and on which nodes its pods run is not in a folder"


# Paths --------------------------------------------------------------------------------------------------------------


def path(graph: Graph, source: str, sink: str) -> Path | None:
    """The shortest proof that a source reaches a sink; None where it does not. Who has cluster-admin has all."""
    return to(held(graph.edges, [source], sink), source, sink)


def of_source(graph: Graph, source: str) -> list[Found]:
    """The shortest proof to each target that a source reaches, the gravest first."""
    found = held(graph.edges, [source])
    return _proofs(found, source, targets(found))


def _proofs(found: Mapping[str, Edge | None], source: str, reached: Sequence[str]) -> list[Found]:
    """The proofs of targets; that a node is one is none."""
    wanted = (target for target in widest(reached) if target != NODE or not source.startswith(MACHINE))
    paths = (proof(found, source, target) for target in wanted)
    return sorted((Found(one) for one in paths if one is not None), key=ease)


# What is lost with one ----------------------------------------------------------------------------------------------


def blast(graph: Graph, source: str) -> Blast:
    """The blast radius of a subject or a workload: what whoever holds it gets."""
    found = held(graph.edges, [source])
    everything = CLUSTER_ADMIN in found
    places = {node.rpartition("@")[2] for node in found if node.startswith(f"{CAN}{RUN_PODS}@")}
    everywhere = everything or CLUSTER_SCOPE in places
    inside = () if everything else (node for node in found if node.startswith(f"{SECRETS}/"))
    return Blast(
        source, tuple(_proofs(found, source, sorted({*targets(found), *inside}))), everything,
        {} if everything else _identities(found),
        tuple(graph.of.namespaces if everywhere else sorted(places)), tuple(sorted(_connections(graph, source))),
    )  # fmt: skip


def _identities(found: Mapping[str, Edge | None]) -> dict[str, tuple[str, ...]]:
    """Whom somebody becomes, by kind; the groups that one is in anyway are not meant."""
    names = sorted(node for node, edge in found.items() if edge is not None and edge.rule != MEMBER)
    kinds = {word: tuple(name for name in names if name.startswith(kind) and not name.endswith("*"))
             for kind, word in _KINDS.items()}  # fmt: skip
    return {word: its for word, its in kinds.items() if its}


def _connections(graph: Graph, workload: str) -> Iterable[str]:
    """The workloads of other namespaces that policies may let a workload reach."""
    live = graph.results["network"]
    space = live.spaces.get(namespace_of(workload)) if workload.startswith(WORKLOAD) else None
    if space is None:
        return ()
    return {
        name for one in space.classes if one.workload == workload
        for piece in pieces_of(space, one, "egress") for name in ends(live).users(one, "egress", piece)
        if namespace_of(name) != one.namespace
    }  # fmt: skip


# Records ------------------------------------------------------------------------------------------------------------


def record(found: Found, titles: sentences.Titles) -> dict[str, Any]:
    """A path as JSON (docs/contracts.md). `alike` are the other sources, where there are any."""
    one = found.path
    edges = [edge_record(edge, titles) for edge in one.edges]
    alike = {"alike": counted(found.others)} if found.others else {}
    return {"source": one.source, "sink": one.target, "edges": edges} | alike


def edge_record(edge: Edge, titles: sentences.Titles) -> dict[str, Any]:
    """An edge as JSON: each of `needs` has to be given by one of its facts."""
    needs = [[_fact_record(fact) for fact in sorted(need)] for need in edge.needs]
    text = sentences.sentence(edge, titles)
    return {"from": list(edge.tail), "to": edge.head, "rule": edge.rule, "needs": needs, "text": text}


def _fact_record(fact: Fact) -> dict[str, str]:
    return {"domain": fact.domain, "subject": fact.subject, "scope": fact.scope, **fact.through._asdict()}


def blast_record(found: Blast, titles: sentences.Titles) -> dict[str, Any]:
    """A blast radius as JSON: every list by its number and its first names."""
    return {
        "source": found.source, "paths": [record(one, titles) for one in found.paths], "everything": found.everything,
        "identities": {word: counted(names) for word, names in found.identities.items()},
        "namespaces": counted(found.namespaces), "connections": counted(found.connections),
    }  # fmt: skip


def counted(names: Sequence[str]) -> dict[str, Any]:
    """A list that may be long: how many, and the first of them."""
    return {"count": len(names), "first": list(names[:FIRST])}


__all__ = [
    "Blast", "Found", "blast", "blast_record", "counted", "doubts", "edge_record", "incomplete", "of_everybody",
    "of_source", "path", "record", "sink_of", "source_of", "unknown",
]  # fmt: skip
