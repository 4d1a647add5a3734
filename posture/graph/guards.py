"""Policies that are added where nothing there can be narrowed: what keeps pods from the cloud's metadata service, and
namespaces from being made without a Pod Security level.

Sources: a pod that no NetworkPolicy selects for egress may go anywhere, and policies add up (k8s.io/api networking/v1
types.go); optional fields in CEL since Kubernetes 1.29 (apiserver pkg/cel/environment/base.go).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from posture import admission, network
from posture.admission.violations import ENFORCE
from posture.kinds import ADMISSION
from posture.model import Changed, Content, Key, Snapshot
from posture.network.connectivity import Space
from posture.network.policies import NETWORK_POLICIES

from . import doors
from .evaluate import Graph
from .sentences import name as name_of

METADATA = "169.254.169.254/32"
_NAME = "namespaces-enforce-pod-security"
LEVELS = (Key(f"validatingadmissionpolicies.{ADMISSION}", "", _NAME),
          Key(f"validatingadmissionpolicybindings.{ADMISSION}", "", _NAME))  # fmt: skip
"""The objects of the policy for new namespaces."""
_POLICY: Content = {"spec": {
    "failurePolicy": "Fail",
    "matchConstraints": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"], "scope": "*"},
    ]},
    "validations": [{
        "expression": f"object.metadata.?labels[?'{ENFORCE}'].orValue('') in ['baseline', 'restricted']",
        "message": f"a namespace has the label {ENFORCE}: baseline, or restricted",
    }],
}}  # fmt: skip
_BINDING: Content = {"spec": {"policyName": _NAME, "validationActions": ["Deny"]}}


def of_metadata(graph: Graph, workload: str, namespace: str) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    """A new policy that lets out all but to the metadata service: for a whole namespace, for those pods there that no
    policy isolates yet (they would be let out), or for the pods of a workload that runs. Pods that somebody makes have
    labels of their author's choice.
    """
    space = graph.results["network"].spaces[namespace]
    classes = [dict(one.labels) for one in space.classes if one.workload == workload and not one.node]
    labels = dict(set.intersection(*(set(one.items()) for one in classes))) if classes else {}
    for selector, whose in (
        ({}, f"every pod of {namespace}"),
        (_not_isolated(space), f"every pod of {namespace} that no policy isolates"),
        ({"matchLabels": labels}, f"the pods of {name_of(workload)}"),
    ):
        mark = hashlib.blake2b(repr((namespace, selector)).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        key = Key(NETWORK_POLICIES, namespace, f"deny-cloud-metadata-{mark}")
        if selector is not None and selector != {"matchLabels": {}} and graph.snapshot.entry(key) is None:
            yield (
                f"Keep {whose} from the cloud's metadata service: add {network.named(key)}",
                (Changed(key, None, _guard(selector)),),
            )


def _not_isolated(space: Space) -> dict[str, Any] | None:
    """A selector of all pods of which no policy says where they may go; None where one selector cannot say it, or none
    is needed.
    """
    found: list[dict[str, Any]] = []
    for policy in space.policies:
        selector = policy.subject.pods
        same = [{"key": key, "operator": "In", "values": [value]}
                for key, value in (selector.get("matchLabels") or {}).items()]  # fmt: skip
        asked = [*same, *(selector.get("matchExpressions") or ())]
        if policy.egress is None or policy.tier:
            continue
        if len(asked) != 1 or asked[0]["operator"] not in _OPPOSITE:
            return None
        found.append({**asked[0], "operator": _OPPOSITE[asked[0]["operator"]]})
    return {"matchExpressions": found} if found else None


_OPPOSITE = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}


def _guard(selector: Mapping[str, Any]) -> Content:
    peers = [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0", "except": [METADATA]}},
             {"ipBlock": {"cidr": "::/0"}}]  # fmt: skip
    return {"spec": {"podSelector": selector, "policyTypes": ["Egress"], "egress": [{"to": peers}]}}


def of_new_namespaces(snapshot: Snapshot) -> Iterator[doors.Row]:
    """A policy that refuses namespaces without a Pod Security level: then pods there are not refused too late."""
    policy, bound = LEVELS
    if all(snapshot.entry(key) is None for key in LEVELS):
        said = "whoever makes a namespace has to say a Pod Security level there, baseline or restricted"
        yield (f"Refuse namespaces without a Pod Security level: add {admission.named(policy)} and its binding",
               (Changed(policy, None, _POLICY), Changed(bound, None, _BINDING)), doors.LAST, (said,))  # fmt: skip
