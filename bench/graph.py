"""The graph of a large cluster from memory, and which paths are new: ratios to evaluating the domains, and of growth.

Each size is a process of its own, which prints one line of JSON (`python -m bench.graph NAMESPACES BINDINGS …`). What
is compared is milestone 1's cluster before and after its 30 planted patterns; and the same with the default roles of
Kubernetes, whose controllers may do nearly everything everywhere (`python -m bench.graph default NAMESPACES …`).
Seconds are of processor time; the floor is to evaluate all three domains, which is done before.
"""

from __future__ import annotations

import gc
import json
import sys
import time
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
LIMITS = {"": (17.0, 1.6, 290.0), "default": (40.0, 24.0, 600.0)}
"""At most so many times the evaluation of all domains, the same for one changed binding, and MB beside the domains."""
GOALS = "goal 5 s, 300 ms, 150 MB, not reached"
GROWTH = 16.0
"""Times the time for ten times the namespaces: linear is 10, quadratic 100."""
PLANTED = {
    "group:monitoring": "cluster-admin",
    "group:status": "",
    f"serviceaccount:{ns(2)}/worker": "secrets",
    f"serviceaccount:{ns(8)}/api": "cluster-admin",
    f"serviceaccount:{ns(11)}/api": "cloud/aws:arn:aws:iam::1:role/admin",
    "group:contractors": "",
}
"""What those to whom patterns grant something newly reach, or "" for nothing."""


# One size, in a process of its own -----------------------------------------------------------------------------------


def measured(size: Size, *, default: bool) -> dict[str, Any]:
    """Seconds of each step for a cluster of some size, megabytes, and what was found."""
    gc.disable()  # as `posture scan` does
    inputs = Inputs(Config())
    escalations = inputs.escalations
    defaults = [*inputs.shipped(None)] if default else []
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
    keys = (key for key, _, _ in differences(after.index, before.index, READS))
    changed = [Changed(key, after.get(key), before.get(key)) for key in keys]
    return {name: domain.evaluate(before, live[name], changed) for name, domain in DOMAINS.items()}


def _changes(agreed: dict[str, Any], live: dict[str, Any]) -> list[Change]:
    found = (domain.compare(agreed[name], live[name], {}).changes for name, domain in DOMAINS.items())
    return [change for changes in found for change in changes if change.direction == "loosened"]


def _wrong(new: list[compare.NewPath]) -> list[str]:
    """Those who should newly reach something and do not, or the other way round."""
    reached = {(name, one.path.target) for one in new for name in (one.path.source, *one.others)}
    anything = {name for name, _ in reached}
    return [
        name for name, target in PLANTED.items() if ((name, target) not in reached if target else name in anything)
    ]  # fmt: skip


def _bindings(after: Snapshot) -> Iterator[Changed]:
    """A binding in one namespace that is for another role: cluster-admin, or one that reads Secrets."""
    for number, role in ((20, "secret-reader"), (21, "secret-reader"), (22, "cluster-admin"), (23, "view")):
        key = Key(ROLE_BINDINGS, ns(number), "edit")
        old = after.get(key) or {}
        yield Changed(key, old, {**old, "roleRef": {**old["roleRef"], "kind": "ClusterRole", "name": role}})


def _updated(one: Graph, bases: list[Graph], changed: Changed, gained: Gained) -> set[tuple[str, str]]:
    """Who newly reaches what after a change: all that one change of the cluster costs."""
    updated = graph.updated(one, one.snapshot.replaced([(changed.key, changed.new)]), [changed])
    return _reached(bases, updated, changed, gained)


def _anew(one: Graph, bases: list[Graph], changed: Changed, gained: Gained) -> set[tuple[str, str]]:
    """The same from nothing."""
    after = one.snapshot.replaced([(changed.key, changed.new)])
    results = {name: domain.evaluate(after) for name, domain in DOMAINS.items()}
    made = graph.assembled(results, one.catalogue.given)
    return _reached(bases, made, changed, gained)


def _reached(bases: list[Graph], live: Graph, changed: Changed, gained: Gained) -> set[tuple[str, str]]:
    new = compare.compare(bases, live, {}, lambda fact: gained(fact) or fact.scope == changed.key.namespace)
    return {(name, one.path.target) for one in new for name in (one.path.source, *one.others)}


# All of it -----------------------------------------------------------------------------------------------------------


def judged(*, small: bool) -> list[str]:
    """Measure a cluster and a tenth of it, and the cluster with default roles; what misses its limit, in words."""
    size = Size(*(STEPS * part for part in astuple(SMALL))) if small else ISSUE
    tenth, whole, default = (
        _run(*words)
        for words in ((Size(*(part // STEPS for part in astuple(size))), ""), (size, ""), (size, "default"))
    )
    growth = whole["paths"] / tenth["paths"]
    print(f"\n{size.namespaces:,} namespaces, {size.bindings:,} bindings, {size.deployments:,} Deployments: {GOALS}")
    failures = [f"graph and new paths take {growth:.1f} times what a tenth takes"] if growth > GROWTH else []
    for name, found in (("", whole), ("default", default)):
        paths, update, memory = LIMITS[name]
        figures = found["paths"] / found["floor"], found["update"] / found["floor"], found["memory"]
        print(f"{'with default roles' if name else 'graph':24}{found['nodes']:,} nodes, {found['new']} new paths")
        print(f"{'  floor (domains)':24}{found['floor']:7.2f} s")
        more = "" if name else f"; {growth:5.1f}x a tenth, at most {GROWTH:.0f}x"
        print(f"{'  graph and new paths':24}{found['paths']:7.2f} s{figures[0]:8.2f}x  at most {paths:.0f}x{more}")
        print(f"{'  one binding':24}{found['update'] * 1000:6.0f} ms{figures[1]:8.2f}x  at most {update}x")
        print(f"{'  memory beside domains':24}{figures[2]:6.0f} MB{'':9}  at most {memory:.0f} MB")
        texts = ("graph and new paths take {:.1f} times the domains",
                 "a changed binding takes {:.2f} times the domains", "the graph takes {:.0f} MB")  # fmt: skip
        failures += [text.format(figure) for text, figure, limit in zip(texts, figures, LIMITS[name], strict=True)
                     if figure > limit]  # fmt: skip
        failures += [f"wrong paths: {found['wrong'][:3]}"] if found["wrong"] else []
    return failures


def _run(size: Size, kind: str) -> dict[str, Any]:
    one = run([*PYTHON, "-m", "bench.graph", *filter(None, [kind]), *map(str, astuple(size))])
    assert one.code == 0, one.output
    found: dict[str, Any] = json.loads(one.output.splitlines()[-1])
    return found


if __name__ == "__main__":
    words = sys.argv[1:]
    print(json.dumps(measured(Size(*map(int, words[-4:])), default=words[0] == "default")))
