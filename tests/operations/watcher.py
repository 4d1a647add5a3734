"""`posture watch` as a process of its own, its log and its pages; and a cluster for it that can be held up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from posture.kinds import KINDS, RBAC
from tests.collect.faulty import FaultyServer, Resource

SECONDS = 30.0
BINDINGS = f"/apis/{RBAC}/v1/clusterrolebindings"
ROLES = f"/apis/{RBAC}/v1/clusterroles"


class Answer(NamedTuple):
    """What a page said."""

    status: int
    text: str


class Watcher:
    """`posture watch --log-format json` with some arguments. In a `with` block it runs, and is killed at the end."""

    def __init__(self, *args: str, code: str = "", **env: str) -> None:
        """`code` runs in its process first."""
        start = ["-c", f"{code}\nfrom posture.cli import main\nmain()"] if code else ["-m", "posture"]
        self._command = [sys.executable, *start, "watch", "--log-format", "json", *args]
        self._env = env
        self.lines: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._heard = threading.Condition()

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True, env=os.environ | self._env)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            for line in self.process.stderr:
                with self._heard:
                    if line.startswith("{"):
                        self.lines.append(json.loads(line))
                    else:
                        self.other.append(line.rstrip("\n"))
                    self._heard.notify_all()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of the log about one event, the oldest first."""
        return [line for line in self.lines if line["event"] == name]

    def until(self, name: str, number: int = 1) -> dict[str, Any]:
        """Wait until the log tells of an event, for the so-manieth time; gives that line."""
        with self._heard:
            ended = self._heard.wait_for(lambda: len(self.events(name)) >= number, SECONDS)
        assert ended, (name, self.lines, self.other)
        return self.events(name)[number - 1]

    @property
    def address(self) -> str:
        """Where it serves its pages."""
        return str(self.until("listening")["address"])

    def get(self, path: str) -> Answer:
        """One of its pages."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as response:
                return Answer(response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to stop; its exit code, and how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self._reader.join()
        return code, time.monotonic() - began


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true in a while."""
    until = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def cluster() -> FaultyServer:
    """An API server that serves what any cluster serves, with a role to bind."""
    server = FaultyServer([Resource.of(kind) for kind in KINDS if not kind.custom])
    server.store.put("/api/v1/namespaces", "kube-system")
    server.store.put(ROLES, "cluster-admin", rules=[{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
    return server


def bind(server: FaultyServer, user: str) -> None:
    """Make a user a cluster-admin."""
    subject = {"apiGroup": RBAC, "kind": "User", "name": user}
    server.store.put(BINDINGS, user, subjects=[subject],
                     roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"})  # fmt: skip


def kubeconfig(folder: Path, url: str) -> str:
    """A kubeconfig of a server; gives its path."""
    content: Mapping[str, Any] = {
        "apiVersion": "v1", "kind": "Config", "current-context": "prod",
        "clusters": [{"name": "prod", "cluster": {"server": url}}],
        "users": [{"name": "prod", "user": {"token": "secret"}}],
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "prod"}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)
