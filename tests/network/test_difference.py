"""What two clusters differ in is what asking about every pair differs in."""

from __future__ import annotations

from random import Random
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from posture.network.connectivity import DENIED, Connectivity, Outcome, PodsByIp
from posture.network.difference import differences
from posture.network.ports import shown
from posture.network.reach import Reaches
from tests.generator.network import random_network
from tests.generator.objects import Object
from tests.network.clusters import evaluated

SETTINGS = st.sampled_from(get_args(PodsByIp.__value__))
seeds = st.integers(0, 2**32)


def edited(random: Random, objects: list[Object]) -> list[Object]:
    """The cluster with some objects left out, some taken from another, and some pods and namespaces relabelled."""
    found = [one for one in objects if one["kind"] == "Namespace" or random.random() < 0.85]
    names = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects}
    spaces = {one["metadata"]["name"] for one in objects if one["kind"] == "Namespace"}
    found += [
        one for one in random_network(random)
        if (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) not in names
        and one["metadata"].get("namespace", "") in spaces | {""} and one["kind"] != "Namespace"
        and random.random() < 0.3
    ]  # fmt: skip
    for number, one in enumerate(found):
        if one["kind"] in ("Pod", "Namespace") and random.random() < 0.2:
            labels = {**one["metadata"].get("labels", {}), "app": random.choice(("web", "db")), "env": "prod"}
            found[number] = {**one, "metadata": {**one["metadata"], "labels": labels}}
    return found


def between(result: Connectivity) -> dict[tuple[str, str], Outcome]:
    """What may go from each workload to each other: what any of its classes may."""
    reaches = Reaches(result)
    found: dict[tuple[str, str], Outcome] = {}
    for source, one in enumerate(result.classes):
        for destination, other in enumerate(result.classes):
            ends = reaches.party(source), reaches.party(destination)
            if ends[0].judged or ends[1].judged:
                asked = result.between(*ends)
                known = found.get((one.workload, other.workload), DENIED)
                surely = known.allowed | asked.allowed
                found[one.workload, other.workload] = Outcome(known.accept | asked.accept, DENIED.deny & ~surely)
    return found


@settings(max_examples=300, deadline=None)
@given(seeds, seeds, SETTINGS)
def test_differences_are_those_of_every_pair(seed: int, change: int, setting: PodsByIp) -> None:
    """Each pair of workloads that differs, with what was and what is, and no other; the way back is the mirror."""
    objects = random_network(Random(seed))
    before, after = evaluated(objects, setting), evaluated(edited(Random(change), objects), setting)
    was, now = between(before), between(after)
    expected = {
        pair: (shown(one.allowed), shown(one.accept), shown(other.allowed), shown(other.accept))
        for pair in was.keys() | now.keys()
        if (one := was.get(pair, DENIED)) != (other := now.get(pair, DENIED))
    }
    found = list(differences(before, after))
    told = {
        (one.source, one.destination): (
            shown(one.before.allowed), shown(one.before.accept), shown(one.after.allowed), shown(one.after.accept)
        )
        for one in found
    }  # fmt: skip
    assert told == expected
    back = list(differences(after, before))
    assert [(one.source, one.destination, one.after, one.before) for one in back] == [tuple(one) for one in found]
    assert list(differences(before, before)) == []
