"""Pod Security Admission: what each namespace asks, what takes a pod out of it, and when nobody can say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from posture import config
from posture.admission.cel import Missing
from posture.admission.compare import compare
from posture.admission.controls import BASELINE, RESTRICTED, Level
from posture.admission.controls import PRIVILEGED as FREE
from posture.admission.engines.podsecurity import ENFORCE, LEVEL, PIN, VERSION, gaps, judged, policies, variant
from posture.admission.evaluate import evaluate
from posture.admission.policy import NONE, Asked, Policy, Space, Verdict
from posture.admission.pss import LATEST, version_of, violations
from posture.admission.requests import NAMESPACES, PODS, Request, Resource, pod_creation
from posture.admission.sentences import sentence
from posture.errors import FileError
from posture.inputs import Inputs
from posture.kinds import API_SERVER_FLAGS
from posture.model import Key, Snapshot, Through, Version
from tests.admission.changes import GONE, changed
from tests.conftest import FIGURE
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, namespace, snapshot

type Settings = dict[str, Any]
type Labels = dict[str, str]

CAPABILITIES = "spec.containers[0].securityContext.capabilities"
SECCOMP = "spec.securityContext.seccompProfile"
USERNS = (("spec.hostUsers", False), ("spec.securityContext.runAsUser", 0))
PIDS = ("spec.hostPID", True)


def kind_of_pod(*changes: tuple[str, Any]) -> Object:
    """The pod that restricted takes in all versions with some fields set, as one creates it."""
    return changed(("spec.ephemeralContainers", GONE), *changes)


PODS_ASKED = {
    "good": kind_of_pod(),
    "host": kind_of_pod(PIDS),
    "root": kind_of_pod(("spec.securityContext.runAsUser", 0)),
    "no seccomp": kind_of_pod((SECCOMP, GONE)),
    "unconfined": kind_of_pod((SECCOMP, {"type": "Unconfined"})),
    "all kept": kind_of_pod((CAPABILITIES, GONE)),
    "probe": kind_of_pod(("spec.containers[0].livenessProbe", {"tcpSocket": {"host": "10.0.0.1", "port": 80}})),
    "sysctl": kind_of_pod(("spec.securityContext.sysctls", [{"name": "net.ipv4.tcp_rmem", "value": "1 2 3"}])),
    "user namespace": kind_of_pod(*USERNS),
}
"""Each is told apart by some version of some level."""


def labels_of(enforce: str | None = None, version: str | None = None) -> Labels:
    """The labels of a namespace; None is no label."""
    given = {ENFORCE: enforce, VERSION: version}
    return {name: value for name, value in given.items() if value is not None}


def declared(enforce: str = "", version: str = "", **exemptions: list[str]) -> Settings:
    """What posture's configuration says of the file."""
    defaults = {"enforce": enforce, "enforceVersion": version}
    return {"defaults": {name: value for name, value in defaults.items() if value}, "exemptions": exemptions}


def api_server(*flags: str, name: str = "kube-apiserver-a", **fields: Any) -> Object:
    """The static pod of an API server, as kubeadm makes it."""
    container = {"name": "kube-apiserver", "image": "x", "command": ["kube-apiserver", "--v=2", *flags]} | fields
    metadata = {"name": name, "namespace": "kube-system", "labels": {"component": "kube-apiserver"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def cluster(*objects: Object, settings: Settings | None = None, minor: int | None = 36) -> Snapshot:
    """A snapshot, with what is declared of its API server."""
    found = snapshot(objects, version=Version(1, minor) if minor else None)
    return found if settings is None else replace(found, settings={"podSecurity": settings})


def policy_of(*objects: Object, settings: Settings | None = None, minor: int | None = 36) -> Policy:
    """The policy of the level."""
    return next(iter(policies(cluster(*objects, settings=settings, minor=minor))))


def space_of(name: str, labels: Labels) -> Space:
    """A namespace."""
    return Space.of(name, {"labels": labels})


def exemptions_in(policy: Policy, space: Space) -> frozenset[int]:
    """The exemptions that may count in a namespace; none where nothing is asked."""
    found = variant(policy, space)
    return found.exemptions if found else NONE


def why(policy: Policy, labels: Labels) -> str:
    """Why nobody knows what a namespace asks."""
    found = variant(policy, space_of("other", labels))
    return found.why if found else ""


def told(
    policy: Policy, pod: Object, labels: Labels, *, name: str = "n", user: str | None = None,
    exemptions: frozenset[int] | None = None,
) -> Verdict:  # fmt: skip
    """What a pod is told that is created in a namespace; all its exemptions count unless some are named."""
    space = space_of(name, labels)
    counted = exemptions_in(policy, space) if exemptions is None else exemptions
    request = pod_creation(pod, name, space.object, user=user)
    return judged([Asked(policy, request, counted)], Missing())[0]


def refused(policy: Policy, labels: Labels, **more: Any) -> set[str]:
    """The pods that a namespace refuses."""
    return {kind for kind, pod in PODS_ASKED.items() if told(policy, pod, labels, **more).refuses}


BAD = kind_of_pod(PIDS)
BASELINE_36 = {"host", "unconfined", "probe"}
RESTRICTED_36 = BASELINE_36 | {"root", "no seccomp", "all kept"}
RESTRICTED_7 = {"host", "sysctl"}
EXEMPT = declared("restricted", namespaces=["n", "m"], usernames=["alice", "n"], runtimeClasses=["kata"])


# What is asked ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("defaults", "labels", "expected"), [
    (None, labels_of(), set()),
    (None, labels_of("privileged"), set()),
    (None, labels_of("baseline"), BASELINE_36),
    (None, labels_of("restricted"), RESTRICTED_36),
    (None, labels_of(version="v1.7"), set()),
    (declared("baseline"), labels_of(version="v1.7"), {"host", "sysctl"}),
    (declared("baseline"), labels_of(), BASELINE_36),
    (declared("baseline"), labels_of("privileged"), set()),
    (declared("baseline"), labels_of("restricted"), RESTRICTED_36),
    (declared("restricted", "v1.7"), labels_of(), RESTRICTED_7),
    (declared("restricted", "v1.7"), labels_of(version="latest"), RESTRICTED_36),
    (declared(version="v1.7"), labels_of("restricted"), RESTRICTED_7),
    (None, labels_of("Baseline"), RESTRICTED_36),
    (None, labels_of(""), RESTRICTED_36),
    (None, labels_of("restricted", "1.7"), RESTRICTED_36),
    (None, labels_of("restricted", "v1.07"), RESTRICTED_36),
    (None, labels_of("restricted", "v1.99"), RESTRICTED_36),
    (None, labels_of("privileged", "v1.7"), set()),
    (None, labels_of("privileged", "nonsense"), set()),
    (None, {"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/audit": "restricted"}, set()),
])  # fmt: skip
def test_what_labels_make_of_the_defaults(defaults: Settings | None, labels: Labels, expected: set[str]) -> None:
    """No labels: the defaults. A bad level is restricted, a bad version the newest; only `enforce` refuses anything."""
    assert refused(policy_of(settings=defaults), labels) == expected


