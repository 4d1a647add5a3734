"""Audit logs: which lines tell of a write, of which object, by whom; and files that are followed while they rotate."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from posture.collect.audit import Follower, Log, Record, records_of
from posture.errors import UsageError
from posture.kinds import RBAC
from posture.model import Audited, Key

ROLE = Key(f"roles.{RBAC}", "pay", "debug")
PATH = f"/apis/{RBAC}/v1/namespaces/pay/roles/debug"
CONSTRAINTS = "constraints.gatekeeper.sh"


def event(verb: str = "patch", **changes: Any) -> dict[str, Any]:
    """An audit event as kube-apiserver writes it, at the level Metadata; None takes a field out."""
    made = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "a1",
        "stage": "ResponseComplete", "requestURI": PATH, "verb": verb,
        "user": {"username": "alice@example.com", "groups": ["dev"]}, "sourceIPs": ["10.1.2.3"],
        "userAgent": "kubectl/v1.36.3", "responseStatus": {"code": 200},
        "objectRef": ref(), "requestReceivedTimestamp": "2026-11-22T03:00:00.123456Z",
        "stageTimestamp": "2026-11-22T03:00:00.130000Z",
    } | changes  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


def ref(resource: str = "roles", group: str = RBAC, **more: str) -> dict[str, str]:
    """An objectRef."""
    return {"resource": resource, "apiGroup": group, "namespace": "pay", "name": "debug"} | more


def read(made: dict[str, Any]) -> list[Record]:
    """The records of an event."""
    return records_of(json.dumps(made).encode())


def answer(version: str, name: str = "debug") -> dict[str, Any]:
    """The object in an answer."""
    return {"kind": "Role", "metadata": {"name": name, "namespace": "pay", "resourceVersion": version}}


def test_a_write_is_told_with_all_that_is_known() -> None:
    """Who, as whom, from where, with what, when; the version that came of it where the level tells."""
    impersonated = {"username": "root"}
    (record,) = read(event(impersonatedUser=impersonated, responseObject=answer("77")))
    who = Audited("alice@example.com", "root", "10.1.2.3", "kubectl/v1.36.3", f"patch {PATH}", "a1",
                  "2026-11-22T03:00:00.123456Z")  # fmt: skip
    assert record == Record(ROLE, "patch", "77", who)
    assert str(record.audited) == "alice@example.com as root from 10.1.2.3"


def test_of_several_addresses_the_last_is_where_it_came_from() -> None:
    """All but the last can be written by the client (X-Forwarded-For)."""
    (record,) = read(event(sourceIPs=["8.8.8.8", "10.1.2.3"]))
    assert record.audited.address == "10.1.2.3 (for 8.8.8.8, claimed)"


@pytest.mark.parametrize(("made", "expected"), [
    (event("create", responseObject=answer("7")), [(ROLE, "create", "7")]),
    (event("update"), [(ROLE, "update", "")]),
    (event("delete"), [(ROLE, "delete", "")]),
    # The answer to a deletion may be the object as it was: its version is not that of the deletion.
    (event("delete", responseObject=answer("7")), [(ROLE, "delete", "")]),
    (event("create", objectRef=ref() | {"name": ""}, responseObject=answer("7", "x-1")),
     [(ROLE._replace(name="x-1"), "create", "7")]),
    (event("patch", objectRef=ref("pods", "", subresource="ephemeralcontainers")),
     [(Key("pods", "pay", "debug"), "patch", "")]),
    (event("create", objectRef=ref("pods", "", subresource="eviction")), [(Key("pods", "pay", "debug"), "delete", "")]),
    (event("update", objectRef=ref("namespaces", "", name="pay")), [(Key("namespaces", "", "pay"), "update", "")]),
    (event("patch", objectRef=ref("clusterroles") | {"namespace": ""}),
     [(Key(f"clusterroles.{RBAC}", "", "debug"), "patch", "")]),
    (event("deletecollection", requestURI="/roles", objectRef=ref() | {"name": ""}),
     [(Key(f"roles.{RBAC}", "pay", ""), "deletecollection", "")]),
    (event("deletecollection", requestURI="/roles?labelSelector=a%3Db", objectRef=ref() | {"name": ""}), []),
    (event("deletecollection", requestURI="/roles?labelSelector=a%3Db", objectRef=ref() | {"name": ""},
           responseObject={"kind": "RoleList", "items": [answer("7")]}), [(ROLE, "delete", "")]),
    (event("patch", objectRef=ref("k8srequiredlabels", CONSTRAINTS) | {"namespace": ""}),
     [(Key(f"*.{CONSTRAINTS}", "", "k8srequiredlabels/debug"), "patch", "")]),
])  # fmt: skip
def test_which_object_was_written(made: dict[str, Any], expected: list[tuple[Key, str, str]]) -> None:
    """Subresources write their object, a generated name is in the answer, and a deletion may be of many."""
    assert [record[:3] for record in read(made)] == expected


@pytest.mark.parametrize("made", [
    event("get"), event("list"), event("watch"),
    event(stage="RequestReceived"), event(stage="ResponseStarted"), event(stage="Panic"),
    event(responseStatus={"code": 403}), event(responseStatus={"code": 409}), event(responseStatus=None),
    event(requestURI=f"{PATH}?dryRun=All&fieldManager=flux"),
    event("delete", requestObject={"kind": "DeleteOptions", "dryRun": ["All"]}),
    event(objectRef=ref(subresource="status")),
    event("create", objectRef=ref("serviceaccounts", "", subresource="token")),
    event("create", objectRef=ref("pods", "", subresource="exec")),
    event("update", objectRef=ref("services", "", subresource="proxy")),
    event("update", objectRef=ref("leases", "coordination.k8s.io")),
    event("create", objectRef=ref(name="")),
    event("create", objectRef=None, requestURI="/foo"),
], ids=lambda made: f"{made['verb']} {made['stage']} {made['requestURI'][-20:]}")  # fmt: skip
def test_what_is_no_write_is_left_out(made: dict[str, Any]) -> None:
    """What read, was refused, was tried only, or wrote nothing that is kept."""
    assert read(made) == []


@pytest.mark.parametrize("line", [
    b"{", b"null", b"[]", b'"Event"', b"7", b"\xff\xfe", b"{}",
    json.dumps(event() | {"apiVersion": "audit.k8s.io/v1beta1"}).encode(),
    json.dumps(event() | {"kind": "EventList"}).encode(),
    json.dumps(event() | {"user": 7}).encode(), json.dumps(event() | {"objectRef": "roles"}).encode(),
    json.dumps(event() | {"requestReceivedTimestamp": "soon"}).encode(),
    json.dumps(event() | {"requestReceivedTimestamp": "0001-01-01T00:00:00Z"}).encode(),
    json.dumps(event() | {"requestReceivedTimestamp": None}).encode(),
    json.dumps(event() | {"sourceIPs": [7]}).encode(),
    json.dumps(event() | {"verb": ["patch"]}).encode(),
    json.dumps(event() | {"objectRef": ref() | {"name": 7}}).encode(),
    json.dumps(event() | {"objectRef": ref() | {"namespace": ["x"]}}).encode(),
])  # fmt: skip
def test_bad_lines_are_counted_and_the_first_is_told_of(line: bytes) -> None:
    """One clear sentence, however many there are; what follows is read."""
    told: list[str] = []
    log = Log("-", told.append)
    assert [*log.records(line), *log.records(line), *log.records(b"\n")] == []
    assert log.bad == 2
    (text,) = told
    assert text.startswith("the audit log on stdin has a line that is no event of audit.k8s.io/v1 (")
    assert text.isprintable()
    assert log.records(json.dumps(event()).encode())


def test_a_log_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    """Before anything is read or judged."""
    with pytest.raises(UsageError, match=r"cannot read the audit log .*none\.log: No such file"):
        Log(str(tmp_path / "none.log"))


# Files --------------------------------------------------------------------------------------------------------------


def lines(*names: str) -> bytes:
    """Events that wrote roles of these names."""
    return b"".join(json.dumps(event(objectRef=ref(name=name))).encode() + b"\n" for name in names)


def names(records: list[Record]) -> list[str]:
    """Of which roles records tell."""
    return [record.key.name for record in records]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_whole_file_is_read(tmp_path: Path, packed: bool) -> None:
    """Compressed or not, the last line ended or not."""
    data = lines("a", "b", "c")[:-1]
    (path := tmp_path / "audit.log").write_bytes(gzip.compress(data) if packed else data)
    assert names([*Log(str(path)).read()]) == ["a", "b", "c"]


def test_half_a_compressed_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """As it is while it is being written: what is there counts, and nothing fails."""
    data = gzip.compress(b"".join(lines(os.urandom(8).hex()) for _ in range(3000)))
    (path := tmp_path / "audit.log.gz").write_bytes(data[: len(data) // 2])
    assert 500 < len([*Log(str(path)).read()]) < 3000


def test_stdin_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `-`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines("a", "b"))))
    assert names([*Log("-").read()]) == ["a", "b"]


class Followed:
    """A log file that is followed."""

    def __init__(self, path: Path, since: float = 0.0) -> None:
        self.path = path
        self.log = Log(str(path))
        self.follower = Follower(self.log, since, poll=0.01)
        self.names: list[str] = []

    def until(self, *expected: str) -> None:
        """Wait until these are told, in this order and each once."""
        end = time.monotonic() + 10
        while self.names != [*expected] and time.monotonic() < end:
            self.names += names(self.follower.take())
            time.sleep(0.01)
        assert self.names == [*expected]

    def append(self, data: bytes, path: Path | None = None) -> None:
        """Write more."""
        with (path or self.path).open("ab") as file:
            file.write(data)


@pytest.fixture
def followed(tmp_path: Path) -> Any:
    """A log of one line that is followed."""
    (path := tmp_path / "audit.log").write_bytes(lines("a"))
    found = Followed(path)
    yield found
    found.follower.stop()


class TestFollowing:
    def test_nobody_waits_in_vain_for_one_that_failed(
        self, followed: Followed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever takes is told."""

        def broken(_: bytes) -> list[Record]:
            raise KeyError

        followed.until("a")
        monkeypatch.setattr(followed.log, "records", broken)
        followed.append(lines("b"))
        with pytest.raises(RuntimeError, match=r"audit\.log is followed no more"):
            followed.until("a", "b")

    def test_lines_are_told_when_they_are_complete(self, followed: Followed) -> None:
        """Half a line waits for its other half."""
        whole = lines("b")
        followed.append(whole[:40])
        followed.until("a")
        followed.append(whole[40:] + lines("c"))
        followed.until("a", "b", "c")
        assert followed.log.bad == 0

    def test_it_may_be_renamed(self, followed: Followed) -> None:
        """As kube-apiserver rotates: what was written last to the old file is not lost, nor told twice."""
        followed.until("a")
        old = followed.path.with_name("audit-2026-11-22T03-00-00.000.log")
        followed.path.rename(old)
        followed.append(lines("b"), old)
        followed.append(lines("c"))
        followed.until("a", "b", "c")
        old.with_name(old.name + ".gz").write_bytes(gzip.compress(old.read_bytes()))
        old.unlink()
        followed.append(lines("d"))
        followed.until("a", "b", "c", "d")

    def test_it_may_be_renamed_twice_between_two_looks(self, tmp_path: Path) -> None:
        """What came in between is read from the file that it was rotated to, compressed as it is."""
        (path := tmp_path / "audit.log").write_bytes(lines("a"))
        followed = Followed(path)
        followed.until("a")
        followed.follower._poll = 0.5
        time.sleep(0.05)
        path.rename(tmp_path / "audit-2026-11-22T03-00-00.000.log")
        (tmp_path / "audit-2026-11-22T03-00-01.000.log.gz").write_bytes(gzip.compress(lines("b")))
        path.write_bytes(lines("c"))
        try:
            followed.until("a", "b", "c")
        finally:
            followed.follower.stop()

    def test_it_may_be_copied_away_and_truncated(self, followed: Followed) -> None:
        """As logrotate does with copytruncate."""
        followed.append(lines("b", "bb"))
        followed.until("a", "b", "bb")
        followed.path.with_name("audit.log.1").write_bytes(followed.path.read_bytes())
        with followed.path.open("r+b") as file:
            file.truncate()
        time.sleep(0.05)
        followed.append(lines("c"))
        followed.until("a", "b", "bb", "c")

    def test_it_may_be_gone_for_a_while(self, followed: Followed) -> None:
        """Between a rotation and the first line of the next file."""
        followed.until("a")
        followed.path.unlink()
        time.sleep(0.1)
        followed.append(lines("b"))
        followed.until("a", "b")

    def test_what_it_was_rotated_to_lately_is_read_too(self, tmp_path: Path) -> None:
        """What happened while nobody followed; not what is older than anybody asks for."""
        for name, age in (("audit-2026-11-20T03-00-00.000.log.gz", 9999), ("audit-2026-11-22T03-00-00.000.log", 5)):
            (old := tmp_path / name).write_bytes(lines(f"old{age}"))
            os.utime(old, (time.time() - age,) * 2)
        (tmp_path / "audit-notes.txt").write_bytes(lines("other"))
        (path := tmp_path / "audit.log").write_bytes(lines("a"))
        followed = Followed(path, time.time() - 60)
        try:
            followed.until("old5", "a")
        finally:
            followed.follower.stop()
