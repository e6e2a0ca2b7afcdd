"""Damage is found and named: cut, corrupt, too large, not an image at all."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.imaging.opening import decode_whole, open_square, open_within
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings
from tests.imaging.pictures import encode, photograph, png_claiming

INGEST = IngestSettings()
END_OF_IMAGE = b"\xff\xd9"


def reason(data: bytes, ingest: IngestSettings = INGEST) -> Quarantine | None:
    try:
        decode_whole(data, ingest)
    except ImageProblem as problem:
        assert problem.detail
        return problem.reason
    return None


@cache
def encoded(file_format: str) -> bytes:
    picture = photograph(160, 120)
    if file_format == "HEIF":
        heif = pytest.importorskip("pillow_heif", reason="install pillow-heif to test HEIF")
        stream = BytesIO()
        heif.from_pillow(picture).save(stream)
        return stream.getvalue()
    if file_format == "animated GIF":
        frames = [photograph(60, 40, seed).quantize() for seed in range(4)]
        return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    kind, _, how = file_format.partition(" ")
    options = {"progressive": {"progressive": True}, "LZW": {"compression": "tiff_lzw"}}
    mode = {"grey": "L", "cmyk": "CMYK"}.get(how, "RGB")
    return encode(picture.convert(mode), kind, **options.get(how, {}))


FORMATS = [
    "JPEG", "JPEG progressive", "JPEG grey", "JPEG cmyk", "PNG", "GIF", "animated GIF", "WEBP",
    "TIFF", "TIFF LZW", "BMP", "AVIF", "HEIF", "JPEG2000", "PPM", "QOI", "SGI",
]  # fmt: skip


@pytest.mark.parametrize("file_format", FORMATS)
def test_whole_files_pass(file_format: str) -> None:
    assert reason(encoded(file_format)) is None


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("file_format", FORMATS)
def test_cut_files_are_truncated(file_format: str, share: float) -> None:
    data = encoded(file_format)
    assert reason(data[: int(len(data) * share)]) == Quarantine.TRUNCATED


@pytest.mark.parametrize("missing", [1, 2, 5, 50])
@pytest.mark.parametrize("file_format", ["JPEG", "JPEG progressive", "PNG", "GIF", "WEBP", "BMP"])
def test_a_few_missing_bytes_are_enough(file_format: str, missing: int) -> None:
    assert reason(encoded(file_format)[:-missing]) == Quarantine.TRUNCATED


@pytest.mark.parametrize("file_format", ["JPEG", "JPEG progressive", "JPEG grey", "JPEG cmyk"])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_cut_jpeg_that_ends_properly_is_not_filled_with_grey(
    file_format: str, share: float
) -> None:
    data = encoded(file_format)
    mended = data[: int(len(data) * share)] + END_OF_IMAGE
    # What this guards against: Pillow alone is content with the file.
    with Image.open(BytesIO(mended)) as picture:
        picture.load()
    assert reason(mended) == Quarantine.TRUNCATED


@pytest.mark.parametrize("file_format", ["JPEG", "JPEG progressive", "JPEG grey", "JPEG cmyk"])
def test_a_jpeg_whose_end_was_never_written_is_truncated(file_format: str) -> None:
    data = encoded(file_format)
    half = len(data) // 2
    assert reason(data[:half] + bytes(len(data) - half)) == Quarantine.TRUNCATED


@pytest.mark.parametrize("file_format", ["JPEG", "JPEG progressive", "JPEG grey"])
def test_a_reduced_picture_is_checked_to_the_last_byte(file_format: str) -> None:
    picture = photograph(1000, 700).convert("L" if file_format.endswith("grey") else "RGB")
    data = encode(picture, "JPEG", progressive=file_format.endswith("progressive"))
    whole = decode_whole(data, INGEST, cover=100)
    assert (whole.width, whole.height, whole.pixels.size) == (1000, 700, (125, 88))
    for missing in (2, 10, 1000):
        for end in (b"", END_OF_IMAGE):
            if missing > 2 or not end:
                with pytest.raises(ImageProblem) as raised:
                    decode_whole(data[:-missing] + end, INGEST, cover=100)
                assert raised.value.reason == Quarantine.TRUNCATED


@pytest.mark.parametrize("tail", [bytes(1000), b"\0" * 7 + b"SEFT trailer of a camera", b"\n"])
def test_what_follows_a_whole_jpeg_does_not_matter(tail: bytes) -> None:
    assert reason(encoded("JPEG") + tail) is None


def test_junk_before_the_end_marker_is_forgiven() -> None:
    assert reason(encoded("JPEG")[:-2] + b"\x01\x02\x03" + END_OF_IMAGE) is None


def jpeg(**options: object) -> bytes:
    return encode(photograph(320, 240), "JPEG", **options)


ENCODINGS = [
    {}, {"quality": 50}, {"quality": 98, "subsampling": 0}, {"optimize": True},
    {"progressive": True}, {"quality": 97, "progressive": True}, {"restart_marker_rows": 1},
    {"restart_marker_blocks": 4, "quality": 95},
]  # fmt: skip
VIDEO = b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(300_000)
"""What follows in a motion photo; holds every marker of a JPEG."""


def headers_end(data: bytes) -> int:
    position = data.index(b"\xff\xda")
    return position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")


@pytest.mark.parametrize("options", ENCODINGS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\xde\xad\xbe\xef", b"other text, "])
def test_a_jpeg_whose_end_was_replaced_is_refused_whatever_the_decoder_makes_of_it(
    options: dict[str, object], share: float, filling: bytes
) -> None:
    data = jpeg(**options)
    begin = headers_end(data)
    begin += int((len(data) - begin) * share)
    lost = len(data) - 2 - begin
    replaced = data[:begin] + (filling * (lost // len(filling) + 1))[:lost] + END_OF_IMAGE
    assert reason(replaced) in (Quarantine.TRUNCATED, Quarantine.CORRUPT)
    assert reason(replaced + VIDEO) in (Quarantine.TRUNCATED, Quarantine.CORRUPT)


@pytest.mark.parametrize("options", ENCODINGS)
@pytest.mark.parametrize(
    "junk", [bytes(900), b"\xff" * 900, b"\x11\x22\x33\x44\x55\x66" * 20, b"Maker notes, end. " * 9]
)
@pytest.mark.parametrize("picture", ["photograph", "flat"])
def test_junk_behind_a_whole_picture_is_forgiven_whatever_follows(
    options: dict[str, object], junk: bytes, picture: str
) -> None:
    image = photograph(320, 240) if picture == "photograph" else Image.new("RGB", (320, 240), "red")
    data = encode(image, "JPEG", **options)[:-2] + junk + END_OF_IMAGE
    assert reason(data) is None
    assert reason(data + VIDEO) is None


def test_what_was_lost_in_the_middle_is_missed_at_the_end() -> None:
    refused = 0
    rng = np.random.default_rng(0)
    data = jpeg(quality=95)
    begin = headers_end(data)
    for _ in range(40):
        place = int(rng.integers(begin, len(data) - 4096))
        for middle in (b"", bytes(2048), rng.bytes(2048)):
            refused += reason(data[:place] + middle + data[place + 2048 :]) is not None
    assert refused >= 118  # of 120: the decoder may fall into step by chance


def test_a_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    data = jpeg(progressive=True)
    begin = data.index(b"\xff\xda") + 2
    while (scan := data.find(b"\xff\xda", begin)) > 0:
        assert reason(data[:scan] + END_OF_IMAGE) == Quarantine.TRUNCATED
        begin = scan + 2


def test_odd_headers_hide_no_missing_data() -> None:
    data = jpeg()
    end_of_first = 4 + int.from_bytes(data[4:6], "big")
    for odd in (
        data.replace(b"JFIF\0\1", b"JFIF\0\7"),
        data[:end_of_first] + b"junk" + data[end_of_first:],
        data.replace(b"\x11\3\x11\0\x3f\0", b"\x11\3\x11\0\0\0"),
    ):
        assert odd != data
        assert reason(odd) is None
        assert reason(odd[: len(odd) * 2 // 3] + END_OF_IMAGE) == Quarantine.TRUNCATED


@pytest.mark.parametrize("file_format", ["JPEG", "JPEG progressive", "JPEG grey"])
def test_the_strict_decoder_gives_pillows_pixels(file_format: str) -> None:
    data = encoded(file_format)
    with Image.open(BytesIO(data)) as picture:
        expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(np.asarray(decode_whole(data, INGEST).pixels), expected)


def test_a_png_with_a_wrong_checksum_is_corrupt() -> None:
    data = bytearray(encoded("PNG"))
    data[data.index(b"IDAT") + 40] ^= 1
    assert reason(bytes(data)) == Quarantine.CORRUPT
    data = bytearray(encoded("PNG"))
    data[data.index(b"IEND") + 5] ^= 1
    assert reason(bytes(data)) == Quarantine.CORRUPT


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    data = png_claiming(26_000, 24_000)
    for open_it in (
        lambda: decode_whole(data, INGEST),
        lambda: open_square(data, 32, "squash", INGEST),
        lambda: open_within(data, 32, 32, INGEST),
    ):
        with pytest.raises(ImageProblem) as raised:
            open_it()
        assert raised.value.reason == Quarantine.TOO_LARGE
        assert "624000000 pixels" in raised.value.detail


def test_the_limit_on_pixels_is_exact() -> None:
    data = encode(Image.new("L", (100, 100)), "PNG")
    assert reason(data, IngestSettings(max_pixels=10_000)) is None
    assert reason(data, IngestSettings(max_pixels=9_999)) == Quarantine.TOO_LARGE


def test_a_bomb_within_an_icon_is_refused_too() -> None:
    bomb = png_claiming(26_000, 24_000)
    entry = bytes([16, 16, 0, 0, 1, 0, 32, 0]) + len(bomb).to_bytes(4, "little")
    icon = b"\0\0\1\0\1\0" + entry + (22).to_bytes(4, "little") + bomb
    assert reason(icon) == Quarantine.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Quarantine.EMPTY),
        (b"just some words\n", Quarantine.NOT_AN_IMAGE),
        (b"path,label\na.jpg,good\n", Quarantine.NOT_AN_IMAGE),
        (bytes(5000), Quarantine.NOT_AN_IMAGE),
        (b"PK\3\4" + bytes(range(256)), Quarantine.NOT_AN_IMAGE),
        (b"\x89PNG\r\n\x1a\n", Quarantine.TRUNCATED),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", Quarantine.TRUNCATED),
        (b"GIF89a", Quarantine.TRUNCATED),
        (b"\xff\xd8\xff" + bytes(500), Quarantine.CORRUPT),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
         Quarantine.UNSUPPORTED),
    ],
)  # fmt: skip
def test_what_is_no_usable_image_has_a_reason(data: bytes, expected: Quarantine) -> None:
    assert reason(data) == expected


def test_without_pillow_heif_a_heif_file_is_unsupported() -> None:
    data = encoded("HEIF")
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from curator.imaging.opening import decode_whole\n"
        "from curator.settings.sections import IngestSettings\n"
        "from curator.imaging.problems import ImageProblem\n"
        "try: decode_whole(sys.stdin.buffer.read(), IngestSettings())\n"
        "except ImageProblem as problem: print(problem.reason, problem.detail)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=data, capture_output=True, check=True
    )
    assert answer.stdout.startswith(b"unsupported HEIF: install pillow-heif")
    assert answer.stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize("file_format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(file_format: str, data: st.DataObject) -> None:
    content = bytearray(encoded(file_format))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        for attempt in (reason, lambda it: open_square(it, 16, "pad", INGEST)):
            try:
                attempt(damaged)
            except ImageProblem as problem:
                assert problem.reason in Quarantine
