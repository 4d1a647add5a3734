"""Whom exceptions serve: the workloads that a policy would refuse without them."""

from __future__ import annotations

from collections.abc import Mapping

from posture.model import Snapshot, Through

from .cel import Evaluator
from .policy import Asked, Engine, Policy, Variant, Verdict
from .requests import Request
from .workloads import requests_of

type Served = dict[Through, tuple[str, ...]]
"""Workloads by what one edits, in the words of the exemption (of a namespace's own without its name)."""
type _Question = tuple[str, Request, Policy, frozenset[int]]


class Serving:
    """Asks what a policy says of the workloads of namespaces, with its exemptions and without."""

    def __init__(self, snapshot: Snapshot, engines: Mapping[str, Engine], cel: Evaluator) -> None:
        self._snapshot = snapshot
        self._engines = engines
        self._cel = cel
        self._wanted: list[tuple[str, Policy, Variant, Served]] = []

    def want(self, namespace: str, policy: Policy, variant: Variant) -> Served:
        """What `answer` fills with those whom the policy's exemptions serve in a namespace."""
        found: Served = {}
        self._wanted.append((namespace, policy, variant, found))
        return found

    def answer(self) -> None:
        """Ask all that is wanted: first who was taken out, then whether he would be refused otherwise."""
        first = [(subject, request, policy, variant.exemptions, served)
                 for namespace, policy, variant, served in self._wanted
                 for subject, request in requests_of(self._snapshot, namespace)]  # fmt: skip
        second = []
        for (subject, request, policy, exemptions, served), verdict in zip(
            first, self._judged([one[:4] for one in first]), strict=True
        ):
            for through in {policy.exemptions[number].through for number in verdict.excused}:
                numbers = {n for n in verdict.excused if policy.exemptions[n].through == through}
                second.append((subject, request, policy, exemptions - numbers, served, through))
        answers = self._judged([one[:4] for one in second])
        found: dict[int, tuple[Served, dict[Through, set[str]]]] = {}
        for (subject, _, _, _, served, through), verdict in zip(second, answers, strict=True):
            if verdict.refuses is not False:
                found.setdefault(id(served), (served, {}))[1].setdefault(through, set()).add(subject)
        for served, by in found.values():
            served.update({through: tuple(sorted(subjects)) for through, subjects in sorted(by.items())})
        self._wanted.clear()

    def _judged(self, questions: list[_Question]) -> list[Verdict]:
        """Each question is put to its engine, all of one engine in one call."""
        by: dict[str, list[int]] = {}
        for number, (_, _, policy, _) in enumerate(questions):
            by.setdefault(policy.engine, []).append(number)
        found: dict[int, Verdict] = {}
        for engine, numbers in by.items():
            asked = [Asked(questions[n][2], questions[n][1], questions[n][3]) for n in numbers]
            found.update(zip(numbers, self._engines[engine].judged(asked, self._cel), strict=True))
        return [found[number] for number in range(len(questions))]
