"""`doctor` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import curator

pytestmark = pytest.mark.slow


def test_the_doctor_works_without_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = curator("doctor").stdout
    assert "python" in said
    lines = curator("doctor", "--json").json()["lines"]
    assert {"name", "health", "found", "advice"} == set(lines[0])


def test_the_doctor_looks_at_the_workspace(labelled: Path) -> None:
    assert "60 usable images" in curator("-w", labelled, "doctor").stdout


def test_the_doctor_says_what_is_wrong_with_a_workspace(labelled: Path) -> None:
    (labelled / "curator.toml").write_text("[classes\n")
    ended = curator("-w", labelled, "doctor", expect=3)
    assert "is not valid TOML" in ended.stdout
    assert "FAIL" in ended.stdout
