"""The demo: its history is made, means what its story says day by day, and is told with commands that work."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from examples.demo import Demo, next_commands
from posture.cli import run
from tests.controlplane.controlplane import ControlPlane
from tests.generator import callbacks
from tests.generator.history import DAYS, FOLDER, files, history
from tests.generator.objects import Object

ROOT = Path(__file__).parents[1]
APPROVED, *LATER = DAYS
LAST = LATER[-1]


def test_the_committed_history_is_what_the_generator_writes() -> None:
    """examples/prod-eu holds these files and these bytes; `python -m tests.generator.history` writes them anew."""
    committed = {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.*")}

    assert committed == files()


def test_it_is_a_cluster_as_people_have_them() -> None:
    """100 to 160 objects in eleven or twelve namespaces, in small files, written by six actors."""
    actors = set()
    for _, objects in history():
        assert 100 <= len(objects) <= 160
        actors |= {entry["manager"] for one in objects for entry in one["metadata"]["managedFields"]}
        assert sum(one["kind"] == "Namespace" for one in objects) in (11, 12)
    assert len(DAYS) == 8
    people = {"kubectl-edit", "kubectl-create", "kubectl-label"}
    assert actors == {"kustomize-controller", "helm", "argocd-controller"} | people
    assert max(len(text) for text in files().values()) < 20_000


@pytest.mark.parametrize("when", [APPROVED, LAST])
def test_a_real_server_accepts_its_objects(when: str) -> None:
    """The API server creates every object but the custom resources of engines, without what servers add themselves."""
    with ControlPlane(controllers=()) as plane:
        assert plane.apply(_plain(one) for one in dict(history())[when] if not _custom(one)) > 60


def _custom(one: Object) -> bool:
    return any(group in one["apiVersion"] for group in ("kyverno.io/", "gatekeeper.sh/"))


def _plain(one: Object) -> Object:
    added = ("uid", "creationTimestamp", "managedFields")
    return one | {"metadata": {name: value for name, value in one["metadata"].items() if name not in added}}


# What the story means -----------------------------------------------------------------------------------------------


class Place(NamedTuple):
    subject: str
    scope: str
    through: str


def developers(*namespaces: str) -> set[Place]:
    return {Place(f"group:{name.removesuffix('-v2')}-devs", name, "developer") for name in namespaces}


PRODUCTS = "catalog", "checkout", "payments", "reports", "search"
DEBUG = Place("serviceaccount:checkout/api", "checkout", "support-tools")
CI = Place("serviceaccount:ci/runner", "*", "ci-preview")
INDEXER = Place("serviceaccount:search/indexer", "search", "indexer")
EXPORTER = Place("serviceaccount:payments/exporter", "payments", "exporter")
EVERYONE = Place("group:system:authenticated", "*", "status-page")
VENDOR = Place("group:vendor-support", "*", "vendor-diagnostics")
REPORTS = Place("serviceaccount:reports/default", "reports", "edit")
DATABASE = Place("workload:checkout/db[StatefulSet]", "checkout", "db")
INTERNET = Place("workload:payments/worker[Deployment]", "payments", "bank")
LEDGER = Place("workload:payments/ledger[StatefulSet]", "payments", "ledger")
LATENT = Place("namespace:catalog", "catalog", "debug")
FROM_CI = Place("workload:payments/api[Deployment]", "payments", "clients")
CALLBACKS = Place("workload:payments/callbacks[Deployment]", "payments", "callbacks")
JOBS = Place("serviceaccount:payments/callbacks", "checkout-jobs", "start-jobs")
RUNNER = Place("workload:ci/runner[Deployment]", "ci", "runner")
UNISOLATED = {Place(f"workload:search/{name}", "search", "ingress")
              for name in ("indexer[Deployment]", "reindex[CronJob]", "worker[Deployment]")}  # fmt: skip


def admitted(where: str, through: str) -> Place:
    return Place(f"namespace:{where}", where, through)


AUDITED = {admitted(name, "restricted-products") for name in ("catalog", "reports", "search")}
TOOLBOX = admitted("checkout", "incident-4711")
LEVEL = admitted("ci", "pod-security.kubernetes.io/enforce")
EXCLUDED = admitted("ci", "no-privilege-escalation/spec.match.excludedNamespaces/ci")
SELECTED = admitted("ci", "host-access/spec.matchResources.objectSelector")
RESIZER = admitted("catalog", "resizer")
CHARTED = admitted("search", "indexer")
PROFILER = admitted("checkout-jobs", "profiler")

STORY: dict[str, dict[str, set[Place]]] = {
    # Flux re-applied a role in another order, on the same evening: nothing but what people opened is said. Kyverno's
    # policy refuses nothing any more, which in payments a label still does.
    "2026-10-16": {"opened": {DEBUG, DATABASE, TOOLBOX} | AUDITED},
    # The role's readers were there, and agreed to, when the baseline was approved: now they can do more. Where the
    # policy admitted everything for a day, its exception for checkout goes on admitting the same. The runner of CI is
    # privileged, which no domain speaks of: that it has its node is a path of its own.
    "2026-10-20": {"opened": {CI, INTERNET, EXCLUDED, RUNNER}, "widened": developers(*PRODUCTS) | {LEVEL},
                   "resolved": AUDITED, "renamed": {TOOLBOX}},
    # In catalog a role and a policy were renamed, and another was split, with equal effect: nothing is said of it.
    # The toolbox is gone, and nobody uses its exception.
    "2026-10-23": {"widened": {INDEXER, TOOLBOX}},
    # catalog-v2 is a namespace like its peer, whose policies it has too: nothing is said of it.
    "2026-10-27": {"opened": {EXPORTER, SELECTED, RESIZER}, "resolved": developers(*PRODUCTS)},
    # The debugging access goes through another role, with equal effect: it is neither new nor resolved. The end of the
    # toolbox's exception is past. The exception of payments opens nothing: nothing is said of it.
    "2026-11-03": {"opened": {EVERYONE, VENDOR, LEDGER, LATENT, CALLBACKS}, "resolved": {INDEXER},
                   "renamed": {DEBUG}, "widened": {TOOLBOX}},
    # Payments let other teams' production in when the baseline was approved: now CI is among them. CI builds without
    # what was opened for it.
    "2026-11-10": {"opened": {REPORTS, JOBS}, "widened": {CI, FROM_CI, LEVEL, EXCLUDED, SELECTED},
                   "resolved": {RUNNER}},
    "2026-11-17": {
        "opened": developers("catalog-v2") | UNISOLATED | {PROFILER}, "widened": {VENDOR, CHARTED},
        "regressed": developers(*PRODUCTS),
    },
}  # fmt: skip
"""What happens to findings with each day's snapshot, and nothing else does."""

