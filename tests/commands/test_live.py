"""The commands on real clusters: contexts, one or several; a diff as a gate; what one namespace's Role lets one see."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.commands.running import World, posture, process
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import account, binding, group, namespace, role, rule, service_account, user

ONE, TWO, SOME, NOBODY, DOWN = "one", "two", "some", "nobody", "down"


class Fleet(NamedTuple):
    """Two clusters and a kubeconfig: contexts for both, for users with some permissions or none, and for nothing."""

    one: ControlPlane
    two: ControlPlane
    kubeconfig: Path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        one, two = (stack.enter_context(ControlPlane(users={SOME: (), NOBODY: ()}, controllers=())) for _ in range(2))
        config: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": ONE}
        for name, plane, who in ((ONE, one, "admin"), (TWO, two, "admin"), (SOME, one, SOME), (NOBODY, one, NOBODY)):
            _add(config, name, json.loads(plane.kubeconfig(who).read_text(encoding="utf-8")))
        _add(config, DOWN, json.loads(one.kubeconfig().read_text(encoding="utf-8")))
        config["clusters"][-1]["cluster"]["server"] = "https://127.0.0.1:9"
        path = tmp_path_factory.mktemp("fleet") / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        for plane in (one, two):
            plane.apply([namespace("pay", team="pay-team"), service_account("pay", "api")])
        (few,) = yaml.safe_load_all(posture("clusterrole", "--name", SOME).out)
        for each in few["rules"]:
            each["resources"] = [name for name in each.get("resources", ()) if name != "clusterrolebindings"]
        few["rules"] = [each for each in few["rules"] if each["resources"]]
        one.apply([few, binding(SOME, f"ClusterRole/{SOME}", user(SOME))])
        yield Fleet(one, two, path)


def _add(config: dict[str, Any], name: str, given: dict[str, Any]) -> None:
    """One cluster, user and context of another kubeconfig, called `name`."""
    for field, inner in (("clusters", "cluster"), ("users", "user")):
        config.setdefault(field, []).append({"name": name, inner: given[field][0][inner]})
    config.setdefault("contexts", []).append({"name": name, "context": {"cluster": name, "user": name}})


@pytest.fixture
def reach(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The fleet, by $KUBECONFIG."""
    monkeypatch.setenv("KUBECONFIG", str(fleet.kubeconfig))
    return fleet


GRANT = [role("debug", rule("get,list", "secrets"), namespace="pay"),
         binding("debug", "Role/debug", account("pay", "api"), namespace="pay")]  # fmt: skip


def test_several_clusters_in_one_scan(reach: Fleet) -> None:
    """Each with its own name, baseline and findings; one report of all with -o json."""
    ran = posture("scan", "--context", ONE, "--context", TWO)
    assert [line.split()[0] for line in ran.out.splitlines() if " objects in " in line] == [ONE, TWO]
    for name in (ONE, TWO):
        posture("baseline", "approve", "--cluster", name)
    reach.two.apply(GRANT)
    try:
        found = posture("scan", "--context", ONE, "--context", TWO, "-o", "json", "--fail-on", "high", code=1).json
    finally:
        reach.two.kubectl("-n", "pay", "delete", "role/debug", "rolebinding/debug")

    names = {one["id"]: one["name"] for one in found["run"]["clusters"]}
    assert sorted(names.values()) == [ONE, TWO]
    (only,) = found["findings"]
    assert (names[only["cluster"]], only["subject"]) == (TWO, "serviceaccount:pay/api")
    (cause, _) = only["causes"]
    assert (cause["actor"], cause["claimed"]) == ("kubectl", True)
    assert posture("findings", "list", "--cluster", ONE).out == ""


def test_one_that_cannot_be_read_stops_no_other(reach: Fleet) -> None:
    """The others are scanned; what is wrong is said, and the exit code is the gravest."""
    ran = posture("scan", "--context", DOWN, "--context", TWO, code=3)
    assert "127.0.0.1:9" in ran.err
    assert ran.out.startswith("two   1.36   ")
    ran = posture("scan", "--context", TWO, "--context", "zzz", code=2)
    assert "zzz" in ran.err
    assert ran.out.startswith("two   1.36   ")


