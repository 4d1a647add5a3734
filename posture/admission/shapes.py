"""Examples of what exemptions take out: of labels that a selector leaves out, of texts that a pattern matches.

An example is sure to be taken out or there is none: None, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from posture import selectors

from .pods import mapping, mappings, texts
from .policy import ANY, Shape

_SOME = "x"
"""What stands for any text: it may be a name, a label's value or a part of an image."""
_NEGATIVE = ("NotIn", "DoesNotExist")

type Labels = tuple[tuple[str, str | None], ...]


def example(pattern: str) -> str:
    """A text that a pattern matches in which `*` is any text and `?` any character; "" where every text is one."""
    return re.sub(r"[*?]", _SOME, re.sub(r"\*+", "*", pattern)) if pattern.strip("*") else ""


def merged(shapes: Iterable[Shape | None]) -> Shape | None:
    """An example of all of some shapes at once; None where one is missing, or they contradict each other."""
    found: dict[str, Any] = ANY._asdict()
    for one in shapes:
        if one is None:
            return None
        for field, value in one._asdict().items():
            both = _both(found[field], value) if field in ("labels", "annotations") else found[field] or value
            if both is None or (value and both != value and field not in ("labels", "annotations")):
                return None
            found[field] = both
    return Shape(**found)


def _both(one: Labels, other: Labels) -> Labels | None:
    found = dict(one)
    if any(found.setdefault(key, text) != text for key, text in other):
        return None
    return tuple(found.items())


# Selectors of objects -----------------------------------------------------------------------------------------------


def left_out(selector: Mapping[str, Any]) -> Shape | None:
    """What a LabelSelector does not select: by a label that it does not want, else without one that it wants."""
    requirements = mappings(selector.get("matchExpressions"))
    negative = [one for one in requirements if one.get("operator") in _NEGATIVE]
    for one in negative:
        values = [text for text in texts(one.get("values")) if isinstance(text, str)]
        wanted = _SOME if one.get("operator") == "DoesNotExist" else next(iter(values), None)
        if wanted is not None:
            return _sure(Shape(labels=((str(one.get("key") or ""), wanted),)), selector, selects=False)
    asked = [*mapping(selector.get("matchLabels")), *(str(one.get("key") or "") for one in requirements)]
    return _sure(Shape(labels=((str(asked[0]), None),)), selector, selects=False) if asked else None


def selected(selector: Mapping[str, Any]) -> Shape | None:
    """What a LabelSelector selects."""
    labels: dict[str, str | None] = {
        str(key): text for key, text in mapping(selector.get("matchLabels")).items() if isinstance(text, str)
    }
    for one in mappings(selector.get("matchExpressions")):
        values = [text for text in texts(one.get("values")) if isinstance(text, str)]
        wanted = {"In": next(iter(values), None), "Exists": _SOME}.get(str(one.get("operator")))
        labels.setdefault(str(one.get("key") or ""), wanted)
    return _sure(Shape(labels=tuple(labels.items())), selector, selects=True)


def _sure(shape: Shape, selector: Mapping[str, Any], *, selects: bool) -> Shape | None:
    """The shape, if the selector sees it so whatever other labels there are."""
    labels = {key: text for key, text in shape.labels if text is not None}
    return shape if selectors.matches(selector, labels) is selects else None


# Expressions --------------------------------------------------------------------------------------------------------

_TEXT = r"(?:'(?P<one>[^'\\\n]+)'|\"(?P<two>[^\"\\\n]+)\")"
_LITERAL = re.compile(r"'[^'\\\n]*'|\"[^\"\\\n]*\"")
_CHOICE = re.compile(r"(?<![.\[])\?")
_USER, _GROUPS, _NAME = r"request\.userInfo\.username", r"request\.userInfo\.groups", r"object\.metadata\.name"
_CALLS = {
    "user starts": rf"{_USER}\.startsWith\(\s*{_TEXT}\s*\)",
    "name starts": rf"{_NAME}\.startsWith\(\s*{_TEXT}\s*\)",
    "group": rf"{_GROUPS}\.exists\(\s*(?P<g>[a-z]\w*)\s*,\s*(?P=g)\s*==\s*{_TEXT}\s*\)",
    "image starts":
        r"object\.spec\.containers\.all\(\s*(?P<c>[a-z]\w*)\s*,\s*(?P=c)\.image\.startsWith\("
        rf"\s*{_TEXT}\s*\)\s*\)",
}  # fmt: skip
_COMPARED = {"user": rf"{_USER}\s*==\s*{_TEXT}", "name": rf"{_NAME}\s*==\s*{_TEXT}"}
_WITHIN = {
    "user": rf"{_USER}\s+in\s*\[\s*{_TEXT}\s*(?:,[^\]]*)?\]",
    "group": rf"{_TEXT}\s+in\s+{_GROUPS}",
}
_HOLDS = [(what, re.compile(form)) for forms in (_CALLS, _COMPARED, _WITHIN) for what, form in forms.items()]
_FAILS = [
    *((what, re.compile(rf"!\s*{form}")) for what, form in _CALLS.items()),
    *((what, re.compile(rf"!\s*\(\s*{form}\s*\)")) for forms in (_CALLS, _COMPARED, _WITHIN)
      for what, form in forms.items()),
    *((what, re.compile(form.replace("==\\s*(?:'", "!=\\s*(?:'"))) for what, form in _COMPARED.items()),
]  # fmt: skip


def holding(expressions: Iterable[str]) -> Shape | None:
    """A request for which all of some expressions in CEL are true. Only plain comparisons are read."""
    return merged(_read(part, _HOLDS) for text in expressions for part in parts(text))


def failing(expression: str) -> Shape | None:
    """A request for which an expression in CEL is false: of parts joined by `&&` one is enough."""
    found = (_read(part, _FAILS) for part in parts(expression))
    return next((one for one in found if one is not None), None)


def parts(text: str) -> list[str]:
    """What an expression joins by `&&`; the whole text where that is not sure."""
    bare, found = _LITERAL.sub("", text), [part.strip() for part in text.split("&&")]
    if any(word in bare for word in ("||", "'", '"', "//")) or _CHOICE.search(bare):
        return [text.strip()]
    pieces = [_LITERAL.sub("", part) for part in found]
    closed = all(one.count(opening) == one.count(closing) for one in pieces for opening, closing in ("()", "[]", "{}"))
    return found if closed and not any({"'", '"'} & {*one} for one in pieces) else [text.strip()]


def _read(part: str, forms: Iterable[tuple[str, re.Pattern[str]]]) -> Shape | None:
    for what, form in forms:
        if match := form.fullmatch(part):
            text = match["one"] or match["two"]
            return _shape(what.removesuffix(" starts"), text + _SOME if what.endswith("starts") else text)
    return None


def _shape(what: str, text: str) -> Shape:
    found = {
        "user": Shape(user=text), "name": Shape(name=text), "image": Shape(image=text),
        "group": Shape(user=_SOME, groups=(text,)),
    }  # fmt: skip
    return found[what]
