"""Escalations: the edges of the graph that are data (`checks/escalations/*.yaml`), compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from posture.model import Version
from posture.rbac.match import Tree, compiled

from .crossing import WORKLOAD_KINDS

ADMITS, UNLABELLED, IN_NEW = "admits", "admitsUnlabelled", "admitsInNewNamespace"
PODS = "admitsPods"
IN_COMING = "newNamespace"
ADMITTING = frozenset({ADMITS, UNLABELLED, IN_NEW})
"""The predicates that admission decides."""
METADATA, REFERS, STDIN, EXCEPTIONS = "reachesMetadata", "refers", "stdin", "exceptions"
NAMESPACE = "$ns"
THERE = "$there:"
"""How a variable begins that stands for the name of an object of a kind, which has to be there."""
LOCAL = frozenset({ADMITS, UNLABELLED, METADATA, STDIN, EXCEPTIONS})
"""The predicates that each namespace decides for itself."""


@dataclass(frozen=True, eq=False)
class Escalation:
    """One edge of the graph, as its file says it (checks/escalation.schema.json).

    Each of `requests` is met by one identity, several by several in the same namespace; `uses` are other escalations
    that have to hold there too, `holds` targets that have to be held. `where` says what a permission cannot say,
    `effect` what follows.
    """

    id: str
    title: str
    requests: tuple[Mapping[str, Any], ...]
    uses: tuple[str, ...]
    holds: tuple[str, ...]
    where: Mapping[str, Any]
    effect: Mapping[str, Any]
    why: str
    remedy: str
    references: tuple[str, ...] = ()
    since: Version | None = None
    until: Version | None = None
    unproven: str = ""

    @property
    def single(self) -> bool:
        """Whether one identity meets it, and nothing else has to hold."""
        return len(self.requests) == 1 and not self.uses and not self.holds

    @property
    def is_admitted(self) -> bool:
        """Whether admission has a say."""
        return not ADMITTING.isdisjoint(self.where)

    @cached_property
    def trees(self) -> tuple[Tree, ...]:
        """The permissions of each request, compiled."""
        return tuple(compiled(_of_those_there(request)) for request in self.requests)

    @cached_property
    def variables(self) -> frozenset[str]:
        """What the names are that it leads to by itself."""
        effect = self.effect
        named = (effect.get(word, "") for word in ("grantRulesOf", "rewrite", "make"))
        texts = (*effect.get("become", ()), *named, self.where.get(REFERS, "")) if self.single else ()
        return frozenset(part for text in texts for part in (text.rpartition("/")[2], text.partition(":")[2])
                         if part.startswith("$") and part != NAMESPACE)  # fmt: skip

    def tells_apart(self, variable: str) -> bool:
        """Whether what follows is not the same for every name that a variable stands for."""
        return variable in self.variables or variable == NAMESPACE or variable.startswith(THERE)

    def applies(self, version: Version | None) -> bool:
        """Whether it holds for a server of this version; None is the newest."""
        if version is None:
            return self.until is None
        return (self.since is None or version >= self.since) and (self.until is None or version <= self.until)


def _of_those_there(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tree of permissions in which those for objects that have to be there, limited to names or not, keep the names:
    of pods and what makes them a snapshot says which there are, and a request for another one is answered with 404.
    """
    for word in ("all", "any"):
        if word in tree:
            return {**tree, word: [_of_those_there(one) for one in tree[word]]}
    kinds = [
        (resource, base if not api_group else f"{base}.{api_group}")
        for api_group in tree["apiGroups"] for resource in tree["resources"] for base in [resource.partition("/")[0]]
    ]  # fmt: skip
    if tree.get("names") != "some" or "create" in tree["verbs"] or not {kind for _, kind in kinds} <= {*WORKLOAD_KINDS}:
        return tree
    kept = {field: value for field, value in tree.items() if field != "names"}
    return {"any": [{**kept, "resources": [one], "resourceNames": [f"{THERE}{kind}"]} for one, kind in kinds]}


def escalation_of(given: Mapping[str, Any]) -> Escalation:
    """An escalation as its file says it; the value has been held against the schema."""
    versions = given.get("versions") or {}
    since, until = (Version.parse(versions[end]) if end in versions else None for end in ("since", "until"))
    return Escalation(
        given["id"], given["title"], tuple(given.get("requests", ())), tuple(given.get("uses", ())),
        tuple(given.get("holds", ())), given.get("where") or {}, given["effect"],
        " ".join(given["why"].split()), " ".join(given["remedy"].split()),
        tuple(given.get("references", ())), since, until, " ".join(given.get("unproven", "").split()),
    )  # fmt: skip


def unknown_uses(escalations: Sequence[Escalation]) -> Iterable[tuple[str, str]]:
    """What escalations use and is not there: (id, what it uses)."""
    known = {one.id for one in escalations}
    for one in escalations:
        given = one.effect.get("ability")
        used = (*one.uses, given) if isinstance(given, str) else one.uses
        yield from ((one.id, name) for name in used if name not in known)
