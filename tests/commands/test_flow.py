"""posture explain flow: as people and programs ask it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands.flows import API, DB, FLOW, FRONT, cluster, selecting, table, to_db
from tests.commands.running import posture, process, write
from tests.generator.network import cluster_policy, network_policy, pod
from tests.generator.objects import Object, metadata, namespace


@pytest.fixture(autouse=True)
def setting(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that says what blocks match: the addresses of no pod."""
    monkeypatch.setenv("POSTURE_CONFIG", "config.yaml")
    path = surroundings / "config.yaml"
    path.write_text("podsByIp: 'no'\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(surroundings: Path) -> Path:
    """A folder with the cluster, in which the database is reached by the api and by one office."""
    office = {"ipBlock": {"cidr": "203.0.113.0/24"}}
    write(surroundings / "c" / "a.json", cluster(to_db({"podSelector": selecting(API)}, office)))
    return surroundings


def ask(*args: str, code: int = 0) -> Any:
    """One question to the folder; the answer as JSON."""
    return posture(*FLOW, *args, "--from", "c", "-o", "json", code=code).json


# One question -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "allowed"), [
    ("pay/api pay/db TCP/5432", True),
    ("pay/api pay/db 5432", True),
    ("pay/api pay/db tcp/5432", True),
    ("pay/api pay/db UDP/5432", False),
    ("pay/api pay/db 5433", False),
    ("web/front pay/db 5432", False),
    ("10.244.0.1 10.244.0.2 5432", True),
    ("10.244.1.1 10.244.0.2 5432", False),
    ("203.0.113.7 pay/db 5432", True),
    ("198.51.100.7 pay/db 5432", False),
    ("pay/db 198.51.100.7 443", True),
    ("pay/worker pay/db 5432", False),
    ("workload:pay/worker[Deployment] pay/api 80", True),
    ("workload:pay/api[Pod] workload:pay/db[Pod] 5432", True),
    ("pay/db pay/db 80", True),
    ("pay/db 10.244.0.2 80", True),
    ("pay/old pay/db 5432", False),
])  # fmt: skip
def test_what_is_asked(folder: Path, question: str, allowed: bool) -> None:
    """Pods, workloads by both names, addresses of pods and of nobody, ports with and without their protocol."""
    assert ask(*question.split())["allowed"] is allowed


def test_what_decides_is_named(folder: Path) -> None:
    """Each end, in order: the policy, the rule and what it does; that nothing isolates it; that nothing allows it."""
    egress = {
        "direction": "egress",
        "tier": "default",
        "action": "accept",
        "reason": "no policy isolates it for egress",
    }
    mine = {"direction": "ingress", "tier": "NetworkPolicy", "policy": "NetworkPolicy pay/db"}

    assert ask("pay/api", "pay/db", "5432") == {"allowed": True, "by": [egress, mine | {"rule": 0, "action": "accept"}]}
    refused = mine | {"action": "deny", "reason": "it isolates the pod, and no rule allows this"}
    assert ask("web/front", "pay/db", "5432") == {"allowed": False, "by": [egress, refused]}
    assert posture(*FLOW, "pay/api", "pay/db", "5432", "--from", "c").out == (
        "allowed: pay/api → pay/db on TCP 5432\n"
        "  egress   no policy isolates it for egress\n"
        "  ingress  NetworkPolicy pay/db, rule 0: accept\n"
    )


def test_tiers_are_named_in_order(folder: Path) -> None:
    """What an Admin policy passes on is decided below it; what it denies is not."""
    subject = {"pods": {"namespaceSelector": {}, "podSelector": selecting(DB)}}
    peers = [[{"pods": {"namespaceSelector": {}, "podSelector": selecting(one)}}] for one in (API, FRONT)]
    rules = [{"action": "Pass", "from": peers[0]}, {"action": "Deny", "from": peers[1]}]
    write(folder / "c" / "b.json", [cluster_policy("guard", "Admin", 1, subject, ingress=rules)])

    def ingress(source: str) -> list[tuple[str, int | None, str]]:
        steps = ask(source, "pay/db", "5432")["by"]
        return [(one["tier"], one.get("rule"), one["action"]) for one in steps if one["direction"] == "ingress"]

    assert ingress("pay/api") == [("Admin", 0, "pass"), ("NetworkPolicy", 0, "accept")]
    assert ingress("web/front") == [("Admin", 1, "deny")]


