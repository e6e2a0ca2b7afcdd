"""Every promise has a test, and the list of promises names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")


def test_every_invariant_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+) \|.*$", TABLE, flags=re.MULTILINE)
    assert len(rows) >= 18
    assert [int(row) for row in rows] == list(range(1, len(rows) + 1))
    for line in TABLE.splitlines():
        if not line.startswith("|") or line.startswith(("|---", "| | what", "| what is")):
            continue
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", line)
        assert named, line
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"
