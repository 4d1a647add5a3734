"""Whom exceptions serve: the workloads that a policy would refuse without them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from posture.model import Snapshot, Through

from .cel import Evaluator
from .pods import mapping
from .policy import NONE, Asked, Engine, Policy, Variant, Verdict
from .requests import Object, Request
from .workloads import requests_of

type Served = dict[Through, tuple[str, ...]]
"""Workloads by what one edits, in the words of the exemption (of a namespace's own without its name)."""


@dataclass(slots=True, eq=False)
class _Case:
    """A request and all that are `like` it to a policy in namespaces that are alike: whose these are, and where to say
    whom its exemptions serve.
    """

    policy: Policy
    variant: Variant
    like: Hashable
    request: Request
    whose: list[tuple[Served, str]] = field(default_factory=list)

    def without(self, numbers: frozenset[int] = NONE) -> Asked:
        """The question without some exemptions."""
        return Asked(self.policy, self.request, self.variant.exemptions - numbers)


class Serving:
    """Asks what a policy says of the workloads of namespaces, with its exemptions and without.

    In namespaces of equal variants workloads of one template are asked once.
    """

    def __init__(self, snapshot: Snapshot, engines: Mapping[str, Engine], cel: Evaluator) -> None:
        self._snapshot = snapshot
        self._engines = engines
        self._cel = cel
        self._wanted: list[tuple[str, Policy, Variant, Served]] = []
        self._known: dict[tuple[int, bool, bool], Hashable] = {}

    def want(self, namespace: str, policy: Policy, variant: Variant) -> Served:
        """What `answer` fills with those whom the policy's exemptions serve in a namespace."""
        found: Served = {}
        if not all(policy.exemptions[number].idle for number in variant.exemptions):
            self._wanted.append((namespace, policy, variant, found))
        return found

    def answer(self) -> None:
        """Ask all that is wanted: who is refused without any exemption, who of these is taken out, and whether he would
        be refused otherwise.
        """
        cases = self._refused(self._cases())
        second = [
            (case, through, case.without(numbers))
            for case, verdict in zip(cases, self._judged([case.without() for case in cases]), strict=True)
            for through, numbers in _by_through(case.policy, verdict.excused).items()
        ]
        found: dict[int, tuple[Served, dict[Through, set[str]]]] = {}
        for (case, through, _), verdict in zip(second, self._judged([one[2] for one in second]), strict=True):
            for served, subject in case.whose if verdict.refuses is not False else ():
                found.setdefault(id(served), (served, {}))[1].setdefault(through, set()).add(subject)
        for served, by in found.values():
            served.update({through: tuple(sorted(subjects)) for through, subjects in sorted(by.items())})
        self._wanted.clear()
        self._known.clear()

    def _judged(self, questions: Sequence[Asked]) -> list[Verdict]:
        return judged(questions, self._engines, self._cel)

    def _cases(self) -> list[_Case]:
        """What is wanted, each once."""
        places: dict[tuple[Policy, Variant], dict[Hashable, _Case]] = {}
        for namespace, policy, variant, served in self._wanted:
            there = places.setdefault((policy, variant), {})
            for subject, request in requests_of(self._snapshot, namespace):
                like = self._likeness(request, policy)
                case = there.get(like)
                if case is None:
                    case = there[like] = _Case(policy, variant, like, request)
                case.whose.append((served, subject))
        return [case for there in places.values() for case in there.values()]

    def _refused(self, cases: Sequence[_Case]) -> list[_Case]:
        """Those that the policy refuses, or may, without any exemption, which variants of one mark share; and where
        exemptions may refuse by themselves, all.
        """
        alike: dict[tuple[Policy, Hashable, Hashable], list[_Case]] = {}
        for case in cases:
            alike.setdefault((case.policy, case.variant.mark, case.like), []).append(case)
        verdicts = self._judged([Asked(some[0].policy, some[0].request) for some in alike.values()])
        return [
            case for some, verdict in zip(alike.values(), verdicts, strict=True)
            if verdict.refuses is not False or some[0].policy.fails for case in some
        ]  # fmt: skip

    def _likeness(self, request: Request, policy: Policy) -> Hashable:
        """What requests have in common that get the same answer, in namespaces that are alike."""
        key = id(request), policy.names, policy.users  # the requests stay where they are until all are answered
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _likeness(request, names=policy.names, users=policy.users)
        return found


def judged(questions: Sequence[Asked], engines: Mapping[str, Engine], cel: Evaluator) -> list[Verdict]:
    """Each question is put to its engine, all of one engine in one call."""
    by: dict[str, list[int]] = {}
    for number, asked in enumerate(questions):
        by.setdefault(asked.policy.engine, []).append(number)
    found: dict[int, Verdict] = {}
    for engine, numbers in by.items():
        verdicts = engines[engine].judged([questions[number] for number in numbers], cel)
        found.update(zip(numbers, verdicts, strict=True))
    return [found[number] for number in range(len(questions))]


def _by_through(policy: Policy, numbers: frozenset[int]) -> dict[Through, frozenset[int]]:
    """Exemptions by what one edits."""
    found: dict[Through, frozenset[int]] = {}
    for number in sorted(numbers):
        through = policy.exemptions[number].through
        found[through] = found.get(through, NONE) | {number}
    return found


_CALLED = ("name", "generateName", "ownerReferences")
"""What an object is called, and what it belongs to."""


def _likeness(request: Request, *, names: bool, users: bool) -> Hashable:
    """A hash over all of a request but its namespace; without what it is called, and who asks, where these are no
    matter.
    """
    beside = ("namespace",) if names else ("namespace", *_CALLED)
    objects = [_without(one, beside) for one in (request.object, request.old)]
    more: list[Any] = [request.operation, *request.resource, request.subresource, request.hidden]
    more += [request.name] if names else []
    more += [request.user, request.groups] if users else []
    try:
        body = orjson.dumps([objects, more], option=orjson.OPT_SORT_KEYS)
    except TypeError:  # no JSON of 64-bit numbers
        return id(request)
    return hashlib.blake2b(body, digest_size=16).digest()


def _without(one: Object | None, fields: Sequence[str]) -> Any:
    if one is None:
        return None
    metadata = {name: value for name, value in mapping(one.get("metadata")).items() if name not in fields}
    return {**one, "metadata": metadata}
