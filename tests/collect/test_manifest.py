"""Which documents a stream holds for kubectl.

Every case is what NewYAMLOrJSONDecoder of apimachinery 0.36.3 answered, unless it says "stricter" or "more lenient".
"""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posture.collect import document
from posture.collect.document import Limits, Path, PureParser, Remark
from posture.collect.manifest import Broken, Cache, Document, documents, load_with_lines
from tests.collect.reading import read, refusal, values

BOM = "\ufeff"
_REST = "from here on nothing is read: the document before it has ended without `---`"


class Dribble(io.RawIOBase):
    """A stream that gives its bytes in pieces of one size, as a pipe may."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = iter([data[at : at + size] for at in range(0, len(data), size)])

    def read(self, _: int = -1) -> bytes:
        return next(self._pieces, b"")


class Endless(io.RawIOBase):
    """A stream of equal blocks, made when they are read."""

    def __init__(self, block: bytes, number: int) -> None:
        self._block, self._left = block, number

    def read(self, _: int = -1) -> bytes:
        self._left -= 1
        return self._block if self._left >= 0 else b""


DOCUMENTS: list[tuple[str, list[Any]]] = [
    # splitting
    ("", []), ("\n\n", []), ("# only a comment\n", []), ("---", []), ("---\n---\n", []), ("---\n...\n", []),
    ("null\n", []), ("~", []),
    ("a: 1", [{"a": 1}]), ("a: 1\n---\nb: 2\n", [{"a": 1}, {"b": 2}]), ("---\n\n---\na: 1\n---\n", [{"a": 1}]),
    ("--- # why\na: 1\n---   \nb: 2\n---\t# why\nc: 3\n", [{"a": 1}, {"b": 2}, {"c": 3}]),
    ("a: |\n  x\n  ---\n  y\n", [{"a": "x\n---\ny\n"}]), ("a: |\n  x\n---\n  y\n", [{"a": "x\n"}, True]),
    ("a: 1\n...\n---\nb: 2\n", [{"a": 1}, {"b": 2}]), ("a: 1\n...\n", [{"a": 1}]), (" ---\n", ["---"]),
    ("foo", ["foo"]), ("- a\n- b\n", [["a", "b"]]), ("[1, 2]", [[1, 2]]), ("a\n---\n- b", ["a", ["b"]]),
    (f"{BOM}a: 1\n", [{"a": 1}]), (f"{BOM}---\na: 1\n---\n{BOM}b: 2\n", [{"a": 1}, {"b": 2}]),
    ("a: 'x\r\n  y'\r\n---\r\nb: |\r\n  t\r\n  u\r\n", [{"a": "x y"}, {"b": "t\nu\n"}]),
    ("a: >\n  folded", [{"a": "folded\n"}]), ("a:\t1\n", [{"a": 1}]), ("a: x\u2028  b\n", [{"a": "x\u2028b"}]),
    # JSON
    ('{"a": 1}', [{"a": 1}]), (' \n {"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]), ('{"a":1}{"b":2} {"c":3}', [
        {"a": 1}, {"b": 2}, {"c": 3}]),
    ('{\n\t"a": [\n\t\t1\n\t]\n}\n{\n\t"b": {}\n}\n', [{"a": [1]}, {"b": {}}]), ('{"a": "}\\n{"}', [{"a": "}\n{"}]),
    ('{"a": 1}\n---\nb: 2\n---\n{"c": 3}', [{"a": 1}, {"b": 2}, {"c": 3}]), ('{"a": 1}\nb: 2\n', [{"a": 1}, {"b": 2}]),
    ('{"a": "\\ud83d\\ude00 \\/ é"}', [{"a": "😀 / é"}]), ('{"a": 1, "a": 2}', [{"a": 2}]), ('{"a": 1.0}', [{"a": 1}]),
    ('{"a": NaN}', [{"a": "NaN"}]), ('{"a": 0x1F, b: yes,}', [{"a": 31, "b": True}]), ("{a: b}\n", [{"a": "b"}]),
    ('{"a":1}\n[1] 2 "x" null\n', [{"a": 1}, [1], 2, "x"]), ('---\n{"a": 1}\n{"b": 2}', [{"a": 1}]),
    # keys given twice, merge keys, anchors
    ("a: 1\na: 2\n", [{"a": 2}]), ("yes: 1\ny: 2\n", [{"true": 2}]), ("1: a\n1.5: b\n", [{"1": "a", "1.5": "b"}]),
    ("a: &x {b: 1}\nc: {<<: *x, d: 2}\n", [{"a": {"b": 1}, "c": {"b": 1, "d": 2}}]),
    ("a: 1\n<<: {a: 2}\n", [{"a": 2}]), ("<<: {a: 2}\na: 1\n", [{"a": 1}]), ("? <<\n: {a: 1}\n", [{"a": 1}]),
    ("<<: [{a: 1}, {a: 2, b: 3}]\n", [{"a": 1, "b": 3}]), ("!!merge <<: {a: 1}\n", [{"a": 1}]),
    ("<<: {<<: {a: 1}, b: 2}\n", [{"a": 1, "b": 2}]), ("x: &x <<\n*x : 1\n", [{"x": "<<", "<<": 1}]),
    ("a: &x 1\nb: *x\n*x : 3\n", [{"a": 1, "b": 1, "1": 3}]), ("&a a: &b b\n*a : *b\n", [{"a": "b"}]),
    ("- &x 1\n- &x 2\n- *x\n", [[1, 2, 2]]), ("- &x [&x 1]\n- *x\n", [[[1], 1]]),
    ("a: &x\nb: *x\n", [{"a": None, "b": None}]),
    ("? a\n? b\n", [{"a": None, "b": None}]), ("{? a, b}", [{"a": None, "b": None}]), ("[a: b]", [[{"a": "b"}]]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "found"), DOCUMENTS)
def test_a_stream_holds_the_documents_that_kubectl_finds(text: str, found: list[Any]) -> None:
    assert values(text) == found


REFUSED = [
    "a: .inf", "a: -.Inf", "a: .nan", "~: 1", "? [1]\n: 2", "{a: b}: c", "18446744073709551615: 1", "a: !!int x",
    "a: !!int 1.5", "a: !!float x", "a: !!float 18446744073709551615",
    "a: !!float 9223372036854775808", "a: !!bool 1", "a: !!null x",
    "a: !!binary aGk", "a: !!binary a===", "a: !!binary é", "<<: 1", "<<: [1]", "a: &a [1]\nb: {<<: *a}", "<<: ~",
    "a: *b", "&a [*a]", "&a {b: {c: *a}}", "- &x 1\n- &x [*x]", "a: b: c", "\ta: 1", "a:\n\t- b", "a: [", "a: }",
    "a: 'b", 'a: "\\q"', "a: @b", "a: `b`", "a: %b\n  c: d", "a: 1\nb", "- a\nb: c", "%YAML 1.1", "a: !e!x b",
    "a: \x00", "a: \x7f",
    "--- a\n", "--- {a: 1}\n", "----\n",
    "a: 1\n---\n--- x\n", "a: |\n x\n  y\n z\n# c\n w: 1\n v", "key: {{ .Values.x }}: y",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_kubectl_refuses_is_broken(text: str) -> None:
    assert any(isinstance(each, Broken) for each in read(text))


STRICTER = ["a: !!str", "[!, 2.5]", "a:\n  !x", f"a: 1\n{BOM}b: 2", f"[a,\n{BOM}b]", ".inf: 1"]


@pytest.mark.parametrize("text", STRICTER)
def test_stricter_than_kubectl_where_libyaml_and_the_go_port_of_it_disagree(text: str) -> None:
    """They would read different values, or it is no use to anybody: unknown is the honest answer."""
    assert refusal(text)


MORE_LENIENT: list[tuple[str | bytes, list[Any]]] = [
    ('a: "\\/"', [{"a": "/"}]),
    ('a: 1\n---\n{"a": "\\ud83d\\ude00"}', [{"a": 1}, {"a": "😀"}]),
    ("a: !!timestamp never", [{"a": "never"}]),
    ('{"a": 1}{"b": 2}\n---\nc: 3', [{"a": 1}, {"b": 2}, {"c": 3}]),
    ("[a,\n  b? c]", [["a", "b? c"]]),
    ("a: é\nb: 1\n".encode("utf-16"), [{"a": "é", "b": 1}]),
    (b"\xfe\xff" + "a: 😀".encode("utf-16-be"), [{"a": "😀"}]),
]


@pytest.mark.parametrize(("text", "found"), MORE_LENIENT)
def test_more_lenient_than_kubectl_where_the_meaning_is_clear(text: str | bytes, found: list[Any]) -> None:
    assert values(text) == found


def test_a_document_that_is_null_is_left_out_unless_something_follows_it() -> None:
    assert read("null\n---\n~\n---\n# c\n") == []
    assert read("~\n...\nb: 2\n") == [Document(None, 1, (), (Remark(3, _REST),))]


def test_a_broken_document_does_not_lose_the_others() -> None:
    first, broken, last = read("a: 1\n---\nb: [\n---\nc: 3\n")
    assert (first, last) == (Document({"a": 1}, 1), Document({"c": 3}, 5))
    assert isinstance(broken, Broken)
    assert (broken.line, broken.text, broken.gap) == (4, b"b: [\n", "failed")
    assert broken.reason == "while parsing a flow node: did not find expected node content"


def test_what_stands_behind_a_separator_is_refused_together_with_its_document() -> None:
    first, broken, last = read("a: 1\n--- {b: 2}\nc: 3\n---\nd: 4\n")
    assert [first, last] == [Document({"a": 1}, 1), Document({"d": 4}, 5)]
    assert broken == Broken(2, "only a comment may stand behind `---` on its line", b"--- {b: 2}\nc: 3\n")


LINES = [
    ("a: 1\n", [1]), ("\n\n# c\na: 1\n", [4]), ("---\na: 1\n---\n# c\n\nb: 1\n", [2, 6]),
    ("a: 1\r\n---\r\nb: 1\r\n", [1, 3]),
    ('{"a": 1}\n\n {"b": 1}', [1, 3]), ('{\n"a": 1}{"b":\n1}\n{"c": 1}', [1, 2, 4]), ('a: 1\n---\n\n{"b": 1}', [1, 4]),
    ('\n\n{"a": 1}\nb: 1\n', [3, 4]), ("a: 1\n--- # x\n---\n\nb: 1\n", [1, 5]), ("\n&x\n  a: 1\n", [2]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), LINES)
def test_a_document_knows_the_line_where_its_root_begins(text: str, lines: list[int]) -> None:
    assert [each.line for each in read(text)] == lines


def test_a_document_that_is_too_large_is_refused_and_the_next_one_read() -> None:
    small = b"b: 2\n"
    for large in (b"a: " + b"x" * 33_000_000, b"#" * 33_000_000, b"{" + b" " * 33_000_000 + b"}", b"a:\n" * 11_000_000):
        broken, last = read(large + b"\n---\n" + small)
        assert broken == Broken(
            1,
            "the document is larger than 32,000,000 bytes (limits.documentBytes in the configuration)",
            None,
            "truncated",
        )
        assert isinstance(last, Document)
        assert (last.value, last.line) == ({"b": 2}, large.count(b"\n") + 3)


def test_a_document_may_be_as_large_as_the_limit() -> None:
    text = "a: " + "x" * 96 + "\n"
    assert values(text, document=100)
    assert refusal(text, document=99)
    assert values('{"a": "x"}', document=10) == [{"a": "x"}]
    assert refusal('{"a": "x"}', document=9)
    assert values(gzip.compress(text.encode()), unpacked=100)
    assert refusal(gzip.compress(text.encode()), unpacked=99)
    assert [type(each) for each in read("b: 1\n---\n" + text + "---\nc: 1", document=99)] == [
        Document,
        Broken,
        Document,
    ]


@pytest.mark.parametrize("block", [b"x" * 100_000, b"a: 1\n" * 20_000, b"-" * 100_000, b"--\n" * 30_000])
def test_a_document_that_is_too_large_is_not_held(block: bytes) -> None:
    tracemalloc.start()
    try:
        stream: Any = Endless(block, 1_000)
        found = list(documents(stream, Limits(document=1_000_000)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [each.gap for each in found if isinstance(each, Broken)] == ["truncated"]
    assert peak < 8_000_000


@pytest.mark.parametrize(
    "value", ['{"a": "%s"}\n', 'a: "%s"\n---\n', '{"a": "%s"}\n---\n'], ids=["JSON", "YAML", "both"]
)
def test_a_stream_is_never_held_as_a_whole(value: str) -> None:
    block = (value % ("x" * 10_000)).encode()
    tracemalloc.start()
    try:
        stream: Any = Endless(block, 10_000)
        number = sum(isinstance(each, Document) for each in documents(stream, cache=Cache(0)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number == 10_000
    assert peak < 8_000_000


def test_gzip_is_unpacked_whatever_the_file_is_called() -> None:
    packed = gzip.compress(b"a: 1\n---\n") + gzip.compress(b"b: 2\n") + b"\0" * 100
    assert values(packed) == [{"a": 1}, {"b": 2}]
    assert values(gzip.compress("a: é".encode("utf-16"))) == [{"a": "é"}]
    assert values(gzip.compress(b"a: " + b"x" * 5_000_000)) == [{"a": "x" * 5_000_000}]
    assert values(gzip.compress(b"a: 1\n") + b"\0" * 600_000) == [{"a": 1}]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gzip_may_come_in_any_pieces(size: int) -> None:
    dribbled: Any = Dribble(gzip.compress(b"a: 1\n"), size)
    assert list(documents(dribbled)) == [Document({"a": 1}, 1)]


def unpacked_to(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(b"\n" * size) + packer.flush()


BAD_STREAMS = [  # without times, so that every worker names these tests alike
    (gzip.compress(b"a: 1\n" * 1_000, mtime=0)[:-20], "the gzip data ends too early", "failed"),
    (gzip.compress(b"a: 1\n", mtime=0)[:-6] + b"wrong!", "the gzip data is damaged", "failed"),
    (gzip.compress(b"a: 1\n", mtime=0) + b"and more", "the gzip data is damaged", "failed"),
    (b"\x1f\x8b", "the gzip data ends too early", "failed"),
    (unpacked_to(50_000_000), "the gzip data unpacks to more than 20,000,000 bytes", "truncated"),
    (b"\xff\xfea", "the text is no valid UTF-16", "failed"),
    (b"\xff\xfe\x00\xd8a\x00", "the text is no valid UTF-16", "failed"),
]


@pytest.mark.parametrize(("data", "reason", "gap"), BAD_STREAMS)
def test_a_stream_that_breaks_off_ends_with_a_broken_part_that_may_hold_anything(
    data: bytes, reason: str, gap: str
) -> None:
    last = read(data, unpacked=20_000_000)[-1]
    assert isinstance(last, Broken)
    assert (last.reason, last.text, last.gap) == (reason, None, gap)


def test_an_error_of_the_stream_keeps_the_documents_before_it() -> None:
    class Failing(Endless):
        def read(self, _: int = -1) -> bytes:
            block = super().read()
            if not block:
                raise OSError(5, "Input/output error")
            return block

    stream: Any = Failing(b"a: 1\n---\nb: 2\n", 1)
    assert list(documents(stream)) == [Document({"a": 1}, 1), Broken(3, "cannot be read: Input/output error", None)]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The texts that went through the parser."""
    texts: list[bytes] = []

    def parser(text: bytes) -> PureParser:
        texts.append(text)
        return PureParser(text)

    monkeypatch.setattr(document, "_Parser", parser)
    return texts


