"""The default RBAC policy of a minor version, taken from a fresh server, as manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.controlplane.controlplane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).resolve().parents[2] / "baselines" / "defaults"
API: Final = "rbac.authorization.k8s.io/v1"
KINDS: Final = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}
METADATA: Final = ("name", "namespace", "labels", "annotations")
CONTENT: Final = ("aggregationRule", "rules", "roleRef", "subjects")
RULE: Final = ("apiGroups", "resources", "resourceNames", "nonResourceURLs", "verbs")
HEADER: Final = """\
# The default RBAC policy of Kubernetes {minor}: every ClusterRole, ClusterRoleBinding, Role and RoleBinding of a fresh
# server ({version}), with aggregated roles as kube-controller-manager fills them in. Nothing here is written by hand:
#   python -m tests.controlplane defaults {minor}
# The content is Kubernetes' own. Copyright The Kubernetes Authors, Apache License 2.0.
"""


def write_defaults(minor: str, folder: Path = FOLDER) -> Path:
    """Starts a fresh control plane of this minor version and writes `MINOR.yaml` into the folder; gives its path."""
    with ControlPlane(minor) as plane:
        text = defaults_of(plane)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{minor}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def defaults_of(plane: ControlPlane) -> str:
    """Gives the RBAC objects of a server that has just started, sorted by kind, namespace, name: always the same text.

    The control plane waited for its roles when it started: the server is ready only after it made its own objects, and
    all aggregated roles hold what they select.
    """
    documents = [HEADER.format(minor=plane.minor, version=plane.version)]
    for kind, resource in KINDS.items():
        items = plane.request("GET", f"/apis/{API}/{resource}")["items"]
        found = sorted(items, key=lambda item: (item["metadata"].get("namespace", ""), item["metadata"]["name"]))
        documents += [_yaml(dict(_manifest(kind, item))) for item in found]
    return "---\n".join(documents)


def _manifest(kind: str, item: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "apiVersion", API
    yield "kind", kind
    yield "metadata", _ordered(item["metadata"], METADATA)
    if kind.endswith("Role"):
        item = {**item, "rules": [_ordered(rule, RULE) for rule in item.get("rules") or []]}
    yield from _ordered(item, CONTENT).items()


def _ordered(source: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: source[key] for key in keys if key in source}


def _yaml(document: dict[str, Any]) -> str:
    # With None, PyYAML writes what holds only scalars on one line, and everything else as a block.
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)
    return text
