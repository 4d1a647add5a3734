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

from posture.admission.engines.bound import Params
from posture.admission.engines.vap import judged, policies, variant
from posture.admission.policy import ADMITS, NONE, Asked, Policy, Verdict
from posture.cel import Process
from posture.model import Through
from tests.conftest import FIGURE
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator import vap
from tests.generator.objects import Object, service_account, snapshot
from tests.generator.vap import Ask, Case

BASE = f"/apis/{vap.ADMISSION}"
POLICIES, BINDINGS = f"{BASE}/validatingadmissionpolicies", f"{BASE}/validatingadmissionpolicybindings"
MERGE = {"Content-Type": "application/merge-patch+json"}
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
        return f"/apis/{vap.ROLES.group}/v1/clusterroles"
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
    return {} if user == "admin" else {"Impersonate-User": user, "Impersonate-Group": vap.USER_GROUPS[0]}


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
    ask = Ask("CREATE", "Pod", "vap-one", "vap-last-none", "admin", _pod("vap-last-none"), {})
    forgotten(lambda: "failed expression: false" in said(plane, ask))


def forgotten(heeded: Callable[[], bool]) -> None:
    """Wait until the server no longer heeds what was taken away last: it would refuse what the next test makes."""
    end = time.monotonic() + SECONDS
    while heeded() and time.monotonic() < end:
        time.sleep(0.1)


# posture's answers --------------------------------------------------------------------------------------------------


def stored_pods(plane: ControlPlane, cases: list[Case]) -> dict[str, Object]:
    """Store the pods that are changed or deleted later, before any policy may refuse them."""
    return {
        ask.name: made(plane, path_of("Pod", ask.namespace), ask.object)
        for case in cases
        for ask in case.asks
        if ask.operation != "CREATE"
    }


def without(random: Random, case: Case, parameters: Parameters) -> tuple[Case, Through | None]:
    """The case that the server gets: for every other policy that excludes something, one that does not."""
    policy = next(iter(policies(snapshot([case.policy, case.binding]), lambda *kind: parameters[kind])))
    if not policy.exemptions or random.random() < 0.5:
        return case, None
    exemption = random.choice(policy.exemptions)
    given, binding = vap.edited([case.policy, case.binding], exemption.removal)
    return Case(given, binding, case.asks), exemption.through


def compared(plane: ControlPlane, cel: Process, random: Random, number: int) -> Counter[str]:
    """Ask both, and count."""
    parameters = prepared(plane)
    cases = {case.policy["metadata"]["name"]: case for case in vap.random_cases(random, number)}
    changed = {name: without(random, case, parameters) for name, case in cases.items()}
    namespaces = {name: plane.request("GET", f"/api/v1/namespaces/{name}") for name in vap.NAMESPACES}
    stored = stored_pods(plane, [*cases.values()])
    count: Counter[str] = Counter(policies=number)
    try:
        kept = [case.policy["metadata"]["name"] for case in installed(plane, [case for case, _ in changed.values()])]
        count["taken"] = len(kept)
        count["without"] = sum(1 for name in kept if changed[name][1])
        objects = [one for name in kept for one in (cases[name].policy, cases[name].binding)]
        found = {one.through.name: one for one in policies(snapshot(objects), lambda *kind: parameters[kind])}
        asks = [(found[name], changed[name][1], ask) for name in kept for ask in cases[name].asks]
        verdicts = verdicts_of(asks, namespaces, stored, cel)
        for (policy, _, ask), verdict in zip(asks, verdicts, strict=True):
            counted(count, policy, ask, verdict, said(plane, ask))
    finally:
        removed(plane, [*cases.values()])
    return count


def verdicts_of(
    asks: list[tuple[Policy, Through | None, Ask]],
    namespaces: dict[str, Object],
    stored: dict[str, Object],
    cel: Process,
) -> list[Verdict]:
    """What posture says, in each namespace, with the exemptions that count there but for one."""
    variants = [variant(policy, vap.space_of(ask)) for policy, _, ask in asks]
    asked = []
    for (policy, gone, ask), there in zip(asks, variants, strict=True):
        numbers = {one for one in (there.exemptions if there else NONE) if policy.exemptions[one].through != gone}
        asked.append(Asked(policy, vap.request_of(ask, namespaces, stored), frozenset(numbers)))
    return [verdict if there else ADMITS for verdict, there in zip(judged(asked, cel), variants, strict=True)]


def counted(count: Counter[str], policy: Policy, ask: Ask, verdict: Verdict, message: str) -> None:
    """Compare one answer with the server's. Without Deny only an error refuses, and that is no control."""
    name = policy.through.name
    if message:
        assert f"ValidatingAdmissionPolicy '{name}'" in message, message
    count["cases"] += 1
    count["refused"] += bool(message)
    count["excused"] += bool(verdict.excused)
    count[ask.operation] += 1
    if verdict.refuses is None:
        count["unknown"] += 1
        count[f"unknown: {verdict.why}"] += 1
    elif policy.denies or message:
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
    figure += f"server of {minor}, {count['refused']:,} refused, {count['excused']:,} excused, "
    figure += f"{count['unknown']:,} unknown, 0 differences "
    figure += f"(POSTURE_SEED={seed})"
    record_property(FIGURE, figure)
