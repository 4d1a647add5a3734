"""Whatever goes wrong: one sentence on standard error that says what and where, a hint what to do, and an exit code."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from posture.store import lock
from tests.commands.running import NOW, World, command, posture, process, write
from tests.generator.objects import binding, group

USAGE, CANNOT_JUDGE, STORE = 2, 3, 4
SCAN = ("scan", "--from", "agreed.json", "--db", ":memory:")
QUESTION = ("explain", "access", "get", "pods", "--as", "ann")


def refused(*args: str, code: int = USAGE) -> tuple[str, str]:
    """What a command that fails says, and its hint: nothing else is written anywhere."""
    ran = posture(*args, code=code)
    said = re.fullmatch(r"error: (.+)\nhint: (.+)\n", ran.err)
    assert said, ran.err
    assert ran.out == ""
    return said[1], said[2]


@pytest.mark.parametrize(("args", "error", "hint"), [
    ("scann", "No such command 'scann'. Did you mean 'scan'?", "`posture --help`"),
    ("zzz", "No such command 'zzz'.", "`posture --help`"),
    ("findings lits", "No such command 'lits'. Did you mean 'list'?", "`posture findings --help`"),
    ("--frm", "No such option '--frm'", "`posture --help`"),
    ("scan --frm x", "No such option '--frm'. Did you mean '--from'?", "`posture scan --help`"),
    ("scan x", "Got unexpected extra argument (x)", "`posture scan --help`"),
    ("diff agreed.json", "Missing argument 'B'.", "`posture diff --help`"),
    ("findings show", "Missing argument 'ID…'.", "`posture findings show --help`"),
    ("findings list --severity worst", "Invalid value for '--severity': 'worst' is not one of", "--help`"),
    ("findings list --status gone", "Invalid value for '--status': 'gone' is not one of", "--help`"),
    ("findings list --domain none", "Invalid value for '--domain': 'none' is not one of 'rbac', 'network'", "--help`"),
    ("report -o sarif", "Invalid value for '-o' / '--output': 'sarif' is not one of", "`posture report --help`"),
    ("scan --from none", "there is no file or folder none", "name a manifest"),
    ("scan --from ''", "the path is empty", "name a manifest"),
    ("scan --from empty", "empty holds no manifest", "looked for *.yaml"),
    ("scan --from agreed.json --baseline none", "there is no file or folder none", "a baseline"),
    ("scan --from agreed.json --baseline ''", "Invalid value for '--baseline': the path is empty", "--help`"),
    ("scan --from agreed.json --baseline empty", "empty holds no file that could be a baseline", "*.json"),
    ("scan --from agreed.json --checks none", "there is no file or folder none", "a check"),
    ("scan --from agreed.json --checks empty", "empty holds no file that could be a check", "looked for"),
    ("scan --from agreed.json --checks /dev/zero", "/dev/zero is no file", "a check"),
    ("scan --from agreed.json --baseline /dev/zero", "/dev/zero is no file", "a baseline"),
    ("scan --from agreed.json --owners /dev/zero", "/dev/zero is no file", "a pipe that ends"),
    ("scan --from agreed.json --config /dev/zero", "/dev/zero is no file", "a pipe that ends"),
    ("scan --from /dev/zero", "/dev/zero is a device", "name a manifest"),
    ("scan --from agreed.json --owners none", "cannot read none: No such file or directory", "check the path"),
    ("scan --from agreed.json --config none", "there is no configuration file none", "POSTURE_CONFIG"),
    ("scan --from agreed.json --context x", "--from reads files; --context, --kubeconfig and -n", "one or the other"),
    ("scan --from agreed.json -n pay", "--from reads files; --context, --kubeconfig and -n", "one or the other"),
    ("scan --at 2026-10-20", "--at needs --from", "leave --at out"),
    ("scan --from agreed.json --at yesterday", "yesterday is no time", "2026-10-20"),
    ("scan --context a --context b --cluster x", "--cluster names one cluster", "leave --cluster out"),
    ("scan --from agreed.json --kubernetes-version new", "new is no Kubernetes version", "write 1.36"),
    ("scan", "there is no kubeconfig", "--from PATH"),
    ("scan --kubeconfig none", "the kubeconfig none does not exist", "check --kubeconfig"),
    ("scan --request-timeout 0", "the request timeout must be more than 0 seconds", "write 60"),
    ("diff - -", "A and B are both standard input", "name a file"),
    ("diff 1 99", "there is no snapshot 99 in ", "`posture snapshots`"),
    ("diff 1 none", "there is no file or folder none", "A and B are a path"),
    ("diff 1 ''", "the path is empty", "name a manifest"),
    ("diff 1 @soon", "soon is no time", "-7d"),
    ("diff 1 @2020-01-01", "there is no snapshot at or before 2020-01-01T00:00:00Z", "`posture snapshots`"),
    ("diff 1 2 --cluster none --db none.db", "1 names a stored snapshot, and there is no database", "--db"),
    ("diff live 1", "there is no kubeconfig", "--from PATH"),
    ("explain access get pods", "VERB, RESOURCE and --as are needed", "posture explain access get secrets"),
    ("explain access get pods --as ann --snapshot 99", "there is no snapshot 99", "`posture snapshots`"),
    ("explain access get pods --as ann --snapshot x", "x is no snapshot", "or latest"),
    ("explain access get pods --as ann --snapshot 1 --at -7d", "--snapshot and --at name different", "one of them"),
    ("explain access get pods --as ann --batch q", "--batch brings its own questions", "leave out"),
    ("explain access --batch none --snapshot 1", "cannot read none: No such file", "name a file"),
    ("explain access --batch - --from -", "the questions and the manifests are both standard input", "a file"),
    ("who-can get pods --from none", "there is no file or folder none", "name a manifest"),
    ("findings list --standing --new", "--standing lists what was agreed to", "leave out --status"),
    ("findings show 12345", "there is no finding 12345", "--status all"),
    ("findings show x", "x is no id of a finding", "`posture findings list`"),
    ("findings show ''", "an empty text is no id of a finding", "`posture findings list`"),
    ("findings history 123", "123 is no id of a finding", "`posture findings list`"),
    ("findings list --cluster none", "there is no cluster none in ", "known are: small"),
    ("owners test none.yaml", "cannot read none.yaml: No such file", "check the path"),
    ("owners explain 12345", "there is no finding 12345", "--status all"),
    ("baseline approve --snapshot 99", "there is no snapshot 99 in ", "`posture snapshots`"),
    ("baseline approve --at soon", "soon is no time", "write 2026"),
    ("baseline approve --by ''", "who approves is not known", "--by"),
    ("baseline approve --finding 12345", "there is no finding 12345", "--status all"),
    ("baseline validate", "Missing argument 'PATH…'.", "--help`"),
    ("baseline validate none", "there is no file or folder none", "a baseline"),
    ("baseline validate empty", "empty holds no file that could be a baseline", "*.json"),
    ("report --cluster none", "there is no cluster none in ", "known are: small"),
    ("snapshots --cluster none", "there is no cluster none in ", "known are: small"),
    ("db prune --keep 1y", "1y is no age", "90d"),
    ("db prune --keep ''", "an empty text is no age", "90d"),
])  # fmt: skip
def test_what_cannot_be_understood(world: World, args: str, error: str, hint: str) -> None:
    """Exit code 2, and the database is as it was."""
    (world.folder / "empty").mkdir()
    before = (world.folder / "posture.db").read_bytes()
    said, advice = refused(*("" if arg == "''" else arg for arg in args.split()))

    assert said.startswith(error)
    assert hint in advice
    assert (world.folder / "posture.db").read_bytes() == before


@pytest.mark.parametrize("args", ["", "findings", "baseline", "owners", "db", "explain"])
def test_a_group_alone_says_what_there_is(args: str) -> None:
    """Its help, on standard error, since nothing was asked for."""
    ran = posture(*args.split(), code=USAGE)

    assert ran.out == ""
    assert ran.err.startswith("Usage: posture")
    assert "..." not in ran.err.partition("Commands:")[2], "a command's line was cut"


def test_what_people_decide_needs_all_of_it(world: World) -> None:
    """A reason, an end still to come, an owner, a name: what is missing is said, and nothing is written."""
    one = world.id("user:eve")[:12]
    for args, error in (
        (("accept", one, "--reason", "x"), "what is accepted needs an end"),
        (("accept", one, "--until", "30d"), "what is accepted needs a reason"),
        (("accept", one, "--until", "soon", "--reason", "x"), "soon is no date"),
        (("accept", one, "--until", "2026-11-17", "--reason", "x"), "2026-11-17 is not in the future"),
        (("false-positive", one), "a false positive needs a reason"),
        (("false-positive", one, "--reason", " "), "a false positive needs a reason"),
        (("assign", one), "what is assigned needs an owner"),
        (("ack", one, "--by", ""), "who decides is not known"),
    ):
        assert refused("findings", *args)[0] == error
    assert [row["what"] for row in posture("findings", "history", one, "-o", "json").json] == ["opened"]


# Files that people write --------------------------------------------------------------------------------------------

CHECK = {"id": "acme-tags", "domain": "rbac", "title": "Tags", "can": "tag", "severity": "low",
         "match": "{any: [{verbs: [get], resources: [tags]}]}", "why": "because", "remedy": "stop"}  # fmt: skip
RULE = "apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: x}, kind: "


def check(**changed: str) -> str:
    """A check, one field a line: `id` in line 1, `severity` in line 5, `match` in line 6."""
    return "".join(f"{name}: {value}\n" for name, value in (CHECK | changed).items() if value)


@pytest.mark.parametrize(("flag", "text", "error", "hint"), [
    ("--config", "ownrs: x\n", "1: ownrs: is not known here", "did you mean owners?"),
    ("--config", "\nzzz: x\n", "2: zzz: is not known here", "known are baseline, checks"),
    ("--config", "db: [x]\n", "1: db: must be a string, and is a list", ""),
    ("--config", "- a\n", "1: must be a mapping, and is a list", ""),
    ("--config", "limits:\n  nodes: many\n", "2: limits.nodes: must be an integer, and is the string 'many'", ""),
    ("--config", "newNamespaces: like-peer\n", "1: newNamespaces: the string 'like-peer' is not known", "like-peers?"),
    ("--config", "a: [\n", "2: while parsing", "one YAML or JSON document"),
    ("--config", "a: 1\n---\nb: 2\n", "3: a second document", "one YAML or JSON document"),
    ("--owners", "rules:\n- owner: a\n  match: {naemspace: b}\n", "3: rules[0].match.naemspace: is not", "namespace?"),
    ("--owners", "rules:\n- match: {namespace: b}\n", "2: rules[0].owner: is missing", ""),
    ("--checks", check(severity="hihg"), "5: severity: the string 'hihg' is not known here", "did you mean high?"),
    ("--checks", check(remedy=""), "1: remedy: is missing", ""),
    ("--checks", check(match="{}"), "6: match.any: is missing", ""),
    ("--checks", check(match="{any: []}"), "6: match.any: must not be empty", ""),
    ("--checks", check(match="{any: [{verbs: get}]}"), "6: match.any[0].verbs: must be a list, and is the string", ""),
    ("--checks", check(match="{any: [{vrbs: [get]}]}"), "6: match.any[0].vrbs: is not known here", "verbs?"),
    ("--checks", check(match="{any: [{all: [{nmes: some}]}]}"), "6: match.any[0].all[0].nmes: is not", "names?"),
    ("--checks", check(match="{any: [{names: any}], all: [{names: any}]}"), "6: match: only one of any and all", ""),
    ("--checks", check(match="{any: [{nonResourceURLs: [/x], resources: [pods]}]}"),
     "6: match.any[0]: holds fields that do not go together", ""),
    ("--checks", check(id="rbac-secrets-read"), "1: id: rbac-secrets-read is the id of ", "another id"),
    ("--baseline", "for: {}\nobjects: []\n", "1: for.namespaceSelector: is missing", ""),
    ("--baseline", "for: {cluster: true, namespaceSelector: {}}\nobjects: []\n", "1: for: only one of", ""),
    ("--baseline", "for: {cluster: false}\nobjects: []\n", "1: for.cluster: must be true", ""),
    ("--baseline", "for: {namespaceSelectr: {}}\nobjects: []\n", "1: for.namespaceSelectr: is not known", "Selector?"),
    ("--baseline", "for: {cluster: true}\n", "1: objects: is missing", ""),
    ("--baseline", f"for: {{cluster: true}}\nobjects: [{{{RULE}Rule}}]\n", "2: objects[0].kind: Rule is no kind", ""),
    ("--baseline", f"for: {{cluster: true}}\nobjects: [{{{RULE}Role, rules: 3}}]\n", "2: objects[0]: a field has", ""),
    ("--baseline", f"for: {{cluster: true}}\nobjects: [{{{RULE}Role, rules: [3]}}]\n", "2: objects[0]: rules[0]", ""),
    ("--baseline", f"for: {{cluster: true}}\nobjects: [{{{RULE}RoleBinding, roleRef: 3}}]\n", "2: objects[0]: ro", ""),
    ("--baseline", f"{{{RULE}Role, rules: [3]}}\n", "1: Role x: rules[0] is not a rule", "must be read completely"),
    ("--baseline", f"{{{RULE}Role\n", "2: while parsing", "must be read completely"),
    ("--baseline", "name: x\n", " holds no Kubernetes object", "apiVersion and kind"),
])  # fmt: skip
def test_a_file_that_says_the_wrong_thing(world: World, flag: str, text: str, error: str, hint: str) -> None:
    """FILE:LINE: FIELD: what is wrong there, and what may have been meant."""
    folder = world.folder / "given"
    folder.mkdir()
    path = folder / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    said, advice = refused(*SCAN, flag, str(folder if flag in ("--checks", "--baseline") else path))

    start = f"{path}:" if re.match(r"\d", error) else str(path)
    assert said.startswith(start + error)
    assert hint in advice


@pytest.mark.parametrize("flag", ["--config", "--owners"])
def test_a_file_of_comments_says_nothing(world: World, flag: str) -> None:
    """A template whose every line is still commented out is a valid file."""
    (world.folder / "empty.yaml").write_text("# owners: owners.yaml\n", encoding="utf-8")

    posture(*SCAN, flag, "empty.yaml")


def piped(name: str, text: str) -> str:
    """A pipe that gives a text once, as a shell's <(…) does."""
    os.mkfifo(name)
    threading.Thread(target=Path(name).write_text, args=[text], daemon=True).start()
    return name