def test_documents_of_equal_bytes_are_parsed_once_in_a_run(parsed: list[bytes]) -> None:
    cache = Cache()
    stream = b"kind: List\nitems:\n- a: 1\n- a: 2\n...\nb\n---\nb: 2\n"
    first = list(documents(io.BytesIO(stream), cache=cache))
    assert list(documents(io.BytesIO(b"x: 1\n---\n" + stream), cache=cache)) == [
        Document({"x": 1}, 1),
        Document({"kind": "List", "items": [{"a": 1}, {"a": 2}]}, 3, (5, 6), (Remark(8, _REST),)),
        Document({"b": 2}, 10),
    ]
    assert first == [
        Document({"kind": "List", "items": [{"a": 1}, {"a": 2}]}, 1, (3, 4), (Remark(6, _REST),)),
        first[1],
    ]
    assert parsed == [stream[:-9], b"b: 2\n", b"x: 1\n"]


def test_the_cache_takes_no_more_than_its_size(parsed: list[bytes]) -> None:
    cache = Cache(20)
    for _ in range(2):
        assert len(list(documents(io.BytesIO(b"a: 1234567890\n---\nb: 1234567890\n"), cache=cache))) == 2
    assert parsed == [b"a: 1234567890\n", b"b: 1234567890\n", b"b: 1234567890\n"]