@pytest.mark.parametrize(("minor", "spared"), [(36, True), (35, True), (34, False), (33, False), (None, True)])
def test_a_version_is_at_most_the_servers(minor: int | None, spared: bool) -> None:
    """Up to 1.34 whoever is root in a user namespace of his own was refused; unknown is the newest."""
    for version in (None, "latest", "v1.36", "v1.99"):
        found = refused(policy_of(minor=minor), labels_of("restricted", version))
        assert ("user namespace" not in found) is spared


@pytest.mark.parametrize(("flag", "minor", "labels", "expected"), [
    ("--emulated-version=1.31", 33, labels_of("baseline"), {"host", "unconfined"}),
    ("--emulated-version=1.31", 34, labels_of("baseline"), {"host", "unconfined", "sysctl"}),
    ("--feature-gates=UserNamespacesPodSecurityStandards=true", 36, labels_of("restricted", "v1.34"),
     RESTRICTED_36 | {"user namespace"}),
])  # fmt: skip
def test_what_older_and_newer_servers_do_not_know(flag: str, minor: int, labels: Labels, expected: set[str]) -> None:
    """1.33 evaluates its own version whatever it emulates; the gate is gone since 1.35."""
    assert refused(policy_of(api_server(flag), minor=minor), labels) == expected


@pytest.mark.parametrize(("flag", "minor", "spared"), [
    ("--emulated-version=1.34", 36, False), ("--emulated-version=kube=1.34", 36, False),
    ("--emulated-version=wardle=1.2,kube=v1.34", 36, False), ("--emulated-version=1.35", 36, True),
    ("--emulated-version=wardle=1.2", 36, True), ("--feature-gates=UserNamespacesPodSecurityStandards=true", 34, True),
    ("--feature-gates=A=true,kube:UserNamespacesPodSecurityStandards=true", 34, True),
    ("--feature-gates=UserNamespacesPodSecurityStandards=false", 34, False),
    ("--feature-gates=UserNamespacesPodSecurityStandards=true", 36, True),
])  # fmt: skip
def test_a_server_may_take_itself_for_another(flag: str, minor: int, spared: bool) -> None:
    """By the version that it emulates, and by the gate that pods in a user namespace had until 1.34."""
    found = policy_of(api_server(flag), minor=minor)
    assert (told(found, PODS_ASKED["user namespace"], labels_of("restricted")).refuses is False) is spared


@pytest.mark.parametrize(("defaults", "name", "labels", "asked"), [
    (None, "n", labels_of(), False), (None, "n", labels_of("privileged"), False),
    (None, "n", labels_of(version="v1.7"), False), (None, "n", labels_of("baseline"), True),
    (declared("baseline"), "n", labels_of("privileged"), True), (declared("baseline"), "n", labels_of(), True),
    (declared("baseline"), "", labels_of(), False),
])  # fmt: skip
def test_where_it_asks_for_anything(defaults: Settings | None, name: str, labels: Labels, asked: bool) -> None:
    """Not where it is privileged by default too, and not of what is made in no namespace."""
    assert (variant(policy_of(settings=defaults), space_of(name, labels)) is not None) is asked


@pytest.mark.parametrize(("defaults", "first", "second", "alike"), [
    (None, labels_of("restricted"), labels_of("Restricted"), True),
    (None, labels_of("restricted", "v1.20"), labels_of("restricted", "v1.21"), True),
    (None, labels_of("restricted", "v1.21"), labels_of("restricted", "v1.22"), False),
    (None, labels_of("restricted"), labels_of("baseline"), False),
    (None, labels_of("baseline"), labels_of("baseline") | {"team": "x"}, True),
    (declared("baseline"), labels_of(), labels_of("baseline", "latest"), True),
    (declared("restricted"), labels_of("privileged"), labels_of("privileged", "v1.99"), True),
    (declared("restricted"), labels_of("privileged"), labels_of("privileged", "v1.34"), False),
])  # fmt: skip
def test_namespaces_of_one_variant(defaults: Settings | None, first: Labels, second: Labels, alike: bool) -> None:
    """Those that ask the same share a variant, so that they are asked once; without their labels too."""
    policy = policy_of(settings=defaults)
    assert (variant(policy, space_of("a", first)) == variant(policy, space_of("b", second))) is alike


@pytest.mark.parametrize(("minor", "settings", "same"), [
    (36, EXEMPT, True), (34, EXEMPT, False), (36, declared("baseline"), False), (36, declared("restricted"), True),
    (36, declared("restricted", "v1.24"), False),
])  # fmt: skip
def test_its_content_is_what_it_asks(minor: int, settings: Settings, same: bool) -> None:
    """The defaults and the server's version; not its exemptions, nor what namespaces say."""
    other = policy_of(namespace("n", **labels_of("baseline")), settings=settings, minor=minor)
    assert (policy_of(settings=EXEMPT).content == other.content) is same


