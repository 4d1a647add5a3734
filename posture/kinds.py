"""The kinds that posture reads, in the order in which they are listed, and what is kept of each.

Namespaces come first (a namespace that is missing later relists them once); bindings before the roles they refer to,
so that a role made in between is never called missing; routes before gateways, and both before the services they lead
to, for the same reason; pods before the policies that protect them, so that a policy made together with its pod is
never overlooked. Secrets are not here: they are never read. Of ConfigMaps only those are that say how an admission
engine behaves.

Custom resources are read where they are served, in the first of `versions` that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from posture.model import Content, Key

RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
_GATEWAY = "gateway.networking.k8s.io"
_POLICY = "policy.networking.k8s.io"

API_RESOURCES = "apiresources"
"""Not a kind of the API: one object for each resource that discovery names, `deployments.apps`, with its scope."""

API_SERVER_FLAGS = "apiserverflags"
"""Not a kind of the API: one object for each flag of the API server that bears on admission, `{"value": text}` as the
server prints it. There are none where the server does not show its flags.
"""

# Rewritten by controllers or clients without a change of meaning, large, or holding a whole former object.
_DROPPED_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.daemonset.template.generation",
        "control-plane.alpha.kubernetes.io/leader",
    }
)
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


class Digest(NamedTuple):
    """What is kept of an object, made by `of`; `restored` makes of that an object of which the same is kept."""

    of: Callable[[Mapping[str, Any]], Content]
    restored: Callable[[Content], Content]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: how the API names it and which fields are kept beside labels, annotations and owner references.

    `keep` are paths below the object. `pod_spec` is the path of a pod specification, whose literal environment
    values are never kept. `controlled` objects that one of a kind with a pod template controls keep their owner only:
    what they run is its template. Kinds that are not `modelled` are read so that their changes are seen; what they
    mean is not known. `also` are resources of the group that take a permission too, for whoever reads the kind. Of a
    kind with `named` only objects of these names are read. The resource `*` stands for every kind of a group: its
    objects are held together, each named `Kind/name`. `digest` makes all that is kept of an object instead.
    """

    group: str
    resource: str
    kind: str
    namespaced: bool
    keep: tuple[str, ...]
    pod_spec: str = ""
    controlled: bool = False
    versions: tuple[str, ...] = ("v1",)
    modelled: bool = True
    also: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    digest: Digest | None = None

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition or another API server brings it, rather than Kubernetes itself."""
        return bool(self.group) and self.group not in OWN_GROUPS

    @property
    def name(self) -> str:
        """The GroupResource as Kubernetes prints it: `roles.rbac.authorization.k8s.io`, `pods`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


_MANAGED, _SLICED = "endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"


def _readiness(raw: Mapping[str, Any]) -> Content:
    """Whether a slice has an endpoint that is ready: the same object while pods come and go.

    Shape: `{"service": name, "ports": [{"name", "port", "protocol"}], "ready": bool}`; without a number a port is every
    port. An endpoint that says nothing of it is ready (EndpointConditions in k8s.io/api discovery/v1). Of what the
    EndpointSlice controller does not say, which knows only Services that select pods, `"addresses": [text]` too
    (kubernetes v1.36.3, staging/src/k8s.io/endpointslice/utils.go; pkg/controller/endpointslice).
    """
    ports = ({"name": one.get("name") or "", "protocol": one.get("protocol") or "TCP"}
             | ({"port": one["port"]} if one.get("port") else {}) for one in raw.get("ports") or ())  # fmt: skip
    labels = raw["metadata"].get("labels") or {}
    by_hand = labels.get(_MANAGED) != _SLICED
    addresses = {text for one in raw.get("endpoints") or () for text in one.get("addresses") or () if by_hand}
    return ({"addresses": sorted(addresses)} if addresses else {}) | {
        "service": labels.get("kubernetes.io/service-name", ""),
        "ports": sorted(ports, key=lambda one: (one["name"], one["protocol"], one.get("port", 0))),
        "ready": any((one.get("conditions") or {}).get("ready") is not False for one in raw.get("endpoints") or ()),
    }


