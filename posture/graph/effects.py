"""What follows from an escalation: the nodes that its effect names, in a scope and for some names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from posture.admission.enforcement import Profile, bits
from posture.admission.evaluate import Admission, like, place_of
from posture.admission.explain import decided
from posture.admission.policy import Space
from posture.admission.requests import NAMESPACES, Request
from posture.admission.violations import NEW, VIOLATIONS
from posture.model import CLUSTER_SCOPE, Key, Through
from posture.rbac import subjects
from posture.rbac.evaluate import (
    CLUSTER_ROLE_BINDINGS,
    ROLE_BINDINGS,
    grant_of,
)

from .catalogue import IN_NEW, REFERS, UNLABELLED, Escalation
from .inventory import ANY, LATENT, Inventory
from .nodes import (
    ACCOUNT,
    CLUSTER_ADMIN,
    ENGINE,
    EVERY_NODE,
    NAMESPACE_ADMIN,
    NODE,
    STRUCTURE,
    WORKLOAD,
    Fact,
    can,
    rewrite,
    role,
)

POD_SECURITY = "podsecurity"


class Effects:
    """The heads of edges: what an effect means in a scope."""

    def __init__(self, inventory: Inventory) -> None:
        self.of = inventory

    def heads(self, effect: Mapping[str, Any], scope: str, names: Mapping[str, str]) -> Iterator[str]:
        """The nodes; `names` are what variables are limited to, "" or missing is anything."""
        for pattern in effect.get("become", ()):
            yield from self._identities(pattern, scope, names)
        for target in effect.get("reach", ()):
            yield _target(target, scope)
        for pattern in effect.get("switchOff", ()):
            yield from (f"{ENGINE}{name}" for name in self.of.engines if fnmatchcase(name, pattern))
        if "grantRulesOf" in effect:
            yield from self._roles(effect["grantRulesOf"], scope, names)
        for word in ("rewrite", "make"):
            if word in effect:
                yield from self._rewritten(word, effect[word], scope, names)
        if isinstance(effect.get("ability"), str):
            yield can(effect["ability"], scope)

    def _rewritten(self, word: str, pattern: str, scope: str, names: Mapping[str, str]) -> Iterator[str]:
        """A role that exists is rewritten, one that does not is made; in a gap nobody knows, and it may exist."""
        kind, _, variable = pattern.partition("/")
        place = scope if kind == "Role" else CLUSTER_SCOPE
        name = names.get(variable)
        if name is None:
            yield rewrite(kind, ANY if word == "rewrite" else LATENT, place)
        elif self.of.exists(Through(kind, "" if place == CLUSTER_SCOPE else place, name)) == (word == "rewrite"):
            yield rewrite(kind, name, place)

    def referring(
        self, escalation: Escalation, scope: str, names: Mapping[str, str]
    ) -> Iterator[tuple[str, frozenset[Fact]]]:
        """The roles that bindings which may be changed refer to, granted in a scope, each with what says so: to whom
        these bindings grant it.
        """
        by, _, binding = escalation.where[REFERS].partition("/")
        kind, _, variable = escalation.effect["grantRulesOf"].partition("/")
        resource = ROLE_BINDINGS if by == "RoleBinding" else CLUSTER_ROLE_BINDINGS
        namespace = "" if scope == CLUSTER_SCOPE else scope
        found: dict[Through, set[Fact]] = {}
        for name in self.of.bindings(resource, namespace):
            key = Key(resource, namespace, name)
            grant = grant_of(key, self.of.snapshot.get(key) or {}) if names.get(binding, name) == name else None
            if grant and grant.through.kind == kind and names.get(variable, grant.through.name) == grant.through.name:
                facts = {Fact("rbac", subject, scope, grant.through) for subject in grant.subjects}
                none = Fact(STRUCTURE, f"{kind.lower()}:{grant.through.name}", scope, Through(by, namespace, name))
                found.setdefault(grant.through, set()).update(facts or {none})
        for through, facts in found.items():
            yield role(through, scope), frozenset(facts)

    def _identities(self, pattern: str, scope: str, names: Mapping[str, str]) -> Iterator[str]:
        kind, _, text = pattern.partition(":")
        if kind == "workload-on":
            yield from self.of.on_machine(names[text]) if names.get(text) else (f"{WORKLOAD}*/*",)
            return
        if kind in ("user", "group"):
            name = _filled(text, names)
            if name == subjects.MASTERS and text.startswith("$"):
                return  # constrained impersonation refuses it by name too; who does reach it says so
            if kind == "user" and subjects.of_user(name).startswith(ACCOUNT):
                return  # impersonation asks for such a name as a ServiceAccount
            yield f"{kind}:{name}"
            return
        namespace, _, name = text.partition("/")
        if namespace == "$new":
            yield from (f"{ACCOUNT}{place}/{name}" for place in self.of.awaited)
            return
        namespace = scope if namespace == "$ns" else namespace
        limit = names.get(name) if name.startswith("$") else None
        name = _filled(name, names)
        if text.endswith("$workload"):
            yield from self._controller(namespace, name)
        elif name == ANY:
            yield f"{kind}:{namespace}/{ANY}"
        elif kind == "workload":
            yield from self._workload(namespace, name)
        else:
            for place in self.of.namespaces if namespace == CLUSTER_SCOPE else (namespace,):
                there = self.of.accounts.get(place, ())
                if kind == "absent":
                    valid = subjects.of_user(f"system:serviceaccount:{place}:{name}").startswith(ACCOUNT)
                    found = [name] if valid and name not in there else []
                elif limit:  # a name that rules are limited to is no pattern
                    found = [one for one in there if one == name]
                else:
                    running = self._running(place, name)
                    found = [one for one in there if fnmatchcase(one, name) or one in running]
                yield from (f"{ACCOUNT}{place}/{one}" for one in found)

    def _running(self, namespace: str, pattern: str) -> Collection[str]:
        """The names of the ServiceAccounts as which workloads of some name run: whoever installs a controller may give
        it any.
        """
        mine = (
            runs.accounts for name, runs in self.of.runs(namespace).items()
            if fnmatchcase(name.removeprefix(f"{WORKLOAD}{namespace}/").partition("[")[0], pattern)
        )  # fmt: skip
        return frozenset().union(*mine)

    def _controller(self, namespace: str, name: str) -> Iterator[str]:
        """The workloads whose controllers have a name; pods of their own have none."""
        spaces = self.of.network.spaces
        for place in spaces if namespace == CLUSTER_SCOPE else (namespace,):
            there = spaces[place].classes if place in spaces else ()
            yield from dict.fromkeys(
                one.workload for one in there
                if not one.workload.endswith("[Pod]")
                and (name == ANY or one.workload.startswith(f"workload:{place}/{name}["))
            )  # fmt: skip

    def _workload(self, namespace: str, pod: str) -> Iterator[str]:
        """The workload that a pod belongs to; none for a pod that is not there."""
        spaces = self.of.network.spaces
        for place in spaces if namespace == CLUSTER_SCOPE else (namespace,):
            found = spaces[place].pods.get(pod) if place in spaces else None
            if found is not None and found.endpoint is not None:
                yield found.endpoint.workload

    def _roles(self, pattern: str, scope: str, names: Mapping[str, str]) -> Iterator[str]:
        kind, _, name = pattern.partition("/")
        name = _filled(name, names)
        if name != ANY:
            yield role(Through(kind, "", name), scope)
        elif kind == "ClusterRole":
            yield CLUSTER_ADMIN if scope == CLUSTER_SCOPE else f"{NAMESPACE_ADMIN}{scope}"
        else:
            yield from (role(Through(kind, scope, one), scope) for one in (ANY, *self.of.roles.get(scope, ())))


def by_namespace(escalation: Escalation) -> bool:
    """Whether what is met cluster-wide follows in each namespace by itself: a RoleBinding grants nothing beyond one,
    and a Role belongs to one.
    """
    effect = escalation.effect
    named = "grantRulesOf" in effect or any(str(effect.get(one, "")).startswith("Role/") for one in ("rewrite", "make"))
    return named and not any(one.get("scope") == "cluster" for one in escalation.requests)


def _filled(text: str, names: Mapping[str, str]) -> str:
    """A pattern with its variable filled in; what a variable is not limited to is anything."""
    return (names.get(text) or ANY) if text.startswith("$") else text


def _target(target: str, scope: str) -> str:
    if target == NODE:
        return EVERY_NODE  # whoever makes a pod says on which node
    found = target.replace("$ns", scope)
    return "secrets" if found == f"secrets/{CLUSTER_SCOPE}" else found


# What a permission cannot say ---------------------------------------------------------------------------------------


class Admitted(NamedTuple):
    """Violations, by their numbers, that are admitted in a namespace, and those of which nobody can say."""

    sure: int
    unknown: int


def violations(patterns: Iterable[str]) -> int:
    """The violations of which the control or the id is one of some shell-style patterns, as a set of bits."""
    wanted = [*patterns]
    return sum(
        1 << number for number, one in enumerate(VIOLATIONS)
        if any(fnmatchcase(one.control, pattern) or fnmatchcase(one.id, pattern) for pattern in wanted)
    )  # fmt: skip


def admitted(admission: Admission, word: str, namespace: str, wanted: int, without: str = "") -> Admitted:
    """Which of some violations are admitted in a namespace, as a predicate means it: `admits` as it is there,
    `admitsUnlabelled` if it had no Pod Security labels, `admitsInNewNamespace` in one that may come (for which the
    scope is `*`). `without` is an engine that refuses nothing any more.
    """
    if word == IN_NEW:
        profile = _in_new(admission, without) if namespace == CLUSTER_SCOPE else None
    else:
        space = admission.spaces.get(namespace)
        profile = space.profile if space else None
    if profile is None:
        return Admitted(0, wanted)
    off = {without, POD_SECURITY if word == UNLABELLED else ""} - {""}
    if off:
        profile = _without(profile, frozenset(off))
    return Admitted(wanted & ~profile.refused & ~profile.unknown, wanted & profile.unknown)


def _without(profile: Profile, engines: frozenset[str]) -> Profile:
    """What is refused without some engines."""
    known: dict[frozenset[str], Profile] = profile.__dict__.setdefault("_without_engines", {})
    if engines not in known:
        parts = tuple(part for part in profile.parts if part.policy.engine not in engines)
        known[engines] = Profile(parts, profile.asked)
    return known[engines]


def subject_of(scope: str) -> str:
    """Of whom admission speaks in a scope."""
    return place_of("" if scope == CLUSTER_SCOPE else scope)[0]


def may_come(admission: Admission, without: str = "") -> bool:
    """Whether a namespace without labels may be created, for all that is known; `without` is an engine switched off."""
    return _in_new(admission, without) is not None


def _in_new(admission: Admission, without: str) -> Profile | None:
    """What is refused in a namespace that may come, without labels; None where none can be created so, for sure."""
    known: dict[str, Profile | None] = admission.__dict__.setdefault("_in_new_namespace", {})
    if without not in known:
        space = Space.of(NEW, None)
        others = tuple(policy for policy in admission.policies if policy.engine != without)
        request = Request("CREATE", NAMESPACES, "", NEW, NEW, space.object)
        answer = decided(replace(admission, policies=others), space, request)
        known[without] = like(admission, space) if answer.allowed else None
    return known[without]


def named(mask: int) -> str:
    """The first violation of a set."""
    return VIOLATIONS[next(bits(mask))].id
