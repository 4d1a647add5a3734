"""Subjects: one name for one identity, and the groups that come with it.

Sources: pkg/registry/rbac/validation/rule.go (appliesToUser), apiserver pkg/authentication/serviceaccount/util.go
(SplitUsername, MakeUsername), pkg/authentication/user/user.go (the names of the groups).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

USER, GROUP, SERVICE_ACCOUNT, ROLE = "user:", "group:", "serviceaccount:", "clusterrole:"
MASTERS = "system:masters"
NODES = "system:nodes"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
SERVICE_ACCOUNTS = "system:serviceaccounts"
ANONYMOUS = "system:anonymous"
_SERVICE_ACCOUNT_USER = "system:serviceaccount:"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@lru_cache(maxsize=65_536)
def of_user(username: str) -> str:
    """The name of whoever authenticates as `username`: `serviceaccount:NS/N` for a ServiceAccount, else `user:N`."""
    if username.startswith(_SERVICE_ACCOUNT_USER):
        namespace, _, name = username.removeprefix(_SERVICE_ACCOUNT_USER).partition(":")
        if _LABEL.fullmatch(namespace) and _SUBDOMAIN.fullmatch(name):
            return f"{SERVICE_ACCOUNT}{namespace}/{name}"
    return USER + username


def of_subject(subject: Mapping[str, Any], namespace: str) -> str | None:
    """The name of a binding's subject; `namespace` is the RoleBinding's, "" for a ClusterRoleBinding.

    None where the authorizer matches nobody: unknown kinds, and a ServiceAccount without any namespace.
    """
    kind, name = subject.get("kind"), subject.get("name") or ""
    if kind == "User":
        return of_user(name)
    if kind == "Group":
        return GROUP + name
    if kind == "ServiceAccount":
        where = subject.get("namespace") or namespace
        return of_user(f"{_SERVICE_ACCOUNT_USER}{where}:{name}") if where else None
    return None


def username(subject: str) -> str:
    """The user name with which a user or a ServiceAccount authenticates. Raises ValueError for other subjects."""
    if subject.startswith(SERVICE_ACCOUNT):
        return _SERVICE_ACCOUNT_USER + subject.removeprefix(SERVICE_ACCOUNT).replace("/", ":", 1)
    if subject.startswith(USER):
        return subject.removeprefix(USER)
    raise ValueError(subject)


def namespace_of(subject: str) -> str:
    """The namespace that a ServiceAccount, or the group of a namespace's ServiceAccounts, lives in; else ""."""
    if subject.startswith(SERVICE_ACCOUNT):
        return subject.removeprefix(SERVICE_ACCOUNT).partition("/")[0]
    if subject.startswith(f"{GROUP}{SERVICE_ACCOUNTS}:"):
        return subject.removeprefix(f"{GROUP}{SERVICE_ACCOUNTS}:")
    return ""


def moved(subject: str, old: str, new: str) -> str:
    """The subject of another namespace that plays the same part: `serviceaccount:a/x` → `serviceaccount:b/x`."""
    if namespace_of(subject) != old:
        return subject
    if subject.startswith(SERVICE_ACCOUNT):
        return f"{SERVICE_ACCOUNT}{new}/{subject.partition('/')[2]}"
    return f"{GROUP}{SERVICE_ACCOUNTS}:{new}"


def groups_of(user: str) -> tuple[str, ...]:
    """The groups that authentication puts on a request of this user name, when nothing else is known of it."""
    if user == ANONYMOUS:
        return (UNAUTHENTICATED,)
    subject = of_user(user)
    if subject.startswith(SERVICE_ACCOUNT):
        return SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace_of(subject)}", AUTHENTICATED
    if user.startswith("system:node:"):
        return NODES, AUTHENTICATED
    return (AUTHENTICATED,)


@lru_cache(maxsize=65_536)
def implied(subject: str) -> tuple[str, ...]:
    """The groups, as subjects, whose grants every holder of this subject's name has too.

    Members of any group but `system:unauthenticated` have authenticated; those of a namespace's ServiceAccounts are
    ServiceAccounts.
    """
    if subject.startswith(ROLE) or subject in (GROUP + UNAUTHENTICATED, GROUP + AUTHENTICATED):
        return ()
    if subject.startswith(f"{GROUP}{SERVICE_ACCOUNTS}:"):
        return GROUP + SERVICE_ACCOUNTS, GROUP + AUTHENTICATED
    if subject.startswith(GROUP):
        return (GROUP + AUTHENTICATED,)
    return tuple(GROUP + group for group in groups_of(username(subject)))


def shown(subject: str) -> str:
    """A subject as a person would say it: `ServiceAccount pay/api`, `Group devs`, `User ann`."""
    kind, _, name = subject.partition(":")
    words = {"user": "User", "group": "Group", "serviceaccount": "ServiceAccount", "clusterrole": "whoever is bound to"}
    return f"{words.get(kind, kind)} {name}"
