"""A realistic cluster's history: an approved day and five weeks of operational convenience, for the demo.

`python -m tests.generator.history` writes examples/prod-eu/, one folder a day, the same bytes each time. Every change
carries the field manager that made it, as a real server would have recorded it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from . import callbacks, gates, traffic
from .cluster import ARGOCD, CREATE, EDIT, FLUX, HELM, Cluster, by_flux, by_helm
from .objects import Object, account, binding, group, namespace, role, rule, service_account

FOLDER = Path(__file__).parents[2] / "examples" / "prod-eu"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete")
PRODUCTS = {"checkout": "checkout", "payments": "payments", "catalog": "catalog", "search": "search", "reports": ""}
"""Product namespaces and their teams; nobody wrote down whose `reports` is, and no policy protects it."""


# The approved day ---------------------------------------------------------------------------------------------------


def product(where: str, team: str) -> list[Object]:
    """A product team's namespace as the platform's template makes it."""
    labels = {"env": "prod"} | gates.PRODUCT | gates.labels(where) | ({"team": team} if team else {})
    found = [
        namespace(where, **labels),
        service_account(where, "api"),
        service_account(where, "worker"),
        role("config", rule(READ, "configmaps"), rule("get", "secrets", names=["api-tls"]), namespace=where),
        binding("config", "Role/config", account(where, "api"), account(where, "worker"), namespace=where),
        binding("developers", "ClusterRole/developer", group(f"{team or where}-devs"), namespace=where),
        binding("deploy", "ClusterRole/deployer", account("ci", "runner"), namespace=where),
        *traffic.workloads(where),
        *(traffic.policies(where) if team else ()),
    ]
    return [by_flux(one, where, where) for one in found]


def platform() -> list[Object]:
    """What the platform team runs, and the roles that it offers."""
    places = [namespace(name, team="platform", **gates.labels(name))
              for name in ("kube-system", "flux-system", "ci", "monitoring")]  # fmt: skip
    accounts = [("flux-system", "kustomize-controller"), ("flux-system", "helm-controller"), ("ci", "runner"),
                ("monitoring", "prometheus"), ("kube-system", "coredns")]  # fmt: skip
    found = [
        *places,
        *(service_account(where, name) for where, name in accounts),
        *(traffic.workload(where, name, runs_as=name) for where, name in accounts),
        *traffic.platform(),
        *gates.platform(),
        role("developer", rule(READ, "pods,pods/log,services,events"), rule((*READ, "patch"), "deployments", "apps")),
        role("deployer", rule((*READ, *WRITE), "deployments,statefulsets", "apps"),
             rule((*READ, *WRITE), "services,configmaps"), rule(READ, "pods,events")),
        role("debugger", rule(READ, "pods,pods/log,secrets"), rule("create", "pods/exec")),
        role("prometheus", rule(READ, "pods,nodes,services,endpoints"), rule("get", "nodes/metrics")),
        role("coredns", rule(("list", "watch"), "services,namespaces"),
             rule(("list", "watch"), "endpointslices", "discovery.k8s.io")),
        binding("prometheus", "ClusterRole/prometheus", account("monitoring", "prometheus")),
        binding("coredns", "ClusterRole/coredns", account("kube-system", "coredns")),
        binding("flux", "ClusterRole/cluster-admin", account("flux-system", "kustomize-controller"),
                account("flux-system", "helm-controller")),
        binding("sre-view", "ClusterRole/view", group("sre")),
        binding("platform-admins", "ClusterRole/cluster-admin", group("platform-admins")),
    ]  # fmt: skip
    return [by_flux(one, "platform", "flux-system") for one in found]


def approved(cluster: Cluster) -> None:
    """The day on which the audit ended."""
    time = "2026-06-01T07:30:00Z"
    cluster.write(FLUX, time, *platform())
    for where, team in PRODUCTS.items():
        cluster.write(FLUX, time, *product(where, team))
    indexer = role("indexer", rule((*READ, *WRITE), "configmaps,jobs", ["", "batch"]), namespace="search")
    bound = binding("indexer", "Role/indexer", account("search", "indexer"), namespace="search")
    charted = [service_account("search", "indexer"), indexer, bound, *traffic.indexer(), gates.indexer()]
    cluster.write(HELM, time, *(by_helm(one, "indexer", "search") for one in charted))
    cluster.write(FLUX, time, *traffic.payments())
    cluster.write(ARGOCD, time, _argocd(service_account("payments", "exporter")))
    callbacks.approved(cluster, time)


def _argocd(exporter: Object) -> Object:
    """The exporter that an Argo CD Application delivers."""
    annotations = exporter["metadata"].setdefault("annotations", {})
    annotations["argocd.argoproj.io/tracking-id"] = "payments-exporter:/ServiceAccount:payments/exporter"
    return exporter


# What happened afterwards -------------------------------------------------------------------------------------------


def friday_incident(cluster: Cluster) -> None:
    """Checkout is down on a Thursday night; somebody gives the pods the debugger's role, and it stays.

    Flux applies the deployer's rules in another order and split: nothing changed.
    """
    bound = binding("debug", "ClusterRole/debugger", account("checkout", "api"), namespace="checkout")
    cluster.write(CREATE, "2026-10-15T22:41:07Z", bound)
    deployer = role(
        "deployer", rule(READ, "events,pods"), rule((*WRITE, *READ), "configmaps"), rule((*READ, *WRITE), "services"),
        rule((*WRITE, *READ), "statefulsets,deployments", "apps"),
    )  # fmt: skip
    cluster.write(FLUX, "2026-10-15T16:02:11Z", by_flux(deployer, "platform", "flux-system"))
    traffic.database_for_all(cluster)
    gates.audit_only(cluster)


def role_grows(cluster: Cluster) -> None:
    """A shared role gets exec for one debugging afternoon, and CI may make preview environments."""
    cluster.write(EDIT, "2026-10-19T13:20:45Z", _with_exec(cluster))
    preview = role("ci-preview", rule((*READ, "create", "delete"), "namespaces"))
    bound = binding("ci-preview", "ClusterRole/ci-preview", account("ci", "runner"))
    cluster.write(CREATE, "2026-10-19T15:05:30Z", preview, bound)
    traffic.whole_internet(cluster)
    gates.docker_builds(cluster)
    gates.enforced_again(cluster)


def _with_exec(cluster: Cluster) -> Object:
    developer = cluster.get("ClusterRole", "", "developer")
    developer["rules"].append(rule("create", "pods/exec,pods/portforward"))
    return developer


def wildcard(cluster: Cluster) -> None:
    """A chart's new version asks for everything; a role gets a better name, and grants what it granted."""
    indexer = role("indexer", rule("*", "*", "*"), namespace="search")
    cluster.write(HELM, "2026-10-22T09:14:02Z", by_helm(indexer, "indexer", "search"))
    config = cluster.get("Role", "catalog", "config")
    config["metadata"]["name"] = "read-config"
    bound = cluster.get("RoleBinding", "catalog", "config")
    bound["metadata"]["name"] = bound["roleRef"]["name"] = "read-config"
    for kind in ("Role", "RoleBinding"):
        cluster.delete(kind, "catalog", "config")
    cluster.write(FLUX, "2026-10-22T11:40:19Z", config, bound)
    traffic.tidied(cluster)
    gates.reviewed(cluster)


