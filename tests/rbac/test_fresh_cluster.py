"""A cluster that nobody has touched gives nothing to say; whoever touches what Kubernetes ships is seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from posture import actions
from posture.config import Config
from posture.inputs import Inputs
from posture.kinds import RBAC
from posture.model import Finding, Unit
from posture.scan import Request, Scanned, scan
from posture.sources import Cluster, live
from posture.store import MEMORY, Store, findings, open_store
from posture.store.decisions import Deed
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, group, role, rule, user

ROLES = f"/apis/{RBAC}/v1"
DEFAULT = "/api/v1/namespaces/default"
ENFORCE = "pod-security.kubernetes.io/enforce"
SECONDS = 20.0
SECRETS = rule("get", "secrets")
GAINED: Unit = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
DAYS = iter(range(1, 10**6))
type Place = tuple[str, str, str]


@pytest.fixture(scope="module", params=["1.36", pytest.param("1.34", marks=pytest.mark.prove)])
def plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane that was started for these tests; of a fresh cluster only `default` admits whatever there is."""
    with ControlPlane(request.param) as plane:
        enforce(plane, "restricted")
        yield plane


def enforce(plane: ControlPlane, level: str | None) -> None:
    """Label the namespace `default`."""
    body = {"metadata": {"labels": {ENFORCE: level}}}
    plane.request("PATCH", DEFAULT, body, headers={"Content-Type": "application/merge-patch+json"})


def now() -> str:
    """Later than ever before."""
    return f"{2026 + next(DAYS)}-01-01T00:00:00Z"


def scanned(store: Store, plane: ControlPlane) -> Scanned:
    """What a scan finds, without any setting."""
    return scan(store, live(Cluster(kubeconfig=str(plane.kubeconfig()))), Inputs(Config()), Request(now()))


def place(finding: Finding) -> Place:
    """Who, where, through what."""
    return finding.subject, finding.scope, str(finding.through)


@pytest.fixture(params=["no baseline", "approved"])
def store(request: pytest.FixtureRequest, plane: ControlPlane) -> Iterator[Store]:
    """A database that has seen the fresh cluster, and in which it was agreed to or not."""
    with open_store(MEMORY) as store:
        first = scanned(store, plane)
        assert (first.events, first.snapshot.gaps, first.approved) == ((), (), None)
        if request.param == "approved":
            actions.approve(store, first.revision, Deed("agreed", "ann", now(), "as shipped"))
        yield store


def test_a_fresh_cluster_gives_no_finding(plane: ControlPlane, store: Store) -> None:
    """Neither before nor after it was agreed to; nothing is in doubt either."""
    done = scanned(store, plane)

    assert list(findings.select(store)) == []
    assert (done.events, done.snapshot.gaps, done.summary["unknown"]) == ((), (), 0)
    assert str(done.snapshot.version) == plane.minor
    assert (done.summary["standing"] > 0) == (done.approved is not None)


def test_that_it_admits_every_pod_is_all_there_is_to_say_of_it(plane: ControlPlane, store: Store) -> None:
    """Namespaces of the system are no tenant's; `default` is, and nothing there refuses anything until told to."""
    enforce(plane, None)
    try:
        assert {event.kind for event in scanned(store, plane).events} == {"opened"}
        assert {place(finding) for finding in findings.select(store)} == {
            ("namespace:default", "default", f"Label/default/{ENFORCE}")
        }
    finally:
        enforce(plane, "restricted")
    assert {event.kind for event in scanned(store, plane).events} == {"resolved"}


# What people do to default objects ----------------------------------------------------------------------------------


class Change(NamedTuple):
    """A default object (or one that is made), the list in it that gets one item more, and what follows.

    `listed` is what a finding says without a baseline where that is more: all that a check sees in the reference.
    """

    path: str
    field: str
    item: Object
    places: tuple[Place, ...]
    gained: tuple[Unit, ...] = (GAINED,)
    listed: tuple[Unit, ...] = ()


