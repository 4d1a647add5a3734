"""The graph as networkx has it says what the fixpoint says."""

from __future__ import annotations

import networkx as nx  # type: ignore[import-untyped]

from posture.graph.compare import sources
from posture.graph.digraph import ALL, TARGET, whole
from posture.graph.paths import held
from tests.graph.graphs import graph_of
from tests.graph.scene import ESCALATIONS, open_shop


def test_without_and_nodes_it_is_reachability() -> None:
    """What networkx finds behind a source is what the source comes to hold, where nothing takes two together."""
    graph = graph_of(open_shop(), ESCALATIONS)
    for source in sources(graph):
        found = whole(graph, [source])
        joints = [node for node, kind in found.nodes(data="kind") if kind == ALL]
        found.remove_nodes_from(joints)
        behind = {source, *(nx.descendants(found, source) if source in found else ())}

        assert behind <= {*held(graph.edges, [source])}
        if not joints:
            assert behind == {*held(graph.edges, [source])}


def test_nodes_say_what_they_are() -> None:
    """Targets, and what takes several nodes together, can be told apart."""
    found = whole(graph_of(open_shop(), ESCALATIONS), ["outside"])

    assert {"cluster-admin"} <= {node for node, kind in found.nodes(data="kind") if kind == TARGET}
    assert all(len(node[0]) > 1 for node, kind in found.nodes(data="kind") if kind == ALL)
