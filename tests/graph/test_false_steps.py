"""What a permission allows and yet is no step, by what there is in the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from posture import rbac
from posture.graph.abilities import abilities
from tests.generator.network import deployment, pod
from tests.generator.objects import Object, account, binding, metadata, namespace, role, rule, service_account, snapshot
from tests.graph.graphs import graph_of, held_by
from tests.graph.proving import catalogue

TEAM, DEV = "team", "serviceaccount:team/dev"
WEB = "workload:team/web[Pod]"


def reads(made: Object) -> Object:
    """A pod whose container reads its standard input."""
    made["spec"]["containers"][0]["stdin"] = True
    return made


def placed(name: str, node: str) -> Object:
    """A pod on a node."""
    return pod(TEAM, name, nodeName=node)


def kyverno(*arguments: str) -> list[Object]:
    """Kyverno as it is told to treat exceptions, with a policy that may refuse something."""
    labels = {"app.kubernetes.io/component": "admission-controller", "app.kubernetes.io/part-of": "kyverno"}
    controller = deployment("kyverno", "kyverno-admission-controller", labels)
    controller["metadata"]["labels"] = labels
    controller["spec"]["template"]["spec"]["containers"][0]["args"] = [*arguments]
    policy = {
        "apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": metadata("no-privileged"),
        "spec": {"validationFailureAction": "Enforce", "rules": [{
            "name": "no-privileged", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "validate": {"message": "no", "pattern": {"spec": {"=(containers)": [
                {"=(securityContext)": {"=(privileged)": "false"}}]}}},
        }]},
    }  # fmt: skip
    return [namespace("kyverno"), controller, policy]


def granted(*rules: Object, where: str = TEAM) -> list[Object]:
    """A ServiceAccount, and what it is granted."""
    return [
        namespace(TEAM), service_account(TEAM, "dev"), role("r", *rules),
        binding("r", "ClusterRole/r", account(TEAM, "dev"), namespace=where),
    ]  # fmt: skip


ATTACH = rule("create", "pods/attach")
PATCH = rule("patch", "deployments", "apps", names=["web"])
RELEASED = deployment(TEAM, "web", {"app": "web"})
OTHER = deployment(TEAM, "other", {"app": "other"})
PROXY = rule("get", "nodes/proxy", names=["n1"])
DEBUG = rule("patch", "pods/ephemeralcontainers", names=["web"])
EXCEPT = rule("create", "policyexceptions", "kyverno.io")
EXCEPT_BY_CEL = rule("create", "policyexceptions", "policies.kyverno.io")
ON, HERE, ELSEWHERE = "--enablePolicyException=true", "--exceptionNamespace=team", "--exceptionNamespace=platform"
ROWS: list[tuple[str, list[Object], Sequence[Object], str, bool]] = [
    ("attach-to-what-reads-its-input", granted(ATTACH), [reads(pod(TEAM, "web"))], WEB, True),
    ("attach-to-what-does-not", granted(ATTACH), [pod(TEAM, "web")], WEB, False),
    ("attach-to-another-one", granted(rule("create", "pods/attach", names=["db"])), [reads(pod(TEAM, "web"))], WEB,
     False),
    ("attach-everywhere", granted(ATTACH, where=""), [reads(pod(TEAM, "web"))], WEB, True),
    ("proxy-to-its-node", granted(PROXY, where=""), [placed("web", "n1"), placed("db", "n2")], WEB, True),
    ("proxy-to-another-node", granted(PROXY, where=""), [placed("web", "n2"), placed("db", "n1")], WEB, False),
    ("proxy-where-nobody-knows", granted(PROXY, where=""), [pod(TEAM, "web")], WEB, True),
    ("patch-what-is-there", granted(PATCH), [RELEASED], f"can:create-pods@{TEAM}", True),
    ("patch-what-is-not", granted(PATCH), [OTHER], f"can:create-pods@{TEAM}", False),
    ("patch-what-is-elsewhere", granted(PATCH, where=""), [deployment("b", "web", {})], f"can:create-pods@{TEAM}",
     False),
    ("patch-where-nothing-was-read", granted(PATCH), [], f"can:create-pods@{TEAM}", True),
    ("debug-what-is-there", granted(DEBUG), [pod(TEAM, "web")], f"secrets/{TEAM}", True),
    ("debug-what-is-not", granted(DEBUG), [pod(TEAM, "db")], f"secrets/{TEAM}", False),
    ("except-where-that-is-read", granted(EXCEPT), kyverno(ON, HERE), "engine/kyverno", True),
    ("except-elsewhere", granted(EXCEPT), kyverno(ON, ELSEWHERE), "engine/kyverno", False),
    ("except-while-switched-off", granted(EXCEPT), kyverno(HERE), "engine/kyverno", False),
    ("except-without-a-namespace", granted(EXCEPT), kyverno(ON), "engine/kyverno", False),
    ("except-by-cel-without-a-namespace", granted(EXCEPT_BY_CEL), kyverno(ON), "engine/kyverno", True),
    ("except-by-cel-while-switched-off", granted(EXCEPT_BY_CEL), kyverno(), "engine/kyverno", False),
    ("except-where-nobody-knows", granted(EXCEPT), kyverno(ON, HERE)[2:], "engine/kyverno", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "there", "node", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_permission_is_a_step_where_what_it_is_about_is_there(
    objects: Sequence[Object], there: Sequence[Any], node: str, expected: bool
) -> None:
    """A container that reads, a node that runs it, an object of the name, an exception that somebody reads."""
    assert (node in held_by(graph_of([*objects, namespace("b"), *there], catalogue()), DEV)) is expected


WRITE = rule("patch", "certificaterequests/status", "cert-manager.io")
APPROVE = rule("approve", "signers", "cert-manager.io", ["clusterissuers.cert-manager.io/ca"])


@pytest.mark.parametrize(("write", "approve", "expected"), [
    ("", "", True), (TEAM, "", True), ("", TEAM, False), (TEAM, TEAM, False),
])  # fmt: skip
def test_who_approves_certificates_is_granted_it_cluster_wide(write: str, approve: str, expected: bool) -> None:
    """The webhook asks in no namespace, wherever the CertificateRequest is."""
    objects = [namespace(TEAM), service_account(TEAM, "dev")]
    for name, given, where in (("write", WRITE, write), ("approve", APPROVE, approve)):
        objects += [role(name, given), binding(name, f"ClusterRole/{name}", account(TEAM, "dev"), namespace=where)]
    held = {(one.escalation, one.request) for one in abilities(rbac.evaluate(snapshot(objects)), catalogue())}

    assert (("cert-manager-approve", 1) in held) is expected
