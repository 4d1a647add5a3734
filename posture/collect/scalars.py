"""What a YAML scalar means to kubectl: the rules of go.yaml.in/yaml/v2 (resolve.go) and sigs.k8s.io/yaml (yaml.go).

They are neither YAML 1.1 nor 1.2: `yes` and `on` are true, `0o17` and `017` are 15, `08` is 8, `12:30` and dates are
strings, and so is any number that overflows. Every case in the tests was compared with those libraries.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from decimal import Decimal
from typing import Any

_PREFIX = "tag:yaml.org,2002:"
_RESOLVABLE = {_PREFIX + name: name for name in ("str", "bool", "int", "float", "null", "timestamp")}

_WORDS: dict[str, Any] = (
    dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True)
    | dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False)
    | dict.fromkeys(["", "~", "null", "Null", "NULL"])
)
_NOT_FINITE = frozenset(f"{sign}.{word}" for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")) | {
    ".nan", ".NaN", ".NAN",
}  # fmt: skip

# Go's ParseInt and ParseUint with base 0, the float of resolve.go, and what ParseFloat reads behind a leading dot.
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[0-9])\Z|[-+]?[1-9][0-9]{0,19}\Z")
_BINARY = re.compile(r"0b[-+][01]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_DOTTED = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?\Z")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
_BASES = {"x": 16, "b": 2, "o": 8}


class ScalarError(ValueError):
    """kubectl refuses this scalar. The message never repeats the scalar: it may be a secret."""


class Merge(str):
    """A plain `<<`: the merge key where it is a key, these two characters anywhere else."""

    __slots__ = ()


class Whole(int):
    """A float without a fraction. JSON writes it as an integer, but as a key it is spelled like a float."""

    __slots__ = ()


MERGE = Merge("<<")


def plain(text: str) -> Any:
    """The value of an unquoted scalar without a tag: None, bool, int, float or str.

    Raises ScalarError for infinities and not-a-number, which JSON cannot hold.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if text in _NOT_FINITE:
            raise ScalarError("a number that is not finite cannot be written as JSON")
        return _number(text)
    return MERGE if text == "<<" else text


def is_text(text: str) -> bool:
    """Whether a text can be written without quotes, as far as its meaning goes."""
    try:
        return type(plain(text)) is str
    except ScalarError:
        return False


def _number(text: str) -> Any:
    if text[0] == ".":
        return _float(text) if _DOTTED.match(text) else text
    digits = text.replace("_", "")
    if _BINARY.match(digits):
        digits = digits[2] + "0b" + digits[3:]
    if _INTEGER.match(digits):
        number = _integer(digits)
        if -(1 << 63) <= number < 1 << 63 or (digits[0] not in "+-" and number < 1 << 64):
            return number
    return _float(text, digits) if _FLOAT.match(digits) else text


def _integer(digits: str) -> int:
    unsigned = digits.lstrip("+-")
    base = 10
    if unsigned[0] == "0" and len(unsigned) > 1:
        base = _BASES.get(unsigned[1].lower(), 8)
    number = int(unsigned[2:] if unsigned[1:2].isalpha() else unsigned, base)
    return -number if digits[0] == "-" else number


def _float(text: str, digits: str = "") -> Any:
    number = float(digits or text)
    if math.isinf(number):
        return text
    # Go writes the shortest digits of the float into the JSON text, and an integer is read back from these.
    return Whole(Decimal(repr(number))) if number.is_integer() and abs(number) < 1 << 63 else number


def tagged(tag: str, text: str) -> Any:
    """The value of a scalar with an explicit tag, however it is quoted. Raises ScalarError where they do not fit.

    Tags that yaml.v2 does not know leave a string. (A `!!timestamp` is not checked: it is a string either way.)
    """
    if tag == _PREFIX + "binary":
        return _binary(text)
    if text == "<<" and tag in (_PREFIX + "merge", "!"):
        return MERGE
    wanted = _RESOLVABLE.get(tag, "str")
    if wanted in ("str", "timestamp"):
        return text
    value = plain(text)
    if wanted == "float" and type(value) is int and value < 1 << 63:
        return _float(str(value))
    if wanted != _type_of(value):
        raise ScalarError(f"the value does not fit its tag !!{wanted}")
    return value


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float", Whole: "float"}.get(type(value), "str")


def _binary(text: str) -> str:
    packed = text.replace("\r", "").replace("\n", "")
    if not _BASE64.match(packed):
        raise ScalarError("!!binary value contains invalid base64 data")
    return base64.b64decode(packed).decode("utf-8", "replace")


def key(value: Any) -> str:
    """The JSON key that a resolved mapping key becomes. Raises ScalarError for null, collections and uint64."""
    kind = type(value)
    if kind is str or kind is Merge:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int and value < 1 << 63:
        return str(value)
    if kind is float or kind is Whole:
        return _go_float(float(value))
    raise ScalarError("a mapping key must be a string, a number or a boolean")


def _go_float(number: float) -> str:
    """Go's strconv.FormatFloat(number, 'g', -1, 32): the shortest digits that give back the same 32-bit float."""
    try:
        rounded = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return ".inf" if number > 0 else "-.inf"
    for precision in range(9):
        mantissa, exponent = f"{rounded:.{precision}e}".split("e")
        if struct.pack("<f", float(f"{mantissa}e{exponent}")) == struct.pack("<f", rounded):
            break
    power = int(exponent)
    # Go writes the exponent outside -4 ≤ power < 6, or beyond the digits when there are more than six.
    if -4 <= power < 6:
        return f"{rounded:.{max(0, precision - power)}f}"
    return f"{mantissa}e{power:+03d}"
