"""A real kube-apiserver that is followed: over HTTP/2, through restarts, silence and changes of what it serves."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from posture.collect import Listed, Listing, Lost
from posture.collect.client import open_client
from posture.collect.discovery import discover, unchanged
from posture.collect.following import Following
from posture.collect.reflector import Pace
from posture.kinds import BY_NAME, KINDS, RBAC
from tests.collect.certificates import Authority
from tests.collect.connect_proxy import ConnectProxy
from tests.collect.mirror import Mirror
from tests.collect.test_live import binding, definition, role, some
from tests.controlplane.controlplane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROLES, POLICIES = f"roles.{RBAC}", "networkpolicies.networking.k8s.io"
KYVERNO = BY_NAME["clusterpolicies.kyverno.io"]
PLUGIN_API = "client.authentication.k8s.io/v1"
CONSTRAINTS = BY_NAME["*.constraints.gatekeeper.sh"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def plane(authority: Authority) -> Iterator[ControlPlane]:
    """A control plane of this module's own: it is restarted."""
    with ControlPlane(users={"grace": ()}, apiserver_flags=[f"--client-ca-file={authority.path}"]) as running:
        yield running


class Followed:
    """A control plane that is followed through a proxy, which counts the connections and may fall silent."""

    def __init__(
        self, plane: ControlPlane, folder: Path, *, user: dict[str, Any] | None = None, **options: Any
    ) -> None:
        host, _, port = plane.url.removeprefix("https://").partition(":")
        self.plane, self.mirror = plane, Mirror()
        self.proxy = ConnectProxy((host, int(port)))
        content = json.loads(plane.kubeconfig().read_text())
        content["clusters"][0]["cluster"] |= {
            "server": "https://api.example:6443",  # a name that only the proxy knows
            "tls-server-name": "kubernetes",
            "proxy-url": f"http://me:p%40ss@{self.proxy.address}",
        }
        content["users"][0]["user"] = user or content["users"][0]["user"]
        path = folder / "kubeconfig"
        path.write_text(json.dumps(content))
        self.following = Following(open_client(kubeconfig=str(path)), **{"survey": 0.5, **options})

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        self.following.introduce()
        self.following.start()
        self.until(lambda: self.mirror.synced)
        return self

    def __exit__(self, *error: object) -> None:
        began = time.monotonic()
        self.following.stop()
        assert time.monotonic() - began < 5.0
        self.proxy.__exit__(*error)

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        assert self.mirror.follow(self.following, condition, seconds), (self.mirror.log[-5:], self.following.counts)

    @property
    def watchable(self) -> int:
        """How many lists there are to be watched."""
        return sum(listing.resource in BY_NAME for listing in self.mirror.listings)

    def agrees(self, resource: str, path: str) -> bool:
        there = {item["metadata"]["name"]: item["metadata"]["resourceVersion"]
                 for item in self.plane.request("GET", path)["items"]}  # fmt: skip
        return there == {name: item["metadata"]["resourceVersion"]
                         for (_, name), item in self.mirror.objects(resource).items()}  # fmt: skip


