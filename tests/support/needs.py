"""What a test does when something it needs is not on this machine.

Things that `make test` can fetch (a Debian package) are missing loudly: the test is
skipped with its reason, and under `CURATOR_NO_SKIPS=1` it fails. Only hardware and the
rights of the user who runs the tests may be missing there as well.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

UNAVOIDABLE = "cannot be had here: "
"""How the reason of a skip begins that even continuous integration accepts."""


def skips_are_failures() -> bool:
    """Whether this run promised to skip nothing that could have been fetched."""
    return os.environ.get("CURATOR_NO_SKIPS", "") not in {"", "0"}


def skip_unavoidably(reason: str) -> NoReturn:
    """Skip a test for want of hardware or rights that no installation brings."""
    pytest.skip(UNAVOIDABLE + reason)


def need_program(name: str, package: str) -> str:
    """The path of a program, or a loud skip that names the Debian package it comes from."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing: `make test` installs it as root, or apt-get {package}")
    return path
