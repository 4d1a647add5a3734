"""The admission of the demo's cluster: what is refused where, and the exceptions that pile up over five weeks.

The API server's own default is Pod Security `baseline` (examples/config.yaml says so, as no API shows it); Kyverno wants
`restricted` of product namespaces, Gatekeeper that nothing gains privileges anywhere, and a ValidatingAdmissionPolicy
keeps pods out of the node's namespaces.
"""

from __future__ import annotations

from typing import Any

from . import gatekeeper, kyverno, traffic
from .cluster import CREATE, EDIT, FLUX, HELM, LABEL, Cluster, by_flux, by_helm
from .network import port
from .objects import Object, metadata

ENFORCE = "pod-security.kubernetes.io/enforce"
PRODUCT = {"platform.example.com/tier": "product"}
"""The label by which Kyverno knows product namespaces."""
HOST = "platform.example.com/host-namespaces"
"""The label that lets a namespace's pods, and since one evening any pod, into the node's namespaces."""
LEVELS = {"kube-system": "privileged", "payments": "restricted"}
"""The namespaces whose Pod Security level is not the default."""
RESTRICTED, HOST_NAMESPACES = "restricted-products", "host-namespaces.platform.example.com"
ESCALATION, NO_ESCALATION = "K8sPSPAllowPrivilegeEscalationContainer", "no-privilege-escalation"
ROOT: Object = {"runAsUser": 0, "allowPrivilegeEscalation": False}
DOCKER: Object = {"privileged": True, "runAsUser": 0}


def labels(where: str) -> dict[str, str]:
    """The labels of a namespace that admission looks at."""
    level = {ENFORCE: LEVELS[where]} if where in LEVELS else {}
    return level | ({HOST: "allowed"} if where == "kube-system" else {})


def as_root(where: str, name: str, *ports: Object, **more: Any) -> Object:
    """A workload that runs as root, and asks for nothing else."""
    made = traffic.workload(where, name, *ports, **more)
    spec = made["spec"]["template"]["spec"]
    spec["containers"][0]["securityContext"] = dict(ROOT)
    return made


# The approved day ---------------------------------------------------------------------------------------------------


def platform() -> list[Object]:
    """The policies of the platform."""
    return [_kyverno(), _template(), _constraint(), _config(), *_host_namespaces()]


def _kyverno() -> Object:
    products = {"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": PRODUCT}}}]}
    wanted = kyverno.rule("restricted", products, podSecurity=kyverno.pod_security("restricted"))
    return kyverno.cluster_policy(RESTRICTED, wanted)


def _template() -> Object:
    escalates = (
        "has(c.securityContext) && has(c.securityContext.allowPrivilegeEscalation)"
        " && c.securityContext.allowPrivilegeEscalation == false"
    )
    return gatekeeper.template(ESCALATION, f"variables.all.all(c, {escalates})", variables=gatekeeper.CONTAINERS)


def _constraint(*excluded: str) -> Object:
    match: Object = {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}
    match |= {"excludedNamespaces": list(excluded)} if excluded else {}
    return gatekeeper.constraint(ESCALATION, NO_ESCALATION, match)


def _config() -> Object:
    return gatekeeper.config(gatekeeper.excluding("kube-system"))


def _host_namespaces() -> list[Object]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    fields = ("hostNetwork", "hostPID", "hostIPC")
    wanted = " && ".join(f"!object.spec.?{field}.orValue(false)" for field in fields)
    policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": wanted}]}
    outside = {"matchExpressions": [{"key": HOST, "operator": "DoesNotExist"}]}
    bound = {"policyName": HOST_NAMESPACES, "validationActions": ["Deny"],
             "matchResources": {"namespaceSelector": outside}}  # fmt: skip
    version, kind = "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"
    return [
        {"apiVersion": version, "kind": kind, "metadata": metadata(HOST_NAMESPACES), "spec": policy},
        {"apiVersion": version, "kind": f"{kind}Binding", "metadata": metadata(HOST_NAMESPACES), "spec": bound},
    ]


def exception(where: str, name: str, pods: str = "", **said: str) -> Object:
    """A PolicyException of Kyverno for the pods of a namespace with such a name, and what is said of it."""
    chosen = {"kinds": ["Pod"], "namespaces": [where]} | ({"names": [pods]} if pods else {})
    made = kyverno.exception(name, RESTRICTED, "restricted", namespace=where, match={"any": [{"resources": chosen}]})
    if said:
        key = {fact: f"posture.io/exception-{fact.replace('_', '-')}" for fact in said}
        made["metadata"]["annotations"] = {key[fact]: text for fact, text in said.items()}
    return made


