"""Workloads as requests: which pods are asked for, by whom, and under whose name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from posture.admission.requests import NAME_LABEL, Request
from posture.admission.workloads import WORKLOADS, User, controller, requests_of
from posture.model import Key, Snapshot
from posture.network.endpoints import workload_of
from tests.admission.test_defaults import comparable
from tests.admission.test_shapes import ODD, nodes
from tests.controlplane.build import NEWEST
from tests.controlplane.controlplane import ControlPlane
from tests.generator.network import NAMES, random_cluster
from tests.generator.objects import Object, metadata, namespace, service_account, snapshot

SPEC: Object = {"containers": [{"name": "main", "image": "x:1"}]}
LABELS = {"app": "web"}
GROUPS: dict[str, tuple[str, str]] = {
    "Deployment": ("apps/v1", "deployments.apps"), "ReplicaSet": ("apps/v1", "replicasets.apps"),
    "StatefulSet": ("apps/v1", "statefulsets.apps"), "DaemonSet": ("apps/v1", "daemonsets.apps"),
    "Job": ("batch/v1", "jobs.batch"), "CronJob": ("batch/v1", "cronjobs.batch"),
    "ReplicationController": ("v1", "replicationcontrollers"), "Rollout": ("argoproj.io/v1alpha1", ""),
}  # fmt: skip
SECONDS = 60.0
TOKEN = {"name": "kube-api-access-x1y2z", "projected": {"sources": []}}


def reference(owner: str) -> list[Object]:
    """The owner reference to a controller, KIND/NAME."""
    kind, _, name = owner.partition("/")
    return [{"apiVersion": GROUPS[kind][0], "kind": kind, "name": name, "controller": True}]


def owned(name: str, owner: str, **more: Any) -> Object:
    return metadata(name, "pay", **({"ownerReferences": reference(owner)} if owner else {}), **more)


def workload(kind: str, name: str = "w", owner: str = "", spec: Object = SPEC) -> Object:
    """A workload that selects the pods of its template."""
    template: Object = {"metadata": {"labels": LABELS, "annotations": {"a": "b"}}, "spec": spec}
    own: Object = {"template": template}
    if kind == "CronJob":
        own = {"jobTemplate": {"spec": own}}
    elif kind != "Job":
        own["selector"] = LABELS if kind == "ReplicationController" else {"matchLabels": LABELS}
    return {"apiVersion": GROUPS[kind][0], "kind": kind, "metadata": owned(name, owner), "spec": own}


def pod(name: str = "p", owner: str = "", phase: str = "Running", labels: Any = LABELS, **spec: Any) -> Object:
    """A pod on a node."""
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": owned(name, owner, labels=labels),
        "spec": {**SPEC, "nodeName": "n", **spec}, "status": {"phase": phase},
    }  # fmt: skip


def made(*objects: Object) -> Snapshot:
    return snapshot([namespace("pay", team="pay"), *objects])


def asked(*objects: Object) -> dict[str, list[Request]]:
    """The requests of the namespace's workloads, by name."""
    found: dict[str, list[Request]] = {}
    for name, request in requests_of(made(*objects), "pay"):
        found.setdefault(name, []).append(request)
    return found


def only(*objects: Object) -> Request:
    """The one request."""
    [(_, [request])] = asked(*objects).items()
    return request


def object_of(request: Request) -> Any:
    assert request.object is not None
    return request.object


