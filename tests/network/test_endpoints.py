"""Which pods are of which workload, what pods a template will make, and what nobody believes of a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from posture.cli import run
from posture.collect import objects
from posture.kinds import BY_KIND
from tests.generator.network import deployment, network_policy, pod, replica_set
from tests.generator.objects import Object, metadata, namespace

from .clusters import evaluated

type Classes = set[tuple[str, frozenset[str]]]
APP = {"app": "web"}


def workload(kind: str, name: str = "web", version: str = "apps/v1", owner: Object | None = None) -> Object:
    """Something that makes pods with the label app=web."""
    template: Object = {"metadata": {"labels": APP}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    if kind == "CronJob":
        spec: Object = {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}
    else:
        spec = {"template": template} | ({} if kind == "Job" else {"selector": {"matchLabels": APP}})
    if kind == "ReplicationController":
        spec["selector"] = APP
    owners = {"ownerReferences": [owner]} if owner else {}
    return {"apiVersion": version, "kind": kind, "metadata": metadata(name, "pay", **owners), "spec": spec}


def reference(kind: str, name: str = "web", version: str = "apps/v1") -> Object:
    """The owner reference of a controller."""
    return {"apiVersion": version, "kind": kind, "name": name, "uid": "u", "controller": True}


def running(owner: Object, **labels: str) -> Object:
    """A pod p with an owner."""
    made = pod("pay", "p", labels)
    made["metadata"]["ownerReferences"] = [owner]
    return made


def classes(*given: Object) -> Classes:
    """The workloads with their labels: what everybody sees of the namespace pay."""
    found = evaluated([namespace("pay"), *given])
    return {
        (one.workload.removeprefix("workload:pay/"), frozenset(f"{key}={value}" for key, value in one.labels))
        for one in found.spaces["pay"].classes
    }


# Labels that controllers add ----------------------------------------------------------------------------------------

JOBS = ("job-name", "batch.kubernetes.io/job-name", "controller-uid", "batch.kubernetes.io/controller-uid")
ADDED = [
    ("Deployment", "apps/v1", "pod-template-hash", None),
    ("StatefulSet", "apps/v1", "controller-revision-hash", None),
    ("StatefulSet", "apps/v1", "statefulset.kubernetes.io/pod-name", "web-0"),
    ("StatefulSet", "apps/v1", "apps.kubernetes.io/pod-index", "0"),
    ("DaemonSet", "apps/v1", "controller-revision-hash", None),
    ("DaemonSet", "apps/v1", "pod-template-generation", None),
    *[("Job", "batch/v1", label, "web" if label.endswith("name") else None) for label in JOBS],
    *[("CronJob", "batch/v1", label, None) for label in JOBS],
]


@pytest.mark.parametrize(("kind", "version", "label", "value"), ADDED)
def test_pods_of_a_template_have_the_labels_that_its_controller_adds(
    kind: str, version: str, label: str, value: str | None
) -> None:
    """Selected where the label exists or has the value, not where it is absent; an unknown one is none of a list."""

    def isolated(**requirement: Any) -> bool:
        selector = {"matchExpressions": [{"key": label, **requirement}]}
        policy = network_policy("pay", "deny", podSelector=selector, policyTypes=["Ingress"])
        space = evaluated([namespace("pay"), workload(kind, version=version), policy]).spaces["pay"]
        (one,) = space.classes
        return bool([*space.profile(one, "ingress").policies()])

    assert isolated(operator="Exists")
    assert not isolated(operator="DoesNotExist")
    assert isolated(operator="In", values=["web-0", "web", "0"]) is (value is not None)
    assert isolated(operator="NotIn", values=["other"])


@pytest.mark.parametrize(("kind", "version"), [("ReplicaSet", "apps/v1"), ("ReplicationController", "v1")])
def test_a_replica_set_of_nobody_adds_no_label(kind: str, version: str) -> None:
    """The hash is the Deployment's."""
    policy = network_policy("pay", "deny", podSelector={"matchLabels": {"pod-template-hash": "x"}})
    assert classes(workload(kind, version=version), policy) == {(f"web[{kind}]", frozenset({"app=web"}))}