@pytest.mark.parametrize("end", ["pay/api 10.96.0.7", "10.96.0.7 pay/db"])
def test_a_service_is_no_pod(folder: Path, end: str) -> None:
    """What its address leads to is decided before policies are asked: unknown, and whom to ask for."""
    said = ask(*end.split(), "5432", code=3)

    assert said["allowed"] is None
    assert said["why"] == "10.96.0.7 is the address of Service pay/db, not of a pod: ask for its pods"


def test_what_is_not_modelled_is_unknown(folder: Path) -> None:
    """A policy of another maker that may select the pod, by name."""
    spec = {"endpointSelector": selecting(DB), "ingress": [{}]}
    cilium = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": metadata("c", "pay"),
        "spec": spec,
    }
    write(folder / "c" / "b.json", [cilium])
    said = ask("pay/api", "pay/db", "5432", code=3)

    assert (said["allowed"], said["why"]) == (None, "it is not modelled")
    (step,) = (one for one in said["by"] if one["direction"] == "ingress")
    assert step == {"direction": "ingress", "policy": "CiliumNetworkPolicy pay/c", "action": "unknown",
                    "reason": "it is not modelled", "sure": False}  # fmt: skip
    assert ask("web/front", "pay/api", "80")["allowed"] is True


def test_what_was_not_read_is_unknown(folder: Path) -> None:
    """A policy that cannot be read may forbid it, or allow it; what the other end refuses is refused all the same."""
    broken = network_policy("pay", "broken", podSelector={}, policyTypes=["Ingress"], ingress=[{"from": [{}]}])
    broken["spec"]["ingress"] = "all"
    write(folder / "c" / "b.json", [broken, network_policy("web", "shut", podSelector={}, policyTypes=["Egress"])])
    said = ask("pay/worker", "pay/api", "80", code=3)

    assert said["allowed"] is None
    assert said["why"]
    assert ask("web/front", "pay/api", "80")["allowed"] is False


@pytest.mark.parametrize(("said", "allowed"), [("yes", True), ("no", False), ("unknown", None), ("detect", None)])
def test_whether_blocks_match_pods_is_a_setting(folder: Path, setting: Path, said: str, allowed: bool | None) -> None:
    """podsByIp of the configuration; where nobody says, what depends on it is unknown, and why is said."""
    setting.write_text(f"podsByIp: '{said}'\n", encoding="utf-8")
    write(folder / "c" / "a.json", cluster(to_db({"ipBlock": {"cidr": "10.244.0.0/16"}})))
    answer = ask("pay/api", "pay/db", "5432", code=0 if allowed is not None else 3)

    assert answer["allowed"] is allowed
    assert ("podsByIp" in answer.get("why", "")) is (allowed is None)


@pytest.mark.parametrize(("args", "what"), [
    (("pay/none", "pay/db", "80"), "there is no pod pay/none, and no workload of that name"),
    (("pay/api", "x", "80"), "'x' does not appear to be an IPv4 or IPv6 address"),
    (("pay/api", "pay/db", "ICMP/1"), "protocol ICMP is none of TCP, UDP, SCTP"),
    (("pay/api", "pay/db", "0"), "0 to 0 are no ports"),
    (("pay/api", "pay/db", "http"), "http is no port"),
    (("pay/api", "pay/db"), "SOURCE, DESTINATION and PORT are needed"),
    (("pay/api", "pay/db", "80", "--all"), "--all and --exposed are questions of their own"),
    (("--all", "--exposed"), "--all and --exposed are questions of their own"),
    (("pay/api", "pay/db", "80", "-n", "pay"), "-n is for --all and --exposed"),
    (("pay/api", "pay/db", "80", "-o", "csv"), "-o csv is for --all"),
    (("--batch", "-", "--why"), "--batch brings its own questions"),
])  # fmt: skip
def test_what_is_no_question(folder: Path, args: tuple[str, ...], what: str) -> None:
    """One sentence, and exit code 2."""
    assert posture(*FLOW, *args, "--from", "c", code=2).err.splitlines()[-2].startswith(f"error: {what}")


