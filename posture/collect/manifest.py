"""Manifests: YAML or JSON text, perhaps gzip, → documents with their lines. Reads what kubectl reads.

A stream is split where kubectl splits it (k8s.io/apimachinery pkg/util/yaml, NewYAMLOrJSONDecoder): on lines that
begin with `---`; one that begins with `{` holds JSON values one after another, up to the first that is no JSON.
Memory is bounded by the largest document. Where kubectl stops at an error, the documents behind it are still read.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import orjson

from posture.collect.document import Built, Limits, ManifestError, Path, Plain, Remark, build
from posture.model import GapReason
from posture.text import visible

_BLOCK = 1 << 18
_GZIP = b"\x1f\x8b"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPACE = re.compile(rb"\s*")
# In JSON, a `}` and a `{` with a line break and no comma between them stand between two values and nowhere else.
_BETWEEN = re.compile(rb"\}[ \t\r]*+\n\s*+(?=\{)")
_CACHE_BYTES = 64_000_000
_LOOK_AHEAD = 4096  # as far as kubectl looks for a `{`
_JSON = json.JSONDecoder()


class Document(NamedTuple):
    """One document. Nobody may change `value`: documents of equal bytes, and aliases within one, share it.

    `line` counts from 1 in the stream. `items` are the lines of the elements of a List's `items`, if they are known.
    """

    value: Any
    line: int
    items: tuple[int, ...] = ()
    remarks: tuple[Remark, ...] = ()


class Broken(NamedTuple):
    """Text that cannot be read, and why. `text` is None when it was too much to hold, or could not even be unpacked."""

    line: int
    reason: str
    text: bytes | None
    gap: GapReason = "failed"


class Cache:
    """Documents that were read before in this run, by the hash of their bytes: a folder is often read twice.

    They are kept as JSON, which is small and is read back fifty times faster than YAML. What comes when it is full
    is not kept, so that the second reading of a large folder still finds the first part.
    """

    def __init__(self, size: int = _CACHE_BYTES) -> None:
        self.plain = Plain()
        self._left = size
        self._known: dict[bytes, tuple[bytes, Document]] = {}

    def read(self, text: bytes, limits: Limits) -> Document | None:
        """The document of a text, lines counted from 1; None when it is empty. Raises ManifestError."""
        digest = hashlib.blake2b(text, digest_size=16).digest()
        if digest in self._known:
            body, document = self._known[digest]
            return document._replace(value=orjson.loads(body))
        built = build(text, limits, self.plain)
        if built is None or (built.value is None and not built.remarks):
            return None
        document = Document(built.value, built.line, built.items, built.remarks)
        try:
            body = orjson.dumps(document.value)
        except TypeError:  # nested too deep for orjson
            return document
        if len(body) <= self._left:
            self._left -= len(body)
            self._known[digest] = body, document._replace(value=None)
        return document


def documents(
    stream: BinaryIO, limits: Limits | None = None, cache: Cache | None = None
) -> Iterator[Document | Broken]:
    """Every document of a stream, in order. Empty ones, and those that are null, are left out as kubectl does.

    A stream that cannot be read to its end gives a last Broken without text; nothing is raised.
    """
    limits, cache = limits or Limits(), cache or Cache()
    text = _Text(_blocks(stream, limits), limits.document)
    yield from _json_values(text)
    for chunk in _chunks(text):
        yield from _read(chunk, limits, cache)
    if text.failure is not None:
        yield Broken(text.line, visible(str(text.failure)), None, text.failure.gap)


class _Chunk(NamedTuple):
    """The text between two separators. `refused` says why kubectl would not read it; `text` None was too large."""

    line: int
    text: bytes | None
    refused: str


def _read(chunk: _Chunk, limits: Limits, cache: Cache) -> Iterator[Document | Broken]:
    before = chunk.line - 1
    if chunk.text is None:
        yield Broken(chunk.line, _too_large(limits), None, "truncated")
    elif chunk.refused:
        yield Broken(chunk.line, chunk.refused, chunk.text)
    else:
        try:
            document = _json_document(chunk.text) or cache.read(chunk.text, limits)
        except ManifestError as error:
            yield Broken(before + error.line, error.reason, chunk.text)
            return
        if document is not None:
            yield Document(
                document.value,
                before + document.line,
                tuple(before + line for line in document.items),
                tuple(Remark(before + remark.line, remark.message) for remark in document.remarks),
            )


def _too_large(limits: Limits) -> str:
    return f"the document is larger than {limits.document:,} bytes (limits.documentBytes in the configuration)"


def _json_document(text: bytes) -> Document | None:
    """A chunk that is one JSON value: the same as YAML, and twenty times faster."""
    start = _space(text)
    if not text.startswith(b"{", start):
        return None
    try:
        return Document(orjson.loads(text), text.count(b"\n", 0, start) + 1)
    except orjson.JSONDecodeError:
        return None


class _Cut(Exception):
    """The stream cannot be read any further."""

    def __init__(self, reason: str, gap: GapReason = "failed") -> None:
        super().__init__(reason)
        self.gap = gap


class _Text:
    """The front of a stream: a buffer that grows at its end and is taken from its start."""

    def __init__(self, blocks: Iterator[bytes], limit: int) -> None:
        self.buffer = bytearray()
        self.limit = limit
        self.line = 1  # of the first byte in the buffer
        self.failure: _Cut | None = None
        self._blocks = blocks
        self._searched = 0
        self._line_start = True

    def grow(self) -> bool:
        """Read on; False at the end of the stream, which may be the failure to read any further."""
        try:
            for block in self._blocks:
                self.buffer += block
                return True
        except _Cut as cut:
            self.failure = cut
        except OSError as error:
            self.failure = _Cut(f"cannot be read: {error.strerror or error}")
        return False

    def front(self, size: int) -> bytes:
        with memoryview(self.buffer) as view:
            return bytes(view[:size])

    def drop(self, size: int) -> None:
        self.line += self.buffer.count(b"\n", 0, size)
        del self.buffer[:size]
        self._searched, self._line_start = max(0, self._searched - size), True

    def drop_searched(self) -> None:
        """Let go of everything in which a separator cannot begin any more."""
        self.drop(max(0, len(self.buffer) - 3))
        self._line_start = False

    def separator(self, behind: int = 0) -> int:
        """Where the next line that begins with `---` starts, not before `behind`; -1 when there is none so far."""
        if self._line_start and not behind and self.buffer.startswith(b"---"):
            return 0
        at = self.buffer.find(b"\n---", max(self._searched, behind - 1))
        self._searched = at if at >= 0 else max(0, len(self.buffer) - 3)
        return at + 1 if at >= 0 else -1

    def line_end(self, at: int) -> int:
        """Where the line that holds `at` ends, its line break included."""
        while (end := self.buffer.find(b"\n", at)) < 0 and len(self.buffer) - at <= self.limit and self.grow():
            pass
        return end + 1 if end >= 0 else len(self.buffer)

    def json_start(self) -> int:
        """Where the next JSON object starts, if nothing but a little white space stands before it; else -1."""
        while len(self.buffer) < _LOOK_AHEAD and self.grow():
            pass
        start = _space(self.buffer)
        return start if self.buffer.startswith(b"{", start) else -1

    def json_end(self) -> int:
        """Where JSON values end: before a separator, where a `{` follows on a later line, or at the end."""
        searched = 0
        while True:
            at = self.separator()
            stop = at if at >= 0 else len(self.buffer)
            if between := _BETWEEN.search(self.buffer, searched, stop):
                return between.start() + 1
            if at >= 0 or len(self.buffer) > self.limit:
                return stop
            brace = self.buffer.rfind(b"}", searched)
            searched = brace if brace >= 0 else stop
            if not self.grow():
                return stop


def _space(text: bytes | bytearray, start: int = 0) -> int:
    """Where the white space at `start` ends."""
    found = _SPACE.match(text, start)
    return found.end() if found else start


def _lines(text: bytes) -> bytes:
    """The text as apimachinery's LineReader hands it on: its lines end with a line feed, the last one too."""
    text = text.replace(b"\r\n", b"\n")
    return text if text.endswith(b"\n") else text + b"\n"