def test_nothing_may_be_read(reach: Fleet) -> None:
    """Exit code 3, the first refusal, and what to do about it; nothing is stored."""
    for args in (("scan",), ("explain", "access", "get", "pods", "--as", "ann"), ("who-can", "get", "pods")):
        ran = posture(*args, "--context", NOBODY, code=3)
        assert ran.err.startswith("error: nothing can be read from nobody (https://127.0.0.1:")
        assert ran.err.endswith("hint: `posture clusterrole` prints the permissions that posture needs\n")
        assert ran.out == ""
    assert posture("snapshots", "-o", "json").json == []


def test_something_may_not_be_read(reach: Fleet) -> None:
    """What depends on it is unknown: gaps and exit code 3; nobody approves it by accident, and no question is a no."""
    ran = posture("scan", "--context", SOME, code=3)
    assert "gap   clusterrolebindings.rbac.authorization.k8s.io: forbidden, " in ran.out
    posture("baseline", "approve", code=3)

    ask = ("explain", "access", "get", "pods", "-n", "pay", "--as", "ann", "--context", SOME)
    assert posture(*ask, code=3).out.startswith("unknown: ")
    assert posture(*ask, "--as-group", "system:masters").out.startswith("yes\n")


@pytest.mark.parametrize(("before", "after", "code"), [
    ("live", "live", 0), ("context:one", "context:two", 0), ("live", "context:two", 0),
    ("context:one", "{folder}", 1), ("1", "live", 0), ("{folder}", "context:one", 0), ("context:nobody", "live", 3),
    ("context:some", "live", 3),
])  # fmt: skip
def test_live_sides_of_a_diff(reach: Fleet, surroundings: Path, before: str, after: str, code: int) -> None:
    """`live` is the current context; any side may be a cluster."""
    posture("scan")
    folder = surroundings / "more"
    folder.mkdir()
    objects = ["clusterroles", "clusterrolebindings", "roles", "rolebindings", "namespaces", "serviceaccounts"]
    everything = reach.one.kubectl("get", ",".join(objects), "-A", "-o", "json").stdout
    (folder / "all.json").write_text(everything, encoding="utf-8")
    (folder / "more.yaml").write_text(yaml.safe_dump_all(GRANT), encoding="utf-8")

    ran = posture("diff", before.format(folder=folder), after.format(folder=folder), code=code)
    if code == 1:
        assert "ServiceAccount pay/api can now read every Secret in pay" in ran.out


def test_a_proposal_on_standard_input(reach: Fleet) -> None:
    """`kubectl get … -o yaml | posture diff live -`: what a server prints can be read back, and is the same."""
    objects = "clusterroles,clusterrolebindings,roles,rolebindings,namespaces,serviceaccounts"
    everything = reach.one.kubectl("get", objects, "-A", "-o", "yaml").stdout

    ran = process("diff", "live", "-", input=everything, env=os.environ | {"KUBECONFIG": str(reach.kubeconfig)})
    assert ran.out == "no difference in what is possible\n"


def test_questions_to_a_live_cluster(reach: Fleet) -> None:
    """`explain access` and `who-can` ask the current context, or another."""
    ask = ("explain", "access", "get", "pods", "-n", "pay", "--as", "ann")

    assert posture(*ask).out == "no: nothing grants it\n"
    assert posture(*ask, "--as-group", "system:masters", "--context", TWO).out.startswith("yes\n")
    ran = posture("who-can", "escalate", "clusterroles", "-o", "json")
    rows, err = ran.json, ran.err
    assert "serves no resource" not in err
    assert "serves no resource clusterrols;" in posture("who-can", "escalate", "clusterrols").err
    assert "serves no resource pods.apps;" in posture(*ask[:3], "pods.apps", "--as", "ann").err
    assert "serviceaccount:kube-system/clusterrole-aggregation-controller" in {one["subject"] for one in rows}


