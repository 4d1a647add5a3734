"""What writing is checked for, as real requests: a check holds for whoever reaches its end, and for nobody else.

Each row is an account of its own with what it is granted, one request that it sends with a real token, and a check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from posture import rbac
from posture.config import Config
from posture.inputs import Inputs
from posture.kinds import RBAC
from posture.rbac.access import Question, answer
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, binding, group, metadata, namespace, role, rule, user
from tests.rbac.accounts import (
    APPLY,
    CSR,
    DRY,
    INSIDE,
    NS,
    OTHER,
    PART,
    READ,
    ROLES,
    ROLES_INSIDE,
    SECRET,
    SECRETS,
    SIGNER,
    UPGRADE,
    Grant,
    accounts,
    everywhere,
    here,
)
from tests.rbac.agreement import read, settle
from tests.rbac.requests import Asked, reviewed, sent, status


@dataclass(frozen=True)
class Write:
    """What an account is granted, the request that it sends, its status, and a check that must (not) hold for it."""

    name: str
    granted: tuple[Grant, ...]
    method: str
    path: str
    status: int
    check: str
    hit: bool
    body: Object | None = None
    headers: tuple[tuple[str, str], ...] = ()


def write(
    name: str, granted: tuple[Grant, ...], request: str, expected: int, check: str, *, hit: bool, **more: Any
) -> Write:
    """A row; `request` is METHOD PATH, `check` lacks its `rbac-`."""
    method, _, path = request.partition(" ")
    return Write(name, granted, method, path, expected, f"rbac-{check}", hit, **more)


def bound(reference: str, subject: Object | None = None, *, inside: bool = True) -> Object:
    """A binding that somebody writes."""
    return binding("fresh", reference, subject or user("zoe"), namespace=NS if inside else "")


def acting_as(name: str, *groups: str) -> tuple[tuple[str, str], ...]:
    """The headers of impersonation; without a name, of groups alone."""
    who = (("Impersonate-User", name),) if name else ()
    return who + tuple(("Impersonate-Group", one) for one in groups)


ROLE_WRITE = rule("create,update,patch", "roles", RBAC)
BIND_WRITE = rule("create,update,patch", "rolebindings", RBAC)
CLUSTER_ROLE_WRITE = rule("create,update,patch", "clusterroles", RBAC)
CLUSTER_BIND_WRITE = rule("create,update,patch", "clusterrolebindings", RBAC)
POST_ROLE, POST_BINDING = f"POST {ROLES_INSIDE}/roles?{DRY}", f"POST {ROLES_INSIDE}/rolebindings?{DRY}"
POST_CLUSTER_BINDING = f"POST {ROLES}/clusterrolebindings?{DRY}"
PATCH_WIDE = f"PATCH {ROLES_INSIDE}/roles/wide?{DRY}"
WIDER = {"rules": [READ, rule("delete", "secrets")]}
FRESH = role("fresh", READ, namespace=NS)
EIGHT = "get,list,watch,create,update,patch,delete,deletecollection"

ESCALATING = [
    write("role-without-holding", here(ROLE_WRITE), POST_ROLE, 403, "escalate-roles", hit=False, body=FRESH),
    write("role-of-what-is-held", here(ROLE_WRITE, READ), POST_ROLE, 200, "escalate-roles", hit=False, body=FRESH),
    write("role-of-every-verb-by-a-holder-of-eight", here(ROLE_WRITE, rule(EIGHT, "secrets")), POST_ROLE, 403,
          "escalate-roles", hit=False, body=role("fresh", rule("*", "secrets"), namespace=NS)),
    write("role-of-all-names-by-a-holder-of-one", here(ROLE_WRITE, rule("get", "secrets", names=["s"])), POST_ROLE, 403,
          "escalate-roles", hit=False, body=FRESH),
    write("escalate-alone", here(rule("escalate", "roles", RBAC)), POST_ROLE, 403, "escalate-roles", hit=False,
          body=FRESH),
    write("escalate-and-create", here(rule("escalate,create", "roles", RBAC)), POST_ROLE, 200, "escalate-roles",
          hit=True, body=FRESH),
    write("escalate-and-patch", here(rule("escalate,patch", "roles", RBAC)), PATCH_WIDE, 200, "escalate-roles",
          hit=True, body=WIDER),
    write("escalate-on-one-role", here(rule("escalate,patch", "roles", RBAC, names=["wide"])), PATCH_WIDE, 200,
          "escalate-roles", hit=True, body=WIDER),
    write("escalate-on-another-role", here(rule("escalate", "roles", RBAC, names=["other"]),
                                           rule("patch", "roles", RBAC, names=["wide"])),
          PATCH_WIDE, 403, "escalate-roles", hit=False, body=WIDER),
    write("escalate-on-one-role-and-create", here(rule("escalate", "roles", RBAC, names=["fresh"]),
                                                  rule("create", "roles", RBAC)),
          POST_ROLE, 403, "escalate-roles", hit=False, body=FRESH),
    write("escalate-on-the-empty-name-and-create", here(rule("escalate", "roles", RBAC, names=[""]),
                                                        rule("create", "roles", RBAC)),
          POST_ROLE, 200, "escalate-roles", hit=True, body=FRESH),
    write("escalate-on-one-role-and-apply", here(rule("escalate,patch,create", "roles", RBAC, names=["fresh"])),
          f"PATCH {ROLES_INSIDE}/roles/fresh?fieldManager=real&{DRY}", 200, "escalate-roles", hit=True, body=FRESH,
          headers=APPLY),
    write("escalate-cluster", everywhere(rule("escalate,patch", "clusterroles", RBAC, names=["real-wide"])),
          f"PATCH {ROLES}/clusterroles/real-wide?{DRY}", 200, "escalate-cluster", hit=True, body=WIDER),
    write("escalate-cluster-from-inside", here(rule("escalate,update,patch", "clusterroles", RBAC)),
          f"PATCH {ROLES}/clusterroles/real-wide?{DRY}", 403, "escalate-cluster", hit=False, body=WIDER),
    write("widen-what-is-not-held", here(ROLE_WRITE), PATCH_WIDE, 403, "escalate-roles", hit=False, body=WIDER),
    write("narrow-what-is-not-held", here(ROLE_WRITE), PATCH_WIDE, 200, "escalate-roles", hit=False,
          body={"rules": []}),
    write("keep-what-is-not-held", here(ROLE_WRITE, rule("get", "pods")), f"PATCH {ROLES_INSIDE}/roles/two?{DRY}", 403,
          "escalate-roles", hit=False, body={"rules": [READ]}),
    write("keep-what-is-held", here(ROLE_WRITE, rule("get", "pods")), f"PATCH {ROLES_INSIDE}/roles/two?{DRY}", 200,
          "escalate-roles", hit=False, body={"rules": [rule("get", "pods")]}),
    write("finalizers-of-what-is-not-held", here(ROLE_WRITE), PATCH_WIDE, 200, "escalate-roles", hit=False,
          body={"metadata": {"finalizers": ["example.com/kept"]}}),
    write("labels-of-what-is-not-held", here(ROLE_WRITE), PATCH_WIDE, 403, "escalate-roles", hit=False,
          body={"metadata": {"labels": {"any": "label"}}}),
    write("delete-what-is-not-held", here(rule("delete", "roles", RBAC)),
          f"DELETE {ROLES_INSIDE}/roles/wide?{DRY}", 200, "escalate-roles", hit=False),
    write("label-for-aggregation", everywhere(CLUSTER_ROLE_WRITE), f"PATCH {ROLES}/clusterroles/real-wide?{DRY}", 403,
          "escalate-cluster", hit=False, body={"metadata": {"labels": PART}}),
    write("label-for-aggregation-what-is-held", everywhere(CLUSTER_ROLE_WRITE, READ),
          f"PATCH {ROLES}/clusterroles/real-wide?{DRY}", 200, "escalate-cluster", hit=False,
          body={"metadata": {"labels": PART}}),
    write("widen-an-aggregation", everywhere(CLUSTER_ROLE_WRITE, READ),
          f"PATCH {ROLES}/clusterroles/real-collector?{DRY}", 403, "escalate-cluster", hit=False,
          body={"aggregationRule": {"clusterRoleSelectors": [{}]}}),
    write("widen-an-aggregation-with-escalate",
          everywhere(CLUSTER_ROLE_WRITE, rule("escalate", "clusterroles", RBAC)),
          f"PATCH {ROLES}/clusterroles/real-collector?{DRY}", 200, "escalate-cluster", hit=True,
          body={"aggregationRule": {"clusterRoleSelectors": [{}]}}),
]  # fmt: skip

BINDING = [
    write("binding-without-bind", here(BIND_WRITE), POST_BINDING, 403, "bind-rolebindings-namespace", hit=False,
          body=bound("ClusterRole/cluster-admin")),
    write("bind-without-binding", here(rule("bind", "clusterroles,roles", RBAC)), POST_BINDING, 403,
          "bind-rolebindings-namespace", hit=False, body=bound("ClusterRole/cluster-admin")),
    write("bind-a-clusterrole-from-inside", here(BIND_WRITE, rule("bind", "clusterroles", RBAC)), POST_BINDING, 200,
          "bind-rolebindings-namespace", hit=True, body=bound("ClusterRole/cluster-admin")),
    write("bind-one-clusterrole-from-inside",
          here(BIND_WRITE, rule("bind", "clusterroles", RBAC, names=["cluster-admin"])), POST_BINDING, 200,
          "bind-rolebindings-namespace", hit=True, body=bound("ClusterRole/cluster-admin")),
    write("bind-another-clusterrole-from-inside",
          here(BIND_WRITE, rule("bind", "clusterroles", RBAC, names=["view"])), POST_BINDING, 403,
          "bind-rolebindings-namespace", hit=False, body=bound("ClusterRole/cluster-admin")),
    write("bind-a-role", here(BIND_WRITE, rule("bind", "roles", RBAC)), POST_BINDING, 200,
          "bind-rolebindings-namespace", hit=True, body=bound("Role/wide")),
    write("bind-in-the-wrong-group", here(BIND_WRITE, rule("bind", "roles")), POST_BINDING, 403,
          "bind-rolebindings-namespace", hit=False, body=bound("Role/wide")),
    write("bind-what-does-not-exist", here(BIND_WRITE, rule("bind", "roles", RBAC)), POST_BINDING, 200,
          "bind-rolebindings-namespace", hit=True, body=bound("Role/ghost")),
    write("binding-of-what-does-not-exist", here(BIND_WRITE), POST_BINDING, 404, "bind-rolebindings-namespace",
          hit=False, body=bound("Role/ghost")),
    write("share-what-is-held", here(BIND_WRITE, READ), POST_BINDING, 200, "bindings-write", hit=True,
          body=bound("Role/wide", group("system:unauthenticated"))),
    write("subject-more-of-what-is-not-held", here(BIND_WRITE), f"PATCH {ROLES_INSIDE}/rolebindings/given?{DRY}", 403,
          "bind-rolebindings-namespace", hit=False, body={"subjects": [user("real-ann"), user("zoe")]}),
    write("subject-less-of-what-is-not-held", here(BIND_WRITE), f"PATCH {ROLES_INSIDE}/rolebindings/given?{DRY}", 403,
          "bind-rolebindings-namespace", hit=False, body={"subjects": []}),
    write("delete-a-binding-of-what-is-not-held", here(rule("delete", "rolebindings", RBAC)),
          f"DELETE {ROLES_INSIDE}/rolebindings/given?{DRY}", 200, "bindings-write", hit=False),
    write("cluster-binding-without-bind", everywhere(CLUSTER_BIND_WRITE), POST_CLUSTER_BINDING, 403, "bind-cluster",
          hit=False, body=bound("ClusterRole/cluster-admin", inside=False)),
    write("cluster-binding-with-bind",
          everywhere(CLUSTER_BIND_WRITE, rule("bind", "clusterroles", RBAC, names=["cluster-admin"])),
          POST_CLUSTER_BINDING, 200, "bind-cluster", hit=True, body=bound("ClusterRole/cluster-admin", inside=False)),
    write("cluster-binding-with-bind-from-inside",
          (*everywhere(CLUSTER_BIND_WRITE), *here(rule("bind", "clusterroles", RBAC))),
          POST_CLUSTER_BINDING, 403, "bind-cluster", hit=False, body=bound("ClusterRole/cluster-admin", inside=False)),
    write("cluster-binding-from-inside", here(CLUSTER_BIND_WRITE, rule("bind", "clusterroles", RBAC)),
          POST_CLUSTER_BINDING, 403, "bind-cluster", hit=False, body=bound("ClusterRole/cluster-admin", inside=False)),
    write("subject-more-of-cluster-admin",
          everywhere(rule("patch", "clusterrolebindings", RBAC, names=["cluster-admin"]),
                     rule("bind", "clusterroles", RBAC, names=["cluster-admin"])),
          f"PATCH {ROLES}/clusterrolebindings/cluster-admin?{DRY}", 200, "bind-cluster", hit=True,
          body={"subjects": [group("system:masters"), user("zoe")]}),
]  # fmt: skip

ACT = rule("impersonate", "users")
AS_USER = rule("impersonate:user-info", "users", "authentication.k8s.io")

IMPERSONATING = [
    write("impersonate-users", everywhere(ACT), f"GET {SECRETS}/s", 200, "impersonate-users", hit=True,
          headers=acting_as("real-ann")),
    write("impersonate-one-user", everywhere(rule("impersonate", "users", names=["real-ann"])), f"GET {SECRETS}/s", 200,
          "impersonate-users", hit=False, headers=acting_as("real-ann")),
    write("impersonate-by-every-verb", everywhere(rule("*", "users")), f"GET {SECRETS}/s", 200, "impersonate-users",
          hit=True, headers=acting_as("real-ann")),
    write("impersonate-by-eight-verbs", everywhere(rule(EIGHT, "*", "*")), f"GET {SECRETS}/s", 403, "impersonate-users",
          hit=False, headers=acting_as("real-ann")),
    write("impersonate-users-from-inside", here(ACT), f"GET {SECRETS}/s", 403, "impersonate-users", hit=False,
          headers=acting_as("real-ann")),
    write("impersonate-groups-alone", everywhere(rule("impersonate", "groups")), f"GET {SECRETS}", 400,
          "impersonate-masters", hit=False, headers=acting_as("", "system:masters")),
    write("impersonate-groups-and-oneself", everywhere(rule("impersonate", "groups")), f"GET {SECRETS}", 403,
          "impersonate-masters", hit=False,
          headers=acting_as(f"system:serviceaccount:{NS}:impersonate-groups-and-oneself", "system:masters")),
    write("impersonate-groups-and-an-account",
          (*everywhere(rule("impersonate", "groups")), *here(rule("impersonate", "serviceaccounts"))), f"GET {SECRETS}",
          200, "impersonate-masters", hit=True,
          headers=acting_as(f"system:serviceaccount:{NS}:someone", "system:masters")),
    write("impersonate-groups-and-users", everywhere(rule("impersonate", "groups,users")), f"GET {SECRETS}", 200,
          "impersonate-masters", hit=True, headers=acting_as("zoe", "system:masters")),
    write("impersonate-an-account-inside", here(rule("impersonate", "serviceaccounts")), f"GET {SECRETS}/s", 200,
          "impersonate-serviceaccounts-namespace", hit=True, headers=acting_as(f"system:serviceaccount:{NS}:reader")),
    write("impersonate-an-account-elsewhere", ((OTHER, rule("impersonate", "serviceaccounts")),), f"GET {SECRETS}/s",
          403, "impersonate-serviceaccounts-cluster", hit=False,
          headers=acting_as(f"system:serviceaccount:{NS}:reader")),
    write("impersonate-in-the-wrong-group", everywhere(rule("impersonate", "users", "authentication.k8s.io")),
          f"GET {SECRETS}/s", 403, "impersonate-users", hit=False, headers=acting_as("real-ann")),
    write("constrained", everywhere(AS_USER, rule("impersonate-on:user-info:get", "secrets")), f"GET {SECRETS}/s", 200,
          "constrained-impersonation-cluster", hit=True, headers=acting_as("real-ann")),
    write("constrained-to-nothing", everywhere(AS_USER), f"GET {SECRETS}/s", 403, "constrained-impersonation-cluster",
          hit=False, headers=acting_as("real-ann")),
    write("constrained-to-another-verb", everywhere(AS_USER, rule("impersonate-on:user-info:list", "pods")),
          f"GET {SECRETS}/s", 403, "impersonate-users", hit=False, headers=acting_as("real-ann")),
]  # fmt: skip

PRIVILEGED = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
FINALIZED: Object = {
    **namespace(NS, **{"pod-security.kubernetes.io/enforce": "privileged"}), "spec": {"finalizers": ["kubernetes"]},
}  # fmt: skip
APPROVED: Object = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "real"}]}}
APPROVAL = f"PATCH {CSR}/real-request/approval?{DRY}"


def approver(*signers: str) -> tuple[Grant, ...]:
    """Someone who may ask for certificates and write approvals, and approve for these signers."""
    return everywhere(
        rule("create,get", "certificatesigningrequests", "certificates.k8s.io"),
        rule("patch", "certificatesigningrequests/approval", "certificates.k8s.io"),
        *([rule("approve", "signers", "certificates.k8s.io", names=signers)] if signers else []),
    )


OTHERS = [
    write("secrets-by-patch", here(rule("patch", "secrets")), f"PATCH {SECRETS}/s?{DRY}", 200, "secrets-read",
          hit=True),
    write("secrets-by-deletecollection", here(rule("deletecollection", "secrets")), f"DELETE {SECRETS}?{DRY}", 200,
          "secrets-read", hit=True),
    write("secrets-by-the-empty-name", here(rule("list", "secrets", names=[""])), f"GET {SECRETS}", 200, "secrets-read",
          hit=True),
    write("one-secret-by-its-name", here(rule("list", "secrets", names=["s"])),
          f"GET {SECRETS}?fieldSelector=metadata.name%3Ds", 200, "secrets-read", hit=False),
    write("no-secret-by-update", here(rule("update", "secrets")), f"PUT {SECRETS}/s?{DRY}", 200, "secrets-read",
          hit=False, body={"apiVersion": "v1", "kind": "Secret", "metadata": metadata("s", NS)}),
    write("no-secret-by-delete", here(rule("delete", "secrets")), f"DELETE {SECRETS}/s?{DRY}", 200, "secrets-read",
          hit=False),
    write("token-of-any-account", here(rule("create", "serviceaccounts/token")),
          f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}", 200, "token-create-namespace", hit=True,
          body={"spec": {"audiences": ["cloud"]}}),
    write("token-without-the-subresource", here(rule("create", "serviceaccounts")),
          f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}", 403, "token-create-namespace", hit=False),
    write("relabel-from-inside", here(rule("patch", "namespaces")), f"PATCH {INSIDE}?{DRY}", 200,
          "namespaces-write-namespace", hit=True, body=PRIVILEGED),
    write("relabel-by-status", here(rule("patch", "namespaces/status")), f"PATCH {INSIDE}/status?{DRY}", 200,
          "namespaces-write-namespace", hit=True, body=PRIVILEGED),
    write("relabel-by-finalize", here(rule("update", "namespaces/finalize")), f"PUT {INSIDE}/finalize?{DRY}", 200,
          "namespaces-write-namespace", hit=True, body=FINALIZED),
    write("relabel-by-its-own-name", here(rule("patch", "namespaces", names=[NS])), f"PATCH {INSIDE}?{DRY}", 200,
          "namespaces-write-namespace", hit=True, body=PRIVILEGED),
    write("relabel-by-another-name", here(rule("patch", "namespaces", names=[OTHER])), f"PATCH {INSIDE}?{DRY}", 403,
          "namespaces-write-namespace", hit=False, body=PRIVILEGED),
    write("relabel-another-from-inside", here(rule("patch", "namespaces")), f"PATCH /api/v1/namespaces/{OTHER}?{DRY}",
          403, "namespaces-write-cluster", hit=False, body=PRIVILEGED),
    write("exec-by-get", here(rule("get", "pods/exec")), f"GET {INSIDE}/pods/p/exec?command=id&stdout=1", 403,
          "exec-namespace", hit=False, headers=UPGRADE),
    write("exec-by-get-and-create", here(rule("get,create", "pods/exec")),
          f"GET {INSIDE}/pods/p/exec?command=id&stdout=1", 400, "exec-namespace", hit=True, headers=UPGRADE),
    write("exec-by-create", here(rule("create", "pods/exec")), f"POST {INSIDE}/pods/p/exec?command=id&stdout=1", 400,
          "exec-namespace", hit=True),  # 400: the pod runs on no node
    write("approve-for-the-signer", approver(SIGNER), APPROVAL, 200, "csr-approve", hit=True, body=APPROVED),
    write("approve-for-its-domain", approver("kubernetes.io/*"), APPROVAL, 200, "csr-approve", hit=True, body=APPROVED),
    write("approve-for-a-star", approver("*"), APPROVAL, 403, "csr-approve", hit=False, body=APPROVED),
    write("approve-for-two-stars", approver("*/*"), APPROVAL, 403, "csr-approve", hit=False, body=APPROVED),
    write("approve-for-nobody", approver(), APPROVAL, 403, "csr-approve", hit=False, body=APPROVED),
]  # fmt: skip

WRITES = [*ESCALATING, *BINDING, *IMPERSONATING, *OTHERS]
READS_SECRETS = {"secrets-by-patch", "secrets-by-deletecollection", "secrets-by-the-empty-name",
                 "one-secret-by-its-name"}  # fmt: skip


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A namespace with one account for each row."""
    with accounts(control_plane, {one.name: one.granted for one in WRITES}) as plane:
        yield plane


