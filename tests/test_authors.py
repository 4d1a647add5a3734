"""Who did it: changes that are seen, matched with requests of an audit log that come before, with or after them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from posture import actions
from posture.collect import Change, Facts, Listed, Listing, Page, Seen, Served
from posture.collect.audit import Record
from posture.config import Config
from posture.errors import StoreError
from posture.inputs import Inputs
from posture.kinds import BY_NAME, RBAC
from posture.model import Audited, Cause, Entry, Finding, Key
from posture.scan import Request, scan
from posture.store import MEMORY, Store, audited, findings, open_store, snapshots, upkeep
from posture.store.decisions import Deed
from posture.text import format_time, parse_time
from posture.watch import Pending, Watch, Written
from tests.drift.world import World, agreed_world, grant
from tests.generator.objects import Object, account, binding, guarded, namespace, role, rule, service_account
from tests.generator.source import Given, resource_of

ROLES, BINDINGS = f"roles.{RBAC}", f"rolebindings.{RBAC}"
ROLE, BINDING = Key(ROLES, "pay", "debug"), Key(BINDINGS, "pay", "debug")
START = "2026-11-22T03:00:00Z"


def record(key: Key = BINDING, verb: str = "create", at: str = START, version: str = "", **more: str) -> Record:
    """A request of alice."""
    given = {"user": "alice@example.com", "address": "10.1.2.3", "agent": "kubectl/v1.36.3", "request": f"{verb} /x",
             "identity": f"{verb} {at} {version}", "time": at} | more  # fmt: skip
    return Record(key, verb, version, Audited(**given))


# A cluster that is followed -----------------------------------------------------------------------------------------


class Followed:
    """A watched cluster of given events, a clock that stands still between them, and an audit log."""

    def __init__(self, store: Store | None = None, first: list[Object] | None = None) -> None:
        self.store = store or open_store(MEMORY)
        self.title, self.now, self.version = "context:prod", START, 1000
        self.told: list[Written] = []
        self.log: list[Record] = []
        self._queue: list[Change] = []
        self._first = first or []
        self.watch = Watch(self.store, self, Inputs(Config()), Request(START), now=lambda: self.now,
                           tell=self.told.append, audits=self._audits)  # fmt: skip
        self.turn()

    def _audits(self) -> list[Record]:
        taken, self.log = self.log, []
        return taken

    def introduce(self) -> Facts:
        """Which cluster it is."""
        return Facts("7c1e", "prod")

    def start(self, positions: Mapping[Listing, str]) -> None:
        """All lists, read again."""
        del positions
        listings = [Listing(kind.name) for kind in BY_NAME.values()]
        self._queue.append(Served(frozenset(listings), (), None))
        for listing in listings:
            mine = [one for one in self._first if self._list(one) == listing]
            self._queue += [Page(listing.resource, "", mine), Listed(listing, "1000")]

    def get(self, timeout: float | None) -> Change | None:
        """The next change."""
        del timeout
        return self._queue.pop(0) if self._queue else None

    @staticmethod
    def _list(raw: Object) -> Listing:
        return Listing(resource_of(raw))

    def see(self, kind: str, *objects: Object) -> None:
        """Objects that were added, modified or deleted."""
        for raw in objects:
            self.version += 1
            metadata = raw["metadata"] | {"resourceVersion": str(self.version), "uid": raw["metadata"]["name"]}
            self._queue.append(Seen(self._list(raw), kind, raw | {"metadata": metadata}))

    def turn(self, seconds: float = 0) -> None:
        """Let time go by, and everything be written."""
        self.now = format_time(parse_time(self.now) + timedelta(seconds=seconds))
        self.watch.turn(0)

    def approve(self) -> None:
        """Agree to what there is."""
        newest = snapshots.latest(self.store)
        assert newest is not None
        actions.approve(self.store, newest.id, Deed("agreed", "ann", self.now, "because"))

    @property
    def all(self) -> list[Finding]:
        """Every finding."""
        return [*findings.select(self.store)]

    @property
    def cause(self) -> Cause:
        """What is known of the binding's change, of the only finding that it caused."""
        (found,) = (cause for one in self.all for cause in one.causes if cause.key == BINDING)
        return found


@pytest.fixture
def followed() -> Followed:
    """A cluster with an approved baseline and a Role that nobody is bound to."""
    found = Followed(first=[guarded("pay"), role("debug", rule("get", "secrets"), namespace="pay")])
    found.approve()
    found.turn(60)
    found.told.clear()
    return found