def _slice(content: Content) -> Content:
    """A slice with one endpoint, at an address that is nobody's where none is kept (RFC 5737)."""
    addresses = content.get("addresses")
    managed = {} if addresses else {_MANAGED: _SLICED}
    return {
        "labels": {"kubernetes.io/service-name": content["service"], **managed},
        "addressType": "IPv6" if addresses and ":" in addresses[0] else "IPv4",
        "endpoints": [{"addresses": addresses or ["192.0.2.1"], "conditions": {"ready": content["ready"]}}],
        "ports": content["ports"],
    }


def _place(raw: Mapping[str, Any]) -> Content:
    """Which of a node's places a volume is, and whose: nothing of what is elsewhere, the same while such come and go.

    Shape: `{"path": text, "claim": "NAMESPACE/NAME"}`. A volume is bound to the claim that its claimRef names, and to
    no other (kubernetes v1.36.3, pkg/controller/volume/persistentvolume).
    """
    spec = raw.get("spec") or {}
    path = _pick(spec, "hostPath.path") or _pick(spec, "local.path")
    claim = spec.get("claimRef") or {}
    return {"path": path, "claim": f"{claim.get('namespace') or ''}/{claim.get('name') or ''}"} if path else {}


def _volume(content: Content) -> Content:
    if not content:
        return {"spec": {}}
    namespace, _, name = content["claim"].partition("/")
    return {"spec": {"hostPath": {"path": content["path"]}, "claimRef": {"namespace": namespace, "name": name}}}


def _not_modelled(
    group: str,
    resource: str,
    kind: str,
    namespaced: bool,
    *versions: str,
    keep: tuple[str, ...] = ("spec",),
    also: tuple[str, ...] = (),
) -> Kind:
    return Kind(group, resource, kind, namespaced, keep, versions=versions, modelled=False, also=also)


_NOT_MODELLED = (
    _not_modelled("cilium.io", "ciliumnetworkpolicies", "CiliumNetworkPolicy", True, "v2", keep=("spec", "specs")),
    _not_modelled("cilium.io", "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy", False, "v2",
                  keep=("spec", "specs")),
    # Calico's API server shows the objects of crd.projectcalico.org once more, as projectcalico.org: where both are
    # served a change is seen twice, and where only one is, none is missed. Who reads them needs their tier as well.
    _not_modelled("projectcalico.org", "networkpolicies", "NetworkPolicy", True, "v3",
                  also=("tier.networkpolicies", "tiers")),
    _not_modelled("projectcalico.org", "globalnetworkpolicies", "GlobalNetworkPolicy", False, "v3",
                  also=("tier.globalnetworkpolicies", "tiers")),
    _not_modelled("crd.projectcalico.org", "networkpolicies", "NetworkPolicy", True, "v1"),
    _not_modelled("crd.projectcalico.org", "globalnetworkpolicies", "GlobalNetworkPolicy", False, "v1"),
    _not_modelled("security.istio.io", "authorizationpolicies", "AuthorizationPolicy", True, "v1", "v1beta1"),
    _not_modelled("crd.antrea.io", "networkpolicies", "NetworkPolicy", True, "v1beta1"),
    _not_modelled("crd.antrea.io", "clusternetworkpolicies", "ClusterNetworkPolicy", False, "v1beta1"),
    _not_modelled("k8s.cni.cncf.io", "multi-networkpolicies", "MultiNetworkPolicy", True, "v1beta2", "v1beta1"),
)  # fmt: skip

KYVERNO, KYVERNO_CEL = "kyverno.io", "policies.kyverno.io"
CONSTRAINTS = "constraints.gatekeeper.sh"
_CEL_POLICIES = ("ValidatingPolicy", "ImageValidatingPolicy", "MutatingPolicy")
_V1 = ("v1", "v1beta1", "v1alpha1")
_KUBEWARDEN = ("ClusterAdmissionPolicy", "ClusterAdmissionPolicyGroup")