def _chunks(text: _Text) -> Iterator[_Chunk]:
    """Split as apimachinery's YAMLReader does: a separator with no line before it stays with what follows it."""
    line, refused, opening, too_large = text.line, "", 0, False
    while True:
        at = text.separator(opening)
        if at < 0:
            if len(text.buffer) > text.limit:
                too_large, opening = True, 0
                text.drop_searched()
            if text.grow():
                continue
            if text.failure is not None:
                return  # nobody knows how the last document goes on
            at = len(text.buffer)
        size = text.line_end(at) - at
        if too_large or at > text.limit:
            text.drop(at)
            yield _Chunk(line, None, refused)
        elif at:
            chunk = _Chunk(line, _lines(text.front(at)), refused)
            text.drop(at)
            yield chunk
        if not text.buffer:
            return
        line, refused, opening, too_large = text.line, "", 0, False
        behind = bytes(text.buffer[3:size]).strip()
        if behind and not behind.startswith(b"#"):
            refused = "only a comment may stand behind `---` on its line"
        if at == 0 or refused:
            opening = size
        else:
            text.drop(size)
            line = text.line


def _json_values(text: _Text) -> Iterator[Document]:
    """The JSON values that a stream begins with. What follows the last one is left to be read as YAML."""
    while (start := text.json_start()) >= 0:
        end = text.json_end()
        if end > text.limit:
            return
        segment = text.front(end)
        line, taken = text.line, 0
        for value, begin, behind in _values(segment, start):
            line += segment.count(b"\n", taken, begin)
            yield Document(value, line)
            line += segment.count(b"\n", begin, behind)
            taken = behind
        text.drop(taken)
        if not taken:
            return