SAID = {
    DATABASE: "checkout/db can now be reached from every pod of every namespace on TCP 5432 (+9 workloads); "
              "nothing was closed in return",
    INTERNET: "payments/worker can now reach 0.0.0.0/0 on every port (the whole Internet); "
              "nothing was closed in return",
    LEDGER: "payments/ledger can now be reached from pods app in (api,worker) of payments on TCP 5433 (+2 workloads)",
    LATENT: "Pods debug=true of catalog, once there are any, can now be reached from every pod of every namespace on "
            "every port; nothing was closed in return",
    FROM_CI: "payments/api can now be reached from every pod of ci on TCP 8080 (+1 workload); "
             "nothing was closed in return",
    CALLBACKS: "payments/callbacks can now be reached from 203.0.113.0/24 on TCP 8443 (+256 addresses); "
               "nothing was closed in return",
}  # fmt: skip
"""What may be reached now, in one sentence. What was compensated says nothing of what was closed."""
NOBODY = "nobody wrote down whose it is, why and until when"
ADMITTED = {
    TOOLBOX: "Namespace checkout now admits pods that run as root, pods without a seccomp profile and 4 more kinds of "
             "pods (nothing there needs it; its end is past)",
    LEVEL: "Namespace ci now admits privileged pods, pods with hostPath volumes and 7 more kinds of pods "
           f"(nothing there needs it; {NOBODY})",
    EXCLUDED: f"Namespace ci now admits pods that may gain privileges (nothing there needs it; {NOBODY})",
    SELECTED: "Namespace ci now admits pods in the node's namespaces and Windows HostProcess pods, if they are like "
              "one with label example.com/host=allowed (nothing there needs it; whoever sets the label has it; "
              f"{NOBODY})",
    RESIZER: "Namespace catalog now admits pods that run as root, pods without a seccomp profile and 4 more kinds of "
             "pods, if they are like one called resizer-x (1 workload there could not run without it; "
             f"{NOBODY})",
    CHARTED: "Namespace search now admits pods that run as root, pods without a seccomp profile and 4 more kinds of "
             "pods (1 workload there could not run without it)",
    PROFILER: "Namespace checkout-jobs now admits pods with added capabilities (1 workload there could not run without "
              "it)",
}  # fmt: skip
"""What is admitted now, who needs that, and what is wrong with the exception."""
EXCEPTIONS = {
    "Label/ci/pod-security.kubernetes.io/enforce": "unused",
    "K8sPSPAllowPrivilegeEscalationContainer/no-privilege-escalation/spec.match.excludedNamespaces/ci": "unused",
    "ValidatingAdmissionPolicyBinding/host-access/spec.matchResources.objectSelector": "unused, self-exemptable",
    "PolicyException/checkout/incident-4711": "unused, expired but active",
    "PolicyException/catalog/resizer": "used",
    "PolicyException/search/indexer": "used",
    "PolicyException/monitoring/profiler": "used",
    "Label/checkout-jobs/pod-security.kubernetes.io/enforce": "used",
    "PolicyException/payments/migration": "inert",
    "Label/kube-system/pod-security.kubernetes.io/enforce": "used",
    "Config/gatekeeper-system/config/spec.match[0].excludedNamespaces/kube-system": "used",
    "ValidatingAdmissionPolicyBinding/host-access/spec.matchResources.namespaceSelector[example.com/host NotIn]":
        "used",
}  # fmt: skip
"""Every exception that somebody gave, five weeks after the audit."""


