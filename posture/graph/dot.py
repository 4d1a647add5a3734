"""Paths as Graphviz text: what they share is drawn once, and what takes several nodes together is a node of its own.

Source: the DOT language and escString, graphviz.org/doc/info/lang.html and /docs/attr-types/escString/.
"""

from __future__ import annotations

from collections.abc import Iterable

from posture.text import visible

from . import sentences
from .digraph import ABILITY, ALL, IDENTITY, digraph
from .paths import Path

_LONGEST = 200
_SOURCE, _TARGET = "shape=box, style=bold", "shape=doubleoctagon"
_OTHER = "shape=ellipse"
_SHAPES = {ABILITY: "shape=box, style=rounded", ALL: 'shape=circle, label="all"'}


def dot(paths: Iterable[Path], titles: sentences.Titles) -> str:
    """A directed graph from left to right. Sources, targets, abilities and AND nodes have shapes of their own."""
    given = [*paths]
    sources, targets = {path.source for path in given}, {path.target for path in given}
    drawn = digraph(dict.fromkeys(edge for path in given for edge in path.edges))
    drawn.add_nodes_from((name, {"kind": IDENTITY}) for name in sources if name not in drawn)
    ids = {name: f"n{number}" for number, name in enumerate(drawn)}
    lines = ["digraph posture {", "  rankdir=LR;"]
    for name, kind in drawn.nodes(data="kind"):
        shape = _SOURCE if name in sources else _TARGET if name in targets else _SHAPES.get(kind, _OTHER)
        label = "" if kind == ALL else f", label={_quoted(sentences.name(name, titles))}"
        lines.append(f"  {ids[name]} [{shape}{label}];")
    for tail, head, edge in drawn.edges(data="edge"):
        label = f" [label={_quoted(edge.rule)}]" if edge is not None else ""
        lines.append(f"  {ids[tail]} -> {ids[head]}{label};")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    """A label that Graphviz shows as it is: backslashes, quotes and entities would mean something."""
    shown = visible(text, _LONGEST).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}"'
