"""Paths as Graphviz text: what they share is drawn once, and what takes several nodes together is a node of its own.

Source: the DOT language and escString, graphviz.org/doc/info/lang.html and /docs/attr-types/escString/.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from posture.text import visible

from . import sentences
from .nodes import CAN, Edge
from .paths import Path

_LONGEST = 200
_SOURCE, _TARGET = "shape=box, style=bold", "shape=doubleoctagon"
_ABILITY, _OTHER, _ALL = "shape=box, style=rounded", "shape=ellipse", 'shape=circle, label="all"'


def dot(paths: Iterable[Path], titles: sentences.Titles) -> str:
    """A directed graph from left to right. Sources, targets, abilities and AND nodes have shapes of their own."""
    given = [*paths]
    edges = list(dict.fromkeys(edge for path in given for edge in path.edges))
    sources, targets = {path.source for path in given}, {path.target for path in given}
    names = list(dict.fromkeys(
        (*(path.source for path in given), *(node for edge in edges for node in (*edge.tail, edge.head)))
    ))  # fmt: skip
    ids = {name: f"n{number}" for number, name in enumerate(names)}
    lines = ["digraph posture {", "  rankdir=LR;"]
    for name in names:
        shape = _SOURCE if name in sources else _TARGET if name in targets else (
            _ABILITY if name.startswith(CAN) else _OTHER)  # fmt: skip
        lines.append(f"  {ids[name]} [{shape}, label={_quoted(sentences.name(name, titles))}];")
    joints = count()
    for edge in edges:
        lines += _drawn(edge, ids, joints)
    return "\n".join([*lines, "}"])


def _drawn(edge: Edge, ids: dict[str, str], joints: count[int]) -> list[str]:
    label = f"[label={_quoted(edge.rule)}]"
    if len(edge.tail) == 1:
        return [f"  {ids[edge.tail[0]]} -> {ids[edge.head]} {label};"]
    joint = f"a{next(joints)}"
    tails = [f"  {ids[node]} -> {joint};" for node in edge.tail]
    return [f"  {joint} [{_ALL}];", *tails, f"  {joint} -> {ids[edge.head]} {label};"]


def _quoted(text: str) -> str:
    """A label that Graphviz shows as it is: backslashes, quotes and entities would mean something."""
    shown = visible(text, _LONGEST).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}"'
