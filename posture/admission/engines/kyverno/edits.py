"""Edits that take a way out away: an object's content without one of its parts."""

from __future__ import annotations

from typing import Any

from posture.model import Changed, Content, Key

type Path = tuple[str | int, ...]


def without(key: Key, content: Content, path: Path) -> Changed:
    """The object without what is at a path; lists and mappings that this leaves empty go too."""
    new = _left(content, path)
    return Changed(key, content, new if isinstance(new, dict) else {})


def changed(key: Key, content: Content, path: Path, value: Any) -> Changed:
    """The object with another value at a path of fields, or without it where the value is empty."""
    return Changed(key, content, _put(content, path, value)) if value else without(key, content, path)


def _put(holder: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    return {**(holder if isinstance(holder, dict) else {}), path[0]: _put((holder or {}).get(path[0]), path[1:], value)}


def _left(holder: Any, path: Path) -> Any:
    """What is left of a value; None where nothing is."""
    if not path:
        return None
    first, rest = path[0], path[1:]
    if isinstance(holder, list):
        number = int(first)
        inner = _left(holder[number], rest) if number < len(holder) else None
        return [*holder[:number], *([] if inner is None else [inner]), *holder[number + 1 :]] or None
    if not isinstance(holder, dict) or first not in holder:
        return holder
    inner = _left(holder[first], rest)
    found = {name: value for name, value in holder.items() if name != first or inner is not None}
    return ({**found, first: inner} if inner is not None else found) or None
