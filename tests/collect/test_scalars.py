"""What a scalar means to kubectl: every case is what sigs.k8s.io/yaml 1.6.0 answered."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from posture.collect import document
from posture.collect.document import PureParser
from tests.collect.reading import values


@pytest.fixture(params=["libyaml", "pure Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pure Python":
        monkeypatch.setattr(document, "_Parser", PureParser)
    return str(request.param)


SCALARS: list[tuple[str, Any]] = [
    # booleans of YAML 1.1
    *[(word, True) for word in ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")],
    *[(word, False) for word in ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")],
    ("yEs", "yEs"), ("oN", "oN"), ("tRUE", "tRUE"), ('"yes"', "yes"), ("'on'", "on"),
    # null
    ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"), ('""', ""), ("'~'", "~"),
    # integers as Go's ParseInt with base 0, underscores taken out
    ("0", 0), ("-0", 0), ("+1", 1), ("-17", -17), ("1_000", 1000), ("1__0_", 10), ("_1", "_1"),
    ("0x1F", 31), ("0X1f", 31), ("+0x1F", 31), ("-0x1F", -31), ("0x_1", 1), ("0x", "0x"), ("0xG", "0xG"),
    ("0o17", 15), ("0O17", 15), ("017", 15), ("0777", 511), ("0_1", 1), ("0o8", "0o8"), ("0o", "0o"),
    ("0b11", 3), ("0B11", 3), ("-0b1", -1), ("0b-1", -1), ("0b+1", 1), ("0b2", "0b2"), ("-0b-1", "-0b-1"),
    ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
    ("18446744073709551615", 2**64 - 1), ("18446744073709551616", 18446744073709551616.0),
    ("-9223372036854775809", -9223372036854775808.0), ("+18446744073709551615", 18446744073709551615.0),
    # floats; without a fraction they come out as integers, as Go writes them to JSON
    ("1.5", 1.5), ("-1.5e3", -1500), ("1.0", 1), ("1.", 1), ("5.e3", 5000), ("1e3", 1000), ("1E-2", 0.01),
    ("08", 8), ("09.5", 9.5), ("-08", -8), ("1_.5", 1.5), ("1_e3", 1000), ("-0.0", 0), ("1e-400", 0),
    ("0999999999999123456", 999999999999123500), ("1e21", 1e21), ("1e400", "1e400"), ("-1e400", "-1e400"),
    (".5", 0.5), ("+.5", 0.5), ("-.5", -0.5), (".5e3", 500), (".1_5", 0.15), ("._5", "._5"), (".", "."), ("..5", "..5"),
    (".e5", ".e5"), (".5.", ".5."), (".5e400", ".5e400"), ("1.2.3", "1.2.3"), ("1e", "1e"), ("0x1p3", "0x1p3"),
    # what looks like something else in other YAML readers
    ("=", "="), ("<<", "<<"), ("190:20:30", "190:20:30"), ("12:30:45", "12:30:45"), ("1:20", "1:20"),
    ("2001-01-01", "2001-01-01"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
    ("2026-10-20T12:00:00Z", "2026-10-20T12:00:00Z"), ("nan", "nan"), ("inf", "inf"), ("NaN", "NaN"),
    ("100m", "100m"), ("1Gi", "1Gi"), ("v1", "v1"), ("10.0.0.0/8", "10.0.0.0/8"), ("٣", "٣"),
    ("http://a:80/b", "http://a:80/b"),
    # explicit tags
    ("!!str 12", "12"), ("!!str yes", "yes"), ("!!str ~", "~"), ("!!int '12'", 12), ("!!int 0x1F", 31),
    ("!!float 1", 1), ("!!float '1.5'", 1.5), ("!!bool yes", True), ("!!bool 'off'", False), ("!!null ~", None),
    ("!!null ''", None), ("!!timestamp 2001-01-01", "2001-01-01"), ("!!binary aGk=", "hi"), ("!!binary /w==", "\ufffd"),
    ("!!binary |\n  aG\n  k=", "hi"), ("!local 12", "12"), ("! 12", "12"), ('! "12"', "12"),
    ("!<tag:yaml.org,2002:int> 5", 5), ("!!map {a: 1}", {"a": 1}), ("!!set {a, b}", {"a": None, "b": None}),
    ("!!seq [1]", [1]), ("!local {a: 1}", {"a": 1}), ("!!merge <<", "<<"),
    # text
    ("a b", "a b"), ("a\n   b", "a b"), ('"a\\tb\\u00e9\\x41\\N"', "a\tbéA\x85"), ("'it''s'", "it's"), ("'\\n'", "\\n"),
    ('"a \\\n   b"', "a b"), ("|\n  a\n  b\n", "a\nb\n"), ("|-\n  a\n  b\n", "a\nb"), ("|+\n  a\n", "a\n\n"),
    (">\n  a\n  b\n", "a b\n"), ("|2\n   a\n", " a\n"), ("|\n  ---\n  a: 1\n", "---\na: 1\n"), ("a # not text", "a"),
    ("a#b", "a#b"), ("|\n  a # text\n", "a # text\n"), ("[a:b, http://x]", ["a:b", "http://x"]),
    ("{a: b, c}", {"a": "b", "c": None}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_scalar_is_what_kubectl_makes_of_it(parser: str, text: str, value: Any) -> None:
    (found,) = values(f"value: {text}\n")
    assert orjson.dumps(found["value"]) == orjson.dumps(value)  # tells 1 from true and from 1.0


KEYS = [
    ("a", "a"), ("1", "1"), ("0x1F", "31"), ("yes", "true"), ("n", "false"), ('"yes"', "yes"), ("''", ""), ("=", "="),
    ("1.50", "1.5"), ("1.0", "1"), ("1e5", "100000"), ("1e6", "1e+06"), ("1234567.5", "1.2345675e+06"),
    ("0.0001", "0.0001"), ("0.00001", "1e-05"), ("08123456", "8.123456e+06"), ("16777217.0", "1.6777216e+07"),
    ("1e39", ".inf"), ("-1e39", "-.inf"), ("2001-01-01", "2001-01-01"), ("'<<'", "<<"), ("!!str <<", "<<"),
    ("? a", "a"), ("9223372036854775807", "9223372036854775807"), ("!!int '7'", "7"), ("!!binary aGk=", "hi"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key"), KEYS)
def test_a_key_becomes_the_string_that_kubectl_makes_of_it(parser: str, text: str, key: str) -> None:
    assert values(f"{text}: 1\n" if text[0] != "?" else f"{text}\n: 1\n") == [{key: 1}]
