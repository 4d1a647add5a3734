"""`posture watch --audit-log` as a process: a file that grows and rotates, and a stdin that never ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from posture.kinds import RBAC
from tests.collect.faulty import FaultyServer
from tests.commands.running import posture
from tests.operations.watcher import Watcher, bind, cluster, eventually, kubeconfig


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A cluster that $KUBECONFIG names, and a database of its own."""
    with cluster() as running:
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, running.url))
        monkeypatch.setenv("POSTURE_DB", str(tmp_path / "posture.db"))
        yield running


def line(name: str) -> str:
    """What the log says when alice made a ClusterRoleBinding now."""
    return json.dumps({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": name, "stage": "ResponseComplete",
        "verb": "create", "requestURI": f"/apis/{RBAC}/v1/clusterrolebindings",
        "user": {"username": "alice@example.com"}, "sourceIPs": ["10.1.2.3"],
        "userAgent": "kubectl/v1.36.3", "responseStatus": {"code": 201},
        "objectRef": {"resource": "clusterrolebindings", "apiGroup": RBAC, "name": name},
        "requestReceivedTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }) + "\n"  # fmt: skip


def told(user: str) -> bool:
    """Whether the finding of a user says who made it."""
    found = posture("findings", "list", "--members", "-o", "json").json
    (one,) = (one for one in found if one["subject"] == f"user:{user}")
    return any(cause["audit"] and cause["audit"]["user"] == "alice@example.com" for cause in one["causes"])


def test_a_file_is_followed_beside_the_cluster(server: FaultyServer, tmp_path: Path) -> None:
    """Before and after its rotation, with a bad line that is told of once, and whichever comes first."""
    log = tmp_path / "audit.log"
    log.write_text("nonsense\nnonsense\n", encoding="utf-8")
    with Watcher("--audit-log", str(log)) as watcher:
        watcher.until("ready")
        made = line("eve")
        bind(server, "eve")
        watcher.until("opened")
        with log.open("a", encoding="utf-8") as file:
            file.write(made)
        assert eventually(lambda: told("eve"))
        log.rename(tmp_path / "audit-2026-11-22T03-00-00.000.log")
        log.write_text(line("bob"), encoding="utf-8")
        bind(server, "bob")
        watcher.until("opened", 2)
        assert eventually(lambda: told("bob"))
        (said,) = watcher.events("audit")
        assert "has a line that is no event of audit.k8s.io/v1" in said["message"]
        code, seconds = watcher.stop()
    assert (code, seconds < 5) == (0, True)


def test_stdin_is_followed_and_keeps_nobody_from_ending(server: FaultyServer, tmp_path: Path) -> None:
    """Its writer need not end before."""
    os.mkfifo(fifo := tmp_path / "log")
    with Watcher("--audit-log", "-", code=f"import os; os.dup2(os.open({str(fifo)!r}, os.O_RDWR), 0)") as watcher:
        watcher.until("ready")
        with fifo.open("w", encoding="utf-8") as file:
            file.write(line("eve"))
        bind(server, "eve")
        watcher.until("opened")
        assert eventually(lambda: told("eve"))
        code, seconds = watcher.stop()
    assert (code, seconds < 5, watcher.other) == (0, True, [])


@pytest.mark.usefixtures("server")
def test_a_log_that_is_not_there_is_said_at_once() -> None:
    """And it ends."""
    ran = posture("watch", "--audit-log", "none.log", code=2)
    assert "cannot read the audit log none.log" in ran.err