def test_a_reason_never_repeats_the_text() -> None:
    """It may be a Secret's."""
    for text in (
        "a: !!int hunter2",
        "a: !!binary hunter2",
        "hunter2: *hunter",
        "- 'hunter2",
        "hunter2: [",
        "--- hunter2\n",
    ):
        assert "hunter2" not in refusal(text).reason


# Laws

_TEXT = st.text(st.characters(codec="utf-16", exclude_characters="\x7f", max_codepoint=0xFFFF), max_size=40)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e15, 1e15) | _TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXT, inner, max_size=5),
    max_leaves=20,
)


@given(_JSON, st.sampled_from([None, 1, 4]))
def test_json_means_the_same_read_as_yaml(value: Any, indent: int | None) -> None:
    """The separator makes it YAML. Whole floats may come back as integers, which is equal in JSON."""
    text = json.dumps({"value": value}, indent=indent)
    assert values("---\n" + text) == values(text) == [{"value": value}]


@given(st.lists(_JSON.map(lambda value: {"value": value}), max_size=6), st.sampled_from(["", " ", "\n", "\n\n \t"]))
def test_json_values_may_follow_one_another(found: list[Any], between: str) -> None:
    assert values(between.join(json.dumps(value) for value in found)) == found


_FRAGMENTS = st.sampled_from(
    [
        "---",
        "\n",
        "\n---\n",
        "--- # c\n",
        "a: 1\n",
        "b:\n- c\n",
        '{"a": 1}',
        "}\n{",
        "|\n  ---\n",
        "\r\n",
        "- &x y\n",
        "...",
    ]
)


