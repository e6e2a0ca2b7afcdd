"""Installed from a wheel, curator behaves as it does from a checkout.

The wheel is built once and installed without its dependencies into a folder of its own,
which sees the packages of the environment that runs the tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import CHECKOUT

pytestmark = pytest.mark.slow

RUN = "import sys; from curator.cli.main import main; sys.exit(main())"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    subprocess.run([*command, CHECKOUT], check=True, capture_output=True, text=True)
    (built,) = folder.glob("curator-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", folder, wheel], check=True)
    return folder


def test_data_folders_are_inside_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"curator", next(top for top in tops if top.endswith(".dist-info"))}
    assert "curator/db/env.py" in names
    assert any(name.startswith("curator/db/versions/") for name in names)
    assert any(name.startswith("curator/seeds/") and name.endswith(".toml") for name in names)


def test_the_wheel_and_the_checkout_do_the_same(
    installed: Path, tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    pictures = picture_folder(good=3, bad=3)
    from_wheel = first_steps(installed, tmp_path / "a", pictures)
    from_checkout = first_steps(CHECKOUT, tmp_path / "b", pictures)
    assert from_wheel["images"] == 6
    assert from_wheel == from_checkout


def first_steps(home: Path, folder: Path, pictures: Path) -> dict[str, Any]:
    """Make a workspace with the curator that lies in `home`; what its status says."""
    origin = python(home, folder.parent, "import curator; print(curator.__file__)")
    assert Path(origin.strip()).is_relative_to(home)
    python(home, folder.parent, RUN, "init", folder)
    python(home, folder.parent, RUN, "-w", folder, "add", pictures / "good", "--label", "good")
    python(home, folder.parent, RUN, "-w", folder, "add", pictures / "bad", "--label", "bad")
    said: dict[str, Any] = json.loads(
        python(home, folder.parent, RUN, "-w", folder, "status", "--json")
    )
    assert said.pop("workspace") == str(folder)
    return said


def python(home: Path, cwd: Path, program: str, *arguments: str | Path) -> str:
    """Run a program that finds curator in `home`; what it writes to standard output."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=cwd,
        env={"PYTHONPATH": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
