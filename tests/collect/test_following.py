"""A cluster that is followed while its API server fails in every way that there is."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from posture.collect import Listed, Listing, Lost, Position, Restart, Seen
from posture.collect.access import Access
from posture.collect.client import Backoff, Client
from posture.collect.following import FLAGS, RESOURCES, Following
from posture.collect.reflector import Pace
from posture.errors import CannotJudge
from posture.kinds import BY_NAME, KINDS, RBAC
from tests.collect.faulty import Faults, FaultyServer, Resource
from tests.collect.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NAMESPACES, ROLES, MAPS = BY_NAME["namespaces"], BY_NAME[f"roles.{RBAC}"], BY_NAME["configmaps"]
CONSTRAINTS = BY_NAME["*.constraints.gatekeeper.sh"]
WORKLOADS = [BY_NAME[name] for name in ("pods", "services", "serviceaccounts", "deployments.apps", "jobs.batch")]
ROLE = Resource.of(ROLES)
ROLE_LIST = Listing(ROLES.name)
FAST = Pace(
    first=0.02, cap=0.2, asked=5.0, steady=0.3, shortest=60, longest=61, silence=1.5, verify=3600.0, grace=1.0,
    poll=0.2, patience=0.8, certain=0.2,
)  # fmt: skip


class Cluster:
    """A faulty server, what follows it and what that learns."""

    def __init__(self, server: FaultyServer, following: Following, mirror: Mirror) -> None:
        self.server, self.following, self.mirror = server, following, mirror

    def role(self, name: str, **content: Any) -> None:
        self.server.store.put(ROLE.path, name, "ns", **content)

    def delete(self, name: str) -> None:
        self.server.store.delete(ROLE.path, name, "ns")

    def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        assert self.mirror.follow(self.following, condition, seconds), self.mirror.log[-10:]

    def for_(self, seconds: float) -> None:
        self.mirror.follow(self.following, lambda: False, seconds)

    @property
    def roles(self) -> dict[str, str]:
        """What is known of the roles: resourceVersions by name."""
        return {name: item["metadata"]["resourceVersion"]
                for (_, name), item in self.mirror.objects(ROLES.name).items()}  # fmt: skip

    @property
    def true(self) -> dict[str, str]:
        return {name: self.server.told(item)["metadata"]["resourceVersion"]
                for (_, name), item in self.server.store.objects(ROLE.path).items()}  # fmt: skip

    def agrees(self) -> bool:
        return self.roles == self.true

    def events(self) -> list[tuple[str, str]]:
        return self.mirror.seen(ROLES.name)

    def lists(self) -> int:
        return len(self.server.lists(ROLE.path))

    def watches(self) -> int:
        return len(self.server.watches(ROLE.path))


class _Running:
    """Starts what a test wants, and ends it."""

    def __init__(self) -> None:
        self._ends: list[Callable[[], None]] = []

    def __call__(
        self,
        kinds: Sequence[Any] = (ROLES,),
        *,
        server: FaultyServer | None = None,
        pace: Pace = FAST,
        positions: Mapping[Listing, str] | None = None,
        mirror: Mirror | None = None,
        reload: Callable[[], Access] | None = None,
        access: Access | None = None,
        synced: bool = True,
        **options: Any,
    ) -> Cluster:
        if server is None:
            server = FaultyServer([Resource.of(kind) for kind in kinds if kind.resource != "*"])
        if server._server is None:
            server.up()
            self._ends.append(server.down)
        backoff = Backoff(tries=2, first=0.01, cap=0.01)
        client = Client(replace(access or Access(server.url), server=server.url), reload, backoff=backoff)
        following = Following(client, kinds=kinds, pace=pace, limit=3, **{"survey": 0.2, **options})
        self._ends.append(following.stop)
        found = Cluster(server, following, mirror or Mirror(dict(positions or {})))
        following.introduce()
        following.start(positions)
        if synced:
            found.until(lambda: found.mirror.synced)
        return found

    def end(self) -> None:
        while self._ends:
            self._ends.pop()()


@pytest.fixture
def follow() -> Iterator[_Running]:
    """Starts following a faulty server; nothing is left running."""
    before = set(threading.enumerate())
    running = _Running()
    yield running
    running.end()
    until = time.monotonic() + 5
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < until, left
        time.sleep(0.01)


class TestFollowing:
    def test_tells_every_write_in_its_order(self, follow: _Running) -> None:
        """What was created and deleted at once is told too: two events."""
        cluster = follow()
        for number in range(7):
            cluster.role(f"r{number}")
        cluster.role("r0", rules=[])
        cluster.delete("r1")
        cluster.until(cluster.agrees)
        expected = [("ADDED", f"r{number}") for number in range(7)] + [("MODIFIED", "r0"), ("DELETED", "r1")]
        assert cluster.events() == expected
        assert (cluster.lists(), cluster.watches()) == (1, 1)

    def test_begins_with_what_is_there_page_by_page(self, follow: _Running) -> None:
        server = FaultyServer([ROLE])
        for number in range(8):
            server.store.put(ROLE.path, f"r{number}", "ns")
        cluster = follow(server=server)
        assert cluster.agrees()
        kinds = [type(change).__name__ for change in cluster.mirror.log if getattr(change, "listing", "") == ROLE_LIST]
        assert kinds == ["Restart", "Page", "Page", "Page", "Listed"]
        assert cluster.events() == []

    def test_says_first_what_is_followed(self, follow: _Running) -> None:
        cluster = follow([ROLES, NAMESPACES])
        served = cluster.mirror.log[0]
        assert served == cluster.mirror.served
        assert cluster.mirror.listings == {ROLE_LIST, Listing("namespaces"), RESOURCES, FLAGS}
        assert str(cluster.mirror.served.version) == "1.36"
        assert cluster.mirror.names(RESOURCES.resource) == {"namespaces", ROLES.name}

    def test_of_a_server_that_is_not_there_is_refused(self) -> None:
        with FaultyServer([ROLE]) as server:
            client = Client(Access(server.url))
        following = Following(client)
        with pytest.raises(CannotJudge):
            following.introduce()
        following.stop()

    def test_stops_at_once_and_gives_nothing_more(self, follow: _Running) -> None:
        cluster = follow()
        began = time.monotonic()
        cluster.following.stop()
        assert time.monotonic() - began < 2.0
        assert cluster.following.get(0.1) is None

    def test_that_broke_down_says_so(self, follow: _Running) -> None:
        """A thread that is gone would be a cluster in which nothing happens."""
        sound = threading.Event()
        sound.set()

        def chance() -> float:
            if not sound.is_set():
                raise ValueError("broken")
            return 0.5

        cluster = follow(chance=chance)
        cluster.until(lambda: cluster.watches() == 1)
        sound.clear()
        cluster.server.drop()
        with pytest.raises(RuntimeError, match="not followed any more"):
            cluster.for_(5.0)

    def test_stops_while_nobody_takes_what_it_has(self, follow: _Running) -> None:
        server = FaultyServer([ROLE])
        for number in range(50):
            server.store.put(ROLE.path, f"r{number:02}", "ns")
        cluster = follow(server=server, room=4, synced=False)
        time.sleep(0.3)
        began = time.monotonic()
        cluster.following.stop()
        assert time.monotonic() - began < 2.0

    def test_holds_no_more_than_there_is_room_for(self, follow: _Running) -> None:
        """Whoever judges slowly slows down the reading; nothing is lost."""
        server = FaultyServer([ROLE])
        for number in range(50):
            server.store.put(ROLE.path, f"r{number:02}", "ns")
        cluster = follow(server=server, room=4, synced=False)
        time.sleep(0.3)
        assert len([each for each in server.asked if each.path == ROLE.path]) <= 4
        cluster.until(lambda: cluster.mirror.synced)
        assert cluster.agrees()
        for number in range(100):
            cluster.role(f"s{number}")
        time.sleep(0.3)
        cluster.until(cluster.agrees)
        assert len(cluster.events()) == 100

    def test_goes_on_where_it_was_after_a_restart(self, follow: _Running) -> None:
        """No list is read again, and what happened meanwhile is told, however short it lived."""
        cluster = follow()
        cluster.role("before")
        cluster.until(cluster.agrees)
        cluster.following.stop()
        cluster.role("while")
        cluster.delete("while")
        cluster.role("after")
        again = Mirror(cluster.mirror.positions)
        again.held.update(cluster.mirror.held)
        cluster = follow(server=cluster.server, positions=cluster.mirror.positions, mirror=again, synced=False)
        cluster.until(cluster.agrees)
        assert cluster.events() == [("ADDED", "while"), ("DELETED", "while"), ("ADDED", "after")]
        assert cluster.lists() == 1

    @pytest.mark.parametrize("as_event", [True, False])
    def test_from_a_position_that_is_forgotten_lists_again(self, follow: _Running, as_event: bool) -> None:
        server = FaultyServer([ROLE], expired_as_event=as_event)
        for number in range(5):
            server.store.put(ROLE.path, f"r{number}", "ns")
        server.store.compact()
        cluster = follow(server=server, positions={ROLE_LIST: "101"}, synced=False)
        cluster.until(cluster.agrees)
        assert (cluster.lists(), server.watches(ROLE.path)[0].query["resourceVersion"]) == (1, "101")

    def test_watches_with_bookmarks_for_a_time_by_chance(self, follow: _Running) -> None:
        cluster = follow(chance=lambda: 0.5)
        cluster.until(lambda: cluster.watches() == 1)
        (watch,) = cluster.server.watches(ROLE.path)
        assert watch.query == {
            "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "100", "timeoutSeconds": "60",
        }  # fmt: skip
        cluster.server.store.put(ROLE.path, "r", "ns")
        cluster.server.store.version += 5
        cluster.until(lambda: any(isinstance(change, Position) for change in cluster.mirror.log))
        assert cluster.mirror.positions[ROLE_LIST] == "106"


class TestFailures:
    def test_a_watch_that_ends_goes_on_from_the_last_event_or_bookmark(self, follow: _Running) -> None:
        cluster = follow(pace=FAST._replace(shortest=1.0, longest=1.0))
        for number in range(5):
            cluster.role(f"r{number}")
            cluster.for_(0.5)
        cluster.until(cluster.agrees)
        assert cluster.lists() == 1
        assert cluster.watches() >= 2
        assert len(cluster.events()) == 5
        versions = [int(each.query["resourceVersion"]) for each in cluster.server.watches(ROLE.path)]
        assert versions == sorted(versions)

    @pytest.mark.parametrize("fault", ["cut", "hang"])
    def test_a_connection_that_breaks_or_falls_silent_costs_no_event(self, follow: _Running, fault: str) -> None:
        cluster = follow()
        cluster.role("a")
        cluster.server.faults.events.append(fault)
        cluster.role("b")
        cluster.role("c")
        cluster.until(cluster.agrees)
        assert cluster.events() == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
        assert cluster.server.counts[fault] == 1
        assert cluster.lists() == 1

    def test_a_server_that_restarts_is_followed_again_without_a_list(self, follow: _Running) -> None:
        cluster = follow([ROLES, *WORKLOADS])
        cluster.role("a")
        cluster.until(cluster.agrees)
        cluster.server.down()
        cluster.role("b")
        cluster.for_(0.5)
        cluster.server.up()
        cluster.until(cluster.agrees)
        assert cluster.lists() == 1
        assert cluster.events() == [("ADDED", "a"), ("ADDED", "b")]

    def test_what_was_forgotten_meanwhile_is_listed(self, follow: _Running) -> None:
        cluster = follow()
        cluster.role("a")
        cluster.role("b")
        cluster.until(cluster.agrees)
        cluster.server.down()
        cluster.delete("a")
        cluster.role("c")
        cluster.server.store.compact()
        cluster.server.up()
        cluster.until(cluster.agrees)
        assert cluster.lists() == 2
        assert cluster.mirror.corrections == [], "it was not followed without a break"

    def test_pages_that_expire_while_they_are_read_start_again(self, follow: _Running) -> None:
        server = FaultyServer([ROLE])
        for number in range(9):
            server.store.put(ROLE.path, f"r{number}", "ns")
        cluster = follow(server=server, room=1, synced=False)
        cluster.until(lambda: any(isinstance(change, Restart) and change.listing == ROLE_LIST
                                  for change in cluster.mirror.log))  # fmt: skip
        time.sleep(0.2)
        cluster.delete("r8")
        server.store.compact()
        cluster.until(cluster.agrees)
        assert cluster.lists() == 2

    @pytest.mark.parametrize("code", ["429", "500", "503"])
    def test_a_server_that_asks_for_patience_gets_it(self, follow: _Running, code: str) -> None:
        """Retry-After of a watch is kept, and nothing is lost."""
        cluster = follow()
        cluster.until(lambda: cluster.watches() == 1)
        cluster.server.faults.retry_after = 1
        cluster.server.faults.requests.append(code)
        cluster.server.drop()
        cluster.role("a")
        cluster.until(cluster.agrees)
        _, second, third = cluster.server.watches(ROLE.path)
        assert third.time - second.time >= 1.0
        assert cluster.lists() == 1

    def test_a_restored_backup_is_noticed_by_the_next_list(self, follow: _Running) -> None:
        """resourceVersions that go back: the watch would wait for a future that has been."""
        cluster = follow(pace=FAST._replace(verify=0.5))
        for number in range(5):
            cluster.role(f"r{number}")
        cluster.until(cluster.agrees)
        cluster.server.store.restore(90)
        cluster.role("late")
        cluster.mirror.positions.clear()  # they go back, once
        cluster.until(cluster.agrees)
        cluster.role("later")
        cluster.until(cluster.agrees)

    def test_nothing_hammers_a_server_that_is_away_or_comes_back(self, follow: _Running) -> None:
        cluster = follow([kind for kind in KINDS if kind.resource != "*"], pace=FAST._replace(first=0.1, cap=1.0))
        cluster.until(lambda: len(cluster.server.watches()) >= 60)
        cluster.server.down()
        time.sleep(1.0)
        came = len(cluster.server.asked)
        cluster.server.up()
        back = time.monotonic()
        cluster.role("a")
        cluster.until(cluster.agrees, 20.0)
        cluster.for_(3.0)
        times = [each.time - back for each in cluster.server.asked[came:]]
        assert sum(when < 1.0 for when in times) <= 50, "20 at once, 20 a second, and discovery"
        assert len(cluster.server.watches()) >= 120

    def test_a_server_that_ends_every_watch_at_once_is_asked_less_and_less(self, follow: _Running) -> None:
        cluster = follow(pace=FAST._replace(steady=30.0, cap=1.0, shortest=0, longest=0))
        cluster.for_(3.0)
        assert 4 <= cluster.watches() <= 12


class TestPermissions:
    def test_a_list_that_becomes_forbidden_is_lost_until_it_is_allowed(self, follow: _Running) -> None:
        cluster = follow()
        cluster.role("a")
        cluster.until(cluster.agrees)
        cluster.server.faults.forbidden.add(ROLE.path)
        cluster.server.drop()
        cluster.until(lambda: ROLE_LIST in cluster.mirror.lost)
        gap = cluster.mirror.lost[ROLE_LIST]
        assert (gap.resource, gap.namespace, gap.reason) == (ROLES.name, "", "forbidden")
        cluster.role("b")
        asked = len(cluster.server.asked)
        cluster.for_(1.0)
        assert len([each for each in cluster.server.asked[asked:] if each.path == ROLE.path]) <= 12
        cluster.server.faults.forbidden.clear()
        cluster.until(lambda: cluster.agrees() and not cluster.mirror.lost)

    def test_a_moment_of_it_is_no_loss(self, follow: _Running) -> None:
        """A server that has just started may refuse what it does not know yet."""
        cluster = follow(pace=FAST._replace(certain=2.0))
        cluster.server.faults.forbidden.add(ROLE.path)
        cluster.server.drop()
        cluster.for_(0.5)
        cluster.server.faults.forbidden.clear()
        cluster.role("a")
        cluster.until(cluster.agrees)
        assert not [change for change in cluster.mirror.log if isinstance(change, Lost)]

    def test_a_list_that_was_never_allowed_is_lost_at_once_and_the_others_are_followed(self, follow: _Running) -> None:
        server = FaultyServer([ROLE, Resource.of(NAMESPACES)], faults=Faults(forbidden={ROLE.path}))
        cluster = follow([ROLES, NAMESPACES], server=server)
        assert set(cluster.mirror.lost) == {ROLE_LIST}
        server.store.put("/api/v1/namespaces", "n")
        cluster.until(lambda: cluster.mirror.names("namespaces") == {"n"})

    def test_that_allow_a_list_and_no_watch_make_do_with_lists(self, follow: _Running) -> None:
        server = FaultyServer([ROLE], faults=Faults(forbidden_to_watch={ROLE.path}))
        cluster = follow(server=server, pace=FAST._replace(patience=60.0))
        cluster.role("a")
        cluster.until(cluster.agrees)
        cluster.role("b")
        cluster.until(cluster.agrees)
        assert not cluster.mirror.lost
        assert cluster.events() == []

    def test_a_server_that_cannot_be_reached_for_long_is_a_loss_that_the_next_word_ends(self, follow: _Running) -> None:
        """It goes on where it was: what happened meanwhile is told."""
        cluster = follow()
        cluster.role("a")
        cluster.until(cluster.agrees)
        cluster.server.down()
        cluster.until(lambda: ROLE_LIST in cluster.mirror.lost)
        assert cluster.mirror.lost[ROLE_LIST].reason == "failed"
        cluster.role("b")
        cluster.server.up()
        cluster.until(lambda: cluster.agrees() and not cluster.mirror.lost)
        assert cluster.events() == [("ADDED", "a"), ("ADDED", "b")]
        assert cluster.lists() == 1

    def test_tokens_that_expire_are_renewed_and_every_stream_goes_on(self, follow: _Running) -> None:
        tokens = ["new", "old"]

        def load() -> Access:
            return Access("", headers=(("Authorization", f"Bearer {tokens[0]}"),))

        server = FaultyServer([ROLE, Resource.of(NAMESPACES)], faults=Faults(tokens={"old"}))
        server.up()
        access = replace(load(), server=server.url, headers=(("Authorization", "Bearer old"),))
        cluster = follow([ROLES, NAMESPACES], server=server, access=access,
                         reload=lambda: replace(load(), server=server.url))  # fmt: skip
        cluster.until(lambda: len(server.watches()) == 2)
        server.faults.tokens = {"new"}
        server.drop()
        cluster.role("a")
        server.store.put("/api/v1/namespaces", "n")
        cluster.until(lambda: cluster.agrees() and cluster.mirror.names("namespaces") == {"n"})
        assert {each.token for each in server.watches()[-2:]} == {"new"}
        assert len(server.lists()) == 2
        server.down()


class TestVerifying:
    def test_what_the_server_failed_to_tell_is_found_and_counted(self, follow: _Running) -> None:
        cluster = follow(pace=FAST._replace(verify=0.5))
        cluster.role("kept")
        cluster.role("deleted")
        cluster.until(cluster.agrees)
        cluster.server.faults.events.extend(["lost", "lost", "lost"])
        cluster.delete("deleted")
        cluster.role("kept", rules=[])
        cluster.role("made")
        cluster.until(cluster.agrees)
        assert {name for _, (_, name) in cluster.mirror.corrections} == {"kept", "deleted", "made"}

    def test_what_is_written_while_a_list_is_read_is_no_correction(self, follow: _Running) -> None:
        """Pages of three, while something is written all the time, and the watch goes on."""
        server = FaultyServer([ROLE], bookmark=0.05)
        for number in range(30):
            server.store.put(ROLE.path, f"r{number:02}", "ns")
        cluster = follow(server=server, pace=FAST._replace(verify=0.1))
        chance = random.Random(1)
        for number in range(400):
            name = f"r{chance.randrange(40):02}"
            if chance.random() < 0.4 and name in cluster.true:
                cluster.delete(name)
            else:
                cluster.role(name, rules=[number])
            cluster.for_(0.003)
        cluster.until(cluster.agrees)
        verified = [change for change in cluster.mirror.log if isinstance(change, Listed) and change.verified]
        assert len(verified) >= 5
        assert any(change.newer for change in verified), "a list was overtaken, or this shows nothing"
        assert cluster.mirror.corrections == []
        assert len(cluster.events()) == 400

    @pytest.mark.parametrize("fault", ["doubled", "swapped"])
    def test_events_come_once_and_in_order_whatever_the_server_does(self, follow: _Running, fault: str) -> None:
        """One that comes too late is left out, and the list verified at once."""
        cluster = follow(pace=FAST._replace(verify=2.0))
        cluster.role("a")
        cluster.until(cluster.agrees)
        cluster.server.faults.events.append(fault)
        cluster.role("b")
        cluster.role("c")
        cluster.until(cluster.agrees, 3.0)
        seen = [int(change.resource_version) for change in cluster.mirror.log if isinstance(change, Seen)]
        assert seen == sorted(set(seen))
        assert cluster.server.counts[fault] == 1

    def test_versions_that_cannot_be_compared_stop_the_watch_for_the_list(self, follow: _Running) -> None:
        server = FaultyServer([ROLE], comparable=False)
        cluster = follow(server=server, pace=FAST._replace(verify=0.5))
        for number in range(40):
            cluster.role(f"r{number}")
            cluster.for_(0.05)
        cluster.until(cluster.agrees)
        lists = [change for change in cluster.mirror.log if isinstance(change, Listed) and change.listing == ROLE_LIST]
        assert len(lists) >= 3
        assert not any(change.verified or change.newer for change in lists)
        assert {each.query["resourceVersion"][0] for each in server.watches()} == {"v"}

    def test_one_list_is_read_at_a_time(self, follow: _Running) -> None:
        cluster = follow([ROLES, *WORKLOADS], pace=FAST._replace(verify=0.2))
        cluster.for_(2.0)
        threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("posture")}
        assert threads == {"posture-watches", "posture-lists"}
        assert len(cluster.server.lists()) > 12


class TestKinds:
    def test_that_come_are_followed_and_that_go_are_gone(self, follow: _Running) -> None:
        policy = Resource.of(BY_NAME["clusterpolicies.kyverno.io"])
        kinds = [ROLES, BY_NAME["clusterpolicies.kyverno.io"]]
        cluster = follow(kinds, server=FaultyServer([ROLE]), pace=FAST._replace(patience=60.0))
        listing = Listing("clusterpolicies.kyverno.io")
        assert listing not in cluster.mirror.listings

        def known(names: set[str]) -> bool:
            return cluster.mirror.names(listing.resource) == names

        for name in ("first", "again"):
            cluster.server.store.serve(policy)
            cluster.server.store.put(policy.path, name)
            cluster.until(partial(known, {name}))
            assert listing in cluster.mirror.listings
            assert listing.resource in cluster.mirror.names(RESOURCES.resource)
            cluster.server.store.unserve(policy)
            cluster.until(lambda: listing.resource not in cluster.mirror.names(RESOURCES.resource))
            assert listing not in cluster.mirror.listings
            assert known(set())
        assert not [change for change in cluster.mirror.log if isinstance(change, Lost)]
        assert cluster.lists() == 1, "the others go on as they were"

    def test_of_a_group_are_followed_each_by_its_own_list(self, follow: _Running) -> None:
        found = [Resource("constraints.gatekeeper.sh", "v1beta1", kind.lower(), kind, False) for kind in ("One", "Two")]
        cluster = follow([CONSTRAINTS], server=FaultyServer(found[:1]))
        cluster.server.store.serve(found[1])
        for each in found:
            cluster.server.store.put(each.path, "same", spec={})
        both = {("", "One/same"), ("", "Two/same")}
        cluster.until(lambda: cluster.mirror.objects(CONSTRAINTS.name).keys() == both)
        cluster.server.store.delete(found[0].path, "same")
        cluster.until(lambda: cluster.mirror.objects(CONSTRAINTS.name).keys() == {("", "Two/same")})

    def test_of_some_names_are_asked_for_by_name(self, follow: _Running) -> None:
        cluster = follow([MAPS])
        for name in (*MAPS.named, "other"):
            cluster.server.store.put("/api/v1/configmaps", name, "ns")
        cluster.until(lambda: cluster.mirror.names("configmaps") == set(MAPS.named))
        cluster.until(lambda: len(cluster.server.watches()) == len(MAPS.named))
        asked = {each.query["fieldSelector"] for each in cluster.server.watches()}
        assert asked == {f"metadata.name={name}" for name in MAPS.named}

    def test_of_some_namespaces_are_followed_there_and_namespaces_are_asked_for_alone(self, follow: _Running) -> None:
        cluster = follow([NAMESPACES, ROLES], namespaces=["b", "a"])
        cluster.server.store.put("/api/v1/namespaces", "a", labels={})
        for namespace in ("a", "b", "c"):
            cluster.server.store.put(ROLE.path, "r", namespace)
        cluster.until(lambda: cluster.mirror.objects(ROLES.name).keys() == {("a", "r"), ("b", "r")})
        cluster.until(lambda: cluster.mirror.names("namespaces") == {"a"})
        assert cluster.mirror.served is not None
        assert {(gap.resource, gap.namespace, gap.reason) for gap in cluster.mirror.served.gaps} == {
            ("namespaces", "!a,b", "not collected"), (ROLES.name, "!a,b", "not collected"),
        }  # fmt: skip
        assert {each.path for each in cluster.server.asked if "configmaps" in each.path or "/roles" in each.path} == {
            f"/apis/{RBAC}/v1/namespaces/{name}/roles" for name in ("a", "b")
        }

    def test_whose_discovery_fails_for_a_while_are_not_gone(self, follow: _Running) -> None:
        cluster = follow([NAMESPACES, ROLES])
        cluster.role("a")
        cluster.until(cluster.agrees)
        real = cluster.server.discovery
        cluster.server.discovery = lambda root: {"kind": "Nonsense"} if root == "/apis" else real(root)  # type: ignore[method-assign]
        cluster.until(lambda: bool(cluster.mirror.served and cluster.mirror.served.gaps))
        assert cluster.agrees()
        cluster.role("b")
        cluster.until(cluster.agrees)
        cluster.server.discovery = real  # type: ignore[method-assign]
        cluster.until(lambda: bool(cluster.mirror.served and not cluster.mirror.served.gaps))
        assert cluster.lists() == 1


@pytest.mark.parametrize("seed", range(4))
def test_after_any_failures_what_is_known_is_what_there_is(follow: _Running, seed: int) -> None:
    """Everything goes wrong by chance while objects come and go; then nothing does, and soon all agree."""
    chance = random.Random(seed)
    chances = dict.fromkeys((*Faults.EVENTS, *Faults.REQUESTS), 0.03)
    server = FaultyServer([ROLE, Resource.of(NAMESPACES)], faults=Faults(chances, chance), window=60,
                          expired_as_event=bool(seed % 2))  # fmt: skip
    pace = FAST._replace(verify=0.6, silence=0.6)
    cluster = follow([ROLES, NAMESPACES], server=server, pace=pace, synced=False)
    for number in range(250):
        name = f"r{chance.randrange(20):02}"
        if chance.random() < 0.4 and name in cluster.true:
            cluster.delete(name)
        else:
            cluster.role(name, rules=[number])
        match chance.randrange(60):
            case 0:
                server.drop()
            case 1:
                server.store.compact()
            case 2:
                server.down()
                server.up()
        cluster.for_(0.01)
    server.faults.chances = {}
    server.drop()
    cluster.until(lambda: cluster.mirror.synced and not cluster.mirror.lost and cluster.agrees(), 10.0)
    cluster.for_(1.5)
    assert cluster.agrees()
    assert set(Faults.EVENTS) & server.counts.keys()
    assert server.counts.keys() & {*Faults.REQUESTS}
