"""A small cluster with exceptions in every state, for commands that ask what is admitted."""

from __future__ import annotations

from typing import Any

from tests.generator import vap
from tests.generator.engines import cluster_policy, exception, kyverno, kyverno_rule, pod_security, where
from tests.generator.objects import Object, metadata, namespace

FLAGS = ("--enablePolicyException=true", "--exceptionNamespace=exceptions")
NO_ESCALATION = (
    "object.spec.containers.all(c, has(c.securityContext) && has(c.securityContext.allowPrivilegeEscalation)"
    " && !c.securityContext.allowPrivilegeEscalation)"
)


def workload(where: str, name: str, kind: str = "Deployment", **security: Any) -> Object:
    """A workload whose one container has a security context."""
    container = {"name": "main", "image": "example.com/main:1", "securityContext": security}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata(name, where), "spec": spec}


def excepted(name: str, namespace: str, created: str = "", **facts: str) -> Object:
    """A Kyverno exception for all pods of a namespace; `facts` are what its annotations say."""
    found = exception(name, "exceptions", [("levels", ["baseline"])], {"namespaces": [namespace]})
    found["metadata"] |= {"creationTimestamp": created} if created else {}
    found["metadata"]["annotations"] = {f"posture.dev/exception-{fact}": text for fact, text in facts.items()}
    return found


def cluster(*more: Object) -> list[Object]:
    """Pod Security baseline by Kyverno everywhere, with exceptions; no privilege escalation in shop, unless skipped."""
    names = ("agents", "old", "pay", "web", "exceptions", "kyverno")
    return [
        *map(namespace, names), namespace("shop", tier="strict"), *kyverno(*FLAGS),
        cluster_policy("levels", kyverno_rule("baseline", pod_security("baseline"))),
        excepted("agents", "agents"),
        excepted("done", "old", "2026-01-10T00:00:00Z"),
        excepted("late", "web", "2026-09-01T00:00:00Z", owner="web-team", reason="a migration", ticket="WEB-7",
                 expires="2026-10-01"),
        excepted("known", "pay", owner="pay-team", reason="hardware", ticket="PAY-1", expires="2027-10-01",
                 **{"approved-by": "ann"}),
        vap.policy("strict", NO_ESCALATION, matchConstraints={"objectSelector": where("skip", "DoesNotExist")}),
        vap.binding("strict", matchResources={"namespaceSelector": {"matchLabels": {"tier": "strict"}}}),
        workload("agents", "agent", "DaemonSet", privileged=True), workload("pay", "driver", privileged=True),
        workload("web", "front", allowPrivilegeEscalation=False),
        *more,
    ]  # fmt: skip
