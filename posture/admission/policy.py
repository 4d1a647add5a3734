"""What engines are asked and what they answer: their policies, and what takes a subject out of these.

An engine is a module that satisfies `Engine`; `evaluate.ENGINES` lists them. Enforcement and exceptions are worked out
once above all of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from posture.model import Changed, Gap, Key, Snapshot, Through

from .cel import Evaluator
from .requests import NAME_LABEL, Object, Request

NONE: frozenset[int] = frozenset()


class Space(NamedTuple):
    """A namespace as requests are made in it. `name` is "" for one that may come, without labels of its own."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def of(cls, name: str, content: Mapping[str, Any] | None) -> Space:
        """A namespace as it was kept; None where only its name is known."""
        content = content or {}
        return cls(name, {NAME_LABEL: name, **(content.get("labels") or {})}, content.get("annotations") or {})

    @property
    def object(self) -> Object:
        """The namespace, as far as it was kept."""
        metadata: dict[str, Any] = {"name": self.name, "labels": self.labels}
        if self.annotations:
            metadata["annotations"] = self.annotations
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "status": {"phase": "Active"}}


class Verdict(NamedTuple):
    """Whether a policy refuses a request; None with why nobody can say.

    `excused` are the exemptions (by number) that took the request out: empty where none had to.
    """

    refuses: bool | None
    why: str = ""
    excused: frozenset[int] = NONE


ADMITS, REFUSES = Verdict(False), Verdict(True)


class Shape(NamedTuple):
    """What a request has to be like for an exemption to take it out, beside its namespace: an example of it.

    Labels and annotations are set beside what is there, None takes one away; `image` is that of every container.
    Nothing at all is any request.
    """

    name: str = ""
    labels: tuple[tuple[str, str | None], ...] = ()
    annotations: tuple[tuple[str, str | None], ...] = ()
    image: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()


ANY = Shape()


@dataclass(frozen=True, eq=False)
class Exemption:
    """One way by which something is taken out of a policy: an exception, as the register calls it.

    `through` is what one edits and its identity, the same in all policies that it takes something out of; `keys` are
    the objects that say it, the first the one to edit. `idle` says why it takes nothing out as it stands (expired,
    misplaced, switched off). `labels` are the labels by which whoever makes an object takes it out himself.
    `given` is what the object itself says of it, under the names owner, reason, ticket, approved, expires (RFC 3339).
    """

    through: Through
    keys: tuple[Key, ...]
    what: str
    """After a verb: `excludes namespaces with the label skip`."""
    removal: tuple[Changed, ...] = ()
    """The edits that take it away; none where it is no object of the cluster."""
    idle: str = ""
    expired: bool = False
    labels: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    local: bool = False
    """Whether it is a part of the namespace itself: one exemption stands for those of all namespaces that have it."""
    shape: Shape | None = ANY
    """An example of what it takes out; None where nobody can give one."""
    built_in: bool = False
    """Whether it is the engine's own: nobody gave it, and nobody can take it away."""

    def through_in(self, namespace: str) -> Through:
        """What one edits, for a namespace."""
        return self.through._replace(namespace=namespace) if self.local else self.through


@dataclass(frozen=True, eq=False)
class Policy:
    """One rule that can refuse a request, with all that takes something out of it.

    Without its exemptions it asks the same of everybody that it is meant for. `denies` False only warns or writes down;
    `up` is whether something answers (None: nobody can say), `open` whether what is not answered is admitted. `opaque`
    says why nobody can say what it refuses. `content` stands for all that decides what it refuses, but for where, its
    action and its exemptions. `rule` is the engine's own.
    """

    engine: str
    through: Through
    keys: tuple[Key, ...]
    rule: Any = None
    content: Hashable = None
    denies: bool = True
    up: bool | None = True
    open: bool = False
    why: str = ""
    """Why it is not up, or why nobody can say."""
    opaque: str = ""
    exemptions: tuple[Exemption, ...] = ()
    users: bool = False
    """Whether it matters who asks."""
    always: bool = False
    """Whether it refuses each request that it is meant for, whatever that holds."""
    fails: bool = False
    """Whether expressions of its exemptions may have an error, and that refuses what violates nothing."""
    local: bool = False
    """Whether what one edits is the namespace, not an object of the cluster."""
    names: bool = True
    """Whether it may matter, also to its exemptions, what a pod is called."""
    root: object = field(default_factory=object, repr=False)
    """What a policy has in common with those that it was before exemptions of other objects came or went."""
    rows: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What it answered to test requests: a memory of `enforcement`."""

    def through_in(self, namespace: str) -> Through:
        """What one edits, for a namespace."""
        return self.through._replace(namespace=namespace) if self.local else self.through

    @cached_property
    def enforces(self) -> bool | None:
        """Whether what it refuses is refused now: it is up, or what it cannot answer is refused."""
        if not self.denies:
            return False
        return True if not self.open else self.up


class Variant(NamedTuple):
    """What a policy is in one namespace: in namespaces of equal variants it answers alike.

    `exemptions` are those (by number) that may take something out there; `within` is what of the namespace matters to
    them alone. `why` says why nobody knows whether it applies there.
    """

    mark: Hashable = None
    exemptions: frozenset[int] = NONE
    why: str = ""
    within: Hashable = None


class Asked(NamedTuple):
    """A policy, a request, and which of the policy's exemptions count."""

    policy: Policy
    request: Request
    exemptions: frozenset[int] = NONE


class Engine(Protocol):
    """What can refuse a request at admission. Every function is pure."""

    NAME: str
    READS: tuple[str, ...]
    """The kinds that decide, beside namespaces. One that the cluster does not serve costs nothing."""

    def policies(self, snapshot: Snapshot) -> Iterable[Policy]:
        """Its policies, in the order of their names, also those that only warn. `snapshot.settings` holds what people
        say of the cluster, and `now` (RFC 3339).
        """

    def variant(self, policy: Policy, space: Space) -> Variant | None:
        """What one of its policies is in a namespace; None where it is not meant for that at all."""

    def judged(self, asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
        """For each question, in order, whether the policy refuses the request, whatever its action is and whether or
        not it is up. Called once for many, since expressions are evaluated by another process.
        """

    def gaps(self, snapshot: Snapshot) -> Iterable[Gap]:
        """What was read and cannot be evaluated, a row for each kind of reason."""

    def strays(self, snapshot: Snapshot) -> Iterable[Exemption]:
        """Exceptions of which no policy knows, each with why in `idle`."""
