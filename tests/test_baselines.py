"""The templates that teams start from: upper bounds that a cluster can keep to, and that name exactly the excess."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from posture.admission.register import FACTS
from posture.cli import run
from tests.generator.objects import Object, account, binding, group, namespace, role, rule

BASELINES = Path(__file__).parents[1] / "baselines"
TEMPLATES = {name: BASELINES / f"{name}-template.yaml" for name in ("namespace", "platform")}
ADMISSION = BASELINES / "admission-template.yaml"
TEAMS = ("pay", "web")
ENFORCE = "pod-security.kubernetes.io/enforce"
RESTRICTED = {ENFORCE: "restricted"}


def template(name: str) -> list[Object]:
    found: list[Object] = yaml.safe_load(TEMPLATES[name].read_text(encoding="utf-8"))["objects"]
    return found


def kept() -> list[Object]:
    """A cluster that holds what the templates allow and Kubernetes ships, and a namespace that they say nothing of."""
    defaults = (BASELINES / "defaults" / "1.36.yaml").read_text(encoding="utf-8")
    found = [*yaml.safe_load_all(defaults), namespace("lab", **RESTRICTED), *template("platform")]
    for team in TEAMS:
        found.append(namespace(team, team=f"{team}-team", **RESTRICTED))
        for one in deepcopy(template("namespace")):
            one["metadata"]["namespace"] = team
            for subject in one.get("subjects", ()):
                if subject["kind"] == "ServiceAccount":
                    subject.setdefault("namespace", team)
            found.append(one)
    return found


class Places:
    """Scans manifests against baseline files: the places of open findings, with what was gained."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys

    def posture(self, *args: str) -> str:
        """Run a command; its standard output."""
        self.capsys.readouterr()
        code = run([*args, "--db", str(self.folder / "posture.db")])
        said = self.capsys.readouterr()
        assert code == 0, said.err
        return said.out

    def scan(self, objects: Iterable[Object], *baselines: Path) -> dict[tuple[str, str, str], set[str]]:
        """{(subject, scope, through): permissions, controls and what exceptions want} of every open finding."""
        path = self.folder / "cluster.yaml"
        path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        flags = [part for file in baselines for part in ("--baseline", str(file))]
        said = self.posture("scan", "--from", str(path), "--kubernetes-version", "1.36", "-o", "json", *flags)
        found: dict[tuple[str, str, str], set[str]] = {}
        for one in json.loads(said)["findings"]:
            if one["status"] == "resolved":  # within minutes of the scan before: it is still told, as transient
                continue
            assert one["status"] == "open"
            place = one["subject"], one["scope"], "/".join(part for part in one["through"].values() if part)
            found[place] = {_said(unit) for unit in one["gained"]}
        return found


def _said(unit: dict[str, Any]) -> str:
    if "verb" not in unit:
        return str(unit.get("control") or unit["exception"])
    resource = "/".join(part for part in (unit.get("resource", ""), unit.get("subresource", "")) if part)
    return " ".join(part for part in (unit["verb"], resource, unit.get("name", "")) if part)


@pytest.fixture
def places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Places:
    return Places(tmp_path, capsys)


def test_the_templates_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    """`posture baseline validate` reads each and says what it speaks for."""
    files = sorted(BASELINES.glob("*-template.yaml"))
    code = run(["baseline", "validate", *map(str, files)])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert {ADMISSION, *TEMPLATES.values()} < set(files)
    assert len(lines) == len(files)
    for file, line in zip(files, lines, strict=True):
        assert ("cluster-wide" if file == TEMPLATES["platform"] else "namespaces with") in line


def test_a_cluster_that_keeps_to_them_has_no_finding(places: Places) -> None:
    """Everything that the templates and Kubernetes itself grant is agreed: no finding, not even by a check."""
    assert places.scan(kept(), *TEMPLATES.values()) == {}


