"""Test requests: each is valid, and violates what it says and nothing else; no field of a control is left out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from posture.admission.controls import BASELINE, CONTROLS, RESTRICTED, Control, Field, Level, Rule
from posture.admission.policy import Space
from posture.admission.pss import LATEST, judged, standard, violations
from posture.admission.requests import NAME_LABEL, NAMESPACES, PODS, Request
from posture.admission.violations import CONTROLS as NUMBERS
from posture.admission.violations import ENFORCE, NEW, OLDER, USERS, VIOLATIONS, Violation
from tests.admission.test_defaults import comparable
from tests.admission.test_pss import FORBIDDEN
from tests.admission.test_server import MERGE, REASONS, Policy, reasons, refusal
from tests.conftest import FIGURE
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, namespace, service_account

PAY = Space.of("pay", {"labels": {"team": "pay"}})
POD_REQUESTS = [one for one in VIOLATIONS if one.resource == PODS and one.operation != "CONNECT"]
OF_PODS = [one for one in POD_REQUESTS if OLDER not in one.control]
OF_OLDER = [one for one in POD_REQUESTS if OLDER in one.control]
"""What only older versions forbid."""
OF_OTHERS = [one for one in VIOLATIONS if one not in POD_REQUESTS]
OVERRIDING = {one.overrides: one.id for one in CONTROLS if one.overrides}
LEVELS = {one.id: one.level for one in CONTROLS}
SECONDS = 30.0


def told(one: Violation) -> list[str]:
    """The controls by which restricted refuses a test request; some take the place of others."""
    return sorted({OVERRIDING.get(control, control) for control in (one.control, *one.implies)})


def named(one: Violation) -> str:
    return one.id


# What they violate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", OF_PODS, ids=named)
def test_a_pod_violates_its_control_and_what_that_implies(one: Violation) -> None:
    """At restricted, in the newest version; and at its own level, without those of the level above."""
    pod = one.request(PAY).object or {}
    assert sorted(found.control for found in violations(pod, RESTRICTED)) == told(one)
    own = LEVELS[one.control]
    expected = {control for control in (one.control, *one.implies) if own == RESTRICTED or LEVELS[control] == BASELINE}
    assert {found.control for found in violations(pod, own)} == expected


NEWEST = max(variant.since for control in CONTROLS for variant in control.variants)
RELAXED = {
    "windows": ("allowPrivilegeEscalation", "capabilities_restricted", "seccompProfile_restricted"),
    **{name: (name,) for name in ("runAsNonRoot", "runAsUser", "seLinuxOptions", "sysctls")},
}
"""The controls that refuse what is relaxed."""


def last(one: Violation) -> int:
    """The last version that refuses a test request."""
    return int(one.control.rpartition("/until-1.")[2])


def since(control: str) -> int:
    return next(found.variants[0].since for found in CONTROLS if found.id == control)


def refusing(one: Violation, level: Level, version: int) -> list[str]:
    """The controls by which a level in a version refuses what a later version relaxes."""
    asked = [control for control in RELAXED[one.control.partition("/")[0]] if level in (RESTRICTED, LEVELS[control])]
    return sorted(control for control in asked if since(control) <= version <= last(one))


@pytest.mark.parametrize("one", OF_OLDER, ids=named)
def test_what_a_version_relaxed_violates_its_control_in_the_versions_before(one: Violation) -> None:
    """In all of these since there is the control, at its level, and nothing in any other version."""
    pod = one.request(PAY).object or {}
    for level in (BASELINE, RESTRICTED):
        for version in (*range(NEWEST + 2), LATEST):
            found = sorted(violation.control for violation in violations(pod, level, version))
            assert found == refusing(one, level, version), (level, version)


def test_every_relaxation_has_a_test_request() -> None:
    """Of all the controls: those that a newer version of a control allows, or no longer asks of every pod."""
    relaxed = {(control.id, newer.since - 1) for control in CONTROLS
               for older, newer in pairwise(control.variants) if older.rule is newer.rule}  # fmt: skip
    known = {(control, last(one)) for one in OF_OLDER for control in RELAXED[one.control.partition("/")[0]]}
    assert relaxed - known == {("procMount", 34)}  # the request of procMount_restricted
    (unmasked, *_) = (one.request(PAY).object or {} for one in OF_PODS if one.control == "procMount_restricted")
    assert [[found.control for found in violations(unmasked, BASELINE, version)] for version in (34, 35)] == [
        ["procMount"], []
    ]  # fmt: skip
    assert known <= relaxed


@pytest.mark.parametrize("one", POD_REQUESTS, ids=named)
def test_without_its_violation_a_pod_violates_nothing_in_any_version(one: Violation) -> None:
    """Neither what is asked for instead, nor the pod that an ephemeral container is added to."""
    assert one.harmless is not None
    assert (one.harmless.operation, one.harmless.subresource) == (one.operation, one.subresource)
    given = [one.harmless.request(PAY).object, one.request(PAY).old or {}]
    for version in (*range(37), LATEST) if one.operation == "CREATE" else (LATEST,):
        assert [violations(pod, RESTRICTED, version) for pod in given if pod] in ([[]], [[], []])


def test_what_only_an_ephemeral_container_violates_was_not_there_before() -> None:
    """It is the update that brings it, and nothing else changes."""
    updates = [one for one in POD_REQUESTS if one.operation == "UPDATE"]
    assert len(updates) == sum("ephemeralContainers." in one.id for one in POD_REQUESTS) > 15
    for one in updates:
        request = one.request(PAY)
        assert request.object is not None
        assert request.old is not None
        spec = {field: value for field, value in request.object["spec"].items() if field != "ephemeralContainers"}
        assert spec == request.old["spec"]
        assert request.subresource == "ephemeralcontainers"


def test_ids_and_controls() -> None:
    """An id begins with its control and is the only one of its name; every violation is of one control."""
    assert len({one.id for one in VIOLATIONS}) == len(VIOLATIONS)
    assert all(one.id.startswith(f"{one.control}:") for one in VIOLATIONS)
    assert sorted(number for numbers in NUMBERS.values() for number in numbers) == [*range(len(VIOLATIONS))]
    assert {one.id for one in CONTROLS} - NUMBERS.keys() == {"procMount"}  # what servers store, baseline allows


# In a namespace -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", VIOLATIONS, ids=named)
def test_a_request_is_of_its_namespace(one: Violation) -> None:
    """And so is its object; what is made in no namespace has none. Nothing else differs between namespaces."""
    name, groups = USERS[0]
    request = one.request(PAY, name, groups)
    assert (request.user, request.groups) == USERS[0]
    assert request.namespace == ("" if one.scope == "cluster" else "pay")
    assert request.object is not None
    meta = request.object.get("metadata", {})
    if request.resource == NAMESPACES:
        assert (request.name, meta["name"], request.namespace_object) == ("pay", "pay", None)
        return
    assert request.namespace_object == (None if one.scope == "cluster" else PAY.object)
    assert meta.get("namespace", request.namespace) == request.namespace
    assert meta.get("name", request.name) == request.name
    other = one.request(Space.of("shop", {})).object or {}
    assert {**other, "metadata": {}} == {**request.object, "metadata": {}}


def test_a_namespace_that_may_come_has_a_name_in_its_requests() -> None:
    """Without one they would be requests in no namespace."""
    space = Space("", {"team": "pay"}, {})
    for one in VIOLATIONS:
        request = one.request(space)
        assert request.namespace == ("" if one.scope == "cluster" else NEW)
        if request.namespace_object:
            assert request.namespace_object["metadata"]["labels"] == {"team": "pay", NAME_LABEL: NEW}


@pytest.mark.parametrize(
    ("before", "there"), [(None, "restricted"), ("baseline", "baseline"), ("privileged", "restricted")]
)
def test_taking_the_label_away_takes_away_a_label_that_enforces(before: str | None, there: str) -> None:
    """A namespace that has none is asked about as if it had the strictest: only then does the request change it."""
    space = Space.of("pay", {"labels": {"a": "b"} | ({ENFORCE: before} if before else {})})
    found = {one.id.rpartition("=")[2]: one.request(space) for one in VIOLATIONS if one.resource == NAMESPACES}
    labels = {said: (labels_of(one.old), labels_of(one.object)) for said, one in found.items()}
    kept = {"a": "b", NAME_LABEL: "pay"}
    assert labels == {
        "unset": ({**kept, ENFORCE: there}, kept),
        "privileged": ({**kept, ENFORCE: there}, {**kept, ENFORCE: "privileged"}),
    }


def labels_of(one: Any) -> Any:
    return one["metadata"]["labels"]


# That nothing is left out -------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A field as a control tells it, without numbers; with `value`, only where it has that value."""

    control: str
    path: str
    value: Any = ...


