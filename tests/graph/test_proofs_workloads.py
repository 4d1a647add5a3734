"""Each escalation by pods, nodes and namespaces, as real requests; and what only looks like one.

No kubelet runs: what needs one ends with the status that the server gives once it has allowed the request and looks for
the pod's node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.controlplane.build import NEWEST
from tests.generator.objects import Object, metadata, namespace, rule
from tests.graph.proving import Part, Place, Planes, Proof, Proving, cases, partial, proving
from tests.graph.step_objects import (
    ENFORCE,
    KEPT,
    NODE,
    PRIVILEGED,
    STRATEGIC,
    UNLABELLED,
    WORKLOADS,
    applied,
    ask,
    claim,
    claim_template,
    clear,
    pod,
    proof,
    volume,
)
from tests.rbac.accounts import DRY, INSIDE, NS, OTHER, UPGRADE, Grant, everywhere, here
from tests.rbac.requests import Asked, sent, status

POD = f"{INSIDE}/pods/p"

OWN = pod("proof-own", serviceAccountName="someone", volumes=[{"name": "v", "secret": {"secretName": "s"}}])

RUNNING = [
    proof("create-pods", "pod", here(rule("create", "pods")), ask(f"POST {INSIDE}/pods?{DRY}", OWN)),
    proof("create-pods", "pod-by-the-empty-name", here(rule("create", "pods", names=[""])),
          ask(f"POST {INSIDE}/pods?{DRY}", OWN)),
    proof("create-pods", "named-pod", here(rule("create", "pods", names=["proof-own"]),
          rule("patch", "pods", names=["proof-own"])), applied(f"{INSIDE}/pods/proof-own", OWN)),
    proof("create-pods", "named-job", here(rule("create", "jobs", "batch", names=["proof-own"]),
          rule("patch", "jobs", "batch", names=["proof-own"])),
          applied(f"{WORKLOADS[5].path}/proof-own", WORKLOADS[5].object("proof-own"))),
    *(proof("create-pods", f"new-{one.resource}", here(rule("create", one.resource, one.group)),
            ask(f"POST {one.path}?{DRY}", one.object("proof-own"))) for one in WORKLOADS),
    *(proof("create-pods", f"changed-{one.resource}", here(rule("update", one.resource, one.group, names=[KEPT])),
            ask(f"PUT {one.path}/{KEPT}?{DRY}", one.object(KEPT, "reader"))) for one in WORKLOADS if one.changeable),
    proof("escape-by-log-mount", "logs", here(rule("get", "pods/log")), ask(f"GET {POD}/log"), beyond=(400,)),
    proof("escape-by-persistentvolume", "new", everywhere(rule("create", "persistentvolumes")),
          ask(f"POST /api/v1/persistentvolumes?{DRY}", volume("proof"))),
    proof("escape-by-persistentvolume", "named", everywhere(rule("create", "persistentvolumes", names=["proof"]),
          rule("patch", "persistentvolumes", names=["proof"])),
          applied("/api/v1/persistentvolumes/proof", volume("proof"))),
    proof("annotate-serviceaccount", "named", here(rule("patch", "serviceaccounts", names=["someone"])),
          ask(f"PATCH {INSIDE}/serviceaccounts/someone?{DRY}",
              {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}}})),
    proof("claim-devices-as-admin", "claim", here(rule("create", "resourceclaims", "resource.k8s.io")),
          ask(f"POST /apis/resource.k8s.io/v1/namespaces/{NS}/resourceclaims?{DRY}", claim("c", NS, admin=False)),
          minors=("1.34",)),
    proof("claim-devices-as-admin", "template", here(rule("create", "resourceclaimtemplates", "resource.k8s.io")),
          ask(f"POST /apis/resource.k8s.io/v1/namespaces/{NS}/resourceclaimtemplates?{DRY}", claim_template("c", NS)),
          minors=("1.34",)),
]  # fmt: skip

FINALIZED: Object = {**namespace(NS, **{ENFORCE: "privileged"}),
                     "spec": {"finalizers": ["kubernetes"]}}  # fmt: skip
RELABEL = {
    "patch": (rule("patch", "namespaces"), ask(f"PATCH {INSIDE}?{DRY}", UNLABELLED)),
    "update": (rule("update", "namespaces", names=[NS]), ask(f"PUT {INSIDE}?{DRY}", FINALIZED)),
    "status": (rule("patch", "namespaces/status"), ask(f"PATCH {INSIDE}/status?{DRY}", UNLABELLED)),
    "finalize": (rule("update", "namespaces/finalize"), ask(f"PUT {INSIDE}/finalize?{DRY}", FINALIZED)),
}
RELABELLING = [
    proof("create-namespaces", "post", everywhere(rule("create", "namespaces")),
          ask(f"POST /api/v1/namespaces?{DRY}", namespace("proof-fresh"))),
    proof("create-namespaces", "apply", everywhere(rule("create", "namespaces", names=["proof-fresh"]),
                                                   rule("patch", "namespaces", names=["proof-fresh"])),
          applied("/api/v1/namespaces/proof-fresh", namespace("proof-fresh"))),
    *(proof("label-namespace", name, here(one), asked) for name, (one, asked) in RELABEL.items()),
    proof("label-namespace", "by-name", everywhere(rule("patch", "namespaces", names=[NS])), RELABEL["patch"][1]),
    *(proof("escape-after-relabel-by-subresource", name, here(RELABEL[name][0]), RELABEL[name][1])
      for name in ("status", "finalize")),
]  # fmt: skip


def debugging(**container: Any) -> Asked:
    """A container of one's own for the pod that is there."""
    body = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "own", **container}]}}
    return ask(f"PATCH {POD}/ephemeralcontainers?{DRY}", body, headers=STRATEGIC)


