"""posture scan's gate and clock, snapshots, report, owners, db, clusterrole: one small cluster, every command."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from posture import report as reports
from tests.commands.running import API as ACCOUNT
from tests.commands.running import APPROVED, EVE, NOW, READER, WEB, World, agreed, posture, write
from tests.generator.objects import metadata, namespace

SCAN = ("scan", "--from", "drifted.json", "--cluster", "small")


# scan ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "code"), [("critical", 1), ("high", 1), ("medium", 1), ("low", 1), ("info", 1)])
def test_the_gate_fails(world: World, severity: str, code: int) -> None:
    """--fail-on: exit code 1 while an open finding is at least this severe; without it drift is no failure."""
    posture(*SCAN, "--fail-on", severity, code=code)
    posture(*SCAN)


def test_what_is_not_evaluated_is_counted_in_its_own_words(surroundings: Path) -> None:
    """A policy of another maker that changed: no gap hides it, and the gate stays open."""
    for one in "ab":
        policy = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata("c", "pay"),
                  "spec": {"endpointSelector": {"matchLabels": {"app": one}}}}  # fmt: skip
        write(surroundings / f"{one}.json", [namespace("pay"), policy])
    posture("scan", "--from", "a.json", "--cluster", "c")
    posture("baseline", "approve", "--reason", "x")

    ran = posture("scan", "--from", "b.json", "--cluster", "c", "--fail-on", "info")

    assert "1 not evaluated" in ran.out
    assert "unknown because of gaps" not in ran.out


def test_the_gate_knows_decisions(world: World) -> None:
    """What is accepted or false passes; what somebody has only seen does not."""
    posture("findings", "accept", world.id(EVE), "--until", "30d", "--reason", "x")
    posture(*SCAN, "--fail-on", "critical")
    posture(*SCAN, "--fail-on", "high", code=1)
    posture("findings", "ack", world.group(ACCOUNT))
    posture("findings", "false-positive", world.id(READER), "--reason", "x")
    tally = "0 new, 0 open, 2 acknowledged, 1 accepted, 1 false positive, 1 standing"
    assert tally in posture(*SCAN, "--fail-on", "info", code=1).out
    posture("findings", "accept", world.group(ACCOUNT), "--until", "30d", "--reason", "x")
    posture(*SCAN, "--fail-on", "info")


def test_a_scan_without_history_is_a_gate_too(world: World) -> None:
    """--db :memory: and --baseline need no volume."""
    args = ("scan", "--from", "drifted.json", "--db", ":memory:", "--baseline", "agreed.json")

    posture(*args, "--fail-on", "critical", code=1)
    posture(*args)
    found = posture(*args, "-o", "json").json
    assert {one["subject"] for one in found["findings"]} == {ACCOUNT, WEB, EVE, READER}
    assert "opened" not in found["findings"][0]


@pytest.mark.parametrize(("given", "stored"), [
    ("2026-11-01", "2026-11-01T00:00:00Z"), ("2026-11-01T12:30:00+02:00", "2026-11-01T10:30:00Z"),
    ("-2d", "2026-11-15T09:00:00Z"), ("-12h", "2026-11-16T21:00:00Z"), ("", NOW),
])  # fmt: skip
def test_the_moment_that_manifests_show(world: World, given: str, stored: str) -> None:
    """--at: a date, a time in any zone, or how long ago; now if left out."""
    posture(*SCAN, *(("--at", given) if given else ()))

    assert posture("snapshots", "-o", "json").json[-1]["time"] == stored


def test_a_cluster_is_who_it_says_it_is(world: World) -> None:
    """--cluster keeps clusters apart; one that is not named is `local`; commands then ask which one is meant."""
    posture("scan", "--from", "agreed.json")

    assert {one["cluster"] for one in posture("snapshots", "-o", "json").json} == {"small", "local"}
    ran = posture("baseline", "show", code=2)
    assert "several clusters are stored; say which one is meant with --cluster" in ran.err
    assert "known are: local, small" in ran.err or "known are: small, local" in ran.err
    assert len(posture("baseline", "show", "--cluster", "small", "-o", "json").json) == 1
    assert world.subjects("--cluster", "small") == sorted([ACCOUNT, WEB, EVE, READER])


def test_manifests_do_not_choose_their_cluster(world: World) -> None:
    """Whoever writes a pull request writes the uid in it too: --cluster decides, else they are `local`."""
    system = namespace("kube-system")
    system["metadata"]["uid"] = "small"
    write(world.folder / "pr.json", [*agreed(), system])
    before = world.subjects("--cluster", "small")
    posture("scan", "--from", "pr.json")
    posture("scan", "--from", "pr.json", "--cluster", "pr-123")

    assert world.subjects("--cluster", "small") == before
    assert [one["cluster"] for one in posture("snapshots", "-o", "json").json[2:]] == ["local", "pr-123"]


def test_clusters_of_one_name_are_told_apart_by_their_ids(world: World) -> None:
    """A database may hold them, from before names were kept apart."""
    posture("scan", "--from", "agreed.json", "--cluster", "other")
    posture("scan", "--from", "agreed.json", "--cluster", "third")
    with sqlite3.connect(world.folder / "posture.db") as connection:
        connection.execute("UPDATE cluster SET name = 'small' WHERE id = 'other'")
    connection.close()

    assert "known are: small (other), small (small), third" in posture("baseline", "show", code=2).err
    assert "known are: small (other), small (small), third" in posture("report", "--cluster", "x", code=2).err


def test_the_same_again_is_silent(world: World) -> None:
    """Nothing is new, everything is still open, and the report differs only in `run`."""
    before = posture("report").json
    assert posture(*SCAN).out.splitlines()[1].startswith("0 new, 4 open, ")
    after = posture("report").json

    assert before.pop("run") != after.pop("run")
    assert before == after


# snapshots ----------------------------------------------------------------------------------------------------------


def test_snapshots_say_what_they_are(world: World) -> None:
    """Number, cluster, moment, how many objects, whether complete and approved, and where from."""
    first, second = posture("snapshots", "-o", "json").json

    assert first == {
        "id": 1, "cluster": "small", "time": APPROVED, "version": "assumed", "objects": first["objects"],
        "complete": "yes", "approved": "yes", "source": first["source"],
    }  # fmt: skip
    assert Path(first["source"]).name == "agreed.json"
    assert (second["id"], second["approved"]) == (2, "")
    assert second["objects"] - first["objects"] == 6


# report -------------------------------------------------------------------------------------------------------------


def test_every_report_is_made_of_the_same_findings(world: World) -> None:
    """JSON as its schema says, a row of CSV and a line of Markdown for each."""
    said = {form: posture("report", "-o", form).out for form in reports.formats()}
    report = json.loads(said["json"])
    schema = json.loads((Path(reports.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema)
    rows = list(csv.DictReader(io.StringIO(said["csv"])))

    assert [one["id"] for one in report["findings"]] == [row["id"] for row in rows]
    assert {one["subject"] for one in report["findings"]} == {ACCOUNT, WEB, EVE, READER}
    for one in report["findings"]:
        assert f"`{one['id'][:8]}`" in said["markdown"]
    assert [one["id"] for one in report["groups"]] == list(dict.fromkeys(row["group"] for row in rows))


def test_a_report_is_the_same_bytes_each_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on another day: it is of a snapshot."""
    before = {form: posture("report", "-o", form).out for form in reports.formats()}
    monkeypatch.setenv("POSTURE_NOW", "2027-05-01T00:00:00Z")

    assert {form: posture("report", "-o", form).out for form in reports.formats()} == before


