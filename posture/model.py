"""The frozen records that all rooms share. Imports nothing of posture but the mapping that they share parts with.

Objects are plain JSON values (`Content`) that nobody mutates: the hot path has no class per object.
"""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import orjson

from posture.layer import Layer

type Content = Mapping[str, Any]
"""A projected object: the kept fields of a Kubernetes object, without its identity (resource, namespace, name)."""

type Unit = Mapping[str, Any]
"""One permission, connection or control in a domain's own JSON form; only the domain looks inside."""

type GapReason = Literal["forbidden", "failed", "truncated", "not collected", "not modelled", "extra missing"]
type Severity = Literal["critical", "high", "medium", "low", "info"]
type Direction = Literal["loosened", "tightened"]

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "info")
CLUSTER_SCOPE = "*"
"""The scope of what holds everywhere: every namespace of today and tomorrow, and the cluster-scoped resources."""

INCOMPLETE: frozenset[GapReason] = frozenset({"forbidden", "failed", "truncated"})
"""Gaps that stop a run from judging. The others say what posture does not look at, and never fail a run."""


class Version(NamedTuple):
    """A Kubernetes minor version."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `1.36`, `v1.36.3`, `1.36+` (as managed offerings spell it).

        Raises ValueError when the text is no version.
        """
        major, _, rest = text.removeprefix("v").partition(".")
        return cls(int(major), int(rest.split(".")[0].split("-")[0].rstrip("+")))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class Key(NamedTuple):
    """What names an object. `resource` is the GroupResource as Kubernetes prints it: `deployments.apps`."""

    resource: str
    namespace: str
    name: str


class Manager(NamedTuple):
    """A field manager as managedFields records it: a name chosen by the client, so a claim and not an identity."""

    name: str
    operation: str
    time: str
    fields: tuple[str, ...]


class Entry(NamedTuple):
    """What a snapshot knows of one object beside its content.

    `digest` is the blake2b hash of the projection, `managers` the JSON text of `[[name, operation, time, [field…]]…]`
    (kept as text: it is read only for the few objects that changed).
    """

    digest: bytes
    uid: str = ""
    created: str = ""
    resource_version: str = ""
    managers: str = "[]"


class Gap(NamedTuple):
    """What could not be read. Never means absent.

    `resource` "*" is every kind; `namespace` "" is all of them, "!a,b" all but these (no name has such characters).
    """

    resource: str
    namespace: str
    reason: GapReason
    message: str

    def touches(self, resource: str, namespace: str) -> bool:
        """Whether objects of this resource in this namespace ("" asks for the cluster-wide list) may be missing."""
        if self.resource not in ("*", resource):
            return False
        if self.namespace.startswith("!"):
            return namespace not in self.namespace[1:].split(",")
        return not self.namespace or not namespace or self.namespace == namespace

    def covers(self, other: Gap) -> bool:
        """Whether all that another gap may hide is hidden by this one."""
        if self.resource not in ("*", other.resource):
            return False
        if not self.namespace.startswith("!"):
            return self.namespace in ("", other.namespace)
        mine, theirs = (set(gap.namespace.removeprefix("!").split(",")) for gap in (self, other))
        return mine <= theirs if other.namespace.startswith("!") else "" not in theirs and not mine & theirs


