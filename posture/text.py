"""Text for people. Every name and text from a cluster or a file passes `visible` before it reaches a screen."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime

MAX_LENGTH = 4096

# Letters and marks by category, yet nothing is drawn for them: fillers, joiners, variation selectors.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0") | frozenset(
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
)


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible(text: str, limit: int = MAX_LENGTH) -> str:
    """Show what cannot be seen: control, bidi, invisible and unassigned characters and lone surrogates, as escapes.

    What a terminal, a browser or a spreadsheet would obey rather than show is exactly what Unicode calls not
    printable, and a few blank letters. (kubectl's own fix, cli-runtime printers/terminal.go, lets C1 and bidi pass.)
    Markup of a target format is that format's own business. Longer texts end in `…`.
    """
    if not text.isprintable() or not (text.isascii() or _BLANK.isdisjoint(text)):
        text = "".join(c if c.isprintable() and c not in _BLANK else _escape(c) for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 namespace`, `41 namespaces`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def begun(text: str) -> str:
    """A text as a sentence begins: with a capital."""
    return text[:1].upper() + text[1:]


def listed(words: list[str], limit: int = 3) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c and 4 more`."""
    if len(words) > limit:
        words = [*words[:limit], f"{len(words) - limit} more"]
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def gap_place(resource: str, namespace: str, show: Callable[[str], str] = visible) -> str:
    """Where something could not be read: `every kind`, `pods in pay`, `pods outside of pay and web`."""
    what = "every kind" if resource == "*" else show(resource)
    if namespace.startswith("!"):
        return f"{what} outside of {listed([show(name) for name in namespace[1:].split(',')])}"
    return f"{what} in {show(namespace)}" if namespace else what


def parse_time(text: str) -> datetime:
    """Read RFC 3339 as the API server writes it, or a plain date (UTC). Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(text: str, now: datetime) -> str:
    """`just now`, `5m ago`, `2h ago`, `3d ago`; the text itself when it is no time."""
    try:
        seconds = int((now - parse_time(text)).total_seconds())
    except ValueError:
        return visible(text, 40)
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{letter} ago"
    return "just now"


def cells(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters take two, marks on letters none."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Shorten to `width` columns of a terminal, with `…` at the end when something was left out."""
    if cells(text) <= width:
        return text
    kept, taken = "", 1
    for character in text:
        taken += _cells(character)
        if taken > width:
            break
        kept += character
    return kept + "…" if width > 0 else ""


def flowed(parts: list[str], width: int, between: str = "   ", indent: str = "") -> list[str]:
    """Parts in one line, or in as many as it takes; no part is broken or cut."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = lines[-1] + between + part
        if cells(longer) <= width:
            lines[-1] = longer
        else:
            lines[-1] = (lines[-1] + between.rstrip()).rstrip()
            lines.append(indent + part)
    return lines
