"""Escalations by identities and by RBAC's own API, as real requests: each step is proven, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from posture.graph.paths import held
from tests.controlplane.build import NEWEST
from tests.generator.objects import role, rule
from tests.graph.identity import (
    PROOFS,
    READING,
    ROLES_HERE,
    ask,
    objects,
)
from tests.graph.proving import (
    Part,
    Planes,
    Proof,
    Proving,
    account_of,
    cases,
    partial,
    proving,
)
from tests.rbac.accounts import (
    DRY,
    INSIDE,
    NS,
    SECRET,
    SECRETS,
    here,
)
from tests.rbac.agreement import settle
from tests.rbac.requests import status

FOLLOWS = [
    ("hold-everything", "cluster", ["cluster-admin"]),
    ("hold-everything-in-namespace", "inside", [f"namespace-admin/{NS}"]),
    ("escalate-clusterroles", "patch", ["rewrite:ClusterRole/*@*"]),
    ("escalate-clusterroles", "named", ["rewrite:ClusterRole/real-wide@*"]),
    ("escalate-roles", "update", [f"rewrite:Role/*@{NS}"]),
    ("escalate-roles", "named", [f"rewrite:Role/wide@{NS}"]),
    ("create-clusterrolebinding", "post", ["role:ClusterRole/cluster-admin@*"]),
    ("create-clusterrolebinding", "any-role", ["cluster-admin"]),
    ("change-clusterrolebinding", "patch", ["cluster-admin"]),
    ("join-clusterrolebinding", "patch", ["role:ClusterRole/real-wide@*"]),
    ("join-rolebinding-to-clusterrole", "update", [f"role:ClusterRole/real-wide@{NS}"]),
    ("join-rolebinding-to-role", "patch", [f"role:Role/wide@{NS}"]),
    ("create-role-with-any-rule", "post", [f"rewrite:Role/@{NS}"]),
    ("create-role-with-any-rule", "apply", [f"rewrite:Role/proof-fresh@{NS}"]),
    ("create-clusterrole-with-any-rule", "put", ["rewrite:ClusterRole/proof-fresh@*"]),
    ("create-rolebinding-to-clusterrole", "post", [f"role:ClusterRole/cluster-admin@{NS}"]),
    ("create-rolebinding-to-clusterrole", "apply", [f"namespace-admin/{NS}"]),
    ("create-rolebinding-to-clusterrole", "bind-everywhere", [f"role:ClusterRole/cluster-admin@{NS}"]),
    ("create-rolebinding-to-role", "post", [f"role:Role/wide@{NS}"]),
    ("impersonate-user", "named", ["user:real-ann"]),
    ("impersonate-user", "any", ["user:*"]),
    ("impersonate-group", "and-account", ["group:proof-team"]),
    ("impersonate-masters", "and-account", ["group:system:masters"]),
    ("impersonate-masters", "and-user", ["group:system:masters"]),
    ("impersonate-serviceaccount", "named", [f"serviceaccount:{NS}/reader"]),
    ("impersonate-serviceaccount", "absent", [f"absent:{NS}/*", f"serviceaccount:{NS}/*"]),
    ("create-serviceaccount-token", "named", [f"serviceaccount:{NS}/reader"]),
    ("create-serviceaccount-token", "any", [f"serviceaccount:{NS}/*"]),
    ("apply-token-secret", "named", [f"serviceaccount:{NS}/*"]),
    ("create-bootstrap-token", "post",
     ["group:system:bootstrappers", "group:system:bootstrappers:kubeadm:default-node-token"]),
    ("create-bootstrap-token", "everywhere",
     ["group:system:bootstrappers", "group:system:bootstrappers:kubeadm:default-node-token"]),
    ("create-serviceaccount-and-token", "two", [f"absent:{NS}/*"]),
    ("apply-serviceaccount-and-token", "named", [f"serviceaccount:{NS}/proof-late"]),
    ("approve-client-certificate", "signer", ["absent:*/*", "group:*", "serviceaccount:*/*", "user:*"]),
    ("approve-node-certificate", "signer", ["node:*"]),
    ("read-secrets", "list-empty-name", [f"secrets/{NS}"]),
    ("patch-secrets", "empty", [f"secrets/{NS}"]),
    ("delete-secrets-dry-run", "all", [f"secrets/{NS}"]),
    ("read-one-secret", "get", []),
    ("act-as-user", "named", ["user:proof-ann"]),
    ("act-as-group", "and-user", ["group:proof-team"]),
    ("read-secrets-as-user", "get", [f"secrets/{NS}"]),
    ("create-token-as-user", "named", [f"serviceaccount:{NS}/reader"]),
    ("read-secrets-as-serviceaccount", "list", ["secrets"]),
    ("read-secrets-as-node", "get", [f"secrets/{NS}"]),
]  # fmt: skip


def proof_of(edge: str, name: str) -> Proof:
    """A proof by what it proves and its name."""
    return next(one for one in PROOFS if (one.edge, one.name) == (edge, name))


@pytest.fixture(scope="module")
def planes(control_plane_of: Planes) -> Iterator[Proving]:
    """Accounts for every proof, and for every part of one that is missing."""
    with proving(control_plane_of, PROOFS, [*objects()], {"runs-pods": here(rule("create", "pods"))}) as found:
        yield found


@pytest.mark.parametrize(("one", "minor"), cases(PROOFS))
def test_who_meets_the_condition_takes_the_step(planes: Proving, one: Proof, minor: str) -> None:
    """Every request is accepted, and the escalation holds."""
    planes.accepted(one, minor)


@pytest.mark.parametrize(("one", "minor", "without"), partial(PROOFS))
def test_who_lacks_a_part_of_it_does_not(planes: Proving, one: Proof, minor: str, without: Part) -> None:
    """Some request is refused, and the escalation does not hold."""
    planes.refused_without(one, minor, without)


@pytest.mark.parametrize("one", READING, ids=lambda one: f"{one.edge}-{one.name}")
def test_what_reads_secrets_returns_them(planes: Proving, one: Proof) -> None:
    """Whatever the verb: the answer holds what is in the Secret."""
    assert SECRET in str(planes.at(NEWEST).answers(one)[-1])


@pytest.mark.parametrize(("edge", "name", "expected"), FOLLOWS, ids=[f"{edge}-{name}" for edge, name, _ in FOLLOWS])
def test_what_follows_is_exactly_what_is_granted(planes: Proving, edge: str, name: str, expected: list[str]) -> None:
    """Limited to names it is those, else all that are there; inside a namespace it stays there."""
    one = proof_of(edge, name)
    identities = [account_of(one, number) for number in range(len(one.granted))]
    assert planes.at(NEWEST).follows(edge, *identities) == expected


@pytest.mark.parametrize(
    ("one", "other", "node"),
    [
        (proof_of("create-token-secret", "post"), account_of(proof_of("read-one-secret", "get"), 0),
         f"serviceaccount:{NS}/*"),
        (proof_of("create-serviceaccount-and-run", "post"), "runs-pods", f"absent:{NS}/*"),
    ],
    ids=["token-secret", "absent-account"],
)  # fmt: skip
def test_two_identities_take_a_step_that_neither_takes_alone(
    planes: Proving, one: Proof, other: str, node: str
) -> None:
    """What one creates the other uses, in the same namespace."""
    place, mine = planes.at(NEWEST), account_of(one, 0)

    assert [place.follows(one.edge, *who) for who in ([mine], [other], [mine, other])] == [[], [], [node]]


@pytest.mark.parametrize(
    ("edge", "name", "account"),
    [
        ("impersonate-serviceaccount", "everywhere", "proof-absent"),
        ("act-as-serviceaccount", "named", "proof-account"),
    ],
)
def test_a_name_that_may_be_impersonated_everywhere_is_one_account_in_each_namespace(
    planes: Proving, edge: str, name: str, account: str
) -> None:
    """Whether it exists or not: the groups of its namespace come with it."""
    place = planes.at(NEWEST)
    follows = place.follows(edge, account_of(proof_of(edge, name), 0))
    assert follows == sorted(f"serviceaccount:{namespace}/{account}" for namespace in place.graph.of.namespaces)


def test_a_rewritten_role_is_worth_something_to_who_is_granted_it(planes: Proving) -> None:
    """Who may give a Role any rule gets nothing alone; together with who is bound to it, the namespace."""
    edges = planes.at(NEWEST).graph.edges
    one = proof_of("escalate-roles", "named")
    writer, bound, other = f"serviceaccount:{NS}/{account_of(one, 0)}", "user:real-ann", "user:zoe"
    admin = f"namespace-admin/{NS}"

    assert [admin in held(edges, who) for who in ([writer], [bound], [writer, other], [writer, bound])] == [
        False, False, False, True,
    ]  # fmt: skip


def test_a_role_that_a_binding_waits_for_is_worth_something_once_it_is_made(planes: Proving) -> None:
    """One identity makes it, another one is bound to it: together they have the namespace, and the server agrees."""
    place = planes.at(NEWEST)
    maker = account_of(proof_of("create-role-with-any-rule", "post"), 0)
    bound, admin = f"serviceaccount:{NS}/someone", f"namespace-admin/{NS}"
    token, writer = (place.plane.token(NS, name) for name in ("someone", maker))
    reads = ask(f"GET {SECRETS}/s")

    sources = ([bound], [f"serviceaccount:{NS}/{maker}"], [bound, f"serviceaccount:{NS}/{maker}"])
    assert [admin in held(place.graph.edges, who) for who in sources] == [False, False, True]
    assert status(place.plane, reads, token) == 403
    ghost = role("ghost", rule("*", "*", "*"), namespace=NS)
    try:
        assert status(place.plane, ask(f"POST {ROLES_HERE}", ghost), writer) == 200
        settle(place.plane)
        assert status(place.plane, reads, token) == 200
    finally:
        place.plane.request("DELETE", f"{ROLES_HERE}/ghost")


def test_an_account_that_a_binding_spells_as_a_user_is_the_account(planes: Proving) -> None:
    """It asks for tokens with its own token, and the escalation is held by the ServiceAccount."""
    place = planes.at(NEWEST)
    asked = ask(f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}")

    assert status(place.plane, asked, place.plane.token(NS, "proof-spelled")) == 200
    assert ("create-serviceaccount-token", 0, f"serviceaccount:{NS}/proof-spelled") in place.holds