def test_what_is_decided_is_left_out_unless_asked_for(world: World) -> None:
    """False positives and what is agreed to; --all has them too."""
    posture("findings", "false-positive", world.id(EVE), "--reason", "x")

    assert EVE not in {one["subject"] for one in posture("report").json["findings"]}
    assert {EVE, "group:operators"} <= {one["subject"] for one in posture("report", "--all").json["findings"]}


# owners -------------------------------------------------------------------------------------------------------------


def test_an_owners_file_is_tried_before_it_is_used(world: World) -> None:
    """Who would have what, beside who has it now and why; nothing is stored."""
    owners = world.folder / "owners.yaml"
    owners.write_text("platform: core\nrules:\n- owner: web-team\n  match: {namespace: pay}\n", encoding="utf-8")
    found = {one["finding"].split(" can ")[0]: one for one in posture("owners", "test", owners, "-o", "json").json}

    assert {who: (one["was"], one["owner"], one["why"]) for who, one in found.items()} == {
        "ServiceAccount pay/api": ("pay-team", "web-team", "rule in line 3 of the owners file"),
        "Group pay": ("web-team", "web-team", "label team of namespace web"),
        "User eve": ("platform", "core", "root is cluster-scoped and its subjects are no single team's"),
        "ServiceAccount lab/reader": ("platform", "core", "namespace lab names no team"),
    }
    assert world.subjects("--owner", "core") == []
    posture(*SCAN, "--owners", owners)
    assert world.subjects("--owner", "core") == sorted([EVE, READER])