def without_numbers(path: str) -> str:
    return re.sub(r"\[(\d+|[^\]]*/[^\]]*)\]", "", path)


PLACES = sorted({Place(row.control, without_numbers(row.at or row.path)) for row in FORBIDDEN}, key=repr)
EVERY = ("containers", "initContainers", "ephemeralContainers")
SC = "securityContext"
VALUES = [
    *(Place("capabilities_baseline", f"spec.{kind}.{SC}.capabilities.add", name)
      for kind in EVERY for name in ("NET_RAW", "SYS_ADMIN", "ALL")),
    *(Place("capabilities_restricted", f"spec.{kind}.{SC}.capabilities.drop", value)
      for kind in EVERY for value in (None, ["NET_RAW"])),
    *(Place("allowPrivilegeEscalation", f"spec.{kind}.{SC}.allowPrivilegeEscalation", value)
      for kind in EVERY for value in (None, True)),
    *(Place("runAsNonRoot", f"spec.{kind}.{SC}.runAsNonRoot", value) for kind in EVERY for value in (None, False)),
    *(Place("seccompProfile_restricted", f"spec.{kind}.{SC}.seccompProfile", None) for kind in EVERY),
    *(Place("sysctls", f"spec.{SC}.sysctls.name", name)
      for name in ("kernel.msgmax", "kernel.shmmax", "net.core.somaxconn", "net.ipv4.ip_forward", "fs.mqueue.msg_max")),
]  # fmt: skip
"""Classes of values that policies tell apart at one place."""
NEVER_STORED = {
    ("hostPorts", "spec.ephemeralContainers.ports.hostPort"),
    *(("hostProbesAndHostLifecycle", f"spec.ephemeralContainers.{field}.{handler}.host")
      for field in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")
      for handler in ("httpGet", "tcpSocket")),
    *(("windowsHostProcess", f"spec.{kind}.{SC}.windowsOptions.hostProcess") for kind in EVERY[1:]),  # never alone
    ("appArmorProfile", "metadata.annotations"),  # becomes a field, where its container is
    ("seccompProfile_baseline", "metadata.annotations"),  # read by no kubelet since 1.27
    ("restrictedVolumes", "spec.volumes"),  # becomes an emptyDir
}  # fmt: skip
"""The places that no pod on a server of today violates alone."""


