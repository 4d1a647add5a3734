"""What is told of new paths: the object that changed, and every change that opens one, in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture.graph.alone import TRIED
from posture.graph.evaluate import DOMAINS, assembled
from posture.model import Finding, Key, Snapshot
from posture.pipeline import Difference, diff
from tests.generator.network import deployment, pod
from tests.generator.objects import Object, account, binding, namespace, rule, service_account, snapshot, user
from tests.graph.clusters import Size, escalations, random_cluster, seeds, sizes
from tests.graph.scene import runs, service
from tests.graph.test_crossing import BY_HAND, NODE_PORT
from tests.graph.test_escapes import claims, volume
from tests.graph.test_laws import gained, reached
from tests.graph.test_new_paths import ADMIN, Cluster, may, own
from tests.rbac.test_gaps import rules

BASE = [*ADMIN, runs("pay", "web", "idle"), service("pay", "web"), runs("pay", "batch", "admin")]
"""A Service leads to a workload that may do nothing; beside it runs an administrator."""


def labelled(name: str, app: str, kind: str = "Deployment") -> Object:
    """A workload that runs as the administrator, with the label of another."""
    made = deployment("pay", name, {"app": app}, [{"containerPort": 8080}], serviceAccountName="admin")
    return made | {"kind": kind}


def without(objects: list[Object], kind: str, name: str) -> list[Object]:
    """All but one object."""
    return [one for one in objects if (one["kind"], one["metadata"]["name"]) != (kind, name)]


def mounts(name: str, *, token: bool | None) -> Object:
    """A ServiceAccount whose token is mounted, or not."""
    return service_account("pay", name) | ({} if token is None else {"automountServiceAccountToken": token})


LOCKED = [*without(ADMIN, "ServiceAccount", "admin"), mounts("admin", token=False), runs("pay", "web", "admin"),
          service("pay", "web")]  # fmt: skip
INGRESS: Object = {
    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "front", "namespace": "pay"},
    "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
}  # fmt: skip
BEHIND = [*without(BASE, "Service", "web"), service("pay", "web", "ClusterIP"), INGRESS]
ELSEWHERE = service("pay", "web", "ClusterIP")
ELSEWHERE["spec"] = ELSEWHERE["spec"] | {"selector": {"app": "batch"}}

WEB_POD = pod("pay", "web", ips=["10.0.0.7"], serviceAccountName="admin")
CLAIMS = claims()
HOSTED = deployment("pay", "web", {"app": "web"}, [{"containerPort": 8080, "hostPort": 80}],
                    serviceAccountName="admin")  # fmt: skip

CHANGED: Mapping[str, tuple[list[Object], list[Object], str, str]] = {
    "the label of a workload": (
        BASE, [*without(BASE, "Deployment", "batch"), labelled("batch", "web")], "Deployment/pay/batch", "changed",
    ),
    "a workload behind a Service that was there": (
        BASE, [*BASE, labelled("evil", "web")], "Deployment/pay/evil", "created",
    ),
    "a workload in the place of another": (
        BASE, [*without(BASE, "Deployment", "web"), labelled("web", "web", "StatefulSet")],
        "StatefulSet/pay/web", "created",
    ),
    "what a Service selects": (
        BASE, [*without(BASE, "Service", "web"), service("pay", "batch")], "Service/pay/batch", "created",
    ),
    "the Service behind an Ingress": (
        BEHIND, [*without(BEHIND, "Service", "web"), ELSEWHERE], "Service/pay/web", "changed",
    ),
    "whether a token is mounted": (
        LOCKED, [*without(LOCKED, "ServiceAccount", "admin"), mounts("admin", token=None)],
        "ServiceAccount/pay/admin", "changed",
    ),
    "an EndpointSlice that is written by hand": (
        [*ADMIN, WEB_POD, NODE_PORT], [*ADMIN, WEB_POD, NODE_PORT, BY_HAND], "EndpointSlice/pay/s", "created",
    ),
    "the volume that a workload claims": (
        [*ADMIN, CLAIMS], [*ADMIN, CLAIMS, volume("/")], "PersistentVolume/pv-data", "created",
    ),
    "a port of its nodes": (
        [*ADMIN, labelled("web", "web")], [*ADMIN, HOSTED], "Deployment/pay/web", "changed",
    ),
    "as whom a workload runs": (
        BASE, [*without(BASE, "Deployment", "web"), runs("pay", "web", "admin")], "Deployment/pay/web", "changed",
    ),
}  # fmt: skip
"""What changed: what was agreed, what there is, the object that one would edit, and what happened to it."""


class TestOrigin:
    """Of a path that no domain speaks of, the cause is what changed and not what it has to do with."""

    @pytest.mark.parametrize("name", CHANGED)
    def test_the_object_that_changed_is_named(self, name: str) -> None:
        """As the cause, as what one would edit, and in the sentence."""
        before, after, through, what = CHANGED[name]
        found = own(Cluster([before]).told(after))

        assert [*found] == [through]
        assert [(str(cause.key.name), cause.what) for cause in found[through].causes] == [
            (through.rpartition("/")[2], what)
        ]

    def test_a_workload_that_changed_otherwise_is_not_the_cause(self) -> None:
        """Its image is another one, and its ServiceAccount's token is mounted since."""
        before, after, through, _ = CHANGED["whether a token is mounted"]
        other = runs("pay", "web", "admin")
        other["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
        found = own(Cluster([before]).told([*without(after, "Deployment", "web"), other]))

        assert [*found] == [through]

    def test_an_annotation_is_no_cause(self) -> None:
        """Somebody annotates the Service when a workload gets its label."""
        before, after, through, _ = CHANGED["the label of a workload"]
        noted = service("pay", "web")
        noted["metadata"] = noted["metadata"] | {"annotations": {"note": "x"}}
        found = own(Cluster([before]).told([*without(after, "Service", "web"), noted]))

        assert [*found] == [through]

    def test_putting_the_cause_back_closes_it(self) -> None:
        """The fix of a ServiceAccount whose token is mounted since."""
        before, after, through, _ = CHANGED["whether a token is mounted"]
        found = own(Cluster([before]).told(after))[through]

        assert found.fix is not None
        assert [edit.key for edit in found.fix.edits] == [Key("serviceaccounts", "pay", "admin")]


class TestMany:
    """More changes than proofs are looked for in a run."""

    NUMBER = TRIED + 5

    def found(self) -> list[Finding]:
        """What is told of roles of which each gives somebody the tokens of another namespace's administrator."""
        places = [f"n{number}" for number in range(self.NUMBER)]
        bosses = [one for place in places for one in (namespace(place), service_account(place, "boss"))]
        bosses += [binding(place, "ClusterRole/cluster-admin", account(place, "boss")) for place in places]
        tokens = rule("create", "serviceaccounts/token")
        roles = [one for place in places for one in may("tokens", user("eve"), tokens, where=place)]
        return Cluster([[*ADMIN, *bosses]]).told([*ADMIN, *bosses, *roles])

    def test_each_that_opens_a_path_alone_is_told(self) -> None:
        """The last ones without steps, and not in silence."""
        found = self.found()

        assert len(found) == self.NUMBER
        assert all(("user:eve", "cluster-admin") in {(path.source, path.target) for path in one.paths} for one in found)
        assert {bool(path.steps) for one in found for path in one.paths} == {True, False}
        assert {one.severity for one in found} == {"high"}


# Until nothing is left ----------------------------------------------------------------------------------------------

COMES = ("ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "Role", "RoleBinding", "Service", "ServiceAccount")
"""Kinds of which the coming is no growth."""


def told(before: Snapshot, after: Snapshot) -> list[Difference]:
    """What a comparison says that opens paths."""
    found = diff(before, after, rules(), lambda _: ())
    return [one for one in found.differences if one.change.direction == "loosened" and one.paths]


def put_back(after: Snapshot, before: Snapshot, keys: Iterable[Key]) -> Snapshot:
    """A state in which some objects are as they were."""
    return after.replaced((key, before.get(key)) for key in keys)


def reach_of(read: Snapshot) -> Mapping[str, Collection[str]]:
    """The targets of every source, judged as a comparison judges it."""
    judged = replace(read, settings=rules().settings)
    return reached(assembled({name: domain.evaluate(judged) for name, domain in DOMAINS.items()}, escalations()))


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, st.integers(1, 6))
def test_what_is_told_is_closed_until_nothing_is_left(seed: int, size: Size, number: int) -> None:
    """Whoever puts back what one finding after the other names is done when none is told: nobody reaches more then."""
    random = Random(seed)
    objects = random_cluster(random, size)
    may_come = [one for one in objects if one["kind"] in COMES]
    came = random.sample(may_come, min(number, len(may_come)))
    before, after = snapshot(one for one in objects if one not in came), snapshot(objects)
    reaches = reach_of(before)
    while found := told(before, after):
        keys = [cause.key for cause in found[0].causes]
        assert any(after.get(key) != before.get(key) for key in keys), found[0]
        after = put_back(after, before, keys)
    assert gained(reaches, reach_of(after)) == {}
