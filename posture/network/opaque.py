"""Policies of other makers: read, compared by content and not modelled. The pods that one may select are unknown.

What each language says of its subject becomes label selectors; a part that is not understood exactly is left out,
which selects more: a policy may be said to select a pod that it does not, never the reverse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from posture import selectors
from posture.model import Content, Key, Snapshot

from .endpoints import NAME_LABEL

type Selector = Mapping[str, Any]
type Place = tuple[Literal["namespace", "pod"], str]
"""A label of the namespace, or of the pod itself."""


class Subject(NamedTuple):
    """Pods with some labels in namespaces with some labels; {} is every one."""

    namespaces: Selector
    pods: Selector


class Opaque(NamedTuple):
    """One policy that is not modelled: whom it may select, in one namespace or in all ("")."""

    key: Key
    namespace: str
    subjects: tuple[Subject, ...]


EVERYTHING = Subject({}, {})


def opaques(snapshot: Snapshot) -> tuple[Opaque, ...]:
    """The policies that are not modelled, sorted. One that cannot be read may select everyone that it can reach."""
    return tuple(sorted((one for resource in OPAQUE for one in _of(snapshot, resource)), key=lambda one: one.key))


def may_select(one: Opaque, namespace: str, ns_labels: Mapping[str, str], pod_labels: Mapping[str, str]) -> bool:
    """Whether a policy may select a pod. Not to be asked of those in their node's network: no policy is about them."""
    if one.namespace not in ("", namespace):
        return False
    named = {**ns_labels, NAME_LABEL: namespace}
    return any(selectors.matches(to.namespaces, named) and selectors.matches(to.pods, pod_labels)
               for to in one.subjects)  # fmt: skip


def keys(one: Opaque) -> frozenset[str]:
    """The labels of pods that decide whether it selects them."""
    return frozenset(term["key"] for to in one.subjects for term in to.pods.get("matchExpressions") or ())


def _of(snapshot: Snapshot, resource: str) -> tuple[Opaque, ...]:
    kept: dict[str, tuple[Opaque, ...]] = snapshot.derived_from(resource)
    if "opaque" not in kept:
        kept["opaque"] = tuple(_read(key, content) for key, content in snapshot.objects(resource))
    return kept["opaque"]


def _read(key: Key, content: Content) -> Opaque:
    place = "" if (key.resource, key.namespace) == (ISTIO, ISTIO_ROOT) else key.namespace
    try:
        return Opaque(key, place, tuple(OPAQUE[key.resource](key, content)))
    except (AttributeError, KeyError, TypeError, ValueError):
        return Opaque(key, place, (EVERYTHING,))


# Label selectors ----------------------------------------------------------------------------------------------------


def _own(key: str) -> Place:
    return "pod", key


def _space(key: str) -> Place:
    return "namespace", key


def _subject(*given: tuple[Any, Callable[[str], Place | None]]) -> Subject:
    """Label selectors that all must hold, each with what its keys mean (None: nothing that is known here)."""
    found: dict[str, list[Selector]] = {"namespace": [], "pod": []}
    for selector, meaning in given:
        for term in _terms(selector):
            place = meaning(term["key"])
            if place is not None:
                found[place[0]].append({**term, "key": place[1]})
    namespaces, pods = ({"matchExpressions": terms} if terms else {} for terms in found.values())
    return Subject(namespaces, pods)


def _terms(selector: Any) -> Iterator[Selector]:
    """The expressions of a LabelSelector that can be read. Raises AttributeError for what is none at all."""
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        if isinstance(value, str):
            yield {"key": key, "operator": "In", "values": [value]}
    for one in (selector or {}).get("matchExpressions") or ():
        operator, values = one.get("operator"), one.get("values") or []
        if not isinstance(one.get("key"), str) or not all(isinstance(value, str) for value in values):
            continue
        if operator in ("In", "NotIn") if values else operator in ("Exists", "DoesNotExist"):
            yield {"key": one["key"], "operator": operator, "values": values}


# Cilium: pkg/policy/api/rule.go, pkg/k8s/apis/cilium.io/utils (how a namespace's policy is confined to it) -----------

_NO_POD = frozenset({"health", "host", "ingress", "kube-apiserver", "remote-node", "world", "world-ipv4", "world-ipv6"})
_NAMESPACE = "io.kubernetes.pod.namespace"
_SPACE_LABELS = "io.cilium.k8s.namespace.labels."


def _cilium(key: Key, content: Content) -> Iterator[Subject]:
    rules = [*([content["spec"]] if "spec" in content else ()), *(content.get("specs") or ())]
    if not rules:
        yield EVERYTHING
    for rule in rules:
        selector = rule.get("endpointSelector")
        if selector is None and rule.get("nodeSelector") is not None and not key.namespace:
            continue  # the host firewall: of nodes, not of pods
        known = _known(selector, confined=bool(key.namespace))
        if known is not None:
            yield _subject((known, _cilium_key))


