"""posture findings and posture baseline approve: what is listed, what is shown, what people decide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from posture.model import Edit, Fix, Key
from posture.store import findings, open_store
from tests.commands.running import API, EVE, NOW, READER, WEB, World, drifted, posture, write
from tests.generator.objects import account, binding, role, rule, service_account, user

# Lists --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("args", "subjects"), [
    ("", [WEB, READER, API, EVE]),
    ("--severity critical", [EVE]),
    ("--severity high", [WEB, API, EVE]),
    ("--severity info", [WEB, READER, API, EVE]),
    ("--owner pay-team", [API]),
    ("--owner platform", [READER, EVE]),
    ("--owner nobody", []),
    ("-n pay", [API]),
    ("-n web", [WEB]),
    ("-n lab", [READER]),
    ("-n kube-system", []),
    ("--domain rbac", [WEB, READER, API, EVE]),
    ("--new", [WEB, READER, API, EVE]),
    ("--status open", [WEB, READER, API, EVE]),
    ("--status acknowledged", []),
    ("--status agreed", ["group:operators"]),
    ("--status all", ["group:operators", WEB, READER, API, EVE]),
    ("--status open --status agreed --severity critical", ["group:operators", EVE]),
    ("--severity high --owner web-team -n web", [WEB]),
    ("--cluster small", [WEB, READER, API, EVE]),
])  # fmt: skip
def test_filters(world: World, args: str, subjects: list[str]) -> None:
    """Each takes away what it does not mean; together they mean all that they say. A group's name is no namespace."""
    assert world.subjects(*args.split()) == sorted(subjects)


def test_what_people_see_are_groups(world: World) -> None:
    """One for each thing to edit, whatever the namespace: gravest first, with every owner and the count."""
    found = posture("findings", "list", "-o", "json").json

    assert [(one["severity"], one["count"], one["owners"]) for one in found] == [
        ("critical", 1, ["platform"]),
        ("high", 2, ["pay-team", "web-team"]),
        ("low", 1, ["platform"]),
    ]
    assert found[1]["message"] == "2 subjects in 2 namespaces: Every Secret of a namespace can be read"
    assert sorted(found[1]["members"]) == sorted(map(world.id, (API, WEB)))


def test_a_filter_makes_groups_smaller(world: World) -> None:
    """A group shows the members that were asked for."""
    (found,) = posture("findings", "list", "--owner", "web-team", "-o", "json").json

    assert (found["count"], found["owners"]) == (1, ["web-team"])
    assert found["message"] == "Group pay can now read every Secret in web"


@pytest.mark.parametrize(("args", "subjects"), [
    ("", ["group:operators"]), ("--severity critical", ["group:operators"]), ("-n pay", []),
    ("--domain rbac", ["group:operators"]),
])  # fmt: skip
def test_standing_is_what_was_there_at_approval(world: World, args: str, subjects: list[str]) -> None:
    """Check hits that were agreed to are listed on demand and are never findings; filters hold for them too."""
    found = posture("findings", "list", "--standing", "-o", "json", *args.split()).json

    assert [one["subject"] for one in found] == subjects


def test_standing_by_a_file_that_agrees(world: World) -> None:
    """As many as the scan counted, where the configuration names the file and nobody approved anything."""
    config = world.folder / "config.yaml"
    config.write_text("baseline: [agreed.json]\ndb: other.db\n", encoding="utf-8")
    given = ("--config", config, "--db", "other.db")

    assert "4 open, 1 without an owner, 1 standing\n" in posture("scan", "--from", "drifted.json", *given).out
    assert posture("findings", "list", "--standing", "-o", "name", *given).out == "group:operators\n"


# One finding --------------------------------------------------------------------------------------------------------


def test_show_says_all_that_one_acts_on(world: World) -> None:
    """Message, id, status, age, owner and why, causes, the check with why and remedy, what was gained, the fix."""
    shown = posture("findings", "show", world.id(API)[:8]).out
    said = [(line[2:12].strip(), line[12:]) for line in shown.splitlines()[1:]]
    rows = {name: text for name, text in reversed(said) if name}

    assert shown.startswith("HIGH ServiceAccount pay/api can now read every Secret in pay, through RoleBinding pay/")
    assert rows["id"] == f"{world.id(API)}   group {world.group(API)}"
    assert rows["status"] == "open, new"
    assert rows["since"] == f"{NOW} (just now)"
    assert rows["owner"] == "pay-team: label team of namespace pay"
    assert ("cause", "RoleBinding pay/debug created") in said
    assert ("cause", "ClusterRole debug created") in said
    assert rows["check"] == "rbac-secrets-read (high): Every Secret of a namespace can be read"
    assert ("gained", "verb=list apiGroup='' resource=secrets") in said
    assert rows["fix"] == "Delete RoleBinding pay/debug   (checked; --fix prints it)"