# What would close it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "policies", "text", "stops"), [
    ("pay/api pay/db 5432", [to_db({"podSelector": selecting(API)}, {"podSelector": selecting(FRONT)})],
     "Take TCP 5432 out of NetworkPolicy pay/db", 0),
    ("203.0.113.7 pay/db 5432", [to_db({"ipBlock": {"cidr": "203.0.113.0/24"}})],
     "Take 203.0.113.7/32 out of NetworkPolicy pay/db", 0),
    ("web/front pay/db 5432", [to_db({"namespaceSelector": {}})], "Take TCP 5432 out of NetworkPolicy pay/db", 3),
    ("web/front pay/api 80", [to_db({"podSelector": selecting(API)})],
     "Add NetworkPolicy web/front-egress-without-tcp-80", 3),
    ("pay/api pay/db 5432", [to_db({"podSelector": {}}), to_db({"podSelector": selecting(API)}, name="more")],
     "Take TCP 5432 out of NetworkPolicy pay/db, NetworkPolicy pay/more", 2),
])  # fmt: skip
def test_the_tightest_edit(folder: Path, question: str, policies: list[Object], text: str, stops: int) -> None:
    """It closes the flow when it is applied, and what stops with it is what differs then."""
    write(folder / "c" / "a.json", cluster(*policies))
    edit = ask(*question.split(), "--why")["edit"]
    assert edit["text"].startswith(text)
    assert len(edit["stops"]) == stops
    manifests = [one["manifest"] for one in edit["edits"]]
    names = {one["metadata"]["name"] for one in manifests}
    kept = [one for one in cluster(*policies) if one["kind"] != "NetworkPolicy" or one["metadata"]["name"] not in names]
    write(folder / "closed.json", [*kept, *manifests])

    after = posture(*FLOW, *question.split(), "--from", "closed.json", "-o", "json").json
    assert after["allowed"] is False
    rows = posture("diff", "c", "closed.json", "--domain", "network", "-o", "csv").out.splitlines()[1:]
    assert len(rows) in (stops, stops + 1)  # and the flow itself


def test_why_is_yaml_with_its_reasons_above(folder: Path) -> None:
    """As `findings show --fix`: what kubectl apply takes, and all else in comments."""
    ran = posture(*FLOW, "pay/api", "pay/db", "5432", "--why", "--from", "c")
    comments = [line for line in ran.out.splitlines() if line.startswith("#")]

    assert comments[0] == "# allowed: pay/api → pay/db on TCP 5432"
    assert "#   ingress  NetworkPolicy pay/db, rule 0: accept" in comments
    assert "# closed by: Take TCP 5432 out of NetworkPolicy pay/db (checked)" in comments
    (made,) = yaml.safe_load_all(ran.out)
    assert made["spec"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "203.0.113.0/24"}}]


# In bulk ------------------------------------------------------------------------------------------------------------


def test_one_line_in_one_line_out_in_order(folder: Path) -> None:
    """true, false and null, each with what decides."""
    asked = [
        {"source": "pay/api", "destination": "pay/db", "protocol": "TCP", "port": 5432},
        {"source": "web/front", "destination": "pay/db", "port": 5432},
        {"source": "web/front", "destination": "10.96.0.7", "protocol": "UDP", "port": 53},
    ]
    (folder / "q").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    answers = [json.loads(line) for line in posture(*FLOW, "--batch", "q", "--from", "c").out.splitlines()]

    assert [one["allowed"] for one in answers] == [True, False, None]
    assert all(set(one) <= {"allowed", "by", "why"} for one in answers)
    assert process(*FLOW, "--batch", "-", "--from", "c", input=json.dumps(asked[0])).json == answers[0]


