"""ValidatingAdmissionPolicy against a real API server: random policies, asked as dry runs."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from posture.admission.engines.vap import Params, Policy, Verdict, judged, policies
from posture.admission.requests import NAME_LABEL, NAMESPACES, PODS, Request, Resource, pod_creation
from posture.cel import Process
from tests.conftest import FIGURE
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator import vap
from tests.generator.objects import Object, service_account, snapshot
from tests.generator.vap import Ask, Case

BASE = f"/apis/{vap.ADMISSION}"
POLICIES, BINDINGS = f"{BASE}/validatingadmissionpolicies", f"{BASE}/validatingadmissionpolicybindings"
MERGE = {"Content-Type": "application/merge-patch+json"}
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles")
GROUPS = ("system:masters", "system:authenticated")
SECONDS = 40.0


def made(plane: ControlPlane, path: str, thing: Object) -> Object:
    """Make an object, unless it is there from an earlier test."""
    try:
        answer: Object = plane.request("POST", path, thing)
    except RefusedError as error:
        if error.status != 409:
            raise
        answer = plane.request("GET", f"{path}/{thing['metadata']['name']}")
    return answer


def path_of(kind: str, namespace: str) -> str:
    """Where objects of a kind are."""
    if kind in ("Pod", "ConfigMap", "ServiceAccount"):
        return f"/api/v1/namespaces/{namespace}/{kind.lower()}s"
    if kind == "Namespace":
        return "/api/v1/namespaces"
    if kind == "ClusterRole":
        return f"/apis/{ROLES.group}/v1/clusterroles"
    plural = kind.lower() + "s"
    return f"/apis/{vap.GROUP}/v1/" + (f"namespaces/{namespace}/{plural}" if namespace else plural)


def stored(plane: ControlPlane, thing: Object) -> Object:
    """Make an object as soon as its kind is served, and give it as it is stored."""
    path = path_of(thing["kind"], thing["metadata"].get("namespace", ""))
    end = time.monotonic() + SECONDS
    while True:
        try:
            return {**made(plane, path, thing), "apiVersion": thing["apiVersion"], "kind": thing["kind"]}
        except RefusedError as error:
            if error.status != 404 or time.monotonic() > end:
                raise
            time.sleep(0.1)


type Parameters = dict[tuple[str, str], Params]


def prepared(plane: ControlPlane) -> Parameters:
    """Namespaces, and parameters in them, as the server stores them."""
    for kind, resource, namespaced in vap.CRDS:
        made(plane, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", vap.crd(kind, resource, namespaced))
    for name, labels in vap.NAMESPACES.items():
        made(plane, "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        made(plane, path_of("ServiceAccount", name), service_account(name, "default"))
    found: dict[tuple[str, str], list[Object]] = {}
    for one in vap.parameters():
        found.setdefault((one["apiVersion"], one["kind"]), []).append(stored(plane, one))
    return {
        key: Params(tuple(some), namespaced=bool(some[0]["metadata"].get("namespace"))) for key, some in found.items()
    }


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


# The server's answers -----------------------------------------------------------------------------------------------


def headers(user: str) -> dict[str, Any]:
    """Who asks."""
    return {} if user == "admin" else {"Impersonate-User": user, "Impersonate-Group": GROUPS[0]}


def said(plane: ControlPlane, ask: Ask) -> str:
    """Why the server refuses; empty if it does not."""
    path = path_of(ask.kind, ask.namespace)
    try:
        if ask.operation == "CREATE":
            plane.request("POST", f"{path}?dryRun=All", ask.object, headers=headers(ask.user))
        elif ask.operation == "UPDATE":
            body = {"metadata": {"labels": ask.labels}}
            plane.request("PATCH", f"{path}/{ask.name}?dryRun=All", body, headers=headers(ask.user) | MERGE)
        else:
            plane.request("DELETE", f"{path}/{ask.name}?dryRun=All", headers=headers(ask.user))
    except RefusedError as error:
        return str(error.body["message"])
    return ""


def installed(plane: ControlPlane, cases: list[Case]) -> list[Case]:
    """Make the policies, and wait until the server heeds them all. What it does not take is left out."""
    kept = []
    for case in cases:
        try:
            plane.request("POST", POLICIES, case.policy)
        except RefusedError as error:
            print("not taken:", error)
            continue
        try:
            plane.request("POST", BINDINGS, case.binding)
        except RefusedError as error:
            print("not taken:", error)
            plane.request("DELETE", f"{POLICIES}/{case.policy['metadata']['name']}")
            continue
        kept.append(case)
    for kind in ("", "ConfigMap", "Limit", "ClusterLimit"):
        _heeded(plane, kind)
    return kept


def _heeded(plane: ControlPlane, kind: str) -> None:
    """Wait for a policy made after all others, with parameters of a kind: the server has read these, too."""
    name = f"vap-last-{kind.lower() or 'none'}"
    rule = {
        "operations": ["*"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["pods"],
        "resourceNames": [name],
    }
    more: Object = {"paramKind": {"apiVersion": "v1" if kind == "ConfigMap" else f"{vap.GROUP}/v1", "kind": kind}}
    reference: Object = {"paramRef": {"name": "strict", "parameterNotFoundAction": "Deny"}}
    policy = vap.policy(name, "false", rules=[rule], **(more if kind else {}))
    made(plane, POLICIES, policy)
    made(plane, BINDINGS, vap.binding(name, **(reference if kind else {})))
    end = time.monotonic() + SECONDS
    ask = Ask("CREATE", "Pod", "vap-one", name, "admin", _pod(name), {})
    while "failed expression: false" not in said(plane, ask):
        assert time.monotonic() < end, f"the server does not heed a policy with parameters of kind {kind or 'none'}"
        time.sleep(0.1)


def _pod(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "x"}]}}


def removed(plane: ControlPlane, cases: list[Case]) -> None:
    """Take the policies away."""
    last = [f"vap-last-{kind}" for kind in ("none", "configmap", "limit", "clusterlimit")]
    for name in [*(case.policy["metadata"]["name"] for case in cases), *last]:
        for path in (BINDINGS, POLICIES):
            with contextlib.suppress(RefusedError):
                plane.request("DELETE", f"{path}/{name}")


# posture's answers --------------------------------------------------------------------------------------------------


def request_of(ask: Ask, namespaces: dict[str, Object], stored: dict[str, Object]) -> Request:
    """What the server is asked, as posture takes it."""
    there = namespaces.get(ask.namespace)
    if ask.kind == "Pod" and ask.operation == "CREATE":
        return pod_creation(ask.object, ask.namespace, there, user=ask.user, groups=GROUPS, dry_run=True)
    if ask.kind == "Pod":
        old = stored[ask.name]
        labels = {**old["metadata"].get("labels", {}), **ask.labels}
        new = {**old, "metadata": {**old["metadata"], "labels": labels}} if ask.operation == "UPDATE" else None
        operation: Any = ask.operation
        return Request(operation, PODS, "", ask.namespace, ask.name, new, old, ask.user, GROUPS, there, dry_run=True)
    labels = ask.object["metadata"]["labels"]
    if ask.kind == "Namespace":
        labels = {**labels, NAME_LABEL: ask.name}
        thing = {**ask.object, "metadata": {**ask.object["metadata"], "labels": labels}, "status": {"phase": "Active"}}
        return Request("CREATE", NAMESPACES, "", ask.name, ask.name, thing, None, ask.user, GROUPS, dry_run=True)
    thing = {**ask.object, "metadata": {"name": ask.name, **({"labels": labels} if labels else {})}}
    return Request("CREATE", ROLES, "", "", ask.name, thing, None, ask.user, GROUPS, dry_run=True)


def combined(verdicts: list[Verdict]) -> bool | None:
    """Whether any of a policy's bindings refuses."""
    if any(one.refuses for one in verdicts):
        return True
    return None if any(one.refuses is None for one in verdicts) else False