@pytest.fixture(scope="module")
def access(plane: ControlPlane) -> rbac.Access:
    """The same cluster as posture reads it."""
    return rbac.evaluate(read(plane))


@pytest.fixture(scope="module")
def hits(access: rbac.Access) -> dict[str, set[str]]:
    """The shipped checks that hold, by subject."""
    rules = Inputs(Config()).rules
    found: dict[str, set[str]] = {}
    for hit in rbac.match(rbac.Matcher(rules.applying(access.snapshot)), access):
        found.setdefault(hit.subject, set()).add(hit.check)
    return found


@pytest.mark.parametrize("one", WRITES, ids=[one.name for one in WRITES])
def test_a_check_holds_for_who_can_do_what_it_says(plane: ControlPlane, hits: dict[str, set[str]], one: Write) -> None:
    """The API server does, or refuses, what the table says, and the check holds for those who reach its end."""
    asked = Asked(one.method, one.path, body=one.body, headers=dict(one.headers))

    assert status(plane, asked, plane.token(NS, one.name)) == one.status
    found = hits.get(f"serviceaccount:{NS}/{one.name}", set())
    assert (one.check in found) == one.hit, sorted(found)


@pytest.mark.parametrize("one", [one for one in OTHERS if "secret" in one.name], ids=lambda one: one.name)
def test_an_answer_holds_the_secret_where_it_is_called_reading(plane: ControlPlane, one: Write) -> None:
    """To patch with nothing and to try to delete all is to read; to overwrite and to delete one is not."""
    asked = Asked(one.method, one.path, body=one.body)

    assert (SECRET in str(sent(plane, asked, plane.token(NS, one.name)))) == (one.name in READS_SECRETS)


