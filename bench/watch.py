"""`posture watch` of a large cluster: from a write's acknowledgement to its finding in SQLite, memory, and idle time.

What is judged is a ratio of one run: a change against a scan of the whole cluster that finds as much. Alone, with
`--small` for a small cluster: `python -m bench.watch`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from typing import Any

from posture.kinds import RBAC
from tests.controlplane.controlplane import ControlPlane
from tests.generator.large import ISSUE, SMALL, Size, ns
from tests.operations.watcher import Watcher

from .plane import fill
from .process import run

POSTURE = [sys.executable, "-m", "posture"]
CHANGES = 60
PAUSE = 0.3
IDLE_SECONDS = 20.0
START_SECONDS = 600.0
SLOWEST = 20.0
GOALS = "goal 0.15 s", "goal 1 s", "goal 600 MB", "goal 1 %"
SHARE = 0.25
"""At most so much of a scan of the whole cluster may half of the changes take to their findings."""
SMALLEST = 0.4
"""Seconds: of a scan that takes less nearly all is the start of its process, which no change has to wait for."""
type Written = tuple[str, str, dict[str, Any], str]
"""A path, a name, an object that is made there, and the subject of the finding that it makes."""


def changes(size: Size) -> Iterator[Written]:
    """Grants that nobody agreed to: in a namespace, through a new role or in the whole cluster, each to a new user."""
    for number in range(CHANGES):
        name, where = f"bench-{number}", ns(number % size.namespaces)
        subject = {"kind": "User", "apiGroup": RBAC, "name": name}
        role = "cluster-admin" if number % 3 else "view"
        made = {"metadata": {"name": name}, "subjects": [subject],
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}}  # fmt: skip
        path = f"/apis/{RBAC}/v1/" + (f"namespaces/{where}/rolebindings" if number % 10 else "clusterrolebindings")
        yield path, name, made, f"user:{name}"


def judged(plane: ControlPlane, size: Size, folder: Path) -> list[str]:
    """Follow a control plane that was filled; what misses its limit, in words."""
    database, scanned = folder / "watched.db", folder / "scanned.db"
    config = ["--kubeconfig", str(plane.kubeconfig())]
    _approved([*config], scanned)
    began = time.monotonic()
    with Watcher(*config, "--db", str(database)) as watcher:
        _wait(watcher, "ready", 1)
        start = time.monotonic() - began
        _agreed(database)
        _wait(watcher, "revision", 2)
        time.sleep(5.0)
        first = _memory(watcher.process.pid)
        idle = _idle(watcher.process.pid)
        seconds = sorted(_latencies(plane, size, database))
        steady = _memory(watcher.process.pid)
    whole = run([*POSTURE, "scan", *config, "--db", str(scanned)])
    assert whole.code == 0, whole.output
    half, most = quantiles(seconds, n=100, method="inclusive")[49], quantiles(seconds, n=100, method="inclusive")[98]
    share = half / max(whole.wall, SMALLEST)
    print(f"\nwatch of {size.namespaces:,} namespaces, {size.bindings:,} bindings, {size.deployments:,} Deployments")
    print(f"{'  until ready':24}{start:7.2f} s")
    print(f"{'  scan, as much to find':24}{whole.wall:7.2f} s")
    print(f"{'  change to finding, p50':24}{half:7.3f} s{share:8.3f}x  at most {SHARE}x; {GOALS[0]}")
    print(f"{'  p99 of ' + str(len(seconds)):24}{most:7.3f} s{'':9}  {GOALS[1]}; most {seconds[-1]:.3f} s")
    print(f"{'  memory':24}{steady:6.0f} MB{'':9}  {GOALS[2]}; {first:.0f} MB before the changes")
    print(f"{'  idle':24}{idle:7.2f} %{'':9}  {GOALS[3]} of a core", flush=True)
    return [f"a change takes {share:.2f} times a scan to its finding"] if share > SHARE else []


def _approved(config: list[str], database: Path) -> None:
    done = run([*POSTURE, "scan", *config, "--db", str(database)])
    assert done.code == 0, done.output
    _agreed(database)


def _agreed(database: Path) -> None:
    done = run([*POSTURE, "baseline", "approve", "--by", "bench", "--db", str(database)])
    assert done.code == 0, done.output


def _wait(watcher: Watcher, event: str, number: int) -> None:
    end = time.monotonic() + START_SECONDS
    while len(watcher.events(event)) < number:
        assert time.monotonic() < end, (watcher.lines[-5:], watcher.other[-5:])
        assert watcher.process.poll() is None, watcher.other[-20:]
        time.sleep(0.1)


def _latencies(plane: ControlPlane, size: Size, database: Path) -> Iterator[float]:
    """Seconds from each acknowledged write until anybody may read its finding; the next comes when that is known."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
        for path, name, made, subject in changes(size):
            plane.request("POST", path, made)
            acknowledged = time.perf_counter()
            while not reader.execute("SELECT 1 FROM finding WHERE subject = ? LIMIT 1", (subject,)).fetchone():
                assert time.perf_counter() < acknowledged + SLOWEST, f"{name} was not found"
                time.sleep(0.002)
            yield time.perf_counter() - acknowledged
            time.sleep(PAUSE)


def _memory(pid: int) -> float:
    """The megabytes that a process holds."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def _idle(pid: int) -> float:
    """The share of a core that a process uses while nothing happens, in percent."""
    before = _ticks(pid)
    time.sleep(IDLE_SECONDS)
    return 100 * (_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / IDLE_SECONDS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def main() -> int:
    """Fill a control plane of its own and follow that; 1 when a limit is missed."""
    size = SMALL if "--small" in sys.argv else ISSUE
    with tempfile.TemporaryDirectory() as folder, ControlPlane() as plane:
        fill(plane, size)
        failures = judged(plane, size, Path(folder))
    for text in failures:
        print(f"FAILED: {text}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
