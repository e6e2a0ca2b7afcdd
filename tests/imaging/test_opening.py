"""The same picture whichever way it is opened: turned, shrunk, cropped, padded."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.imaging.opening import (
    Fit,
    decode_whole,
    open_square,
    open_within,
    read_file,
)
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings
from tests.imaging.pictures import encode, photograph, quadrants

INGEST = IngestSettings()
CORNERS = {1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb"}
"""Colours of the corners (upper left, upper right, lower left, lower right), by orientation."""


def oriented(orientation: int, file_format: str, size: tuple[int, int] = (64, 32)) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    return encode(quadrants(*size), file_format, exif=exif, **options.get(file_format, {}))


def corners(picture: Image.Image) -> str:
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    columns, rows = (3, picture.width - 4), (3, picture.height - 4)
    colours = np.asarray(picture) > 127
    return "".join(names[tuple(colours[y, x].astype(int))] for y in rows for x in columns)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_upright_everywhere(orientation: int, file_format: str) -> None:
    data = oriented(orientation, file_format)
    whole = decode_whole(data, INGEST)
    small = open_within(data, 40, 40, INGEST)
    square = Image.fromarray(open_square(data, 32, "squash", INGEST))
    expected_size = (64, 32) if orientation < 5 else (32, 64)
    assert (whole.width, whole.height) == whole.pixels.size == expected_size
    assert corners(whole.pixels) == corners(small) == corners(square) == CORNERS[orientation]


def test_heif_orientation_is_applied_once() -> None:
    heif = pytest.importorskip("pillow_heif", reason="install pillow-heif to test HEIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = heif.from_bytes("RGB", (128, 64), quadrants(128, 64).tobytes())
    stream = BytesIO()
    # The encoder writes the turn both as EXIF and as the container's own rotation.
    plain.save(stream, quality=95, exif=exif.tobytes())
    assert b"irot" in stream.getvalue()
    whole = decode_whole(stream.getvalue(), INGEST)
    assert (whole.width, whole.height) == (64, 128)
    assert corners(whole.pixels) == CORNERS[6]


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_decoded_at_reduced_scale_is_close_to_the_whole_one(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photograph(1024, 768), "JPEG", quality=92, exif=exif)
    for fit in ("squash", "crop", "pad"):
        reduced = open_square(data, 64, fit, INGEST)
        # The same picture as PNG has no reduced scale.
        whole = encode(decode_whole(data, INGEST).pixels, "PNG")
        full = open_square(whole, 64, fit, INGEST)
        assert np.abs(reduced.astype(int) - full).mean() < 3


def test_a_large_jpeg_is_really_decoded_at_reduced_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(photograph(1024, 768), "JPEG")
    sizes = []
    resize = Image.Image.resize

    def spy(self: Image.Image, *arguments: object, **options: object) -> Image.Image:
        sizes.append(self.size)
        return resize(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", spy)
    open_square(data, 90, "squash", INGEST)
    assert sizes[0] == (128, 96)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(28, 28), (1, 500), (500, 1), (300, 200), (3, 2)])
def test_any_picture_becomes_a_square(fit: Fit, size: tuple[int, int]) -> None:
    square = open_square(encode(photograph(*size), "PNG"), 48, fit, INGEST)
    assert square.shape == (48, 48, 3)
    assert square.dtype == np.uint8
    assert square.flags.c_contiguous
    assert square.flags.writeable


def test_crop_takes_the_centre_and_pad_keeps_all() -> None:
    picture = Image.new("RGB", (90, 30), "red")
    picture.paste("blue", (30, 0, 60, 30))
    data = encode(picture, "PNG")
    cropped = open_square(data, 30, "crop", INGEST)
    padded = open_square(data, 30, "pad", IngestSettings(background="#00ff00"))
    assert (cropped == (0, 0, 255)).all()
    assert (padded[:10] == (0, 255, 0)).all()
    assert (padded[20:] == (0, 255, 0)).all()
    assert (padded[15, 15] == (0, 0, 255)).all()
    assert (padded[15, 2] == (255, 0, 0)).all()


def test_a_picture_is_never_enlarged_and_keeps_its_proportions() -> None:
    assert open_within(encode(photograph(20, 10), "PNG"), 100, 100, INGEST).size == (20, 10)
    assert open_within(encode(photograph(400, 100), "JPEG"), 100, 100, INGEST).size == (100, 25)
    assert open_within(encode(photograph(1000, 1), "PNG"), 100, 100, INGEST).size == (100, 1)


def test_the_same_bytes_give_the_same_pixels() -> None:
    data = encode(photograph(640, 480), "JPEG")
    assert np.array_equal(
        open_square(data, 96, "crop", INGEST), open_square(data, 96, "crop", INGEST)
    )


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"MM\0*\0\0\0\x08\xff\xff" + bytes(40), b"no TIFF header"])
def test_broken_metadata_do_not_make_a_good_picture_bad(file_format: str, exif: bytes) -> None:
    data = encode(photograph(), file_format, exif=b"Exif\0\0" + exif)
    assert decode_whole(data, INGEST).width == 96
    assert open_square(data, 16, "squash", INGEST).shape == (16, 16, 3)


def test_read_file_tells_apart_why_there_are_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(100))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    reasons = {}
    for name in ("empty", "large", "pipe", "loop", "nothing", "large/below"):
        with pytest.raises(ImageProblem) as raised:
            read_file(tmp_path / name, max_bytes=99)
        reasons[name] = raised.value.reason
    assert reasons == {
        "empty": Quarantine.EMPTY,
        "large": Quarantine.TOO_LARGE,
        "pipe": Quarantine.UNREADABLE,
        "loop": Quarantine.UNREADABLE,
        "nothing": Quarantine.VANISHED,
        "large/below": Quarantine.VANISHED,
    }
    assert read_file(tmp_path / "large", max_bytes=100) == bytes(100)
