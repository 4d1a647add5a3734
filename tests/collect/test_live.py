"""Reading a live cluster: a real kube-apiserver."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from posture.collect import Facts, Page, Restart, collect
from posture.collect.access import Access, load
from posture.collect.client import JSON, Client, open_client
from posture.collect.discovery import discover
from posture.collect.live import FLAGS, LiveSource
from posture.collect.problem import RequestProblem
from posture.commands.clusterrole import roles
from posture.errors import CannotJudge
from posture.kinds import ADMISSION, API_RESOURCES, API_SERVER_FLAGS, BY_NAME, KINDS, RBAC, called, manifest
from posture.model import Gap, Key, Version
from tests.collect.readings import gaps, lists, names, read
from tests.controlplane.controlplane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from posture.kinds import Kind

RBAC_V1 = f"{RBAC}/v1"
ALL = [kind.name for kind in KINDS]
NAMESPACED = [kind.name for kind in KINDS if kind.namespaced]


CUSTOM = [kind for kind in KINDS if kind.custom]
CONSTRAINTS = BY_NAME["*.constraints.gatekeeper.sh"]


def concrete(kind: Kind) -> list[Kind]:
    """The kind, or two of the group that it stands for."""
    if kind.resource != "*":
        return [kind]
    return [replace(kind, resource=name.lower(), kind=name) for name in ("K8sAllowed", "K8sRequired")]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane with every custom resource, this module's own: some tests take its history or discovery away."""
    with ControlPlane(users=dict.fromkeys(("alice", "bob", "carol", "dave", "erin", "frank"), ())) as running:
        custom = [one for kind in CUSTOM for one in concrete(kind)]
        running.apply(map(definition, custom))
        until, lacking = time.monotonic() + 30, {kind.name for kind in custom}
        with open_client(kubeconfig=str(running.kubeconfig())) as client:
            while lacking and time.monotonic() < until:
                lacking -= discover(client).versions.keys()
                time.sleep(0.1)
        assert not lacking
        yield running


def definition(kind: Kind) -> dict[str, Any]:
    """A CustomResourceDefinition that takes whatever it is given, in every version that posture reads."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {
        "group": kind.group,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "names": {"plural": kind.resource, "kind": kind.kind},
        "versions": [{"name": name, "served": True, "storage": not number, "schema": schema}
                     for number, name in enumerate(kind.versions)],
    }  # fmt: skip
    found = some("CustomResourceDefinition", kind.name, "", "apiextensions.k8s.io/v1", spec=spec)
    # Without this the server leaves a group of *.k8s.io unserved.
    found["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test"}
    return found


def some(kind: str, name: str, namespace: str = "", version: str = "v1", **content: Any) -> dict[str, Any]:
    """An object for the server."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def role(name: str, namespace: str = "", resources: Sequence[str] = ("pods",), verbs: Sequence[str] = ("list",)) -> Any:
    """A Role, or a ClusterRole without a namespace, for GroupResources as Kubernetes prints them."""
    split = [resource.partition(".") for resource in resources]
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)} for resource, _, group in split]
    return some("Role" if namespace else "ClusterRole", name, namespace, RBAC_V1, rules=rules)


def binding(name: str, to: Mapping[str, Any], user: str) -> Any:
    """Binds a role to a user, where the role is."""
    reference = {"apiGroup": RBAC, "kind": to["kind"], "name": to["metadata"]["name"]}
    subject = {"kind": "User", "apiGroup": RBAC, "name": user}
    namespace = to["metadata"].get("namespace", "")
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return some(kind, name, namespace, RBAC_V1, roleRef=reference, subjects=[subject])