def crud(plane: ControlPlane, namespace: str) -> None:
    """Creates, changes and deletes a role and a policy, and leaves one of each."""
    for path, kept in (
        (f"/apis/{RBAC}/v1/namespaces/{namespace}/roles", {"rules": []}),
        (f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies", {"spec": {"podSelector": {}}}),
    ):
        for name in ("kept", "brief"):
            made = plane.request("POST", path, {"metadata": {"name": name}, **kept})
        made["metadata"]["labels"] = {"changed": "true"}
        plane.request("PUT", f"{path}/brief", made)
        plane.request("DELETE", f"{path}/brief")


EXPECTED = [("ADDED", "kept"), ("ADDED", "brief"), ("MODIFIED", "brief"), ("DELETED", "brief")]


def test_everything_is_seen_over_two_connections_and_after_a_restart_too(plane: ControlPlane, tmp_path: Path) -> None:
    """One connection for what is asked, one for all watches; both once more after the restart."""
    with Followed(plane, tmp_path) as cluster:
        assert not cluster.mirror.lost
        plane.apply([some("Namespace", "first")])
        crud(plane, "first")
        cluster.until(lambda: len(cluster.mirror.seen(ROLES)) == len(cluster.mirror.seen(POLICIES)) == 4)
        assert cluster.mirror.seen(ROLES) == cluster.mirror.seen(POLICIES) == EXPECTED
        cluster.until(lambda: cluster.mirror.names("namespaces") >= {"first", "default"})
        cluster.until(lambda: cluster.following.counts["watches"] == cluster.watchable > 20)
        assert len(cluster.proxy.heads) == 2
        plane.restart_apiserver()
        plane.apply([some("Namespace", "second")])
        crud(plane, "second")
        cluster.until(lambda: cluster.agrees(ROLES, f"/apis/{RBAC}/v1/roles"))
        cluster.until(lambda: cluster.agrees(POLICIES, "/apis/networking.k8s.io/v1/networkpolicies"))
        cluster.until(lambda: "second" in cluster.mirror.names("namespaces") and not cluster.mirror.lost)
        assert cluster.following.connections <= 3, "a server that is starting may drop one more"
        assert not [change for change in cluster.mirror.log if isinstance(change, Listed) and change.newer]
        assert cluster.mirror.corrections == []


def test_custom_resources_are_followed_from_when_they_are_served_until_they_are_not(
    plane: ControlPlane, tmp_path: Path
) -> None:
    constraint = definition(KYVERNO)
    constraint["spec"]["group"] = CONSTRAINTS.group
    constraint["spec"]["names"] = {"plural": "k8sallowed", "kind": "K8sAllowed"}
    constraint["spec"]["versions"][0]["name"] = "v1beta1"
    constraint["spec"]["versions"] = constraint["spec"]["versions"][:1]
    constraint["metadata"]["name"] = f"k8sallowed.{CONSTRAINTS.group}"
    with Followed(plane, tmp_path) as cluster:
        before = cluster.mirror.listings
        plane.apply([definition(KYVERNO), constraint])
        listings = {Listing(KYVERNO.name), Listing(CONSTRAINTS.name, "", "K8sAllowed")}
        cluster.until(lambda: cluster.mirror.listings == before | listings)
        plane.apply([some("ClusterPolicy", "p", "", "kyverno.io/v1", spec={}),
                     some("K8sAllowed", "c", "", f"{CONSTRAINTS.group}/v1beta1", spec={})])  # fmt: skip
        cluster.until(lambda: set(cluster.mirror.objects(CONSTRAINTS.name)) == {("", "K8sAllowed/c")})
        cluster.until(lambda: cluster.mirror.names(KYVERNO.name) == {"p"})
        for name in (KYVERNO.name, f"k8sallowed.{CONSTRAINTS.group}"):
            plane.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
        cluster.until(lambda: cluster.mirror.listings == before)
        cluster.until(lambda: KYVERNO.name not in cluster.mirror.names("apiresources"))
        assert not [change for change in cluster.mirror.log if isinstance(change, Lost)]
        assert len(cluster.proxy.heads) == 2


def test_a_server_says_in_a_word_that_it_serves_what_it_did(plane: ControlPlane) -> None:
    """So it can be asked often."""
    with open_client(kubeconfig=str(plane.kubeconfig())) as client:
        assert unchanged(client) is None, "nobody asked before"
        before = discover(client)
        assert unchanged(client) is True
        plane.apply([definition(KYVERNO)])
        until = time.monotonic() + 20.0
        while unchanged(client) and time.monotonic() < until:
            time.sleep(0.05)
        plane.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{KYVERNO.name}")
        assert time.monotonic() < until
        assert KYVERNO.name not in before.versions


def test_a_connection_that_falls_silent_is_given_up_and_nothing_is_lost(plane: ControlPlane, tmp_path: Path) -> None:
    """As when a firewall forgets it: no byte comes, and no end. The server is asked for a sign of life, in vain."""
    plane.apply([some("Namespace", "silent")])
    with Followed(plane, tmp_path, quiet=1.0) as cluster:
        path = f"/apis/{RBAC}/v1/namespaces/silent/roles"
        cluster.mirror.follow(cluster.following, lambda: False, 3.0)
        assert cluster.following.connections == 1, "one that is asked and answers is kept"
        cluster.proxy.silence()
        plane.request("POST", path, {"metadata": {"name": "a"}})
        plane.request("DELETE", f"{path}/a")
        cluster.until(lambda: len(cluster.mirror.seen(ROLES)) == 2)
        assert cluster.mirror.seen(ROLES) == [("ADDED", "a"), ("DELETED", "a")]
        assert cluster.mirror.corrections == []
        assert cluster.following.connections == 2


@pytest.mark.parametrize(("flag", "streams"), [("--http2-max-streams-per-connection=10", 10),
                                               ("--disable-http2-serving", 1)])  # fmt: skip
def test_a_server_takes_no_more_streams_on_a_connection_than_it_says(
    authority: Authority, tmp_path: Path, flag: str, streams: int
) -> None:
    """Further connections take the rest; a client certificate says who asks."""
    flags = [f"--client-ca-file={authority.path}", flag]
    pair = authority.client("jane", "system:masters")
    user = {"client-certificate": "jane.crt", "client-key": "jane.key"}
    (tmp_path / "jane.crt").write_text(pair.certificate)
    (tmp_path / "jane.key").write_text(pair.key)
    with ControlPlane(apiserver_flags=flags, controllers=()) as plane, Followed(plane, tmp_path, user=user) as cluster:
        assert not cluster.mirror.lost
        cluster.until(lambda: cluster.following.counts["watches"] >= cluster.watchable)
        cluster.until(lambda: cluster.following.connections == -(-cluster.watchable // streams))
        plane.request("POST", f"/apis/{RBAC}/v1/namespaces/default/roles", {"metadata": {"name": "r"}})
        cluster.until(lambda: "r" in cluster.mirror.names(ROLES))


def test_what_etcd_has_forgotten_is_listed_again(plane: ControlPlane, tmp_path: Path) -> None:
    """A real 410: positions from before a compaction and a restart."""
    kinds = [BY_NAME[ROLES]]
    plane.apply([some("Namespace", "old"), role("gone", "old"), role("stays", "old")])
    with Followed(plane, tmp_path, kinds=kinds) as cluster:
        positions, held = dict(cluster.mirror.positions), cluster.mirror.held
    plane.request("DELETE", f"/apis/{RBAC}/v1/namespaces/old/roles/gone")
    plane.apply([role("new", "old")])
    plane.compact()
    plane.restart_apiserver()
    again, mirror = Following(open_client(kubeconfig=str(plane.kubeconfig())), kinds=kinds), Mirror(positions)
    mirror.held.update(held)
    with again:
        again.introduce()
        again.start(positions)
        assert mirror.follow(again, lambda: {"new", "stays"} <= mirror.names(ROLES))
        assert "gone" not in mirror.names(ROLES)
        assert again.counts["lists"] == 1


def test_a_permission_that_is_taken_and_given_back_is_a_gap_meanwhile(plane: ControlPlane, tmp_path: Path) -> None:
    """A watch goes on for minutes after its permission was taken: it is the next list that tells."""
    reading = role("reader", "", [kind.name for kind in KINDS], ("list", "watch"))
    bound = binding("reader", reading, "grace")
    plane.apply([reading, bound])
    user = {"token": plane.user_token("grace")}
    kinds, path = [BY_NAME[ROLES], BY_NAME["namespaces"]], f"/apis/{RBAC}/v1/clusterrolebindings"
    pace = Pace(verify=2.0, certain=0.5, cap=1.0)
    with Followed(plane, tmp_path, user=user, kinds=kinds, pace=pace) as cluster:
        plane.request("DELETE", f"{path}/reader")
        cluster.until(lambda: set(cluster.mirror.lost) == {Listing(ROLES), Listing("namespaces")})
        assert {gap.reason for gap in cluster.mirror.lost.values()} == {"forbidden"}
        plane.request("POST", path, bound)
        cluster.until(lambda: not cluster.mirror.lost)
        plane.apply([some("Namespace", "given-back")])
        cluster.until(lambda: "given-back" in cluster.mirror.names("namespaces"))


def test_a_client_certificate_that_expires_is_renewed_on_a_new_connection(
    plane: ControlPlane, authority: Authority, tmp_path: Path
) -> None:
    """From a credential plugin. The old connection would go on as nobody: it takes no more watches."""
    for name, pair in (("first", authority.client("jane", "system:masters", seconds=6)),
                       ("then", authority.client("jane", "system:masters"))):  # fmt: skip
        status = {"clientCertificateData": pair.certificate, "clientKeyData": pair.key}
        printed = {"apiVersion": PLUGIN_API, "kind": "ExecCredential", "status": status}
        (tmp_path / name).write_text(json.dumps(printed))
    script = tmp_path / "plugin"
    script.write_text(f"#!/bin/sh\ncd {tmp_path}\ncat first || cat then\nrm -f first\n")
    script.chmod(0o700)
    user = {"exec": {"apiVersion": PLUGIN_API, "command": str(script), "interactiveMode": "Never"}}
    pace = Pace(shortest=2.0, longest=3.0, steady=1.0)
    with Followed(plane, tmp_path, user=user, kinds=[BY_NAME[ROLES]], pace=pace, survey=60.0) as cluster:
        cluster.until(lambda: cluster.following.connections == 2)
        plane.apply([some("Namespace", "renewed"), role("late", "renewed")])
        cluster.until(lambda: "late" in cluster.mirror.names(ROLES))
        assert cluster.following.counts["lists"] == 1
        assert not cluster.mirror.lost


@pytest.mark.prove
@pytest.mark.parametrize("minor", ["1.33", "1.34", "1.35"])
def test_earlier_versions_are_followed_too(minor: str, tmp_path: Path) -> None:
    with ControlPlane(minor) as plane, Followed(plane, tmp_path) as cluster:
        plane.apply([some("Namespace", "first")])
        crud(plane, "first")
        cluster.until(lambda: len(cluster.mirror.seen(ROLES)) == len(cluster.mirror.seen(POLICIES)) == 4)
        assert cluster.mirror.seen(ROLES) == cluster.mirror.seen(POLICIES) == EXPECTED
        assert len(cluster.proxy.heads) == 2
