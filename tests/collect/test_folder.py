"""Folders, files and standard input: what becomes an object, a problem, a gap or nothing."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from posture.collect import Page, collect, document
from posture.collect.document import Limits
from posture.collect.folder import PAGE, FolderSource
from posture.collect.manifest import Cache
from posture.errors import UsageError
from posture.kinds import ADMISSION, BY_NAME, CLUSTER_SCOPED, KINDS, RBAC, key_of
from posture.model import Content, Gap, Key, Snapshot

RBAC_V1 = f"{RBAC}/v1"
ROLES, BINDINGS, POLICIES = f"roles.{RBAC}", f"rolebindings.{RBAC}", "networkpolicies.networking.k8s.io"
CLUSTER_BINDINGS = f"clusterrolebindings.{RBAC}"


class Read(NamedTuple):
    """All that a source gave. `problems` are `PLACE: MESSAGE` with the folder's own path left out."""

    objects: dict[Key, dict[str, Any]]
    gaps: list[tuple[str, ...]]
    problems: list[str]
    cluster: str


def read(*paths: Path | str, stdin: str = "", **limits: int) -> Read:
    source = FolderSource(list(paths), limits=Limits(**limits), stdin=io.BytesIO(stdin.encode()))
    objects: dict[Key, dict[str, Any]] = {}
    gaps: list[tuple[str, ...]] = []
    folder = f"{paths[0]}/" if paths else ""
    for event in source.events():
        if isinstance(event, Page):
            for item in event.items:
                kind = BY_NAME.get(event.resource)
                objects[key_of(kind, item) if kind else Key(event.resource, "", item["metadata"]["name"])] = item
        else:
            assert isinstance(event, Gap)
            gaps.append((event.resource, event.namespace, event.reason, event.message.replace(folder, "")))
    problems = [f"{place}: {message}".replace(folder, "") for place, message in source.facts.problems]
    return Read(objects, gaps, problems, source.facts.cluster)


def text(*objects: Any) -> str:
    return "---\n".join(yaml.safe_dump(each) for each in objects)


def role(name: str = "reader", namespace: str = "pay", **fields: Any) -> dict[str, Any]:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": RBAC_V1, "kind": "Role", "metadata": metadata, "rules": rules, **fields}


SECOND = text(role()).count("\n") + 2
"""The line of a document behind a role."""