def _known(selector: Any, *, confined: bool) -> Selector | None:
    """A Cilium selector without what is not known; None for one that asks for an identity that no pod has.

    An identity may leave labels of its pod out (`labels` in cilium-config), so that a pod may lack for Cilium what it
    has; never the name of its namespace. Where a policy is confined to one, Cilium drops what it says of that name.
    """
    kept = []
    for term in _terms(selector):
        source, _, name = term["key"].rpartition(":")
        wanted = term["operator"] in ("In", "Exists")
        if source == "reserved" and wanted and name in _NO_POD:
            return None
        if not confined if name == _NAMESPACE else wanted:
            kept.append(term)
    return {"matchExpressions": kept}


def _cilium_key(key: str) -> Place | None:
    source, _, name = key.rpartition(":")
    if source not in ("", "any", "k8s"):
        return None
    if name == _NAMESPACE:
        return "namespace", NAME_LABEL
    if name.startswith(_SPACE_LABELS):
        return "namespace", name.removeprefix(_SPACE_LABELS)
    return None if name.startswith("io.cilium.") else ("pod", name)  # a cluster's name, a ServiceAccount's


# Calico: libcalico-go lib/selector. Only what can be read at a glance ------------------------------------------------

_EQUALS = re.compile(r"""\s*([\w./-]+)\s*==\s*(?:'([^']*)'|"([^"]*)")\s*""", re.ASCII)
_CALICO_OWN = ("projectcalico.org/", "pcns.", "pcsa.")
"""Labels that Calico adds itself."""


def _calico(key: Key, content: Content) -> Iterator[Subject]:
    spec = content["spec"]
    spaces = None if key.namespace else _calico_terms(spec.get("namespaceSelector"))
    yield _subject((spaces, _calico_space), (_calico_terms(spec.get("selector")), _calico_key))


def _calico_terms(expression: Any) -> Selector:
    found = _EQUALS.fullmatch(expression or "")
    return {"matchLabels": {found[1]: found[2] or found[3] or ""}} if found else {}


def _calico_space(key: str) -> Place | None:
    if key == "projectcalico.org/name":
        return "namespace", NAME_LABEL
    return None if key.startswith(_CALICO_OWN) else ("namespace", key)


def _calico_key(key: str) -> Place | None:
    if key == "projectcalico.org/namespace":
        return "namespace", NAME_LABEL
    return None if key.startswith(_CALICO_OWN) else ("pod", key)


# Others -------------------------------------------------------------------------------------------------------------


def _istio(_: Key, content: Content) -> Iterator[Subject]:
    # Without a selector, all of its namespace; with targetRefs, the proxies of something, which nothing here names.
    yield _subject(((content.get("spec") or {}).get("selector"), _own))


def _antrea(key: Key, content: Content) -> Iterator[Subject]:
    spec = content["spec"]
    rules = [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]
    for applied in [spec.get("appliedTo")] if spec.get("appliedTo") else [rule.get("appliedTo") for rule in rules]:
        for one in applied or [{}]:
            spaces = None if key.namespace else one.get("namespaceSelector")
            yield _subject((spaces, _space), (one.get("podSelector"), _own))
    if not spec.get("appliedTo") and not rules:
        yield EVERYTHING


def _pod_selector(_: Key, content: Content) -> Iterator[Subject]:
    # It speaks of secondary networks only; what pods may do over these is not known either.
    yield _subject((content["spec"].get("podSelector"), _own))


ISTIO = "authorizationpolicies.security.istio.io"
ISTIO_ROOT = "istio-system"
"""Policies there are for all namespaces. A mesh may name another root, which no object says that is read."""

OPAQUE: Mapping[str, Callable[[Key, Content], Iterator[Subject]]] = {
    "ciliumnetworkpolicies.cilium.io": _cilium,
    "ciliumclusterwidenetworkpolicies.cilium.io": _cilium,
    "networkpolicies.projectcalico.org": _calico,
    "globalnetworkpolicies.projectcalico.org": _calico,
    "networkpolicies.crd.projectcalico.org": _calico,
    "globalnetworkpolicies.crd.projectcalico.org": _calico,
    ISTIO: _istio,
    "networkpolicies.crd.antrea.io": _antrea,
    "clusternetworkpolicies.crd.antrea.io": _antrea,
    "multi-networkpolicies.k8s.cni.cncf.io": _pod_selector,
}
"""The kinds that are read and not modelled, and how each says whom it selects."""
