"""Kyverno's patterns: whether an object is as `pattern` or `anyPattern` says.

Source: kyverno v1.19.0, pkg/engine/{validate/validate.go,anchor/handlers.go,pattern/pattern.go,operator/operator.go}.
What a pattern gives is a pass, a skip (a condition that does not hold: nothing is asked), a failure, or an error.
What is not worked out here raises `Unanswered`, and `unsupported` says it of a pattern as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from .wildcards import matches, wild

type Result = Literal["pass", "skip", "fail", "error"]
DEEPEST = 48
"""How deep a pattern may be."""

_ANCHOR = re.compile(r"([+<=X^])?\((.+)\)")
_VARIABLE = re.compile(r"\{\{|\$\(")


class Unanswered(Exception):
    """Whether an object is as a pattern says cannot be told; the message says why."""


class _Wrong(NamedTuple):
    """Why an object is not as a pattern says. `single` is a condition itself, rather than what several come to."""

    kind: Literal["fail", "forbidden", "skip"]
    path: bool = True
    single: bool = False


type _Found = _Wrong | None
_FAIL, _SKIP = _Wrong("fail"), _Wrong("skip", single=True)
_SKIPPED = _Wrong("skip")


def unsupported(pattern: Any) -> str:
    """Why nobody can say what a pattern asks for; "" where it can be told."""
    waiting = [(pattern, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > DEEPEST:
            return "its pattern is nested deeply"
        if isinstance(found, str) and _VARIABLE.search(found):
            return "its pattern has variables"
        if isinstance(found, float):
            return "its pattern has numbers with fractions"
        if isinstance(found, list):
            waiting += [(one, depth + 1) for one in found]
        if isinstance(found, dict):
            for key, value in found.items():
                if _VARIABLE.search(key):
                    return "its pattern has variables"
                if _anchor(key)[0] == "+":
                    return "its pattern adds fields"
                if _anchor(key)[1] == "metadata" and isinstance(value, dict) and any(_expanded(value)):
                    return "its pattern has wildcards in the keys of labels or annotations"
                waiting.append((value, depth + 1))
    return ""


def about_metadata(pattern: Any) -> bool:
    """Whether it looks at an object's metadata: False only where it is sure that it does not."""
    return not isinstance(pattern, dict) or any("metadata" in key or wild(key) for key in pattern)


def about_name(pattern: Any) -> bool:
    """Whether it looks at what an object or its namespace is called: False only where it is sure that it does not."""
    if not isinstance(pattern, dict):
        return True
    found = [value for key, value in pattern.items() if "metadata" in key or wild(key)]
    return not all(
        isinstance(one, dict) and all(_anchor(key)[1] in ("labels", "annotations") for key in one) for one in found
    )


def _expanded(metadata: Mapping[str, Any]) -> Iterator[bool]:
    for key, value in metadata.items():
        if _anchor(key)[1] in ("labels", "annotations") and isinstance(value, dict):
            yield any(wild(_anchor(one)[1]) or not isinstance(text, str) for one, text in value.items())


def judged(pattern: Any, resource: Any) -> Result:
    """What a pattern gives for an object. Raises Unanswered."""
    seen: dict[str, bool] = {}
    found = _element(resource, pattern, seen)
    if found is None:
        return "pass"
    if found.kind == "skip":
        return "skip"
    missing = any(not there and _anchor(key)[0] != "X" for key, there in seen.items())
    return "error" if found.kind == "fail" and (missing or not found.path) else "fail"


def judged_any(patterns: list[Any], resource: Any) -> Result:
    """What several patterns give of which one is enough. Raises Unanswered."""
    results: list[Result] = []
    doubt: Unanswered | None = None
    for one in patterns:
        try:
            results.append(judged(one, resource))
        except Unanswered as why:
            doubt = doubt or why
    if "pass" in results:
        return "pass"
    if doubt:
        raise doubt
    if results and all(one == "skip" for one in results):
        return "skip"
    return "fail" if results else "pass"


