"""posture diff as a gate in CI: what A and B may be, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running import API, EVE, READER, WEB, World, agreed, drifted, posture, process, write
from tests.generator.network import network_policy, pod
from tests.generator.objects import Object, binding, group, metadata, namespace, role, rule

GAINED = sorted([API, WEB, EVE, READER])
A = ("agreed.json", "folder", "1", "@2026-10-20T09:00:00Z", "@-20d")
B = ("drifted.json", "2", "@2026-11-17T09:00:00Z", "@-0d")


def loosened(*args: str | Path, code: int = 1) -> list[str]:
    """Whose changes loosen."""
    found = posture("diff", *args, "-o", "json", code=code).json["changes"]
    return sorted(one["subject"] for one in found if one["direction"] == "loosened")


@pytest.mark.parametrize("before", A)
@pytest.mark.parametrize("after", B)
def test_any_two_sources(world: World, before: str, after: str) -> None:
    """Folders, files, snapshots by number, by time and by how long ago: the same difference, whatever they are."""
    for number, one in enumerate(agreed()):
        write(world.folder / "folder" / f"{number}.json", [one])

    assert loosened(before, after) == GAINED


@pytest.mark.parametrize("before", A[:1] + A[2:])
@pytest.mark.parametrize("after", A[:1] + A[2:])
def test_two_names_of_one_state(world: World, before: str, after: str) -> None:
    """No difference, exit code 0."""
    assert posture("diff", before, after).out == "no difference in what is possible\n"


def test_standard_input_is_either_side(world: World) -> None:
    """`-`, as in `kubectl kustomize | posture diff live -`."""
    for args, given, code in ((("-", "drifted.json"), world.agreed, 1), (("agreed.json", "-"), world.agreed, 0)):
        process("diff", *args, input=given.read_text(encoding="utf-8"), code=code)


def test_less_is_no_drift(world: World) -> None:
    """What is no longer possible is shown and fails nothing."""
    ran = posture("diff", "drifted.json", "agreed.json")

    assert ran.out.startswith("tightened: 4 changes\n")
    assert "User eve can no longer do anything in the whole cluster" in ran.out


@pytest.mark.parametrize(("severity", "code"), [("critical", 1), ("high", 1), ("info", 1)])
def test_the_gate_has_a_threshold(world: World, severity: str, code: int) -> None:
    """--fail-on: exit code 1 from this severity on. Without it any loosening fails."""
    posture("diff", "agreed.json", "drifted.json", "--fail-on", severity, code=code)


def test_what_is_below_the_threshold_passes(world: World) -> None:
    """And is shown all the same."""
    more = [role("x", rule("get", "configmaps"), namespace="lab"), binding("x", "Role/x", group("g"), namespace="lab")]
    write(world.folder / "more.json", [*agreed(), *more])

    assert (
        "LOW   Group g can now get configmaps in lab"
        in posture("diff", "agreed.json", "more.json", "--fail-on", "medium").out
    )
    posture("diff", "agreed.json", "more.json", "--fail-on", "low", code=1)
    posture("diff", "agreed.json", "more.json", code=1)


def test_the_order_is_by_severity(world: World) -> None:
    """Gravest first, on the screen."""
    lines = posture("diff", "agreed.json", "drifted.json", code=1).out.splitlines()

    assert lines[0] == "loosened: 4 changes"
    assert [line[2:6] for line in lines[1:]] == ["CRIT", "HIGH", "HIGH", "LOW "]


def test_equal_effect_is_a_note(world: World) -> None:
    """A grant that moved to another object is no change; --notes tells of it."""
    moved = [one for one in agreed() if one["metadata"]["name"] != "config"]
    moved += [role("settings", rule("get", "configmaps"), namespace="pay"),
              binding("settings", "Role/settings", agreed()[4]["subjects"][0], namespace="pay")]  # fmt: skip
    write(world.folder / "moved.json", moved)

    assert posture("diff", "agreed.json", "moved.json").out == "no difference in what is possible\n"
    assert (
        "\nnote    serviceaccount:pay/api in pay: the same as before"
        in posture("diff", "agreed.json", "moved.json", "--notes").out
    )
    assert [one["subject"] for one in posture("diff", "agreed.json", "moved.json", "-o", "json").json["notes"]] == [API]


def test_what_a_gap_hides_is_unknown(world: World) -> None:
    """It neither passes nor fails as drift: exit code 3, with the gap of the side that has it."""
    broken = world.folder / "broken"
    write(broken / "a.json", [one for one in drifted() if one["kind"] != "RoleBinding"])
    (broken / "b.yaml").write_text("kind: RoleBinding\nmetadata: {name\n", encoding="utf-8")
    without = [one for one in drifted() if one["kind"] != "RoleBinding"]
    write(world.folder / "without.json", without)

    ran = posture("diff", "without.json", "broken", code=3)
    assert ran.out == "no difference in what is possible, as far as it could be read\n"
    assert "gap     broken: every kind: failed, broken/b.yaml:3: " in ran.err
    assert {one["source"] for one in posture("diff", "broken", "broken", "-o", "json", code=3).json["gaps"]} == {
        "broken"
    }
    assert loosened("agreed.json", "broken") == [EVE], "what is certain fails, and goes before 3"


def test_checks_and_versions_are_given_as_to_scan(world: World) -> None:
    """--checks raises the severity of what an organisation cares about; --kubernetes-version names the defaults."""
    (world.folder / "checks").mkdir()
    (world.folder / "checks" / "acme.yaml").write_text(json.dumps({
        "id": "acme-tags", "domain": "rbac", "title": "Tags", "can": "read tags in {where}", "severity": "critical",
        "match": {"any": [{"verbs": ["get"], "resources": ["tags"], "apiGroups": ["acme.example"]}]},
        "why": "They are secret.", "remedy": "Ask.",
    }), encoding="utf-8")  # fmt: skip
    ran = posture("diff", "agreed.json", "drifted.json", "--checks", "checks", "--kubernetes-version", "1.34", code=1)

    assert "+ CRIT  ServiceAccount lab/reader can now read tags in lab, through RoleBinding lab/tags" in ran.out


def test_each_change_names_its_cause(world: World) -> None:
    """The objects that changed, as other tools name them."""
    found = posture("diff", "1", "2", "-o", "json", code=1).json["changes"]
    (one,) = (change for change in found if change["subject"] == EVE)

    assert one["causes"] == [
        {"object": {"resource": "clusterrolebindings.rbac.authorization.k8s.io", "kind": "ClusterRoleBinding",
                    "name": "root"}, "what": "created", "actor": "", "time": ""}
    ]  # fmt: skip
    assert (one["through"], one["severity"], one["effective"]) == (
        {"kind": "ClusterRole", "namespace": "", "name": "cluster-admin"}, "critical", True,
    )  # fmt: skip


FLANNEL = {
    "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata("kube-flannel-ds", "kube-flannel"),
    "spec": {"template": {"spec": {"containers": [{"name": "kube-flannel"}]}}},
}  # fmt: skip


def cilium(name: str, app: str) -> Object:
    """A policy of another maker, in pay."""
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata(name, "pay"),
            "spec": {"endpointSelector": {"matchLabels": {"app": app}}}}  # fmt: skip


def test_what_is_unknown_is_named(world: World) -> None:
    """Whose, through what and why; a policy of another maker with what became of it, seen from A to B and once."""
    write(world.folder / "a.json", [namespace("pay"), cilium("changed", "a"), cilium("gone", "a")])
    write(world.folder / "b.json", [namespace("pay"), cilium("changed", "b"), cilium("new", "a")])

    said = posture("diff", "a.json", "b.json").err.splitlines()

    start = said.index("not evaluated: 3 changes")
    assert sorted(said[start + 1 :]) == [
        f"        namespace:pay, through CiliumNetworkPolicy pay/{one}: "
        f"CiliumNetworkPolicy pay/{one} {what}: what it decides is not evaluated"
        for one, what in (("changed", "changed"), ("gone", "is gone"), ("new", "is new"))
    ]


def test_what_a_gap_hides_is_named_up_to_a_limit(world: World) -> None:
    """Twenty lines, and how many more there are."""
    spaces = [namespace(f"n{number:02}") for number in range(25)]
    write(world.folder / "a.json", spaces)
    write(world.folder / "b" / "a.json", spaces)
    (world.folder / "b" / "b.yaml").write_text("kind: NetworkPolicy\nmetadata: {name\n", encoding="utf-8")

    said = posture("diff", "a.json", "b", "--domain", "network", code=3).err.splitlines()

    start = said.index("unknown because of gaps: 25 changes")
    assert said[start + 1].startswith("        namespace:n00: b/b.yaml:")
    assert (len(said[start + 1 :]), said[-1]) == (21, "        and 5 more")


def test_a_gap_of_both_sides_is_said_once(world: World) -> None:
    """Here that the plugin enforces nothing, which fails no gate."""
    for one in "ab":
        write(world.folder / f"{one}.json", [namespace("pay"), FLANNEL])

    ran = posture("diff", "a.json", "b.json")

    (gap,) = (line for line in ran.err.splitlines() if line.startswith("gap"))
    assert gap.startswith("gap     a.json and b.json: networkpolicies.networking.k8s.io: not modelled, flannel ")
    assert ran.out == "no difference in what is possible\n"


def test_roles_are_assumed_only_where_they_are_asked_for(world: World) -> None:
    """Connections need none."""
    assert "assumed in agreed.json: " in posture("diff", "agreed.json", "agreed.json").err
    assert "assumed" not in posture("diff", "agreed.json", "agreed.json", "--domain", "network").err


def test_a_fix_that_takes_a_label_off_can_be_read_again(world: World) -> None:
    """A label or annotation that is null is absent, as once `kubectl apply` has sent it; any other value is refused."""
    labels: dict[str, Any] = {"env": "prod", "team": None}
    of = {"name": "pay", "labels": labels, "annotations": {"a": None}}
    taken = {"apiVersion": "v1", "kind": "Namespace", "metadata": of}
    write(world.folder / "a.json", [namespace("pay", env="prod")])
    write(world.folder / "b.json", [taken])

    ran = posture("diff", "a.json", "b.json")
    assert ran.out == "no difference in what is possible\n"
    assert "gap" not in ran.err
    labels["team"] = 5
    write(world.folder / "c.json", [taken])
    assert "metadata.labels is not a map of strings" in posture("diff", "a.json", "c.json", code=3).err


def test_the_whole_internet_leads_before_one_address_of_it(world: World) -> None:
    """Azure's WireServer is in it too, on any cloud: that is told, and is not the headline."""
    for name, cidr in (("a", "203.0.113.0/24"), ("b", "0.0.0.0/0")):
        out = {"to": [{"ipBlock": {"cidr": cidr, "except": ["169.254.0.0/16"] if name == "b" else []}}],
               "ports": [{"port": 80}]}  # fmt: skip
        policy = network_policy("pay", "out", podSelector={}, policyTypes=["Egress"], egress=[out])
        write(world.folder / f"{name}.json", [namespace("pay"), pod("pay", "api", {"app": "api"}), policy])

    (found,) = posture("diff", "a.json", "b.json", "-o", "json", code=1).json["changes"]

    checks = found["checks"]
    assert checks.index("network-world-egress") < checks.index("network-azure-wireserver")
    assert checks[0] == "network-world-egress"