def _values(segment: bytes, start: int) -> Iterator[tuple[Any, int, int]]:
    """The JSON values from `start` on, each with where it begins and ends, up to the first text that is none."""
    try:
        yield orjson.loads(memoryview(segment)[start:]), start, len(segment)
    except orjson.JSONDecodeError:
        pass
    else:
        return
    try:
        text = segment.decode()
        at, begin = _space(segment), _space(segment)
        while at < len(text):
            # orjson does not say where a value ends; the standard library does, but it also takes NaN and the like.
            _, end = _JSON.raw_decode(text, at)
            size = len(text[at:end].encode())
            yield orjson.loads(segment[begin : begin + size]), begin, begin + size
            space = _space(segment, begin + size) - begin - size
            at, begin = end + space, begin + size + space
    except (ValueError, RecursionError):
        return


def _blocks(stream: BinaryIO, limits: Limits) -> Iterator[bytes]:
    """The bytes of a stream: gzip is unpacked and UTF-16 with its mark, as PowerShell writes it, becomes UTF-8."""
    head, blocks = _head(iter(lambda: stream.read(_BLOCK) or b"", b""))
    if head == _GZIP:
        head, blocks = _head(_unpacked(blocks, limits.unpacked))
    yield from _from_utf16(blocks) if head in _UTF16 else blocks


def _head(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first two bytes, and everything."""
    first = b""
    for block in blocks:
        first += block
        if len(first) >= 2:
            break
    return first[:2], chain([first], blocks)


def _unpacked(blocks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Unpack gzip (RFC 1952), several members one after another too, in pieces of bounded size."""
    unpacker = zlib.decompressobj(wbits=31)
    size = 0
    for block in blocks:
        data = block.lstrip(b"\0") if unpacker.eof else block  # padding may follow a member
        while data or not unpacker.eof:
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)
            try:
                piece = unpacker.decompress(data, _BLOCK)
            except zlib.error as error:
                raise _Cut("the gzip data is damaged") from error
            size += len(piece)
            if size > limit:
                raise _Cut(f"the gzip data unpacks to more than {limit:,} bytes", "truncated")
            yield piece
            data = unpacker.unused_data.lstrip(b"\0") if unpacker.eof else unpacker.unconsumed_tail
            if not data and len(piece) < _BLOCK:
                break
    if not unpacker.eof:
        raise _Cut("the gzip data ends too early")


def _from_utf16(blocks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        for block in blocks:
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError as error:
        raise _Cut("the text is no valid UTF-16") from error


class Lined(NamedTuple):
    """A value and the line of any path in it: of the nearest part that exists, where the path does not."""

    value: Any
    line_of: Callable[[Path], int]


def load_with_lines(text: str | bytes, limits: Limits | None = None) -> Lined:
    """Read a file that people write: one document, and what kubectl would pass over in silence is an error.

    An empty text gives None. Raises ManifestError with the line.
    """
    limits = limits or Limits()
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    found: Lined | None = None
    for chunk in _chunks(_Text(iter([data]), limits.document)):
        before = chunk.line - 1
        if chunk.text is None or chunk.refused:
            raise ManifestError(chunk.line, chunk.refused or _too_large(limits))
        try:
            built = build(chunk.text, limits, Plain(), keep_lines=True)
        except ManifestError as error:
            raise ManifestError(before + error.line, error.reason) from error
        if built is None:
            continue
        for remark in built.remarks:
            raise ManifestError(before + remark.line, remark.message)
        if found is not None:
            raise ManifestError(before + built.line, "a second document; only one is expected here")
        found = Lined(built.value, _finder(built, before))
    return found or Lined(None, lambda _: 1)


def _finder(built: Built, before: int) -> Callable[[Path], int]:
    def line_of(path: Path) -> int:
        value, line = built.value, built.line
        for part in path:
            known: Any = built.lines.get(id(value))
            try:
                line, value = known[part], value[part]
            except (KeyError, IndexError, TypeError):
                break
        return before + line

    return line_of
