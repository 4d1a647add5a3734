"""What happened to others: known bugs of engines, and the loosenings of a month, through the whole judgement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest

from posture import admission
from posture.admission.register import ANNOTATIONS, Entry, register
from posture.config import Config
from posture.drift.agreed import Agreed
from posture.inputs import Inputs
from posture.model import Change, Decision, Edit, Finding, Gap, Through
from posture.pipeline import History, Judgement, Rules, judge
from tests.admission.clusters import admitted, evaluated, ids, taken
from tests.generator import vap
from tests.generator.engines import (
    FUTURE,
    NOW,
    PAST,
    answering,
    cel_exception,
    cluster_policy,
    config,
    constraint,
    exception,
    gatekeeper,
    kyverno,
    kyverno_rule,
    pod_security,
    template,
    validating_policy,
    webhook,
    webhooks,
)
from tests.generator.objects import Object, discovery, namespace
from tests.generator.policies import CONSTRAINTS, PSS, RULES
from tests.generator.templates import SPOILS, clean, controlled

type Settings = dict[str, Any]
PRIVILEGED = "privileged:containers.securityContext.privileged=true"
ENFORCE = f"{PSS}/enforce"
EXCEPTIONS = ("--enablePolicyException=true", "--exceptionNamespace=kyverno")
WHOLE = {ANNOTATIONS[fact][0]: fact for fact in ("owner", "reason", "ticket", "approved")} | {
    ANNOTATIONS["expires"][0]: FUTURE
}
"""All that an exception should say of itself."""


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The shipped checks; there is no owners file."""
    return replace(Inputs(Config()).rules, settings={})


def agent(inside: str = "pay", name: str = "agent", spoil: str = "privileged") -> Object:
    """A Deployment that violates one control."""
    pod = clean(name)
    pod["metadata"] = {"labels": {"app": name}}
    SPOILS[spoil](pod["spec"])
    return controlled("Deployment", name, inside, pod, {"app": name})


def baseline(name: str = "psp-baseline", action: str = "Enforce", *exclude: Object) -> Object:
    """A ClusterPolicy that asks for Pod Security's baseline."""
    return cluster_policy(name, kyverno_rule("check", pod_security("baseline"), exclude), action=action)


def judged(
    before: Iterable[Object], after: Iterable[Object], settings: Settings, *gaps: Gap,
    known: Iterable[Finding] = (), **agreed: Any,
) -> Judgement:  # fmt: skip
    """A run against an approved state, with the findings that are known."""
    held = {one.fingerprint: one for one in known}
    given = Agreed((taken(before, settings),), (), (), **agreed)
    said = replace(rules(), settings=settings)
    return judge(taken(after, settings, *gaps), given, History(held, held.get), said, settings["now"])


def found(run: Judgement) -> dict[tuple[str, str], Finding]:
    """The findings of this domain by their scope and through."""
    return {(one.scope, str(one.through)): one for one in run.outcome.findings.values() if one.domain == "admission"}


def entry_of(result: Any, name: str) -> Entry:
    """The one exception whose name has this in it."""
    (one,) = [entry for through, entry in register(result).items() if name in str(through)]
    return one


def loosened(before: Sequence[Object], after: Sequence[Object], settings: Settings) -> list[Change]:
    """What became possible."""
    comparison = admission.compare(evaluated(before, settings), evaluated(after, settings))
    return [change for change in comparison.changes if change.direction == "loosened"]


def applied(objects: Iterable[Object], edits: Iterable[Edit], settings: Settings) -> Any:
    """The result after the edits of a fix."""
    return admission.evaluate(taken(objects, settings).replaced((edit.key, edit.new) for edit in edits))


# Bugs and traps of engines ------------------------------------------------------------------------------------------


