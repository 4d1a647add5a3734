"""The same state is the same report, and is not judged again: only what changes what is judged makes work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

import posture
import posture.scan
from posture.config import Config
from posture.kinds import RBAC
from posture.model import Gap, Version
from posture.report import formats
from posture.scan import Scanned
from posture.store import MEMORY, Store, findings, open_store, snapshots
from tests.controlplane.controlplane import ControlPlane
from tests.generator import admission
from tests.generator.history import FOLDER
from tests.generator.objects import Object, account, binding, guarded, role, rule
from tests.generator.small import random_cluster
from tests.generator.source import Given
from tests.report.documents import Document, approve, config_in, decide, document, happened, moment, scan

NOW = "2026-12-01T00:00:00Z"
DRIFTED = str(FOLDER / "2026-11-17")


def command(seed: int, now: str, *args: str) -> str:
    """Standard output of a command in a process of its own, with a hash seed and a clock."""
    env = os.environ | {"PYTHONHASHSEED": str(seed), "POSTURE_NOW": now}
    done = subprocess.run(
        [sys.executable, "-m", "posture", *args], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_run(text: str) -> Document:
    """A report without what it says of the run."""
    made: Document = json.loads(text)
    assert made.pop("run")
    return made


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database in which all sorts of things happened."""
    path = str(tmp_path / "posture.db")
    with open_store(path) as store:
        happened(store, config_in(tmp_path))
    return path


@pytest.mark.parametrize("form", formats())
def test_two_reports_of_one_snapshot_are_the_same_bytes(database: str, form: str) -> None:
    """Whenever they are made, and in whatever order Python keeps its sets."""
    first, second = (
        command(seed, now, "report", "--all", "-o", form, "--db", database)
        for seed, now in ((1, "2026-10-05T00:00:00Z"), (2, "2027-12-31T00:00:00Z"))
    )

    assert len(first) > 1000
    assert first == second


@pytest.mark.parametrize("kept", [True, False], ids=["database", "memory"])
def test_two_scans_of_one_state_differ_only_in_run(tmp_path: Path, kept: bool) -> None:
    """With a database the second scan finds what the first one left; without, both find it for themselves."""
    db = str(tmp_path / "posture.db") if kept else MEMORY
    first, second = (
        command(seed, now, "scan", "--from", DRIFTED, "--db", db, "-o", "json")
        for seed, now in ((1, NOW), (2, "2026-12-02T00:00:00Z"))
    )

    assert first != second
    assert without_run(first) == without_run(second)
    assert len(without_run(first)["findings"]) > 5


@pytest.mark.parametrize("made", [random_cluster, admission.cluster], ids=["grants", "policies"])
@pytest.mark.parametrize("seed", range(4))
def test_it_does_not_matter_in_which_order_objects_are_listed(
    seed: int, made: Callable[[Random], list[Object]]
) -> None:
    """A cluster whose objects come in another order is the same state."""
    random = Random(seed)
    objects = made(random)
    reports = []
    for _ in range(2):
        with open_store(MEMORY) as store:
            scan(store, Given(objects), 1)
            reports.append(json.dumps(without_run(json.dumps(document(store)))))
        random.shuffle(objects)

    assert reports[0] == reports[1]


def test_a_cluster_with_two_names_is_reported_once(control_plane: ControlPlane, tmp_path: Path) -> None:
    """Two contexts may lead to one cluster: it is scanned twice, and its findings are not doubled."""
    config = json.loads(control_plane.kubeconfig().read_text(encoding="utf-8"))
    config["contexts"] = [{"name": name, "context": config["contexts"][0]["context"]} for name in ("one", "two")]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config), encoding="utf-8")

    contexts = ("--context", "one", "--context", "two", "--kubeconfig", str(kubeconfig))
    made = json.loads(command(1, NOW, "scan", *contexts, "--db", MEMORY, "-o", "json"))

    assert [cluster["name"] for cluster in made["run"]["clusters"]] == ["posture-1.36"]
    ids = [finding["id"] for finding in made["findings"]]
    assert len(ids) == len(set(ids))


def test_nothing_is_known_of_time_where_nothing_is_kept() -> None:
    """In memory a finding has no since when; all else is the same."""
    with open_store(MEMORY) as store:
        happened(store, Config())
        kept, fleeting = document(store), document(store, memory=True)

    for finding in kept["findings"]:
        for name in ("opened", "changed", "resolved"):
            del finding[name]
    assert fleeting == kept


# What is judged again -----------------------------------------------------------------------------------------------


class Cluster:
    """A cluster that is scanned day by day; `judged` counts how often what it holds was evaluated."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.config = store, folder, config_in(folder)
        self.objects: list[Object] = [
            guarded("pay", team="pay-team"),
            role("debug", rule("get", "secrets"), namespace="pay"),
            binding("debug", "Role/debug", account("pay", "api"), namespace="pay"),
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "api", "namespace": "pay"},
             "spec": {"ingressClassName": "inner"}},
        ]  # fmt: skip
        self.gaps: list[Gap] = []
        self.version = Version(1, 35)
        self.day = self.judged = 0

    def scan(self) -> Scanned:
        """One scan, a day after the one before."""
        self.day += 1
        return scan(self.store, Given(self.objects, self.gaps, version=self.version), self.day, self.config)

    @property
    def stands(self) -> list[Any]:
        """The findings as they are."""
        return list(findings.select(self.store))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster with one finding, scanned twice: first nothing, then something was there to find."""
    judge: Callable[..., Any] = vars(posture.scan)["judge"]
    with open_store(MEMORY) as store:
        made = Cluster(store, tmp_path)

        def counted(*args: Any) -> Any:
            made.judged += 1
            return judge(*args)

        monkeypatch.setattr(posture.scan, "judge", counted)
        drift, made.objects = made.objects, made.objects[:1]
        made.scan()
        approve(store, 1)
        made.objects = drift
        made.scan()
        assert (made.judged, [one.status(moment(2)) for one in made.stands]) == (2, ["open"])
        made.judged = 0
        yield made


