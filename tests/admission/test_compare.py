"""What is told as a change, through what, and what is not: one edit at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from posture import admission
from posture.admission.violations import VIOLATIONS
from posture.model import Change, Gap, GapReason
from tests.admission.clusters import evaluated
from tests.generator import vap
from tests.generator.engines import (
    answering,
    constraint,
    gatekeeper,
    template,
    where,
)
from tests.generator.objects import Object, namespace
from tests.generator.policies import PSS, RULES

type Settings = dict[str, Any]
ENFORCE = f"{PSS}/enforce"
PAY, SKIPPING = namespace("pay"), namespace("pay", skip="yes")
SELECTED = {"namespaceSelector": where("skip", "DoesNotExist")}
POLICY, BINDING = "ValidatingAdmissionPolicy/host", "ValidatingAdmissionPolicyBinding/host"
EXCEPTION = f"{POLICY}/spec.matchConstraints.namespaceSelector[skip DoesNotExist]"
HOST_PATHS = {one.id for one in VIOLATIONS if one.control == "hostPathVolumes"}


def policy(name: str = "host", text: str = RULES["host-path"], **spec: Any) -> list[Object]:
    """A policy of the server's own against host paths, with its binding."""
    return [vap.policy(name, text, **spec), vap.binding(name)]


def loosened(before: Sequence[Object], after: Sequence[Object], settings: Settings, **more: Any) -> list[Change]:
    """What became possible."""
    found = admission.compare(evaluated(before, settings), evaluated(after, settings), **more)
    return [change for change in found.changes if change.direction == "loosened"]


def violations(change: Change) -> set[str]:
    """The violations that a change admits."""
    return {unit["violation"] for unit in change.gained if "violation" in unit}


class Case(NamedTuple):
    """An edit that admits host paths in pay, through what, and the objects that are looked at for its cause."""

    name: str
    before: Sequence[Object]
    after: Sequence[Object]
    through: str
    evidence: set[str]


