"""One identity has one name, however it is spelled, and brings its groups."""

from __future__ import annotations

import pytest

from posture.rbac import subjects
from tests.generator.objects import Object, account, group, user

SPELLED: list[tuple[Object, str, str | None]] = [
    (user("ann"), "", "user:ann"),
    (user("ann"), "pay", "user:ann"),
    (group("devs"), "pay", "group:devs"),
    (account("pay", "api"), "", "serviceaccount:pay/api"),
    (account("pay", "api"), "web", "serviceaccount:pay/api"),
    (account("", "api"), "pay", "serviceaccount:pay/api"),
    (account("", "api"), "", None),
    (user("system:serviceaccount:pay:api"), "", "serviceaccount:pay/api"),
    (user("system:serviceaccount:pay:api.v2"), "web", "serviceaccount:pay/api.v2"),
    # Names that no ServiceAccount can have are only users that are called so.
    (user("system:serviceaccount:pay"), "", "user:system:serviceaccount:pay"),
    (user("system:serviceaccount:pay:"), "", "user:system:serviceaccount:pay:"),
    (user("system:serviceaccount::api"), "", "user:system:serviceaccount::api"),
    (user("system:serviceaccount:a:b:c"), "", "user:system:serviceaccount:a:b:c"),
    (user("system:serviceaccount:Pay:api"), "", "user:system:serviceaccount:Pay:api"),
    (user("system:serviceaccount:pay:api/x"), "", "user:system:serviceaccount:pay:api/x"),
    (user("system:serviceaccount:pay:api\n"), "", "user:system:serviceaccount:pay:api\n"),
    (user("system:serviceaccounts"), "", "user:system:serviceaccounts"),
    (user("User:ann"), "", "user:User:ann"),
    ({"kind": "Robot", "name": "r2"}, "pay", None),
    ({"kind": "user", "name": "ann"}, "pay", None),
    # The API group of a subject is not looked at when requests are authorized.
    ({"kind": "Group", "name": "devs", "apiGroup": "example.com"}, "pay", "group:devs"),
]


@pytest.mark.parametrize(("subject", "namespace", "expected"), SPELLED)
def test_a_subject_has_one_name(subject: Object, namespace: str, expected: str | None) -> None:
    """As the authorizer would match it, in a RoleBinding of a namespace or in a ClusterRoleBinding."""
    assert subjects.of_subject(subject, namespace) == expected


@pytest.mark.parametrize("name", ["serviceaccount:pay/api", "user:ann", "user:system:serviceaccount:a:b:c", "user:a/b"])
def test_a_name_leads_back_to_the_user_name(name: str) -> None:
    """With which the identity authenticates."""
    assert subjects.of_user(subjects.username(name)) == name


@pytest.mark.parametrize("name", ["group:devs", "clusterrole:view"])
def test_groups_and_roles_have_no_user_name(name: str) -> None:
    """Nobody authenticates as one."""
    with pytest.raises(ValueError, match=name):
        subjects.username(name)


IMPLIED = [
    ("serviceaccount:pay/api",
     ["group:system:serviceaccounts", "group:system:serviceaccounts:pay", "group:system:authenticated"]),
    ("user:ann", ["group:system:authenticated"]),
    ("user:system:anonymous", ["group:system:unauthenticated"]),
    ("user:system:node:n1", ["group:system:nodes", "group:system:authenticated"]),
    ("user:system:serviceaccount:a:b:c", ["group:system:authenticated"]),
    ("group:devs", ["group:system:authenticated"]),
    ("group:system:serviceaccounts", ["group:system:authenticated"]),
    ("group:system:serviceaccounts:pay", ["group:system:serviceaccounts", "group:system:authenticated"]),
    ("group:system:authenticated", []),
    ("group:system:unauthenticated", []),
    ("clusterrole:view", []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), IMPLIED)
def test_a_name_brings_groups(name: str, expected: list[str]) -> None:
    """What is granted to these groups is held by everyone of the name, whoever they are."""
    assert sorted(subjects.implied(name)) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("serviceaccount:pay/api", "serviceaccount:web/api"),
        ("serviceaccount:lab/api", "serviceaccount:lab/api"),
        ("group:system:serviceaccounts:pay", "group:system:serviceaccounts:web"),
        ("group:system:serviceaccounts:payments", "group:system:serviceaccounts:payments"),
        ("group:pay", "group:pay"),
        ("user:pay", "user:pay"),
    ],
)
def test_the_same_part_in_another_namespace(name: str, expected: str) -> None:
    """Accounts, and the group of a namespace's accounts, belong to their namespace; nobody else does."""
    assert subjects.moved(name, "pay", "web") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("serviceaccount:pay/api", "pay"),
        ("group:system:serviceaccounts:pay", "pay"),
        ("group:devs", ""),
        ("user:ann", ""),
    ],
)
def test_where_a_subject_lives(name: str, expected: str) -> None:
    """A namespace, or none."""
    assert subjects.namespace_of(name) == expected
