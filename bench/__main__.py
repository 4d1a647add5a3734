"""make bench: scan a large cluster on a real API server and in memory, and judge the ratios."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.controlplane.controlplane import ControlPlane
from tests.generator.large import ISSUE, SMALL, Size, plants, silent

from . import admission, graph, network, watch
from .plane import fill
from .process import Run, middle, run

ROUNDS = 3
LIMITS = {"cold": 4.0, "unchanged": 2.0}
MEMORY = 400.0
HELP = 0.150
PYTHON = [sys.executable]
POSTURE = [sys.executable, "-m", "posture"]


def main() -> int:
    """Run everything; 1 when a limit is missed."""
    size = SMALL if "--small" in sys.argv else ISSUE
    failures = [text for part in (network, admission, graph) for text in part.judged(small=size is SMALL)]
    with tempfile.TemporaryDirectory() as folder, ControlPlane() as plane:
        os.environ["KUBECONFIG"] = str(plane.kubeconfig())
        fill(plane, size)
        database = Path(folder) / "posture.db"
        owners = Path(folder) / "config.yaml"
        owners.write_text("peerLabels: [env, team]\n", encoding="utf-8")
        os.environ["POSTURE_CONFIG"] = str(owners)
        floor, cold, unchanged = _rounds(database)
        print(f"\n{'':24}{'wall':>9}{'cpu':>9}{'memory':>10}{'ratio':>8}  limit")
        _row("floor (collect alone)", floor)
        for name, found in (("cold", cold), ("unchanged", unchanged)):
            ratio = found.wall / floor.wall
            _row(f"scan, {name}", found, f"{ratio:7.2f}x  at most {LIMITS[name]}x")
            if ratio > LIMITS[name]:
                failures.append(f"{name} scan takes {ratio:.2f} times the floor")
        failures += _drift(plane, size, database)
        failures += watch.judged(plane, size, Path(folder))
        peak = max(cold.memory, unchanged.memory)
        print(f"{'peak memory':24}{'':18}{peak:7.0f} MB{'':8}  at most {MEMORY:.0f} MB")
        if peak > MEMORY:
            failures.append(f"peak memory is {peak:.0f} MB")
        start = middle([run([*POSTURE, "--help"]) for _ in range(5)])
        print(f"{'posture --help':24}{start.wall * 1000:6.0f} ms   goal {HELP * 1000:.0f} ms")
    for text in failures:
        print(f"FAILED: {text}")
    return 1 if failures else 0


def _scan(database: Path) -> Run:
    found = run([*POSTURE, "scan", "--db", str(database)])
    assert found.code == 0, found.output
    return found


def _rounds(database: Path) -> tuple[Run, Run, Run]:
    """Floor, cold scan and unchanged scan in turn, after a warm-up; medians."""
    floor: list[Run] = []
    cold: list[Run] = []
    unchanged: list[Run] = []
    for number in range(ROUNDS + 1):
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        rows = run([*PYTHON, "-m", "bench.floor"]), _scan(database), _scan(database)
        assert rows[0].code == 0, rows[0].output
        if number:
            for place, row in zip((floor, cold, unchanged), rows, strict=True):
                place.append(row)
            walls = [f"{name} {row.wall:.1f} s" for name, row in zip(("floor", "cold", "unchanged"), rows, strict=True)]
            print(f"round {number}: {', '.join(walls)}", flush=True)
    print(cold[-1].output.splitlines()[0])
    return middle(floor), middle(cold), middle(unchanged)


def _drift(plane: ControlPlane, size: Size, database: Path) -> list[str]:
    """Plant the patterns and scan: exactly their groups, with exactly their places."""
    approved = run([*POSTURE, "baseline", "approve", "--by", "bench", "--db", str(database)])
    assert approved.code == 0, approved.output
    planted = plants(size)
    for plant in (*planted, *silent(size)):
        for one in plant.gone:
            path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{one['metadata']['namespace']}/rolebindings"
            plane.request("DELETE", f"{path}/{one['metadata']['name']}")
        plane.apply(plant.objects)
    time.sleep(3)  # the controllers aggregate
    found = _scan(database)
    _row("scan, 30 patterns", found)
    listed = run([*POSTURE, "findings", "list", "--members", "-o", "json", "--db", str(database)])
    groups: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in json.loads(listed.output):
        through = "/".join(part for part in row["through"].values() if part)
        groups[row["group"]].add((row["subject"], row["scope"], through))
    wanted = {plant.name: {tuple(place) for place in plant.places} for plant in planted}
    failures = [
        f"pattern {name} was not found as planted" for name, places in wanted.items() if places not in groups.values()
    ]
    failures += [f"a group that was not planted: {sorted(places)[:2]}" for places in groups.values()
                 if places not in wanted.values()]  # fmt: skip
    exact = len(wanted) - sum(text.startswith("pattern") for text in failures)
    places = sum(map(len, groups.values()))
    print(f"{'patterns':24}{exact} of {len(wanted)} exact, {len(groups)} groups, {places:,} places")
    return failures


def _row(name: str, found: Run, more: str = "") -> None:
    print(f"{name:24}{found.wall:7.2f} s{found.cpu:7.2f} s{found.memory:7.0f} MB {more}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