def other_objects(cluster: Cluster) -> None:
    cluster.objects[1] = role("debug", rule("get,list", "secrets"), namespace="pay")


def other_label(cluster: Cluster) -> None:
    cluster.objects[0] = guarded("pay", team="other")


def fewer_objects(cluster: Cluster) -> None:
    del cluster.objects[2]


def other_gaps(cluster: Cluster) -> None:
    cluster.gaps = [Gap(f"rolebindings.{RBAC}", "web", "forbidden", "no")]


def other_version(cluster: Cluster) -> None:
    cluster.version = Version(1, 36)


def other_check(cluster: Cluster) -> None:
    check = cluster.folder / "checks" / "acme-things.yaml"
    check.write_text(check.read_text(encoding="utf-8").replace("dear", "cheap"), encoding="utf-8")


def no_checks(cluster: Cluster) -> None:
    cluster.config = replace(cluster.config, checks=())


def other_baseline_file(cluster: Cluster) -> None:
    with (cluster.folder / "bound.yaml").open("a", encoding="utf-8") as file:
        file.write("# changed\n")


def other_approval(cluster: Cluster) -> None:
    approve(cluster.store, 2)


def other_owners(cluster: Cluster) -> None:
    owners = cluster.folder / "owners.yaml"
    owners.write_text("rules: [{owner: lee}]\n", encoding="utf-8")
    cluster.config = replace(cluster.config, owners=owners)


def other_growth(cluster: Cluster) -> None:
    cluster.config = replace(cluster.config, new_namespaces="review")


def other_peers(cluster: Cluster) -> None:
    cluster.config = replace(cluster.config, peer_labels=("team",))


def other_network(cluster: Cluster) -> None:
    cluster.config = replace(cluster.config, pods_by_ip="yes")


def other_ingress(cluster: Cluster) -> None:
    cluster.objects[3]["spec"]["ingressClassName"] = "outer"


@pytest.mark.parametrize("change", [
    other_objects, other_label, fewer_objects, other_gaps, other_version, other_check, no_checks, other_baseline_file,
    other_approval, other_owners, other_growth, other_peers, other_network, other_ingress,
], ids=lambda change: change.__name__)  # fmt: skip
def test_what_is_judged_with_changed(cluster: Cluster, change: Callable[[Cluster], None]) -> None:
    """Objects, gaps, version, checks, baselines, owners and settings: a change of any leads to one judgement."""
    change(cluster)
    cluster.scan()
    assert cluster.judged == 1

    cluster.scan()
    assert cluster.judged == 1, "the second time it is as it was"


def test_another_posture_judges_anew(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older version made of the same objects does not stand."""
    monkeypatch.setattr(posture, "__version__", "9.9.9")
    cluster.scan()

    assert cluster.judged == 1


def nothing(_: Cluster) -> None:
    """Another day."""


def other_metadata(cluster: Cluster) -> None:
    cluster.objects[1]["metadata"] |= {"resourceVersion": "77", "creationTimestamp": moment(1)}


def other_order(cluster: Cluster) -> None:
    cluster.objects.reverse()


def a_decision(cluster: Cluster) -> None:
    decide(cluster.store, cluster.stands, "acknowledged", 2)


def other_database_path(cluster: Cluster) -> None:
    cluster.config = replace(cluster.config, db="elsewhere.db")


@pytest.mark.parametrize("change", [
    nothing, other_metadata, other_order, a_decision, other_database_path,
], ids=lambda change: change.__name__)  # fmt: skip
def test_what_nothing_is_judged_by_changed(cluster: Cluster, change: Callable[[Cluster], None]) -> None:
    """Stored findings stand, and nothing is evaluated; what differs is stored all the same."""
    change(cluster)
    before = cluster.stands
    done = cluster.scan()

    assert cluster.judged == 0
    assert cluster.stands == before
    assert list(done.events) == []
    kept = snapshots.load(cluster.store, "7c1e", snapshots.latest(cluster.store, "7c1e")).snapshot
    assert kept.digest == done.snapshot.digest


def test_an_acceptance_runs_out_though_nothing_is_judged(cluster: Cluster) -> None:
    """Expiry is a matter of time: it is said once, and the finding is open again."""
    decide(cluster.store, cluster.stands, "accepted", 2, until=moment(4))

    said: Sequence[list[str]] = [[event.kind for event in cluster.scan().events] for _ in range(4)]

    assert said == [[], ["expired"], [], []]
    assert cluster.judged == 0
    assert [one.status(moment(6)) for one in cluster.stands] == ["open"]