def binding(**fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": RBAC_V1,
        "kind": "RoleBinding",
        "metadata": {"name": "b", "namespace": "pay"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reader"},
        **fields,
    }


def cluster_binding(**fields: Any) -> dict[str, Any]:
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
    return {**binding(), "kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "roleRef": reference, **fields}


def policy(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "pay"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def put(path: Path, content: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_an_object_is_handed_on_as_it_is(tmp_path: Path) -> None:
    put(tmp_path / "role.yaml", text(role()))
    assert read(tmp_path) == Read({Key(ROLES, "pay", "reader"): role()}, [], [], "")


# Which files


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.json", "sub/deeper/a.yaml", "a b\u202e.yaml", "x.yaml/a.json"])
def test_a_folder_is_searched_for_manifests(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, orjson.dumps(role()))
    assert list(read(tmp_path).objects) == [Key(ROLES, "pay", "reader")]


@pytest.mark.parametrize("name", [".a.yaml", ".hidden/a.yaml", "sub/.a/.b/a.yaml", ".github/a.yaml", ".git.yaml"])
def test_hidden_files_and_folders_are_read_since_kubectl_applies_them(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, text(role()))
    assert list(read(tmp_path).objects) == [Key(ROLES, "pay", "reader")]


@pytest.mark.parametrize("name", ["a.yaml.gz", "a.yml.gz", "sub/a.json.gz"])
def test_gzip_files_are_read_too(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, gzip.compress(text(role()).encode()))
    assert read(tmp_path).objects


@pytest.mark.parametrize(
    "name", ["a.txt", "README", "a.yaml.bak", "a.gz", "a.YAML", ".git/a.yaml", "sub/.git/x/a.yaml", "yaml"]
)
def test_other_files_and_those_of_git_are_left_out_in_silence(tmp_path: Path, name: str) -> None:
    put(tmp_path / "good.yaml", text(role()))
    put(tmp_path / name, text(role("other")))
    assert read(tmp_path) == Read({Key(ROLES, "pay", "reader"): role()}, [], [], "")


@pytest.mark.parametrize("name", ["a.txt", "README", ".git/a.yaml"])
def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert read(put(tmp_path / name, text(role()))).objects


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    put(tmp_path / ".argo/a.yaml", text(role()))
    assert read(tmp_path / ".argo").objects


def test_standard_input_is_a_path() -> None:
    found = read("-", stdin=text(role(namespace="")))
    assert list(found.objects) == [Key(ROLES, "default", "reader")]
    assert found.problems == ["stdin:1: 1 object without a namespace: taken as `default`"]


def test_files_are_read_in_the_order_of_kubectl(tmp_path: Path) -> None:
    """By name, folders between files; several paths as they are given. The last one wins."""
    for number, name in enumerate(["a/z.yaml", "a.yaml", "b.yaml", "b/a.yaml", "c.yaml"]):
        put(tmp_path / name, text(role(f"r{number}")))
    assert [key.name for key in read(tmp_path).objects] == ["r0", "r1", "r3", "r2", "r4"]
    assert [key.name for key in read(tmp_path / "c.yaml", tmp_path / "a").objects] == ["r4", "r0"]


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path / "x\x1b[31m", put(tmp_path / "file") / "below"):
        with pytest.raises(UsageError, match="there is no file or folder ") as caught:
            read(path)
        assert caught.value.hint
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["README.md", ".git/a.yaml", None])
def test_a_folder_without_manifests_is_a_usage_error(tmp_path: Path, name: str | None) -> None:
    if name:
        put(tmp_path / name, text(role()))
    with pytest.raises(UsageError, match="holds no manifest") as caught:
        read(tmp_path)
    assert "*.yaml, *.yml, *.json, *.yaml.gz" in caught.value.hint


@pytest.mark.parametrize("content", ["", "# nothing\n", "a: 1\n", "--- x\n", "- 1\n"])
def test_input_without_any_object_is_a_usage_error(tmp_path: Path, content: str) -> None:
    """An empty pipe must not look like a cluster in which everything was deleted."""
    put(tmp_path / "values.yaml", content)
    for paths, stdin in (([tmp_path], ""), (["-"], content)):
        with pytest.raises(UsageError, match="holds no Kubernetes object"):
            read(*paths, stdin=stdin)


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    put(tmp_path / "data/role.yaml", text(role()))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.yaml").symlink_to(tmp_path / "data/role.yaml")
    (folder / "data").symlink_to(tmp_path / "data")
    (folder / "loop").symlink_to(folder)
    (folder / "..data").symlink_to(tmp_path / "data")
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    found = read(folder)
    assert (list(found.objects), found.gaps) == ([Key(ROLES, "pay", "reader")], [])
    message = "a link to a folder is not followed: name the folder itself"
    assert found.problems == [f"..data: {message}", f"data: {message}", f"loop: {message}"]
    assert read(folder / "data").objects


def test_what_cannot_be_opened_is_a_gap_of_everything(tmp_path: Path) -> None:
    put(tmp_path / "good.yaml", text(role()))
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.yaml").symlink_to(tmp_path / "self.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    found = read(tmp_path)
    assert found.problems == [
        "gone.yaml:1: cannot be read: No such file or directory",
        "pipe.yaml:1: is no regular file",
        "self.yaml:1: cannot be read: Too many levels of symbolic links",
    ]
    assert found.gaps == [("*", "", "failed", problem) for problem in found.problems]
    assert found.objects


def test_a_folder_or_file_without_permission_is_a_gap_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "good.yaml", text(role()))
    put(tmp_path / "secret/a.yaml", text(role("hidden")))
    locked = put(tmp_path / "locked.yaml", text(role("hidden")))
    (tmp_path / "secret").chmod(0)
    locked.chmod(0)
    try:
        if os.access(locked, os.R_OK):
            pytest.skip("permissions do not bind this user")
        found = read(tmp_path)
    finally:
        (tmp_path / "secret").chmod(0o700)
    assert [gap[:3] for gap in found.gaps] == [("*", "", "failed")] * 2
    assert found.problems == [
        "locked.yaml:1: cannot be read: Permission denied",
        "secret:1: cannot be read: Permission denied",
    ]


def test_a_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    """As a shell's <(…) is."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=[text(role())], daemon=True)
    writer.start()
    assert read(tmp_path / "pipe").objects
    writer.join(10)


def test_a_damaged_gzip_file_keeps_what_came_before_and_is_a_gap_of_everything(tmp_path: Path) -> None:
    objects = text(*(role(f"r{number}") for number in range(2_000)))
    put(tmp_path / "a.yaml.gz", gzip.compress(objects.encode())[:-100])
    found = read(tmp_path)
    assert found.objects
    assert [gap[:3] for gap in found.gaps] == [("*", "", "failed")]
    assert found.gaps[0][3].endswith(": the gzip data ends too early")


# Lists

LISTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"apiVersion": "v1", "kind": "List", "items": [role("a"), role("b")]}, ["a", "b"]),
    ({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "List", "items": [role("a")]}, role("b")]}, ["a", "b"]),
    ({"apiVersion": RBAC_V1, "kind": "RoleList", "items": [{**role("a"), "apiVersion": None, "kind": None}]}, ["a"]),
    ({"apiVersion": RBAC_V1, "kind": "RoleList", "metadata": {}, "items": [
        {"metadata": {"name": "a", "namespace": "pay"}}, role("b")]}, ["a", "b"]),
    ({"kind": "List", "items": [role("a")]}, ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "names"), LISTS)
def test_lists_are_unfolded(tmp_path: Path, value: dict[str, Any], names: list[str]) -> None:
    put(tmp_path / "list.yaml", text(value))
    found = read(tmp_path)
    assert list(found.objects) == [Key(ROLES, "pay", name) for name in names]
    assert (found.problems, found.gaps) == ([], [])


@pytest.mark.parametrize("beside", [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, role("b")])
def test_what_kubectl_takes_for_a_list_is_read_as_one_too(tmp_path: Path, beside: dict[str, Any]) -> None:
    """Whatever it is called, kubectl creates its items; the object itself is read beside them."""
    put(tmp_path / "a.yaml", text({**beside, "items": [role("a")]}))
    assert Key(ROLES, "pay", "a") in read(tmp_path).objects
    assert (Key(ROLES, "pay", "b") in read(tmp_path).objects) == (beside["kind"] == "Role")


def test_an_empty_list_is_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text({"apiVersion": "v1", "kind": "List", "items": None}, role()))
    assert read(tmp_path) == Read({Key(ROLES, "pay", "reader"): role()}, [], [], "")


def test_an_item_has_its_own_line(tmp_path: Path) -> None:
    put(
        tmp_path / "list.yaml",
        "kind: List\nitems:\n- {}\n- apiVersion: v1\n  kind: Pod\n- kind: Pod\n  apiVersion: v1\n",
    )
    assert read(tmp_path).problems == [
        "list.yaml:4: Pod: metadata.name is missing",
        "list.yaml:6: Pod: metadata.name is missing",
        "list.yaml:3: 1 document without apiVersion and kind: no Kubernetes object",
    ]


MISSHAPEN_LISTS = [
    ({"apiVersion": RBAC_V1, "kind": "RoleList", "items": {"a": 1}}, [ROLES]),
    ({"apiVersion": "v1", "kind": "List", "items": 1}, ["*"]),
    ({"apiVersion": RBAC_V1, "kind": "RoleList", "items": [1, {"rules": []}]}, [ROLES]),
]


@pytest.mark.parametrize(("value", "resources"), MISSHAPEN_LISTS)
def test_a_list_whose_items_are_wrong_is_a_gap_of_its_kind(
    tmp_path: Path, value: dict[str, Any], resources: list[str]
) -> None:
    put(tmp_path / "list.yaml", text(value))
    assert [gap[:3] for gap in read(tmp_path).gaps] == [(resource, "", "failed") for resource in resources]


# Kinds, versions, namespaces


RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
POLICY: dict[str, Any] = {
    "matchConstraints": {"resourceRules": [RULE]},
    "validations": [{"expression": "true"}], "validationActions": ["Deny"],
    "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
    "reinvocationPolicy": "Never",
}  # fmt: skip
"""What policies of every kind need, and their bindings; what one does not know means nothing."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_is_read_in_every_version_that_kubernetes_serves(tmp_path: Path, kind: Any) -> None:
    for version in kind.versions:
        api = f"{kind.group}/{version}" if kind.group else version
        name = kind.named[0] if kind.named else "default"
        value = {"apiVersion": api, "kind": kind.kind, "metadata": {"name": name, "namespace": "pay"}}
        if kind.kind == "*":
            value["kind"], name = "K8sRequired", "K8sRequired/default"
        if "roleRef" in kind.keep:
            value["roleRef"] = {"kind": "ClusterRole", "name": "view"}
        if kind.group == "policy.networking.k8s.io":
            value["spec"] = {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}}}
        if kind.group == ADMISSION and not kind.kind.endswith("Configuration"):
            value["spec"] = POLICY | {"policyName": "p"}
        put(tmp_path / "a.yaml", text(value))
        found = read(tmp_path)
        assert list(found.objects) == [Key(kind.name, "pay" if kind.namespaced else "", name)]
        assert found.problems == []


