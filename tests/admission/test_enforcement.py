"""Enforcement above engines: what an engine's answers come to. The engine here is a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from posture.admission.cel import Evaluator, Missing
from posture.admission.enforcement import Opened, Profile, Questions, ask, ask_openings, parts_of
from posture.admission.policy import ADMITS, REFUSES, Asked, Engine, Exemption, Policy, Space, Variant, Verdict
from posture.admission.violations import USERS
from posture.model import Through
from tests.admission.clusters import BY_ID, NUMBERS, Said

UNSURE = Verdict(None, "nobody can say")

type Answers = Callable[[Asked], Said]
SPACE = Space.of("pay", {})
VIOLATION = "privileged:containers.securityContext.privileged=true"
BIT = 1 << NUMBERS[VIOLATION]
SKIP = Exemption(Through("Exception", "", "skip"), (), "excludes what is here")


@dataclass(frozen=True)
class Table:
    """An engine whose policies say what their rule says. `taken` is whether exemptions take out what is refused."""

    taken: Said = True

    def judged(self, asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
        """One verdict each."""
        del cel
        return [self._judged(one) for one in asked]

    def _judged(self, asked: Asked) -> Verdict:
        said: Said = asked.policy.rule(asked)
        if said and asked.exemptions and self.taken is not False:
            return Verdict(False, "", asked.exemptions) if self.taken else UNSURE
        return UNSURE if said is None else REFUSES if said else ADMITS


def policy(name: str, rule: Answers, **more: Any) -> Policy:
    """A policy that says what a function does."""
    return Policy("table", Through("Policy", "", name), (), rule, **more)


def profile(*variants: tuple[Policy, Variant], taken: Said = True) -> Profile:
    """What is enforced by some policies, of the one violation."""
    questions = Questions({"table": cast("Engine", Table(taken))}, Missing())
    ask(questions, ((one, variant, SPACE, BIT) for one, variant in variants))
    found = Profile(parts_of(variants), BIT)
    ask_openings(questions, [(found, SPACE)])
    return found


def violates(asked: Asked) -> bool:
    """Whether a request is the one with the violation."""
    containers = (asked.request.object or {})["spec"]["containers"]
    return any(one["securityContext"].get("privileged") for one in containers)


def always(_: Asked) -> Said:
    """Refuses everything, what is harmless too."""
    return True


ALIVE, EXEMPT = Variant(), Variant(exemptions=frozenset({0}))


@pytest.mark.parametrize(
    ("rule", "refused", "unknown"),
    [
        (violates, BIT, 0),
        (always, 0, 0),
        (lambda asked: True if violates(asked) else None, 0, BIT),
        (lambda asked: None if violates(asked) else False, 0, BIT),
        (lambda asked: None if violates(asked) else True, 0, 0),
    ],
    ids=["the violation", "everything", "perhaps what is harmless", "perhaps the violation", "what is harmless"],
)
def test_what_is_harmless_is_no_reason(rule: Answers, refused: int, unknown: int) -> None:
    """Only a policy that refuses the violation, and not the same without it, is sure to refuse it for its sake."""
    assert BY_ID[VIOLATION].harmless is not None
    found = profile((policy("p", rule), ALIVE))

    assert (found.refused, found.unknown) == (refused, unknown)


def test_an_exemption_that_takes_nothing_out_makes_nothing_sure() -> None:
    """With it the request is refused; whether for the violation's sake stays unknown, as without it."""

    def rule(asked: Asked) -> Said:
        return True if violates(asked) else None

    found = profile((policy("p", rule, exemptions=(SKIP,)), EXEMPT), taken=False)

    assert (found.refused, found.unknown) == (0, BIT)


@pytest.mark.parametrize(("said", "refused", "unknown"), [(True, BIT, 0), (False, 0, 0), (None, 0, BIT)])
def test_it_is_refused_whoever_asks(said: Said, refused: int, unknown: int) -> None:
    """Where it matters who asks, everybody is asked: one who is admitted is enough."""

    def rule(asked: Asked) -> Said:
        return violates(asked) and (asked.request.user == USERS[0].name or said)

    found = profile((policy("p", rule, users=True), ALIVE))

    assert (found.refused, found.unknown) == (refused, unknown)


@pytest.mark.parametrize(
    ("more", "why"),
    [({"up": None, "open": True, "why": "answers at a URL"}, ""), ({}, "its labels are not known")],
    ids=["nobody can say whether it is up", "nobody can say whether it is meant"],
)
def test_what_may_count_is_unknown(more: dict[str, Any], why: str) -> None:
    """And what an exemption of another policy takes out is neither opened nor refused all the same for sure."""
    unsure = policy("unsure", violates, **more), Variant(why=why)
    found = profile(unsure)
    both = profile((policy("sure", violates, exemptions=(SKIP,)), EXEMPT), unsure)

    assert (found.refused, found.unknown) == (0, BIT)
    assert both.opened == {SKIP.through: Opened(0, BIT)}


def test_what_another_policy_refuses_is_not_opened() -> None:
    """Alone the exemption opens the violation; beside a policy that refuses it all the same, nothing."""
    exempt = policy("exempt", violates, exemptions=(SKIP,)), EXEMPT

    assert profile(exempt).opened == {SKIP.through: Opened(BIT, 0)}
    assert profile(exempt, (policy("other", violates), ALIVE)).opened == {SKIP.through: Opened(0, 0)}


def test_an_exemption_that_may_take_something_out_may_open_it() -> None:
    """What is refused without it, and may be with it, is unknown, and so is whether that was its doing."""
    found = profile((policy("p", violates, exemptions=(SKIP,)), EXEMPT), taken=None)

    assert (found.refused, found.unknown) == (0, BIT)
    assert found.opened == {SKIP.through: Opened(0, BIT)}
