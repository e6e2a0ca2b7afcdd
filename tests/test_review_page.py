"""The page about the review says what the registry of actions says."""

from __future__ import annotations

import subprocess
import sys

from tests.support.command import CHECKOUT


def test_the_keys_on_the_page_are_those_of_the_code() -> None:
    checked = subprocess.run(
        [sys.executable, CHECKOUT / "docs" / "make_review.py", "--check"],
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


def test_pictures_on_the_page_are_there() -> None:
    page = (CHECKOUT / "docs" / "review.md").read_text()
    pictures = sorted((CHECKOUT / "docs" / "images").glob("review-*.png"))
    assert len(pictures) >= 11
    for picture in pictures:
        assert f"images/{picture.name}" in page
        assert picture.stat().st_size > 5_000