@given(st.lists(_FRAGMENTS, max_size=12).map("".join), st.integers(1, 7))
@example("a: 1\n---\nb: 2\n---", 3)
def test_documents_do_not_depend_on_how_the_stream_is_cut(text: str, size: int) -> None:
    data = text.encode()
    dribbled: Any = Dribble(data, size)
    assert list(documents(dribbled)) == list(documents(io.BytesIO(data)))


@given(st.binary(max_size=200) | st.lists(_FRAGMENTS | _TEXT, max_size=12).map("".join).map(str.encode))
@example(b'"\\UFFFFFFFF"')
@settings(max_examples=300)
@pytest.mark.parametrize("mark", [b"", b"---\n", b"{", b"\xff\xfe", b"\x1f\x8b\x08"])
def test_no_bytes_raise_and_every_reason_can_be_shown(mark: bytes, data: bytes) -> None:
    for each in read(mark + data, depth=20, nodes=50, document=150):
        if isinstance(each, Broken):
            assert each.reason.isprintable()
            assert each.line >= 1
        else:
            orjson.dumps(each.value)


_PLAIN_KEYS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.none(), min_size=1, max_size=4).map(list)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), _PLAIN_KEYS)
def test_every_written_line_is_found_again(blanks: list[int], keys: list[str]) -> None:
    """Entries with blank lines and comments before them, in a list of mappings below a key."""
    lines = ["root:"]
    expected: dict[Path, int] = {("root",): 1}
    for number, blank in enumerate(blanks):
        lines += ["", "  # comment"][: blank % 3]
        for position, key in enumerate(keys):
            lines.append(f"{'-' if position == 0 else ' '} {key}: {blank}")
            expected["root", number, key] = len(lines)
    lined = load_with_lines("\n".join(lines))
    assert {path: lined.line_of(path) for path in expected} == expected
