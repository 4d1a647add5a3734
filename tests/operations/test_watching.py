"""`posture watch` as a process: its pages, its log, how it stops, and who else works on the database meanwhile."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from posture.collect import Listing
from posture.store import open_store, positions, snapshots
from tests.collect.faulty import FaultyServer
from tests.commands.running import posture, process
from tests.operations.watcher import BINDINGS, ROLES, Watcher, bind, cluster, eventually, kubeconfig

LISTEN = ("--listen", "127.0.0.1:0")
STOP_SECONDS = 5.0


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A cluster that $KUBECONFIG names, and a database of its own."""
    with cluster() as running:
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, running.url))
        monkeypatch.setenv("POSTURE_DB", str(tmp_path / "posture.db"))
        monkeypatch.setenv("POSTURE_USER", "bob")
        yield running


def metrics(watcher: Watcher) -> dict[tuple[str, ...], float]:
    """The samples of the page: the name, then the values of the labels in the order of their names."""
    page = watcher.get("/metrics")
    assert page.status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text) for sample in family.samples
    }  # fmt: skip


# Pages --------------------------------------------------------------------------------------------------------------


def test_it_is_ready_once_every_kind_is_read_and_judged(server: FaultyServer) -> None:
    """Until then /readyz says which lists are missing; /healthz does not mind."""
    with server.store.changed, Watcher(*LISTEN) as watcher:  # no list is answered while this is held
        watcher.until("started")
        assert eventually(lambda: f"clusterroles.{ROLES.split('/')[2]}" in watcher.get("/readyz").text)
        assert watcher.get("/readyz").status == 503
        assert watcher.get("/healthz").status == 200
        assert metrics(watcher)["posture_ready",] == 0
        server.store.changed.release()
        try:
            watcher.until("ready")
            assert watcher.get("/readyz") == (200, "ok\n")
            assert eventually(lambda: metrics(watcher)["posture_ready",] == 1)
        finally:
            server.store.changed.acquire()


def test_a_gap_is_told_and_does_not_keep_it_from_being_ready(server: FaultyServer) -> None:
    """A list that is forbidden is logged as a gap, and as closed when it may be read."""
    server.faults.forbidden.add(BINDINGS)
    with Watcher(*LISTEN) as watcher:
        gap = watcher.until("gap")
        assert (gap["resource"], gap["reason"]) == ("clusterrolebindings.rbac.authorization.k8s.io", "forbidden")
        watcher.until("ready")
        assert watcher.get("/readyz").status == 200
        row = ("posture_gaps", "forbidden", "clusterrolebindings.rbac.authorization.k8s.io")
        assert eventually(lambda: metrics(watcher).get(row) == 1)
        server.faults.forbidden.clear()
        assert watcher.until("closed")["resource"] == gap["resource"]
        assert eventually(lambda: row not in metrics(watcher))


def test_what_happens_is_counted_and_logged(server: FaultyServer) -> None:
    """A change becomes an event, a revision, a finding with its severity and owner, and a sentence in the log."""
    with Watcher(*LISTEN) as watcher:
        watcher.until("ready")
        process("baseline", "approve")
        watcher.until("revision", 2)
        bind(server, "eve")
        opened = watcher.until("opened")
        assert (opened["severity"], opened["owner"], opened["subject"]) == ("critical", "platform", "user:eve")
        assert "User eve can now do anything in the whole cluster" in opened["message"]
        finding = ("posture_findings", "rbac", "platform", "critical", "open")
        assert eventually(lambda: metrics(watcher).get(finding) == 1)
        found = metrics(watcher)
        resource = "clusterrolebindings.rbac.authorization.k8s.io"
        assert found["posture_events_total", resource, "added"] == 1
        assert found["posture_objects", resource] == 1
        assert found["posture_finding_events_total", "opened"] == 1
        assert found["posture_corrections_total", resource] == 0
        assert found["posture_batch_seconds_count",] == 1
        assert found["posture_store_bytes", "database"] > 0
        assert abs(found["posture_last_sync_timestamp_seconds", resource] - time.time()) < 60
        assert found["posture_cluster_info", "prod", "the-cluster", "1.36"] == 1
        server.store.delete(BINDINGS, "eve")
        watcher.until("resolved")
        assert eventually(lambda: finding not in metrics(watcher))


