"""The user's groups, and groups of near-duplicates that are brought up to date."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from curator.base.vocabulary import GroupKind, Quarantine
from curator.catalogue.files import quarantine_images
from curator.catalogue.groups import current_grouping, groups_of
from curator.catalogue.images import find_by_paths, image_details
from curator.errors import DataError, UsageError
from curator.intake import near_duplicates
from curator.intake.add import add
from curator.intake.near_duplicates import regroup
from curator.intake.user_groups import group_by_csv, group_by_pattern
from curator.settings.sections import Settings
from curator.workspace import Workspace
from tests.imaging.pictures import encode, photograph
from tests.intake.conftest import Save

pytestmark = pytest.mark.slow


def image_at(workspace: Workspace, path: Path) -> int:
    key = os.fsencode(path)
    return find_by_paths(workspace.catalogue, [key])[key]


def user_groups(workspace: Workspace) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for image_id, mates in groups_of(workspace.catalogue, range(1, 100)).items():
        for mate in mates:
            if mate.kind is GroupKind.USER:
                found.setdefault(mate.name, set()).add(image_id)
    return found


@pytest.fixture
def people(pictures: Path, save: Save, workspace: Workspace) -> Path:
    """Two pictures each of three people."""
    for number, name in enumerate(("ann", "bob", "cy")):
        save(f"{name}/1.png", number * 2, (24, 24))
        save(f"{name}/2.png", number * 2 + 1, (24, 24))
    add(workspace, [pictures])
    return pictures


def test_a_pattern_groups_by_what_it_captures(workspace: Workspace, people: Path) -> None:
    report = group_by_pattern(workspace, r"/([^/]+)/[^/]+$")
    assert (report.groups, report.images, report.unmatched, report.changed) == (3, 6, 0, True)
    assert user_groups(workspace) == {"ann": {1, 2}, "bob": {3, 4}, "cy": {5, 6}}
    assert group_by_pattern(workspace, r"/(?P<group>\w+)/(\d)").changed is False
    details = image_details(workspace.catalogue, [1, 2, 3])
    assert details[1].unit_key == details[2].unit_key != details[3].unit_key


def test_images_that_come_later_join_the_groups_of_a_pattern(
    workspace: Workspace, people: Path, save: Save
) -> None:
    group_by_pattern(workspace, r"(ann|bob)/")
    save("ann/3.png", 50, (24, 24))
    save("cy/3.png", 51, (24, 24))
    add(workspace, [people])
    assert user_groups(workspace) == {"ann": {1, 2, 7}, "bob": {3, 4}}


def test_groups_that_share_an_image_are_tied_together(
    workspace: Workspace, people: Path, save: Save
) -> None:
    save("bob/same.png", 0, (24, 24))
    add(workspace, [people])
    report = group_by_pattern(workspace, r"/(\w+)/[^/]+$")
    assert (report.groups, report.merged) == (2, 1)
    assert user_groups(workspace) == {"ann": {1, 2, 3, 4}, "cy": {5, 6}}


@pytest.mark.slow
def test_patterns_that_cannot_be_used(workspace: Workspace, people: Path) -> None:
    with pytest.raises(UsageError, match="is not a valid regular expression"):
        group_by_pattern(workspace, "(")
    with pytest.raises(DataError, match="matches no path"):
        group_by_pattern(workspace, "nobody")
    assert current_grouping(workspace.catalogue, GroupKind.USER) is None


def test_names_that_are_not_text_can_be_groups(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save(b"caf\xe9/1.png", 1)
    save(b"caf\xe9/2.png", 2)
    add(workspace, [pictures])
    group_by_pattern(workspace, r"/([^/]+)/[^/]+$")
    assert user_groups(workspace) == {r"caf\xe9": {1, 2}}


@pytest.mark.slow
def test_a_csv_groups_by_path_or_hash(workspace: Workspace, people: Path, tmp_path: Path) -> None:
    digest = image_details(workspace.catalogue, [3])[3].sha256.hex()
    file = people / "groups.csv"
    file.write_text(
        f"path,sha256,group\nann/1.png,,a\n{people}/ann/2.png,,a\n,{digest},b\ncy/1.png,,\n"
    )
    report = group_by_csv(workspace, file)
    assert (report.groups, report.images, report.unmatched) == (2, 3, 3)
    assert user_groups(workspace) == {"a": {1, 2}, "b": {3}}


def test_a_csv_with_an_unknown_row_changes_nothing(workspace: Workspace, people: Path) -> None:
    file = people / "groups.csv"
    file.write_text("path,group\nann/1.png,a\nnobody.png,b\n")
    with pytest.raises(DataError, match=r"line 3: `nobody.png` is not in the catalogue"):
        group_by_csv(workspace, file)
    file.write_text("path,label\nann/1.png,a\n")
    with pytest.raises(DataError, match="needs a header with `group`"):
        group_by_csv(workspace, file)
    assert user_groups(workspace) == {}


@pytest.fixture
def copies(pictures: Path, workspace: Workspace) -> Workspace:
    """Two pictures, each as PNG and as JPEG, in a workspace."""
    for seed in range(2):
        picture = photograph(200, 150, seed)
        (pictures / f"{seed}.png").write_bytes(encode(picture, "PNG"))
        (pictures / f"{seed}.jpg").write_bytes(encode(picture, "JPEG", quality=70))
    add(workspace, [pictures])
    return workspace


@pytest.mark.slow
def test_groups_are_not_computed_again_without_need(
    copies: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "find_groups", pytest.fail)
    report = regroup(copies)
    assert (report.groups, report.images, report.recomputed) == (2, 4, False)


@pytest.mark.slow
def test_groups_follow_the_pool_and_the_settings(copies: Workspace) -> None:
    quarantine_images(copies.catalogue, {1: (Quarantine.CORRUPT, "lost")})
    report = regroup(copies)
    assert (report.groups, report.recomputed) == (1, True)
    off = replace(copies, settings=_with(copies, enabled=False))
    assert regroup(off).groups == 0
    assert regroup(off).recomputed is False
    strict = replace(copies, settings=_with(copies, pixel_tolerance=0.0))
    assert regroup(strict).groups == 0
    assert regroup(copies).groups == 1


def test_an_equal_grouping_is_not_computed_a_third_time(copies: Workspace) -> None:
    wider = replace(copies, settings=_with(copies, pixel_tolerance=0.081))
    assert regroup(wider).recomputed is True
    assert regroup(wider).recomputed is False


def test_an_empty_workspace_has_no_groups(workspace: Workspace) -> None:
    assert regroup(workspace).groups == 0
    assert regroup(workspace).recomputed is False


def _with(workspace: Workspace, **changes: object) -> Settings:
    duplicates = workspace.settings.duplicates.model_copy(update=changes)
    return workspace.settings.model_copy(update={"duplicates": duplicates})


def test_groups_are_the_same_whether_previews_are_there_or_not(
    copies: Workspace, pictures: Path
) -> None:
    """A preview that is lost or damaged is made again from the file for the comparison."""
    before = groups_of(copies.catalogue, [1, 2, 3, 4])
    (pack,) = copies.folder("previews").glob("*.pack")
    content = pack.read_bytes()
    pack.write_bytes(content[: len(content) // 2])
    wider = replace(copies, settings=_with(copies, pixel_tolerance=0.081))
    assert regroup(wider).recomputed is True
    assert groups_of(copies.catalogue, [1, 2, 3, 4]) == before
    pack.write_bytes(content)
    for path in pictures.iterdir():
        path.unlink()
    assert regroup(copies).recomputed is True
    assert groups_of(copies.catalogue, [1, 2, 3, 4]) == before


def test_without_previews_files_are_compared(copies: Workspace, pictures: Path) -> None:
    ingest = copies.settings.ingest.model_copy(update={"preview_size": 0})
    settings = _with(copies, pixel_tolerance=0.081)
    off = replace(copies, settings=settings.model_copy(update={"ingest": ingest}))
    assert regroup(off).groups == 2
    (pictures / "0.png").unlink()
    settings = _with(copies, pixel_tolerance=0.082)
    off = replace(copies, settings=settings.model_copy(update={"ingest": ingest}))
    assert regroup(off).groups == 1


def test_groups_too_large_for_copies_are_dissolved_and_said(copies: Workspace) -> None:
    picture = photograph(200, 150, 0)
    folder = copies.root.parent / "more"
    folder.mkdir()
    for quality in range(60, 72):
        (folder / f"{quality}.jpg").write_bytes(encode(picture, "JPEG", quality=quality))
    report = add(copies, [folder])
    assert report.near_duplicate_groups == 1
    assert report.near_duplicates_dissolved > 10
    wider = replace(copies, settings=_with(copies, largest_group=20))
    assert (regroup(wider).groups, regroup(wider).dissolved) == (2, 0)


def test_copies_with_the_same_pixels_stay_together_however_many(
    workspace: Workspace, pictures: Path
) -> None:
    """As one camera's pictures do that differ in a pixel, each as two files."""
    limit = workspace.settings.duplicates.largest_group
    photo, scene = photograph(120, 90, 0), photograph(400, 300, 5)
    for number in range(limit + 4):
        comment = f"copy {number}".encode()
        (pictures / f"photo-{number}.jpg").write_bytes(encode(photo, "JPEG", comment=comment))
    for number in range(limit + 1):
        shot = scene.copy()
        shot.putpixel((7 * number, 11), (0, 0, 0) if number % 2 else (255, 255, 255))
        (pictures / f"shot-{number}.png").write_bytes(encode(shot, "PNG"))
        (pictures / f"shot-{number}.bmp").write_bytes(encode(shot, "BMP"))
    report = add(workspace, [pictures])
    groups: dict[str, set[str]] = {}
    ids = range(1, report.added + 1)
    mates, details = groups_of(workspace.catalogue, ids), image_details(workspace.catalogue, ids)
    for image_id, (mate,) in mates.items():
        name = os.fsdecode(details[image_id].locations[0].path.rpartition(b"/")[2])
        groups.setdefault(mate.name, set()).add(name.rpartition(".")[0])
    photos = {f"photo-{number}" for number in range(limit + 4)}
    shots = [{f"shot-{number}"} for number in range(limit + 1)]
    assert sorted(groups.values(), key=sorted) == sorted([photos, *shots], key=sorted)
    assert report.near_duplicates_dissolved == 0