def blind(rule: Rule, place: Place) -> Rule:
    """The rule, had it forgotten a place."""

    def forgetful(pod: Any, allowed: tuple[str, ...]) -> Iterator[Field]:
        for found in rule(pod, allowed):
            if without_numbers(found.path) != place.path or (place.value is not ... and found.value != place.value):
                yield found

    return forgetful


def mutant(place: Place) -> tuple[Control, ...]:
    """The controls, had one forgotten a place."""
    return tuple(
        one._replace(variants=tuple(variant._replace(rule=blind(variant.rule, place)) for variant in one.variants))
        if one.id == place.control
        else one
        for one in CONTROLS
    )


def ids(controls: Iterable[Control], asked: Iterable[tuple[Level, int]]) -> list[list[str]]:
    table = tuple(controls)
    standards = [standard(*one, table) for one in asked]
    return [[found.control for found in judged(pod, one)] for pod in PODS_ASKED for one in standards]


PODS_ASKED = [one.request(PAY).object for one in OF_PODS]
ASKED: list[tuple[Level, int]] = [(BASELINE, 34), (RESTRICTED, 34), (BASELINE, 36), (RESTRICTED, 36)]
TRUE = ids(CONTROLS, ASKED)


@pytest.mark.parametrize("place", [*PLACES, *VALUES], ids=lambda place: ":".join(map(str, place)))
def test_a_control_that_forgets_a_place_is_noticed(place: Place) -> None:
    """Every field, in every kind of container, and every class of value, has a test request of its own."""
    assert (ids(mutant(place), ASKED) != TRUE) == (place[:2] not in NEVER_STORED)