@pytest.fixture(scope="module")
def kubeconfig(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig of a ServiceAccount that holds what `posture clusterrole -n team` prints, and no more."""
    plane = fleet.one
    (printed,) = yaml.safe_load_all(posture("clusterrole", "-n", "team").out)
    given = binding("posture", "Role/posture", account("team", "posture"), namespace="team")
    inside = [role("app", rule("get,list", "secrets"), namespace="team"),
              binding("app", "Role/app", group("team-devs"), namespace="team")]  # fmt: skip
    plane.apply([namespace("team", team="team"), service_account("team", "posture"), printed, given, *inside])
    config = json.loads(plane.kubeconfig().read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": plane.token("team", "posture")}
    path = tmp_path_factory.mktemp("team") / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


class TestOneNamespace:
    """posture with a Role of one namespace: what it asks for is answered, everything else is a gap."""

    def test_what_was_asked_for_is_judged(self, kubeconfig: Path, fleet: Fleet) -> None:
        """Exit code 0: what is outside was not asked for. Drift inside is found, with its cause."""
        scan = ("scan", "--kubeconfig", kubeconfig, "-n", "team")
        ran = posture(*scan)
        assert "only what -n names was read: grants of other namespaces and cluster-wide ones are not judged" in ran.out
        assert "gap   " not in ran.out
        posture("baseline", "approve")
        assert "\n0 new, 0 open" in posture(*scan).out
        fleet.one.apply([binding("more", "Role/app", group("guests"), namespace="team")])
        try:
            (found,) = posture(*scan, "-o", "json").json["findings"]
        finally:
            fleet.one.kubectl("-n", "team", "delete", "rolebinding/more")

        assert (found["subject"], found["scope"], found["owner"]) == ("group:guests", "team", "team")

    def test_gaps_say_what_was_not_looked_at(self, kubeconfig: Path) -> None:
        """Cluster kinds, and the other namespaces of the rest: not collected, which is no failure."""
        gaps = posture("scan", "--kubeconfig", kubeconfig, "-n", "team", "-o", "json").json["gaps"]

        assert {gap["reason"] for gap in gaps} == {"not collected"}
        assert "clusterrolebindings.rbac.authorization.k8s.io" in {gap["resource"] for gap in gaps}
        assert ("rolebindings.rbac.authorization.k8s.io", "!team") in {
            (gap["resource"], gap["namespace"]) for gap in gaps
        }

    def test_without_n_the_rest_is_forbidden(self, kubeconfig: Path) -> None:
        """The same token cannot judge the whole cluster: exit code 3."""
        assert "cluster scope" in posture("scan", "--kubeconfig", kubeconfig, code=3).err

    def test_a_baseline_of_one_namespace_is_no_pass_for_the_rest(self, fleet: Fleet) -> None:
        """What -n left out was not agreed to: a later scan of all says so, and a gate stays shut."""
        admin = ("scan", "--kubeconfig", fleet.kubeconfig)
        posture(*admin, "-n", "pay")
        posture("baseline", "approve")
        sentence = "the baseline was approved without clusterrolebindings.rbac.authorization.k8s.io"
        ran = posture(*admin)
        assert sentence in ran.out
        assert " unknown because of gaps" in ran.out
        posture(*admin, "--fail-on", "critical", code=3)
        posture("baseline", "approve")
        assert sentence not in posture(*admin, "--fail-on", "info").out
        posture(*admin, "-n", "pay")
        ran = posture("baseline", "approve", code=3)
        assert "snapshot 5 has 26 gaps" in ran.err

    def test_a_namespace_that_is_not_there(self, kubeconfig: Path) -> None:
        """Or not readable, which looks the same: alone it cannot be judged, beside another it is a gap."""
        assert '"elsewhere"' in posture("scan", "--kubeconfig", kubeconfig, "-n", "elsewhere", code=3).err

        ran = posture("scan", "--kubeconfig", kubeconfig, "-n", "team", "-n", "elsewhere", code=3)
        assert "gap   rolebindings.rbac.authorization.k8s.io in elsewhere: forbidden, " in ran.out


def test_clusters_and_folders_share_a_database(reach: Fleet, world: World) -> None:
    """`--cluster` names either, and each keeps its own history."""
    posture("scan", "--context", TWO)

    assert {one["cluster"] for one in posture("snapshots", "-o", "json").json} == {"small", TWO}
    assert posture("baseline", "show", "--cluster", TWO, "-o", "json").json == []
    assert len(world.subjects("--cluster", "small")) == 4