def cloud_identity(cluster: Cluster) -> None:
    """The exporter gets a role in the cloud. Flux puts the shared role back; the catalog team opens a namespace."""
    exporter = _argocd(service_account("payments", "exporter"))
    exporter["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] = "arn:aws:iam::111122223333:role/ledger-export"
    cluster.write(ARGOCD, "2026-10-26T08:31:55Z", exporter)
    developer = cluster.get("ClusterRole", "", "developer")
    developer["rules"].pop()
    cluster.write(FLUX, "2026-10-26T10:00:03Z", developer)
    cluster.write(FLUX, "2026-10-26T14:12:40Z", *product("catalog-v2", "catalog"))
    gates.profiling(cluster)


def everyone(cluster: Cluster) -> None:
    """A status page for everyone who logs in, a grant to a role that is not there yet, and a tidy-up.

    The chart is rolled back. The debugging access moves to a role of another name, and stays what it is.
    """
    status = role("status-page", rule(("get", "list"), "services,configmaps"))
    cluster.write(CREATE, "2026-11-02T16:22:10Z", status,
                  binding("status-page", "ClusterRole/status-page", group("system:authenticated")))  # fmt: skip
    vendor = binding("vendor-support", "ClusterRole/vendor-diagnostics", group("vendor-support"))
    cluster.write(CREATE, "2026-11-02T17:03:48Z", vendor)
    indexer = role("indexer", rule((*READ, *WRITE), "configmaps,jobs", ["", "batch"]), namespace="search")
    cluster.write(HELM, "2026-10-30T10:48:33Z", by_helm(indexer, "indexer", "search"))
    tools = cluster.get("ClusterRole", "", "debugger")
    tools["metadata"]["name"] = "support-tools"
    cluster.delete("ClusterRole", "", "debugger")
    cluster.write(FLUX, "2026-11-02T09:15:00Z", tools)
    cluster.delete("RoleBinding", "checkout", "debug")
    bound = binding("support", "ClusterRole/support-tools", account("checkout", "api"), namespace="checkout")
    cluster.write(CREATE, "2026-11-02T09:31:26Z", bound)
    traffic.port_moves(cluster)
    traffic.debug_label(cluster)
    gates.migration(cluster)
    callbacks.bank_moves(cluster)


def accepted_grows(cluster: Cluster) -> None:
    """The accepted exception of CI grows beyond what was accepted; reports makes its default account an editor."""
    preview = cluster.get("ClusterRole", "", "ci-preview")
    preview["rules"].append(rule((*READ, "create"), "secrets"))
    cluster.write(EDIT, "2026-11-09T12:55:17Z", preview)
    bound = binding("quick-fix", "ClusterRole/edit", account("reports", "default"), namespace="reports")
    cluster.write(CREATE, "2026-11-09T18:37:02Z", bound)
    traffic.labelled_prod(cluster)
    gates.rootless_builds(cluster)
    callbacks.jobs_on_call(cluster)


def comes_alive(cluster: Cluster) -> None:
    """The vendor's chart brings the role that was already granted; the shared role has exec again."""
    diagnostics = role("vendor-diagnostics", rule(READ, "pods,nodes,events"), rule(("get", "create"), "nodes/proxy"))
    cluster.write(HELM, "2026-11-13T10:05:44Z", by_helm(diagnostics, "vendor", "monitoring"))
    cluster.write(EDIT, "2026-11-16T19:48:21Z", _with_exec(cluster))
    traffic.isolation_lost(cluster)
    gates.wider(cluster)
    callbacks.profiler(cluster)


DAYS: Mapping[str, Callable[[Cluster], None]] = {
    "2026-10-13": approved,
    "2026-10-16": friday_incident,
    "2026-10-20": role_grows,
    "2026-10-23": wildcard,
    "2026-10-27": cloud_identity,
    "2026-11-03": everyone,
    "2026-11-10": accepted_grows,
    "2026-11-17": comes_alive,
}
"""The days on which somebody took a snapshot, each with what had happened since the one before."""


def history() -> Iterator[tuple[str, list[Object]]]:
    """Each day with the objects of its snapshot."""
    cluster = Cluster()
    for day, happens in DAYS.items():
        happens(cluster)
        yield day, [deepcopy(one) for one in cluster]


# Files --------------------------------------------------------------------------------------------------------------


class _Row(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: two columns of indentation, short lists on one line, no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        return super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


_Dumper.add_representer(
    _Row, lambda dumper, row: dumper.represent_mapping("tag:yaml.org,2002:map", row, flow_style=True)
)


def files() -> dict[str, str]:
    """What examples/prod-eu holds, by path: for each day one file a namespace, and one for what is in none."""
    found: dict[str, list[Object]] = {}
    for day, objects in history():
        for one in objects:
            where = one["metadata"]["name"] if one["kind"] == "Namespace" else one["metadata"].get("namespace")
            found.setdefault(f"{day}/{where or 'cluster'}.yaml", []).append(one)
    return {path: _text(path, objects) for path, objects in found.items()}


def _text(path: str, objects: list[Object]) -> str:
    for one in objects:
        one["metadata"]["managedFields"] = [_Row(entry) for entry in one["metadata"]["managedFields"]]
    text = yaml.dump_all(
        objects, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=1000, explicit_start=True
    )
    return f"# {path.partition('/')[0]}; written by `python -m tests.generator.history`\n{text}"


def main() -> int:
    """Write the folder anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for path, text in files().items():
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
