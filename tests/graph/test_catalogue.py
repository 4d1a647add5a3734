"""The shipped escalations: well-formed, in words that people can read, and about things that there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from posture import files
from posture.admission import ENGINES
from posture.graph.catalogue import ADMITTING, escalation_of, unknown_uses
from posture.graph.effects import violations
from posture.resources import SUPPORTED
from tests.graph.proving import catalogue

FILES = sorted((Path(__file__).parents[2] / "checks" / "escalations").glob("*.yaml"))
IDS = [file.stem for file in FILES]
AGREED = re.compile(r"(MITRE T\d{4}(\.\d{3})?|CVE-\d{4}-\d+|KEP[- ]\d+|Kubernetes Pod Security Standards)")
"""A reference that names a technique, a weakness or a design by its number."""
PATTERNS = [
    (one.id, word, pattern)
    for one in catalogue() for word in sorted(ADMITTING) for pattern in one.where.get(word, ())
]  # fmt: skip


def read(file: Path) -> Any:
    """A file as posture reads it: held against its schema. Raises FileError with the line."""
    return files.read(file, "posture.checks", "escalation.schema.json").value


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_an_escalation_is_well_formed(file: Path) -> None:
    """It keeps to the schema, is named as its file, and says in whole sentences why it is a step and what to do."""
    found = read(file)

    assert found["id"] == file.stem
    assert not found["title"].endswith(".")
    assert found["title"][0].isupper()
    for text in (found["why"], found["remedy"]):
        assert text.strip().endswith("."), text


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_an_escalation_has_a_reference_that_others_know(file: Path) -> None:
    """A technique of MITRE ATT&CK, a CVE, a KEP or a Pod Security Standard; each reference once."""
    references = read(file)["references"]

    assert [one for one in references if AGREED.fullmatch(one)], references
    assert len(set(references)) == len(references)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_an_escalation_is_of_versions_that_there_are(file: Path) -> None:
    """Some supported version is meant, and a limit is one that excludes another."""
    one = escalation_of(read(file))
    meant = [version for version in SUPPORTED if one.applies(version)]

    assert meant
    assert (one.since is None and one.until is None) or len(meant) < len(SUPPORTED)


def test_there_are_as_many_as_the_field_knows() -> None:
    """At least 50 steps, among them those that no other tool has and the deputies that are common."""
    assert len(FILES) >= 50
    assert [one.id for one in catalogue()] == IDS
    assert {
        "escape-after-relabel-by-subresource", "delete-secrets-dry-run", "patch-secrets", "read-secrets",
        "create-rolebinding-to-clusterrole", "act-as-user", "create-serviceaccount-and-run", "argo-cd-applications",
        "flux-kustomizations", "tekton-runs", "cert-manager-issuers", "external-secrets-stores", "velero-restores",
        "crossplane-objects", "olm-subscriptions", "kubevirt-secrets",
    } <= {*IDS}  # fmt: skip


def test_no_two_escalations_say_the_same() -> None:
    """Titles tell them apart in a path, and no two have the same condition and effect."""
    titles = [one.title.lower() for one in catalogue()]
    meanings = [repr((one.requests, one.uses, one.where, one.effect, one.since, one.until)) for one in catalogue()]

    assert len(set(titles)) == len(titles)
    assert len(set(meanings)) == len(meanings)


def test_what_an_escalation_uses_is_there() -> None:
    """`uses` and `ability` name escalations of the catalogue, and none uses itself, in however many steps."""
    uses = {one.id: one.uses for one in catalogue()}

    assert [*unknown_uses(catalogue())] == []
    for identity, names in uses.items():
        assert identity not in _below(names, uses)


def _below(names: Sequence[str], uses: dict[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    pending = [*names]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += uses[name]
    return found


@pytest.mark.parametrize(("identity", "word", "pattern"), PATTERNS)
def test_a_control_that_stops_a_step_is_one_that_is_looked_at(identity: str, word: str, pattern: str) -> None:
    """Each pattern of `where` matches some violation that policies are asked about."""
    assert violations([pattern]), f"{identity}: {word} {pattern}"


@pytest.mark.parametrize("one", [one for one in catalogue() if "switchOff" in one.effect], ids=lambda one: one.id)
def test_an_engine_that_is_switched_off_is_one_that_there_is(one: Any) -> None:
    """Engines are named as findings name them."""
    assert set(one.effect["switchOff"]) <= set(ENGINES)


@pytest.mark.parametrize("one", [one for one in catalogue() if one.unproven], ids=lambda one: one.id)
def test_what_no_request_shows_says_who_acts_and_where_that_is_written(one: Any) -> None:
    """`unproven` names a source: a file of a release or of a repository, a KEP, a manual or a page."""
    of_a_repository = r"[\w./-]+/[\w.-]+ (.* )?of [\w-]+/[\w-]+|[\w-]+/[\w-]+, pkg/[\w/.-]+"
    of_a_release = r"(kubernetes|kyverno|gatekeeper) v\d+\.\d+\.|Kubernetes 1\.\d+"
    others = r"https://|KEP \d+|Kubernetes RBAC good practices|MITRE T\d+|capabilities\(7\)|docs\."
    assert re.search(f"{of_a_repository}|{of_a_release}|{others}", one.unproven), one.unproven
