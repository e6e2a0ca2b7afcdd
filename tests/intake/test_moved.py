"""A folder that moved and was added again: recognised, merged, and nothing said is lost."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from curator.base.vocabulary import LocationState
from curator.catalogue.files import walk_locations
from curator.catalogue.labels import history
from curator.catalogue.sources import list_sources
from curator.errors import DataError
from curator.intake.add import add
from curator.intake.relocate import moved_sources, relocate
from curator.maintenance.verify import verify
from curator.workspace import Workspace
from tests.intake.conftest import Save
from tests.support.command import CHECKOUT, curator


@pytest.fixture
def moved(workspace: Workspace, pictures: Path, save: Save) -> Path:
    """Labelled pictures that lie in another folder now."""
    for number in range(4):
        save(f"a/{number}.png", number)
    add(workspace, [pictures], label="good", licence="CC0", actor="tester")
    disk = pictures.parent / "the disk"
    disk.mkdir()
    return pictures.rename(disk / pictures.name)


@pytest.mark.parametrize("added", ["the folder", "the disk"])
def test_what_was_added_again_becomes_part_of_the_source(
    workspace: Workspace, moved: Path, added: str
) -> None:
    report = add(workspace, [moved if added == "the folder" else moved.parent])
    (found,) = report.moved
    assert (found.name, found.new_root) == ("pictures", os.fsencode(moved))
    relocated = relocate(workspace, source="pictures", root=moved)
    assert (relocated.present, relocated.missing, relocated.changed) == (4, 0, 0)
    assert len(relocated.merged) == 1
    source = next(s for s in list_sources(workspace.catalogue) if s.name == "pictures")
    assert (source.root, source.licence) == (os.fsencode(moved), "CC0")
    files = list(walk_locations(workspace.catalogue, source.source_id))
    assert [file.path for file in files] == [f"a/{number}.png".encode() for number in range(4)]
    assert {file.state for file in files} == {LocationState.PRESENT}
    images = [file.image_id for file in files if file.image_id is not None]
    assert all(len(history(workspace.catalogue, image_id)) == 1 for image_id in images)
    assert moved_sources(workspace.catalogue) == []
    again = add(workspace, [moved])
    assert (again.known, again.sources, again.moved) == (4, ("pictures",), ())
    assert verify(workspace).clean
    names = [s.name for s in list_sources(workspace.catalogue)]
    assert names == (["pictures"] if added == "the folder" else ["pictures", "the disk"])


def test_files_that_were_renamed_on_the_way_are_the_same_images(
    workspace: Workspace, moved: Path
) -> None:
    for file in (moved / "a").iterdir():
        file.rename(moved / file.name)
    add(workspace, [moved])
    relocated = relocate(workspace, source="pictures", root=moved)
    assert (relocated.present, relocated.missing) == (4, 0)
    paths = {file.path for file in walk_locations(workspace.catalogue, 1)}
    assert paths == {f"{number}.png".encode() for number in range(4)}


def test_another_image_at_a_path_is_a_change(workspace: Workspace, moved: Path, save: Save) -> None:
    shutil.copy(save("other.png", 9), moved / "a" / "0.png")
    add(workspace, [moved])
    relocate(workspace, source="pictures", root=moved)
    assert add(workspace, [moved]).known == 4
    assert verify(workspace).clean


def test_sources_under_other_terms_are_not_mixed(workspace: Workspace, moved: Path) -> None:
    add(workspace, [moved], licence="CC-BY-4.0")
    with pytest.raises(DataError, match="curator drop pictures-2") as refused:
        relocate(workspace, source="pictures", root=moved)
    assert "CC-BY-4.0" in str(refused.value)
    assert len(list_sources(workspace.catalogue)) == 2
    curator("-w", workspace.root, "drop", "pictures-2", "--yes")
    assert relocate(workspace, source="pictures", root=moved).present == 4


def test_a_source_within_the_new_folder_keeps_its_files(workspace: Workspace, moved: Path) -> None:
    add(workspace, [moved / "a"], source="inner")
    report = relocate(workspace, source="pictures", root=moved)
    assert (report.present, report.missing, report.merged) == (0, 0, ())
    inner = next(s for s in list_sources(workspace.catalogue) if s.name == "inner")
    assert len(list(walk_locations(workspace.catalogue, inner.source_id))) == 4
    assert add(workspace, [moved]).known == 4


def test_the_command_and_doctor_name_what_works(workspace: Workspace, moved: Path) -> None:
    root = workspace.root
    text = curator("-w", root, "add", moved).stdout
    command = f"curator relocate pictures '{moved}'"
    assert f"{moved} looks like the source pictures" in text
    assert command in text
    assert command in curator("-w", root, "doctor", expect=3).stdout
    assert "is part of it now" in curator("-w", root, "relocate", "pictures", moved).stdout
    assert "is not there" not in curator("-w", root, "doctor").stdout


def test_a_terminal_is_asked(workspace: Workspace, moved: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "curator", "-w", str(workspace.root), "add", str(moved)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    os.write(ours, b"y\n")
    stdout, _ = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0
    assert "pictures moved from" in stdout
    assert [source.root for source in list_sources(workspace.catalogue)] == [os.fsencode(moved)]


def test_a_copy_of_a_folder_is_no_move(workspace: Workspace, pictures: Path, save: Save) -> None:
    save("1.png", 1)
    add(workspace, [pictures])
    shutil.copytree(pictures, pictures.parent / "copy")
    assert add(workspace, [pictures.parent / "copy"]).moved == ()
