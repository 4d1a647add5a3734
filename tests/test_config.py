"""The configuration file: what it means where it can be written in several ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from posture import config
from posture.errors import FileError


@pytest.mark.parametrize(("written", "meant"), [
    ("{}", "detect"), ("podsByIp: detect", "detect"), ("podsByIp: unknown", "unknown"), ("podsByIp: yes", "yes"),
    ("podsByIp: 'yes'", "yes"), ("podsByIp: no", "no"), ('podsByIp: "no"', "no"), ("podsByIp: true", "yes"),
    ('{"podsByIp": false}', "no"),
])  # fmt: skip
def test_whether_blocks_match_pods_is_said_with_or_without_quotes(tmp_path: Path, written: str, meant: str) -> None:
    """In YAML an unquoted yes or no is a boolean."""
    path = tmp_path / "config.yaml"
    path.write_text(written, encoding="utf-8")
    assert config.load(path).pods_by_ip == meant


@pytest.mark.parametrize("written", ["ys", "'True'", "1", "null", "[yes]"])
def test_what_is_neither_is_refused_with_what_is_known(tmp_path: Path, written: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"\npodsByIp: {written}\n", encoding="utf-8")
    with pytest.raises(FileError, match=r"config.yaml:2: podsByIp: .* is not known here") as caught:
        config.load(path)
    assert "yes" in caught.value.hint
    assert "True" not in caught.value.hint