# What takes a pod out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("defaults", "labels", "expected"), [
    (None, labels_of("privileged"), NONE),
    (None, labels_of("baseline"), NONE),
    (None, labels_of("restricted", "v1.7"), {PIN}),
    (None, labels_of("restricted", "v1.34"), NONE),
    (None, labels_of("baseline", "v1.33"), {PIN}),
    (None, labels_of("baseline", "v1.99"), NONE),
    (None, labels_of("baseline", "nonsense"), NONE),
    (None, labels_of("privileged", "v1.7"), NONE),
    (declared("baseline"), labels_of("privileged"), {LEVEL}),
    (declared("baseline"), labels_of("baseline"), NONE),
    (declared("baseline"), labels_of("nonsense"), NONE),
    (declared("baseline"), labels_of("restricted"), NONE),
    (declared("restricted"), labels_of("baseline", "v1.7"), {LEVEL, PIN}),
    (declared("restricted"), labels_of("privileged", "v1.7"), {LEVEL, PIN}),
    (declared("restricted", "v1.7"), labels_of("restricted", "v1.24"), {PIN}),
    (declared("baseline", "v1.20"), labels_of(version="latest"), {PIN}),
    (declared("baseline", "v1.33"), labels_of("baseline", "v1.32"), NONE),
    (declared("baseline", "v1.26"), labels_of("baseline", "v1.27"), {PIN}),
    (declared("restricted", "v1.24"), labels_of("restricted", "v1.25"), {PIN}),
    (declared("restricted", "v1.25"), labels_of("restricted", "v1.26"), NONE),
])  # fmt: skip
def test_labels_that_loosen_are_exemptions(defaults: Settings | None, labels: Labels, expected: set[int]) -> None:
    """A level below the default's; a version that asks less of any pod, be it older or, since some relax, newer."""
    assert exemptions_in(policy_of(settings=defaults), space_of("n", labels)) == expected


@pytest.mark.parametrize(("pod", "exemptions", "expected"), [
    ("host", {LEVEL, PIN}, Verdict(False, excused=frozenset({LEVEL}))),
    ("host", {PIN}, Verdict(True)),
    ("all kept", {LEVEL, PIN}, Verdict(False, excused=frozenset({LEVEL, PIN}))),
    ("all kept", {PIN}, Verdict(False, excused=frozenset({PIN}))),
    ("all kept", {LEVEL}, Verdict(False, excused=frozenset({LEVEL}))),
    ("all kept", set(), Verdict(True)),
    ("good", {LEVEL, PIN}, Verdict(False)),
    ("sysctl", {PIN}, Verdict(True)),
    ("sysctl", {LEVEL}, Verdict(False, excused=frozenset({LEVEL}))),
    ("sysctl", set(), Verdict(True)),
    ("sysctl", {LEVEL, PIN}, Verdict(False, excused=frozenset({LEVEL}))),
])  # fmt: skip
def test_without_its_labels_a_namespace_asks_what_the_defaults_ask(
    pod: str, exemptions: set[int], expected: Verdict
) -> None:
    """Each label that suffices alone took the pod out; what a version asks more than the newest one, no exemption of
    that version took out.
    """
    policy = policy_of(settings=declared("restricted"))
    labels = labels_of("privileged", "v1.20")
    assert told(policy, PODS_ASKED[pod], labels, exemptions=frozenset(exemptions)) == expected


def test_labels_may_only_suffice_together() -> None:
    """Baseline of today refuses the probe and restricted of 1.20 the root's; baseline of 1.20 neither."""
    policy = policy_of(settings=declared("restricted"))
    pod = changed(("spec.ephemeralContainers", GONE), ("spec.securityContext.runAsNonRoot", False),
                  ("spec.containers[0].livenessProbe", {"tcpSocket": {"host": "10.0.0.1", "port": 80}}))  # fmt: skip
    ask = partial(told, policy, pod, labels_of("baseline", "v1.20"))
    assert [ask(exemptions=frozenset(some)).refuses for some in ((), (LEVEL,), (PIN,))] == [True] * 3
    assert ask() == Verdict(False, excused=frozenset({LEVEL, PIN}))


# Versions ----------------------------------------------------------------------------------------------------------


def version_policy(*objects: Object, settings: Settings | None = None, minor: int | None = 36) -> Policy:
    """The policy of the version."""
    _, found = policies(cluster(*objects, settings=settings, minor=minor))
    return found


@pytest.mark.parametrize(("defaults", "minor", "labels", "expected"), [
    (None, 36, labels_of("restricted", "v1.24"), {"sysctl", "user namespace"}),
    (None, 36, labels_of("baseline", "v1.24"), {"sysctl"}),
    (None, 36, labels_of("restricted", "v1.33"), {"user namespace"}),
    (None, 36, labels_of("baseline", "v1.33"), set()),
    (None, 33, labels_of("restricted", "v1.24"), {"sysctl"}),
    (declared("restricted"), 36, labels_of(version="v1.24"), {"sysctl", "user namespace"}),
    (declared("restricted", "v1.31"), 36, labels_of(version="v1.24"), set()),
    (declared("restricted", "v1.24"), 36, labels_of(version="latest"), {"probe"}),
    (declared("restricted", "v1.20"), 36, labels_of("restricted", "v1.24"), {"root", "all kept", "user namespace"}),
    (None, 36, labels_of("restricted", "latest"), None),
    (None, 36, labels_of("restricted", "v1.99"), None),
    (None, 36, labels_of("restricted"), None),
    (None, 36, labels_of("privileged", "v1.24"), None),
    (None, 36, labels_of(version="v1.24"), None),
    (declared("restricted", "v1.24"), 36, labels_of(), None),
])  # fmt: skip
def test_what_a_version_asks_beyond_that_of_the_defaults(
    defaults: Settings | None, minor: int, labels: Labels, expected: set[str] | None
) -> None:
    """It is a policy of its own, and what one edits is the label; None where it asks no more of any pod."""
    policy = version_policy(settings=defaults, minor=minor)
    assert policy.through_in("pay") == Through("Label", "pay", VERSION)
    assert (variant(policy, space_of("n", labels)) is None) is (expected is None)
    assert refused(policy, labels) == (expected or set())


