"""Killed at any moment: a scan or a decision happened or it did not, and the next one goes on from there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from posture.store import open_store, upkeep
from tests.conftest import FIGURE
from tests.generator.objects import Object, account, binding, group, guarded, namespace, role, rule, service_account

NAMESPACES = 60
NOW = "2026-10-05T09:00:00Z"


def cluster(day: int) -> list[Object]:
    """Some hundred objects. After the first day roles grew, bindings came and went, levels went, a namespace is new."""
    found: list[Object] = []
    for number in range(NAMESPACES + (day > 1)):
        where = f"team-{number}"
        resources = "secrets" if day > 1 and number % 3 == 0 else "configmaps"
        verbs = "get,list" if day > 2 and number % 6 == 0 else "get"
        found += [
            namespace(where, team=where) if day > 1 and number % 4 == 1 else guarded(where, team=where),
            service_account(where, "app"),
            role("reader", rule(verbs, resources), namespace=where),
            binding("reader", "Role/reader", account(where, "app"), namespace=where),
        ]
        if day != 2 or number % 5:
            found.append(binding("devs", "ClusterRole/view", group(f"{where}-devs"), namespace=where))
        if day == 2 and number % 4 == 0:
            found.append(binding("exec", "ClusterRole/edit", account(where, "app"), namespace=where))
    return found


def write(folder: Path, day: int) -> None:
    """A folder of manifests as they were on a day; on the third, one of them cannot be read."""
    (folder / f"day-{day}").mkdir()
    objects = {"apiVersion": "v1", "kind": "List", "items": cluster(day)}
    (folder / f"day-{day}" / "all.json").write_text(json.dumps(objects), encoding="utf-8")
    if day == 3:
        broken = role("broken", namespace="team-0") | {"rules": 5}
        (folder / f"day-{day}" / "broken.json").write_text(json.dumps(broken), encoding="utf-8")


class Command:
    """A command in a process of its own. `before` is the database that it finds; None: there is none yet."""

    def __init__(self, folder: Path, before: Path | None, *args: str) -> None:
        self.folder, self.before, self.args = folder, before, args
        self.db = folder / "work.db"
        self.env = os.environ | {"POSTURE_NOW": NOW, "POSTURE_USER": "ann", "XDG_CONFIG_HOME": str(folder)}
        self.env.pop("POSTURE_CONFIG", None)
        self.restore()
        self.found = dump(self.db)
        self.seconds, self.bytes = self._undisturbed()
        self.left = dump(self.db)

    def _undisturbed(self) -> tuple[float, int]:
        """Run it to its end: the seconds that it takes, and the bytes that it appends to SQLite's log."""
        start, most = time.monotonic(), 0
        with self.start() as process:
            while process.poll() is None:
                most = max(most, self.written())  # the log is gone once the last process closes the database
            self.check(process)
        return time.monotonic() - start, most

    def restore(self) -> None:
        """The database as it was before, and nothing beside it."""
        for path in self.folder.glob("work.db*"):
            path.unlink()
        if self.before:
            shutil.copy(self.before, self.db)

    def start(self) -> subprocess.Popen[str]:
        """Start it."""
        command = [sys.executable, "-m", "posture", *self.args, "--db", str(self.db)]
        null = subprocess.DEVNULL
        return subprocess.Popen(command, env=self.env, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True)

    def again(self) -> None:
        """Run it to its end, on what is there."""
        with self.start() as process:
            self.check(process)

    def check(self, process: subprocess.Popen[str]) -> None:
        """It ended as it should. 3: a file of the third day cannot be read."""
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 3), err

    def written(self) -> int:
        """How many bytes are in SQLite's log by now."""
        try:
            return Path(f"{self.db}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def killed(self, part: float, *, by_time: bool) -> str:
        """Start it anew, and kill it when some part of its time has passed, or when some part of its bytes is written.

        The database must be sound. Says whether it was killed or had ended.
        """
        self.restore()
        end = time.monotonic() + (part * 1.1 * self.seconds if by_time else 60)
        size = sys.maxsize if by_time else 1 + part * self.bytes
        with self.start() as process:
            while process.poll() is None and time.monotonic() < end and self.written() < size:
                pass
            process.kill()
            process.communicate()
        with open_store(str(self.db)) as store:
            upkeep.verify(store)
        return "ended" if process.returncode in (0, 3) else "killed"


def moments(command: Command, number: int) -> Iterator[str]:
    """Kill a command at random moments, spread over its time and over what it writes. `POSTURE_SEED` repeats them."""
    seed = int(os.environ.get("POSTURE_SEED") or secrets.randbits(32))
    print(f"POSTURE_SEED={seed}; undisturbed it takes {command.seconds:.2f} s and {command.bytes} bytes")
    random = Random(seed)
    for index in range(number):
        yield command.killed((index + random.random()) / number, by_time=index % 2 == 0)


# What a database holds ----------------------------------------------------------------------------------------------

type Dump = dict[str, list[Any]]


def dump(path: Path) -> Dump:
    """Every row of every table, sorted; a reference to another row is that row, so that numbers do not matter."""
    if not path.exists():
        return {}
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return _tables(connection)
    finally:
        connection.close()


def _tables(connection: sqlite3.Connection) -> Dump:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names if name[0] != "_"}
    references = {
        name: {row["from"]: row["table"] for row in connection.execute(f"PRAGMA foreign_key_list({name})")}
        for name in tables
    }
    by_id = {name: {row["id"]: row for row in rows if "id" in [*row.keys()]} for name, rows in tables.items()}
    numbered = {"revision", "baseline", "decision", "cluster"}  # their numbers are an order, and names to people

    def told(name: str, row: sqlite3.Row) -> dict[str, Any]:
        found = {key: row[key] for key in row.keys() if key != "id" or name in numbered}  # noqa: SIM118
        for key, other in references[name].items():
            if found[key] is not None and other not in numbered:
                row_of = by_id[other].get(found[key])
                found[key] = told(other, row_of) if row_of else "missing"
        return found

    return {name: sorted((told(name, row) for row in rows), key=repr) for name, rows in tables.items()}


