"""Who may change the template of a running workload has what that workload has, whatever a new pod would be refused."""

from __future__ import annotations

import pytest

from tests.generator.objects import Object, account, binding, guarded, metadata, role, rule, service_account
from tests.graph.graphs import graph_of, held_by
from tests.graph.proving import catalogue

TEAM, WHO = "team", "serviceaccount:team/dev"
AGENT, WEB = f"workload:{TEAM}/agent[DaemonSet]", f"workload:{TEAM}/web[Deployment]"


def workload(kind: str, name: str, *, privileged: bool = False) -> Object:
    """A workload of the team."""
    container = {"name": "c", "image": "x"} | ({"securityContext": {"privileged": True}} if privileged else {})
    labels = {"app": name}
    somewhere = {"nodeSelector": {"kubernetes.io/os": "linux"}}  # a DaemonSet without it is on every node
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **somewhere}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata(name, TEAM),
            "spec": {"selector": {"matchLabels": labels}, "template": template}}  # fmt: skip


@pytest.mark.parametrize(("granted", "becomes", "not_"), [
    (rule("patch", "daemonsets", "apps", names=["agent"]), {AGENT, "node"}, {WEB}),
    (rule("patch", "deployments", "apps", names=["web"]), {WEB}, {AGENT, "node"}),
    (rule("update", "daemonsets", "apps"), {AGENT, WEB, "node"}, set()),
    (rule("patch", "daemonsets/status", "apps", names=["agent"]), set(), {AGENT, WEB, "node"}),
    (rule("patch", "daemonsets", "extensions", names=["agent"]), set(), {AGENT, WEB, "node"}),
    (rule("get", "daemonsets", "apps"), set(), {AGENT, WEB, "node"}),
], ids=lambda value: str(value) if isinstance(value, dict) else "")  # fmt: skip
def test_a_template_is_as_good_as_its_pods(granted: Object, becomes: set[str], not_: set[str]) -> None:
    """In a namespace that refuses privileged pods, what runs there already is privileged all the same."""
    objects = [
        guarded(TEAM), service_account(TEAM, "dev"), workload("Deployment", "web"),
        workload("DaemonSet", "agent", privileged=True), role("r", granted, namespace=TEAM),
        binding("b", "Role/r", account(TEAM, "dev"), namespace=TEAM),
    ]  # fmt: skip
    found = held_by(graph_of(objects, catalogue()), WHO)

    assert becomes <= found
    assert not found & not_
