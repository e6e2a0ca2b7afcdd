"""Whole files of kinds that are not read here are called what they are."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.imaging.guard import readable_formats
from curator.imaging.opening import decode_whole, open_square, problem_of_head
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings
from tests.imaging.pictures import encode, photograph

INGEST = IngestSettings()
REST = bytes(70_000)


def problem(data: bytes) -> ImageProblem:
    with pytest.raises(ImageProblem) as raised:
        decode_whole(data, INGEST)
    return raised.value


def bmp(bits: int, compression: int, body: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, bits, compression, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + header + body


def dds(four: bytes, dxgi: int | None = None) -> bytes:
    pixel_format = struct.pack("<II4sIIIII", 32, 4, four, 0, 0, 0, 0, 0)
    header = b"DDS " + struct.pack("<7I", 124, 0x1007, 16, 16, 0, 0, 1) + bytes(44) + pixel_format
    extra = b"" if dxgi is None else struct.pack("<5I", dxgi, 3, 0, 1, 0)
    return header + struct.pack("<5I", 0x1000, 0, 0, 0, 0) + extra + bytes(4096)


def tiff(
    compression: int = 1, *, bits: tuple[int, ...] = (8, 8, 8), data: bytes = b"", **tags: int
) -> bytes:
    """A TIFF of 16 x 16 pixels; further tags as `t330=8`."""
    pixels = data or bytes(16 * 16 * sum(bits) // 8)
    entries = {256: 16, 257: 16, 258: 0, 259: compression, 262: 2 if len(bits) > 1 else 1, 273: 0,
               277: len(bits), 278: 16, 279: len(pixels)}  # fmt: skip
    entries |= {int(name[1:]): value for name, value in tags.items()}
    end = 8 + 2 + 12 * len(entries) + 4
    entries[273] = end + 2 * len(bits)
    entries[258] = end if len(bits) > 2 else sum(b << 16 * i for i, b in enumerate(bits))
    kinds = dict.fromkeys((258, 259, 262, 277, 339), 3)
    body = b"".join(
        struct.pack("<HHII", tag, kinds.get(tag, 4), len(bits) if tag == 258 else 1, value)
        for tag, value in sorted(entries.items())
    )
    table = struct.pack(f"<{len(bits)}H", *bits)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + body + bytes(4) + table + pixels


def jpeg_frame(marker: int, depth: int = 8) -> bytes:
    data = bytearray(encode(photograph(), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 1], data[place + 4] = marker, depth
    return bytes(data)


def psd(version: int, depth: int) -> bytes:
    header = struct.pack(">4sH6xHIIHH", b"8BPS", version, 3, 8, 8, depth, 3)
    return header + bytes(14) + bytes(8 * 8 * 3 * depth // 8)


PICTURES = {
    "BMP pixel depth": bmp(2, 0, bytes(32)),
    "BMP pixel depth (0)": bmp(0, 4, encode(photograph(), "JPEG")),
    "BMP bitfields": bmp(16, 3, struct.pack("<III", 0xF00, 0xF0, 0xF) + bytes(128)),
    "pixel format": dds(b"UYVY"),
    "DXGI format 10": dds(b"DX10", 10),
    "WebP compression": tiff(50001, data=encode(photograph(16, 16), "WEBP")),
    "JPEG XL compression": tiff(50002, data=b"\xff\x0a" + bytes(99)),
    "JPEG 2000 compression": tiff(34712, data=bytes(99)),
    "LERC": tiff(34887, data=bytes(99)),
    "10 x 8 bits": tiff(bits=(8,) * 10),
    "1 x 64 bits (float)": tiff(bits=(64,), t339=3),
    "camera raw (DNG)": tiff(t50706=0x401, t254=1, t330=8),
    "camera raw": tiff(bits=(16,), t262=32803),
    "preview of another page": tiff(t254=1, t330=8),
    "camera raw (CR2)": b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + tiff(6)[8:],
    "camera raw (CR3)": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + REST,
    "camera raw (RAF)": b"FUJIFILMCCD-RAW 0201" + REST,
    "camera raw (RW2)": b"IIU\0" + tiff()[4:],
    "metafile (WMF)": b"\xd7\xcd\xc6\x9a" + REST,
    "metafile (EMF)": struct.pack("<II", 1, 108) + bytes(32) + b" EMF" + REST,
    "JPEG XL": b"\xff\x0a" + REST,
    "JPEG XL: ": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl " + REST,
    "JPEG XR": b"II\xbc\1" + REST,
    "JPEG-LS": jpeg_frame(0xF7),
    "lossless": jpeg_frame(0xC3),
    "12 bits": jpeg_frame(0xC1, 12),
    "16 bits per sample": psd(1, 16),
    "PSB": psd(2, 8),
    "SVG": b'<?xml version="1.0"?>\n<!-- c -->\n<svg xmlns="a">' + b" " * 70_000,
    "SVG drawing": gzip.compress(b"<!DOCTYPE svg>\n<svg/>" + b" " * 100),
    "PDF": b"%PDF-1.4\n" + REST,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    "OpenEXR": b"v/1\1" + REST,
    "DICOM": bytes(128) + b"DICM" + REST,
    "XCF": b"gimp xcf v011\0" + REST,
}  # fmt: skip

OTHERS = {
    "a video or sound": b"\0\0\0\x18ftypmp42" + REST,
    "a video (Matroska": b"\x1aE\xdf\xa3" + REST,
    "a video (AVI)": b"RIFF\0\1\0\0AVI LIST" + REST,
    "a sound (WAV)": b"RIFF\0\1\0\0WAVEfmt " + REST,
    "a sound (MP3)": b"ID3\3" + REST,
    "archive (ZIP)": b"PK\3\4" + REST,
    "gzip": gzip.compress(b"abc" * 50),
    "HTML page": b"<!DOCTYPE html><html>404</html>" + b" " * 70_000,
    "a text": "path,label\nüber.jpg,good\n".encode() * 5_000,
    "a database": b"SQLite format 3\0" + REST,
    "not a known image format": zlib.compress(bytes(range(256)))[2:] * 900,
}


@pytest.mark.parametrize("words", PICTURES)
def test_a_picture_of_a_kind_without_a_decoder_is_unsupported_and_named(words: str) -> None:
    answer = problem(PICTURES[words])
    assert answer.reason is Quarantine.UNSUPPORTED
    assert words in answer.detail
    assert ": " in answer.detail  # what helps


@pytest.mark.parametrize("words", OTHERS)
def test_what_is_no_image_is_named(words: str) -> None:
    answer = problem(OTHERS[words])
    assert answer.reason is Quarantine.NOT_AN_IMAGE
    assert words in answer.detail


@pytest.mark.parametrize("words", [w for w, d in (PICTURES | OTHERS).items() if len(d) > 65_536])
def test_the_first_bytes_are_enough_for_a_large_file(words: str) -> None:
    data = (PICTURES | OTHERS)[words]
    answer = problem_of_head(data[:65_536])
    assert answer is not None
    assert (answer.reason, answer.detail) == (problem(data).reason, problem(data).detail)


def test_no_kind_that_is_read_is_refused_by_its_first_bytes() -> None:
    grain = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    tried = []
    for file_format in ("PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "JPEG2000", "QOI",
                        "ICO", "ICNS", "TGA", "PPM", "DDS", "PCX"):  # fmt: skip
        if file_format in readable_formats() and file_format in Image.SAVE:
            data = encode(Image.fromarray(grain), file_format)
            assert len(data) > 65_536
            assert problem_of_head(data[:65_536]) is None, file_format
            assert decode_whole(data, INGEST).format == file_format
            tried.append(file_format)
    assert "AVIF" in tried


def test_a_damaged_file_of_a_kind_that_is_read_stays_corrupt() -> None:
    for data in (
        encode(photograph(), "TIFF", compression="tiff_adobe_deflate").replace(
            b"\x78\x9c", b"\0\0"
        ),
        b"\xff\xd8\xff" + bytes(500),
    ):
        assert problem(data).reason is Quarantine.CORRUPT


def with_chunk(kind: bytes, body: bytes, *, orientation: bool = False) -> bytes:
    options = {}
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    png = encode(photograph(64, 48), "PNG", **options)
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:33] + chunk + png[33:]


BOMB = zlib.compress(bytes(50_000_000), 9)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"Comment\0\0" + BOMB),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
        (b"iCCP", b"profile\0\0" + BOMB),
        (b"tEXt", b"Comment\0" + b"x" * 70_000_000),
        (b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    ],
)
def test_a_large_text_or_profile_does_not_make_a_png_bad(kind: bytes, body: bytes) -> None:
    assert decode_whole(with_chunk(kind, body), INGEST).width == 64
    assert open_square(with_chunk(kind, body), 16, "squash", INGEST).shape == (16, 16, 3)
    assert decode_whole(with_chunk(kind, body, orientation=True), INGEST).width == 48


def test_an_orientation_in_xmp_is_kept() -> None:
    xmp = b'<x tiff:Orientation="6"/>'
    for body in (
        b"XML:com.adobe.xmp\0\0\0\0\0" + xmp,
        b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(xmp),
    ):
        assert decode_whole(with_chunk(b"iTXt", body), INGEST).width == 48


def run(code: str, data: bytes) -> tuple[str, bytes]:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=data, capture_output=True, check=True
    )
    return answer.stdout.decode(), answer.stderr


CODE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from PIL import Image
from curator.imaging.opening import decode_whole
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings
data = sys.stdin.buffer.read()
def attempt(number):
    try:
        decode_whole(data if number % 2 else data + bytes(number), IngestSettings())
    except ImageProblem as problem:
        return problem.reason + ': ' + problem.detail
with ThreadPoolExecutor(4) as pool:
    print(*set(pool.map(attempt, range(40))), sep='\\n')
print('seen', file=sys.stderr)
"""


