"""Commands as people run them, in this process, in one of their own or at a terminal; and a small cluster for them."""

from __future__ import annotations

import fcntl
import gc
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

from posture.cli import run
from tests.generator.objects import Object, account, binding, group, guarded, role, rule, user

NOW = "2026-11-17T09:00:00Z"
APPROVED = "2026-10-20T09:00:00Z"


class Ran(NamedTuple):
    """What a command did: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, decoded."""
        return json.loads(self.out)


type Posture = Callable[..., Ran]


def posture(*args: str | Path, code: int = 0) -> Ran:
    """Run a command in this process; it must end with `code`."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            ended = run([str(arg) for arg in args])
    finally:
        gc.enable()  # a scan turns it off: its process ends with it
    assert ended == code, f"{args} ended with {ended}\n{out.getvalue()}{err.getvalue()}"
    return Ran(ended, out.getvalue(), err.getvalue())


def command(*args: str | Path) -> list[str]:
    """What starts a process of posture."""
    return [sys.executable, "-m", "posture", *map(str, args)]


def process(*args: str | Path, code: int = 0, **more: Any) -> Ran:
    """Run a command in a process of its own; it must end with `code`."""
    done = subprocess.run(command(*args), capture_output=True, text=True, check=False, timeout=120, **more)
    assert done.returncode == code, f"{args} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return Ran(done.returncode, done.stdout, done.stderr)


def terminal(*args: str | Path, columns: int, **env: str) -> str:
    """What a command shows on a terminal with so many columns, line ends as a program wrote them."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    shown = b""
    with subprocess.Popen(
        command(*args), stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, env=known | env
    ):
        os.close(theirs)
        with suppress(OSError):  # what Linux says when the last writer is gone
            while part := os.read(ours, 65536):
                shown += part
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def write(path: Path, objects: Iterable[Object]) -> Path:
    """A manifest file of some objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}), encoding="utf-8")
    return path


def agreed() -> list[Object]:
    """A small cluster as it was approved."""
    return [
        guarded("pay", team="pay-team", env="prod"),
        guarded("web", team="web-team", env="prod"),
        guarded("lab", env="test"),
        role("config", rule("get", "configmaps"), namespace="pay"),
        binding("config", "Role/config", account("pay", "api"), namespace="pay"),
        binding("operators", "ClusterRole/cluster-admin", group("operators")),
    ]


def drifted() -> list[Object]:
    """The same cluster some weeks later: four findings in three groups, of three owners and three severities."""
    return [
        *agreed(),
        role("debug", rule("get,list", "secrets")),
        binding("debug", "ClusterRole/debug", account("pay", "api"), namespace="pay"),
        binding("debug", "ClusterRole/debug", group("pay"), namespace="web"),
        binding("root", "ClusterRole/cluster-admin", user("eve")),
        role("tags", rule("get", "tags", groups="acme.example"), namespace="lab"),
        binding("tags", "Role/tags", account("lab", "reader"), namespace="lab"),
    ]


API, WEB, EVE, READER = "serviceaccount:pay/api", "group:pay", "user:eve", "serviceaccount:lab/reader"
"""The subjects of the findings. The group of web is called as a namespace is, which must mean nothing."""


class World(NamedTuple):
    """A folder with `agreed.json`, `drifted.json` and a database in which the first was approved and both scanned."""

    folder: Path

    @property
    def agreed(self) -> Path:
        """What was approved."""
        return self.folder / "agreed.json"

    @property
    def drifted(self) -> Path:
        """What it became."""
        return self.folder / "drifted.json"

    def id(self, subject: str) -> str:
        """The id of the finding of a subject."""
        every = posture("findings", "list", "--members", "--status", "all", "-o", "json").json
        (found,) = (one["id"] for one in every if one["subject"] == subject and one["status"] != "agreed")
        return str(found)

    def group(self, subject: str) -> str:
        """The id of the group of a subject's finding."""
        return str(posture("findings", "show", self.id(subject), "-o", "json").json[0]["group"])

    def subjects(self, *args: str) -> list[str]:
        """Whose findings `posture findings list` shows."""
        found = posture("findings", "list", "--members", "-o", "json", *args).json
        return sorted(one["subject"] for one in found)


def make(folder: Path) -> World:
    """Write the two states of the small cluster, scan the first, approve it, and scan the second."""
    world = World(folder)
    write(world.agreed, agreed())
    write(world.drifted, drifted())
    posture("scan", "--from", world.agreed, "--at", APPROVED, "--cluster", "small")
    posture("baseline", "approve", "--by", "ann", "--reason", "after the audit", "--at", APPROVED)
    posture("scan", "--from", world.drifted, "--cluster", "small")
    return world
