"""posture explain path --cut: as people and programs ask it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from tests.commands.running import posture, write
from tests.generator.network import deployment
from tests.generator.objects import Object, account, binding, guarded, role, rule, service_account

PATH = ("explain", "path", "--from", "c")
CUT = (*PATH, "--source", "serviceaccount:pay/web", "--sink", "secrets/pay", "--cut")


def cluster(*subjects: str) -> list[Object]:
    """A namespace in which some ServiceAccounts read Secrets, and services."""
    rules = [rule("list", "secrets"), rule("get,list", "services")]
    bound = binding("read", "Role/read", *(account("pay", name) for name in subjects), namespace="pay")
    return [guarded("pay"), *(service_account("pay", name) for name in subjects), role("read", *rules, namespace="pay"),
            bound]  # fmt: skip


@pytest.fixture
def folder(surroundings: Path) -> Path:
    """A folder with the cluster."""
    write(surroundings / "c" / "a.json", cluster("web"))
    return surroundings


def test_the_edits_are_yaml_and_the_rest_is_comments(folder: Path) -> None:
    """Standard output is what `kubectl apply` takes; comments say what it cuts and breaks, and what else does."""
    lines = posture(*CUT).out.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# ServiceAccount pay/web → secrets/pay is cut by 1 object (checked)",
        "# Take list secrets out of Role pay/read",
        "# what stops with it:",
        "#   ServiceAccount pay/web can no longer list secrets in pay",
        "# or: Delete RoleBinding pay/read",
        "#   ServiceAccount pay/web can no longer list secrets in pay, and 1 more rule",
    ]
    (edited,) = yaml.safe_load_all("\n".join(lines))
    assert (edited["kind"], edited["metadata"]["name"]) == ("Role", "read")
    assert [each["resources"] for each in edited["rules"]] == [["services"]]


def test_what_is_to_be_deleted_is_a_command(surroundings: Path) -> None:
    """A deletion is no YAML: it is told as the command that does it."""
    objects = [*cluster("web"), deployment("pay", "app", {"app": "app"}, serviceAccountName="web")]
    bound = binding("all", "ClusterRole/cluster-admin", account("pay", "web"))
    write(surroundings / "c" / "a.json", [one for one in objects if one["kind"] != "RoleBinding"] + [bound])
    out = posture(*PATH, "--source", "pay/app", "--sink", "cluster-admin", "--cut").out
    comments = [line for line in out.splitlines() if line.startswith("#")]
    deletion = comments.index("# delete: kubectl delete clusterrolebindings.rbac.authorization.k8s.io all")
    others = [number for number, line in enumerate(comments) if line.startswith("# or: ")]
    assert others
    assert deletion < min(others), "the command is below what it does, not below other proposals"


def test_how_a_workload_runs_is_edited_by_a_patch(surroundings: Path) -> None:
    """It is a command too: a workload is never printed, since its environment is not kept."""
    root = {"name": "a", "image": "a", "securityContext": {"privileged": True}, "env": [{"name": "KEY", "value": "x"}]}
    write(surroundings / "c" / "a.json", [guarded("pay"), deployment("pay", "app", {"app": "app"}, containers=[root])])
    asked = (*PATH, "--source", "pay/app", "--sink", "node", "--cut")
    spec = {"containers": [{"name": "a", "securityContext": None}]}
    patch = {"spec": {"template": {"spec": spec}}}

    (line,) = [line for line in posture(*asked).out.splitlines() if line.startswith("# patch: ")]
    *command, text, resource, where, namespace, name = shlex.split(line.removeprefix("# patch: "))
    assert command == ["kubectl", "patch", "--type", "strategic", "--patch"]
    assert (json.loads(text), resource, where, namespace, name) == (patch, "deployments.apps", "-n", "pay", "app")
    (edit,) = posture(*asked, "-o", "json").json["cut"]["fixes"][0]["edits"]
    assert (edit["delete"], edit["manifest"], edit["patch"]) == (False, None, patch)


def test_a_last_resort_is_told_last(surroundings: Path) -> None:
    """Two grants of one's own come before the one of another account; that fewer would do is said."""
    bound = [one for name in ("one", "two") for one in (
        role(name, rule("create", "pods"), namespace="pay"),
        binding(name, f"Role/{name}", account("pay", "web"), namespace="pay"),
    )]  # fmt: skip
    everything = binding("all", "ClusterRole/cluster-admin", account("pay", "job"))
    objects = [*cluster("web", "job"), *bound, everything]
    write(surroundings / "c" / "a.json", objects)
    out = posture(*PATH, "--source", "serviceaccount:pay/web", "--sink", "cluster-admin", "--cut").out
    said = " ".join(line.removeprefix("# ").strip() for line in out.splitlines() if line.startswith("#"))
    assert "is cut by 2 objects (checked): 1 object would do, as a last resort" in said
    assert said.index("Delete RoleBinding pay/one and delete RoleBinding pay/two") < said.index("or: ")
    assert said.index("or: Delete ClusterRoleBinding all ServiceAccount pay/job can no longer") > 0


def test_programs_get_all_of_it(folder: Path) -> None:
    """Each fix with its edits and what it breaks, how few objects may do, and whether all were tried."""
    found = posture(*CUT, "-o", "json").json["cut"]
    assert [fix["text"] for fix in found.pop("fixes")] == ["Take list secrets out of Role pay/read",
                                                           "Delete RoleBinding pay/read"]  # fmt: skip
    assert found == {"source": "serviceaccount:pay/web", "sink": "secrets/pay", "open": True, "atLeast": 1,
                     "exact": True, "complete": True, "reason": "", "doubts": []}  # fmt: skip


def test_where_there_is_no_path_there_is_nothing_to_cut(folder: Path) -> None:
    """It says so, and ends well."""
    out = posture(*PATH, "--source", "serviceaccount:pay/web", "--sink", "node", "--cut").out
    assert "there is nothing to cut" in " ".join(out.replace("#", "").split())


@pytest.mark.parametrize("args", [
    ("--sink", "node"),
    (),
    ("--source", "outside"),
    ("--all",),
    ("--blast", "outside"),
])  # fmt: skip
def test_it_needs_both_ends(folder: Path, args: tuple[str, ...]) -> None:
    """Without a source and a target it is an error of use."""
    assert "--cut needs --source and --sink" in posture(*PATH, *args, "--cut", code=2).err


def test_it_is_no_picture(folder: Path) -> None:
    """Edits cannot be drawn."""
    args = ("--source", "outside", "--sink", "node", "-o", "dot", "--cut")
    assert "--cut is no picture" in posture(*PATH, *args, code=2).err