def test_a_group_shows_its_members(world: World) -> None:
    """Each with an empty line between; one that is resolved or agreed to is left out."""
    shown = posture("findings", "show", world.group(API)).out
    assert shown.count("\n\n") == 1
    assert shown.count("\n  id ") == 2

    (one,) = posture("findings", "show", world.group(EVE), "-o", "json").json
    assert one["subject"] == EVE


def test_the_fix_is_for_kubectl(world: World) -> None:
    """Deletions as commands in comments, edits as manifests; each object once."""
    assert posture("findings", "show", world.id(EVE), "--fix").out == (
        "# Delete ClusterRoleBinding root: kubectl delete clusterrolebindings.rbac.authorization.k8s.io root\n"
    )
    wider = [role("config", rule("get", "configmaps"), rule("*", "*"), namespace="pay")]
    objects = [one for one in drifted() if one["metadata"]["name"] != "config" or one["kind"] != "Role"]
    posture("scan", "--from", write(world.folder / "wider.json", [*objects, *wider]), "--cluster", "small")
    one = next(
        one["id"] for one in posture("findings", "list", "--members", "-o", "json").json
        if one["through"]["name"] == "config"
    )  # fmt: skip
    (edited,) = yaml.safe_load_all(posture("findings", "show", one, "--fix").out)

    assert edited["rules"] == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]


def test_a_fix_says_what_must_not_be_there_any_more(world: World) -> None:
    """Applying a manifest leaves in what it does not name: labels and annotations that have to go are null."""
    cloud = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}
    for more in ({}, cloud):
        plain = [*drifted(), service_account("pay", "cloudy", kept="y", **more)]
        posture("scan", "--from", write(world.folder / "cloud.json", plain), "--cluster", "small")
        if not more:
            posture("baseline", "approve")
    one = next(
        one["id"] for one in posture("findings", "list", "--members", "-o", "json").json
        if one["through"]["kind"] == "ServiceAccount"
    )  # fmt: skip
    (edited,) = yaml.safe_load_all(posture("findings", "show", one, "--fix").out)

    assert edited["metadata"]["annotations"] == {"kept": "y", "eks.amazonaws.com/role-arn": None}


def test_a_name_that_looks_like_a_flag_is_a_name(world: World) -> None:
    """The API server takes `--all` for a name, and so must kubectl."""
    bad = binding("--all", "ClusterRole/cluster-admin", user("zoe"))
    posture("scan", "--from", write(world.folder / "flag.json", [*drifted(), bad]), "--cluster", "small")
    (one,) = (
        one["id"] for one in posture("findings", "list", "--members", "-o", "json").json
        if "ClusterRoleBinding --all" in one["message"]
    )  # fmt: skip

    assert posture("findings", "show", one, "--fix").out.endswith(
        ": kubectl delete clusterrolebindings.rbac.authorization.k8s.io -- --all\n"
    )


def test_the_fix_of_a_workload_is_a_patch_and_what_it_leaves_open_is_shown(world: World) -> None:
    """A command to send what differs, no manifest; and below the fix who reaches the same target all the same."""
    patch = {"spec": {"template": {"spec": {"hostPID": None}}}}
    edit = Edit(Key("deployments.apps", "pay", "web"), {"spec": {}}, (), patch)
    with open_store("posture.db") as store, store.transaction() as connection:
        one = next(findings.select(store, "f.fingerprint = ?", (world.id(EVE),)))
        fix = Fix("Put Deployment pay/web back", (edit,), ("it ends",), ("User ann still reaches node by another way",))
        findings.save(connection, [replace(one, fix=fix)])

    assert posture("findings", "show", world.id(EVE), "--fix").out == (
        "# Put Deployment pay/web back: kubectl patch --type strategic --patch "
        """'{"spec":{"template":{"spec":{"hostPID":null}}}}' deployments.apps -n pay web\n"""
    )
    said = " ".join(posture("findings", "show", world.id(EVE)).out.split())
    assert "also: it ends but: User ann still reaches node by another way" in said
    (shown,) = posture("findings", "show", world.id(EVE), "-o", "json").json
    assert (shown["fix"]["edits"][0]["manifest"], shown["fix"]["edits"][0]["patch"]) == (None, patch)


