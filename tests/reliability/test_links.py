"""Nothing under `.curator/` is a link: a workspace from a stranger writes to no other file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from curator.errors import CuratorError, WorkspaceError
from curator.workspace import create_workspace, open_workspace

FILES = [
    "catalogue.sqlite",
    "catalogue.sqlite-wal",
    "catalogue.sqlite-shm",
    "workspace-id",
    "backups/catalogue.sqlite",
    "features/a-4.f16",
    "pixels/24-rgb-raw-a/pixels.u8",
    "pixels/24-rgb-jpeg-a/pixels.places",
    "previews/0000.pack",
    "graphs/a/graph.i32",
    "models/a.safetensors",
    "models/training/network.pt",
    "models/encoders/a/network.bin",
    "scores/a.npy",
    "tune/a/trials.journal",
    "reports/simulations/a.jsonl",
    "reports/report.html",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    made.catalogue.close()
    return tmp_path / "ws"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("hard", [False, True])
def test_a_link_in_the_place_of_any_file_is_refused(
    root: Path, tmp_path: Path, name: str, hard: bool
) -> None:
    precious, link = tmp_path / "precious", root / ".curator" / name
    precious.write_bytes(b"not curator's")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    (link.hardlink_to if hard else link.symlink_to)(precious)
    with pytest.raises(WorkspaceError, match="hard link" if hard else "symbolic link") as caught:
        open_workspace(root)
    assert str(link) in caught.value.problem
    assert precious.read_bytes() == b"not curator's"
    link.unlink()
    if name not in ("catalogue.sqlite", "workspace-id"):
        open_workspace(root).catalogue.close()


@pytest.mark.parametrize("name", [name for name in FILES if "." in name])
def test_a_folder_in_the_place_of_a_file_is_refused(root: Path, name: str) -> None:
    wrong = root / ".curator" / name
    wrong.unlink(missing_ok=True)
    wrong.mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="is a folder") as caught:
        open_workspace(root)
    assert str(wrong) in caught.value.problem
    wrong.rename(root / "moved")
    if name != "catalogue.sqlite":
        open_workspace(root).catalogue.close()


def test_a_file_in_the_place_of_a_folder_is_refused_where_the_folder_is_needed(root: Path) -> None:
    names = {name.partition("/")[0] for name in FILES if "/" in name} - {"backups"}
    for name in names:
        shutil.rmtree(root / ".curator" / name, ignore_errors=True)
        (root / ".curator" / name).write_bytes(b"x")
    workspace = open_workspace(root)
    with workspace.catalogue:
        for name in names:
            with pytest.raises(WorkspaceError, match=f"{name} is a file") as caught:
                workspace.folder(name)
            assert "Move it away" in caught.value.advice
            (root / ".curator" / name).unlink()
            assert workspace.folder(name).is_dir()


def test_a_copy_by_hard_links_is_refused_and_the_advice_works(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-al", root, copy], check=True)
    for folder in (root, copy):
        with pytest.raises(WorkspaceError, match="would change both") as caught:
            open_workspace(folder)
    command = caught.value.advice.partition("`")[2].rpartition("`")[0]
    subprocess.run(["sh", "-c", command], check=True)
    open_workspace(copy).catalogue.close()


def test_a_linked_folder_a_dangling_link_and_a_pipe_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    trouble = root / ".curator" / "trouble"
    for make in (
        lambda: trouble.symlink_to(tmp_path / "elsewhere"),
        lambda: trouble.symlink_to(tmp_path / "nowhere"),
        lambda: os.mkfifo(trouble),
    ):
        make()
        with pytest.raises(WorkspaceError, match="curator writes only to regular files"):
            open_workspace(root)
        trouble.unlink()
    open_workspace(root).catalogue.close()


def test_the_folder_itself_may_be_no_link_and_the_advice_works(root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    shutil.move(root / ".curator", disk / "state")
    (root / ".curator").symlink_to(disk / "state")
    with pytest.raises(CuratorError, match="does not follow") as caught:
        open_workspace(root)
    assert f"ln -s /DISK/ws {root}" in caught.value.advice
    (root / ".curator").unlink()
    shutil.move(disk / "state", root / ".curator")
    shutil.move(root, disk / "ws")
    root.symlink_to(disk / "ws")
    open_workspace(root).catalogue.close()