@pytest.mark.parametrize("defaults", [
    None, declared("baseline"), declared("restricted"), declared("restricted", "v1.7"), declared("restricted", "v1.24"),
    declared("baseline", "v1.31"),
])  # fmt: skip
def test_both_policies_together_ask_what_the_namespace_asks(defaults: Settings | None) -> None:
    """Each label with each: what it says, else what the defaults say; more exemptions never refuse more."""
    both = [policy_of(settings=defaults), version_policy(settings=defaults)]
    given = (defaults or {}).get("defaults", {})
    for labels in SPACES.values():
        said = labels.get(ENFORCE, given.get("enforce", "privileged"))
        level: Level = next((one for one in (FREE, BASELINE) if one == said), RESTRICTED)
        version = version_of(labels.get(VERSION, given.get("enforceVersion", "latest")))
        asked = (level, LATEST if version is None else version)
        real = {kind for kind, pod in PODS_ASKED.items() if violations(pod_creation(pod, "n").object or {}, *asked)}
        meant = [one for one in both if variant(one, space_of("n", labels)) is not None]
        assert {kind for one in meant for kind in refused(one, labels)} == real, labels
        for one in meant:
            own = exemptions_in(one, space_of("n", labels))
            some = [frozenset(chosen) for chosen in (NONE, *({number} for number in own), own)]
            found = {chosen: refused(one, labels, exemptions=chosen) for chosen in some}
            assert all(found[more] <= found[less] for less in some for more in some if less <= more), labels


def test_a_version_exempts_whom_the_file_exempts() -> None:
    """Its policy has the same exemptions."""
    policy, labels = version_policy(settings=EXEMPT), labels_of("restricted", "v1.24")
    found = told(policy, PODS_ASKED["sysctl"], labels, name="other", user="alice")
    assert [policy.exemptions[number].through.name for number in found.excused] == ["exemptions.usernames/alice"]
    assert told(policy, PODS_ASKED["sysctl"], labels, name="other").refuses


def test_what_nobody_knows_the_version_beyond_is_one_policy() -> None:
    """A file that is not declared may ask anything; a server without the plugin asks nothing."""
    for flag in ("--admission-control-config-file=/x", "--disable-admission-plugins=PodSecurity"):
        assert len([*policies(cluster(api_server(flag)))]) == 1


UNTIL_34 = {"sysctls/until-1.26", "sysctls/until-1.28", "sysctls/until-1.31", "seLinuxOptions/until-1.30",
            "windows/until-1.24", "runAsNonRoot/until-1.34", "runAsUser/until-1.34"}  # fmt: skip
PROBES = {"hostProbesAndHostLifecycle"}


@pytest.mark.parametrize(("before", "after", "loosened", "tightened"), [
    (labels_of("restricted", "v1.24"), labels_of("restricted", "latest"), UNTIL_34, PROBES),
    (labels_of("restricted", "v1.24"), labels_of("restricted"), UNTIL_34, PROBES),
    (labels_of("restricted"), labels_of("restricted", "v1.24"), PROBES, UNTIL_34),
    (labels_of("restricted", "v1.27"), labels_of("restricted", "v1.30"), {"sysctls/until-1.28"}, set()),
    (labels_of("baseline", "v1.24"), labels_of("baseline", "v1.33"),
     {"sysctls/until-1.26", "sysctls/until-1.28", "sysctls/until-1.31", "seLinuxOptions/until-1.30"}, set()),
    (labels_of("baseline", "v1.34"), labels_of("baseline", "v1.35"), {"procMount_restricted"}, set()),
    (labels_of("restricted", "v1.24"), labels_of("restricted", "v1.24") | {"team": "x"}, set(), set()),
    (labels_of("restricted", "v1.35"), labels_of("restricted", "latest"), set(), set()),
])  # fmt: skip
def test_another_version_is_told_by_what_it_asks_more_and_less(
    before: Labels, after: Labels, loosened: set[str], tightened: set[str]
) -> None:
    """As drift of the label that says the version, and of no other."""
    old, new = (evaluate(cluster(namespace("pay", **labels))) for labels in (before, after))
    found = compare(old, new)
    assert {one.through for one in found.changes} <= {Through("Label", "pay", VERSION)}
    gained = {unit["control"] for one in found.changes for unit in one.gained if "violation" in unit}
    lost = {unit["control"] for one in found.changes for unit in one.lost if "violation" in unit}
    assert (gained, lost, found.unknown) == (loosened, tightened, ())


def test_without_its_level_a_namespace_loses_all_of_it_by_that_label() -> None:
    """What its version asked beyond the newest is not told of the version, which is still there."""
    spaces = (namespace("pay", **labels_of(level, "v1.24")) for level in ("restricted", None))
    old, new = (evaluate(cluster(space)) for space in spaces)
    (change,) = (one for one in compare(old, new).changes if one.direction == "loosened")
    assert change.through == Through("Label", "pay", ENFORCE)
    assert {unit["control"] for unit in change.gained} > UNTIL_34


@pytest.mark.parametrize(("after", "said"), [
    (labels_of("restricted", "v1.27"), "pods with sysctls that are safe since 1.27 and Windows pods"),
    (labels_of("baseline", "v1.30"), "pods that run as root, pods that may gain privileges and 4 more kinds of pods"),
])  # fmt: skip
def test_what_was_relaxed_is_said_where_there_is_nothing_else(after: Labels, said: str) -> None:
    """Beside what every version forbids it would only distract."""
    old, new = (evaluate(cluster(namespace("pay", **one))) for one in (labels_of("restricted", "v1.24"), after))
    every = [sentence(one, None, new) for one in compare(old, new).changes if one.direction == "loosened"]
    assert any(one.startswith(f"Namespace pay now admits {said}") for one in every)


def test_a_newer_server_admits_what_it_relaxed() -> None:
    """Where no version is pinned: what one would edit is the namespace's level."""
    old, new = (evaluate(cluster(namespace("pay", **labels_of("restricted")), minor=minor)) for minor in (34, 36))
    (change,) = compare(old, new).changes
    assert (change.direction, change.through) == ("loosened", Through("Label", "pay", ENFORCE))
    assert {unit["control"] for unit in change.gained} == {"runAsNonRoot/until-1.34", "runAsUser/until-1.34"}


# What the file exempts ----------------------------------------------------------------------------------------------


FIRST = {"namespaces/n": 2, "namespaces/m": 3, "usernames/alice": 4, "usernames/n": 5, "runtimeClasses/kata": 6}


