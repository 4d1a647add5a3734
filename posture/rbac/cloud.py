"""Cloud identities that a ServiceAccount's annotations let it assume.

Sources: EKS IAM roles for service accounts (`eks.amazonaws.com/role-arn`), GKE Workload Identity Federation
(`iam.gke.io/gcp-service-account`), Microsoft Entra Workload ID on AKS (`azure.workload.identity/client-id`, with the
tenant beside it).
"""

from __future__ import annotations

from posture.model import Content

_ANNOTATIONS = {
    "eks.amazonaws.com/role-arn": "aws",
    "iam.gke.io/gcp-service-account": "gcp",
    "azure.workload.identity/client-id": "azure",
}


def identities(content: Content) -> list[str]:
    """The identities, `aws:ARN`, `gcp:EMAIL`, `azure:CLIENT-ID`, sorted."""
    annotations = content.get("annotations") or {}
    return sorted(f"{cloud}:{annotations[name]}" for name, cloud in _ANNOTATIONS.items() if annotations.get(name))


def without(content: Content) -> Content:
    """A ServiceAccount without the annotations that give it a cloud identity."""
    kept = {name: text for name, text in (content.get("annotations") or {}).items() if name not in _ANNOTATIONS}
    rest = {name: value for name, value in content.items() if name != "annotations"}
    return rest | ({"annotations": kept} if kept else {})
