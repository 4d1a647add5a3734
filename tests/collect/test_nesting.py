"""JSON of any depth is read: what lies too deep is null, and the rest is as it was."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posture.collect.nesting import LEVELS, loads, shallow

leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text('[]{}"\\,:x\x00é\u2028')
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text('[{"\\'), inner), max_leaves=20)


def nested(depth: int, value: object = None, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """A value in so many lists."""
    return opening * depth + orjson.dumps(value) + closing * depth


@given(values, values, st.integers(LEVELS - 5, LEVELS + 5))
def test_the_rest_of_a_text_with_a_deep_value_is_as_it_was(before: object, after: object, depth: int) -> None:
    """Whatever brackets and quotes lie in strings before and after it."""
    body = b'{"before":%s,"deep":%s,"after":%s}' % (orjson.dumps(before), nested(5000), orjson.dumps(after))
    found = loads(body)
    assert isinstance(found, dict)
    deep = found.pop("deep")
    assert found == {"before": before, "after": after}
    assert orjson.dumps(deep) == nested(LEVELS - 1)
    assert shallow(nested(depth)) == nested(min(depth, LEVELS))


@given(values)
def test_what_is_not_deep_is_not_touched(value: object) -> None:
    """Neither by the decoder's way nor by the other."""
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    assert (loads(body), shallow(body)) == (value, body)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 5000, b"]" * 5000, nested(5000)[:-1], nested(5000)[1:], nested(5000) + b"x", b'{"a":1} {"b":2}',
     b'"' + b"[" * 5000, nested(5000, closing=b"}")[:-1]],
)  # fmt: skip
def test_what_is_no_json_stays_none(body: bytes) -> None:
    """However deep it is."""
    with pytest.raises(orjson.JSONDecodeError):
        loads(body)
