"""Escalations by identities and by RBAC's own API, as real requests: each step is proven, each look-alike refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from posture.graph.paths import held
from posture.kinds import RBAC
from tests.controlplane.build import NEWEST
from tests.generator.objects import (
    Object,
    account,
    binding,
    group,
    metadata,
    role,
    rule,
    service_account,
    urls,
    user,
)
from tests.graph.proving import (
    Part,
    Planes,
    Proof,
    Proving,
    Request,
    Sender,
    account_of,
    cases,
    partial,
    proving,
)
from tests.rbac.accounts import (
    APPLY,
    CSR,
    DRY,
    INSIDE,
    NS,
    PART,
    READ,
    ROLES,
    ROLES_INSIDE,
    SECRET,
    SECRETS,
    SIGNER,
    UPGRADE,
    Grant,
    certificate_request,
    everywhere,
    here,
)
from tests.rbac.requests import Asked, reviewed, status

OLDER = ("1.34",)
AUTHENTICATION = "authentication.k8s.io"
CERTIFICATES = "certificates.k8s.io"
KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
MANAGER = "system:kube-controller-manager"
SYSTEM = "/api/v1/namespaces/kube-system"
NAMED = f"{SECRETS}?fieldSelector=metadata.name%3Ds"
WATCH = "&watch=1&timeoutSeconds=1&resourceVersion=0"
WIDER: Object = {"rules": [READ, rule("delete", "secrets")]}
EVERYTHING = rule("*", "*", "*")


def ask(request: str, body: Object | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Asked:
    """A request; `request` is METHOD PATH."""
    method, _, path = request.partition(" ")
    return Asked(method, path, body=body, headers=dict(headers))


def applied(path: str, body: Object) -> Asked:
    """An object is applied by its name, as a test."""
    return ask(f"PATCH {path}/{body['metadata']['name']}?fieldManager=proof&{DRY}", body, APPLY)


def as_other(request: str, name: str, *groups: str, body: Object | None = None) -> Asked:
    """A request that impersonates."""
    more = tuple(("Impersonate-Group", one) for one in groups)
    return ask(request, body, (("Impersonate-User", name), *more))


def proof(edge: str, name: str, granted: tuple[Grant, ...], *requests: Asked, **more: Any) -> Proof:
    """A proof by one identity, on the newest version and, where nothing else is said, on an older one."""
    return several(edge, name, (granted,), *((0, one) for one in requests), **more)


def several(
    edge: str, name: str, granted: tuple[tuple[Grant, ...], ...], *requests: tuple[Sender, Request], **more: Any
) -> Proof:
    """A proof by several identities."""
    return replace(Proof(edge, name, granted, requests, minors=OLDER), **more)


def here_named(verbs: str, resources: str, groups: str, *names: str) -> tuple[Grant, ...]:
    """Each verb a grant of its own, in the namespace, limited to names."""
    return here(*(rule(verb, resources, groups, names=names or None) for verb in verbs.split(",")))


def everywhere_named(verbs: str, resources: str, groups: str, *names: str) -> tuple[Grant, ...]:
    """Each verb a grant of its own, cluster-wide, limited to names."""
    return everywhere(*(rule(verb, resources, groups, names=names or None) for verb in verbs.split(",")))


def fresh_binding(reference: str, *, inside: bool = True) -> Object:
    """A binding that somebody writes."""
    return binding("proof-fresh", reference, user("zoe"), namespace=NS if inside else "")


def secret(name: str, kind: str, namespace: str = NS, **annotations: str) -> Object:
    """A Secret of a type that means something."""
    meta = metadata(name, namespace, annotations=annotations)
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind}


def fresh_request(signer: str) -> Object:
    """A certificate request under a name that the server makes."""
    made = certificate_request()
    made["metadata"] = {"generateName": "proof-"}
    made["spec"]["signerName"] = signer
    return made


SPELLED = f"system:serviceaccount:{NS}:proof-spelled"


def objects() -> Iterator[Object]:
    """Whom others act as, and what these may do: users, groups and accounts, one of which does not exist; a node."""
    yield service_account(NS, "proof-account")
    yield role("proof-all", rule("*", "secrets,configmaps"), namespace=NS)
    who = (user("proof-ann"), group("proof-team"), account(NS, "proof-account"), account(NS, "proof-absent"))
    yield binding("proof-all", "Role/proof-all", *who, namespace=NS)
    labelled = {"name": "proof-labelled", "namespace": NS, "labels": {"proof": "read"}}
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": labelled, "data": {"key": SECRET}}
    yield role("proof-pods", rule("get", "pods"), namespace=NS)
    yield service_account(NS, "proof-spelled")
    yield role("proof-token", rule("create", "serviceaccounts/token"), namespace=NS)
    yield binding("proof-token", "Role/proof-token", user(SPELLED), namespace=NS)
    yield {"apiVersion": "v1", "kind": "Node", "metadata": metadata("proof-node")}
    yield {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata("proof-mounts", NS),
        "spec": {
            "serviceAccountName": "someone", "nodeName": "proof-node",
            "containers": [{"name": "c", "image": "none"}],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        },
    }  # fmt: skip
    for_kubelet = fresh_request(KUBELET)
    for_kubelet["metadata"] = metadata("proof-node-request")
    yield for_kubelet


FRESH_ROLE = role("proof-fresh", *WIDER["rules"], namespace=NS)
FRESH_CLUSTER_ROLE = role("proof-fresh", *WIDER["rules"])
CLUSTER_ROLES, CLUSTER_BINDINGS = f"{ROLES}/clusterroles", f"{ROLES}/clusterrolebindings"
ROLES_HERE, BINDINGS_HERE = f"{ROLES_INSIDE}/roles", f"{ROLES_INSIDE}/rolebindings"
PATCH_WIDE = ask(f"PATCH {ROLES_HERE}/wide?{DRY}", WIDER)
PUT_WIDE = ask(f"PUT {ROLES_HERE}/wide?{DRY}", role("wide", *WIDER["rules"], namespace=NS))
PATCH_CLUSTER_WIDE = ask(f"PATCH {CLUSTER_ROLES}/real-wide?{DRY}", WIDER)
PUT_CLUSTER_WIDE = ask(f"PUT {CLUSTER_ROLES}/real-wide?{DRY}", role("real-wide", *WIDER["rules"]))

ROLE_WRITES = [
    proof("hold-everything", "cluster", everywhere(EVERYTHING), ask("GET /api/v1/secrets"),
          ask(f"POST {CLUSTER_ROLES}?{DRY}", role("proof-fresh", EVERYTHING))),
    proof("hold-everything-in-namespace", "inside", here(EVERYTHING), ask(f"GET {SECRETS}"),
          ask(f"POST {ROLES_HERE}?{DRY}", role("proof-fresh", EVERYTHING, namespace=NS))),
    proof("escalate-clusterroles", "patch", everywhere_named("escalate,patch", "clusterroles", RBAC),
          PATCH_CLUSTER_WIDE),
    proof("escalate-clusterroles", "update", everywhere_named("escalate,update", "clusterroles", RBAC),
          PUT_CLUSTER_WIDE),
    proof("escalate-clusterroles", "named",
          everywhere_named("escalate,patch", "clusterroles", RBAC, "real-wide"), PATCH_CLUSTER_WIDE),
    proof("escalate-clusterroles", "aggregation",
          everywhere_named("escalate,patch", "clusterroles", RBAC, "real-collector"),
          ask(f"PATCH {CLUSTER_ROLES}/real-collector?{DRY}", {"aggregationRule": {"clusterRoleSelectors": [{}]}})),
    proof("create-clusterrole-with-any-rule", "post", everywhere_named("escalate,create", "clusterroles", RBAC),
          ask(f"POST {CLUSTER_ROLES}?{DRY}", FRESH_CLUSTER_ROLE)),
    proof("create-clusterrole-with-any-rule", "empty-name",
          everywhere_named("escalate,create", "clusterroles", RBAC, ""),
          ask(f"POST {CLUSTER_ROLES}?{DRY}", FRESH_CLUSTER_ROLE)),
    proof("create-clusterrole-with-any-rule", "apply",
          everywhere_named("escalate,create,patch", "clusterroles", RBAC, "proof-fresh"),
          applied(CLUSTER_ROLES, FRESH_CLUSTER_ROLE)),
    proof("create-clusterrole-with-any-rule", "put",
          everywhere_named("escalate,create,update", "clusterroles", RBAC, "proof-fresh"),
          ask(f"PUT {CLUSTER_ROLES}/proof-fresh?{DRY}", FRESH_CLUSTER_ROLE)),
    proof("escalate-roles", "patch", here_named("escalate,patch", "roles", RBAC), PATCH_WIDE),
    proof("escalate-roles", "update", here_named("escalate,update", "roles", RBAC), PUT_WIDE),
    proof("escalate-roles", "named", here_named("escalate,patch", "roles", RBAC, "wide"), PATCH_WIDE),
    proof("create-role-with-any-rule", "post", here_named("escalate,create", "roles", RBAC),
          ask(f"POST {ROLES_HERE}?{DRY}", FRESH_ROLE)),
    proof("create-role-with-any-rule", "apply", here_named("escalate,create,patch", "roles", RBAC, "proof-fresh"),
          applied(ROLES_HERE, FRESH_ROLE)),
]  # fmt: skip

BIND_ADMIN = rule("bind", "clusterroles", RBAC, names=["cluster-admin"])
BIND_WIDE = rule("bind", "roles", RBAC, names=["wide"])
ANY_BIND = rule("bind", "clusterroles", RBAC)

BINDING_WRITES = [
    proof("create-clusterrolebinding", "post", everywhere(BIND_ADMIN, rule("create", "clusterrolebindings", RBAC)),
          ask(f"POST {CLUSTER_BINDINGS}?{DRY}", fresh_binding("ClusterRole/cluster-admin", inside=False))),
    proof("create-clusterrolebinding", "any-role", everywhere(ANY_BIND, rule("create", "clusterrolebindings", RBAC)),
          ask(f"POST {CLUSTER_BINDINGS}?{DRY}", fresh_binding("ClusterRole/view", inside=False))),
    proof("create-clusterrolebinding", "apply",
          (*everywhere(BIND_ADMIN), *everywhere_named("create,patch", "clusterrolebindings", RBAC, "proof-fresh")),
          applied(CLUSTER_BINDINGS, fresh_binding("ClusterRole/cluster-admin", inside=False))),
    proof("change-clusterrolebinding", "patch",
          (*everywhere(BIND_ADMIN), *everywhere_named("patch", "clusterrolebindings", RBAC, "cluster-admin")),
          ask(f"PATCH {CLUSTER_BINDINGS}/cluster-admin?{DRY}",
              {"subjects": [group("system:masters"), user("zoe")]})),
    proof("create-rolebinding-to-clusterrole", "post", here(BIND_ADMIN, rule("create", "rolebindings", RBAC)),
          ask(f"POST {BINDINGS_HERE}?{DRY}", fresh_binding("ClusterRole/cluster-admin"))),
    proof("create-rolebinding-to-clusterrole", "apply",
          (*here(ANY_BIND), *here_named("create,patch", "rolebindings", RBAC, "proof-fresh")),
          applied(BINDINGS_HERE, fresh_binding("ClusterRole/cluster-admin"))),
    proof("create-rolebinding-to-clusterrole", "bind-everywhere",
          (*everywhere(BIND_ADMIN), *here(rule("create", "rolebindings", RBAC))),
          ask(f"POST {BINDINGS_HERE}?{DRY}", fresh_binding("ClusterRole/cluster-admin"))),
    proof("create-rolebinding-to-role", "post", here(BIND_WIDE, rule("create", "rolebindings", RBAC)),
          ask(f"POST {BINDINGS_HERE}?{DRY}", fresh_binding("Role/wide"))),
    proof("create-rolebinding-to-role", "put",
          (*here(BIND_WIDE), *here_named("create,update", "rolebindings", RBAC, "proof-fresh")),
          ask(f"PUT {BINDINGS_HERE}/proof-fresh?{DRY}", fresh_binding("Role/wide"))),
]  # fmt: skip

GET_SECRET = f"GET {SECRETS}/s"
SOMEONE, READER = (f"system:serviceaccount:{NS}:{name}" for name in ("someone", "reader"))
ACT_AS_TEAM = rule("impersonate", "groups", names=["proof-team"])

IMPERSONATION = [
    proof("impersonate-user", "named", everywhere(rule("impersonate", "users", names=["real-ann"])),
          as_other(GET_SECRET, "real-ann")),
    proof("impersonate-user", "any", everywhere(rule("impersonate", "users")),
          as_other("GET /api/v1/secrets", MANAGER)),
    proof("impersonate-user", "every-verb", everywhere(rule("*", "users")), as_other(GET_SECRET, "real-ann")),
    proof("impersonate-group", "and-account",
          (*everywhere(ACT_AS_TEAM), *here(rule("impersonate", "serviceaccounts", names=["someone"]))),
          as_other(GET_SECRET, SOMEONE, "proof-team")),
    proof("impersonate-group", "and-user", everywhere(ACT_AS_TEAM, rule("impersonate", "users", names=["zoe"])),
          as_other(GET_SECRET, "zoe", "proof-team")),
    proof("impersonate-masters", "and-account",
          (*everywhere(rule("impersonate", "groups")), *here(rule("impersonate", "serviceaccounts"))),
          as_other("GET /api/v1/secrets", SOMEONE, "system:masters")),
    proof("impersonate-masters", "and-user",
          everywhere(rule("impersonate", "groups", names=["system:masters"]),
                     rule("impersonate", "users", names=["zoe"])),
          as_other("GET /api/v1/secrets", "zoe", "system:masters")),
    proof("impersonate-serviceaccount", "named", here(rule("impersonate", "serviceaccounts", names=["reader"])),
          as_other(GET_SECRET, READER)),
    proof("impersonate-serviceaccount", "everywhere",
          everywhere(rule("impersonate", "serviceaccounts", names=["proof-absent"])),
          as_other(GET_SECRET, f"system:serviceaccount:{NS}:proof-absent")),
    proof("impersonate-serviceaccount", "absent", here(rule("impersonate", "serviceaccounts")),
          as_other(GET_SECRET, f"system:serviceaccount:{NS}:proof-absent")),
]  # fmt: skip


def token_of(answers: Any) -> str:
    """The token that the first answer holds."""
    found: str = answers[0]["status"]["token"]
    return found


def minted(number: int) -> tuple[tuple[Sender, Request], ...]:
    """A token is asked for, and a Secret is read with it."""
    return (number, ask(f"POST {INSIDE}/serviceaccounts/reader/token")), (token_of, ask(GET_SECRET))


TOKEN_SECRET = secret("proof-token", "kubernetes.io/service-account-token",
                      **{"kubernetes.io/service-account.name": "reader"})  # fmt: skip
BOOTSTRAP = secret("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", "kube-system")
FRESH_ACCOUNT = service_account(NS, "proof-fresh")

CREDENTIALS = [
    several("create-serviceaccount-token", "named",
            (here(rule("create", "serviceaccounts/token", names=["reader"])),), *minted(0)),
    several("create-serviceaccount-token", "any", (here(rule("create", "serviceaccounts/token")),), *minted(0)),
    proof("create-token-secret", "post", here(rule("create", "secrets")), ask(f"POST {SECRETS}?{DRY}", TOKEN_SECRET)),
    proof("apply-token-secret", "named", here_named("create,patch", "secrets", "", "proof-token"),
          applied(SECRETS, TOKEN_SECRET)),
    proof("create-bootstrap-token", "post", (("kube-system", rule("create", "secrets")),),
          ask(f"POST {SYSTEM}/secrets?{DRY}", BOOTSTRAP)),
    proof("create-bootstrap-token", "apply",
          tuple(("kube-system", rule(verb, "secrets", names=["bootstrap-token-abcdef"]))
                for verb in ("create", "patch")),
          applied(f"{SYSTEM}/secrets", BOOTSTRAP)),
    proof("create-serviceaccount-and-run", "post", here(rule("create", "serviceaccounts")),
          ask(f"POST {INSIDE}/serviceaccounts?{DRY}", FRESH_ACCOUNT)),
    several("create-serviceaccount-and-token", "two",
            (here(rule("create", "serviceaccounts")), here(rule("create", "serviceaccounts/token"))),
            (0, ask(f"POST {INSIDE}/serviceaccounts?{DRY}", FRESH_ACCOUNT)),
            (1, ask(f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}"))),
    proof("apply-serviceaccount-and-token", "named",
          (*here_named("create,patch", "serviceaccounts", "", "proof-late"),
           *here_named("create", "serviceaccounts/token", "", "proof-late")),
          applied(f"{INSIDE}/serviceaccounts", service_account(NS, "proof-late")),
          ask(f"POST {INSIDE}/serviceaccounts/proof-late/token?{DRY}"), beyond=(404,)),  # a test makes no account
]  # fmt: skip

APPROVED: Object = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "proof"}]}}


def approval(edge: str, name: str, signer: str, approved_for: str, existing: str) -> Proof:
    """One asks for a certificate and reads the answer, another approves."""
    return several(
        edge, name,
        (everywhere(rule("create", "certificatesigningrequests", CERTIFICATES),
                    rule("get", "certificatesigningrequests", CERTIFICATES)),
         everywhere(rule("patch", "certificatesigningrequests/approval", CERTIFICATES),
                    rule("approve", "signers", CERTIFICATES, names=[approved_for]))),
        (0, ask(f"POST {CSR}?{DRY}", fresh_request(signer))), (0, ask(f"GET {CSR}/{existing}")),
        (1, ask(f"PATCH {CSR}/{existing}/approval?{DRY}", APPROVED)),
    )  # fmt: skip


CERTIFICATE_REQUESTS = [
    approval("approve-client-certificate", "signer", SIGNER, SIGNER, "real-request"),
    approval("approve-client-certificate", "domain", SIGNER, "kubernetes.io/*", "real-request"),
    approval("approve-node-certificate", "signer", KUBELET, KUBELET, "proof-node-request"),
]

READING = [
    proof("read-secrets", "get", here(rule("get", "secrets")), ask(GET_SECRET)),
    proof("read-secrets", "list", here(rule("list", "secrets")), ask(f"GET {SECRETS}")),
    proof("read-secrets", "list-empty-name", here(rule("list", "secrets", names=[""])), ask(f"GET {SECRETS}")),
    proof("read-secrets", "watch", here(rule("watch", "secrets")), ask(f"GET {NAMED}{WATCH}")),
    proof("read-secrets", "watch-empty-name", here(rule("watch", "secrets", names=[""])),
          ask(f"GET {SECRETS}?labelSelector=proof%3Dread{WATCH}")),
    proof("read-secrets", "every-resource", here(rule("get", "*")), ask(GET_SECRET)),
    proof("patch-secrets", "empty", here(rule("patch", "secrets")), ask(f"PATCH {SECRETS}/s?{DRY}")),
    proof("delete-secrets-dry-run", "all", here(rule("deletecollection", "secrets")), ask(f"DELETE {SECRETS}?{DRY}")),
    proof("delete-secrets-dry-run", "empty-name", here(rule("deletecollection", "secrets", names=[""])),
          ask(f"DELETE {SECRETS}?{DRY}")),
    proof("read-one-secret", "get", here(rule("get", "secrets", names=["s"])), ask(GET_SECRET)),
    proof("read-one-secret", "list", here(rule("list", "secrets", names=["s"])), ask(f"GET {NAMED}")),
    proof("read-one-secret", "watch", here(rule("watch", "secrets", names=["s"])), ask(f"GET {NAMED}{WATCH}")),
    proof("read-one-secret", "patch", here(rule("patch", "secrets", names=["s"])), ask(f"PATCH {SECRETS}/s?{DRY}")),
]  # fmt: skip

CONFIG_MAP: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("present", NS)}
PROOF_ACCOUNT = f"system:serviceaccount:{NS}:proof-account"


def on(mode: str, verb: str, resources: str = "*", groups: str = "*", **more: Any) -> Object:
    """The right to use a verb on behalf of somebody else."""
    return rule([f"impersonate-on:{mode}:{verb}"], resources, groups, **more)


def each_verb(name: str, *groups: str) -> list[Asked]:
    """A request by each verb, as somebody else."""
    maps = f"{INSIDE}/configmaps"
    fresh = {**CONFIG_MAP, "metadata": metadata("proof-fresh", NS)}
    return [
        as_other(GET_SECRET, name, *groups), as_other(f"GET {SECRETS}", name, *groups),
        as_other(f"POST {maps}?{DRY}", name, *groups, body=fresh),
        as_other(f"PUT {maps}/present?{DRY}", name, *groups, body=CONFIG_MAP),
        as_other(f"PATCH {maps}/present?{DRY}", name, *groups),
    ]  # fmt: skip


def constrained(edge: str, name: str, granted: tuple[Grant, ...], *requests: Asked) -> Proof:
    """A proof of constrained impersonation, which came with 1.36."""
    return proof(edge, name, granted, *requests, minors=())


VERBS = ("get", "list", "create", "update", "patch")
USER_INFO = [on("user-info", verb) for verb in VERBS]
AS_ACCOUNT = [on("serviceaccount", verb) for verb in VERBS]
AS_MANAGER = rule("impersonate:user-info", "users", AUTHENTICATION, names=[MANAGER])
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"

CONSTRAINED = [
    constrained("act-as-user", "named",
                everywhere(rule("impersonate:user-info", "users", AUTHENTICATION, names=["proof-ann"]), *USER_INFO),
                *each_verb("proof-ann")),
    constrained("act-as-group", "and-user",
                everywhere(rule("impersonate:user-info", "groups", AUTHENTICATION, names=["proof-team"]),
                           rule("impersonate:user-info", "users", AUTHENTICATION, names=["zoe"]), *USER_INFO),
                *each_verb("zoe", "proof-team")),
    constrained("act-as-serviceaccount", "named",
                everywhere(rule("impersonate:serviceaccount", "serviceaccounts", AUTHENTICATION,
                                names=["proof-account"]), *AS_ACCOUNT),
                *each_verb(PROOF_ACCOUNT)),
    constrained("read-secrets-as-user", "get", (*everywhere(AS_MANAGER), *here(on("user-info", "get", "secrets", ""))),
                as_other(GET_SECRET, MANAGER)),
    constrained("read-secrets-as-user", "list",
                (*everywhere(rule("impersonate:user-info", "users", AUTHENTICATION)),
                 *here(on("user-info", "list", "secrets", ""))), as_other(f"GET {SECRETS}", MANAGER)),
    constrained("create-token-as-user", "named",
                (*everywhere(AS_MANAGER),
                 *here(on("user-info", "create", "serviceaccounts/token", "", names=["reader"]))),
                as_other(f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}", MANAGER)),
    constrained("read-secrets-as-serviceaccount", "list",
                everywhere(rule("impersonate:serviceaccount", "serviceaccounts", AUTHENTICATION,
                                names=["namespace-controller"]), on("serviceaccount", "list", "secrets", "")),
                as_other("GET /api/v1/secrets", NAMESPACE_CONTROLLER)),
    constrained("read-secrets-as-node", "get",
                (*everywhere(rule("impersonate:arbitrary-node", "nodes", AUTHENTICATION)),
                 *here(on("arbitrary-node", "get", "secrets", ""))), as_other(GET_SECRET, "system:node:proof-node")),
]  # fmt: skip

PROOFS = [
    *ROLE_WRITES, *BINDING_WRITES, *IMPERSONATION, *CREDENTIALS, *CERTIFICATE_REQUESTS, *READING, *CONSTRAINED,
]  # fmt: skip


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
    Pattern("create-of-one-name-and-patch-of-another",
            here(ANY_BIND, rule("create", "rolebindings", RBAC, names=["proof-fresh"]),
                 rule("patch", "rolebindings", RBAC, names=["proof-other"])),
            applied(BINDINGS_HERE, fresh_binding("ClusterRole/cluster-admin"))),
    Pattern("bind-for-the-empty-name", here(rule("bind", "clusterroles", RBAC, names=[""]), WRITE_BINDINGS),
            POST_BINDING),
    Pattern("share-what-is-held", here(WRITE_BINDINGS, rule("get", "pods")),
            ask(f"POST {BINDINGS_HERE}?{DRY}",
                binding("proof-fresh", "Role/proof-pods", group("system:unauthenticated"), namespace=NS)), 200),
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
    Pattern("get-the-empty-name", here(rule("get,patch", "configmaps", names=[""])), ask(GET_SECRET)),
    Pattern("deletecollection-of-a-name", here(rule("deletecollection", "secrets", names=["s"])),
            ask(f"DELETE {NAMED}&{DRY}")),
    Pattern("overwrite-secrets", here(rule("update", "secrets")),
            ask(f"PUT {SECRETS}/s?{DRY}", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata("s", NS)}), 200),
    Pattern("delete-secrets", here(rule("delete", "secrets")), ask(f"DELETE {SECRETS}/s?{DRY}"), 200),
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
    ("impersonate-serviceaccount", "everywhere", [f"serviceaccount:{NS}/proof-absent"]),
    ("impersonate-serviceaccount", "absent", [f"absent:{NS}/*", f"serviceaccount:{NS}/*"]),
    ("create-serviceaccount-token", "named", [f"serviceaccount:{NS}/reader"]),
    ("create-serviceaccount-token", "any", [f"serviceaccount:{NS}/*"]),
    ("apply-token-secret", "named", [f"serviceaccount:{NS}/*"]),
    ("create-bootstrap-token", "post",
     ["group:system:bootstrappers", "group:system:bootstrappers:kubeadm:default-node-token"]),
    ("create-serviceaccount-and-token", "two", [f"absent:{NS}/*"]),
    ("apply-serviceaccount-and-token", "named", [f"serviceaccount:{NS}/proof-late"]),
    ("approve-client-certificate", "signer", ["group:*", "user:*"]),
    ("approve-node-certificate", "signer", ["node:*"]),
    ("read-secrets", "list-empty-name", [f"secrets/{NS}"]),
    ("patch-secrets", "empty", [f"secrets/{NS}"]),
    ("delete-secrets-dry-run", "all", [f"secrets/{NS}"]),
    ("read-one-secret", "get", []),
    ("act-as-user", "named", ["user:proof-ann"]),
    ("act-as-group", "and-user", ["group:proof-team"]),
    ("act-as-serviceaccount", "named", [f"serviceaccount:{NS}/proof-account"]),
    ("read-secrets-as-user", "get", [f"secrets/{NS}"]),
    ("create-token-as-user", "named", [f"serviceaccount:{NS}/reader"]),
    ("read-secrets-as-serviceaccount", "list", ["secrets"]),
    ("read-secrets-as-node", "get", [f"secrets/{NS}"]),
]  # fmt: skip

NODE_REQUEST = everywhere(
    rule("create,get", "certificatesigningrequests", CERTIFICATES),
    rule("create", "certificatesigningrequests/nodeclient", CERTIFICATES),
)
BEFORE = {f"before-{one.edge}-{one.name}": one for one in CONSTRAINED}
MORE = {
    **{one.name: one.granted for one in PATTERNS},
    **{name: one.granted[0] for name, one in BEFORE.items()},
    "node-request": NODE_REQUEST,
    "node-request-by-hand": NODE_REQUEST[:1],
}


@pytest.fixture(scope="module")
def planes(control_plane_of: Planes) -> Iterator[Proving]:
    """Accounts for every proof, for every part of one that is missing, and for every pattern."""
    with proving(control_plane_of, PROOFS, [*objects()], MORE) as found:
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


@pytest.mark.parametrize("one", PATTERNS, ids=lambda one: one.name)
def test_what_only_looks_like_an_escalation_is_none(planes: Proving, one: Pattern) -> None:
    """The server refuses it, or does what gives nobody anything; no escalation holds."""
    place = planes.at(NEWEST)

    assert status(place.plane, one.request, place.plane.token(NS, one.name)) == one.status
    assert [found for found in place.holds if found[2] == f"serviceaccount:{NS}/{one.name}"] == []


@pytest.mark.parametrize(("edge", "name", "expected"), FOLLOWS, ids=[f"{edge}-{name}" for edge, name, _ in FOLLOWS])
def test_what_follows_is_exactly_what_is_granted(planes: Proving, edge: str, name: str, expected: list[str]) -> None:
    """Limited to names it is those, else all that are there; inside a namespace it stays there."""
    one = next(one for one in PROOFS if (one.edge, one.name) == (edge, name))
    assert planes.at(NEWEST).follows(one) == expected


def test_a_rewritten_role_is_worth_something_to_who_is_granted_it(planes: Proving) -> None:
    """Who may give a Role any rule gets nothing alone; together with who is bound to it, the namespace."""
    edges = planes.at(NEWEST).graph.edges
    one = next(one for one in PROOFS if (one.edge, one.name) == ("escalate-roles", "named"))
    writer, bound, other = f"serviceaccount:{NS}/{account_of(one, 0)}", "user:real-ann", "user:proof-ann"
    admin = f"namespace-admin/{NS}"

    assert [admin in held(edges, who) for who in ([writer], [bound], [writer, other], [writer, bound])] == [
        False, False, False, True,
    ]  # fmt: skip


def test_an_account_that_a_binding_spells_as_a_user_is_the_account(planes: Proving) -> None:
    """It asks for tokens with its own token, and the escalation is held by the ServiceAccount."""
    place = planes.at(NEWEST)
    asked = ask(f"POST {INSIDE}/serviceaccounts/reader/token?{DRY}")

    assert status(place.plane, asked, place.plane.token(NS, "proof-spelled")) == 200
    assert ("create-serviceaccount-token", 0, f"serviceaccount:{NS}/proof-spelled") in place.holds


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


@pytest.mark.prove
@pytest.mark.parametrize("name", BEFORE)
def test_constrained_impersonation_gives_nothing_on_older_servers(planes: Proving, name: str) -> None:
    """1.34 refuses the first request, and no escalation holds."""
    place = planes.at(OLDER[0])
    first = BEFORE[name].requests[0][1]
    assert isinstance(first, Asked)

    assert status(place.plane, first, place.plane.token(NS, name)) == 403
    assert [found for found in place.holds if found[2] == f"serviceaccount:{NS}/{name}"] == []
