"""Metrics and logs of large or hostile clusters: bounded, and harmless to whoever reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from posture.model import Finding, Gap, Owner
from posture.operations.log import Log
from posture.operations.metrics import OTHERS, OWNERS, Levels, Metrics, findings_by, gaps_by, kind_of
from posture.store import MEMORY, findings, open_store
from tests.generator.source import Given
from tests.store.stored import scanned, some_objects

NOW = "2026-11-17T09:00:00Z"
EVIL = '\x1b]0;title\x07\u202eevil\n# HELP fake\nfake{a="b"} 1'


@pytest.fixture(scope="module")
def finding() -> Finding:
    """A finding of a scan."""
    with open_store(MEMORY) as store:
        scanned(store, Given(some_objects(1)))
        return next(findings.select(store))


def owned(finding: Finding, name: str) -> Finding:
    """The same finding, of another owner."""
    return replace(finding, owner=Owner(name, *finding.owner[1:]))


def page(tmp_path: Path, levels: Levels) -> str:
    metrics = Metrics(str(tmp_path / "none.db"))
    metrics.levels = levels
    return metrics.page()


def test_owners_are_bounded(finding: Finding) -> None:
    """The owners of most findings have series of their own; the others are counted together, and none is lost."""
    found = [owned(finding, f"team-{number:03}") for number in range(200) for _ in range(1 + number // 100)]
    tally = findings_by(found, NOW)
    assert len(tally) == OWNERS + 1
    assert {owner for *_, owner in tally} == {f"team-{number}" for number in range(100, 100 + OWNERS)} | {OTHERS}
    assert sum(tally.values()) == len(found) == 300


def test_findings_are_counted_by_what_they_are(finding: Finding) -> None:
    """Severity, status, domain, owner."""
    other = replace(finding, severity="low", agreed=True)
    assert findings_by([finding, finding, other], NOW) == {
        (finding.severity, "open", "rbac", finding.whose): 2,
        ("low", "agreed", "rbac", finding.whose): 1,
    }


def test_kinds_are_those_that_posture_reads() -> None:
    """Whatever a server calls its resources, there are no more series than kinds."""
    gaps = [Gap("pods", "", "forbidden", "no"), Gap(EVIL, "", "failed", "no"), Gap("x.example", "a", "failed", "no")]
    assert gaps_by(gaps) == {("pods", "forbidden"): 1, (OTHERS, "failed"): 2}
    assert kind_of("*") == "*"


def test_hostile_names_stay_inside_their_labels(finding: Finding, tmp_path: Path) -> None:
    """A name can neither add a line nor hide one."""
    levels = Levels(findings=findings_by([owned(finding, EVIL)], NOW), info=(EVIL, EVIL, "1.36"))
    text = page(tmp_path, levels)
    assert text.isascii()
    assert not [line for line in text.splitlines() if line.startswith(("fake", "# HELP fake"))]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert (
        families["posture_findings"].samples[0].labels["owner"].startswith("\\x1b]0;title\\x07\\u202eevil\\x0a# HELP")
    )
    assert all(name.startswith(("posture_", "process_")) for name in families)


def test_the_page_is_complete_before_anything_is_known(tmp_path: Path) -> None:
    """Every metric has its help and type from the first moment on."""
    text = page(tmp_path, Levels())
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE posture_")}
    assert {"posture_findings", "posture_gaps", "posture_objects", "posture_events_total", "posture_lists_total",
            "posture_corrections_total", "posture_request_failures_total", "posture_batch_seconds",
            "posture_lag_seconds", "posture_last_sync_timestamp_seconds", "posture_store_bytes", "posture_ready",
            "posture_build_info"} <= names  # fmt: skip


# Logs ---------------------------------------------------------------------------------------------------------------


def test_a_line_is_a_line_for_people() -> None:
    """Time, event and message; what cannot be seen is shown."""
    lines: list[str] = []
    Log("text", lines.append, lambda: NOW)("opened", f"eve {EVIL}", owner=EVIL)
    (line,) = lines
    assert line.startswith(f"{NOW}  opened     eve \\x1b]0;title\\x07\\u202eevil\\x0a# HELP")
    assert line.isprintable()


def test_a_line_is_an_object_for_machines() -> None:
    """ASCII, one line, every text made visible, numbers as numbers."""
    lines: list[str] = []
    Log("json", lines.append, lambda: NOW)("opened", "ü", owner=EVIL, path=[EVIL], objects=3, of={EVIL: 1})
    (line,) = lines
    assert line.isascii()
    assert "\n" not in line
    shown = json.loads(line)
    assert (shown["time"], shown["event"], shown["message"], shown["objects"]) == (NOW, "opened", "ü", 3)
    assert shown["owner"] == shown["path"][0] == next(iter(shown["of"]))
    assert shown["owner"].isprintable()


def test_a_reader_that_is_gone_ends_nothing() -> None:
    """The log is no reason to stop."""

    def write(_: str) -> None:
        raise BrokenPipeError

    Log("text", write, lambda: NOW)("opened", "eve")