def test_explain_says_why(world: World) -> None:
    """Of a finding, or of every member of a group."""
    assert posture("owners", "explain", world.id(WEB)).out == (
        f"{world.id(WEB)[:12]}  web-team: label team of namespace web\n"
    )
    assert len(posture("owners", "explain", world.group(WEB)).out.splitlines()) == 2


def test_suggest_finds_labels_that_name_teams(world: World) -> None:
    """How many namespaces carry them; a label whose value is never the same twice names no team."""
    many = [namespace(f"n{index}", squad=f"s{index % 3}", id=f"i{index}") for index in range(9)]
    posture("scan", "--from", write(world.folder / "many.json", [*agreed(), *many]), "--cluster", "many")

    assert posture("owners", "suggest", "--cluster", "many", "-o", "json").json == [
        {"label": "squad", "namespaces": 9, "of": 12}, {"label": "env", "namespaces": 3, "of": 12},
    ]  # fmt: skip
    assert "squad   9 of 12 namespaces" in posture("owners", "suggest", "--cluster", "many").out


# db -----------------------------------------------------------------------------------------------------------------


def test_the_database_is_looked_after(world: World) -> None:
    """Checked, verified, and old snapshots forgotten; the approved one stays."""
    assert posture("db", "check").out == f"{world.folder / 'posture.db'} is sound\n"
    assert posture("db", "verify").out.startswith("sound: ")
    posture(*SCAN, "--at", "2026-10-25")
    posture(*SCAN)
    ran = posture("db", "prune", "--keep", "7d")

    assert ran.out.startswith("forgotten: 1 snapshot before 2026-11-10T09:00:00Z, ")
    assert [one["id"] for one in posture("snapshots", "-o", "json").json] == [1, 2, 4]
    assert "decision" in posture("db", "verify").out
    assert world.subjects() == sorted([ACCOUNT, WEB, EVE, READER])


@pytest.mark.parametrize(("keep", "before"), [
    ("90d", "2026-08-19T09:00:00Z"), ("12w", "2026-08-25T09:00:00Z"), ("24h", "2026-11-16T09:00:00Z"),
    ("2026-10-20", "2026-10-20T00:00:00Z"),
])  # fmt: skip
def test_what_is_kept(world: World, keep: str, before: str) -> None:
    """An age or a date."""
    assert f"before {before}, " in posture("db", "prune", "--keep", keep).out


@pytest.mark.parametrize("statement", [
    "UPDATE finding SET content = 'null'", "UPDATE finding SET severity = 9",
    "UPDATE revision SET server_version = 5, time = x'ff'", "UPDATE cluster SET name = x'ff'",
])  # fmt: skip
def test_damage_is_said_and_verified(world: World, statement: str) -> None:
    """Exit code 4 from whatever reads it, which sends to `db verify`, which finds it too."""
    with sqlite3.connect(world.folder / "posture.db") as connection:
        connection.execute(statement)
    connection.close()

    for command in ("report", "db verify"):
        ran = posture(*command.split(), code=4)
        assert "posture.db is damaged: a row is not as posture writes it" in ran.err
        assert ("run `posture db verify`" in ran.err) == (command == "report")