class TestMisplaced:
    def test_an_exclude_beside_the_match_of_a_constraint(self, settings: Settings) -> None:
        """gatekeeper#959: `spec.excludedNamespaces` is ignored: misplaced, it opens nothing, the pod is refused."""
        kind = "PosturePrivileged"
        objects = [namespace("pay"), agent(), *gatekeeper(), template(kind, *CONSTRAINTS[kind]),
                   constraint(kind, "privileged", excludedNamespaces=["pay"])]  # fmt: skip
        live = evaluated(objects, settings)
        one = entry_of(live, "privileged/spec.excludedNamespaces")

        assert (one.state, dict(one.opens), one.serves) == ("misplaced", {}, ())
        assert admitted(live, "pay") == {"workload:pay/agent[Deployment]": False}

    def test_an_exclude_in_the_match_of_a_constraint(self, settings: Settings) -> None:
        """The same in its place is used, and opens privileged pods."""
        kind = "PosturePrivileged"
        objects = [namespace("pay"), agent(), *gatekeeper(), template(kind, *CONSTRAINTS[kind]),
                   constraint(kind, "privileged", match={"excludedNamespaces": ["pay"]})]  # fmt: skip
        live = evaluated(objects, settings)
        one = entry_of(live, "privileged/spec.match.excludedNamespaces")

        assert (one.state, [*one.opens], one.serves) == ("used", ["pay"], ("workload:pay/agent[Deployment]",))
        assert PRIVILEGED in ids(one.opens["pay"])

    def test_a_config_of_another_name(self, settings: Settings) -> None:
        """Gatekeeper reads the Config named config only: another one is misplaced."""
        kind = "PosturePrivileged"
        objects = [namespace("pay"), agent(), *gatekeeper(), template(kind, *CONSTRAINTS[kind]),
                   constraint(kind, "privileged"), config((["pay"], ["*"]), name="settings")]  # fmt: skip
        live = evaluated(objects, settings)

        assert entry_of(live, "/settings").state == "misplaced"
        assert admitted(live, "pay") == {"workload:pay/agent[Deployment]": False}

    def test_an_exception_in_a_namespace_that_is_not_read(self, settings: Settings) -> None:
        """kyverno#7355: with `--exceptionNamespace=kyverno` one in another namespace takes nothing out."""
        objects = [namespace("pay"), agent(), *kyverno(*EXCEPTIONS), baseline(),
                   exception("agent", "pay", [("psp-baseline", ["check"])], {"namespaces": ["pay"]})]  # fmt: skip
        live = evaluated(objects, settings)
        one = entry_of(live, "pay/agent")

        assert (one.state, dict(one.opens), one.serves) == ("misplaced", {}, ())
        assert admitted(live, "pay") == {"workload:pay/agent[Deployment]": False}

    def test_an_exception_in_the_namespace_that_is_read(self, settings: Settings) -> None:
        """The same where Kyverno looks is used."""
        objects = [namespace("pay"), agent(), *kyverno(*EXCEPTIONS), baseline(),
                   exception("agent", "kyverno", [("psp-baseline", ["check"])], {"namespaces": ["pay"]})]  # fmt: skip
        one = entry_of(evaluated(objects, settings), "kyverno/agent")

        assert (one.state, one.serves) == ("used", ("workload:pay/agent[Deployment]",))


@pytest.mark.parametrize(("until", "state", "admits"), [(FUTURE, "used", True), (PAST, "expired", False)])
def test_an_expired_exception(until: str, state: str, admits: bool, settings: Settings) -> None:
    """kyverno#17473: reports said `skip`, admission refused. After its end the workload is refused."""
    condition = "object.metadata.namespace == 'pay'"
    objects = [namespace("pay"), agent(), *kyverno(*EXCEPTIONS), validating_policy("host", RULES["privileged"]),
               cel_exception("agent", "kyverno", ["host"], condition, expiresAt=until)]  # fmt: skip
    live = evaluated(objects, settings)

    assert entry_of(live, "kyverno/agent").state == state
    assert admitted(live, "pay") == {"workload:pay/agent[Deployment]": admits}


def test_its_end_alone_is_no_drift_and_ends_what_it_opened(settings: Settings) -> None:
    """Approved while it counted, judged after its end: nothing is gained."""
    objects = [namespace("pay"), agent(), *kyverno(*EXCEPTIONS), validating_policy("host", RULES["privileged"]),
               cel_exception("agent", "kyverno", ["host"], "true", expiresAt="2027-01-01T00:00:00Z")]  # fmt: skip
    before = evaluated(objects, settings)
    after = evaluated(objects, {**settings, "now": "2027-01-02T00:00:00Z"})

    assert admission.until(before) == "2027-01-01T00:00:00Z"
    assert {one.direction for one in admission.compare(before, after).changes} == {"tightened"}


# Gaps ---------------------------------------------------------------------------------------------------------------

