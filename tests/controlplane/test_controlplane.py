"""The control plane that other tests rely on is a real one, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.controlplane import build
from tests.controlplane.__main__ import _may_replace
from tests.controlplane.aggregation import aggregated
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane, ControlPlaneError
from tests.controlplane.defaults import FOLDER, defaults_of
from tests.controlplane.folders import TemporaryFolder
from tests.controlplane.manifests import LoadError, read_manifests

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
RBAC = "rbac.authorization.k8s.io/v1"


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(name: str, in_namespace: str, **security_context: object) -> dict[str, Any]:
    container = {"name": "main", "image": "example.test/app:1", "securityContext": security_context}
    metadata = {"name": name, "namespace": in_namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def allowed(plane: ControlPlane, user: str, verb: str, resource: str, in_namespace: str = "") -> bool:
    attributes = {"verb": verb, "resource": resource, "namespace": in_namespace}
    body = {"spec": {"user": user, "resourceAttributes": attributes}}
    answer = plane.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"])


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Asks until the answer is yes: the authorizer learns of a new binding through a watch."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_answers_access_reviews(control_plane: ControlPlane) -> None:
    """A SubjectAccessReview says no before a RoleBinding to `view`, and yes after it for what `view` aggregates."""
    assert not allowed(control_plane, "alice", "list", "pods", "sar")

    binding = {
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": "alice", "namespace": "sar"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
    }
    assert control_plane.apply([binding, namespace("sar")]) == 2

    assert within(5, lambda: allowed(control_plane, "alice", "list", "pods", "sar"))
    assert not allowed(control_plane, "alice", "list", "secrets", "sar")
    assert not allowed(control_plane, "alice", "list", "pods", "default")


def test_users_of_the_token_file(control_plane: ControlPlane) -> None:
    """A kubeconfig acts as its user, in the user's groups; admin may do everything, others nothing of their own."""
    who = control_plane.kubectl("auth", "whoami", "-o", "json", user="alice").stdout
    info = json.loads(who)["status"]["userInfo"]

    assert info["username"] == "alice"
    assert info["groups"] == ["developers", "system:authenticated"]
    assert control_plane.kubectl("auth", "can-i", "*", "*", check=False).stdout == "yes\n"
    with pytest.raises(ControlPlaneError, match="cannot list resource"):
        control_plane.kubectl("get", "secrets", user="nobody")


def test_requests_of_nobody(control_plane: ControlPlane) -> None:
    """Without a token a request is anonymous: it reads the version and no Secret; a wrong token is refused with 401."""
    assert control_plane.request("GET", "/version", token="")["gitVersion"] == control_plane.version
    with pytest.raises(RefusedError) as refused:
        control_plane.request("GET", "/api/v1/secrets", token="")
    assert refused.value.status == 403
    with pytest.raises(RefusedError) as refused:
        control_plane.request("GET", "/api/v1/secrets", token="wrong")
    assert refused.value.status == 401


def test_tokens_of_service_accounts(control_plane: ControlPlane) -> None:
    """A new namespace gets its default ServiceAccount, and a token of it makes requests in its name."""
    control_plane.apply([namespace("tokens")])
    path = "/api/v1/namespaces/tokens/serviceaccounts"
    assert within(5, lambda: bool(control_plane.request("GET", path)["items"]))

    token = control_plane.token("tokens", "default")
    review = control_plane.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token)

    assert review["status"]["userInfo"]["username"] == "system:serviceaccount:tokens:default"


def test_verifies_the_server(control_plane: ControlPlane) -> None:
    """The CA file verifies the server as strictly as Python 3.13 does; without it the server is not believed."""
    host = control_plane.url.removeprefix("https://")
    strict = ssl.create_default_context(cafile=str(control_plane.ca_file))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    with contextlib.closing(http.client.HTTPSConnection(host, context=strict, timeout=10)) as connection:
        connection.request("GET", "/version")
        assert connection.getresponse().status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        http.client.HTTPSConnection(host, timeout=10).request("GET", "/version")