def test_what_is_read_again_must_be_a_file(world: World) -> None:
    """Baselines and checks are read more than once; a pipe among them says nothing the second time."""
    for flag, what in (("--baseline", "a baseline"), ("--checks", "a check")):
        folder = world.folder / flag.strip("-")
        folder.mkdir()
        os.mkfifo(folder / "pipe.yaml")
        for path in (folder, folder / "pipe.yaml"):
            said, hint = refused(*SCAN, flag, str(path))
            assert said == f"{folder / 'pipe.yaml'} is no file"
            assert hint == f"it was named as {what}: write it to a file"


def test_owners_and_the_configuration_may_come_from_a_pipe(world: World) -> None:
    """They count every time that they are needed."""
    owners, config = piped("owners", "rules: [{owner: ann}]\n"), piped("config", "db: ':memory:'\n")
    ran = posture("scan", "--from", "agreed.json", "--owners", owners, "--config", config, "-o", "json")

    assert {one["owner"] for one in ran.json["findings"]} == {"ann"}


def test_a_pipe_that_never_ends_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of filling the memory."""
    monkeypatch.setattr("posture.files.MOST_BYTES", 10)

    said, _ = refused(*SCAN, "--owners", piped("endless", "# many\n" * 10))
    assert said == "the pipe endless gives more than 10 bytes"


# The database -------------------------------------------------------------------------------------------------------

EVERY = ["findings list", "findings show 12345", "findings ack 12345", "findings history 12345", "baseline approve",
         "baseline show", "baseline export", "owners suggest", "owners explain 12345", "report", "snapshots",
         "db check", "db verify", "db prune", "explain access get pods --as ann --snapshot latest",
         "who-can get pods --snapshot latest"]  # fmt: skip


@pytest.mark.parametrize("args", EVERY)
def test_no_database_and_one_that_is_none(surroundings: Path, args: str) -> None:
    """Exit code 4; the file that was named is neither made nor changed."""
    said, hint = refused(*args.split(), "--db", "none.db", code=STORE)
    assert said == "there is no database at none.db"
    assert hint == "run `posture scan` first, or name one with --db"

    (surroundings / "note.db").write_text("hello, " * 1000, encoding="utf-8")
    said, hint = refused(*args.split(), "--db", "note.db", code=STORE)
    assert said == "note.db is no SQLite database"
    assert sorted(path.name for path in surroundings.iterdir() if path.name.endswith(".db")) == ["note.db"]


def test_another_scan_runs(world: World) -> None:
    """Who holds the database is said: what, the process and since when. Reading and deciding go on."""
    with lock.held(str(world.folder / "posture.db"), "posture scan", NOW):
        for args in ("scan --from agreed.json", "db prune"):
            said, hint = refused(*args.split(), code=STORE)
            assert f"is locked by posture scan, process {os.getpid()} on " in said
            assert hint.startswith("wait until it ends")
        posture("findings", "list")
        posture("findings", "ack", world.id("user:eve"))
        posture("baseline", "approve", "--finding", world.id("user:eve"))
        posture("baseline", "approve")


def test_a_decision_that_was_altered(world: World) -> None:
    """`db verify` says that the journal is not what was written."""
    posture("findings", "ack", world.id("user:eve"))
    with sqlite3.connect(world.folder / "posture.db") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE decision SET reason = 'forged'")
    connection.close()

    assert "decision" in refused("db", "verify", code=STORE)[0]


# What cannot be judged ----------------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    """A cluster that does not answer: exit code 3, with its address."""
    config = (
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        " users: [{name: u, user: {token: t}}], clusters: [{name: c, cluster: {server: 'https://127.0.0.1:9'}}]}"
    )
    Path("config").write_text(config, encoding="utf-8")
    for args in (("scan",), ("diff", "live", "live"), QUESTION):
        said, _ = refused(*args, "--kubeconfig", "config", code=CANNOT_JUDGE)
        assert "127.0.0.1:9" in said


@pytest.mark.parametrize(("args", "code"), [
    (("scan", "--from", "broken"), CANNOT_JUDGE),
    (("diff", "broken", "broken"), CANNOT_JUDGE),
    (("diff", "agreed.json", "broken"), 1),
    (("scan", "--from", "broken", "--fail-on", "info"), 1),
    ((*QUESTION, "--from", "broken"), CANNOT_JUDGE),
    (("who-can", "get", "pods", "--from", "broken"), CANNOT_JUDGE),
])  # fmt: skip
def test_a_manifest_that_cannot_be_read(world: World, args: tuple[str, ...], code: int) -> None:
    """What may be in it is a gap, with file and line: exit code 3, which drift that is certain goes before."""
    write(world.folder / "broken" / "a.json", [binding("x", "ClusterRole/cluster-admin", group("guests"))])
    (world.folder / "broken" / "b.yaml").write_text("kind: ClusterRoleBinding\nmetadata: {name\n", encoding="utf-8")

    assert "broken/b.yaml:3: while parsing" in posture(*args, code=code).err


def test_a_bug_is_not_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw ends with 3 and says that it is a bug: 1 would mean that there is drift."""
    monkeypatch.setattr("posture.sources.now_utc", lambda: 1 / 0)
    ran = posture("db", "prune", code=CANNOT_JUDGE)

    assert "error: posture failed: ZeroDivisionError: division by zero\nhint: this is a bug" in ran.err


def test_nothing_is_written_about_a_terminal_that_is_not_there(world: World) -> None:
    """Without any open standard stream a command still ends with its own exit code, and the database stays sound."""
    closed = f'exec "$@" <&- >&- 2>&-; {sys.executable}'
    for args, code in ((("findings", "list"), 0), (("findings", "show", "x"), USAGE), (("db", "check"), 0)):
        done = subprocess.run(["sh", "-c", closed, "sh", *command(*args)], check=False, timeout=60)
        assert done.returncode == code
    assert "sound" in process("db", "check").out
