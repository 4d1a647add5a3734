"""Every check: well-formed, shown by an example that fails and one that passes, silent on what Kubernetes ships."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from posture.admission.register import FACTS
from posture.admission.violations import CONTROLS, OLDER, VIOLATIONS
from posture.cli import run
from posture.owners import TEAM_LABELS
from posture.pipeline import DOMAINS
from posture.resources import SUPPORTED
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.network import network_policy, pod, port
from tests.generator.objects import namespace

ROOT = Path(__file__).parents[1]
CHECKS = [path for domain in DOMAINS for path in sorted((ROOT / "checks" / domain.NAME).glob("*.yaml"))]
EXAMPLES = ROOT / "checks" / "examples"
SCHEMA = json.loads((ROOT / "checks" / "check.schema.json").read_text(encoding="utf-8"))
IDS = [path.stem for path in CHECKS]
PATHS = {
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Service": "/api/v1/namespaces/{}/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "ValidatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "MutatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
}
"""Where the kinds that examples are made of are created."""


def check(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def scanned(manifests: Path, version: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """The report of `posture scan` without a baseline."""
    code = run(["scan", "--db", ":memory:", "--from", str(manifests), "--kubernetes-version", version, "-o", "json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def hits(manifests: Path, version: str, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The checks that `posture scan` reports without a baseline, each with the subjects that it holds for."""
    found: dict[str, list[str]] = {}
    for finding in scanned(manifests, version, capsys)["findings"]:
        for reason in finding["reasons"]:
            found.setdefault(reason["check"], []).append(finding["subject"])
    return found


def version_of(example: Path) -> str:
    """The server's version that an example's first line names; the newest one where it names none."""
    named = re.match(r"# kubernetes: (1\.\d+)\n", example.read_text(encoding="utf-8"))
    return named[1] if named else str(SUPPORTED[-1])


@pytest.mark.parametrize("path", CHECKS, ids=IDS)
def test_a_check_is_well_formed(path: Path) -> None:
    """It keeps to the schema, is named as its file, and says in whole sentences why it matters and what to do."""
    found = check(path)

    Draft202012Validator(SCHEMA).validate(found)
    assert found["id"] == path.stem
    assert found["id"].startswith(found["domain"] + "-")
    for text in (found["why"], found["remedy"]):
        assert text.strip().endswith("."), text
    assert not found["title"].endswith(".")
    assert not found.get("can", "").startswith("can ")


def test_no_two_checks_have_the_same_title() -> None:
    """A title alone says in a list which check it is."""
    titles = [check(path)["title"] for path in CHECKS]

    assert len(set(titles)) == len(titles)


def test_every_check_has_its_examples_and_every_example_its_check() -> None:
    """checks/examples/ID/ holds pass.yaml and fail.yaml, for each check and for nothing else."""
    assert sorted(folder.name for folder in EXAMPLES.iterdir()) == sorted(IDS)
    for identity in IDS:
        assert sorted(file.name for file in (EXAMPLES / identity).iterdir()) == ["fail.yaml", "pass.yaml"], identity