class Told:
    """The history, scanned day by day, with the two decisions of the demo, and what happened to findings when."""

    def __init__(self, folder: Path) -> None:
        self.env = {"POSTURE_DB": str(folder / "posture.db"), "POSTURE_CONFIG": str(ROOT / "examples" / "config.yaml")}
        self.reports: dict[str, Any] = {}
        for when in DAYS:
            source = str(FOLDER / when)
            said = self.posture(when, "scan", "--from", source, "--at", when, "--cluster", "prod-eu", "-o", "json")
            self.reports[when] = json.loads(said)
            if when == APPROVED:
                self.posture(when, "baseline", "approve", "--by", "dana")
            if when == "2026-10-20":
                until = ("--until", "2026-12-01", "--by", "dana", "--reason", "previews")
                self.posture(when, "findings", "accept", self.finding(CI)["id"], *until)
            if when == "2026-10-27":
                self.posture(when, "findings", "ack", self.finding(EXPORTER)["id"], "--by", "lee")
        self.events: dict[tuple[str, str], set[Place]] = {}
        for one in self.findings():
            for event in json.loads(self.posture(LAST, "findings", "history", one["id"], "-o", "json")):
                self.events.setdefault((event["time"][:10], event["what"]), set()).add(_place(one))

    def posture(self, when: str, *args: str) -> str:
        """Run a command on a day; its standard output."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            for name, value in (self.env | {"POSTURE_NOW": f"{when}T09:00:00Z"}).items():
                patched.setenv(name, value)
            code = run([*args])
        assert code == 0, err.getvalue()
        return out.getvalue()

    def findings(self) -> list[Any]:
        """Every finding as it is."""
        said = self.posture(LAST, "findings", "list", "--members", "--status", "all", "-o", "json")
        found: list[Any] = json.loads(said)
        return found

    def finding(self, place: Place) -> Any:
        """The finding at a place."""
        return next(one for one in self.findings() if _place(one) == place)

    def on(self, when: str, place: Place) -> Any:
        """The finding at a place as it was on a day."""
        return next(one for one in self.reports[when]["findings"] if _place(one) == place)

    def paths(self, when: str) -> dict[Place, set[tuple[str, str]]]:
        """Who could reach what since the audit, on a day, by the findings that made it possible."""
        found = ((_place(one), {(path["source"], path["sink"]) for path in one["attackPaths"]})
                 for one in self.reports[when]["findings"] if one["presence"] == "present")  # fmt: skip
        return {place: paths for place, paths in found if paths}


def _place(finding: Any) -> Place:
    return Place(finding["subject"], finding["scope"], finding["through"]["name"])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The whole story, told once."""
    return Told(tmp_path_factory.mktemp("story"))