UNSERVED = [
    (f"{RBAC}/v1beta1", "Role", ROLES, f"Role pay/a: the kind is served as {RBAC_V1}, not as {RBAC}/v1beta1"),
    (RBAC, "Role", ROLES, f"Role pay/a: the kind is served as {RBAC_V1}, not as {RBAC}"),
    (None, "Role", ROLES, f"Role pay/a: the kind is served as {RBAC_V1}, not as nothing"),
    ("v1", "NetworkPolicy", POLICIES, "NetworkPolicy pay/a: the kind is served as networking.k8s.io/v1, not as v1"),
    ("extensions/v1beta1", "Deployment", "deployments.apps",
     "Deployment pay/a: the kind is served as apps/v1, not as extensions/v1beta1"),
    ("apps/v2\u202e", "Deployment", "deployments.apps",
     "Deployment pay/a: the kind is served as apps/v1, not as apps/v2\\u202e"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "kind", "resource", "problem"), UNSERVED)
def test_a_version_that_is_not_served_is_a_gap_of_its_kind_and_namespace(
    tmp_path: Path, version: str | None, kind: str, resource: str, problem: str
) -> None:
    put(tmp_path / "a.yaml", text({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "pay"}}))
    found = read(tmp_path)
    assert found.problems == [f"a.yaml:1: {problem}"]
    assert found.gaps == [(resource, "pay", "failed", f"a.yaml:1: {problem}")]
    assert not found.objects


def test_a_kind_of_the_same_name_in_another_group_is_another_kind(tmp_path: Path) -> None:
    metadata = {"name": "a", "namespace": "pay"}
    given = [
        {"apiVersion": version, "kind": "NetworkPolicy", "metadata": metadata, "spec": {"ingress": "calico's own"}}
        for version in ("crd.projectcalico.org/v1", "projectcalico.org/v3", "example.com/v1")
    ]
    put(tmp_path / "a.yaml", text(*given))
    found = read(tmp_path)
    assert not found.gaps
    assert found.objects == {
        Key("networkpolicies.crd.projectcalico.org", "pay", "a"): given[0],
        Key("networkpolicies.projectcalico.org", "pay", "a"): given[1],
    }
    assert [problem.partition(": ")[2] for problem in found.problems] == [
        "1 object of kind NetworkPolicy (example.com/v1) not read: posture does not judge this kind"
    ]


CONSTRAINTS = "*.constraints.gatekeeper.sh"


def constraint(kind: str, name: str, version: str = "v1beta1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"constraints.gatekeeper.sh/{version}",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def test_constraints_of_every_kind_are_held_together(tmp_path: Path) -> None:
    """Each under its kind and its name; one of a name that ends in List too."""
    given = [constraint("K8sOne", "a", x=1), constraint("K8sTwo", "a"), constraint("K8sAllowList", "a", "v1alpha1")]
    put(tmp_path / "a.yaml", text(*given))
    found = read(tmp_path)
    keys = [Key(CONSTRAINTS, "", f"{one['kind']}/a") for one in given]
    assert found.objects == dict(zip(keys, given, strict=True))
    assert (found.problems, found.gaps) == ([], [])
    put(tmp_path / "b.yaml", text(given[0]))
    assert read(tmp_path).problems == [
        "b.yaml:1: k8sone.constraints.gatekeeper.sh/a is also at a.yaml:1, the same again"
    ]


BAD_CONSTRAINTS: list[tuple[Any, str]] = [
    (constraint("K8sOne", "a", "v2"),
     "K8sOne a: the kind is known as {0}/v1beta1 and {0}/v1alpha1, not as {0}/v2".format(CONSTRAINTS[2:])),
    (constraint("K8sOne", "a") | {"spec": 5}, "K8sOne a: spec is not a mapping"),
    (constraint("K8s/One", "a"), "K8s/One a: kind is K8s/One, no kind's name"),
    (constraint("K8sOne", "a") | {"apiVersion": "Constraints.gatekeeper.sh/v1beta1"},
     "Constraints.gatekeeper.sh/v1beta1 has no kind 'K8sOne': it is written constraints.gatekeeper.sh"),
    (constraint("K8sOne", ""), "K8sOne: metadata.name is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "why"), BAD_CONSTRAINTS)
def test_a_constraint_that_is_wrong_is_a_gap_of_all(tmp_path: Path, value: Any, why: str) -> None:
    put(tmp_path / "a.yaml", text(value))
    found = read(tmp_path)
    assert (found.objects, found.problems) == ({}, [f"a.yaml:1: {why}"])
    assert [gap[0] for gap in found.gaps] == [CONSTRAINTS]


def test_of_config_maps_only_those_of_engines_are_read(tmp_path: Path) -> None:
    """All others are no business of posture's: not a word is said of them."""
    named = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kyverno"},
              "data": {"resourceFilters": "[*,kube-system,*]"}} for name in ("kyverno", "others")]  # fmt: skip
    odd: list[Any] = [{"apiVersion": "v1", "kind": "configmap", "metadata": {"name": "x"}},
                      {"apiVersion": "v1", "kind": "ConfigMap"}]  # fmt: skip
    put(tmp_path / "a.yaml", text(*named, *odd))
    assert read(tmp_path) == Read({Key("configmaps", "kyverno", "kyverno"): named[0]}, [], [], "")


SLICES: list[tuple[dict[str, Any], str]] = [
    ({"endpoints": 5}, "endpoints is not a list"),
    ({"endpoints": [{"conditions": {"ready": "no"}}]}, "endpoints[0].conditions.ready is not true or false"),
    ({"ports": [{"port": "http"}]}, "ports[0].port is not a port"),
]


@pytest.mark.parametrize(("fields", "why"), SLICES)
def test_a_slice_of_endpoints_that_the_server_refuses_is_a_gap(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    metadata = {"name": "web-x", "namespace": "pay"}
    put(tmp_path / "a.yaml", text({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
                                   "addressType": "IPv4", **fields}))  # fmt: skip
    found = read(tmp_path)
    assert (found.objects, found.problems) == ({}, [f"a.yaml:1: EndpointSlice pay/web-x: {why}"])


CUSTOM_VERSIONS = [
    ("policy.networking.k8s.io/v1", "ClusterNetworkPolicy", "clusternetworkpolicies.policy.networking.k8s.io", "",
     "known as policy.networking.k8s.io/v1alpha2, not as policy.networking.k8s.io/v1"),
    ("cilium.io/v3", "CiliumNetworkPolicy", "ciliumnetworkpolicies.cilium.io", "pay",
     "known as cilium.io/v2, not as cilium.io/v3"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "kind", "resource", "namespace", "problem"), CUSTOM_VERSIONS)
def test_a_version_of_a_custom_resource_that_nobody_knows_is_not_modelled(
    tmp_path: Path, version: str, kind: str, resource: str, namespace: str, problem: str
) -> None:
    """The server may well take it: no mistake in the folder, and no reason for a run to fail."""
    put(tmp_path / "a.yaml", text({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "pay"}}))
    found = read(tmp_path)
    assert found.gaps == [(resource, namespace, "not modelled", f"a.yaml:1: {kind} pay/a: the kind is {problem}")]
    assert not found.objects


MISSPELT = [
    ("networking.k8s.io/v1", "Networkpolicy", POLICIES, "pay", "NetworkPolicy"),
    ("networking.k8s.io/v1", "NetworkPolicy ", POLICIES, "pay", "NetworkPolicy"),
    ("Networking.k8s.io/v1", "NetworkPolicy", POLICIES, "pay", "NetworkPolicy"),
    ("v1", "networkpolicy", POLICIES, "pay", "NetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha2", "clusterNetworkPolicy", "clusternetworkpolicies.policy.networking.k8s.io", "",
     "ClusterNetworkPolicy"),
    (RBAC_V1, "ROLE", ROLES, "pay", "Role"),
    ("apiextensions.k8s.io/v1", "customResourceDefinition", "apiresources", "", "CustomResourceDefinition"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "kind", "resource", "namespace", "right"), MISSPELT)
def test_a_kind_in_other_case_is_a_gap_of_the_kind_that_is_meant(
    tmp_path: Path, version: str, kind: str, resource: str, namespace: str, right: str
) -> None:
    """The server has none of that name: what the object was to do is not done."""
    put(tmp_path / "a.yaml", text({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "pay"}}))
    found = read(tmp_path)
    problem = f"a.yaml:1: {version} has no kind {kind!r}: it is written {right}"
    assert found.gaps == [(resource, namespace, "failed", problem)]
    assert found.problems == [problem]
    assert not found.objects


