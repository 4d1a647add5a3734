"""The life of findings: what a scan makes of what was known before. Each test is a short history of one cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from posture.model import Gap
from posture.store import findings
from tests.drift.world import BINDINGS, CLUSTER, ROLES, agreed_world, grant, kinds
from tests.generator.objects import account, binding, role, rule

NARROW, WIDE = grant(verbs="get"), grant(verbs="get,list,delete")


class TestComingAndGoing:
    def test_a_gain_opens_a_finding(self) -> None:
        """Beyond what was agreed: open, new, with the moment at which it was found."""
        world = agreed_world()
        assert kinds(world.scan(NARROW)) == ["opened"]
        found = world.one
        assert (found.status(world.now), found.mark, found.opened, found.changed) == (
            "open",
            "new",
            world.now,
            world.now,
        )
        assert world.history(found) == ["opened"]

    def test_the_same_again_is_nothing(self) -> None:
        """Found again as it was: no event, and not a field of it moves."""
        world = agreed_world()
        world.scan(NARROW)
        before = world.one
        assert kinds(world.scan(NARROW)) == []
        assert kinds(world.scan(NARROW, grant("noise", resources="pods", subject="other"))) == ["opened"]
        assert before in world.findings()

    def test_more_through_the_same_is_widened(self) -> None:
        """The same finding, since when it is open, and what is new about it."""
        world = agreed_world()
        world.scan(NARROW)
        opened = world.now
        assert kinds(world.scan(WIDE)) == ["widened"]
        assert (world.one.mark, world.one.opened, world.one.changed) == ("widened", opened, world.now)

    def test_less_through_the_same_is_changed(self) -> None:
        """It is still there: an event, no mark."""
        world = agreed_world()
        world.scan(WIDE)
        assert kinds(world.scan(NARROW)) == ["changed"]
        assert (world.one.mark, world.one.changed) == ("new", world.now)

    def test_gone_is_resolved(self) -> None:
        """Verified absence ends it, and keeps it."""
        world = agreed_world()
        world.scan(NARROW)
        assert kinds(world.scan()) == ["resolved"]
        found = world.one
        assert (found.status(world.now), found.presence, found.resolved, found.mark) == (
            "resolved",
            "absent",
            world.now,
            "",
        )

    def test_back_again_is_regressed(self) -> None:
        """The same finding with its history, open anew since today."""
        world = agreed_world()
        world.scan(NARROW)
        first = world.one
        world.scan()
        assert kinds(world.scan(NARROW)) == ["regressed"]
        found = world.one
        assert (found.fingerprint, found.mark, found.opened, found.resolved) == (
            first.fingerprint,
            "regressed",
            world.now,
            "",
        )
        assert world.history(found) == ["opened", "resolved", "regressed"]

    def test_another_owner_is_a_change(self, tmp_path: Path) -> None:
        """Whose it is belongs to what people are told about."""
        world = agreed_world()
        world.scan(NARROW)
        (owners := tmp_path / "owners.yaml").write_text(
            "rules: [{owner: sre, match: {namespace: pay}}]", encoding="utf-8"
        )
        assert kinds(world.scan(NARROW, owners=owners)) == ["changed"]
        assert world.one.owner.name == "sre"


class TestGaps:
    @pytest.mark.parametrize("gap", [BINDINGS, ROLES], ids=["its binding", "its role"])
    def test_what_a_gap_may_hide_is_unknown_and_not_resolved(self, gap: Gap) -> None:
        """Unknown once, whatever the number of scans; then known again, as it was."""
        world = agreed_world()
        world.scan(NARROW)
        before = world.one
        assert kinds(world.scan(NARROW, gaps=[gap])) == ["unknown"]
        assert (world.one.status(world.now), world.one.presence) == ("unknown", "unknown")
        assert kinds(world.scan(NARROW, gaps=[gap])) == []
        assert kinds(world.scan(NARROW)) == ["known"]
        assert world.one == before

    def test_what_went_while_it_was_unknown_is_resolved_when_that_is_seen(self) -> None:
        """Absence counts when it was verified, not when it may have begun."""
        world = agreed_world()
        world.scan(NARROW)
        world.scan(gaps=[BINDINGS])
        assert kinds(world.scan()) == ["resolved"]

    def test_a_gap_opens_nothing(self) -> None:
        """Neither when it is there nor when it ends."""
        world = agreed_world(NARROW)
        assert kinds(world.scan(NARROW, gaps=[BINDINGS])) == []
        assert kinds(world.scan(NARROW, gaps=[ROLES])) == []
        assert kinds(world.scan(NARROW)) == []

    def test_a_gap_of_the_baseline_opens_nothing(self) -> None:
        """What may have been there on the agreed day is unknown, and counted as that."""
        world = agreed_world()
        world.scan(gaps=[BINDINGS])
        world.approve(with_gaps=True)
        done = world.scan(NARROW)
        assert kinds(done) == []
        assert done.summary["unknown"] == 1

    def test_gaps_elsewhere_hide_nothing(self) -> None:
        """Another namespace that cannot be read keeps nothing open."""
        world = agreed_world()
        world.scan(NARROW)
        assert kinds(world.scan(gaps=[BINDINGS._replace(namespace="web")])) == ["resolved"]

    def test_no_decision_is_lost_by_a_gap(self) -> None:
        """Accepted before, accepted after."""
        world = agreed_world()
        world.scan(NARROW)
        world.decide("accepted")
        world.scan(NARROW, gaps=[BINDINGS])
        assert world.statuses == {"debug": "unknown"}
        world.scan(NARROW)
        assert world.statuses == {"debug": "accepted"}


class TestRenaming:
    """What is edited got another name and carries exactly the same: the same finding under a new name."""

    def test_a_renamed_carrier_keeps_finding_decision_and_history(self) -> None:
        """Not resolved and opened again; the decision still counts."""
        world = agreed_world()
        world.scan(grant("old"))
        first = world.one
        world.decide("accepted")
        assert kinds(world.scan(grant("new"))) == ["renamed"]
        found = world.one
        assert (found.fingerprint, found.through.name, found.status(world.now)) == (
            first.fingerprint,
            "new",
            "accepted",
        )
        assert world.history(found) == ["opened", "accepted", "renamed"]
        assert findings.known(world.store, CLUSTER, found.fingerprint) == found

    def test_names_form_a_chain(self) -> None:
        """Renamed and renamed again, and back to the first name: one finding all along."""
        world = agreed_world()
        for name in ("a", "b", "c", "b", "a"):
            world.scan(grant(name))
        assert world.one.through.name == "a"
        assert world.history(world.one) == ["opened", "renamed", "renamed", "renamed", "renamed"]

    def test_a_carrier_that_comes_back_beside_its_successor_is_another(self) -> None:
        """The finding stays with its own name, and the successor, which is there too, opens as what it is."""
        world = agreed_world()
        world.scan(grant("old"))
        world.decide("acknowledged")
        world.scan(grant("new"))
        assert kinds(world.scan(grant("new"), grant("old"))) == ["opened", "renamed"]
        assert world.statuses == {"old": "acknowledged", "new": "open"}

    def test_a_name_that_carries_more_is_another_finding(self) -> None:
        """Nobody has decided about the rest."""
        world = agreed_world()
        world.scan(grant("old", verbs="get"))
        world.decide("accepted")
        assert kinds(world.scan(grant("new", verbs="get,list"))) == ["opened", "resolved"]
        assert world.statuses == {"old": "resolved", "new": "open"}

    def test_two_renamed_at_once_keep_both_decisions(self) -> None:
        """Two carriers of the same: none of the decisions is lost."""
        world = agreed_world()
        world.scan(grant("a1"), grant("b1"))
        by_name = {finding.through.name: finding.fingerprint for finding in world.findings()}
        world.decide("accepted", by_name["a1"])
        world.decide("false positive", by_name["b1"])
        assert kinds(world.scan(grant("a2"), grant("b2"))) == ["renamed", "renamed"]
        assert sorted(world.statuses.values()) == ["accepted", "false positive"]

    def test_another_subject_is_another_finding(self) -> None:
        """Who gained it is what it is."""
        world = agreed_world()
        world.scan(grant("old", subject="api"))
        assert kinds(world.scan(grant("new", subject="worker"))) == ["opened", "resolved"]

    def test_another_binding_is_the_same_finding(self) -> None:
        """What is edited is the role reference; the binding's name is content."""
        world = agreed_world()
        reader = role("reader", rule("get", "secrets"), namespace="pay")
        world.scan([reader, binding("one", "Role/reader", account("pay", "api"), namespace="pay")])
        assert kinds(world.scan([reader, binding("two", "Role/reader", account("pay", "api"), namespace="pay")])) == []
        assert world.one.path[0] == "RoleBinding pay/two"
