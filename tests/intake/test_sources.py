"""A folder that moved, and folders that are the wrong ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curator.base.vocabulary import LocationState
from curator.catalogue.files import walk_locations
from curator.catalogue.sources import find_source
from curator.errors import DataError
from curator.intake import inspection
from curator.intake.add import add
from curator.intake.relocate import relocate
from curator.workspace import Workspace
from tests.intake.conftest import Save

pytestmark = pytest.mark.slow


def test_a_moved_source_is_found_again_without_reading(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a/1.jpg", 1)
    save("2.jpg", 2)
    add(workspace, [pictures], source="faces")
    moved = pictures.rename(pictures.parent / "elsewhere")
    monkeypatch.setattr(inspection, "_read_at_rest", pytest.fail)
    report = relocate(workspace, source="faces", root=moved)
    assert (report.present, report.missing, report.changed) == (2, 0, 0)
    assert (report.old_root, report.new_root) == (os.fsencode(pictures), os.fsencode(moved))
    again = add(workspace, [moved])
    assert (again.known, again.sources) == (2, ("faces",))


def test_what_did_not_move_along_is_missing_until_it_does(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("1.jpg", 1)
    stays = save("2.jpg", 2)
    grown = save("3.jpg", 3)
    add(workspace, [pictures])
    moved = pictures.parent / "elsewhere"
    moved.mkdir()
    (pictures / "1.jpg").rename(moved / "1.jpg")
    (moved / "3.jpg").write_bytes(grown.read_bytes() + b"more")
    report = relocate(workspace, source="pictures", root=moved)
    assert (report.present, report.missing, report.changed) == (2, 1, 1)
    states = {file.path: file.state for file in walk_locations(workspace.catalogue, 1)}
    assert states[b"2.jpg"] is LocationState.MISSING
    stays.rename(moved / "2.jpg")
    assert relocate(workspace, source="pictures", root=moved).missing == 0


def test_a_wrong_folder_is_refused_and_nothing_changes(
    workspace: Workspace, pictures: Path, save: Save, tmp_path: Path
) -> None:
    save("1.jpg", 1)
    add(workspace, [pictures])
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="contains no file of `pictures`"):
        relocate(workspace, source="pictures", root=tmp_path / "other")
    with pytest.raises(DataError, match="There is nothing at"):
        relocate(workspace, source="pictures", root=tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a folder"):
        relocate(workspace, source="pictures", root=pictures / "1.jpg")
    with pytest.raises(DataError, match=r"no source `cats`.*Known are `pictures`"):
        relocate(workspace, source="cats", root=tmp_path)
    source = find_source(workspace.catalogue, "pictures")
    assert source is not None
    assert source.root == os.fsencode(pictures)
    assert next(walk_locations(workspace.catalogue, 1)).state is LocationState.PRESENT


@pytest.mark.slow
def test_two_sources_never_share_a_folder(workspace: Workspace, pictures: Path, save: Save) -> None:
    save("a/1.jpg", 1)
    save("b/1.jpg", 2)
    add(workspace, [pictures / "a", pictures / "b"])
    with pytest.raises(DataError, match="lies in the source `b`, which holds only 0 of the 1"):
        relocate(workspace, source="a", root=pictures / "b")
