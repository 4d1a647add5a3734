"""How a real kube-apiserver is reached, and as whom."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from posture.collect import Problem
from posture.collect.access import Access, load
from posture.collect.client import Client, open_client
from posture.collect.live import LiveSource
from posture.collect.problem import RequestProblem
from posture.errors import CannotJudge
from posture.kinds import BY_NAME
from tests.collect.certificates import Authority
from tests.collect.connect_proxy import ConnectProxy
from tests.collect.readings import gaps, read
from tests.controlplane.build import KUBECTL
from tests.controlplane.controlplane import ControlPlane
from tests.controlplane.processes import reserve_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def plane(authority: Authority) -> Iterator[ControlPlane]:
    """A control plane that takes client certificates of the authority."""
    flags = [f"--client-ca-file={authority.path}"]
    with ControlPlane(users={"alice": (), "bob": ()}, apiserver_flags=flags) as running:
        yield running


def kubeconfig(plane: ControlPlane, path: Path, user: dict[str, Any], **cluster: Any) -> str:
    """Writes a kubeconfig for the control plane with another user, and perhaps other fields of the cluster."""
    content = json.loads(plane.kubeconfig().read_text())
    content["users"][0]["user"] = user
    content["clusters"][0]["cluster"] |= cluster
    path.write_text(json.dumps(content))
    return str(path)


def test_several_kubeconfigs_are_merged_as_kubectl_merges_them(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files that contradict each other, in every order; the first that is named may be missing or empty."""
    for name, current in (("a", ""), ("b", "b"), ("c", "all")):
        clusters = [
            {"name": each, "cluster": {"server": f"https://{name}.example"}} for each in ("all", f"only-{name}")
        ]
        pairs = {"all": f"only-{name}", name: "all"}
        contexts = [{"name": each, "context": {"cluster": to, "user": "all"}} for each, to in pairs.items()]
        users = [{"name": "all", "user": {"token": name}}]
        content = {"clusters": clusters, "users": users, "contexts": contexts, "current-context": current}
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "empty").write_text("")
    for order in itertools.permutations(["a", "b", "c"]):
        paths = [str(tmp_path / name) for name in ("absent", "empty", *order)]
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join(paths))
        command = [str(plane.programs / KUBECTL), "config", "view", "--minify", "--raw", "--output=json"]
        seen = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
        access = load()
        assert access.context == seen["current-context"]
        assert access.name == seen["contexts"][0]["context"]["cluster"]
        assert access.server == seen["clusters"][0]["cluster"]["server"]
        assert dict(access.headers) == {"Authorization": f"Bearer {seen['users'][0]['user']['token']}"}


