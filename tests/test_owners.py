"""Who must act: the order of the evidence, and that the audited do not route the audit."""

from __future__ import annotations

from typing import Any

import pytest

from posture.model import Key, Owner, Snapshot
from posture.owners import Asked, Owners, Rule, suggestions
from tests.generator.objects import Object, binding, guarded, namespace, role, rule, snapshot

FLUX = "kustomize.toolkit.fluxcd.io"


def flux(where: str) -> dict[str, Any]:
    """What Flux writes on the objects of a Kustomization in a namespace."""
    return {"labels": {f"{FLUX}/name": "apps", f"{FLUX}/namespace": where}}


def helm(where: str) -> dict[str, Any]:
    """What Helm writes on the objects of a release in a namespace."""
    return {"annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": where}}


def argo(tracked: str) -> dict[str, Any]:
    """What Argo CD writes on the objects of an application."""
    return {"annotations": {"argocd.argoproj.io/tracking-id": f"shop:rbac.authorization.k8s.io/Role:{tracked}"}}


CLUSTER = [
    namespace("pay", team="payments"), namespace("web", team="shop"), namespace("bare"), namespace("kube-system"),
    namespace("kube-flow", team="mesh"), namespace("gitops", team="delivery"),
]  # fmt: skip
NOBODY: frozenset[str] = frozenset()


def owner(
    edited: Object | None,
    *rules: Rule,
    subject: str = "user:ann",
    scope: str = "",
    subjects: frozenset[str] | None = NOBODY,
) -> Owner:
    """Who must act on a finding that one object would mend, in a cluster of a few teams."""
    objects = [*CLUSTER, *([edited] if edited else [])]
    found: Key | None = None
    if edited:
        where, name = edited["metadata"].get("namespace", ""), edited["metadata"]["name"]
        found = Key(f"{'roles' if where else 'clusterroles'}.rbac.authorization.k8s.io", where, name)
    asked = Asked("rbac", subject, scope or (found.namespace if found else "") or "*", found)
    return Owners(rules).owner(snapshot(objects), asked, lambda _: subjects)


EVERYWHERE = role("reader", rule())
EVIDENCE: list[tuple[str, Owner, Owner]] = [
    ("the namespace's team", owner(role("reader", namespace="pay")),
     Owner("payments", "label team of namespace pay", False, ())),
    ("a namespace that names no team", owner(role("reader", namespace="bare")),
     Owner("platform", "namespace bare names no team", True, ())),
    ("a namespace of the cluster itself", owner(role("reader", namespace="kube-system")),
     Owner("platform", "kube-system is the platform's", False, ())),
    ("a namespace of the cluster itself that names its team", owner(role("reader", namespace="kube-flow")),
     Owner("mesh", "label team of namespace kube-flow", False, ())),
    ("one team's subjects", owner(EVERYWHERE, subjects=frozenset({"pay"})),
     Owner("payments", "owns the namespaces of all its subjects", False, ())),
    ("two teams' subjects", owner(EVERYWHERE, subjects=frozenset({"pay", "web"})),
     Owner("platform", "reader is cluster-scoped and its subjects are no single team's", False, ())),
    ("a subject without a namespace", owner(EVERYWHERE, subjects=None),
     Owner("platform", "reader is cluster-scoped and its subjects are no single team's", False, ())),
    ("a subject of a namespace without a team", owner(EVERYWHERE, subjects=frozenset({"pay", "bare"})),
     Owner("platform", "reader is cluster-scoped and its subjects are no single team's", False, ())),
    ("nothing to edit, in a namespace", owner(None, scope="web"),
     Owner("shop", "label team of namespace web", False, ())),
    ("who else is touched", owner(role("reader", namespace="pay"), subject="serviceaccount:web/api"),
     Owner("payments", "label team of namespace pay", False, ("shop",))),
    ("a delivery from its own namespace", owner(role("reader", namespace="pay", **helm("pay"))),
     Owner("payments", "delivered by helm:pay/web: label team of namespace pay", False, ())),
    ("a delivery from a namespace of another team", owner(role("reader", namespace="pay", **flux("gitops"))),
     Owner("delivery", "delivered by flux:gitops/apps (claimed by its own labels): label team of namespace gitops",
           False, ("payments", "platform"))),
    ("a delivery of what is cluster-scoped", owner(role("reader", **helm("web")), subjects=None),
     Owner("shop", "delivered by helm:web/web (claimed by its own labels): label team of namespace web",
           False, ("platform",))),
    ("a delivery from a namespace that names no team", owner(role("reader", namespace="pay", **flux("bare"))),
     Owner("payments", "label team of namespace pay", False, ())),
    ("a delivery into the cluster's own namespace", owner(role("reader", namespace="kube-system", **flux("web"))),
     Owner("platform", "kube-system is the platform's", False, ())),
    ("a team that the object's own labels name", owner(role("reader", namespace="bare", labels={"team": "shop"})),
     Owner("platform", "namespace bare names no team", True, ())),
]  # fmt: skip


