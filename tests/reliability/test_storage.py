"""A disk that is full and a folder that is read-only: said clearly, and nothing is lost."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from curator.cli.main import main
from tests.reliability import ready
from tests.support import needs
from tests.support.command import Outcome, curator, run_curator, start_curator

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
    ("step", "leave"),
    [("add", 0), ("add", 100_000), ("round", 0), ("export", 0), ("label", 0), ("label", 100_000)],
)
def test_a_full_disk_is_said_and_nothing_is_lost(
    prepared: Path, small_disk: Path, step: str, leave: int
) -> None:
    before = {"label": "round"}.get(step, step)
    workspace = ready.copy(prepared / before, small_disk / "workspace")
    everything = small_disk.parent / "all.csv"
    everything.write_text(
        "path,label\n"
        + "".join(f"{path},bad\n" for path in sorted((prepared / "pictures").rglob("*.*")))
    )
    command = {
        "add": ["add", prepared / "pictures", "--source", "pictures"],
        "round": ["round", "--rounds", "3"],
        "export": ["export", workspace / "clean.csv"],
        "label": ["label", everything, "--replace"],
    }[step]
    _fill(small_disk, leave)
    outcome = _refused("-w", workspace, *command)
    assert "The disk is full" in outcome.stderr or "No space left" in outcome.stderr, outcome.stderr
    (small_disk / FILLER).unlink()
    _remount(small_disk, "size=64m")
    if step == "add":
        ready.add(prepared, workspace)
        ready.label(prepared, workspace)
    ready.finish_rounds(workspace)
    assert ready.manifest(prepared, workspace) == (prepared / "expected.csv").read_bytes()


_COMMITS = {
    "label": ("curator.intake.label", "record_decisions"),
    "round": ("curator.catalogue.rounds", "commit_round"),
    "rollback": ("curator.catalogue.rounds", "rollback"),
}
"""Command → where the function is looked up that commits it."""


@pytest.mark.parametrize("step", _COMMITS)
def test_a_disk_that_is_full_after_the_commit_loses_no_answer(
    prepared: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    origin = {"label": "round", "round": "round", "rollback": "export"}[step]
    workspace = ready.copy(prepared / origin, small_disk / "workspace")
    more = prepared / "more.csv"
    more.write_text(f"path,label\npictures/bad/{_last_picture(prepared).name},bad\n")
    command = {
        "label": ["label", more],
        "round": ["round"],
        "rollback": ["rollback", "--to", "1"],
    }[step]
    # The default schedule is due, so that the backup meets the full disk, too.
    for backup in (workspace / ".curator" / "backups").glob("*-scheduled.sqlite"):
        backup.unlink()
    _remount(small_disk, "size=64m")
    module, name = _COMMITS[step]
    commit = getattr(importlib.import_module(module), name)

    def commit_and_fill(*arguments: Any, **options: Any) -> Any:
        result = commit(*arguments, **options)
        _fill(small_disk, 0)
        return result

    monkeypatch.setattr(f"{module}.{name}", commit_and_fill)
    outcome = curator("-w", workspace, *command, "--json")
    assert outcome.json()
    assert "nothing of this step" not in outcome.stderr
    monkeypatch.undo()
    assert curator("-w", workspace, "status", "--json").json()["images"] == 300
    (small_disk / FILLER).unlink()
    state = curator("-w", workspace, "status", "--json").json()
    assert curator("-w", workspace, "verify", "--json").json()["findings"] == []
    assert len(state["rounds"]) == {"label": 0, "round": 1, "rollback": 3}[step]
    if step == "label":
        assert "backup" in outcome.stderr


def _last_picture(prepared: Path) -> Path:
    return sorted((prepared / "pictures" / "bad").iterdir())[-1]


@pytest.mark.parametrize("where", ["full", "closed"])
def test_an_answer_that_cannot_be_printed_says_what_is_kept(
    prepared: Path, tmp_path: Path, where: str
) -> None:
    workspace = ready.copy(prepared / "export", tmp_path / "workspace")
    more = prepared / "more.csv"
    more.write_text(f"path,label\npictures/bad/{_last_picture(prepared).name},bad\n")
    for command, sentence in (
        (["label", more], "The work of this command is committed"),
        (["rollback", "--to", "1"], "The work of this command is committed"),
        (["round"], "Round 4 is committed"),
        (["export", workspace / "out.csv"], "out.csv is written"),
        (["backup"], "manual.sqlite is written"),
        (["restore", "--yes"], "sqlite is restored"),
    ):
        stderr = io.StringIO()
        with (
            _broken_output(where) as output,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(stderr),
        ):
            code = main(["-w", str(workspace), *map(str, command), "--json"])
        assert code == 3, command
        assert sentence in stderr.getvalue(), command
        assert "nothing of this step" not in stderr.getvalue()
    # Who only looks has lost nothing with a closed pipe.
    with _broken_output("closed") as output, contextlib.redirect_stdout(output):
        assert main(["-w", str(workspace), "status", "--json"]) == 0


@contextlib.contextmanager
def _broken_output(where: str) -> Iterator[TextIO]:
    """A stream on a full device, or on a pipe that nobody reads."""
    if where == "full":
        stream = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    else:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):
            stream.close()


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