def one_of_each(namespace: str) -> list[dict[str, Any]]:
    """An object of every kind that posture reads."""
    labels = {"app": namespace}
    containers = {"containers": [{"name": "c", "image": "registry.example/c"}]}
    template = {"metadata": {"labels": labels}, "spec": containers}
    controller = {"selector": {"matchLabels": labels}, "template": template}
    run = {"template": {"spec": {**containers, "restartPolicy": "Never"}}}
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    constraints = {"resourceRules": [{**rules[0], "resourceNames": ["none"]}]}
    mutation = {
        "patchType": "JSONPatch",
        "jsonPatch": {"expression": '[JSONPatch{op: "test", path: "/kind", value: "Pod"}]'},
    }
    hook = {
        "name": "none.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
        "clientConfig": {"url": "https://none.invalid/"}, "namespaceSelector": {"matchLabels": {"none": "none"}},
        "rules": rules,
    }  # fmt: skip
    v1 = f"{ADMISSION}/v1"
    roles = [role("r", namespace), role(namespace)]
    return [
        some("Namespace", namespace),
        *roles,
        *(binding(namespace, each, "nobody") for each in roles),
        some("ServiceAccount", "s", namespace),
        some("PersistentVolume", namespace,
             spec={"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/srv"}}),
        some("Pod", "p", namespace, spec={**containers, "serviceAccountName": "s"}),
        some("ReplicationController", "rc", namespace, spec={"selector": labels, "template": template}),
        some("ReplicaSet", "rs", namespace, "apps/v1", spec=controller),
        some("Deployment", "d", namespace, "apps/v1", spec=controller),
        some("StatefulSet", "ss", namespace, "apps/v1", spec={**controller, "serviceName": "v"}),
        some("DaemonSet", "ds", namespace, "apps/v1", spec=controller),
        some("Job", "j", namespace, "batch/v1", spec=run),
        some("CronJob", "cj", namespace, "batch/v1", spec={"schedule": "0 0 * * *", "jobTemplate": {"spec": run}}),
        some("Service", "v", namespace, spec={"ports": [{"port": 80}], "selector": labels}),
        some("Ingress", "i", namespace, "networking.k8s.io/v1",
             spec={"defaultBackend": {"service": {"name": "v", "port": {"number": 80}}}}),
        some("NetworkPolicy", "np", namespace, "networking.k8s.io/v1", spec={"podSelector": {}}),
        some("EndpointSlice", "es", namespace, "discovery.k8s.io/v1", addressType="IPv4",
             endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 80}]),
        *(some("ConfigMap", name, namespace, data={"of": name}) for name in ("kyverno", "other")),
        some("ValidatingAdmissionPolicy", namespace, "", v1,
             spec={"matchConstraints": constraints, "validations": [{"expression": "true"}]}),
        some("ValidatingAdmissionPolicyBinding", namespace, "", v1,
             spec={"policyName": namespace, "validationActions": ["Audit"]}),
        some("MutatingAdmissionPolicy", namespace, "", v1,
             spec={"matchConstraints": constraints, "reinvocationPolicy": "Never", "mutations": [mutation]}),
        some("MutatingAdmissionPolicyBinding", namespace, "", v1, spec={"policyName": namespace}),
        some("ValidatingWebhookConfiguration", namespace, "", v1, webhooks=[hook]),
        some("MutatingWebhookConfiguration", namespace, "", v1, webhooks=[hook]),
        *(some(kind.kind, namespace, namespace if kind.namespaced else "", f"{kind.group}/{kind.versions[0]}",
               spec={"selects": labels})
          for each in CUSTOM for kind in concrete(each)),
    ]  # fmt: skip


def listed_by_kubectl(plane: ControlPlane, kind: Kind) -> list[dict[str, Any]]:
    """All objects of a kind as kubectl prints them, of those names that are read."""
    options = ("--all-namespaces", "--output=json", "--show-managed-fields=true")
    printed = (plane.kubectl("get", one.name, *options).stdout for one in concrete(kind))
    items = [item for each in printed for item in json.loads(each)["items"]]
    return untyped(item for item in items if not kind.named or item["metadata"]["name"] in kind.named)


