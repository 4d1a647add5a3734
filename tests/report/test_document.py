"""The report's schema: it is strict, all reports keep to it, and nothing in it is made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from posture import model
from posture.admission.register import State
from posture.network.balance import Verdict
from posture.network.policies import DIRECTIONS
from posture.resources import schema as shipped
from posture.store import MEMORY, open_store
from tests.commands.admitted import workload
from tests.generator.engines import cluster_policy, kyverno_rule, pod_security
from tests.generator.objects import namespace
from tests.generator.source import Given
from tests.report.documents import (
    Document,
    document,
    of_everything,
    of_nothing,
    of_random_clusters,
    of_the_demo,
    scan,
)

ROOT = Path(__file__).parents[2]
SCHEMA: Any = shipped("posture.report", "report.schema.json")
VALIDATOR = Draft202012Validator(SCHEMA)


def errors(made: Document) -> list[str]:
    """What is wrong with a document."""
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(made)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """Reports of all sorts."""
    everything = of_everything(tmp_path_factory.mktemp("everything"))
    return [*of_the_demo(), *of_random_clusters(range(12)), *everything, of_nothing()]


@pytest.fixture(scope="module")
def one(documents: list[Document]) -> Document:
    """The report in which everything occurs."""
    return documents[-4]


def test_all_reports_keep_to_the_schema(documents: list[Document]) -> None:
    """The demo's story, random clusters, gaps, decisions, no baseline, nothing at all: none has an error."""
    assert [errors(made) for made in documents] == [[]] * len(documents)


def test_they_are_reports_of_all_sorts(documents: list[Document]) -> None:
    """Every status, presence, mark, decision and severity occurs, with and without a baseline, fix and history."""
    found = [finding for made in documents for finding in made["findings"]]
    clusters = [cluster for made in documents for cluster in made["run"]["clusters"]]

    assert {finding["status"] for finding in found} == set(get_args(model.Status.__value__))
    assert {finding["presence"] for finding in found} == set(get_args(model.Presence.__value__))
    assert {finding["mark"] for finding in found} == set(get_args(model.Mark.__value__))
    assert {finding["severity"] for finding in found} == set(model.SEVERITIES)
    decided = {finding["decision"]["action"] for finding in found if finding["decision"]}
    assert decided == set(get_args(model.Action.__value__)) - {"assigned"}
    for values in (
        {cluster["baseline"] is None for cluster in clusters}, {cluster["complete"] for cluster in clusters},
        {cluster["version"] is None for cluster in clusters}, {finding["fix"] is None for finding in found},
        {finding["gainedComplete"] for finding in found}, {"opened" in finding for finding in found},
        {cause["claimed"] for finding in found for cause in finding["causes"]},
        {group["count"] > len(group["members"]) for made in documents for group in made["groups"]},
        {made["findings"] == [] for made in documents},
    ):  # fmt: skip
        assert values == {True, False}


def test_the_gravest_comes_first(documents: list[Document]) -> None:
    """Groups and findings are in order of severity, check, and what they go through; members in order of severity."""
    for made in documents:
        ranks = [model.SEVERITIES.index(one["severity"]) for one in made["findings"]]
        assert ranks == sorted(ranks)
        places = [
            (rank, *(reason["check"] for reason in one["reasons"][:1]), one["through"]["kind"], one["through"]["name"])
            for rank, one in zip(ranks, made["findings"], strict=True) if one["reasons"]
        ]  # fmt: skip
        assert places == sorted(places)
        groups = [(model.SEVERITIES.index(one["severity"]), one["rule"], *one["through"].values()) for one in
                  made["groups"]]  # fmt: skip
        assert groups == sorted(groups)
        rank_of = {(one["cluster"], one["id"]): rank for one, rank in zip(made["findings"], ranks, strict=True)}
        for one in made["groups"]:
            members = [(rank_of[one["cluster"], name], name) for name in one["members"]]
            assert members == sorted(members)


# The schema itself --------------------------------------------------------------------------------------------------


