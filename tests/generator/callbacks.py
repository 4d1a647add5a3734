"""What the bank calls in payments, and the jobs of checkout that follow: three changes, none of them much by itself.

Payments lets the bank's public addresses in; checkout lets payments start its jobs; the platform takes one control out
of Kyverno's policy there, for a profiler. Only with the third does the outside get a node, and the cluster with it.
"""

from __future__ import annotations

from . import gates, kyverno, traffic
from .cluster import CREATE, EDIT, FLUX, Cluster, by_flux
from .network import network_policy, port
from .objects import Object, account, binding, metadata, namespace, role, rule, service_account

JOBS = "checkout-jobs"
POLICY = "baseline-batch"
BATCH = {"tier": "batch"}
"""The label by which Kyverno knows namespaces of jobs."""
_PROFILED: Object = traffic.ROOT | {"capabilities": {"add": ["PERFMON"]}}
_VPN, _PUBLIC = "10.20.0.0/16", "203.0.113.0/24"


# The approved day ---------------------------------------------------------------------------------------------------


def approved(cluster: Cluster, time: str) -> None:
    """Payments' receiver behind a load balancer, checkout's namespace for jobs, and what guards that."""
    cluster.write(FLUX, time, *(by_flux(one, "payments", "payments") for one in _receiver()))
    cluster.write(FLUX, time, *(by_flux(one, "jobs", JOBS) for one in _jobs()))
    cluster.write(FLUX, time, by_flux(_policy(), "platform", "flux-system"))


def _receiver() -> list[Object]:
    """The bank says by a call that a transfer is settled; its end of the VPN alone is let in."""
    service = {"type": "LoadBalancer", "selector": {"app": "callbacks"}, "ports": [{"port": 443, "targetPort": 8443}]}
    return [
        service_account("payments", "callbacks"),
        traffic.workload("payments", "callbacks", port(8443, "https"), runs_as="callbacks"),
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata("callbacks", "payments"), "spec": service},
        network_policy("payments", "callbacks", podSelector=traffic.apps("callbacks"), policyTypes=["Ingress"],
                       ingress=[{"from": _blocks(_VPN), "ports": traffic.allow(8443)}]),
    ]  # fmt: skip


def _blocks(*ranges: str) -> list[Object]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in ranges]


def _jobs() -> list[Object]:
    """Pod Security has no exceptions for a single control, so Kyverno alone keeps its level here."""
    return [
        namespace(JOBS, env="prod", team="checkout", **BATCH, **{gates.ENFORCE: "privileged"}),
        service_account(JOBS, "reconcile"),
        _reconcile(traffic.HARDENED),
        network_policy(JOBS, "default-deny", podSelector=traffic.ALL_PODS, policyTypes=traffic.BOTH),
    ]


def _reconcile(security: Object) -> Object:
    return traffic.workload(JOBS, "reconcile", kind="CronJob", runs_as="reconcile", security=security)


def _policy() -> Object:
    batch = {"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": BATCH}}}]}
    return kyverno.cluster_policy(POLICY, kyverno.rule("baseline", batch, podSecurity=kyverno.pod_security("baseline")))


# What happened afterwards -------------------------------------------------------------------------------------------


def bank_moves(cluster: Cluster) -> None:
    """The bank gives its VPN up and calls from public addresses."""
    policy = cluster.get("NetworkPolicy", "payments", "callbacks")
    policy["spec"]["ingress"][0]["from"] = _blocks(_VPN, _PUBLIC)
    cluster.write(EDIT, "2026-10-30T14:08:36Z", policy)


def jobs_on_call(cluster: Cluster) -> None:
    """To close an order as soon as its transfer is settled, what takes the bank's calls may start checkout's jobs."""
    start = role("start-jobs", rule("create", "jobs", "batch"), namespace=JOBS)
    bound = binding("start-jobs", "Role/start-jobs", account("payments", "callbacks"), namespace=JOBS)
    cluster.write(CREATE, "2026-11-06T11:17:40Z", start, bound)


def profiler(cluster: Cluster) -> None:
    """The platform's profiler needs a capability in the jobs that it looks at: they get an exception for that control,
    with all that an exception should say.
    """
    chosen = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": [JOBS]}}]}
    left_out = [{"controlName": "Capabilities", "images": ["*"]}]
    made = kyverno.exception("profiler", POLICY, "baseline", namespace="monitoring", match=chosen, podSecurity=left_out)
    said = {"owner": "platform", "reason": "the profiler traces the jobs", "ticket": "PLAT-91", "approved-by": "dana",
            "expires": "2027-01-31"}  # fmt: skip
    made["metadata"]["annotations"] = {f"posture.dev/exception-{fact}": text for fact, text in said.items()}
    cluster.write(CREATE, "2026-11-16T09:42:13Z", made)
    cluster.write(FLUX, "2026-11-16T10:15:00Z", by_flux(_reconcile(_PROFILED), "jobs", JOBS))
