"""posture exceptions: the register as people read it, from every source and in every form."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from posture.text import cells
from tests.commands.admitted import cluster, excepted, workload
from tests.commands.running import NOW, posture, write
from tests.generator.objects import namespace, snapshot

LIST, SHOW = ("exceptions", "list"), ("exceptions", "show")
SKIP = "ValidatingAdmissionPolicy/strict/spec.matchConstraints.objectSelector"


@pytest.fixture
def here(surroundings: Path) -> Path:
    """The cluster as a file."""
    return write(surroundings / "c.json", cluster())


def named(*args: str | Path, code: int = 0) -> list[str]:
    """The short names of the exceptions that Kyverno's objects and policies say, in the order of the list."""
    return [
        one["name"].rpartition("/")[2] for one in posture(*LIST, *args, "-o", "json", code=code).json
        if one["kind"] in ("PolicyException", "ValidatingAdmissionPolicy")
    ]  # fmt: skip


def records(here: Path) -> dict[str, Any]:
    """The records by name."""
    return {one["name"]: one for one in posture(*LIST, "--from", here, "-o", "json").json}


def test_what_deserves_attention_comes_first(here: Path) -> None:
    """Unused, then what any tenant can have, then what is used without owner or end, then the rest."""
    said = records(here)

    assert named("--from", here) == ["done", "late", "spec.matchConstraints.objectSelector", "agents", "known"]
    assert {name.rpartition("/")[2]: (one["state"], one["also"]) for name, one in said.items() if "Po" in name} == {
        "done": ("unused", []), "late": ("unused", ["expired but active"]), "agents": ("used", []),
        "known": ("used", []), "spec.matchConstraints.objectSelector": ("unused", ["self-exemptable"]),
    }  # fmt: skip


def test_a_record_says_what_is_open_whom_it_serves_and_who_says_so(here: Path) -> None:
    """One exception in full."""
    known = records(here)["PolicyException/exceptions/known"]
    (opened,) = known["opens"]

    assert (opened["namespaces"], opened["count"], known["opensIn"]) == (["pay"], 1, 1)
    assert {"control": "privileged", "opened": 3, "of": 3} in opened["controls"]
    assert (known["serves"], known["servesCount"]) == (["workload:pay/driver[Deployment]"], 1)
    assert known["owner"] == {"text": "pay-team", "from": "annotation posture.dev/exception-owner"}
    assert known["expires"]["text"] == "2027-10-01T00:00:00Z"
    assert (known["engines"], known["policies"]) == (["kyverno"], ["ClusterPolicy levels"])
    assert records(here)["PolicyException/exceptions/done"]["owner"] is None


