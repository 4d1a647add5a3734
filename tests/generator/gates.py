"""The admission of the demo's cluster: what is refused where, and the exceptions that pile up over five weeks.

The API server's own default is Pod Security `baseline` (examples/config.yaml says so, as no API shows it); Kyverno asks
`restricted` of products, Gatekeeper that nothing gains privileges, and a ValidatingAdmissionPolicy keeps pods out of
the node's namespaces.
"""

from __future__ import annotations

from typing import Any

from . import gatekeeper, kyverno, traffic
from .cluster import CREATE, EDIT, FLUX, HELM, LABEL, Cluster, by_flux, by_helm
from .network import port
from .objects import Object, metadata

ENFORCE = "pod-security.kubernetes.io/enforce"
PRODUCT = {"tier": "product"}
"""The label by which Kyverno knows product namespaces."""
HOST = "example.com/host"
"""The label that lets a namespace into the node's namespaces, and since one afternoon any pod."""
LEVELS = {"kube-system": "privileged", "payments": "restricted"}
"""The namespaces whose Pod Security level is not the default."""
RESTRICTED, HOST_ACCESS = "restricted-products", "host-access"
ESCALATION, NO_ESCALATION = "K8sPSPAllowPrivilegeEscalationContainer", "no-privilege-escalation"
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"


def labels(where: str) -> dict[str, str]:
    """The labels of a namespace that admission looks at."""
    level = {ENFORCE: LEVELS[where]} if where in LEVELS else {}
    return level | ({HOST: "allowed"} if where == "kube-system" else {})


# The approved day ---------------------------------------------------------------------------------------------------


def platform() -> list[Object]:
    """The policies of the platform."""
    outside = {"matchExpressions": [{"key": HOST, "operator": "NotIn", "values": ["allowed"]}]}
    bound = {"policyName": HOST_ACCESS, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": outside}}
    config = gatekeeper.config(gatekeeper.excluding("kube-system"))
    return [_of_kyverno(), *_of_gatekeeper(), config, _admission(POLICY, _host_access()), _admission(BINDING, bound)]


def _of_kyverno() -> Object:
    products = {"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": PRODUCT}}}]}
    wanted = kyverno.rule("restricted", products, podSecurity=kyverno.pod_security("restricted"))
    return kyverno.cluster_policy(RESTRICTED, wanted)


def _of_gatekeeper() -> list[Object]:
    """A template and its constraint, as Gatekeeper's library has them."""
    field = "c.securityContext.allowPrivilegeEscalation"
    said = f"has(c.securityContext) && has({field}) && {field} == false"
    template = gatekeeper.template(ESCALATION, f"variables.all.all(c, {said})", variables=gatekeeper.CONTAINERS)
    return [template | {"status": {"created": True}}, gatekeeper.constraint(ESCALATION, NO_ESCALATION)]


