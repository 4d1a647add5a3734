"""Paths: proofs that somebody reaches a target, found by a monotone fixpoint.

A node is held once all of the tail of some edge into it is held. The first edge that gave a node is kept, so that a
proof can be read back; the search goes in rounds, so that proofs are as short as they can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from .nodes import CLUSTER_ADMIN, Edge, is_target

type Edges = Callable[[str], Iterable[Edge]]
"""The edges of which a node is (part of) the tail."""


@dataclass(frozen=True, slots=True)
class Path:
    """A proof: the edges in an order in which each begins at what the source or an edge before it gave."""

    source: str
    target: str
    edges: tuple[Edge, ...]


def held(
    edges: Edges, sources: Iterable[str], until: str = "", known: Mapping[str, Edge | None] | None = None
) -> dict[str, Edge | None]:
    """What whoever holds the sources comes to hold, in the order of rounds, each with the edge that gave it.

    Nothing is beyond cluster-admin: who has it is not looked at further. With `until` the search ends there. What is
    `known` to be held already stays; the search goes on from those of it that are the sources.
    """
    frontier = [*dict.fromkeys(sources)]
    found: dict[str, Edge | None] = dict(known) if known else dict.fromkeys(frontier)
    while frontier:
        following: list[str] = []
        for node in frontier:
            if node == CLUSTER_ADMIN:
                continue
            for edge in edges(node):
                if edge.head not in found and all(one in found for one in edge.tail):
                    found[edge.head] = edge
                    following.append(edge.head)
        if until and until in found:
            break
        frontier = following
    return found


def nearest(
    edges: Edges, sources: Iterable[str], target: str, far: Callable[[str], float]
) -> tuple[dict[str, Edge | None], list[str]]:  # fmt: skip
    """As much of what `held` finds as the proof of a target needs, the same proof, and the nodes that were followed;
    nothing is found where the target is not held.

    `far` says how many edges there are at least from a node to the target: no node is followed from which more rounds
    would have to come than the search is allowed, which are as few as can be (A*, by deepening).
    """
    first = [*dict.fromkeys(sources)]
    limit = min(map(far, first), default=inf)
    followed: list[str] = []
    while limit < inf:
        found, followed, limit = _within(limit, edges, first, target, far)
        if target in found:
            return found, followed
    return {}, followed


def _within(
    limit: float, edges: Edges, sources: Iterable[str], target: str, far: Callable[[str], float]
) -> tuple[dict[str, Edge | None], list[str], float]:
    """What is held on ways to a target that may be of so many rounds, the nodes that were followed; and of how many
    rounds the next ways may be.
    """
    frontier = [*sources]
    found: dict[str, Edge | None] = dict.fromkeys(frontier)
    followed: list[str] = []
    rounds, longer = 0, inf
    while frontier:
        following: list[str] = []
        for node in frontier:
            least = rounds + far(node)
            if least > limit:
                longer = min(longer, least)
                continue
            followed.append(node)
            for edge in edges(node):
                if edge.head not in found and (len(edge.tail) == 1 or all(one in found for one in edge.tail)):
                    found[edge.head] = edge
                    following.append(edge.head)
                    if edge.head == target:
                        return found, followed, inf
        frontier = following
        rounds += 1
    return found, followed, longer


def proof(found: Mapping[str, Edge | None], source: str, target: str) -> Path | None:
    """The path to a target in what was found held; None where it is not."""
    if target not in found:
        return None
    order: dict[Edge, None] = {}
    pending = [target]
    edges: dict[str, Edge] = {}
    while pending:
        node = pending.pop()
        edge = found[node]
        if edge is not None and node not in edges:
            edges[node] = edge
            pending.extend(edge.tail)
    for node in found:  # in the order of rounds, so that what is needed comes before what needs it
        if node in edges:
            order[edges[node]] = None
    return Path(source, target, tuple(order))


def path(edges: Edges, source: str, target: str) -> Path | None:
    """The shortest proof that a source reaches a target; None where it does not."""
    return proof(held(edges, [source], target), source, target)


def targets(found: Iterable[str]) -> list[str]:
    """The targets among nodes, sorted; beside cluster-admin no other is worth a word."""
    reached = sorted(node for node in found if is_target(node))
    return [CLUSTER_ADMIN] if CLUSTER_ADMIN in reached else reached
