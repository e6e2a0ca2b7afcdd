"""Names of files that another program wrote otherwise: Unicode forms and separators."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from curator.base.vocabulary import Origin
from curator.catalogue.images import find_named_image
from curator.errors import DataError
from curator.intake.answers import read_known_labels
from curator.intake.label import label
from curator.intake.user_groups import group_by_csv
from curator.workspace import Workspace
from tests.support.command import curator
from tests.support.filled import fill

NFC, NFD = (unicodedata.normalize(form, "Müller é.png") for form in ("NFC", "NFD"))
MIXED = unicodedata.normalize("NFC", "Müller ") + unicodedata.normalize("NFD", "é.png")
MIXED_OTHERWISE = unicodedata.normalize("NFD", "Müller ") + unicodedata.normalize("NFC", "é.png")


def told(workspace: Workspace, folder: Path, name: str) -> int:
    """The image that a CSV in `folder` means by `name`, whatever the command that reads it."""
    (folder / "l.csv").write_text(f'path,label,group\n"{name}",good,g\n', encoding="utf-8")
    known = read_known_labels(workspace, folder / "l.csv")
    assert label(workspace, folder / "l.csv", origin=Origin.SEED, actor="tester").answers == 1
    assert group_by_csv(workspace, folder / "l.csv").images == 1
    (image_id,) = known.images.values()
    return image_id


@pytest.mark.parametrize("written", [NFC, NFD, MIXED], ids=["NFC", "NFD", "mixed"])
@pytest.mark.parametrize("stored", [NFC, NFD, MIXED], ids=["NFC", "NFD", "mixed"])
@pytest.mark.parametrize("folder", ["A", "Bücher"])
def test_any_form_names_the_only_file(
    workspace: Workspace, tmp_path: Path, written: str, stored: str, folder: str
) -> None:
    root = unicodedata.normalize("NFD", folder)
    ids = fill(workspace, tmp_path / root, [f"x/{stored}", "other.png"])
    name = unicodedata.normalize("NFC", folder) + f"/x/{written}"
    assert told(workspace, tmp_path, name) == ids[f"x/{stored}"]
    assert find_named_image(workspace.catalogue, str(tmp_path / name)) == ids[f"x/{stored}"]
    assert told(workspace, tmp_path, name.replace("/", "\\")) == ids[f"x/{stored}"]


def test_the_exact_name_wins_and_two_others_are_both_named(
    workspace: Workspace, tmp_path: Path
) -> None:
    ids = fill(workspace, tmp_path / "A", [NFC, NFD])
    assert told(workspace, tmp_path, f"A/{NFC}") == ids[NFC]
    assert told(workspace, tmp_path, f"A/{NFD}") == ids[NFD]
    (tmp_path / "l.csv").write_text(f"path,label,group\nA/{MIXED},good,g\n", encoding="utf-8")
    for read in (
        lambda: label(workspace, tmp_path / "l.csv", actor="tester"),
        lambda: group_by_csv(workspace, tmp_path / "l.csv"),
        lambda: read_known_labels(workspace, tmp_path / "l.csv"),
        lambda: find_named_image(workspace.catalogue, str(tmp_path / "A" / MIXED)),
    ):
        with pytest.raises(DataError, match="differ only in their Unicode form") as refused:
            read()
        assert ascii(NFC).strip("'") in refused.value.problem
        assert ascii(NFD).strip("'") in refused.value.problem


def test_copies_of_one_image_under_two_forms_are_one(workspace: Workspace, tmp_path: Path) -> None:
    contents: dict[bytes | str, bytes] = {NFC: b"x", NFD: b"x"}
    ids = fill(workspace, tmp_path / "A", [NFC, NFD], contents=contents)
    assert told(workspace, tmp_path, f"A/{MIXED_OTHERWISE}") == ids[NFC]


def test_a_backslash_in_a_name_is_taken_as_it_is_first(
    workspace: Workspace, tmp_path: Path
) -> None:
    ids = fill(workspace, tmp_path / "A", ["b\\c.png", "b/c.png", "b/d.png"])
    assert told(workspace, tmp_path, "A/b\\c.png") == ids["b\\c.png"]
    assert told(workspace, tmp_path, "A\\b\\d.png") == ids["b/d.png"]


def test_a_drive_of_windows_is_said(workspace: Workspace, tmp_path: Path) -> None:
    fill(workspace, tmp_path / "A", ["b.png"])
    (tmp_path / "l.csv").write_text("path,label\nC:\\A\\b.png,good\n")
    with pytest.raises(DataError, match="begins with a drive of Windows"):
        label(workspace, tmp_path / "l.csv", actor="tester")


def test_a_path_through_a_link_and_another_form(workspace: Workspace, tmp_path: Path) -> None:
    ids = fill(workspace, tmp_path / "A", [NFD])
    (tmp_path / "link").symlink_to(tmp_path)
    assert told(workspace, tmp_path / "link", f"A/{NFC}") == ids[NFD]


def test_history_similar_and_sources_take_any_form(workspace: Workspace, tmp_path: Path) -> None:
    name, other = (unicodedata.normalize(form, "Bücher") for form in ("NFD", "NFC"))
    (tmp_path / name).mkdir()
    fill(workspace, tmp_path / name, [NFD], source=name)
    root = workspace.root
    shown = curator("-w", root, "history", tmp_path / other / NFC, "--json").json()
    assert shown["image"]["image_id"] == 1
    curator("-w", root, "export", tmp_path / "m.csv", "--source", other, expect=3)  # no label yet
    assert (
        "contains no file of" in curator("-w", root, "relocate", other, tmp_path, expect=3).stderr
    )
    report = curator("-w", root, "drop", other, "--yes", "--json").json()
    assert (report["files"], Path(report["root"]).name) == (1, name)