def _anchor(key: str) -> tuple[str | None, str]:
    """The kind of anchor of a key, `()` for a condition and None for none, and the field."""
    match = _ANCHOR.fullmatch(key.strip())
    return (match[1] or "()", match[2]) if match else (None, key)


# Elements ------------------------------------------------------------------------------------------------------------


def _element(value: Any, pattern: Any, seen: dict[str, bool]) -> _Found:
    if isinstance(pattern, dict):
        if not isinstance(value, dict):
            return _FAIL
        for key in pattern:
            kind, name = _anchor(key)
            if kind in ("()", "^", "X"):
                seen[key] = seen.get(key, False) or name in value
        return _mapping(value, pattern, seen)
    if isinstance(pattern, list):
        return _list(value, pattern, seen) if isinstance(value, list) else _FAIL
    items = value if isinstance(value, list) else [value]
    return None if all(_scalar(one, pattern) for one in items) else _FAIL


def _mapping(value: Mapping[str, Any], pattern: Mapping[str, Any], seen: dict[str, bool]) -> _Found:
    anchors = sorted(key for key in pattern if _anchor(key)[0] in ("()", "^", "=", "X"))
    skipped: list[_Wrong] = []
    held = 0
    for key in anchors:
        found = _handled(key, value, pattern[key], seen)
        if found is None:
            held += 1
        elif found.kind == "skip":
            skipped.append(found)
        elif not any(one.single for one in skipped):
            return found
    if skipped and (not held or any(one.single for one in skipped)):
        return _SKIPPED
    for key in _in_order({key: pattern[key] for key in pattern if key not in anchors}):
        found = _handled(key, value, pattern[key], seen)
        if found is not None:
            return found
    return None


def _in_order(fields: Mapping[str, Any]) -> list[str]:
    """Fields whose patterns have anchors first, the last of them before all."""
    first: list[str] = []
    rest: list[str] = []
    for key in sorted(fields):
        nested = _anchor(key)[0] == "<" or _anchored(fields[key])
        (first if nested else rest).append(key)
    return [*reversed(first), *rest]


def _anchored(pattern: Any) -> bool:
    if isinstance(pattern, dict):
        return any(_anchor(key)[0] for key in pattern) or any(map(_anchored, pattern.values()))
    return isinstance(pattern, list) and any(map(_anchored, pattern))


def _list(value: list[Any], pattern: list[Any], seen: dict[str, bool]) -> _Found:
    if not pattern:
        return _FAIL
    if isinstance(pattern[0], dict):
        return _all(((item, pattern[0]) for item in value), seen)
    if not isinstance(pattern[0], list):
        return _element(value, pattern[0], seen)
    if len(value) < len(pattern):
        return _Wrong("fail", path=False)
    return _all(zip(value, pattern, strict=False), seen)


def _all(pairs: Iterator[tuple[Any, Any]], seen: dict[str, bool]) -> _Found:
    """Every item must be as its pattern says, but for those that are skipped; all skipped is a skip."""
    held = skipped = 0
    for item, pattern in pairs:
        found = _element(item, pattern, seen)
        if found is None:
            held += 1
        elif found.kind == "skip":
            skipped += 1
        else:
            return found
    return _SKIPPED if skipped and not held else None


# Anchors -------------------------------------------------------------------------------------------------------------


def _handled(key: str, value: Mapping[str, Any], pattern: Any, seen: dict[str, bool]) -> _Found:
    kind, name = _anchor(key)
    if kind is None:
        there = value.get(key)
        if pattern == "*":
            return None if there is not None else _FAIL
        return _element(there, pattern, seen)
    if name not in value:
        return _SKIP if kind == "()" else None
    if kind == "X":
        return _Wrong("forbidden")
    if kind == "^":
        return _exists(value[name], pattern, seen)
    found = _element(value[name], pattern, seen)
    return _SKIP if found is not None and kind in ("()", "<") else found


def _exists(value: Any, pattern: Any, seen: dict[str, bool]) -> _Found:
    """Each of the patterns must hold for an item at least."""
    if not isinstance(value, list) or not isinstance(pattern, list):
        return _FAIL
    for one in pattern:
        if not isinstance(one, dict) or all(_element(item, one, seen) is not None for item in value):
            return _FAIL
    return None