def test_in_a_group_that_moved_it_is_kubernetes_own_kind(tmp_path: Path) -> None:
    """Ingress and NetworkPolicy were in extensions once; no custom resource ever was."""
    named = {"metadata": {"name": "a", "namespace": "pay"}}
    given = [
        {"apiVersion": "extensions/v1beta1", "kind": kind, **named} for kind in ("Ingress", "NetworkPolicy", "Gateway")
    ]
    put(tmp_path / "a.yaml", text(*given))
    found = read(tmp_path)
    assert [gap[:3] for gap in found.gaps] == [
        ("ingresses.networking.k8s.io", "pay", "failed"), (POLICIES, "pay", "failed"),
    ]  # fmt: skip


def test_the_several_specs_of_a_cilium_policy_are_kept(tmp_path: Path) -> None:
    """They are one policy in several parts, and stand where others have their spec."""
    specs = [{"endpointSelector": {}}, {"endpointSelector": {"matchLabels": {"a": "b"}}}]
    given = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "a", "namespace": "pay"}}
    put(tmp_path / "a.yaml", text({**given, "specs": specs}, {**given, "specs": {}}))
    held: dict[bytes, Content] = {}

    def keep(bodies: Any) -> None:
        held.update((digest, orjson.loads(body)) for digest, body in bodies)

    snapshot = collect(FolderSource([tmp_path]), lambda _: None, keep, held)
    assert snapshot.get(Key("ciliumnetworkpolicies.cilium.io", "pay", "a")) == {"specs": specs}
    assert [gap.message.rpartition(": ")[2] for gap in snapshot.gaps] == ["specs is not a list of mappings"]


@pytest.mark.parametrize("fields", [{"kind": "AllowList", "spec": {}}, {"kind": "Widget", "items": 5}])
def test_what_only_looks_like_a_list_is_another_kind(tmp_path: Path, fields: dict[str, Any]) -> None:
    put(tmp_path / "a.yaml", text({"apiVersion": "example.com/v1", "metadata": {"name": "a"}, **fields}))
    found = read(tmp_path)
    assert (len(found.problems), found.gaps) == (1, [])


def test_other_kinds_are_counted_and_never_kept(tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
    put(tmp_path / "a.yaml", text(secret, role(), {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "c"}}))
    put(tmp_path / "b.yaml", text(secret))
    found = read(tmp_path)
    assert list(found.objects) == [Key(ROLES, "pay", "reader")]
    assert found.problems == [
        "a.yaml:21: 1 object of kind Event (v1) not read: posture does not judge this kind",
        "a.yaml:1: 2 objects of kind Secret (v1) not read: posture does not judge this kind",
    ]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("namespace", [None, ""])
def test_a_missing_namespace_is_default_and_said_once_for_each_file(tmp_path: Path, namespace: str | None) -> None:
    given = [{**role(name), "metadata": {"name": name, "namespace": namespace}} for name in ("a", "b")]
    put(tmp_path / "x.yaml", "# c\n" + text(role(), *given))
    found = read(tmp_path)
    assert [(key.namespace, key.name) for key in found.objects] == [
        ("pay", "reader"),
        ("default", "a"),
        ("default", "b"),
    ]
    assert found.problems == [f"x.yaml:{SECOND + 1}: 2 objects without a namespace: taken as `default`"]


def test_the_namespace_of_a_cluster_scoped_object_is_dropped(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text({**role(), "kind": "ClusterRole"}))
    assert read(tmp_path).objects == {
        Key(f"clusterroles.{RBAC}", "", "reader"): {**role(namespace=""), "kind": "ClusterRole"}
    }


