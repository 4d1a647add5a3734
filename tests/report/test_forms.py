"""CSV and Markdown, as they are written: small, whole, and safe to open where they are read."""

from __future__ import annotations

import csv
import io
from functools import partial

import pytest

from posture.commands.report import built
from posture.config import Config
from posture.inputs import Inputs
from posture.kinds import RBAC
from posture.model import Gap, Version
from posture.report import Report, formats, render
from posture.report.csv import cell
from posture.report.markdown import escape
from posture.store import MEMORY, findings, open_store
from tests.commands.admitted import cluster, excepted
from tests.generator.objects import account, binding, group, guarded, role, rule
from tests.generator.source import Given
from tests.report.documents import approve, decide, document, scan

PAY = guarded("pay", team="pay-team")
GRANTS = [
    binding("debug", "ClusterRole/reader", account("pay", "api"), account("pay", "job"), namespace="pay"),
    binding("devs", "Role/exec", group("devs"), namespace="pay"),
    role("reader", rule("get", "secrets")),
    role("exec", rule("create", "pods/exec"), namespace="pay"),
]
GAPS = [
    Gap(f"roles.{RBAC}", "web", "forbidden", "roles is forbidden"),
    Gap("pods", "!pay,web", "not collected", "only what -n names was read"),
]


def report(*, drifted: bool = True, gaps: bool = True, clusters: tuple[str, ...] = ("prod",)) -> Report:
    """A report of clusters that were approved empty; then two subjects got a role, and one more another."""
    with open_store(MEMORY) as store:
        for name in clusters:
            of = partial(Given, cluster=f"id-of-{name}", name=name, version=Version(1, 36))
            scan(store, of([PAY]), 1)
            approve(store, 1)
            scan(store, of([PAY, *GRANTS] if drifted else [PAY], GAPS if gaps else ()), 2)
        exec_only = list(findings.select(store, "f.subject = 'group:devs'"))
        if exec_only:
            decide(store, exec_only, "acknowledged", 2)
        return built(store, Inputs(Config()), [f"id-of-{name}" for name in clusters])


CSV = """\
id,group,cluster,domain,severity,status,mark,owner,subject,scope,through,message,fix,checks
0ebbb5859665244b9a05,5f454beeb343,id-of-prod,rbac,high,open,new,pay-team,serviceaccount:pay/job,pay,ClusterRole/reader,\
"ServiceAccount pay/job can now read every Secret in pay, through RoleBinding pay/debug → ClusterRole reader",\
Delete RoleBinding pay/debug,rbac-secrets-read
d913b1e20905acaf1c4a,5f454beeb343,id-of-prod,rbac,high,open,new,pay-team,serviceaccount:pay/api,pay,ClusterRole/reader,\
"ServiceAccount pay/api can now read every Secret in pay, through RoleBinding pay/debug → ClusterRole reader",\
Delete RoleBinding pay/debug,rbac-secrets-read
53c46a208077b1a22cab,776236df67a9,id-of-prod,rbac,medium,acknowledged,,pay-team,group:devs,pay,Role/pay/exec,\
"Group devs can now run commands in every container of pay, through RoleBinding pay/devs → Role pay/exec",\
Delete RoleBinding pay/devs,rbac-exec-namespace
"""


def test_csv() -> None:
    """One row for each finding, in the order of the report."""
    assert render(report(), "csv") == CSV.replace("\n", "\r\n")


MARKDOWN = """\
# posture

prod: 5 objects, baseline of 2026-10-01 by dana, 0 standing

## HIGH 2 subjects in pay: Every Secret of a namespace can be read

Owner: pay-team. Group `5f454beeb343`.

{rbac-secrets-read}

- `0ebbb585` ServiceAccount pay/job can now read every Secret in pay, through RoleBinding pay/debug → ClusterRole \
reader. Fix: Delete RoleBinding pay/debug.
- `d913b1e2` ServiceAccount pay/api can now read every Secret in pay, through RoleBinding pay/debug → ClusterRole \
reader. Fix: Delete RoleBinding pay/debug.

## MEDIUM Group devs can now run commands in every container of pay

Owner: pay-team. Group `776236df67a9`.

{rbac-exec-namespace}

- `53c46a20` (acknowledged) Group devs can now run commands in every container of pay, through RoleBinding pay/devs → \
Role pay/exec. Fix: Delete RoleBinding pay/devs.

## Not read

- pods outside of pay and web: not collected, only what -n names was read
- roles.rbac.authorization.k8s.io in web: forbidden, roles is forbidden
"""


def test_markdown() -> None:
    """A heading for each group, why it matters, its findings, and what was not read at the end."""
    checks = {check.id: escape(f"{check.why} {check.remedy}") for check in Inputs(Config()).checks}

    assert render(report(), "markdown") == MARKDOWN.format_map(checks)


