"""One document: how much it may cost, what is remarked on, and where everything in it stands."""

from __future__ import annotations

import time

import pytest

from posture.collect import document
from posture.collect.document import ManifestError, Path
from posture.collect.manifest import Document, load_with_lines
from tests.collect.reading import read, refusal, values

SECONDS = 20.0  # what a hostile document may take on a slow machine; without its limit it takes minutes


NESTED = [
    "[" * 100_000, "[" * 100_000 + "]" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000,
    '{"a":' * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000,
    "".join(" " * depth + "a:\n" for depth in range(1_500)), "a: &a0 []\n" + "".join(
        f"a{n}: &a{n + 1} [" + "[" * 400 + f"*a{n}" + "]" * 401 + "\n" for n in range(3)),
]  # fmt: skip


@pytest.mark.parametrize("text", NESTED, ids=lambda text: text[:8])
def test_deep_nesting_is_refused_quickly_and_overflows_no_stack(text: str) -> None:
    began = time.monotonic()
    assert refusal(text).reason == "nested deeper than 1,000 levels"
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("depth", [9, 10])
def test_nesting_is_allowed_up_to_the_limit(depth: int) -> None:
    assert values("[" * depth + "]" * depth, depth=depth)
    assert refusal("[" * (depth + 1) + "]" * (depth + 1), depth=depth)


def test_what_an_alias_nests_counts_as_nesting() -> None:
    """The list is four deep in its first element, whatever comes after that; it is used three deep."""
    text = "a: &a [[[[]]], &b []]\nc: [[*a]]\n"
    assert values(text, depth=7)
    assert refusal(text, depth=6)


def test_scalars_are_remembered_up_to_a_length_and_a_number() -> None:
    plain = document.Plain()
    assert (plain["yes"], plain["x" * 65], len(plain)) == (True, "x" * 65, 1)
    for number in range(50_100):
        assert plain[f"v{number}"] == f"v{number}"
    assert len(plain) == 50_000


def laughs(levels: int, width: int = 10) -> str:
    lines = ["a0: &a0 [" + ",".join(["x"] * width) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * width) + "]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


BOMBS = [
    laughs(9),
    "a: &a {" + ",".join(f"k{n}: v" for n in range(1_000)) + "}\nb:\n" + "- {<<: *a}\n" * 2_000,
    "a: &a '" + "x" * 1_000_000 + "'\nb: [" + "*a," * 100_000 + "]\n",
    "a: &a [" + "x" * 1_000_000 + "]\nb: [" + "*a," * 100_000 + "]\n",
]


@pytest.mark.parametrize("text", BOMBS, ids=["billion laughs", "merge keys", "a long text", "a long text in a list"])
def test_aliases_that_expand_to_too_much_are_refused(text: str) -> None:
    began = time.monotonic()
    assert (
        refusal(text).reason
        == "aliases and merge keys add more than 1,000,000 nodes (limits.nodes in the configuration)"
    )
    assert time.monotonic() - began < SECONDS


def test_aliases_are_counted_with_their_whole_expansion() -> None:
    """Two aliases to a list of three, and one to a list of those two: two times 4, and 9."""
    text = "a: &a [1, 2, 3]\nb: &b [*a, *a]\nc: *b\n"
    shared = [1, 2, 3]
    assert values(text, nodes=17) == [{"a": shared, "b": [shared, shared], "c": [shared, shared]}]
    assert refusal(text, nodes=16)


def test_what_is_written_out_does_not_count_as_added_by_aliases() -> None:
    assert values("a: [" + "1," * 100 + "]", nodes=1)


LIST = "kind: List\nmetadata: {x: [{}, {}]}\nitems:\n- a: 1\n\n-\n  b: [{}, {}]\n- {c: 1}\nafter: [{}]\n"
ITEMS = [
    (LIST, (4, 7, 8)), ("a: 1\n---\n" + LIST, (6, 9, 10)), ("items: [{}, 1]", ()), ("items: [1]", ()),
    ("- items: [{}]", ()),
    ("items: {a: [{}]}", ()), ("items: &x [{}]\nb: *x", (1,)), ("a: &x {}\nitems:\n- *x\n- {}", ()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), ITEMS)
def test_a_list_knows_the_lines_of_its_items_if_all_are_mappings(text: str, lines: tuple[int, ...]) -> None:
    last = read(text)[-1]
    assert isinstance(last, Document)
    assert last.items == lines


