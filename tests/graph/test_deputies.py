"""Where writing a custom resource leads whose controller acts for whoever writes it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.generator.network import deployment, pod
from tests.generator.objects import Object, account, binding, discovery, namespace, role, rule, service_account
from tests.graph.custom import EVERYWHERE, split
from tests.graph.graphs import graph_of, held_by
from tests.graph.proving import catalogue

TEAM, DEV = "team", "serviceaccount:team/dev"
CONTROLLERS = (
    ("argocd", "argocd-application-controller"), ("openshift-gitops", "openshift-gitops-argocd-application-controller"),
    ("flux-system", "kustomize-controller"), ("flux-system", "helm-controller"), ("velero", "velero-server"),
    ("cattle-fleet-local-system", "fleet-agent"), ("crossplane-system", "provider-kubernetes-1a2b3c"),
    ("olm", "olm-operator-serviceaccount"), ("kyverno", "kyverno-background-controller"),
    ("crossplane-system", "crossplane"), ("crossplane-system", "provider-helm-1a2b3c"), ("kro-system", "kro"),
    ("metacontroller", "metacontroller"), ("monitoring", "prometheus-k8s"),
    (TEAM, "deployer"), (TEAM, "dev"), ("other", "default"),
)  # fmt: skip

OF_THEIR_OWN = ("config-management-system", "fleet-local", "kube-system")
"""Namespaces that only some controllers look at."""


def cluster(resources: Iterable[str], where: str, served: Iterable[str]) -> list[Object]:
    """A cluster with every controller, in which one ServiceAccount may write some custom resources, in a namespace or
    everywhere, and these are served.
    """
    found = [namespace(name) for name in sorted({*(where for where, _ in CONTROLLERS), *OF_THEIR_OWN})]
    found += [service_account(place, name) for place, name in CONTROLLERS]
    found += discovery(*((plural, api_group, f"{plural}.{api_group}" not in EVERYWHERE)
                         for api_group, plural in map(split, served)))  # fmt: skip
    found.append(pod("other", "web"))
    for resource in resources:
        api_group, plural = split(resource)
        found.append(role(resource, rule("create,update,patch", plural, api_group)))
        found.append(binding(resource, f"ClusterRole/{resource}", account(TEAM, "dev"), namespace=where))
    return found


LEADS = [
    ("argo-in-its-own-namespace", "argocd", ("applications.argoproj.io",),
     "serviceaccount:argocd/argocd-application-controller"),
    ("argo-of-another-name", "openshift-gitops", ("applications.argoproj.io",),
     "serviceaccount:openshift-gitops/openshift-gitops-argocd-application-controller"),
    ("argo-everywhere", "", ("applications.argoproj.io",), "serviceaccount:argocd/argocd-application-controller"),
    ("flux-anywhere", TEAM, ("kustomizations.kustomize.toolkit.fluxcd.io",),
     "serviceaccount:flux-system/kustomize-controller"),
    ("flux-as-an-account-there", TEAM, ("kustomizations.kustomize.toolkit.fluxcd.io",), "serviceaccount:team/deployer"),
    ("tekton-makes-pods", TEAM, ("taskruns.tekton.dev",), "can:create-pods@team"),
    ("a-machine-has-a-token", TEAM, ("virtualmachineinstances.kubevirt.io", "virtualmachines.kubevirt.io"),
     "serviceaccount:team/deployer"),
    ("an-issuer-sends-secrets", TEAM, ("issuers.cert-manager.io",), "secrets/team"),
    ("a-store-sends-tokens", TEAM, ("secretstores.external-secrets.io",), "serviceaccount:team/deployer"),
    ("a-store-of-the-cluster-sends-any", "", ("clustersecretstores.external-secrets.io",),
     "serviceaccount:other/default"),
    ("velero-in-its-own-namespace", "velero", ("backups.velero.io",), "serviceaccount:velero/velero-server"),
    ("fleet-deploys-to-itself", "fleet-local", ("bundles.fleet.cattle.io",),
     "serviceaccount:cattle-fleet-local-system/fleet-agent"),
    ("an-object-of-crossplane", "", ("objects.kubernetes.crossplane.io",),
     "serviceaccount:crossplane-system/provider-kubernetes-1a2b3c"),
    ("olm-installs", TEAM, ("subscriptions.operators.coreos.com", "catalogsources.operators.coreos.com"),
     "serviceaccount:olm/olm-operator-serviceaccount"),
    ("kyverno-generates", "", ("clusterpolicies.kyverno.io",), "serviceaccount:kyverno/kyverno-background-controller"),
    ("gatekeeper-changes-pods", "", ("assign.mutations.gatekeeper.sh",), "workload:other/web[Pod]"),
    ("prometheus-sends-its-token", TEAM, ("servicemonitors.monitoring.coreos.com",),
     "serviceaccount:monitoring/prometheus-k8s"),
    ("openshift-writes-to-nodes", "", ("machineconfigs.machineconfiguration.openshift.io",), "node:*"),
    ("karpenter-starts-nodes", "", ("ec2nodeclasses.karpenter.k8s.aws",), "node:*"),
    ("k3s-installs", TEAM, ("helmcharts.helm.cattle.io",), "cluster-admin"),
    ("k3s-changes-values", "kube-system", ("helmchartconfigs.helm.cattle.io",), "cluster-admin"),
    ("config-sync-in-its-own-namespace", "config-management-system", ("rootsyncs.configsync.gke.io",),
     "cluster-admin"),
    ("olm-installs-extensions", "", ("clusterextensions.olm.operatorframework.io",), "cluster-admin"),
    ("bindings-by-definition", "", ("rbacdefinitions.rbacmanager.reactiveops.io",), "cluster-admin"),
    ("kyverno-rewrites", "", ("mutatingpolicies.policies.kyverno.io",), "cluster-admin"),
    ("kyverno-changes-pods", "other", ("policies.kyverno.io",), "workload:other/web[Pod]"),
    ("metacontroller-creates", "", ("compositecontrollers.metacontroller.k8s.io",),
     "serviceaccount:metacontroller/metacontroller"),
    ("kro-creates", "", ("resourcegraphdefinitions.kro.run",), "serviceaccount:kro-system/kro"),
    ("a-function-composes", "", ("functions.pkg.crossplane.io",), "serviceaccount:crossplane-system/crossplane"),
    ("a-release-of-a-tenant", TEAM, ("releases.helm.m.crossplane.io",),
     "serviceaccount:crossplane-system/provider-helm-1a2b3c"),
    ("knative-runs-as-any", TEAM, ("services.serving.knative.dev",), "serviceaccount:team/deployer"),
    ("knative-mounts-secrets", TEAM, ("services.serving.knative.dev",), "secrets/team"),
]  # fmt: skip
LEADS_NOWHERE = [
    ("argo-elsewhere", TEAM, ("applications.argoproj.io",), "serviceaccount:argocd/argocd-application-controller"),
    ("velero-elsewhere", TEAM, ("backups.velero.io",), "serviceaccount:velero/velero-server"),
    ("fleet-deploys-to-others", TEAM, ("bundles.fleet.cattle.io",),
     "serviceaccount:cattle-fleet-local-system/fleet-agent"),
    ("knative-refuses-what-escapes", TEAM, ("services.serving.knative.dev",), "node:*"),
    ("config-sync-elsewhere", TEAM, ("rootsyncs.configsync.gke.io",), "cluster-admin"),
    ("values-of-another-namespace", TEAM, ("helmchartconfigs.helm.cattle.io",), "cluster-admin"),
    ("kyverno-in-another-namespace", TEAM, ("policies.kyverno.io",), "workload:other/web[Pod]"),
    ("half-of-olm", TEAM, ("subscriptions.operators.coreos.com",), "serviceaccount:olm/olm-operator-serviceaccount"),
    ("an-issuer-of-the-namespace", TEAM, ("issuers.cert-manager.io",), "secrets"),
    ("a-store-of-the-namespace", TEAM, ("secretstores.external-secrets.io",), "serviceaccount:other/default"),
    ("cluster-scoped-inside", TEAM, ("clustersecretstores.external-secrets.io",), "serviceaccount:other/default"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "resources", "head"), [row[1:] for row in LEADS], ids=[row[0] for row in LEADS])
def test_who_writes_it_comes_to_hold_what_the_controller_has(where: str, resources: tuple[str, ...], head: str) -> None:
    """The step leads to the controller, by the names of its own manifests, or to what it gives away."""
    assert head in held_by(graph_of(cluster(resources, where, resources), catalogue()), DEV)


@pytest.mark.parametrize(("where", "resources", "head"), [row[1:] for row in LEADS], ids=[row[0] for row in LEADS])
def test_without_the_custom_resource_it_leads_nowhere(where: str, resources: tuple[str, ...], head: str) -> None:
    """A permission for what the API does not serve is latent, whatever ServiceAccounts there are."""
    assert head not in held_by(graph_of(cluster(resources, where, ()), catalogue()), DEV)


@pytest.mark.parametrize(
    ("where", "resources", "head"), [row[1:] for row in LEADS_NOWHERE], ids=[row[0] for row in LEADS_NOWHERE]
)
def test_where_the_controller_does_not_look_it_leads_nowhere(where: str, resources: tuple[str, ...], head: str) -> None:
    """Controllers that obey one namespace, and halves of a condition."""
    assert head not in held_by(graph_of(cluster(resources, where, resources), catalogue()), DEV)


@pytest.mark.parametrize(
    ("name", "expected"), [("argocd-application-controller", True), ("gitops", False)], ids=["as-released", "renamed"]
)
def test_a_controller_is_known_by_what_runs_too(name: str, expected: bool) -> None:
    """Whoever installs it may have it run as a ServiceAccount of any name; its workload has the name of its release."""
    resource = "applications.argoproj.io"
    objects = [
        *cluster([resource], "argocd", [resource]), service_account("argocd", "gitops-ctl"),
        deployment("argocd", name, {"app": name}, serviceAccountName="gitops-ctl"),
    ]  # fmt: skip
    found = held_by(graph_of(objects, catalogue()), DEV)

    assert ("serviceaccount:argocd/gitops-ctl" in found) is expected