class Through(NamedTuple):
    """What one would edit: the role reference, the policy, the exception, the annotated object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class Changed(NamedTuple):
    """One object before and after; None is absent."""

    key: Key
    old: Content | None
    new: Content | None


def canonical(content: Content) -> tuple[bytes, bytes]:
    """The digest (blake2b) and the canonical JSON of a projected object. Raises TypeError for what is no JSON."""
    body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(body, digest_size=16).digest(), body


type Index = Mapping[str, Mapping[tuple[str, str], Entry]]
"""{resource: {(namespace, name): entry}}"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The objects of one cluster at one moment, its gaps and the server's version.

    `contents` maps a digest to the projected object; a store reads it on demand, so that a snapshot holds the index
    of a cluster and never its objects. `assumed` says in words what was filled in rather than read, `settings` what
    is given beside the objects: what people say of the cluster, the time (`now`), who evaluates expressions (`cel`).
    """

    cluster: str
    index: Index
    contents: Mapping[bytes, Content]
    gaps: tuple[Gap, ...] = ()
    version: Version | None = None
    assumed: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)
    derived: dict[str, dict[Any, Any]] = field(default_factory=dict, compare=False, repr=False)

    def objects(self, resource: str) -> Iterator[tuple[Key, Content]]:
        """Every object of a resource, in the index's order."""
        for (namespace, name), entry in self.index.get(resource, {}).items():
            yield Key(resource, namespace, name), self.contents[entry.digest]

    def entry(self, key: Key) -> Entry | None:
        """What is known of an object beside its content; None when it is absent (or in a gap)."""
        return self.index.get(key.resource, {}).get((key.namespace, key.name))

    def get(self, key: Key) -> Content | None:
        """The content of an object; None when it is absent (or in a gap)."""
        entry = self.entry(key)
        return None if entry is None else self.contents[entry.digest]

    def gap(self, resource: str, namespace: str = "") -> Gap | None:
        """The first gap that may hide objects of this resource in this namespace."""
        return next((gap for gap in self.gaps if gap.touches(resource, namespace)), None)

    def replaced(self, objects: Iterable[tuple[Key, Content | None]]) -> Snapshot:
        """The snapshot with other contents for some objects; None takes one out. Costs what is replaced."""
        index: dict[str, Mapping[tuple[str, str], Entry]] = dict(self.index)
        if len(self.derived) < len(index):
            for resource in index:
                self.derived_from(resource)
        fresh: dict[str, Layer[tuple[str, str], Entry]] = {}
        extra: dict[bytes, Content] = {}
        for key, content in objects:
            if key.resource not in fresh:
                fresh[key.resource] = Layer(index.get(key.resource, {}))
            place, name = fresh[key.resource], (key.namespace, key.name)
            if content is not None:
                digest, _ = canonical(content)
                extra[digest] = content
                place[name] = (place.get(name) or Entry(digest))._replace(digest=digest)
            elif name in place:
                del place[name]
        derived = {resource: known for resource, known in self.derived.items() if resource not in fresh}
        contents: Mapping[bytes, Content] = ChainMap(extra, self.contents)  # type: ignore[arg-type]
        return replace(self, index=index | fresh, contents=contents, derived=derived)

    def updated(self, entries: Iterable[tuple[Key, Entry | None]]) -> Snapshot:
        """The snapshot with other entries, whose contents are where those of the others are; None takes one out."""
        fresh: dict[str, Layer[tuple[str, str], Entry]] = {}
        for key, entry in entries:
            if key.resource not in fresh:
                below = self.index.get(key.resource, {})
                fresh[key.resource] = below.fork() if isinstance(below, Layer) else Layer(below)
            place, name = fresh[key.resource], (key.namespace, key.name)
            if entry is not None:
                place[name] = entry
            elif name in place:
                del place[name]
        derived = {resource: known for resource, known in self.derived.items() if resource not in fresh}
        return replace(self, index={**self.index, **fresh}, derived=derived)

    def derived_from(self, resource: str) -> dict[Any, Any]:
        """A place to keep what was worked out from the objects of one resource; shared where these are the same."""
        return self.derived.setdefault(resource, {})

    @property
    def digest(self) -> str:
        """A hash over everything that is judged: objects, gaps and version. Equal snapshots hash alike."""
        hasher = hashlib.blake2b(
            repr((self.version, sorted(self.gaps))).encode("utf-8", "surrogatepass"), digest_size=16
        )
        for resource in sorted(self.index):
            for name, entry in sorted(self.index[resource].items()):
                hasher.update(repr((resource, name)).encode("utf-8", "surrogatepass"))
                hasher.update(entry.digest)
        return hasher.hexdigest()


def differences(old: Index, new: Index, resources: Iterable[str]) -> Iterator[tuple[Key, Entry | None, Entry | None]]:
    """The objects whose content differs between two indexes, with both entries; None is absent."""
    for resource in resources:
        before, after = old.get(resource, {}), new.get(resource, {})
        if before is after:
            continue
        for name, entry in after.items():
            was = before.get(name)
            if was is not entry and (was is None or was.digest != entry.digest):
                yield Key(resource, *name), was, entry
        for name, was in before.items():
            if name not in after:
                yield Key(resource, *name), was, None


class Audited(NamedTuple):
    """A request that wrote an object, as the API server's audit log has it: who it was, and not who it claims to be.

    `acting_as` is the impersonated user; `address` where it came from, `agent` what the client calls itself,
    `request` the verb and the URL's path, `identity` the audit ID, `time` when it came (RFC 3339).
    """

    user: str
    acting_as: str = ""
    address: str = ""
    agent: str = ""
    request: str = ""
    identity: str = ""
    time: str = ""

    def __str__(self) -> str:
        """Who it was, for people: `alice@example.com as root from 10.1.2.3`."""
        acting, address = self.acting_as and f" as {self.acting_as}", self.address and f" from {self.address}"
        return f"{self.user or 'nobody'}{acting}{address}"