MALFORMED: list[tuple[dict[str, Any], str, str, str]] = [
    (role(metadata={"namespace": "pay"}), ROLES, "pay", "Role pay: metadata.name is missing"),
    (role(metadata=["x"]), ROLES, "", "Role: metadata.name is missing"),
    ({"apiVersion": RBAC_V1, "kind": "Role"}, ROLES, "", "Role: metadata.name is missing"),
    (role(metadata={"name": "a", "namespace": 5}), ROLES, "", "Role a: metadata.namespace is not a string"),
    (role(metadata={"name": "a", "labels": {"on": True}}), ROLES, "default",
     "Role a: metadata.labels is not a map of strings"),
    (role(metadata={"name": "a", "uid": 5}), ROLES, "default", "Role a: metadata.uid is not a string"),
    (role(rules=[{"verbs": "get"}]), ROLES, "pay", "Role pay/reader: rules[0].verbs is not a list of strings"),
    (role(rules=5), ROLES, "pay", "Role pay/reader: a field has not the type that the API requires"),
    (role(rules={}), ROLES, "pay", "Role pay/reader: rules is not a list of mappings"),
    (binding(subjects=["x"]), BINDINGS, "pay", "RoleBinding pay/b: subjects[0] is not a subject with a name"),
    ({field: value for field, value in binding().items() if field != "roleRef"}, BINDINGS, "pay",
     "RoleBinding pay/b: roleRef is missing"),
    (binding(roleRef={"kind": "role", "name": "x"}), BINDINGS, "pay",
     "RoleBinding pay/b: roleRef.kind is role, not Role or ClusterRole"),
    (cluster_binding(roleRef={"kind": "Role", "name": "x"}), CLUSTER_BINDINGS, "",
     "ClusterRoleBinding b: roleRef.kind is Role, not ClusterRole"),
    (cluster_binding(roleRef={"kind": "clusterrole", "name": "x"}), CLUSTER_BINDINGS, "",
     "ClusterRoleBinding b: roleRef.kind is clusterrole, not ClusterRole"),
    (binding(roleRef={"apiGroup": "rbac", "kind": "Role", "name": "x"}), BINDINGS, "pay",
     f"RoleBinding pay/b: roleRef.apiGroup is rbac, not {RBAC}"),
    (binding(subjects=[{"kind": "User", "name": "ann"}, {"name": "bob"}]), BINDINGS, "pay",
     "RoleBinding pay/b: subjects[1].kind is missing, not User or Group or ServiceAccount"),
    (binding(subjects=[{"kind": "user", "name": "ann"}]), BINDINGS, "pay",
     "RoleBinding pay/b: subjects[0].kind is user, not User or Group or ServiceAccount"),
    (binding(subjects=[{"kind": "Group", "name": "ops", "apiGroup": "v1"}]), BINDINGS, "pay",
     f"RoleBinding pay/b: subjects[0].apiGroup is v1, not {RBAC}"),
    (binding(subjects=[{"kind": "ServiceAccount", "name": "api", "apiGroup": RBAC}]), BINDINGS, "pay",
     f"RoleBinding pay/b: subjects[0].apiGroup is {RBAC}, not empty"),
    (cluster_binding(subjects=[{"kind": "ServiceAccount", "name": "api"}]), CLUSTER_BINDINGS, "",
     "ClusterRoleBinding b: subjects[0].namespace is missing"),
    ({**policy(), "spec": "x"}, POLICIES, "pay", "NetworkPolicy pay/p: spec is not a mapping"),
    (policy(ingress="x"), POLICIES, "pay", "NetworkPolicy pay/p: spec.ingress is not a list"),
    (policy(ingress=[{"from": [{}]}]), POLICIES, "pay",
     "NetworkPolicy pay/p: spec.ingress[0].from[0] has neither a selector nor an ipBlock"),
    (policy(egress=[{"ports": [{"port": 90, "endPort": 80}]}]), POLICIES, "pay",
     "NetworkPolicy pay/p: spec.egress[0].ports[0].endPort is less than port"),
    (policy(podSelector={"matchLabels": {"on": True}}), POLICIES, "pay",
     "NetworkPolicy pay/p: spec.podSelector.matchLabels[on] is not a string"),
    (policy(policyTypes=["\u202eingress"]), POLICIES, "pay",
     "NetworkPolicy pay/p: spec.policyTypes[0] is \\u202eingress, not Ingress or Egress"),
    (role(metadata={"name": "a", "namespace": "pay", "managedFields": ["x"]}), ROLES, "pay",
     "Role pay/a: a field has not the type that the API requires"),
    (role(metadata={"namespace": "pay", "generateName": "a-"}), ROLES, "pay",
     "Role pay: generateName without a name: the server names it when it is created, so nobody can follow it"),
    ({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "a"},
      "spec": {"tier": "Super", "priority": 1, "subject": {"namespaces": {}}}},
     "clusternetworkpolicies.policy.networking.k8s.io", "",
     "ClusterNetworkPolicy a: spec.tier is Super, not Admin or Baseline"),
    ({**role(metadata={"name": "a", "namespace": "pay"}), "kind": "ClusterRole", "aggregationRule": []},
     f"clusterroles.{RBAC}", "", "ClusterRole pay/a: aggregationRule is not a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "resource", "namespace", "problem"), MALFORMED)
def test_an_object_that_the_api_would_refuse_is_a_gap_of_its_kind_and_namespace(
    tmp_path: Path, value: dict[str, Any], resource: str, namespace: str, problem: str
) -> None:
    put(tmp_path / "a.yaml", text(role("good"), value))
    found = read(tmp_path)
    assert list(found.objects) == [Key(ROLES, "pay", "good")]
    assert found.problems == [f"a.yaml:{SECOND}: {problem}"]
    assert found.gaps == [(resource, namespace, "failed", f"a.yaml:{SECOND}: {problem}")]


# Defaults of the API

POLICY_TYPES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["Ingress"]), ({"policyTypes": []}, ["Ingress"]), ({"policyTypes": None}, ["Ingress"]),
    ({"ingress": [{}]}, ["Ingress"]), ({"egress": []}, ["Ingress"]), ({"egress": [{}]}, ["Ingress", "Egress"]),
    ({"policyTypes": ["Egress"]}, ["Egress"]), ({"policyTypes": ["Egress"], "ingress": [{}]}, ["Egress"]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "types"), POLICY_TYPES)
def test_a_network_policy_gets_the_types_that_the_server_gives_it(
    tmp_path: Path, spec: dict[str, Any], types: list[str]
) -> None:
    put(tmp_path / "a.yaml", text(policy(**spec)))
    assert read(tmp_path).objects[Key(POLICIES, "pay", "p")]["spec"]["policyTypes"] == types


def test_a_network_policy_without_a_spec_isolates_for_ingress(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text({**policy(), "spec": None}))
    assert read(tmp_path).objects[Key(POLICIES, "pay", "p")]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_the_ports_of_a_network_policy_are_tcp_unless_they_say_otherwise(tmp_path: Path) -> None:
    ports = [{"port": 80}, {"port": 53, "protocol": "UDP"}, {}]
    put(tmp_path / "a.yaml", text(policy(ingress=[{"ports": ports}, {"from": []}, None], egress=[{"ports": ports}])))
    spec = read(tmp_path).objects[Key(POLICIES, "pay", "p")]["spec"]
    filled = [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"protocol": "TCP"}]
    assert (spec["ingress"], spec["egress"]) == ([{"ports": filled}, {}, {}], [{"ports": filled}])


def test_the_subjects_of_a_binding_get_group_and_namespace(tmp_path: Path) -> None:
    subjects = [
        {"kind": "ServiceAccount", "name": "a"},
        {"kind": "ServiceAccount", "name": "b", "namespace": "other"},
        {"kind": "User", "name": "c"},
        {"kind": "Group", "name": "d", "apiGroup": ""},
    ]
    put(tmp_path / "a.yaml", text(binding(subjects=subjects, roleRef={"kind": "Role", "name": "reader"})))
    found = read(tmp_path).objects[Key(BINDINGS, "pay", "b")]
    assert found["roleRef"] == {"apiGroup": RBAC, "kind": "Role", "name": "reader"}
    assert found["subjects"] == [
        {"kind": "ServiceAccount", "name": "a", "namespace": "pay"},
        {"kind": "ServiceAccount", "name": "b", "namespace": "other"},
        {"kind": "User", "name": "c", "apiGroup": RBAC},
        {"kind": "Group", "name": "d", "apiGroup": RBAC},
    ]