def properties(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every property that the schema lists, as `OBJECT.PROPERTY`, with what it says of it."""
    for title, each in node.get("$defs", {}).items():
        yield from properties(each, title)
    for key, each in node.get("properties", {}).items():
        yield f"{name}.{key}", each
        yield from properties(each, f"{name}.{key}")


def used(node: Any, value: Any, name: str = "") -> Iterator[str]:
    """Every property of the schema that occurs in a document."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        node = SCHEMA["$defs"][name]
    for branch in node.get("anyOf", ()):
        if value is not None and branch != {"type": "null"}:
            yield from used(branch, value, name)
    if isinstance(value, list):
        for item in value:
            yield from used(node["items"], item, name)
    elif isinstance(value, dict):
        for key in value.keys() & node.get("properties", {}).keys():
            yield f"{name}.{key}"
            yield from used(node["properties"][key], value[key], f"{name}.{key}")


def test_it_is_a_valid_schema() -> None:
    """JSON Schema 2020-12, by its own schema, and every reference leads somewhere."""
    Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    references = {each["$ref"] for _, each in properties(SCHEMA) if "$ref" in each}
    assert references <= {f"#/$defs/{name}" for name in SCHEMA["$defs"]}


def test_every_property_is_described() -> None:
    """Nobody has to guess what a field means."""
    assert [name for name, each in properties(SCHEMA) if len(each.get("description", "")) < 4] == []


def test_every_property_occurs(documents: list[Document]) -> None:
    """Nothing is promised that no report ever holds."""
    occurring = {name for made in documents for name in used(SCHEMA, made)}

    assert {name for name, _ in properties(SCHEMA)} - occurring == set()


def test_its_words_are_the_models() -> None:
    """Severities, statuses, marks and reasons of gaps are those that the program knows, no more and no fewer."""
    listed = {name: each["enum"] for name, each in properties(SCHEMA) if "enum" in each}
    listed |= {name: SCHEMA["$defs"][name]["enum"] for name in ("severity", "status")}

    assert {name: set(words) for name, words in listed.items()} == {
        "severity": set(model.SEVERITIES),
        "status": set(get_args(model.Status.__value__)),
        "finding.presence": set(get_args(model.Presence.__value__)),
        "permission.direction": set(DIRECTIONS),
        "finding.mark": set(get_args(model.Mark.__value__)),
        "decision.action": set(get_args(model.Action.__value__)) - {"assigned"},  # it is no decision about a finding
        "gap.reason": set(get_args(model.GapReason.__value__)),
        "balance.verdict": set(get_args(Verdict.__value__)),
        "exception.state": set(get_args(State.__value__)),
        "cause.what": {"created", "changed", "deleted", "server version"},
    }


def test_the_documentation_names_it() -> None:
    """docs/contracts.md leads to the file, and names every property of the run, of groups, findings and gaps."""
    page = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    section = page.partition("\n## The report\n")[2].partition("\n## ")[0]

    assert "../posture/report/report.schema.json" in section
    for name, _ in properties(SCHEMA):
        sort, _, key = name.partition(".")
        if sort in ("group", "finding", "gap") and "." not in key:
            assert f"`{key}" in section, name


def test_what_is_excepted_is_bounded() -> None:
    """An exception that is open in many namespaces and serves many workloads: the first 20 of each, and how many."""
    places = [f"n{number:02}" for number in range(30)]
    excluding = kyverno_rule("baseline", pod_security("baseline"), [{"namespaces": ["n*"]}])
    with open_store(MEMORY) as store:
        scan(store, Given([cluster_policy("p", excluding), *map(namespace, places),
                           *(workload(place, "agent", privileged=True) for place in places)]), 1)  # fmt: skip
        made = document(store)

    assert errors(made) == []
    (one,) = made["exceptions"]
    (opened,) = one["opens"]
    assert (opened["namespaces"], opened["count"], one["opensIn"]) == (places[:20], 30, 30)
    assert (one["serves"][-1], len(one["serves"]), one["servesCount"]) == ("workload:n19/agent[Deployment]", 20, 30)


# Strict: one thing too many or too few is an error ------------------------------------------------------------------


def objects(value: Any, name: str = "", path: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The path of the first object of every sort in a document."""
    if isinstance(value, dict):
        yield name, path
        for key, each in value.items():
            yield from objects(each, f"{name}.{key}", (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from objects(each, name, (*path, number))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """What lies at a path."""
    for part in path:
        value = value[part]
    return value


def changed(made: Document, path: tuple[Any, ...], key: str, *, add: bool) -> Document:
    """The document with one key more, or one less, in one of its objects."""
    other = deepcopy(made)
    if add:
        at(other, path)[key] = "x"
    else:
        del at(other, path)[key]
    return other


def small(made: Document) -> Document:
    """The document with a few findings only, to be quick."""
    by_kind = {json.dumps([f["status"], [*(f["gained"] or [{}])[0]], f["fix"] is None]): f for f in made["findings"]}
    findings = [finding | {"gained": finding["gained"][:1], "gainedComplete": False} for finding in by_kind.values()]
    return made | {"findings": findings, "groups": made["groups"][:2]}


def test_one_key_too_many_is_an_error(one: Document) -> None:
    """Wherever it stands: in no object may anything be that the schema does not name."""
    made = small(one)
    sorts = {name: path for name, path in objects(made) if ".manifest" not in name}
    assert len(sorts) >= 15

    assert errors(made) == []
    assert [name for name, path in sorts.items() if not errors(changed(made, path, "extra", add=True))] == []


def test_one_key_too_few_is_an_error(one: Document) -> None:
    """But for those of which the schema says when they are left out."""
    made = small(one)
    sorts = {name: path for name, path in objects(made) if ".manifest" not in name and not name.endswith(".status")}
    optional = {
        f"{name}.{key}" for name, path in sorts.items() for key in at(made, path)
        if not errors(changed(made, path, key, add=False))
    }  # fmt: skip

    assert {name.removeprefix(".findings") for name in optional if ".gained" not in name} <= {
        ".causes.object.kind", ".causes.object.namespace", ".fix.edits.object.kind", ".fix.edits.object.namespace",
    }  # fmt: skip
