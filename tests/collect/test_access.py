"""Kubeconfigs, pods' own credentials and credential plugins, without a server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from posture.collect import plugin
from posture.collect.access import Access, load
from posture.errors import CannotJudge, FileError, PostureError, UsageError
from tests.collect.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SERVER = "https://api.example:6443"
V1 = "client.authentication.k8s.io/v1"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own configuration is seen."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def config(
    user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None, name: str = "prod", **more: Any
) -> dict[str, Any]:
    """A kubeconfig with one context, cluster and user of one name."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": SERVER, **(cluster or {})}}],
        "users": [{"name": name, "user": dict(user or {})}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        **more,
    }


def written(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def loaded(tmp_path: Path, user: Mapping[str, Any], cluster: Mapping[str, Any] | None = None, **options: Any) -> Access:
    return load(kubeconfig=written(tmp_path / "config", config(user, cluster)), **options)


def problem(tmp_path: Path, user: Mapping[str, Any], cluster: Mapping[str, Any] | None = None) -> PostureError:
    with pytest.raises(PostureError) as caught:
        loaded(tmp_path, user, cluster)
    return caught.value


def program(path: Path, text: str) -> str:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def credential(**status: Any) -> str:
    """What a credential plugin prints."""
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


@contextlib.contextmanager
def typed(text: bytes) -> Iterator[None]:
    """The text waits on this process' standard input."""
    kept, (source, sink) = os.dup(0), os.pipe()
    os.write(sink, text)
    os.dup2(source, 0)
    for each in (source, sink):
        os.close(each)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def exec_of(command: str, **fields: Any) -> dict[str, Any]:
    return {"exec": {"apiVersion": V1, "command": command, "interactiveMode": "IfAvailable", **fields}}


class TestFiles:
    def test_the_named_one_beats_the_environment_and_that_the_home(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(tmp_path / "home/.kube/config", config(name="at-home"))
        assert load().name == "at-home"
        monkeypatch.setenv("KUBECONFIG", written(tmp_path / "b", config(name="of-environment")))
        assert load().name == "of-environment"
        assert load(kubeconfig=written(tmp_path / "c", config(name="named"))).name == "named"

    def test_of_several_the_first_that_says_something_wins(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = config({"token": "first"}, name="shared")
        second = config({"token": "second"}, name="shared")
        second["contexts"].append({"name": "more", "context": {"cluster": "shared", "user": "shared"}})
        del first["current-context"]
        second["current-context"] = "more"
        third = config({"token": "third"}, name="other")
        files = [tmp_path / "absent", written(tmp_path / "empty", ""), "/dev/null"]
        files += [written(tmp_path / f"{number}", each) for number, each in enumerate((first, second, third))]
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
        assert load().context == "more"
        assert dict(load().headers) == {"Authorization": "Bearer first"}
        assert dict(load("other").headers) == {"Authorization": "Bearer third"}

    def test_name_other_files_relative_to_themselves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
    ) -> None:
        """The cluster's and the user's file lie in two folders, and neither is the current one."""
        pair = authority.client("jane")
        user = {"client-certificate": "jane.crt", "client-key": "keys/jane.key", "tokenFile": "token"}
        clusters = config(cluster={"certificate-authority": "ca.crt"}, users=None)
        users = config(user, clusters=[], contexts=[])
        written(tmp_path / "a/ca.crt", authority.path.read_text())
        for name, text in (("jane.crt", pair.certificate), ("keys/jane.key", pair.key), ("token", " secret\n")):
            written(tmp_path / "b" / name, text)
        files = [written(tmp_path / "a/config", clusters), written(tmp_path / "b/config", users)]
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join(files))
        access = load()
        assert dict(access.headers) == {"Authorization": "Bearer secret"}
        assert access.tls is not None
        assert [each["serialNumber"] for each in access.tls.get_ca_certs()]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("a: [", "config:1: the kubeconfig is not valid YAML: "),
            ("- a\n- b", "config: this is no kubeconfig"),
            ("clusters: 5", "config: this is no kubeconfig"),
            ("clusters: [{cluster: {}}]", "config: clusters: an entry has no name, or is no mapping"),
            ("users: [{name: a, user: b}]", "config: users: an entry has no name, or is no mapping"),
            ("a: !!python/object:os.system {}", "config:1: the kubeconfig is not valid YAML: "),
            ("\x00", "config: the kubeconfig cannot be read: "),
        ],
    )
    def test_that_are_no_kubeconfig_are_named(self, tmp_path: Path, content: str, message: str) -> None:
        with pytest.raises(FileError) as caught:
            load(kubeconfig=written(tmp_path / "config", content))
        assert str(caught.value).startswith(f"{tmp_path}/{message}")

    def test_that_are_not_there_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="does not exist"):
            load(kubeconfig=str(tmp_path / "absent"))
        with pytest.raises(UsageError, match="there is no kubeconfig: neither --kubeconfig nor KUBECONFIG nor"):
            load()