@pytest.mark.parametrize(("name", "user", "runtime", "expected"), [
    ("n", None, None, ["namespaces/n"]),
    ("n", "alice", "kata", ["namespaces/n", "usernames/alice", "runtimeClasses/kata"]),
    ("other", "alice", None, ["usernames/alice"]),
    ("other", "Alice", None, None),
    ("other", "group:alice", None, None),
    ("other", None, None, None),
    ("alice", None, None, None),
    ("other", None, "kata", ["runtimeClasses/kata"]),
    ("other", None, "kata2", None),
    ("other", None, "n", None),
    ("nn", "kata", "", None),
])  # fmt: skip
def test_the_file_exempts_exact_names(name: str, user: str | None, runtime: str | None, expected: Any) -> None:
    """Namespaces, users and runtime classes; whoever is nobody in particular is not exempt."""
    policy = policy_of(settings=EXEMPT)
    assert policy.users
    pod = kind_of_pod(PIDS, ("spec.runtimeClassName", runtime))
    found = told(policy, pod, {}, name=name, user=user)
    throughs = {f"exemptions.{one}" for one in expected or ()}
    assert found.refuses is (expected is None)
    assert {policy.exemptions[number].through for number in found.excused} == {
        Through("PodSecurityConfiguration", "", one) for one in throughs
    }
    assert told(policy, pod, {}, name=name, user=user, exemptions=NONE) == Verdict(True)


def test_all_that_suffice_take_a_pod_out() -> None:
    """A namespace that the file exempts and whose label lowers the level."""
    found = told(policy_of(settings=EXEMPT), BAD, labels_of("privileged"), name="n")
    assert found == Verdict(False, excused=frozenset({LEVEL, 2}))


def test_exemptions_count_where_they_may() -> None:
    """Users and runtime classes are exempt in every namespace, a namespace only in itself."""
    policy = policy_of(settings=EXEMPT)
    assert {str(one.through): number for number, one in enumerate(policy.exemptions[2:], 2)} == {
        f"PodSecurityConfiguration/exemptions.{name}": number for name, number in FIRST.items()
    }
    assert [exemptions_in(policy, space_of(name, {})) for name in ("n", "m", "x")] == [
        {2, 4, 5, 6}, {3, 4, 5, 6}, {4, 5, 6},
    ]  # fmt: skip


def test_what_one_edits_is_the_namespace() -> None:
    """The policy and its own exemptions are labels of namespaces."""
    policy = policy_of()
    assert policy.through_in("pay") == Through("Label", "pay", ENFORCE)
    assert policy.exemptions[PIN].through_in("pay") == Through("Label", "pay", VERSION)
    assert not policy.users


# Which requests -----------------------------------------------------------------------------------------------------

DEPLOYMENTS = Resource("apps", "v1", "deployments")


@pytest.mark.parametrize(("operation", "resource", "subresource", "pod", "old", "expected"), [
    ("CREATE", PODS, "", BAD, None, True),
    ("UPDATE", PODS, "", BAD, BAD, False),
    ("UPDATE", PODS, "", BAD, kind_of_pod(PIDS, ("spec.containers[0].image", "z")), True),
    ("UPDATE", PODS, "", BAD, kind_of_pod(PIDS, ("spec.initContainers[0].image", "z")), True),
    ("UPDATE", PODS, "", BAD, kind_of_pod(PIDS, ("metadata.labels", {})), False),
    ("UPDATE", PODS, "resize", BAD, kind_of_pod(PIDS, ("spec.containers[0].resources", {"limits": {}})), False),
    ("UPDATE", PODS, "ephemeralcontainers", changed(PIDS), BAD, True),
    ("UPDATE", PODS, "ephemeralcontainers", changed(PIDS), changed(PIDS), False),
    ("UPDATE", PODS, "ephemeralcontainers", changed(PIDS, ("spec.ephemeralContainers[0].image", "z")), changed(PIDS),
     True),
    ("UPDATE", PODS, "ephemeralcontainers", BAD, changed(PIDS), False),
    ("UPDATE", PODS, "ephemeralcontainers", changed(), kind_of_pod(), False),
    ("UPDATE", PODS, "status", BAD, kind_of_pod(("spec.containers[0].image", "z")), False),
    ("CREATE", PODS, "binding", BAD, None, False),
    ("CREATE", PODS, "eviction", BAD, None, False),
    ("CONNECT", PODS, "exec", BAD, None, False),
    ("DELETE", PODS, "", None, BAD, False),
    ("CREATE", DEPLOYMENTS, "", {"spec": {"template": BAD}}, None, False),
    ("CREATE", NAMESPACES, "", {"metadata": {"name": "n", "labels": labels_of("privileged")}}, None, False),
    ("CREATE", Resource("metrics.k8s.io", "v1", "pods"), "", BAD, None, False),
    ("UPDATE", PODS, "", BAD, None, None),
    ("CREATE", PODS, "", None, None, None),
])  # fmt: skip
def test_only_pods_that_come_or_whose_containers_change_are_refused(
    operation: Any, resource: Resource, subresource: str, pod: Any, old: Any, expected: bool | None
) -> None:
    """Not what makes pods, and no update that leaves the images as they are."""
    holder = space_of("n", labels_of("baseline")).object
    request = Request(operation, resource, subresource, "n", "p", pod, old, namespace_object=holder)
    assert judged([Asked(policy_of(), request)], Missing())[0].refuses is expected


def test_a_namespace_that_is_not_known_asks_nobody_knows_what() -> None:
    """Even where the defaults are known: it may have labels."""
    request = pod_creation(BAD, "n")
    assert judged([Asked(policy_of(), request)], Missing()) == [Verdict(None, "namespace n is not known")]


@pytest.mark.parametrize("value", [None, 1, True, "x", [], {}, [None], [1], {"a": 1}])
def test_nothing_raises_whatever_a_folder_holds(value: Any) -> None:
    """Labels, pods, flags and settings of any shape are answered."""
    found = snapshot([namespace("n")])
    found = replace(found, settings={"podSecurity": {"defaults": value, "exemptions": value}})
    policy, *_ = policies(replace(found, settings={"podSecurity": {"exemptions": {"usernames": value}}}))
    assert [*policies(replace(found, settings={"podSecurity": value}))]
    assert [*gaps(found)] == []
    space = Space("n", {ENFORCE: value, VERSION: value}, {})
    counted = exemptions_in(policy, space)
    fields = ("containers", "ephemeralContainers", "runtimeClassName", "hostUsers")
    for pod in ({"spec": value}, *(changed((f"spec.{field}", value)) for field in fields)):
        old = changed(("spec.ephemeralContainers[0].name", value), ("spec.containers[0].image", value))
        for request in (
            Request("CREATE", PODS, "", "n", "p", pod, None, "u", (), space.object),
            Request("UPDATE", PODS, "ephemeralcontainers", "n", "p", pod, old, "u", (), space.object),
            Request("UPDATE", PODS, "ephemeralcontainers", "n", "p", old, pod, "u", (), space.object),
        ):
            assert judged([Asked(policy, request, counted)], Missing())[0].refuses in (True, False)
    container = {"command": value, "args": value}
    assert [*policies(snapshot([api_server(**container)]))]