# What a template makes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "user", "name", "owner"),
    [
        ("Deployment", "replicaset-controller", "w-00000-00000", "ReplicaSet/w-00000"),
        ("ReplicaSet", "replicaset-controller", "w-00000", "ReplicaSet/w"),
        ("ReplicationController", "replication-controller", "w-00000", "ReplicationController/w"),
        ("StatefulSet", "statefulset-controller", "w-0", "StatefulSet/w"),
        ("DaemonSet", "daemon-set-controller", "w-00000", "DaemonSet/w"),
        ("Job", "job-controller", "w-00000", "Job/w"),
        ("CronJob", "job-controller", "w-00000-00000", "Job/w-00000"),
    ],
)
def test_the_pod_of_a_template(kind: str, user: str, name: str, owner: str) -> None:
    """Its controller asks for it: with the template's labels and annotations, its owner, and the server's defaults."""
    request = only(workload(kind))
    assert [*asked(workload(kind))] == [f"workload:pay/w[{kind}]"]
    assert User(request.user, request.groups) == controller(user)
    assert (request.operation, request.kind, request.namespace) == ("CREATE", ("", "v1", "Pod"), "pay")
    meta = object_of(request)["metadata"]
    assert request.name == (name if kind == "StatefulSet" else "")
    assert (meta["name"], meta["namespace"], meta["annotations"]) == (name, "pay", {"a": "b"})
    assert LABELS.items() <= meta["labels"].items()
    assert meta["ownerReferences"] == [{**reference(owner)[0], "blockOwnerDeletion": True}]
    spec = object_of(request)["spec"]
    assert (spec["restartPolicy"], spec["securityContext"], spec["containers"][0]["image"]) == ("Always", {}, "x:1")
    assert request.namespace_object is not None
    assert request.namespace_object["metadata"]["labels"] == {"team": "pay", NAME_LABEL: "pay"}


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("Deployment", {"pod-template-hash"}),
        ("StatefulSet", {"apps.kubernetes.io/pod-index", "controller-revision-hash",
                         "statefulset.kubernetes.io/pod-name"}),
        ("DaemonSet", {"controller-revision-hash", "pod-template-generation"}),
        ("Job", {"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"}),
        ("ReplicaSet", set()),
    ],
)  # fmt: skip
def test_the_labels_that_a_controller_adds(kind: str, labels: set[str]) -> None:
    """Beside the template's."""
    assert object_of(only(workload(kind)))["metadata"]["labels"].keys() - LABELS.keys() == labels


def test_the_pods_of_a_daemon_set_tolerate_what_others_do_not() -> None:
    """So its controller has it; where they go is not known."""
    request = only(workload("DaemonSet", spec={**SPEC, "hostNetwork": True}))
    found = {one["key"].removeprefix("node.kubernetes.io/") for one in object_of(request)["spec"]["tolerations"]}
    assert found == {"not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable",
                     "network-unavailable"}  # fmt: skip
    assert all("tolerationSeconds" not in one for one in object_of(request)["spec"]["tolerations"])
    assert "affinity" in request.hidden


def test_what_a_stateful_set_mounts_and_does_not_have_is_a_claim() -> None:
    """Its claim templates are not kept; their names are where they are mounted."""
    mounts = [{"name": "data", "mountPath": "/d"}, {"name": "own", "mountPath": "/o"}]
    spec = {"containers": [{**SPEC["containers"][0], "volumeMounts": mounts}], "volumes": [{"name": "own"}],
            "automountServiceAccountToken": False}  # fmt: skip
    volumes = object_of(only(workload("StatefulSet", spec=spec)))["spec"]["volumes"]
    assert volumes == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-w-0"}}, {"name": "own", "emptyDir": {}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("env", "hidden"),
    [
        ([], False),
        ([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}], False),
        ([{"name": "A", "value": "b"}], True),
        ([{"name": "A"}], True),
    ],
)
def test_values_that_are_not_kept_are_not_known(env: list[Object], hidden: bool) -> None:
    """A policy that reads them can say nothing, rather than that there are none."""
    spec: Object = {"containers": [{**SPEC["containers"][0], "env": env}]}
    for given in (workload("Deployment", spec=spec), pod(**spec)):
        assert ("value" in only(given).hidden) == hidden


