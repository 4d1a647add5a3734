"""Steps with their effect, where the API server alone shows it: in a namespace that enforces Pod Security restricted.

Each is taken by identities that hold one permission each, and what follows is asked for by somebody who holds less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest

from posture.kinds import ADMISSION
from tests.controlplane.build import NEWEST
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, guarded, metadata, rule
from tests.graph.proving import Planes, Proving, proving
from tests.graph.step_objects import (
    ENFORCE,
    PRIVILEGED,
    REGISTRATION,
    STRATEGIC,
    UNLABELLED,
    ask,
    claim,
    clear,
    config_map,
    configuration,
    pod,
)
from tests.rbac.accounts import DRY, NS, Grant, everywhere
from tests.rbac.requests import Asked, sent, status

GUARDED = "proof-guarded"
INSIDE = f"/api/v1/namespaces/{GUARDED}"
PODS, MAPS = f"POST {INSIDE}/pods?{DRY}", f"POST {INSIDE}/configmaps?{DRY}"
CLAIMS = f"/apis/resource.k8s.io/v1/namespaces/{GUARDED}/resourceclaims"
OK, CREATED, FORBIDDEN = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.FORBIDDEN
SECONDS = 20.0
RESTRICTED: Object = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
ADMIN_ACCESS = "resource.kubernetes.io/admin-access"
NAMED = {"names": [GUARDED]}
KINDS = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies",
         "validatingadmissionpolicybindings", "validatingwebhookconfigurations")  # fmt: skip
IDENTITIES: dict[str, tuple[Grant, ...]] = {
    "runs-pods": everywhere(rule("create", "pods")),
    "debugs-pods": everywhere(rule("patch", "pods/ephemeralcontainers")),
    "claims-devices": everywhere(rule("create", "resourceclaims", "resource.k8s.io")),
    "writes-maps": everywhere(rule("create", "configmaps")),
    "creates-namespaces": everywhere(rule("create", "namespaces")),
    "relabels-by-patch": everywhere(rule("patch", "namespaces", **NAMED)),
    "relabels-by-status": everywhere(rule("patch", "namespaces/status", **NAMED)),
    "relabels-by-finalize": everywhere(rule("update", "namespaces/finalize", **NAMED)),
    **{f"creates-{kind}": everywhere(rule("create", kind, ADMISSION)) for kind in KINDS[:2]},
    **{f"{verb}s-{kind}": everywhere(rule(verb, kind, ADMISSION)) for kind in KINDS for verb in ("patch", "delete")},
    "deletes-definitions": everywhere(rule("delete", "customresourcedefinitions", "apiextensions.k8s.io")),
    "changes-apis": everywhere(rule("patch", "apiservices", "apiregistration.k8s.io")),
}


def restricted(name: str = "own", security: Object = RESTRICTED, **spec: Any) -> Object:
    """A pod that Pod Security restricted admits, unless something else is said."""
    return pod(name, GUARDED, security=security, **spec)


class Identities:
    """Who holds one permission each, in a cluster with the guarded namespace."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    def status(self, who: str, asked: Asked) -> int:
        """The status of the answer to an identity's request."""
        return status(self.plane, asked, self.plane.token(NS, who))

    def answer(self, who: str, asked: Asked) -> Any:
        """The answer to it. Raises RefusedError."""
        return sent(self.plane, asked, self.plane.token(NS, who))

    def labelled(self, *absent: str, **labels: str) -> None:
        """Give the namespace other labels again, as the platform does."""
        found = {ENFORCE: "restricted", **dict.fromkeys(absent), **labels}
        self.plane.request("PATCH", INSIDE, {"metadata": {"labels": found}},
                           headers={"Content-Type": "application/merge-patch+json"})  # fmt: skip


def eventually(seen: Callable[[], object], expected: object) -> None:
    """Wait until something is seen: policies come into force a moment after they are stored."""
    deadline = time.monotonic() + SECONDS
    while (last := seen()) != expected:
        assert time.monotonic() < deadline, f"{last!r} and not {expected!r} after {SECONDS:.0f} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def planes(control_plane_of: Planes) -> Iterator[Proving]:
    """The guarded namespace with a pod in it, and the identities."""
    objects: list[Object] = [guarded(GUARDED), restricted("runs")]
    with proving(control_plane_of, [], objects, more=IDENTITIES) as found:
        yield found


