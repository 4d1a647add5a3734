"""posture explain path --cut: the fewest objects to edit so that a path is closed. posture never edits them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from posture.graph import Graph
from posture.graph.cut import Cut, cut
from posture.graph.sentences import name
from posture.model import Fix
from posture.report._document import fix_record
from posture.text import count, listed

from . import fixes, printer

_SHOWN = 3
"""So much is told of what stops with a fix that is not the best."""


def say(asked: Graph, source: str, sink: str, doubts: Sequence[str], output: str) -> None:
    """The best cut as YAML, and in comments what it breaks and what else would do; for programs, all of it.

    `doubts` are why there may be a path where none was found.
    """
    found = cut(asked, [source], sink)
    if output == "json":
        printer.document({"cut": record(found, source, doubts)})
        return
    best, *others = found.fixes or (None,)
    _comment(_lines(found, best, source, doubts))
    if best is not None:
        fixes.emit(("delete" if edit.new is None else "patch", edit) for edit in best.edits)
    for fix in others:
        _comment(_other(fix))


def _comment(texts: Iterable[str]) -> None:
    for text in texts:
        for line in printer.wrapped(f"# {text}", "#     "):
            click.echo(line)


def _other(fix: Fix) -> Iterator[str]:
    """What else would do, and how much stops with it."""
    yield f"or: {fix.text}"
    yield from (f"  {text}" for text in fix.breaks[:_SHOWN])
    if len(fix.breaks) > _SHOWN:
        yield f"  and {len(fix.breaks) - _SHOWN} more"


def record(found: Cut, source: str, doubts: Sequence[str] = ()) -> dict[str, Any]:
    """A cut for programs: whether there is a path (null: there may be one), the fixes of which each closes all, and how
    few objects may do.
    """
    return {
        "source": source, "sink": found.sink, "open": bool(found.open) or (None if doubts else False),
        "fixes": [fix_record(fix) for fix in found.fixes], "atLeast": found.bound, "exact": found.exact,
        "complete": not found.spent, "reason": found.reason, "doubts": list(doubts),
    }  # fmt: skip


def _lines(found: Cut, best: Fix | None, source: str, doubts: Sequence[str]) -> Iterator[str]:
    way = f"{name(source)} → {found.sink}"
    if not found.open:
        none = f"no path was found, {way}"
        yield f"unknown: {'; '.join((none, *doubts))}" if doubts else f"{none}: there is nothing to cut"
        return
    if best is None:
        yield f"no cut was found, {way}: {found.reason}"
        return
    yield f"{way} is cut by {count(len(best.edits), 'object')} (checked){_bound(found, best)}"
    yield best.text
    yield "what stops with it:" if best.breaks else "nothing stops with it"
    yield from (f"  {text}" for text in best.breaks)


def _bound(found: Cut, best: Fix) -> str:
    if not found.exact:
        return f": it takes {count(found.bound, 'object')} or more"
    said = ["no fewer were found"] if found.bound > 1 else []
    if len(best.edits) > found.bound:
        said = [f"{count(found.bound, 'object')} would do, as a last resort"]
    if found.spent:
        said.append("not all sets as small were tried")
    return f": {listed(said)}" if said else ""