class TestCredentials:
    def who(self, client: Client) -> str:
        """Who the server says that we are, in the message of a refusal; admin is refused nothing."""
        try:
            client.get("/api/v1/nodes")
        except RequestProblem as problem:
            return str(problem).split('"')[1]
        return "admin"

    def test_may_be_a_client_certificate(self, plane: ControlPlane, authority: Authority, tmp_path: Path) -> None:
        for user, groups in (("jane", ()), ("admin", ("system:masters",))):
            pair = authority.client(user, *groups)
            fields = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
            encoded = {name: base64.b64encode(text.encode()).decode() for name, text in fields.items()}
            with open_client(kubeconfig=kubeconfig(plane, tmp_path / "config", encoded)) as client:
                assert self.who(client) == user

    def test_may_come_from_a_plugin(self, plane: ControlPlane, authority: Authority, tmp_path: Path) -> None:
        pair = authority.client("jane")
        for status_, user in (
            ({"token": plane.user_token("alice")}, "alice"),
            ({"clientCertificateData": pair.certificate, "clientKeyData": pair.key}, "jane"),
        ):
            plugin = self.plugin(tmp_path, [status_])
            with open_client(kubeconfig=kubeconfig(plane, tmp_path / "config", plugin)) as client:
                assert self.who(client) == user

    def plugin(self, tmp_path: Path, answers: list[dict[str, Any]]) -> dict[str, Any]:
        """A credential plugin that gives one answer after the other, the last for ever, and counts its runs."""
        version = "client.authentication.k8s.io/v1"
        runs = tmp_path / "runs"
        runs.write_text("")
        for number, answer in enumerate(answers, 1):
            printed = {"apiVersion": version, "kind": "ExecCredential", "status": answer}
            (tmp_path / f"answer-{number}").write_text(json.dumps(printed))
        script = tmp_path / "plugin"
        script.write_text(
            f"#!/bin/sh\ncd {tmp_path}\necho >>runs\nn=$(wc -l <runs)\n"
            f"[ $n -lt {len(answers)} ] || n={len(answers)}\ncat answer-$n\n"
        )
        script.chmod(0o755)
        return {"exec": {"apiVersion": version, "command": str(script), "interactiveMode": "Never"}}

    def test_of_a_plugin_are_renewed_when_the_server_refuses_them(self, plane: ControlPlane, tmp_path: Path) -> None:
        plugin = self.plugin(tmp_path, [{"token": "worn out"}, {"token": plane.user_token("alice")}])
        with open_client(kubeconfig=kubeconfig(plane, tmp_path / "config", plugin)) as client:
            assert [self.who(client) for _ in range(3)] == ["alice"] * 3
        assert len((tmp_path / "runs").read_text()) == 2

    def test_of_a_plugin_are_renewed_when_they_expire(self, plane: ControlPlane, tmp_path: Path) -> None:
        old = {"token": plane.user_token("alice"), "expirationTimestamp": "2020-01-01T00:00:00Z"}
        new = {"token": plane.user_token("bob"), "expirationTimestamp": "2999-01-01T00:00:00Z"}
        plugin = self.plugin(tmp_path, [old, new])
        with open_client(kubeconfig=kubeconfig(plane, tmp_path / "config", plugin)) as client:
            assert [self.who(client) for _ in range(3)] == ["bob"] * 3
        assert len((tmp_path / "runs").read_text()) == 2

    def test_of_a_plugin_that_stays_refused_are_no_good(self, plane: ControlPlane, tmp_path: Path) -> None:
        plugin = self.plugin(tmp_path, [{"token": "worn out"}])
        client = open_client(kubeconfig=kubeconfig(plane, tmp_path / "config", plugin))
        with client, pytest.raises(CannotJudge, match="401 Unauthorized") as caught:
            list(LiveSource(client).events())
        assert "does not accept the credentials" in caught.value.hint
        assert len((tmp_path / "runs").read_text()) == 2

    def test_in_a_pod_rotate(self, plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The kubelet has put a new token into place, and the old one is no good any more."""
        host, _, port = plane.url.removeprefix("https://").partition(":")
        for name, value in {
            "HOME": str(tmp_path),
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        (tmp_path / "ca.crt").write_text(plane.ca_file.read_text())
        (tmp_path / "token").write_text("old")
        opening = partial(load, service_account=tmp_path)
        with Client(opening(), opening) as client:
            (tmp_path / "token").write_text(plane.token("default", "default"))
            assert self.who(client) == "system:serviceaccount:default:default"

    def test_may_be_borrowed(self, plane: ControlPlane, tmp_path: Path) -> None:
        user = {"token": plane.user_token(), "as": "jane"}
        with open_client(kubeconfig=kubeconfig(plane, tmp_path / "config", user)) as client:
            assert self.who(client) == "jane"


class TestConnection:
    @pytest.mark.parametrize("where", ["environment", "kubeconfig"])
    def test_goes_through_a_proxy(
        self, plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        host, _, port = plane.url.removeprefix("https://").partition(":")
        with ConnectProxy((host, int(port))) as proxy:
            url = f"http://me:p%40ss@{proxy.address}"
            cluster = {"server": "https://api.example:6443", "tls-server-name": "kubernetes"}
            if where == "kubeconfig":
                cluster["proxy-url"] = url
            else:
                monkeypatch.setenv("HTTPS_PROXY", url)
            path = kubeconfig(plane, tmp_path / "config", {"token": plane.user_token()}, **cluster)
            with open_client(kubeconfig=path) as client:
                snapshot = read(client, kinds=[BY_NAME["namespaces"]])
            assert ("", "kube-system") in snapshot.index["namespaces"]
            (head,) = proxy.heads
        assert head.startswith("CONNECT api.example:6443 HTTP/1.")
        assert f"proxy-authorization: Basic {base64.b64encode(b'me:p@ss').decode()}".lower() in head.lower()
        assert "Bearer" not in head, "the proxy sees no credentials for the cluster"

    def test_is_kept(self, plane: ControlPlane, tmp_path: Path) -> None:
        """One connection, and so one TLS handshake, for a whole read."""
        host, _, port = plane.url.removeprefix("https://").partition(":")
        with ConnectProxy((host, int(port))) as proxy:
            cluster = {"proxy-url": f"http://{proxy.address}"}
            path = kubeconfig(plane, tmp_path / "config", {"token": plane.user_token()}, **cluster)
            with open_client(kubeconfig=path) as client:
                read(client, limit=5)
            assert len(proxy.heads) == 1

    def test_to_a_server_with_another_certificate_is_refused(
        self, plane: ControlPlane, authority: Authority, tmp_path: Path
    ) -> None:
        other = base64.b64encode(authority.path.read_bytes()).decode()
        for cluster, reason in (
            ({"certificate-authority-data": other}, "self-signed certificate in certificate chain"),
            ({"tls-server-name": "other.example"}, "Hostname mismatch, certificate is not valid for 'other.example'."),
        ):
            client = open_client(kubeconfig=kubeconfig(plane, tmp_path / "config", {"token": "secret"}, **cluster))
            with client, pytest.raises(CannotJudge) as caught:
                list(LiveSource(client).events())
            assert str(caught.value) == f"the certificate of {plane.url} is not trusted: {reason}"
            assert "certificate-authority" in caught.value.hint

    def test_may_be_left_unverified_and_that_is_said(self, plane: ControlPlane, tmp_path: Path) -> None:
        cluster = {"certificate-authority-data": "", "insecure-skip-tls-verify": True}
        path = kubeconfig(plane, tmp_path / "config", {"token": plane.user_token()}, **cluster)
        with open_client(kubeconfig=path) as client:
            source = LiveSource(client, kinds=[BY_NAME["namespaces"]])
            assert not gaps(source.events())
        text = "the server's certificate is not verified: anyone may answer in its place"
        assert source.facts.problems == [Problem(plane.url, text)]

    def test_that_cannot_be_made_is_one_sentence(self) -> None:
        with reserve_port() as held:
            url = f"http://127.0.0.1:{held.getsockname()[1]}"
            client = Client(Access(url), sleep=lambda _: None)
            with pytest.raises(CannotJudge) as caught:
                list(LiveSource(client).events())
        assert str(caught.value) == f"cannot connect to {url}: Connection refused (tried 2 times)"
        assert caught.value.hint == "does the cluster run, and is this its address?"