# What refuses requests, exceptions before what they are from: one made together with its policy is never missed.
_ENGINES = (
    Kind(KYVERNO_CEL, "policyexceptions", "PolicyException", True, ("spec",), versions=_V1),
    Kind(KYVERNO, "policyexceptions", "PolicyException", True, ("spec",), versions=("v2", "v2beta1")),
    *(
        Kind(KYVERNO_CEL, f"{scope}{kind.lower().removesuffix('y')}ies", f"{scope.capitalize()}{kind}", bool(scope),
             ("spec",), versions=_V1)
        for kind in _CEL_POLICIES for scope in ("", "namespaced")
    ),
    Kind(KYVERNO, "clusterpolicies", "ClusterPolicy", False, ("spec",), versions=("v1", "v2beta1")),
    Kind(KYVERNO, "policies", "Policy", True, ("spec",), versions=("v1", "v2beta1")),
    Kind("", "configmaps", "ConfigMap", True, ("data",), named=("kyverno", "config-policy-controller")),
    Kind("config.gatekeeper.sh", "configs", "Config", True, ("spec",), versions=("v1alpha1",)),
    Kind(CONSTRAINTS, "*", "*", False, ("kind", "spec"), versions=("v1beta1", "v1alpha1")),
    Kind("templates.gatekeeper.sh", "constrainttemplates", "ConstraintTemplate", False,
         ("spec", "status.created"), versions=("v1", "v1beta1")),
    Kind("expansion.gatekeeper.sh", "expansiontemplate", "ExpansionTemplate", False, ("spec",),
         versions=("v1beta1", "v1alpha1")),
    Kind("security.openshift.io", "securitycontextconstraints", "SecurityContextConstraints", False,
         ("allowHostDirVolumePlugin", "allowHostIPC", "allowHostNetwork", "allowHostPID", "allowHostPorts",
          "allowPrivilegeEscalation", "allowPrivilegedContainer", "allowedCapabilities", "allowedFlexVolumes",
          "allowedUnsafeSysctls", "defaultAddCapabilities", "defaultAllowPrivilegeEscalation", "forbiddenSysctls",
          "fsGroup", "groups", "priority", "readOnlyRootFilesystem", "requiredDropCapabilities", "runAsUser",
          "seLinuxContext", "seccompProfiles", "supplementalGroups", "userNamespaceLevel", "users", "volumes")),
    Kind("policy.sigstore.dev", "clusterimagepolicies", "ClusterImagePolicy", False, ("spec",),
         versions=("v1beta1", "v1alpha1")),
    *(_not_modelled("policies.kubewarden.io", f"{kind.lower().removesuffix('y')}{'ies' if kind.endswith('y') else 's'}",
                    kind, kind not in _KUBEWARDEN, "v1", keep=("spec", "status.policyStatus"))
      for kind in (*_KUBEWARDEN, "AdmissionPolicy", "AdmissionPolicyGroup")),
    _not_modelled("config.ratify.deislabs.io", "policies", "Policy", False, "v1beta1"),
)  # fmt: skip