def test_markdown_of_nothing() -> None:
    """Nothing is said to be fine that was not read."""
    said = "Nothing became possible that was not agreed"

    assert render(report(drifted=False, gaps=False), "markdown") == (
        f"# posture\n\nprod: 1 object, baseline of 2026-10-01 by dana, 0 standing\n\n{said}.\n"
    )
    assert f"{said}, as far as it could be read.\n\n## Not read\n" in render(report(drifted=False), "markdown")


def test_markdown_of_exceptions() -> None:
    """How many are in which state; those that nobody uses by owner, the oldest first; names are no markup."""
    with open_store(MEMORY) as store:
        odd = excepted("od_d*", "exceptions", "2026-10-01T00:00:00Z", owner="web-team")
        scan(store, Given([*cluster(), odd]), 20)
        text = render(document(store), "markdown")

    section = text.partition("## Exceptions\n\n")[2].partition("\n## ")[0]
    assert "5 unused" in section.partition("\n")[0]
    assert "1 expired but active" in section.partition("\n")[0]
    owned = section.partition("- 2 of web-team\n")[2].splitlines()
    assert [line.partition(" ")[2].partition(" ")[2].partition("` ")[2] for line in owned[:2]] == [
        "(49d ago) PolicyException exceptions/late excludes Pod in web",
        "(19d ago) PolicyException exceptions/od\\_d\\* excludes Pod in exceptions",
    ]
    assert "agents" not in section


def test_markdown_of_several_clusters() -> None:
    """Every group and every gap says of which cluster it is."""
    lines = render(report(clusters=("prod", "test")), "markdown").splitlines()

    owners = [line for line in lines if line.startswith("Owner: ")]
    assert [line.rpartition(" ")[2] for line in owners] == ["prod.", "test.", "prod.", "test."]
    gaps = [line for line in lines[lines.index("## Not read") :] if line.startswith("- ")]
    assert [line.partition(" of cluster ")[2].partition(":")[0] for line in gaps] == ["prod", "prod", "test", "test"]


def test_every_form_ends_its_last_line() -> None:
    """Any form can be redirected into a file and read by tools that work line by line."""
    assert formats() == ["csv", "json", "markdown"]
    for form in formats():
        assert render(report(), form).endswith("\n")


# Cells and words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "shown"), [
    ("plain", "plain"),
    ("", ""),
    ("=1+1", "'=1+1"),
    ("  =1+1", "'  =1+1"),
    ("+1", "'+1"),
    ("-1", "'-1"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("\uff1d1", "'\uff1d1"),
    ("\t=1+1", "\\x09=1+1"),
    ("\r=1+1", "\\x0d=1+1"),
    ("a;=1+1", "a;'=1+1"),
    ("a; =1+1;b", "a;' =1+1;b"),
    ('a;"=1+1;b', "a;'\"=1+1;b"),
    ("a=b;c-d", "a=b;c-d"),
    ("-", "'-"),
])  # fmt: skip
def test_no_cell_is_a_formula(text: str, shown: str) -> None:
    """Not even for who reads semicolons as the separator; whatever else is written stays as it is."""
    assert cell(text) == shown


@pytest.mark.parametrize("text", ["a,b", 'say "x"', "a\nb", "=cmd()", "a;b"])  # fmt: skip
def test_a_cell_is_read_back_as_one(text: str) -> None:
    """Quotes and commas in a name never make another column."""
    given = report()
    found = [dict(one) | {"message": text} for one in given["findings"]]

    rows = list(csv.DictReader(io.StringIO(render({**given, "findings": found}, "csv"))))

    assert [row["message"] for row in rows] == [cell(text)] * 3
    assert {len(row) for row in rows} == {14}


@pytest.mark.parametrize(("text", "shown"), [
    ("plain words", "plain words"),
    ("pay/api", "pay/api"),
    ("system:masters", "system:masters"),
    ("[click](http://x)", "\\[click\\](http\\://x)"),
    ("<b>", "\\<b\\>"),
    ("`code`", "\\`code\\`"),
    ("a|b", "a\\|b"),
    ("# head", "\\# head"),
    ("- item", "\\- item"),
    ("1. item", "1\\. item"),
    ("    indented", "indented"),
    ("line\nbreak", "line\\\\x0abreak"),
    ("@team", "@&#8203;team"),
    ("fixes #12", "fixes \\#&#8203;12"),
    ("www.example.com", "www\\.example.com"),
    ("&lt;", "\\&lt;"),
    ("$x$", "\\$x\\$"),
])  # fmt: skip
def test_markdown_shows_a_text_as_it_is(text: str, shown: str) -> None:
    """Nothing in a name is markup, a link, a list, a formula or a call to somebody."""
    assert escape(text) == shown
