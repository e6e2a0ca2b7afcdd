"""Whatever a file's mode, it becomes the RGB that a person would expect to see."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from curator.imaging.opening import decode_whole, open_square, parse_colour
from curator.settings.sections import IngestSettings
from tests.imaging.pictures import encode, photograph

INGEST = IngestSettings()


def pixels(data: bytes, ingest: IngestSettings = INGEST) -> NDArray[np.uint8]:
    return np.asarray(decode_whole(data, ingest).pixels)


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        ("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("RGB", "PNG"), ("RGB", "BMP"),
        ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF"), ("P", "GIF"), ("RGB", "PCX"),
        ("RGB", "QOI"), ("RGB", "SGI"), ("RGB", "TGA"), ("RGB", "PPM"),
    ],
)  # fmt: skip
def test_a_mode_without_alpha_gives_what_pillow_shows(mode: str, file_format: str) -> None:
    data = encode(photograph().convert(mode), file_format)
    with Image.open(BytesIO(data)) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(pixels(data), expected)


@pytest.mark.parametrize(
    ("mode", "file_format", "tolerance"),
    [("LA", "PNG", 0), ("RGBA", "PNG", 0), ("RGBA", "TIFF", 0), ("RGBA", "WEBP", 2),
     ("PA", "TIFF", 0), ("RGBA", "JPEG2000", 0)],
)  # fmt: skip
def test_transparent_pixels_take_the_background_and_opaque_ones_stay(
    mode: str, file_format: str, tolerance: int
) -> None:
    picture = photograph(128, 128).convert({"PA": "P"}.get(mode, mode)).convert(mode)
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, 64, 128))
    picture.putalpha(alpha)
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    data = encode(picture, file_format, **options)
    rgb = pixels(data, IngestSettings(background="#0ac81e"))
    opaque = np.asarray(picture.convert("RGB"))
    assert (rgb[:, :64] == (10, 200, 30)).all()
    assert np.abs(rgb[:, 64:].astype(int) - opaque[:, 64:].astype(int)).max() <= tolerance


def test_half_transparent_black_on_white_is_grey() -> None:
    data = encode(Image.new("RGBA", (8, 8), (0, 0, 0, 127)), "PNG")
    assert (pixels(data) == 128).all()


def test_a_palette_with_a_transparent_entry_shows_the_background_there() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(0, (0, 0, 4, 8))
    rgb = pixels(encode(picture, "PNG", transparency=0))
    assert (rgb[:, :4] == 255).all()
    assert (rgb[:, 4:] == (0, 0, 255)).all()


def test_a_grey_png_with_a_transparent_value_shows_the_background_there() -> None:
    grey = np.tile(np.array([10, 200], np.uint8), (4, 4))
    rgb = pixels(encode(Image.fromarray(grey), "PNG", transparency=10))
    assert (rgb[grey == 10] == 255).all()
    assert (rgb[grey == 200] == 200).all()


def test_a_16_bit_png_with_a_transparent_value_shows_the_background_there() -> None:
    wide = np.tile(np.array([2570, 51400], np.uint16), (4, 4))
    rgb = pixels(encode(Image.fromarray(wide), "PNG", transparency=2570))
    assert (rgb[wide == 2570] == 255).all()
    assert (rgb[wide == 51400] == 200).all()


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG2000"])
def test_16_bit_grey_keeps_black_black_and_white_white(file_format: str) -> None:
    wide = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    rgb = pixels(encode(Image.fromarray(wide), file_format))
    assert np.array_equal(rgb[..., 0], np.arange(256).reshape(16, 16))


def test_dark_16_bit_grey_stays_dark() -> None:
    wide = np.full((16, 16), 500, np.uint16)
    wide[0] = 0
    assert pixels(encode(Image.fromarray(wide), "PNG")).max() == 1


def test_12_bit_tiff_uses_its_own_white() -> None:
    values = np.array([[0, 2048], [4080, 4095]])
    packed = bytearray()
    for low, high in values:
        packed += bytes([low >> 4, (low & 15) << 4 | high >> 8, high & 255])
    rgb = pixels(_tiff_of(bytes(packed), width=2, height=2, bits=12))
    assert rgb[..., 0].tolist() == [[0, 128], [255, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 0.2, 0.4], [0, 51, 102]),
        ([0.0, 100.0, 200.0], [0, 100, 200]),
        ([0.0, 25700.0, 51400.0], [0, 100, 200]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([1e6, 2e6, 3e6], [0, 128, 255]),
        ([float("nan"), 0.5, 1.0], [0, 128, 255]),
        ([float("inf"), 0.0, 1.0], [255, 0, 255]),
        ([float("nan")] * 3, [0, 0, 0]),
        ([-5.0, -5.0, -5.0], [0, 0, 0]),
    ],
)
def test_floating_point_grey_is_scaled_by_the_range_it_seems_to_have(
    values: list[float], expected: list[int]
) -> None:
    picture = Image.fromarray(np.array([values], np.float32))
    assert pixels(encode(picture, "TIFF"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1, 200], [0, 1, 200]), ([0, 257, 51400], [0, 1, 200]), ([-10, 0, 10], [0, 128, 255])],
)
def test_32_bit_grey_is_scaled_by_the_range_it_seems_to_have(
    values: list[int], expected: list[int]
) -> None:
    picture = Image.fromarray(np.array([values], np.int32))
    assert pixels(encode(picture, "TIFF"))[0, :, 0].tolist() == expected


def test_a_dark_16_bit_netpbm_stays_dark() -> None:
    data = b"P5 2 1 65535 " + np.array([100, 200], ">u2").tobytes()
    assert pixels(data).max() == 0


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_counts(file_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(
        frames[0], file_format, save_all=True, append_images=frames[1:], duration=50, **options
    )
    with Image.open(BytesIO(data)) as opened:
        assert getattr(opened, "n_frames", 1) == 3
    assert (pixels(data) == (255, 0, 0)).all()


def test_the_grey_with_alpha_png_that_other_tools_die_of() -> None:
    data = encode(photograph().convert("LA"), "PNG")
    assert open_square(data, 28, "squash", INGEST).shape == (28, 28, 3)


def test_a_cmyk_jpeg_has_the_colours_of_the_picture() -> None:
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    red, green, blue = pixels(data)[8, 8]
    assert red > 240
    assert max(green, blue) < 15


def test_heif_is_read_where_pillow_heif_is_installed() -> None:
    heif = pytest.importorskip("pillow_heif", reason="install pillow-heif to test HEIF")
    stream = BytesIO()
    heif.from_pillow(photograph(64, 64)).save(stream, quality=90)
    whole = decode_whole(stream.getvalue(), INGEST)
    difference = np.abs(np.asarray(whole.pixels, int) - np.asarray(photograph(64, 64), int))
    assert whole.format == "HEIF"
    assert difference.mean() < 8


def test_colours_are_written_as_hexadecimal() -> None:
    assert parse_colour("#0aFF10") == (10, 255, 16)


def _tiff_of(strip: bytes, *, width: int, height: int, bits: int) -> bytes:
    """An uncompressed grey TIFF with one strip."""
    tags = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 1),
        (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 3, height), (279, 4, len(strip)),
    ]  # fmt: skip
    directory = len(tags).to_bytes(2, "little")
    for tag, kind, value in tags:
        directory += tag.to_bytes(2, "little") + kind.to_bytes(2, "little")
        directory += (1).to_bytes(4, "little") + value.to_bytes(4, "little")
    return b"II*\0" + (8).to_bytes(4, "little") + directory + bytes(4) + strip
