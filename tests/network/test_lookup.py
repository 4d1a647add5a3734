"""Who is about whom: what an update keeps is what a full evaluation finds, whatever was edited."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from posture import network
from posture.model import Changed, differences
from posture.network.connectivity import Connectivity
from posture.network.evaluate import lookup_of
from tests.generator.large_network import cluster, running
from tests.generator.objects import snapshot


def shelves(result: Connectivity) -> dict[str, Any]:
    """All that is kept, as plain sets."""
    lookup = lookup_of(result)
    kept = {name: getattr(lookup, name) for name in ("peers", "hooks", "blocks", "labels", "open", "loose")}
    found: dict[str, Any] = {
        name: {key: {*names} for key, names in shelf.names.items()} for name, shelf in kept.items()
    }
    return found | {"texts": dict(lookup.texts.items())}


def test_an_update_keeps_what_a_full_evaluation_finds() -> None:
    """Every kind of edit, then all of them taken back, and namespaces that come and go."""
    states = [snapshot(running(cluster(size, edited))) for size, edited in ((20, 0), (20, 5), (15, 0), (20, 0))]
    result = network.evaluate(states[0])
    for before, after in pairwise(states):
        found = differences(before.index, after.index, network.READS)
        changed = [Changed(key, before.get(key), after.get(key)) for key, _, _ in found]
        assert changed
        result = network.evaluate(after, result, changed)

        assert shelves(result) == shelves(network.evaluate(after))
