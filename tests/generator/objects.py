"""Builders of Kubernetes objects, with sane defaults, and the snapshot that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from posture.collect import api_resource, body_of, entry_of
from posture.kinds import API_RESOURCES, CLUSTER_SCOPED, RBAC, key_of, kind_of
from posture.model import Content, Entry, Gap, Snapshot, Version

type Object = dict[str, Any]

VERSION = f"{RBAC}/v1"


def words(text: str | Sequence[str]) -> list[str]:
    """`"get,list"` → `["get", "list"]`; a sequence as it is."""
    return text.split(",") if isinstance(text, str) else list(text)


def rule(
    verbs: str | Sequence[str] = "get",
    resources: str | Sequence[str] = "pods",
    groups: str | Sequence[str] = "",
    names: Sequence[str] | None = None,
) -> Object:
    """A PolicyRule on resources."""
    found: Object = {"verbs": words(verbs), "apiGroups": words(groups), "resources": words(resources)}
    return found | ({"resourceNames": list(names)} if names is not None else {})


def urls(verbs: str | Sequence[str], paths: str | Sequence[str]) -> Object:
    """A PolicyRule on URLs that are no resources."""
    return {"verbs": words(verbs), "nonResourceURLs": words(paths)}


def metadata(name: str, namespace: str = "", **more: Any) -> Object:
    """An object's metadata."""
    return {"name": name} | ({"namespace": namespace} if namespace else {}) | more


def namespace(name: str, **labels: str) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name, labels=labels)}


def guarded(name: str, **labels: str) -> Object:
    """A Namespace that admits only what the Pod Security Standard `restricted` does: nothing is to be said of it."""
    return namespace(name, **{"pod-security.kubernetes.io/enforce": "restricted"}, **labels)


def service_account(namespace: str, name: str, **annotations: str) -> Object:
    """A ServiceAccount."""
    more = {"annotations": annotations} if annotations else {}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, namespace, **more)}


def role(name: str, *rules: Object, namespace: str = "", **more: Any) -> Object:
    """A Role, or a ClusterRole when there is no namespace."""
    kind = "Role" if namespace else "ClusterRole"
    return {"apiVersion": VERSION, "kind": kind, "metadata": metadata(name, namespace, **more), "rules": list(rules)}


def aggregated(name: str, *selectors: dict[str, str], rules: Iterable[Object] = (), **labels: str) -> Object:
    """A ClusterRole whose rules come from the roles with some labels."""
    made = role(name, *rules, labels=labels)
    return made | {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": labels} for labels in selectors]}}


def binding(name: str, reference: str, *subjects: Object, namespace: str = "", **more: Any) -> Object:
    """A RoleBinding, or a ClusterRoleBinding when there is no namespace. `reference` is KIND/NAME."""
    kind, _, role_name = reference.partition("/")
    return {
        "apiVersion": VERSION,
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata(name, namespace, **more),
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role_name},
        "subjects": list(subjects),
    }


def account(namespace: str, name: str) -> Object:
    """A ServiceAccount as a subject."""
    return {"kind": "ServiceAccount", "name": name} | ({"namespace": namespace} if namespace else {})


def user(name: str) -> Object:
    """A User as a subject."""
    return {"kind": "User", "apiGroup": RBAC, "name": name}


def group(name: str) -> Object:
    """A Group as a subject."""
    return {"kind": "Group", "apiGroup": RBAC, "name": name}


def snapshot(
    objects: Iterable[Object], gaps: Sequence[Gap] = (), version: Version | None = None, cluster: str = "test",
    beside: Snapshot | None = None,
) -> Snapshot:  # fmt: skip
    """The snapshot of some objects; later ones of the same name win. It shares equal contents with one `beside` it."""
    index: dict[str, dict[tuple[str, str], Entry]] = {}
    contents: dict[bytes, Content] = {}
    known: Mapping[bytes, Content] = beside.contents if beside else {}
    for raw in objects:
        if raw["kind"] == "APIResource":
            kind, resource = None, API_RESOURCES
        else:
            kind = kind_of(raw["apiVersion"].rpartition("/")[0], raw["kind"])
            assert kind is not None, f"{raw['apiVersion']} {raw['kind']} is not read"
            resource = kind.name
        digest, body = body_of(kind, {k: v for k, v in raw.items() if k != "apiVersion"} if kind is None else raw)
        if digest not in contents:
            contents[digest] = known[digest] if digest in known else orjson.loads(body)
        meta = raw["metadata"]
        name = key_of(kind, raw).name if kind else meta["name"]
        index.setdefault(resource, {})[meta.get("namespace") or "", name] = entry_of(digest, meta)
    return Snapshot(cluster, index, contents, tuple(sorted(gaps)), version)


def discovery(*custom: tuple[str, str, bool]) -> list[Object]:
    """What discovery of a plain cluster says, and custom resources as (resource, group, namespaced)."""
    namespaced = (
        *("pods", "secrets", "configmaps", "services", "serviceaccounts", "events", "endpoints"),
        *("persistentvolumeclaims", f"roles.{RBAC}", f"rolebindings.{RBAC}", "deployments.apps", "jobs.batch"),
    )
    rows = [(*name.partition(".")[::2], True) for name in namespaced]
    rows += [(*name.partition(".")[::2], False) for name in sorted(CLUSTER_SCOPED)]
    found = []
    for resource, api_group, inside in (*rows, *custom):
        found.append(api_resource(resource, api_group, "", namespaced=inside) | {"kind": "APIResource"})
    return found
