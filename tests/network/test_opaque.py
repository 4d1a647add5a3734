"""Policies that are not modelled: whom they may select. In doubt they select, never the reverse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posture.admission.engines import opaque
from posture.kinds import BY_KIND, KINDS
from posture.network.opaque import OPAQUE, Opaque, keys, may_select, opaques
from tests.generator.objects import Object, metadata, snapshot

KINDS_OF = {
    "CNP": ("cilium.io/v2", "CiliumNetworkPolicy"),
    "CCNP": ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
    "Calico": ("projectcalico.org/v3", "NetworkPolicy"),
    "Calico CRD": ("crd.projectcalico.org/v1", "NetworkPolicy"),
    "Global": ("projectcalico.org/v3", "GlobalNetworkPolicy"),
    "Global CRD": ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
    "Istio": ("security.istio.io/v1", "AuthorizationPolicy"),
    "Antrea": ("crd.antrea.io/v1beta1", "NetworkPolicy"),
    "ACNP": ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
    "Multi": ("k8s.cni.cncf.io/v1beta1", "MultiNetworkPolicy"),
}
SPACES = {"pay": {"team": "a"}, "web": {"team": "b"}}
PODS = {"pay/api": {"app": "api"}, "pay/db": {"app": "db"}, "web/api": {"app": "api"}, "web/-": {}}
"""Pods with their labels, each of a namespace with its own."""
PAY = {"pay/api", "pay/db"}
API = {"pay/api", "web/api"}
ALL = set(PODS)
APP = {"matchLabels": {"app": "api"}}


def policy(kind: str, spec: Any = None, where: str = "pay", name: str = "p", **more: Any) -> Object:
    """A policy that is not modelled, in pay unless it is of the cluster."""
    version, made = KINDS_OF[kind]
    namespaced = BY_KIND[version.partition("/")[0], made].namespaced
    body = more if spec is None else {"spec": spec, **more}
    return {"apiVersion": version, "kind": made, "metadata": metadata(name, where if namespaced else ""), **body}


def read(*objects: Object) -> tuple[Opaque, ...]:
    """What is read of them."""
    return opaques(snapshot(objects))


def selected(*objects: Object) -> set[str]:
    """The pods that some of them may select."""
    return {
        pod for pod, labels in PODS.items() for one in read(*objects)
        if may_select(one, pod.partition("/")[0], SPACES[pod.partition("/")[0]], labels)
    }  # fmt: skip


def expression(key: str, operator: str, *values: str) -> Object:
    """A selector of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": [*values]} if values else {})]}


def cilium(selector: Any) -> Object:
    return {"endpointSelector": selector}


