"""The evaluator against Pod Security Admission in a real API server: random pods, sent as dry runs.

Each namespace enforces one level in one version. A pod's ephemeral containers are added to a pod that was stored before
its namespace enforced anything. The server judges what it has defaulted, and says which controls a pod violates.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import pytest

from posture.admission import defaults
from posture.admission.controls import BASELINE, RESTRICTED, Level
from posture.admission.pss import clamped, version_of, violations
from tests.conftest import FIGURE
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, namespace, service_account
from tests.generator.pods import random_pod

REASONS = {
    "allowPrivilegeEscalation": "allowPrivilegeEscalation != false",
    "appArmorProfile": "forbidden AppArmor profile",
    "capabilities_baseline": "non-default capabilities",
    "capabilities_restricted": "unrestricted capabilities",
    "hostNamespaces": "host namespaces",
    "hostPathVolumes": "hostPath volumes",
    "hostPorts": "hostPort",
    "hostProbesAndHostLifecycle": "probe or lifecycle host",
    "privileged": "privileged",
    "procMount": "procMount",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "restricted volume types",
    "runAsNonRoot": "runAsNonRoot != true",
    "runAsUser": "runAsUser=0",
    "seLinuxOptions": "seLinuxOptions",
    "seccompProfile_baseline": "seccompProfile",
    "seccompProfile_restricted": "seccompProfile",
    "sysctls": "forbidden sysctls",
    "windowsHostProcess": "hostProcess",
}
"""What the server calls each control in its message (policy/check_*.go)."""
NAMED = re.compile(
    rf"(?:^|\), )({'|'.join(map(re.escape, sorted(set(REASONS.values()), key=len, reverse=True)))})s? \("
)
MERGE = {"Content-Type": "application/merge-patch+json"}
LABEL = "pod-security.kubernetes.io/enforce"
SECONDS = 20.0


class Policy(NamedTuple):
    """A level in a version, as a namespace's labels say it. `run` keeps the namespaces of two tests apart."""

    run: int
    level: Level
    version: str

    @property
    def name(self) -> str:
        return f"pss-{self.run}-{self.level}-{self.version.replace('.', '-')}"

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.name}"


def parted(pod: Object) -> tuple[Object, list[Object]]:
    """A pod to create, and the ephemeral containers to add to it."""
    spec = {field: value for field, value in pod["spec"].items() if field != "ephemeralContainers"}
    created = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"], "spec": spec}
    return created, pod["spec"].get("ephemeralContainers", [])


def send(plane: ControlPlane, policy: Policy, pod: Object) -> str:
    """What the server has against a pod; empty if nothing."""
    created, added = parted(pod)
    with refusal() as said:
        if added:
            path, body = f"{policy.path}/pods/{pod['metadata']['name']}", {"spec": {"ephemeralContainers": added}}
            plane.request("PATCH", f"{path}/ephemeralcontainers?dryRun=All", body, headers=MERGE)
        else:
            plane.request("POST", f"{policy.path}/pods?dryRun=All", created)
    return "".join(said)


@contextlib.contextmanager
def refusal() -> Iterator[list[str]]:
    """Collect the message with which the server refuses what is sent inside."""
    said: list[str] = []
    try:
        yield said
    except RefusedError as error:
        said.append(str(error.body["message"]))


def enforce(plane: ControlPlane, policy: Policy, pods: list[Object]) -> None:
    """Make a namespace that enforces a policy, with the pods in it that get ephemeral containers."""
    plane.request("POST", "/api/v1/namespaces", namespace(policy.name))
    with contextlib.suppress(RefusedError):  # the controller may have been first
        plane.request("POST", f"{policy.path}/serviceaccounts", service_account(policy.name, "default"))
    for created, added in map(parted, pods):
        if added:
            plane.request("POST", f"{policy.path}/pods", created)
    labels = {LABEL: policy.level, f"{LABEL}-version": policy.version}
    plane.request("PATCH", policy.path, {"metadata": {"labels": labels}}, headers=MERGE)
    host: Object = {
        "metadata": {"name": "host"},
        "spec": {"hostPID": True, "containers": [{"name": "a", "image": "x"}]},
    }
    end = time.monotonic() + SECONDS
    while f'"{policy.level}:{policy.version}"' not in send(plane, policy, host):
        assert time.monotonic() < end, "the server has not seen the namespace's labels"
        time.sleep(0.02)


def reasons(message: str, policy: Policy) -> list[str]:
    """The controls that a refusal names, by what the server calls them."""
    if not message:
        return []
    _, found, text = message.partition(f'violates PodSecurity "{policy.level}:{policy.version}": ')
    assert found, message  # refused for another reason: the generator's pod is not valid
    return sorted(NAMED.findall(text))


class Seen(NamedTuple):
    """What was compared: under how many policies, how many pods had ephemeral containers, how many were refused."""

    policies: int
    ephemeral: int
    refused: int
    named: frozenset[str]


def compared(plane: ControlPlane, random: Random, number: int, server: int) -> Seen:
    """Ask the server and the evaluator about as many pods."""
    versions = [*(f"v1.{minor}" for minor in range(37)), "latest"]
    every = [Policy(number, level, version) for level in (BASELINE, RESTRICTED) for version in versions]
    policies = random.sample(every, min(len(every), 4 + number // 25))
    refused = ephemeral = 0
    named: set[str] = set()
    for at, policy in enumerate(policies):
        share = number * (at + 1) // len(policies) - number * at // len(policies)
        pods = [stored(random, f"p{index}", server) for index in range(share)]
        enforce(plane, policy, pods)
        for pod in pods:
            said = reasons(send(plane, policy, pod), policy)
            version = clamped(version_of(policy.version) or 0, server)
            found = violations(defaults.pod(pod, token=False), policy.level, version)
            assert sorted(REASONS[one.control] for one in found) == said, (policy, pod)
            refused += bool(said)
            ephemeral += "ephemeralContainers" in pod["spec"]
            named.update(said)
    return Seen(len(policies), ephemeral, refused, frozenset(named))


def stored(random: Random, name: str, server: int) -> Object:
    """A valid pod; before 1.35 no server stores a volume of an image."""
    while True:
        pod = random_pod(random, name, valid=True)
        if server >= 35 or not any("image" in volume for volume in pod["spec"].get("volumes", ())):
            return pod


type Record = Callable[[str, object], None]


@pytest.mark.parametrize(
    ("number", "minor"),
    [(200, 36), pytest.param(2000, 36, marks=pytest.mark.prove), pytest.param(500, 34, marks=pytest.mark.prove)],
)
def test_random_pods(
    control_plane_of: Callable[[str], ControlPlane], record_property: Record, number: int, minor: int
) -> None:
    """The same verdict, through the same controls; an older server takes every newer version for its own."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    seen = compared(control_plane_of(f"1.{minor}"), Random(seed), number, minor)
    assert 0.2 < seen.refused / number < 0.9
    assert seen.named == set(REASONS.values()) or number < 2000
    figure = f"pod security: {number:,} pods, {seen.ephemeral:,} with ephemeral containers, to a server of 1.{minor}, "
    figure += f"{seen.policies} policies, {seen.refused:,} refused, 0 differences (POSTURE_SEED={seed})"
    record_property(FIGURE, figure)
