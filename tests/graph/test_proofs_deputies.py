"""Escalations by custom resources whose controllers act for whoever writes them: the permission half, as real requests.

The control plane serves custom resources of the controllers' groups and names, and no controller runs: each write is
accepted with exactly what the escalation asks for. What the controller then does is its own documentation's word, in
`unproven`; where that leads is shown in test_deputies.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus

import pytest

from posture.rbac.match import Permission
from tests.controlplane.build import NEWEST
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, metadata, namespace, rule
from tests.graph.custom import EVERYWHERE, definition, split
from tests.graph.proving import Part, Place, Proof, Proving, account_of, cases, catalogue, partial, proving
from tests.rbac.accounts import APPLY, DRY, INSIDE, NS, Grant, here
from tests.rbac.requests import Asked

FLEET, CONFIG_SYNC = "fleet-local", "config-management-system"
PRESENT = "present"
PLACES = {
    **{f"{one}.fleet.cattle.io": FLEET for one in ("bundles", "gitrepos", "helmops")},
    "helmchartconfigs.helm.cattle.io": "kube-system", "rootsyncs.configsync.gke.io": CONFIG_SYNC,
}  # fmt: skip
"""Custom resources that count in a namespace of their own."""

LASTING: Mapping[str, tuple[str, ...]] = {
    "argo-cd-applications": ("applications.argoproj.io",),
    "argo-cd-applicationsets": ("applicationsets.argoproj.io",),
    "argo-cd-appprojects": ("appprojects.argoproj.io",),
    "argo-events": ("sensors.argoproj.io", "eventsources.argoproj.io"),
    "argo-rollouts": ("rollouts.argoproj.io",),
    "argo-workflows": ("workflows.argoproj.io", "cronworkflows.argoproj.io"),
    "cert-manager-issuers": ("issuers.cert-manager.io",),
    "cert-manager-clusterissuers": ("clusterissuers.cert-manager.io",),
    "crossplane-compositions": ("compositions.apiextensions.crossplane.io",),
    "config-sync-rootsyncs": ("rootsyncs.configsync.gke.io",),
    "crossplane-namespaced-objects": ("objects.kubernetes.m.crossplane.io",),
    "crossplane-namespaced-releases": ("releases.helm.m.crossplane.io",),
    "crossplane-objects": ("objects.kubernetes.crossplane.io",),
    "crossplane-packages": ("providers.pkg.crossplane.io", "configurations.pkg.crossplane.io"),
    "crossplane-releases": ("releases.helm.crossplane.io",),
    "external-secrets-clusterstores": ("clustersecretstores.external-secrets.io",),
    "external-secrets-stores": ("secretstores.external-secrets.io",),
    "external-secrets-store-secrets": ("secretstores.external-secrets.io",),
    "flink-deployments": ("flinkdeployments.flink.apache.org",),
    "flux-helmreleases": ("helmreleases.helm.toolkit.fluxcd.io",),
    "flux-impersonation": ("kustomizations.kustomize.toolkit.fluxcd.io", "helmreleases.helm.toolkit.fluxcd.io"),
    "flux-kustomizations": ("kustomizations.kustomize.toolkit.fluxcd.io",),
    "gatekeeper-mutators": tuple(f"{one}.mutations.gatekeeper.sh" for one in ("assign", "assignimage", "modifyset")),
    "github-runners": ("autoscalingrunnersets.actions.github.com", "ephemeralrunnersets.actions.github.com"),
    "k3s-helmchartconfigs": ("helmchartconfigs.helm.cattle.io",),
    "k3s-helmcharts": ("helmcharts.helm.cattle.io",),
    "keda-scaledjobs": ("scaledjobs.keda.sh",),
    "knative-secrets": ("services.serving.knative.dev", "configurations.serving.knative.dev"),
    "knative-services": ("services.serving.knative.dev", "configurations.serving.knative.dev"),
    "kruise-workloads": tuple(
        f"{one}.apps.kruise.io"
        for one in ("advancedcronjobs", "clonesets", "daemonsets", "statefulsets", "uniteddeployments")
    ),
    "kserve-inferenceservices": ("inferenceservices.serving.kserve.io",),
    "kubeflow-notebooks": ("notebooks.kubeflow.org",),
    "kubevirt-secrets": ("virtualmachines.kubevirt.io", "virtualmachineinstancereplicasets.kubevirt.io"),
    "kubevirt-serviceaccounts": ("virtualmachines.kubevirt.io", "virtualmachineinstancereplicasets.kubevirt.io"),
    "kyverno-generate": ("clusterpolicies.kyverno.io",),
    "kyverno-generatingpolicies": ("generatingpolicies.policies.kyverno.io",),
    "kyverno-mutate": ("clusterpolicies.kyverno.io",),
    "kyverno-mutatingpolicies": ("mutatingpolicies.policies.kyverno.io",),
    "kyverno-namespaced-policies": ("policies.kyverno.io", "namespacedmutatingpolicies.policies.kyverno.io"),
    "leaderworkersets": ("leaderworkersets.leaderworkerset.x-k8s.io",),
    "metacontroller-controllers": tuple(
        f"{one}.metacontroller.k8s.io" for one in ("compositecontrollers", "decoratorcontrollers")
    ),
    "olm-clusterextensions": ("clusterextensions.olm.operatorframework.io",),
    "olm-clusterserviceversions": ("clusterserviceversions.operators.coreos.com",),
    "openshift-deploymentconfigs": ("deploymentconfigs.apps.openshift.io",),
    "openshift-machineconfigs": ("machineconfigs.machineconfiguration.openshift.io",),
    "opentelemetry-collectors": ("opentelemetrycollectors.opentelemetry.io",),
    "prometheus-monitor-secrets": tuple(
        f"{one}.monitoring.coreos.com" for one in ("servicemonitors", "podmonitors", "probes", "scrapeconfigs")
    ),
    "prometheus-monitor-token": ("servicemonitors.monitoring.coreos.com",),
    "prometheus-operator-servers": tuple(
        f"{one}.monitoring.coreos.com" for one in ("prometheuses", "prometheusagents", "alertmanagers", "thanosrulers")
    ),
    "rancher-fleet": tuple(f"{one}.fleet.cattle.io" for one in ("gitrepos", "bundles", "helmops")),
    "ray-clusters": ("rayclusters.ray.io", "rayservices.ray.io"),
    "rbac-manager-definitions": ("rbacdefinitions.rbacmanager.reactiveops.io",),
    "spark-applications": tuple(
        f"{one}.sparkoperator.k8s.io" for one in ("sparkapplications", "scheduledsparkapplications", "sparkconnects")
    ),
    "velero-backups": ("schedules.velero.io",),
}
"""Custom resources that a controller goes on obeying: creating one is the step, and changing one is."""
RUNS: Mapping[str, tuple[str, ...]] = {
    "argo-rollouts": ("experiments.argoproj.io", "analysisruns.argoproj.io"),
    "github-runners": ("ephemeralrunners.actions.github.com",),
    "jobsets": ("jobsets.jobset.x-k8s.io",),
    "kruise-workloads": ("broadcastjobs.apps.kruise.io",),
    "kubeflow-mpijobs": ("mpijobs.kubeflow.org",),
    "kubeflow-trainjobs": ("trainjobs.trainer.kubeflow.org",),
    "kubeflow-training-jobs": tuple(
        f"{one}.kubeflow.org" for one in ("jaxjobs", "paddlejobs", "pytorchjobs", "tfjobs", "xgboostjobs")
    ),
    "kubevirt-secrets": ("virtualmachineinstances.kubevirt.io",),
    "kubevirt-serviceaccounts": ("virtualmachineinstances.kubevirt.io",),
    "ray-clusters": ("rayjobs.ray.io",),
    "tekton-runs": ("taskruns.tekton.dev", "pipelineruns.tekton.dev"),
    "velero-backups": ("backups.velero.io",),
    "velero-restores": ("restores.velero.io",),
    "volcano-jobs": ("jobs.batch.volcano.sh",),
}
"""Custom resources that are obeyed once: creating one is the step, changing one that exists is none."""
SOURCES = tuple(
    f"{one}.source.toolkit.fluxcd.io" for one in ("gitrepositories", "ocirepositories", "buckets", "helmrepositories")
)
CHANGED: Mapping[str, tuple[str, ...]] = {
    "crossplane-functions": ("functions.pkg.crossplane.io",),
    "crossplane-runtime-configs": ("deploymentruntimeconfigs.pkg.crossplane.io",),
    "flux-sources": SOURCES,
    "kro-resourcegraphdefinitions": ("resourcegraphdefinitions.kro.run",),
}
"""Custom resources that do nothing until something uses them: changing one that is used is the step."""
OTHERS = (
    "catalogsources.operators.coreos.com", "subscriptions.operators.coreos.com", "certificaterequests.cert-manager.io",
    "ec2nodeclasses.karpenter.k8s.aws", "nodepools.karpenter.sh",
)  # fmt: skip
CUSTOM = sorted({
    *(one for its in (*LASTING.values(), *RUNS.values(), *CHANGED.values()) for one in its), *OTHERS,
})  # fmt: skip


def place_of(resource: str) -> str:
    """The namespace in which a resource is written; "" for those of none."""
    return "" if resource in EVERYWHERE else PLACES.get(resource, NS)


def one_of(resource: str, name: str) -> Object:
    """An object of a custom resource."""
    api_group, plural = split(resource)
    return {
        "apiVersion": f"{api_group}/v1",
        "kind": plural.capitalize(),
        "metadata": metadata(name, place_of(resource)),
    }


def path_to(resource: str, name: str = "", namespace: str | None = None) -> str:
    """Where it is written; dry runs throughout."""
    api_group, plural = split(resource)
    where = place_of(resource) if namespace is None else namespace
    inside = f"/namespaces/{where}" if where else ""
    return f"/apis/{api_group}/v1{inside}/{plural}{f'/{name}' if name else ''}?{DRY}"


def grant(verbs: str, resource: str, names: tuple[str, ...] | None = None, namespace: str | None = None) -> Grant:
    """A rule for a custom resource, granted where it is written."""
    api_group, plural = split(resource)
    where = place_of(resource) if namespace is None else namespace
    return where, rule(verbs, plural, api_group, list(names) if names else None)


def creating(resource: str, namespace: str | None = None) -> Asked:
    """POST of a new one."""
    made = one_of(resource, "new")
    if namespace is not None:
        made["metadata"]["namespace"] = namespace
    return Asked("POST", path_to(resource, namespace=namespace), body=made)


def changing(resource: str, below: str = "") -> Asked:
    """PATCH of one that exists."""
    path = path_to(resource, PRESENT + below)
    return Asked("PATCH", path, body={"metadata": {"labels": {"changed": "yes"}}})


def applying(resource: str) -> Asked:
    """Server-side apply of a new one: create and patch, with its name."""
    return Asked(
        "PATCH", f"{path_to(resource, 'new')}&fieldManager=proof", body=one_of(resource, "new"), headers=dict(APPLY)
    )


def lasting(edge: str, resource: str) -> Iterator[Proof]:
    """Creating one, and changing one that the permission names."""
    name = resource.partition(".")[0]
    yield Proof(edge, f"create-{name}", ((grant("create", resource),),), ((0, creating(resource)),))
    yield Proof(edge, f"change-{name}", ((grant("patch", resource, (PRESENT,)),),), ((0, changing(resource)),))


def run(edge: str, resource: str) -> Iterator[Proof]:
    """Creating one by POST, and by server-side apply with a permission that is limited to its name."""
    name = resource.partition(".")[0]
    yield Proof(edge, f"create-{name}", ((grant("create", resource),),), ((0, creating(resource)),))
    both = (grant("create", resource, ("new",)), grant("patch", resource, ("new",)))
    yield Proof(edge, f"apply-{name}", (both,), ((0, applying(resource)),))


APPS, STORES = "applications.argoproj.io", "clustersecretstores.external-secrets.io"
SETTINGS, NODES = "argo-cd-settings", "karpenter-nodeclasses"
CLASSES, POOLS = "ec2nodeclasses.karpenter.k8s.aws", "nodepools.karpenter.sh"
CATALOGS, SUBSCRIPTIONS, REQUESTS = OTHERS[:3]
HELD = f"{INSIDE}/secrets/argocd-secret"
BASE = here(rule("patch", "configmaps", names=["argocd-cm"]))
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata("argocd-secret", NS)}


def config_map(name: str) -> Asked:
    """PATCH of a ConfigMap."""
    return Asked("PATCH", f"{INSIDE}/configmaps/{name}?{DRY}", body={"data": {"changed": "yes"}})


PROOFS = [
    *(proof for edge, its in LASTING.items() for resource in its for proof in lasting(edge, resource)),
    *(proof for edge, its in RUNS.items() for resource in its for proof in run(edge, resource)),
    Proof("argo-cd-applications", "replace", ((grant("update", APPS, (PRESENT,)),),),
          ((0, Asked("PUT", path_to(APPS, PRESENT), body=one_of(APPS, PRESENT))),),
          beyond=(HTTPStatus.UNPROCESSABLE_ENTITY,)),
    *(Proof(edge, f"change-{split(one)[1]}", ((grant("patch", one, (PRESENT,)),),), ((0, changing(one)),))
      for edge, its in CHANGED.items() for one in its),
    *(Proof(SETTINGS, verb, (here(rule(verb, "secrets", names=["argocd-secret"])),), ((0, asked),)) for verb, asked in (
        ("get", Asked("GET", HELD)),
        ("list", Asked("GET", f"{INSIDE}/secrets?fieldSelector=metadata.name%3Dargocd-secret")),
        ("patch", Asked("PATCH", f"{HELD}?{DRY}")),
        ("update", Asked("PUT", f"{HELD}?{DRY}", body=SECRET)),
    )),
    Proof(SETTINGS, "both-configmaps",
          ((*BASE, *here(rule("patch", "configmaps", names=["argocd-rbac-cm"]))),),
          ((0, config_map("argocd-cm")), (0, config_map("argocd-rbac-cm")))),
    Proof(NODES, "change-the-class", ((grant("patch", CLASSES, (PRESENT,)),),), ((0, changing(CLASSES)),)),
    Proof(NODES, "create-both", ((grant("create", CLASSES), grant("create", POOLS)),),
          ((0, creating(CLASSES)), (0, creating(POOLS)))),
    Proof(NODES, "create-the-class-and-change-a-pool", ((grant("create", CLASSES), grant("patch", POOLS, (PRESENT,))),),
          ((0, creating(CLASSES)), (0, changing(POOLS)))),
    Proof("olm-subscriptions", "two-identities", ((grant("create", CATALOGS),), (grant("create", SUBSCRIPTIONS),)),
          ((0, creating(CATALOGS)), (1, creating(SUBSCRIPTIONS)))),
    Proof("olm-subscriptions", "changing",
          ((grant("patch", CATALOGS, (PRESENT,)),), (grant("patch", SUBSCRIPTIONS, (PRESENT,)),)),
          ((0, changing(CATALOGS)), (1, changing(SUBSCRIPTIONS)))),
]  # fmt: skip
APPROVED = Proof(
    "cert-manager-approve", "two-identities",
    ((grant("create", REQUESTS),),
     (grant("patch", "certificaterequests/status.cert-manager.io", (PRESENT,)),
      grant("approve", "signers.cert-manager.io", ("clusterissuers.cert-manager.io/ca",), namespace=""))),
    ((0, creating(REQUESTS)), (1, changing(REQUESTS, "/status"))),
)  # fmt: skip
ASKED_BY_WEBHOOK = Part(1, 1)
"""The verb approve, which cert-manager's webhook asks for and the API server does not."""

