"""What became possible at admission, as a person would say it: what may run now, who needs it, what nobody wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest

from posture import admission
from tests.generator import gates, kyverno, traffic
from tests.generator.objects import Object, namespace, snapshot

ENFORCE = gates.ENFORCE
NOW = {"now": "2026-11-17T09:00:00Z", "podSecurity": {"defaults": {"enforce": "baseline"}}}
SAID = {"reason": "debugging", "ticket": "PAY-1", "approved-by": "dana"}
NEEDY = traffic.workload("pay", "api", security=traffic.ROOT)
POLICY = kyverno.cluster_policy(
    "restricted", kyverno.rule("restricted", podSecurity=kyverno.pod_security("restricted"))
)
RESTRICTED = "pods that run as root, pods that may gain privileges and 5 more kinds of pods"


def excepted(owner: str = "pay", expires: str = "2027-01-01", pods: str = "") -> Object:
    """An exception for pay, of which all is said but for what is empty."""
    said = {fact: text for fact, text in {"owner": owner, "expires": expires}.items() if text}
    made = gates.exception("pay", "legacy", pods, **said, **SAID)
    made["spec"]["exceptions"] = [{"policyName": "restricted", "ruleNames": ["restricted"]}]
    return made


def bare() -> Object:
    """The same of which nothing is said."""
    made = excepted()
    del made["metadata"]["annotations"]
    return made


def level(name: str) -> Object:
    """pay with a Pod Security level."""
    return namespace("pay", **{ENFORCE: name})


class Case(NamedTuple):
    """Objects before and after, and what is said of the difference."""

    before: Sequence[Object]
    after: Sequence[Object]
    said: str


LOOSENED = {
    "a lower level": Case(
        [level("baseline")], [level("privileged")],
        "Namespace pay now admits privileged pods, pods in the node's namespaces and 9 more kinds of pods "
        "(nothing there needs it; nobody wrote down whose it is, why and until when)",
    ),
    "an exception that something needs": Case(
        [POLICY, NEEDY], [POLICY, NEEDY, excepted()],
        f"Namespace pay now admits {RESTRICTED} (1 workload there could not run without it)",
    ),
    "an exception for pods of a name": Case(
        [POLICY, NEEDY], [POLICY, NEEDY, excepted(pods="api-*")],
        f"Namespace pay now admits {RESTRICTED}, if they are like one called api-x "
        "(1 workload there could not run without it)",
    ),
    "an exception that nothing needs": Case(
        [POLICY], [POLICY, excepted()], f"Namespace pay now admits {RESTRICTED} (nothing there needs it)"
    ),
    "an exception that is past its end": Case(
        [POLICY], [POLICY, excepted(expires="2026-10-31")],
        f"Namespace pay now admits {RESTRICTED} (nothing there needs it; its end is past)",
    ),
    "an exception without owner and end": Case(
        [POLICY, NEEDY], [POLICY, NEEDY, excepted(owner="", expires="")],
        f"Namespace pay now admits {RESTRICTED} "
        "(1 workload there could not run without it; it has no owner and no end)",
    ),
    "an exception of which nobody says anything": Case(
        [POLICY, NEEDY], [POLICY, NEEDY, bare()],
        f"Namespace pay now admits {RESTRICTED} "
        "(1 workload there could not run without it; nobody wrote down whose it is, why and until when)",
    ),
    "an exception that was there and lost its owner": Case(
        [POLICY, NEEDY, excepted()], [POLICY, NEEDY, excepted(owner="")], "PolicyException pay/legacy has no owner"
    ),
    "an exception that nobody uses any more": Case(
        [POLICY, NEEDY, excepted()], [POLICY, excepted()], "PolicyException pay/legacy is used by nobody"
    ),
}  # fmt: skip
TIGHTENED = {
    "an owner is written down": Case(
        [POLICY, NEEDY, excepted(owner="", expires="")], [POLICY, NEEDY, excepted()],
        "PolicyException pay/legacy says its owner and end now",
    ),
    "a new end": Case(
        [POLICY, NEEDY, excepted(expires="2026-10-31")], [POLICY, NEEDY, excepted()],
        "PolicyException pay/legacy is no longer past its end",
    ),
    "an exception is gone": Case(
        [POLICY, NEEDY, excepted()], [POLICY, NEEDY], f"Namespace pay no longer admits {RESTRICTED}"
    ),
}  # fmt: skip


def result(objects: Sequence[Object]) -> admission.Admission:
    """What is enforced in a cluster with the namespace pay."""
    there = [] if any(one["kind"] == "Namespace" for one in objects) else [namespace("pay")]
    return admission.evaluate(replace(snapshot([*there, *objects]), settings=NOW))


@pytest.mark.parametrize("case", LOOSENED.values(), ids=LOOSENED)
def test_what_is_admitted_now_is_said_with_who_needs_it(case: Case) -> None:
    """The gravest violations, an example where not every pod is meant, who could not run, and what is not written."""
    before, live = result(case.before), result(case.after)

    assert [admission.sentence(change, None, live) for change in admission.compare(before, live).changes] == [case.said]


@pytest.mark.parametrize("case", TIGHTENED.values(), ids=TIGHTENED)
def test_what_is_better_now_is_said_as_well(case: Case) -> None:
    """A tightening is the loosening that going back would be, in words of its own."""
    before, after = result(case.before), result(case.after)
    changes = [change.mirrored() for change in admission.compare(after, before).changes]

    assert [admission.sentence(change, None, before) for change in changes] == [case.said]