POLICIES = "validatingadmissionpolicies.admissionregistration.k8s.io"
FORBIDDEN = Gap(POLICIES, "", "forbidden", f"{POLICIES} is forbidden")


def guarded() -> list[Object]:
    """A namespace, and a policy of the server's own against privileged pods."""
    return [namespace("pay"), vap.policy("host", RULES["privileged"]), vap.binding("host")]


class TestForbiddenIsNotAbsent:
    def test_absent_is_drift(self, settings: Settings) -> None:
        """Without the policy privileged pods are admitted: a finding through it."""
        (one,) = found(judged(guarded(), guarded()[:1], settings)).values()

        assert (one.scope, str(one.through)) == ("pay", "ValidatingAdmissionPolicy/host")
        assert one.rule == "admission-privileged-pods"

    def test_forbidden_opens_nothing(self, settings: Settings) -> None:
        """The same with the kind forbidden: no finding, and it is said what is unknown."""
        run = judged(guarded(), guarded()[:1], settings, FORBIDDEN)

        assert found(run) == {}
        assert {one.gap for one in run.unknown if one.scope == "pay" and one.domain == "admission"} == {FORBIDDEN}

    def test_forbidden_resolves_nothing(self, settings: Settings) -> None:
        """A finding that is open stays, unknown; when it can be read again and is mended, it is resolved."""
        weak = [*guarded()[:2], vap.binding("host", ["Audit"])]
        opened = [*found(judged(guarded(), weak, settings)).values()]
        doubted = [*found(judged(guarded(), weak[:1], settings, FORBIDDEN, known=opened)).values()]
        mended = [*found(judged(guarded(), guarded(), settings, known=doubted)).values()]

        assert [one.presence for one in (*opened, *doubted, *mended)] == ["present", "unknown", "absent"]

    def test_forbidden_at_approval(self, settings: Settings) -> None:
        """What an approved state could not show was not agreed, nor is it new: nothing is found."""
        before = evaluated(guarded()[:1], settings, FORBIDDEN)
        weak = [*guarded()[:2], vap.binding("host", ["Audit"])]

        assert admission.compare(before, evaluated(weak, settings)).changes == ()


# Loosenings ---------------------------------------------------------------------------------------------------------


def test_a_policy_that_only_audits_is_one_group(settings: Settings) -> None:
    """Enforce → Audit over 172 namespaces: 172 findings, one group, through the policy; the fix is one edit."""
    names = [f"ns-{number:03}" for number in range(172)]
    rest = [*(namespace(name) for name in names), *kyverno()]
    before, after = [*rest, baseline()], [*rest, baseline(action="Audit")]
    findings = found(judged(before, after, settings))
    mine = {where: one for where, one in findings.items() if one.scope.startswith("ns-")}

    assert {scope for scope, _ in mine} == {*names}
    assert {through for _, through in findings} == {"ClusterPolicy/psp-baseline"}
    assert len({one.group for one in findings.values()}) == 1
    one = mine["ns-007", "ClusterPolicy/psp-baseline"]
    assert (one.severity, one.owner.name) == ("high", "platform")
    assert [(cause.key.name, cause.what) for cause in one.causes] == [("psp-baseline", "changed")]
    assert one.fix is not None
    assert [edit.key.name for edit in one.fix.edits] == ["psp-baseline"]


def test_a_lowered_label_with_another_policy_is_a_note(settings: Settings) -> None:
    """Pod Security is lowered where Kyverno still refuses the same: lost redundancy, no finding."""
    rest = [*kyverno(data={"excludeGroups": ""}), baseline()]
    before, after = [namespace("pay", **{ENFORCE: "baseline"}), *rest], [namespace("pay"), *rest]
    comparison = admission.compare(evaluated(before, settings), evaluated(after, settings))

    assert comparison.changes == ()
    assert [note.kind for note in comparison.notes] == ["redundancy"]
    assert "ClusterPolicy psp-baseline still does" in comparison.notes[0].message
    assert found(judged(before, after, settings)) == {}


def labelled(settings: Settings, before: dict[str, str], after: dict[str, str]) -> list[Change]:
    """What labels of Pod Security change."""
    first, second = (
        evaluated([namespace("pay", **{f"{PSS}/{name}": text for name, text in side.items()})], settings)
        for side in (before, after)
    )
    return [*admission.compare(first, second).changes]


