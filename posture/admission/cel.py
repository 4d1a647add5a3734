"""What CEL is asked and what it answers. Evaluation itself takes a process of its own: posture.cel."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from .policy import Space

type Outcome = Literal["true", "false", "text", "null", "other", "error", "unknown"]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELD = r"\s*\.\s*\??\s*[A-Za-z_][A-Za-z0-9_]*(?![A-Za-z0-9_]|\s*\()"
"""A field is looked at: no index, no comparison, and no macro that walks through all of them."""
_HARMLESS = re.compile(r"\b(?:object|oldObject)\s*[!=]=\s*null\b|\bhas\(\s*(?:object|oldObject)\s*\.\s*metadata\s*\)")
_DYNAMIC = re.compile(rf"\b(?:object|oldObject|request|metadata)\b(?!{_FIELD})")
_REQUEST = re.compile(rf"\brequest\b(?!{_FIELD})")
_NAMED = re.compile(r"\b(?:metadata\s*\.\s*\??\s*(?:name|generateName)|request\s*\.\s*\??\s*name)\b")
_TEXT = r"(?:'(?P<one>[^'\\\n]*)'|\"(?P<two>[^\"\\\n]*)\")"
_LABELS = r"\bnamespaceObject\s*\.\s*\??\s*metadata\s*\.\s*\??\s*labels"
_LABEL = re.compile(
    rf"{_LABELS}\s*(?:\[\s*\??\s*{_TEXT}\s*\]|\.\s*\??\s*(?P<field>[A-Za-z][A-Za-z0-9_]*)(?![A-Za-z0-9_]|\s*\())"
)
"""A label of the namespace by a constant key."""
_LABELLED = re.compile(rf"(?P<before>^|[(&|?:,\[{{])\s*{_TEXT}\s*in\s+{_LABELS}\b(?!\s*[.\[(])")
"""Whether there is one; what stands before must not bind more tightly than `in` does."""
_THERE = re.compile(
    r"\bnamespaceObject\s*[!=]=\s*null\b|\bhas\(\s*namespaceObject\s*\.\s*metadata(?:\s*\.\s*labels)?\s*\)"
)
"""The same for every namespace: each has a label with its name."""
_SPACE_NAME = re.compile(r"\bnamespaceObject\s*\.\s*\??\s*metadata\s*\.\s*\??\s*name(?![A-Za-z0-9_]|\s*\()")


class Answer(NamedTuple):
    """What an expression gives. `why` says what is unknown, or what the error is.

    An `error` is one that the server has too. `text` and `other` stand for values that are no truth values.
    """

    outcome: Outcome
    why: str = ""


class Value:
    """A JSON value that expressions may look at, written out and hashed once."""

    __slots__ = ("body", "digest")

    def __init__(self, given: Any) -> None:
        """Raises TypeError for what is no JSON of 64-bit numbers."""
        self.body = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
        self.digest = hashlib.blake2b(self.body, digest_size=16).digest()


type Inputs = Mapping[str, Value]
"""By the name of the variable, such as `object`. One that is not there is not known, and never guessed."""


@dataclass(frozen=True)
class Program:
    """Expressions that share variables. A variable that cannot be worked out matters only to who refers to it.

    `hidden` are names of fields that the inputs may lack although the server has them.
    """

    expressions: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    hidden: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """A hash over all that decides what it gives, but for the inputs."""
        body = orjson.dumps((self.expressions, self.variables, self.hidden))
        return hashlib.blake2b(body, digest_size=16).hexdigest()

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of every expression: an input that is not among them is not looked at."""
        return frozenset(word for text in _texts(self) for word in _WORD.findall(text))

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {"variables": self.variables, "expressions": self.expressions, "hidden": self.hidden}

    def reads(self, inputs: Inputs) -> dict[str, Value]:
        """The inputs that it may look at."""
        return {name: value for name, value in inputs.items() if name in self.words}


class Question(NamedTuple):
    """One evaluation."""

    program: Program
    inputs: Inputs