class TestContext:
    def test_that_is_unknown_gets_the_names_of_those_that_are_there(self, tmp_path: Path) -> None:
        path = written(tmp_path / "config", config(name="prod\x1b[31m"))
        with pytest.raises(UsageError, match=r"^the kubeconfig has no context test$") as caught:
            load("test", path)
        assert caught.value.hint == "there are: prod\\x1b[31m"

    def test_that_nobody_chose_must_be_chosen(self, tmp_path: Path) -> None:
        path = written(tmp_path / "config", {**config(), "current-context": ""})
        with pytest.raises(UsageError, match="has no current context") as caught:
            load(kubeconfig=path)
        assert caught.value.hint == "choose one with --context: prod"

    @pytest.mark.parametrize("cluster", [{"server": ""}, {"server": "api.example"}, {"server": "ftp://api.example"}])
    def test_without_a_usable_server_is_an_error(self, tmp_path: Path, cluster: dict[str, str]) -> None:
        assert isinstance(problem(tmp_path, {}, cluster), UsageError)

    def test_without_a_user_is_nobody(self, tmp_path: Path) -> None:
        assert load(kubeconfig=written(tmp_path / "config", config(users=[]))).headers == ()

    def test_gives_the_clusters_name_and_address(self, tmp_path: Path) -> None:
        access = loaded(tmp_path, {}, {"server": "https://rancher.example/k8s/clusters/c-1/"})
        assert (access.name, access.context) == ("prod", "prod")
        assert access.server == "https://rancher.example/k8s/clusters/c-1"
        assert access.host == "rancher.example"