REFUSED = [
    Proof("argo-cd-applications", "reading", ((grant("get,list,watch", APPS),),), ((0, creating(APPS)),)),
    Proof("argo-cd-applications", "deleting", ((grant("delete,deletecollection", APPS),),), ((0, creating(APPS)),)),
    Proof("argo-cd-applications", "create-by-name", ((grant("create", APPS, ("new",)),),), ((0, creating(APPS)),)),
    Proof("argo-cd-applications", "status", ((grant("patch", "applications/status.argoproj.io"),),),
          ((0, changing(APPS)),)),
    Proof("argo-cd-applications", "below", ((grant("*", "applications/*.argoproj.io"),),), ((0, changing(APPS)),)),
    Proof("argo-cd-applications", "other-group", ((grant("*", "applications.app.k8s.io"),),), ((0, creating(APPS)),)),
    Proof("argo-cd-applications", "verb-in-capitals", ((grant("CREATE", APPS),),), ((0, creating(APPS)),)),
    Proof("external-secrets-clusterstores", "inside", ((grant("*", STORES, namespace=NS),),), ((0, creating(STORES)),)),
    Proof("tekton-runs", "create-by-name", ((grant("create", "taskruns.tekton.dev", ("new",)),),),
          ((0, applying("taskruns.tekton.dev")),)),
]  # fmt: skip
"""What looks like the condition and is refused."""
NO_STEP = [
    Proof("tekton-runs", "changing", ((grant("update,patch", "taskruns.tekton.dev"),),),
          ((0, changing("taskruns.tekton.dev")),)),
    Proof("tekton-runs", "two-kinds",
          ((grant("create", "taskruns.tekton.dev", ("new",)), grant("patch", "pipelineruns.tekton.dev", (PRESENT,))),),
          ((0, changing("pipelineruns.tekton.dev")),)),
    *(Proof(edge, "creating", ((grant("create", its[0]),),), ((0, creating(its[0])),))
      for edge, its in CHANGED.items()),
    Proof(NODES, "a-class-that-nothing-names", ((grant("create", CLASSES),),), ((0, creating(CLASSES)),)),
    Proof(NODES, "a-pool", ((grant("*", POOLS),),), ((0, creating(POOLS)),)),
    Proof(SETTINGS, "one-configmap", (BASE,), ((0, config_map("argocd-cm")),)),
    Proof("rancher-fleet", "another-workspace", ((grant("*", "bundles.fleet.cattle.io", namespace=NS),),),
          ((0, creating("bundles.fleet.cattle.io", NS)),)),
    Proof("k3s-helmchartconfigs", "of-another-namespace",
          ((grant("*", "helmchartconfigs.helm.cattle.io", namespace=NS),),),
          ((0, creating("helmchartconfigs.helm.cattle.io", NS)),)),
]  # fmt: skip
"""What is accepted and moves no controller to anything."""


