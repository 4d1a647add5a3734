"""What cannot be seen reaches nobody unseen: names, labels, files and reasons that a terminal or a sheet would obey."""

from __future__ import annotations

import ast
import csv
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from posture.cli import COMMANDS, posture, run
from posture.collect.manifest import load_with_lines
from posture.kinds import kind_of
from posture.operations.log import FORMATS
from posture.report.csv import cell
from posture.report.markdown import escape
from posture.text import visible
from tests.collect.faulty import Resource
from tests.controlplane.controlplane import ControlPlane
from tests.generator import engines
from tests.generator.engines import exception, kyverno, kyverno_rule, pod_security
from tests.generator.network import cluster_policy, network_policy, pod
from tests.generator.objects import Object, account, binding, group, namespace, role, rule, service_account, urls, user
from tests.operations.watcher import Watcher, cluster, eventually, kubeconfig

ROOT = Path(__file__).parents[1]
EVIL = (
    "\x1b]0;title\x07\x1bc\x9b31m\u202egnp\u2066\u200b\ufeff\u00ad\U000e0041\x7f\t\r\nINJECTED"
    "[@click=app.quit]::error::`id`$(id);=cmd()|<img src=x>@team#1&amp;"
)
"""Commands to a terminal (OSC, reset, C1), bidi, invisible letters, a line of its own, markup of five languages."""
NAME = EVIL.replace("%", "").replace("/", "")
SEEN = "\\x1b]0;title\\x07\\x1bc\\x9b31m\\u202egnp\\u2066\\u200b\\ufeff\\xad\\U000e0041\\x7f\\x09\\x0d\\x0aINJECTED"
"""How the first part of it is shown."""


def evil(place: str) -> str:
    """A hostile text that says where it was put."""
    return f"={place}{NAME}"


class Said(NamedTuple):
    """What a command wrote, and its exit code."""

    out: str
    err: str
    code: int