def test_admission_answers(control_plane: ControlPlane) -> None:
    """Pod Security Admission refuses a privileged pod where a namespace enforces it, on a dry run too."""
    guarded = {"pod-security.kubernetes.io/enforce": "baseline"}
    control_plane.apply([namespace("open"), namespace("guarded", **guarded), pod("kept", "open", privileged=True)])

    path, body = "/api/v1/namespaces/guarded/pods?dryRun=All", pod("refused", "guarded", privileged=True)
    with pytest.raises(RefusedError, match="violates PodSecurity") as refused:
        control_plane.request("POST", path, body)
    assert refused.value.status == 403


def test_load_orders_what_depends_on_another(control_plane: ControlPlane, tmp_path: Path) -> None:
    """One folder holds a resource of its own CRD, a pod with its status, and a policy that would refuse both."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rules.load.test"},
        "spec": {
            "group": "load.test",
            "names": {"kind": "Rule", "plural": "rules"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    running = {**pod("running", "load"), "status": {"phase": "Running", "podIP": "192.0.2.7"}}
    rule = {"apiVersion": "load.test/v1", "kind": "Rule", "metadata": {"name": "one", "namespace": "load"}}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "load-nothing"},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "load"}},
                "resourceRules": [
                    # A namespaceSelector matches whatever has no namespace: `scope` spares other tests' objects.
                    {
                        "apiGroups": ["*"],
                        "apiVersions": ["*"],
                        "operations": ["CREATE"],
                        "resources": ["*"],
                        "scope": "Namespaced",
                    },
                ],
            },
            "validations": [{"expression": "false"}],
        },
    }
    bound = {"policyName": "load-nothing", "validationActions": ["Deny"]}
    binding = {**policy, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([binding, policy, rule, running]))
    listed = {"apiVersion": "v1", "kind": "List", "items": [crd, namespace("load")]}
    (tmp_path / "b.json").write_text(json.dumps(listed))

    assert control_plane.load(tmp_path, manager="flux") == 6

    first = control_plane.request("GET", "/api/v1/namespaces/load/pods/running")
    assert first["status"]["podIP"] == "192.0.2.7"
    assert {entry["manager"] for entry in first["metadata"]["managedFields"]} == {"flux"}
    assert control_plane.load(tmp_path, manager="flux") == 6, "a second time changes nothing"
    again = control_plane.request("GET", "/api/v1/namespaces/load/pods/running")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_load_says_what_was_refused(control_plane: ControlPlane) -> None:
    """An object that the server refuses is named with the server's reason."""
    lost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lost", "namespace": "nowhere"}}
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": "default"}}

    with pytest.raises(LoadError, match=r"1 of 2 objects refused:\nConfigMap nowhere/lost: 404: namespaces") as error:
        control_plane.apply([lost, kept])
    assert "kept" not in str(error.value)


def test_manifests_are_read_as_json_would_be(tmp_path: Path) -> None:
    """A date stays text, typed lists are taken apart, and a document that is no object is named by its file."""
    items = "kind: PodList\napiVersion: v1\nitems:\n- metadata: {name: a, annotations: {on: 2026-01-02}}\n---\n"
    (tmp_path / "list.yml").write_text(items)

    assert [(found["kind"], found["apiVersion"]) for found in read_manifests(tmp_path)] == [("Pod", "v1")]
    assert list(read_manifests(tmp_path)[0]["metadata"]["annotations"].values()) == ["2026-01-02"]
    (tmp_path / "values.yaml").write_text("replicas: 1\n")
    with pytest.raises(LoadError, match=r"values\.yaml"):
        read_manifests(tmp_path)


def test_restart_and_stop() -> None:
    """A restart keeps address and objects; etcd forgets versions on demand; a stop leaves no process and no folder."""
    with ControlPlane(wait_for_defaults=False) as plane:
        plane.apply([namespace("kept")])
        old, pids = plane.request("GET", "/api/v1/namespaces/kept"), plane.pids
        plane.compact()

        plane.restart_apiserver(["--anonymous-auth=false"])

        assert plane.request("GET", "/api/v1/namespaces/kept")["metadata"]["uid"] == old["metadata"]["uid"]
        assert plane.pids["etcd"] == pids["etcd"]
        assert plane.pids["kube-apiserver"] != pids["kube-apiserver"]
        with pytest.raises(RefusedError) as refused:
            plane.request("GET", "/version", token="")
        assert refused.value.status == 401
        with pytest.raises(RefusedError) as refused:
            plane.request("GET", "/api/v1/namespaces?resourceVersion=1&resourceVersionMatch=Exact")
        assert refused.value.status == 410
        event = plane.request("GET", "/api/v1/namespaces?watch=1&timeoutSeconds=1&resourceVersion=1")
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        pids |= {f"new {program}": pid for program, pid in plane.pids.items()}
    assert len(pids) == 6
    assert not [program for program, pid in pids.items() if alive(pid)]
    assert not plane.folder.exists()