def test_the_fix_of_a_constraint_names_its_own_kind(world: World) -> None:
    """Constraints of all kinds are held together; kubectl knows each by the resource of its kind."""
    keys = [Key("*.constraints.gatekeeper.sh", "", f"K8sRequired/{name}") for name in ("one", "two")]
    edits = Edit(keys[0], None), Edit(keys[1], {"kind": "K8sRequired", "spec": {"enforcementAction": "deny"}})
    with open_store("posture.db") as store, store.transaction() as connection:
        one = next(findings.select(store, "f.fingerprint = ?", (world.id(EVE),)))
        findings.save(connection, [replace(one, fix=Fix("Delete K8sRequired one", edits))])
    said = posture("findings", "show", world.id(EVE), "--fix").out
    command, _, document = said.partition("\n")

    assert command == "# Delete K8sRequired one: kubectl delete k8srequired.constraints.gatekeeper.sh one"
    assert yaml.safe_load(document) == {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": "K8sRequired", "metadata": {"name": "two"},
        "spec": {"enforcementAction": "deny"},
    }  # fmt: skip
    (shown,) = posture("findings", "show", world.id(EVE), "-o", "json").json
    assert shown["fix"]["edits"][0]["object"] == {
        "resource": "k8srequired.constraints.gatekeeper.sh", "kind": "K8sRequired", "name": "one",
    }  # fmt: skip


def test_what_is_resolved_is_not_decided(world: World) -> None:
    """There is nothing to accept any more, and a group of such findings says so."""
    one = world.id(EVE)
    posture("scan", "--from", "agreed.json", "--cluster", "small")
    for decision in (("ack",), ("accept", "--until", "30d", "--reason", "x"), ("false-positive", "--reason", "x")):
        ran = posture("findings", decision[0], one, *decision[1:], code=2)
        assert f"finding {one[:12]} is resolved: there is nothing to decide" in ran.err


@pytest.mark.parametrize("length", [4, 8, 12, 20])
def test_the_beginning_of_an_id_will_do(world: World, length: int) -> None:
    """From four characters on, of a finding as of a group."""
    assert posture("findings", "show", world.id(EVE)[:length], "-o", "json").json[0]["subject"] == EVE
    found = posture("findings", "show", world.group(API)[:length], "-o", "json").json
    assert sorted(one["subject"] for one in found) == [WEB, API]


# Decisions ----------------------------------------------------------------------------------------------------------


def status(world: World, subject: str) -> str:
    found = posture("findings", "show", world.id(subject), "-o", "json").json
    return str(found[0]["status"])


@pytest.mark.parametrize(("args", "becomes", "said"), [
    ("ack", "acknowledged", "acknowledged"),
    ("accept --until 30d --reason needed", "accepted", "accepted"),
    ("accept --until 2027-01-31 --reason needed", "accepted", "accepted"),
    ("false-positive --reason test", "false positive", "false positive"),
    ("assign --to security", "open", "assigned"),
    ("reopen", "open", "reopened"),
])  # fmt: skip
def test_a_decision_is_about_what_was_named(world: World, args: str, becomes: str, said: str) -> None:
    """A finding, or all members of a group; the others stay open. What was done goes to standard error."""
    verb, *flags = args.split()
    ran = posture("findings", verb, world.id(READER), world.group(API), *flags)

    assert (ran.out, ran.err) == ("", f"3 findings {said}\n")
    assert {subject: status(world, subject) for subject in (READER, API, WEB, EVE)} == {
        READER: becomes, API: becomes, WEB: becomes, EVE: "open"
    }  # fmt: skip


def test_reopened_is_open(world: World) -> None:
    """Whatever was decided before."""
    one = world.id(EVE)
    posture("findings", "false-positive", one, "--reason", "test")
    posture("findings", "reopen", one)

    assert status(world, EVE) == "open"