def test_the_resource_version_of_a_file_promises_nothing(tmp_path: Path) -> None:
    """A dump that somebody edited must not pass for the object that was read before."""

    def snapshot(verb: str, previous: Snapshot | None) -> Snapshot:
        metadata = {"name": "a", "namespace": "pay", "uid": "u", "resourceVersion": "7"}
        put(tmp_path / "a.yaml", text(role(metadata=metadata, rules=[{"verbs": [verb]}])))
        held: dict[bytes, Content] = {}

        def keep(bodies: Any) -> None:
            held.update((digest, orjson.loads(body)) for digest, body in bodies)

        return collect(FolderSource([tmp_path]), lambda _: previous, keep, held)

    first = snapshot("get", None)
    assert snapshot("*", first).get(Key(ROLES, "pay", "a")) == {"rules": [{"verbs": ["*"]}]}


def test_objects_that_share_a_part_through_an_alias_are_not_mixed_up(tmp_path: Path) -> None:
    put(
        tmp_path / "a.yaml",
        f"kind: List\nitems:\n- &a {{apiVersion: {RBAC_V1}, kind: RoleBinding, metadata: &m {{name: a}},\n"
        "  roleRef: {kind: Role, name: r}, subjects: &s [{kind: ServiceAccount, name: x}]}\n"
        "- {<<: *a, metadata: {<<: *m, namespace: other}}\n",
    )
    found = read(tmp_path).objects
    assert {key.namespace: item["subjects"][0]["namespace"] for key, item in found.items()} == {
        "default": "default", "other": "other",
    }  # fmt: skip


# The same object twice


def test_of_an_object_that_is_given_twice_the_last_one_counts(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(role()))
    put(tmp_path / "b.yaml", text(role("x"), role(rules=[]), role(rules=[])))
    found = read(tmp_path)
    assert found.objects[Key(ROLES, "pay", "reader")]["rules"] == []
    name, other, same = f"{ROLES}/pay/reader", "with other content: the last one counts", "the same again"
    assert found.problems == [
        f"b.yaml:{SECOND}: {name} is also at a.yaml:1, {other}",
        f"b.yaml:{SECOND + 7}: {name} is also at b.yaml:{SECOND}, {same}",
    ]


REFERENCES = [
    (binding, {"kind": "ClusterRole", "name": "admin"}, {"kind": "ClusterRole", "name": "view"}, f"{BINDINGS}/pay/b"),
    (binding, {"kind": "ClusterRole", "name": "view"}, {"kind": "Role", "name": "view"}, f"{BINDINGS}/pay/b"),
    (cluster_binding, {"kind": "ClusterRole", "name": "admin"}, {"kind": "ClusterRole", "name": "view"},
     f"{CLUSTER_BINDINGS}/b"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "first", "second", "name"), REFERENCES)
def test_of_two_bindings_with_another_role_the_first_counts_and_there_is_a_gap(
    tmp_path: Path, make: Callable[..., dict[str, Any]], first: dict[str, str], second: dict[str, str], name: str
) -> None:
    """The server lets nobody change a roleRef: kubectl makes the first binding and fails at the second."""
    put(tmp_path / "a.yaml", text(make(roleRef=first)))
    put(tmp_path / "b.yaml", text(make(roleRef=second)))
    found = read(tmp_path)
    resource, *namespace, _ = name.split("/")
    message = f"b.yaml:1: {name} is also at a.yaml:1, with another roleRef: the server refuses the later one"
    assert [item["roleRef"] for item in found.objects.values()] == [{"apiGroup": RBAC, **first}]
    assert found.problems == [message]
    assert found.gaps == [(resource, "".join(namespace), "failed", message)]


def test_of_two_bindings_with_the_same_role_the_last_one_counts(tmp_path: Path) -> None:
    """A roleRef without its group is the same one."""
    subjects = [{"kind": "User", "name": "ann", "apiGroup": RBAC}]
    put(tmp_path / "a.yaml", text(binding()))
    put(tmp_path / "b.yaml", text(binding(roleRef={"kind": "Role", "name": "reader"}, subjects=subjects)))
    found = read(tmp_path)
    assert found.gaps == []
    assert found.objects[Key(BINDINGS, "pay", "b")]["subjects"] == subjects


# Custom resources


def definition(name: str = "widgets.example.com", **fields: Any) -> dict[str, Any]:
    """A CustomResourceDefinition of the resource that its name says."""
    plural, _, group = name.partition(".")
    spec = {"group": group, "names": {"plural": plural, "kind": "Widget"}, "scope": "Namespaced", "versions": []}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": spec | fields,
    }


@pytest.mark.parametrize(("scope", "namespaced"), [("Namespaced", True), ("Cluster", False)])
def test_a_custom_resource_definition_says_what_the_api_serves(tmp_path: Path, scope: str, namespaced: bool) -> None:
    put(tmp_path / "a.yaml", text(definition(scope=scope)))
    assert read(tmp_path) == Read(
        {
            Key("apiresources", "", "widgets.example.com"): {
                "metadata": {"name": "widgets.example.com"},
                "kind": "Widget",
                "namespaced": namespaced,
            }
        },
        [],
        [],
        "",
    )


@pytest.mark.parametrize(
    ("version", "kind"),
    [("example.com/v1", "CustomResourceDefinition"), ("apiextensions.k8s.io/v1", "ConversionReview")],
)
def test_a_neighbour_of_custom_resource_definitions_is_another_kind(tmp_path: Path, version: str, kind: str) -> None:
    put(tmp_path / "a.yaml", text({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}))
    assert read(tmp_path).gaps == []


BAD_DEFINITIONS = [
    *((value, "it is not as apiextensions.k8s.io/v1 requires") for value in (
        definition(group=5), definition(names=None), definition(names={"plural": "a"}), {**definition(), "spec": None},
        {**definition(), "apiVersion": "apiextensions.k8s.io/v1beta1"}, {**definition(), "metadata": None},
        definition(scope=None),
    )),
    (definition(scope="Both"), "spec.scope is Both, not Namespaced or Cluster"),
    (definition("secrets", scope="Cluster"), "spec.group is empty, not a domain with a dot"),
    (definition("widgets.example"), "spec.group is example, not a domain with a dot"),
    (definition("widgets.example.org", group="example.com"),
     "metadata.name is widgets.example.org, not widgets.example.com"),
    (definition(f"roles.{RBAC}", group="k8s.io", scope="Cluster",
                names={"plural": "roles.rbac.authorization", "kind": "Role"}),
     "spec.names.plural is roles.rbac.authorization, not one word in lower case"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "why"), BAD_DEFINITIONS)