NAMED_DEBUG = here(rule("patch", "pods/ephemeralcontainers", names=["p"]))
TAINTED = {"spec": {"taints": [{"key": "proof", "effect": "NoExecute"}]}}
BINDING: Object = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata("p"),
                   "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}  # fmt: skip
EVICTION: Object = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata("p", NS)}
EVICT = ask(f"POST {POD}/eviction?{DRY}", EVICTION)
EXEC, ATTACH = f"{POD}/exec?command=id&stdout=1", f"{POD}/attach?stdin=1&stdout=1"

ENTERING = [
    proof("exec-into-pods", "named", here(rule("create", "pods/exec", names=["p"])), ask(f"POST {EXEC}"),
          beyond=(400,)),
    proof("exec-into-pods", "every-subresource", here(rule("create", "*/exec")), ask(f"POST {EXEC}"), beyond=(400,)),
    proof("exec-by-get", "named", here(rule("get", "pods/exec", names=["p"])),
          ask(f"GET {EXEC}", headers=dict(UPGRADE)),
          beyond=(400,), minors=("1.34",), newest=False),
    proof("attach-to-pods", "named", here(rule("create", "pods/attach", names=["p"])), ask(f"POST {ATTACH}"),
          beyond=(400,)),
    proof("attach-by-get", "named", here(rule("get", "pods/attach", names=["p"])),
          ask(f"GET {ATTACH}", headers=dict(UPGRADE)), beyond=(400,), minors=("1.34",), newest=False),
    proof("add-ephemeral-container", "named", NAMED_DEBUG, debugging()),
    proof("read-secrets-by-ephemeral-container", "named", NAMED_DEBUG,
          debugging(envFrom=[{"secretRef": {"name": "s"}}])),
    proof("escape-by-ephemeral-container", "named", NAMED_DEBUG, debugging(securityContext=PRIVILEGED)),
    proof("debug-after-relabel", "named", NAMED_DEBUG, debugging(securityContext=PRIVILEGED)),
    proof("change-pod-image", "named", here(rule("patch", "pods", names=["p"])),
          ask(f"PATCH {POD}?{DRY}", {"spec": {"containers": [{"name": "c", "image": "own"}]}}, headers=STRATEGIC)),
    *(proof("change-workload-image", kind, here(rule("patch", f"{kind}", group, names=["w"])),
            ask(f"PATCH /apis/{group}/v1/namespaces/{NS}/{kind}/w?{DRY}", {"metadata": {"labels": {"a": "b"}}}),
            beyond=(404,))
      for kind, group in (*((kind, "apps") for kind in ("daemonsets", "deployments", "replicasets", "statefulsets")),
                          ("cronjobs", "batch"))),
    proof("change-workload-image", "replicationcontrollers",
          here(rule("patch", "replicationcontrollers", names=["w"])),
          ask(f"PATCH {INSIDE}/replicationcontrollers/w?{DRY}", {"metadata": {"labels": {"a": "b"}}}), beyond=(404,)),
    proof("connect-to-pods", "portforward", here(rule("create", "pods/portforward", names=["p"])),
          ask(f"POST {POD}/portforward?ports=80"), beyond=(400,)),
    proof("connect-to-pods", "proxy", here(rule("get", "pods/proxy", names=["p"])), ask(f"GET {POD}/proxy/"),
          beyond=(400, 500, 503)),
    proof("connect-to-services", "proxy", here(rule("get", "services/proxy", names=["s"])),
          ask(f"GET {INSIDE}/services/s/proxy/"), beyond=(404,)),
    *(proof("use-kubelet-api", f"by-{verb}", everywhere(rule(verb, "nodes/proxy", names=[NODE])),
            ask(f"{method} /api/v1/nodes/{NODE}/proxy/run/a/b/c"), beyond=(400, 500, 502, 503))
      for verb, method in (("get", "GET"), ("create", "POST"))),
    proof("move-pods", "taint", everywhere(rule("patch", "nodes")),
          ask(f"PATCH /api/v1/nodes/{NODE}?{DRY}", TAINTED)),
    proof("move-pods", "status", (*everywhere(rule("patch", "nodes/status")), *here(rule("create", "pods/eviction"))),
          ask(f"PATCH /api/v1/nodes/{NODE}/status?{DRY}", {"metadata": {"labels": {"pool": "own"}}}), EVICT),
    proof("move-pods", "binding", here(rule("create", "pods/binding"), rule("delete", "pods")),
          ask(f"DELETE {POD}?{DRY}"), ask(f"POST {POD}/binding?{DRY}", BINDING)),
    proof("move-pods", "binding-by-its-own-path", here(rule("create", "bindings"), rule("delete", "pods")),
          ask(f"DELETE {POD}?{DRY}"), ask(f"POST {INSIDE}/bindings?{DRY}", BINDING)),
]  # fmt: skip

