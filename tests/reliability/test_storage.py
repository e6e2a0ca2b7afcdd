"""A disk that is full and a folder that is read-only: said clearly, and nothing is lost."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability import ready
from tests.support import needs
from tests.support.command import Outcome, run_curator, start_curator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FILLER = "filler"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB of its own."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        needs.skip_unavoidably("mounting a file system takes the rights of root")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workspaces before `add`, before `round` and before `export`; and the manifest to expect."""
    root = tmp_path_factory.mktemp("prepared")
    ready.make_pictures(root)
    empty = ready.init(root, root / "add")
    labelled = ready.copy(empty, root / "round")
    ready.add(root, labelled)
    ready.label(root, labelled)
    finished = ready.copy(labelled, root / "export")
    ready.finish_rounds(finished)
    expected = ready.manifest(root, finished)
    (finished / "clean.csv").rename(root / "expected.csv")
    assert expected.count(b"promoted") > 50
    return root


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def _fill(disk: Path, leave: int) -> None:
    """Fill the disk but for `leave` bytes."""
    free = shutil.disk_usage(disk).free
    (disk / FILLER).write_bytes(b"\0" * max(free - leave, 0))


def _refused(*arguments: str | Path) -> Outcome:
    process = start_curator(*arguments)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 3, f"exit code {process.returncode}\n{stdout}\n{stderr}"
    assert "Traceback" not in stderr
    return Outcome(process.returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("step", "leave"), [("add", 0), ("add", 100_000), ("round", 0), ("export", 0)]
)
def test_a_full_disk_is_said_and_nothing_is_lost(
    prepared: Path, small_disk: Path, step: str, leave: int
) -> None:
    workspace = ready.copy(prepared / step, small_disk / "workspace")
    command = {
        "add": ["add", prepared / "pictures", "--source", "pictures"],
        "round": ["round", "--rounds", "3"],
        "export": ["export", workspace / "clean.csv"],
    }[step]
    _fill(small_disk, leave)
    outcome = _refused("-w", workspace, *command)
    assert "full" in outcome.stderr.lower() or "space" in outcome.stderr.lower(), outcome.stderr
    (small_disk / FILLER).unlink()
    _remount(small_disk, "size=64m")
    if step == "add":
        ready.add(prepared, workspace)
        ready.label(prepared, workspace)
    ready.finish_rounds(workspace)
    assert ready.manifest(prepared, workspace) == (prepared / "expected.csv").read_bytes()


def test_a_read_only_workspace_can_be_read_and_says_why_it_cannot_be_changed(
    prepared: Path, small_disk: Path
) -> None:
    workspace = ready.copy(prepared / "round", small_disk / "workspace")
    _remount(small_disk, "ro")
    status = run_curator("-w", workspace, "status", "--json").json()
    assert status["images"] == ready.GOOD + ready.BAD
    for command in (
        ["label", prepared / "seeds.csv"],
        ["add", prepared / "pictures"],
        ["config", "runtime.seed=1"],
        ["rollback", "--to", "0"],
    ):
        outcome = _refused("-w", workspace, *command)
        assert re.search("read(ing)?[ -]only", outcome.stderr.lower()), outcome.stderr
    _remount(small_disk, "rw")
    ready.finish_rounds(workspace)
    assert ready.manifest(prepared, workspace) == (prepared / "expected.csv").read_bytes()
