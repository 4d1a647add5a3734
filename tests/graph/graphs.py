"""Graphs of a few objects, and what somebody comes to hold in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from posture.graph.catalogue import Escalation
from posture.graph.evaluate import DOMAINS, Graph, assembled
from posture.graph.paths import held
from tests.generator.objects import Object, snapshot


def graph_of(objects: Iterable[Object], escalations: Iterable[Escalation], **settings: Any) -> Graph:
    """The graph of a cluster that has these objects, with these escalations; `cel` answers for policies."""
    read = replace(snapshot(objects), settings=settings)
    return assembled({name: domain.evaluate(read) for name, domain in DOMAINS.items()}, escalations)


def held_by(graph: Graph, source: str) -> frozenset[str]:
    """Every node that a source comes to hold."""
    return frozenset(held(graph.edges, [source]))