CASES = (
    Case("the policy is deleted", [PAY, *policy()], [PAY], POLICY, {"host", "pay"}),
    Case("its binding is deleted", [PAY, *policy()], [PAY, policy()[0]], POLICY, {"host", "pay"}),
    Case("it only audits", [PAY, *policy()], [PAY, policy()[0], vap.binding("host", ["Audit"])], POLICY,
         {"host", "pay"}),
    Case("it asks for less", [PAY, *policy()], [PAY, *policy(text="true")], POLICY, {"host", "pay"}),
    Case("a namespace gets the label of an exception", [PAY, *policy(matchConstraints=SELECTED)],
         [SKIPPING, *policy(matchConstraints=SELECTED)], EXCEPTION, {"host", "pay"}),
    Case("an exception is made for a label that is there", [SKIPPING, *policy()],
         [SKIPPING, *policy(matchConstraints=SELECTED)], EXCEPTION, {"host", "pay"}),
    Case("Pod Security is taken away", [namespace("pay", **{ENFORCE: "baseline"})], [PAY],
         f"Label/pay/{ENFORCE}", {"pay"}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_loosening_is_told_through_what_one_would_edit(case: Case, settings: Settings) -> None:
    """Exactly one change, with every host path, and the objects that may have made it so."""
    (change,) = loosened(case.before, case.after, settings)

    assert (change.subject, change.scope, str(change.through)) == ("namespace:pay", "pay", case.through)
    assert violations(change) >= HOST_PATHS
    assert {key.name for key in change.evidence} == case.evidence


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_way_back_is_a_tightening(case: Case, settings: Settings) -> None:
    """The same units are lost; nothing else is loosened."""
    (gain,) = loosened(case.before, case.after, settings)
    found = admission.compare(evaluated(case.after, settings), evaluated(case.before, settings)).changes

    assert [(change.direction, change.where, change.lost) for change in found] == [
        ("tightened", gain.where, gain.gained)
    ]


class Silent(NamedTuple):
    """An edit that means nothing."""

    name: str
    before: Sequence[Object]
    after: Sequence[Object]


SILENT = (
    Silent("objects in another order", [PAY, *policy(), *policy("other")], [*policy("other"), *policy(), PAY]),
    Silent("a policy of another name", [PAY, *policy()], [PAY, *policy("renamed")]),
    Silent("a rule written in another way", [PAY, *policy()], [PAY, *policy(text=f"({RULES['host-path']}) && true")]),
    Silent("one policy split in two", [PAY, *policy(text=f"{RULES['host-path']} && {RULES['privileged']}")],
           [PAY, *policy(), *policy("other", RULES["privileged"])]),
    Silent("an opaque policy of another name",
           [PAY, *gatekeeper(), template("PostureTeam"), constraint("PostureTeam", "team")],
           [PAY, *gatekeeper(), template("PostureTeam"), constraint("PostureTeam", "renamed")]),
    Silent("a policy that is bound to nothing", [PAY, policy()[0]], [PAY]),
    Silent("an exception for nobody", [PAY, *policy()], [PAY, *policy(matchConstraints=SELECTED)]),
    Silent("a Service whose endpoints no webhook asks", [PAY, *answering("pay", "api")], [PAY]),
)  # fmt: skip


@pytest.mark.parametrize("case", SILENT, ids=lambda case: case.name)
def test_what_means_the_same_is_silent(case: Silent, settings: Settings) -> None:
    """No change in either direction."""
    before, after = evaluated(case.before, settings), evaluated(case.after, settings)

    assert admission.compare(before, after).changes == ()
    assert admission.compare(after, before).changes == ()


REGO = [PAY, *gatekeeper(), template("PostureTeam")]
TEAM = "PostureTeam/team"


class TestControlsOfTheirOwn:
    """A policy of which nobody can say what it refuses: by where it counts, its action and its content."""

    def units(self, after: Sequence[Object], settings: Settings) -> list[tuple[str, dict[str, str]]]:
        before = [*REGO, constraint("PostureTeam", "team")]
        return [(str(change.through), dict(unit)) for change in loosened(before, after, settings)
                if change.scope == "pay" for unit in change.gained]  # fmt: skip

    def test_it_is_removed(self, settings: Settings) -> None:
        """Loosened, as a whole."""
        assert self.units(REGO, settings) == [(TEAM, {"control": "gatekeeper/team"})]

    def test_it_only_warns(self, settings: Settings) -> None:
        """The same."""
        made = constraint("PostureTeam", "team", enforcementAction="warn")
        assert self.units([*REGO, made], settings) == [(TEAM, {"control": "gatekeeper/team"})]

    def test_something_is_taken_out_of_it(self, settings: Settings) -> None:
        """Loosened by what is taken out, through the exception."""
        made = constraint("PostureTeam", "team", match={"excludedNamespaces": ["pay"]})
        ((through, unit),) = self.units([*REGO, made], settings)

        assert through.startswith(f"{TEAM}/spec.match.excludedNamespaces")
        assert unit.keys() == {"control", "except"}

    def test_its_parameters_are_others(self, settings: Settings) -> None:
        """Whether that is more or less nobody can say: unknown, and no change."""
        before = evaluated([*REGO, constraint("PostureTeam", "team")], settings)
        after = evaluated([*REGO, constraint("PostureTeam", "team", {"labels": ["team"]})], settings)
        found = admission.compare(before, after)

        assert [change for change in found.changes if change.scope == "pay"] == []
        assert [(str(one.through), one.gap.reason) for one in found.unknown if one.scope == "pay"] == [
            (TEAM, "not modelled")
        ]


class TestGrowth:
    """A namespace that is new."""

    NEW = namespace("new")

    def test_it_is_judged_as_one_without_labels(self, settings: Settings) -> None:
        """What would have been refused in any such namespace; that it came is no drift."""
        exempt = namespace("new", skip="yes")
        before = [PAY, *policy(matchConstraints=SELECTED)]

        assert loosened(before, [*before, self.NEW], settings, peers={"new": ()}) == []
        (change,) = loosened(before, [*before, exempt], settings, peers={"new": ()})
        assert (change.scope, str(change.through)) == ("new", EXCEPTION)

    def test_it_is_judged_by_its_peers(self, settings: Settings) -> None:
        """What all of them admit is agreed, what one of them refuses is not."""
        strict, lax = (namespace(name, **{ENFORCE: level}) for name, level in
                       (("strict", "restricted"), ("lax", "baseline")))  # fmt: skip
        before = [strict, lax]
        new = namespace("new", **{ENFORCE: "baseline"})
        (change,) = loosened(before, [*before, new], settings, peers={"new": ("strict", "lax")})
        controls = {unit["control"] for unit in change.gained if "control" in unit}

        assert "hostPathVolumes" not in controls
        assert "runAsNonRoot" in controls

    def test_in_a_diff_nothing_was_agreed_for_it(self, settings: Settings) -> None:
        """All that it admits is told."""
        changes = loosened([PAY, *policy()], [PAY, *policy(), self.NEW], settings, growth=True)

        assert {change.scope for change in changes} == {"new"}
        assert not {found for change in changes for found in violations(change)} & HOST_PATHS


@pytest.mark.parametrize(("reason", "through"), [("not collected", [POLICY]), ("forbidden", [])])
def test_a_gap_on_both_sides(reason: GapReason, through: list[str], settings: Settings) -> None:
    """What nobody wants to read hides nothing new; behind what was forbidden both times another policy may be gone."""
    gap = Gap("clusterpolicies.kyverno.io", "", reason, "not there")
    before, after = evaluated([PAY, *policy()], settings, gap), evaluated([PAY], settings, gap)
    found = admission.compare(before, after)

    assert [str(one.through) for one in found.changes] == through
    assert bool(found.unknown) is not bool(through)
