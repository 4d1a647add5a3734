"""A namespace in which every row of a table has an account of its own, with what the row grants it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from posture.kinds import RBAC
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import (
    Object,
    account,
    aggregated,
    binding,
    metadata,
    namespace,
    role,
    rule,
    service_account,
    user,
)
from tests.rbac.agreement import settle

NS, OTHER = "real", "real-other"
INSIDE = f"/api/v1/namespaces/{NS}"
ROLES = f"/apis/{RBAC}/v1"
ROLES_INSIDE = f"{ROLES}/namespaces/{NS}"
CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
DRY = "dryRun=All"
MARK = {"real": "yes"}
PART = {"real-requests/part": "yes"}
SECRETS = f"{INSIDE}/secrets"
SIGNER = "kubernetes.io/kube-apiserver-client"
READ = rule("get", "secrets")
SECRET = base64.b64encode(b"the secret").decode()
APPLY = (("Content-Type", "application/apply-patch+yaml"),)
UPGRADE = (
    ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", base64.b64encode(b"0123456789abcdef").decode()),
    ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
)  # fmt: skip
type Grant = tuple[str, Object]
"""Where a rule is granted (a namespace, or "" for the whole cluster), and the rule."""


def here(*rules: Object) -> tuple[Grant, ...]:
    """Granted by a RoleBinding in the namespace."""
    return tuple((NS, one) for one in rules)


def everywhere(*rules: Object) -> tuple[Grant, ...]:
    """Granted by a ClusterRoleBinding."""
    return tuple(("", one) for one in rules)


def config_map(name: str) -> Object:
    """A ConfigMap in the namespace."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, NS)}


def granted(name: str, grants: tuple[Grant, ...]) -> Iterator[Object]:
    """An account, and for each place where it is granted something a role and a binding."""
    yield service_account(NS, name)
    for where in dict.fromkeys(where for where, _ in grants):
        role_name = f"real-{name}-{where or 'everywhere'}"
        yield role(role_name, *(one for place, one in grants if place == where), labels=MARK)
        yield binding(role_name, f"ClusterRole/{role_name}", account(NS, name), namespace=where, labels=MARK)


def certificate_request() -> Object:
    """A request for a client certificate, with a key that nobody keeps."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "zoe")])
    pem = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    text = base64.b64encode(pem.public_bytes(serialization.Encoding.PEM)).decode()
    return {
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": metadata("real-request"),
        "spec": {"request": text, "signerName": SIGNER, "usages": ["client auth"]},
    }  # fmt: skip


def objects() -> Iterator[Object]:
    """What the requests are about."""
    yield from (namespace(NS), namespace(OTHER), service_account(NS, "someone"), service_account(NS, "reader"))
    yield from (config_map("present"), certificate_request())
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": metadata("s", NS), "data": {"key": SECRET}}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata("s", NS), "spec": {"ports": [{"port": 80}]}}
    yield {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata("p", NS),
        "spec": {"serviceAccountName": "someone", "containers": [{"name": "c", "image": "none"}]},
    }  # fmt: skip
    yield role("wide", READ, namespace=NS)
    yield role("two", READ, rule("get", "pods"), namespace=NS)
    yield binding("given", "Role/wide", user("real-ann"), account(NS, "reader"), namespace=NS)
    yield binding("dangling", "Role/ghost", account(NS, "someone"), namespace=NS)
    yield role("real-wide", READ, labels=MARK)
    yield aggregated("real-collector", PART, real="yes")


@contextmanager
def accounts(plane: ControlPlane, rows: Mapping[str, tuple[Grant, ...]]) -> Iterator[ControlPlane]:
    """A control plane with an account for each row; what is cluster-wide is taken away afterwards."""
    plane.apply([*objects(), *(one for name, grants in rows.items() for one in granted(name, grants))])
    settle(plane)
    yield plane
    for resource in ("clusterrolebindings", "clusterroles"):
        plane.request("DELETE", f"{ROLES}/{resource}?labelSelector=real%3Dyes")
