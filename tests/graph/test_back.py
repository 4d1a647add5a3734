"""The way back of a path: of what a workload opened a patch of how it runs and of nothing else; and what stays open."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from posture.kinds import manifest
from posture.model import Finding
from tests.generator.network import container, deployment, pod
from tests.generator.objects import Object
from tests.graph.test_new_paths import ADMIN, PODS, TOKENS, Cluster
from tests.rbac.test_gaps import LATER

PRIVILEGED = {"securityContext": {"privileged": True}}
LITERAL = {"name": "PASSWORD", "value": "secret"}
HOST = {"name": "root", "hostPath": {"path": "/"}}


def web(*containers: Object, **spec: Any) -> Object:
    """The Deployment pay/web: with one container where none are given."""
    made = deployment("pay", "web", {"app": "web"}, **{"serviceAccountName": "idle", **spec})
    made["spec"]["template"]["spec"]["containers"] = [*containers] or [container("main", env=[LITERAL])]
    return made


def template(**spec: Any) -> Object:
    """A patch of a pod specification."""
    return {"spec": {"template": {"spec": spec}}}


def told(before: Object, after: Object) -> tuple[Cluster, Finding]:
    """The finding of what a workload opened, and the cluster where it was agreed to as it was."""
    cluster = Cluster([[*ADMIN, before]])
    (found,) = [one for one in cluster.told([*ADMIN, after]) if one.domain == "graph"]
    return cluster, found


@pytest.mark.parametrize(("after", "patch"), [
    pytest.param(web(container("main", env=[LITERAL], **PRIVILEGED)),
                 template(containers=[{"name": "main", "securityContext": None}]), id="privileged"),
    pytest.param(web(container("main", env=[{"name": "NEW", "value": "x"}], **PRIVILEGED) | {"image": "new"}),
                 template(containers=[{"name": "main", "securityContext": None}]), id="and-another-image"),
    pytest.param(web(container("main", env=[LITERAL]), container("side", **PRIVILEGED)),
                 template(containers=[{"name": "side", "$patch": "delete"}]), id="another-container"),
    pytest.param(web(serviceAccountName="admin"), template(serviceAccountName="idle"), id="another-account"),
    pytest.param(web(container("main", env=[LITERAL], volumeMounts=[{"name": "root", "mountPath": "/h"}]),
                     volumes=[HOST]),
                 template(containers=[{"name": "main", "volumeMounts": None}], volumes=None), id="host-path"),
])  # fmt: skip
def test_a_workload_is_put_back_by_a_patch(after: Object, patch: Object) -> None:
    """What it runs stays: its image, its environment. Patched, the finding is gone."""
    cluster, found = told(web(), after)
    assert found.fix is not None
    (edit,) = found.fix.edits
    assert found.fix.text == "Put Deployment pay/web back to what was agreed"
    assert edit.patch == patch

    assert edit.new is not None
    patched = manifest(edit.key, edit.new)
    left = [one for one in cluster.told([*ADMIN, patched], LATER) if one.domain == "graph"]
    assert {one.presence for one in left} <= {"absent"}


def test_how_a_pod_runs_cannot_be_edited() -> None:
    """A pod of its own, on a server, takes no such edit: there is no fix, and it says so."""
    before = pod("pay", "job", serviceAccountName="idle")
    after = deepcopy(before)
    after["spec"]["containers"][0] |= PRIVILEGED
    _, found = told(before, after)
    assert (found.fix, found.no_fix) == (
        None, "Put Pod pay/job back to what was agreed: how a Pod runs cannot be edited",
    )  # fmt: skip


def test_what_another_way_leaves_open_is_said_with_the_fix() -> None:
    """Of two ways each closes its own finding and not the path; one alone leaves nothing."""
    both = [one for one in Cluster([ADMIN]).told([*ADMIN, *PODS, *TOKENS]) if one.paths]
    assert [one.fix and one.fix.stays for one in both] == [("User eve still reaches cluster-admin by another way",)] * 2

    (alone,) = [one for one in Cluster([ADMIN]).told([*ADMIN, *TOKENS]) if one.paths]
    assert alone.fix is not None
    assert alone.fix.stays == ()
