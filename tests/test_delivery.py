"""Whether a change went round whoever delivers the object."""

from __future__ import annotations

from typing import Any

import pytest

from posture.delivery import Origin, around, origin, out_of_band
from posture.model import Audited, Key

ROLE = Key("roles.rbac.authorization.k8s.io", "pay", "debug")
FLUX, ARGO, HELM = Origin("flux:apps/web", "apps"), Origin("argocd:web", ""), Origin("helm:pay/web", "pay")
ACCOUNT = "system:serviceaccount:"


def by(user: str, agent: str = "kubectl/v1.36.3 (linux/amd64)") -> Audited:
    """A request of a user with a program."""
    return Audited(user, agent=agent, time="2026-11-22T03:00:00Z")


@pytest.mark.parametrize(("labels", "annotations", "expected"), [
    ({}, {}, None),
    ({}, {"argocd.argoproj.io/tracking-id": "web:rbac.authorization.k8s.io/Role:pay/debug"}, ARGO),
    ({}, {"argocd.argoproj.io/tracking-id": "web:rbac.authorization.k8s.io/Role:pay/other"}, None),
    ({"argocd.argoproj.io/instance": "web"}, {}, ARGO),
    # Too many others set it to be told from them: Argo CD's label of old, and everybody's.
    ({"app.kubernetes.io/instance": "web"}, {}, None),
    ({"kustomize.toolkit.fluxcd.io/name": "web", "kustomize.toolkit.fluxcd.io/namespace": "apps"}, {}, FLUX),
    ({"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "apps"},
     {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "pay"}, FLUX),
    ({"app.kubernetes.io/managed-by": "Helm"},
     {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "pay"}, HELM),
])  # fmt: skip
def test_the_origin_is_read_off_the_object(labels: dict[str, str], annotations: Any, expected: Origin | None) -> None:
    """Argo CD's tracking id or label, Flux's labels (also of Helm releases that it makes), Helm's annotations."""
    assert origin(ROLE, {"labels": labels, "annotations": annotations}) == expected


@pytest.mark.parametrize(("source", "manager", "outside"), [
    (None, "kubectl-edit", False),
    (FLUX, "kubectl-edit", True), (FLUX, "kustomize-controller", False), (FLUX, "helm-controller", False),
    (FLUX, "argocd-controller", True), (FLUX, "", False), (FLUX, "clusterrole-aggregation-controller", False),
    (ARGO, "argocd-controller", False), (ARGO, "argocd-application-controller", False),
    (ARGO, "kubectl-client-side-apply", True), (ARGO, "kustomize-controller", True),
    (HELM, "helm", False), (HELM, "helm-controller", False), (HELM, "kubectl", True), (HELM, "lens", True),
    (HELM, "kube-controller-manager", False),
])  # fmt: skip
def test_as_field_managers_claim(source: Origin | None, manager: str, outside: bool) -> None:
    """Another field manager's change is out of band; the cluster's own controllers are nobody."""
    assert out_of_band(source, manager, None) is outside


@pytest.mark.parametrize(("source", "manager", "audited", "outside"), [
    (FLUX, "kubectl-edit", by("alice@example.com"), True),
    # What is claimed is only claimed.
    (FLUX, "kustomize-controller", by("alice@example.com"), True),
    (FLUX, "kubectl-edit", by(f"{ACCOUNT}flux-system:kustomize-controller", "kustomize-controller/v1.7"), False),
    # The same where Flux reaches a cluster as some user, from outside of it.
    (FLUX, "", by("arn:aws:iam::1:role/flux", "kustomize-controller/v1.7 (linux/amd64) kubernetes/$Format"), False),
    (FLUX, "x", by(f"{ACCOUNT}pay:ci", "curl/8.5"), True),
    (FLUX, "x", by(f"{ACCOUNT}pay:ci", ""), True),
    (FLUX, "x", by("kustomize-controller"), True),
    (ARGO, "x", by(f"{ACCOUNT}argocd:argocd-application-controller"), False),
    (ARGO, "x", by(f"{ACCOUNT}openshift-gitops:openshift-gitops-argocd-application-controller"), False),
    (ARGO, "x", by(f"{ACCOUNT}kube-system:argocd-manager", "argocd-application-controller/v3.1"), False),
    (ARGO, "argocd-controller", by("alice@example.com"), True),
    # Anybody may run Helm.
    (HELM, "helm", by("alice@example.com", "Helm/4.1.0"), False),
    (HELM, "kubectl-edit", by("alice@example.com", "Helm/4.1.0"), False),
    (HELM, "kubectl-edit", by("alice@example.com"), True),
    (FLUX, "", by(f"{ACCOUNT}kube-system:clusterrole-aggregation-controller"), False),
    (FLUX, "", by("system:apiserver", "kube-apiserver/v1.36.3"), False),
    (FLUX, "", by("admin", "kube-controller-manager/v1.36.3 (linux/amd64)"), False),
    (None, "x", by("alice@example.com"), False),
])  # fmt: skip
def test_as_an_audit_log_says(source: Origin | None, manager: str, audited: Audited, outside: bool) -> None:
    """Who it was and with what program goes before what a field manager is called."""
    assert out_of_band(source, manager, audited) is outside


@pytest.mark.parametrize(("source", "expected"), [
    (FLUX, "outside Git (flux)"), (ARGO, "outside Git (argocd)"), (HELM, "outside Helm"),
])  # fmt: skip
def test_in_words(source: Origin, expected: str) -> None:
    """Helm delivers from a chart, not from Git."""
    assert around(source.name) == expected