@pytest.mark.parametrize(
    ("account", "own", "mounted"),
    [(None, None, True), (False, None, False), (True, None, True), (False, True, True), (True, False, False),
     (None, False, False)],
)  # fmt: skip
def test_a_token_is_mounted_as_pod_and_account_say(account: bool | None, own: bool | None, mounted: bool) -> None:
    """What the pod says outranks what its ServiceAccount says."""
    there = service_account("pay", "api") | ({} if account is None else {"automountServiceAccountToken": account})
    said = {} if own is None else {"automountServiceAccountToken": own}
    request = only(there, workload("Deployment", spec={**SPEC, "serviceAccountName": "api", **said}))
    assert ("volumes" in object_of(request)["spec"]) == mounted


# Whose a pod is -----------------------------------------------------------------------------------------------------

DEPLOYMENT = workload("Deployment", "web")
REPLICAS = workload("ReplicaSet", "web-1", "Deployment/web")


@pytest.mark.parametrize(
    ("objects", "names"),
    [
        ([DEPLOYMENT, REPLICAS, pod(owner="ReplicaSet/web-1")], ["web[Deployment]"]),
        ([REPLICAS, pod(owner="ReplicaSet/web-1")], ["web[Deployment]"]),
        ([REPLICAS], []),
        ([pod(owner="ReplicaSet/gone")], ["gone[ReplicaSet]"]),
        ([workload("ReplicaSet", "r-1", "Rollout/r"), pod(owner="ReplicaSet/r-1")], ["r[Rollout]"]),
        ([pod("p", "Rollout/r"), pod("q", "Rollout/r")], ["r[Rollout]"]),
        ([workload("CronJob", "c"), workload("Job", "c-1", "CronJob/c"), pod(owner="Job/c-1")], ["c[CronJob]"]),
        ([DEPLOYMENT, REPLICAS, pod(owner="ReplicaSet/web-1", labels={"app": "other"})], ["web[Deployment]", "p[Pod]"]),
        ([DEPLOYMENT, pod(owner="Deployment/web")], ["web[Deployment]", "p[Pod]"]),
        ([pod("a"), pod("b")], ["a[Pod]", "b[Pod]"]),
        ([pod("a", phase="Succeeded"), pod("b", phase="Failed"), pod("c", phase="Pending")], ["c[Pod]"]),
    ],
)
def test_workloads_are_folded_by_their_owner(objects: list[Object], names: list[str]) -> None:
    """A template stands for its pods; an owner reference that no controller believes is none."""
    assert [name for name, _ in requests_of(made(*objects), "pay")] == [f"workload:pay/{name}" for name in names]


def test_pods_of_one_workload_that_differ_are_all_asked_for() -> None:
    """Where no template says what they are: two rollouts may run at once. Names, nodes and tokens are no difference."""
    mount = {"name": TOKEN["name"], "mountPath": "/t"}
    same = [pod(name, "Rollout/r", nodeName=name, volumes=[{**TOKEN, "name": f"kube-api-access-{name}"}],
                containers=[{**SPEC["containers"][0], "volumeMounts": [{**mount, "name": f"kube-api-access-{name}"}]}])
            for name in ("a", "b")]  # fmt: skip
    other = pod("c", "Rollout/r", hostNetwork=True)
    found = asked(*same, other)["workload:pay/r[Rollout]"]
    assert [object_of(one)["spec"].get("hostNetwork") for one in found] == [None, True]
    assert all("nodeName" not in object_of(one)["spec"] for one in found)


@pytest.mark.parametrize(
    ("owner", "user"),
    [("", None), ("Rollout/r", None), ("ReplicaSet/r", "replicaset-controller"), ("Job/j", "job-controller")],
)
def test_who_asks_for_a_pod(owner: str, user: str | None) -> None:
    """The controller that its owner reference names; of a bare one nobody knows."""
    request = only(pod(owner=owner))
    assert User(request.user, request.groups) == (controller(user) if user else User(None))


