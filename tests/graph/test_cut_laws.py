"""Laws of the cut, on random small clusters: a proposal closes what it says and opens nothing; nothing smaller does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from posture.config import Config
from posture.graph.cut import Cut, Plan, cut
from posture.graph.evaluate import DOMAINS, Graph, assembled
from posture.graph.nodes import CLUSTER_ADMIN, OUTSIDE
from posture.graph.paths import held, targets
from posture.graph.reach import explored
from posture.graph.trial import settled
from posture.graph.ways import needs, ways
from posture.inputs import Inputs
from posture.model import Changed, Snapshot
from tests.generator.network import deployment, network_policy, pod
from tests.generator.objects import (
    Object,
    account,
    binding,
    group,
    guarded,
    namespace,
    role,
    rule,
    service_account,
    snapshot,
    user,
)

ESCALATIONS = Inputs(Config()).escalations
SPACES = ("pay", "web")
ACCOUNTS = ("api", "job")
RBAC = "rbac.authorization.k8s.io"
RULES = (
    rule("create", "pods"), rule("create", "pods/exec"), rule("get,list", "secrets"), rule("*", "*", "*"),
    rule("create", "serviceaccounts/token"), rule("create,patch", "rolebindings", RBAC),
    rule("bind", "clusterroles", RBAC), rule("impersonate", "users"), rule("get", "nodes/proxy"),
    rule("patch", "namespaces"), rule("get", "pods"),
    rule("create", "pods", names=["one"]), rule("patch", "deployments", "apps"),
)  # fmt: skip
PRIVILEGED = {"name": "app", "image": "app", "securityContext": {"privileged": True}}
WAYS_TO_RUN: Sequence[Object] = ({}, {}, {}, {"hostNetwork": True}, {"containers": [PRIVILEGED]},
                                 {"automountServiceAccountToken": True})  # fmt: skip
MANY = 150
"""Plans that brute force looks at; more clusters than not need fewer."""


def random_objects(random: Random) -> list[Object]:
    """A cluster in which small grants add up: pods may be run here and there, and some account holds more."""
    found: list[Object] = [namespace("kube-system")]
    for where in SPACES:
        found.append(random.choice((namespace, guarded))(where))
        found += [service_account(where, name) for name in ACCOUNTS]
    for number in range(random.choice((3, 6, 10))):
        where = random.choice(("", *SPACES))
        rules = [random.choice(RULES) for _ in range(random.choice((1, 1, 2)))]
        found.append(role(f"r{number}", *rules, namespace=where))
        for each in range(random.choice((1, 1, 2))):
            place = where or random.choice(("", *SPACES))
            subjects = [_subject(random) for _ in range(random.choice((1, 1, 2)))]
            kind = "Role" if where else "ClusterRole"
            found.append(binding(f"b{number}{each}", f"{kind}/r{number}", *subjects, namespace=place))
    for where in SPACES:
        if random.random() < 0.6:
            runs = {"serviceAccountName": random.choice(ACCOUNTS), **random.choice(WAYS_TO_RUN)}
            made = random.choice((deployment, deployment, pod))
            found.append(made(where, "app", {"app": "app"}, **runs))
            found.append(_service(where, random.choice(("LoadBalancer", "NodePort", "ClusterIP"))))
        if random.random() < 0.5:
            found.append(network_policy(where, "open", podSelector={}, policyTypes=["Ingress"], ingress=[
                {"from": [random.choice(({"ipBlock": {"cidr": "0.0.0.0/0"}}, {"podSelector": {}}))]}]))  # fmt: skip
    return found


def _subject(random: Random) -> Object:
    if random.random() < 0.2:
        return random.choice((user("ann"), group("devs")))
    return account(random.choice(SPACES), random.choice(ACCOUNTS))


def _service(where: str, how: str) -> Object:
    spec = {"type": how, "selector": {"app": "app"}, "clusterIP": "10.0.0.9", "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app", "namespace": where}, "spec": spec}


def graph_of(read: Snapshot) -> Graph:
    """The graph of a snapshot, made from nothing."""
    return assembled({name: domain.evaluate(read) for name, domain in DOMAINS.items()}, ESCALATIONS)


def reach(graph: Graph, source: str, sink: str) -> bool:
    """Whether a source reaches a target; who reaches cluster-admin reaches any."""
    return not {sink, CLUSTER_ADMIN}.isdisjoint(held(graph.edges, [source]))


def after(graph: Graph, edits: Iterable[Changed]) -> Graph:
    """The graph after edits, made from nothing."""
    changed = settled(graph, edits)
    return graph_of(graph.snapshot.replaced((one.key, one.new) for one in changed))


def opens(before: Graph, now: Graph) -> list[str]:
    """What became possible, by a whole comparison of every domain."""
    return [
        f"{name}: {change.subject} {change.scope} {change.through}" for name, domain in DOMAINS.items()
        for change in domain.compare(before.results[name], now.results[name]).changes if change.direction == "loosened"
    ]  # fmt: skip


NAMED = tuple(f"serviceaccount:{place}/{name}" for place in SPACES for name in ACCOUNTS)
SOURCES = (OUTSIDE, "user:ann", "group:devs", *NAMED)
CLUSTERS = st.integers(0, 2**32 - 1).map(Random)


def question(random: Random) -> tuple[Graph, list[str], str]:
    """A random cluster with sources, some of which reach the target."""
    graph = graph_of(snapshot(random_objects(random)))
    reaching = {source: targets(held(graph.edges, [source])) for source in SOURCES}
    able = [source for source, found in reaching.items() if found]
    assume(able)
    first = random.choice(able)
    sink = random.choice(reaching[first])
    return graph, list(dict.fromkeys([first, *random.sample(SOURCES, random.choice((0, 0, 2, 5)))])), sink


class TestEveryProposal:
    """Whatever is proposed holds when everything is evaluated from nothing."""

    @settings(max_examples=40, deadline=None)
    @given(CLUSTERS)
    def test_closes_all_paths_and_opens_nothing(self, random: Random) -> None:
        """No source that was asked about reaches the target any more, and no domain finds anything loosened."""
        graph, sources, sink = question(random)
        found = cut(graph, sources, sink)
        assert {path.source for path in found.open} == {one for one in sources if reach(graph, one, sink)}
        assert found.fixes or found.reason
        for fix in found.fixes:
            changed = [Changed(one.key, graph.snapshot.get(one.key), one.new) for one in fix.edits]
            now = after(graph, changed)
            assert not [source for source in sources if reach(now, source, sink)]
            assert opens(graph, now) == []
            for source in sources:
                known = targets(held(graph.edges, [source]))
                assert CLUSTER_ADMIN in known or {*targets(held(now.edges, [source]))} <= {*known}

    @settings(max_examples=25, deadline=None)
    @given(CLUSTERS)
    def test_is_the_smallest_where_it_is_called_exact(self, random: Random) -> None:
        """Of all the ways at any edge that may be reached, no plan of fewer objects closes the paths."""
        graph, sources, sink = question(random)
        found = cut(graph, sources, sink)
        if found.exact:
            assert smaller(graph, sources, sink, min(found.bound - 1, 2)) is None
        elif found.fixes:
            assert found.bound < len(found.fixes[0].edits)

    @settings(max_examples=20, deadline=None)
    @given(CLUSTERS)
    def test_of_the_bound_is_met_by_no_smaller_plan(self, random: Random) -> None:
        """Where no cut is proposed, or not an exact one, no plan of fewer objects than the bound closes the paths."""
        graph, sources, sink = question(random)
        found: Cut = cut(graph, sources, sink, budget=3)
        assert smaller(graph, sources, sink, min(found.bound - 1, 2)) is None


def smaller(graph: Graph, sources: Sequence[str], sink: str, most: int) -> Plan | None:
    """A plan of at most so many objects that closes the paths and opens nothing: by trying all there are."""
    seen: set[object] = set()
    pending = [Plan()] if most > 0 else []
    while pending:
        plan = pending.pop()
        if plan.mark in seen:
            continue
        seen.add(plan.mark)
        assume(len(seen) <= MANY)
        now = after(graph, plan.edits.values())
        if plan.edits and not any(reach(now, source, sink) for source in sources):
            if not opens(graph, now):
                return plan
            continue
        for edges in explored(now.edges, sources).values():
            facts = {(edge, fact) for edge in edges for need in needs(now, edge) for fact in need}
            found = (way for edge, fact in sorted(facts) for whole in (False, True)
                     for way in ways(now, edge, fact, whole=whole) if way.changed)  # fmt: skip
            pending += [one for one in map(plan.with_, found) if len(one.edits) <= most]
    return None
