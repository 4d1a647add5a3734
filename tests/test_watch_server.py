"""A real API server under load, whose connections break and which is started again, and a watch that is killed.

What it holds at the end is the cluster, and what it found is what a scan finds that saw nothing of all that.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from posture.kinds import RBAC
from posture.model import Finding
from posture.store import open_store, snapshots, upkeep
from tests.collect.connect_proxy import ConnectProxy
from tests.commands.running import process
from tests.conftest import FIGURE
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.follow import indexed, present
from tests.operations.watcher import Watcher

WRITERS = 4
RATE = 200.0
CUT_SECONDS = 3.0
SETTLE_SECONDS = 60.0
WRITTEN = ("roles", "rolebindings", "clusterrolebindings", "networkpolicies", "deployments", "serviceaccounts",
           "namespaces")  # fmt: skip
LEVELS = ("privileged", "baseline", "restricted")
type Object = dict[str, Any]


class Writer(threading.Thread):
    """Makes, changes and deletes objects of all domains in namespaces of its own, so many times a second."""

    def __init__(self, plane: ControlPlane, number: int, rate: float) -> None:
        super().__init__(name=f"writer-{number}")
        self._plane, self._random, self._pause = plane, Random(number), 1 / rate
        self._spaces = [f"w{number}-{space}" for space in range(3)]
        self.counts: Counter[str] = Counter()
        self.ended = threading.Event()
        for space in self._spaces:
            plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": space}})

    def run(self) -> None:
        due = time.monotonic()
        while not self.ended.is_set():
            try:
                self._write(*self._something())
                self.counts["writes"] += 1
            except RefusedError as error:
                self.counts[str(error.status)] += 1
            except (OSError, http.client.HTTPException):  # it is started again
                self.counts["failed"] += 1
                time.sleep(0.1)
            due = max(due + self._pause, time.monotonic() - 1.0)
            self.ended.wait(max(0.0, due - time.monotonic()))

    def _something(self) -> tuple[str, str, Object | None]:
        """A path, a name, and what is to be there; None is nothing."""
        chance, space = self._random, self._random.choice(self._spaces)
        kind, name = chance.choice(WRITTEN), f"{self.name}-{chance.randrange(8)}"
        if kind == "namespaces":
            labels = {"pod-security.kubernetes.io/enforce": chance.choice(LEVELS), "team": chance.choice("ab")}
            return "/api/v1/namespaces", space, {"metadata": {"labels": labels}}
        path = {
            "roles": f"/apis/{RBAC}/v1/namespaces/{space}/roles",
            "rolebindings": f"/apis/{RBAC}/v1/namespaces/{space}/rolebindings",
            "clusterrolebindings": f"/apis/{RBAC}/v1/clusterrolebindings",
            "networkpolicies": f"/apis/networking.k8s.io/v1/namespaces/{space}/networkpolicies",
            "deployments": f"/apis/apps/v1/namespaces/{space}/deployments",
            "serviceaccounts": f"/api/v1/namespaces/{space}/serviceaccounts",
        }[kind]
        return path, name, None if chance.random() < 0.3 else getattr(self, f"_{kind}")(name, space)

    def _roles(self, *_: str) -> Object:
        verbs = self._random.sample(["get", "list", "create", "delete", "*"], 2)
        resources = [self._random.choice(["secrets", "pods", "configmaps", "pods/exec"])]
        return {"rules": [{"apiGroups": [""], "resources": resources, "verbs": verbs}]}

    def _rolebindings(self, name: str, space: str) -> Object:
        role = f"{self.name}-{int(name[-1]) % 4}"  # what a binding is of never changes
        return self._bound("Role", role, {"kind": "ServiceAccount", "name": "default", "namespace": space})

    def _clusterrolebindings(self, name: str, space: str) -> Object:
        role = "view" if int(name[-1]) % 2 else "cluster-admin"
        return self._bound("ClusterRole", role, {"kind": "ServiceAccount", "name": "default", "namespace": space})

    def _bound(self, kind: str, role: str, account: Object) -> Object:
        user = {"kind": "User", "apiGroup": RBAC, "name": self._random.choice(["eve", "mallory"])}
        return {"roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
                "subjects": [self._random.choice([user, account])]}  # fmt: skip

    def _networkpolicies(self, *_: str) -> Object:
        selector = self._random.choice([{}, {"matchLabels": {"app": "web"}}])
        rule = self._random.choice(
            [{}, {"from": [{"podSelector": {}}]}, {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]
        )
        return {"spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [rule]}}

    def _deployments(self, name: str, _: str) -> Object:
        container = {"name": "c", "image": "registry.example/c",
                     "securityContext": {"privileged": self._random.random() < 0.3}}  # fmt: skip
        labels = {"app": name}
        return {"spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [container]}}}}  # fmt: skip

    def _serviceaccounts(self, *_: str) -> Object:
        return {"automountServiceAccountToken": self._random.random() < 0.5}

    def _write(self, path: str, name: str, content: Object | None) -> None:
        if content is None:
            self._plane.request("DELETE", f"{path}/{name}")
            return
        body = {**content, "metadata": {**content.get("metadata", {}), "name": name}}
        try:
            self._plane.request("PUT", f"{path}/{name}", body)
        except RefusedError as error:
            if error.status != http.client.NOT_FOUND:
                raise
            self._plane.request("POST", path, body)


class Trouble:
    """A cluster whose connections break, with a database that is followed and one that is only scanned at the end."""

    def __init__(self, plane: ControlPlane, proxy: ConnectProxy, folder: Path) -> None:
        self.plane, self.proxy = plane, proxy
        self.followed, self.scanned = folder / "followed.db", folder / "scanned.db"
        self.config = folder / "kubeconfig"
        content = json.loads(plane.kubeconfig().read_text())
        content["clusters"][0]["cluster"]["proxy-url"] = f"http://{proxy.address}"
        self.config.write_text(json.dumps(content))

    def watcher(self) -> Watcher:
        return Watcher("--kubeconfig", str(self.config), "--db", str(self.followed))

    def scan(self) -> None:
        """What a scan finds, which goes straight to the server."""
        process("scan", "--kubeconfig", str(self.plane.kubeconfig()), "--db", str(self.scanned))

    def approve(self) -> None:
        for path in (self.followed, self.scanned):
            process("baseline", "approve", "--reason", "as it is", "--db", str(path))

    def cut_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, CUT_SECONDS))
            self.proxy.cut()

    def live(self, seconds: float) -> None:
        """Cut connections all the time; a compaction, a kill, then a server that starts again and has forgotten."""
        with self.watcher() as watcher:
            watcher.until("ready")
            self.cut_for(seconds / 4)
            self.plane.compact()
            self.cut_for(seconds / 4)
            self._runs(watcher)
        time.sleep(0.5)  # it was killed, and things go on
        with self.watcher() as watcher:
            watcher.until("resumed")
            self.cut_for(seconds / 4)
            self.plane.compact()
            self.plane.restart_apiserver()
            self.cut_for(seconds / 4)
            self._runs(watcher)

    def _runs(self, watcher: Watcher) -> None:
        assert watcher.process.poll() is None, (watcher.lines[-5:], watcher.other[-20:])

    def settle(self) -> None:
        """Let the watch come to hold what a scan reads, object by object, and find what it finds."""
        end = time.monotonic() + SETTLE_SECONDS
        with self.watcher() as watcher:
            while time.monotonic() < end:
                time.sleep(2.0)
                self.scan()
                (objects, found), (others, wanted) = self.held(self.followed), self.held(self.scanned)
                if objects == others and _reached(found) == _reached(wanted):
                    break
            assert watcher.stop()[0] == 0, watcher.other

    def held(self, path: Path) -> tuple[dict[str, dict[Any, Any]], dict[tuple[object, ...], Finding]]:
        """All that a database holds of the cluster, with uids and resourceVersions, and the findings."""
        with closing(open_store(str(path))) as store:
            newest = snapshots.latest(store)
            assert newest is not None
            found = snapshots.load(store, newest.cluster, newest).snapshot
            return indexed(found.index), present(store, newest.cluster)


@pytest.fixture
def trouble(tmp_path: Path) -> Iterator[Trouble]:
    """A control plane of its own: it is started again."""
    with ControlPlane() as plane:
        host, _, port = plane.url.removeprefix("https://").partition(":")
        with ConnectProxy((host, int(port))) as proxy:
            yield Trouble(plane, proxy, tmp_path)


def endure(trouble: Trouble, seconds: float) -> str:
    """Live through it, and see what is left; in words what happened."""
    writers = [Writer(trouble.plane, number, RATE / WRITERS) for number in range(WRITERS)]
    with trouble.watcher() as watcher:
        watcher.until("ready")
        trouble.scan()
        trouble.approve()
        watcher.until("revision", 2)
    for writer in writers:
        writer.start()
    try:
        trouble.live(seconds)
    finally:
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join()
    trouble.settle()
    counts = sum((writer.counts for writer in writers), Counter[str]())
    (objects, found), (all_objects, all_found) = trouble.held(trouble.followed), trouble.held(trouble.scanned)
    assert objects == all_objects
    assert _without_paths(found) == _without_paths(all_found)
    assert _reached(found) == _reached(all_found)
    with closing(open_store(str(trouble.followed))) as store:
        assert _doubled(store.connection) == 0
        upkeep.verify(store)
        revisions = store.connection.execute("SELECT count(*) FROM revision").fetchone()[0]
    assert counts["writes"] > 100
    assert revisions > 20
    storm = f"{counts['writes']:,} writes in {seconds:.0f} s, a cut every {CUT_SECONDS:.0f} s, a kill, a restart"
    return f"watch: {storm}: {revisions:,} revisions, and the {len(found)} findings of a scan"


def _without_paths(found: dict[tuple[object, ...], Finding]) -> dict[tuple[object, ...], Finding]:
    """Findings but for paths and what follows from them: of equal ones that two made, either may be told by either."""
    return {
        place: replace(one, paths=(), reasons=(), fix=one.fix and replace(one.fix, stays=()))
        for place, one in found.items()
    }


def _reached(found: dict[tuple[object, ...], Finding]) -> set[tuple[str, str]]:
    return {(path.source, path.target) for one in found.values() for path in one.paths}


def _doubled(connection: Any) -> int:
    """Versions of objects that say what the one before said, where nothing was missing in between."""
    found: int = connection.execute(
        "SELECT count(*) FROM version a JOIN version b ON a.object = b.object AND a.until = b.since "
        "WHERE a.content = b.content"
    ).fetchone()[0]
    return found


def test_nothing_is_lost_or_doubled_in_a_storm(
    trouble: Trouble, record_property: Callable[[str, object], None]
) -> None:
    """Cut connections, a compaction, a kill and a restart of the server, while four people write."""
    record_property(FIGURE, endure(trouble, 20.0))


@pytest.mark.prove
def test_nothing_is_lost_or_doubled_in_a_long_storm(
    trouble: Trouble, record_property: Callable[[str, object], None]
) -> None:
    """The same for five minutes."""
    record_property(FIGURE, endure(trouble, 300.0))