BOUND = binding("debug", "Role/debug", account("pay", "api"), namespace="pay")
"""What makes a finding."""


def at(seconds: float) -> str:
    """A moment after the approval (which took a minute)."""
    return f"2026-11-22T03:{1 + int(seconds) // 60:02}:{seconds % 60:09.6f}Z"


class TestWhenTheLogTells:
    def test_before_the_change_is_seen(self, followed: Followed) -> None:
        """The finding is opened with the user, the address and the request."""
        followed.log = [record(at=at(0.2))]
        followed.see("ADDED", BOUND)
        followed.turn()
        assert followed.cause.audited == record(at=at(0.2)).audited

    def test_after_the_finding_was_written(self, followed: Followed) -> None:
        """Its cause is brought up to date, with no revision and no event; it stays so from then on."""
        followed.see("ADDED", BOUND)
        followed.turn()
        revisions, events = len(followed.told), [one.kind for told in followed.told for one in told.events]
        assert followed.cause.audited is None
        followed.log = [record(at=at(0.2))]
        followed.turn(30)
        assert followed.cause.audited == record(at=at(0.2)).audited
        assert (len(followed.told), events) == (revisions, ["opened"])
        followed.see("ADDED", guarded("web"))
        followed.turn(30)
        assert followed.cause.audited is not None
        upkeep.verify(followed.store)

    def test_after_a_restart(self, followed: Followed) -> None:
        """What was matched is in the store: nobody has to read the log again."""
        followed.log = [record(at=at(0.2))]
        followed.see("ADDED", BOUND)
        followed.turn()
        first = [guarded("pay"), role("debug", rule("get", "secrets"), namespace="pay"), BOUND]
        again = Followed(followed.store, first)
        assert again.cause.audited == record(at=at(0.2)).audited

    def test_after_what_it_tells_of_is_gone_again(self, followed: Followed) -> None:
        """A grant of a second is a finding that is over, and says who made it."""
        followed.see("ADDED", BOUND)
        followed.see("DELETED", BOUND)
        followed.turn()
        followed.log = [record(at=at(0.2)), record(verb="delete", at=at(0.7), user="bob")]
        followed.turn(1)
        assert followed.cause.audited == record(at=at(0.2)).audited
        upkeep.verify(followed.store)

    def test_while_somebody_decides(self, followed: Followed) -> None:
        """The decision counts, and who did it is said."""
        followed.see("ADDED", BOUND)
        followed.turn()
        followed.log = [record(at=at(0.2))]
        followed.approve()
        followed.turn(1)
        (found,) = followed.all
        assert found.agreed
        assert audited.made(followed.store, "7c1e", BINDING) == record(at=at(0.2)).audited


def test_a_path_that_a_workload_opened_says_who_made_it() -> None:
    """Findings of paths too, that no domain tells of: late, and without a revision."""
    spec = {"serviceAccountName": "boss", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": spec}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "pay"},
                  "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}}  # fmt: skip
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "pay"},
               "spec": {"type": "LoadBalancer", "selector": {"app": "x"}, "ports": [{"port": 80}]}}  # fmt: skip
    everything = role("cluster-admin", rule("*", "*", "*"))
    bound = binding("b", "ClusterRole/cluster-admin", account("pay", "boss"))
    followed = Followed(first=[namespace("pay"), everything, bound, service_account("pay", "boss"), service])
    followed.approve()
    followed.turn(60)
    followed.see("ADDED", deployment)
    for _ in range(3):
        followed.turn(1)
    written = len(followed.told)
    followed.log = [record(Key("deployments.apps", "pay", "d"), at=at(0.5))]
    followed.turn(1)
    (found,) = (one for one in followed.all if not one.agreed)
    assert (found.domain, [cause.audited and cause.audited.user for cause in found.causes]) == (
        "graph", ["alice@example.com"],
    )  # fmt: skip
    assert len(followed.told) == written
    upkeep.verify(followed.store)


