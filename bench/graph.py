"""The graph of a large cluster from memory, and which paths are new: ratios to evaluating the domains, and of growth.

Each size is a process of its own, which prints one line of JSON (`python -m bench.graph NAMESPACES BINDINGS …`). What
is compared is milestone 1's cluster before and after its 30 planted patterns, with the default roles of Kubernetes.
Seconds are of processor time; the floor is to evaluate all three domains, which is done before.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from posture import graph
from posture.config import Config
from posture.graph import compare, findings
from posture.graph.attribution import Gained
from posture.graph.evaluate import DOMAINS, READS, Graph
from posture.inputs import Inputs
from posture.model import Change, Changed, Key, Snapshot, differences
from posture.rbac.evaluate import ROLE_BINDINGS
from tests.generator.large import ISSUE, SMALL, Size, cluster, drifted, ns
from tests.generator.objects import snapshot

from .process import run

PYTHON = [sys.executable]
STEPS = 10
PATHS = 5.0
"""Times the evaluation of all domains. The goal is 5 s on two idle cores."""
UPDATE = 0.4
"""Times the same, for one changed binding. The goal is 300 ms."""
MEMORY = 170.0
"""MB beside the results of the domains. The goal is 150."""
GROWTH = 16.0
"""Times the time for ten times the namespaces: linear is 10, quadratic 100."""
PLANTED = {
    f"serviceaccount:{ns(1)}/api": "cluster-admin",
    "group:monitoring": "cluster-admin",
    "group:status": "",
    f"serviceaccount:{ns(2)}/worker": "secrets",
    f"serviceaccount:{ns(6)}/api": f"namespace-admin/{ns(6)}",
    f"serviceaccount:{ns(8)}/api": f"namespace-admin/{ns(8)}",
    f"serviceaccount:{ns(11)}/api": "cloud/aws:arn:aws:iam::1:role/admin",
    "group:contractors": "",
}
"""What those to whom patterns grant something newly reach, or "" for nothing."""


# One size, in a process of its own -----------------------------------------------------------------------------------


def measured(size: Size) -> dict[str, Any]:
    """Seconds of each step for a cluster of some size, megabytes, and what was found."""
    gc.disable()  # as `posture scan` does
    inputs = Inputs(Config())
    escalations = inputs.escalations
    defaults = [*inputs.shipped(None)]
    before = snapshot(cluster(size)).replaced(defaults)
    after = snapshot(drifted(size), beside=before).replaced(defaults)
    found: dict[str, Any] = {}
    found["floor"], live = _timed(lambda: {name: domain.evaluate(after) for name, domain in DOMAINS.items()})
    agreed = _near(live, after, before)
    changes = _changes(agreed, live)
    gc.collect()
    memory = _memory()
    sides = findings.Sides(live, [agreed], changes, {})
    gained = Gained(changes)

    def paths() -> tuple[Graph, list[Graph], list[compare.NewPath]]:
        one, bases = sides.graphs(escalations)
        return one, bases, compare.compare(bases, one, {}, gained)

    found["paths"], (one, bases, new) = _timed(paths)
    found["memory"] = _memory() - memory
    found["nodes"], found["new"] = sum(map(len, one.known.values())), len(new)
    found["wrong"] = _wrong(new)
    seconds = []
    for changed in _bindings(after):
        used, more = _timed(lambda change=changed: _updated(one, bases, change, gained))  # type: ignore[misc]
        seconds.append(used)
        found["wrong"] += [] if more == _anew(one, bases, changed, gained) else [str(changed.key)]
    found["update"] = max(seconds[1:])  # what is worked out once for all updates is no part of one
    return found


def _timed[T](call: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def _memory() -> float:
    """The megabytes that this process holds."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def _near(live: dict[str, Any], after: Snapshot, before: Snapshot) -> dict[str, Any]:
    changed = [Changed(key, after.get(key), before.get(key)) for key, _, _ in differences(after.index, before.index, READS)]
    return {name: domain.evaluate(before, live[name], changed) for name, domain in DOMAINS.items()}


def _changes(agreed: dict[str, Any], live: dict[str, Any]) -> list[Change]:
    found = (domain.compare(agreed[name], live[name], {}).changes for name, domain in DOMAINS.items())
    return [change for changes in found for change in changes if change.direction == "loosened"]