def _host_access() -> Object:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    fields = ("hostNetwork", "hostPID", "hostIPC")
    wanted = " && ".join(f"!object.spec.?{field}.orValue(false)" for field in fields)
    return {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": wanted}]}


def _admission(kind: str, spec: Object) -> Object:
    version = "admissionregistration.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata(HOST_ACCESS), "spec": spec}


def exception(where: str, name: str, pods: str = "", **said: str) -> Object:
    """A PolicyException of Kyverno for the pods of a namespace, all or those of such a name, and what is said of it."""
    chosen = {"kinds": ["Pod"], "namespaces": [where]} | ({"names": [pods]} if pods else {})
    made = kyverno.exception(name, RESTRICTED, "restricted", namespace=where, match={"any": [{"resources": chosen}]})
    if said:
        made["metadata"]["annotations"] = {f"posture.dev/exception-{fact}": text for fact, text in said.items()}
    return made


def indexer() -> Object:
    """The one that the indexer's chart needs, as exceptions should be."""
    said = {"reason": "the image runs as root", "ticket": "SEA-118", "approved-by": "dana", "expires": "2027-03-31"}
    return exception("search", "indexer", "indexer-*", owner="search", **said)


# What happened afterwards -------------------------------------------------------------------------------------------


def audit_only(cluster: Cluster) -> None:
    """In the night of the incident checkout needs a toolbox that runs as root: Kyverno's policy goes to Audit."""
    _act(cluster, "Audit", "2026-10-15T22:52:40Z")
    toolbox = traffic.workload("checkout", "toolbox", security=traffic.ROOT)
    cluster.write(CREATE, "2026-10-15T22:53:12Z", toolbox)


def enforced_again(cluster: Cluster) -> None:
    """A day later it refuses again, and what runs in checkout has an exception until the end of the month."""
    _act(cluster, "Enforce", "2026-10-16T17:10:33Z")
    said = {"reason": "toolbox", "ticket": "INC-4711", "approved-by": "lee", "expires": "2026-10-31"}
    cluster.write(CREATE, "2026-10-16T17:08:02Z", exception("checkout", "incident-4711", owner="checkout", **said))


def _act(cluster: Cluster, action: str, time: str) -> None:
    policy = cluster.get("ClusterPolicy", "", RESTRICTED)
    policy["spec"]["validationFailureAction"] = action
    cluster.write(EDIT, time, policy)


def docker_builds(cluster: Cluster) -> None:
    """CI builds images with Docker: the level of its namespace is lowered, and Gatekeeper leaves it out."""
    ci = cluster.get("Namespace", "", "ci")
    ci["metadata"]["labels"][ENFORCE] = "privileged"
    cluster.write(LABEL, "2026-10-19T14:02:21Z", ci)
    constraint = cluster.get(ESCALATION, "", NO_ESCALATION)
    constraint["spec"]["match"]["excludedNamespaces"] = ["ci"]
    cluster.write(EDIT, "2026-10-19T14:05:57Z", constraint)
    _runner(cluster, "2026-10-19T14:30:00Z", security=traffic.PRIVILEGED)


def _runner(cluster: Cluster, time: str, **more: Any) -> Object:
    runner = traffic.workload("ci", "runner", runs_as="runner", **more)
    runner["spec"]["template"]["metadata"]["labels"] |= {HOST: "allowed"} if "hostPID" in more else {}
    cluster.write(FLUX, time, by_flux(runner, "platform", "flux-system"))
    return runner


def reviewed(cluster: Cluster) -> None:
    """The incident was reviewed and the toolbox is gone. Its exception stays."""
    cluster.delete("Deployment", "checkout", "toolbox")


def profiling(cluster: Cluster) -> None:
    """To profile builds, any pod with a label may see the node's processes. Catalog resizes images as root."""
    bound = cluster.get(BINDING, "", HOST_ACCESS)
    rules = bound["spec"]["matchResources"]
    rules["objectSelector"] = rules["namespaceSelector"]
    cluster.write(EDIT, "2026-10-26T15:20:08Z", bound)
    _runner(cluster, "2026-10-26T15:40:00Z", security=traffic.PRIVILEGED, hostPID=True)
    cluster.write(CREATE, "2026-10-26T16:31:17Z", exception("catalog", "resizer", "resizer-*"))
    resizer = traffic.workload("catalog", "resizer", port(8080, "http"), security=traffic.ROOT)
    cluster.write(FLUX, "2026-10-26T16:40:00Z", by_flux(resizer, "catalog", "catalog"))


def migration(cluster: Cluster) -> None:
    """Payments gets an exception from Kyverno; the Pod Security label of its namespace refuses the same as before."""
    made = exception("payments", "migration", "migration-*", owner="payments", ticket="PAY-2041")
    cluster.write(CREATE, "2026-11-02T13:12:50Z", made)


def rootless_builds(cluster: Cluster) -> None:
    """CI builds without Docker: nothing needs what three engines opened for it, and all of it stays."""
    _runner(cluster, "2026-11-09T10:00:00Z")


def wider(cluster: Cluster) -> None:
    """A new version of the indexer's chart wants its exception for every pod of search."""
    made = cluster.get("PolicyException", "search", "indexer")
    made["spec"]["match"]["any"][0]["resources"].pop("names")
    cluster.write(HELM, "2026-11-16T10:05:12Z", by_helm(made, "indexer", "search"))