def untyped(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Objects without what a list of custom resources repeats in its items, and no other list does."""
    return [{name: value for name, value in item.items() if name not in ("apiVersion", "kind")} for item in items]


class TestWholeCluster:
    def test_is_what_kubectl_lists(self, plane: ControlPlane) -> None:
        """Every field of every object of every kind, in pages of two."""
        plane.apply(one_of_each("whole"))
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            source = LiveSource(client, limit=2)
            events = list(source.events())
        assert gaps(events) == []
        found = lists(events)
        assert [resource for resource, _ in found] == [API_RESOURCES, API_SERVER_FLAGS, *ALL], "in the declared order"
        for kind in KINDS:
            items = found[kind.name, ""]
            assert items, kind.name
            assert untyped(items) == listed_by_kubectl(plane, kind)

    def test_is_read_when_somebody_nests_an_object_deeper_than_the_decoder_goes(
        self, plane: ControlPlane, tmp_path: Path
    ) -> None:
        """The server takes it, and every list of that kind holds it: nobody hides a kind from posture like that."""
        deep = b"%s{}%s" % (b'{"f:deep":' * 1500, b"}" * 1500)
        fields = b'"operation":"Apply","fieldsType":"FieldsV1","fieldsV1":%s' % deep
        entry = b'{"manager":"m","apiVersion":"rbac.authorization.k8s.io/v1",%s}' % fields
        body = tmp_path / "deep.json"
        body.write_bytes(
            b'{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","rules":[],'
            b'"metadata":{"name":"deep","managedFields":[%s]}}' % entry
        )
        path = f"/apis/{RBAC_V1}/clusterroles"
        plane.kubectl("create", "--raw", path, "--filename", str(body))
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            with pytest.raises(ValueError, match="depth"):
                orjson.loads(plane.kubectl("get", "--raw", path).stdout)
            snapshot = read(client)
        plane.request("DELETE", f"{path}/deep")
        assert snapshot.gaps == ()
        assert snapshot.get(Key(f"clusterroles.{RBAC}", "", "deep")) is not None
        assert snapshot.get(Key(f"clusterroles.{RBAC}", "", "view")) is not None

    def test_has_the_clusters_id_name_and_version(self, plane: ControlPlane) -> None:
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            source = LiveSource(client)
            snapshot = collect(source, lambda _: None, lambda _: None, {})
        uid = plane.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
        assert source.facts == Facts(uid, "posture-1.36", Version(1, 36), [])
        assert (snapshot.cluster, snapshot.version) == (uid, Version(1, 36))
        assert source.title == f"posture-1.36 ({plane.url})"

    def test_has_the_flags_that_bear_on_admission(self, plane: ControlPlane) -> None:
        """As the server prints them; whoever may not see them has none, and no gap."""
        lines = plane.kubectl("get", "--raw", "/flagz").stdout.splitlines()
        # What stands between name and value changes from start to start, lest anybody parses the text.
        shown = dict(re.split("[:= ]+", line, maxsplit=1) for line in lines if re.match("[-a-z]+[:= ]", line))
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            snapshot = read(client, kinds=[BY_NAME["namespaces"]])
        flags = {key.name: content for key, content in snapshot.objects(API_SERVER_FLAGS)}
        assert flags == {name: {"value": shown[name]} for name in FLAGS}
        reading = role("no-flags", "", ["namespaces"], ("list",))
        plane.apply([reading, binding("no-flags", reading, "frank")])
        with open_client(kubeconfig=str(plane.kubeconfig("frank"))) as client:
            snapshot = read(client, kinds=[BY_NAME["namespaces"]])
        assert (API_SERVER_FLAGS in snapshot.index, snapshot.gaps) == (False, ())

    def test_says_of_every_resource_whether_it_is_namespaced(self, plane: ControlPlane) -> None:
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            found = lists(LiveSource(client, kinds=()).events())[API_RESOURCES, ""]
        printed = plane.kubectl("api-resources", "--no-headers", "--output=wide").stdout
        rows = [line.split() for line in printed.splitlines()]
        expected = {}
        for row in rows:
            at = next(number for number, word in enumerate(row) if word in ("true", "false"))
            group = row[at - 1].rpartition("/")[0]
            name = f"{row[0]}.{group}" if group else row[0]
            expected[name] = (row[at + 1], row[at] == "true")
        seen = {item["metadata"]["name"]: (item["kind"], item["namespaced"]) for item in found}
        assert expected.items() <= seen.items()
        assert not {name for name in seen.keys() - expected.keys() if name.endswith((".apps", ".batch"))}
        assert names(found) == sorted(names(found))

    def test_changes_nothing_in_the_cluster(self, plane: ControlPlane) -> None:
        """alice may do nothing but list: any other verb would be refused, and be a gap."""
        reading = role("only-list", "", ALL, ("list",))
        plane.apply([reading, binding("only-list", reading, "alice")])
        with open_client(kubeconfig=str(plane.kubeconfig("alice"))) as client:
            source = LiveSource(client)
            events = list(source.events())
        assert gaps(events) == []
        # The one thing that takes a get: without it the cluster has no id.
        assert source.facts.cluster == ""
        assert [problem.place for problem in source.facts.problems] == ["/api/v1/namespaces/kube-system"]


class TestPages:
    def test_are_of_one_state_while_objects_come_and_go(self, plane: ControlPlane) -> None:
        """What the pages hold together is exactly the list at their resourceVersion."""
        path = "/api/v1/namespaces/busy/serviceaccounts"
        plane.apply([some("Namespace", "busy"), *(some("ServiceAccount", f"s{n:03}", "busy") for n in range(60))])

        def churn() -> None:
            for number in range(100):
                plane.request("POST", path, {"metadata": {"name": f"a{number:03}"}})
                plane.request("DELETE", f"{path}/s{number % 60:03}" if number < 60 else f"{path}/a{number - 60:03}")

        before = plane.request("GET", path)["metadata"]["resourceVersion"]
        churning = threading.Thread(target=churn)
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            churning.start()
            pages = list(client.pages(path, 3))
            churning.join(60)
            (version,) = {found.resource_version for found in pages}
            exact = client.get(path, {"resourceVersion": version, "resourceVersionMatch": "Exact"})
            after = client.get(path)["metadata"]["resourceVersion"]
        assert [item for found in pages for item in found.items] == exact["items"]
        assert len(pages) > 10
        assert int(before) <= int(version) < int(after), "and it did change meanwhile"

    def test_that_etcd_has_compacted_start_again(self, plane: ControlPlane) -> None:
        """A real 410 Gone: the server that comes back has forgotten the state that the second page belongs to."""
        path = "/api/v1/namespaces/compacted/serviceaccounts"
        plane.apply([some("Namespace", "compacted"), *(some("ServiceAccount", f"s{n}", "compacted") for n in range(7))])
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            source = LiveSource(client, namespaces=["compacted"], kinds=[BY_NAME["serviceaccounts"]], limit=3)
            events = source.events()
            seen = [next(events), next(events)]
            # The second page may have come already; the third is not asked for before somebody wants the second.
            assert [type(event) for event in seen] == [Page, Page]
            plane.request("DELETE", f"{path}/s0")
            plane.request("POST", path, {"metadata": {"name": "late"}})
            plane.compact()
            plane.restart_apiserver()
            seen += events
        assert Restart("serviceaccounts", "compacted") in seen
        (found,) = [items for (resource, _), items in lists(seen).items() if resource == "serviceaccounts"]
        assert names(found) == ["default", "late", *(f"s{n}" for n in range(1, 7))]
        assert [gap.reason for gap in gaps(seen)] == ["not collected"]


class TestPermissions:
    def test_of_one_namespace_are_enough_for_that_one(self, plane: ControlPlane) -> None:
        reading = role("reader", "mine", NAMESPACED, ("list",))
        plane.apply([*one_of_each("mine"), reading, binding("reader", reading, "bob"), some("Namespace", "theirs")])
        with open_client(kubeconfig=str(plane.kubeconfig("bob"))) as client:
            snapshot = read(client, namespaces=["mine", "theirs"])
        for kind in KINDS:
            found = {namespace for namespace, _ in snapshot.index.get(kind.name, {})}
            assert found == ({"mine"} if kind.namespaced else set()), kind.name
            reasons = [
                getattr(snapshot.gap(kind.name, name), "reason", None) for name in ("mine", "theirs", "other", "")
            ]
            if kind.name == "namespaces":
                assert reasons == ["forbidden", "forbidden", "not collected", "not collected"]
            elif kind.namespaced:
                assert reasons == [None, "forbidden", "not collected", "not collected"], kind.name
            else:
                assert reasons == ["not collected"] * 4, kind.name

    def test_for_a_namespace_include_the_namespace_itself(self, plane: ControlPlane) -> None:
        plane.apply([some("Namespace", "named")])
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            snapshot = read(client, namespaces=["named"])
        assert set(snapshot.index["namespaces"]) == {("", "named")}
        assert snapshot.gap("namespaces", "named") is None
        assert snapshot.gap("namespaces", "other") == Gap(
            "namespaces", "!named", "not collected", "only namespace named was read"
        )

    @pytest.mark.parametrize("lacking", ["networkpolicies.networking.k8s.io", "ciliumnetworkpolicies.cilium.io"])
    def test_that_lack_one_kind_leave_a_gap_with_the_servers_words(self, plane: ControlPlane, lacking: str) -> None:
        """A custom resource that is served and may not be read is a gap as any other."""
        resource, _, group = lacking.partition(".")
        reading = role(resource, "", [name for name in ALL if name != lacking], ("list",))
        plane.apply([some("Namespace", resource), some("ServiceAccount", "reader", resource), reading])
        plane.apply([{**binding(resource, reading, ""),
                      "subjects": [{"kind": "ServiceAccount", "namespace": resource, "name": "reader"}]}])  # fmt: skip
        token = plane.token(resource, "reader")
        access = load(kubeconfig=str(plane.kubeconfig()))
        with Client(Access(plane.url, tls=access.tls, headers=(("Authorization", f"Bearer {token}"),))) as client:
            snapshot = read(client)
        user = f"system:serviceaccount:{resource}:reader"
        assert snapshot.gaps == (
            Gap(
                lacking, "", "forbidden",
                f'{lacking} is forbidden: User "{user}" cannot list resource "{resource}" in API group '
                f'"{group}" at the cluster scope',
            ),
        )  # fmt: skip
        assert set(snapshot.index) == {API_RESOURCES, *ALL} - {lacking}

    def test_for_nothing_are_no_snapshot(self, plane: ControlPlane) -> None:
        """A server that knows alice and lets her see nothing: gaps alone would make an empty cluster."""
        token = plane.token("default", "default")
        access = load(kubeconfig=str(plane.kubeconfig()))
        client = Client(Access(plane.url, tls=access.tls, headers=(("Authorization", f"Bearer {token}"),)))
        with (
            client,
            pytest.raises(CannotJudge, match=r"^nothing can be read from .*: namespaces is forbidden") as caught,
        ):
            list(LiveSource(client).events())
        assert "posture clusterrole" in caught.value.hint


class TestDiscovery:
    def test_is_the_same_from_one_document_and_from_many(self, plane: ControlPlane) -> None:
        class Old(Client):
            """Asks as clients did before aggregated discovery."""

            def get(self, path: str, params: Any = None, *, accept: str = JSON) -> dict[str, Any]:  # noqa: ARG002
                return super().get(path, params)

        access = load(kubeconfig=str(plane.kubeconfig()))
        with Client(access) as new, Old(access) as old:
            assert discover(new) == discover(old)
            assert discover(new).versions["deployments.apps"] == ("v1",)
            assert discover(new).versions["horizontalpodautoscalers.autoscaling"] == ("v2", "v1")

    def test_of_a_group_whose_server_is_gone_is_a_gap(self, plane: ControlPlane) -> None:
        spec = {
            "group": "stale.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": "default", "name": "none"}, "insecureSkipTLSVerify": True,
        }  # fmt: skip
        registered = some("APIService", "v1.stale.example", version="apiregistration.k8s.io/v1", spec=spec)
        plane.apply([registered])
        try:
            with open_client(kubeconfig=str(plane.kubeconfig())) as client:
                until = time.monotonic() + 20
                while not (found := discover(client)).gaps and time.monotonic() < until:
                    time.sleep(0.05)
                (gap,) = found.gaps
                events = list(LiveSource(client).events())
        finally:
            plane.request("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.stale.example")
        text = "discovery of stale.example/v1: the API server behind it does not answer"
        assert gap == Gap(API_RESOURCES, "", "failed", text)
        assert gaps(events) == [gap], "everything else is read"

    def test_that_is_forbidden_is_a_gap_and_the_kinds_are_read(self, plane: ControlPlane) -> None:
        """Everybody is in system:discovery by default; here it is taken away."""
        path = f"/apis/{RBAC_V1}/clusterrolebindings/system:discovery"
        reading = role("all-kinds", "", ALL, ("list",))
        plane.apply([reading, binding("all-kinds", reading, "alice")])
        kept = plane.request("GET", path)
        plane.request("DELETE", path)
        try:
            with open_client(kubeconfig=str(plane.kubeconfig("alice"))) as client:
                until = time.monotonic() + 20
                while not discover(client).gaps and time.monotonic() < until:
                    time.sleep(0.05)
                events = list(LiveSource(client).events())
        finally:
            kept["metadata"] = {"name": kept["metadata"]["name"], "labels": kept["metadata"]["labels"]}
            plane.request("POST", path.rpartition("/")[0], kept)
        assert [(gap.resource, gap.reason) for gap in gaps(events)] == [
            (API_RESOURCES, "forbidden"), (API_RESOURCES, "forbidden"), (CONSTRAINTS.name, "failed"),
        ], "only discovery knows which kinds of constraints there are"  # fmt: skip
        assert {resource for resource, _ in lists(events)} == set(ALL) - {CONSTRAINTS.name}


class TestConstraints:
    """Objects of every kind of one group, held together."""

    def test_are_held_together_by_kind_and_name(self, plane: ControlPlane) -> None:
        """Two of one name are two; each can be sent back as what it is."""
        plane.apply(some(kind.kind, "same", "", "constraints.gatekeeper.sh/v1beta1", spec={"of": kind.kind})
                    for kind in concrete(CONSTRAINTS))  # fmt: skip
        with open_client(kubeconfig=str(plane.kubeconfig())) as client:
            snapshot = read(client, kinds=[CONSTRAINTS])
        keys = [Key(CONSTRAINTS.name, "", f"{kind}/same") for kind in ("K8sAllowed", "K8sRequired")]
        assert [snapshot.get(key) for key in keys] == [
            {"kind": kind, "spec": {"of": kind}} for kind in ("K8sAllowed", "K8sRequired")
        ]
        for key in keys:
            content = snapshot.get(key)
            assert content is not None
            plane.apply([manifest(key, content)])
            plane.kubectl("get", called(key).resource, called(key).name)

    def test_of_a_kind_that_may_not_be_read_are_a_gap_of_all_and_the_others_are_read(self, plane: ControlPlane) -> None:
        rights = [role("some-constraints", "", ["k8srequired.constraints.gatekeeper.sh", "namespaces"], ("list",))]
        plane.apply([*rights, binding("some-constraints", rights[0], "carol"),
                     some("K8sRequired", "read", "", "constraints.gatekeeper.sh/v1beta1")])  # fmt: skip
        with open_client(kubeconfig=str(plane.kubeconfig("carol"))) as client:
            events = list(LiveSource(client, kinds=[BY_NAME["namespaces"], CONSTRAINTS], limit=1).events())
        assert [(gap.resource, gap.reason) for gap in gaps(events)] == [(CONSTRAINTS.name, "forbidden")]
        assert "read" in names(lists(events)[CONSTRAINTS.name, ""])


class TestNamed:
    """Kinds of which only objects of some names are read."""

    def test_the_permission_that_posture_asks_for_lists_these_and_no_others(self, plane: ControlPlane) -> None:
        """RBAC takes a list with a field selector of one name for a request for that name."""
        maps = [some("ConfigMap", name, "named-maps", data={"of": name}) for name in ("kyverno", "other")]
        plane.apply([some("Namespace", "named-maps"), *maps])
        (needed,) = roles((), "needed-by-posture")
        plane.apply([needed, binding("needed-by-posture", needed, "dave")])
        with open_client(kubeconfig=str(plane.kubeconfig("dave"))) as client:
            snapshot = read(client)
            with pytest.raises(RequestProblem, match='User "dave" cannot list resource "configmaps"'):
                client.get("/api/v1/configmaps")
            with pytest.raises(RequestProblem, match='configmaps "other" is forbidden'):
                list(client.pages("/api/v1/configmaps", name="other"))
        assert snapshot.gaps == ()
        assert snapshot.get(Key("configmaps", "named-maps", "kyverno")) == {"data": {"of": "kyverno"}}
        assert {name for _, name in snapshot.index["configmaps"]} == {"kyverno"}
        assert snapshot.index[API_SERVER_FLAGS], "the flags that the server shows can be read too"

    def test_in_one_namespace_too(self, plane: ControlPlane) -> None:
        (needed,) = roles(["one-map"], "needed-by-posture")
        plane.apply([some("Namespace", "one-map"), some("ConfigMap", "kyverno", "one-map"),
                     some("ConfigMap", "other", "one-map"), needed, binding("needed", needed, "erin")])  # fmt: skip
        with open_client(kubeconfig=str(plane.kubeconfig("erin"))) as client:
            snapshot = read(client, namespaces=["one-map"])
        assert set(snapshot.index["configmaps"]) == {("one-map", "kyverno")}
        assert {gap.reason for gap in snapshot.gaps} == {"not collected"}


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_slice_of_endpoints_stays_the_same_while_pods_come_and_go(plane: ControlPlane, by_hand: bool) -> None:
    """Whether any is ready is all that is kept, beside the addresses that somebody writes by hand; and what is kept can
    be sent back.
    """
    plane.apply([some("Namespace", "slices")])
    path = "/apis/discovery.k8s.io/v1/namespaces/slices/endpointslices"
    seen: list[Any] = []
    given: list[Any] = [
        [], [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}], [{"addresses": ["10.0.0.2"]}],
        [{"addresses": ["10.0.0.3"], "conditions": {"ready": True}}, {"addresses": ["10.0.0.4"]}],
    ]  # fmt: skip
    key = Key("endpointslices.discovery.k8s.io", "slices", "web-x")
    with open_client(kubeconfig=str(plane.kubeconfig())) as client:
        for endpoints in given:
            one = some("EndpointSlice", "web-x", "slices", "discovery.k8s.io/v1", addressType="IPv4",
                       endpoints=endpoints, ports=[{"name": "b", "port": 443}, {"name": "a", "port": 80}])  # fmt: skip
            one["metadata"]["labels"] = {"kubernetes.io/service-name": "web", "pod-template-hash": str(len(seen))}
            if not by_hand:
                one["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io"
            plane.request("POST", path, one)
            kept = read(client, kinds=[BY_NAME[key.resource]]).get(key)
            assert kept is not None
            plane.request("DELETE", f"{path}/web-x")
            plane.request("POST", path, manifest(key, kept))
            seen.append(kept)
            assert read(client, kinds=[BY_NAME[key.resource]]).get(key) == kept
            plane.request("DELETE", f"{path}/web-x")
    ports = [{"name": "a", "protocol": "TCP", "port": 80}, {"name": "b", "protocol": "TCP", "port": 443}]
    addresses = [[], ["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3", "10.0.0.4"]] if by_hand else [[]] * 4
    assert seen == [
        {"service": "web", "ports": ports, "ready": ready} | ({"addresses": some_} if some_ else {})
        for ready, some_ in zip((False, False, True, True), addresses, strict=True)
    ]  # fmt: skip


@pytest.mark.prove
class TestOtherVersions:
    def test_a_kind_that_is_not_served_is_absent(self) -> None:
        with ControlPlane("1.33", controllers=()) as plane, open_client(kubeconfig=str(plane.kubeconfig())) as client:
            events = list(LiveSource(client).events())
        absent = {name for name in ALL if name.startswith("mutatingadmission")} | {kind.name for kind in CUSTOM}
        assert {resource for resource, _ in lists(events)} == {API_RESOURCES, *ALL} - absent
        assert len(absent) == 2 + len(CUSTOM)
        assert gaps(events) == []

    def test_a_kind_is_read_in_the_version_that_is_served(self) -> None:
        beta = f"{ADMISSION}/v1beta1"
        flags = ["--feature-gates=MutatingAdmissionPolicy=true", f"--runtime-config={beta}=true"]
        policies = [{**found, "apiVersion": beta} for found in one_of_each("beta") if "Mutating" in found["kind"]][:2]
        with ControlPlane("1.34", apiserver_flags=flags) as plane:
            plane.apply(policies)
            with open_client(kubeconfig=str(plane.kubeconfig())) as client:
                found = lists(LiveSource(client).events())
        assert names(found[f"mutatingadmissionpolicies.{ADMISSION}", ""]) == ["beta"]
        assert names(found[f"mutatingadmissionpolicybindings.{ADMISSION}", ""]) == ["beta"]