def test_a_pod_that_was_given_a_container_is_asked_for_beside_its_template() -> None:
    """A sidecar that comes in at admission needs what the template does not. Pods alike are asked for once."""
    more: Object = {"initContainers": [{"name": "proxy-init", "image": "x", "securityContext": {"privileged": True}}]}
    pods = [pod(name, "ReplicaSet/web-1", nodeName=name, **more) for name in "ab"]
    first, second = asked(DEPLOYMENT, REPLICAS, *pods)["workload:pay/web[Deployment]"]
    assert "initContainers" not in object_of(first)["spec"]
    assert object_of(second)["spec"]["initContainers"][0]["name"] == "proxy-init"
    assert second.user == controller("replicaset-controller").name


def test_an_ephemeral_container_is_a_request_of_its_own() -> None:
    """The pod came without it; who added it is not known."""
    added = [{"name": "debug", "image": "x", "securityContext": {"privileged": True}}]
    first, update = asked(DEPLOYMENT, REPLICAS, pod(owner="ReplicaSet/web-1", ephemeralContainers=added))[
        "workload:pay/web[Deployment]"
    ]
    assert "ephemeralContainers" not in object_of(first)["spec"]
    assert (update.operation, update.subresource, update.name, update.user) == (
        "UPDATE",
        "ephemeralcontainers",
        "p",
        None,
    )
    assert update.old is not None
    spec = {field: one for field, one in object_of(update)["spec"].items() if field != "ephemeralContainers"}
    assert spec == update.old["spec"]
    assert object_of(update)["spec"]["ephemeralContainers"][0]["securityContext"] == {"privileged": True}


