"""Patches of workloads, as the API server applies them: exactly the fields change, and none that nobody knows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import pytest

from posture.commands import fixes
from posture.drift.causes import edit_of
from posture.graph.cut import cut
from posture.kinds import BY_NAME, project
from posture.model import Changed, Key
from posture.patch import UnwritableError, difference, patch_of, patched
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, metadata, namespace, service_account
from tests.graph.graphs import graph_of
from tests.graph.proving import catalogue

NS = "patches"
IMAGE = {"image": "registry.example/app:1"}
LABELS = {"app": "app"}


def workload(kind: str, name: str, spec: Object, labels: Object | None = None) -> Object:
    """A workload whose pods have a specification, with a container `c` where it names none."""
    spec = {"containers": [{"name": "c", **IMAGE}], **spec}
    template = {"metadata": {"labels": labels or LABELS}, "spec": spec}
    made = {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata(name, NS)}
    if kind == "CronJob":
        job = {"spec": {"template": {"spec": {**spec, "restartPolicy": "Never"}}}}
        return {**made, "apiVersion": "batch/v1", "spec": {"schedule": "0 0 * * *", "jobTemplate": job}}
    more = {"serviceName": name} if kind == "StatefulSet" else {}
    return {**made, "spec": {"selector": {"matchLabels": LABELS}, "template": template, **more}}


def container(name: str = "c", **more: Any) -> Object:
    """A container."""
    return {"name": name, **IMAGE, **more}


RESOURCES = {"Deployment": "deployments.apps", "DaemonSet": "daemonsets.apps", "StatefulSet": "statefulsets.apps",
             "CronJob": "cronjobs.batch"}  # fmt: skip


def sent(plane: ControlPlane, made: Object) -> tuple[Key, Object]:
    """The key of an object and how the API server has it."""
    plane.apply([namespace(NS), made])
    return Key(RESOURCES[made["kind"]], NS, made["metadata"]["name"]), as_it_is(plane, made)


def as_it_is(plane: ControlPlane, made: Object) -> Object:
    """An object as the API server has it."""
    name = made["metadata"]["name"]
    found: Object = json.loads(plane.kubectl("get", RESOURCES[made["kind"]], "-n", NS, name, "-o", "json").stdout)
    return found


def run(plane: ControlPlane, lines: str) -> None:
    """Does what printed commands say."""
    for line in lines.splitlines():
        program, *args = shlex.split(line.partition(": ")[2])
        assert program == "kubectl"
        plane.kubectl(*args)


PROJECTED = {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
HOST, EMPTY = {"name": "v", "hostPath": {"path": "/"}}, {"name": "v", "emptyDir": {}}
SECRET = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
MOUNT = {"name": "v", "mountPath": "/v"}
DNS = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]
KEY = {"key": "a", "operator": "Exists"}


@pytest.mark.parametrize(("old", "new"), [
    ({"hostPID": True}, {}),
    ({}, {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}),
    ({"serviceAccountName": "strong"}, {"serviceAccountName": "weak"}),
    ({"serviceAccountName": "strong"}, {}),
    ({"automountServiceAccountToken": True}, {"automountServiceAccountToken": False}),
    ({"volumes": [HOST], "containers": [container(volumeMounts=[MOUNT])]}, {}),
    ({"volumes": [HOST, PROJECTED]}, {"volumes": [EMPTY]}),
    ({"containers": [container(securityContext={"privileged": True, "runAsUser": 0})]},
     {"containers": [container(securityContext={"runAsUser": 0})]}),
    ({"containers": [container(securityContext={"capabilities": {"add": ["SYS_ADMIN", "NET_ADMIN"]}})]},
     {"containers": [container(securityContext={"capabilities": {"add": ["NET_ADMIN"]}})]}),
    ({"containers": [container(), container("side")]}, {"containers": [container()]}),
    ({"initContainers": [container("b")]}, {"initContainers": [container("a"), container("b")]}),
    ({"containers": [container(ports=DNS)]}, {"containers": [container(ports=DNS[:1])]}),
    ({"containers": [container(ports=[{"containerPort": 80, "hostPort": 80}])]},
     {"containers": [container(ports=[{"containerPort": 80}])]}),
    ({"containers": [container(env=[SECRET])]}, {"containers": [container(env=[])]}),
    ({"tolerations": [KEY], "nodeSelector": {"a": "1", "b": "2"}}, {"tolerations": [], "nodeSelector": {"b": "2"}}),
    ({"imagePullSecrets": [{"name": "a"}]}, {"imagePullSecrets": [{"name": "b"}]}),
    ({"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}]},
     {"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]}),
], ids=str)  # fmt: skip
def test_the_api_server_makes_of_one_what_the_other_is(control_plane: ControlPlane, old: Object, new: Object) -> None:
    """Patched with what differs, a workload is as if it had been made so."""
    made = workload("Deployment", "whole", new)
    key, wanted = sent(control_plane, made)
    control_plane.kubectl("delete", "deployments.apps", "-n", NS, "whole")
    _, before = sent(control_plane, workload("Deployment", "whole", old))
    kind = BY_NAME[key.resource]

    patch = patch_of(Changed(key, project(kind, before), project(kind, wanted)))
    control_plane.kubectl("patch", key.resource, "-n", NS, "whole", "--type", "strategic", "-p", json.dumps(patch))
    assert as_it_is(control_plane, made)["spec"] == wanted["spec"]
    control_plane.kubectl("delete", "deployments.apps", "-n", NS, "whole")


@pytest.mark.parametrize(("old", "new", "reason"), [
    ([container()], [container(env=[{"name": "A"}])], "environment values"),
    ([container()], [container(), container("side", env=[{"name": "A"}])], "environment values"),
    ([container(env=[SECRET])], [container(env=[{"name": "KEY"}])], "environment values"),
])  # fmt: skip
def test_what_is_not_kept_is_not_written(old: Sequence[Object], new: Sequence[Object], reason: str) -> None:
    """A variable whose value is not known would be emptied: no patch is made."""
    sides = ({"spec": {"template": {"spec": {"containers": side}}}} for side in (old, new))
    with pytest.raises(UnwritableError, match=reason):
        patch_of(Changed(Key("deployments.apps", NS, "a"), *sides))


@pytest.mark.parametrize(("resource", "old", "new"), [
    ("pods", {"spec": {"hostPID": True}}, {"spec": {}}),
    ("jobs.batch", {"spec": {"template": {"spec": {"hostPID": True}}}}, {"spec": {"template": {"spec": {}}}}),
    ("deployments.apps", {"spec": {"selector": {"matchLabels": {"a": "1"}}}}, {"spec": {"selector": {}}}),
])  # fmt: skip
def test_what_the_api_server_refuses_is_not_written(resource: str, old: Object, new: Object) -> None:
    """How a pod that runs, or a Job, runs, and a selector stay as they are."""
    with pytest.raises(UnwritableError, match="cannot be edited"):
        patch_of(Changed(Key(resource, NS, "a"), old, new))


def test_labels_of_a_pod_may_be_written() -> None:
    """What is no specification is below metadata."""
    changed = Changed(Key("pods", NS, "a"), {"labels": {"a": "1", "b": "2"}}, {"labels": {"b": "2"}})
    assert patch_of(changed) == {"metadata": {"labels": {"a": None}}}


@pytest.mark.parametrize(("old", "new"), [
    ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}),
    ({"volumes": [HOST, PROJECTED]}, {"volumes": [EMPTY]}),
    ({"containers": [container(), container("side")]}, {"containers": [container(ports=DNS), container("more")]}),
    ({"containers": [container(ports=DNS)]}, {"containers": [container(ports=DNS[:1])]}),
    ({"tolerations": [KEY]}, {"tolerations": []}),
])  # fmt: skip
def test_in_memory_a_patch_does_the_same(old: Object, new: Object) -> None:
    """What differs, applied to the one, makes the other."""
    assert patched(old, difference(old, new)) == new


ESCAPING = {
    "hostPID": True, "serviceAccountName": "runner",
    "volumes": [HOST, {"name": "zone", "hostPath": {"path": "/etc/localtime"}}, {"name": "own", "emptyDir": {}}],
    "initContainers": [container("first", securityContext={"privileged": True}, env=[{"name": "A", "value": "kept"}])],
    "containers": [
        container(securityContext={"capabilities": {"add": ["SYS_PTRACE", "NET_ADMIN"]}}, ports=DNS, env=[
            {"name": "PASSWORD", "value": "kept"}, SECRET,
        ], volumeMounts=[MOUNT, {"name": "zone", "mountPath": "/z"}, {"name": "own", "mountPath": "/o"}]),
    ],
}  # fmt: skip
"""A pod specification with its node by three ways, beside what is harmless and what nobody keeps."""


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_workload_loses_its_node_and_nothing_else(
    control_plane: ControlPlane, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """The printed command is accepted; of the object only what gave the node away is gone."""
    made = workload(kind, f"escapes-{kind.lower()}", ESCAPING)
    key, before = sent(control_plane, made)
    spec = spec_of(before)
    found = cut(graph_of([namespace(NS), service_account(NS, "runner"), before], catalogue()),
                [f"workload:{NS}/{key.name}[{kind}]"], "node")  # fmt: skip
    fixes.emit(("patch", edit) for edit in found.fixes[0].edits)
    run(control_plane, capsys.readouterr().out)

    del spec["hostPID"], spec["volumes"][0], spec["containers"][0]["volumeMounts"][0]
    del spec["initContainers"][0]["securityContext"]["privileged"]
    after = spec_of(as_it_is(control_plane, made))
    after["initContainers"][0].setdefault("securityContext", {})
    assert after == spec


def spec_of(workload: Object) -> Object:
    """The pod specification of a workload."""
    spec = workload["spec"]
    found: Object = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]["spec"]
    return found


def test_a_workload_gets_no_token(control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    """Where its pods ask for one themselves only its template can say no."""
    made = workload("Deployment", "asks", {"serviceAccountName": "runner", "automountServiceAccountToken": True})
    _, before = sent(control_plane, made)
    objects = [namespace(NS), service_account(NS, "runner"), before]
    found = cut(graph_of(objects, catalogue()), [f"workload:{NS}/asks[Deployment]"], f"serviceaccount:{NS}/runner")
    assert [fix.text for fix in found.fixes] == [f"Mount no token in pods of Deployment {NS}/asks"]
    fixes.emit(("patch", edit) for edit in found.fixes[0].edits)
    run(control_plane, capsys.readouterr().out)
    assert spec_of(as_it_is(control_plane, made)) == spec_of(before) | {"automountServiceAccountToken": False}


def test_a_command_is_one_word_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """Quotes, and what a terminal would act on, are escaped."""
    key = Key("deployments.apps", NS, "a")
    text = "it's \x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}"
    sides = ({"spec": {"template": {"metadata": {"labels": {"a": side}}}}} for side in ("1", text))
    fixes.emit([("patch", edit_of(Changed(key, *sides)))])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    *_, patch, flag, where, resource, name = shlex.split(line.partition(": ")[2])
    assert json.loads(patch)["spec"]["template"]["metadata"]["labels"]["a"] == text
    assert (flag, where, resource, name) == ("deployments.apps", "-n", NS, "a")
