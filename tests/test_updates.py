"""A judgement that goes on from the one before says what one from nothing says, whatever happened in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from posture.config import Config
from posture.drift.agreed import Agreed
from posture.inputs import Inputs
from posture.model import Changed, Finding, Key, Snapshot, differences
from posture.pipeline import JUDGED, History, Judgement, Rules, judge
from tests.conftest import FIGURE
from tests.generator import network, small
from tests.generator.admission import cluster as admission_cluster
from tests.generator.objects import (
    Object,
    account,
    binding,
    group,
    namespace,
    role,
    rule,
    service_account,
    snapshot,
)
from tests.graph.clusters import Size
from tests.graph.clusters import random_cluster as graph_cluster

STEPS = 6
MANY = 400
type Cluster = Callable[[Random], list[Object]]
type Edit = Callable[[Random, list[Object]], list[Object]]


@lru_cache(maxsize=1)
def inputs() -> Inputs:
    """The shipped checks; nobody owns anything."""
    return Inputs(Config())


def rules() -> Rules:
    """What is judged with."""
    return inputs().rules


def at(step: int) -> str:
    """The moment of a step."""
    return f"2026-11-20T12:{step:02}:00Z"


@dataclass
class Book:
    """What is known of findings, as a store keeps it."""

    findings: dict[str, Finding] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    last: str = ""

    def history(self) -> History:
        """What a judgement is told."""
        current = {name: one for name, one in self.findings.items() if one.presence != "absent"}
        return History(current, lambda name: self.findings.get(name) or self.findings.get(self.aliases.get(name, "")),
                       self.last)  # fmt: skip

    def after(self, judgement: Judgement, now: str) -> Book:
        """The book after a run."""
        outcome = judgement.outcome
        return Book(self.findings | outcome.findings, self.aliases | outcome.aliases, now)


def changes(before: Snapshot, after: Snapshot) -> list[Changed]:
    """The objects that differ."""
    return [Changed(key, before.get(key), after.get(key))
            for key, _, _ in differences(before.index, after.index, JUDGED)]  # fmt: skip


def written(before: Snapshot, after: Snapshot) -> list[Key]:
    """The objects of which anything differs."""
    return [Key(resource, *name) for resource in JUDGED
            for name in before.index.get(resource, {}).keys() | after.index.get(resource, {}).keys()
            if before.index.get(resource, {}).get(name) != after.index.get(resource, {}).get(name)]  # fmt: skip


def said(judgement: Judgement) -> dict[str, Any]:
    """All that a judgement says."""
    return {
        "gained": {name: dict(part.gains) for name, part in judgement.parts.items()},
        "unknown": {name: {*part.unknown} for name, part in judgement.parts.items()},
        "standing": judgement.standing,
        "doubts": judgement.outcome.doubts,
        "until": judgement.until,
        "present": judgement.present,
    }


def timeless(finding: Finding) -> Finding:
    """A finding but for when it was drafted: one that did not change is not drafted again."""
    return replace(finding, opened="", changed="", resolved="")


def follow(states: Iterator[list[Object]], agreed: Callable[[Snapshot], Agreed]) -> int:
    """Hold judgements that go on against those from nothing; how many changes there were."""
    before = snapshot(next(states))
    given = agreed(before)
    known: Judgement | None = None
    book, plain = Book(), Book()
    found = 0
    for step, objects in enumerate(states):
        after = snapshot(objects)
        changed = changes(before, after)
        mine = judge(after, given, book.history(), rules(), at(step), known, changed, written(before, after))
        full = judge(after, given, plain.history(), rules(), at(step))
        assert said(mine) == said(full)
        assert mine.outcome.events == full.outcome.events
        book, plain = book.after(mine, at(step)), plain.after(full, at(step))
        assert {n: timeless(one) for n, one in book.findings.items()} == {
            n: timeless(one) for n, one in plain.findings.items()
        }
        before, known, found = after, mine, found + len(changed)
    return found


def edited(random: Random, cluster: Cluster, edit: Edit | None) -> Iterator[list[Object]]:
    """A cluster, and what becomes of it: edits, or objects of another cluster one by one, and namespaces that come."""
    objects = cluster(random)
    yield objects
    for step in range(STEPS):
        roll = random.random()
        if roll < 0.1:
            objects = [*objects, namespace(f"new{step}", team=random.choice("ab"))]
        elif edit and roll < 0.8:
            objects = edit(random, objects)
        else:
            named = {_name(one): one for one in objects}
            others = {_name(one): one for one in cluster(random)}
            for name in random.sample(sorted(named.keys() | others.keys()), min(3, len(named))):
                if name in others and others[name] != named.get(name):
                    named[name] = others[name]
                else:
                    named.pop(name, None)
            objects = [*named.values()]
        yield objects


def _name(one: Object) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def approved(before: Snapshot) -> Agreed:
    """What was there at first was approved."""
    return Agreed((before,), (), (), "like-peers", ("team",))


def nothing(_: Snapshot) -> Agreed:
    """Nothing was approved yet."""
    return Agreed((), (), tuple(inputs().shipped(None)), "like-peers", ("team",))


CLUSTERS: dict[str, tuple[Cluster, Edit | None]] = {
    "rbac": (small.random_cluster, small.random_edit),
    "network": (network.random_cluster, None),
    "admission": (admission_cluster, None),
    "graph": (lambda random: graph_cluster(random, Size(2, 4, 3, 2)), None),
}


@pytest.mark.parametrize("agreed", [approved, nothing])
@pytest.mark.parametrize("kind", CLUSTERS)
@examples(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_judgement_that_goes_on_says_what_one_from_nothing_says(
    kind: str, agreed: Callable[[Snapshot], Agreed], seed: int
) -> None:
    """Gains, unknown places, standing hits, findings with causes, fixes, owners and paths, and events."""
    follow(edited(Random(seed), *CLUSTERS[kind]), agreed)


@pytest.mark.parametrize("whose", ["serviceaccount", "every account", "everybody"])
@pytest.mark.parametrize("agreed", [approved, nothing])
def test_what_is_granted_cluster_wide_says_more_of_a_namespace(
    whose: str, agreed: Callable[[Snapshot], Agreed]
) -> None:
    """A check of two permissions, of which one is granted everywhere later, and taken back."""
    subject = {"serviceaccount": account("pay", "api"), "every account": group("system:serviceaccounts"),
               "everybody": group("system:authenticated")}[whose]  # fmt: skip
    start = [namespace("pay"), namespace("web"), service_account("pay", "api")]
    act = rule("impersonate:serviceaccount", "serviceaccounts", "authentication.k8s.io")
    here = [role("act", act, namespace="pay"),
            binding("act", "Role/act", account("pay", "api"), namespace="pay")]  # fmt: skip
    wide = [role("on", rule("impersonate-on:serviceaccount:get", "pods")), binding("on", "ClusterRole/on", subject)]

    follow(iter([start, [*start, *here], [*start, *here, *wide], [*start, *here], [*start, *wide]]), agreed)


@pytest.mark.prove
@pytest.mark.parametrize("kind", CLUSTERS)
def test_many_judgements_that_go_on(kind: str, record_property: Callable[[str, object], None]) -> None:
    """The same for many more; POSTURE_SEED repeats a run."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    changed = 0
    for number in range(MANY):
        random = Random(f"{seed}:{number}")
        changed += follow(edited(random, *CLUSTERS[kind]), approved if number % 3 else nothing)
    record_property(
        FIGURE, f"{kind}: {MANY * STEPS:,} judgements with {changed:,} changes go on as from nothing ({seed})"
    )