@pytest.fixture(scope="module")
def identities(planes: Proving) -> Iterator[Identities]:
    """Those of the newest version."""
    plane = planes.at(NEWEST).plane
    yield Identities(plane)
    clear(plane, [INSIDE])


@pytest.fixture
def relabelled(identities: Identities) -> Iterator[Identities]:
    """The namespace gets its labels back afterwards."""
    yield identities
    identities.labelled(ADMIN_ACCESS)


def finalized(**labels: str) -> Object:
    """The namespace with other labels, whole."""
    meta = metadata(GUARDED, labels=labels)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta, "spec": {"finalizers": ["kubernetes"]}}


RELABEL = {
    "relabels-by-patch": ask(f"PATCH {INSIDE}", UNLABELLED),
    "relabels-by-status": ask(f"PATCH {INSIDE}/status", UNLABELLED),
    "relabels-by-finalize": ask(f"PUT {INSIDE}/finalize", finalized()),
}
HOST: Object = {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}
TEMPLATE: Object = {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "v",
                             "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("as any ServiceAccount", {"serviceAccountName": "powerful"}),
        ("with any Secret", {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
        ("behind a claim that it makes", {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": TEMPLATE}}]}),
        ("in the group of root", {"securityContext": {"supplementalGroups": [0]}}),
        ("on a node of its choice", {"nodeName": "any"}),
    ],
)
def test_restricted_admits_a_pod(identities: Identities, name: str, spec: Object) -> None:
    """What Pod Security does not look at; its author may create pods and nothing else."""
    identities.plane.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("powerful", GUARDED)}])

    assert identities.status("runs-pods", ask(PODS, restricted(**spec))) == OK, name


@pytest.mark.parametrize(
    ("name", "one"),
    [("privileged", restricted(security=PRIVILEGED)), ("over the host's files", restricted(**HOST)),
     ("with every capability", restricted(security={**RESTRICTED, "capabilities": {"add": ["ALL"]}})),
     ("as root", restricted(security={**RESTRICTED, "runAsNonRoot": False}))],
)  # fmt: skip
def test_restricted_refuses_the_pod_that_escapes(identities: Identities, name: str, one: Object) -> None:
    """So that the label is what holds it."""
    assert identities.status("runs-pods", ask(PODS, one)) == FORBIDDEN, name


@pytest.mark.parametrize("labels", RELABEL)
def test_two_identities_together_run_a_privileged_pod(relabelled: Identities, labels: str) -> None:
    """One drops the label, the other creates the pod, and neither may do what the other does."""
    escaping = ask(PODS, restricted(security=PRIVILEGED, hostPID=True, **HOST))
    assert relabelled.status("runs-pods", escaping) == FORBIDDEN
    assert relabelled.status("runs-pods", RELABEL[labels]) == FORBIDDEN
    assert relabelled.status(labels, escaping) == FORBIDDEN

    relabelled.answer(labels, RELABEL[labels])

    eventually(lambda: relabelled.status("runs-pods", escaping), OK)


def test_two_identities_together_run_a_privileged_pod_in_a_namespace_of_their_own(identities: Identities) -> None:
    """One creates the namespace, which nothing guards, the other the pod, and neither may do what the other does."""
    own = "proof-own"
    made = ask("POST /api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(own)})
    escaping = ask(f"POST /api/v1/namespaces/{own}/pods?{DRY}", pod("own", own, security=PRIVILEGED, **HOST))
    assert identities.status("runs-pods", ask(PODS, restricted(security=PRIVILEGED, **HOST))) == FORBIDDEN
    assert identities.status("runs-pods", made) == FORBIDDEN

    identities.answer("creates-namespaces", made)

    try:
        assert identities.status("creates-namespaces", escaping) == FORBIDDEN
        eventually(lambda: identities.status("runs-pods", escaping), OK)
    finally:
        clear(identities.plane, [f"/api/v1/namespaces/{own}"])


def test_two_identities_together_put_a_privileged_container_into_a_pod(relabelled: Identities) -> None:
    """Pod Security looks at ephemeral containers, as long as the label is there."""
    body = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "own", "securityContext": PRIVILEGED}]}}
    asked = ask(f"PATCH {INSIDE}/pods/runs/ephemeralcontainers?{DRY}", body, headers=STRATEGIC)
    assert relabelled.status("debugs-pods", asked) == FORBIDDEN

    relabelled.answer("relabels-by-status", RELABEL["relabels-by-status"])

    eventually(lambda: relabelled.status("debugs-pods", asked), OK)


