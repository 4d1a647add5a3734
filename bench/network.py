"""The network domain on a large cluster from memory, and on a pair of folders: ratios to a floor, and of growth.

In memory, each size is a process of its own, which prints one line of JSON (`python -m bench.network NAMESPACES`). The
floor is to encode and decode every object once, as any reader of a cluster must. Seconds are of processor time.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import yaml

from posture import network, pipeline
from posture.config import Config
from posture.drift.agreed import Agreed
from posture.inputs import Inputs
from posture.model import Changed, Content, Key, Snapshot, canonical
from posture.network.policies import NETWORK_POLICIES
from tests.generator import large_network
from tests.generator.large_network import cluster, edit_of, ns, running
from tests.generator.objects import Object, snapshot

from .process import run

PYTHON = [sys.executable]
POSTURE = [sys.executable, "-m", "posture"]
NAMESPACES, SMALL = 10_000, 1_000
EDITED = 3
"""Namespaces of each hundred that are edited."""
STEPS = 10
LIMITS = {"evaluate": 6.0, "judge": 40.0}
"""Times the floor."""
GROWTH = 16.0
"""Times the time for ten times the objects: linear is 10 (who can use a finding is counted), quadratic 100."""
UPDATE = 0.05
"""Of a full evaluation, for one changed object."""
MEMORY = 1_200.0
FOLDERS, FOLDERS_SMALL = 200, 20
DIFF = 4.0
"""Times reading both folders."""
OPENED = {"loosened": 1, "refactored": 0, "compensated": 1, "latent": 1, "relabelled": 4}
"""Findings in one namespace of each kind of edit: what opens is found, what says the same is not."""


# One size, in a process of its own -----------------------------------------------------------------------------------


def measured(namespaces: int) -> dict[str, Any]:
    """Seconds of each step for a cluster of some namespaces, and what was found."""
    gc.disable()  # as `posture scan` does
    before = snapshot(running(cluster(namespaces)))
    after = snapshot(running(cluster(namespaces, EDITED)), beside=before)
    found: dict[str, Any] = {"floor": _timed(lambda: _floor(before))[0]}
    rules = Inputs(Config()).rules
    before, after = (replace(side, settings=rules.settings) for side in (before, after))
    found["evaluate"], result = _timed(lambda: network.evaluate(before))
    for name, key, content in _changes(before):
        changed = (Changed(key, before.get(key), content),)
        _updated(before, result, changed)  # what is worked out once for all updates is no part of one
        found[name], found[f"{name}: changes"] = _timed(partial(_updated, before, result, changed))
    del result
    gc.collect()  # it holds on to itself
    agreed = Agreed((before,), (), (), peer_labels=("team",))
    found["judge"], judgement = _timed(
        lambda: pipeline.judge(after, agreed, pipeline.History(), rules, "2026-11-03T00:00:00Z")
    )
    findings = judgement.outcome.findings.values()
    found["findings"], found["groups"] = len(findings), len({one.group for one in findings})
    found["wrong"] = _wrong(namespaces, Counter(one.scope for one in findings))
    return found


def _timed[T](call: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def _floor(given: Snapshot) -> None:
    for resource in given.index:
        for _, content in given.objects(resource):
            orjson.loads(canonical(content)[1])


def _changes(before: Snapshot) -> Iterable[tuple[str, Key, Content]]:
    """One policy, one label of a pod, and one of a namespace that no policy asks for."""
    key = Key(NETWORK_POLICIES, ns(5), "db")
    policy = before.get(key) or {}
    yield "policy", key, {"spec": {**policy["spec"], "ingress": [{"from": [{"namespaceSelector": {}}]}]}}
    for name, key, label in (("pod label", Key("pods", ns(7), "worker-9"), {"tier": "frontend"}),
                             ("namespace label", Key("namespaces", "", ns(9)), {"purpose": "debug"})):  # fmt: skip
        content = before.get(key) or {}
        yield name, key, {**content, "labels": {**content["labels"], **label}}


def _updated(before: Snapshot, result: Any, changed: tuple[Changed, ...]) -> int:
    """How many changes an update makes: all that a swap of one object costs."""
    settled = network.settle(before, changed)
    update = network.evaluate(before.replaced((one.key, one.new) for one in settled), result, settled)
    return len(network.compare(result, update, None, update.touched).changes)


def _wrong(namespaces: int, findings: Counter[str]) -> list[str]:
    """The namespaces in which another number of findings was made than their edit deserves."""
    wanted = Counter({ns(number): OPENED[edit_of(number, EDITED)] for number in range(namespaces)
                      if edit_of(number, EDITED)})  # fmt: skip
    return sorted(name for name in wanted.keys() | findings.keys() if wanted[name] != findings[name])


# All of it -----------------------------------------------------------------------------------------------------------


def judged(*, small: bool) -> list[str]:
    """Measure a cluster and a tenth of it, and a pair of folders; what misses its limit, in words."""
    namespaces = SMALL if small else NAMESPACES
    runs = {size: run([*PYTHON, "-m", "bench.network", str(size)]) for size in (namespaces // STEPS, namespaces)}
    for one in runs.values():
        assert one.code == 0, one.output
    tenth, whole = (json.loads(one.output.splitlines()[-1]) for one in runs.values())
    workloads = namespaces * len(large_network.TIERS)
    print(f"\n{namespaces:,} namespaces, {workloads:,} workloads, {6 * namespaces:,} policies")
    failures: list[str] = []
    print(f"{'floor (objects decoded)':24}{whole['floor']:7.2f} s")
    for name, limit in LIMITS.items():
        ratio, growth = whole[name] / whole["floor"], whole[name] / tenth[name]
        more = f" {whole['findings']} findings in {whole['groups']} groups" if name == "judge" else ""
        print(f"{name:24}{whole[name]:7.2f} s{ratio:8.2f}x  at most {limit:.0f}x;"
              f" {growth:5.1f}x a tenth, at most {GROWTH:.0f}x{more}")  # fmt: skip
        failures += [f"{name} takes {ratio:.1f} times the floor"] if ratio > limit else []
        failures += [f"{name} takes {growth:.1f} times what a tenth takes"] if growth > GROWTH else []
    for name in ("policy", "pod label", "namespace label"):
        ratio = whole[name] / whole["evaluate"]
        number = whole[f"{name}: changes"]
        print(f"{f'one {name}':24}{whole[name] * 1000:6.1f} ms{ratio:8.3f}x  at most {UPDATE}x; {number} changes")
        failures += [f"an update of one {name} takes {ratio:.3f} of an evaluation"] if ratio > UPDATE else []
    memory = runs[namespaces].memory
    print(f"{'peak memory':24}{memory:6.0f} MB{'':9}  at most {MEMORY:.0f} MB")
    failures += [f"the network domain takes {memory:.0f} MB"] if memory > MEMORY else []
    wrong = whole["wrong"]
    failures += [f"{len(wrong)} edited namespaces were judged wrong: {wrong[:3]}"] if wrong else []
    return failures + _folders(FOLDERS_SMALL if small else FOLDERS)


def _folders(namespaces: int) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(place) / name for name in ("before", "after")]
        for path, edited in zip(paths, (0, EDITED), strict=True):
            _written(path, cluster(namespaces, edited))
        names = [str(path) for path in paths]
        floor = run([*PYTHON, "-m", "bench.floor", *names])
        found = run([*POSTURE, "diff", *names])
    assert floor.code == 0, floor.output
    assert found.code == 1, found.output
    ratio = found.wall / floor.wall
    print(f"{'floor (both folders read)':25}{floor.wall:6.2f} s")
    limit = f"at most {DIFF:.0f}x; {found.memory:.0f} MB"
    print(f"{f'diff, {namespaces} namespaces':24}{found.wall:7.2f} s{ratio:8.2f}x  {limit}")
    return [f"the diff of two folders takes {ratio:.2f} times reading them"] if ratio > DIFF else []


def _written(path: Path, objects: Iterable[Object]) -> None:
    by: dict[str, list[Object]] = {}
    for one in objects:
        by.setdefault(one["metadata"].get("namespace") or one["metadata"]["name"], []).append(one)
    path.mkdir()
    for name, mine in by.items():
        (path / f"{name}.yaml").write_text(yaml.dump_all(mine, Dumper=yaml.CSafeDumper), encoding="utf-8")


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]))))