PROOFS = [*RUNNING, *RELABELLING, *ENTERING]


# What only looks like a step ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Harmless:
    """What an account is granted, the request that looks like a step, and the server's answer."""

    name: str
    granted: tuple[Grant, ...]
    asked: Asked
    status: int


DEPLOYMENT = f"{WORKLOADS[1].path}/{KEPT}"
OTHER_CODE: Object = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}}
EVENT: Object = {"apiVersion": "v1", "kind": "Event", "metadata": metadata("proof", NS),
                 "involvedObject": {"kind": "Pod", "name": "p", "namespace": NS}}  # fmt: skip
HARMLESS = [
    Harmless("exec-by-get-alone", here(rule("get", "pods/exec")), ask(f"GET {EXEC}", headers=dict(UPGRADE)), 403),
    Harmless("attach-by-get-alone", here(rule("get", "pods/attach")), ask(f"GET {ATTACH}", headers=dict(UPGRADE)), 403),
    Harmless("subresources-of-pods-by-a-star", here(rule("*", "pods/*")), ask(f"POST {EXEC}"), 403),
    Harmless("subresources-by-two-stars", here(rule("*", "*/*")), ask(f"POST {EXEC}"), 403),
    Harmless("verb-in-capitals", here(rule("CREATE", "pods")), ask(f"POST {INSIDE}/pods?{DRY}", OWN), 403),
    Harmless("pod-in-the-wrong-group", here(rule("create", "pods", "apps")),
             ask(f"POST {INSIDE}/pods?{DRY}", OWN), 403),
    Harmless("deployment-in-the-wrong-group", here(rule("create,patch", "deployments", "extensions")),
             ask(f"PATCH {DEPLOYMENT}?{DRY}", OTHER_CODE, headers=STRATEGIC), 403),
    Harmless("pod-by-name-alone", here(rule("create", "pods", names=["proof-own"])),
             ask(f"POST {INSIDE}/pods?{DRY}", OWN), 403),
    Harmless("pod-by-put", here(rule("create", "pods", names=["proof-own"]), rule("update", "pods/status")),
             ask(f"PUT {INSIDE}/pods/proof-own?{DRY}", OWN), 403),
    Harmless("scale", here(rule("patch", "deployments/scale", "apps")),
             ask(f"PATCH {DEPLOYMENT}/scale?{DRY}", {"spec": {"replicas": 3}}), 200),
    Harmless("finalizers", here(rule("update,patch", "deployments/finalizers", "apps")),
             ask(f"PATCH {DEPLOYMENT}?{DRY}", {"metadata": {"finalizers": ["example.com/own"]}}), 403),
    Harmless("job-template", here(rule("patch", "jobs", "batch")),
             ask(f"PATCH {WORKLOADS[5].path}/{KEPT}?{DRY}", OTHER_CODE, headers=STRATEGIC), 422),
    Harmless("events", here(rule("create,patch", "events")), ask(f"POST {INSIDE}/events?{DRY}", EVENT), 200),
    Harmless("pod-status", here(rule("patch", "pods/status")), ask(f"PATCH {POD}/status?{DRY}", {
        "spec": {"containers": [{"name": "c", "image": "other"}]}}, headers=STRATEGIC), 200),
    Harmless("ephemeral-container-by-create", here(rule("create", "pods/ephemeralcontainers")), debugging(), 403),
    Harmless("volume-changed", everywhere(rule("patch", "persistentvolumes")),
             ask(f"PATCH /api/v1/persistentvolumes/{KEPT}?{DRY}", {"spec": {"hostPath": {"path": "/etc"}}}), 422),
    Harmless("volume-from-inside", here(rule("create", "persistentvolumes")),
             ask(f"POST /api/v1/persistentvolumes?{DRY}", volume("proof")), 403),
    Harmless("kubelet-from-inside", here(rule("get", "nodes/proxy")), ask(f"GET /api/v1/nodes/{NODE}/proxy/pods"), 403),
    Harmless("kubelet-by-metrics", everywhere(rule("get", "nodes/metrics,nodes/stats,nodes/pods")),
             ask(f"GET /api/v1/nodes/{NODE}/proxy/metrics"), 403),
    Harmless("checkpoint", everywhere(rule("create", "nodes/checkpoint")),
             ask(f"POST /api/v1/nodes/{NODE}/proxy/checkpoint/a/b/c"), 403),
    Harmless("taint-from-inside", here(rule("patch", "nodes")), ask(f"PATCH /api/v1/nodes/{NODE}?{DRY}", TAINTED), 403),
    Harmless("eviction-alone", here(rule("create", "pods/eviction")), EVICT, 200),
    Harmless("relabel-another-from-inside", here(rule("patch", "namespaces", names=[OTHER])),
             ask(f"PATCH /api/v1/namespaces/{OTHER}?{DRY}", UNLABELLED), 403),
    Harmless("finalize-by-patch", here(rule("patch", "namespaces/finalize")),
             ask(f"PATCH {INSIDE}/finalize?{DRY}", UNLABELLED), 405),
]  # fmt: skip