# What the API server's flags say ------------------------------------------------------------------------------------

FILE = "--admission-control-config-file=/etc/kubernetes/admission.yaml"
OFF = "--disable-admission-plugins=PodSecurity,NamespaceLifecycle"


@pytest.mark.parametrize(("servers", "denies", "enforces"), [
    ([], True, True),
    ([api_server()], True, True),
    ([api_server("--disable-admission-plugins=PodSecurityPolicy")], True, True),
    ([api_server("--enable-admission-plugins=NodeRestriction")], True, True),
    ([api_server(OFF)], False, False),
    ([api_server("--disable-admission-plugins", "PodSecurity")], False, False),
    ([api_server("--disable-admission-plugins=A", "--disable-admission-plugins=PodSecurity")], False, False),
    ([api_server("--disable-admission-plugins=PodSecurity", "--disable-admission-plugins=A")], False, False),
    ([api_server("--admission-control=NamespaceLifecycle")], False, False),
    ([api_server("--admission-control=PodSecurity,NamespaceLifecycle")], True, True),
    ([api_server("--admission-control=")], True, True),
    ([api_server(command=["sh", "-c", f"exec kube-apiserver {OFF} 2>&1"])], False, False),
    ([api_server(command=None, args=[OFF])], False, False),
    ([api_server(OFF), api_server(name="b")], True, None),
    ([api_server(OFF), api_server(OFF, name="b")], False, False),
])  # fmt: skip
def test_a_server_may_run_without_the_plugin(servers: list[Object], denies: bool, enforces: bool | None) -> None:
    """Some of several servers without it: nobody can say which of them a request meets."""
    policy = policy_of(*servers)
    assert (policy.denies, policy.enforces) == (denies, enforces)
    assert bool(policy.why) is not (enforces is True)
    assert refused(policy, labels_of("baseline")) == BASELINE_36


@pytest.mark.parametrize(("flags", "enforces", "reasons"), [
    ({}, True, []),
    ({"admission-control-config-file": "", "disable-admission-plugins": "[]", "admission-control": "[]"}, True, []),
    ({"disable-admission-plugins": "[PodSecurity,ServiceAccount]"}, False, []),
    ({"admission-control-config-file": "/a.yaml", "disable-admission-plugins": "[]"}, True, ["not collected"]),
])  # fmt: skip
def test_a_server_may_serve_its_flags(flags: Labels, enforces: bool, reasons: list[str]) -> None:
    """As 1.36 writes them at /flagz."""
    found = cluster().replaced((Key(API_SERVER_FLAGS, "", name), {"value": flag}) for name, flag in flags.items())
    policy, *_ = policies(found)
    assert policy.enforces is enforces
    assert [gap.reason for gap in gaps(found)] == reasons


@pytest.mark.parametrize(("flags", "minor", "spared"), [
    ({"emulated-version": "[1.34]"}, 36, False), ({"emulated-version": "[1.36]"}, 36, True),
    ({"feature-gates": ":AllAlpha=false,:UserNamespacesPodSecurityStandards=true"}, 34, True),
    ({"feature-gates": ":AllAlpha=false,:UserNamespacesSupport=true"}, 34, False),
])  # fmt: skip
def test_served_flags_may_take_it_for_another(flags: Labels, minor: int, spared: bool) -> None:
    """Written as 1.36 does."""
    found = cluster(minor=minor)
    policy, *_ = policies(found.replaced((Key(API_SERVER_FLAGS, "", n), {"value": flag}) for n, flag in flags.items()))
    assert (told(policy, PODS_ASKED["user namespace"], labels_of("restricted")).refuses is False) is spared


def test_only_an_api_servers_own_pod_says_its_flags() -> None:
    """A pod of that label elsewhere, or another in kube-system, says nothing."""
    elsewhere, other = api_server(OFF), api_server(OFF, name="x")
    elsewhere["metadata"]["namespace"] = "pay"
    other["metadata"]["labels"] = {"component": "etcd"}
    assert policy_of(elsewhere, other).enforces is True


@pytest.mark.parametrize(("flags", "settings", "reasons"), [
    (None, None, []), (None, EXEMPT, []), ([], None, []), ([FILE], EXEMPT, []), ([FILE], {}, []),
    ([FILE], None, ["not collected"]), ([], EXEMPT, ["not collected"]),
    (["--admission-control-config-file="], None, []),
])  # fmt: skip
def test_a_file_that_no_api_shows_is_a_gap_until_it_is_declared(
    flags: list[str] | None, settings: Settings | None, reasons: list[str]
) -> None:
    """So is a declaration of a file that the server does not have, where its flags can be read."""
    servers = [] if flags is None else [api_server(*flags)]
    found = [*gaps(cluster(*servers, settings=settings))]
    assert [gap.reason for gap in found] == reasons
    assert all("--admission-control-config-file" in gap.message and "podSecurity" in gap.message for gap in found)


@pytest.mark.parametrize(("flags", "settings"), [([FILE], None), ([], EXEMPT)])
def test_what_depends_on_such_a_file_is_unknown(flags: list[str], settings: Settings | None) -> None:
    """A namespace's own labels are known all the same, and so is what every version asks."""
    policy = policy_of(api_server(*flags), settings=settings)
    ask = partial(told, policy, name="other")
    assert why(policy, {})
    assert why(policy, labels_of(version="v1.20"))
    assert ask(BAD, {}).refuses is None
    assert ask(BAD, {}).why
    assert not why(policy, labels_of("baseline"))
    assert ask(BAD, labels_of("baseline")) == Verdict(True)
    assert ask(PODS_ASKED["good"], labels_of("restricted")) == Verdict(False)
    assert ask(PODS_ASKED["all kept"], labels_of("restricted")).refuses is None
    assert ask(PODS_ASKED["all kept"], labels_of("restricted", "v1.21")) == Verdict(False)
    assert ask(PODS_ASKED["all kept"], labels_of("restricted", "v1.22")) == Verdict(True)
    assert ask(BAD, labels_of("privileged")) == Verdict(False)
    if settings:
        assert ask(BAD, labels_of("baseline"), user="alice").refuses is None