class TestWhichRequest:
    @pytest.mark.parametrize(("log", "expected"), [
        ([record(version="1001", at=at(0.2), identity="first"), record(version="1001", at=at(0.4), verb="patch",
                                                                       identity="again")], "first"),
        ([record(version="1002", at=at(0.2))], None),
        ([record(version="1001", at=at(-200.0 + 140), identity="slow")], "slow"),
        ([record(at=at(0), identity="older"), record(at=at(0.5), identity="newer")], "newer"),
        ([record(at=at(0.2), identity="made"), record(verb="delete", at=at(0.4))], "made"),
        ([record(at="2026-11-22T02:55:30Z")], None),
        ([record(at=at(3))], None),
        ([record(ROLE, at=at(0.2))], None),
        ([record(BINDING._replace(namespace="web"), at=at(0.2))], None),
    ], ids=["its version, the first", "another version", "its version, long ago", "the last before it was seen",
            "of a fitting verb", "too long ago", "after it was seen", "another kind", "another namespace"])  # fmt: skip
    def test_it_is(self, followed: Followed, log: list[Record], expected: str | None) -> None:
        """By resourceVersion where the log tells it, else by time."""
        followed.log = log
        followed.see("ADDED", BOUND)
        followed.turn()
        found = followed.cause.audited
        assert (found.identity if found else None) == expected

    def test_a_deletion_of_many_names_none_of_them(self) -> None:
        """It is who deleted what is gone, unless somebody deleted just that."""
        guard = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}},
                 "metadata": {"name": "closed", "namespace": "pay"}}  # fmt: skip
        key = Key("networkpolicies.networking.k8s.io", "pay", "closed")
        followed = Followed(first=[guarded("pay"), guard])
        followed.log = [record(key._replace(name=""), "deletecollection", at="2026-11-22T03:00:00.2Z")]
        followed.see("DELETED", guard)
        followed.turn()
        found = audited.made(followed.store, "7c1e", key)
        assert found is not None
        assert found.identity.startswith("deletecollection")

    def test_no_request_makes_two_changes(self, followed: Followed) -> None:
        """Each change of a flapping object has its own, also when the log tells of all of them late."""
        wide = role("debug", rule("*", "secrets"), namespace="pay")
        narrow = role("debug", rule("get", "secrets"), namespace="pay")
        for number in range(3):
            followed.see("MODIFIED", wide if number % 2 == 0 else narrow)
        followed.turn()
        followed.log = [record(ROLE, "patch", at(0.1 * n), identity=str(n)) for n in range(3)]
        followed.turn()
        mine = audited.changes(followed.store, "7c1e", ROLE)
        assert [one.audited.identity if one.audited else None for one in mine] == [None, "0", "1", "2"]


# Between two scans --------------------------------------------------------------------------------------------------


def scanned(world: World, *objects: list[Object], log: list[Record]) -> Finding:
    """The only finding after a scan with an audit log."""
    world.wait()
    every = [guarded("pay", team="pay-team"), guarded("web", team="web-team"), *(o for each in objects for o in each)]
    scan(world.store, Given(every), Inputs(world.config), Request(world.now), lambda: log)
    return world.one


def who(finding: Finding) -> dict[str, str]:
    """Who made the causes of a finding, by resource."""
    return {cause.key.resource: cause.audited.identity for cause in finding.causes if cause.audited}


def test_a_scan_asks_the_log_for_all_since_the_last() -> None:
    """Any time since then, and not before."""
    world = agreed_world()
    early = record(at="2026-10-01T00:00:00Z")
    later = record(at=f"{world.now[:-10]}T12:00:00Z", identity="later")
    assert who(scanned(world, grant(), log=[early, later])) == {BINDINGS: "later"}


def test_a_scan_is_told_late() -> None:
    """A scan after the one that found it: the cause is brought up to date, though nothing changed."""
    world = agreed_world()
    assert who(scanned(world, grant(), log=[])) == {}
    late = record(at=f"{world.now[:-10]}T00:00:00Z", identity="late")
    found = scanned(world, grant(), log=[late])
    assert who(found) == {BINDINGS: "late"}
    assert found.mark == "new"
    assert who(scanned(world, grant(), log=[])) == {BINDINGS: "late"}
    upkeep.verify(world.store)


def test_what_is_pruned_takes_its_requests_along() -> None:
    """And what is left is sound."""
    world = agreed_world()
    scanned(world, grant(), log=[record(at=f"{world.now[:-10]}T12:00:00Z")])
    for number in range(3):
        scanned(world, grant(verbs=f"v{number},get"), log=[record(ROLE, "patch", f"{world.now[:-10]}T12:00:00Z")])

    def count() -> int:
        found: int = world.store.connection.execute("SELECT count(*) FROM audited").fetchone()[0]
        return found

    before = count()
    upkeep.prune(world.store, world.now)
    assert 0 < count() < before
    upkeep.verify(world.store)


