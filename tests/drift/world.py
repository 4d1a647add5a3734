"""One cluster that is scanned a day after the other, and what people do about it: the real scan on real SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from posture import actions
from posture.config import Config
from posture.inputs import Inputs
from posture.kinds import RBAC
from posture.model import Action, Finding, Gap
from posture.scan import Request, Scanned, scan
from posture.store import MEMORY, Store, findings, open_store
from posture.store.decisions import Deed
from posture.text import format_time
from tests.generator.objects import Object, account, binding, guarded, role, rule
from tests.generator.source import Given

CLUSTER = "7c1e"
BINDINGS = Gap(f"rolebindings.{RBAC}", "pay", "forbidden", "rolebindings is forbidden")
ROLES = Gap(f"roles.{RBAC}", "", "failed", "the server did not answer")


def grant(name: str = "debug", verbs: str = "get", resources: str = "secrets", subject: str = "api") -> list[Object]:
    """A Role in `pay` and a RoleBinding of the same name that gives it to a ServiceAccount."""
    return [
        role(name, rule(verbs, resources), namespace="pay"),
        binding(name, f"Role/{name}", account("pay", subject), namespace="pay"),
    ]


class World:
    """A database, a clock, and the settings that scans are made with."""

    def __init__(self, path: Path | str = MEMORY, config: Config | None = None) -> None:
        self.store: Store = open_store(str(path))
        self.config = config or Config()
        self.day = datetime(2026, 10, 1, tzinfo=UTC)

    @property
    def now(self) -> str:
        """The present moment."""
        return format_time(self.day)

    def wait(self, days: int = 1) -> None:
        """Let days go by."""
        self.day += timedelta(days=days)

    def scan(self, *objects: Iterable[Object], gaps: Sequence[Gap] = (), **settings: Any) -> Scanned:
        """Scan a cluster that holds these objects, a day after whatever was before."""
        self.wait()
        self.config = replace(self.config, **settings)
        every = [
            guarded("pay", team="pay-team"),
            guarded("web", team="web-team"),
            *(o for each in objects for o in each),
        ]
        source = Given(every, gaps)
        return scan(self.store, source, Inputs(self.config), Request(self.now))

    def approve(self, number: int | None = None, *, with_gaps: bool = False) -> None:
        """Agree to a snapshot, the newest if none is named."""
        newest = self.store.connection.execute("SELECT max(id) FROM revision").fetchone()[0]
        actions.approve(self.store, number or newest, self.deed("agreed"), with_gaps=with_gaps)

    def deed(self, action: Action, **more: Any) -> Deed:
        """A decision of today."""
        return Deed(action, "ann", self.now, more.pop("reason", "because"), **more)

    def decide(self, action: Action, *ids: str, days: int = 30, **more: Any) -> None:
        """Decide about findings or groups by their ids; about everything that is listed if none is given."""
        if action == "accepted":
            more["until"] = format_time(self.day + timedelta(days=days))
        found = actions.find(self.store, ids or [one.fingerprint for one in self.findings()])
        actions.decide_on(self.store, found, self.deed(action, **more))

    def findings(self) -> list[Finding]:
        """Every finding that there ever was, but for those that were agreed to."""
        return [finding for finding in findings.select(self.store) if not finding.agreed]

    @property
    def one(self) -> Finding:
        """The only finding."""
        (found,) = self.findings()
        return found

    @property
    def statuses(self) -> dict[str, str]:
        """The status of every finding by the name of what it goes through."""
        return {finding.through.name: finding.status(self.now) for finding in self.findings()}

    def history(self, finding: Finding) -> list[str]:
        """What happened to a finding and what was decided, without times."""
        return [what for _, what, _ in findings.history(self.store, finding)]


def kinds(done: Scanned) -> list[str]:
    """What a scan says happened."""
    return sorted(event.kind for event in done.events)


def agreed_world(*objects: Iterable[Object], **settings: Any) -> World:
    """A world whose first day, with these objects, was approved."""
    world = World(config=Config(**settings))
    world.scan(*objects)
    world.approve()
    return world
