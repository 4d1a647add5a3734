"""Whether something answers where a webhook is asked, as far as objects say.

Source: kubernetes v1.36.3: staging/src/k8s.io/apiserver/pkg/util/proxy/proxy.go (ResolveCluster, which needs a port of
the Service and no endpoint; without an endpoint nothing accepts the connection), util/webhook/client.go (the default
port 443; the CA bundle, else the roots of the system), crypto/x509 (a root that has expired verifies nothing).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from posture.admission.pods import mapping, mappings
from posture.model import Content, Key, Snapshot

from ._x509 import validities

SERVICES, SLICES = "services", "endpointslices.discovery.k8s.io"
READS = (SERVICES, SLICES)
_PORT = 443

type Up = tuple[bool | None, str]

_ANSWERS: Up = (True, "")


def up(snapshot: Snapshot, client_config: Mapping[str, Any]) -> Up:
    """Whether a webhook's backend answers, None where nobody can say; and why it does not, or why nobody can say.

    A snapshot without any EndpointSlice, and without a gap there, is no cluster's but a folder's (every cluster has
    those of `default/kubernetes`): nothing in it says that a backend does not answer, but for certificates that have
    expired, so it does. `snapshot.settings["now"]` (RFC 3339) is the time; without it nothing expires.
    """
    config = mapping(client_config)
    bundle = str(config.get("caBundle") or "")
    if why := _unverified(bundle, moment(snapshot)) if bundle else "":
        return False, why
    if config.get("url"):
        return None, "answers at a URL outside the cluster"
    service = mapping(config.get("service"))
    if not service:
        return False, "has neither a Service nor a URL"
    namespace, name = str(service.get("namespace") or ""), str(service.get("name") or "")
    if not snapshot.index.get(SLICES) and not snapshot.gap(SLICES, namespace):
        return _ANSWERS
    found = _served(snapshot, namespace, name, service.get("port") or _PORT)
    if found == _ANSWERS and not bundle:
        return None, "has no CA bundle: the system's roots are not known"
    return found


def keys(snapshot: Snapshot, client_config: Mapping[str, Any]) -> tuple[Key, ...]:
    """The objects that decide whether a webhook's backend answers: its Service, there or not, and the slices of it."""
    service = mapping(mapping(client_config).get("service"))
    if not service:
        return ()
    namespace, name = str(service.get("namespace") or ""), str(service.get("name") or "")
    slices = _slices(snapshot).get((namespace, name), ())
    return (Key(SERVICES, namespace, name), *sorted(key for key, _ in slices))


def of_cluster(snapshot: Snapshot) -> bool:
    """Whether a snapshot is of a cluster, rather than of a folder: every cluster has EndpointSlices of its own."""
    return bool(snapshot.index.get(SLICES)) or snapshot.gap(SLICES) is not None


def moment(snapshot: Snapshot) -> datetime | None:
    """The time of a snapshot; None where nobody says it."""
    try:
        found = datetime.fromisoformat(snapshot.settings["now"])
    except (KeyError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _unverified(bundle: str, now: datetime | None) -> str:
    """Why nothing can be verified with a CA bundle; "" where something can: one certificate is enough."""
    found = validities(bundle)
    if not found:
        return "its CA bundle holds no certificate that can be read"
    if now is None or any(one.since <= now <= one.until for one in found):
        return ""
    expired = [one.until for one in found if one.until < now]
    if expired:
        return f"its CA bundle expired on {max(expired).date()}"
    return f"its CA bundle is not valid before {min(one.since for one in found).date()}"


def _served(snapshot: Snapshot, namespace: str, name: str, port: Any) -> Up:
    """Whether an endpoint behind a port of a Service is ready."""
    content = snapshot.get(Key(SERVICES, namespace, name))
    if content is None:
        if gap := snapshot.gap(SERVICES, namespace):
            return None, f"{SERVICES} in {namespace}: {gap.message}"
        return False, f"Service {namespace}/{name} does not exist"
    spec = mapping(content.get("spec"))
    if spec.get("type") == "ExternalName":
        return None, f"Service {namespace}/{name} leads out of the cluster"
    served = next((one for one in mappings(spec.get("ports")) if one.get("port") == port), None)
    if served is None:
        return False, f"Service {namespace}/{name} has no port {port}"
    if spec.get("clusterIP") == "None":
        return None, f"Service {namespace}/{name} is headless: not every API server can reach it"
    slices = _slices(snapshot).get((namespace, name), ())
    if any(content.get("ready") is True and _offers(content, served.get("name") or "") for _, content in slices):
        return _ANSWERS
    if gap := snapshot.gap(SLICES, namespace):
        return None, f"{SLICES} in {namespace}: {gap.message}"
    return False, f"no endpoint of Service {namespace}/{name} is ready"


def _slices(snapshot: Snapshot) -> Mapping[tuple[str, str], list[tuple[Key, Content]]]:
    """The EndpointSlices by the namespace and name of their Service."""
    known = snapshot.derived_from(SLICES)
    if "by service" not in known:
        found: dict[tuple[str, str], list[tuple[Key, Content]]] = {}
        for key, content in snapshot.objects(SLICES):
            found.setdefault((key.namespace, str(content.get("service") or "")), []).append((key, content))
        known["by service"] = found
    return known["by service"]  # type: ignore[no-any-return]


def _offers(content: Mapping[str, Any], port: str) -> bool:
    """Whether a slice is for a Service's port, which it has by name; one that names no ports is for all."""
    ports = mappings(content.get("ports"))
    return not ports or any((one.get("name") or "") == port for one in ports)