def indexer() -> Object:
    """The one that the indexer's chart needs, as exceptions should be."""
    return exception(
        "search", "indexer", "indexer-*", owner="search", reason="its image runs as root", ticket="SEA-118",
        approved_by="dana", expires="2027-03-31",
    )  # fmt: skip


# What happened afterwards -------------------------------------------------------------------------------------------


def incident(cluster: Cluster) -> None:
    """In the night of the incident checkout gets a toolbox that runs as root, and an exception for all of its pods."""
    made = exception(
        "checkout", "incident-4711", owner="checkout", reason="toolbox for the incident", ticket="INC-4711",
        approved_by="lee", expires="2026-10-31",
    )  # fmt: skip
    cluster.write(CREATE, "2026-10-15T22:52:40Z", made)
    cluster.write(CREATE, "2026-10-15T22:53:12Z", as_root("checkout", "toolbox"))


def docker_builds(cluster: Cluster) -> None:
    """CI builds images with Docker: its level is lowered and Gatekeeper leaves it out.

    The same evening somebody sets Kyverno's policy to Audit, to get a release through.
    """
    ci = cluster.get("Namespace", "", "ci")
    ci["metadata"]["labels"][ENFORCE] = "privileged"
    cluster.write(LABEL, "2026-10-19T14:02:21Z", ci)
    constraint = cluster.get(ESCALATION, "", NO_ESCALATION)
    constraint["spec"]["match"]["excludedNamespaces"] = ["ci"]
    cluster.write(EDIT, "2026-10-19T14:05:57Z", constraint)
    runner = cluster.get("Deployment", "ci", "runner")
    runner["spec"]["template"]["spec"]["containers"][0]["securityContext"] = dict(DOCKER)
    cluster.write(FLUX, "2026-10-19T14:30:00Z", runner)
    _act(cluster, "Audit", "2026-10-19T18:44:10Z")


def enforced_again(cluster: Cluster) -> None:
    """Kyverno refuses again, a day later; the toolbox goes when the incident's review is done, its exception stays."""
    _act(cluster, "Enforce", "2026-10-20T19:10:33Z")
    cluster.delete("Deployment", "checkout", "toolbox")


def _act(cluster: Cluster, action: str, time: str) -> None:
    policy = cluster.get("ClusterPolicy", "", RESTRICTED)
    policy["spec"]["validationFailureAction"] = action
    cluster.write(EDIT, time, policy)


def profiling(cluster: Cluster) -> None:
    """To profile builds, whatever has a label may see the node's processes. Catalog resizes images as root."""
    bound = cluster.get("ValidatingAdmissionPolicyBinding", "", HOST_NAMESPACES)
    spared = {"matchExpressions": [{"key": HOST, "operator": "DoesNotExist"}]}
    bound["spec"]["matchResources"]["objectSelector"] = spared
    cluster.write(EDIT, "2026-10-26T15:20:08Z", bound)
    runner = cluster.get("Deployment", "ci", "runner")
    template = runner["spec"]["template"]
    template["metadata"]["labels"][HOST] = "allowed"
    template["spec"]["hostPID"] = True
    cluster.write(FLUX, "2026-10-26T15:40:00Z", runner)
    cluster.write(CREATE, "2026-10-26T16:31:17Z", exception("catalog", "image-resizer", "image-resizer-*"))
    resizer = as_root("catalog", "image-resizer", port(8080, "http"))
    cluster.write(FLUX, "2026-10-26T16:40:00Z", by_flux(resizer, "catalog", "catalog"))


def migration(cluster: Cluster) -> None:
    """Payments gets an exception from Kyverno; its own Pod Security label refuses the same all the same."""
    made = exception("payments", "ledger-migration", "ledger-migration-*", owner="payments", ticket="PAY-2041")
    cluster.write(CREATE, "2026-11-02T13:12:50Z", made)


def rootless_builds(cluster: Cluster) -> None:
    """CI builds without root and without Docker: nothing needs what was opened for it any more, and all of it stays."""
    runner = cluster.get("Deployment", "ci", "runner")
    made = traffic.workload("ci", "runner", runs_as="runner")
    runner["spec"]["template"] = made["spec"]["template"]
    cluster.write(FLUX, "2026-11-09T10:00:00Z", runner)


def wider(cluster: Cluster) -> None:
    """The exception of the indexer's chart is for every pod of search now."""
    made = cluster.get("PolicyException", "search", "indexer")
    made["spec"]["match"]["any"][0]["resources"].pop("names")
    cluster.write(HELM, "2026-11-16T10:05:12Z", by_helm(made, "indexer", "search"))