class Evaluator(Protocol):
    """Who answers. What one program costs, the answers of another do not depend on."""

    def answers(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """For each question, in order, one answer for each of its program's expressions."""


class Missing:
    """Answers nothing, where the extra `cel` is not installed."""

    WHY = "the extra `cel` is not installed"

    def answers(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """All unknown."""
        return [unknown(one.program, self.WHY) for one in questions]


def unknown(program: Program, why: str) -> tuple[Answer, ...]:
    """An answer for each expression of a program that was not evaluated."""
    return tuple(Answer("unknown", why) for _ in program.expressions)


# What expressions may depend on -------------------------------------------------------------------------------------


@lru_cache(4096)
def about_namespace(program: Program) -> bool:
    """Whether an answer may depend on the namespace of the request: False only where it is sure that none does.

    The namespace is in `request.namespace`, `object.metadata.namespace` and `namespaceObject`. Not for requests whose
    object is a namespace itself.
    """
    return not _names(program).isdisjoint({"namespace", "namespaceObject", "authorizer"}) or _reads_unnamed(program)


def namespace_mark(program: Program, space: Space) -> Hashable:
    """What of a namespace an answer may depend on: in namespaces of equal marks it is the same. None is nothing.

    As for `about_namespace`. Of what is asked only the namespace itself has more than its name.
    """
    looks = _looks(program)
    if looks is None:
        return (space.name, *sorted(space.labels.items())), tuple(sorted(space.annotations.items()))
    if not looks.name and not looks.labels:
        return None
    return space.name if looks.name else "", tuple((key, space.labels.get(key)) for key in looks.labels)


@lru_cache(4096)
def about_name(program: Program) -> bool:
    """Whether an answer may depend on what the object, or one that owns it, is called: False only where it is sure
    that none does.
    """
    if not _names(program).isdisjoint({"authorizer", "ownerReferences"}) or _reads_unnamed(program):
        return True
    return any(map(_NAMED.search, _texts(program)))


@lru_cache(4096)
def about_itself(program: Program) -> bool:
    """Whether an answer may depend on which namespace it is where the object is a namespace: False only where it is
    sure that it does not.
    """
    return not _names(program).isdisjoint({"metadata", "name"}) or _reads_unnamed(program)


class _Looks(NamedTuple):
    """What of a namespace is looked at: its name, and labels by their keys."""

    name: bool
    labels: tuple[str, ...]


@lru_cache(4096)
def _looks(program: Program) -> _Looks | None:
    """What of a namespace an answer may depend on; None where it may be anything."""
    if not about_namespace(program):
        return _Looks(False, ())
    keys: dict[str, None] = {}
    named = False

    def read(match: re.Match[str]) -> str:
        keys.update(dict.fromkeys(text for text in match.group("one", "two") if text is not None))
        return f"{match['before']} true"

    def looked(match: re.Match[str]) -> str:
        keys.update(dict.fromkeys(text for text in match.group("one", "two", "field") if text is not None))
        return "true"

    def without(text: str) -> str:
        nonlocal named
        rest = _LABEL.sub(looked, _LABELLED.sub(read, _THERE.sub("true", text)))
        named = named or _SPACE_NAME.search(rest) is not None
        return _SPACE_NAME.sub("true", rest)

    if any("//" in text for text in _texts(program)):  # a comment may stand where a pattern sees the beginning
        return None
    variables = tuple((name, without(text)) for name, text in program.variables)
    rest = Program(tuple(map(without, program.expressions)), variables)
    if not _names(rest).isdisjoint({"namespaceObject", "authorizer"}):
        return None
    return _Looks(named or about_namespace(rest), tuple(sorted(keys)))


@lru_cache(4096)
def about_user(program: Program) -> bool:
    """Whether an answer may depend on who asks: False only where it is sure that none does."""
    if not _names(program).isdisjoint({"userInfo", "authorizer"}):
        return True
    return any(map(_REQUEST.search, _texts(program)))


def _texts(program: Program) -> tuple[str, ...]:
    """All of its expressions, those of variables too."""
    return *program.expressions, *(text for _, text in program.variables)


def _reads_unnamed(program: Program) -> bool:
    """Whether it may look at fields of the object or of the request that it does not name."""
    whole: list[str] = []  # variables that are the object itself, as templates of Gatekeeper have one
    for name, text in program.variables:
        rest = _without_whole(text, whole)
        if _dynamic(rest, whole):
            return True
        if rest != text:
            whole.append(name)
    return any(_dynamic(text, whole) for text in program.expressions)


def _names(program: Program) -> set[str]:
    """Its words as fields are named: a reserved word may be written with underscores around it."""
    return {word.strip("_") for word in program.words}


def _variable(names: Sequence[str]) -> str:
    return rf"\bvariables\s*\.\s*\??\s*(?:{'|'.join(re.escape(name) for name in names)})\b"


def _without_whole(text: str, whole: Sequence[str]) -> str:
    """An expression without the whole object, where it gives that: `object`, or `… ? oldObject : object`.

    At the end of the text nothing is open any more, so that what stands there is the value and no part of it.
    """
    root = r"(?:\bobject|\boldObject" + (f"|{_variable(whole)})" if whole else ")")
    return re.sub(rf"(?:^|\?\s*{root}\s*:)\s*{root}\s*$", "", text)


def _dynamic(text: str, whole: Sequence[str]) -> bool:
    """Whether fields are looked at that the text does not name."""
    rest = _HARMLESS.sub("", text)
    if _DYNAMIC.search(rest):
        return True
    return bool(whole) and re.search(rf"(?:{_variable(whole)}|\bvariables\b)(?!{_FIELD})", rest) is not None