ADMIN: tuple[Unit, ...] = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]},
)  # fmt: skip
API = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]
PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
CHANGES = {
    "a rule of a role that nobody is bound to": Change(
        "clusterroles/system:node-problem-detector", "rules", SECRETS,
        (("clusterrole:system:node-problem-detector", "*", "ClusterRole/system:node-problem-detector"),),
    ),
    "a rule of a role that a group is bound to": Change(
        "clusterroles/system:monitoring", "rules", SECRETS,
        (("group:system:monitoring", "*", "ClusterRole/system:monitoring"),),
    ),
    "a rule of a role in a namespace": Change(
        "namespaces/kube-public/roles/system:controller:bootstrap-signer", "rules", SECRETS,
        (("serviceaccount:kube-system/bootstrap-signer", "kube-public",
          "Role/kube-public/system:controller:bootstrap-signer"),),
    ),
    "a rule of a role that view is made of": Change(
        "clusterroles/system:aggregate-to-view", "rules", SECRETS, (("clusterrole:view", "*", "ClusterRole/view"),)
    ),
    "a role more that view is made of": Change(
        "clusterroles/fresh", "rules", SECRETS, (("clusterrole:view", "*", "ClusterRole/view"),)
    ),
    "a user more who is cluster-admin": Change(
        "clusterrolebindings/cluster-admin", "subjects", user("zoe"),
        (("user:zoe", "*", "ClusterRole/cluster-admin"),), ADMIN,
    ),
    "everyone may discover the API": Change(
        "clusterrolebindings/system:discovery", "subjects", group("system:unauthenticated"),
        (("group:system:unauthenticated", "*", "ClusterRole/system:discovery"),),
        ({"nonResourceURLs": API, "verbs": ["get"]},), ({"nonResourceURLs": sorted(API + PUBLIC), "verbs": ["get"]},),
    ),
}  # fmt: skip


def merged(plane: ControlPlane, path: str, body: Any) -> None:
    plane.request("PATCH", f"{ROLES}/{path}", body, headers={"Content-Type": "application/merge-patch+json"})


@contextmanager
def made(plane: ControlPlane, change: Change) -> Iterator[None]:
    """The change is there inside the block, and what the controllers make of it, and is taken back afterwards."""
    view = f"{ROLES}/clusterroles/view"
    before, fresh = plane.request("GET", view)["rules"], change.path.endswith("/fresh")
    kept: list[Object] = [] if fresh else plane.request("GET", f"{ROLES}/{change.path}")[change.field]
    of_view = any(where[0] == "clusterrole:view" for where in change.places)
    if fresh:
        labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
        plane.request("POST", f"{ROLES}/clusterroles", role("fresh", change.item, labels=labels))
    else:
        merged(plane, change.path, {change.field: [*kept, change.item]})
    try:
        until(lambda: not of_view or change.item in plane.request("GET", view)["rules"])
        yield
    finally:
        if fresh:
            plane.request("DELETE", f"{ROLES}/clusterroles/fresh")
        else:
            merged(plane, change.path, {change.field: kept})
        until(lambda: plane.request("GET", view)["rules"] == before)


def until(true: Callable[[], bool]) -> None:
    """Wait for the controllers."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"the controllers did nothing for {SECONDS:.0f} s"
        time.sleep(0.05)


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_added_to_a_default_object_is_found(plane: ControlPlane, store: Store, name: str) -> None:
    """With a baseline and without one: exactly that, for exactly whom it concerns; taken back, it is resolved."""
    change = CHANGES[name]
    with made(plane, change):
        done = scanned(store, plane)
        assert {event.kind for event in done.events} == {"opened"}
        found = {place(finding): finding for finding in findings.select(store)}

        assert found.keys() == set(change.places)
        said = change.gained if done.approved else change.listed or change.gained
        assert [finding.gained for finding in found.values()] == [said]
        assert [cause.key.name for finding in found.values() for cause in finding.causes] == [
            change.path.rpartition("/")[2]
        ]

    assert {event.kind for event in scanned(store, plane).events} == {"resolved"}
    assert {finding.presence for finding in findings.select(store)} == {"absent"}


def test_the_api_server_itself_adds_nothing_at_its_next_start(plane: ControlPlane, store: Store) -> None:
    """What was taken from a default object comes back with the server, and is no finding."""
    path = f"{ROLES}/clusterroles/system:monitoring"
    kept = plane.request("GET", path)["rules"]
    merged(plane, "clusterroles/system:monitoring", {"rules": kept[:1]})
    less = scanned(store, plane)
    plane.restart_apiserver()
    until(lambda: plane.request("GET", path)["rules"] == kept)

    assert (less.events, scanned(store, plane).events) == ((), ())
    assert list(findings.select(store)) == []
