"""Questions: may this user do that, by which binding; and who may do it at all.

`answer` answers as a SubjectAccessReview does (plugin/pkg/auth/authorizer/rbac/rbac.go) and adds `inert` where no
real request can use the grant. What the chain has before RBAC: members of `system:masters` are always allowed; nodes
are the Node authorizer's business and unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posture.kinds import RBAC
from posture.model import CLUSTER_SCOPE, Gap, Key, Through

from . import subjects
from .compare import doubt, named
from .evaluate import Access, asked_inside, key_of
from .rules import RuleSet, allows, allows_url, parse


@dataclass(frozen=True, slots=True)
class Question:
    """One access question, in SubjectAccessReview's words. `path` makes it one for a URL that is no resource."""

    user: str = ""
    groups: tuple[str, ...] = ()
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Question:
        """Read a line of `explain access --batch`. Raises ValueError that says which key is wrong."""
        known = {"user", "groups", "verb", "apiGroup", "resource", "subresource", "namespace", "name", "path"}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
        groups = given.get("groups")
        if groups is not None and not (isinstance(groups, list) and all(isinstance(g, str) for g in groups)):
            raise ValueError("groups is not a list of strings")
        for key in known - {"groups"}:
            if not isinstance(given.get(key), str | None):
                raise ValueError(f"{key} is not a string")  # noqa: TRY004 - one error for a line that is wrong
        if not given.get("verb"):
            raise ValueError("verb is missing")
        if bool(given.get("path")) == bool(given.get("resource")):
            raise ValueError("one of resource and path is needed")
        user = given.get("user") or ""
        if not user and not groups:
            raise ValueError("user is missing")
        return cls(
            user, tuple(subjects.groups_of(user) if groups is None else groups), given["verb"],
            given.get("apiGroup") or "", given.get("resource") or "", given.get("subresource") or "",
            given.get("namespace") or "", given.get("name") or "", given.get("path") or "",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """`allowed` None is unknown, with the gap (or the authorizer) that hides it; `by` are the grants that allow."""

    allowed: bool | None
    by: tuple[Mapping[str, Any], ...]
    inert: bool = False
    why: str = ""


def _allowed(held: RuleSet, question: Question) -> bool:
    if question.path:
        return any(allows_url(rule, question.verb, question.path) for rule in held.urls)
    return any(
        allows(rule, question.verb, question.group, question.resource, question.subresource, question.name)
        for rule in held.resources
    )


def _effective(access: Access, scope: str, question: Question) -> bool:
    """Whether a request can make use of a grant at this scope."""
    return scope == CLUSTER_SCOPE or asked_inside(
        access.snapshot, scope, question.verb, question.group, question.resource, question.subresource, question.name
    )


def _rule(access: Access, through: Through, question: Question) -> int:
    """The index, in the role as it is stored, of the first rule that allows."""
    content = access.snapshot.get(key_of(through)) or {}
    return next((i for i, rule in enumerate(content.get("rules") or ()) if _allowed(parse([rule]), question)), 0)


def _holders(question: Question) -> list[str]:
    return [
        *([subjects.of_user(question.user)] if question.user else ()),
        *(subjects.GROUP + g for g in question.groups),
    ]


def _scopes(question: Question) -> tuple[str, ...]:
    # A request for a URL carries no namespace, so only ClusterRoleBindings are looked at.
    inside = question.namespace and not question.path and question.namespace != CLUSTER_SCOPE
    return (CLUSTER_SCOPE, question.namespace) if inside else (CLUSTER_SCOPE,)


def answer(access: Access, question: Question) -> Answer:
    """Whether a request is allowed, by which grants, and whether any of them can really be used."""
    if subjects.MASTERS in question.groups:
        return Answer(True, ({"group": subjects.MASTERS, "reason": "is always allowed"},))
    found: list[Mapping[str, Any]] = []
    live = False
    for scope in _scopes(question):
        for holder in _holders(question):
            for through, bindings in sorted(access.own((holder, scope)).items()):
                held = access.roles.get(through)
                if held is None or not _allowed(held, question):
                    continue
                live = live or _effective(access, scope, question)
                rule = _rule(access, through, question)
                role = named(key_of(through))
                found += [
                    {"binding": named(key), "role": role, "rule": rule, "subject": holder} for key in sorted(bindings)
                ]
    if found:
        return Answer(True, tuple(found), inert=not live)
    if subjects.NODES in question.groups:
        return Answer(None, (), why="the Node authorizer decides about members of system:nodes, from the pods they run")
    gap = _gap(access, question)
    if gap is not None:
        return Answer(None, (), why=f"{gap.resource} {gap.reason}: {gap.message}")
    return Answer(False, ())


def _gap(access: Access, question: Question) -> Gap | None:
    scope = _scopes(question)[-1]
    role = Through("ClusterRole", "", "")
    return next((gap for holder in _holders(question) if (gap := doubt(access, holder, scope, role))), None)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who may do something: a subject at a scope, through what, and whether it can be used."""

    subject: str
    scope: str
    path: tuple[str, ...]
    inert: bool


def who_can(access: Access, question: Question) -> Iterator[Holder]:
    """Everyone who may, sorted; `question.namespace` "" asks for all scopes. `user` and `groups` are not looked at."""
    wanted = set(_scopes(question)) if question.namespace or question.path else None
    found: list[Holder] = []
    for (subject, scope), grants in access.grants.items():
        if wanted is not None and scope not in wanted:
            continue
        if question.path and scope != CLUSTER_SCOPE:
            continue
        for through, bindings in grants.items():
            held = access.roles.get(through)
            if held is None or not _allowed(held, question):
                continue
            inert = not _effective(access, scope, question)
            role = named(key_of(through))
            found += [Holder(subject, scope, (named(key), role), inert) for key in sorted(bindings)]
    yield from sorted(
        found, key=lambda holder: (holder.scope != CLUSTER_SCOPE, holder.scope, holder.subject, holder.path)
    )


def binding_gaps(access: Access, namespaces: Sequence[str]) -> list[Gap]:
    """The gaps that may hide holders, cluster-wide and in some namespaces (all when none is given)."""
    kinds = [Key(f"{kind}.{RBAC}", "", "") for kind in ("clusterrolebindings", "rolebindings", "clusterroles", "roles")]
    return [
        gap for gap in access.snapshot.gaps
        if any(gap.touches(kind.resource, ns) for kind in kinds for ns in (namespaces or ("",)))
    ]  # fmt: skip
