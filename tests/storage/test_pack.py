"""The pixel pack: the same bytes however it was built, and never a wrong pixel."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.imaging.opening import open_square
from curator.settings.sections import IngestSettings
from curator.storage import pack as packing
from curator.storage.pack import PackDamageError, PackSpec, PixelPack, build_pack, choose_codec
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


def build(
    folder: Path, some: list[ImageFile], spec: PackSpec = SPEC, workers: int = 2
) -> PixelPack:
    assert not build_pack(folder, spec, some, ingest=INGEST, workers=workers)
    return PixelPack(folder, spec)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_row_is_the_image_as_every_other_use_sees_it(tmp_path: Path) -> None:
    some = files(tmp_path / "pictures")
    pack = build(tmp_path / "pack", some)
    rows = pack.rows_of([one.sha256 for one in reversed(some)])
    assert rows.tolist() == list(range(len(some)))[::-1]
    pixels = pack.gather(rows)
    assert pixels.dtype == np.uint8 and pixels.shape == (12, 24, 24, 3)
    for place, one in enumerate(reversed(some)):
        data = Path(os.fsdecode(one.path)).read_bytes()
        np.testing.assert_array_equal(pixels[place], open_square(data, 24, "squash", INGEST))
    assert pack.rows_of([b"\0" * 32]).tolist() == [-1]


def test_grey_is_the_luminance_that_pillow_gives(tmp_path: Path) -> None:
    some = files(tmp_path / "pictures", 4)
    grey = build(tmp_path / "grey", some, PackSpec(side=24, channels=1))
    colour = build(tmp_path / "rgb", some)
    for row in range(4):
        expected = Image.fromarray(colour.gather(np.array([row]))[0]).convert("L")
        np.testing.assert_array_equal(grey.gather(np.array([row]))[0, ..., 0], np.asarray(expected))


def test_interrupted_anywhere_it_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = files(tmp_path / "pictures")
    monkeypatch.setattr(packing, "_AT_ONCE", 4)
    whole = tmp_path / "whole"
    build(whole, some)
    cut = tmp_path / "cut"
    build(cut, some[:4])
    # A build that died after pixels were written, and in the middle of writing the index.
    with (cut / "pixels.u8").open("ab") as stream:
        stream.write(b"half a row")
    with (cut / "index.bin").open("ab") as stream:
        stream.write(b"half an entry")
    held = PixelPack(cut, SPEC)
    assert len(held) == 4
    rest = [one for one, row in zip(some, held.rows_of([f.sha256 for f in some]), strict=True)
            if row < 0]  # fmt: skip
    build(cut, rest, workers=1)
    assert content(cut) == content(whole)


def test_lost_pixels_are_not_believed(tmp_path: Path) -> None:
    some = files(tmp_path / "pictures")
    build(tmp_path / "pack", some)
    os.truncate(tmp_path / "pack" / "pixels.u8", 5 * SPEC.row_bytes + 7)
    assert len(PixelPack(tmp_path / "pack", SPEC)) == 5


def test_a_changed_byte_is_noticed_before_it_is_used(tmp_path: Path) -> None:
    pack = build(tmp_path / "pack", files(tmp_path / "pictures"))
    path = tmp_path / "pack" / "pixels.u8"
    data = bytearray(path.read_bytes())
    data[3 * SPEC.row_bytes + 11] ^= 1
    path.write_bytes(data)
    pack = PixelPack(tmp_path / "pack", SPEC)
    pack.gather(np.array([0, 1, 2, 4]))
    with pytest.raises(PackDamageError, match=r"Row 3 .* damaged.*curator pack"):
        pack.gather(np.array([3]))
    with pytest.raises(PackDamageError):
        list(pack.check())


def test_jpegs_take_over_beyond_the_budget_and_look_alike(tmp_path: Path) -> None:
    wanted = PackSpec(side=64, channels=3)
    assert choose_codec(wanted, 10, 10**9).codec == "raw"
    small = choose_codec(wanted, 1000, 10**6)
    assert small.codec == "jpeg"
    some = files(tmp_path / "pictures", 6)
    raw, jpeg = build(tmp_path / "raw", some, wanted), build(tmp_path / "jpeg", some, small)
    assert jpeg.bytes_on_disk < raw.bytes_on_disk
    rows = np.arange(6)
    distance = np.abs(raw.gather(rows).astype(int) - jpeg.gather(rows)).mean()
    assert 0 < distance < 6
    assert raw.spec.name() != jpeg.spec.name()


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
    lost = build_pack(tmp_path / "pack", SPEC, some, ingest=INGEST, workers=2)
    assert {image_id: problem.reason for image_id, problem in lost.items()} == {
        some[1].image_id: Quarantine.VANISHED,
        some[3].image_id: Quarantine.CHANGING,
    }
    assert len(PixelPack(tmp_path / "pack", SPEC)) == 4