def objects() -> Iterator[Object]:
    """What the requests are about, besides what every account finds in its namespace."""
    yield from (one.object(KEPT) for one in WORKLOADS)
    yield {"apiVersion": "v1", "kind": "Node", "metadata": metadata(NODE)}
    yield volume(KEPT)


@pytest.fixture(scope="module")
def planes(control_plane_of: Planes) -> Iterator[Proving]:
    """Accounts for every proof, for every part of one that is missing, and for what only looks like a step."""
    with proving(control_plane_of, PROOFS, [*objects()], more={one.name: one.granted for one in HARMLESS}) as found:
        yield found
        for minor in {minor for one in PROOFS for minor in one.shown_on()}:
            clear(control_plane_of(minor), (f"/api/v1/nodes/{NODE}", f"/api/v1/persistentvolumes/{KEPT}"))


@pytest.fixture(scope="module")
def newest(planes: Proving) -> Place:
    """The newest version."""
    return planes.at(NEWEST)


@pytest.mark.parametrize(("one", "minor"), cases(PROOFS))
def test_who_meets_the_condition_takes_the_step(planes: Proving, one: Proof, minor: str) -> None:
    """Every request is accepted, and the escalation holds."""
    planes.accepted(one, minor)


@pytest.mark.parametrize(("one", "minor", "without"), partial(PROOFS))
def test_who_lacks_a_part_of_it_does_not(planes: Proving, one: Proof, minor: str, without: Part) -> None:
    """Some request is refused, and the escalation does not hold."""
    planes.refused_without(one, minor, without)


@pytest.mark.parametrize("one", HARMLESS, ids=lambda one: one.name)
def test_what_only_looks_like_a_step_is_none(newest: Place, one: Harmless) -> None:
    """The server refuses the step, or does what leads nowhere, and no escalation of the whole catalogue holds."""
    assert status(newest.plane, one.asked, newest.plane.token(NS, one.name)) == one.status
    held = sorted(edge for edge, _, subject in newest.holds if subject == f"serviceaccount:{NS}/{one.name}")
    assert held == []


def test_a_pods_status_does_not_take_another_image(newest: Place) -> None:
    """What is accepted there is not stored: only labels, annotations and the status are."""
    body = {"spec": {"containers": [{"name": "c", "image": "other"}]}}
    asked = ask(f"PATCH {POD}/status?{DRY}", body, headers=STRATEGIC)

    answer = sent(newest.plane, asked, newest.plane.token(NS, "pod-status"))
    assert answer["spec"]["containers"][0]["image"] == "none"