def stored_pods(plane: ControlPlane, cases: list[Case]) -> dict[str, Object]:
    """Store the pods that are changed or deleted later, before any policy may refuse them."""
    return {
        ask.name: made(plane, path_of("Pod", ask.namespace), ask.object)
        for case in cases
        for ask in case.asks
        if ask.operation != "CREATE"
    }


def compared(plane: ControlPlane, cel: Process, random: Random, number: int) -> Counter[str]:
    """Ask both, and count."""
    parameters = prepared(plane)
    cases = list(vap.random_cases(random, number))
    namespaces = {name: plane.request("GET", f"/api/v1/namespaces/{name}") for name in vap.NAMESPACES}
    stored = stored_pods(plane, cases)
    count: Counter[str] = Counter(policies=number)
    try:
        kept = installed(plane, cases)
        count["taken"] = len(kept)
        objects = [one for case in kept for one in (case.policy, case.binding)]
        found = {one.key.name: one for one in policies(snapshot(objects), lambda *kind: parameters[kind])}
        asked = [(found[case.policy["metadata"]["name"]], ask) for case in kept for ask in case.asks]
        verdicts = judged([(policy, request_of(ask, namespaces, stored)) for policy, ask in asked], cel)
        for (policy, ask), verdict in zip(asked, verdicts, strict=True):
            counted(count, policy, ask, verdict, said(plane, ask))
    finally:
        removed(plane, cases)
    return count


def counted(count: Counter[str], policy: Policy, ask: Ask, verdict: Verdict, message: str) -> None:
    """Compare one answer with the server's."""
    if message:
        assert f"ValidatingAdmissionPolicy '{policy.key.name}'" in message, message
    count["cases"] += 1
    count["refused"] += bool(message)
    count[ask.operation] += 1
    if verdict.refuses is None:
        count["unknown"] += 1
        count[f"unknown: {verdict.why}"] += 1
    else:
        assert verdict.refuses == bool(message), (policy, ask, verdict, message)


type Record = Callable[[str, object], None]


@pytest.mark.parametrize(
    ("number", "minor"),
    [
        (70, "1.36"),
        pytest.param(800, "1.36", marks=pytest.mark.prove),
        pytest.param(200, "1.34", marks=pytest.mark.prove),
    ],
)
def test_random_policies(
    control_plane_of: Callable[[str], ControlPlane], cel: Process, record_property: Record, number: int, minor: str
) -> None:
    """The same verdict for each policy, binding and request."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    print(f"POSTURE_SEED={seed}")
    count = compared(control_plane_of(minor), cel, Random(seed), number)
    print(count)
    assert count["taken"] > 0.9 * number
    assert count["unknown"] < 0.05 * count["cases"]
    assert 0.15 < count["refused"] / count["cases"] < 0.85
    figure = f"ValidatingAdmissionPolicy: {count['taken']:,} policies with bindings, {count['cases']:,} requests to a "
    figure += f"server of {minor}, {count['refused']:,} refused, {count['unknown']:,} unknown, 0 differences "
    figure += f"(POSTURE_SEED={seed})"
    record_property(FIGURE, figure)