def test_a_custom_resource_definition_that_is_wrong_is_a_gap(tmp_path: Path, value: dict[str, Any], why: str) -> None:
    put(tmp_path / "a.yaml", text(value))
    message = f"a.yaml:1: CustomResourceDefinition: {why}"
    found = read(tmp_path)
    assert (found.objects, found.problems) == ({}, [message])
    assert found.gaps == [("apiresources", "", "failed", message)]


OWN = {kind.name for kind in KINDS if not kind.custom}


@pytest.mark.parametrize("name", sorted(CLUSTER_SCOPED | OWN | {"ingresses.extensions"}))
def test_no_custom_resource_definition_redefines_a_built_in_resource(tmp_path: Path, name: str) -> None:
    """Otherwise a cluster-scoped `roles` would make what a RoleBinding grants of roles pass for inert."""
    put(tmp_path / "a.yaml", text(definition(name, scope="Cluster")))
    found = read(tmp_path)
    assert (found.objects, [gap[:3] for gap in found.gaps]) == ({}, [("apiresources", "", "failed")])


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.custom and kind.resource != "*"], ids=lambda kind: kind.name
)
def test_the_definition_of_a_custom_resource_that_posture_reads_is_one_as_any_other(tmp_path: Path, kind: Any) -> None:
    put(tmp_path / "a.yaml", text(definition(kind.name)))
    assert list(read(tmp_path).objects) == [Key("apiresources", "", kind.name)]


def test_two_custom_resource_definitions_of_another_scope_are_a_gap(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(definition(scope="Namespaced")))
    put(tmp_path / "b.yaml", text(definition(scope="Cluster"), definition(versions=[{}])))
    found = read(tmp_path)
    assert found.objects[Key("apiresources", "", "widgets.example.com")]["namespaced"]
    assert [gap[:3] for gap in found.gaps] == [("apiresources", "", "failed")]
    assert found.problems[0] == (
        "b.yaml:1: apiresources/widgets.example.com is also at a.yaml:1, with another scope: "
        "the server refuses the later one"
    )
    assert found.problems[1].endswith("is also at a.yaml:1, the same again")


def test_a_definition_with_the_enum_of_kube_prometheus_is_read(tmp_path: Path) -> None:
    """`=` is a string for kubectl, and an error for other YAML readers."""
    put(
        tmp_path / "crd.yaml",
        yaml.safe_dump(definition())
        + "  x:\n    enum:\n    - '!='\n    - =\n    - =~\n  example: 2026-10-20T12:00:00Z\n  on: yes\n",
    )
    assert list(read(tmp_path).objects) == [Key("apiresources", "", "widgets.example.com")]


# What is no object, and what is broken

STRANGERS = [
    ("values.yaml", "image: {tag: 1}\n---\n- 1\n",
     "values.yaml:1: 2 documents without apiVersion and kind: no Kubernetes object"),
    ("a.json", "[1]", "a.json:1: 1 document without apiVersion and kind: no Kubernetes object"),
    ("a.yaml", "# c\nkind: 5\n", "a.yaml:2: 1 document without apiVersion and kind: no Kubernetes object"),
    ("a.yaml", "kind: Widget\n", "a.yaml:1: 1 document without apiVersion and kind: no Kubernetes object"),
    ("a.yaml", "kind: ''\napiVersion: v1\n", "a.yaml:1: 1 document without apiVersion and kind: no Kubernetes object"),
    ("kustomization.yaml", "resources: [a.yaml]\n",
     "kustomization.yaml:1: a kustomization is not built here: read the output of `kubectl kustomize` instead"),
    ("kustomization.yml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
     "kustomization.yml:1: a kustomization is not built here: read the output of `kubectl kustomize` instead"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "problem"), STRANGERS)
