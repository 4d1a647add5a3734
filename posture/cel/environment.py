"""Kubernetes' CEL environment, and what a program's expressions give in it. Needs the extra `cel`.

Three outcomes beside a value are told apart: an error, which the server would have too; unknown, where what decides is
not known here; and an expression that does not compile, which is unknown too, since no server stores it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cel_expr_python import cel

from .functions import FUNCTIONS, Unanswered, uncaptured

ROOTS = ("object", "oldObject", "request", "params", "namespaceObject", "authorizer", "authorizer.requestResource",
         "exceptions")  # fmt: skip
_CONFIG = """
name: kubernetes
extensions:
- {name: optional}
- {name: strings, version: 2}
- {name: lists, version: 2}
- {name: sets}
- {name: two-var-comprehensions}
"""
_REGEX = "name: regex\nextensions: [{name: regex}, {name: optional}]"
AFFORDED = 0.008
"""Seconds of processor time that an expression may take. The server stops at a cost that nobody can take from here; of
evaluation itself it is worth 25 ms and more. What long texts add to it posture.cel.LARGEST keeps small."""

TRIES = 3

_ALL = "*"
"""What stands among an expression's words where it looks at all fields."""
_ELSEWHERE = re.compile("regular expression|formatting|format")
"""What errors are about that another implementation may not have."""
_OVERLOADED = re.compile(r"No matching overloads found : \(list\)\.(?:indexOf|lastIndexOf)\(")
_FIELDLESS = re.compile(r"No matching overloads found : (?:_\?\._|_\[\?_\])(?!\(list)")
"""An optional field of what has none: the server finds it absent, of a list it is an error there too. So is `has`."""
_ROOT = r"\b(?:object|oldObject|request|namespaceObject|metadata)\s*"
_WHOLE = re.compile(
    rf"{_ROOT}[=!]=(?!\s*null\b)|\bsize\(\s*[\w.]*{_ROOT}\)"
    r"|\bmetadata\s*\.\s*(?:all|exists\w*|map|filter|transform\w*|size)\s*\("
)
"""Expressions that look at all fields, hidden ones among them, without naming any."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

type _Variable = tuple[str, frozenset[str], Any]
"""Its name, the words that decide it, and its expression; in words why it has none."""

type Answer = bool | list[str]
"""True, False, or what it is and its text: `text`, `null`, `other`, `error`, `unknown`."""


def _type(name: str) -> Any:
    return getattr(cel.Type, name.upper())


class Environment:
    """What is declared. `variables` are the names that follow `variables.`"""

    def __init__(self, variables: Iterable[str], roots: Iterable[str] = ROOTS) -> None:
        self.unanswered: list[str] = []
        """Why functions had no answer, since the list was last emptied."""
        self.errors: list[str] = []
        """The errors of functions, since the list was last emptied."""
        self.opaque = False
        """Whether a value of a type that is only imitated was made since this was last reset."""
        self._regex = cel.NewEnv(
            config=cel.NewEnvConfigFromYaml(_REGEX), variables={"s": cel.Type.STRING, "p": cel.Type.STRING}
        )
        self._all = self._regex.compile("regex.extractAll(s, p)")
        self._whole = self._regex.compile("s.matches('^(?:' + p + ')$')")
        declared = dict.fromkeys((*roots, *(f"variables.{name}" for name in variables)), cel.Type.DYN)
        self._env = cel.NewEnv(
            config=cel.NewEnvConfigFromYaml(_CONFIG), variables=declared, functions=self._functions()
        )

    def compile(self, expression: str) -> Any:
        """The expression, to be evaluated. Raises RuntimeError where it does not compile."""
        return self._env.compile(expression)

    def given(self, data: Mapping[str, Any]) -> Any:
        """What expressions look at."""
        return self._env.Activation(data)

    def _functions(self) -> list[Any]:
        overloads: dict[str, list[Any]] = {}
        found = [(one.name, one.parameters, one.result, one.work, one.member) for one in FUNCTIONS]
        found += [
            ("find", "string string", "string", self._find, True),
            ("findAll", "string string", "list", self._find_all, True),
            ("findAll", "string string int", "list", self._find_all, True),
        ]
        for name, parameters, result, work, member in found:
            given = [_type(one) for one in parameters.split()]
            id_ = f"{name.replace('.', '_')}_{parameters.replace(' ', '_')}"
            one = cel.Overload(id_, _type(result), given, member, self._watched(work))
            overloads.setdefault(name, []).append(one)
        return [cel.FunctionDecl(name, some) for name, some in overloads.items()]

    def _watched(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            try:
                found = work(*given)
            except Unanswered as why:
                self.unanswered.append(str(why))
                raise ValueError(str(why)) from None
            except ValueError as error:
                self.errors.append(str(error))
                raise
            self.opaque |= isinstance(found, dict)
            return found

        return run

    def _find_all(self, text: str, pattern: str, limit: int = -1) -> list[str]:
        data = {"s": text, "p": uncaptured(pattern)}
        found = self._all.eval(data=data)
        if found.type() == cel.Type.ERROR:
            raise ValueError("Illegal regex")
        empty = self._whole.eval(data={**data, "s": ""}).value()
        if empty is not False or "\\b" in pattern.lower():
            raise Unanswered("a regular expression that matches an empty text")
        some: list[str] = found.plain_value()
        return some if limit < 0 else some[:limit]

    def _find(self, text: str, pattern: str) -> str:
        return next(iter(self._find_all(text, pattern)), "")


class Program:
    """Variables and expressions, compiled. `hidden` are the names of fields that the inputs may lack."""

    def __init__(
        self, variables: Sequence[tuple[str, str]], expressions: Sequence[str], hidden: Iterable[str] = ()
    ) -> None:
        self._environment = Environment(name for name, _ in variables)
        self._hidden = frozenset(hidden)
        self._names: dict[str, frozenset[str]] = {}
        """By variable, the words of its expression and of those that it needs."""
        self._variables: list[_Variable] = []
        for name, expression in variables:
            words = self._words(expression)
            self._variables.append((name, words, self._compiled(expression)))
            self._names[name] = words
        self._expressions = [(self._words(one), self._compiled(one)) for one in expressions]
        self._levels = self._layered()

    def _words(self, expression: str) -> frozenset[str]:
        words = frozenset(_WORD.findall(expression)) | ({_ALL} if _WHOLE.search(expression) else set())
        needed = (self._names[name] for name in words if name in self._names) if "variables" in words else ()
        return words.union(*needed)

    def _compiled(self, expression: str) -> Any:
        """The compiled expression, or in words why there is none."""
        try:
            return self._environment.compile(expression)
        except (RuntimeError, TypeError, ValueError) as error:
            return f"it does not compile here: {str(error).splitlines()[0]}"

    def answers(self, inputs: Mapping[str, Any]) -> list[Answer]:
        """What each expression gives. An input that is not there is not known."""
        data = dict(inputs)
        unknown = {root for root in ROOTS if root not in data}
        for level in self._levels:
            given = self._environment.given(data)
            for name, words, compiled in level:
                answer, value = self._evaluated(words, compiled, given, unknown)
                outcome = answer[0] if isinstance(answer, list) else ""
                if outcome == "unknown":
                    unknown.add(name)
                elif outcome != "error":
                    data[f"variables.{name}"] = value
        given = self._environment.given(data)
        return [self._evaluated(words, compiled, given, unknown)[0] for words, compiled in self._expressions]

    def _layered(self) -> list[list[_Variable]]:
        """The variables that are needed, each behind those that it needs: what is given is converted once a level."""
        needed = frozenset().union(*(words for words, _ in self._expressions))
        heights: dict[str, int] = {}
        levels: dict[int, list[_Variable]] = {}
        for one in self._variables:
            name, words, _ = one
            if name in needed:
                heights[name] = max((heights[other] + 1 for other in words if other in heights), default=0)
                levels.setdefault(heights[name], []).append(one)
        return [levels[height] for height in sorted(levels)]

    def _evaluated(self, words: frozenset[str], compiled: Any, given: Any, unknown: set[str]) -> tuple[Answer, Any]:
        if isinstance(compiled, str):
            return ["unknown", compiled], None
        if hidden := words & self._hidden:
            return ["unknown", f"it reads {min(hidden)}, which is not kept"], None
        if self._hidden and _ALL in words:
            return ["unknown", "it compares all fields, and not all are kept"], None
        try:
            kind, value = self._run(compiled, given)
        except TypeError:
            return ["unknown", "it gives a value that cannot be kept"], None
        except (RuntimeError, ValueError, OverflowError) as error:
            return ["unknown", str(error).splitlines()[0]], None
        if kind == cel.Type.ERROR:
            return self._failed(str(value), words & unknown, tests="has" in words), None
        if kind == cel.Type.UINT or "uint" in words:
            return ["unknown", "unsigned numbers are not told from others here"], None
        return _answer(kind, value), value

    def _run(self, compiled: Any, given: Any) -> tuple[Any, Any]:
        """The type and the value. Slow once may be chance; RuntimeError where it is slow each time."""
        environment = self._environment
        for _ in range(TRIES):
            environment.unanswered.clear()
            environment.errors.clear()
            environment.opaque = False
            start = time.thread_time()
            found = compiled.eval(given)
            if time.thread_time() - start <= AFFORDED:
                return found.type(), found.plain_value()
        raise RuntimeError("it takes long, and nobody knows whether the server would stop it")

    def _failed(self, message: str, unread: Iterable[str], *, tests: bool) -> Answer:
        """Whether the server would have the error too. An error hides others, so each way to have none here counts.

        `tests` says whether the expression asks if a field is there.
        """
        if self._environment.unanswered:
            return ["unknown", self._environment.unanswered[0]]
        if unread := sorted(unread):
            return ["unknown", f"{unread[0]} is not known"]
        if any(error in message for error in self._environment.errors):
            return ["error", message]
        if self._environment.opaque and "No matching overloads" in message:
            return ["unknown", message]
        if _OVERLOADED.search(message) or _ELSEWHERE.search(message):
            return ["unknown", message]
        if _FIELDLESS.search(message) or (tests and "SELECT to non-message" in message):
            return ["unknown", "it asks for a field of what has none, and the server tells that from an error"]
        return ["error", message]


def _answer(kind: Any, value: Any) -> Answer:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return ["text", ""]
    return ["null", ""] if value is None else ["other", str(kind.name())]