REMARKS = [
    ("a: 1\nb: 2\na: 3\n", 3, "`a` is given twice: the last one counts"),
    ("x:\n- yes: 1\n  on: 2\n", 3, "`true` is given twice: the last one counts"),
    ("---\nb: 2\n---\n{a: 1, 'a': 3}\n", 4, "`a` is given twice: the last one counts"),
    ("a: 1\n...\nb: 2\n", 3, "from here on nothing is read: the document before it has ended without `---`"),
    ("[1]\nb: 2\n", 2, "from here on nothing is read: the document before it has ended without `---`"),
    ("a\r---\rb\n", 2, "from here on nothing is read: the document before it has ended without `---`"),
    ("a: 1\n\u202e: 2\n\u202e: 2\n", 3, "`\\u202e` is given twice: the last one counts"),
]


@pytest.mark.parametrize(("text", "line", "message"), REMARKS)
def test_what_kubectl_passes_over_in_silence_is_remarked_on(text: str, line: int, message: str) -> None:
    (remark,) = [remark for each in read(text) if isinstance(each, Document) for remark in each.remarks]
    assert (remark.line, remark.message) == (line, message)


def test_a_key_that_overrides_a_merged_one_is_no_remark() -> None:
    assert read("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\n") == [
        Document({"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}}, 1)
    ]


# What people write


@pytest.mark.parametrize("parser", [document._Parser, document.PureParser])
def test_the_line_of_every_path_is_known(parser: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_Parser", parser)
    lined = load_with_lines("# rules\nrules:\n- id: a\n  match:\n    verbs: [get,\n      list]\n- {id: b,\n   on: c}\n")
    assert lined.value == {"rules": [{"id": "a", "match": {"verbs": ["get", "list"]}}, {"id": "b", "true": "c"}]}
    table: list[tuple[Path, int]] = [
        ((), 2), (("rules",), 2), (("rules", 0), 3), (("rules", 0, "id"), 3), (("rules", 0, "match"), 4),
        (("rules", 0, "match", "verbs"), 5), (("rules", 0, "match", "verbs", 1), 6), (("rules", 1), 7),
        (("rules", 1, "id"), 7), (("rules", 1, "true"), 8), (("rules", 0, "missing", "below"), 3), (("rules", 9), 2),
        (("elsewhere",), 2),
        (("rules", 1, "missing", "true"), 7), (("rules", "id"), 2), (("rules", 0, "id", "deeper"), 3),
    ]  # fmt: skip
    assert [(path, lined.line_of(path)) for path, _ in table] == table


def test_a_merged_or_aliased_part_has_the_line_where_it_was_written() -> None:
    lined = load_with_lines("a: &x\n  b: 1\n  c: 2\nd:\n  <<: *x\n  c: 3\ne: *x\nf:\n- 1\n- *x\n")
    table: list[tuple[Path, int]] = [
        (("d", "b"), 2), (("d", "c"), 6), (("e",), 7), (("e", "b"), 2), (("f", 1), 10), (("f", 1, "c"), 3),
    ]  # fmt: skip
    assert [(path, lined.line_of(path)) for path, _ in table] == table


def test_json_has_lines_too_and_nothing_is_none_on_line_one() -> None:
    assert load_with_lines('{\n\t"a": {\n\t\t"b": 1\n}}').line_of(("a", "b")) == 3
    assert (load_with_lines("").value, load_with_lines("# c\n").line_of(("a",))) == (None, 1)
    assert load_with_lines("---\n# c\na: 1\n").line_of(("a",)) == 3


WRITTEN_WRONG = [
    ("a: 1\nb: [\n", 3, "while parsing a flow node: did not find expected node content"),
    ("a: 1\nb: 2\na: 3\n", 3, "`a` is given twice: the last one counts"),
    ("a: 1\n---\n# c\nb: 2\n", 4, "a second document; only one is expected here"),
    ("a: 1\n...\nb: 2\n", 3, "from here on nothing is read: the document before it has ended without `---`"),
    ("a: 1\n\ufeffb: 2\n", 2, "a byte order mark at the start of a later line"),
    ("a: 1\nb: !!int x\n", 2, "the value does not fit its tag !!int"),
    ("a: 1\nb: *x\n", 2, "unknown anchor 'x' referenced"),
    ("---\n--- a\n", 2, "only a comment may stand behind `---` on its line"),
    ("a: \x1b[31m\n", 1, "control characters are not allowed at byte 3"),
    ("a: \ud800\n", 1, "invalid Unicode character at byte 3"),
]


@pytest.mark.parametrize(("text", "line", "reason"), WRITTEN_WRONG)
def test_in_a_file_that_people_write_every_doubt_is_an_error(text: str, line: int, reason: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_with_lines(text)
    assert (caught.value.line, caught.value.reason) == (line, reason)