# The configuration --------------------------------------------------------------------------------------------------


def test_the_file_is_declared_in_the_configuration(tmp_path: Path) -> None:
    """As it is written; two declarations are judged with apart."""
    path, said = tmp_path / "config.yaml", declared("baseline", "v1.30", namespaces=["kube-system"])
    path.write_text(json.dumps({"podSecurity": said}), encoding="utf-8")
    given = Inputs(config.load(path))
    assert given.settings["podSecurity"] == said
    path.write_text("{}", encoding="utf-8")
    nothing = Inputs(config.load(path))
    assert "podSecurity" not in nothing.settings
    path.write_text("podSecurity: {}", encoding="utf-8")
    builtin = Inputs(config.load(path))
    assert builtin.settings["podSecurity"] == {}
    assert len({given.digest, nothing.digest, builtin.digest}) == 3


@pytest.mark.parametrize("written", [
    "defaults: {enforce: Baseline}", "defaults: {enforce-version: v1.30}", "defaults: {enforceVersion: '1.30'}",
    "defaults: {enforceVersion: v1.030}", "exemptions: {users: [a]}", "exemptions: {namespaces: kube-system}",
    "exemptions: {usernames: ['']}", "namespaces: [a]",
])  # fmt: skip
def test_what_the_server_would_not_take_is_refused(tmp_path: Path, written: str) -> None:
    """With the file and the line."""
    path = tmp_path / "config.yaml"
    path.write_text(f"\npodSecurity:\n  {written}\n", encoding="utf-8")
    with pytest.raises(FileError, match=r"config.yaml:3: podSecurity"):
        config.load(path)


# The real one -------------------------------------------------------------------------------------------------------

MERGE = {"Content-Type": "application/merge-patch+json"}
LEVELS = (None, "privileged", "baseline", "restricted", "Baseline", "")
VERSIONS = (None, "latest", "v1.7", "v1.20", "v1.24", "v1.33", "v1.99", "1.24", "v1.024")
SPACES = {f"n{number}": labels_of(*one) for number, one in enumerate((a, b) for a in LEVELS for b in VERSIONS)}
"""Each level with each version, valid or not."""
STORED = {"quiet": kind_of_pod(), "loud": kind_of_pod(PIDS)}
PRIVILEGED = {"name": "e", "image": "x", "securityContext": {"privileged": True}}
EPHEMERAL = "/ephemeralcontainers"
UPDATES: tuple[tuple[str, Object], ...] = (
    ("", {"metadata": {"labels": {"app": "z"}}}),
    ("", {"spec": {"containers": [{"name": "a", "image": "z"}]}}),
    (EPHEMERAL, {"spec": {"ephemeralContainers": [{"name": "e", "image": "x"}]}}),
    (EPHEMERAL, {"spec": {"ephemeralContainers": [PRIVILEGED]}}),
)
WITHOUT = "--disable-admission-plugins=ServiceAccount"
"""The plugin that refuses pods as long as no controller has made an account."""