class TestPodSecurity:
    @pytest.mark.parametrize(
        ("version", "controls"),
        [
            ("v1.7", {"allowPrivilegeEscalation", "seccompProfile_restricted", "capabilities_restricted", "runAsUser"}),
            ("v1.18", {"seccompProfile_restricted", "capabilities_restricted", "runAsUser"}),
            ("v1.21", {"capabilities_restricted", "runAsUser"}),
            ("v1.22", {"runAsUser"}),
        ],
    )
    def test_a_pin_is_judged_by_the_violations_that_it_gives_up(
        self, version: str, controls: set[str], settings: Settings
    ) -> None:
        """An older version lacks controls; probes of other hosts came last, with 1.34."""
        pinned = {"enforce": "restricted", "enforce-version": version}
        changes = labelled(settings, {"enforce": "restricted"}, pinned)
        (change,) = [one for one in changes if one.direction == "loosened"]
        lost = {unit["control"] for unit in change.gained if "control" in unit}

        assert str(change.through) == f"Label/pay/{ENFORCE}-version"
        assert controls | {"hostProbesAndHostLifecycle"} <= lost
        assert not ({"allowPrivilegeEscalation", "seccompProfile_restricted", "capabilities_restricted", "runAsUser"}
                    - controls) & lost  # fmt: skip

    def test_an_unpin_may_be_a_loosening_too(self, settings: Settings) -> None:
        """From 1.24 to the newest: sysctls are admitted that were not, and probes of other hosts no longer are."""
        changes = labelled(settings, {"enforce": "baseline", "enforce-version": "v1.24"}, {"enforce": "baseline"})
        units = {one.direction: {unit["control"] for unit in (one.gained or one.lost) if "control" in unit}
                 for one in changes}  # fmt: skip

        assert any("sysctls" in control for control in units["loosened"])
        assert units["tightened"] == {"hostProbesAndHostLifecycle"}

    def test_a_pin_without_effect_is_silent(self, settings: Settings) -> None:
        """A version under privileged, or one that means the newest."""
        assert labelled(settings, {}, {"enforce": "privileged", "enforce-version": "v1.7"}) == []
        assert labelled(settings, {"enforce": "baseline"}, {"enforce": "baseline", "enforce-version": "v1.99"}) == []

    def test_labels_that_only_warn_are_silent(self, settings: Settings) -> None:
        """OpenShift's syncer sets audit and warn as rights come and go: no change, no note."""
        before = {"enforce": "baseline", "audit": "restricted", "warn": "restricted"}
        after = {"enforce": "baseline", "audit": "privileged", "warn": "baseline", "warn-version": "v1.24"}
        first, second = (
            evaluated([namespace("pay", **{f"{PSS}/{key}": text for key, text in side.items()})], settings)
            for side in (before, after)
        )
        comparison = admission.compare(first, second)

        assert (comparison.changes, comparison.notes) == ((), ())


class TestGenerated:
    """Kyverno can have the server's own policies made of its own: one control, edited at the parent."""

    def objects(self, *names: str) -> list[Object]:
        made = validating_policy("host", RULES["privileged"])
        parent = {"apiVersion": made["apiVersion"], "kind": made["kind"], "name": "host", "uid": "1"}
        generated = [vap.policy("vpol-host", RULES["privileged"]), vap.binding("vpol-host")]
        for one in generated:
            one["metadata"]["ownerReferences"] = [parent]
        every = {"parent": [made], "generated": generated}
        kind = discovery(("validatingpolicies", "policies.kyverno.io", False))
        silent = kyverno(data={"excludeGroups": ""})
        return [*kind, namespace("pay"), *silent, *(one for name in names for one in every[name])]

    def in_pay(self, settings: Settings, *names: str) -> set[str]:
        """Through what requests are admitted in a namespace that were not, when only some policies are left."""
        changes = loosened(self.objects("parent", "generated"), self.objects(*names), settings)
        return {str(change.through) for change in changes if change.scope == "pay"}

    def test_it_is_no_second_control(self, settings: Settings) -> None:
        """The generated policy goes: nothing is lost as long as Kyverno itself answers, and the other way around."""
        assert self.in_pay(settings, "parent") == set()
        assert self.in_pay(settings, "generated") == set()

    def test_both_go(self, settings: Settings) -> None:
        """One finding, through the parent: nobody edits what is generated."""
        assert self.in_pay(settings) == {"ValidatingPolicy/host"}


