"""posture explain path --cut: the fewest objects to edit so that a path is closed. posture never edits them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from posture.graph import Graph
from posture.graph.cut import Cut, cut
from posture.graph.sentences import name
from posture.kinds import manifest
from posture.model import Fix
from posture.report._document import reference
from posture.text import count

from . import fixes, printer


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
        fixes.emit(("delete", edit) for edit in best.edits)
    _comment(f"or: {fix.text}" for fix in others if fix is not None)


def _comment(texts: Iterable[str]) -> None:
    for text in texts:
        for line in printer.wrapped(f"# {text}", "#     "):
            click.echo(line)


def record(found: Cut, source: str, doubts: Sequence[str] = ()) -> dict[str, Any]:
    """A cut for programs: whether there is a path (null: there may be one), the fixes of which each closes all, and how
    few objects may do.
    """
    return {
        "source": source, "sink": found.sink, "open": bool(found.open) or (None if doubts else False),
        "fixes": [_fix(fix) for fix in found.fixes], "atLeast": found.bound, "exact": found.exact,
        "complete": not found.spent, "reason": found.reason, "doubts": list(doubts),
    }  # fmt: skip


def _fix(fix: Fix) -> dict[str, Any]:
    edits = [
        {"object": reference(edit.key), "delete": edit.new is None,
         "manifest": None if edit.new is None else manifest(edit.key, edit.new, edit.absent)}
        for edit in fix.edits
    ]  # fmt: skip
    return {"text": fix.text, "edits": edits, "breaks": list(fix.breaks)}


def _lines(found: Cut, best: Fix | None, source: str, doubts: Sequence[str]) -> Iterator[str]:
    way = f"{name(source)} → {found.sink}"
    if not found.open:
        none = f"no path was found, {way}"
        yield f"unknown: {'; '.join((none, *doubts))}" if doubts else f"{none}: there is nothing to cut"
        return
    if best is None:
        yield f"no cut was found, {way}: {found.reason}"
        return
    yield f"{way} is cut by {count(len(best.edits), 'object')} (checked){_bound(found)}"
    yield best.text
    yield "what stops with it:" if best.breaks else "nothing stops with it"
    yield from (f"  {text}" for text in best.breaks)


def _bound(found: Cut) -> str:
    if not found.exact:
        return f": it takes {count(found.bound, 'object')} or more"
    spent = "not all sets as small were tried" if found.spent else ""
    fewer = "no fewer were found" if found.bound > 1 else ""
    said = ", and ".join(filter(None, (fewer, spent)))
    return f": {said}" if said else ""
