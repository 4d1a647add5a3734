"""The cut: which objects to edit so that nobody reaches a target any more, and what that breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from posture.cel import Process
from posture.config import Config
from posture.graph.catalogue import escalation_of
from posture.graph.cut import Cut, cut
from posture.graph.nodes import OUTSIDE
from posture.inputs import Inputs
from tests.generator.network import container, deployment, network_policy, pod
from tests.generator.objects import (
    Object,
    account,
    aggregated,
    binding,
    group,
    guarded,
    namespace,
    role,
    rule,
    service_account,
    user,
)

from .graphs import graph_of
from .test_escapes import volume

ESCALATIONS = Inputs(Config()).escalations
ADMIN = role("cluster-admin", rule("*", "*", "*"))
WEB, JOB = "serviceaccount:pay/web", "serviceaccount:pay/job"
RUN_PODS = rule("create", "pods")
SPACE = (namespace("pay"), service_account("pay", "web"), service_account("pay", "job"))
BOTH = (account("pay", "web"), account("pay", "job"))
STRONG = (ADMIN, binding("strong", "ClusterRole/cluster-admin", account("pay", "job")))
"""Another account of the namespace is cluster-admin: who runs a pod there becomes it."""
SAFE = (guarded("pay"), service_account("pay", "web"), service_account("pay", "job"))
METADATA_OPEN = network_policy("pay", "open", podSelector={}, policyTypes=["Egress"], egress=[
    {"to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]}])  # fmt: skip


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """What answers for policies, in a process of its own."""
    with Process() as running:
        yield running


def granted(name: str, *rules: Object, to: Sequence[Object] = (account("pay", "web"),)) -> list[Object]:
    """A Role in pay and its binding, both of one name."""
    return [role(name, *rules, namespace="pay"), binding(name, f"Role/{name}", *to, namespace="pay")]


def service(name: str, how: str, **spec: Any) -> Object:
    """A Service in front of the workload `web`."""
    spec = {"type": how, "selector": {"app": "web"}, "clusterIP": "10.0.0.9", "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "pay"}, "spec": spec}


def ingress(name: str) -> Object:
    """An Ingress that leads to the Service `web`."""
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec = {"rules": [{"host": "a.example", "http": {"paths": paths}}]}
    made = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "namespace": "pay"}}
    return made | {"spec": spec}


RUNNING = deployment("pay", "web", {"app": "web"}, serviceAccountName="web")
NO_TOKEN = ("new pods of Deployment pay/web get no token of ServiceAccount pay/web, and may ask the API server "
            "for nothing")  # fmt: skip
WORKLOAD = "workload:pay/web[Deployment]"


def asked(objects: Sequence[Object], sink: str, *sources: str, budget: int = 300) -> Cut:
    """The cut in a cluster that has these objects; from the ServiceAccount pay/web where nobody else is named."""
    return cut(graph_of(objects, ESCALATIONS), sources or (WEB,), sink, budget)


def texts(found: Cut) -> list[str]:
    """What is proposed, the best first."""
    return [fix.text for fix in found.fixes]


class TestWhatIsEdited:
    """The first proposal edits the fewest objects and breaks the least."""

    @pytest.mark.parametrize(("objects", "sink", "sources", "expected"), [
        pytest.param([*SPACE, *granted("run", RUN_PODS)], "node", (), "Delete RoleBinding pay/run", id="binding"),
        pytest.param([*SPACE, *granted("run", RUN_PODS, rule("get", "services"), rule("get", "endpoints"))], "node", (),
                     "Take create pods out of Role pay/run", id="role-that-does-more"),
        pytest.param([*SPACE, *granted("run", RUN_PODS, to=BOTH)], "node", (),
                     "Take ServiceAccount pay/web out of RoleBinding pay/run", id="one-of-several"),
        pytest.param([*SAFE, *granted("read", rule("list", "secrets"), to=BOTH)],
                     "secrets/pay", (WEB, JOB), "Delete RoleBinding pay/read", id="all-of-several"),
        pytest.param([*SAFE, *granted("run", RUN_PODS), *STRONG], "cluster-admin", (), "Delete RoleBinding pay/run",
                     id="less-is-lost-at-the-start"),
        pytest.param([*SAFE, *granted("one", RUN_PODS), *granted("two", RUN_PODS), *STRONG], "cluster-admin", (),
                     "Delete RoleBinding pay/one and delete RoleBinding pay/two", id="own-before-those-of-others"),
        pytest.param([*SPACE, *granted("one", RUN_PODS), *granted("two", RUN_PODS)], "node", (),
                     "Enforce Pod Security baseline in pay: nothing runs there", id="level-for-two-grants"),
        pytest.param([*SPACE, *granted("one", RUN_PODS), *granted("two", RUN_PODS), *STRONG], "node", (),
                     "Delete RoleBinding pay/one and delete RoleBinding pay/two", id="two-grants"),
        pytest.param([*SPACE, ADMIN, binding("all", "ClusterRole/cluster-admin", account("pay", "web"))], "secrets", (),
                     "Delete ClusterRoleBinding all", id="shipped-roles-stay"),
        pytest.param([*SPACE, role("part", rule("list", "secrets"), rule("get", "nodes"), labels={"add": "yes"}),
                      aggregated("whole", {"add": "yes"}, rules=[rule("list", "secrets"), rule("get", "nodes")]),
                      binding("whole", "ClusterRole/whole", account("pay", "web"))], "secrets", (),
                     "Take list secrets out of ClusterRole part", id="what-a-role-is-made-of"),
        pytest.param([*SAFE, *granted("star", rule("*", "*", "*"), rule("get", "events"), to=BOTH)], "secrets/pay",
                     (WEB, JOB), "Delete RoleBinding pay/star", id="star"),
        pytest.param([*SAFE, *granted("star", rule("*", "*", "*"), rule("get", "events")),
                      binding("too", "Role/star", account("pay", "web"), user("ann"), namespace="pay")],
                     "secrets/pay", (), "Take do anything with everything out of Role pay/star", id="star-bound-twice"),
        pytest.param([*SAFE, role("more", rule("list", "secrets"), labels={"add-to-edit": "true"}),
                      aggregated("edit", {"add-to-edit": "true"}, rules=[rule("list", "secrets")]),
                      binding("one", "ClusterRole/edit", account("pay", "web"), namespace="pay"),
                      binding("two", "ClusterRole/edit", account("pay", "web"), namespace="pay")],
                     "secrets/pay", (), "Take list secrets out of ClusterRole more", id="part-of-a-shipped-role"),
        pytest.param([*SAFE, *granted("run", rule("create,patch", "pods", names=["x"]), rule("get", "events")),
                      *STRONG], "cluster-admin", (), "Take create pods named x out of Role pay/run", id="named"),
        pytest.param([*SAFE, METADATA_OPEN, RUNNING], "cloud/node", (WORKLOAD,),
                     "Take 169.254.169.254/32 out of NetworkPolicy pay/open", id="policy-without-an-address"),
        pytest.param([*SAFE, service("web", "NodePort"), RUNNING, ADMIN,
                      binding("web", "ClusterRole/cluster-admin", account("pay", "web"))],
                     "cluster-admin", (OUTSIDE,), "Delete ClusterRoleBinding web", id="outside"),
    ])  # fmt: skip
    def test_first(self, objects: list[Object], sink: str, sources: tuple[str, ...], expected: str) -> None:
        """One edit for one reason each; every cut is exact."""
        found = asked(objects, sink, *sources)
        assert texts(found)[:1] == [expected]
        assert found.exact
        assert not found.spent

    @pytest.mark.parametrize(("objects", "expected"), [
        ((), "Keep every pod of pay from the cloud's metadata service"),
        ((METADATA_OPEN,), "Take 169.254.169.254/32 out of NetworkPolicy pay/open"),
    ], ids=["no-policy", "policy"])  # fmt: skip
    def test_where_own_pods_reach_metadata_a_policy_closes_it(self, objects: Sequence[Object], expected: str) -> None:
        """Pods that somebody makes have any labels: two who may make them are stopped by one policy for all pods."""
        both = [*granted("one", RUN_PODS), *granted("two", RUN_PODS, to=[account("pay", "job")])]
        found = asked([*SAFE, *both, *objects], "cloud/node", WEB, JOB)
        assert texts(found)[0].startswith(expected)
        assert (found.bound, found.exact) == (1, True)

    def test_a_new_policy_keeps_pods_from_metadata(self) -> None:
        """Where nothing isolates pods, a policy is added that lets out everything but to the metadata service."""
        found = asked([*SAFE, RUNNING], "cloud/node", WORKLOAD)
        edit = found.fixes[0].edits[0]
        assert edit.key.resource == "networkpolicies.networking.k8s.io"
        assert edit.new is not None
        (allowed,) = edit.new["spec"]["egress"]
        assert {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}} in allowed["to"]
        assert found.fixes[0].breaks == ("pay/web can no longer reach 169.254.169.254/32 on every port",)

    @pytest.mark.parametrize(("closed", "expected"), [
        ({"matchLabels": {"app": "db"}}, [{"key": "app", "operator": "NotIn", "values": ["db"]}]),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, [{"key": "app", "operator": "DoesNotExist"}]),
        ({"matchLabels": {"app": "db", "tier": "data"}}, None),
    ], ids=["label", "expression", "two-labels"])  # fmt: skip
    def test_a_new_policy_lets_nobody_out(self, closed: Object, expected: Sequence[Object] | None) -> None:
        """What another policy isolates already stays so; where one selector cannot leave it out, grants go instead."""
        policy = network_policy("pay", "closed", podSelector=closed, policyTypes=["Egress"])
        db = deployment("pay", "db", {"app": "db", "tier": "data"})
        found = asked([*SAFE, db, policy, *granted("run", RUN_PODS)], "cloud/node")
        made = [edit.new["spec"] for fix in found.fixes for edit in fix.edits if edit.new and "spec" in edit.new]
        assert [spec["podSelector"] for spec in made] == ([{"matchExpressions": expected}] if expected else [])
        assert found.fixes

    def test_a_policy_refuses_namespaces_without_a_level(self, cel: Process) -> None:
        """In a new namespace nothing is refused: it takes a policy of two objects, and whom that stops is said."""
        grants = [one for number in range(3) for kind in ("namespaces", "pods") for one in (
            role(f"{kind}{number}", rule("create", kind)),
            binding(f"{kind}{number}", f"ClusterRole/{kind}{number}", account("pay", "web")),
        )]  # fmt: skip
        found = cut(graph_of([*SAFE, *grants], ESCALATIONS, cel=cel), [WEB], "node")
        assert (found.bound, found.exact) == (2, True)
        policy = next(fix for fix in found.fixes if len(fix.edits) == found.bound)
        assert policy.text.startswith("Refuse namespaces without a Pod Security level: add ValidatingAdmissionPolicy")
        said = "whoever makes a namespace has to say a Pod Security level there, baseline or restricted"
        assert said in policy.breaks
        assert len(found.fixes[0].edits) == 3, "its own grants are taken back before a policy is made for everybody"

    def test_no_edit_that_opens_something_is_proposed(self) -> None:
        """A policy for all pods of a namespace would let those out that another keeps in: only the others get it."""
        closed = network_policy("pay", "closed", podSelector={"matchLabels": {"app": "db"}}, policyTypes=["Egress"])
        found = asked([*SAFE, RUNNING, deployment("pay", "db", {"app": "db"}), closed], "cloud/node", WORKLOAD)
        selectors = [edit.new["spec"]["podSelector"] for fix in found.fixes for edit in fix.edits if edit.new]
        assert {"matchLabels": {"app": "web"}} in selectors
        assert {} not in selectors

    def test_last_resorts_come_last(self) -> None:
        """Doors are closed and tokens taken only where nothing else is as small, and whom that stops is said."""
        two = [*granted("one", RUN_PODS), *granted("two", RUN_PODS)]
        strong = [*STRONG, binding("also", "ClusterRole/cluster-admin", account("pay", "job"))]
        three = [*two, *granted("three", RUN_PODS)]
        found = asked([*SAFE, service("web", "LoadBalancer"), RUNNING, *three, *strong], "cluster-admin", OUTSIDE)
        assert {fix.text: fix.breaks for fix in found.fixes} == {
            "Make Service pay/web a ClusterIP": ("Deployment pay/web is no longer reached from outside",),
            "Mount no token in pods of Deployment pay/web": (NO_TOKEN,),
            "Mount no token of ServiceAccount pay/web": (NO_TOKEN,),
        }

    def test_what_takes_one_object_more_and_is_no_last_resort_is_told_first(self) -> None:
        """The smallest is told too, after it: it takes a grant of another account back."""
        two = [*granted("one", RUN_PODS), *granted("two", RUN_PODS)]
        found = asked([*SAFE, *two, *STRONG], "cluster-admin")
        assert texts(found) == [
            "Delete RoleBinding pay/one and delete RoleBinding pay/two",
            "Delete RoleBinding pay/one and take create pods out of Role pay/two",
            "Delete ClusterRoleBinding strong",
        ]
        assert (found.bound, found.exact) == (1, True)

    @pytest.mark.parametrize(("spec", "sink", "source", "expected", "patch"), [
        pytest.param({"hostNetwork": True}, "cloud/node", WORKLOAD, "Take hostNetwork out of Deployment pay/web",
                     {"hostNetwork": None}, id="host-network"),
        pytest.param({"automountServiceAccountToken": True}, WEB, WORKLOAD,
                     "Mount no token in pods of Deployment pay/web", {"automountServiceAccountToken": False},
                     id="token"),
        pytest.param({"hostPID": True, "containers": [container("c", securityContext={
                         "capabilities": {"add": ["SYS_PTRACE"]}})]}, "node", WORKLOAD,
                     "Take hostPID out of Deployment pay/web", {"hostPID": None}, id="as-little-as-will-do"),
        pytest.param({"containers": [container("c", {"containerPort": 80, "hostPort": 80})]}, WORKLOAD, OUTSIDE,
                     "Take hostPort 80 out of Deployment pay/web", {"containers": [
                         {"name": "c", "ports": [{"containerPort": 80, "hostPort": None}]}]}, id="host-port"),
    ])  # fmt: skip
    def test_how_a_workload_runs_is_patched(
        self, spec: Mapping[str, Any], sink: str, source: str, expected: str, patch: Object
    ) -> None:
        """The fields that lead on from it, or to it, and no others; what stops is said."""
        running = deployment("pay", "web", {"app": "web"}, **{"serviceAccountName": "web", **spec})
        kept = network_policy("pay", "kept", podSelector={}, policyTypes=["Egress"])
        found = asked([*SAFE, running, kept], sink, source)
        (patched,) = [edit.patch for fix in found.fixes[:1] for edit in fix.edits]
        assert (texts(found)[0], patched) == (expected, {"spec": {"template": {"spec": patch}}})
        assert found.fixes[0].breaks

    def test_a_claim_that_is_a_place_of_its_node_is_unmounted(self) -> None:
        """The claim stays: the workload mounts it no longer."""
        mounts = {"containers": [container("c", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
                  "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}  # fmt: skip
        found = asked([*SAFE, volume("/etc"), deployment("pay", "web", {"app": "web"}, **mounts)], "node", WORKLOAD)
        (edit,) = found.fixes[0].edits
        assert texts(found) == ["Take the host's /etc out of Deployment pay/web"]
        assert edit.patch == {"spec": {"template": {"spec": {
            "containers": [{"name": "c", "volumeMounts": None}], "volumes": None,
        }}}}  # fmt: skip

    def test_a_role_that_somebody_may_grant_himself_is_narrowed(self) -> None:
        """What it holds is what leads on, whoever binds it."""
        bind = rule("bind", "clusterroles", "rbac.authorization.k8s.io", ["reader"])
        own = granted("binder", bind, rule("create", "rolebindings", "rbac.authorization.k8s.io"))
        found = asked([*SAFE, role("reader", rule("list", "secrets"), rule("get", "events")), *own], "secrets/pay")
        assert "Take list secrets out of ClusterRole reader" in texts(found)

    def test_every_door_has_to_be_closed(self) -> None:
        """A Service that is a door itself and leads on from an Ingress is closed by no single edit of these."""
        found = asked([*SAFE, service("web", "LoadBalancer"), ingress("web"), RUNNING], WORKLOAD, OUTSIDE)
        assert texts(found) == ["Delete Ingress pay/web and make Service pay/web a ClusterIP"]

    def test_a_pod_that_runs_gets_no_token_either(self) -> None:
        """The token volume that the API server put into a pod goes when the pod is made anew."""
        volume = {"name": "kube-api-access-x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
        running = pod("pay", "web", {"app": "web"}, serviceAccountName="web", volumes=[volume])
        found = asked([*SAFE, running], WEB, "workload:pay/web[Pod]")
        assert texts(found)[0] == "Mount no token of ServiceAccount pay/web"

    @pytest.mark.parametrize("spec", [
        {"automountServiceAccountToken": True},
        {"volumes": [{"name": "own", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]},
    ], ids=["asks", "own volume"])  # fmt: skip
    def test_a_pod_that_asks_for_a_token_keeps_it(self, spec: Mapping[str, Any]) -> None:
        """What a pod says wins over its ServiceAccount, and a pod that runs cannot be edited: it is deleted."""
        running = pod("pay", "web", {"app": "web"}, serviceAccountName="web", **spec)
        found = asked([*SAFE, running], WEB, "workload:pay/web[Pod]")
        assert {fix.text: fix.breaks for fix in found.fixes} == {"Delete Pod pay/web": ("Pod pay/web no longer runs",)}

    def test_a_pod_that_comes_again_is_not_deleted(self) -> None:
        """Its controller, of a kind that nobody reads, makes it anew: then there is no cut, and it says so."""
        owner = {"apiVersion": "example.com/v1", "kind": "Rollout", "name": "web", "controller": True}
        running = pod("pay", "web", {"app": "web"}, serviceAccountName="web", automountServiceAccountToken=True)
        running["metadata"]["ownerReferences"] = [owner]
        found = asked([*SAFE, running], WEB, "workload:pay/web[Rollout]")
        assert found.open
        assert (found.fixes, found.reason) == ((), "nothing that posture knows how to edit closes it")


class TestHowManyItTakes:
    """The lower bound, and whether it is reached."""

    @pytest.mark.parametrize(("pairs", "spent"), [(4, False), (6, True)])
    def test_ways_to_narrow_a_role_that_are_left_out_are_told(self, pairs: int, spent: bool) -> None:
        """Of pairs of permissions each enough, one of each pair has to go: beyond some number not all are tried."""
        made = [{"all": [{"verbs": ["get"], "apiGroups": ["x"], "resources": [f"{side}{number}"]} for side in "ab"]}
                for number in range(pairs)]  # fmt: skip
        own = escalation_of({
            "id": "own", "title": "own", "requests": [{"any": made}], "effect": {"reach": ["node"]}, "why": "",
            "remedy": "",
        })  # fmt: skip
        rules = [rule("get", f"{side}{number}", "x") for number in range(pairs) for side in "ab"]
        found = cut(graph_of([*SAFE, *granted("many", *rules)], [own]), [WEB], "node")
        assert (found.bound, found.exact, found.spent) == (1, True, spent)

    @pytest.mark.parametrize("number", [1, 2, 3, 4, 6])
    def test_grants_that_stand_for_each_other(self, number: int) -> None:
        """Each has to go; from four on a greedy search finds them, and disjoint proofs show that no fewer do."""
        objects = [one for each in range(number) for one in granted(f"g{each}", rule("list", "secrets"))]
        found = asked([*SAFE, *objects], "secrets/pay")
        assert [len(fix.edits) for fix in found.fixes][:1] == [number]
        assert (found.bound, found.exact) == (number, True)

    def test_of_many_sources_what_they_share_is_cut(self) -> None:
        """Users with grants of their own reach the target by one account: its binding is the only object to edit."""
        users = [one for each in range(6) for one in granted(f"g{each}", RUN_PODS, to=[user(f"u{each}")])]
        found = asked([*SAFE, *users, *STRONG], "cluster-admin", *(f"user:u{each}" for each in range(6)))
        assert texts(found) == ["Delete ClusterRoleBinding strong"]
        assert len(found.open) == 6

    def test_with_no_evaluations_left_it_says_so(self) -> None:
        """What was not tried is not called impossible: the bound is that of disjoint proofs."""
        objects = [one for each in range(3) for one in granted(f"g{each}", rule("list", "secrets"))]
        found = asked([*SAFE, *objects], "secrets/pay", budget=2)
        assert found.spent
        assert found.bound == 3
        assert found.tried <= 4

    def test_nothing_is_cut_where_there_is_no_path(self) -> None:
        """Nothing is open and nothing is proposed."""
        found = asked([*SAFE, *granted("read", rule("get", "pods"))], "secrets/pay")
        assert found == Cut("secrets/pay", ())

    def test_what_nothing_closes_has_a_reason(self) -> None:
        """The group that bypasses the API server's checks: no edit takes that away."""
        found = asked(SAFE, "cluster-admin", "group:system:masters")
        assert found.open
        assert not found.fixes
        assert found.reason

    def test_who_reaches_cluster_admin_reaches_any_target(self) -> None:
        """A cut to one target closes the way to cluster-admin too, and to all Secrets where it is about some."""
        objects = [*SAFE, ADMIN, binding("all", "ClusterRole/cluster-admin", account("pay", "web")),
                   role("reader", rule("list", "secrets")),
                   binding("read", "ClusterRole/reader", account("pay", "web")),
                   binding("devs", "ClusterRole/reader", group("devs"))]  # fmt: skip
        found = asked(objects, "secrets/pay")
        assert [sorted(edit.key.name for edit in fix.edits) for fix in found.fixes][:1] == [["all", "read"]]