def test_an_altered_row_is_seen() -> None:
    """Who did it is not to be rewritten unseen."""
    world = agreed_world()
    scanned(world, grant(), log=[record(at=f"{world.now[:-10]}T12:00:00Z")])
    world.store.connection.execute("UPDATE audited SET user = 'eve'")
    with pytest.raises(StoreError, match="who changed an object is not what was written"):
        upkeep.verify(world.store)


def test_an_old_finding_can_be_read() -> None:
    """One that was stored before causes had requests."""
    world = agreed_world()
    scanned(world, grant(), log=[])
    (text,) = world.store.connection.execute("SELECT content FROM finding WHERE NOT agreed").fetchone()
    content = orjson.loads(text)
    content["causes"] = [cause[:4] for cause in content["causes"]]
    world.store.connection.execute("UPDATE finding SET content = ?", (orjson.dumps(content).decode(),))
    assert [cause.audited for cause in world.one.causes] == [None] * len(content["causes"])


# A→B→A --------------------------------------------------------------------------------------------------------------


class TestPending:
    def test_what_was_there_for_a_moment_is_a_round_of_its_own(self) -> None:
        """Created and deleted, changed and changed back, deleted and made anew: never in one round."""
        a, b = Entry(b"a"), Entry(b"b")
        for known, states, expected in (
            (None, [a, None], [a, None]), (a, [b, a], [b, a]), (a, [None, a], [None, a]), (a, [b, None, b, a],
                                                                                          [b, None, b, a]),
            (a, [a, a], [a]), (None, [None], []), (a, [b, b, a], [b, a]),
        ):  # fmt: skip
            pending = Pending()
            for state in states:
                pending.add(ROLE, state, known)
            assert [one[ROLE] for one in pending.rounds] == expected


def test_a_grant_of_a_moment_is_transient(followed: Followed) -> None:
    """Created and deleted in one batch, and a Role that was wide for as long: kept, told, and not open."""
    followed.see("ADDED", BOUND)
    followed.see("DELETED", BOUND)
    followed.turn()
    (found,) = followed.all
    assert (found.mark, found.status(followed.now)) == ("transient", "resolved")
    told = [(one.kind, one.detail.partition(":")[0]) for written in followed.told for one in written.events]
    assert [kind for kind, _ in told] == ["opened", "resolved"]
    assert told[1][1] == "transient"
    assert [what for _, what, _ in findings.history(followed.store, found)] == ["opened", "resolved"]


def test_content_that_comes_and_goes_is_transient(followed: Followed) -> None:
    """A Role that somebody is bound to, wide for three seconds, twice."""
    followed.see("ADDED", BOUND)
    followed.turn()
    followed.approve()
    followed.turn()
    narrow, wide = (role("debug", rule(verbs, "secrets"), namespace="pay") for verbs in ("get", "get,list,delete"))
    for seconds, details in ((3, "was possible for 3 s"), (0, "was possible for less than 1 s")):
        followed.told.clear()
        followed.see("MODIFIED", wide)
        if seconds:
            followed.turn()
        followed.turn(seconds)
        followed.see("MODIFIED", narrow)
        followed.turn()
        last = [one for written in followed.told for one in written.events][-1]
        assert (last.kind, last.detail) == ("resolved", f"transient: {details}")
        assert {one.mark for one in followed.all if one.presence == "absent"} == {"transient"}


def test_a_database_of_before_is_brought_up_to_date(tmp_path: Path) -> None:
    """One in which nobody is named yet: it gets the table when it is opened, and the next scan fills it."""
    world = World(tmp_path / "posture.db")
    world.scan()
    world.approve()
    world.store.connection.execute("DROP TABLE audited")
    world.store.connection.execute("DELETE FROM _sqlite_migrations WHERE name = '0003_audited'")
    world.store.close()
    world.store = open_store(str(tmp_path / "posture.db"))
    assert who(scanned(world, grant(), log=[record(at=f"{world.now[:-10]}T12:00:00Z", identity="x")])) == {
        BINDINGS: "x"
    }
    upkeep.verify(world.store)