class Cause(NamedTuple):
    """The object change that made a finding, and who made it.

    `what` is created, changed, deleted or "server version"; `actor` the field manager's name (claimed), "" when
    nothing says who; `time` when, RFC 3339. `audited` is the request, where an audit log tells it; `origin` who
    delivers the object (`flux:apps/web`), `out_of_band` that somebody else changed it.
    """

    key: Key
    what: str
    actor: str = ""
    time: str = ""
    audited: Audited | None = None
    origin: str = ""
    out_of_band: bool = False


class Edit(NamedTuple):
    """One object to edit. `new` None deletes it; otherwise it is the whole projected content wanted.

    `absent` are the paths, below the projected content, of what the object holds now and must not hold then. `patch`
    is the strategic merge patch that makes it of an object which is not kept whole: a workload.
    """

    key: Key
    new: Content | None
    absent: tuple[tuple[str, ...], ...] = ()
    patch: Content | None = None


@dataclass(frozen=True, slots=True)
class Fix:
    """The smallest change back, applied in memory and evaluated again: the finding gone and nothing else opened.

    `breaks` says, one sentence each, what else would no longer be possible; `stays` who reaches a target of the
    finding's paths all the same, by another way.
    """

    text: str
    edits: tuple[Edit, ...]
    breaks: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A difference of what is possible, for one subject at one scope through one thing.

    A loosening carries what was gained, a tightening what was lost. `effective` False is latent: nobody can use it
    yet; nothing was tightened in return for an `uncompensated` one. `path` is the way there for people ("RoleBinding
    pay/debug", "ClusterRole view-all"), `evidence` the objects on it, the first the ones that most likely changed.
    """

    domain: str
    direction: Direction
    subject: str
    scope: str
    through: Through
    gained: tuple[Unit, ...] = ()
    lost: tuple[Unit, ...] = ()
    effective: bool = True
    path: tuple[str, ...] = ()
    evidence: tuple[Key, ...] = ()
    uncompensated: bool = False

    @property
    def where(self) -> tuple[str, str, Through]:
        """What identifies the change within its domain."""
        return self.subject, self.scope, self.through

    def mirrored(self) -> Change:
        """The same difference seen from the other side."""
        direction: Direction = "tightened" if self.direction == "loosened" else "loosened"
        return Change(
            self.domain,
            direction,
            self.subject,
            self.scope,
            self.through,
            self.lost,
            self.gained,
            self.effective,
            self.path,
            self.evidence,
        )


class Note(NamedTuple):
    """Something worth knowing that is no drift: equal effect through another object, lost redundancy, inert parts."""

    domain: str
    kind: str
    subject: str
    scope: str
    message: str


class Unknown(NamedTuple):
    """A difference that cannot be judged because a gap hides part of it."""

    domain: str
    subject: str
    scope: str
    through: Through
    gap: Gap


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` returns: three-valued, so `unknown` stands beside the changes."""

    changes: tuple[Change, ...]
    notes: tuple[Note, ...] = ()
    unknown: tuple[Unknown, ...] = ()


class Hit(NamedTuple):
    """Where a check holds: a subject at a scope through one thing."""

    check: str
    subject: str
    scope: str
    through: Through


@dataclass(frozen=True, slots=True)
class Check:
    """A rule about what is possible, as a file in `checks/` says it.

    `match` is the domain's own language (checks/check.schema.json); `can` says what a subject can do where the check
    holds, with `{where}` for the scope.
    """

    id: str
    domain: str
    title: str
    can: str
    severity: Severity
    match: Mapping[str, Any]
    why: str
    remedy: str
    references: tuple[str, ...] = ()
    since: Version | None = None
    until: Version | None = None

    def applies(self, version: Version | None) -> bool:
        """Whether the check is meant for a server of this version; None is the newest."""
        if version is None:
            return self.until is None
        return (self.since is None or version >= self.since) and (self.until is None or version <= self.until)


class Reason(NamedTuple):
    """A check that holds because of what was gained, with the severity that it gives here."""

    check: str
    severity: Severity
    title: str


class Step(NamedTuple):
    """One step of a path in words; if a change made it, the fingerprint of its finding and who must act on that."""

    text: str
    finding: str = ""
    owner: str = ""


class AttackPath(NamedTuple):
    """How somebody comes to hold a target, step by step. `others` are more sources that do so by the same change."""

    source: str
    target: str
    steps: tuple[Step, ...]
    others: int = 0

    @property
    def reach(self) -> str:
        """What kind of source reaches what: which workload it is, or which account, may be another one tomorrow."""
        kind, colon, name = self.source.partition(":")
        return f"{self.source if not colon or name.startswith('system:') else kind} → {self.target}"


REACH = "attackPath"
"""The key of a unit that says of a decision which paths it covers."""


class Owner(NamedTuple):
    """Who must act, why, and who else is told. `unowned` marks the platform's bucket of what no rule claims."""

    name: str
    why: str
    unowned: bool = False
    told: tuple[str, ...] = ()


type Action = Literal["acknowledged", "accepted", "false positive", "assigned", "reopened", "agreed"]


class Decision(NamedTuple):
    """What a person decided about a finding. It covers exactly the units that were recorded with it."""

    action: Action
    by: str
    time: str
    reason: str = ""
    until: str = ""
    covers: tuple[Unit, ...] = ()


type Presence = Literal["present", "absent", "unknown"]
type Mark = Literal["", "new", "widened", "regressed", "transient"]
type Status = Literal["open", "acknowledged", "accepted", "false positive", "agreed", "unknown", "resolved"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One subject, at one scope, through one thing: what became possible, why, whose it is, and what was decided.

    Identity is (cluster, fingerprint); everything else is content. Times are RFC 3339. `exceeded` says that more was
    gained than the decision covers; `no_fix` why there is none. `paths` are those that it made possible.
    """

    cluster: str
    fingerprint: str
    domain: str
    subject: str
    scope: str
    through: Through
    severity: Severity
    effective: bool
    reasons: tuple[Reason, ...]
    gained: tuple[Unit, ...]
    headline: str
    path: tuple[str, ...]
    causes: tuple[Cause, ...]
    fix: Fix | None
    no_fix: str
    owner: Owner
    opened: str
    changed: str
    presence: Presence = "present"
    mark: Mark = "new"
    resolved: str = ""
    agreed: bool = False
    decision: Decision | None = None
    exceeded: bool = False
    assignee: str = ""
    paths: tuple[AttackPath, ...] = ()

    @property
    def message(self) -> str:
        """What became possible, and the way there, in one sentence."""
        return f"{self.headline}, through {' → '.join(self.path)}"

    @property
    def recorded(self) -> tuple[Unit, ...]:
        """What a decision about it covers: what was gained, and which kinds of sources reach which targets by it."""
        reached = dict.fromkeys(path.reach for path in self.paths)
        return (*self.gained, *({REACH: text} for text in sorted(reached)))

    @property
    def rule(self) -> str:
        """The leading check's id; "" when none matched."""
        return self.reasons[0].check if self.reasons else ""

    @property
    def group(self) -> str:
        """The id of the group: one domain, one leading rule, one kind and name of `through`, in any namespace."""
        return fingerprint(self.domain, self.rule, self.through.kind, self.through.name)[:12]

    @property
    def whose(self) -> str:
        """Who must act: whom it was assigned to, else its owner."""
        return self.assignee or self.owner.name

    def status(self, now: str) -> Status:
        """Derived from presence and decision; `now` is RFC 3339 in UTC, as all stored times are."""
        decision = self.decision
        action, until = (decision.action, decision.until) if decision else ("", "")
        return status_of(self.presence, action, until, now, agreed=self.agreed, exceeded=self.exceeded)


def status_of(presence: str, action: str, until: str, now: str, *, agreed: bool, exceeded: bool) -> Status:
    """A finding's status. A decision counts while it has not run out and covers all that was gained."""
    if presence == "absent":
        return "resolved"
    if agreed:
        return "agreed"
    if presence == "unknown":
        return "unknown"
    if exceeded or (until and until <= now):
        return "open"
    return action if action in ("acknowledged", "accepted", "false positive") else "open"  # type: ignore[return-value]


def fingerprint(*parts: str) -> str:
    """A hash over names: 20 hexadecimal digits."""
    text = (
        orjson.dumps(parts) if all(part.isascii() for part in parts) else repr(parts).encode("utf-8", "surrogatepass")
    )
    return hashlib.blake2b(text, digest_size=10).hexdigest()
