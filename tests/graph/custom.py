"""Custom resources by the name of their definition (`applications.argoproj.io`), as a control plane serves them."""

from __future__ import annotations

from tests.generator.objects import Object, metadata

EVERYWHERE = frozenset((
    "clusterissuers.cert-manager.io", "clusterpolicies.kyverno.io", "generatingpolicies.policies.kyverno.io",
    "clustersecretstores.external-secrets.io", "ec2nodeclasses.karpenter.k8s.aws", "nodepools.karpenter.sh",
    "compositions.apiextensions.crossplane.io", "providers.pkg.crossplane.io", "configurations.pkg.crossplane.io",
    "objects.kubernetes.crossplane.io", "releases.helm.crossplane.io",
    *(f"{one}.mutations.gatekeeper.sh" for one in ("assign", "assignimage", "modifyset")),
    "functions.pkg.crossplane.io", "deploymentruntimeconfigs.pkg.crossplane.io", "mutatingpolicies.policies.kyverno.io",
    "clusterextensions.olm.operatorframework.io", "rbacdefinitions.rbacmanager.reactiveops.io",
    "compositecontrollers.metacontroller.k8s.io", "decoratorcontrollers.metacontroller.k8s.io",
    "machineconfigs.machineconfiguration.openshift.io", "resourcegraphdefinitions.kro.run",
    "imagevalidatingpolicies.policies.kyverno.io",
    "validatingpolicies.policies.kyverno.io", "proofs.constraints.gatekeeper.sh",
    "constrainttemplates.templates.gatekeeper.sh", "clusterimagepolicies.policy.sigstore.dev",
    "securitycontextconstraints.security.openshift.io", "cninodes.vpcresources.k8s.aws",
))  # fmt: skip
"""Those of no namespace."""


def split(resource: str) -> tuple[str, str]:
    """`applications.argoproj.io` → (`argoproj.io`, `applications`)."""
    plural, _, api_group = resource.partition(".")
    return api_group, plural


def definition(resource: str) -> Object:
    """A CustomResourceDefinition that takes whatever it is given."""
    api_group, plural = split(resource)
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": metadata(resource, annotations={"api-approved.kubernetes.io": "unapproved, for a test"}),
        "spec": {
            "group": api_group, "scope": "Cluster" if resource in EVERYWHERE else "Namespaced",
            "names": {"plural": plural, "kind": plural.capitalize()},
            "versions": [version | {"schema": schema}],
        },
    }  # fmt: skip