# Against the server -------------------------------------------------------------------------------------------------

FREE, STRICT = Policy(9, "privileged", "latest"), Policy(9, "restricted", "latest")


def pinned(version: int) -> Policy:
    return Policy(9, "restricted", f"v1.{version}")


PINNED = [pinned(version) for version in sorted({last(one) + step for one in OF_OLDER for step in (0, 1)})]


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A server with a namespace that enforces nothing, and some that enforce restricted, in the newest version and in
    older ones.
    """
    for policy in (FREE, STRICT, *PINNED):
        version = {f"{ENFORCE}-version": policy.version} if policy in PINNED else {}
        made = namespace(policy.name, **{ENFORCE: policy.level}, **version)
        control_plane.request("POST", "/api/v1/namespaces", made)
        control_plane.apply([service_account(policy.name, "default")])
    yield control_plane
    for policy in (FREE, STRICT, *PINNED):
        control_plane.request("DELETE", policy.path)


def sent(plane: ControlPlane, request: Request, policy: Policy, number: int) -> Object:
    """The server's answer to a test request about a pod. One that is updated is made first."""
    assert request.object is not None
    path = f"{policy.path}/pods"
    if request.old is None:
        answer: Object = plane.request("POST", f"{path}?dryRun=All", request.object)
        return answer
    name = f"{request.name}-{number}"
    plane.request("POST", path, {**request.old, "metadata": {**request.old["metadata"], "name": name}})
    added = {"spec": {"ephemeralContainers": request.object["spec"]["ephemeralContainers"]}}
    answer = plane.request("PATCH", f"{path}/{name}/ephemeralcontainers?dryRun=All", added, headers=MERGE)
    return {**answer, "metadata": {**answer["metadata"], "name": request.name}}


@pytest.mark.parametrize(("number", "one"), [*enumerate(OF_PODS)], ids=[one.id for one in OF_PODS])
def test_the_server_takes_a_test_request_and_restricted_refuses_it(
    plane: ControlPlane, number: int, one: Violation
) -> None:
    """It is valid and the very pod that the server looks at; restricted names the controls that are expected."""
    request = one.request(Space.of(FREE.name, {}))
    assert comparable(sent(plane, request, FREE, number)) == comparable({**(request.object or {})})
    with refusal() as said:
        sent(plane, one.request(Space.of(STRICT.name, {})), STRICT, number)
    assert reasons("".join(said), STRICT) == sorted(REASONS[control] for control in told(one))


@pytest.mark.parametrize(
    ("number", "one"), [*enumerate(OF_OLDER, len(OF_PODS))], ids=[one.id for one in OF_OLDER]
)  # fmt: skip
def test_the_server_refuses_in_an_older_version_what_it_takes_in_newer_ones(
    plane: ControlPlane, number: int, one: Violation
) -> None:
    """The last version that refuses it names the controls that are expected; the next one and the newest take it."""
    before = pinned(last(one))
    for policy in (pinned(last(one) + 1), STRICT):
        request = one.request(Space.of(policy.name, {}))
        assert comparable(sent(plane, request, policy, number)) == comparable({**(request.object or {})})
    with refusal() as said:
        sent(plane, one.request(Space.of(before.name, {})), before, number)
    assert reasons("".join(said), before) == sorted(REASONS[name] for name in refusing(one, RESTRICTED, last(one)))


HARMLESS = {one.harmless.id: one.harmless for one in POD_REQUESTS if one.harmless}


@pytest.mark.parametrize(("number", "one"), [*enumerate(HARMLESS.values(), len(POD_REQUESTS))], ids=HARMLESS)
def test_restricted_takes_a_pod_without_violation(plane: ControlPlane, number: int, one: Violation) -> None:
    """So what refuses a test request refuses its violation."""
    request = one.request(Space.of(STRICT.name, {}))
    assert comparable(sent(plane, request, STRICT, number)) == comparable({**(request.object or {})})


PATHS = {
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Service": "/api/v1/namespaces/{}/services",
    "TokenRequest": "/api/v1/namespaces/{}/serviceaccounts/default/token",
}
MADE_UP = ("uid", "creationTimestamp", "managedFields", "resourceVersion", "generation")


