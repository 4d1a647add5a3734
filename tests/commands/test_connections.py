"""What connections differ in: posture diff of the network domain, and the balance since the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.commands.flows import API, FLOW, FRONT, cluster, deployment, selecting, table, to_db
from tests.commands.running import APPROVED, posture, write
from tests.generator.network import network_policy
from tests.generator.objects import Object, namespace


@pytest.fixture(autouse=True)
def setting(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that says what blocks match: the addresses of no pod."""
    monkeypatch.setenv("POSTURE_CONFIG", "config.yaml")
    path = surroundings / "config.yaml"
    path.write_text("podsByIp: 'no'\n", encoding="utf-8")
    return path


# Two states ---------------------------------------------------------------------------------------------------------


def states(folder: Path, before: Iterable[Object], after: Iterable[Object]) -> None:
    """Two folders."""
    write(folder / "before.json", cluster(*before))
    write(folder / "after.json", cluster(*after))


def test_a_row_for_each_pair_that_differs(surroundings: Path) -> None:
    """Added, changed and removed, for workloads and for ranges of addresses, with what was and what is."""
    api, office = {"podSelector": selecting(API)}, {"ipBlock": {"cidr": "203.0.113.0/24"}}
    half = {"ipBlock": {"cidr": "203.0.113.0/25"}}
    front = {"namespaceSelector": {}, "podSelector": selecting(FRONT)}
    states(surroundings, [to_db(api, office)], [to_db(front, half), to_db(half, number=22, name="more")])
    rows = table("diff", "before.json", "after.json", "--domain", "network", "-o", "csv", code=1)

    db = "workload:pay/db[Pod]"
    assert rows == [
        ["removed", "workload:pay/api[Pod]", db, "TCP 5432", ""],
        ["added", "workload:web/front[Pod]", db, "", "TCP 5432"],
        ["changed", "external:203.0.113.0/25", db, "TCP 5432", "TCP 22,5432"],
        ["removed", "external:203.0.113.128/25", db, "TCP 5432", ""],
    ]


def test_equal_meaning_is_no_row(surroundings: Path) -> None:
    """A policy split in two, a block split in two."""
    halves = [{"ipBlock": {"cidr": f"203.0.113.{at}/25"}} for at in (0, 128)]
    api = {"podSelector": selecting(API)}
    states(surroundings, [to_db(api, {"ipBlock": {"cidr": "203.0.113.0/24"}})],
           [to_db(api, name="one"), to_db(*halves, name="two")])  # fmt: skip

    assert table("diff", "before.json", "after.json", "--domain", "network", "-o", "csv") == []


def test_csv_is_of_connections(surroundings: Path) -> None:
    """Without --domain network: one sentence, exit code 2."""
    states(surroundings, [], [])
    for more in ((), ("--domain", "rbac")):
        err = posture("diff", "before.json", "after.json", "-o", "csv", *more, code=2).err
        assert err.startswith("error: -o csv holds pairs that may talk\nhint: add --domain network")


def test_changes_that_read_alike_are_one_line(surroundings: Path) -> None:
    """However many workloads and namespaces: source group → destination group: ports, with their numbers."""
    spaces = [f"ns{number}" for number in range(8)]
    made = [one for name in spaces for one in (
        namespace(name), *(deployment(name, f"w{number}", {"app": f"w{number}"}) for number in range(5)),
    )]  # fmt: skip
    deny = [network_policy(name, "deny", podSelector={}, policyTypes=["Ingress"]) for name in spaces]
    write(surroundings / "before.json", [*made, *deny])
    write(surroundings / "after.json", made)
    lines = posture("diff", "before.json", "after.json", "--domain", "network", code=1).out.splitlines()

    assert lines[0] == "loosened: 40 changes"
    assert len(lines) == 2
    assert "anyone, anywhere → 40 workloads of 8 namespaces (ns0, ns1, ns2 and 5 more): every port" in lines[1]
    assert "(+40 workloads and the whole Internet); nothing was closed in return" in lines[1]
    assert lines[1].endswith("through the default: no policy isolates them for ingress")


# Since the baseline -------------------------------------------------------------------------------------------------


@pytest.fixture
def scanned(surroundings: Path) -> Path:
    """A database in which the database of pay was opened to an office since the baseline."""
    api, office = {"podSelector": selecting(API)}, {"ipBlock": {"cidr": "203.0.113.0/24"}}
    states(surroundings, [to_db(api)], [to_db(api, office)])
    posture("scan", "--from", "before.json", "--at", APPROVED, "--cluster", "small")
    posture("baseline", "approve", "--by", "ann", "--reason", "fine", "--at", APPROVED)
    posture("scan", "--from", "after.json", "--cluster", "small")
    return surroundings


def test_the_report_has_the_balance(scanned: Path) -> None:
    """Per namespace: what was opened, what of it counts, and what was closed; the same bytes each time."""
    report = posture("report")

    assert report.json["balance"] == [
        {"cluster": "small", "namespace": "pay", "opened": 1, "effective": 1, "closed": 0, "verdict": "loosened",
         "workloads": ["workload:pay/db[Pod]"]},
    ]  # fmt: skip
    assert posture("report").out == report.out
    assert (
        "- pay: loosened, 1 opening (1 in effect with nothing closed in return), 0 closings"
        in posture("report", "-o", "markdown").out
    )


def test_without_a_baseline_there_is_no_balance(surroundings: Path) -> None:
    """Nobody agreed to anything: the report says nothing of it."""
    states(surroundings, [], [])
    posture("scan", "--from", "before.json", "--cluster", "small")

    assert "balance" not in posture("report").json


def test_an_answer_from_the_store_says_the_balance(scanned: Path) -> None:
    """One line for each namespace concerned."""
    ask = (*FLOW, "203.0.113.7", "pay/db", "5432", "--snapshot")
    lines = posture(*ask, "latest").out.splitlines()

    assert lines[0] == "allowed: 203.0.113.7 → pay/db on TCP 5432"
    opened = "loosened: 1 opening (1 in effect with nothing closed in return), 0 closings"
    assert lines[-1] == f"balance of pay since 2026-10-20: {opened}"
    assert posture(*ask, "1").out.splitlines()[-1] == "balance of pay since 2026-10-20: unchanged"
    web = posture(*FLOW, "web/front", "pay/api", "80", "--snapshot", "latest").out.splitlines()
    assert web[-2:] == [lines[-1], "balance of web since 2026-10-20: unchanged"]