def _wrong(new: list[compare.NewPath]) -> list[str]:
    """Those who should newly reach something and do not, or the other way round."""
    reached = Counter((name, one.path.target) for one in new for name in (one.path.source, *one.others))
    anything = Counter(name for name, _ in reached)
    twice = [f"{name} {target}" for (name, target), number in reached.items() if number > 1]
    return twice + [
        name for name, target in PLANTED.items() if not (reached[name, target] if target else not anything[name])
    ]


def _bindings(after: Snapshot) -> Iterator[Changed]:
    """A binding in one namespace that is for another role: cluster-admin, or one that reads Secrets."""
    for number, role in ((20, "secret-reader"), (21, "secret-reader"), (22, "cluster-admin"), (23, "view")):
        key = Key(ROLE_BINDINGS, ns(number), "edit")
        old = after.get(key) or {}
        yield Changed(key, old, {**old, "roleRef": {**old["roleRef"], "kind": "ClusterRole", "name": role}})


def _updated(one: Graph, bases: list[Graph], changed: Changed, gained: Gained) -> set[tuple[str, str]]:
    """Who newly reaches what after a change: all that one change of the cluster costs."""
    updated = graph.updated(one, one.snapshot.replaced([(changed.key, changed.new)]), [changed])
    return _reached(compare.compare(bases, updated, {}, lambda fact: gained(fact) or fact.scope == changed.key.namespace))


def _anew(one: Graph, bases: list[Graph], changed: Changed, gained: Gained) -> set[tuple[str, str]]:
    """The same from nothing."""
    after = one.snapshot.replaced([(changed.key, changed.new)])
    results = {name: domain.evaluate(after) for name, domain in DOMAINS.items()}
    made = graph.assembled(results, one.catalogue.given)
    return _reached(compare.compare(bases, made, {}, lambda fact: gained(fact) or fact.scope == changed.key.namespace))


def _reached(new: list[compare.NewPath]) -> set[tuple[str, str]]:
    return {(name, one.path.target) for one in new for name in (one.path.source, *one.others)}


# All of it -----------------------------------------------------------------------------------------------------------


def judged(*, small: bool) -> list[str]:
    """Measure a cluster and a tenth of it; what misses its limit, in words."""
    size = Size(*(STEPS * part for part in astuple(SMALL))) if small else ISSUE
    sizes = (Size(*(part // STEPS for part in astuple(size))), size)
    runs = [run([*PYTHON, "-m", "bench.graph", *map(str, astuple(one))]) for one in sizes]
    for one in runs:
        assert one.code == 0, one.output
    tenth, whole = (json.loads(one.output.splitlines()[-1]) for one in runs)
    ratio, growth, update = whole["paths"] / whole["floor"], whole["paths"] / tenth["paths"], whole["update"]
    print(f"\n{size.namespaces:,} namespaces, {size.bindings:,} bindings, {size.deployments:,} Deployments:"
          f" {whole['nodes']:,} nodes")  # fmt: skip
    print(f"{'floor (domains)':24}{whole['floor']:7.2f} s")
    print(f"{'graph and new paths':24}{whole['paths']:7.2f} s{ratio:8.2f}x  at most {PATHS:.0f}x;"
          f" {growth:5.1f}x a tenth, at most {GROWTH:.0f}x; {whole['new']} new paths")  # fmt: skip
    print(f"{'one binding':24}{update * 1000:6.1f} ms{update / whole['floor']:8.3f}x  at most {UPDATE}x")
    print(f"{'memory beside domains':24}{whole['memory']:6.0f} MB{'':9}  at most {MEMORY:.0f} MB")
    found = [
        (ratio > PATHS, f"graph and new paths take {ratio:.1f} times the domains"),
        (growth > GROWTH, f"graph and new paths take {growth:.1f} times what a tenth takes"),
        (update > UPDATE * whole["floor"], f"a changed binding takes {update / whole['floor']:.2f} times the domains"),
        (whole["memory"] > MEMORY, f"the graph takes {whole['memory']:.0f} MB"),
        (bool(whole["wrong"] + tenth["wrong"]), f"wrong paths: {(whole['wrong'] + tenth['wrong'])[:3]}"),
    ]
    return [text for missed, text in found if missed]


if __name__ == "__main__":
    print(json.dumps(measured(Size(*map(int, sys.argv[1:])))))