def test_a_policy_that_passes_over_all_rollouts_loosens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In manifests, where no pod runs yet: it isolates no Deployment any more."""
    rollouts = {"matchExpressions": [{"key": "pod-template-hash", "operator": "DoesNotExist"}]}
    for name, selector in (("a", {}), ("b", rollouts)):
        policy = network_policy("pay", "deny", podSelector=selector, policyTypes=["Ingress"])
        world = [namespace("pay"), deployment("pay", "web", APP), policy]
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(world), encoding="utf-8")

    run(["diff", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])

    assert "pay/web can now be reached by anyone" in capsys.readouterr().out


# Whose pod it is ----------------------------------------------------------------------------------------------------

WHOSE = [
    # what is there, the controller that the pod names, the pod's label app, whose pod it is
    ([workload("StatefulSet")], reference("StatefulSet"), "web", "web[StatefulSet]"),
    ([workload("StatefulSet")], reference("StatefulSet"), "other", "p[Pod]"),
    ([workload("StatefulSet")], reference("StatefulSet", version="x/v1"), "web", "p[Pod]"),
    ([workload("DaemonSet")], reference("DaemonSet"), "web", "web[DaemonSet]"),
    ([workload("DaemonSet")], reference("DaemonSet"), "other", "p[Pod]"),
    ([workload("ReplicaSet")], reference("ReplicaSet"), "web", "web[ReplicaSet]"),
    ([workload("ReplicaSet")], reference("ReplicaSet"), "other", "p[Pod]"),
    ([workload("ReplicationController", version="v1")], reference("ReplicationController", version="v1"), "web",
     "web[ReplicationController]"),
    ([workload("ReplicationController", version="v1")], reference("ReplicationController", version="v1"), "other",
     "p[Pod]"),
    ([workload("Deployment"), replica_set("pay", "web-1", "web")], reference("ReplicaSet", "web-1"), "web",
     "web[Deployment]"),
    ([workload("Deployment"), replica_set("pay", "web-1", "web")], reference("ReplicaSet", "web-1"), "other", "p[Pod]"),
    ([workload("Deployment")], reference("Deployment"), "web", "p[Pod]"),
    ([workload("CronJob", version="batch/v1")], reference("CronJob", version="batch/v1"), "web", "p[Pod]"),
    ([workload("Job", version="batch/v1")], reference("Job", version="batch/v1"), "web", "web[Job]"),
    ([workload("CronJob", version="batch/v1"),
      workload("Job", "web-1", "batch/v1", reference("CronJob", version="batch/v1"))],
     reference("Job", "web-1", "batch/v1"), "web", "web[CronJob]"),
    ([workload("StatefulSet"), workload("ReplicaSet", "web-1", owner=reference("StatefulSet"))],
     reference("ReplicaSet", "web-1"), "web", "web-1[ReplicaSet]"),
    ([], reference("ReplicaSet", "gone"), "web", "gone[ReplicaSet]"),
    ([], reference("Pod", "other", "x/v1"), "web", "p[Pod]"),
    ([workload("ReplicaSet", "web-1", owner=reference("Rollout", "web", "argoproj.io/v1alpha1"))],
     reference("ReplicaSet", "web-1"), "web", "web[Rollout]"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "owner", "app", "expected"), WHOSE)
def test_whose_pod_it_is(there: list[Object], owner: Object, app: str, expected: str) -> None:
    """A controller's, if such a controller makes pods and selects this one; else it stands for itself."""
    one = running(owner, app=app, mark="p")
    assert [name for name, labels in classes(*there, one) if "mark=p" in labels] == [expected]


TEMPLATES = [
    # what is there, the workloads that it is
    ([workload("Deployment"), replica_set("pay", "web-1", "web")], {"web[Deployment]"}),
    ([workload("Deployment", owner=reference("StatefulSet", "no"))], {"web[Deployment]"}),
    ([workload("Deployment"), workload("StatefulSet", "db", owner=reference("Deployment"))],
     {"web[Deployment]", "db[StatefulSet]"}),
    ([workload("Deployment", owner=reference("Foo", "foo", "x/v1"))], {"foo[Foo]"}),
    ([workload("ReplicaSet", "web-1", owner=reference("Rollout", "web", "argoproj.io/v1alpha1"))], {"web[Rollout]"}),
    ([workload("Job", "web-1", "batch/v1", reference("Flow", "web", "x/v1"))], {"web[Flow]"}),
]  # fmt: skip


@pytest.mark.parametrize(("there", "expected"), TEMPLATES)
def test_only_a_controller_that_is_read_speaks_for_a_template(there: list[Object], expected: set[str]) -> None:
    """A template of a controller that nobody reads is there, under the name that its pods have."""
    assert {name for name, _ in classes(*there)} == expected


def test_a_template_stays_beside_pods_that_are_not_like_it() -> None:
    """A pod says nothing about the pods that its workload makes next, unless it has all their labels."""
    stateful, owner = workload("StatefulSet"), reference("StatefulSet")
    stateful["spec"]["template"]["metadata"]["labels"] = {**APP, "role": "db"}

    template = ("web[StatefulSet]", frozenset({"app=web", "role=db"}))
    assert classes(stateful, running(owner, app="web")) == {template, ("web[StatefulSet]", frozenset({"app=web"}))}
    more = running(owner, app="web", role="db", injected="yes")
    assert classes(stateful, more) == {("web[StatefulSet]", frozenset({"app=web", "role=db", "injected=yes"}))}


# Manifests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("uid", "kept"), [("", False), ("8f14", True)])
def test_only_a_pod_that_the_server_knows_has_ended(uid: str, kept: bool) -> None:
    """The API server drops the status of a new pod; a dump of `kubectl get -o yaml` has a uid. Addresses stay."""
    one = pod("pay", "p", APP, ["10.0.0.1"], phase="Succeeded")
    one["metadata"]["uid"] = uid

    status = objects.normal(BY_KIND["", "Pod"], one)["status"]

    assert status.get("phase") == ("Succeeded" if kept else None)
    assert status["podIPs"] == [{"ip": "10.0.0.1"}]


SELECTORS: list[tuple[str, Any, str]] = [
    ("Deployment", "x", "spec.selector is not a mapping"),
    ("Deployment", {"matchLabels": {"a": 1}}, "spec.selector.matchLabels is not a map of strings"),
    ("StatefulSet", {"matchExpressions": [{"key": "a", "operator": "In", "values": 5}]},
     "spec.selector.matchExpressions[0].values is not a list"),
    ("ReplicaSet", {"matchLabels": {"a": "b"}}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "selector", "wrong"), SELECTORS)
def test_a_selector_of_another_shape_is_refused(kind: str, selector: Any, wrong: str) -> None:
    """As the API server refuses it: whose pods they are is read from it."""
    one = workload(kind)
    one["spec"]["selector"] = selector
    assert objects.misshapen(BY_KIND["apps", kind], one) == wrong
