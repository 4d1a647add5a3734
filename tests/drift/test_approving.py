"""Approving: a snapshot, an older one, one with gaps, or some findings only, and what is reported after it."""

from __future__ import annotations

from typing import Any

import pytest

from posture import actions
from posture.errors import CannotJudge, UsageError
from posture.model import Gap
from posture.store import baselines, findings
from tests.drift.world import BINDINGS, CLUSTER, World, agreed_world, grant, kinds
from tests.generator.objects import (
    Object,
    account,
    binding,
    group,
    guarded,
    namespace,
    role,
    rule,
    service_account,
    urls,
    user,
)  # fmt: skip

NARROW, WIDE = grant(verbs="get"), grant(verbs="get,list,delete")
WEB = [role("debug", rule(), namespace="web"), binding("debug", "Role/debug", account("web", "api"), namespace="web")]
ONLY_PAY = Gap("*", "!pay", "not collected", "only pay was asked for")


class TestASnapshot:
    def test_its_open_findings_are_agreed_to(self) -> None:
        """By whoever approves, in the journal; after it the same cluster is silent."""
        world = World()
        world.scan(NARROW, grant("other"))
        assert len(world.findings()) == 2
        world.approve()
        assert world.findings() == []
        every = list(findings.select(world.store))
        assert {finding.status(world.now) for finding in every} == {"agreed"}
        assert [finding.decision and finding.decision.action for finding in every] == ["agreed", "agreed"]
        assert kinds(world.scan(NARROW, grant("other"))) == []

    def test_what_is_gained_beyond_it_is_widened(self) -> None:
        """The finding that was agreed to, open for what came since, and only that."""
        world = World()
        world.scan(NARROW)
        world.approve()
        assert kinds(world.scan(WIDE)) == ["widened"]
        found = world.one
        assert (found.status(world.now), found.opened) == ("open", world.now)
        assert {verb for unit in found.gained for verb in unit["verbs"]} == {"list", "delete"}

    def test_what_a_later_one_does_not_hold_comes_back_as_regressed(self) -> None:
        """Agreed to once, then approved without it: when it returns nobody agrees to it any more."""
        world = World()
        world.scan(NARROW)
        world.approve()
        world.scan()
        world.approve()
        assert kinds(world.scan(NARROW)) == ["regressed"]
        assert world.statuses == {"debug": "open"}

    def test_an_older_one_leaves_newer_findings_open(self) -> None:
        """The next scan says which of them the older snapshot covers: agreed, not resolved: they are there."""
        world = agreed_world()
        world.scan(grant("first"))
        world.scan(grant("first"), grant("second", subject="worker"))
        world.approve(2)
        assert world.statuses == {"first": "open", "second": "open"}
        assert kinds(world.scan(grant("first"), grant("second", subject="worker"))) == ["agreed"]
        assert world.statuses == {"second": "open"}
        assert {f.through.name: f.presence for f in findings.select(world.store)} == {
            "first": "present",
            "second": "present",
        }

    def test_files_that_agree_do_not_resolve(self, tmp_path: Any) -> None:
        """The same where a file given with --baseline covers what was open."""
        world = agreed_world()
        world.scan(NARROW)
        (file := tmp_path / "bound.yaml").write_text(
            "for: {namespaceSelector: {matchLabels: {team: pay-team}}}\n"
            "objects:\n"
            "- {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r},"
            " rules: [{verbs: [get], apiGroups: [''], resources: [secrets]}]}\n"
            "- {apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b},"
            " roleRef: {kind: Role, name: r}, subjects: [{kind: ServiceAccount, namespace: pay, name: api}]}\n",
            encoding="utf-8",
        )
        assert kinds(world.scan(NARROW, baseline=(file,))) == ["agreed"]
        assert kinds(world.scan(NARROW, baseline=())) == ["regressed"]
        assert kinds(world.scan(baseline=(file,))) == ["resolved"]

    def test_one_with_gaps_needs_a_word(self) -> None:
        """Nobody agrees by accident to what nobody saw; what a gap hides is not agreed to at all."""
        world = agreed_world()
        world.scan(NARROW)
        world.scan(NARROW, gaps=[BINDINGS])
        with pytest.raises(CannotJudge, match="snapshot 3 has 1 gap") as caught:
            world.approve()
        assert "--with-gaps" in caught.value.hint
        world.approve(with_gaps=True)
        assert world.statuses == {"debug": "unknown"}
        assert kinds(world.scan(NARROW, gaps=[BINDINGS])) == []

    def test_what_is_not_looked_at_is_no_gap_to_agree_to(self) -> None:
        """A gap by the user's own choice keeps nobody from approving."""
        world = World()
        world.scan(gaps=[ONLY_PAY])
        world.approve()
        assert baselines.latest(world.store, CLUSTER) is not None

    @pytest.mark.parametrize(("before", "after", "needs_a_word"), [
        ((), (ONLY_PAY,), True),
        ((ONLY_PAY,), (ONLY_PAY,), False),
        ((ONLY_PAY,), (), False),
        ((ONLY_PAY,), (Gap("*", "!pay,web", "not collected", "wider"),), False),
        ((Gap("*", "!pay,web", "not collected", "wider"),), (ONLY_PAY,), True),
        ((), (Gap("events", "!pay", "not collected", "events decide nothing"),), False),
    ])  # fmt: skip
    def test_leaving_out_what_was_agreed_to_before_needs_a_word(
        self, before: tuple[Gap, ...], after: tuple[Gap, ...], needs_a_word: bool
    ) -> None:
        """Or all that was agreed to outside would be unknown from now on, and nobody would hear of it."""
        world = World()
        world.scan(gaps=before)
        world.approve()
        world.scan(gaps=after)
        if needs_a_word:
            with pytest.raises(CannotJudge, match="snapshot 2 has 1 gap"):
                world.approve()
        world.approve(with_gaps=needs_a_word)

    def test_what_it_lacks_is_said_when_more_is_read(self) -> None:
        """What was not agreed to because nobody read it is unknown, and not drift."""
        world = World()
        world.scan(gaps=[ONLY_PAY])
        world.approve()
        done = world.scan(grant(), WEB)
        assert (kinds(done), done.summary["unknown"], done.unagreed) == ([], 7, (ONLY_PAY,))
        assert world.scan(gaps=[ONLY_PAY]).unagreed == ()

    def test_it_is_all_or_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Killed between the baseline and what it makes of findings, neither is there."""
        world = World()
        world.scan(NARROW)

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(actions, "decide", killed)
        with pytest.raises(KeyboardInterrupt):
            world.approve()
        assert baselines.latest(world.store, CLUSTER) is None
        assert world.statuses == {"debug": "open"}


# Some findings only -------------------------------------------------------------------------------------------------

PEERS = [
    namespace("lab", team="pay-team"),
    *({**one, "metadata": {**one["metadata"], "namespace": "lab"}} for one in WIDE),
]
EKS = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}
GAINS: dict[str, list[Object]] = {
    "in a namespace": grant("one"),
    "cluster-wide": [role("one", rule("*", "nodes")), binding("one", "ClusterRole/one", account("pay", "api"))],
    "through a role that many hold": [
        role("shared", rule("get", "secrets")),
        binding("one", "ClusterRole/shared", account("pay", "api"), namespace="pay"),
    ],
    "for a user": [role("one", rule("*", "*", "*")), binding("one", "ClusterRole/one", user("ann"))],
    "for an account spelled as a user": [
        role("one", rule("list", "secrets")), binding("one", "ClusterRole/one", user("system:serviceaccount:pay:api")),
    ],
    "for a group": [role("one", urls("get", "/logs/*")), binding("one", "ClusterRole/one", group("devs"))],
    "for everyone": [
        role("one", rule("get", "pods")),
        binding("one", "ClusterRole/one", group("system:authenticated")),
    ],
    "by names": [
        role("one", rule("get", "secrets", names=["tls"]), namespace="pay"),
        binding("one", "Role/one", user("ann"), namespace="pay"),
    ],
    "latent, no role yet": [binding("one", "ClusterRole/later", group("devs"))],
    "latent, no role in the namespace": [binding("one", "Role/later", group("devs"), namespace="pay")],
    "a cloud identity": [service_account("pay", "api", **EKS)],
    "a default role that nobody is bound to": [role("view", rule("get,list,watch", "pods"), rule("get", "secrets"))],
    "in a new namespace": [guarded("new", team="pay-team"), role("one", rule("get", "secrets"), namespace="new"),
                           binding("one", "Role/one", account("new", "api"), namespace="new")],
}  # fmt: skip
BASE = [role("view", rule("get,list,watch", "pods")), service_account("pay", "api")]
OTHERS = [
    *grant("others", "delete", "pods", "worker"),
    role("shared", rule("get", "secrets")),
    binding("others", "ClusterRole/shared", account("web", "api"), namespace="web"),
]


def together(*lists: list[Object]) -> list[Object]:
    """Objects of which later ones of the same name win."""
    found = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]): o for each in lists for o in each}
    return list(found.values())


class TestSomeFindings:
    @pytest.mark.parametrize("gain", GAINS.values(), ids=GAINS)
    def test_exactly_that_is_agreed_to(self, gain: list[Object]) -> None:
        """One finding is agreed to and stays silent; all others stay as they were."""
        world = agreed_world(BASE)
        world.scan(together(BASE, OTHERS))
        others = {finding.fingerprint for finding in world.findings()}
        assert len(others) == 2
        every = together(BASE, OTHERS, gain)
        assert kinds(world.scan(every)) == ["opened"]
        (mine,) = (finding for finding in world.findings() if finding.fingerprint not in others)
        actions.approve_findings(world.store, [mine], world.deed("agreed"))
        for _ in range(2):
            assert kinds(world.scan(every)) == []
            assert {finding.fingerprint for finding in world.findings()} == others
            assert set(world.statuses.values()) == {"open"}
            world.config = type(world.config)(new_namespaces="review", peer_labels=("team",))

    def test_more_than_was_agreed_to_is_widened(self) -> None:
        """The agreement is to what was gained by then."""
        world = agreed_world()
        world.scan(NARROW)
        actions.approve_findings(world.store, [world.one], world.deed("agreed"))
        assert kinds(world.scan(WIDE)) == ["widened"]
        assert {verb for unit in world.one.gained for verb in unit["verbs"]} == {"list", "delete"}

    def test_in_a_new_namespace_the_rest_is_still_judged_by_its_peers(self) -> None:
        """Agreeing to what a new namespace has beyond its peers makes it no less like them."""
        world = agreed_world(PEERS, grant("debug", "get,list,delete"), peer_labels=("team",))
        alike = [
            guarded("new", team="pay-team"),
            *({**one, "metadata": {**one["metadata"], "namespace": "new"}} for one in WIDE),
        ]
        every = together(PEERS, WIDE, alike, GAINS["in a new namespace"])
        exceeding = [role("one", rule("*", "secrets"), namespace="new")]
        assert kinds(world.scan(together(every, exceeding))) == ["opened"]
        actions.approve_findings(world.store, [world.one], world.deed("agreed"))
        assert kinds(world.scan(together(every, exceeding))) == []
        assert world.findings() == []
        late = [binding("late", "Role/debug", account("new", "late"), namespace="new")]
        assert kinds(world.scan(together(every, exceeding, late))) == ["opened"]

    def test_each_keeps_what_was_agreed_to_before(self) -> None:
        """One after the other, on top of the snapshot."""
        world = agreed_world(grant("agreed", subject="old"))
        every = [*grant("agreed", subject="old"), *grant("one"), *grant("two", subject="worker")]
        world.scan(every)
        for finding in world.findings():
            actions.approve_findings(world.store, [finding], world.deed("agreed"))
            world.scan(every)
        assert world.findings() == []
        assert [row.revision for row in baselines.every(world.store, CLUSTER)] == [1, 1, 1]

    def test_a_group_is_agreed_to_at_once(self) -> None:
        """By its id, as everything that is decided."""
        world = agreed_world()
        world.scan(grant("one"), grant("one", subject="api"))
        actions.approve_findings(world.store, actions.find(world.store, [world.one.group]), world.deed("agreed"))
        assert world.findings() == []

    def test_what_cannot_be_agreed_to(self) -> None:
        """Without a baseline there is nothing to move; what is resolved, or of several clusters, is refused."""
        world = World()
        world.scan(NARROW)
        deed = world.deed("agreed")
        with pytest.raises(UsageError, match="no baseline yet to move"):
            actions.approve_findings(world.store, [world.one], deed)
        world = agreed_world()
        world.scan(NARROW)
        world.scan()
        with pytest.raises(UsageError, match="is resolved: there is nothing to agree to"):
            actions.approve_findings(world.store, [world.one], deed)
        with pytest.raises(UsageError, match="of several clusters"):
            actions.approve_findings(world.store, [], deed)
