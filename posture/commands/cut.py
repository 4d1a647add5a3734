"""posture explain path --cut: the fewest objects to edit so that a path is closed. posture never edits them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from posture.graph import Graph
from posture.graph.cut import Cut, cut
from posture.kinds import manifest
from posture.model import Fix
from posture.report._document import reference
from posture.text import count

from . import fixes, printer


def say(asked: Graph, source: str, sink: str, output: str) -> None:
    """The best cut as YAML, and in comments what it breaks and what else would do; for programs, all of it."""
    found = cut(asked, [source], sink)
    if output == "json":
        printer.document({"cut": record(found, source)})
        return
    for text in _lines(found, source):
        for line in printer.wrapped(f"# {text}", "#     "):
            click.echo(line)
    for fix in found.fixes[:1]:
        fixes.emit(("delete", edit) for edit in fix.edits)


def record(found: Cut, source: str) -> dict[str, Any]:
    """A cut for programs: whether there is a path, the fixes of which each closes all, and how few objects may do."""
    return {
        "source": source, "sink": found.sink, "open": bool(found.open), "fixes": [_fix(fix) for fix in found.fixes],
        "atLeast": found.bound, "exact": found.exact, "complete": not found.spent, "reason": found.reason,
    }  # fmt: skip


def _fix(fix: Fix) -> dict[str, Any]:
    edits = [
        {"object": reference(edit.key), "delete": edit.new is None,
         "manifest": None if edit.new is None else manifest(edit.key, edit.new, edit.absent)}
        for edit in fix.edits
    ]  # fmt: skip
    return {"text": fix.text, "edits": edits, "breaks": list(fix.breaks)}


def _lines(found: Cut, source: str) -> Iterator[str]:
    if not found.open:
        yield f"no path was found, {source} → {found.sink}: there is nothing to cut"
        return
    if not found.fixes:
        yield f"no cut was found, {source} → {found.sink}: {found.reason}"
        return
    best, *others = found.fixes
    yield f"{source} → {found.sink} is cut by {count(len(best.edits), 'object')} (checked): {_bound(found)}"
    yield best.text
    yield "what stops with it:" if best.breaks else "nothing stops with it"
    yield from (f"  {text}" for text in best.breaks)
    yield from (f"or: {fix.text}" for fix in others)


def _bound(found: Cut) -> str:
    if not found.exact:
        return f"it takes {count(found.bound, 'object')} or more"
    return "no fewer will do" + (", and not all sets as small were tried" if found.spent else "")
