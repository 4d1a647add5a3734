"""New paths: whose finding they are a reason of, what is a finding of its own, and what was agreed to or is growth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from posture import graph
from posture.drift.agreed import Agreed, Bound
from posture.model import SEVERITIES, Decision, Finding, Gap, Key, Version
from posture.pipeline import Judgement, diff, judge
from posture.resources import NEWEST
from tests.generator.network import deployment, network_policy, pod
from tests.generator.objects import (
    Object,
    account,
    binding,
    discovery,
    metadata,
    namespace,
    role,
    rule,
    service_account,
    snapshot,
    user,
)
from tests.graph.scene import open_shop, runs, service
from tests.rbac.test_gaps import LATER, NOW, Book, rules

PRIVILEGED = {"securityContext": {"privileged": True}}
ADMIN = [
    namespace("pay", team="pay"), namespace("ops", team="ops"), namespace("kube-system"),
    service_account("pay", "admin"), service_account("pay", "idle"), service_account("ops", "idle"),
    role("cluster-admin", rule("*", "*", "*")), binding("admin", "ClusterRole/cluster-admin", account("pay", "admin")),
]  # fmt: skip
"""Somebody in pay is an administrator, and that was agreed."""


def may(name: str, who: Object, *rules_: Object, where: str = "pay") -> list[Object]:
    """A Role for somebody in a namespace."""
    return [role(name, *rules_, namespace=where), binding(name, f"Role/{name}", who, namespace=where)]


TOKENS = may("tokens", user("eve"), rule("create", "serviceaccounts/token"))
PODS = may("pods", user("eve"), rule("create", "pods"))
JOB, EXEC = pod("pay", "job", serviceAccountName="admin"), may("exec", user("eve"), rule("create", "pods/exec"))
BINDER = may("binder", user("eve"), rule("bind", "clusterroles", "rbac.authorization.k8s.io", ["ops"]),
             rule("create", "rolebindings", "rbac.authorization.k8s.io"))  # fmt: skip


def privileged(where: str, name: str, **more: Any) -> Object:
    """A privileged Deployment."""
    made = deployment(where, name, {"app": name}, **more)
    made["spec"]["template"]["spec"]["containers"][0] |= PRIVILEGED
    return made


@dataclass
class Cluster:
    """A cluster that was approved, and what is known of it since."""

    approved: Sequence[Sequence[Object]]
    bounds: Sequence[Bound] = ()
    book: Book = field(default_factory=Book)
    versions: tuple[Version, Version] = (NEWEST, NEWEST)
    gaps: tuple[Gap, ...] = ()

    def scan(self, objects: Iterable[Object], now: str = NOW, gaps: Sequence[Gap] = ()) -> Judgement:
        """One run."""
        before, after = self.versions
        known = tuple(snapshot(each, self.gaps, before) for each in self.approved)
        agreed = Agreed(known, tuple(self.bounds), (), peer_labels=("team",))
        found = judge(snapshot(objects, gaps, after), agreed, self.book.history(), rules(), now)
        self.book = self.book.after(found, now)
        return found

    def told(self, objects: Iterable[Object], now: str = NOW, gaps: Sequence[Gap] = ()) -> list[Finding]:
        """What is open after a run, the paths of the graph or of other findings."""
        self.scan(objects, now, gaps)
        return sorted((one for one in self.book.findings.values() if one.presence != "absent"), key=str)


def paths(found: Iterable[Finding]) -> dict[str, set[tuple[str, str]]]:
    """Who reaches what, by what one would edit."""
    return {str(one.through): {(path.source, path.target) for path in one.paths} for one in found if one.paths}


def own(found: Iterable[Finding]) -> dict[str, Finding]:
    """The findings of the graph, by what one would edit."""
    return {str(one.through): one for one in found if one.domain == graph.NAME}


class TestReasons:
    """A new path is a reason of the finding of the change that made it."""

    def test_a_path_is_a_reason_and_raises_the_severity(self) -> None:
        """Who may request tokens of an administrator's namespace is an administrator: nothing else is opened."""
        (one,) = Cluster([ADMIN]).told([*ADMIN, *TOKENS])

        assert (one.domain, one.severity) == ("rbac", "high")
        assert one.rule == "path-cluster-admin" or "path-cluster-admin" in {reason.check for reason in one.reasons}
        assert paths([one]) == {"Role/pay/tokens": {("user:eve", "cluster-admin")}}

    def test_who_may_make_pods_gets_what_a_policy_lets_one_of_them_do(self) -> None:
        """The change is told of the workload that is there, and a path of who makes another pod like it."""
        shut = network_policy("pay", "shut", podSelector={}, policyTypes=["Egress"])
        space = [namespace("pay", **{"pod-security.kubernetes.io/enforce": "restricted"}), shut, *PODS,
                 deployment("pay", "web", {"app": "web"})]  # fmt: skip
        before, after = (
            network_policy("pay", "open", podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Egress"],
                           egress=[{"to": [{"ipBlock": {"cidr": cidr}}]}])
            for cidr in ("192.0.2.0/24", "0.0.0.0/0")
        )  # fmt: skip

        assert paths(Cluster([[*space, before]]).told([*space, after])) == {
            "NetworkPolicy/pay/open": {("workload:pay/web[Deployment]", "cloud/node"), ("user:eve", "cloud/node")},
        }

    def test_each_of_two_changes_that_opens_it_alone_is_told(self) -> None:
        """Closing one of them would close nothing."""
        found = Cluster([ADMIN]).told([*ADMIN, *TOKENS, *PODS])

        reaches = {("user:eve", "cluster-admin")}
        assert {name: got & reaches for name, got in paths(found).items()} == {
            "Role/pay/pods": reaches, "Role/pay/tokens": reaches,
        }  # fmt: skip
        assert {one.severity for one in found} == {"high"}

    def test_a_path_that_is_gone_lowers_the_severity_again(self) -> None:
        """The permission stays, the administrator goes."""
        cluster = Cluster([[JOB, *ADMIN]])
        (before,) = cluster.told([JOB, *ADMIN, *EXEC])
        (after,) = cluster.told([JOB, *ADMIN[:-1], *EXEC], LATER)

        assert SEVERITIES.index(after.severity) > SEVERITIES.index(before.severity)
        assert [one.paths[0].target for one in (before, after)] == ["cluster-admin", "cloud/node"]

    def test_what_could_not_be_read_lowers_nothing(self) -> None:
        """The bindings are not readable any more: the path may be there."""
        cluster = Cluster([[JOB, *ADMIN]])
        (before,) = cluster.told([JOB, *ADMIN, *EXEC])
        hidden = Gap("clusterrolebindings.rbac.authorization.k8s.io", "", "forbidden", "no")
        (after,) = cluster.told([JOB, *ADMIN[:-1], *EXEC], LATER, [hidden])

        assert after.severity == before.severity
        assert ("user:eve", "cluster-admin") in paths([after])["Role/pay/exec"]

    @pytest.mark.parametrize("who", ["User/system:anonymous", "Group/system:unauthenticated"])
    def test_whoever_has_no_credential_is_as_grave_by_either_name(self, who: str) -> None:
        """The user system:anonymous is in the group system:unauthenticated."""
        kind, _, name = who.partition("/")
        subject = {"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name}
        found = Cluster([ADMIN]).told([*ADMIN, *may("f1", subject, rule("create", "serviceaccounts/token"))])

        assert {one.severity for one in found} == {"critical"}


SHOP = open_shop()
OPENED: Mapping[str, tuple[list[Object], list[Object]]] = {
    "ServiceAccount/pay/ghost": (
        [*ADMIN[:-1], *TOKENS, binding("waits", "ClusterRole/cluster-admin", account("pay", "ghost"))],
        [service_account("pay", "ghost")],
    ),
    "ClusterRole/ops": (
        [*ADMIN[:-1], *BINDER, role("ops", rule("get", "pods"))], [role("ops", rule("*", "*", "*"))],
    ),
    "CustomResourceDefinition/applications.argoproj.io": (
        [*ADMIN, namespace("argocd"), service_account("argocd", "argocd-application-controller"),
         binding("argo", "ClusterRole/cluster-admin", account("argocd", "argocd-application-controller")),
         *may("apps", user("eve"), rule("create", "applications", "argoproj.io"), where="argocd"), *discovery()],
        discovery(("applications", "argoproj.io", True)),
    ),
    "Deployment/pay/web": (
        [*ADMIN, runs("pay", "web", "idle")], [runs("pay", "web", "admin")],
    ),
    "Service/pay/web": (
        [one for one in SHOP if one["kind"] != "Service"], [service("pay", "web")],
    ),
}  # fmt: skip
"""What opens a path though no domain tells a change: what was there, and what came."""


class TestOwnFindings:
    """Only a path without such a change is a finding of its own."""

    @pytest.mark.parametrize("through", OPENED)
    def test_what_no_domain_speaks_of_is_told(self, through: str) -> None:
        """Through the object that one would edit, in scan and in both directions of a diff."""
        before, more = OPENED[through]
        found = own(Cluster([before]).told([*before, *more]))
        both = diff(snapshot(before), snapshot([*before, *more]), rules(), lambda _: ())
        mine = [one.change for one in both.differences if one.change.domain == graph.NAME]
        back = diff(snapshot([*before, *more]), snapshot(before), rules(), lambda _: ())
        theirs = [one.change for one in back.differences if one.change.domain == graph.NAME]

        assert [*found] == [through]
        assert [(str(one.through), one.direction) for one in mine] == [(through, "loosened")]
        assert [(str(one.through), one.direction) for one in theirs] == [(through, "tightened")]

    def test_its_fix_puts_the_role_back_and_closes_it(self) -> None:
        """The fix, applied, resolves the finding."""
        before, more = OPENED["ClusterRole/ops"]
        cluster = Cluster([before])
        (one,) = cluster.told([*before, *more])
        assert one.fix is not None
        assert [(edit.key.name, edit.new) for edit in one.fix.edits] == [
            ("ops", snapshot(before).get(Key("clusterroles.rbac.authorization.k8s.io", "", "ops")))
        ]

        assert cluster.told(before, LATER) == []

    @pytest.mark.parametrize(
        "through", ["ServiceAccount/pay/ghost", "CustomResourceDefinition/applications.argoproj.io"]
    )
    def test_what_runs_is_never_deleted(self, through: str) -> None:
        """No fix, and why."""
        before, more = OPENED[through]
        one = own(Cluster([before]).told([*before, *more]))[through]

        assert (one.fix, one.no_fix != "") == (None, True)

    def test_a_new_target_comes_back_widened(self) -> None:
        """Accepted for one target, reaching another: the decision does not cover it."""
        before, more = OPENED["Deployment/pay/web"]
        less = [*before[:-2], binding("admin", "Role/reader", account("pay", "admin"), namespace="pay"),
                role("reader", rule("list", "secrets"), namespace="kube-system"),
                binding("reader", "Role/reader", account("pay", "admin"), namespace="kube-system")]  # fmt: skip
        cluster = Cluster([[*less, runs("pay", "web", "idle")], [*before]])
        (one,) = own(cluster.told([*less, *more])).values()
        decision = Decision("accepted", "ann", NOW, "why", "2027-01-01T00:00:00Z", one.gained)
        cluster.book.findings[one.fingerprint] = replace(one, decision=decision)
        (again,) = own(cluster.told([*before, *more], LATER)).values()

        assert (one.gained, again.exceeded, again.mark) == (
            ({"source": "workload:pay/web[Deployment]", "target": "secrets/kube-system"},), True, "widened",
        )  # fmt: skip

    def test_behind_a_gap_it_is_unknown_and_not_resolved(self) -> None:
        """What is not read is not gone."""
        before, more = OPENED["ClusterRole/ops"]
        cluster = Cluster([before])
        cluster.told([*before, *more])
        hidden = Gap("clusterroles.rbac.authorization.k8s.io", "", "forbidden", "no")
        (one,) = cluster.told([each for each in before if each["kind"] != "ClusterRole"], LATER, [hidden])

        assert one.presence == "unknown"

    def test_an_upgrade_that_opens_a_path_is_its_cause(self) -> None:
        """Until 1.34 `get` of pods/exec runs a command; a server of that version makes more of the same grant."""
        objects = [*ADMIN, pod("pay", "job", serviceAccountName="admin"),
                   *may("exec", user("eve"), rule("get", "pods/exec"))]  # fmt: skip
        cluster = Cluster([objects], versions=(Version(1, 35), Version(1, 34)))
        (one,) = own(cluster.told(objects)).values()

        assert [(cause.what, cause.actor) for cause in one.causes] == [("server version", "Kubernetes 1.35 → 1.34")]
        assert (one.fix, "version" in one.no_fix) == (None, True)


def controlled(name: str, node: str, **more: Any) -> Object:
    """A privileged pod of a Deployment's ReplicaSet, on a node."""
    made = pod("pay", name, {"app": "agent"}, nodeName=node, **more)
    made["spec"]["containers"][0] |= PRIVILEGED
    return made


BOUND = Bound("files", {"matchLabels": {"team": "pay"}}, (
    (Key("roles.rbac.authorization.k8s.io", "", "read"), {"rules": [rule("list", "secrets")]}),
    (Key("rolebindings.rbac.authorization.k8s.io", "", "read"), {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"},
        "subjects": [account("", "reader")],
    }),
))  # fmt: skip


class TestAgreed:
    """What was agreed to, and growth."""

    def test_what_was_there_is_silent(self) -> None:
        """Though it is a path."""
        assert Cluster([[*ADMIN, *TOKENS]]).told([*ADMIN, *TOKENS]) == []

    def test_without_a_baseline_nothing_is_new(self) -> None:
        """`explain path` says what there is."""
        found = judge(snapshot(SHOP), Agreed((), (), ()), Book().history(), rules(), NOW).outcome.findings.values()

        assert paths(found) == {}

    def test_one_of_two_baselines_is_enough(self) -> None:
        """What either agrees to is agreed."""
        assert Cluster([ADMIN, [*ADMIN, *TOKENS]]).told([*ADMIN, *TOKENS]) == []

    @pytest.mark.parametrize("name", ["rescheduled", "scaled", "rolled out", "to nought"])
    def test_where_its_pods_run_is_no_news(self, name: str) -> None:
        """A privileged workload on another node, beside an administrator: nobody changed anything."""
        beside = pod("pay", "boss", nodeName="n2", serviceAccountName="admin")
        base = [*ADMIN, privileged("pay", "agent"), beside]
        after = {
            "rescheduled": [controlled("agent-1", "n2")],
            "scaled": [controlled("agent-0", "n1"), controlled("agent-2", "n2")],
            "rolled out": [controlled("agent-new", "n2")],
            "to nought": [],
        }[name]
        own_pods = [{**one, "metadata": one["metadata"] | {"ownerReferences": [OWNER]}} for one in after]
        first = {**controlled("agent-0", "n1")}
        first["metadata"] = first["metadata"] | {"ownerReferences": [OWNER]}

        assert paths(Cluster([[*base, REPLICAS, first]]).told([*base, REPLICAS, *own_pods])) == {}

    def test_growth_like_its_peers_is_silent(self) -> None:
        """A namespace whose peer has the same ServiceAccount, workload and tokens."""

        def tenant(name: str) -> list[Object]:
            return [namespace(name, team="tenants"), service_account(name, "admin"), runs(name, "web", "admin"),
                    *may("tokens", user("eve"), rule("create", "serviceaccounts/token"), where=name)]  # fmt: skip

        waiting = [binding(f"{name}-admin", "ClusterRole/cluster-admin", account(name, "admin")) for name in "ab"]
        base = [*ADMIN, *waiting, *tenant("a")]

        assert own(Cluster([base]).told([*base, *tenant("b")])) == {}

    def test_what_a_file_says_is_agreed(self) -> None:
        """A new namespace that it selects, with a workload that reads what its role lists."""
        new = [namespace("pay2", team="pay"), service_account("pay2", "reader"), runs("pay2", "web", "reader"),
               *may("read", account("pay2", "reader"), rule("list", "secrets"), where="pay2")]  # fmt: skip

        assert own(Cluster([ADMIN], [BOUND]).told([*ADMIN, *new])) == {}

    def test_what_the_baseline_could_not_read_is_no_news(self) -> None:
        """The ServiceAccounts of the baseline were not readable: this one may have been there."""
        before, more = OPENED["ServiceAccount/pay/ghost"]
        cluster = Cluster([before], gaps=(Gap("serviceaccounts", "pay", "forbidden", "no"),))

        assert own(cluster.told([*before, *more])) == {}


OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "agent-x", "uid": "uid-x", "controller": True}
REPLICAS: Object = {
    "apiVersion": "apps/v1", "kind": "ReplicaSet",
    "metadata": metadata("agent-x", "pay", ownerReferences=[
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "agent", "uid": "uid-agent", "controller": True},
    ]),
    "spec": {"replicas": 1},
}  # fmt: skip