def say(*args: str, stdin: str = "") -> Said:
    """Run a command."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setenv("POSTURE_NOW", "2026-11-01T00:00:00Z")
        code = run([*args])
    return Said(out.getvalue(), err.getvalue(), code)


def is_seen(text: str) -> bool:
    """Whether nothing in a text but its line ends is unseen, and no line was made by a name."""
    lines = text.replace("\r\n", "\n").split("\n")
    return all(line.isprintable() and not line.lstrip().startswith("INJECTED") for line in lines)


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, dict):
        yield from itertools.chain(value, *(strings(each) for each in value.values()))


# A hostile cluster, as files ----------------------------------------------------------------------------------------


def hostile_objects() -> list[Object]:
    """A cluster in which everything that can be named has a hostile name."""
    where = evil("namespace")
    managers = [{"manager": evil("manager"), "operation": "Update", "time": evil("time"), "fieldsType": "FieldsV1",
                 "fieldsV1": {}}]  # fmt: skip
    helm = {"meta.helm.sh/release-name": evil("release"), "meta.helm.sh/release-namespace": where}
    more: Object = {"managedFields": managers, "creationTimestamp": evil("created"), "annotations": helm}
    verbs, resources = ["get", evil("verb")], ["secrets", evil("resource")]
    excepted = exception(evil("excepted"), where, [(evil("guard"), [evil("named")])], {"namespaces": [where]})
    excepted["metadata"]["annotations"] = {"posture.dev/exception-owner": evil("answering")}
    return [
        namespace(where, team=evil("owner")),
        service_account(where, evil("account"), **{"eks.amazonaws.com/role-arn": evil("identity")}),
        role(evil("role"), rule(verbs, resources, ["", evil("group")], [evil("object")]), namespace=where, **more),
        binding(evil("binding"), f"Role/{evil('role')}", user(evil("user")), account(where, evil("account")),
                namespace=where, **more),
        role(evil("clusterrole"), rule("get", "secrets"), urls("get", f"/{evil('url')}"), **more),
        binding(evil("everywhere"), f"ClusterRole/{evil('clusterrole')}", group(evil("team")), user(evil("user"))),
        binding(evil("dangling"), f"ClusterRole/{evil('missing')}", group(evil("team"))),
        pod(where, evil("pod"), {evil("label"): evil("value")}, ["10.0.0.1"]),
        pod(where, evil("other"), {}, ["10.0.0.2"]),
        network_policy(where, evil("policy"), podSelector={}, policyTypes=["Ingress", "Egress"],
                       ingress=[{"from": [{"podSelector": {}}]}], egress=[{}]),
        cluster_policy(evil("above"), "Admin", 1, egress=[
            {"name": evil("rule")[:100], "action": "Accept", "to": [{"domainNames": ["example.com"]}]}]),
        {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
         "metadata": {"name": evil("opaque"), "namespace": evil("elsewhere")}, "spec": {evil("field"): evil("spec")}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": evil("service"), "namespace": where},
         "spec": {"type": "NodePort", "selector": {evil("label"): evil("value")}, "ports": [{"port": 80}]}},
        *kyverno("--enablePolicyException=true", "--exceptionNamespace=*"),
        engines.cluster_policy(evil("guard"), kyverno_rule(evil("named"), pod_security("baseline"))),
        excepted,
    ]  # fmt: skip


def climbing_objects() -> list[Object]:
    """What makes paths there: somebody gets a token of an administrator, who runs, privileged, behind a Service."""
    where, boss = evil("namespace"), account(evil("namespace"), evil("account"))
    chief = pod(where, evil("chief"), {evil("label"): evil("value")}, ["10.0.0.3"],
                serviceAccountName=evil("account"), nodeName=evil("node"))  # fmt: skip
    chief["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    chief["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": f"K[{EVIL}]", "name": evil("owning"), "uid": "u", "controller": True},
    ]
    tokens = rule("create", "serviceaccounts/token", names=[evil("account")])
    return [
        role(evil("tokens"), tokens, namespace=where),
        binding(evil("climbs"), f"Role/{evil('tokens')}", user(evil("user")), group(evil("team")), namespace=where),
        role("cluster-admin", rule("*", "*", "*")), binding(evil("admin"), "ClusterRole/cluster-admin", boss), chief,
    ]  # fmt: skip


PLACES = ("owner", "identity", "role", "object", "verb", "resource", "group", "binding", "user", "account", "manager",
          "namespace", "clusterrole", "pod", "policy", "url", "everywhere", "team", "dangling", "missing",
          "created", "guard", "excepted", "answering")  # fmt: skip
"""What a report of it must hold, each in full."""

CONFIG = """
owners: owners.yaml
baseline: [bound.yaml]
checks: [checks]
"""
OWNERS = {"platform": evil("platform"), "rules": [
    {"owner": evil("ruled"), "tell": [evil("told")], "match": {"subject": f"*{'[tT]'}eam*"}},
]}  # fmt: skip
CHECK = {"id": "acme-evil", "domain": "rbac", "title": "=title\x1bc\u202e", "can": "=can\x1bc\u202e in {where}",
         "severity": "critical", "match": {"any": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]},
         "why": evil("why"), "remedy": evil("remedy"), "references": [f"CIS {evil('reference')}"]}  # fmt: skip
BOUND = {"for": {"namespaceSelector": {"matchLabels": {"team": evil("bound")}}}, "objects": []}


class World:
    """A folder with a hostile name: manifests, settings, and a database in which everything was scanned and decided."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"f{NAME}"
        for name in ("empty", "drift", "paths", "checks"):
            (self.folder / name).mkdir(parents=True)
        self.write("empty/a.yaml", namespace("kube-system"))
        self.write("drift/a.yaml", *hostile_objects())
        self.write("paths/a.yaml", *hostile_objects(), *climbing_objects())
        broken = {"apiVersion": evil("version"), "kind": evil("kind"), "metadata": {"name": evil("unknown")}}
        self.write(f"drift/b{NAME}.yaml", broken, role(evil("malformed"), namespace=evil("namespace")) | {"rules": 5})
        self.write("checks/acme-evil.yaml", CHECK)
        self.write("owners.yaml", OWNERS)
        self.write("bound.yaml", BOUND)
        (self.folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
        self.db = str(self.folder / "posture.db")
        self.scan("empty", "2026-10-01")
        self.say("baseline", "approve", "--by", evil("by"), "--reason", evil("reason"), "--at", "2026-10-01")
        self.scan("drift", "2026-10-02")
        decided = self.say("findings", "list", "--members", "-o", "json")
        ids = [one["id"] for one in json.loads(decided.out) if one["scope"] == evil("namespace")]
        until = ("--until", "2027-01-01", "--by", evil("by"), "--reason", evil("reason"))
        self.say("findings", "accept", ids[0], *until)
        self.say("findings", "assign", ids[1], "--to", evil("lead"), "--by", evil("by"), "--reason", evil("reason"))
        self.finding = ids[0]

    def write(self, name: str, *documents: Any) -> None:
        """A file of YAML documents."""
        with (self.folder / name).open("w", encoding="utf-8") as file:
            yaml.safe_dump_all(documents, file)

    def path(self, name: str) -> str:
        """A path in the folder."""
        return str(self.folder / name)

    def scan(self, name: str, when: str) -> Said:
        """Scan one of the folders."""
        return self.say("scan", "--from", self.path(name), "--at", when, "--cluster", evil("cluster"))

    def say(self, *args: str) -> Said:
        """Run a command on the database with the settings. It must work, but for files that cannot be read."""
        said = say(*args, "--db", self.db, "--config", self.path("config.yaml"))
        assert said.code == (3 if args[:3] == ("scan", "--from", self.path("drift")) else 0), said.err
        return said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The hostile cluster."""
    return World(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, made: World) -> None:
    """Nothing of the caller's settings counts; the database is the hostile one where no other is named."""
    monkeypatch.setenv("POSTURE_DB", made.db)
    monkeypatch.setenv("XDG_CONFIG_HOME", made.path("nothing"))
    monkeypatch.delenv("POSTURE_CONFIG", raising=False)


@pytest.fixture
def world(made: World) -> Iterator[World]:
    """The hostile cluster, with a database that is as it was made."""
    kept = made.folder.parent / "kept.db"
    if not kept.exists():
        shutil.copy(made.db, kept)
    yield made
    shutil.copy(kept, made.db)


class Asked(NamedTuple):
    """A command as it is typed. `{drift}`, `{empty}`, `{finding}` and so on are filled in; `bare`: shows no name."""

    line: Sequence[str]
    bare: bool = False
    database: bool = True


ENDLESS = "watch"
"""The command that is asked in a test of its own."""
EXCEPTION = f"PolicyException/{evil('namespace')}/{evil('excepted')}"
WHO = ("--by", evil("by"), "--reason", evil("reason"))
ASKED = {
    "scan": Asked(["--from", "{drift}", "--cluster", evil("cluster")]),
    "diff": Asked(["{empty}", "{drift}", "--notes"]),
    "explain access": Asked(["get", "secrets", evil("object"), "-n", evil("namespace"), "--as", evil("user"), "--from",
                             "{drift}"]),
    "explain admission": Asked([f"{evil('namespace')}/{evil('pod')}", "--from", "{drift}"]),
    "explain flow": Asked(["--all", "--from", "{drift}"]),
    "explain path": Asked(["--all", "--from", "{drift}"]),
    "who-can": Asked(["get", "secrets", "--from", "{drift}"]),
    "baseline approve": Asked([*WHO, "--with-gaps"]),
    "baseline show": Asked([]),
    "baseline export": Asked([], bare=True),
    "baseline validate": Asked(["{bound}"], database=False),
    "findings list": Asked(["--status", "all", "--cluster", evil("cluster")]),
    "findings show": Asked(["{finding}"]),
    "findings ack": Asked(["{finding}", *WHO], bare=True),
    "findings assign": Asked(["{finding}", "--to", evil("lead"), *WHO], bare=True),
    "findings accept": Asked(["{finding}", "--until", "30d", *WHO], bare=True),
    "findings false-positive": Asked(["{finding}", *WHO], bare=True),
    "findings reopen": Asked(["{finding}", *WHO], bare=True),
    "findings history": Asked(["{finding}"]),
    "exceptions list": Asked(["--from", "{drift}"]),
    "exceptions show": Asked([EXCEPTION, "--from", "{drift}"]),
    "owners test": Asked(["{owners}"]),
    "owners explain": Asked(["{finding}"]),
    "owners suggest": Asked([], bare=True),
    "report": Asked(["--all"]),
    "snapshots": Asked(["-o", "wide"]),
    "clusterrole": Asked(["-n", evil("namespace"), "--name", evil("role")], database=False),
    "db check": Asked([]),
    "db prune": Asked([], bare=True),
    "db verify": Asked([], bare=True),
}  # fmt: skip
MORE = {
    "exceptions show": [["--fix"]],
    "findings list": [["--members", "-o", "wide"], ["--members"]],
    "findings show": [["--fix"]],
    "scan": [["--baseline", "{empty}"]],
}
"""Flags that show something else."""


def leaves(command: click.Command = posture, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, (*path, name))


def outputs(command: click.Command) -> list[str]:
    """The choices of `-o`; "" where there are none."""
    for parameter in command.params:
        if "-o" in parameter.opts and isinstance(parameter.type, click.Choice):
            return list(parameter.type.choices)
    return [""]


def every_line() -> Iterator[Any]:
    """Every command with every output."""
    for name, command in leaves():
        if name == ENDLESS:
            continue
        for form in outputs(command):
            more = ["-o", form] if form else []
            more += ["--domain", "network"] if (name, form) == ("diff", "csv") else []
            yield pytest.param(name, [*ASKED[name].line, *more], form, id=f"{name} {form}".strip())
        for number, flags in enumerate(MORE.get(name, ())):
            yield pytest.param(name, [*ASKED[name].line, *flags], "table", id=f"{name} {number}")


def asked(world: World, name: str, line: Sequence[str]) -> Said:
    """Type a command."""
    places = {place: world.path(place) for place in ("empty", "drift")}
    places |= {"finding": world.finding, "owners": world.path("owners.yaml"), "bound": world.path("bound.yaml")}
    args = [places.get(word[1:-1], word) if word.startswith("{") else word for word in line]
    more = ["--db", world.db] if ASKED[name].database else []
    config = ["--config", world.path("config.yaml")] if name != "clusterrole" else []
    return say(*name.split(), *args, *more, *config)


def test_every_command_is_asked() -> None:
    """A new command has to be added here."""
    assert {name for name, _ in leaves()} == ASKED.keys() | {ENDLESS}
    assert {name.partition(" ")[0] for name in ASKED} | {ENDLESS} == COMMANDS.keys()


@pytest.mark.parametrize("form", FORMATS)
def test_a_watch_shows_it_in_visible_form(tmp_path: Path, form: str) -> None:
    """In its log and on its pages, whatever the cluster calls what is in it."""
    with cluster() as server:
        where = {"KUBECONFIG": kubeconfig(tmp_path, server.url), "POSTURE_DB": str(tmp_path / "posture.db")}
        with Watcher("--listen", "127.0.0.1:0", "--cluster", evil("cluster"), **where) as watcher:
            watcher.until("ready")
            say("baseline", "approve", "--db", where["POSTURE_DB"], *WHO)
            watcher.until("revision", 2)
            assert watcher.stop()[0] == 0
        for raw in (*hostile_objects(), *climbing_objects()):
            kind = kind_of(raw["apiVersion"].rpartition("/")[0], raw["kind"])
            if kind is not None and not kind.custom:
                metadata = {"uid": "u"} | raw["metadata"]
                server.store.put(Resource.of(kind).path, metadata["name"], metadata.get("namespace", ""),
                                 **{**raw, "metadata": metadata})  # fmt: skip
        more = ["--listen", "127.0.0.1:0", "--cluster", evil("cluster"), "--log-format", form]
        with Watcher(*more, **where) as watcher:
            assert eventually(lambda: "  opened  " in "".join(watcher.other) or bool(watcher.events("opened")))
            page = watcher.get("/metrics").text if form == "json" else ""
            assert watcher.stop()[0] == 0
    assert "Traceback" not in "".join(watcher.other)
    assert re.search(r"\\\\?(x1b|u001b)", "".join(watcher.other) + json.dumps(watcher.lines))
    assert all(is_seen(line) for line in watcher.other)
    assert all(is_seen(text) for text in strings(watcher.lines))
    assert all(is_seen(line) for line in page.splitlines())


@pytest.mark.parametrize("columns", ["", "60"], ids=["wide", "narrow"])
@pytest.mark.parametrize(("name", "line", "form"), [*every_line()])
def test_every_command_shows_it_in_visible_form(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, line: list[str], form: str, columns: str
) -> None:
    """On both streams, in every output, whatever the width; JSON and YAML are ASCII."""
    monkeypatch.setenv("COLUMNS", columns)
    said = asked(world, name, line)

    assert said.code in (0, 1, 3), said.err
    assert "Traceback" not in said.err
    assert is_seen(said.err)
    assert is_seen(said.out)
    if form in ("json", "yaml") or name in ("baseline export", "clusterrole"):
        assert said.out.isascii()
    assert ASKED[name].bare or form == "name" or re.search(r"\\(x1b|u001b|e)", said.out + said.err)


@pytest.mark.parametrize("line", [
    [f"{evil('namespace')}/{evil('pod')}", f"{evil('namespace')}/{evil('other')}", "80", "--why"],
    [f"{evil('namespace')}/{evil('other')}", f"{evil('namespace')}/{evil('pod')}", "80", "-o", "json"],
    [f"{evil('namespace')}/{evil('none')}", f"{evil('namespace')}/{evil('pod')}", "80"],
    ["--exposed"], ["--exposed", "-o", "json"], ["--exposed", "-o", "csv"],
    ["--all", "-n", evil("namespace")],
])  # fmt: skip
def test_questions_about_connections_show_it_in_visible_form(world: World, line: list[str]) -> None:
    """Why, the edit that closes it, ways in, and names that are nobody's."""
    said = say("explain", "flow", *line, "--from", world.path("drift"), "--config", world.path("config.yaml"))

    assert said.code in (0, 2, 3)
    assert "Traceback" not in said.err
    assert is_seen(said.err)
    assert is_seen(said.out)


USER, CHIEF = f"user:{evil('user')}", f"workload:{evil('namespace')}/{evil('owning')}[K[{EVIL}]]"
QUESTIONS = (
    ["--all"], ["--source", "outside"], ["--source", USER, "--sink", "cluster-admin"], ["--blast", USER],
    ["--source", USER, "--sink", "cluster-admin", "--cut"], ["--source", USER, "--sink", f"namespace-admin/{EVIL}"],
    ["--source", "user:nobody", "--sink", "node"], ["--blast", f"node:{evil('node')}"], ["--blast", EVIL],
    ["--source", f"serviceaccount:{evil('namespace')}/{EVIL}"], ["--sink", CHIEF],
)  # fmt: skip


@pytest.mark.parametrize("form", ["table", "json", "dot"])
@pytest.mark.parametrize("line", QUESTIONS, ids=str)
def test_questions_about_paths_show_it_in_visible_form(world: World, line: list[str], form: str) -> None:
    """Proofs, what is lost, the cut, drawings, and names that are nobody's."""
    said = say("explain", "path", *line, "-o", form, "--from", world.path("paths"))

    assert said.code in (0, 2, 3)
    assert "Traceback" not in said.err
    assert is_seen(said.err)
    assert is_seen(said.out)


def test_paths_of_findings_are_shown_in_visible_form(world: World, tmp_path: Path) -> None:
    """Their steps, owners and fixes, in a scan, a comparison, single findings and every report."""
    where = ["--db", str(tmp_path / "paths.db"), "--cluster", "c"]
    say("scan", "--from", world.path("empty"), "--at", "2026-10-01", *where)
    say("baseline", "approve", *where, *WHO)
    told = [say("scan", "--from", world.path("paths"), "--at", "2026-10-02", *where),
            say("diff", world.path("empty"), world.path("paths"))]  # fmt: skip
    found = json.loads(say("findings", "list", "--members", "-o", "json", *where).out)
    climbing = [one["id"] for one in found if one["attackPaths"]]
    told += [say("findings", "show", *climbing, *where), say("findings", "show", "--fix", *climbing, *where)]
    told += [say("report", "-o", form, *where) for form in ("markdown", "csv", "sarif", "json")]

    assert climbing
    assert {"cluster-admin", "node"} <= {path["sink"] for one in found for path in one["attackPaths"]}
    for said in told:
        assert "Traceback" not in said.err
        assert is_seen(said.err)
        assert is_seen(said.out)


@pytest.mark.parametrize("name", [name for name, command in leaves() if {"json", "yaml"} <= {*outputs(command)}])
def test_json_and_yaml_lose_nothing(world: World, name: str) -> None:
    """What kubectl would read in the YAML is what the JSON says."""
    as_json, as_yaml = (asked(world, name, [*ASKED[name].line, "-o", form]).out for form in ("json", "yaml"))

    assert load_with_lines(as_yaml.encode())[0] == json.loads(as_json)


def test_a_report_holds_every_name_in_full(world: World) -> None:
    """JSON loses nothing: each name is found again, character by character."""
    said = world.say("report", "--all", "-o", "json")
    found = [*strings(json.loads(said.out))]

    assert [place for place in PLACES if not any(evil(place) in text for text in found)] == []


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_what_is_standing_is_shown_in_visible_form(world: World, form: str) -> None:
    """What was agreed to is computed anew, with the names of the cluster as it is."""
    world.say("baseline", "approve", "--with-gaps", *WHO)
    said = world.say("findings", "list", "--standing", "-o", form)

    assert is_seen(said.out)
    assert "clusterrole" in said.out or form == "name"
    assert re.search(r"\\(x1b|u001b|e)", said.out)


def test_the_agreed_state_is_exported_in_full(world: World) -> None:
    """What is exported is read back as the same objects."""
    world.say("baseline", "approve", "--with-gaps", *WHO)
    exported = world.folder / "exported.yaml"
    exported.write_text(world.say("baseline", "export").out, encoding="ascii")

    said = say("diff", world.path("drift"), str(exported), "-o", "json", "--config", world.path("config.yaml"))

    assert json.loads(said.out)["changes"] == []
    names = {one["metadata"]["name"] for one in yaml.safe_load_all(exported.read_text(encoding="ascii"))}
    assert {evil("role"), evil("binding"), evil("clusterrole"), evil("everywhere")} <= names


def test_a_csv_cell_is_never_a_formula(world: World) -> None:
    """Read with a comma or with a semicolon between cells, none begins as one; names do not make rows."""
    text = world.say("report", "--all", "-o", "csv").out
    rows = [*csv.reader(io.StringIO(text))]

    assert len({len(row) for row in rows}) == 1
    assert any(SEEN in part for row in rows for part in row)
    for separator in ",", ";":
        parts = [part for row in csv.reader(io.StringIO(text), delimiter=separator) for part in row]
        assert [part for part in parts if re.match(r"[\s\"']*[=+\-@]", part) and not part.startswith("'")] == []


def test_a_command_to_copy_stays_one_command(world: World) -> None:
    """What `--fix` says to delete names exactly that to a shell, and a name runs nothing."""
    world.say("findings", "reopen", world.finding, *WHO)
    found = json.loads(world.say("findings", "list", "--members", "--status", "all", "-o", "json").out)
    lines = [line for one in found for line in world.say("findings", "show", "--fix", one["id"]).out.splitlines()
             if "kubectl delete" in line]  # fmt: skip

    assert lines
    names = {
        evil(name)
        for name in (
            "binding",
            "everywhere",
            "dangling",
            "role",
            "clusterrole",
            "account",
            "policy",
            "above",
            "excepted",
        )
    }
    for line in lines:
        command = 'kubectl() { printf "%s\\0" "$@"; }\nkubectl delete ' + line.rpartition("kubectl delete ")[2]
        ran = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
        said = ran.stdout.decode().split("\0")[:-1]
        assert (said[0], said[-1] in names, ran.stderr) == ("delete", True, b"")
        assert said[2:-1] in ([], ["-n", evil("namespace")])


def test_a_terminal_gets_no_commands_but_colours(world: World) -> None:
    """On a real terminal, too, where click lets colours through and nothing is stripped."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "posture", "scan", "--from", world.path("drift"), "--at", "2026-10-03"]
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        written = b"".join(iter(lambda: _read(ours), b"")).decode()
    os.close(ours)

    assert process.returncode == 3
    assert "\x1b[" in written
    plain = re.sub(r"\x1b\[(0|1|22|3[1-6]|9[1-6])m", "", written)
    assert [line for line in plain.split("\r\n") if not is_seen(line)] == []
    assert "\\x1b]0;title" in plain


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other end was closed
        return b""


# Mistakes -----------------------------------------------------------------------------------------------------------

MISTAKES = {
    "command": ([NAME], 2),
    "option": (["scan", f"--{NAME}"], 2),
    "choice": (["scan", "-o", NAME], 2),
    "number": (["scan", "--request-timeout", NAME], 2),
    "folder": (["scan", "--from", f"/nowhere/{NAME}"], 2),
    "time": (["scan", "--from", "{drift}", "--at", NAME], 2),
    "version": (["scan", "--from", "{drift}", "--kubernetes-version", NAME], 2),
    "checks": (["scan", "--from", "{drift}", "--checks", f"/nowhere/{NAME}"], 2),
    "baseline": (["scan", "--from", "{drift}", "--baseline", f"/nowhere/{NAME}"], 2),
    "config": (["scan", "--config", f"/nowhere/{NAME}"], 2),
    "kubeconfig": (["scan", "--kubeconfig", f"/nowhere/{NAME}"], 2),
    "database": (["findings", "list", "--db", f"/nowhere/{NAME}"], 4),
    "no database": (["findings", "list", "--db", "{bad config}"], 4),
    "id": (["findings", "show", NAME], 2),
    "cluster": (["findings", "list", "--cluster", NAME], 2),
    "snapshot": (["baseline", "approve", "--snapshot", NAME], 2),
    "until": (["findings", "accept", "{finding}", "--until", NAME, "--reason", "x"], 2),
    "age": (["db", "prune", "--keep", NAME], 2),
    "state": (["diff", NAME, "{drift}"], 2),
    "moment": (["diff", f"@{NAME}", "{drift}"], 2),
    "batch": (["explain", "access", "--from", "{drift}", "--batch", f"/nowhere/{NAME}"], 2),
    "exception": (["exceptions", "show", NAME, "--from", "{drift}"], 2),
    "workload": (["explain", "admission", NAME, "--from", "{drift}"], 2),
    "manifest": (["explain", "admission", "{bad config}", "--from", "{drift}"], 2),
    "pod": (["explain", "admission", "--from", "{drift}", "--batch", "{questions}"], 2),
    "question": (["explain", "access", "--from", "{drift}", "--batch", "{questions}"], 2),
    "config file": (["report", "--config", "{bad config}"], 2),
    "owners file": (["owners", "test", "{bad owners}"], 2),
    "check file": (["scan", "--from", "{drift}", "--checks", "{bad checks}"], 2),
    "baseline file": (["baseline", "validate", "{bad bound}"], 2),
    "owners key": (["owners", "test", "{bad key}"], 2),
    "no YAML": (["owners", "test", "{no yaml}"], 2),
}


@pytest.mark.parametrize(("line", "code"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_visible_form(world: World, line: list[str], code: int) -> None:
    """One sentence, one hint, and no trace of a program that failed."""
    world.write("bad config", {evil("key"): 1})
    world.write("bad owners", {"rules": [{"owner": 5, evil("field"): 1}]})
    world.write("bad key", {"rules": [{"owner": "x", "match": {evil("field"): "y"}}]})
    world.write("bad bound", BOUND | {"objects": [{"apiVersion": evil("v"), "kind": evil("k"), "metadata": {}}]})
    (world.folder / "bad checks").mkdir(exist_ok=True)
    world.write("bad checks/evil.yaml", CHECK | {"id": "evil", "severity": evil("severity")})
    (world.folder / "questions").write_text(json.dumps({evil("field"): 1}) + "\n", encoding="utf-8")
    (world.folder / "no yaml").write_text(f"a: [\n{NAME[NAME.index('INJECTED') :]}: *x\n", encoding="utf-8")
    args = [world.path(word[1:-1]) if word.startswith("{") and word != "{finding}" else word for word in line]
    args = [world.finding if word == "{finding}" else word for word in args]

    said = say(*args)

    assert said.code == code, said
    assert said.out == ""
    assert is_seen(said.err)
    last = [line.partition(":")[0] for line in said.err.splitlines() if not line.startswith(("assumed", "answered"))]
    assert [word for word in last if word in ("error", "hint")] in (["error"], ["error", "hint"])
    assert "Traceback" not in said.err


@pytest.mark.parametrize("option", ["--by", "--reason", "--cluster"])
def test_a_text_that_is_no_text_is_refused(world: World, option: str) -> None:
    """A shell passes any bytes; the database holds characters."""
    said = say("findings", "ack", world.finding, "--db", world.db, option, "a\udcff")

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: Invalid value for '{option}': this is no UTF-8\n")


# A hostile cluster, alive -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(control_plane: ControlPlane) -> Iterator[Path]:
    """A real API server that holds hostile names, as far as it takes them; the kubeconfig for it."""
    where = "hostile-names"
    notes: Object = {"annotations": {"example.com/note": evil("note"), "meta.helm.sh/release-name": evil("release")}}
    subjects = [user(evil("live-user")), group(evil("live-group"))]
    objects = [
        namespace(where),
        role(evil("live-role"), rule([evil("live-verb"), "get"], ["secrets"]), namespace=where, **notes),
        binding(evil("live-binding"), f"Role/{evil('live-role')}", *subjects, namespace=where, **notes),
        role(evil("live-clusterrole"), urls("get", f"/{evil('live-url')}"), **notes),
        binding(evil("live-everywhere"), f"ClusterRole/{evil('live-clusterrole')}", *subjects, **notes),
    ]
    base = "/apis/rbac.authorization.k8s.io/v1"
    inside = f"{base}/namespaces/{where}"
    paths = ["/api/v1/namespaces", f"{inside}/roles", f"{inside}/rolebindings", f"{base}/clusterroles",
             f"{base}/clusterrolebindings"]  # fmt: skip
    made = []
    for path, one in zip(paths, objects, strict=True):
        made.append(control_plane.request("POST", f"{path}?fieldManager=%5B%40click%3Dapp.quit%5D", one))
    assert made[1]["metadata"]["name"] == evil("live-role")
    yield control_plane.kubeconfig()
    for path, one in [*zip(paths, made, strict=True)][:0:-1]:
        control_plane.kubectl("delete", path.rpartition("/")[2], one["metadata"]["name"],
                              *([f"--namespace={where}"] if "namespaces/" in path else []))  # fmt: skip
    control_plane.request("DELETE", f"/api/v1/namespaces/{where}")


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("line", [
    ["scan", "--db", ":memory:"],
    ["diff", "{empty}", "live", "--fail-on", "critical"],
    ["who-can", "get", "secrets", "-n", "hostile-names", "--context", ""],
    ["explain", "access", "get", "secrets", "-n", "hostile-names", "--as", evil("live-user")],
], ids=lambda line: line[0])  # fmt: skip
def test_names_of_a_live_cluster_are_shown_in_visible_form(
    world: World, live: Path, line: list[str], form: str
) -> None:
    """What the API server accepts as a name is a name, and no command."""
    args = [world.path("empty") if word == "{empty}" else word for word in line]
    said = say(*args, "--kubeconfig", str(live), "-o", form)

    assert said.code in (0, 1), said.err
    assert is_seen(said.out)
    assert is_seen(said.err)
    if form == "json":
        assert said.out.isascii()
        assert any(evil("live-binding") in text for text in strings(json.loads(said.out)))
    else:
        assert f"live-binding{SEEN}"[:60] in said.out


# All characters there are -------------------------------------------------------------------------------------------

BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"


def unseen(character: str) -> bool:
    """Whether nothing is drawn for a character, by its category in Unicode; the oracle for `visible`."""
    if character == " ":
        return False
    category = unicodedata.category(character)
    selector = unicodedata.name(character, "").startswith("VARIATION SELECTOR-")
    return category[0] == "C" or category in ("Zl", "Zp", "Zs") or selector or character in BLANK_LETTERS


def test_every_character_is_shown_or_spelled() -> None:
    """All 1,114,112 code points: what is drawn stays, what is not is an escape that says which it was."""
    wrong = []
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        shown = visible(character)
        if unseen(character):
            spelled = re.fullmatch(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", shown)
            if not spelled or int(f"0x{shown[2:]}", 0) != code:
                wrong.append(hex(code))
        elif shown != character:
            wrong.append(hex(code))

    assert wrong == []


def test_every_character_in_a_cell_and_in_markdown() -> None:
    """All code points, before a formula, a link and a mention: only visible characters come out, on one line."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        in_cell = cell(character + "=1")
        if not in_cell.isprintable() or in_cell[0] in "=+-@\uff1d\uff0b\uff0d\uff20":
            pytest.fail(f"{in_cell!r} in a cell")
        shown = escape(f"a{character}[@")
        if not shown.isprintable() or not shown.endswith("\\[@&#8203;"):
            pytest.fail(f"{shown!r} in Markdown")


TEXTS = st.text(st.characters(codec=None, categories=None), max_size=30) | st.text("=+-@;\"', \t\n\\a1.#*_[]<>`|&~$:/w")


@given(TEXTS)
def test_any_text_in_a_cell(text: str) -> None:
    """No part between semicolons begins as a formula, and a row of it is read back as that row."""
    shown = cell(text)

    assert shown.isprintable()
    assert not [part for part in shown.split(";") if re.match(r"[ \"]*[=+\-@\uff1d\uff0b\uff0d\uff20]", part)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([shown, "next"])
    assert [*csv.reader(io.StringIO(out.getvalue()))] == [[shown, "next"]]


@given(TEXTS)
def test_any_text_in_markdown(text: str) -> None:
    """One line; without its backslashes and breaks it is the visible text; nothing that means something is bare."""
    shown = escape(text)

    assert shown.isprintable()
    bare = re.sub(r"\\([!-/:-@\[-`{-~])", "", shown.replace("&#8203;", ""))
    assert not set("`*_[]<>&|~#$\\") & set(bare)
    assert "://" not in bare
    assert not re.match(r"[-+=]|\d+[.)]", shown)
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", shown.replace("&#8203;", "")) == visible(text).strip(" ")


@given(st.dictionaries(TEXTS.filter(lambda text: text.isprintable() or text.isascii()), TEXTS))
def test_any_text_in_yaml(given: dict[str, str]) -> None:
    """ASCII, and read by kubectl's rules the same texts: `y`, `1e3` and `08` too."""
    from posture.commands.printer import yaml_documents

    texts = {key: value.encode("utf-8", "replace").decode() for key, value in given.items()}
    out = io.StringIO()
    with redirect_stdout(out):
        yaml_documents([texts])

    assert out.getvalue().isascii()
    assert load_with_lines(out.getvalue().encode())[0] == texts


@pytest.mark.parametrize("text", ["y", "N", "on", "1e3", "08", "0o17", "1_000", ".5e1", "0b-1", "~", "", "<<", "="])
def test_a_name_that_looks_like_something_else_stays_a_name(text: str) -> None:
    """A namespace `y` or a label `1e3` is text to kubectl, too."""
    said = say("clusterrole", "-n", "pay", "--name", text)
    value, _ = load_with_lines(said.out.encode())

    assert value["metadata"]["name"] == text


# How it is printed --------------------------------------------------------------------------------------------------

MADE_VISIBLE = {"visible", "count", "gap_place"}
VISIBLE_ALREADY = {
    "command",  # names as _quoted escapes them, and JSON in ASCII: the line is for a shell
    "line", "piece", "shown", "cut('   '.join(padded).rstrip(), limit)",
    "cut('   '.join(padded[:fitting]).rstrip(), limit)", "error.format_message()",  # put together from visible parts
    "_yaml(values)", "_yaml([list(records)])", "json.dumps(value, indent=2, ensure_ascii=True)",  # ASCII
    "reports.render(built(store, inputs, wanted, everything=everything), form)",  # CSV, Markdown, JSON: see above
    "seconds",  # a number
    "revision.id", "revision.time", "finding.fingerprint[:12]", "before", "action", "direction", "gap.reason", "empty",
    "bool(scanned)",  # posture's own words and numbers
    "dot((one.path for one in found), titles)", "dot((one.path for one in found.paths), titles)",  # see its shown
}  # fmt: skip


def printed(node: ast.expr) -> Iterator[str]:
    """The expressions of a printed text that do not pass `visible`."""
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from printed(part.value)
    elif isinstance(node, ast.BinOp):
        yield from itertools.chain(printed(node.left), printed(node.right))
    elif isinstance(node, ast.IfExp):
        yield from itertools.chain(printed(node.body), printed(node.orelse))
    elif not isinstance(node, ast.Constant) and not (
        isinstance(node, ast.Call) and ast.unparse(node.func) in MADE_VISIBLE
    ):
        yield ast.unparse(node)


def test_nothing_is_printed_but_what_was_made_visible() -> None:
    """Whatever is echoed passes `visible`, or is known to have; a new exception has to be written down here."""
    found = {
        expression
        for path in (ROOT / "posture").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.echo" and node.args
        for expression in printed(node.args[0])
    }

    assert found - VISIBLE_ALREADY == set()
    assert len(found) > 10
