"""A test that is skipped for want of something that could be fetched is loud, or a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.command import CHECKOUT

SKIPPING = f"""
import pytest

def test_avoidable():
    pytest.skip("the package is missing")

def test_unavoidable():
    pytest.skip("{needs.UNAVOIDABLE}no GPU")

@pytest.mark.skipif(True, reason="{needs.UNAVOIDABLE}root may do anything")
def test_marked():
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("promise", "code", "outcome"),
    [("", 0, "3 skipped"), ("0", 0, "3 skipped"), ("1", 1, "1 failed, 2 skipped")],
)
def test_skips_fail_where_none_were_promised(
    tmp_path: Path, promise: str, code: int, outcome: str
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "CURATOR_NO_SKIPS": promise},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    assert outcome in done.stdout
    assert "the package is missing" in done.stdout


@pytest.mark.parametrize(("program", "package"), [("tmux", "tmux"), ("chromium", "chromium")])
def test_programs_that_tests_drive_are_here(program: str, package: str) -> None:
    assert needs.need_program(program, f"install {package}")


def test_the_photographs_that_tests_use_are_here() -> None:
    from tests.support import fashion

    pictures, labels = fashion.load("t10k")
    assert pictures.shape == (10_000, 28, 28)
    assert set(labels) == set(range(10))