@pytest.mark.parametrize(("found", "expected"), [pytest.param(*case[1:], id=case[0]) for case in EVIDENCE])
def test_one_owner_with_the_evidence(found: Owner, expected: Owner) -> None:
    """The origin of the object to edit, its namespace's team, its subjects' one team, else the platform."""
    assert found == expected


RULES: list[tuple[Rule, Object, bool]] = [
    (Rule("x"), EVERYWHERE, True),
    (Rule("x", domain="rbac"), EVERYWHERE, True),
    (Rule("x", domain="network"), EVERYWHERE, False),
    (Rule("x", namespace="pa?"), role("reader", namespace="pay"), True),
    (Rule("x", namespace="pa?"), EVERYWHERE, False),
    (Rule("x", kind="ClusterRole"), EVERYWHERE, True),
    (Rule("x", kind="Role"), EVERYWHERE, False),
    (Rule("x", name="read*"), EVERYWHERE, True),
    (Rule("x", name="READ*"), EVERYWHERE, False),
    (Rule("x", subject="user:*"), EVERYWHERE, True),
    (Rule("x", subject="group:*"), EVERYWHERE, False),
    (Rule("x", labels=(("team", "pay*"),)), role("reader", namespace="pay"), True),
    (Rule("x", labels=(("team", "*"),)), role("reader", namespace="bare"), False),
    (Rule("x", origin="flux:gitops/*"), role("reader", namespace="pay", **flux("gitops")), True),
    (Rule("x", origin="argocd:shop"), role("reader", namespace="pay", **argo("pay/reader")), True),
    (Rule("x", origin="argocd:shop"), role("reader", namespace="pay", **argo("web/other")), False),
    (Rule("x", name="reader", namespace="web"), role("reader", namespace="pay"), False),
]


@pytest.mark.parametrize(("given", "edited", "matches"), RULES)
def test_a_rule_matches_when_all_that_it_names_does(given: Rule, edited: Object, matches: bool) -> None:
    """Patterns are shell-style and mind the case; what Argo CD wrote on another object does not count."""
    assert (owner(edited, given).name == "x") == matches


def test_a_rule_for_an_origin_does_not_let_an_object_route_itself() -> None:
    """In the cluster's own namespaces no origin counts; elsewhere the platform and the namespace's team are told."""
    rule_ = Rule("gitops", origin="flux:gitops/*", line=4)

    assert owner(role("stolen", namespace="kube-system", **flux("gitops")), rule_).name == "platform"
    assert owner(role("stolen", namespace="web", **flux("gitops")), rule_) == Owner(
        "gitops", "rule in line 4 of the owners file, for flux:gitops/apps (claimed by its own labels)", False,
        ("platform", "shop"),
    )  # fmt: skip


def test_the_last_rule_that_matches_wins_over_all_evidence() -> None:
    """As in a CODEOWNERS file; and it says who else is told."""
    rules = (
        Rule("one", line=2),
        Rule("two", name="reader", tell=("audit",), line=5),
        Rule("three", name="other", line=8),
    )

    found = owner(role("reader", namespace="pay", **flux("gitops")), *rules)
    assert found == Owner("two", "rule in line 5 of the owners file", False, ("audit", "payments"))


def test_labels_that_may_name_teams_are_suggested() -> None:
    """Those that repeat their values, the usual names first; not what names each differently, or what it admits."""
    names = ("a", "b", "c", "d")
    objects = [guarded(name, squad="x" if name < "c" else "y", id=f"id-{name}", owner="o", one=name) for name in names]
    cluster: Snapshot = snapshot([*objects, namespace("kube-system", squad="z"), binding("b", "ClusterRole/view")])

    assert suggestions(cluster) == [("owner", 4, 4), ("squad", 4, 4)]