SPACE = "k8s:io.kubernetes.pod.namespace"
OF_SPACE = "k8s:io.cilium.k8s.namespace.labels.team"
CILIUM = [
    ("CNP", cilium({}), PAY), ("CNP", {}, PAY), ("CNP", cilium(APP), {"pay/api"}),
    ("CNP", cilium({"matchLabels": {"k8s:app": "api"}}), {"pay/api"}),
    ("CNP", cilium({"matchLabels": {"any:app": "api"}}), {"pay/api"}),
    ("CNP", cilium({"matchLabels": {"container:app": "x"}}), PAY),
    ("CNP", cilium({"matchLabels": {"app": "api", "container:x": "y"}}), {"pay/api"}),
    ("CNP", cilium({"matchLabels": {SPACE: "web"}}), PAY),
    ("CNP", cilium({"matchLabels": {OF_SPACE: "b"}}), set()),
    ("CNP", cilium(expression("app", "In", "api", "x")), {"pay/api"}),
    ("CNP", cilium(expression("app", "Exists")), PAY), ("CNP", cilium(expression("tier", "Exists")), set()),
    ("CNP", cilium(expression("app", "NotIn", "api")), PAY), ("CNP", cilium(expression("app", "DoesNotExist")), PAY),
    ("CNP", {"nodeSelector": {}}, PAY),
    ("CCNP", cilium({}), ALL), ("CCNP", cilium(APP), API), ("CCNP", {"nodeSelector": {}}, set()),
    ("CCNP", cilium({"matchLabels": {SPACE: "web"}}), {"web/api", "web/-"}),
    ("CCNP", cilium(expression(SPACE, "NotIn", "web")), PAY),
    ("CCNP", cilium({"matchLabels": {OF_SPACE: "a"}}), PAY),
    ("CCNP", cilium(expression(OF_SPACE, "NotIn", "a")), ALL),
    ("CCNP", cilium({"matchLabels": {"k8s:io.cilium.k8s.policy.serviceaccount": "x"}}), ALL),
    ("CCNP", cilium({"matchLabels": {"reserved:init": ""}}), ALL),
    ("CCNP", cilium({"matchLabels": {"reserved:health": ""}}), set()),
    ("CCNP", cilium(expression("reserved:ingress", "Exists")), set()),
    ("CCNP", cilium(expression("reserved:host", "DoesNotExist")), ALL),
]  # fmt: skip
CALICO = [
    ("Calico", {}, PAY), ("Calico", {"selector": ""}, PAY), ("Calico", {"selector": "all()"}, PAY),
    ("Calico", {"selector": "app == 'api'"}, {"pay/api"}), ("Calico CRD", {"selector": 'app=="api"'}, {"pay/api"}),
    ("Calico", {"selector": "app == 'x'"}, set()), ("Calico", {"selector": "app == 'x' || has(app)"}, PAY),
    ("Calico", {"selector": "app != 'api'"}, PAY), ("Calico", {"selector": "!(app == 'api')"}, PAY),
    ("Calico", {"selector": "projectcalico.org/serviceaccount == 'x'"}, PAY),
    ("Global", {"selector": "app == 'api'"}, API), ("Global CRD", {}, ALL),
    ("Global", {"selector": "projectcalico.org/namespace == 'pay'"}, PAY),
    ("Global", {"namespaceSelector": "team == 'a'", "selector": "app == 'api'"}, {"pay/api"}),
    ("Global", {"namespaceSelector": "projectcalico.org/name == 'pay'"}, PAY),
    ("Global", {"namespaceSelector": "kubernetes.io/metadata.name == 'web'"}, {"web/api", "web/-"}),
    ("Global", {"namespaceSelector": "global()"}, ALL), ("Global", {"namespaceSelector": "team in {'a'}"}, ALL),
]  # fmt: skip
TEAM_A = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
OTHERS: list[tuple[str, Any, set[str]]] = [
    ("Istio", None, PAY), ("Istio", {"selector": APP}, {"pay/api"}), ("Istio", {"targetRefs": [{"name": "x"}]}, PAY),
    ("Antrea", {}, PAY), ("Antrea", {"appliedTo": [{"podSelector": APP}]}, {"pay/api"}),
    ("Antrea", {"appliedTo": [{"podSelector": expression("app", "NotIn", "api")}]}, {"pay/db"}),
    ("Antrea", {"appliedTo": [{"podSelector": APP}, {"group": "g"}]}, PAY),
    ("Antrea", {"ingress": [{"appliedTo": [{"podSelector": APP}]}], "egress": [{}]}, PAY),
    ("Antrea", {"ingress": [{"appliedTo": [{"podSelector": APP}]}]}, {"pay/api"}),
    ("Antrea", {"appliedTo": [{"podSelector": APP, "namespaceSelector": {"matchLabels": {"team": "b"}}}]}, {"pay/api"}),
    ("ACNP", {"priority": 5}, ALL), ("ACNP", {"appliedTo": [{"podSelector": APP}]}, API),
    ("ACNP", {"appliedTo": [TEAM_A]}, PAY),
    ("ACNP", {"appliedTo": [{"podSelector": APP, **TEAM_A}]}, {"pay/api"}),
    ("ACNP", {"appliedTo": [{"serviceAccount": {"name": "x", "namespace": "pay"}}]}, ALL),
    ("Multi", {"podSelector": APP}, {"pay/api"}), ("Multi", {"podSelector": {}}, PAY),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "expected"), [*CILIUM, *CALICO, *OTHERS])
def test_whom_a_policy_may_select(kind: str, spec: Any, expected: set[str]) -> None:
    """Exactly where its language is understood, everyone in its reach where it is not."""
    assert selected(policy(kind, spec)) == expected