def test_two_identities_together_claim_devices_of_others(relabelled: Identities) -> None:
    """Only a label of the namespace guards a claim with administrator's access."""
    asked = ask(f"POST {CLAIMS}?{DRY}", claim("own", GUARDED, admin=True))
    assert relabelled.status("claims-devices", asked) in (FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY)

    relabelled.answer("relabels-by-patch", ask(f"PATCH {INSIDE}", {"metadata": {"labels": {ADMIN_ACCESS: "true"}}}))

    eventually(lambda: relabelled.status("claims-devices", asked), OK)


# Policies and webhooks ----------------------------------------------------------------------------------------------

CONFIG_MAPS: Object = {
    "resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
    }],
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": GUARDED}},
}  # fmt: skip
WRITE = ask(MAPS, config_map("fresh", GUARDED))


def registered(kind: str, **spec: Any) -> Object:
    """An admission policy, or a binding of one."""
    return {"apiVersion": f"{ADMISSION}/v1", "kind": kind, "metadata": metadata("proof-acts"), "spec": spec}


def marking(label: str) -> Object:
    """Mutations that mark what is written by a label."""
    expression = f'[JSONPatch{{op: "add", path: "/metadata/labels", value: {{"{label}": "yes"}}}}]'
    return {"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]}


@pytest.fixture
def cleared(identities: Identities) -> Iterator[Identities]:
    """Nothing stays in force afterwards."""
    yield identities
    clear(identities.plane, [f"{REGISTRATION}/{kind}/proof-acts" for kind in KINDS])


def test_two_identities_together_rewrite_what_a_third_writes(cleared: Identities) -> None:
    """One writes the mutating policy, another binds it; then a third changes it."""
    policy = registered("MutatingAdmissionPolicy", matchConstraints=CONFIG_MAPS, reinvocationPolicy="Never",
                        failurePolicy="Fail", **marking("one"))  # fmt: skip
    bound = registered("MutatingAdmissionPolicyBinding", policyName="proof-acts")
    policies, bindings = f"{REGISTRATION}/{KINDS[0]}", f"{REGISTRATION}/{KINDS[1]}"

    def labels() -> object:
        return cleared.answer("writes-maps", WRITE)["metadata"].get("labels")

    assert cleared.status(f"creates-{KINDS[0]}", ask(f"POST {bindings}", bound)) == FORBIDDEN
    cleared.answer(f"creates-{KINDS[0]}", ask(f"POST {policies}", policy))
    assert labels() is None
    cleared.answer(f"creates-{KINDS[1]}", ask(f"POST {bindings}", bound))
    eventually(labels, {"one": "yes"})

    cleared.answer(f"patchs-{KINDS[0]}", ask(f"PATCH {policies}/proof-acts", {"spec": marking("two")}))
    eventually(labels, {"two": "yes"})


@pytest.mark.parametrize(
    ("who", "asked"),
    [
        ("deletes-validatingadmissionpolicybindings", ask(f"DELETE {REGISTRATION}/{KINDS[3]}/proof-acts")),
        ("patchs-validatingadmissionpolicybindings",
         ask(f"PATCH {REGISTRATION}/{KINDS[3]}/proof-acts", {"spec": {"validationActions": ["Audit"]}})),
        ("deletes-validatingadmissionpolicies", ask(f"DELETE {REGISTRATION}/{KINDS[2]}/proof-acts")),
        ("patchs-validatingadmissionpolicies",
         ask(f"PATCH {REGISTRATION}/{KINDS[2]}/proof-acts", {"spec": {"validations": [{"expression": "true"}]}})),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_a_policy_refuses_until_it_or_its_binding_is_changed(cleared: Identities, who: str, asked: Asked) -> None:
    """Each of the four is enough."""
    cleared.plane.apply([
        registered("ValidatingAdmissionPolicy", matchConstraints=CONFIG_MAPS, failurePolicy="Fail",
                   validations=[{"expression": "false"}]),
        registered("ValidatingAdmissionPolicyBinding", policyName="proof-acts", validationActions=["Deny"]),
    ])  # fmt: skip
    eventually(lambda: cleared.status("writes-maps", WRITE), HTTPStatus.UNPROCESSABLE_ENTITY)

    cleared.answer(who, asked)

    eventually(lambda: cleared.status("writes-maps", WRITE), OK)


@pytest.mark.parametrize(
    ("who", "asked"),
    [
        ("deletes-validatingwebhookconfigurations", ask(f"DELETE {REGISTRATION}/{KINDS[4]}/proof-acts")),
        ("patchs-validatingwebhookconfigurations",
         ask(f"PATCH {REGISTRATION}/{KINDS[4]}/proof-acts", {"webhooks": []})),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_a_webhook_that_fails_closed_refuses_until_it_is_changed(cleared: Identities, who: str, asked: Asked) -> None:
    """Nothing answers for it, so that it refuses; without it, or with no rules, the server does not ask."""
    rules = [{**CONFIG_MAPS["resourceRules"][0], "scope": "*"}]
    selector = CONFIG_MAPS["namespaceSelector"]
    cleared.plane.apply([
        configuration("proof-acts", rules=rules, namespaceSelector=selector, failurePolicy="Fail", timeoutSeconds=1,
                      clientConfig={"url": "https://127.0.0.1:9/"}),
    ])  # fmt: skip
    eventually(lambda: cleared.status("writes-maps", WRITE), HTTPStatus.INTERNAL_SERVER_ERROR)

    cleared.answer(who, asked)

    eventually(lambda: cleared.status("writes-maps", WRITE), OK)


def test_who_deletes_a_definition_deletes_every_policy_of_its_kind(identities: Identities) -> None:
    """So that the engine has none left; no permission on the policies is needed."""
    group, plural = "acts.example.com", "policies"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    identities.plane.apply([
        {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
         "metadata": metadata(f"{plural}.{group}"),
         "spec": {"group": group, "scope": "Cluster", "names": {"plural": plural, "kind": "Policy"}, "versions": [
             {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}]}},
        {"apiVersion": f"{group}/v1", "kind": "Policy", "metadata": metadata("strict")},
    ])  # fmt: skip
    policy = Asked("GET", f"/apis/{group}/v1/{plural}/strict")
    assert status(identities.plane, policy, identities.plane.user_token()) == OK

    identities.answer("deletes-definitions", Asked("DELETE", path))

    eventually(lambda: status(identities.plane, policy, identities.plane.user_token()), HTTPStatus.NOT_FOUND)


@pytest.mark.prove
def test_a_built_in_group_can_be_led_elsewhere() -> None:
    """Who changes an APIService decides who answers for apps and for RBAC itself: nothing, in this case.

    In a control plane of its own, which is of no use to others afterwards.
    """
    with ControlPlane() as own, proving(lambda _: own, [], [guarded(GUARDED)], more=IDENTITIES) as found:
        who = Identities(found.at(NEWEST).plane)
        answers = [Asked("GET", f"/apis/{group}/v1/{resource}?limit=1") for group, resource in
                   (("apps", "deployments"), ("rbac.authorization.k8s.io", "clusterroles"))]  # fmt: skip
        led = {"spec": {"service": {"namespace": GUARDED, "name": "own"}, "insecureSkipTLSVerify": True}}
        assert [status(own, one, own.user_token()) for one in answers] == [OK, OK]

        for name in ("v1.apps", "v1.rbac.authorization.k8s.io"):
            path = f"/apis/apiregistration.k8s.io/v1/apiservices/{name}"
            who.answer("changes-apis", ask(f"PATCH {path}", led))

        gone = HTTPStatus.SERVICE_UNAVAILABLE
        eventually(lambda: [status(own, one, own.user_token()) for one in answers], [gone, gone])
        for name in ("v1.apps", "v1.rbac.authorization.k8s.io"):  # what is taken away afterwards is asked for again
            own.request("DELETE", f"/apis/apiregistration.k8s.io/v1/apiservices/{name}")
