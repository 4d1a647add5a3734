"""A real API server that is followed while Git delivers to it: what means the same is silent, and what does not says
who did it, and whether that went round Git; what is there for a moment only is kept.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posture import actions
from posture.collect.audit import Followers
from posture.collect.client import open_client
from posture.collect.following import Following
from posture.config import Config
from posture.inputs import Inputs
from posture.kinds import RBAC
from posture.model import Finding, Key
from posture.scan import Request
from posture.sources import now_utc
from posture.store import findings, open_store, snapshots, upkeep
from posture.store.decisions import Deed
from posture.text import format_time
from posture.watch import Watch, Written
from tests.controlplane.controlplane import ControlPlane
from tests.generator.network import network_policy
from tests.generator.objects import Object, account, binding, guarded, namespace, role, rule, service_account, user
from tests.generator.source import resource_of

ROLES, CLUSTER_ROLES = f"/apis/{RBAC}/v1/namespaces/{{}}/roles", f"/apis/{RBAC}/v1/clusterroles"
BINDINGS, POLICIES = (
    f"/apis/{RBAC}/v1/namespaces/{{}}/rolebindings",
    "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
)
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
KUBECTL = "kubectl/v1.36.3 (linux/amd64) kubernetes/d2a1d88"
FLUX = {"kustomize.toolkit.fluxcd.io/name": "web", "kustomize.toolkit.fluxcd.io/namespace": "apps"}
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "RequestResponse", "resources": [{"group": RBAC}]},
        {"level": "Metadata"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The API server's audit log."""
    return tmp_path_factory.mktemp("audit") / "audit.log"


@pytest.fixture(scope="module")
def plane(log: Path) -> Iterator[ControlPlane]:
    """A control plane with an audit log."""
    (policy := log.with_name("policy.json")).write_text(json.dumps(AUDIT_POLICY), encoding="utf-8")
    flags = [f"--audit-policy-file={policy}", f"--audit-log-path={log}"]
    with ControlPlane(users={"alice": ("system:masters",)}, apiserver_flags=flags) as running:
        yield running


def _now() -> str:
    return format_time(now_utc())


class Watched:
    """A cluster that is followed with its audit log, approved as it was at first."""

    def __init__(self, plane: ControlPlane, log: Path, path: Path) -> None:
        self.plane, self.told = plane, list[Written]()
        self.store = open_store(str(path))
        self.audits = Followers([str(log)])
        self.following = Following(open_client(kubeconfig=str(plane.kubeconfig())))
        self.watch = Watch(self.store, self.following, Inputs(Config()), Request(_now(), "prod"), now=_now,
                           tell=self.told.append, audits=self.audits.take)  # fmt: skip
        self.until(lambda: self.watch.judged)
        newest = snapshots.latest(self.store)
        assert newest is not None
        actions.approve(self.store, newest.id, Deed("agreed", "ann", _now()))
        self.watch.turn(0)
        self.told.clear()

    def close(self) -> None:
        """End."""
        self.following.stop()
        self.audits.stop()
        self.store.close()

    def until(self, condition: Callable[[], Any], seconds: float = 30) -> None:
        """Follow until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, [one.events for one in self.told]
            self.watch.turn(0.1)

    def caught_up(self) -> None:
        """Follow until a write of now was seen, in each list that tests write to."""
        mark = f"mark{time.monotonic_ns()}"
        made = [
            role(mark, namespace="marks"), role(mark), network_policy("marks", mark),
            binding(mark, f"Role/{mark}", user("nobody"), namespace="marks"),
        ]  # fmt: skip
        self.plane.apply(made)
        keys = [Key(resource_of(one), one["metadata"].get("namespace", ""), mark) for one in made]
        self.until(lambda: all(self.watch.snapshot.entry(key) for key in keys))

    def happened(self, scope: str) -> list[str]:
        """What happened to findings of a namespace, or of everywhere (*)."""
        mine = {one.fingerprint for one in self.of(scope)}
        return [event.kind for told in self.told for event in told.events if event.fingerprint in mine]

    def of(self, scope: str) -> list[Finding]:
        """The findings of a namespace beyond what was agreed to."""
        return [one for one in findings.select(self.store) if one.scope == scope and not one.agreed]

    def cause(self, scope: str) -> Any:
        """The first cause of the only finding there."""
        (found,) = self.of(scope)
        return found.causes[0]


class Deliverer:
    """Flux's kustomize-controller, Argo CD's or Helm, as the API server sees it."""

    def __init__(self, plane: ControlPlane, manager: str, agent: str, token: str | None = None) -> None:
        self.plane, self.manager, self.agent, self.token = plane, manager, agent, token

    def send(self, method: str, path: str, body: Any, kind: str = "application/json", query: str = "") -> Any:
        """One request."""
        path = f"{path}?fieldManager={self.manager}{query}"
        headers = {"Content-Type": kind, "User-Agent": self.agent}
        return self.plane.request(method, path, body, token=self.token, headers=headers)

    def apply(self, path: str, one: Object) -> Any:
        """Server-side apply, by force."""
        return self.send("PATCH", f"{path}/{one['metadata']['name']}", one, APPLY, "&force=true")


@pytest.fixture(scope="module")
def flux(plane: ControlPlane) -> Deliverer:
    """Flux with a real token of its own."""
    subject = account("flux-system", "kustomize-controller")
    plane.apply([namespace("flux-system"), service_account("flux-system", "kustomize-controller"),
                 binding("flux", "ClusterRole/cluster-admin", subject)])  # fmt: skip
    agent = "kustomize-controller/v1.7.0 (linux/amd64) kubernetes/$Format"
    return Deliverer(plane, "kustomize-controller", agent, plane.token("flux-system", "kustomize-controller"))


def delivered(home: str, **labels: str) -> Object:
    """A Role as it is in Git."""
    made = role("app", rule("get,list,watch", "configmaps,pods"), rule("get", "services"), namespace=home)
    return made | {"metadata": made["metadata"] | {"labels": labels}}


HOMES = ("silent", "argo", "helm", "edited", "widened", "moment", "flapping", "reordered")


@pytest.fixture(scope="module")
def watched(plane: ControlPlane, flux: Deliverer, log: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A namespace for each test, with a Role that Flux delivers, and an account that is bound to it."""
    plane.apply([guarded("marks"), guarded("apps", team="web-team")])
    for home in HOMES:
        plane.apply([
            guarded(home), service_account(home, "app"),
            binding("app", "Role/app", account(home, "app"), namespace=home),
            network_policy(home, "app", podSelector={}, policyTypes=["Ingress"], ingress=[{
                "from": [{"podSelector": {"matchLabels": {"a": "b"}}}, {"podSelector": {"matchLabels": {"c": "d"}}}],
                "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}],
            }]),
        ])  # fmt: skip
        flux.apply(ROLES.format(home), delivered(home, **FLUX))
    aggregated = role("pods-again", rule("get,list", "pods"))
    aggregated["metadata"]["labels"] = {"acme.example/into": "team"}
    team = role("team", rule("get,list", "pods")) | {
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"acme.example/into": "team"}}]}}  # fmt: skip
    plane.apply([aggregated, team, binding("team", "ClusterRole/team", user("zoe"))])
    end = time.monotonic() + 20
    while not plane.request("GET", f"{CLUSTER_ROLES}/team").get("rules") and time.monotonic() < end:
        time.sleep(0.1)
    found = Watched(plane, log, tmp_path_factory.mktemp("db") / "posture.db")
    yield found
    upkeep.verify(found.store)
    found.close()


