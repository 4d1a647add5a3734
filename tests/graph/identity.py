"""Proofs of escalations by identities and by RBAC's own API: the requests, and what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from posture.kinds import RBAC
from tests.generator.objects import (
    Object,
    account,
    binding,
    group,
    metadata,
    role,
    rule,
    service_account,
    user,
)
from tests.graph.proving import (
    Proof,
    Request,
    Sender,
)
from tests.rbac.accounts import (
    APPLY,
    CSR,
    DRY,
    INSIDE,
    MARK,
    NS,
    READ,
    ROLES,
    ROLES_INSIDE,
    SECRET,
    SECRETS,
    SIGNER,
    Grant,
    certificate_request,
    everywhere,
    here,
)
from tests.rbac.requests import Asked

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
    yield from (OPS, CLUSTER_OPS)
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


TO_VIEW = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
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
    proof("escalate-clusterroles", "labelled",
          everywhere_named("escalate,patch", "clusterroles", RBAC, "real-wide"),
          ask(f"PATCH {CLUSTER_ROLES}/real-wide?{DRY}", WIDER | {"metadata": {"labels": TO_VIEW}})),
    proof("create-clusterrole-with-any-rule", "labelled", everywhere_named("escalate,create", "clusterroles", RBAC),
          ask(f"POST {CLUSTER_ROLES}?{DRY}",
              FRESH_CLUSTER_ROLE | {"metadata": metadata("proof-fresh", labels=TO_VIEW)})),
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
    proof("create-role-with-any-rule", "put", here_named("escalate,create,update", "roles", RBAC, "proof-fresh"),
          ask(f"PUT {ROLES_HERE}/proof-fresh?{DRY}", FRESH_ROLE)),
    proof("create-role-with-any-rule", "apply", here_named("escalate,create,patch", "roles", RBAC, "proof-fresh"),
          applied(ROLES_HERE, FRESH_ROLE)),
]  # fmt: skip

BIND_ADMIN = rule("bind", "clusterroles", RBAC, names=["cluster-admin"])
BIND_WIDE = rule("bind", "roles", RBAC, names=["wide"])
ANY_BIND = rule("bind", "clusterroles", RBAC)

GIVEN = binding("given", "Role/wide", user("real-ann"), namespace=NS)
OPS = binding("proof-ops", "ClusterRole/real-wide", user("proof-ann"), namespace=NS)
CLUSTER_OPS = binding("proof-ops", "ClusterRole/real-wide", user("proof-ann"), labels=MARK)


def joined(path: str, existing: Object, verb: str) -> Asked:
    """Somebody is put into a binding that exists."""
    subjects = [*existing["subjects"], {"apiGroup": RBAC, **user("zoe")}]
    if verb == "update":
        return ask(f"PUT {path}?{DRY}", {**existing, "subjects": subjects})
    return ask(f"PATCH {path}?{DRY}", {"subjects": subjects})


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
    *(proof("join-clusterrolebinding", verb,
            everywhere(rule("bind", "clusterroles", RBAC, names=["real-wide"]),
                       rule(verb, "clusterrolebindings", RBAC, names=["proof-ops"])),
            joined(f"{CLUSTER_BINDINGS}/proof-ops", CLUSTER_OPS, verb)) for verb in ("update", "patch")),
    *(proof("join-rolebinding-to-clusterrole", verb,
            here(rule("bind", "clusterroles", RBAC, names=["real-wide"]),
                 rule(verb, "rolebindings", RBAC, names=["proof-ops"])),
            joined(f"{BINDINGS_HERE}/proof-ops", OPS, verb)) for verb in ("update", "patch")),
    *(proof("join-rolebinding-to-role", verb,
            here(BIND_WIDE, rule(verb, "rolebindings", RBAC, names=["given"])),
            joined(f"{BINDINGS_HERE}/given", GIVEN, verb)) for verb in ("update", "patch")),
    proof("create-rolebinding-to-clusterrole", "post", here(BIND_ADMIN, rule("create", "rolebindings", RBAC)),
          ask(f"POST {BINDINGS_HERE}?{DRY}", fresh_binding("ClusterRole/cluster-admin"))),
    proof("create-rolebinding-to-clusterrole", "apply",
          (*here(ANY_BIND), *here_named("create,patch", "rolebindings", RBAC, "proof-fresh")),
          applied(BINDINGS_HERE, fresh_binding("ClusterRole/cluster-admin"))),
    proof("create-rolebinding-to-clusterrole", "put",
          (*here(BIND_ADMIN), *here_named("create,update", "rolebindings", RBAC, "proof-fresh")),
          ask(f"PUT {BINDINGS_HERE}/proof-fresh?{DRY}", fresh_binding("ClusterRole/cluster-admin"))),
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
    proof("create-bootstrap-token", "everywhere", everywhere(rule("create", "secrets")),
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


def approval(
    edge: str, name: str, signer: str, approved_for: str, reading: str = "get", writing: str = "patch"
) -> Proof:
    """One asks for a certificate and reads the answer, another approves."""
    existing = "real-request" if signer == SIGNER else "proof-node-request"
    where = f"{CSR}/{existing}/approval?{DRY}"
    read = {
        "get": f"GET {CSR}/{existing}", "list": f"GET {CSR}",
        "watch": f"GET {CSR}?fieldSelector=metadata.name%3D{existing}{WATCH}",
    }[reading]  # fmt: skip

    def put(answers: Any) -> Asked:
        return ask(f"PUT {where}", {**answers[1], **APPROVED})

    return several(
        edge, name,
        (everywhere(rule("create", "certificatesigningrequests", CERTIFICATES),
                    rule(reading, "certificatesigningrequests", CERTIFICATES)),
         everywhere(rule(writing, "certificatesigningrequests/approval", CERTIFICATES, names=[existing]),
                    rule("approve", "signers", CERTIFICATES, names=[approved_for]))),
        (0, ask(f"POST {CSR}?{DRY}", fresh_request(signer))), (0, ask(read)),
        (1, ask(f"PATCH {where}", APPROVED) if writing == "patch" else put),
    )  # fmt: skip


CERTIFICATE_REQUESTS = [
    approval("approve-client-certificate", "signer", SIGNER, SIGNER),
    approval("approve-client-certificate", "domain", SIGNER, "kubernetes.io/*", "watch"),
    approval("approve-client-certificate", "list", SIGNER, SIGNER, "list"),
    approval("approve-client-certificate", "update", SIGNER, SIGNER, "get", "update"),
    approval("approve-node-certificate", "signer", KUBELET, KUBELET, "list"),
    approval("approve-node-certificate", "update", KUBELET, "kubernetes.io/*", "get", "update"),
    approval("approve-node-certificate", "watch", KUBELET, KUBELET, "watch"),
]


READING = [
    proof("read-secrets", "get", here(rule("get", "secrets")), ask(GET_SECRET)),
    proof("read-secrets", "list", here(rule("list", "secrets")), ask(f"GET {SECRETS}")),
    proof("read-secrets", "list-empty-name", here(rule("list", "secrets", names=[""])), ask(f"GET {SECRETS}")),
    proof("read-secrets", "watch", here(rule("watch", "secrets")), ask(f"GET {NAMED}{WATCH}")),
    proof("read-secrets", "watch-empty-name", here(rule("watch", "secrets", names=[""])),
          ask(f"GET {SECRETS}?labelSelector=proof%3Dread{WATCH}")),
    proof("read-one-secret", "deletecollection", here(rule("deletecollection", "secrets")),
          ask(f"DELETE {NAMED}&{DRY}")),
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