def present() -> Iterator[Object]:
    """What is changed by name."""
    yield from (one_of(resource, PRESENT) for resource in CUSTOM)
    yield SECRET
    for name in ("argocd-cm", "argocd-rbac-cm"):
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, NS)}


@pytest.fixture(scope="module")
def planes() -> Iterator[Proving]:
    """A control plane of this module's own: the custom resources would be seen by other tests."""
    with ControlPlane(NEWEST) as plane:
        plane.apply([*map(namespace, (FLEET, CONFIG_SYNC, NS)), *map(definition, CUSTOM), *present()])
        with proving(lambda _: plane, [*PROOFS, APPROVED, *REFUSED, *NO_STEP]) as found:
            yield found


def says(place: Place, one: Proof) -> bool:
    """Whether posture says that the escalation is met by the first identity of a proof."""
    return (one.edge, 0, f"serviceaccount:{NS}/{account_of(one, 0)}") in place.holds


@pytest.mark.parametrize(("one", "minor"), cases([*PROOFS, APPROVED]))
def test_who_meets_the_condition_may_write_it(planes: Proving, one: Proof, minor: str) -> None:
    """Every request is accepted, and the escalation holds."""
    planes.accepted(one, minor)


@pytest.mark.parametrize(("one", "minor", "without"), partial(PROOFS))
def test_who_lacks_a_part_of_it_may_not(planes: Proving, one: Proof, minor: str, without: Part) -> None:
    """Some request is refused, and the escalation does not hold."""
    planes.refused_without(one, minor, without)


