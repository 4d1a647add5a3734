"""The graph as a networkx.DiGraph: for whoever draws it, or asks what networkx answers. Made when it is asked for.

Nodes have the attribute `kind` (source, target, ability, identity or all), edges the attribute `edge`. An edge whose
tail is several nodes goes through a node of its own, of the kind `all`: its name is that tail and the head.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .evaluate import Graph
from .nodes import CAN, OUTSIDE, Edge, is_target
from .reach import explored

type DiGraph = Any
"""A networkx.DiGraph; networkx brings no types."""
ALL, ABILITY, TARGET, SOURCE, IDENTITY = "all", "ability", "target", "source", "identity"


def digraph(edges: Iterable[Edge]) -> DiGraph:
    """Some edges with their nodes, in their order."""
    import networkx as nx  # type: ignore[import-untyped]  # noqa: PLC0415 - costs a tenth of a second, for commands that draw nothing

    found: DiGraph = nx.DiGraph()
    for edge in edges:
        for node in (*edge.tail, edge.head):
            found.add_node(node, kind=_kind(node))
        if len(edge.tail) == 1:
            found.add_edge(edge.tail[0], edge.head, edge=edge)
            continue
        joint = edge.step
        found.add_node(joint, kind=ALL)
        found.add_edges_from((node, joint) for node in edge.tail)
        found.add_edge(joint, edge.head, edge=edge)
    return found


def whole(graph: Graph, sources: Iterable[str]) -> DiGraph:
    """All that is behind some sources: what the results of all domains mean together."""
    nodes = explored(graph.edges, sources)
    return digraph(dict.fromkeys(edge for edges in nodes.values() for edge in edges))


def _kind(node: str) -> str:
    if is_target(node):
        return TARGET
    return ABILITY if node.startswith(CAN) else SOURCE if node == OUTSIDE else IDENTITY
