"""The text of one YAML document → a JSON value, as kubectl reads it.

libyaml scans and parses; the values are built from its events without recursion, so that hostile nesting overflows
no stack. Values that come from an alias are shared: nobody may change what is returned.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from posture.collect import scalars
from posture.text import visible

type Path = tuple[str | int, ...]
type Lines = Mapping[int, Mapping[str, int] | Sequence[int]]
"""{id of a dict or list: the line of each of its keys or elements}; valid as long as the value lives."""


class PureParser(Reader, Scanner, Parser):
    """The same events without libyaml, about twenty times slower."""

    def __init__(self, text: bytes) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


try:
    from yaml._yaml import CParser
except ImportError:  # a PyYAML that was built without libyaml
    CParser = PureParser  # type: ignore[assignment,misc]
_Parser: Callable[[bytes], Any] = CParser


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost: text beyond this is hostile or no manifest.

    `document` and `unpacked` are bytes: of one document, and of everything that one gzip file unpacks to. `nodes` is
    how many nodes aliases may add; 32 characters of text count as one more, so that a long text aliased often counts.
    """

    document: int = 32_000_000
    unpacked: int = 4_000_000_000
    nodes: int = 1_000_000
    depth: int = 1_000


class ManifestError(ValueError):
    """Text that kubectl would refuse, or that goes beyond a limit. `line` counts from 1 within the text."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {visible(reason)}")
        self.line = line
        self.reason = visible(reason)


class Remark(NamedTuple):
    """Something that kubectl passes over in silence and its author did not intend."""

    line: int
    message: str


class Built(NamedTuple):
    """One document: its value, the line of its root, of each element of its `items`, and of everything if asked."""

    value: Any
    line: int
    items: tuple[int, ...]
    remarks: tuple[Remark, ...]
    lines: Lines


@dataclass(slots=True)
class _Anchor:
    """What an anchor names. `weight` is what an alias to it costs, `height` how many collections it nests."""

    value: Any = None
    weight: int = 0
    height: int = 0
    closed: bool = False
    begin: int = 0
    nodes_before: int = 0
    peak_before: int = 0


type _Open = tuple[bool, int, int, _Anchor | None]
"""A collection that has begun: whether a mapping, its line, where its children start on the stack, its anchor."""


class Plain(dict[str, Any]):
    """Plain scalars that were resolved before. It also makes equal keys one object, which lookups profit from."""

    def __missing__(self, text: str) -> Any:
        value = scalars.plain(text)
        if len(text) <= 64 and len(self) < 50_000:
            self[text] = value
        return value


_TEXT_PER_NODE = 32
_MOST_REMARKS = 10
_ONLY_TEXT = {str}
_MARK = codecs.BOM_UTF8
_MARK_INSIDE = re.compile(rb"(?:[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9]|\A\xef\xbb\xbf)\xef\xbb\xbf")


def build(text: bytes, limits: Limits, plain: Plain, *, keep_lines: bool = False) -> Built | None:
    """Read the first document of a text; None when there is none (an empty text, or comments).

    What follows it is not read, as by sigs.k8s.io/yaml, and remarked on. `plain` remembers scalars from one call to
    the next. Raises ManifestError.
    """
    if text.find(_MARK, 1) > 0 and (inside := _MARK_INSIDE.search(text)):
        # libyaml passes over it and ends the mapping; for yaml.v2 it is part of the key.
        raise ManifestError(text.count(b"\n", 0, inside.end()) + 1, "a byte order mark at the start of a later line")
    try:
        parser = _Parser(text)
        builder = _Builder(limits, plain, keep_lines)
        if not builder.read(parser.get_event):
            return None
    except yaml.YAMLError as error:
        raise ManifestError(_line_of(error, text), _reason_of(error)) from error
    if builder.remarks and not keep_lines:  # rare, and then the lines are worth a second reading
        return build(text, limits, plain, keep_lines=True)
    try:
        event: Any = parser.get_event()
        rest = 0 if type(event) is StreamEndEvent else event.start_mark.line + 1
    except yaml.YAMLError as error:
        rest = _line_of(error, text)
    if rest:
        builder.remark(rest, "from here on nothing is read: the document before it has ended without `---`")
    return Built(builder.values[0], builder.line, builder.items, tuple(builder.remarks), builder.where)


def _line_of(error: yaml.YAMLError, text: bytes) -> int:
    if isinstance(error, yaml.reader.ReaderError):
        return text.count(b"\n", 0, error.position) + 1
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark else 1


def _reason_of(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"{error.reason} at byte {error.position}"
    return ": ".join(part for part in (getattr(error, "context", ""), getattr(error, "problem", "")) if part)


class _Builder:
    """Builds a value from events: children are pushed on one stack, and the end of a collection folds its own."""

    __slots__ = (
        "added", "anchors", "items", "keep", "limits", "line", "lines", "nodes", "opened", "peak", "plain", "remarks",
        "starts", "values", "where",
    )  # fmt: skip

    def __init__(self, limits: Limits, plain: Plain, keep: bool) -> None:
        self.limits, self.plain, self.keep = limits, plain, keep
        self.line = 1  # of the root
        self.values: list[Any] = []
        self.lines: list[int] = []  # of each value on the stack, if they are kept
        self.opened: list[_Open] = []
        self.anchors: dict[str, _Anchor] = {}
        self.nodes = 0  # in all collections that have ended, aliases expanded
        self.added = 0  # what aliases and merge keys have added to what is written
        self.peak = 0  # the deepest nesting since the innermost open anchor began
        self.starts: list[int] = []  # the lines of the collections in the present child of the root
        self.items: tuple[int, ...] = ()
        self.remarks: list[Remark] = []
        self.where: dict[int, Any] = {}

    def read(self, get_event: Callable[[], Any]) -> bool:
        """Take events up to the end of the first document; False when there is no document."""
        values, plain, keep = self.values, self.plain, self.keep
        event: Any = None
        try:
            while (event := get_event()) is not None:
                kind = type(event)
                if kind is ScalarEvent:
                    if event.tag is None and event.anchor is None:
                        values.append(plain[event.value] if event.implicit[0] else event.value)
                    else:
                        values.append(self.scalar(event))
                    if keep:
                        self.lines.append(event.start_mark.line + 1)
                elif kind is MappingStartEvent or kind is SequenceStartEvent:
                    self.open(event, mapping=kind is MappingStartEvent)
                elif kind is MappingEndEvent or kind is SequenceEndEvent:
                    self.close(event)
                elif kind is AliasEvent:
                    values.append(self.alias(event.anchor))
                    if keep:
                        self.lines.append(event.start_mark.line + 1)
                elif kind is DocumentEndEvent:
                    return True
        except scalars.ScalarError as error:
            raise ManifestError(event.start_mark.line + 1, str(error)) from error
        return False

    def scalar(self, event: ScalarEvent) -> Any:
        """A scalar that has a tag or an anchor."""
        if event.tag is not None:
            if not event.value and not event.style:
                # In `[!a,b]` libyaml ends the tag at the comma and yaml.v2 does not.
                raise scalars.ScalarError("a tag without a value")
            value = scalars.tagged(event.tag, event.value)
        else:
            value = self.plain[event.value] if event.implicit[0] else event.value
        if event.anchor is not None:
            # An alias to `<<` is these two characters and never a merge key.
            named = str(value) if type(value) is scalars.Merge else value
            self.anchors[event.anchor] = _Anchor(named, 1 + len(event.value) // _TEXT_PER_NODE, closed=True)
        return value

    def open(self, event: Any, *, mapping: bool) -> None:
        mark, depth = event.start_mark, len(self.opened)
        line = mark.line + 1
        anchor = None
        if event.anchor is not None:
            # Known from here on, so that an alias inside of itself is found.
            anchor = _Anchor(begin=mark.index, nodes_before=self.nodes, peak_before=self.peak)
            self.anchors[event.anchor] = anchor
            self.peak = depth
        if depth == 2:
            self.starts.append(line)
        elif depth == 1:
            self.starts = []
        elif depth == 0:
            self.line = line
        self.opened.append((mapping, line, len(self.values), anchor))
        if depth >= self.peak:
            self.reach(depth + 1)

    def reach(self, depth: int) -> None:
        if depth > self.limits.depth:
            raise scalars.ScalarError(f"nested deeper than {self.limits.depth:,} levels")
        self.peak = max(self.peak, depth)

    def close(self, event: Any) -> None:
        is_mapping, line, start, anchor = self.opened.pop()
        values = self.values
        children = values[start:]
        del values[start:]
        self.nodes += len(children)
        lines = []
        if self.keep:
            lines = self.lines[start:]
            del self.lines[start:]
            self.lines.append(line)
        if is_mapping:
            value: Any = self.mapping(children, lines)
        else:
            value = children
            if self.keep:
                self.where[id(value)] = lines
            # The list below the key `items` of the root mapping, whose children are on the stack as key, value, key, …
            if len(self.opened) == 1 and self.opened[0][0] and start % 2 and values[-1] == "items":
                self.items = tuple(self.starts) if len(self.starts) == len(children) else ()
        if anchor is not None:
            self.close_anchor(anchor, value, event.end_mark.index)
        values.append(value)

    def close_anchor(self, anchor: _Anchor, value: Any, end: int) -> None:
        anchor.value, anchor.closed = value, True
        anchor.weight = self.nodes - anchor.nodes_before + 1 + (end - anchor.begin) // _TEXT_PER_NODE
        anchor.height = self.peak - len(self.opened)
        self.peak = max(self.peak, anchor.peak_before)

    def mapping(self, children: list[Any], lines: list[int]) -> dict[str, Any]:
        keys = children[::2]
        if {*map(type, keys)} == _ONLY_TEXT:
            value = dict(zip(keys, children[1::2]))  # noqa: B905 - events come in pairs
            if len(value) == len(keys):
                if self.keep:
                    self.where[id(value)] = dict(zip(keys, lines[::2], strict=True))
                return value
        return self.unusual(keys, children[1::2], lines[::2])

    def unusual(self, keys: list[Any], children: list[Any], lines: list[int]) -> dict[str, Any]:
        """A mapping with keys that are no text, merge keys or a key given twice: in order, and the last one counts.

        So a merge key overrides what stands before it; yaml.v2 differs from YAML 1.1 here.
        """
        value: dict[str, Any] = {}
        where: dict[str, int] = {}
        given = set()
        for key, child, line in zip(keys, children, lines or repeat(0), strict=False):
            if type(key) is scalars.Merge:
                for source in _merged(child):
                    self.add(len(source))
                    value.update(source)
                    where.update(self.where.get(id(source), ()))
                continue
            name = scalars.key(key)
            if name in given:
                self.remark(line, f"`{visible(name, 80)}` is given twice: the last one counts")
            given.add(name)
            value[name], where[name] = child, line
        if self.keep:
            self.where[id(value)] = where
        return value

    def alias(self, name: str) -> Any:
        anchor = self.anchors.get(name)
        if anchor is None:
            raise scalars.ScalarError(f"unknown anchor '{name}' referenced")
        if not anchor.closed:
            raise scalars.ScalarError(f"anchor '{name}' value contains itself")
        self.nodes += anchor.weight - 1  # the alias is a child of its own collection
        self.add(anchor.weight)
        self.reach(len(self.opened) + anchor.height)
        return anchor.value

    def add(self, nodes: int) -> None:
        self.added += nodes
        if self.added > self.limits.nodes:
            raise scalars.ScalarError(
                f"aliases and merge keys add more than {self.limits.nodes:,} nodes (limits.nodes in the configuration)"
            )

    def remark(self, line: int, message: str) -> None:
        if len(self.remarks) < _MOST_REMARKS:
            self.remarks.append(Remark(line, message))


def _merged(child: Any) -> list[dict[str, Any]]:
    """What a merge key names, in the order in which it is applied: of several, the first one counts."""
    sources = child[::-1] if isinstance(child, list) else [child]
    if not all(isinstance(source, dict) for source in sources):
        raise scalars.ScalarError("map merge requires map or sequence of maps as the value")
    return sources