# Stopping -----------------------------------------------------------------------------------------------------------

JUDGING = """
import posture.watch
def judge(*args, really=posture.watch.judge, **named):
    if MARK.exists():
        MARK.with_name('judging').touch()
        while True:
            pass
    return really(*args, **named)
posture.watch.judge = judge
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked_and_goes_on_from_there(server: FaultyServer, number: signal.Signals) -> None:
    """Exit code 0, in time; the next start reads no list, and sees what happened meanwhile."""
    with Watcher(*LISTEN) as watcher:
        watcher.until("ready")
        code, seconds = watcher.stop(number)
        assert (code, watcher.other) == (0, [])
        assert seconds < STOP_SECONDS
        watcher.until("stopped")
    server.asked.clear()
    bind(server, "eve")
    with Watcher(*LISTEN) as watcher:
        assert watcher.until("resumed")["lists"] > 20
        assert watcher.until("opened")["subject"] == "user:eve"
        assert server.lists(BINDINGS) == []
        assert watcher.stop()[0] == 0


def test_it_stops_in_the_middle_of_a_list(server: FaultyServer) -> None:
    """A list that is not answered keeps it from nothing."""
    with server.store.changed, Watcher() as watcher:
        watcher.until("started")
        assert eventually(lambda: bool(server.lists()))
        code, seconds = watcher.stop()
        assert code == 0, watcher.other
        assert seconds < STOP_SECONDS


def test_it_stops_in_the_middle_of_a_judgement(server: FaultyServer, tmp_path: Path) -> None:
    """What was being judged is not written, nor where it came from: the next start sees it again, once."""
    mark = tmp_path / "mark"
    with Watcher(code=f"import pathlib; MARK = pathlib.Path({str(mark)!r})\n{JUDGING}") as watcher:
        watcher.until("ready")
        mark.touch()
        bind(server, "eve")
        assert eventually(mark.with_name("judging").exists)
        code, seconds = watcher.stop()
        assert code == 0, watcher.other
        assert seconds < STOP_SECONDS
    process("db", "verify")
    with Watcher() as watcher:
        watcher.until("resumed")
        assert watcher.until("opened")["subject"] == "user:eve"
        assert watcher.stop()[0] == 0


def test_it_stops_while_the_server_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and says nothing."""
    monkeypatch.setenv("POSTURE_DB", str(tmp_path / "posture.db"))
    with socket.create_server(("127.0.0.1", 0)) as hung:
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, f"http://127.0.0.1:{hung.getsockname()[1]}"))
        with Watcher(*LISTEN) as watcher:
            watcher.until("listening")
            connection, _ = hung.accept()
            with connection:
                code, seconds = watcher.stop()
            assert code == 0, watcher.other
            assert seconds < STOP_SECONDS


# Beside others ------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_holds_the_database(server: FaultyServer) -> None:
    """`watch` and `scan` end with 4, and with a sentence that names the one that runs."""
    with Watcher() as watcher:
        watcher.until("ready")
        for name in ("watch", "scan"):
            said = process(name, code=4).err
            assert f"is locked by posture watch, process {watcher.process.pid} on " in said
        assert watcher.process.poll() is None


def present() -> list[dict[str, Any]]:
    """Every finding."""
    found: list[dict[str, Any]] = posture("findings", "list", "--members", "--status", "all", "-o", "json").json
    return [one for one in found if one["domain"] == "rbac"]


