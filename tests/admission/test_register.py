"""The register of exceptions: states, facts, and who says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from posture.admission.evaluate import evaluate
from posture.admission.register import ANNOTATIONS, Entry, register, until, wanting
from posture.model import Gap, Through
from tests.admission.clusters import evaluated, ids, taken
from tests.generator import vap
from tests.generator.engines import (
    FUTURE,
    PAST,
    cel_exception,
    constraint,
    gatekeeper,
    kyverno,
    template,
    validating_policy,
    where,
)  # fmt: skip
from tests.generator.objects import Object, namespace
from tests.generator.policies import PSS, RULES
from tests.generator.templates import SPOILS, clean, controlled

type Settings = dict[str, Any]
SELECTED = {"namespaceSelector": where("skip", "DoesNotExist")}
THROUGH = Through("ValidatingAdmissionPolicy", "", "host/spec.matchConstraints.namespaceSelector[skip DoesNotExist]")
LAB, PAY = namespace("lab", skip="yes"), namespace("pay")
AGENT = "workload:lab/agent[Deployment]"
EXCEPTIONS = ("--enablePolicyException=true", "--exceptionNamespace=kyverno")


def policy(action: str = "Deny", **annotations: str) -> list[Object]:
    """A policy against host paths that is for no namespace with the label skip."""
    made = vap.policy("host", RULES["host-path"], matchConstraints=SELECTED)
    made["metadata"] |= {"annotations": annotations, "creationTimestamp": "2026-01-02T03:04:05Z"}
    return [made, vap.binding("host", [action])]


def agent(inside: str = "lab", spoil: str = "host-path") -> Object:
    """A Deployment that violates one control."""
    pod = clean("agent")
    pod["metadata"] = {"labels": {"app": "agent"}}
    SPOILS[spoil](pod["spec"])
    return controlled("Deployment", "agent", inside, pod, {"app": "agent"})


class Case(NamedTuple):
    """A cluster, and what becomes of the exception in it."""

    name: str
    objects: Sequence[Object]
    state: str
    opens: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()


CASES = (
    Case("a workload needs it", [LAB, PAY, *policy(), agent()], "used", ("lab",), (AGENT,)),
    Case("nobody needs it", [LAB, PAY, *policy(), agent(spoil="root")], "unused", ("lab",)),
    Case("who would need it is elsewhere", [LAB, PAY, *policy(), agent("pay")], "unused", ("lab",)),
    Case("nobody has its label", [PAY, *policy()], "inert"),
    Case("its policy only audits", [LAB, *policy("Audit"), agent()], "inert"),
    Case("another policy refuses the same", [namespace("lab", skip="yes", **{f"{PSS}/enforce": "baseline"}), *policy(),
         agent()], "inert"),
    Case("another policy has the same exception", [LAB, *policy(), vap.policy("more", RULES["host-path"],
         matchConstraints=SELECTED), vap.binding("more"), agent()], "used", ("lab",), (AGENT,)),
    Case("another policy refuses who needs it for another reason",
         [LAB, *policy(), vap.policy("network", RULES["host-namespaces"]), vap.binding("network"),
          agent(), controlled("Pod", "both", "lab", {"metadata": {"labels": {"app": "b"}}, "spec": {
              **clean("b")["spec"], "hostNetwork": True, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}})],
         "used", ("lab",), (AGENT,)),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_state_follows_from_what_it_opens_and_whom_it_serves(case: Case, settings: Settings) -> None:
    """Used, unused or inert."""
    one = register(evaluated(case.objects, settings))[THROUGH]

    assert (one.state, tuple(one.opens), one.serves) == (case.state, case.opens, case.serves)
    assert all(
        "hostPathVolumes" in {identity.partition(":")[0] for identity in ids(mask)} for mask in one.opens.values()
    )


SKIPPED = [{"name": "skipped", "expression": "object.metadata.labels.skip != 'yes'"}]
"""What errs for a pod without the label skip."""


def failing(engine: str, closed: bool) -> tuple[list[Object], Through]:
    """A policy that is for no namespace with the label skip and whose match condition errs; the first is the exception.

    Nothing violates what it asks for.
    """
    failure, rule = "Fail" if closed else "Ignore", RULES["host-path"]
    if engine == "VAP":
        made = vap.policy("host", rule, matchConstraints=SELECTED, matchConditions=SKIPPED, failurePolicy=failure)
        return [made, vap.binding("host")], THROUGH
    if engine == "Kyverno":
        one = validating_policy("host", rule, matchConstraints=SELECTED, matchConditions=SKIPPED, failurePolicy=failure)
        return [*kyverno(), one], THROUGH._replace(kind="ValidatingPolicy")
    asked = template("Host", rule, matchCondition=SKIPPED, failurePolicy=failure)
    found = Through("Host", "", "host/spec.match.namespaceSelector/!skip")
    return [*gatekeeper(), asked, constraint("Host", "host", match=SELECTED)], found


@pytest.mark.parametrize(("closed", "state", "serves"), [(True, "used", (AGENT,)), (False, "inert", ())])
@pytest.mark.parametrize("engine", ["VAP", "Kyverno", "Gatekeeper"])
def test_who_a_condition_fails_for_needs_what_takes_him_out_before(
    engine: str, closed: bool, state: str, serves: tuple[str, ...], settings: Settings
) -> None:
    """An error of a match condition refuses what violates nothing, as far as the policy fails closed."""
    objects, through = failing(engine, closed)
    one = register(evaluated([LAB, PAY, *objects, agent(spoil="root")], settings))[through]

    assert (one.state, one.serves) == (state, serves)


def entry(settings: Mapping[str, Any], **annotations: str) -> Entry:
    """The exception with what annotations of its policy say."""
    return register(evaluated([LAB, PAY, *policy(**annotations), agent()], settings))[THROUGH]


class TestFacts:
    def test_nothing_is_said(self, settings: Settings) -> None:
        """Each fact is wanting; when the object was made is known."""
        one = entry(settings)

        assert (one.facts, one.created) == ({}, "2026-01-02T03:04:05Z")
        assert [*wanting(one)] == ["no owner", "no reason", "no ticket", "no approved", "no expires"]

    def test_annotations_say_it(self, settings: Settings) -> None:
        """Each fact has its own, and it is said where it is from."""
        said = {keys[0]: f"the {fact}" for fact, keys in ANNOTATIONS.items()} | {
            ANNOTATIONS["expires"][0]: "2027-03-01"
        }
        one = entry(settings, **said)

        assert [*wanting(one)] == []
        assert one.facts["owner"] == ("the owner", f"annotation {ANNOTATIONS['owner'][0]}")
        assert one.fact("expires") == "2027-03-01T00:00:00Z"

    def test_annotations_of_ones_own(self, settings: Settings) -> None:
        """The configuration names others; the first that says something counts."""
        given = {"annotations": {"owner": ("example.com/team", "example.com/owner")}}
        one = entry({**settings, "exceptions": given}, **{"example.com/owner": "ann", ANNOTATIONS["owner"][0]: "bob"})

        assert one.facts["owner"] == ("ann", "annotation example.com/owner")

    def test_the_register_says_what_the_object_does_not(self, settings: Settings) -> None:
        """Rows of the file, by a pattern of what one edits; the object's own word goes first."""
        rows = [
            {"exception": "ClusterPolicy/*", "owner": "eve"},
            {"exception": "ValidatingAdmissionPolicy/host/*skip*", "owner": "ann", "reason": "lab"},
            {"exception": str(THROUGH).replace("[", "[[]"), "owner": "bob", "expires": "2027-01-01"},
        ]
        one = entry({**settings, "exceptions": {"register": rows}}, **{ANNOTATIONS["reason"][0]: "own"})

        assert {fact: said for fact, (said, _) in one.facts.items()} == {
            "owner": "ann", "reason": "own", "expires": "2027-01-01T00:00:00Z"
        }  # fmt: skip
        assert one.facts["owner"][1] == "the register"

    @pytest.mark.parametrize("text", ["", "  ", "soon", "2027-13-01", "99999-01-01", "\x00"])
    def test_what_is_no_time_is_no_end(self, text: str, settings: Settings) -> None:
        """An end that never comes is none."""
        assert "no expires" in [*wanting(entry(settings, **{ANNOTATIONS["expires"][0]: text}))]

    def test_its_own_fields_say_it(self, settings: Settings) -> None:
        """A PolicyException of policies.kyverno.io has an end and properties."""
        properties = {"reason": "vendor", "ticket": "SEC-1", "approved-by": "ann"}
        made = cel_exception("x", "kyverno", ["host"], "object.metadata.namespace == 'lab'", expiresAt=FUTURE,
                             properties=properties)  # fmt: skip
        objects = [LAB, *kyverno(*EXCEPTIONS), validating_policy("host", RULES["host-path"]), made]
        one = register(evaluated(objects, settings))[Through("PolicyException", "kyverno", "x")]

        assert {fact: said for fact, (said, _) in one.facts.items()} == {
            "reason": "vendor", "ticket": "SEC-1", "approved": "ann", "expires": FUTURE
        }  # fmt: skip


