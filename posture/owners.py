"""Who must act on a finding, exactly one, and the evidence for it.

In order: the organisation's rules (the last that matches wins), the delivery origin of the object to edit, the team
of its namespace, for a cluster-scoped object the one team that owns all its subjects' namespaces, else the platform.
A label on the object in question that names a team is never asked: the audited must not route the audit. Nor may a
delivery origin do that unseen: whoever writes the object can write any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple

from posture.delivery import Origin, origin
from posture.kinds import called
from posture.model import CLUSTER_SCOPE, Cause, Change, Key, Owner, Snapshot

_NAMESPACED = frozenset({"serviceaccount", "workload", "namespace"})
_SETTINGS = "pod-security.kubernetes.io/"
"""What begins the labels that set what a namespace admits: they name levels and versions, never teams."""
TEAM_LABELS = ("team", "owner", "a8r.io/owner", "dt.owner", "greenhouse.sap/owned-by", "app.kubernetes.io/part-of")
type Stakeholders = Callable[[Key], frozenset[str] | None]
"""The namespaces of all subjects of an object; None when one of them lives in no namespace."""


class Rule(NamedTuple):
    """One rule of owners.yaml. Patterns are shell-style; "" matches anything. `line` is where it stands."""

    owner: str
    domain: str = ""
    namespace: str = ""
    kind: str = ""
    name: str = ""
    subject: str = ""
    origin: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    tell: tuple[str, ...] = ()
    line: int = 0


class Asked(NamedTuple):
    """What ownership is asked for: a finding's subject and scope, and the object to edit."""

    domain: str
    subject: str
    scope: str
    key: Key | None


@dataclass(frozen=True, slots=True)
class Owners:
    """The organisation's rules, the labels that name a namespace's team, and what the platform is called."""

    rules: tuple[Rule, ...] = ()
    labels: tuple[str, ...] = TEAM_LABELS
    platform: str = "platform"

    def team(self, snapshot: Snapshot, namespace: str) -> tuple[str, str]:
        """A namespace's team and the label that says so; ("", "") when none does."""
        content = snapshot.get(Key("namespaces", "", namespace)) or {}
        for field in ("labels", "annotations"):
            found: Mapping[str, str] = content.get(field) or {}
            for key in self.labels:
                if found.get(key):
                    return found[key], f"{field[:-1]} {key} of namespace {namespace}"
        return "", ""

    def owner(self, snapshot: Snapshot, asked: Asked, stakeholders: Stakeholders) -> Owner:
        """The one owner, why, and who else is told."""
        content = (snapshot.get(asked.key) if asked.key else None) or {}
        namespace = _home(asked.key) if asked.key else "" if asked.scope == CLUSTER_SCOPE else asked.scope
        # Who delivers what belongs to the cluster itself is not for the object to say.
        source = origin(asked.key, content) if asked.key and not _of_platform(namespace) else None
        claimed = source is not None and source.namespace != namespace
        rule = self._rule(snapshot, asked, namespace, source)
        if rule is not None:
            name, why, unowned = rule.owner, f"rule in line {rule.line} of the owners file", False
            claimed = claimed and bool(rule.origin)
            why += f", for {source.name} (claimed by its own labels)" if claimed and source else ""
        else:
            name, why, unowned = self._evidence(snapshot, asked, namespace, source, stakeholders)
            claimed = claimed and why.startswith("delivered by")
        told = set(rule.tell if rule else ())
        if claimed:  # whoever may write the object could have named that origin
            told |= {self.platform, self.team(snapshot, namespace)[0]}
        kind, _, whole = asked.subject.partition(":")
        for place in (asked.scope, whole.partition("/")[0] if kind in _NAMESPACED else ""):
            told.add(self.team(snapshot, place)[0])
        return Owner(name, why, unowned, tuple(sorted(told - {"", name})))

    def _rule(self, snapshot: Snapshot, asked: Asked, namespace: str, source: Origin | None) -> Rule | None:
        """The last rule that matches."""
        content = snapshot.get(Key("namespaces", "", namespace)) or {}
        labels: Mapping[str, str] = content.get("labels") or {}
        _, kind, name = called(asked.key) if asked.key else ("", "", "")
        given = {
            "domain": asked.domain, "namespace": namespace, "kind": kind, "name": name,
            "subject": asked.subject, "origin": source.name if source else "",
        }  # fmt: skip
        for rule in reversed(self.rules):
            wanted = ((value, getattr(rule, field)) for field, value in given.items())
            if all(not pattern or fnmatchcase(value, pattern) for value, pattern in wanted) and all(
                fnmatchcase(labels.get(key, ""), pattern) and key in labels for key, pattern in rule.labels
            ):
                return rule
        return None

    def _evidence(
        self, snapshot: Snapshot, asked: Asked, namespace: str, source: Origin | None, stakeholders: Stakeholders
    ) -> tuple[str, str, bool]:
        if source and source.namespace:
            team, label = self.team(snapshot, source.namespace)
            if team:
                claimed = "" if source.namespace == namespace else " (claimed by its own labels)"
                return team, f"delivered by {source.name}{claimed}: {label}", False
        if namespace:
            team, label = self.team(snapshot, namespace)
            if team:
                return team, label, False
            if _of_platform(namespace):
                return self.platform, f"{namespace} is the platform's", False
            return self.platform, f"namespace {namespace} names no team", True
        places = stakeholders(asked.key) if asked.key else None
        teams = {self.team(snapshot, place)[0] for place in places or ()}
        if len(teams) == 1 and "" not in teams:
            return teams.pop(), "owns the namespaces of all its subjects", False
        what = asked.key.name if asked.key else "it"
        return self.platform, f"{what} is cluster-scoped and its subjects are no single team's", False


def _home(key: Key) -> str:
    """The namespace of an object; a namespace is in itself."""
    return key.name if key.resource == "namespaces" else key.namespace


def _of_platform(namespace: str) -> bool:
    return namespace == "default" or namespace.startswith("kube-")


def suggestions(snapshot: Snapshot) -> list[tuple[str, int, int]]:
    """Labels and annotations of namespaces that may name teams: (key, namespaces that have it, all), best first.

    A key counts when it is on at least two namespaces, repeats values, and is not the namespace's own name.
    """
    total = 0
    values: dict[str, list[str]] = {}
    for key, content in snapshot.objects("namespaces"):
        if key.name == "default" or key.name.startswith("kube-"):
            continue
        total += 1
        for field in ("labels", "annotations"):
            for name, value in (content.get(field) or {}).items():
                if value not in ("", key.name) and len(value) <= 63 and not name.startswith(_SETTINGS):
                    values.setdefault(name, []).append(value)
    found = [
        (name, len(given), total) for name, given in values.items() if len(given) >= 2 and len(set(given)) < len(given)
    ]
    return sorted(found, key=lambda row: (row[0] not in TEAM_LABELS, -row[1], row[0]))


def assigner(
    owners: Owners, snapshot: Snapshot, stakeholders: Stakeholders
) -> Callable[[Change, tuple[Cause, ...], Key | None], Owner]:
    """The function that findings are made with: a change, its causes and the object to edit → its owner."""
    memo: dict[Asked, Owner] = {}
    stakeholders = cache(stakeholders)

    def owner_of(change: Change, _: Iterable[Cause], edited: Key | None) -> Owner:
        asked = Asked(change.domain, change.subject, change.scope, edited)
        if asked not in memo:
            memo[asked] = owners.owner(snapshot, asked, stakeholders)
        return memo[asked]

    return owner_of
