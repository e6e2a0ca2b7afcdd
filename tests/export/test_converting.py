"""Images that loaders do not decode: a warning, or a conversion that they read back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from curator.base.progress import SILENT
from curator.errors import UsageError
from curator.export.reading import open_manifest
from curator.intake.add import add
from curator.workspace import Workspace
from tests.support.exported import export

pytestmark = pytest.mark.slow


class Notes:
    """What an export says."""

    stage = staticmethod(SILENT.stage)

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


FORMATS = {"heic": "HEIF", "avif": "AVIF", "qoi": "QOI", "png": None, "jpg": None, "webp": None}


@pytest.fixture
def originals(workspace: Workspace, tmp_path: Path) -> dict[str, Path]:
    """One picture of each format, all labelled: SHA-256 → file."""
    register_heif_opener()
    folder = tmp_path / "photos"
    folder.mkdir()
    across, down = np.meshgrid(np.arange(80), np.arange(64))
    for number, suffix in enumerate(FORMATS):
        red = np.full_like(across, 40 * number)
        pixels = np.stack([red, 3 * across, 255 - 3 * down], axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"picture.{suffix}", quality=95)
    add(workspace, [folder], label="good", actor="anna")
    return {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in folder.iterdir()}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def of_datasets(folder: Path) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    from datasets import load_dataset

    for row in load_dataset(str(folder), split="train"):
        yield row, row["image"]


def of_webdataset(folder: Path) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    import webdataset

    shards = sorted(str(path) for path in folder.glob("*.tar"))
    for sample in webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode(
        "pil"
    ):
        (suffix,) = {"png", "jpg", "webp"} & set(sample)
        yield sample["json"], sample[suffix]


READERS = {"huggingface": of_datasets, "webdataset": of_webdataset}


@pytest.mark.filterwarnings("ignore")  # webdataset leaves its files open
@pytest.mark.parametrize("target", ["png", "jpeg"])
@pytest.mark.parametrize("format", list(READERS))
def test_the_real_loaders_decode_what_was_converted(
    workspace: Workspace, originals: dict[str, Path], tmp_path: Path, format: str, target: str
) -> None:
    told = Notes()
    folder = tmp_path / "clean"
    export(workspace, folder, format=format, convert=target, progress=told)
    assert not [note for note in told.notes if "does not decode" in note]
    seen = {}
    for facts, image in READERS[format](folder):
        original = originals[facts["sha256"]]
        seen[original.suffix] = facts.get("converted_from")
        kept = np.asarray(Image.open(original).convert("RGB"), np.int16)
        difference = np.abs(np.asarray(image.convert("RGB"), np.int16) - kept)
        assert difference.mean() < (0.01 if target == "png" else 4), original
    assert {suffix: name or None for suffix, name in seen.items()} == {
        f".{suffix}": name for suffix, name in FORMATS.items()
    }
    about = json.loads((folder / "curator.json").read_text())
    assert about["converted"] == {"AVIF": 1, "HEIF": 1, "QOI": 1}
    assert about["converted_to"] == target
    assert {row.sha256 for row in open_manifest(folder).rows()} == set(originals)


@pytest.mark.parametrize("format", ["huggingface", "webdataset", "imagefolder", "croissant"])
def test_without_a_conversion_it_is_said(
    workspace: Workspace, originals: dict[str, Path], tmp_path: Path, format: str
) -> None:
    told = Notes()
    export(workspace, tmp_path / "clean", format=format, progress=told)
    (warning,) = [note for note in told.notes if "does not decode" in note]
    assert "3 images" in warning
    assert all(f"1 {name}" in warning for name in ("AVIF", "HEIF", "QOI"))
    assert "--convert png" in warning
    assert "converted" not in json.loads((tmp_path / "clean" / "curator.json").read_text())


@pytest.mark.parametrize("format", ["imagefolder", "croissant"])
def test_files_in_folders_are_converted_too_and_the_folder_can_be_replaced(
    workspace: Workspace, originals: dict[str, Path], tmp_path: Path, format: str
) -> None:
    folder = tmp_path / "clean"
    for _ in range(2):
        export(workspace, folder, format=format, convert="png", force=True)
        with (folder / "manifest.csv").open(newline="") as stream:
            rows = {row["sha256"]: folder / row["path"] for row in csv.DictReader(stream)}
        for digest, file in rows.items():
            whole = file.read_bytes()
            is_original = hashlib.sha256(whole).hexdigest() == digest
            assert is_original is (FORMATS[originals[digest].suffix[1:]] is None)
            assert Image.open(io.BytesIO(whole)).format == {
                ".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP",
            }[file.suffix]  # fmt: skip


def test_what_changed_or_is_gone_is_left_out(
    workspace: Workspace, originals: dict[str, Path], tmp_path: Path
) -> None:
    for file in originals.values():
        if file.suffix == ".heic":
            file.unlink()
        if file.suffix == ".qoi":
            file.write_bytes(b"another")
    report = export(workspace, tmp_path / "clean", format="webdataset", convert="png")
    assert (report.rows, report.left_out["vanished"], report.left_out["changed"]) == (4, 1, 1)


def test_a_target_that_does_not_exist_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="converted to `gif`"):
        export(workspace, tmp_path / "clean", format="webdataset", convert="gif")