def test_documents_that_are_no_objects_are_said_once_for_each_file(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    put(tmp_path / "good.yaml", text(role()))
    put(tmp_path / name, content)
    found = read(tmp_path)
    assert (found.problems, found.gaps) == ([problem], [])


DEEP = f"x: {'[' * 2_000}{']' * 2_000}\n"
"""What kubectl reads and posture does not."""

BROKEN: list[tuple[str | bytes, list[str]]] = [
    ("kind: Role\nrules: [", [ROLES]),
    ("---\n# a role\n\nkind: Role\r\nrules:\n- verbs: ['*']\n  apiGroups: [", [ROLES]),
    ("kind: RoleBinding\nroleRef:\n  kind: ClusterRole\nx: [", [BINDINGS]),
    ("kind: CustomResourceDefinition\nx: [", ["apiresources"]),
    (
        "kind: NetworkPolicy\nx: [",
        [
            POLICIES,
            "networkpolicies.projectcalico.org",
            "networkpolicies.crd.projectcalico.org",
            "networkpolicies.crd.antrea.io",
        ],
    ),
    ("kind: ConfigMap\ndata: [", []),
    ("kind: ConfigMap\nmetadata: {name: kyverno}\ndata: [", ["*"]),
    ("kind: ConfigMap\nmetadata:\n  name: kyverno\ndata: [", ["configmaps"]),
    ("apiVersion: constraints.gatekeeper.sh/v1beta1\nkind: K8sOne\nspec: [", [CONSTRAINTS]),
    ("apiVersion: constraints.gatekeeper.sh/v1beta1\nkind: Role\nspec: [", [CONSTRAINTS, ROLES]),
    ("kind: Secret\ndata: [", []),
    (f"kind: Role\n{DEEP}", [ROLES]),
    ("image: [", []),
    ("mankind: Role\nx: [", []),
    # What it is cannot be told, or might be told wrongly:
    ("kind: 'Role'\nrules: [", ["*"]),
    ('{"kind": "Role", "rules": [', ["*"]),
    ("kind: RoleList\nitems: [", ["*"]),
    ("kind: List\nitems: [", ["*"]),
    ("kind: ConfigMap\nitems: [", ["*"]),
    ("kind:\n  Role\nrules: [", ["*"]),
    ("? kind\n: Role\nrules: [", ["*"]),
    ("kind: Role # the {{ first\nrules: [", ["*"]),
    ("kind: {{ .Values.kind }}\nname: x: y", ["*"]),
    ("kind: Role\n---x\nkind: {{ x }}\n", [ROLES, "*"]),
    ("kind: &a Role\nrules: [", ["*"]),
    ("kind: Role\nx: &a [*a]", ["*"]),
    (f'"\\x6bind": Role\n{DEEP}', ["*"]),
    (f'kind: Namespace\n"\\x6bind": Role\n{DEEP}', ["*"]),
    (f'kind: Namespace\n"kind": Role\n{DEEP}', ["*"]),
    (f"kind: Namespace\nkind: Role\n{DEEP}", ["*"]),
    (f"kind: Namespace\n!!str kind: Role\n{DEEP}", ["*"]),
    (f"!!binary a2luZA==: Role\n{DEEP}", ["*"]),
    (f"kind: Namespace\n<<:\n  kind: Role\n{DEEP}", ["*"]),
    (f"kind: Namespace\na: b\rkind: Role\n{DEEP}", ["*"]),
    (f"kind: Namespace\na: b\u2028kind: Role\n{DEEP}", ["*"]),
    (f"a: 'kind: Namespace'\n{DEEP}", ["*"]),
    (f"  kind: Role\n  a: '\nkind: Namespace\n'\n  {DEEP}", ["*"]),
    (f"---\n  kind: Role\n  a: '\nkind: Namespace\n'\n  {DEEP}", ["*"]),
    (f"\ufeffkind: Role\na: '\nkind: Namespace\n'\n{DEEP}", ["*"]),
    (b"kind: Role\nx: \xe9\n", ["*"]),
    (b"image: \xe9\n", ["*"]),
    ("kind: Role".encode("utf-16-le"), ["*"]),
    (os.urandom(2_000) + b"\0", ["*"]),
]


@pytest.mark.parametrize(("content", "resources"), BROKEN)
def test_a_broken_document_is_a_gap_of_everything_unless_its_kind_is_certain(
    tmp_path: Path, content: str | bytes, resources: list[str]
) -> None:
    put(tmp_path / "good.yaml", text(role()))
    put(tmp_path / "z.yaml", content)
    found = read(tmp_path)
    assert sorted(gap[:3] for gap in found.gaps) == sorted((resource, "", "failed") for resource in resources)
    assert len(found.problems) >= 1
    assert all(gap[3] in found.problems for gap in found.gaps)
    assert list(found.objects) == [Key(ROLES, "pay", "reader")]


def test_a_problem_of_a_broken_document_names_its_line_and_never_its_text(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(role()) + "---\nkind: Secret\nstringData:\n  a: hunter2\n b: c\n")
    found = read(tmp_path)
    assert found.problems == [f"a.yaml:{SECOND + 3}: while parsing a block mapping: did not find expected key"]


def test_a_template_is_named_as_what_it_looks_like(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", '{{- if .Values.rbac }}\napiVersion: v1\nkind: Role\n{{- end }}\n{ "x" }\n')
    found = read(tmp_path)
    assert found.problems[0].endswith("(if this is a template, render it first)")
    assert [gap[0] for gap in found.gaps] == ["*"]


def test_a_document_that_is_too_large_may_hold_anything(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(role()) + "---\nx: " + "y" * 1_000 + "\n---\n" + text(role("last")))
    found = read(tmp_path, document=500)
    assert [gap[:3] for gap in found.gaps] == [("*", "", "truncated")]
    assert [key.name for key in found.objects] == ["reader", "last"]


def test_what_kubectl_passes_over_in_silence_is_a_problem(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(role()) + "rules: []\n")
    found = read(tmp_path)
    assert found.problems == [f"a.yaml:{SECOND - 1}: `rules` is given twice: the last one counts"]
    assert found.objects[Key(ROLES, "pay", "reader")]["rules"] == []


def test_hostile_names_reach_nobody_unseen(tmp_path: Path) -> None:
    evil = "\u202e\x1b[2J\n::error::"
    put(tmp_path / "a\u202e\x1b.yaml", text(role(evil, evil, rules=5), {"apiVersion": evil, "kind": evil}, {evil: 1}))
    put(tmp_path / "b\n.yaml", f"kind: Role\n'{evil}': *b\n")
    put(tmp_path / "c.yaml", text(role(evil, evil), role(evil, evil, rules=[])))
    source = FolderSource([tmp_path])
    gaps = [event.message for event in source.events() if isinstance(event, Gap)]
    assert len(gaps) == 2
    assert all(line.isprintable() for line in gaps)
    assert len(source.facts.problems) >= 5
    assert all(place.isprintable() and message.isprintable() for place, message in source.facts.problems)
    assert FolderSource([Path(evil)]).title.isprintable()


# The source as a whole


def test_the_cluster_is_the_uid_of_kube_system(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pay", "uid": "no"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": "7a1e"}},
    ))  # fmt: skip
    assert read(tmp_path).cluster == "7a1e"


def test_many_objects_come_in_pages_of_one_resource(tmp_path: Path) -> None:
    many = text(*(role(f"r{number}") for number in range(PAGE + 1)), binding())
    pages = [event for event in FolderSource([put(tmp_path / "a.yaml", many)]).events() if isinstance(event, Page)]
    assert [(page.resource, page.namespace, len(page.items)) for page in pages] == [
        (ROLES, "", PAGE), (BINDINGS, "", 1), (ROLES, "", 1),
    ]  # fmt: skip


def test_a_source_can_be_read_again(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(role(namespace="")))
    source = FolderSource([tmp_path], cache=Cache())
    assert list(source.events()) == list(source.events())
    assert len(source.facts.problems) == 1


def test_sources_of_one_run_share_what_was_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.yaml", text(role()))
    cache = Cache()
    first = list(FolderSource([tmp_path], cache=cache).events())
    monkeypatch.delattr(document, "_Parser")
    assert list(FolderSource([tmp_path], cache=cache).events()) == first


def test_a_folder_becomes_a_snapshot(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", text(role(), binding(), role("broken", rules=5)))
    held: dict[bytes, Content] = {}

    def keep(bodies: Any) -> None:
        held.update((digest, orjson.loads(body)) for digest, body in bodies)

    snapshot = collect(FolderSource([tmp_path]), lambda _: None, keep, held)
    assert snapshot.get(Key(ROLES, "pay", "reader")) == {"rules": role()["rules"]}
    assert {gap.resource for gap in snapshot.gaps} == {ROLES}
    assert snapshot.version is None


_NAMES = st.sampled_from(
    ["name", "namespace", "labels", "rules", "spec", "kind", "items", "subjects", "roleRef", "ingress", "ports"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x", "Role", "v1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([(f"{kind.group}/v1" if kind.group else "v1", kind.kind) for kind in KINDS] + [("v1", "List")]),
    st.fixed_dictionaries({"name": st.sampled_from(["x", None, 5]), "namespace": _VALUES, "labels": _VALUES}) | _VALUES,
    st.dictionaries(
        st.sampled_from(["spec", "rules", "subjects", "roleRef", "items", "status", "webhooks"]), _VALUES, max_size=3
    ),
)
def test_an_object_of_any_shape_is_read_or_a_gap_and_a_page_can_be_collected(
    named: tuple[str, str], metadata: Any, fields: dict[str, Any]
) -> None:
    value = {"apiVersion": named[0], "kind": named[1], "metadata": metadata, **fields}
    source = FolderSource(["-"], stdin=io.BytesIO(text(role("good"), value).encode()))
    held: dict[bytes, Content] = {}
    snapshot = collect(source, lambda _: None, lambda bodies: held.update(dict(bodies)), held)  # type: ignore[arg-type]
    objects = sum(len(found) for found in snapshot.index.values())
    if named[1] not in ("List", "ConfigMap"):
        assert objects + len(snapshot.gaps) >= 2
