"""No command writes over what curator works on, whatever it is told to overwrite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from curator.base.files import check_destination
from curator.errors import StorageError, UsageError
from tests.support.command import curator
from tests.support.images import make_folder


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    make_folder(tmp_path / "pictures", good=3, bad=3)
    curator("init", tmp_path / "w")
    curator("-w", tmp_path / "w", "add", tmp_path / "pictures", "--subfolders-are-classes")
    return tmp_path / "w"


@pytest.mark.slow
def test_no_image_and_no_part_of_the_workspace_is_overwritten_with_force(filled: Path) -> None:
    picture = next((filled.parent / "pictures" / "good").iterdir())
    own = [filled / ".curator" / "catalogue.sqlite", filled / "curator.toml"]
    before = [file.read_bytes() for file in (picture, own[1])]
    for target in (picture, *own, filled / ".curator" / "new.csv"):
        for command in (
            ("export", target, "--format", "csv"), ("queue", "random", "--output", target),
            ("report", target), ("duplicates", "--output", target),
            ("export", filled / "m.csv", "--evidence", target),
        ):  # fmt: skip
            outcome = curator("-w", filled, *command, "--force", expect=2)
            assert "Name another file" in outcome.stderr, (command, outcome.stderr)
    assert [file.read_bytes() for file in (picture, own[1])] == before
    assert "No problems found" in curator("-w", filled, "verify", "--files").stderr
    assert not (filled / ".curator" / "new.csv").exists()
    folder = filled / ".curator" / "new"
    outcome = curator("-w", filled, "export", folder, "--format", "imagefolder", expect=2)
    assert "belongs to a workspace itself" in outcome.stderr


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "XBM"])
def test_a_picture_of_any_kind_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "table.csv"
    picture = Image.radial_gradient("L").resize((40, 30))
    picture.convert({"XBM": "1", "GIF": "P", "PPM": "RGB"}.get(kind, "L")).save(file, kind)
    with pytest.raises(StorageError, match="exists already"):
        check_destination(file, force=False)
    with pytest.raises(UsageError, match="may be an image"):
        check_destination(file, force=True)


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"PK\3\4\0\0", b"PAR1\0", b"\x08\0\x12"])
def test_what_commands_write_is_overwritten_with_force(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table").write_bytes(content)
    check_destination(tmp_path / "table", force=True)
    (tmp_path / "link").symlink_to("nowhere")
    check_destination(tmp_path / "link", force=True)


@pytest.mark.slow
def test_a_number_beyond_all_is_refused_and_no_bug(filled: Path) -> None:
    huge = str(10**25)
    for command in (("rollback", "--to", huge), ("unlabel", "--batch", huge, "--yes")):
        outcome = curator("-w", filled, *command, expect=3)
        assert "A number is larger than any" in outcome.stderr, command


@pytest.mark.slow
def test_a_current_folder_that_is_gone_is_said(filled: Path) -> None:
    gone = filled.parent / "gone"
    here = Path.cwd()
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        for command in (("status",), ("init", "x"), ("-w", filled, "label", "x.csv")):
            outcome = curator(*command, expect=3)
            assert "The current folder does not exist any more" in outcome.stderr, command
        curator("-w", filled, "status")
    finally:
        os.chdir(here)