class TestTheStory:
    """What posture says of the history."""

    @pytest.mark.parametrize("when", LATER)
    def test_each_day_says_what_happened_and_nothing_else(self, told: Told, when: str) -> None:
        """Exactly these findings are opened, widened, resolved, renamed or regressed; all other changes are silent."""
        of_findings = ("opened", "widened", "resolved", "renamed", "regressed", "unknown", "expired")
        said = {what: places for (day, what), places in told.events.items() if day == when and what in of_findings}

        assert said == STORY[when]

    def test_a_decision_covers_what_was_there_and_no_more(self, told: Told) -> None:
        """The accepted exception is open again since it grew; the acknowledged identity stays acknowledged."""
        assert told.events["2026-10-20", "accepted"] == {CI}
        assert (told.finding(CI)["status"], told.finding(CI)["mark"]) == ("open", "widened")
        assert told.finding(CI)["decision"]["action"] == "accepted"
        assert told.finding(EXPORTER)["status"] == "acknowledged"

    def test_what_is_granted_before_it_exists_weighs_less(self, told: Told) -> None:
        """The dangling grant was low; once the role exists it is high and effective."""
        vendor = told.finding(VENDOR)

        assert (vendor["severity"], vendor["effective"]) == ("high", True)
        before = json.loads(
            told.posture(LAST, "diff", "@2026-10-27", "@2026-11-03", "--fail-on", "critical", "-o", "json")
        )
        change = next(one for one in before["changes"] if one["subject"] == VENDOR.subject)
        assert (change["severity"], change["effective"]) == ("low", False)

    @pytest.mark.parametrize(("place", "owner", "told_too", "actors"), [
        (DEBUG, "checkout", [], {"kubectl-create", "kustomize-controller"}),
        (CI, "platform", [], {"kubectl-create", "kubectl-edit"}),
        (EXPORTER, "payments", ["cloud-platform"], {"argocd-controller"}),
        (EVERYONE, "platform", ["security"], {"kubectl-create"}),
        (VENDOR, "platform", [], {"kubectl-create", "helm"}),
        (Place("group:search-devs", "search", "developer"), "platform", ["search"], {"kubectl-edit"}),
        (INDEXER, "search", [], {"helm"}),
        (DATABASE, "checkout", [], {"kubectl-edit"}),
        (INTERNET, "payments", [], {"kubectl-edit"}),
        (LEDGER, "payments", [], {"kustomize-controller"}),
        (LATENT, "catalog", [], {"kubectl-create"}),
        (FROM_CI, "platform", ["payments"], {"kubectl-label"}),
        (TOOLBOX, "checkout", [], {"kubectl-create"}),
        (LEVEL, "platform", [], {"kubectl-label"}),
        (EXCLUDED, "platform", [], {"kubectl-edit"}),
        (RESIZER, "catalog", [], {"kubectl-create"}),
        (CHARTED, "search", [], {"helm"}),
        (CALLBACKS, "payments", [], {"kubectl-edit"}),
        (JOBS, "checkout", ["payments"], {"kubectl-create"}),
        (PROFILER, "platform", ["checkout"], {"kubectl-create"}),
    ])  # fmt: skip
    def test_causes_name_actors_and_one_owner_must_act(
        self, told: Told, place: Place, owner: str, told_too: list[str], actors: set[str]
    ) -> None:
        """Who changed it is a field manager's claim; who must act is whoever can commit the fix; others are told."""
        found = told.finding(place)

        assert {cause["actor"] for cause in found["causes"]} == actors
        assert (found["owner"], found["told"], found["unowned"]) == (owner, told_too, False)

    @pytest.mark.parametrize(("place", "sentence"), SAID.items())
    def test_what_may_be_reached_is_said_in_the_words_of_policies(
        self, told: Told, place: Place, sentence: str
    ) -> None:
        """One sentence names the peers that the policy names, who can use it today, and what was closed in return."""
        assert told.finding(place)["message"].partition(", through ")[0] == sentence

    @pytest.mark.parametrize(("place", "sentence"), ADMITTED.items())
    def test_what_is_admitted_is_said_with_who_needs_it(self, told: Told, place: Place, sentence: str) -> None:
        """One sentence says what may run now, whether anything there needs that, and what nobody wrote down."""
        assert told.finding(place)["message"].partition(", through ")[0] == sentence

    def test_the_register_says_which_exceptions_nobody_uses(self, told: Told) -> None:
        """Those of four engines are held apart: used, unused, past their end, to be had by a label, without effect."""
        listed = json.loads(told.posture(LAST, "exceptions", "list", "--snapshot", "latest", "-o", "json"))
        states = {one["name"]: ", ".join([one["state"], *one["also"]]) for one in listed}

        assert {name: states.get(name) for name in EXCEPTIONS} == EXCEPTIONS
        unused = [one for one in listed if one["state"] == "unused"]
        assert sorted({engine for one in unused for engine in one["engines"]}) == [
            "gatekeeper", "kyverno", "podsecurity", "vap",
        ]  # fmt: skip
        assert {one["name"] for one in unused} <= EXCEPTIONS.keys()

    def test_nobody_can_use_what_is_opened_to_pods_that_are_not_there(self, told: Told) -> None:
        """The policy for debugged pods is latent; everything else that was opened is in effect."""
        opened = [one for one in told.findings() if one["domain"] == "network" and one["status"] == "open"]

        assert {_place(one) for one in opened if not one["effective"]} == {LATENT}
        assert {_place(one) for one in opened} == {*SAID, *UNISOLATED}

    def test_the_cause_of_a_lost_isolation_is_the_policy_that_is_gone(self, told: Told) -> None:
        """Three workloads of search are one group, whose cause is the deleted default deny and whose fix its return."""
        lost = [told.finding(place) for place in UNISOLATED]

        assert len({one["group"] for one in lost}) == 1
        for one in lost:
            (cause,) = one["causes"]
            assert (cause["what"], cause["object"]["name"]) == ("deleted", "default-deny")
            assert one["fix"]["text"] == "Put NetworkPolicy search/default-deny back to what was agreed"

    def test_the_cause_of_a_tenant_let_in_is_the_label_of_its_namespace(self, told: Told) -> None:
        """No policy changed: the namespace of CI did."""
        (cause,) = told.finding(FROM_CI)["causes"]

        assert (cause["object"]["kind"], cause["object"]["name"], cause["what"]) == ("Namespace", "ci", "changed")

    def test_nobodys_namespace_goes_to_the_platforms_bucket(self, told: Told) -> None:
        """reports names no team: the finding is the platform's, and is counted as unowned."""
        found = told.finding(REPORTS)

        assert (found["owner"], found["unowned"]) == ("platform", True)
        assert json.loads(told.posture(LAST, "report", "-o", "json"))["run"]["unowned"] == 1

    def test_every_open_finding_has_a_way_back(self, told: Told) -> None:
        """Each one carries a fix that was checked."""
        for one in told.findings():
            if one["status"] in ("open", "acknowledged"):
                assert one["fix"], one["message"]