class TestIdentity:
    @pytest.mark.parametrize(
        ("user", "header"),
        [
            ({}, None),
            ({"token": "abc"}, "Bearer abc"),
            ({"token": "abc\n"}, "Bearer abc"),
            ({"token": "", "username": "jane", "password": "s:cret"}, "Basic amFuZTpzOmNyZXQ="),
            ({"auth-provider": {"name": "oidc", "config": {"id-token": "a.b.c"}}}, "Bearer a.b.c"),
        ],
    )
    def test_is_one_header(self, tmp_path: Path, user: dict[str, Any], header: str | None) -> None:
        assert dict(loaded(tmp_path, user).headers).get("Authorization") == header

    def test_of_a_token_file_is_read_again_every_minute(self, tmp_path: Path) -> None:
        user = {"tokenFile": written(tmp_path / "token", "first\n"), "token": "of the kubeconfig"}
        access = loaded(tmp_path, user, now=lambda: 1000.0)
        assert dict(access.headers) == {"Authorization": "Bearer first"}
        assert access.expires == 1060.0

    @pytest.mark.parametrize(
        ("user", "message"),
        [
            ({"tokenFile": "/nonexistent"}, "the token file /nonexistent cannot be read: No such file or directory"),
            ({"tokenFile": "/dev/null"}, "the token file /dev/null is empty"),
            ({"token": "a\nb"}, "what Authorization should say has characters that HTTP cannot carry"),
            ({"auth-provider": {"name": "gcp"}}, "the kubeconfig's auth-provider gcp has no token to use"),
            ({"client-certificate": "/nonexistent"}, "context prod of the kubeconfig cannot be used: File does not"),
            ({"client-certificate-data": "YQ"}, "context prod of the kubeconfig cannot be used"),
            ({"client-certificate-data": "YQ==", "client-key-data": "YQ=="}, "the client certificate cannot be used"),
        ],
    )
    def test_that_cannot_be_had_is_said_in_one_sentence(
        self, tmp_path: Path, user: dict[str, Any], message: str
    ) -> None:
        text = str(problem(tmp_path, user))
        assert message in text
        assert "\n" not in text

    def test_may_be_another_one(self, tmp_path: Path) -> None:
        """Without the headers posture would see more than the person who runs it meant to."""
        user = {
            "token": "t",
            "as": "jane",
            "as-uid": "7",
            "as-groups": ["a", "b"],
            "as-user-extra": {"example.org/Scope": ["x", "y"]},
        }
        assert loaded(tmp_path, user).headers == (
            ("Authorization", "Bearer t"),
            ("Impersonate-User", "jane"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Extra-example.org%2FScope", "x"),
            ("Impersonate-Extra-example.org%2FScope", "y"),
        )

    @pytest.mark.parametrize("where", ["kubeconfig", "plugin"])
    def test_leaves_no_private_key_on_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority, where: str
    ) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        pair = authority.client("jane")
        if where == "kubeconfig":
            fields = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
            user: dict[str, Any] = {name: base64.b64encode(text.encode()).decode() for name, text in fields.items()}
        else:
            printed = credential(clientCertificateData=pair.certificate, clientKeyData=pair.key)
            user = exec_of(program(tmp_path / "plugin", f"cat <<'END'\n{printed}\nEND"))
        for _ in range(2):
            assert loaded(tmp_path, user).tls is not None
            assert not list(temporary.iterdir())

    def test_never_asks_for_the_password_of_a_key(self, tmp_path: Path, authority: Authority) -> None:
        pair = authority.client("jane", password=b"secret")
        files = {"client-certificate": pair.certificate, "client-key": pair.key}
        user = {name: written(tmp_path / name, text) for name, text in files.items()}
        assert "the client certificate cannot be used" in str(problem(tmp_path, user))

    def test_is_never_shown(self, tmp_path: Path) -> None:
        access = loaded(tmp_path, {"token": "topsecret"}, {"proxy-url": "http://me:topsecret@proxy.example"})
        assert "topsecret" not in repr(access)


class TestTls:
    def test_trusts_what_go_trusts(self, tmp_path: Path, authority: Authority) -> None:
        """Authorities without key identifiers, which Python 3.13 refuses by default, are common in clusters."""
        data = base64.b64encode(authority.path.read_bytes()).decode()
        tls = loaded(tmp_path, {}, {"certificate-authority-data": data}).tls
        assert tls is not None
        assert tls.verify_mode == ssl.CERT_REQUIRED
        assert tls.check_hostname
        assert not tls.verify_flags & ssl.VERIFY_X509_STRICT
        assert [dict(*each["subject"]) for each in tls.get_ca_certs()] == [{"commonName": "posture tests"}]

    def test_may_be_left_unverified(self, tmp_path: Path) -> None:
        access = loaded(tmp_path, {}, {"insecure-skip-tls-verify": True})
        assert access.tls is not None
        assert (access.verified, access.tls.verify_mode) == (False, ssl.CERT_NONE)

    def test_may_have_another_name(self, tmp_path: Path) -> None:
        assert loaded(tmp_path, {}, {"tls-server-name": "kubernetes"}).tls_server_name == "kubernetes"

    def test_is_not_for_plain_http(self, tmp_path: Path) -> None:
        """As `kubectl proxy` serves it."""
        assert loaded(tmp_path, {}, {"server": "http://localhost:8001"}).tls is None

    def test_falls_back_to_the_file_where_the_data_are_empty(self, tmp_path: Path, authority: Authority) -> None:
        cluster = {"certificate-authority-data": "", "certificate-authority": str(authority.path)}
        tls = loaded(tmp_path, {}, cluster).tls
        assert tls is not None
        assert len(tls.get_ca_certs()) == 1