# Webhooks -----------------------------------------------------------------------------------------------------------


def hooked(policy: str, *answers: bool, service: bool = True) -> list[Object]:
    """A webhook for pods, which fails open or closed, and the endpoints that answer for it."""
    made = webhook("check.example.com", "hooks/checker", failurePolicy=policy)
    other = answering("kube-system", "dns")
    return [namespace("pay"), *other, webhooks("checker", made),
            *(answering("hooks", "checker", answers) if service else [])]  # fmt: skip


HOOK = "ValidatingWebhookConfiguration/checker/check.example.com"


class TestWebhooks:
    def test_one_that_fails_open_and_has_nobody_to_answer_enforces_nothing(self, settings: Settings) -> None:
        """No ready endpoint any more: it is down, and in each namespace what it checks is checked no more."""
        changes = loosened(hooked("Ignore", True), hooked("Ignore", False), settings)
        units = {(change.scope, *sorted(unit.items())) for change in changes for unit in change.gained}

        assert {str(change.through) for change in changes} == {HOOK}
        assert ("*", ("policy", "down")) in units
        assert {scope for scope, (name, _), *_ in units if name == "control"} >= {"pay"}

    def test_one_that_fails_closed_refuses_all_the_same(self, settings: Settings) -> None:
        """Its Service is gone: down, which is an outage, and still nothing passes."""
        changes = loosened(hooked("Fail", True), hooked("Fail", service=False), settings)

        assert [(change.scope, [*map(dict, change.gained)]) for change in changes] == [("*", [{"policy": "down"}])]

    def test_from_fail_to_ignore(self, settings: Settings) -> None:
        """It answers, so it enforces; that it fails open is a finding of its own."""
        run = judged(hooked("Fail", True), hooked("Ignore", True), settings)
        (one,) = found(run).values()

        assert (one.scope, [*map(dict, one.gained)]) == ("*", [{"policy": "fails open"}])
        assert "admission-policy-fails-open" in {reason.check for reason in one.reasons}
        assert one.fix is not None
        assert [edit.key.name for edit in one.fix.edits] == ["checker"]


# Growth -------------------------------------------------------------------------------------------------------------


class TestGrowth:
    """A namespace that is new is judged by those with its labels."""

    def space(self, name: str, **labels: str) -> Object:
        return namespace(name, team="web", **{f"{PSS}/{mode}": level for mode, level in labels.items()})

    def findings(self, settings: Settings, *new: Object) -> dict[tuple[str, str], Finding]:
        before = [self.space("web-1", enforce="restricted"), self.space("web-2", enforce="baseline"), namespace("old")]
        return found(judged(before, [*before, *new], settings, peer_labels=("team",)))

    def test_as_strict_as_its_peers_is_silent(self, settings: Settings) -> None:
        """It admits what all of its peers admit."""
        assert self.findings(settings, self.space("web-3", enforce="restricted")) == {}

    def test_what_only_some_peers_admit_is_drift(self, settings: Settings) -> None:
        """One lax peer does not make every new namespace lax."""
        (one,) = self.findings(settings, self.space("web-3", enforce="baseline")).values()

        assert (one.scope, str(one.through)) == ("web-3", f"Label/web-3/{ENFORCE}")
        controls = {unit["control"] for unit in one.gained}
        assert "runAsNonRoot" in controls
        assert "privileged" not in controls


# Exceptions, their findings and fixes -------------------------------------------------------------------------------


def excepted(*resources: Object, **annotations: str) -> list[Object]:
    """A namespace with an agent, a policy that refuses it, and exceptions from it."""
    made = [exception("agent", "kyverno", [("psp-baseline", ["check"])], one) for one in resources]
    for one in made:
        one["metadata"]["annotations"] = annotations
    return [namespace("pay"), namespace("web"), agent(), *kyverno(*EXCEPTIONS), baseline(), *made]


PAY, BOTH = {"namespaces": ["pay"]}, {"namespaces": ["pay", "web"]}
AGENT = "PolicyException/kyverno/agent"