@pytest.mark.parametrize(("line", "what"), [
    ('{"source": "pay/api"', "no JSON"), ("[]", "not a JSON object"),
    ({"source": "pay/api", "port": 1}, "destination is missing"), ({"sorce": "x"}, "sorce is no key"),
    ({"source": "pay/api", "destination": "pay/db"}, "port is missing"),
    ({"source": "pay/api", "destination": "pay/db", "port": "80"}, "port is missing, or no number"),
    ({"source": "pay/api", "destination": "pay/none", "port": 80}, "there is no pod pay/none"),
    ({"source": "pay/api", "destination": "pay/db", "port": 80, "protocol": 6}, "protocol is no text"),
])  # fmt: skip
def test_a_line_that_is_no_question_ends_it(folder: Path, line: Any, what: str) -> None:
    """With its number; what was answered before it stands."""
    good = {"source": "pay/api", "destination": "pay/db", "port": 5432}
    text = line if isinstance(line, str) else json.dumps(line)
    (folder / "q").write_text(f"{json.dumps(good)}\n{text}\n", encoding="utf-8")
    ran = posture(*FLOW, "--batch", "q", "--from", "c", code=2)

    assert f"error: line 2: {what}" in ran.err
    assert len(ran.out.splitlines()) == 1


# All of them --------------------------------------------------------------------------------------------------------


def test_every_pair_that_may_talk(folder: Path) -> None:
    """Workloads, and addresses outside as the fewest CIDRs; a pair that may not is not there."""
    rows = table(*FLOW, "--all", "-o", "csv", "--from", "c")
    into_db = [row for row in rows if row[1] == "workload:pay/db[Pod]"]

    assert posture(*FLOW, "--all", "-o", "csv", "--from", "c").out.startswith("src,dst,conn\r\n")
    assert into_db == [
        ["workload:pay/api[Pod]", "workload:pay/db[Pod]", "TCP 5432"],
        ["external:203.0.113.0/24", "workload:pay/db[Pod]", "TCP 5432"],
    ]
    assert ["workload:pay/db[Pod]", "external:0.0.0.0/0", "every port"] in rows
    assert len({tuple(row[:2]) for row in rows}) == len(rows)
    lines = posture(*FLOW, "--all", "-o", "json", "--from", "c").out.splitlines()
    assert [[*json.loads(line).values()] for line in lines] == rows


def test_a_namespace_of_them(folder: Path) -> None:
    """-n: the rows with an end there, and no other."""
    every, web = (table(*FLOW, "--all", "-o", "csv", "--from", "c", *more) for more in ((), ("-n", "web")))

    assert sorted(web) == sorted(row for row in every if any(end.startswith("workload:web/") for end in row[:2]))


def test_what_is_unknown_has_a_mark(folder: Path, setting: Path) -> None:
    """Behind what is known: the database's pod may be reached on more than is sure."""
    setting.write_text("podsByIp: unknown\n", encoding="utf-8")
    more = to_db({"ipBlock": {"cidr": "10.244.0.0/24"}}, number=22, name="more")
    write(folder / "c" / "a.json", cluster(to_db({"podSelector": selecting(API)}), more))
    rows = {row[0]: row[2] for row in table(*FLOW, "--all", "-o", "csv", "--from", "c") if "pay/db" in row[1]}

    assert rows["workload:pay/api[Pod]"] == "TCP 5432, unknown: TCP 22"
    assert "workload:web/front[Pod]" not in rows


def test_what_was_not_read_hides_pairs(folder: Path) -> None:
    """Where policies could not be read, every pair is unknown that the other end does not refuse, and exit code 3."""
    broken = network_policy("pay", "broken", podSelector={}, policyTypes=["Ingress"], ingress="all")
    write(folder / "c" / "b.json", [broken, network_policy("web", "shut", podSelector={}, policyTypes=["Egress"])])
    rows = {(row[0], row[1]): row[2] for row in table(*FLOW, "--all", "-o", "csv", "--from", "c", code=3)}

    api, db, front = (f"workload:{one}[Pod]" for one in ("pay/api", "pay/db", "web/front"))
    assert rows[api, db] == "unknown: every port"
    assert (front, db) not in rows
    assert "networkpolicies" in posture(*FLOW, "--all", "--from", "c", code=3).err


