"""Laws of the graph, over random clusters: what more can be, what less, what is the same, and what a proof is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posture.cel import Process
from posture.graph.compare import compare, sources
from posture.graph.evaluate import READS, Graph, updated
from posture.graph.nodes import CLUSTER_ADMIN, WORKLOAD, Edge
from posture.graph.paths import held, proof, targets
from posture.graph.reach import Reach, explored
from posture.kinds import API_RESOURCES
from posture.model import Changed, differences
from tests.generator.network import network_policy
from tests.generator.objects import Object, binding, snapshot
from tests.graph.clusters import (
    ENFORCE,
    LEVELS,
    Size,
    clusters,
    escalations,
    evaluated,
    files,
    random_cluster,
    rules,
    seeds,
    sizes,
    subject,
)
from tests.graph.graphs import graph_of
from tests.graph.test_workload_paths import NO_PRIVILEGED
from tests.rbac import rewrites

type Reached = Mapping[str, Collection[str]]
type Cluster = list[Object]


def reached(graph: Graph) -> dict[str, list[str]]:
    """The targets of every source."""
    everybody = sources(graph)
    reach = Reach(explored(graph.edges, everybody))
    return {source: reach.targets(source) for source in everybody}


def gained(before: Reached, after: Reached) -> dict[str, set[str]]:
    """The targets that a source reaches and did not; whoever had cluster-admin had them all."""
    new = {
        source: {*after.get(source, ())} - {*found} for source, found in before.items() if "cluster-admin" not in found
    }
    return {source: found for source, found in new.items() if found}


def named(one: Object) -> tuple[str, str, str]:
    """What names an object."""
    return one["kind"], one["metadata"].get("namespace") or "", one["metadata"]["name"]


def spaces_of(objects: Cluster) -> list[str]:
    """The namespaces of a cluster."""
    return [one["metadata"]["name"] for one in objects if one["kind"] == "Namespace"]


# More, and less -----------------------------------------------------------------------------------------------------


def granted(random: Random, objects: Cluster) -> Cluster:
    """The cluster with one more grant: a binding, a subject of one, or a rule."""
    kind = random.choice(("binding", "subject", "rule"))
    found = list(objects)
    if kind == "binding":
        role = random.choice([one for one in objects if one["kind"].endswith("Role")])
        where = role["metadata"].get("namespace") or random.choice(("", *spaces_of(objects)))
        reference = f"{role['kind']}/{role['metadata']['name']}"
        return [*found, binding("more", reference, subject(random, spaces_of(objects)), namespace=where)]
    word = "subjects" if kind == "subject" else "rules"
    number = random.choice([number for number, one in enumerate(objects) if word in one])
    one = objects[number]
    if kind == "subject":
        more = subject(random, spaces_of(objects))
        found[number] = one | {"subjects": [*one["subjects"], more]}
    else:
        request = random.choice(random.choice([one for one in files() if "requests" in one])["requests"])
        found[number] = one | {"rules": [*one["rules"], *rules(random, request)]}
    return found


@settings(max_examples=150, deadline=None)
@given(clusters, seeds)
def test_another_grant_takes_no_target_away(objects: Cluster, seed: int) -> None:
    """Whatever is granted beside, to whomever: who reached a target still does."""
    before, after = (reached(evaluated(each)) for each in (objects, granted(Random(seed), objects)))

    assert gained(after, before) == {}


def stricter(random: Random, objects: Cluster) -> Cluster:
    """The cluster with a stricter Pod Security level in one namespace."""
    where = random.choice(spaces_of(objects))
    space = next(one for one in objects if named(one) == ("Namespace", "", where))
    labels = space["metadata"].get("labels") or {}
    least = LEVELS.index(labels.get(ENFORCE, "privileged"))
    level = random.choice(LEVELS[min(least + 1, 2) :])
    made = space | {"metadata": space["metadata"] | {"labels": labels | {ENFORCE: level}}}
    return [made if one is space else one for one in objects]


def isolated(random: Random, objects: Cluster) -> Cluster:
    """The cluster with a policy that isolates pods of a namespace in one direction or both."""
    where = random.choice(spaces_of(objects))
    types = random.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    chosen = random.choice(({}, {"matchLabels": {"app": "web"}}))
    return [*objects, network_policy(where, "isolates", podSelector=chosen, policyTypes=types)]


@settings(max_examples=150, deadline=None)
@given(clusters, seeds, st.sampled_from((stricter, isolated)))
def test_another_control_or_isolation_gives_no_target(
    objects: Cluster, seed: int, change: Callable[[Random, Cluster], Cluster]
) -> None:
    """A stricter Pod Security level or a policy that isolates: nobody reaches what he did not."""
    before, after = (reached(evaluated(each)) for each in (objects, change(Random(seed), objects)))

    assert gained(before, after) == {}


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """Who evaluates the expressions of policies."""
    with Process() as running:
        yield running


@settings(max_examples=25, deadline=None)
@given(clusters)
def test_a_policy_that_refuses_gives_no_target(cel: Process, objects: Cluster) -> None:
    """Privileged pods refused by a ValidatingAdmissionPolicy: nobody reaches more, but for switching it off."""
    before = reached(graph_of(objects, escalations(), cel=cel))
    after = reached(graph_of([*objects, *NO_PRIVILEGED], escalations(), cel=cel))

    assert {target for new in gained(before, after).values() for target in new} <= {"engine/vap"}


@pytest.mark.parametrize(("law", "change"), [("grant", granted), ("level", stricter), ("policy", isolated)],
                         ids=("grant", "level", "policy"))  # fmt: skip
def test_these_changes_do_change_something(law: str, change: Callable[[Random, Cluster], Cluster]) -> None:
    """So that their silence says something: some sources do gain by grants, and do lose by controls."""
    moved = 0
    for seed in range(80):
        random = Random(seed)
        objects = random_cluster(random, Size())
        before, after = reached(evaluated(objects)), reached(evaluated(change(random, objects)))
        moved += bool(gained(before, after) if law == "grant" else gained(after, before))

    assert moved >= 3


# The same in other words --------------------------------------------------------------------------------------------


def under_other_names(random: Random, objects: Cluster) -> Cluster:
    """Roles that no rule names, and bindings, renamed."""
    said = {
        name for one in objects if one["kind"].endswith("Role")
        for rule in one["rules"] for name in rule.get("resourceNames") or ()
    }  # fmt: skip
    free = [one for one in objects if not one["kind"].endswith("Role") or one["metadata"]["name"] not in said]
    kept = [one for one in objects if one not in free]
    return [*kept, *rewrites.under_other_names(random, free)]


REWRITES = (
    rewrites.in_another_order,
    rewrites.rules_in_other_words,
    rewrites.bindings_divided,
    rewrites.bindings_joined,
    rewrites.accounts_respelled,
    rewrites.noise_in_metadata,
    under_other_names,
)


def without_shipped(rewrite: Callable[[Random, Cluster], Cluster], random: Random, objects: Cluster) -> Cluster:
    """A rewrite of all but the role that has its name from Kubernetes, with what refers to it."""
    shipped = [
        one for one in objects if "cluster-admin" in (one["metadata"]["name"], one.get("roleRef", {}).get("name"))
    ]
    return [*shipped, *rewrite(random, [one for one in objects if one not in shipped])]


@pytest.mark.parametrize("rewrite", REWRITES)
@settings(max_examples=40, deadline=None)
@given(clusters, seeds)
def test_the_same_in_other_words_reaches_the_same(
    rewrite: Callable[[Random, Cluster], Cluster], objects: Cluster, seed: int
) -> None:
    """Order, split and merged roles and bindings, spelling and names: every source reaches what it did."""
    other = without_shipped(rewrite, Random(seed), list(objects))

    assert reached(evaluated(other)) == reached(evaluated(objects))


@pytest.mark.parametrize("rewrite", REWRITES)
def test_every_rewrite_changes_objects(rewrite: Callable[[Random, Cluster], Cluster]) -> None:
    """So that their silence says something."""
    changed = 0
    for seed in range(40):
        objects = random_cluster(Random(seed), Size())
        changed += objects != without_shipped(rewrite, Random(seed), list(objects))

    assert changed >= 5


# Updates ------------------------------------------------------------------------------------------------------------


def edited(random: Random, state: Mapping[tuple[str, str, str], Object], others: Cluster) -> dict[Any, Object]:
    """A cluster after some objects were deleted, made or changed into those that another cluster has."""
    found = dict(state)
    pool = {named(one): one for one in others}
    for place in random.sample(sorted({*state, *pool}), random.choice((1, 1, 2, 4))):
        if place in pool and found.get(place) != pool[place]:
            found[place] = pool[place]
        else:
            found.pop(place, None)
    return found


def followed(graph: Graph, state: Cluster, *, shared: bool) -> Graph:
    """The graph after an update to another state; `shared` if the snapshot is made of the one before."""
    before, after = graph.snapshot, snapshot(state)
    kinds = (*READS, API_RESOURCES)
    moved = [
        Changed(key, before.get(key), after.get(key)) for key, _, _ in differences(before.index, after.index, kinds)
    ]
    if shared:
        after = before.replaced((one.key, one.new) for one in moved)
    return updated(graph, after, moved)


def edges_of(graph: Graph) -> dict[str, frozenset[Edge]]:
    """All that may be reached from any source, with its edges."""
    return {node: frozenset(its) for node, its in explored(graph.edges, sources(graph)).items()}


@settings(max_examples=120, deadline=None)
@given(seeds, sizes, st.lists(st.tuples(seeds, st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_an_update_is_a_graph_made_anew(seed: int, size: Size, steps: Sequence[tuple[int, bool, bool]]) -> None:
    """Through any changes of any objects, whatever was asked between: the same edges, and the same targets."""
    random = Random(seed)
    state = {named(one): one for one in random_cluster(random, size)}
    others = random_cluster(random, size)
    graph = evaluated([*state.values()])
    edges_of(graph)
    for edit, shared, asked in steps:
        state = edited(Random(edit), state, others)
        graph = followed(graph, [*state.values()], shared=shared)
        if asked:
            anew = evaluated([*state.values()])
            assert edges_of(graph) == edges_of(anew)
            assert reached(graph) == reached(anew)


# Comparison ---------------------------------------------------------------------------------------------------------

GROWS = ("Deployment", "Namespace", "Pod")
"""What is growth: of these, nothing is made or taken away."""


@settings(max_examples=120, deadline=None)
@given(seeds, sizes, seeds)
@example(7, Size(3, 7, 3, 2), 146642951)  # a way by what is beyond another that gives everything
@example(4294967295, Size(2, 8, 1, 0), 1582)  # a pod that is another workload's from now on
def test_new_paths_are_the_difference_of_what_is_reached(seed: int, size: Size, edit: int) -> None:
    """Where nothing was agreed beside the baseline, what a source reaches and did not is new, and nothing else."""
    random = Random(seed)
    objects = random_cluster(random, size)
    state = {named(one): one for one in objects}
    others = [one for one in random_cluster(random, size) if one["kind"] not in GROWS or named(one) in state]
    after = edited(Random(edit), state, others)
    after |= {place: one for place, one in state.items() if place[0] in GROWS and place not in after}
    base, live = evaluated(objects), evaluated([*after.values()])
    before = {source: targets(held(base.edges, [source])) for source in sources(live)}

    found: dict[str, set[str]] = {}
    for new in compare([base], live):
        for source in (new.path.source, *new.others):
            found.setdefault(source, set()).add(new.path.target)
            assert new.fresh
    for new_targets in found.values():  # beside it nothing is asked, though other changes open less
        if CLUSTER_ADMIN in new_targets:
            new_targets.intersection_update({CLUSTER_ADMIN})
    # A workload that is new may run as others did.
    grown = {one for one in sources(live) if one.startswith(WORKLOAD)}.difference(sources(base))
    expected = gained(before, reached(live))
    assert {one: its for one, its in found.items() if one not in grown} == {
        one: its for one, its in expected.items() if one not in grown
    }
    assert all(its <= expected.get(one, set()) for one, its in found.items())


@settings(max_examples=40, deadline=None)
@given(clusters, seeds)
def test_equal_clusters_have_no_new_path(objects: Cluster, seed: int) -> None:
    """Whatever the order of the objects."""
    assert compare([evaluated(objects)], evaluated(Random(seed).sample(objects, len(objects)))) == []


# Proofs -------------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(clusters)
def test_a_path_is_a_proof(objects: Cluster) -> None:
    """Each edge is one of the graph and begins at what came before it, each is needed, and they lead to the target."""
    graph = evaluated(objects)
    for source in sources(graph):
        found = held(graph.edges, [source])
        for target in targets(found):
            path = proof(found, source, target)
            assert path is not None
            known = {source}
            for edge in path.edges:
                assert known.issuperset(edge.tail), edge
                assert all(edge in graph.edges(node) for node in edge.tail), edge
                known.add(edge.head)
            assert target in replayed(path.edges, source)
            for edge in path.edges:
                assert target not in replayed([one for one in path.edges if one != edge], source), edge


def replayed(edges: Collection[Edge], source: str) -> Collection[str]:
    """What a source holds by some edges alone."""
    return held(lambda node: [edge for edge in edges if node in edge.tail], [source])
