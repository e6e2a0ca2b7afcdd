"""Packed pixels: what every other use of an image sees, raw or as JPEGs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from curator.base.arrays import PixelArray
from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.imaging.opening import open_square
from curator.imaging.problems import Unreadable
from curator.settings.sections import IngestSettings
from curator.storage.pack import PackSpec, choose_codec, packed_row
from curator.storage.rows import RowReader, RowWriter
from tests.support import images

INGEST = IngestSettings()
SPEC = PackSpec(side=24, channels=3)


def files(folder: Path, count: int = 12) -> list[ImageFile]:
    images.make_folder(folder, good=count // 2, bad=count // 2)
    return [
        ImageFile(
            image_id=number,
            sha256=hashlib.sha256(path.read_bytes()).digest(),
            path=os.fsencode(path),
            size=path.stat().st_size,
            mtime_ns=path.stat().st_mtime_ns,
        )
        for number, path in enumerate(sorted(folder.rglob("*.*")), 1)
    ]


def build(folder: Path, some: list[ImageFile], spec: PackSpec = SPEC) -> PixelArray:
    """The pixels of all files, written to a pack and read from it."""
    contents = []
    for file in some:
        content = packed_row(file, spec=spec, ingest=INGEST)
        assert not isinstance(content, Unreadable)
        contents.append(content)
    with RowWriter(spec.row_file(folder), 0, np.empty(0, np.int64)) as writer:
        rows, digests = writer.append(contents)
    return RowReader(spec.row_file(folder), digests).gather(rows)


def test_a_row_is_the_image_as_every_other_use_sees_it(tmp_path: Path) -> None:
    some = files(tmp_path / "pictures")
    pixels = build(tmp_path / "pack", some)
    assert pixels.dtype == np.uint8 and pixels.shape == (12, 24, 24, 3)
    for place, file in enumerate(some):
        data = Path(os.fsdecode(file.path)).read_bytes()
        np.testing.assert_array_equal(pixels[place], open_square(data, 24, "squash", INGEST))


def test_grey_is_the_luminance_that_pillow_gives(tmp_path: Path) -> None:
    some = files(tmp_path / "pictures", 4)
    grey = build(tmp_path / "grey", some, PackSpec(side=24, channels=1))
    colour = build(tmp_path / "rgb", some)
    for row in range(4):
        expected = Image.fromarray(colour[row]).convert("L")
        np.testing.assert_array_equal(grey[row, ..., 0], np.asarray(expected))


def test_jpegs_take_over_beyond_the_budget_and_look_alike(tmp_path: Path) -> None:
    wanted = PackSpec(side=64, channels=3)
    assert choose_codec(wanted, 10, 10**9).codec == "raw"
    small = choose_codec(wanted, 1000, 10**6)
    assert small.codec == "jpeg"
    some = files(tmp_path / "pictures", 6)
    raw, jpeg = build(tmp_path, some, wanted), build(tmp_path, some, small)
    sizes = [spec.row_file(tmp_path).bytes_on_disk() for spec in (small, wanted)]
    assert sizes[0] < sizes[1]
    distance = np.abs(raw.astype(int) - jpeg).mean()
    assert 0 < distance < 6
    assert wanted.name() != small.name()


def test_a_name_tells_packs_apart_that_hold_other_bytes() -> None:
    others = [
        PackSpec(side=32, channels=3),
        PackSpec(side=24, channels=1),
        PackSpec(side=24, channels=3, fit="crop"),
        PackSpec(side=24, channels=3, background=(0, 0, 0)),
    ]
    names = {spec.name() for spec in [SPEC, *others]}
    assert len(names) == 5
    assert PackSpec(side=24, channels=3, quality=80).name() == SPEC.name()


def test_files_that_cannot_be_packed_are_told_with_their_reason(tmp_path: Path) -> None:
    some = files(tmp_path / "pictures", 6)
    Path(os.fsdecode(some[1].path)).unlink()
    changed = Path(os.fsdecode(some[3].path))
    changed.write_bytes(Path(os.fsdecode(some[4].path)).read_bytes())
    for file in (some[1], some[3]):
        row = packed_row(file, spec=SPEC, ingest=INGEST)
        assert isinstance(row, Unreadable) and row.reason is Quarantine.VANISHED