@pytest.mark.parametrize(("flags", "wanted"), [
    (["--state", "used"], ["agents", "known"]),
    (["--state", "used", "--state", "self-exemptable"], ["spec.matchConstraints.objectSelector", "agents", "known"]),
    (["--state", "expired but active"], ["late"]),
    (["--state", "misplaced"], []),
    (["-n", "pay"], ["known"]),
    (["-n", "shop"], ["spec.matchConstraints.objectSelector"]),
    (["--owner", "web-team"], ["late"]),
    (["--without", "owner", "--state", "used"], ["agents"]),
    (["--without", "approved", "--owner", "web-team"], ["late"]),
    (["--without", "owner", "--without", "ticket", "--owner", "web-team"], []),
    (["--engine", "vap"], ["spec.matchConstraints.objectSelector"]),
    (["--engine", "gatekeeper"], []),
])  # fmt: skip
def test_filters(here: Path, flags: list[str], wanted: list[str]) -> None:
    """By state, place, owner, what nobody said, and engine; several filters must all hold."""
    assert named("--from", here, *flags) == wanted


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits(here: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No line but that of a single long word is wider than the terminal, and nothing is cut off."""
    monkeypatch.setenv("COLUMNS", str(columns))
    ran = posture(*LIST, "--from", here)

    assert [line for line in ran.out.splitlines() if cells(line) > columns and " " in line.strip()] == []
    assert "…" not in ran.out
    row = next(line for line in ran.out.splitlines() if "pay-team" in line)
    assert row.split()[1:] == ["used", "11", "in", "pay", "1", "pay-team", "2027-10-01"]
    assert "PolicyException exceptions/late excludes Pod in web (expired but active)" in ran.out
    assert "2 used" in ran.err


def test_every_form_holds_the_same(here: Path) -> None:
    """JSON, YAML and names list the same exceptions in the same order."""
    as_json = posture(*LIST, "--from", here, "-o", "json").json

    assert yaml.safe_load(posture(*LIST, "--from", here, "-o", "yaml").out) == as_json
    assert posture(*LIST, "--from", here, "-o", "name").out.splitlines() == [one["name"] for one in as_json]


def test_every_source_gives_the_same_answer(here: Path) -> None:
    """A folder, a stored snapshot and a moment; an end that is past today was none in the past."""
    posture("scan", "--from", here, "--cluster", "small")
    posture("scan", "--from", here, "--cluster", "before", "--at", "2026-09-15")

    assert named("--snapshot", "latest", "--cluster", "small") == named("--at", NOW, "--cluster", "small")
    assert named("--snapshot", "latest", "--cluster", "small") == named("--from", here)
    assert named("--snapshot", "latest", "--cluster", "before", "--state", "expired but active") == []


def test_the_register_file_says_what_objects_do_not(surroundings: Path, here: Path) -> None:
    """Its rows name exceptions as the list does; what an object says itself goes before."""
    rows = [{"exception": "PolicyException/exceptions/*", "owner": "platform", "expires": "2026-11-01"}]
    (surroundings / "register.yaml").write_text(json.dumps({"exceptions": rows}))
    (surroundings / "posture.yaml").write_text("exceptions: {register: register.yaml}")
    said = posture(*LIST, "--from", here, "--config", "posture.yaml", "-o", "json").json
    owners = {one["name"].rpartition("/")[2]: one["owner"]["text"] for one in said if one["kind"] == "PolicyException"}

    assert owners == {"done": "platform", "late": "web-team", "agents": "platform", "known": "pay-team"}
    assert named("--from", here, "--config", "posture.yaml", "--state", "expired but active") == [
        "done", "late", "agents",
    ]  # fmt: skip


def test_an_exception_is_shown_by_its_name_or_the_beginning_of_its_id(here: Path) -> None:
    """The id is the same in every cluster."""
    (given,) = posture(*SHOW, "PolicyException/exceptions/late", "--from", here, "-o", "json").json
    other = write(here.parent / "other.json", [one for one in cluster() if one["kind"] != "Deployment"])

    by_id = posture(*SHOW, given["id"][:4], "--from", here, "-o", "yaml")

    assert yaml.safe_load(by_id.out) == [given]
    assert given["id"] in {one["id"] for one in posture(*LIST, "--from", other, "-o", "json").json}
    assert "privileged:containers.securityContext.privileged=true" in given["violations"]["web"]


def test_what_is_shown(here: Path) -> None:
    """State, facts with where they are said, what nobody said, what is open where, and whom it serves."""
    late = posture(*SHOW, "PolicyException/exceptions/late", "--from", here).out
    known = posture(*SHOW, "PolicyException/exceptions/known", "--from", here).out
    skip = posture(*SHOW, SKIP, "--from", here).out

    assert "state      unused, expired but active\n" in late
    assert "owner      web-team (said by annotation posture.dev/exception-owner)\n" in late
    assert "unsaid     approved\n" in late
    assert "opens      web: " in late
    assert "privileged pods" in late
    assert "serves     workload:pay/driver[Deployment]\n" in known
    assert "unsaid" not in known
    assert "labels     whoever sets skip has it\n" in skip
    assert "opens      shop: pods that may gain privileges" in skip


@pytest.mark.parametrize("name", ["", "zz", "abc", "PolicyException/exceptions/none", "PolicyException"])
def test_a_name_that_is_none(here: Path, name: str) -> None:
    """One sentence, and how to find the right one."""
    ran = posture(*SHOW, name, "--from", here, code=2)

    assert ran.err.splitlines()[-2:] == [
        f"error: there is no exception {name}", "hint: `posture exceptions list` shows them all",
    ]  # fmt: skip


def test_what_takes_an_object_away(here: Path) -> None:
    """An object of its own is deleted: whom that stops is said."""
    assert posture(*SHOW, "PolicyException/exceptions/known", "--from", here, "--fix").out == (
        "# workload:pay/driver[Deployment] would be refused when its pods are made again\n"
        "# Take it away: it excludes Pod in pay: kubectl delete policyexceptions.kyverno.io -n exceptions known\n"
    )


def test_what_takes_a_field_away(here: Path) -> None:
    """Applying a manifest leaves in what it does not name, so the field is null."""
    (found,) = yaml.safe_load_all(posture(*SHOW, SKIP, "--from", here, "--fix").out)

    assert found["spec"]["matchConstraints"]["objectSelector"] is None
    (given,) = (one for one in cluster() if one["kind"] == "ValidatingAdmissionPolicy")
    assert found["spec"]["validations"] == given["spec"]["validations"]


def test_a_gap_hides_exceptions(surroundings: Path) -> None:
    """What could not be read may hold more, and workloads that use them: the exit code is that of who-can."""
    write(surroundings / "c.json", cluster())
    (surroundings / "broken.yaml").write_text("apiVersion: kyverno.io/v2\nkind: PolicyException\nmetadata: 5\n")

    ran = posture(*LIST, "--from", surroundings, code=3)

    assert "there may be more" in ran.err
    assert "exceptions/late" in ran.out


def test_without_the_extra(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What expressions refuse is unknown, one gap says so and how to get it, and no run fails because of it."""
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)

    ran = posture(*LIST, "--from", here, "-o", "json")
    scanned = posture("scan", "--from", here, "--cluster", "small", "--fail-on", "critical")
    gaps = posture("report", "-o", "json").json["gaps"]

    assert {one["name"]: one["state"] for one in ran.json}[SKIP] == "unknown"
    assert ran.err.count("extra missing") == scanned.out.count("extra missing") == 1
    assert [one["reason"] for one in gaps] == ["extra missing"]
    assert gaps[0]["message"].endswith("pip install 'posture[cel]'")
    assert snapshot(cluster()).gaps == ()