KINDS: tuple[Kind, ...] = (
    Kind("", "namespaces", "Namespace", False, ("status.phase",)),
    Kind(RBAC, "clusterrolebindings", "ClusterRoleBinding", False, ("roleRef", "subjects")),
    Kind(RBAC, "rolebindings", "RoleBinding", True, ("roleRef", "subjects")),
    Kind(RBAC, "clusterroles", "ClusterRole", False, ("aggregationRule", "rules")),
    Kind(RBAC, "roles", "Role", True, ("rules",)),
    Kind("", "serviceaccounts", "ServiceAccount", True, ("automountServiceAccountToken",)),
    Kind("", "persistentvolumes", "PersistentVolume", False, (), digest=Digest(_place, _volume)),
    Kind("", "pods", "Pod", True, ("spec", "status.phase", "status.podIPs", "status.hostIP", "status.hostIPs"), "spec"),
    Kind(
        "",
        "replicationcontrollers",
        "ReplicationController",
        True,
        ("spec.selector", "spec.template"),
        "spec.template.spec",
    ),
    Kind("apps", "replicasets", "ReplicaSet", True, ("spec.selector", "spec.template"), "spec.template.spec", True),
    Kind("apps", "deployments", "Deployment", True, ("spec.selector", "spec.template"), "spec.template.spec"),
    Kind("apps", "statefulsets", "StatefulSet", True, ("spec.selector", "spec.template"), "spec.template.spec"),
    Kind("apps", "daemonsets", "DaemonSet", True, ("spec.selector", "spec.template"), "spec.template.spec"),
    Kind("batch", "jobs", "Job", True, ("spec.selector", "spec.template"), "spec.template.spec", True),
    Kind(
        "batch",
        "cronjobs",
        "CronJob",
        True,
        ("spec.jobTemplate.spec.template", "spec.suspend"),
        "spec.jobTemplate.spec.template.spec",
    ),
    Kind("networking.k8s.io", "ingresses", "Ingress", True, ("spec",)),
    Kind(_GATEWAY, "httproutes", "HTTPRoute", True, ("spec",), versions=("v1", "v1beta1")),
    Kind(_GATEWAY, "grpcroutes", "GRPCRoute", True, ("spec",), versions=("v1", "v1alpha2")),
    Kind(_GATEWAY, "tlsroutes", "TLSRoute", True, ("spec",), versions=("v1", "v1alpha3", "v1alpha2")),
    Kind(_GATEWAY, "tcproutes", "TCPRoute", True, ("spec",), versions=("v1", "v1alpha2")),
    Kind(_GATEWAY, "udproutes", "UDPRoute", True, ("spec",), versions=("v1", "v1alpha2")),
    Kind(_GATEWAY, "gateways", "Gateway", True, ("spec",), versions=("v1", "v1beta1")),
    Kind("", "services", "Service", True, ("spec", "status.loadBalancer")),
    Kind("discovery.k8s.io", "endpointslices", "EndpointSlice", True, (), digest=Digest(_readiness, _slice)),
    Kind("networking.k8s.io", "networkpolicies", "NetworkPolicy", True, ("spec",)),
    Kind(_POLICY, "clusternetworkpolicies", "ClusterNetworkPolicy", False, ("spec",), versions=("v1alpha2",)),
    Kind(_POLICY, "adminnetworkpolicies", "AdminNetworkPolicy", False, ("spec",), versions=("v1alpha1",)),
    Kind(
        _POLICY, "baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy", False, ("spec",), versions=("v1alpha1",)
    ),
    *_NOT_MODELLED,
    Kind(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False, ("spec",)),
    Kind(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False, ("spec", "status.typeChecking")),
    Kind(
        ADMISSION,
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        False,
        ("spec",),
        versions=("v1", "v1beta1", "v1alpha1"),
    ),
    Kind(
        ADMISSION,
        "mutatingadmissionpolicies",
        "MutatingAdmissionPolicy",
        False,
        ("spec",),
        versions=("v1", "v1beta1", "v1alpha1"),
    ),
    Kind(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False, ("webhooks",)),
    Kind(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False, ("webhooks",)),
    *_ENGINES,
)
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}
BY_KIND: Mapping[tuple[str, str], Kind] = {(kind.group, kind.kind): kind for kind in KINDS}


def kind_of(group: str, kind: str) -> Kind | None:
    """The kind of an object that names itself so; None where its objects are not read."""
    return BY_KIND.get((group, kind)) or BY_KIND.get((group, "*"))


def key_of(kind: Kind, raw: Mapping[str, Any]) -> Key:
    """What names an object that has been read."""
    metadata = raw["metadata"]
    name = f"{raw['kind']}/{metadata['name']}" if kind.kind == "*" else metadata["name"]
    return Key(kind.name, metadata.get("namespace") or "", name)


class Called(NamedTuple):
    """An object as kubectl takes it: the GroupResource, the kind, the name."""

    resource: str
    kind: str
    name: str


def called(key: Key) -> Called:
    """How kubectl calls an object. (Gatekeeper names the resource of a constraint by its kind in lower case.)"""
    kind = BY_NAME.get(key.resource)
    if kind is None or kind.kind != "*":
        return Called(key.resource, kind.kind if kind else "", key.name)
    own, _, name = key.name.partition("/")
    return Called(f"{own.lower()}.{kind.group}", own, name)


