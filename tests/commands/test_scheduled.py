"""`scan` as a CronJob runs it: on an empty, an old and a newer database, in time, and not all clusters at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from posture.commands.scan import pause
from posture.store import database, open_store, schema, snapshots, upkeep
from tests.commands.running import NOW, World, agreed, posture, write

NAMES = sorted(database.KNOWN)


def test_it_begins_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    """By chance, and it says when; without jitter it does not wait."""
    waited: list[float] = []
    pause(60.0, lambda: 0.25, waited.append)
    pause(0.0, lambda: 0.25, waited.append)
    assert waited == [15.0]
    assert capsys.readouterr().err == "begins in 15 s\n"


@pytest.mark.parametrize("flag", ["--jitter", "--deadline"])
def test_times_are_not_negative(flag: str, surroundings: Path) -> None:
    posture("scan", "--from", surroundings, flag, "-1", code=2)


def test_a_deadline_that_is_kept_changes_nothing(world: World) -> None:
    ran = posture("scan", "--from", world.drifted, "--cluster", "small", "--deadline", "100", "--jitter", "0.01")
    assert "4 open" in ran.out
    assert ran.err.startswith("begins in 0 s\n")


def test_it_begins_with_no_database(surroundings: Path) -> None:
    """The first run makes one."""
    write(surroundings / "agreed.json", agreed())
    assert not (surroundings / "posture.db").exists()
    posture("scan", "--from", "agreed.json", "--cluster", "small")
    with open_store(str(surroundings / "posture.db"), create=False) as store:
        upkeep.verify(store)


def older(path: Path, stop: str) -> None:
    """A database as posture made it before a migration, with a cluster in it that it knew."""
    made = Database(path)
    schema.migrations.apply(made, stop_before=stop)
    with made.conn:
        made.execute("INSERT INTO cluster (id, name) VALUES ('small', 'small')")
    made.close()


@pytest.mark.parametrize("stop", NAMES[1:])
def test_it_goes_on_with_the_database_of_an_older_version(surroundings: Path, stop: str) -> None:
    """Whatever migrations are missing are made, and then it is as any other."""
    path = surroundings / "posture.db"
    older(path, stop)
    write(surroundings / "agreed.json", agreed())
    ran = posture("scan", "--from", "agreed.json", "--cluster", "small")
    assert "1 open" in ran.out
    with open_store(str(path), create=False) as store:
        assert [one.time for one in snapshots.revisions(store, "small")] == [NOW]
        assert database._applied(store) == database.KNOWN
        upkeep.verify(store)


def test_an_older_version_with_findings_keeps_them(world: World) -> None:
    """Findings and decisions of before the migrations are those of after."""
    before: Any = posture("findings", "list", "--members", "--status", "all", "-o", "json").json
    connection = sqlite3.connect(world.folder / "posture.db")
    with connection:
        made = Database(memory=True)
        schema.migrations.apply(made, stop_before=NAMES[1])
        first = {row["name"] for row in made.query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        every = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in every:
            if name not in first and not name.startswith("sqlite_"):
                connection.execute(f"DROP TABLE {name}")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name != ?", (NAMES[0],))
    connection.close()
    posture("scan", "--from", world.drifted, "--cluster", "small")
    assert posture("findings", "list", "--members", "--status", "all", "-o", "json").json == before
    posture("db", "verify")


@pytest.mark.parametrize("command", [("scan", "--from", "agreed.json"), ("watch",)], ids=lambda args: args[0])
def test_a_newer_database_is_left_alone(surroundings: Path, command: tuple[str, ...]) -> None:
    """4, with what it met and what to do; nothing is written."""
    path = surroundings / "posture.db"
    write(surroundings / "agreed.json", agreed())
    posture("scan", "--from", "agreed.json", "--cluster", "small")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('posture', '0999_future', '')"
        )
    connection.close()
    before = path.read_bytes()
    said = posture(*command, code=4).err.splitlines()
    assert said == [
        f"error: {path} was written by a newer posture (it has 0999_future)",
        "hint: update posture; an older one must not write to it",
    ]
    assert path.read_bytes() == before
