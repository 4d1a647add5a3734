"""What a manifest's document holds: the objects of Lists, the kind that is meant, the API's defaults.

All of it as the API server would see the object once `kubectl apply` has sent it. Nothing is changed in place:
documents may share their values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from posture.collect import admission_policy, api_resource, cluster_policy, network_policy, pod
from posture.collect.manifest import Document
from posture.kinds import (
    ADMISSION,
    API_RESOURCES,
    BY_NAME,
    KINDS,
    OWN_GROUPS,
    RBAC,
    Kind,
    kind_of,
    present,
)
from posture.text import visible

DEFINITION = "CustomResourceDefinition"
DEFINITION_GROUP = "apiextensions.k8s.io"
DEFINITION_VERSION = f"{DEFINITION_GROUP}/v1"

_NETWORK_POLICIES = "networkpolicies.networking.k8s.io"
_POLICY_GROUP = "policy.networking.k8s.io"
_BY_KIND_ALONE = {kind.kind: kind for kind in KINDS if not kind.custom}
# Groups in which a kind of another group is meant: what Kubernetes 1.15 moved, and an apiVersion without its group.
_MISLEADING_GROUPS = ("", "extensions")
_LIST = "List"
_SCOPES = ("Namespaced", "Cluster")
_KIND_NAME = re.compile(r"[A-Za-z](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_PLURAL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KIND_WORD = re.compile(rb"\bkind\b")
_SPELLED = re.compile(rb"[\\!]")  # only an escape or a tag (!!binary) writes a word without its letters
_KIND_KEY = re.compile(rb"^kind[ \t]*:.*$", re.MULTILINE)
_PLAIN_KIND = re.compile(rb"kind: ([A-Za-z][A-Za-z0-9]*)")
_ROOT_AT_MARGIN = re.compile(rb"(?:---[ \t]*(?:#.*)?\n)?(?:[ \t]*(?:#.*)?\n)*+[A-Za-z]")
# Escapes, flow mappings, other line breaks and a byte order mark, quoted keys, merge keys, the items of a List, and
# anchors, aliases, tags and explicit keys: whatever may put a kind where nobody would look for it.
_DEVIOUS = re.compile(rb"""[\\{\r\x80-\xff]|["'][ \t]*:|<<|^items\b|(?<![^\s\[,])[&*!?]""", re.MULTILINE)
EVERYTHING = frozenset({"*"})


def unfold(document: Document) -> Iterator[tuple[Any, int]]:
    """The objects of a document with their lines: its value, or the items of a List, of a List in it, and so on.

    Items of a typed list (`RoleBindingList`) that say neither apiVersion nor kind get both from it, as in
    apimachinery's decodeToList. That takes whatever has `items` for a list, so those of a ConfigMap are taken out too.
    """
    stack = [(document.value, document.line, document.items)]
    while stack:
        value, line, lines = stack.pop()
        if not is_list(value):
            yield value, line
            if not (isinstance(value, dict) and value.get("kind") and isinstance(value.get("items"), list)):
                continue
        items = value["items"] or ()
        kind = value["kind"].removesuffix(_LIST) if names_list(value) else ""
        inherited = {"apiVersion": value.get("apiVersion"), "kind": kind} if kind else {}
        places = lines if len(lines) == len(items) else (line,) * len(items)
        for item, place in zip(reversed(items), reversed(places), strict=True):
            bare = isinstance(item, dict) and not item.get("kind") and not item.get("apiVersion")
            stack.append(({**item, **inherited} if bare else item, place, ()))


def is_list(value: Any) -> bool:
    """Whether a value is a List whose items can be taken out."""
    return names_list(value) and "items" in value and (value["items"] is None or isinstance(value["items"], list))


def names_list(value: Any) -> bool:
    """Whether a value calls itself a List."""
    return isinstance(value, dict) and isinstance(value.get("kind"), str) and value["kind"].endswith(_LIST)


def meant(api_version: str, kind: str) -> Kind | None:
    """The kind of posture's that an object means, in whatever version; None for those that posture does not read."""
    group = api_version.rpartition("/")[0]
    found = kind_of(group, kind)
    return found or (_BY_KIND_ALONE.get(kind) if group in _MISLEADING_GROUPS else None)


def nearly(api_version: str, kind: str) -> str:
    """The resource whose kind an object names but for case and space around it; "" for none. kubectl refuses it."""
    group = _plain(api_version.rpartition("/")[0])
    found = _PLAIN_KINDS.get((group, _plain(kind))) or _PLAIN_KINDS.get((group, "*"), "")
    return found or (_PLAIN_ALONE.get(_plain(kind), "") if group in _MISLEADING_GROUPS else "")


def _plain(name: str) -> str:
    return name.strip().lower()


_PLAIN_KINDS = {(kind.group, _plain(kind.kind)): kind.name for kind in KINDS}
_PLAIN_ALONE = {_plain(kind): known.name for kind, known in _BY_KIND_ALONE.items()}
_PLAIN_KINDS[DEFINITION_GROUP, _plain(DEFINITION)] = API_RESOURCES


def wanted(kind: Kind, raw: Mapping[str, Any]) -> bool:
    """Whether an object is among those of its kind that are read."""
    metadata = raw.get("metadata")
    return not kind.named or (isinstance(metadata, Mapping) and metadata.get("name") in kind.named)


def served(kind: Kind) -> list[str]:
    """The apiVersions in which posture reads a kind: of one of Kubernetes' own, all that are served."""
    return [f"{kind.group}/{version}" if kind.group else version for version in kind.versions]


def normal(kind: Kind, raw: Mapping[str, Any], home: str = "default") -> dict[str, Any]:
    """An object as the API server would store it: its namespace, and the defaults that change what it means.

    A missing namespace is `home`, and that of a cluster-scoped object goes. So does a label or annotation that is null,
    and resourceVersion: in a file it does not promise that the rest is unchanged. Raises AttributeError, TypeError or
    ValueError when the object has not the shape of its kind.
    """
    metadata = {
        field: present(value) if field in ("labels", "annotations") else value
        for field, value in raw["metadata"].items() if field not in ("namespace", "resourceVersion")
    }  # fmt: skip
    namespace = ""
    if kind.namespaced:
        namespace = metadata["namespace"] = raw["metadata"].get("namespace") or home
    given = {**raw, "metadata": metadata}
    if kind.kind in ("RoleBinding", "ClusterRoleBinding"):
        return given | _binding(raw, namespace)
    if kind.name == _NETWORK_POLICIES:
        return given | {"spec": network_policy.stored(raw.get("spec"))}
    if kind.group == _POLICY_GROUP:
        return given | {"spec": cluster_policy.stored(kind.kind, raw.get("spec"))}
    if kind.group == ADMISSION:
        return given | admission_policy.stored(kind.kind, raw)
    if kind.name == "pods":
        given |= {"status": pod.stored(raw)}
    return {**given, **pod.named(kind, raw)}


def _binding(raw: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """SetDefaults_RoleBinding and SetDefaults_Subject in kubernetes pkg/apis/rbac/v1.

    The namespace of a service account is filled in by the authorizer (plugin/pkg/auth/authorizer/rbac), not stored.
    """
    changed: dict[str, Any] = {}
    if raw.get("roleRef"):
        changed["roleRef"] = {**raw["roleRef"], "apiGroup": raw["roleRef"].get("apiGroup") or RBAC}
    if raw.get("subjects"):
        changed["subjects"] = [_subject(subject, namespace) for subject in raw["subjects"]]
    return changed


def _subject(subject: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
    if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
        return {**subject, "apiGroup": RBAC}
    if subject.get("kind") == "ServiceAccount" and not subject.get("namespace") and namespace:
        return {**subject, "namespace": namespace}
    return subject


def misshapen(kind: Kind, raw: Mapping[str, Any]) -> str:
    """What is wrong with the shape of the fields that are kept, or refused by the API server; "" when nothing."""
    for field in ("uid", "creationTimestamp"):
        if not isinstance(raw["metadata"].get(field) or "", str):
            return f"metadata.{field} is not a string"
    for field in sorted({path.partition(".")[0] for path in kind.keep} & {"spec", "status", "aggregationRule"}):
        if not isinstance(raw.get(field, {}), dict | None):
            return f"{field} is not a mapping"
    for field in sorted({"rules", "specs", "subjects", "webhooks"} & set(kind.keep)):
        value = raw.get(field)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            return f"{field} is not a list of mappings"
    if kind.kind == "*" and not _KIND_NAME.fullmatch(raw["kind"]):
        return f"kind is {visible(raw['kind'], 80)}, no kind's name"
    if kind.name == _NETWORK_POLICIES:
        return network_policy.refused(raw.get("spec"))
    if kind.group == _POLICY_GROUP:
        return cluster_policy.refused(kind.kind, raw["metadata"]["name"], raw.get("spec"))
    if kind.group == ADMISSION:
        return admission_policy.refused(kind.kind, raw)
    wrong = pod.misshapen(kind, raw)
    if wrong:
        return wrong
    return _refused(kind, raw) if kind.kind in ("RoleBinding", "ClusterRoleBinding") else ""


def _refused(kind: Kind, raw: Mapping[str, Any]) -> str:
    """What ValidateRoleBinding and ValidateClusterRoleBinding in kubernetes pkg/apis/rbac/validation refuse."""
    if "roleRef" not in raw:
        return "roleRef is missing"
    kinds = ("Role", "ClusterRole") if kind.namespaced else ("ClusterRole",)
    wrong = _other("roleRef.kind", raw["roleRef"].get("kind"), kinds)
    wrong = wrong or _other("roleRef.apiGroup", raw["roleRef"].get("apiGroup") or RBAC, (RBAC,))
    for number, subject in enumerate(raw.get("subjects") or ()):
        field, account = f"subjects[{number}]", subject.get("kind") == "ServiceAccount"
        group, own = subject.get("apiGroup"), "" if account else RBAC
        wrong = wrong or _other(f"{field}.kind", subject.get("kind"), ("User", "Group", "ServiceAccount"))
        wrong = wrong or _other(f"{field}.apiGroup", group or own, (own,))
        if account and not kind.namespaced and not subject.get("namespace"):
            wrong = wrong or f"{field}.namespace is missing"
    return wrong


def _other(field: str, value: str | None, known: tuple[str, ...]) -> str:
    if value in known:
        return ""
    return f"{field} is {visible(value, 80) if value else 'missing'}, not {' or '.join(known) or 'empty'}"


def defined(raw: Mapping[str, Any]) -> dict[str, Any] | str:
    """The resource that a CustomResourceDefinition defines, as discovery names it; or what is wrong with it.

    Wrong is what the server refuses, and what it takes without effect: nobody redefines a built-in resource, by its
    group or by a plural with a dot, so that what a binding grants of it would pass for inert.
    """
    misshapen = f"it is not as {DEFINITION_VERSION} requires"
    if raw["apiVersion"] != DEFINITION_VERSION:
        return misshapen
    try:
        name, spec = raw["metadata"]["name"], raw["spec"]
        group, scope, resource, kind = spec["group"], spec["scope"], spec["names"]["plural"], spec["names"]["kind"]
    except (KeyError, TypeError):
        return misshapen
    if not all(isinstance(text, str) for text in (name, group, scope, resource, kind)):
        return misshapen
    if group in OWN_GROUPS:
        return f"the API group {group} is Kubernetes' own"
    if "." not in group:
        return f"spec.group is {visible(group, 80) or 'empty'}, not a domain with a dot"
    if not _PLURAL.fullmatch(resource):
        return f"spec.names.plural is {visible(resource, 80) or 'empty'}, not one word in lower case"
    wrong = _other("metadata.name", name, (f"{resource}.{group}",)) or _other("spec.scope", scope, _SCOPES)
    return wrong or api_resource(resource, group, kind, namespaced=scope == "Namespaced")


def fixed(resource: str, item: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the API server lets nobody change in an object that `normal` or `defined` returned.

    The role of a binding and the scope of a custom resource: of two that differ, the first is made, the later refused.
    """
    if resource == API_RESOURCES:
        return (item["namespaced"],)
    if "roleRef" in BY_NAME[resource].keep:
        return tuple(item["roleRef"].get(field) for field in ("apiGroup", "kind", "name"))
    return ()


def hidden(text: bytes | None) -> frozenset[str]:
    """The resources that a text which cannot be parsed may hold; "*" unless it is certain which kind it is.

    kubectl may be able to read it, so nothing is believed that merely looks like a kind. `text` None is one that
    nobody holds. A text in which the word kind cannot occur is no manifest.
    """
    if text is None or b"\0" in text:
        return EVERYTHING
    if not _KIND_WORD.search(text):
        return EVERYTHING if _SPELLED.search(text) or _is_binary(text) else frozenset()
    kind = _certain_kind(text)
    if not kind or kind.endswith(_LIST):
        return EVERYTHING
    if _plain(kind) == _plain(DEFINITION):
        return frozenset({API_RESOURCES})
    # Several groups have a NetworkPolicy. A kind in other case is refused, and what it was to do is not done.
    return frozenset(known.name for known in KINDS if _may_be(known, kind, text))


def _may_be(known: Kind, kind: str, text: bytes) -> bool:
    """Whether a text whose kind is certain may hold an object that posture reads as `known`."""
    if known.kind == "*":
        return known.group.encode() in text.lower()
    named = not known.named or any(name.encode() in text for name in known.named)
    return _plain(known.kind) == _plain(kind) and named


def _certain_kind(text: bytes) -> str:
    """The one kind that stands in plain words at the left margin, where the keys of the root stand too; else ""."""
    keys = _KIND_KEY.findall(text)
    if len(keys) != 1 or not _ROOT_AT_MARGIN.match(text) or _DEVIOUS.search(text):
        return ""
    found = _PLAIN_KIND.fullmatch(keys[0])
    return found[1].decode() if found else ""


def _is_binary(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False