TOGETHER = CALLBACKS, JOBS, PROFILER
RECEIVER = CALLBACKS.subject
PATHS: dict[Place, set[tuple[str, str]]] = {
    # Without its address range the receiver would still get the cluster, but nobody would get the receiver.
    CALLBACKS: {("outside", "cluster-admin")},
    # Developers of payments may run pods there, as any ServiceAccount. Beside the cluster nothing else is worth a word.
    JOBS: {(source, "cluster-admin") for source in ("outside", RECEIVER, "group:payments-devs")},
    PROFILER: {(source, "cluster-admin") for source in ("outside", RECEIVER, "group:payments-devs")},
    # A token of any ServiceAccount, Flux's among them.
    CI: {(RUNNER.subject, "cluster-admin")},
    # Commands in every container of a node, Flux's among them.
    VENDOR: {("group:vendor-support", "cluster-admin")},
    # Whoever may run pods in payments runs them as the exporter: CI, and the developers, who reach the node's identity
    # besides (below), and so are not one with those who reach the exporter's alone.
    EXPORTER: {
        (who, "cloud/aws:arn:aws:iam::111122223333:role/ledger-export")
        for who in ("serviceaccount:payments/exporter", "workload:ci/runner[Deployment]", "group:payments-devs")
    },
    # Every address is the cloud's metadata service too, for the worker and for pods that developers make like it; in
    # reports no policy keeps pods from it.
    INTERNET: {(source, "cloud/node") for source in ("workload:payments/worker[Deployment]", "group:payments-devs")},
    REPORTS: {("serviceaccount:reports/default", "cloud/node")},
}
"""Who reaches what, five weeks after the audit, and could not then; of those who do by the same way, the first."""


