"""Who delivers an object (Argo CD, Flux, Helm), and whether somebody else than that changed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from posture.model import Audited, Content, Key

_DELIVERERS: Mapping[str, frozenset[str]] = {
    # Their field managers, programs and ServiceAccounts: common.ArgoCDSSAManager of Argo CD and its controller's
    # account, here and in a cluster that it was given; the controllers of Flux, by which both the field manager and
    # the account are named; kube.ManagedFieldsManager of Helm.
    "argocd": frozenset({"argocd-controller", "argocd-application-controller", "argocd-manager"}),
    "flux": frozenset({"flux", "kustomize-controller", "helm-controller"}),
    "helm": frozenset({"helm", "helm-controller"}),
}
_CLUSTER = frozenset(
    {"clusterrole-aggregation-controller", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
)
"""What Kubernetes itself does to an object is nobody's doing outside Git."""
_CLUSTER_USERS = frozenset({"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"})
_ACCOUNT = "system:serviceaccount:"


class Origin(NamedTuple):
    """Who delivers an object: `argocd:APP`, `flux:NAMESPACE/NAME`, `helm:NAMESPACE/RELEASE`, and its namespace."""

    name: str
    namespace: str


def origin(key: Key, content: Content) -> Origin | None:
    """The delivery origin that an object's own metadata names. Copied annotations of other objects do not count."""
    labels: Mapping[str, str] = content.get("labels") or {}
    annotations: Mapping[str, str] = content.get("annotations") or {}
    app, _, rest = annotations.get("argocd.argoproj.io/tracking-id", "").partition(":")
    if app and rest.rpartition(":")[2] in (f"{key.namespace}/{key.name}", f"/{key.name}"):
        return Origin(f"argocd:{app}", "")
    if app := labels.get("argocd.argoproj.io/instance", ""):
        return Origin(f"argocd:{app}", "")
    for label in ("kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"):
        name, namespace = labels.get(f"{label}/name"), labels.get(f"{label}/namespace", "")
        if name:
            return Origin(f"flux:{namespace}/{name}", namespace)
    release = annotations.get("meta.helm.sh/release-name")
    namespace = annotations.get("meta.helm.sh/release-namespace", "")
    return Origin(f"helm:{namespace}/{release}", namespace) if release else None


def out_of_band(source: Origin | None, manager: str, audited: Audited | None) -> bool:
    """Whether a change went round the delivery of its object: not where that, or the cluster itself, made it.

    `manager` is the field manager (claimed). What an audit log says of the user and the program goes before it; but
    anybody may run Helm, whatever the user. Nothing is said where nothing tells who it was.
    """
    if source is None or not (manager or audited):
        return False
    tool = source.name.partition(":")[0]
    mine = _DELIVERERS[tool]
    if audited is None:
        return manager not in mine | _CLUSTER
    program = audited.agent.partition("/")[0].lower()
    account = audited.user.rpartition(":")[2] if audited.user.startswith(_ACCOUNT) else ""
    if program in _CLUSTER or audited.user in _CLUSTER_USERS or account in _CLUSTER:
        return False
    known = program in mine or account.removeprefix("openshift-gitops-") in mine
    return not (known or (tool == "helm" and manager in mine))


def around(name: str) -> str:
    """A delivery that a change went round, in words: `outside Git (flux)`."""
    tool = name.partition(":")[0]
    return "outside Helm" if tool == "helm" else f"outside Git ({tool})"