class TestProxy:
    @pytest.mark.parametrize(
        ("environment", "cluster", "proxy"),
        [
            ({}, {}, ""),
            ({"HTTPS_PROXY": "http://p:1"}, {}, "http://p:1"),
            ({"https_proxy": "http://p:1"}, {}, "http://p:1"),
            ({"HTTPS_PROXY": "http://p:1"}, {"server": "http://api.example"}, ""),
            ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other,.example"}, {}, ""),
            ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other"}, {}, "http://p:1"),
            ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, {"server": "https://10.1.2.3"}, ""),
            ({"HTTPS_PROXY": "http://p:1"}, {"server": "https://127.0.0.1:6443"}, ""),
            ({"HTTPS_PROXY": "http://p:1"}, {"server": "https://[::1]:6443"}, ""),
            ({"HTTPS_PROXY": "http://p:1"}, {"server": "https://localhost:6443"}, ""),
            ({"HTTPS_PROXY": "http://p:1"}, {"proxy-url": "http://q:2"}, "http://q:2"),
            ({"NO_PROXY": "api.example"}, {"proxy-url": "http://q:2"}, "http://q:2"),
            ({}, {"server": "https://127.0.0.1:6443", "proxy-url": "socks5://q:2"}, "socks5://q:2"),
        ],
    )
    def test_is_the_one_that_kubectl_takes(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
        cluster: dict[str, str],
        proxy: str,
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert loaded(tmp_path, {}, cluster).proxy == proxy


class TestPod:
    def folder(self, tmp_path: Path, authority: Authority, token: str = "rotated\n") -> Path:
        written(tmp_path / "serviceaccount/token", token)
        written(tmp_path / "serviceaccount/ca.crt", authority.path.read_text())
        return tmp_path / "serviceaccount"

    def test_has_its_own_credentials(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
    ) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        access = load(service_account=self.folder(tmp_path, authority), now=lambda: 5.0)
        assert (access.server, access.name, access.context) == ("https://[fd00::1]:443", "[fd00::1]:443", "")
        assert access.headers == (("Authorization", "Bearer rotated"),)
        assert access.expires == 65.0

    def test_uses_a_kubeconfig_that_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
    ) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        monkeypatch.setenv("KUBECONFIG", written(tmp_path / "config", config()))
        assert load(service_account=self.folder(tmp_path, authority)).name == "prod"

    def test_without_a_token_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        with pytest.raises(CannotJudge, match="this pod has no ServiceAccount to use") as caught:
            load(service_account=tmp_path)
        assert caught.value.hint == "set automountServiceAccountToken: true"