class TestExceptions:
    def test_one_finding_with_several_reasons(self, settings: Settings) -> None:
        """New, without an end, an owner, a reason: one finding, of which all of that is said."""
        findings = found(judged(excepted(), excepted(PAY), settings))
        assert [*findings] == [("pay", AGENT)]
        one = findings["pay", AGENT]

        assert {unit["exception"] for unit in one.gained if "exception" in unit} == {
            "no owner", "no reason", "no ticket", "no approved", "no expires"
        }  # fmt: skip
        assert {"admission-privileged-pods", "admission-exception-without-end", "admission-exception-without-owner",
                "admission-exception-without-reason"} <= {reason.check for reason in one.reasons}  # fmt: skip
        assert one.severity == "high"

    def test_one_that_says_everything_lacks_nothing(self, settings: Settings) -> None:
        """What it opens is told still."""
        one = found(judged(excepted(), excepted(PAY, **WHOLE), settings))["pay", AGENT]

        assert [unit for unit in one.gained if "exception" in unit] == []
        assert PRIVILEGED in {unit["violation"] for unit in one.gained}

    def test_cause_owner_and_fix(self, settings: Settings) -> None:
        """It was created; the platform owns where it is; deleting it was tried, and the finding is gone by it."""
        after = excepted(PAY)
        one = found(judged(excepted(), after, settings))["pay", AGENT]

        assert [(cause.key.name, cause.what) for cause in one.causes] == [("agent", "created")]
        assert one.owner.name == "platform"
        assert "1 workload there could not run without it" in one.headline
        assert one.fix is not None, one.no_fix
        (edit,) = one.fix.edits
        assert (edit.key.resource, edit.key.namespace, edit.key.name, edit.new) == (
            "policyexceptions.kyverno.io", "kyverno", "agent", None
        )  # fmt: skip
        assert not register(applied(after, one.fix.edits, settings)).get(Through("PolicyException", "kyverno", "agent"))

    def test_an_exception_of_a_namespaces_own_is_its_teams(self, settings: Settings) -> None:
        """A lowered label: the team owns the namespace, and the fix puts the label back."""
        before = [namespace("pay", team="pay-team", **{ENFORCE: "baseline"})]
        (one,) = found(judged(before, [namespace("pay", team="pay-team")], settings)).values()

        assert (one.owner.name, str(one.through)) == ("pay-team", f"Label/pay/{ENFORCE}")
        assert one.fix is not None
        assert [(edit.key.name, (edit.new or {})["labels"][ENFORCE]) for edit in one.fix.edits] == [("pay", "baseline")]

    def test_an_accepted_one_that_opens_more_comes_back(self, settings: Settings) -> None:
        """Accepted for what it opened in a namespace; there it opens more: widened, and no longer covered."""
        rest = [namespace("pay"), agent(), *kyverno(*EXCEPTIONS)]
        policy = cluster_policy(
            "host", kyverno_rule("paths", {"cel": {"expressions": [{"expression": RULES["host-path"]}]}}),
            kyverno_rule("privileged", {"cel": {"expressions": [{"expression": RULES["privileged"]}]}}),
        )  # fmt: skip
        narrow, wide = (exception("agent", "kyverno", [("host", names)], PAY)
                        for names in (["paths"], ["paths", "privileged"]))  # fmt: skip
        first = found(judged([*rest, policy], [*rest, policy, narrow], settings))["pay", AGENT]
        decided = replace(first, decision=Decision("accepted", "ann", NOW, "vendor", FUTURE, first.gained))
        again = found(judged([*rest, policy], [*rest, policy, narrow], settings, known=[decided]))
        more = found(judged([*rest, policy], [*rest, policy, wide], settings, known=[decided]))["pay", AGENT]

        assert again == {}
        assert (decided.status(NOW), more.status(NOW), more.mark) == ("accepted", "open", "widened")
        assert PRIVILEGED in {unit.get("violation") for unit in more.gained}

    def test_one_that_nobody_needs(self, settings: Settings) -> None:
        """The agent is gone, the exception is still there: unused is what is new."""
        before = excepted(PAY, **WHOLE)
        after = [one for one in before if one["kind"] != "Deployment" or one["metadata"]["name"] != "agent"]
        findings = found(judged(before, after, settings))

        assert {where: [*map(dict, one.gained)] for where, one in findings.items()} == {
            ("pay", AGENT): [{"exception": "unused"}]
        }

    def test_more_namespaces_are_more_findings_of_one_group(self, settings: Settings) -> None:
        """What was agreed in one namespace is not agreed in another."""
        findings = found(judged(excepted(PAY), excepted(BOTH), settings))

        assert [*findings] == [("web", AGENT)]