@pytest.mark.parametrize("without", [part for part in APPROVED.parts() if part != ASKED_BY_WEBHOOK])
def test_who_may_not_write_a_certificate_request_or_its_status_approves_none(planes: Proving, without: Part) -> None:
    """The API server's part of an approval."""
    planes.refused_without(APPROVED, NEWEST, without)


def test_who_lacks_the_verb_that_the_webhook_asks_for_approves_none(planes: Proving) -> None:
    """No webhook runs here and the request passes; posture does not say that it is an approval."""
    place = planes.at(NEWEST)
    place.answers(APPROVED, ASKED_BY_WEBHOOK)
    who = f"serviceaccount:{NS}/{account_of(APPROVED, 1, ASKED_BY_WEBHOOK)}"
    assert ("cert-manager-approve", 1, who) not in place.holds


@pytest.mark.parametrize("one", REFUSED, ids=lambda one: f"{one.edge}-{one.name}")
def test_what_only_looks_like_the_condition_is_refused(planes: Proving, one: Proof) -> None:
    """The real request is refused, and the escalation does not hold."""
    place = planes.at(NEWEST)
    with pytest.raises(RefusedError) as refused:
        place.answers(one)
    assert refused.value.status == one.refusal
    assert not says(place, one)


@pytest.mark.parametrize("one", NO_STEP, ids=lambda one: f"{one.edge}-{one.name}")
def test_a_write_that_no_controller_obeys_is_no_step(planes: Proving, one: Proof) -> None:
    """The real request is accepted, and the escalation does not hold."""
    place = planes.at(NEWEST)
    place.answers(one)
    assert not says(place, one)


def test_every_resource_that_a_deputy_obeys_is_proven() -> None:
    """Each resource in an escalation that waits for a controller is written by some proof of it."""
    granted = {
        (one.edge, api_group, resource)
        for one in [*PROOFS, APPROVED] for grants in one.granted for _, given in grants
        for api_group in given["apiGroups"] for resource in given["resources"]
    }  # fmt: skip
    wanted = {
        (one.id, api_group, resource)
        for one in catalogue() if one.unproven.startswith("the controller acts: ")
        for tree in one.trees for leaf in tree.leaves()
        for api_group, resource in named(leaf)
    }  # fmt: skip
    assert wanted
    assert granted == wanted


def named(leaf: Permission) -> Iterator[tuple[str, str]]:
    """The (group, resource) pairs of a permission."""
    yield from ((api_group, resource) for api_group in leaf.groups or () for resource in leaf.resources or ())