def reordered(one: Any) -> Any:
    """An object in which every list is the other way round."""
    if isinstance(one, list):
        return [reordered(each) for each in reversed(one)]
    return {name: reordered(each) for name, each in one.items()} if isinstance(one, dict) else one


class TestSilence:
    def test_flux_applies_again(self, watched: Watched, flux: Deliverer) -> None:
        """The same; other labels; by a second field manager."""
        path = ROLES.format("silent")
        flux.apply(path, delivered("silent", **FLUX))
        flux.apply(path, delivered("silent", **FLUX, version="2"))
        Deliverer(watched.plane, "helm-controller", "helm-controller/v1", flux.token).apply(path, delivered("silent"))
        watched.caught_up()
        assert (watched.happened("silent"), watched.of("silent")) == ([], [])
        entry = watched.watch.snapshot.get(Key(f"roles.{RBAC}", "silent", "app"))
        assert entry is not None
        assert entry["labels"]["version"] == "2"

    def test_argo_cd_tracks_and_helm_marks(self, watched: Watched) -> None:
        """Annotations and labels alone, and what kubectl's apply leaves in an annotation."""
        argo = Deliverer(watched.plane, "argocd-controller", "argocd-application-controller/v3.1")
        tracked = {"argocd.argoproj.io/tracking-id": f"web:{RBAC}/Role:argo/app"}
        argo.send("PATCH", f"{ROLES.format('argo')}/app", {"metadata": {"annotations": tracked}}, MERGE)
        helm = Deliverer(watched.plane, "helm", "Helm/4.1.0")
        release = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "helm"}
        marks = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": release}
        for path in (ROLES, POLICIES, BINDINGS):
            helm.send("PATCH", f"{path.format('helm')}/app", {"metadata": marks}, MERGE)
        applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(delivered("helm"))}
        helm.send("PATCH", f"{ROLES.format('helm')}/app", {"metadata": {"annotations": applied}}, MERGE)
        watched.caught_up()
        for home in ("argo", "helm"):
            assert (watched.happened(home), watched.of(home)) == ([], [])

    def test_lists_are_reordered(self, watched: Watched) -> None:
        """Rules, verbs and resources of a Role, peers and ports of a NetworkPolicy, also split and doubled."""
        operator = Deliverer(watched.plane, "operator", "operator/v1")
        for path in (ROLES, POLICIES):
            there = watched.plane.request("GET", f"{path.format('reordered')}/app")
            fields = {name: reordered(copy.deepcopy(there[name])) for name in ("rules", "spec") if name in there}
            operator.send("PUT", f"{path.format('reordered')}/app", there | fields)
        split = [rule(verb, resource) for resource in ("pods", "configmaps") for verb in ("watch", "list", "get")]
        split += [*split[:2], rule("get", "services")]
        operator.send("PATCH", f"{ROLES.format('reordered')}/app", {"rules": split}, MERGE)
        watched.caught_up()
        assert (watched.happened("reordered"), watched.of("reordered")) == ([], [])
        kept = watched.watch.snapshot.get(Key(f"roles.{RBAC}", "reordered", "app"))
        assert kept is not None
        assert len(kept["rules"]) == 9

    def test_the_cluster_aggregates_again(self, watched: Watched) -> None:
        """A controller rewrites the ClusterRole, with a rule that grants nothing new; nobody gained anything."""
        key = Key(f"clusterroles.{RBAC}", "", "team")
        before = watched.watch.snapshot.get(key)
        more = role("pods-yet-again", rule("get", "pods"))
        more["metadata"]["labels"] = {"acme.example/into": "team"}
        watched.plane.apply([more])
        watched.until(lambda: watched.watch.snapshot.get(key) != before)
        watched.caught_up()
        assert "zoe" not in "".join(one.subject for one in watched.of("*"))