def test_whoever_holds_less_has_no_finding(places: Places) -> None:
    """A bound is an upper one: half of the bindings gone, and verbs taken from roles, is fine."""
    less = [one for number, one in enumerate(kept()) if "Binding" not in one["kind"] or number % 2]
    for one in less:
        for given in one.get("rules") or () if one["kind"] == "Role" else ():
            given["verbs"] = given["verbs"][:1]

    assert places.scan(less, *TEMPLATES.values()) == {}


EXCESS: dict[str, tuple[list[Object], dict[tuple[str, str, str], set[str]]]] = {
    "one verb more in a role of the template": (
        [role("restart", rule("delete,get", "pods"), rule("create", "pods/exec"), namespace="pay")],
        {("group:developers", "pay", "Role/pay/restart"): {"create pods/exec"}},
    ),
    "a Secret that is not even looked at by a check": (
        [role("tls", rule("get", "secrets", names=["api-tls"]), namespace="web"),
         binding("tls", "Role/tls", account("web", "app"), namespace="web")],
        {("serviceaccount:web/app", "web", "Role/web/tls"): {"get secrets api-tls"}},
    ),
    "an agreed role for somebody else": (
        [binding("app-too", "Role/app", account("pay", "default"), namespace="pay")],
        {("serviceaccount:pay/default", "pay", "Role/pay/app"): {
            "get configmaps", "list configmaps", "watch configmaps", "create leases",
            "get leases app", "update leases app", "patch leases app",
        }},
    ),
    "an agreed ClusterRole for somebody else, everywhere": (
        [binding("everywhere", "ClusterRole/platform-nodes", group("developers"))],
        {("group:developers", "*", "ClusterRole/platform-nodes"): {
            f"{verb} {resource}" for resource, verbs in (
                ("nodes", "get,list,watch"), ("persistentvolumes", "get,list,watch"), ("pods", "get,list"),
                ("storageclasses", "get,list,watch"), ("volumeattachments", "get,list,watch"),
            ) for verb in verbs.split(",")
        }},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EXCESS)
def test_exactly_what_exceeds_them_is_found(places: Places, case: str) -> None:
    """One thing too much is one finding, with nothing but the excess in it."""
    objects, expected = EXCESS[case]
    replaced = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects}
    before = [one for one in kept() if (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
              not in replaced]  # fmt: skip

    assert places.scan([*before, *objects], *TEMPLATES.values()) == expected


def test_where_no_file_speaks_checks_do(places: Places) -> None:
    """In a namespace that no selector picks, what a check looks for is found, and what none looks for is not."""
    free = [
        role("tls", rule("get", "secrets", names=["api-tls"]), namespace="lab"),
        role("all", rule("list", "secrets"), namespace="lab"),
        binding("tls", "Role/tls", account("lab", "app"), namespace="lab"),
        binding("all", "Role/all", account("lab", "app"), namespace="lab"),
    ]

    found = places.scan([*kept(), *free], *TEMPLATES.values())

    assert found == {("serviceaccount:lab/app", "lab", "Role/lab/all"): {"list secrets"}}


def test_beside_an_approved_snapshot_either_of_the_two_agrees(places: Places) -> None:
    """What was approved stays agreed though it exceeds a file; what a file allows is agreed though it is new."""
    exceeding = EXCESS["a Secret that is not even looked at by a check"][0]
    without = [one for one in kept() if one["metadata"]["name"] != "restart"]
    places.scan([*without, *exceeding])
    places.posture("baseline", "approve", "--by", "dana")
    new = [binding("more", "Role/tls", account("web", "worker"), namespace="web")]

    found = places.scan([*kept(), *exceeding, *new], *TEMPLATES.values())

    assert found == {("serviceaccount:web/worker", "web", "Role/web/tls"): {"get secrets api-tls"}}


def test_the_platform_template_holds_what_posture_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Its ClusterRole `posture` has the rules that `posture clusterrole` prints."""
    assert run(["clusterrole"]) == 0
    needed = yaml.safe_load(capsys.readouterr().out)["rules"]

    mine = next(
        one for one in template("platform") if (one["kind"], one["metadata"]["name"]) == ("ClusterRole", "posture")
    )

    assert mine["rules"] == needed


# What is admitted ---------------------------------------------------------------------------------------------------


def policies() -> str:
    """The template of what is admitted, with the policies that it shows in a comment."""
    text, mark, shown = ADMISSION.read_text(encoding="utf-8").partition("  # - apiVersion")
    return text + (mark + shown).replace("\n  # ", "\n  ").replace("  # ", "  ", 1)


def vap(name: str, resource: str, expression: str, exempt: str = "") -> list[Object]:
    """A policy that refuses what an expression is false for, and its binding."""
    version = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]}
    bound: Object = {"policyName": name, "validationActions": ["Deny"]}
    if exempt:
        out = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [exempt]}
        bound["matchResources"] = {"namespaceSelector": {"matchExpressions": [out]}}
    return [
        {"apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": bound},
    ]


NO_IPS = "!has(object.spec.externalIPs) || object.spec.externalIPs == []"
LEVEL, PIN = (("namespace:pay", "pay", f"Label/pay/{label}") for label in (ENFORCE, f"{ENFORCE}-version"))
PINNED = {"hostProbesAndHostLifecycle", "unused", *(f"no {fact}" for fact in FACTS)}
BELOW_RESTRICTED = {
    "allowPrivilegeEscalation", "capabilities_restricted", "procMount_restricted", "restrictedVolumes", "runAsNonRoot",
    "runAsUser", "seccompProfile_restricted",
}  # fmt: skip
OPEN: dict[str, tuple[dict[str, str], dict[tuple[str, str, str], set[str]]]] = {
    "the same standard": ({ENFORCE: "restricted"}, {}),
    "the same standard, with its newest version": ({ENFORCE: "restricted", f"{ENFORCE}-version": "v1.36"}, {}),
    "a lower one": ({ENFORCE: "baseline"}, {LEVEL: BELOW_RESTRICTED}),
    "an old version of it": ({ENFORCE: "restricted", f"{ENFORCE}-version": "v1.33"}, {PIN: PINNED}),
    "a namespace of which the file does not speak": (
        {ENFORCE: "restricted", f"{ENFORCE}-version": "v1.33", "posture-baseline": "own"},
        {PIN: PINNED},
    ),
}


@pytest.mark.parametrize("case", OPEN)
def test_what_is_admitted_beyond_the_template_is_found(places: Places, case: str) -> None:
    """The controls that a namespace lacks are one finding; where the file does not speak, checks say what is open."""
    labels, expected = OPEN[case]

    assert places.scan([namespace("pay", team="pay", **labels)], ADMISSION) == expected


def test_whatever_refuses_it_is_fine(places: Places) -> None:
    """A label for nearly all and a policy for the rest: the file asks what is refused, not by what."""
    bare = namespace("pay", team="pay", **{ENFORCE: "restricted", f"{ENFORCE}-version": "v1.33"})
    probes = " && ".join(
        f"object.spec.?{kind}.orValue([]).all(c, c.?{field}.?{handler}.?host.orValue('') == '')"
        for kind in ("containers", "initContainers")
        for handler in ("httpGet", "tcpSocket")
        for field in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.?postStart", "lifecycle.?preStop")
    )

    assert places.scan([bare, *vap("own-probes", "pods", probes)], ADMISSION) == {}


def test_policies_of_the_template_are_asked_of_each_namespace(places: Places) -> None:
    """What the policies refuse that it shows in a comment has to be refused, by a policy of whatever name."""
    file = places.folder / "own.yaml"
    file.write_text(policies(), encoding="utf-8")
    spaces = [namespace(name, team=name, **RESTRICTED) for name in TEAMS]
    gained = {"services/external-ips"}

    assert places.scan([*spaces, *vap("mine", "services", NO_IPS)], file) == {}
    assert {place[1] for place, units in places.scan(spaces, file).items() if units == gained} == set(TEAMS)
    found = places.scan([*spaces, *vap("mine", "services", NO_IPS, exempt="web")], file)
    assert {place[:2] for place, units in found.items() if gained <= units} == {("namespace:web", "web")}