def test_whoever_creates_a_missing_role_gives_it_to_those_bound(
    plane: ControlPlane, access: rbac.Access, hits: dict[str, set[str]]
) -> None:
    """A binding to a role that does not exist grants nothing, is told, and comes alive with the role."""
    who, asked = (
        f"system:serviceaccount:{NS}:someone",
        {"verb": "get", "apiGroup": "", "resource": "secrets", "namespace": NS, "name": "s"},
    )
    assert "rbac-role-missing" in hits[f"serviceaccount:{NS}/someone"]
    assert (answer(access, Question.of({"user": who, **asked})).allowed, reviewed(plane, who, asked)) == (False, False)

    plane.apply([role("ghost", READ, namespace=NS)])
    settle(plane)
    try:
        assert plane.request("GET", f"{SECRETS}/s", token=plane.token(NS, "someone"))["data"] == {"key": SECRET}
        later = answer(rbac.evaluate(read(plane)), Question.of({"user": who, **asked}))
        assert (later.allowed, later.inert) == (True, False)
    finally:
        plane.request("DELETE", f"{ROLES_INSIDE}/roles/ghost")


def test_each_row_has_an_account_of_its_own() -> None:
    """So that no row is allowed what another is granted."""
    assert len({one.name for one in WRITES}) == len(WRITES)