CLUSTER_SCOPED: frozenset[str] = frozenset(
    {
        "componentstatuses",
        "namespaces",
        "nodes",
        "persistentvolumes",
        f"mutatingadmissionpolicies.{ADMISSION}",
        f"mutatingadmissionpolicybindings.{ADMISSION}",
        f"mutatingwebhookconfigurations.{ADMISSION}",
        f"validatingadmissionpolicies.{ADMISSION}",
        f"validatingadmissionpolicybindings.{ADMISSION}",
        f"validatingwebhookconfigurations.{ADMISSION}",
        "customresourcedefinitions.apiextensions.k8s.io",
        "apiservices.apiregistration.k8s.io",
        "selfsubjectreviews.authentication.k8s.io",
        "tokenreviews.authentication.k8s.io",
        "selfsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectrulesreviews.authorization.k8s.io",
        "subjectaccessreviews.authorization.k8s.io",
        "certificatesigningrequests.certificates.k8s.io",
        "clustertrustbundles.certificates.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        "storageversions.internal.apiserver.k8s.io",
        "storageversionmigrations.storagemigration.k8s.io",
        "ingressclasses.networking.k8s.io",
        "ipaddresses.networking.k8s.io",
        "servicecidrs.networking.k8s.io",
        "runtimeclasses.node.k8s.io",
        f"clusterroles.{RBAC}",
        f"clusterrolebindings.{RBAC}",
        "deviceclasses.resource.k8s.io",
        "devicetaintrules.resource.k8s.io",
        "resourceslices.resource.k8s.io",
        "priorityclasses.scheduling.k8s.io",
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "storageclasses.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
        "volumeattributesclasses.storage.k8s.io",
        # Checked by the API server, served by no endpoint.
        "users",
        "groups",
        "signers.certificates.k8s.io",
        "users.authentication.k8s.io",
        "groups.authentication.k8s.io",
        "nodes.authentication.k8s.io",
        "uids.authentication.k8s.io",
        "userextras.authentication.k8s.io",
    }
)
"""Cluster-scoped resources of Kubernetes itself, 1.33 to 1.36, for folders and for what discovery never lists."""

CHECKED_BY_WEBHOOKS = frozenset({"signers.cert-manager.io"})
"""Cluster-scoped resources that discovery never lists and a webhook checks: cert-manager's asks, in no namespace,
whether somebody may approve for an issuer (cert-manager, buildAttributes of its admission plugin for approvals).
"""