@pytest.mark.parametrize("identity", IDS)
def test_its_examples_show_where_a_check_holds_and_where_not(identity: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It holds in its failing example, and does not in the passing one; both are of a version that it is meant for."""
    fail, passing = EXAMPLES / identity / "fail.yaml", EXAMPLES / identity / "pass.yaml"

    assert identity in hits(fail, version_of(fail), capsys)
    assert identity not in hits(passing, version_of(passing), capsys)
    assert version_of(fail) == version_of(passing), "an example that passes by its version shows nothing"


def test_a_cluster_without_any_policy_is_one_group_for_each_direction_and_one_for_what_is_admitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many workloads, namespaces and controls there are: nobody reads the same thing ten times."""
    objects = [
        made
        for name in ("pay", "search", "web")
        for made in (namespace(name, team=name), pod(name, "api", {"app": "api"}), pod(name, "db", {"app": "db"}))
    ]
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")

    groups = scanned(tmp_path, str(SUPPORTED[-1]), capsys)["groups"]

    assert sorted((group["rule"], group["count"]) for group in groups) == [
        ("admission-host-namespaces", 3),
        ("network-no-isolation-egress", 3),
        ("network-no-isolation-ingress", 3),
    ]


def test_a_namespace_with_the_policies_that_remedies_ask_for_has_no_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Default deny, DNS from the pods that serve it, the ingress controller, one database, one range outside; and the
    strictest Pod Security Standard.
    """

    def named(name: str, **labels: str) -> dict[str, Any]:
        spaces = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        return spaces | ({"podSelector": {"matchLabels": labels}} if labels else {})

    dns = {"to": [named("kube-system", **{"k8s-app": "kube-dns"})], "ports": [{"port": 53, "protocol": "UDP"}]}
    web = {"from": [named("ingress-nginx")], "ports": [{"port": 8080}]}
    api, db = ({"podSelector": {"matchLabels": {"app": name}}} for name in ("api", "db"))
    outside = [{"ipBlock": {"cidr": "198.51.100.0/24"}}, {"ipBlock": {"cidr": "2001:db8:1::/48"}}]
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    objects = [
        namespace("kube-system", team="platform"),
        namespace("ingress-nginx", team="platform", **restricted),
        namespace("pay", team="pay", **restricted),
        pod("pay", "api", {"app": "api"}, ports=[port(8080)]),
        pod("pay", "db", {"app": "db"}, ports=[port(5432)]),
        network_policy("pay", "default-deny", podSelector={}, policyTypes=["Ingress", "Egress"]),
        network_policy("pay", "dns", podSelector={}, policyTypes=["Egress"], egress=[dns]),
        network_policy("pay", "web", **api, policyTypes=["Ingress"], ingress=[web]),
        network_policy(
            "pay", "db", **db, policyTypes=["Ingress"], ingress=[{"from": [api], "ports": [{"port": 5432}]}]
        ),
        network_policy("pay", "api", **api, policyTypes=["Egress"], egress=[{"to": [db]}, {"to": outside}]),
    ]
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")

    assert hits(tmp_path, str(SUPPORTED[-1]), capsys) == {}


def test_tenants_are_whom_owners_are_found_by() -> None:
    """Checks of other tenants look at every label that names a namespace's team where nobody configured another."""
    for way in ("ingress", "egress"):
        (condition,) = check(ROOT / "checks" / "network" / f"network-other-tenant-{way}.yaml")["match"]["any"]

        assert set(TEAM_LABELS) <= set(condition["otherTenant"])


def admitted() -> list[dict[str, Any]]:
    """The conditions of all checks of what is admitted."""
    paths = (path for path in CHECKS if path.parent.name == "admission")
    return [condition for path in paths for condition in check(path)["match"]["any"]]


def test_every_control_of_pods_has_a_check() -> None:
    """Whatever the Pod Security Standards forbid, a check says how grave it is that it is admitted; what only their
    older versions forbid is none.
    """
    of_pods = {one.control for one in VIOLATIONS if one.resource.resource == "pods" and one.operation != "CONNECT"}
    named = {control for condition in admitted() for control in condition.get("controls", ())}

    assert named == {control for control in of_pods if OLDER not in control}
    assert of_pods < CONTROLS.keys()


def test_everything_that_can_be_wrong_with_exceptions_and_policies_has_a_check() -> None:
    """Each word of the schema stands in a shipped check; an exception is asked for every fact that the register has."""
    words = SCHEMA["$defs"]["admitted"]["properties"]
    for field in ("exceptions", "policies"):
        named = {word for condition in admitted() for word in condition.get(field, ())}
        assert named == set(words[field]["items"]["enum"])
    assert {f"no {fact}" for fact in FACTS} <= set(words["exceptions"]["items"]["enum"])
    assert any("mutations" in condition for condition in admitted())
    assert any("moreExceptionsThan" in condition for condition in admitted())


def test_every_row_of_the_benchmark_about_pods_has_a_check() -> None:
    """CIS Kubernetes Benchmark 1.9, 5.2.1 to 5.2.13: what it asks of policies for pods."""
    named = {reference for path in CHECKS for reference in check(path).get("references", ())}

    assert [row for row in (f"CIS 5.2.{number}" for number in range(1, 14)) if row not in named] == []


@pytest.mark.parametrize("version", [str(version) for version in SUPPORTED])
def test_what_kubernetes_ships_is_no_finding(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The default roles and bindings of a fresh server, taken alone, make no check hold."""
    assert hits(ROOT / "baselines" / "defaults" / f"{version}.yaml", version, capsys) == {}


@pytest.fixture(scope="module")
def server() -> Iterator[ControlPlane]:
    """A server with the namespaces of the examples."""
    with ControlPlane(controllers=()) as plane:
        for name in sorted({one["metadata"]["namespace"] for _, one in manifests() if "namespace" in one["metadata"]}):
            if not name.startswith("kube-") and name != "default":
                plane.request("POST", PATHS["Namespace"], {"metadata": {"name": name}})
        for name in {one["metadata"]["namespace"] for _, one in manifests() if one["kind"] == "Pod"}:
            plane.request("POST", PATHS["ServiceAccount"].format(name), {"metadata": {"name": "default"}})
        yield plane


def manifests() -> Iterator[tuple[Path, Any]]:
    """Every object of every example."""
    for path in sorted(EXAMPLES.glob("*/*.yaml")):
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path, one


def test_the_api_server_accepts_every_example(server: ControlPlane) -> None:
    """A real server would create each object as it stands, with no field that it does not know."""
    for path, one in manifests():
        where = PATHS[one["kind"]].format(one["metadata"].get("namespace"))
        if one["kind"] in ("Namespace", "ServiceAccount"):  # what objects live in and run as is there by now
            one["metadata"]["name"] += "-other"
        try:
            server.request("POST", f"{where}?dryRun=All&fieldValidation=Strict", one)
        except RefusedError as refused:
            name = f"{path.relative_to(ROOT)}: {one['kind']} {one['metadata']['name']}"
            raise AssertionError(f"{name}: {refused}") from None


def test_the_api_server_would_refuse_a_wrong_one(server: ControlPlane) -> None:
    """The request that examples pass is a strict one: a misspelled field and a missing role reference are refused."""
    _, one = next((path, one) for path, one in manifests() if one["kind"] == "RoleBinding")
    where = PATHS["RoleBinding"].format(one["metadata"]["namespace"])

    for wrong in (one | {"subject": []}, {name: value for name, value in one.items() if name != "roleRef"}):
        with pytest.raises(RefusedError):
            server.request("POST", f"{where}?dryRun=All&fieldValidation=Strict", wrong)