class Configured(NamedTuple):
    """An API server: what its file holds, where it has one, and its other flags."""

    settings: Settings | None = None
    flags: tuple[str, ...] = ()

    def written(self, folder: Path) -> list[str]:
        """The flags, with the file that they name."""
        if self.settings is None:
            return [WITHOUT, *self.flags]
        given = {"enforce-version" if name == "enforceVersion" else name: value
                 for name, value in self.settings["defaults"].items()}  # fmt: skip
        podsecurity_configuration = {
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": given, "exemptions": self.settings["exemptions"],
        }  # fmt: skip
        plugins = [{"name": "PodSecurity", "configuration": podsecurity_configuration}]
        path = folder / "admission.json"
        path.write_text(json.dumps(
            {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
        ), encoding="utf-8")  # fmt: skip
        return [WITHOUT, f"--admission-control-config-file={path}", *self.flags]


LOOSE, STRICT = [name for name, labels in SPACES.items() if labels in (labels_of(), labels_of("restricted"))]
CONFIGURED = {
    "built-in": Configured(),
    "baseline": Configured(
        declared("baseline", "v1.30", namespaces=[STRICT, "later"], usernames=["alice"], runtimeClasses=["kata"])
    ),
    "restricted": Configured(
        declared("restricted", namespaces=[LOOSE], usernames=["bob", "system:serviceaccount:a:b"])
    ),
    "emulated": Configured(declared("restricted", "v1.99"), ("--emulated-version=1.34",)),
    "gate": Configured(None, ("--feature-gates=UserNamespacesPodSecurityStandards=true",)),
}


class Question(NamedTuple):
    """A request as it is sent, and as the engine is asked."""

    method: str
    path: str
    body: Object
    request: Request


def creations(spaces: Spaces, users: Sequence[str | None]) -> Iterator[Question]:
    """Each pod in each namespace, by each user, and one of a runtime class."""
    kata = kind_of_pod(PIDS, ("spec.runtimeClassName", "kata"))
    for name, labels in spaces.items():
        for pod, user in [*product(PODS_ASKED.values(), users), (kata, None)]:
            request = pod_creation(pod, name, space_of(name, labels).object, user=user)
            body = {"apiVersion": "v1", "kind": "Pod", **pod}
            yield Question("POST", f"/api/v1/namespaces/{name}/pods?dryRun=All", body, request)


def updates(plane: ControlPlane, spaces: Spaces) -> list[Question]:
    """Updates of stored pods, as the server makes them while the plugin is off."""
    found = []
    for name, labels in spaces.items():
        for pod in STORED:
            path = f"/api/v1/namespaces/{name}/pods/{pod}"
            old = plane.request("GET", path)
            for subresource, patch in UPDATES:
                body = patch
                if "containers" in patch.get("spec", {}):  # a merge replaces lists
                    body = {"spec": {"containers": [{**old["spec"]["containers"][0], "image": "z"}]}}
                sent = f"{path}{subresource}?dryRun=All"
                new = plane.request("PATCH", sent, body, headers=MERGE)
                holder = space_of(name, labels).object
                request = Request("UPDATE", PODS, subresource[1:], name, pod, new, old, namespace_object=holder)
                found.append(Question("PATCH", sent, body, request))
    return found


def prepared(plane: ControlPlane, spaces: Spaces) -> None:
    """Store what no server with the plugin would: namespaces with bad labels, and pods that they refuse."""
    handler = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata"}, "handler": "kata"}
    plane.request("POST", "/apis/node.k8s.io/v1/runtimeclasses", handler)
    for name, labels in spaces.items():
        plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        for pod, body in STORED.items():
            named = {**body, "metadata": {"name": pod}}
            plane.request("POST", f"/api/v1/namespaces/{name}/pods", {"apiVersion": "v1", "kind": "Pod", **named})


def refusal(plane: ControlPlane, question: Question) -> str:
    """What Pod Security has against a request; empty if nothing."""
    headers = dict(MERGE) if question.method == "PATCH" else {}
    if question.request.user:
        headers |= {"Impersonate-User": question.request.user, "Impersonate-Group": "system:masters"}
    try:
        plane.request(question.method, question.path, question.body, headers=headers)
    except RefusedError as error:
        message = str(error.body["message"])
        assert "violates PodSecurity" in message, message  # else the request is not valid
        return message
    return ""


def differences(plane: ControlPlane, policy: Policy, spaces: Spaces, questions: Sequence[Question]) -> tuple[int, int]:
    """Ask both all of it: how many requests were refused, how many needed an exemption."""
    variants = {name: variant(policy, space_of(name, labels)) for name, labels in spaces.items()}
    counted = [variants[one.request.namespace] for one in questions]
    asked = [Asked(policy, one.request, there.exemptions if there else NONE)
             for one, there in zip(questions, counted, strict=True)]  # fmt: skip
    verdicts = judged(asked, Missing())
    answers: dict[tuple[Any, ...], bool] = {}
    number = excused = 0
    for one, there, verdict in zip(questions, counted, verdicts, strict=True):
        said = refusal(plane, one)
        assert verdict.refuses is bool(said), (one, said)
        request = one.request
        what = (request.operation, request.subresource, request.name, json.dumps(one.body), request.user)
        assert answers.setdefault((there, *what), bool(said)) is bool(said)  # equal variants answer alike
        number += bool(said)
        excused += bool(verdict.excused)
    return number, excused


type Spaces = dict[str, Labels]
type Record = Callable[[str, object], None]


@pytest.mark.parametrize(("minor", "number", "which"), [
    (36, 200, ("baseline", "emulated")),
    pytest.param(36, 2000, ("built-in", "baseline", "restricted", "emulated"), marks=pytest.mark.prove),
    pytest.param(34, 2000, ("built-in", "gate", "restricted"), marks=pytest.mark.prove),
])  # fmt: skip
def test_the_server_says_the_same(
    minor: int, number: int, which: tuple[str, ...], tmp_path: Path, record_property: Record
) -> None:
    """Every level with every version, good and bad, under defaults and exemptions from a file: the same verdict."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    random, off = Random(seed), f"{WITHOUT},PodSecurity"
    asked = refusals = excused = 0
    chosen = SPACES if number > 1000 else {LOOSE, STRICT, *random.sample(sorted(SPACES), 14)}
    spaces = {name: SPACES[name] for name in SPACES if name in chosen}
    with ControlPlane(f"1.{minor}", controllers=(), apiserver_flags=[off]) as plane:
        prepared(plane, spaces)
        changes = updates(plane, spaces)
        assert not policy_of(api_server(off), minor=minor).denies
        for configured in map(CONFIGURED.__getitem__, which):
            flags = configured.written(tmp_path)
            plane.restart_apiserver(flags)
            policy = policy_of(api_server(*flags), settings=configured.settings, minor=minor)
            users = (configured.settings or {}).get("exemptions", {}).get("usernames", ())
            every = [*creations(spaces, [None, *users]), *changes]
            questions = random.sample(every, min(number, len(every)))
            refused_here, excused_here = differences(plane, policy, spaces, questions)
            asked, refusals, excused = asked + len(questions), refusals + refused_here, excused + excused_here
    assert asked > refusals > asked // 6
    assert excused > asked // 10
    figure = f"pod security admission: {len(spaces)} namespaces, {len(which)} configurations of a server of 1.{minor}, "
    figure += f"{asked:,} requests, {refusals:,} refused, {excused:,} exempt, 0 differences (POSTURE_SEED={seed})"
    record_property(FIGURE, figure)


def test_a_dry_run_tells_that_a_namespace_is_exempt(tmp_path: Path) -> None:
    """The creation of a namespace, tried with a level that asks for anything, warns where its name is exempt.

    Measured on 1.36: so it does, also of one that is there already (the warning comes with 409 AlreadyExists) and of
    one that is not; for a name that is not exempt it does not. An update that raises the level warns as well. So one
    request for each namespace, none of which is stored, finds what the file exempts; users and runtime classes it
    does not find.
    """

    def warned(plane: ControlPlane, name: str, *command: str, **labels: str) -> bool:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        done: subprocess.CompletedProcess[str] = plane.kubectl(
            *command, "--dry-run=server", "-f", "-", input=json.dumps(body), check=False
        )
        assert done.returncode == 0 or "AlreadyExists" in done.stderr, done.stderr
        return f'namespace "{name}" is exempt from Pod Security' in done.stderr

    flags = Configured(declared("baseline", namespaces=["there", "later"])).written(tmp_path)
    raised, default = labels_of("restricted"), labels_of("privileged")
    with ControlPlane(controllers=(), apiserver_flags=flags) as plane:
        for name in ("there", "other"):
            plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert warned(plane, "there", "create", **raised)
        assert warned(plane, "later", "create", **raised)
        assert not warned(plane, "other", "create", **raised)
        assert not warned(plane, "there", "create", **default)
        assert warned(plane, "there", "apply", **raised)
        assert not warned(plane, "other", "apply", **raised)