def test_specs_are_policies_of_one_object() -> None:
    """Each selects by itself, beside `spec`."""
    db = cilium({"matchLabels": {"app": "db"}})

    assert selected(policy("CNP", None, specs=[cilium(APP), db])) == PAY
    assert selected(policy("CNP", db, specs=[cilium({"matchLabels": {"app": "x"}})])) == {"pay/db"}


def test_a_policy_of_the_root_namespace_is_for_all() -> None:
    """Istio's: those of istio-system, with a selector or without."""
    assert selected(policy("Istio", None, "istio-system")) == ALL
    assert selected(policy("Istio", {"selector": APP}, "istio-system")) == API


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("CNP", cilium({"matchLabels": {"k8s:app": "x", SPACE: "pay", OF_SPACE: "a"}}), {"app"}),
        ("CNP", cilium({}), set()),
        ("Global", {"selector": "app == 'x'", "namespaceSelector": "team == 'a'"}, {"app"}),
        ("ACNP", {"appliedTo": [{"podSelector": APP}, {"podSelector": expression("tier", "Exists")}]}, {"app", "tier"}),
        ("Multi", "x", set()),
    ],
)
def test_the_labels_that_tell_pods_apart(kind: str, spec: Any, expected: set[str]) -> None:
    """Those of pods, not those of namespaces."""
    (one,) = read(policy(kind, spec))

    assert keys(one) == expected


BROKEN = ["x", 5, ["x"], {"endpointSelector": "x", "selector": 5, "appliedTo": 5, "podSelector": "x"},
          {"endpointSelector": {"matchExpressions": 5}, "selector": {"matchLabels": 5}, "appliedTo": ["x"],
           "podSelector": {"matchLabels": [1]}}]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS_OF)
@pytest.mark.parametrize("spec", BROKEN, ids=str)
def test_one_that_cannot_be_read_may_select_all_in_its_reach(kind: str, spec: Any) -> None:
    """Its namespace, or everyone; others stay what they are."""
    good = policy("CNP", cilium({"matchLabels": {"app": "x"}}), name="good")

    assert selected(policy(kind, spec), good) == (ALL if kind in ("CCNP", "Global", "Global CRD", "ACNP") else PAY)


TERMS = [
    {"key": "app", "operator": "In"}, {"key": "app", "operator": "Is", "values": ["x"]}, {"key": 1},
    {"key": "app", "operator": "In", "values": [1]}, {"key": "app", "operator": "Exists", "values": ["x"]},
]  # fmt: skip


@pytest.mark.parametrize("term", TERMS, ids=str)
def test_a_term_that_cannot_be_read_narrows_nothing(term: Object) -> None:
    """What stands beside it does."""
    selector = {"matchExpressions": [term], "matchLabels": {"app": "api", "x": 1}}

    assert selected(policy("ACNP", {"appliedTo": [{"podSelector": selector}]})) == API


FIELDS = (
    "endpointSelector", "nodeSelector", "selector", "namespaceSelector", "appliedTo", "podSelector", "ingress",
    "matchLabels", "matchExpressions", "key", "operator", "values", "app",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.sampled_from(["", "api", "app == 'api'", "In"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*KINDS_OF]), JSON, JSON)
def test_nothing_that_a_folder_may_hold_raises(kind: str, spec: Any, specs: Any) -> None:
    """And it is asked like any other."""
    one = policy(kind, spec, specs=specs)

    assert selected(one) <= ALL
    assert len(read(one)) == 1


def test_policies_come_sorted() -> None:
    """By kind, namespace and name, whatever the order in which they were read."""
    given = [policy(kind, {}, where, name) for name in "ba" for where in ("web", "pay") for kind in KINDS_OF]
    found = [one.key for one in read(*given)]

    assert found == sorted(found)
    assert found == [one.key for one in read(*reversed(given))]
    assert len(found) == 6 * 4 + 4 * 2


def test_every_kind_that_is_read_and_not_modelled_is_here() -> None:
    """A kind that nobody asks for its subjects would leave what it selects as if it were known (but for admission)."""
    assert {kind.name for kind in KINDS if not kind.modelled} - set(opaque.READS) == set(OPAQUE)