def test_people_decide_while_it_runs(server: FaultyServer) -> None:
    """Decisions and approvals need no lock, count at once, and are not lost by what the watcher writes."""
    with Watcher() as watcher:
        watcher.until("ready")
        process("baseline", "approve", "--reason", "as it is")
        watcher.until("revision", 2)
        bind(server, "eve")
        bind(server, "mallory")
        assert eventually(lambda: len(watcher.events("opened")) == 2)
        assert eventually(lambda: all(one["attackPaths"] for one in present()))  # found when nothing happens any more
        eve, mallory = ({line["subject"]: line["finding"] for line in watcher.events("opened")}[f"user:{name}"]
                        for name in ("eve", "mallory"))  # fmt: skip
        process("findings", "accept", eve, "--until", "30d", "--reason", "on call")
        process("baseline", "approve", "--finding", mallory)
        bind(server, "oscar")
        watcher.until("opened", 3)
        assert watcher.stop()[0] == 0
    found = {one["subject"]: one["status"] for one in present()}
    assert {name: found[f"user:{name}"] for name in ("eve", "mallory", "oscar")} == {
        "eve": "accepted", "mallory": "agreed", "oscar": "open",
    }  # fmt: skip
    process("db", "verify")


def test_an_approval_is_judged_by_at_once(server: FaultyServer) -> None:
    """Nothing has to happen in the cluster for it."""
    bind(server, "eve")
    with Watcher() as watcher:
        watcher.until("ready")
        before = len(watcher.events("revision"))
        process("baseline", "approve")
        watcher.until("revision", before + 1)
        assert posture("findings", "list", "-o", "json").json == []


# Without the server -------------------------------------------------------------------------------------------------


def test_without_a_server_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence and 3: a Deployment starts it again."""
    monkeypatch.setenv("POSTURE_DB", str(tmp_path / "posture.db"))
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, "http://127.0.0.1:9"))
    said = process("watch", code=3).err.splitlines()
    assert said == [
        "error: cannot connect to http://127.0.0.1:9: Connection refused (tried 2 times)",
        "hint: does the cluster run, and is this its address?",
    ]


def test_it_outlives_its_server(server: FaultyServer) -> None:
    """While the server is away it says so, now and then, and stays; when it is back it goes on."""
    with Watcher(*LISTEN) as watcher:
        watcher.until("ready")
        server.down()
        assert eventually(lambda: any("Connection refused" in line["message"] for line in watcher.events("trouble")))
        time.sleep(3)
        assert sorted({line["reason"] for line in watcher.events("trouble")}) == ["no answer", "no connection"]
        assert len(watcher.events("trouble")) == 2
        assert watcher.process.poll() is None
        assert watcher.get("/healthz").status == watcher.get("/readyz").status == 200
        assert metrics(watcher)["posture_request_failures_total", "no connection"] > 1
        server.up()
        bind(server, "eve")
        assert watcher.until("opened")["subject"] == "user:eve"


# The same database, now by `scan`, now by `watch` -------------------------------------------------------------------


def test_after_a_scan_everything_is_read_again(server: FaultyServer, tmp_path: Path) -> None:
    """Where the watcher was is forgotten by a scan: its revision knows of states that the watcher has not seen."""
    with Watcher() as watcher:
        watcher.until("ready")
        assert watcher.stop()[0] == 0
    with open_store(str(tmp_path / "posture.db")) as store:
        assert Listing("namespaces") in positions.read(store, "the-cluster")
    bind(server, "eve")
    process("scan")
    with open_store(str(tmp_path / "posture.db")) as store:
        assert positions.read(store, "the-cluster") == {}
    server.store.delete(BINDINGS, "eve")
    server.asked.clear()
    with Watcher() as watcher:
        watcher.until("started")
        assert watcher.until("resolved")["subject"] == "user:eve"
        assert server.lists(BINDINGS) != []


def test_a_scan_has_a_deadline(server: FaultyServer, tmp_path: Path) -> None:
    """It ends with 3 and a sentence, in time, and what it had read is no revision."""
    process("scan")
    with server.store.changed:
        began = time.monotonic()
        said = process("scan", "--deadline", "1", code=3).err
    assert time.monotonic() - began < 1 + STOP_SECONDS
    assert said.startswith("error: it took longer than 1 s\nhint: nothing was half-written")
    with open_store(str(tmp_path / "posture.db")) as store:
        assert [one.id for one in snapshots.revisions(store, "the-cluster")] == [1]
    process("db", "verify")
    process("scan", "--deadline", "100")
