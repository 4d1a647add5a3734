"""Balance: what was opened, whether it was paid for, and that no number of small steps hides it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture import network
from posture.model import Change
from posture.network.balance import balances
from posture.network.units import beyond
from tests.conftest import FIGURE
from tests.generator.balance import KINDS, pair
from tests.generator.network import random_cluster, random_edit
from tests.generator.objects import Object
from tests.network.clusters import evaluated

seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    "number", [pytest.param(50, id="normal"), pytest.param(1000, id="prove", marks=pytest.mark.prove)]
)
def test_every_namespace_is_classified_right(number: int, record_property: Callable[[str, object], None]) -> None:
    """Loosened, refactored, compensated, latently loosened and tightened ones, all in one cluster."""
    before: list[Object] = []
    after: list[Object] = []
    expected: dict[str, str] = {}
    for kind in KINDS:
        for at in range(number):
            name = f"{kind}-{at}"
            old, new = pair(Random(f"{kind}:{at}"), kind, name)
            before, after, expected[name] = before + old, after + new, kind
    found = balances(network.compare(evaluated(before), evaluated(after)).changes)
    told = {one.namespace: one.verdict for one in found}

    wrong = {
        name: told.get(name, "unchanged") for name, kind in expected.items() if told.get(name, "unchanged") != kind
    }
    assert wrong == {}
    record_property(FIGURE, f"network: balance of {number:,} namespaces of each of {len(KINDS)} kinds, all right")


@settings(max_examples=40, deadline=None)
@given(seeds.map(lambda seed: random_cluster(Random(seed))), st.lists(seeds, min_size=2, max_size=6))
def test_many_small_steps_cannot_hide(objects: list[Object], edits: Sequence[int]) -> None:
    """What is open against the baseline was opened by some step: the sum of all steps covers it, and compares equal
    when the way is gone back.
    """
    states = [evaluated(objects)]
    for seed in edits:
        objects = random_edit(Random(seed), objects)
        states.append(evaluated(objects))
    steps = [change for old, new in pairwise(states)
             for change in network.compare(old, new, growth=True).changes]  # fmt: skip
    whole = network.compare(states[0], states[-1], growth=True).changes
    for change in whole:
        if change.direction == "loosened" and not change.subject.startswith("namespace:"):
            assert _gained(steps, change.subject), change


def _gained(steps: Sequence[Change], subject: str) -> bool:
    return any(change.subject == subject and change.direction == "loosened" for change in steps)


def test_a_loosening_in_small_steps_is_found_whole() -> None:
    """Ten steps of one port each: against the baseline they are one gain of ten ports, and it is not compensated."""
    old, _ = pair(Random(0), "unchanged", "pay")
    for number in range(10):
        policy = next(one for one in old if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "worker")
        more = {"from": [{"namespaceSelector": {}}], "ports": [{"port": 7000 + number}]}
        changed = {**policy, "spec": {**policy["spec"], "ingress": [*policy["spec"]["ingress"], more]}}
        old = [changed if one is policy else one for one in old]
    baseline, _ = pair(Random(0), "unchanged", "pay")
    (change,) = network.compare(evaluated(baseline), evaluated(old)).changes

    assert [unit["ports"] for unit in change.gained] == [[{"protocol": "TCP", "port": 7000, "endPort": 7009}]]
    assert change.uncompensated
    assert beyond(change.gained, change.gained) == ()