class TestWho:
    def test_an_edit_of_what_flux_delivers_is_outside_git(self, watched: Watched) -> None:
        """Somebody with kubectl: the user as the log has it, the delivery that it went round, and its owner."""
        alice = Deliverer(watched.plane, "kubectl-edit", KUBECTL, watched.plane.user_token("alice"))
        rules = [*delivered("edited")["rules"], rule("get", "secrets")]
        alice.send("PATCH", f"{ROLES.format('edited')}/app", {"rules": rules}, MERGE)
        watched.until(lambda: watched.of("edited") and watched.cause("edited").audited)
        cause = watched.cause("edited")
        assert (cause.what, cause.actor, cause.origin) == ("changed", "kubectl-edit", "flux:apps/web")
        assert cause.out_of_band
        assert str(cause.audited) == "alice from 127.0.0.1"
        assert cause.audited.request.startswith("patch /apis/rbac.authorization.k8s.io/v1/namespaces/edited/roles/app?")
        (found,) = watched.of("edited")
        assert (found.owner.name, found.owner.why.partition(" (")[0]) == ("web-team", "delivered by flux:apps/web")

    def test_what_flux_itself_delivers_is_not(self, watched: Watched, flux: Deliverer) -> None:
        """A commit that grants more is drift, and inside of Git; who labels it afterwards did not do it."""
        wider = delivered("widened", **FLUX)
        wider["rules"].append(rule("get", "secrets"))
        flux.apply(ROLES.format("widened"), wider)
        watched.until(lambda: watched.of("widened"))
        watched.until(lambda: watched.cause("widened").audited)
        cause = watched.cause("widened")
        assert (cause.what, cause.actor, cause.origin) == ("changed", "kustomize-controller", "flux:apps/web")
        assert not cause.out_of_band
        assert cause.audited.user == "system:serviceaccount:flux-system:kustomize-controller"


class TestTransient:
    def test_a_grant_of_a_moment_is_kept(self, watched: Watched) -> None:
        """Created and deleted as fast as one can; who made it is said, whenever the log tells of it."""
        made = binding("moment", "ClusterRole/cluster-admin", account("moment", "app"), namespace="moment")
        path, alice = BINDINGS.format("moment"), watched.plane.user_token("alice")
        watched.plane.request("POST", path, made, token=alice)
        watched.plane.request("DELETE", f"{path}/moment", token=alice)
        watched.until(lambda: any(one.mark == "transient" for one in watched.of("moment")))
        assert watched.happened("moment") == ["opened", "resolved"]
        watched.until(lambda: watched.cause("moment").audited)
        assert str(watched.cause("moment").audited) == "alice from 127.0.0.1"

    def test_content_that_comes_and_goes_is_kept(self, watched: Watched) -> None:
        """A Role that is wide for a moment, three times: each time told, and nothing open in the end."""
        path = f"{ROLES.format('flapping')}/app"
        rules = delivered("flapping")["rules"]
        for _ in range(3):
            for given in ([*rules, rule("*", "secrets")], rules):
                watched.plane.request("PATCH", path, {"rules": given}, headers={"Content-Type": MERGE})
        watched.until(lambda: len(watched.happened("flapping")) >= 6)
        assert watched.happened("flapping") == ["opened", "resolved", "regressed", "resolved", "regressed", "resolved"]
        (found,) = watched.of("flapping")
        assert (found.mark, found.presence) == ("transient", "absent")
