"""What people decide: what a decision covers, how long, who is told no, and that no scan loses one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import posture.scan
from posture import actions
from posture.errors import UsageError
from posture.model import Action
from posture.pipeline import judge
from posture.store import findings, open_store, snapshots, upkeep
from posture.store.decisions import Deed
from posture.text import format_time
from tests.drift.world import BINDINGS, World, agreed_world, grant, kinds
from tests.generator.objects import Object, account, binding, namespace, role, rule, service_account

NARROW, WIDE = grant(verbs="get"), grant(verbs="get,list,delete")
COVERING: tuple[Action, ...] = ("acknowledged", "accepted", "false positive")


def drifted() -> World:
    """A world with one open finding."""
    world = agreed_world()
    world.scan(NARROW)
    return world


def admin(name: str) -> list[Object]:
    """A ServiceAccount of `pay` may do everything."""
    return [
        role("cluster-admin", rule("*", "*", "*")),
        binding(name, "ClusterRole/cluster-admin", account("pay", name)),
    ]


class TestWhatADecisionCovers:
    @pytest.mark.parametrize("action", COVERING)
    def test_exactly_what_was_recorded(self, action: Action) -> None:
        """It stands while nothing more was gained; more comes back as widened and open; less again is covered."""
        world = drifted()
        world.decide(action)
        assert (world.statuses, world.one.mark) == ({"debug": action}, "")
        assert kinds(world.scan(NARROW)) == []
        assert kinds(world.scan(WIDE)) == ["widened"]
        assert (world.statuses, world.one.mark, world.one.exceeded) == ({"debug": "open"}, "widened", True)
        world.scan(NARROW)
        assert (world.statuses, world.one.exceeded) == ({"debug": action}, False)

    @pytest.mark.parametrize("action", COVERING)
    def test_what_it_makes_possible_with_others_is_more(self, action: Action) -> None:
        """Making pods was decided about; that it leads to cluster-admin by now was not, until somebody says so."""
        pods, boss = grant(verbs="create", resources="pods"), [service_account("pay", "boss"), *admin("boss")]
        world = agreed_world()
        world.scan(pods)
        world.decide(action)
        assert kinds(world.scan(pods, boss)) == ["opened", "widened"]
        assert world.statuses == {"debug": "open", "cluster-admin": "open"}
        world.decide(action)
        assert kinds(world.scan(pods, boss)) == []
        assert world.statuses == {"debug": action, "cluster-admin": action}

    @pytest.mark.parametrize("action", COVERING)
    def test_deciding_again_covers_what_there_is_by_now(self, action: Action) -> None:
        """The last word counts, for all that it was said about."""
        world = drifted()
        world.decide(action)
        world.scan(WIDE)
        world.decide("acknowledged")
        assert (world.statuses, world.one.mark) == ({"debug": "acknowledged"}, "")
        assert kinds(world.scan(WIDE)) == []

    def test_what_was_resolved_and_returns_is_still_covered(self) -> None:
        """Within its time and its measure an acceptance holds for what comes back, which is marked as regressed."""
        world = drifted()
        world.decide("accepted", days=10)
        world.scan()
        assert kinds(world.scan(NARROW)) == ["regressed"]
        assert (world.statuses, world.one.mark) == ({"debug": "accepted"}, "regressed")
        world.scan()
        assert kinds(world.scan(WIDE)) == ["regressed"]
        assert world.statuses == {"debug": "open"}

    def test_reopening_takes_a_decision_back(self) -> None:
        """Open again, and the journal says who."""
        world = drifted()
        world.decide("false positive")
        world.decide("reopened")
        assert world.statuses == {"debug": "open"}
        world.scan(NARROW)
        assert world.statuses == {"debug": "open"}
        assert world.history(world.one) == ["opened", "false positive", "reopened"]


class TestExpiry:
    @pytest.mark.parametrize("again", [NARROW, [*NARROW, namespace("more")]], ids=["nothing changed", "evaluated"])
    def test_an_acceptance_ends_at_its_time(self, again: list[Any]) -> None:
        """Open from then on; said once, by the first scan after it, whether anything is evaluated or not."""
        world = drifted()
        world.decide("accepted", days=2)
        assert kinds(world.scan(NARROW)) == []
        assert world.statuses == {"debug": "accepted"}
        assert kinds(world.scan(again)) == ["expired"]
        assert world.statuses == {"debug": "open"}
        assert kinds(world.scan(again)) == []

    def test_it_ends_while_it_is_unknown(self) -> None:
        """A gap does not stop the clock."""
        world = drifted()
        world.decide("accepted", days=2)
        assert kinds(world.scan(NARROW, gaps=[BINDINGS])) == ["unknown"]
        assert kinds(world.scan(NARROW, gaps=[BINDINGS])) == ["expired"]
        assert kinds(world.scan(NARROW)) == ["known"]
        assert world.statuses == {"debug": "open"}

    def test_what_is_open_already_does_not_expire(self) -> None:
        """More than was accepted is open since it was found."""
        world = drifted()
        world.decide("accepted", days=2)
        world.scan(WIDE)
        assert kinds(world.scan(WIDE)) == []

    def test_what_is_resolved_does_not_expire(self) -> None:
        """There is nothing to accept any more; when it returns after the end it is open."""
        world = drifted()
        world.decide("accepted", days=2)
        world.scan()
        assert kinds(world.scan()) == []
        assert kinds(world.scan(NARROW)) == ["regressed"]
        assert world.statuses == {"debug": "open"}


class TestAssigning:
    def test_an_assignee_outlives_rules_and_scans(self, tmp_path: Path) -> None:
        """No rule overrides what a person said, and resolving does not either."""
        world = drifted()
        world.decide("assigned", assignee="blue")
        (owners := tmp_path / "owners.yaml").write_text(
            "rules: [{owner: sre, match: {domain: rbac}}]", encoding="utf-8"
        )
        world.scan(NARROW, owners=owners)
        assert (world.one.whose, world.one.owner.name) == ("blue", "sre")
        world.scan(owners=None)
        world.scan(NARROW)
        assert world.one.whose == "blue"
        assert [row.whose for row in findings.rows(world.store, "f.owner = 'blue'")] == ["blue"]

    def test_it_is_no_decision_about_the_finding(self) -> None:
        """An accepted finding that is assigned stays accepted, an open one open."""
        world = drifted()
        world.decide("assigned", assignee="blue")
        assert (world.statuses, world.one.mark) == ({"debug": "open"}, "new")
        world.decide("accepted")
        world.decide("assigned", assignee="green")
        assert (world.statuses, world.one.whose) == ({"debug": "accepted"}, "green")


class TestGroups:
    def world(self) -> World:
        """Two findings of one group, in two namespaces, and one of another group."""
        world = agreed_world(grant("agreed", subject="old"))
        world.scan(grant("agreed", subject="old"), in_web("debug"), grant("debug"), grant("other"))
        return world

    def test_a_group_is_its_findings_in_any_namespace(self) -> None:
        """One decision about the group is one about each."""
        world = self.world()
        groups = {finding.group for finding in world.findings()}
        assert len(groups) == 2
        debug = next(finding.group for finding in world.findings() if finding.through.name == "debug")
        assert len(actions.find(world.store, [debug])) == 2
        world.decide("accepted", debug[:6])
        assert sorted((f.through.name, f.status(world.now)) for f in world.findings()) == [
            ("debug", "accepted"), ("debug", "accepted"), ("other", "open"),
        ]  # fmt: skip

    def test_a_later_member_is_new_and_open(self) -> None:
        """A decision covers who was there, not who comes."""
        world = agreed_world()
        world.scan(grant("debug"))
        world.decide("accepted", world.one.group)
        world.scan(grant("debug"), in_web("debug"))
        assert sorted((f.scope, f.status(world.now), f.mark) for f in world.findings()) == [
            ("pay", "accepted", ""), ("web", "open", "new"),
        ]  # fmt: skip

    def test_resolved_members_are_left_alone(self) -> None:
        """Nobody decides about what is gone by deciding about the rest."""
        world = self.world()
        world.scan(grant("agreed", subject="old"), in_web("debug"))
        group = next(finding.group for finding in world.findings() if finding.through.name == "debug")
        world.decide("accepted", group)
        assert sorted((f.scope, f.through.name, f.status(world.now)) for f in world.findings()) == [
            ("pay", "debug", "resolved"), ("pay", "other", "resolved"), ("web", "debug", "accepted"),
        ]  # fmt: skip

    def test_agreed_members_stay_agreed(self) -> None:
        """What is part of the baseline is not touched by a decision about what came after."""
        world = World()
        world.scan(grant("debug"))
        world.approve()
        world.scan(grant("debug"), in_web("debug"))
        new = world.one
        assert len([f for f in findings.select(world.store) if f.group == new.group]) == 2
        world.decide("accepted", new.group)
        assert sorted((f.scope, f.status(world.now)) for f in findings.select(world.store)) == [
            ("pay", "agreed"), ("web", "accepted"),
        ]  # fmt: skip


def in_web(name: str) -> list[Any]:
    """The same grant in the namespace `web`."""
    made = grant(name)
    return [{**one, "metadata": {**one["metadata"], "namespace": "web"}} for one in made]


class TestFinding:
    """Ids as people write them."""

    def test_a_beginning_is_enough_while_it_is_one_things(self) -> None:
        """Findings and groups by four or more digits; a full id of a finding goes before a group's."""
        world = agreed_world()
        world.scan(*(grant(f"g{number}") for number in range(30)))
        for finding in world.findings():
            assert actions.find(world.store, [finding.fingerprint]) == [finding]
            assert finding in actions.find(world.store, [finding.group])

    @pytest.mark.parametrize(("given", "said"), [
        ("", "is no id"), ("abc", "is no id"), ("xyz1", "is no id"), ("ABCD", "is no id"), ("%%%%", "is no id"),
        ("a" * 20, "there is no finding a"), ("abcd\x1b", r"abcd\\x1b is no id"),
    ])  # fmt: skip
    def test_what_names_nothing(self, given: str, said: str) -> None:
        """What is no id, and what is nobody's."""
        with pytest.raises(UsageError, match=said):
            actions.find(drifted().store, [given])

    def test_a_beginning_of_several_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rather than deciding about the wrong one."""
        monkeypatch.setattr(actions, "SHORTEST_ID", 0)
        world = agreed_world()
        world.scan(*(grant(f"g{number}") for number in range(17)))  # one more than there are first digits
        beginnings = [finding.fingerprint[0] for finding in world.findings()]
        several = next(digit for digit in beginnings if beginnings.count(digit) > 1)
        with pytest.raises(UsageError, match="is the beginning of several ids"):
            actions.find(world.store, [several])

    def test_a_cluster_is_meant_by_any_of_its_names(self) -> None:
        """`--cluster` is the name of the context as well as the id; another cluster is said to be unknown."""
        world = drifted()
        for name in ("", "prod", "7c1e"):
            assert actions.find(world.store, [world.one.fingerprint], name) == [world.one]
        with pytest.raises(UsageError, match="there is no cluster elsewhere"):
            actions.find(world.store, [world.one.fingerprint], "elsewhere")


REFUSED: list[tuple[Deed, str]] = [
    (Deed("accepted", "ann", "", until="2027-01-01T00:00:00Z"), "accepted needs a reason"),
    (Deed("accepted", "ann", "", reason=" ", until="2027-01-01T00:00:00Z"), "accepted needs a reason"),
    (Deed("accepted", "ann", "", reason="x"), "accepted needs an end"),
    (Deed("false positive", "ann", ""), "false positive needs a reason"),
    (Deed("assigned", "ann", ""), "assigned needs an owner"),
    (Deed("acknowledged", "", ""), "who decides is not known"),
    (Deed("reopened", " ", ""), "who decides is not known"),
]


class TestRefusals:
    @pytest.mark.parametrize(("deed", "said"), REFUSED, ids=[said for _, said in REFUSED])
    def test_a_decision_says_what_it_needs(self, deed: Deed, said: str) -> None:
        """Reasons, ends, names: nothing is written without them."""
        world = drifted()
        with pytest.raises(UsageError, match=said) as caught:
            actions.decide_on(world.store, world.findings(), deed)
        assert caught.value.hint
        assert world.history(world.one) == ["opened"]

    @pytest.mark.parametrize("action", ["acknowledged", "accepted", "false positive", "reopened"])
    def test_what_is_agreed_to_is_not_decided_about(self, action: Action) -> None:
        """It is part of the baseline; another baseline changes that, not a decision about a finding."""
        world = World()
        world.scan(NARROW)
        agreed = world.one
        world.approve()
        with pytest.raises(UsageError, match="is agreed to: it is part of the baseline"):
            world.decide(action, agreed.fingerprint)

    def test_a_decision_is_about_what_was_seen(self) -> None:
        """A scan that finds more while somebody looks at the finding: look again; no part of the group is decided."""
        world = agreed_world()
        world.scan(NARROW, grant("other"))
        seen = world.findings()
        world.scan(WIDE, grant("other"))
        with pytest.raises(UsageError, match="changed while you looked at it"):
            actions.decide_on(world.store, seen, world.deed("acknowledged"))
        assert set(world.statuses.values()) == {"open"}
        made = "SELECT count(*) FROM decision WHERE action != 'approved'"
        assert world.store.connection.execute(made).fetchone() == (0,)


@pytest.mark.parametrize(("text", "expected"), [
    ("2026-12-24", "2026-12-24T00:00:00Z"), ("2026-12-24T08:00:00+02:00", "2026-12-24T06:00:00Z"),
    ("30d", "2026-10-31T00:00:00Z"), ("2w", "2026-10-15T00:00:00Z"), ("12h", "2026-10-01T12:00:00Z"),
    ("2026-10-01", "is not in the future"), ("2020-01-01", "is not in the future"), ("soon", "is no date"),
    ("0d", "is not in the future"), ("99999999d", "is no date"), ("", "is no date"), ("-3d", "is no date"),
])  # fmt: skip
def test_the_end_of_an_acceptance(text: str, expected: str) -> None:
    """A date, a time in any zone, or how long from now; always still to come."""
    now = World().day
    if expected.endswith("Z"):
        assert actions.until(text, now) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            actions.until(text, now)


class TestDecidingWhileAScanRuns:
    """Two processes on one file: a scan that takes its time, and a person who does not wait for it."""

    def test_what_was_decided_meanwhile_counts_and_covers_no_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Accepted as it was seen, found wider by the scan that ran: open, and the acceptance is in the journal."""
        path = tmp_path / "posture.db"
        world = World(path)
        world.scan()
        world.approve()
        world.scan(NARROW, grant("other", verbs="get"))
        deciding(monkeypatch, path, "accepted", world.now)
        world.scan(WIDE, grant("other", verbs="get"))
        assert world.statuses == {"debug": "open", "other": "accepted"}
        assert {f.through.name: (f.mark, f.exceeded) for f in world.findings()} == {
            "debug": ("widened", True), "other": ("", False),
        }  # fmt: skip
        upkeep.verify(world.store)

    def test_an_assignee_of_meanwhile_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where the scan writes the finding anew."""
        path = tmp_path / "posture.db"
        world = World(path)
        world.scan()
        world.approve()
        world.scan(NARROW)
        deciding(monkeypatch, path, "assigned", world.now)
        world.scan(WIDE)
        assert [row.whose for row in findings.rows(world.store)] == ["blue"]
        upkeep.verify(world.store)

    def test_what_was_approved_meanwhile_is_judged_by(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A scan that began before somebody approved is not the one to call what was approved drift."""
        path = tmp_path / "posture.db"
        world = World(path)
        world.scan()
        world.approve()
        world.scan(NARROW)
        left = [1]

        def interrupted(*args: Any) -> Any:
            while left:
                left.clear()
                with open_store(str(path)) as other:
                    newest = snapshots.latest(other)
                    assert newest is not None
                    actions.approve(other, newest.id, Deed("agreed", "bob", world.now))
            return judge(*args)

        monkeypatch.setattr(posture.scan, "judge", interrupted)
        done = world.scan(NARROW, grant("other", verbs="delete"))
        assert done.approved is not None
        assert done.approved.by == "bob"
        assert world.statuses == {"other": "open"}
        upkeep.verify(world.store)
        monkeypatch.undo()
        assert kinds(world.scan(NARROW, grant("other", verbs="delete"))) == []


def deciding(monkeypatch: pytest.MonkeyPatch, path: Path, action: Action, now: str) -> None:
    """From another connection, in the middle of the next scan's judgement, decide about everything there is."""
    judge: Callable[..., Any] = vars(posture.scan)["judge"]
    left = [action]

    def interrupted(*args: Any) -> Any:
        while left:
            with open_store(str(path)) as other:
                deed = Deed(left.pop(), "bob", now, "because", "2027-01-01T00:00:00Z", "blue")
                actions.decide_on(other, list(findings.select(other)), deed)
        return judge(*args)

    monkeypatch.setattr(posture.scan, "judge", interrupted)


def test_times_are_written_in_utc_with_whole_seconds() -> None:
    """So that they can be compared as texts."""
    assert format_time(World().day) == "2026-10-01T00:00:00Z"
