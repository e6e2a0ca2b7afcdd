"""An image is exported and shown from any of its files that is there now."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curator.base.vocabulary import Label, LocationState
from curator.catalogue.files import known_files, mark_locations
from curator.catalogue.images import image_details, image_files
from curator.catalogue.sources import find_source
from curator.export.filters import Filters
from curator.review.cards import load_image_cards
from curator.review.queues import queue_rows
from curator.workspace import Workspace
from tests.support.command import curator
from tests.support.exported import export
from tests.support.filled import decide, fill

SIZE = 100
"""What `fill` says of every file."""

NAMES = ["1.jpg", "2.jpg"]


@pytest.fixture
def copies(workspace: Workspace, tmp_path: Path) -> list[int]:
    """The same two images in the sources `a` and `b`."""
    contents = {name: name.encode().ljust(SIZE, b"\0") for name in NAMES}
    for source in ("a", "b"):
        (tmp_path / source).mkdir()
        for name, content in contents.items():
            (tmp_path / source / name).write_bytes(content)
        ids = fill(workspace, tmp_path / source, list(NAMES), source=source, contents=contents)
    decide(workspace, list(ids.values()), Label.POSITIVE)
    return list(ids.values())


def manifest_paths(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        return list(pq.read_table(file)["path"].to_pylist())
    if file.suffix == ".jsonl":
        return [json.loads(line)["path"] for line in file.read_text().splitlines()]
    with file.open(newline="") as stream:
        return [row["path"] for row in csv.DictReader(stream)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("gone", ["a", "b"])
def test_a_manifest_names_files_that_are_there(
    workspace: Workspace, copies: list[int], tmp_path: Path, suffix: str, gone: str
) -> None:
    (tmp_path / gone / "1.jpg").unlink()
    (tmp_path / gone / "2.jpg").write_bytes(b"another image")
    report = export(workspace, tmp_path / f"m.{suffix}")
    other = {"a": "b", "b": "a"}[gone]
    expected = [str(tmp_path / other / name) for name in NAMES]
    assert manifest_paths(tmp_path / f"m.{suffix}") == expected
    assert (report.rows, report.images, report.absent) == (2, 2, 0)
    assert report.left_out["gone-but-elsewhere"] == 2


@pytest.mark.parametrize("format", ["imagefolder", "huggingface", "webdataset", "croissant"])
def test_a_folder_takes_any_file_that_is_the_image(
    workspace: Workspace, copies: list[int], tmp_path: Path, format: str
) -> None:
    (tmp_path / "a" / "1.jpg").unlink()
    # Only its bytes tell that this is not the image any more.
    (tmp_path / "a" / "2.jpg").write_bytes(b"another".ljust(SIZE, b"\0"))
    options = {"shard_bytes": 100_000} if format == "webdataset" else {}
    report = export(workspace, tmp_path / "out", format=format, **options)
    assert (report.rows, report.images) == (2, 2)
    assert not {"vanished", "changed"} & {why for why, number in report.left_out.items() if number}
    if format == "webdataset":
        with tarfile.open(tmp_path / "out" / "train-000000.tar") as shard:
            members = [shard.extractfile(member) for member in shard.getmembers()]
        assert len(members) == 6
    else:
        contents = {file.read_bytes() for file in (tmp_path / "out").rglob("*.jpg")}
        assert contents == {name.encode().ljust(SIZE, b"\0") for name in NAMES}


def test_a_file_that_was_missing_and_is_back_is_used(
    workspace: Workspace, copies: list[int], tmp_path: Path
) -> None:
    for source in ("a", "b"):
        record = find_source(workspace.catalogue, source)
        assert record is not None
        at = known_files(workspace.catalogue, record.source_id, [b"1.jpg"])[b"1.jpg"]
        mark_locations(workspace.catalogue, [at.location_id], LocationState.MISSING)
    (tmp_path / "a" / "1.jpg").unlink()
    report = export(workspace, tmp_path / "m.csv")
    assert str(tmp_path / "b" / "1.jpg") in manifest_paths(tmp_path / "m.csv")
    assert (report.images, report.left_out["missing"]) == (2, 1)


def test_where_no_file_is_left_the_rows_stay_and_are_counted(
    workspace: Workspace, copies: list[int], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "before.csv")
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    report = export(workspace, tmp_path / "after.csv")
    assert (tmp_path / "before.csv").read_bytes() == (tmp_path / "after.csv").read_bytes()
    assert (report.rows, report.absent) == (4, 4)
    sidecar = json.loads((tmp_path / "after.csv.json").read_text())
    assert sidecar["manifest"]["absent"] == 4
    arguments = ("-w", workspace.root, "export")
    assert "The files of 4 rows are gone" in curator(*arguments, tmp_path / "c.csv").stdout
    folder = curator(*arguments, tmp_path / "out", "--format", "imagefolder", expect=3).stdout
    assert "2 vanished" in folder
    assert "all that has such a label was left out" in folder


def test_a_source_that_was_asked_for_is_the_only_one(
    workspace: Workspace, copies: list[int], tmp_path: Path
) -> None:
    (tmp_path / "a" / "1.jpg").unlink()
    report = export(workspace, tmp_path / "m.csv", filters=Filters(sources=["a"]))
    assert (report.rows, report.absent) == (2, 1)


def test_what_opens_or_names_an_image_takes_a_file_that_is_there(
    workspace: Workspace, copies: list[int], tmp_path: Path
) -> None:
    first, second = copies
    (tmp_path / "a" / "1.jpg").unlink()
    expected = {first: tmp_path / "b" / "1.jpg", second: tmp_path / "a" / "2.jpg"}
    paths = {image_id: str(path).encode() for image_id, path in expected.items()}
    files = image_files(workspace.catalogue, copies)
    assert {image_id: file.path for image_id, file in files.items()} == paths
    details = image_details(workspace.catalogue, copies)
    assert {image_id: image.locations[0].path for image_id, image in details.items()} == paths
    cards = load_image_cards(workspace.catalogue, copies, why={})
    assert {image_id: card.path for image_id, card in cards.items()} == paths
    assert {row.image_id: row.path for row in queue_rows(workspace, copies)} == paths
