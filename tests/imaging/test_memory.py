"""Memory is bounded in bytes, whatever a file of a few bytes unpacks to."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.imaging.opening import decode_whole, open_square, open_within
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings
from tests.imaging.pictures import encode

SIDE = 3000
CODE = """
import resource, sys
from io import BytesIO
from PIL import Image
from curator.imaging.guard import pillow_guard, readable_formats
from curator.imaging.modes import decoding_bytes
from curator.imaging.opening import decode_whole
from curator.settings.sections import IngestSettings
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small, data = (sys.stdin.buffer.read(int(size)) for size in sys.argv[1:])
decode_whole(small, IngestSettings())
with pillow_guard(10**9), Image.open(BytesIO(data), formats=readable_formats()) as image:
    estimate = decoding_bytes(image)
before = peak()
decode_whole(data, IngestSettings(), cover=384)
print(peak() - before, estimate)
"""
CASES = {
    "PNG RGB": {}, "PNG RGBA": {}, "PNG P": {"transparency": 3}, "PNG LA": {}, "PNG I;16": {},
    "TIFF RGB": {"compression": "tiff_lzw", "strip_size": 1 << 30},
    "TIFF RGBA": {"compression": "tiff_adobe_deflate"}, "TIFF F": {"compression": "tiff_lzw"},
    "TIFF CMYK": {"compression": "tiff_lzw"}, "GIF P": {}, "WEBP RGB": {},
    "WEBP RGBA": {"lossless": True}, "JPEG RGB": {}, "JPEG CMYK": {},
    "JPEG RGB progressive": {"progressive": True}, "JPEG2000 RGB": {}, "JPEG2000 RGBA": {},
    "AVIF RGB": {"speed": 10}, "AVIF RGBA": {"speed": 10}, "BMP RGB": {}, "HEIF RGB": {},
}  # fmt: skip


def encoded(case: str, side: int, *, turned: bool = False) -> bytes:
    file_format, mode = case.split()[:2]
    if file_format == "HEIF":
        heif = pytest.importorskip("pillow_heif", reason="install pillow-heif to test HEIF")
        stream = BytesIO()
        heif.from_pillow(Image.new(mode, (side, side))).save(stream)
        return stream.getvalue()
    options = dict(CASES[case])
    if turned:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    return encode(Image.new(mode, (side, side)), file_format, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "turned"),
    [(case, False) for case in CASES]
    + [(case, True) for case in ("PNG RGB", "PNG RGBA", "WEBP RGB", "JPEG RGB")],
)
def test_decoding_takes_no_more_memory_than_it_is_said_to(case: str, turned: bool) -> None:
    small, data = encoded(case, 32), encoded(case, SIDE, turned=turned)
    answer = subprocess.run(
        [sys.executable, "-c", CODE, str(len(small)), str(len(data))],
        input=small + data, capture_output=True, check=True,
    )  # fmt: skip
    taken, estimate = map(int, answer.stdout.split())
    assert taken <= estimate * 1.05 + 12_000_000
    assert estimate <= SIDE * SIDE * 25


def test_what_needs_more_memory_than_allowed_is_refused_before_it_is_decoded() -> None:
    data = encode(Image.new("RGBA", (500, 500)), "PNG")
    ingest = IngestSettings(max_memory=500 * 500 * 8)
    assert decode_whole(data, ingest).width == 500
    less = IngestSettings(max_memory=500 * 500 * 8 - 1)
    for open_it in (
        lambda: decode_whole(data, less),
        lambda: open_square(data, 32, "squash", less),
        lambda: open_within(data, 32, 32, less),
    ):
        with pytest.raises(ImageProblem, match=r"ingest\.max_memory") as raised:
            open_it()
        assert raised.value.reason is Quarantine.TOO_LARGE
