"""What the scripts that make pages share: write a page, or say that it is out of date."""

from __future__ import annotations

import sys
from pathlib import Path


def write_or_check(page: Path, text: str, source: str) -> int:
    """Write the page, or with `--check` compare it with `text`. Returns the exit code."""
    if sys.argv[1:] != ["--check"]:
        page.write_text(text, encoding="utf-8")
        sys.stderr.write(f"wrote {page}\n")
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{page} does not say what {source} says: run `make docs`.\n")
    return 1