# Values --------------------------------------------------------------------------------------------------------------

_RANGE = re.compile(r"([-|+]?\d+(?:\.\d+)?[A-Za-z]*)(!?)-([-|+]?\d+(?:\.\d+)?[A-Za-z]*)", re.ASCII)


def _scalar(value: Any, pattern: Any) -> bool:
    if isinstance(pattern, bool):
        return isinstance(value, bool) and value is pattern
    if isinstance(pattern, int):
        return _is_number(value, pattern)
    if pattern is None:
        return not value and not isinstance(value, dict | list)
    if not isinstance(pattern, str):
        raise Unanswered("its pattern has a value of an unknown type")
    return value == pattern or any(
        all(_condition(value, one.strip(" ")) for one in alternative.strip(" ").split("&"))
        for alternative in pattern.split("|")
    )


def _is_number(value: Any, pattern: int) -> bool:
    if isinstance(value, str):
        if re.fullmatch(r"[+-]?[0-9]+", value):
            return int(value) == pattern
        if re.match(r"[+-]?(?:[0-9.]|inf|nan)", value, re.IGNORECASE):
            raise Unanswered("its pattern compares a text with a number")
        return False
    return isinstance(value, int | float) and not isinstance(value, bool) and value == pattern


_COMPARED: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
    "!": lambda one, other: one != other,
    "": lambda one, other: one == other,
}


def _condition(value: Any, pattern: str) -> bool:
    operator = next((one for one in _COMPARED if one and pattern.startswith(one)), "") if len(pattern) > 1 else ""
    if not operator and len(pattern) > 1 and (match := _RANGE.fullmatch(pattern)):
        low, outside, high = match.groups()
        if outside:
            return _compared(value, low, "<") or _compared(value, high, ">")
        return _compared(value, low, ">=") and _compared(value, high, "<=")
    return _compared(value, pattern[len(operator) :].strip(), operator)


def _compared(value: Any, pattern: str, operator: str) -> bool:
    """As lengths of time, else as quantities, else as texts."""
    text = _text(value)
    if text is not None and not isinstance(value, bool):
        for read in (_duration, _quantity):
            wanted, found = read(pattern), read(text)
            if wanted is not None and found is not None:
                return _COMPARED[operator](found, wanted)
    if operator not in ("", "!") or value is None or text is None:
        return False
    return matches(pattern, text) is (operator == "")


def _text(value: Any) -> str | None:
    """A value as a text, nothing as 0; None for what has none."""
    if value is None:
        return "0"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        raise Unanswered("its pattern compares a number with a fraction")
    return str(value) if isinstance(value, str | int) else None


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h)"
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)?|[eE]([+-]?[0-9]{1,4}))", re.ASCII
)
_DECIMAL = {suffix: Fraction(10) ** (3 * power) for power, suffix in enumerate("num kMGTPE", -3)}
_BINARY = {f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}


def _duration(text: str) -> Fraction | None:
    """The length of time that a text such as `1h30m` is, as Go reads it, in nanoseconds."""
    body = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if body == "0":
        return Fraction(0)
    if not re.fullmatch(f"(?:{_PART})+", body):
        return None
    found = Fraction(0)
    for part in re.findall(_PART, body):
        number = re.match(r"[0-9.]+", part)
        assert number is not None
        found += int(Fraction(f"0{number[0]}") * _UNITS[part[number.end() :]])
    if found >= 1 << 63:
        return None
    return -found if text.startswith("-") else found


def _quantity(text: str) -> Fraction | None:
    """The quantity that a text such as `500m` is."""
    match = _QUANTITY.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        return None
    number, suffix, exponent = match.groups()
    scale = Fraction(10) ** int(exponent) if exponent else (_DECIMAL | _BINARY).get(suffix or "", Fraction(1))
    found = Fraction(number) * scale
    if found and not Fraction(1, 10**9) <= abs(found) < 1 << 63:
        raise Unanswered("its pattern compares very large or very small quantities")
    return found