def but_contents(state: Dump) -> Dump:
    """All but projections, and tables without a row: what a killed scan leaves of these is found again, or pruned."""
    return {name: rows for name, rows in state.items() if name != "content" and rows}


# Scans --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of a cluster as manifests, and the database of the first two: approved, drifted, decided."""
    made = tmp_path_factory.mktemp("kills")
    for day in (1, 2, 3):
        write(made, day)
    env = os.environ | {"POSTURE_DB": str(made / "base.db"), "POSTURE_USER": "ann", "XDG_CONFIG_HOME": str(made),
                        "POSTURE_NOW": "2026-10-02T09:00:00Z"}  # fmt: skip
    env.pop("POSTURE_CONFIG", None)

    def say(*args: str) -> str:
        command = [sys.executable, "-m", "posture", *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr  # 3: the file of the third day that cannot be read
        return done.stdout

    say("scan", *on(made, 1))
    say("baseline", "approve", "--at", "2026-10-01")
    say("scan", *on(made, 3, "2026-10-01T12:00:00Z"))
    say("scan", *on(made, 2))
    ids = say("findings", "list", "--members", "-o", "name").split()
    assert len(ids) > 30
    say("findings", "accept", *ids[:10], "--until", "2026-10-03", "--reason", "for a day")
    say("findings", "ack", *ids[10:15])
    return made


def on(folder: Path, day: int, at: str = "") -> Sequence[str]:
    """The flags of a day's scan."""
    return ["--from", str(folder / f"day-{day}"), "--at", at or f"2026-10-{day:02}", "--cluster", "prod",
            "--kubernetes-version", "1.36"]  # fmt: skip


def check_scans(command: Command, number: int) -> str:
    """Kill a scan at some moments; after each, run it again and compare. Says how many kills hit it where."""
    command.again()
    twice = dump(command.db)
    hit = Counter[str]()
    for what in moments(command, number):
        left = dump(command.db)
        done = but_contents(left) == but_contents(command.left)
        assert done or but_contents(left) == but_contents(command.found)
        hit[f"{what} {'after' if done else 'before'} the commit"] += 1
        command.again()
        assert dump(command.db) == (twice if done else command.left)
    assert hit["killed before the commit"] >= number // 4
    return f"{number} kills of a scan, 0 differences: {', '.join(f'{times} {what}' for what, times in hit.items())}"


@pytest.mark.parametrize("number", [12, pytest.param(150, marks=pytest.mark.prove)])
def test_a_killed_scan_left_nothing(folder: Path, number: int, record_property: Callable[[str, object], None]) -> None:
    """After a rerun the database equals one of which no scan was ever killed: rows, history, findings, events."""
    record_property(FIGURE, check_scans(Command(folder, folder / "base.db", "scan", *on(folder, 3)), number))


@pytest.mark.parametrize("number", [8, pytest.param(50, marks=pytest.mark.prove)])
def test_a_killed_first_scan_left_nothing(
    folder: Path, number: int, record_property: Callable[[str, object], None]
) -> None:
    """Also where there was no database yet, and it died while it made one."""
    record_property(FIGURE, check_scans(Command(folder, None, "scan", *on(folder, 2)), number))


# Decisions ----------------------------------------------------------------------------------------------------------


def ids(folder: Path) -> list[str]:
    """All open findings."""
    query = "SELECT fingerprint FROM finding WHERE decision IS NULL AND presence = 'present'"
    with sqlite3.connect(folder / "base.db") as connection:
        return [one for (one,) in connection.execute(query)]


DECISIONS: dict[str, Callable[[Path], Sequence[str]]] = {
    "accept": lambda folder: ["findings", "accept", *ids(folder), "--until", "30d", "--reason", "because"],
    "assign": lambda folder: ["findings", "assign", *ids(folder), "--to", "lee"],
    "approve": lambda _: ["baseline", "approve", "--reason", "because"],
    "approve findings": lambda folder: ["baseline", "approve", *(f"--finding={one}" for one in ids(folder))],
    "prune": lambda _: ["db", "prune", "--keep", "2026-10-02"],
}


@pytest.mark.parametrize("number", [4, pytest.param(30, marks=pytest.mark.prove)])
@pytest.mark.parametrize("name", DECISIONS)
def test_a_killed_decision_is_all_or_nothing(folder: Path, name: str, number: int) -> None:
    """Every finding that was named is decided, or none is; the journal's chain holds."""
    command = Command(folder, folder / "base.db", *DECISIONS[name](folder))
    assert command.found != command.left
    hit = Counter[str]()
    for what in moments(command, number):
        left = dump(command.db)
        assert left in (command.found, command.left)
        hit[f"{what} {'after' if left == command.left else 'before'} the commit"] += 1
    print(hit)
    assert hit["killed before the commit"] >= number // 4


# The comparison itself ----------------------------------------------------------------------------------------------


def altered() -> Iterator[str]:
    """One change in each table that must not go unseen."""
    yield "UPDATE version SET until = 2 WHERE until IS NULL AND object = (SELECT min(object) FROM version)"
    yield "UPDATE version SET content = (SELECT max(id) FROM content) WHERE object = (SELECT min(object) FROM version)"
    yield "DELETE FROM event WHERE id = 1"
    yield "UPDATE finding SET mark = 'regressed' WHERE id = 1"
    yield "UPDATE finding SET decision = NULL WHERE decision IS NOT NULL"
    yield "UPDATE revision SET summary = '{}' WHERE id = 1"
    yield "DELETE FROM object WHERE id = (SELECT max(id) FROM object)"


@pytest.mark.parametrize("statement", [*altered()])
def test_the_comparison_sees(folder: Path, statement: str, tmp_path: Path) -> None:
    """A database that differs in one row is not the same."""
    path = tmp_path / "other.db"
    shutil.copy(folder / "base.db", path)
    before = dump(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement).rowcount > 0

    assert dump(path) != before