class TestTime:
    def test_past_its_end_and_still_there(self, settings: Settings) -> None:
        """An annotation ends nothing: it is used, and overdue."""
        one = entry(settings, **{ANNOTATIONS["expires"][0]: PAST})

        assert one.states[:2] == ("used", "expired but active")
        assert "overdue" in [*wanting(one)]

    def test_an_inert_one_is_not_overdue(self, settings: Settings) -> None:
        """What opens nothing need not be taken away in time."""
        live = evaluated([PAY, *policy(**{ANNOTATIONS["expires"][0]: PAST})], settings)

        assert register(live)[THROUGH].states[0] == "inert"
        assert not register(live)[THROUGH].overdue

    def test_without_a_time_nothing_expires(self, settings: Settings) -> None:
        """Nobody says what time it is."""
        timeless = {"cel": settings["cel"]}

        assert not entry(timeless, **{ANNOTATIONS["expires"][0]: PAST}).overdue

    def test_when_it_will_mean_something_else(self, settings: Settings) -> None:
        """The first end that is still to come."""
        live = evaluated([LAB, *policy(**{ANNOTATIONS["expires"][0]: FUTURE})], settings)
        past = evaluated([LAB, *policy(**{ANNOTATIONS["expires"][0]: PAST})], settings)

        assert (until(live), until(past)) == (FUTURE, "")


def test_hidden_workloads_leave_open_whether_it_is_used(settings: Settings) -> None:
    """Deployments may not be read: it is not said to be unused."""
    gap = Gap("deployments.apps", "", "forbidden", "deployments.apps is forbidden")
    live = evaluate(taken([LAB, *policy()], settings, gap))

    assert register(live)[THROUGH].state == "unknown"
    assert [*register(live)[THROUGH].opens] == ["lab"]


def test_two_registers_of_one_cluster_are_the_same(settings: Settings) -> None:
    """Whatever the order of the objects, down to the order of policies and namespaces."""
    objects = [LAB, PAY, namespace("web", skip="yes"), *policy(), agent(), *kyverno(*EXCEPTIONS),
               validating_policy("host", RULES["privileged"])]  # fmt: skip
    one, other = (register(evaluated(given, settings)) for given in (objects, objects[::-1]))

    assert [*one] == [*other]
    for through, entry_ in one.items():
        assert [policy.through for policy in entry_.policies] == [policy.through for policy in other[through].policies]
        assert [*entry_.opens.items()] == [*other[through].opens.items()]