def test_an_acceptance_runs_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its end on the finding is open again, also before the next scan, which tells of it once."""
    posture("findings", "accept", world.id(EVE), "--until", "2026-12-01", "--reason", "until the audit")
    assert '(accepted by bob until 2026-12-01: "until the audit")' in posture("findings", "show", world.id(EVE)).out
    monkeypatch.setenv("POSTURE_NOW", "2026-12-01T00:00:01Z")

    assert world.subjects("--severity", "critical") == [EVE]
    scan = ("scan", "--from", "drifted.json", "--cluster", "small")
    assert "\n1 expired, " in posture(*scan).out
    assert "\n0 new, " in posture(*scan).out


def test_who_was_assigned_must_act(world: World) -> None:
    """The assignee goes before every rule, in lists, filters and reports."""
    posture("findings", "assign", world.id(EVE), "--to", "security", "--reason", "they granted it")

    assert world.subjects("--owner", "security") == [EVE]
    assert world.subjects("--owner", "platform") == [READER]
    assert posture("owners", "explain", world.id(EVE)).out == f"{world.id(EVE)[:12]}  security: assigned by hand\n"


def test_history_tells_everything_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened and what was decided, with when, by whom and why."""
    one = world.id(API)
    posture("findings", "accept", one, "--until", "2027-01-31", "--reason", "the vendor", "--by", "dana")
    for day, state in (("18", world.agreed), ("19", world.drifted)):
        monkeypatch.setenv("POSTURE_NOW", f"2026-11-{day}T09:00:00Z")
        posture("scan", "--from", state, "--cluster", "small")
    rows = [
        (row["time"][:10], row["what"], row["detail"]) for row in posture("findings", "history", one, "-o", "json").json
    ]

    assert [row[:2] for row in rows] == [
        ("2026-11-17", "opened"), ("2026-11-17", "accepted"), ("2026-11-18", "resolved"), ("2026-11-19", "regressed"),
    ]  # fmt: skip
    assert rows[1][2] == "by dana, until 2027-01-31T00:00:00Z: the vendor"


# Approving ----------------------------------------------------------------------------------------------------------


def test_a_baseline_moves_by_findings(world: World) -> None:
    """These are agreed to and silent from then on; everything else stays as it was."""
    ran = posture("baseline", "approve", "--finding", world.group(API), "--reason", "needed")
    assert ran.err == "agreed to 2 findings; the rest of the baseline is as it was\n"

    assert world.subjects() == sorted([READER, EVE])
    posture("scan", "--from", "drifted.json", "--cluster", "small")
    assert world.subjects() == sorted([READER, EVE])
    assert [(row["snapshot"], row["by"], row["why"]) for row in posture("baseline", "show", "-o", "json").json] == [
        (1, "ann", "after the audit"), (1, "bob", "needed"),
    ]  # fmt: skip


def test_what_is_agreed_to_is_not_decided_about(world: World) -> None:
    """It is part of the baseline: accepting it would promise an end that never comes."""
    one = world.id(EVE)
    posture("baseline", "approve", "--finding", one)

    assert f"finding {one[:12]} is agreed to" in posture("findings", "ack", one, code=2).err


def test_a_snapshot_is_agreed_to(world: World) -> None:
    """The newest unless one is named: what is possible in it is the baseline, and nothing is left open."""
    ran = posture("baseline", "approve", "--reason", "all of it")
    assert ran.err == f"snapshot 2 of {NOW} is the baseline, approved by bob\n"
    assert world.subjects() == []
    assert "0 new, 0 open" in posture("scan", "--from", "drifted.json", "--cluster", "small").out

    posture("baseline", "approve", "--snapshot", "1")
    posture("scan", "--from", "drifted.json", "--cluster", "small")
    assert world.subjects() == sorted([API, WEB, READER, EVE])


def test_one_with_gaps_is_agreed_to_only_knowingly(world: World) -> None:
    """Nobody agrees by accident to what was not read."""
    broken = world.folder / "broken"
    write(broken / "a.json", [role("r", rule("get"), namespace="pay")])
    write(broken / "b.json", [binding("b", "Role/r", account("pay", "x"), namespace="pay") | {"subjects": "x"}])
    posture("scan", "--from", broken, "--cluster", "small", code=3)

    ran = posture("baseline", "approve", code=3)
    assert ran.err.startswith("error: snapshot 3 has 1 gap (rolebindings.rbac.authorization.k8s.io: ")
    assert "--with-gaps" in ran.err
    posture("baseline", "approve", "--with-gaps")