def deflate(data: bytes) -> bytes:
    place = data.index(b"\x78\x9c") if b"\x78\x9c" in data else data.index(b"\x78\xda")
    return data[: place + 9] + b"\xff\0\xff" + data[place + 12 :]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: deflate(encode(photograph(), "TIFF", compression="tiff_adobe_deflate")), "Decode"),
        (lambda: tiff(bits=(8,) * 10), "10 x 8 bits"),
    ],
)
def test_nothing_is_printed_and_the_reason_holds_what_the_library_said(
    make: Callable[[], bytes], words: str
) -> None:
    output, errors = run(CODE, make())
    assert words in output
    assert errors == b"seen\n"


def test_a_fax_with_bad_lines_is_corrupt_although_the_decoder_goes_on() -> None:
    data = bytearray(encode(photograph(200, 200).convert("1"), "TIFF", compression="group4"))
    with Image.open(BytesIO(bytes(data))) as picture:
        begin, length = picture.tag_v2[273][0], picture.tag_v2[279][0]
    data[begin + length // 2] ^= 0x55
    data[begin + length // 2 + 1] ^= 0x55
    assert problem(bytes(data)).reason is Quarantine.CORRUPT


def test_other_code_sees_the_errors_of_libtiff_as_before(tmp_path: Path) -> None:
    code = CODE + "import io; Image.open(io.BytesIO(data)).load()\n"
    damaged = deflate(encode(photograph(), "TIFF", compression="tiff_adobe_deflate"))
    answer = subprocess.run([sys.executable, "-c", code], input=damaged, capture_output=True)
    assert b"ZIPDecode" in answer.stderr.split(b"seen\n")[1]