def test_a_failed_start_says_why_and_leaves_nothing() -> None:
    """A flag that kube-apiserver does not know ends the start at once, with its words, and etcd is stopped."""
    plane = ControlPlane(apiserver_flags=["--no-such-flag"])

    with pytest.raises(ControlPlaneError, match=r"(?s)kube-apiserver of v1\.36.*unknown flag: --no-such-flag"):
        plane.start()

    assert plane.pids == {}
    assert not plane.folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
def test_processes_end_with_their_parent() -> None:
    """When the parent is killed, its processes end at once, also if a thread started them; the next one tidies up."""
    code = """if True:
        import json, threading, time
        from tests.controlplane.controlplane import ControlPlane
        plane = ControlPlane(wait_for_defaults=False)
        thread = threading.Thread(target=plane.start)
        thread.start()
        thread.join()
        time.sleep(0.2)
        print(json.dumps([str(plane.folder), plane.ended(), plane.pids]), flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        folder, ended, pids = json.loads(parent.stdout.readline())
        assert ended == []
        assert all(alive(pid) for pid in pids.values())

        os.kill(parent.pid, signal.SIGKILL)

    assert within(5, lambda: not any(alive(pid) for pid in pids.values()))
    TemporaryFolder().remove()
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    "minor",
    [pytest.param(minor, marks=() if minor == build.NEWEST else pytest.mark.prove) for minor in build.minors()],
)
def test_shipped_defaults_are_those_of_a_fresh_server(minor: str) -> None:
    """`baselines/defaults/MINOR.yaml` is byte for byte what a fresh server of that minor version has."""
    with ControlPlane(minor) as plane:
        text = defaults_of(plane)
    assert (FOLDER / f"{minor}.yaml").read_text() == text


def test_aggregation_is_done_when_roles_hold_what_they_select() -> None:
    """A role is complete with exactly the rules of the roles that its labels select, in any order."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    other = {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}
    parts = [
        {"metadata": {"name": "a", "labels": {"to-view": "true"}}, "rules": [rule]},
        {"metadata": {"name": "b", "labels": {"to-view": "true"}}, "rules": [other]},
    ]
    selectors = {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]}
    view = {"metadata": {"name": "view"}, "aggregationRule": selectors}

    assert aggregated([*parts, {**view, "rules": [other, rule]}])
    assert not aggregated([*parts, {**view, "rules": [rule]}])
    assert not aggregated([*parts, {**view, "rules": None}])
    assert not aggregated(parts)


def test_ready_binaries_of_the_wanted_version_are_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """KUBEBUILDER_ASSETS skips the build only if its programs are complete and of the wanted minor version."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    folder = build.binaries()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert build.binaries() == folder
    assert build._assets("1.33") is None
    assert f"it holds Kubernetes {build.version_of(build.NEWEST)}, wanted is 1.33" in capsys.readouterr().err
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert build._assets(build.NEWEST) is None
    assert "kube-controller-manager, kubectl not found in it" in capsys.readouterr().err
    with pytest.raises(build.BuildError, match=r"1\.2 cannot be built here"):
        build.binaries("1.2")


def test_up_replaces_only_its_own_kubeconfig(tmp_path: Path) -> None:
    """`up --kubeconfig` never overwrites a kubeconfig of somebody else."""
    path = tmp_path / "config"
    assert _may_replace(path)
    path.write_text('{"current-context": "posture-1.36"}')
    assert _may_replace(path)
    path.write_text("current-context: production\n")
    assert not _may_replace(path)