OWN_GROUPS: frozenset[str] = frozenset(
    {
        ADMISSION,
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "extensions",
        "flowcontrol.apiserver.k8s.io",
        "imagepolicy.k8s.io",
        "internal.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        RBAC,
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)
"""The API groups of Kubernetes itself beside the core group: no CustomResourceDefinition changes what they hold."""


def _pick(source: Any, path: str) -> Any:
    for part in path.split("."):
        source = source.get(part) if isinstance(source, Mapping) else None
    return source


def _without_values(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A pod specification without literal environment values: `valueFrom` stays, `value` goes."""
    kept = dict(spec)
    for field in _CONTAINERS:
        if isinstance(kept.get(field), list):
            kept[field] = [
                {**container, "env": [{k: v for k, v in var.items() if k != "value"} for var in container["env"]]}
                if isinstance(container, Mapping) and container.get("env")
                else container
                for container in kept[field]
            ]
    return kept


def _replace(tree: Mapping[str, Any], parts: list[str], change: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    head, *rest = parts
    below = tree.get(head)
    if not isinstance(below, Mapping):
        return dict(tree)
    return {**tree, head: _replace(below, rest, change) if rest else change(below)}


def project(kind: Kind, raw: Mapping[str, Any]) -> Content:
    """What is kept of an object as the API returns it: a new JSON value without identity; `raw` is not changed.

    Shape: `{"labels": {…}, "annotations": {…}, "ownerReferences": [{apiVersion, kind, name, controller}], …}` with
    the kept fields at their places below the root; empty fields are left out, since absent and empty are equal.
    """
    if kind.digest:
        return kind.digest.of(raw)
    metadata = raw.get("metadata") or {}
    content: dict[str, Any] = {}
    if labels := metadata.get("labels"):
        content["labels"] = labels
    if annotations := metadata.get("annotations"):
        kept = {name: text for name, text in annotations.items() if name not in _DROPPED_ANNOTATIONS}
        if kept:
            content["annotations"] = kept
    owners = metadata.get("ownerReferences") or ()
    if owners:
        content["ownerReferences"] = [
            {field: owner[field] for field in ("apiVersion", "kind", "name", "controller") if field in owner}
            for owner in owners
        ]
    if kind.controlled and any(owner.get("controller") and _makes_pods(owner) for owner in owners):
        return content
    for path in kind.keep:
        value = _pick(raw, path)
        if value in (None, [], {}, ""):
            continue
        *parents, last = path.split(".")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return _replace(content, kind.pod_spec.split("."), _without_values) if kind.pod_spec else content


def _makes_pods(owner: Mapping[str, Any]) -> bool:
    """Whether an owner is of a kind whose pod template is read; a custom one's (a Rollout's) is not."""
    kind = BY_KIND.get(((owner.get("apiVersion") or "").rpartition("/")[0], owner.get("kind") or ""))
    return kind is not None and bool(kind.pod_spec)


def manifest(key: Key, content: Content, absent: Iterable[tuple[str, ...]] = ()) -> dict[str, Any]:
    """A projected object as a manifest that `kubectl apply` takes, as far as it was kept.

    `absent` are paths that it must not hold: null, since what a manifest does not name stays as it is.
    """
    kind = BY_NAME[key.resource]
    _, which, name = called(key)
    content = kind.digest.restored(content) if kind.digest else content
    metadata: dict[str, Any] = {"name": name} | ({"namespace": key.namespace} if key.namespace else {})
    metadata |= {field: content[field] for field in ("labels", "annotations") if field in content}
    version = f"{kind.group}/{kind.versions[0]}" if kind.group else kind.versions[0]
    rest = {
        field: value for field, value in content.items() if field not in ("labels", "annotations", "ownerReferences")
    }
    if "roleRef" in rest:
        rest["roleRef"] = {"apiGroup": RBAC, **rest["roleRef"]}
    if "subjects" in rest:
        rest["subjects"] = [
            subject if subject.get("kind") == "ServiceAccount" else {"apiGroup": RBAC, **subject}
            for subject in rest["subjects"]
        ]
    for path in absent:
        at = metadata if path[0] in ("labels", "annotations") else rest
        for part in path[:-1]:
            at[part] = dict(at.get(part) or {})
            at = at[part]
        at[path[-1]] = None
    return {"apiVersion": version, "kind": which, "metadata": metadata, **rest}


def _strings(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _texts(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values()))


def present(given: Any) -> Any:
    """Labels or annotations without those that are null: what `kubectl apply` takes off, and a fix prints."""
    return {name: text for name, text in given.items() if text is not None} if isinstance(given, Mapping) else given


def malformed(kind: Kind, raw: Mapping[str, Any]) -> str:
    """What the API server would refuse in the fields that posture judges; "" when nothing.

    Objects from an API server have passed its validation; objects from files have passed nothing.
    """
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return "metadata.name is missing"
    if not isinstance(metadata.get("namespace") or "", str):
        return "metadata.namespace is not a string"
    for field in ("labels", "annotations"):
        if not _texts(present(metadata.get(field))):
            return f"metadata.{field} is not a map of strings"
    if not isinstance(metadata.get("ownerReferences") or [], list):
        return "metadata.ownerReferences is not a list"
    if kind.group == RBAC:
        return _malformed_rbac(raw)
    return ""


def _malformed_rbac(raw: Mapping[str, Any]) -> str:
    for number, rule in enumerate(raw.get("rules") or []):
        if not isinstance(rule, Mapping):
            return f"rules[{number}] is not a rule"
        for field in ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"):
            if not _strings(rule.get(field)):
                return f"rules[{number}].{field} is not a list of strings"
    for number, subject in enumerate(raw.get("subjects") or []):
        if not isinstance(subject, Mapping) or not _texts(subject) or not subject.get("name"):
            return f"subjects[{number}] is not a subject with a name"
    if "roleRef" in raw and not (
        isinstance(raw["roleRef"], Mapping)
        and _texts(raw["roleRef"])
        and raw["roleRef"].get("name")
        and raw["roleRef"].get("kind")
    ):
        return "roleRef has no kind and name"
    return ""