def test_all_of_them_are_what_is_asked_one_by_one(folder: Path) -> None:
    """Each row on its ports, and the pairs that are not there."""
    rows = {(row[0], row[1]): row[2] for row in table(*FLOW, "--all", "-o", "csv", "--from", "c")}
    names = [f"workload:{one}" for one in ("pay/api[Pod]", "pay/db[Pod]", "web/front[Pod]", "pay/worker[Deployment]")]
    pairs = [(one, other) for one in names for other in names]
    asked = [json.dumps({"source": one, "destination": other, "port": 5432}) for one, other in pairs]
    (folder / "q").write_text("\n".join(asked), encoding="utf-8")
    answers = [json.loads(line)["allowed"] for line in posture(*FLOW, "--batch", "q", "--from", "c").out.splitlines()]

    assert dict(zip(pairs, answers, strict=True)) == {pair: pair in rows for pair in pairs}


def test_the_ways_in(folder: Path) -> None:
    """What is open from outside, where it leads and from which addresses ingress lets that in."""
    (found,) = posture(*FLOW, "--exposed", "--from", "c", "-o", "json").json

    assert (found["by"], found["how"], found["at"]) == ("Service pay/db", "NodePort", ["every node:30001"])
    assert (found["workload"], found["ports"]) == ("workload:pay/db[Pod]", "TCP 5432")
    assert (found["addresses"], found["unknown"]) == (["203.0.113.0/24"], [])
    assert posture(*FLOW, "--exposed", "-n", "web", "--from", "c", "-o", "json").json == []


def test_no_ways_in_where_none_could_be_seen(surroundings: Path) -> None:
    """Without a Service, an Ingress or a Gateway nobody can say that nothing is open."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata("db", "pay"),
               "spec": {"ports": [{"port": 5432}]}}  # fmt: skip
    write(surroundings / "none.json", [namespace("pay")])
    write(surroundings / "inside.json", [namespace("pay"), service])

    said = posture(*FLOW, "--exposed", "--from", "none.json")
    assert "no Service, Ingress or Gateway was read: what is open from outside is not known" in said.out + said.err
    said = posture(*FLOW, "--exposed", "--from", "inside.json")
    assert "nothing is open from outside" in said.out + said.err


def test_what_is_assumed_of_roles_is_of_no_matter(folder: Path) -> None:
    """It decides no connection."""
    assert "assumed" not in posture(*FLOW, "pay/api", "pay/db", "5432", "--from", "c").err
    assert "assumed" not in posture(*FLOW, "--all", "--from", "c").err


def test_that_nothing_enforces_policies_is_said(surroundings: Path) -> None:
    """Beside the answer, which holds only where something does."""
    flannel = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata("kube-flannel-ds", "kube-flannel"),
               "spec": {"template": {"spec": {"containers": [{"name": "kube-flannel"}]}}}}  # fmt: skip
    write(surroundings / "c.json", [*cluster(to_db({"podSelector": selecting(API)})), flannel])

    ran = posture(*FLOW, "web/front", "pay/db", "5432", "--from", "c.json")
    assert ran.out.startswith("denied")
    assert "flannel enforces no NetworkPolicy" in ran.err


def test_hostile_names_are_text(surroundings: Path) -> None:
    """No cell of CSV is a formula, and nothing reaches the terminal that it would obey."""
    bad = "=cmd\u202e\x1b[31m"
    write(surroundings / "c.json", [namespace(bad), pod(bad, "-x", {"a": "b"}), pod(bad, "y", {"a": "b"})])
    outs = [posture(*FLOW, "--all", "-o", form, "--from", "c.json").out for form in ("csv", "table", "json")]
    outs.append(posture(*FLOW, f"{bad}/y", f"{bad}/-x", "80", "--why", "--from", "c.json").out)

    assert not any("\x1b" in out or "\u202e" in out for out in outs)
