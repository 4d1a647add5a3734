"""Who did it, as people read it: in a scan, in `findings show` and its history, with an audit log and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posture.kinds import RBAC
from tests.commands.running import agreed, posture, write
from tests.generator.objects import Object, account, binding, role, rule

FLUX = {"kustomize.toolkit.fluxcd.io/name": "web", "kustomize.toolkit.fluxcd.io/namespace": "apps"}
BEFORE, LATER = "2026-11-17T09:00:00Z", "2026-11-17T09:03:00Z"


def managed(one: Object, manager: str, **labels: str) -> Object:
    """An object that a field manager wrote last."""
    entry = {"manager": manager, "operation": "Update", "time": BEFORE, "fieldsType": "FieldsV1",
             "fieldsV1": {"f:rules": {}, "f:subjects": {}}}  # fmt: skip
    return one | {"metadata": one["metadata"] | {"managedFields": [entry], "labels": labels}}


def granted(manager: str = "kubectl-edit", **labels: str) -> list[Object]:
    """The small cluster with a Role for all Secrets."""
    return [
        *agreed(),
        managed(role("debug", rule("get", "secrets"), namespace="pay"), manager, **labels),
        managed(binding("debug", "Role/debug", account("pay", "api"), namespace="pay"), manager, **labels),
    ]


def event(user: str, resource: str = "rolebindings", **changes: Any) -> dict[str, Any]:
    """A line of an audit log: somebody applied pay/debug."""
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "7f3a", "stage": "ResponseComplete",
        "requestURI": f"/apis/{RBAC}/v1/namespaces/pay/{resource}/debug", "verb": "patch", "user": {"username": user},
        "sourceIPs": ["10.1.2.3"], "userAgent": "kubectl/v1.36.3", "responseStatus": {"code": 201},
        "objectRef": {"resource": resource, "apiGroup": RBAC, "namespace": "pay", "name": "debug"},
        "requestReceivedTimestamp": "2026-11-17T08:59:58.123456Z",
    } | changes  # fmt: skip


@pytest.fixture
def log(surroundings: Path) -> Path:
    """An approved cluster, and the place of an audit log."""
    write(surroundings / "agreed.json", agreed())
    posture("scan", "--from", "agreed.json", "--cluster", "small", "--at", "2026-11-17T08:00:00Z")
    posture("baseline", "approve", "--by", "ann", "--reason", "audit", "--at", "2026-11-17T08:00:00Z")
    return surroundings / "audit.log"


def scan(objects: list[Object], log: Path | None = None, at: str = BEFORE, *events: dict[str, Any]) -> str:
    """What a scan says."""
    write(Path("now.json"), objects)
    args = ["--audit-log", str(log)] if log else []
    if log:
        log.write_text("".join(f"{json.dumps(one)}\n" for one in events), encoding="utf-8")
    return posture("scan", "--from", "now.json", "--cluster", "small", "--at", at, *args).out


def shown() -> tuple[str, dict[str, Any]]:
    """The only finding as people read it, and what is said of the binding."""
    (one,) = posture("findings", "list", "--members", "-o", "json").json
    (record,) = posture("findings", "show", one["id"], "-o", "json").json
    cause = next(each for each in record["causes"] if each["object"]["kind"] == "RoleBinding")
    return posture("findings", "show", one["id"]).out, cause


def test_without_a_log_it_is_what_field_managers_claim(log: Path) -> None:
    """And is called that."""
    assert "debug created by kubectl-edit (claimed)" in scan(granted())
    text, cause = shown()
    assert "RoleBinding pay/debug created by kubectl-edit (claimed) 2026" in text
    assert (cause["audit"], cause["claimed"], cause["outOfBand"]) == (None, True, False)


def test_with_a_log_it_is_the_user(log: Path) -> None:
    """With address, request and audit ID; what is claimed stays beside it, and the history tells it too."""
    said = scan(granted(), log, BEFORE, event("alice@example.com"))
    assert "debug created by alice@example.com from 10.1.2.3 (audited)" in said
    text, cause = shown()
    assert "RoleBinding pay/debug created by alice@example.com from 10.1.2.3 (audited)" in text
    assert f"patch /apis/{RBAC}/v1/namespaces/pay/rolebindings/debug with kubectl/v1.36.3 (audit 7f3a)" in " ".join(
        text.split()
    )
    assert (cause["actor"], cause["claimed"], cause["audit"]["user"]) == ("kubectl-edit", True, "alice@example.com")
    (one,) = posture("findings", "list", "--members", "-o", "json").json
    history = posture("findings", "history", one["id"], "-o", "json").json
    assert [row["what"] for row in history] == ["audited", "opened"]
    assert history[0]["detail"].endswith("rolebindings/debug by alice@example.com from 10.1.2.3")


@pytest.mark.parametrize(("manager", "user", "outside"), [
    ("kubectl-edit", None, True), ("kustomize-controller", None, False),
    ("kubectl-edit", "alice@example.com", True), ("kustomize-controller", "alice@example.com", True),
    ("kubectl-edit", "system:serviceaccount:flux-system:kustomize-controller", False),
])  # fmt: skip
def test_a_change_outside_git_is_marked(log: Path, manager: str, user: str | None, outside: bool) -> None:
    """Of an object that Flux delivers, by somebody else: as claimed, or as an audit log tells."""
    events = [event(user), event(user, "roles")] if user else []
    said = scan(granted(manager, **FLUX), log if user else None, BEFORE, *events)
    text, cause = shown()
    assert ("outside Git (flux)" in said, "outside Git (flux)" in text) == (outside, outside)
    assert (cause["deliveredBy"], cause["outOfBand"]) == ("flux:apps/web", outside)


def test_who_labels_it_afterwards_did_not_change_its_rules(log: Path) -> None:
    """The field manager that is named owns some of the fields that differ from what was agreed."""
    before = role("config", rule("get", "configmaps"), namespace="pay")
    after = role("config", rule("get", "configmaps,secrets"), namespace="pay")
    written = [("kubectl-edit", BEFORE, {"f:rules": {}}), ("labeller", LATER, {"f:metadata": {"f:annotations": {}}})]
    managers = [
        {"manager": name, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields}
        for name, time, fields in written
    ]
    after["metadata"] |= {"managedFields": managers}
    objects = [after if one == before else one for one in agreed()]
    assert before in agreed()
    assert "config changed by kubectl-edit (claimed)" in scan(objects)


def test_names_from_a_log_cannot_draw(log: Path) -> None:
    """User, program and address are whatever a client or an identity provider says."""
    evil = "al\x1b[31mice\u202e\r\nHIGH  fake"
    made = event(
        evil, impersonatedUser={"username": "ro\x07ot"}, userAgent="kube\x1b]0;x\x07ctl", sourceIPs=["10\x1b[2J"]
    )
    said = scan(granted(), log, BEFORE, made, {"kind": "\x1b[31m", "apiVersion": "x"})
    text, cause = shown()
    (one,) = posture("findings", "list", "--members", "-o", "json").json
    history = posture("findings", "history", one["id"]).out
    for each in (said, text, history):
        assert not set(each) & {"\x1b", "\x07", "\u202e", "\r"}
        assert "\\x1b[31mice\\u202e" in "".join(each.split())
    assert cause["audit"]["user"] == evil


def test_an_audit_log_is_of_one_cluster(log: Path) -> None:
    """And one that cannot be read is said before anything is."""
    log.write_text("", encoding="utf-8")
    ran = posture("scan", "--context", "a", "--context", "b", "--audit-log", log, code=2)
    assert "an audit log is of one cluster" in ran.err
    ran = posture("scan", "--from", "agreed.json", "--audit-log", "none.log", code=2)
    assert "cannot read the audit log none.log" in ran.err


@pytest.mark.usefixtures("log")
class TestTransient:
    def test_it_is_told_and_listed_apart(self) -> None:
        """Not in the open list; how long it was possible is said everywhere."""
        scan(granted())
        said = scan(agreed(), at=LATER)
        assert "1 resolved (1 transient)" in said
        assert "ServiceAccount pay/api" not in said
        assert posture("findings", "list", "-o", "json").json == []
        (one,) = posture("findings", "list", "--transient", "-o", "json").json
        assert (one["status"], one["mark"], one["opened"], one["resolved"]) == ("resolved", "transient", BEFORE, LATER)
        row = posture("findings", "list", "--transient").out.splitlines()[1]
        assert "3 min" in row
        text = posture("findings", "show", one["id"]).out
        assert "resolved, transient" in text
        assert "was possible for 3 min" in text
        history = posture("findings", "history", one["id"], "-o", "json").json
        assert history[-1]["detail"] == "transient: was possible for 3 min"
        assert one["id"] in posture("report").out
        assert "(transient: was possible for 3 min)" in posture("report", "-o", "markdown").out
        scan(agreed(), at="2026-11-24T09:03:01Z")
        assert one["id"] not in posture("report").out
        assert one["id"] in posture("report", "--all").out

    def test_what_lasted_longer_is_not(self) -> None:
        """Five minutes are the limit."""
        scan(granted())
        assert "transient" not in scan(agreed(), at="2026-11-17T09:05:01Z")
        assert posture("findings", "list", "--transient", "-o", "json").json == []

    def test_one_that_is_back_is_regressed(self) -> None:
        """Open again, and no longer in the list of what passed; new ones are not those that passed."""
        scan(granted())
        scan(agreed(), at=LATER)
        assert posture("findings", "list", "--new", "--status", "all", "-o", "json").json == []
        scan(granted(), at="2026-11-18T09:00:00Z")
        (one,) = posture("findings", "list", "--members", "-o", "json").json
        assert one["mark"] == "regressed"
        assert posture("findings", "list", "--transient", "-o", "json").json == []