@pytest.mark.parametrize("statement", [
    "DELETE FROM event; DELETE FROM finding WHERE decision IS NULL AND assignee = ''",
    "UPDATE finding SET presence = 'absent'", "UPDATE finding SET severity = 4",
    "UPDATE finding SET agreed = 1; INSERT INTO event SELECT NULL, id, 1, '', 'agreed', '' FROM finding",
])  # fmt: skip
def test_findings_that_somebody_changed_are_judged_anew(world: World, statement: str) -> None:
    """A gate does not pass because the stored findings were made to look fine: nothing else changed."""
    posture(*SCAN, "--fail-on", "critical", code=1)
    with sqlite3.connect(world.folder / "posture.db") as connection:
        connection.executescript(statement)
    connection.close()
    ran = posture(*SCAN, "--fail-on", "critical", code=1)

    assert "posture.db: its findings are not what was written; all is judged anew: run `posture db verify`" in ran.err
    assert world.subjects() == sorted([ACCOUNT, WEB, EVE, READER])
    assert "the findings of small are not what was written" in posture("db", "verify", code=4).err


def test_verify_knows_who_approved(world: World) -> None:
    """An approval is in the journal, so that nobody can be made to have approved."""
    assert posture("db", "verify").out.endswith(", 1 approval\n")
    with sqlite3.connect(world.folder / "posture.db") as connection:
        connection.execute("UPDATE baseline SET approved_by = 'ciso'")
    connection.close()

    assert "baseline 1 is not what was approved" in posture("db", "verify", code=4).err


def test_what_is_in_memory_is_gone(world: World) -> None:
    """`:memory:` reads and writes no file."""
    before = (world.folder / "posture.db").read_bytes()
    posture("scan", "--from", "agreed.json", "--db", ":memory:")

    assert (world.folder / "posture.db").read_bytes() == before
    assert posture("snapshots", "--db", ":memory:").out == ""


# clusterrole --------------------------------------------------------------------------------------------------------


def permissions(given: Any) -> set[tuple[str, str]]:
    return {
        (group, name)
        for one in given["rules"]
        for group in one.get("apiGroups", ())
        for name in one.get("resources", ())
    }


def test_the_role_that_posture_needs() -> None:
    """It reads and watches; it never writes, and reads no Secret, and of ConfigMaps those of admission engines."""
    (found,) = yaml.safe_load_all(posture("clusterrole").out)

    assert (found["kind"], found["metadata"]) == ("ClusterRole", {"name": "posture"})
    assert {verb for one in found["rules"] for verb in one["verbs"]} == {"get", "list", "watch"}
    assert not {("", "secrets"), ("*", "*")} & permissions(found)
    (maps,) = (one for one in found["rules"] if "configmaps" in one.get("resources", ()))
    assert (maps["resources"], maps["resourceNames"]) == (["configmaps"], ["config-policy-controller", "kyverno"])
    assert ("constraints.gatekeeper.sh", "*") in permissions(found)
    # Calico's API server asks about the tier of a policy too, of whoever lists policies.
    assert {("projectcalico.org", name) for name in ("tiers", "tier.networkpolicies")} <= permissions(found)


def test_roles_for_namespaces() -> None:
    """-n: one Role each, with nothing that is cluster-scoped but the namespace itself."""
    found = list(yaml.safe_load_all(posture("clusterrole", "-n", "b", "-n", "a", "-n", "b", "--name", "reader").out))

    assert [(one["kind"], one["metadata"]) for one in found] == [
        ("Role", {"name": "reader", "namespace": name}) for name in ("a", "b")
    ]
    assert found[0]["rules"][0]["resourceNames"] == ["a"]
    apart = ("cluster", "validating", "mutating", "admin", "baseline", "global", "tier")
    assert not any(name.startswith(apart) for _, name in permissions(found[0]))