def test_a_cluster_without_exceptions(surroundings: Path) -> None:
    """Nothing is an answer, and no JSON is an empty list."""
    here = write(surroundings / "c.json", [namespace("pay"), workload("pay", "api")])

    ran = posture(*LIST, "--from", here)

    assert (ran.out, ran.err.splitlines()[-1]) == ("", "there is no exception")
    assert posture(*LIST, "--from", here, "-o", "json").json == []


def test_agreeing_to_one_exception_agrees_to_exactly_that(surroundings: Path) -> None:
    """The baseline moves by one of two new exceptions, the other stays a finding."""
    before = [one for one in cluster() if one["metadata"]["name"] not in ("done", "late")]
    after = [*before, excepted("done", "old"), excepted("more", "web")]
    posture("scan", "--from", write(surroundings / "a.json", before), "--cluster", "small", "--at", "2026-10-01")
    posture("baseline", "approve", "--at", "2026-10-01")
    posture("scan", "--from", write(surroundings / "b.json", after), "--cluster", "small")
    found = posture("findings", "list", "--members", "-o", "json", "--domain", "admission").json
    ids = {one["through"]["name"]: one["id"] for one in found}

    assert {one["through"]["name"]: one["scope"] for one in found} == {"done": "old", "more": "web"}
    posture("baseline", "approve", "--finding", ids["done"])
    posture("scan", "--from", "b.json", "--cluster", "small")
    left = posture("findings", "list", "--members", "-o", "json", "--domain", "admission").json
    explained = posture("owners", "explain", ids["more"]).out

    assert [one["id"] for one in left] == [ids["more"]]
    assert explained.startswith(ids["more"][:12])
    posture("db", "verify")
    shown = posture("findings", "show", ids["more"]).out
    assert "gained    control=privileged: containers.securityContext.privileged=true" in shown
    assert posture("findings", "show", ids["more"], "--fix").out.endswith(
        "kubectl delete policyexceptions.kyverno.io -n exceptions more\n"
    )