class TestThreeChangesOfThreeTeams:
    """An address range, jobs that may be started, one capability: none alarming alone, together the cluster's end."""

    def test_every_path_is_told_with_the_findings_that_made_it(self, told: Told) -> None:
        """These and no others, on the last day."""
        assert told.paths(LAST) == PATHS

    @pytest.mark.parametrize(("place", "since"), [(CALLBACKS, "2026-11-03"), (JOBS, "2026-11-10")])
    def test_before_the_third_none_of_them_is_alarming(self, told: Told, place: Place, since: str) -> None:
        """Each is medium at most, makes no path, and nothing is reached from outside."""
        for when in [day for day in DAYS if since <= day < LAST]:
            assert told.on(when, place)["severity"] in ("medium", "low", "info")
            assert told.on(when, place)["attackPaths"] == []
            assert not [paths for paths in told.paths(when).values() for source, _ in paths if source == "outside"]

    def test_on_the_day_of_the_third_all_three_are_critical_for_the_path(self, told: Told) -> None:
        """What each is by itself stays medium at most."""
        for place in TOGETHER:
            found = told.on(LAST, place)
            paths = {one["severity"] for one in found["reasons"] if one["check"] == "path-cluster-admin"}
            others = {one["severity"] for one in found["reasons"] if one["check"] != "path-cluster-admin"}
            assert (found["severity"], "critical" in paths) == ("critical", True)
            assert others <= {"medium", "low", "info"}

    def test_the_path_names_the_three_findings_and_their_owners(self, told: Told) -> None:
        """In the order of the proof, and the same for each of the three."""
        for place in TOGETHER:
            (path,) = (one for one in told.on(LAST, place)["attackPaths"] if one["source"] == "outside")
            named = [(step["finding"], step["owner"]) for step in path["steps"] if step["finding"]]
            assert named == [
                (told.finding(CALLBACKS)["id"], "payments"),
                (told.finding(JOBS)["id"], "checkout"),
                (told.finding(PROFILER)["id"], "platform"),
            ]

    @pytest.mark.parametrize(("without", "source"), [
        ("bank_moves", "outside"), ("jobs_on_call", "outside"), ("profiler", "outside"),
        ("jobs_on_call", RECEIVER), ("profiler", RECEIVER),
    ])  # fmt: skip
    def test_without_any_one_of_them_there_is_no_path(
        self, without: str, source: str, told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The same cluster but for one change: no way to cluster-admin is left."""
        monkeypatch.setattr(callbacks, without, lambda _: None)
        asked = ("explain", "path", "--source", source, "--sink", "cluster-admin", "-o", "json")
        paths = {}
        for name, day in (("without", dict(history())[LAST]), ("with", _read(FOLDER / LAST))):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(day), encoding="utf-8")
            paths[name] = json.loads(told.posture(LAST, *asked, "--from", str(tmp_path / f"{name}.yaml")))["paths"]

        assert (paths["without"], len(paths["with"])) == ([], 1)


def _read(folder: Path) -> list[Object]:
    return [one for file in folder.iterdir() for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


# The demo -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, float]:
    """The output of `make demo`, its database, and the seconds that it took."""
    database = tmp_path_factory.mktemp("demo") / "demo.db"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", str(database)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout, database, time.monotonic() - start


class TestTheDemo:
    """What `make demo` prints."""

    def test_it_says_what_drifted_whose_it_is_and_how_to_get_back(self, shown: tuple[str, Path, float]) -> None:
        """The last scan, a finding with its owner and cause, and two fixes are there."""
        output, _, _ = shown
        prose = " ".join(output.split())

        assert "widened: ServiceAccount ci/runner can now make and read a lasting token" in output
        assert "owner     checkout: label team of namespace checkout" in output
        assert "kubectl delete rolebindings.rbac.authorization.k8s.io -n checkout support" in output
        assert SAID[DATABASE] in prose
        assert "3 workloads in search" in prose
        assert "apiVersion: networking.k8s.io/v1 kind: NetworkPolicy metadata: name: db" in prose
        assert "# allowed: reports/worker → checkout/db on TCP 5432" in output
        assert "# closed by: Take TCP 5432 out of NetworkPolicy checkout/db (checked)" in output
        assert "- payments: loosened, 5 openings" in prose
        assert "so the outside can reach cluster-admin: payments, checkout and platform each hold a step" in prose
        assert "the outside → cluster-admin is cut by 1 object (checked)" in output
        assert "ClusterPolicy restricted-products would refuse but for PolicyException catalog/resizer" in prose
        assert "PolicyException checkout/incident-4711 excludes Pod in checkout" in prose
        assert ADMITTED[LEVEL] in prose
        assert "notin (" not in output.partition("$ posture exceptions list")[0]
        assert "Traceback" not in output
        assert "error:" not in output

    def test_it_is_readable_at_80_columns_and_quick(self, shown: tuple[str, Path, float]) -> None:
        """No line is wider, and all of it takes less than two minutes."""
        output, database, seconds = shown

        wide = [line for line in output.splitlines() if len(line) > 80 and str(database) not in line]
        assert [line for line in wide if not line.startswith("# ")] == []  # a command to copy stays whole
        assert seconds < 120

    def test_it_says_the_same_each_time(self, shown: tuple[str, Path, float], tmp_path: Path) -> None:
        """Another run, on another day, prints the same but for the seconds and the database's path."""
        output, database, _ = shown
        other = tmp_path / "other.db"
        again = subprocess.run([sys.executable, "-m", "examples.demo", str(other)], cwd=ROOT, text=True, check=False,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout  # fmt: skip

        assert _timeless(again, other) == _timeless(output, database)

    def test_what_it_tells_to_type_next_works(self, shown: tuple[str, Path, float]) -> None:
        """The commands that it ends with, as they stand, in one shell."""
        _, database, _ = shown
        demo = Demo(str(database))
        demo.env["POSTURE_NOW"] = f"{LAST}T09:00:00Z"
        script = "\n".join(next_commands(demo)).replace("$PWD/.venv/bin", str(Path(sys.executable).parent))

        done = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

        assert (done.returncode, "error:" in done.stderr) == (0, False), done.stderr
        assert "loosened" in done.stdout


def _timeless(output: str, database: Path) -> str:
    return re.sub(r" in \d+\.\d s\b", " in N s", output.replace(str(database), "DATABASE"))
