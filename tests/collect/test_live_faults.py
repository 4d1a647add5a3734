"""Reading a live cluster that fails: a faulty server, for what a real one does not do on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from posture.collect import Page, Problem, Restart
from posture.collect.access import Access
from posture.collect.client import Client
from posture.collect.live import LiveSource
from posture.errors import CannotJudge, UsageError
from posture.kinds import ADMISSION, API_RESOURCES, API_SERVER_FLAGS, BY_NAME, RBAC
from posture.model import Gap, Version
from tests.collect.fake_api import Answer, FakeApi, page, status
from tests.collect.readings import gaps, lists, names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from posture.collect import Event, Facts

RBAC_V1 = f"{RBAC}/v1"
RBAC_RESOURCES = ("clusterrolebindings", "rolebindings", "clusterroles", "roles")
RBAC_KINDS = [f"{resource}.{RBAC}" for resource in RBAC_RESOURCES]


def group(name: str, *resources: str, version: str = "v1", freshness: str = "Current") -> dict[str, Any]:
    """One group of aggregated discovery; resources are namespaced unless BY_NAME knows better."""
    rows = []
    for resource in resources:
        kind = BY_NAME.get(f"{resource}.{name}" if name else resource)
        scope = "Cluster" if kind and not kind.namespaced else "Namespaced"
        called = kind.kind if kind else resource.title()
        rows.append({"resource": resource, "scope": scope, "responseKind": {"kind": called}})
    return {
        "metadata": {"name": name} if name else {},
        "versions": [{"version": version, "resources": rows, "freshness": freshness}],
    }


def discovery(*groups: dict[str, Any]) -> Answer:
    return Answer({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": list(groups)})


KUBE_SYSTEM = Answer({"metadata": {"name": "kube-system", "uid": "u-1"}})


def cluster(**answers: Any) -> dict[str, Any]:
    """What a small healthy cluster answers, with other answers (by the last word of the path) put in place."""
    paths = {
        "version": "/version",
        "api": "/api",
        "apis": "/apis",
        "kube_system": "/api/v1/namespaces/kube-system",
        "namespaces": "/api/v1/namespaces",
        "serviceaccounts": "/api/v1/serviceaccounts",
        "pods": "/api/v1/pods",
        **{name: f"/apis/{RBAC_V1}/{name}" for name in RBAC_RESOURCES},
    }
    healthy = {name: page() for name in paths} | {
        "version": Answer({"gitVersion": "v1.36.3"}),
        "api": discovery(group("", "namespaces", "serviceaccounts", "pods")),
        "apis": discovery(group(RBAC, *RBAC_RESOURCES)),
        "kube_system": KUBE_SYSTEM,
    }
    assert answers.keys() <= paths.keys()
    return {paths[name]: answer for name, answer in (healthy | answers).items()}


def events_of(answers: Mapping[str, Any], **options: Any) -> tuple[list[Event], Facts, FakeApi]:
    with FakeApi(answers) as api, Client(Access(api.url), sleep=lambda _: None, clock=lambda: 0.0) as client:
        source = LiveSource(client, **options)
        return list(source.events()), source.facts, api


def item(name: str, namespace: str = "", **content: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, **content}


def of(*items: dict[str, Any]) -> Answer:
    """A whole list."""
    return Answer({"metadata": {"resourceVersion": "7"}, "items": list(items)})


class TestFailures:
    def test_of_one_list_drop_its_half_and_leave_a_gap(self) -> None:
        answers = [page("a", token="t"), status(500, "InternalError", "broken")]
        events, _, _ = events_of(cluster(pods=answers))
        about = [event for event in events if event.resource == "pods"]
        message = "GET /api/v1/pods: 500 Internal Server Error: broken (tried 6 times)"
        assert about == [
            Page("pods", "", [item("a")]),
            Restart("pods", ""),
            Gap("pods", "", "failed", message),
        ]
        assert gaps(events) == [about[-1]], "and the other kinds are read"

    def test_that_no_kind_survives_are_no_snapshot(self) -> None:
        down = status(503, "ServiceUnavailable", "down")
        answers = cluster(**dict.fromkeys(["namespaces", "serviceaccounts", "pods", *RBAC_RESOURCES], down))
        with pytest.raises(CannotJudge, match=r"^nothing can be read from .*503 Service Unavailable: down"):
            events_of(answers)

    def test_of_the_connection_end_the_read_with_gaps_for_all_that_is_left(self) -> None:
        """Not one attempt for each of the other kinds, with waits that add up."""
        with FakeApi(cluster(namespaces=[page("a", token="t"), page("b")])) as api:
            waits: list[float] = []
            client = Client(Access(api.url), sleep=waits.append, clock=lambda: 0.0)
            events = LiveSource(client).events()
            seen: list[Event] = []
            for event in events:
                seen.append(event)
                if event == Page("namespaces", "", [item("b")]):
                    break
            assert len(seen) == 3
        # The server is gone now. What was on its way already may have come.
        seen += events
        found = gaps(seen)
        assert {gap.reason for gap in found} == {"failed"}
        read_before = {resource for resource, _ in lists(seen)} - {API_RESOURCES}
        assert read_before <= {"namespaces", RBAC_KINDS[0]}
        assert {gap.resource for gap in found} == {"namespaces", "serviceaccounts", "pods", *RBAC_KINDS} - read_before
        assert len(waits) == 5, "six tries for the first, none for the others"

    @pytest.mark.parametrize(
        ("answer", "version", "places"),
        [
            (Answer({"gitVersion": "v1.36.3"}), Version(1, 36), []),
            (Answer({"gitVersion": "v1.33.4-gke.1036000", "major": "1", "minor": "33"}), Version(1, 33), []),
            (Answer({"gitVersion": "v1.34.1+k3s1"}), Version(1, 34), []),
            (Answer({"gitVersion": "unknown", "major": "1", "minor": "36+"}), Version(1, 36), []),
            (Answer({"gitVersion": "v1.36.0", "emulationMajor": "1", "emulationMinor": "34"}), Version(1, 36), []),
            (Answer({}), None, ["/version"]),
            (status(403, "Forbidden", "no"), None, ["/version"]),
        ],
    )
    def test_of_the_version_are_a_problem_and_no_gap(
        self, answer: Answer, version: Version | None, places: list[str]
    ) -> None:
        events, facts, _ = events_of(cluster(version=answer))
        assert (facts.version, [problem.place for problem in facts.problems]) == (version, places)
        assert gaps(events) == []

    @pytest.mark.parametrize(
        ("answer", "uid"), [(KUBE_SYSTEM, "u-1"), (status(403, "Forbidden", "no"), ""), (status(404, "NotFound"), "")]
    )
    def test_of_permission_leave_the_cluster_without_an_id(self, answer: Answer, uid: str) -> None:
        assert events_of(cluster(kube_system=answer))[1].cluster == uid

    def test_of_a_moment_never_change_the_clusters_id(self) -> None:
        with pytest.raises(CannotJudge, match="/api/v1/namespaces/kube-system: 500"):
            events_of(cluster(kube_system=status(500)))


class TestServed:
    def test_nothing_is_asked_of_what_is_not_served(self) -> None:
        events, _, api = events_of(cluster())
        asked = {path.rpartition("/")[2] for path in api.paths}
        assert asked == {
            "version",
            "flagz",
            "api",
            "apis",
            "kube-system",
            "namespaces",
            "serviceaccounts",
            "pods",
            *RBAC_RESOURCES,
        }
        assert gaps(events) == []

    def test_a_cluster_without_rbac_is_a_gap(self) -> None:
        """Something else decides there who may do what: no roles does not mean no permissions."""
        events, _, _ = events_of(cluster(apis=discovery(group("apps"))))
        assert [(gap.resource, gap.reason) for gap in gaps(events)] == [(name, "failed") for name in RBAC_KINDS]
        assert "the RBAC API is not served" in gaps(events)[0].message

    @pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
    def test_a_kind_is_read_in_the_first_version_that_is_served(self, version: str) -> None:
        name, path = "mutatingadmissionpolicies", f"/apis/{ADMISSION}/{version}/mutatingadmissionpolicies"
        answers = cluster(apis=discovery(group(ADMISSION, name, version="v2"), group(ADMISSION, name, version=version)))
        events, _, _ = events_of({**answers, path: page("a")}, kinds=[BY_NAME[f"{name}.{ADMISSION}"]])
        assert names(lists(events)[f"{name}.{ADMISSION}", ""]) == ["a"]

    def test_a_kind_that_is_served_only_in_another_version_is_a_gap(self) -> None:
        name = f"validatingadmissionpolicies.{ADMISSION}"
        answers = cluster(apis=discovery(group(ADMISSION, "validatingadmissionpolicies", version="v1beta1")))
        events, _, _ = events_of(answers, kinds=[BY_NAME["pods"], BY_NAME[name]])
        assert gaps(events) == [Gap(name, "", "not modelled", f"{name} is served only as v1beta1")]

    @pytest.mark.parametrize("where", ["api", "apis"])
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (status(403, "Forbidden", "no"), "forbidden"),
            (status(503, "ServiceUnavailable", "starting"), "failed"),
            (Answer({"kind": "APIGroupDiscoveryList", "items": [5]}), "failed"),
            (Answer({"kind": "Something"}), "failed"),
        ],
    )
    def test_what_discovery_does_not_say_is_asked_for(self, where: str, answer: Answer, reason: str) -> None:
        """A kind is never absent only because discovery failed."""
        events, _, _ = events_of(cluster(**{where: answer}), kinds=[BY_NAME[name] for name in ("pods", *RBAC_KINDS)])
        assert [(gap.resource, gap.reason) for gap in gaps(events)] == [(API_RESOURCES, reason)]
        assert {resource for resource, _ in lists(events)} == {API_RESOURCES, "pods", *RBAC_KINDS}

    @pytest.mark.parametrize(("version", "reasons"), [("v1", []), ("v1alpha1", []), ("v9", ["failed"])])
    def test_without_discovery_a_kind_is_asked_for_in_every_version_that_posture_reads(
        self, version: str, reasons: list[str]
    ) -> None:
        kind = BY_NAME[f"mutatingadmissionpolicies.{ADMISSION}"]
        answers = cluster(apis=status(403, "Forbidden", "no"))
        answers[f"/apis/{ADMISSION}/{version}/{kind.resource}"] = page("a")
        events, _, _ = events_of(answers, kinds=[BY_NAME["pods"], kind])
        assert [gap.reason for gap in gaps(events) if gap.resource == kind.name] == reasons
        assert ((kind.name, "") in lists(events)) == (not reasons)

    def test_an_empty_core_group_is_not_believed(self) -> None:
        events, _, _ = events_of(cluster(api=discovery()), kinds=[BY_NAME["pods"]])
        assert [gap.resource for gap in gaps(events)] == [API_RESOURCES]
        assert ("pods", "") in lists(events)

    def test_a_kind_of_a_stale_group_is_asked_for_and_may_fail(self) -> None:
        stale = group("apps", version="v1", freshness="Stale")
        events, _, _ = events_of(cluster(apis=discovery(stale)), kinds=[BY_NAME["pods"], BY_NAME["deployments.apps"]])
        assert [(gap.resource, gap.reason) for gap in gaps(events)] == [
            (API_RESOURCES, "failed"), ("deployments.apps", "failed"),
        ]  # fmt: skip
        assert "404 Not Found" in gaps(events)[1].message


class TestFlags:
    def test_that_the_server_shows_are_kept_as_far_as_they_bear_on_admission(self) -> None:
        """One that is not set is there too: it is known not to be set."""
        shown = Answer({"kind": "Flagz", "flags": {"admission-control-config-file": "/a.yaml", "feature-gates": "",
                                                   "etcd-servers": "[https://10.0.0.1:2379]"}})  # fmt: skip
        events, _, api = events_of(cluster() | {"/flagz": shown}, kinds=[BY_NAME["pods"]])
        assert lists(events)[API_SERVER_FLAGS, ""] == [
            {"metadata": {"name": "admission-control-config-file"}, "value": "/a.yaml"},
            {"metadata": {"name": "feature-gates"}, "value": ""},
        ]
        (asked,) = (request for request in api.requests if request.path == "/flagz")
        assert "as=Flagz" in asked.headers["Accept"]

    @pytest.mark.parametrize(
        "answer",
        [status(403, "Forbidden", "no"), status(404), status(406), status(500), Answer(b"apiserver flagz\n"),
         Answer({"kind": "Flagz"}), Answer({"flags": ["x"]}), Answer([])],
    )  # fmt: skip
    def test_that_it_does_not_show_are_no_gap(self, answer: Answer) -> None:
        events, facts, _ = events_of(cluster() | {"/flagz": answer}, kinds=[BY_NAME["pods"]])
        assert (API_SERVER_FLAGS, "") not in lists(events)
        assert (gaps(events), facts.problems) == ([], [])


class TestParts:
    """A kind that is several lists: the kinds of a group, or objects of some names."""

    GROUP = "constraints.gatekeeper.sh"

    def read(self, *resources: str, version: str = "v1beta1", **answers: Any) -> tuple[list[Event], FakeApi]:
        paths = {f"/apis/{self.GROUP}/{version}/{name}": answer for name, answer in answers.items()}
        groups = [group(self.GROUP, *resources, version=version)] if resources else []
        kinds = [BY_NAME["pods"], BY_NAME[f"*.{self.GROUP}"]]
        events, _, api = events_of(cluster(apis=discovery(*groups)) | paths, kinds=kinds)
        return [event for event in events if event.resource == f"*.{self.GROUP}"], api

    def test_a_list_that_fails_voids_its_own_objects_alone(self) -> None:
        broken = [page("x", token="t"), status(403, "Forbidden", "not two")]
        events, _ = self.read("one", "two", "three", one=page("a"), two=broken, three=page("b"))
        assert names(lists(events)[f"*.{self.GROUP}", ""]) == ["a", "b"]
        assert gaps(events) == [Gap(f"*.{self.GROUP}", "", "forbidden", "not two")]

    def test_a_group_that_is_not_served_is_nothing(self) -> None:
        events, api = self.read()
        assert events == []
        assert not [path for path in api.paths if self.GROUP in path]

    def test_a_group_in_a_version_that_nobody_knows_is_not_modelled(self) -> None:
        events, _ = self.read("one", version="v9")
        assert events == [Gap(f"*.{self.GROUP}", "", "not modelled", f"one.{self.GROUP} is served only as v9")]

    def test_a_group_that_discovery_does_not_answer_for_is_a_gap(self) -> None:
        """Which kinds it has nobody knows, so nothing can be asked for."""
        events, _, _ = events_of(
            cluster(apis=status(403, "Forbidden", "no")), kinds=[BY_NAME["pods"], BY_NAME[f"*.{self.GROUP}"]]
        )
        assert gaps(events)[1:] == [
            Gap(f"*.{self.GROUP}", "", "failed", f"which kinds {self.GROUP} has is not known: see {API_RESOURCES}")
        ]

    def test_objects_of_some_names_are_asked_for_one_by_one_in_pages(self) -> None:
        """Never all of them, on no page."""
        answers = [page("kyverno", token="t"), page("kyverno"), page()]
        core = discovery(group("", "pods", "configmaps"))
        events, _, api = events_of(
            cluster(api=core) | {"/api/v1/configmaps": answers}, kinds=[BY_NAME["pods"], BY_NAME["configmaps"]]
        )
        asked = [request.query["fieldSelector"] for request in api.requests if request.path == "/api/v1/configmaps"]
        first, second = (f"metadata.name={name}" for name in BY_NAME["configmaps"].named)
        assert asked == [first, first, second]
        assert names(lists(events)["configmaps", ""]) == ["kyverno", "kyverno"]


class TestReferences:
    def test_a_namespace_that_was_made_meanwhile_is_listed_after_all(self) -> None:
        late = [of(item("old")), of(item("old"), item("new"))]
        pods = of(item("p", "old"), item("q", "new"))
        events, _, api = events_of(cluster(namespaces=late, pods=pods))
        assert names(lists(events)["namespaces", ""]) == ["old", "new"]
        assert events[-2] == Restart("namespaces", "")
        assert api.paths.count("/api/v1/namespaces") == 2

    def test_a_service_account_that_a_pod_uses_is_listed_after_all(self) -> None:
        late = [of(item("default", "a")), of(item("default", "a"), item("new", "a"))]
        pods = of(
            item("p", "a", spec={"serviceAccountName": "new"}), item("static", "a", spec={}), item("odd", "a", spec=[])
        )
        events, _, _ = events_of(cluster(namespaces=of(item("a")), serviceaccounts=late, pods=pods))
        assert names(lists(events)["serviceaccounts", ""]) == ["default", "new"]

    def test_what_stays_missing_is_asked_for_once(self) -> None:
        pods = of(item("p", "a", spec={"serviceAccountName": "gone"}), item("q", "b", spec={"serviceAccountName": "x"}))
        events, _, api = events_of(cluster(pods=pods))
        assert api.paths.count("/api/v1/namespaces") == 2
        assert api.paths.count("/api/v1/serviceaccounts") == 2
        assert gaps(events) == []

    def test_what_is_all_there_is_not_asked_for_again(self) -> None:
        pods = of(item("p", "a", spec={"serviceAccountName": "default"}))
        accounts, namespaces = of(item("default", "a")), of(item("a"))
        _, _, api = events_of(cluster(namespaces=namespaces, serviceaccounts=accounts, pods=pods))
        assert len(api.paths) == len(set(api.paths))

    def test_what_could_not_be_listed_is_a_gap_once(self) -> None:
        pods = of(item("p", "a"))
        events, _, api = events_of(cluster(namespaces=status(403, "Forbidden", "no"), pods=pods))
        assert gaps(events) == [Gap("namespaces", "", "forbidden", "no")]
        assert api.paths.count("/api/v1/namespaces") == 1


class TestNamespaces:
    def answers(self, **more: Any) -> dict[str, Any]:
        paths = {f"/api/v1/namespaces/pay/{name}": page() for name in ("serviceaccounts", "pods")}
        paths |= {f"/apis/{RBAC_V1}/namespaces/pay/{name}": page() for name in ("roles", "rolebindings")}
        return cluster() | paths | {"/api/v1/namespaces/pay": Answer(item("pay"))} | more

    def test_are_listed_each_on_its_own(self) -> None:
        events, _, api = events_of(self.answers(), namespaces=["pay", "pay"])
        assert set(lists(events)) == {
            (API_RESOURCES, ""), ("namespaces", ""), ("serviceaccounts", "pay"), ("pods", "pay"),
            (f"roles.{RBAC}", "pay"), (f"rolebindings.{RBAC}", "pay"),
        }  # fmt: skip
        assert not {"/api/v1/pods", "/api/v1/namespaces"} & set(api.paths)

    def test_that_are_refused_are_gaps_of_their_own(self) -> None:
        no = status(403, "Forbidden", "not in shop")
        kinds = [BY_NAME["pods"]]
        events, _, _ = events_of(
            self.answers(**{"/api/v1/namespaces/shop/pods": no}), namespaces=["pay", "shop"], kinds=kinds
        )
        assert gaps(events) == [
            Gap("pods", "shop", "forbidden", "not in shop"),
            Gap("pods", "!pay,shop", "not collected", "only namespaces pay and shop were read"),
        ]

    def test_that_do_not_exist_are_a_problem_and_no_gap(self) -> None:
        answers = self.answers(**{"/api/v1/namespaces/pay": status(404, "NotFound")})
        events, facts, _ = events_of(answers, namespaces=["pay"])
        assert lists(events)["namespaces", ""] == []
        assert facts.problems == [Problem("/api/v1/namespaces/pay", "there is no namespace pay")]
        assert {gap.reason for gap in gaps(events)} == {"not collected"}

    @pytest.mark.parametrize(
        "answer", [status(401), status(500), Answer({"kind": "Namespace"}), Answer({"metadata": {}})]
    )
    def test_that_cannot_be_read_are_gaps_and_never_absent(self, answer: Answer) -> None:
        """Also those after the first, when nothing more can be asked."""
        answers = self.answers(**{"/api/v1/namespaces/a": answer, "/api/v1/namespaces/b": answer})
        kinds = [BY_NAME[RBAC_KINDS[3]], BY_NAME["namespaces"]]
        answers |= {f"/apis/{RBAC_V1}/namespaces/{name}/roles": page() for name in "ab"}
        events, _, _ = events_of(answers, namespaces=["a", "b"], kinds=kinds)
        failed = [(gap.resource, gap.namespace) for gap in gaps(events) if gap.reason == "failed"]
        assert failed == [("namespaces", "a"), ("namespaces", "b")]

    @pytest.mark.parametrize("name", ["..", "a/b", "", "A", "a b", "-a", "a" * 64, "!a", "a,b", "kube-system?x=1"])
    def test_have_names_that_change_no_path(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"is no name of a namespace$"):
            LiveSource(Client(Access("http://127.0.0.1:1")), namespaces=[name])