@pytest.mark.parametrize(
    "one",
    [one for other in OF_OTHERS if other.operation == "CREATE" for one in (other, other.harmless) if one],
    ids=named,
)
def test_the_server_takes_other_objects(plane: ControlPlane, one: Violation) -> None:
    """As they are, but for what only the server knows."""
    request = one.request(Space.of(FREE.name, {}))
    assert request.object is not None
    path = PATHS[request.kind[2]].format(FREE.name)
    answer = plane.request("POST", f"{path}?dryRun=All", request.object)
    for field in (*MADE_UP, *one.hidden):
        answer["metadata"].pop(field, None)
        answer.get("spec", {}).pop(field, None)
        answer.pop(field, None)
    assert answer == request.object


@pytest.mark.parametrize("one", [one for one in OF_OTHERS if one.resource == NAMESPACES], ids=named)
def test_the_server_takes_other_labels(plane: ControlPlane, one: Violation) -> None:
    """The namespace as it is, and as it becomes."""
    request = one.request(Space.of(STRICT.name, {"labels": {ENFORCE: "restricted"}}))
    there = plane.request("GET", STRICT.path)
    labels: dict[str, Any] = {**dict.fromkeys(labels_of(there)), **labels_of(request.object)}
    body = {"metadata": {"labels": labels}}
    answer = plane.request("PATCH", f"{STRICT.path}?dryRun=All", body, headers=MERGE)
    for given, expected in ((there, request.old), (answer, request.object)):
        given["metadata"] = {field: value for field, value in given["metadata"].items() if field not in MADE_UP}
        assert given == expected


QUERIES = {
    "exec": "stdin=true&stdout=true&tty=true&container=app&command=sh",
    "attach": "stdin=true&stdout=true&tty=true&container=app",
}


def literal(value: Any) -> str:
    """A value as CEL writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, list) else f"'{value}'"


@pytest.mark.parametrize("one", [one for one in OF_OTHERS if one.operation == "CONNECT"], ids=named)
def test_the_server_sees_the_same_options_of_a_connection(plane: ControlPlane, one: Violation) -> None:
    """A policy refuses exactly these: once it is heeded, it refuses them; any other connection comes to no node."""
    request = one.request(Space.of(FREE.name, {}))
    assert request.object is not None
    same = " && ".join(f"object.{field} == {literal(value)}" for field, value in request.object.items())
    name, base = f"connect-{request.subresource}", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    rule = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": [f"pods/{request.subresource}"]}  # fmt: skip
    expression = f"!({same} && !has(object.stderr) && request.name == '{request.name}')"
    policy = {"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]}}  # fmt: skip
    bound = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    pod = (VIOLATIONS[0].harmless or VIOLATIONS[0]).request(Space.of(FREE.name, {})).object
    plane.request("POST", f"{FREE.path}/pods", pod)
    try:
        plane.request("POST", f"{base}ies", policy)
        plane.request("POST", f"{base}ybindings", bound)
        path = f"{FREE.path}/pods/{request.name}/{request.subresource}?"
        assert within(lambda: "ValidatingAdmissionPolicy" in connect(plane, path + QUERIES[request.subresource]))
        other = QUERIES[request.subresource].replace("container=app", "container=other")
        assert "ValidatingAdmissionPolicy" not in connect(plane, path + other)
    finally:
        plane.request("DELETE", f"{base}ybindings/{name}")
        plane.request("DELETE", f"{base}ies/{name}")
        plane.request("DELETE", f"{FREE.path}/pods/{request.name}?gracePeriodSeconds=0")


def connect(plane: ControlPlane, path: str) -> str:
    with refusal() as said:
        plane.request("POST", path)
    return "".join(said)


def within(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_how_many_there_are(record_property: Callable[[str, object], None]) -> None:
    """Enough for every field; a figure to compare with."""
    of_pods, older, others = len(OF_PODS), len(OF_OLDER), len(OF_OTHERS)
    assert of_pods > 100
    text = f"{of_pods} of pods, {older} of what older versions forbid, {others} of other kinds"
    record_property(FIGURE, f"test requests: {text}, {len(NUMBERS)} controls")