class TestPlugin:
    def test_gives_a_token_until_it_expires(self, tmp_path: Path) -> None:
        printed = credential(token="abc", expirationTimestamp="1970-01-01T00:02:00Z")
        access = loaded(tmp_path, exec_of(program(tmp_path / "plugin", f"echo '{printed}'")))
        assert dict(access.headers) == {"Authorization": "Bearer abc"}
        assert access.expires == 120.0

    def test_gets_arguments_environment_and_what_it_may_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("INHERITED", "yes")
        told = tmp_path / "told"
        script = f"""echo "$*|$INHERITED|$ADDED" >{told}
            echo "$KUBERNETES_EXEC_INFO" >>{told}
            cat >>{told}
            echo '{credential(token="abc")}'"""
        fields = {"args": ["-n", 5], "env": [{"name": "ADDED", "value": "a b"}], "provideClusterInfo": True}
        extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
        user = exec_of(program(tmp_path / "plugin", script), **fields)
        with typed(b"typed for posture\n"):
            loaded(tmp_path, user, {"tls-server-name": "kubernetes", "extensions": [extension]})
        arguments, info = told.read_text().splitlines()  # and nothing of what was typed
        assert arguments == "-n 5|yes|a b"
        cluster = {"server": SERVER, "tls-server-name": "kubernetes", "config": {"audience": "x"}}
        assert json.loads(info) == {
            "apiVersion": V1,
            "kind": "ExecCredential",
            "spec": {"interactive": False, "cluster": cluster},
        }

    def test_lies_beside_its_kubeconfig_when_its_path_is_relative(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        program(tmp_path / "bin/plugin", f"echo '{credential(token='abc')}'")
        assert dict(loaded(tmp_path, exec_of("./bin/plugin")).headers) == {"Authorization": "Bearer abc"}

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("echo 'please \033[31mlog in' >&2; exit 3", "failed with exit code 3: please \\x1b[31mlog in"),
            ("exit 1", "failed with exit code 1"),
            ("echo hello", "printed no ExecCredential with a status"),
            ("echo '[]'", "printed no ExecCredential with a status"),
            (f"echo '{credential()}'", "printed neither a token nor a client certificate with its key"),
            (f"echo '{credential(token=5)}'", "printed no ExecCredential with a status"),
            (f"echo '{credential(clientCertificateData='x')}'", "printed neither a token nor a client certificate"),
            (f"echo '{credential(token='a', expirationTimestamp='soon')}'", "printed no ExecCredential with a status"),
            (f"echo '{credential(token='a')}' | sed s:/v1:/v1beta1:", "printed something else than an ExecCredential"),
        ],
    )
    def test_that_fails_is_named_with_the_reason(self, tmp_path: Path, script: str, message: str) -> None:
        path = program(tmp_path / "plugin", script)
        found = problem(tmp_path, exec_of(path, installHint="ask the platform team"))
        assert isinstance(found, CannotJudge)
        assert str(found).startswith(f"credential plugin {path} {message}")

    def test_that_is_not_installed_gets_its_hint_shown(self, tmp_path: Path) -> None:
        found = problem(tmp_path, exec_of("posture-no-such-plugin", installHint="get it\nhere"))
        assert str(found) == "credential plugin posture-no-such-plugin cannot be started: No such file or directory"
        assert found.hint == "get it\\x0ahere"

    def test_that_hangs_is_ended(self, tmp_path: Path) -> None:
        path = program(tmp_path / "plugin", "exec sleep 60")
        began = time.monotonic()
        with pytest.raises(CannotJudge, match=r"did not end within 0.2 s$"):
            plugin.run(exec_of(path)["exec"], {}, tmp_path, interactive=False, seconds=0.2)
        assert time.monotonic() - began < 5

    def test_that_must_ask_needs_a_terminal(self, tmp_path: Path) -> None:
        path = program(tmp_path / "plugin", f"echo '{credential(token='abc')}'")
        found = problem(tmp_path, exec_of(path, interactiveMode="Always"))
        assert str(found).endswith("must ask a person (interactiveMode: Always), and there is no terminal")

    @pytest.mark.parametrize(
        ("mode", "asks"), [("Never", False), ("IfAvailable", True), ("Always", True), (None, True)]
    )
    def test_is_told_whether_it_may_ask(self, tmp_path: Path, mode: str | None, asks: bool) -> None:
        told = tmp_path / "told"
        script = f"echo \"$KUBERNETES_EXEC_INFO\" >{told}; echo '{credential(token='abc')}'"
        loaded(tmp_path, exec_of(program(tmp_path / "plugin", script), interactiveMode=mode), interactive=True)
        assert json.loads(told.read_text())["spec"] == {"interactive": asks}

    @pytest.mark.parametrize("fields", [{"command": ""}, {"apiVersion": "client.authentication.k8s.io/v1alpha1"}])
    def test_must_be_configured(self, tmp_path: Path, fields: dict[str, str]) -> None:
        assert isinstance(problem(tmp_path, {"exec": {**exec_of("x")["exec"], **fields}}), UsageError)
