"""Escalations that users add: what docs/escalations-own.md shows, as it stands there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from posture.config import Config
from posture.errors import FileError
from posture.graph.catalogue import Escalation
from posture.graph.paths import path
from posture.inputs import Inputs
from tests.generator.objects import Object, account, binding, discovery, namespace, role, rule, service_account
from tests.graph.graphs import graph_of

PAGE = Path(__file__).parents[2] / "docs" / "escalations-own.md"
SHOWN = re.findall(r"^```yaml escalation\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
DEV, OPERATOR = "serviceaccount:team/dev", "serviceaccount:preview-system/preview-operator"
PREVIEWS = ("previewenvironments", "preview.example.com", True)
REQUESTS = ("certificaterequests", "cert-manager.io", True)


def read(folder: Path, texts: Sequence[str]) -> tuple[Escalation, ...]:
    """All escalations, with those of a folder that the configuration names."""
    for number, text in enumerate(texts):
        (folder / f"{number}.yaml").write_text(text, encoding="utf-8")
    return Inputs(Config(checks=(folder,))).escalations


@pytest.fixture
def escalations(tmp_path: Path) -> tuple[Escalation, ...]:
    """Those that are shipped, and those of the page."""
    return read(tmp_path, SHOWN)


def cluster(
    *rules: Object, custom: tuple[str, str, bool] = PREVIEWS, everywhere: Sequence[Object] = ()
) -> list[Object]:
    """A cluster with the preview operator, in which one ServiceAccount has rules in its namespace, and everywhere."""
    return [
        *(namespace(name) for name in ("team", "preview-system")), service_account("team", "dev"),
        service_account("preview-system", "preview-operator"), *discovery(custom),
        role("cluster-admin", rule("*", "*", "*")),
        binding("operator", "ClusterRole/cluster-admin", account("preview-system", "preview-operator")),
        role("given", *rules, namespace="team"),
        binding("given", "Role/given", account("team", "dev"), namespace="team"),
        role("wide", *everywhere), binding("wide", "ClusterRole/wide", account("team", "dev")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        rule("create", "previewenvironments", "preview.example.com"),
        rule("patch", "previewenvironments", "preview.example.com", ["main"]),
        rule("*", "*", "preview.example.com"),
    ],
    ids=["creating", "changing-one", "everything-of-the-group"],
)
def test_an_escalation_of_ones_own_gives_a_path(escalations: tuple[Escalation, ...], given: Object) -> None:
    """Whoever may write the custom resource is the operator, and with it cluster-admin."""
    found = path(graph_of(cluster(given), escalations).edges, DEV, "cluster-admin")
    assert found is not None
    heads = {edge.head: edge.rule for edge in found.edges}
    assert heads[OPERATOR] == "preview-environments"


@pytest.mark.parametrize(
    ("given", "custom"),
    [
        (rule("get,list,watch,delete", "previewenvironments", "preview.example.com"), PREVIEWS),
        (rule("create", "previewenvironments", "preview.example.com", ["main"]), PREVIEWS),
        (rule("create", "previewenvironments", "example.com"), PREVIEWS),
        (rule("create", "previewenvironments", "preview.example.com"), ("widgets", "example.com", True)),
    ],
    ids=["reading", "create-by-name", "another-group", "not-installed"],
)
def test_what_does_not_meet_it_gives_none(
    escalations: tuple[Escalation, ...], given: Object, custom: tuple[str, str, bool]
) -> None:
    """Permissions that are less, and a cluster without the operator's custom resource."""
    assert path(graph_of(cluster(given, custom=custom), escalations).edges, DEV, "cluster-admin") is None


@pytest.mark.parametrize(("with_verb", "reaches"), [(True, True), (False, False)], ids=["approving", "not-approving"])
def test_it_may_build_on_an_ability_that_is_shipped(
    escalations: tuple[Escalation, ...], with_verb: bool, reaches: bool
) -> None:
    """Approving a certificate leads where the page says that this cluster's CA does; without the ability nothing."""
    rules = [
        rule("create", "certificaterequests", "cert-manager.io"),
        rule("patch", "certificaterequests/status", "cert-manager.io"),
    ]
    approve = rule("approve", "signers", "cert-manager.io", ["clusterissuers.cert-manager.io/ca"])
    objects = cluster(*rules, custom=REQUESTS, everywhere=[approve] if with_verb else [])
    assert (path(graph_of(objects, escalations).edges, DEV, "cluster-admin") is not None) is reaches


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("effect: {become", "effect: {becomes", "becomes"),
        ("id: preview-environments", "id: create-pods", "create-pods is the id of"),
        ('{become: ["serviceaccount:preview-system/preview-operator"]}', "{ability: creates-pods}", "creates-pods"),
    ],
    ids=["a-word-that-is-none", "the-id-of-another", "an-ability-that-is-not-there"],
)  # fmt: skip
def test_one_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    """With a sentence that names what is wrong."""
    assert old in SHOWN[0]
    with pytest.raises(FileError, match=said):
        read(tmp_path, [SHOWN[0].replace(old, new)])


def test_the_page_shows_whole_files() -> None:
    """Each block is a mapping with an id of its own."""
    assert len({yaml.safe_load(text)["id"] for text in SHOWN}) == len(SHOWN) >= 2