@pytest.mark.parametrize("seed", range(20))
def test_names_are_those_of_the_network(seed: int) -> None:
    """One workload, one name, whatever the domain."""
    there = snapshot(random_cluster(Random(seed)))
    for where in NAMES:
        alive = {
            workload_of(there, key, content)
            for resource in WORKLOADS for key, content in there.objects(resource)
            if key.namespace == where and (content.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        }  # fmt: skip
        assert {name for name, _ in requests_of(there, where)} == alive


# As real controllers make them --------------------------------------------------------------------------------------

MOUNTS = [{"name": "data", "mountPath": "/d"}]
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
STORED: dict[str, Object] = {
    "Deployment": {"replicas": 1}, "ReplicaSet": {"replicas": 1}, "ReplicationController": {"replicas": 1},
    "StatefulSet": {"replicas": 1, "serviceName": "web", "volumeClaimTemplates": [
        {"metadata": {"name": "data"}, "spec": CLAIM}]},
    "DaemonSet": {}, "Job": {},
}  # fmt: skip
HIDDEN = ("affinity", "hostname", "subdomain")


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A server with the controllers that make pods, and a node to make them for."""
    names = ("deployment", "replicaset", "replicationcontroller", "statefulset", "daemonset", "job", "serviceaccount")
    with ControlPlane(NEWEST, controllers=[f"{name}-controller" for name in names]) as running:
        running.request("POST", "/api/v1/namespaces", {"metadata": {"name": "pay"}})
        running.apply([service_account("pay", "default")])
        running.request("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
        merge = {"Content-Type": "application/merge-patch+json"}
        running.request("PATCH", "/api/v1/nodes/n", {"spec": {"taints": None}}, headers=merge)  # it is not ready
        yield running


@pytest.mark.prove
@pytest.mark.parametrize("kind", STORED)
def test_the_pod_of_a_template_is_what_the_controller_makes(plane: ControlPlane, kind: str) -> None:
    """Its specification, its labels and its owner, but for what is made up and what is said to be hidden."""
    name, version = kind.lower(), GROUPS[kind][0]
    container = {**SPEC["containers"][0], "volumeMounts": MOUNTS if kind == "StatefulSet" else []}
    spec = {"containers": [container]} | ({"restartPolicy": "Never"} if kind == "Job" else {})
    given = workload(kind, name, spec=spec)
    labels = {"app": name}
    given["spec"]["template"]["metadata"]["labels"] = labels
    if "selector" in given["spec"]:
        given["spec"]["selector"] = labels if kind == "ReplicationController" else {"matchLabels": labels}
    path = f"/{'api' if version == 'v1' else 'apis'}/{version}/namespaces/pay/{name}s"
    plane.request("POST", path, {**given, "spec": given["spec"] | STORED[kind]})
    stored = plane.request("GET", f"{path}/{name}")
    expected = object_of(only({**stored, "kind": kind, "apiVersion": version}))
    real = made_pod(plane, name)
    assert real["spec"].keys() - expected["spec"].keys() <= {*HIDDEN}
    for field in HIDDEN:
        real["spec"].pop(field, None)
    found, wanted = comparable(real)["spec"], comparable(expected)["spec"]
    assert found == wanted
    assert real["metadata"]["labels"].keys() == expected["metadata"]["labels"].keys()
    begin = "generateName" if kind != "StatefulSet" else "name"
    owner, own = real["metadata"]["ownerReferences"][0], expected["metadata"]["ownerReferences"][0]
    assert {**owner, "name": "", "uid": ""} == {**own, "name": "", "uid": ""}
    assert real["metadata"][begin].startswith(name)
    assert expected["metadata"]["name"].startswith(name)


def made_pod(plane: ControlPlane, name: str) -> Object:
    end = time.monotonic() + SECONDS
    while not (found := plane.request("GET", f"/api/v1/namespaces/pay/pods?labelSelector=app={name}")["items"]):
        assert time.monotonic() < end, "no pod was made"
        time.sleep(0.1)
    one: Object = found[0]
    return {"apiVersion": "v1", "kind": "Pod", **one}


# What is kept -------------------------------------------------------------------------------------------------------


def test_requests_are_kept_until_something_that_they_are_made_of_changes() -> None:
    """Of this namespace: its workloads, its ServiceAccounts, its labels."""
    one = made(DEPLOYMENT, namespace("shop"), service_account("pay", "default"))
    first = requests_of(one, "pay")
    assert requests_of(one, "pay") is first
    key = Key("deployments.apps", "pay", "web")
    content = one.get(key) or {}
    elsewhere = one.replaced([(key._replace(namespace="shop"), content)])
    assert requests_of(elsewhere, "pay") is first
    assert [name for name, _ in requests_of(elsewhere, "shop")] == ["workload:shop/web[Deployment]"]
    for changed, given in (
        (key, {**content, "labels": {"a": "b"}}),
        (Key("serviceaccounts", "pay", "default"), {"automountServiceAccountToken": False}),
        (Key("namespaces", "", "pay"), {"labels": {"a": "b"}}),
        (Key("pods", "pay", "p"), {"spec": SPEC}),
    ):
        assert requests_of(elsewhere.replaced([(changed, given)]), "pay") is not first
    assert [name for name, _ in requests_of(elsewhere.replaced([(key, None)]), "pay")] == []
    assert [name for name, _ in requests_of(one, "pay")] == ["workload:pay/web[Deployment]"]


def test_a_namespace_that_is_not_there_is_not_known() -> None:
    """Its labels are not taken for none."""
    [(_, request)] = requests_of(snapshot([DEPLOYMENT]), "pay")
    assert request.namespace_object is None


def test_no_shape_raises() -> None:
    """A folder holds what no server would: each part of a workload becomes a value of every type of JSON."""
    claims = {
        **SPEC,
        "volumes": [TOKEN],
        "containers": [{"name": "a", "env": [{"name": "A"}], "volumeMounts": [TOKEN]}],
    }
    controlled = pod(owner="ReplicaSet/web-1", ephemeralContainers=[{"name": "d"}], **claims)
    there = made(workload("StatefulSet", spec=claims), workload("DaemonSet"), DEPLOYMENT, REPLICAS, controlled)
    for resource in WORKLOADS:
        for key, content in [*there.objects(resource)]:
            for path in [path for path in nodes(content) if path]:
                for odd in ODD:
                    changed: Any = deepcopy(content)
                    at = changed
                    for step in path[:-1]:
                        at = at[step]
                    at[path[-1]] = odd
                    requests_of(there.replaced([(key, changed)]), "pay")
