"""What a cut adds to a cluster, as a server takes it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from posture.cel import Process
from posture.commands import fixes
from posture.graph.cut import Cut, cut
from tests.controlplane.build import NEWEST
from tests.controlplane.controlplane import ControlPlane
from tests.generator.network import deployment
from tests.generator.objects import Object, account, binding, guarded, namespace, role, rule, service_account

from .graphs import graph_of
from .proving import catalogue

WEB = "serviceaccount:pay/web"
LEVEL = "pod-security.kubernetes.io/enforce"
PAY = [guarded("pay"), service_account("pay", "web")]
SECONDS = 30.0


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane of its own: what is added counts for everybody."""
    with ControlPlane(NEWEST) as running:
        running.apply(PAY)
        yield running


def applied(plane: ControlPlane, found: Cut, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Apply the edits of the proposal that begins so, as they are printed."""
    fix = next(fix for fix in found.fixes if fix.text.startswith(start))
    fixes.emit(("edit", edit) for edit in fix.edits)
    plane.kubectl("apply", "-f", "-", input=capsys.readouterr().out)


def accepts(plane: ControlPlane, made: Object) -> bool:
    """Whether a server would create an object."""
    return plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(made), check=False).returncode == 0


def test_namespaces_say_a_level(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a level, or with the one that refuses nothing, none is made any more."""
    grants = [one for number in range(3) for kind in ("namespaces", "pods") for one in (
        role(f"{kind}{number}", rule("create", kind)),
        binding(f"{kind}{number}", f"ClusterRole/{kind}{number}", account("pay", "web")),
    )]  # fmt: skip
    with Process() as cel:
        found = cut(graph_of([*PAY, *grants], catalogue(), cel=cel), [WEB], "node")
    assert accepts(plane, namespace("plain"))
    applied(plane, found, "Refuse namespaces without", capsys)

    until = time.monotonic() + SECONDS
    while accepts(plane, namespace("plain")) and time.monotonic() < until:
        time.sleep(0.2)  # a server reads its policies a little later
    asked = [namespace("plain"), namespace("open", **{LEVEL: "privileged"}), namespace("kept", **{LEVEL: "baseline"})]
    assert [accepts(plane, one) for one in asked] == [False, False, True]


def test_pods_are_kept_from_the_metadata_service(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    """The policy that is added is valid."""
    running = deployment("pay", "web", {"app": "web"}, serviceAccountName="web")
    found = cut(graph_of([*PAY, running], catalogue()), ["workload:pay/web[Deployment]"], "cloud/node")
    applied(plane, found, "Keep the pods of Deployment pay/web", capsys)
    names = plane.kubectl("get", "networkpolicies", "-n", "pay", "-o", "name").stdout.split()
    assert [name.rpartition("-")[0] for name in names] == ["networkpolicy.networking.k8s.io/deny-cloud-metadata"]
