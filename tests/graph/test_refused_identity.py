"""What looks like an escalation by identities and is none, as real requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from posture.graph.paths import held
from posture.kinds import RBAC
from tests.controlplane.build import NEWEST
from tests.generator.objects import (
    Object,
    binding,
    group,
    metadata,
    role,
    rule,
    urls,
)
from tests.graph.identity import (
    ANY_BIND,
    APPROVED,
    AS_ACCOUNT,
    AS_MANAGER,
    AUTHENTICATION,
    BINDINGS_HERE,
    BOOTSTRAP,
    CERTIFICATES,
    CLUSTER_BINDINGS,
    CLUSTER_OPS,
    CLUSTER_ROLES,
    CONSTRAINED,
    FRESH_ACCOUNT,
    FRESH_CLUSTER_ROLE,
    FRESH_ROLE,
    GET_SECRET,
    GIVEN,
    KUBELET,
    MANAGER,
    NAMED,
    OLDER,
    PATCH_CLUSTER_WIDE,
    PATCH_WIDE,
    ROLES_HERE,
    SYSTEM,
    TOKEN_SECRET,
    USER_INFO,
    applied,
    as_other,
    ask,
    fresh_binding,
    fresh_request,
    joined,
    objects,
    on,
)
from tests.graph.proving import (
    Planes,
    Proving,
    proving,
)
from tests.rbac.accounts import (
    CSR,
    DRY,
    INSIDE,
    NS,
    PART,
    SECRETS,
    SIGNER,
    UPGRADE,
    Grant,
    everywhere,
    here,
)
from tests.rbac.requests import Asked, reviewed, status


@dataclass(frozen=True)
class Pattern:
    """What looks like an escalation and is none: what an account is granted, a request, and its status."""

    name: str
    granted: tuple[Grant, ...]
    request: Asked
    status: int = 403


EIGHT = "get,list,watch,create,update,patch,delete,deletecollection"
POST_BINDING = ask(f"POST {BINDINGS_HERE}?{DRY}", fresh_binding("ClusterRole/cluster-admin"))
POST_CLUSTER_BINDING = ask(f"POST {CLUSTER_BINDINGS}?{DRY}", fresh_binding("ClusterRole/cluster-admin", inside=False))
POST_ROLE = ask(f"POST {ROLES_HERE}?{DRY}", FRESH_ROLE)
APPROVE = ask(f"PATCH {CSR}/real-request/approval?{DRY}", APPROVED)
WRITE_BINDINGS, WRITE_ROLES, WRITE_CLUSTER_ROLES = (
    rule("create,update,patch", resource, RBAC) for resource in ("rolebindings", "roles", "clusterroles")
)
EVENT: Object = {
    "apiVersion": "v1", "kind": "Event", "metadata": metadata("proof-fresh", NS), "reason": "proof", "type": "Normal",
    "involvedObject": {"kind": "Pod", "namespace": NS, "name": "p"},
}  # fmt: skip

BINDING_PATTERNS = [
    Pattern("binding-without-bind", here(WRITE_BINDINGS), POST_BINDING),
    Pattern("cluster-binding-without-bind", everywhere(rule("create,update,patch", "clusterrolebindings", RBAC)),
            POST_CLUSTER_BINDING),
    Pattern("bind-without-binding", here(ANY_BIND), POST_BINDING),
    Pattern("bind-on-bindings", here(rule("bind", "rolebindings", RBAC), WRITE_BINDINGS), POST_BINDING),
    Pattern("bind-on-cluster-bindings", everywhere(rule("bind,create", "clusterrolebindings", RBAC)),
            POST_CLUSTER_BINDING),
    Pattern("bind-in-the-wrong-group", here(rule("bind", "clusterroles"), WRITE_BINDINGS), POST_BINDING),
    Pattern("bind-inside-for-a-cluster-binding",
            (*everywhere(rule("create", "clusterrolebindings", RBAC)), *here(ANY_BIND)), POST_CLUSTER_BINDING),
    Pattern("cluster-bindings-from-inside", here(rule("create", "clusterrolebindings", RBAC), ANY_BIND),
            POST_CLUSTER_BINDING),
    Pattern("create-of-one-name", here(ANY_BIND, rule("create", "rolebindings", RBAC, names=["proof-fresh"])),
            POST_BINDING),
    Pattern("bind-for-the-empty-name", here(rule("bind", "clusterroles", RBAC, names=[""]), WRITE_BINDINGS),
            POST_BINDING),
    Pattern("share-what-is-held", here(WRITE_BINDINGS, rule("get", "pods")),
            ask(f"POST {BINDINGS_HERE}?{DRY}",
                binding("proof-fresh", "Role/proof-pods", group("system:unauthenticated"), namespace=NS)), 200),
    Pattern("join-a-binding-without-bind", here(WRITE_BINDINGS), joined(f"{BINDINGS_HERE}/given", GIVEN, "patch")),
    Pattern("join-a-cluster-binding-without-bind", everywhere(rule("update,patch", "clusterrolebindings", RBAC)),
            joined(f"{CLUSTER_BINDINGS}/proof-ops", CLUSTER_OPS, "update")),
    Pattern("delete-a-binding", here(rule("delete", "rolebindings", RBAC)),
            ask(f"DELETE {BINDINGS_HERE}/given?{DRY}"), 200),
]  # fmt: skip

ROLE_PATTERNS = [
    Pattern("role-without-escalate", here(WRITE_ROLES), POST_ROLE),
    Pattern("escalate-alone", here(rule("escalate", "roles", RBAC)), POST_ROLE),
    Pattern("escalate-alone-cluster", everywhere(rule("escalate", "clusterroles", RBAC)), PATCH_CLUSTER_WIDE),
    Pattern("escalate-on-another-role",
            here(rule("escalate", "roles", RBAC, names=["two"]), rule("patch", "roles", RBAC, names=["wide"])),
            PATCH_WIDE),
    Pattern("escalate-for-the-empty-name",
            here(rule("escalate", "roles", RBAC, names=[""]), rule("patch", "roles", RBAC)), PATCH_WIDE),
    Pattern("escalate-in-the-wrong-group", here(rule("escalate,patch", "roles")), PATCH_WIDE),
    Pattern("escalate-clusterroles-from-inside", here(rule("escalate,patch", "clusterroles", RBAC)),
            PATCH_CLUSTER_WIDE),
    Pattern("label-for-aggregation", everywhere(WRITE_CLUSTER_ROLES),
            ask(f"PATCH {CLUSTER_ROLES}/real-wide?{DRY}", {"metadata": {"labels": PART}})),
    Pattern("widen-an-aggregation", everywhere(WRITE_CLUSTER_ROLES),
            ask(f"PATCH {CLUSTER_ROLES}/real-collector?{DRY}", {"aggregationRule": {"clusterRoleSelectors": [{}]}})),
    Pattern("every-verb-by-a-holder-of-eight", here(WRITE_ROLES, rule(EIGHT, "limitranges")),
            ask(f"POST {ROLES_HERE}?{DRY}", role("proof-fresh", rule("*", "limitranges"), namespace=NS))),
    Pattern("finalizers-of-a-role", here(WRITE_ROLES),
            ask(f"PATCH {ROLES_HERE}/wide?{DRY}", {"metadata": {"finalizers": ["example.com/kept"]}}), 200),
    Pattern("narrow-a-role", here(WRITE_ROLES), ask(f"PATCH {ROLES_HERE}/wide?{DRY}", {"rules": []}), 200),
]  # fmt: skip

OWN_NAME = f"system:serviceaccount:{NS}:impersonate-groups-and-oneself"
IMPERSONATION_PATTERNS = [
    Pattern("impersonate-groups-alone", everywhere(rule("impersonate", "groups")),
            Asked("GET", SECRETS, headers={"Impersonate-Group": "system:masters"}), 400),
    Pattern("impersonate-groups-and-oneself", everywhere(rule("impersonate", "groups")),
            as_other(f"GET {SECRETS}", OWN_NAME, "system:masters")),
    Pattern("impersonate-groups-from-inside", here(rule("impersonate", "groups,users")),
            as_other(GET_SECRET, "zoe", "proof-team")),
    Pattern("impersonate-users-from-inside", here(rule("impersonate", "users")), as_other(GET_SECRET, "real-ann")),
    Pattern("impersonate-in-the-wrong-group", everywhere(rule("impersonate", "users", AUTHENTICATION)),
            as_other(GET_SECRET, "real-ann")),
    Pattern("impersonate-by-eight-verbs", everywhere(rule(EIGHT, "users,groups")), as_other(GET_SECRET, "real-ann")),
    Pattern("impersonate-the-empty-name", everywhere(rule("impersonate", "users", names=[""])),
            as_other(GET_SECRET, "real-ann")),
    Pattern("impersonate-groups-and-the-empty-name",
            (*everywhere(rule("impersonate", "groups")), *here(rule("impersonate", "serviceaccounts", names=[""]))),
            as_other(GET_SECRET, f"system:serviceaccount:{NS}:someone", "proof-team")),
    Pattern("impersonate-uids", everywhere(rule("impersonate", "uids,userextras/any", AUTHENTICATION)),
            Asked("GET", SECRETS, headers={"Impersonate-Uid": "1"}), 400),
    Pattern("act-without-on", everywhere(rule("impersonate:user-info", "users", AUTHENTICATION)),
            as_other(GET_SECRET, MANAGER)),
    Pattern("on-without-act", everywhere(*USER_INFO), as_other(GET_SECRET, MANAGER)),
    Pattern("act-in-the-wrong-group", everywhere(rule("impersonate:user-info", "users"), *USER_INFO),
            as_other(GET_SECRET, MANAGER)),
    Pattern("act-on-behalf-of-another-kind",
            everywhere(rule("impersonate:user-info", "users", AUTHENTICATION), *AS_ACCOUNT),
            as_other(GET_SECRET, MANAGER)),
]  # fmt: skip

OTHER_PATTERNS = [
    Pattern("star-in-a-resource", here(rule("*", "secrets/*,*/*,secret*")), ask(GET_SECRET)),
    Pattern("verbs-and-resources-in-capitals", here(rule("GET,List", "secrets"), rule("get", "Secrets")),
            ask(GET_SECRET)),
    Pattern("secrets-in-the-wrong-group", here(rule("*", "secrets", "apps")), ask(GET_SECRET)),
    Pattern("deletecollection-of-a-name", here(rule("deletecollection", "secrets", names=["s"])),
            ask(f"DELETE {NAMED}&{DRY}")),
    Pattern("overwrite-secrets", here(rule("update", "secrets")),
            ask(f"PUT {SECRETS}/s?{DRY}", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata("s", NS)}), 200),
    Pattern("delete-secrets", here(rule("delete", "secrets")), ask(f"DELETE {SECRETS}/s?{DRY}"), 200),
    Pattern("secrets-by-the-empty-name", here(rule("get,patch", "secrets", names=[""])), ask(GET_SECRET)),
    Pattern("token-by-get", here(rule("get,list,update,patch", "serviceaccounts/token")),
            ask(f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}")),
    Pattern("token-of-the-empty-name", here(rule("create", "serviceaccounts/token", names=[""])),
            ask(f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}")),
    Pattern("exec-by-get", here(rule("get", "pods/exec")),
            ask(f"GET {INSIDE}/pods/p/exec?command=id&stdout=1", headers=UPGRADE)),
    Pattern("approve-for-a-star", everywhere(rule("patch", "certificatesigningrequests/approval", CERTIFICATES),
                                             rule("approve", "signers", CERTIFICATES, names=["*", "*/*"])), APPROVE),
    Pattern("approve-for-nobody", everywhere(rule("patch", "certificatesigningrequests/approval", CERTIFICATES)),
            APPROVE),
    Pattern("approve-without-approval", everywhere(rule("approve", "signers", CERTIFICATES)), APPROVE),
    Pattern("sign-without-a-key", everywhere(rule("patch", "certificatesigningrequests/status", CERTIFICATES),
                                             rule("sign", "signers", CERTIFICATES)),
            ask(f"PATCH {CSR}/real-request/status?{DRY}"), 200),
    Pattern("cluster-scoped-from-inside", here(rule("*", "clusterroles,clusterrolebindings", RBAC)),
            POST_CLUSTER_BINDING),
    Pattern("everything-that-is-no-resource", everywhere(urls("*", "*")), ask(GET_SECRET)),
    Pattern("write-events", here(rule("*", "events")), ask(f"POST {INSIDE}/events?{DRY}", EVENT), 200),
    Pattern("update-finalizers", here(rule("update", "*/finalizers", "*")),
            ask(f"PUT {INSIDE}/pods/p/finalizers?{DRY}",
                {"apiVersion": "v1", "kind": "Pod", "metadata": metadata("p", NS)}), 404),
]  # fmt: skip

PATTERNS = [*BINDING_PATTERNS, *ROLE_PATTERNS, *IMPERSONATION_PATTERNS, *OTHER_PATTERNS]

NARROW = [
    ("create-rolebinding-to-clusterrole", Pattern("create-of-one-name-and-patch-of-another",
            here(ANY_BIND, rule("create", "rolebindings", RBAC, names=["proof-fresh"]),
                 rule("patch", "rolebindings", RBAC, names=["proof-other"])),
            applied(BINDINGS_HERE, fresh_binding("ClusterRole/cluster-admin")))),
    ("hold-everything", Pattern("everything-inside", here(rule("*", "*", "*")), ask("GET /api/v1/secrets"))),
    ("hold-everything-in-namespace",
     Pattern("everything-of-a-name", here(rule("*", "*", "*", names=["s"])), ask(f"GET {SECRETS}"))),
    ("read-secrets", Pattern("list-one-secret", here(rule("get,list,watch", "secrets", names=["s"])),
                             ask(f"GET {SECRETS}"))),
    ("patch-secrets", Pattern("patch-another-secret", here(rule("patch", "secrets", names=["other"])),
                              ask(f"PATCH {SECRETS}/s?{DRY}"))),
    ("create-token-secret", Pattern("create-one-secret", here(rule("create", "secrets", names=["proof-token"])),
                                    ask(f"POST {SECRETS}?{DRY}", TOKEN_SECRET))),
    ("create-serviceaccount-and-run",
     Pattern("create-one-account", here(rule("create", "serviceaccounts", names=["proof-fresh"])),
             ask(f"POST {INSIDE}/serviceaccounts?{DRY}", FRESH_ACCOUNT))),
    ("create-serviceaccount-and-token",
     Pattern("create-one-account-with-token",
             here(rule("create", "serviceaccounts,serviceaccounts/token", names=["proof-fresh"])),
             ask(f"POST {INSIDE}/serviceaccounts?{DRY}", FRESH_ACCOUNT))),
    ("request-node-certificate",
     Pattern("request-one-certificate", everywhere(
         rule("create,get", "certificatesigningrequests", CERTIFICATES, names=["proof-fresh"]),
         rule("create", "certificatesigningrequests/nodeclient", CERTIFICATES)),
         ask(f"POST {CSR}?{DRY}", fresh_request(KUBELET)))),
    ("approve-client-certificate",
     Pattern("request-one-certificate-of-a-user",
             everywhere(rule("create,get", "certificatesigningrequests", CERTIFICATES, names=["proof-fresh"])),
             ask(f"POST {CSR}?{DRY}", fresh_request(SIGNER)))),
    ("create-clusterrole-with-any-rule",
     Pattern("create-one-clusterrole", everywhere(rule("escalate,create", "clusterroles", RBAC, names=["proof-fresh"])),
             ask(f"POST {CLUSTER_ROLES}?{DRY}", FRESH_CLUSTER_ROLE))),
    ("create-role-with-any-rule",
     Pattern("create-one-role", here(rule("escalate,create", "roles", RBAC, names=["proof-fresh"])),
             ask(f"POST {ROLES_HERE}?{DRY}", FRESH_ROLE))),
    ("create-bootstrap-token",
     Pattern("create-secrets-elsewhere", here(rule("create", "secrets")),
             ask(f"POST {SYSTEM}/secrets?{DRY}", BOOTSTRAP))),
    ("request-node-certificate",
     Pattern("request-without-reading", everywhere(
         rule("create", "certificatesigningrequests,certificatesigningrequests/nodeclient", CERTIFICATES)),
         ask(f"GET {CSR}/proof-node-request"))),
    ("read-secrets-as-user",
     Pattern("read-one-secret-as-user",
             (*everywhere(AS_MANAGER), *here(on("user-info", "list", "secrets", "", names=["s"]))),
             as_other(f"GET {SECRETS}", MANAGER))),
    ("read-secrets-as-serviceaccount",
     Pattern("read-secrets-as-account-inside",
             (*everywhere(rule("impersonate:serviceaccount", "serviceaccounts", AUTHENTICATION)),
              *here(on("serviceaccount", "list", "secrets", ""))),
             as_other("GET /api/v1/secrets", "system:serviceaccount:kube-system:namespace-controller"))),
    ("read-secrets-as-node",
     Pattern("read-secrets-as-another-node",
             (*everywhere(rule("impersonate:arbitrary-node", "nodes", AUTHENTICATION, names=["other"])),
              *here(on("arbitrary-node", "get", "secrets", ""))),
             as_other(GET_SECRET, "system:node:proof-node"))),
]  # fmt: skip
"""What is held of an escalation that is too narrow for it, and the request that would be its step."""

NODE_REQUEST = everywhere(
    rule("create,get", "certificatesigningrequests", CERTIFICATES),
    rule("create", "certificatesigningrequests/nodeclient", CERTIFICATES),
)
BEFORE = {f"before-{one.edge}-{one.name}": one for one in CONSTRAINED}
MORE = {
    **{one.name: one.granted for one in (*PATTERNS, *(one for _, one in NARROW))},
    **{name: one.granted[0] for name, one in BEFORE.items()},
    "joins-another": here(
        rule("bind", "clusterroles", RBAC), rule("update,patch", "rolebindings", RBAC, names=["given"])
    ),
    "node-request": NODE_REQUEST,
    "node-request-by-hand": NODE_REQUEST[:1],
    "act-as-masters": everywhere(
        rule("impersonate:user-info", "groups", AUTHENTICATION, names=["system:masters"]),
        rule("impersonate:user-info", "users", AUTHENTICATION),
        *USER_INFO,
    ),
}


@pytest.fixture(scope="module")
def planes(control_plane_of: Planes) -> Iterator[Proving]:
    """An account for every pattern."""
    with proving(control_plane_of, (), [*objects()], MORE) as found:
        yield found


@pytest.mark.parametrize("one", PATTERNS, ids=lambda one: one.name)
def test_what_only_looks_like_an_escalation_is_none(planes: Proving, one: Pattern) -> None:
    """The server refuses it, or does what gives nobody anything; no escalation holds."""
    place = planes.at(NEWEST)

    assert status(place.plane, one.request, place.plane.token(NS, one.name)) == one.status
    assert [found for found in place.holds if found[2] == f"serviceaccount:{NS}/{one.name}"] == []


@pytest.mark.parametrize(("edge", "one"), NARROW, ids=[one.name for _, one in NARROW])
def test_less_than_the_condition_is_not_the_escalation(planes: Proving, edge: str, one: Pattern) -> None:
    """Limited to names or to a namespace it may be something else; the step itself is refused."""
    place = planes.at(NEWEST)

    assert status(place.plane, one.request, place.plane.token(NS, one.name)) == one.status
    assert not [found for found in place.holds if found == (edge, 0, f"serviceaccount:{NS}/{one.name}")]


@pytest.mark.parametrize(("name", "expected"), [("node-request", True), ("node-request-by-hand", False)])
def test_the_approver_of_node_certificates_is_told_yes(planes: Proving, name: str, expected: bool) -> None:
    """The request is taken either way; the review that the approving controller asks decides."""
    place = planes.at(NEWEST)
    request = ask(f"POST {CSR}?{DRY}", fresh_request(KUBELET))
    line = {"verb": "create", "apiGroup": CERTIFICATES, "resource": "certificatesigningrequests",
            "subresource": "nodeclient"}  # fmt: skip

    assert status(place.plane, request, place.plane.token(NS, name)) == 200
    assert reviewed(place.plane, f"system:serviceaccount:{NS}:{name}", line) is expected
    assert (("request-node-certificate", 0, f"serviceaccount:{NS}/{name}") in place.holds) is expected


def test_a_binding_is_joined_for_the_role_that_it_refers_to_and_for_no_other(planes: Proving) -> None:
    """Whoever may bind another role is refused, and a binding's role is never changed: no edge, though permissions meet
    the condition.
    """
    place = planes.at(NEWEST)
    token = place.plane.token(NS, "joins-another")
    turned = {**fresh_binding("ClusterRole/cluster-admin"), "metadata": metadata("given", NS)}

    assert status(place.plane, joined(f"{BINDINGS_HERE}/given", GIVEN, "patch"), token) == 403
    assert status(place.plane, ask(f"PUT {BINDINGS_HERE}/given?{DRY}", turned), token) == 422
    assert ("join-rolebinding-to-clusterrole", 0, f"serviceaccount:{NS}/joins-another") in place.holds
    assert place.follows("join-rolebinding-to-clusterrole", "joins-another") == []


def test_constrained_impersonation_never_makes_a_member_of_system_masters(planes: Proving) -> None:
    """The server refuses the group by its name, whatever is granted; no edge leads to it."""
    place = planes.at(NEWEST)
    asked = as_other(GET_SECRET, "zoe", "system:masters")

    assert status(place.plane, asked, place.plane.token(NS, "act-as-masters")) == 403
    assert "group:system:masters" not in held(place.graph.edges, [f"serviceaccount:{NS}/act-as-masters"])


@pytest.mark.prove
@pytest.mark.parametrize("name", BEFORE)
def test_constrained_impersonation_gives_nothing_on_older_servers(planes: Proving, name: str) -> None:
    """1.34 refuses the first request, and no escalation holds."""
    place = planes.at(OLDER[0])
    first = BEFORE[name].requests[0][1]
    assert isinstance(first, Asked)

    assert status(place.plane, first, place.plane.token(NS, name)) == 403
    assert [found for found in place.holds if found[2] == f"serviceaccount:{NS}/{name}"] == []
