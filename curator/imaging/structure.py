"""Damage that shows in a file's structure, found without decoding.

Decoders are lenient: they stop when the first picture is complete, skip checksums, and
take a file that was cut behind it for whole. The containers know better: a chunk, box or
block that reaches beyond the end of the file means that the file was cut.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from curator.base.vocabulary import Quarantine
from curator.imaging.problems import ImageProblem

PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MOST_TEXT_BYTES = 1_000_000
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", **dict.fromkeys(_HEIF_BRANDS, "HEIF")}


def signature_name(head: bytes) -> str | None:
    """The format that the first bytes announce beyond doubt, None for anything else."""
    for magic, name in _SIGNATURES:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    return None


def check_structure(data: bytes) -> None:
    """Raise ImageProblem (`truncated` or `corrupt`) if a container shows damage."""
    check = _CHECKS.get(signature_name(data[:32]) or "")
    if check is not None:
        check(data)


def _cut(detail: str) -> ImageProblem:
    return ImageProblem(Quarantine.TRUNCATED, detail)


def _check_png(data: bytes) -> None:
    position = len(PNG)
    while True:
        if position + 12 > len(data):
            raise _cut("the file ends before the last PNG chunk")
        length = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            raise _cut(f"PNG chunk {name!r} reaches beyond the end of the file")
        checksum = int.from_bytes(data[end - 4 : end], "big")
        is_critical = not name[0] & 0x20
        if is_critical and zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise ImageProblem(Quarantine.CORRUPT, f"wrong checksum in PNG chunk {name!r}")
        if name == b"IEND":
            return
        position = end


def without_text(data: bytes) -> bytes:
    """A PNG without its texts and colour profile, which are not used; other files as they are.

    Pillow unpacks these chunks, and refuses a file in which they are large. A text that may
    tell the orientation is kept, unless it unpacks to more than Pillow takes.
    """
    if not data.startswith(PNG):
        return data
    dropped, position = [], len(PNG)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        if name == b"iCCP" or (
            name in _PNG_TEXTS and not _tells_orientation(name, data[position + 8 : end - 4])
        ):
            dropped.append((position, end))
        position = end
    if not dropped:
        return data
    begins = [0, *(end for _, end in dropped)]
    ends = [*(begin for begin, _ in dropped), len(data)]
    return b"".join(data[begin:end] for begin, end in zip(begins, ends, strict=True))


def _tells_orientation(name: bytes, body: bytes) -> bool:
    """Whether a text chunk holds EXIF or XMP, of at most a size that Pillow unpacks."""
    keyword, _, text = body.partition(b"\0")
    if keyword not in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        return False
    is_packed = name == b"zTXt" or (name == b"iTXt" and text[:1] == b"\1")
    if not is_packed:
        return len(text) < _MOST_TEXT_BYTES
    packed = text[1:] if name == b"zTXt" else text[2:].split(b"\0", 2)[-1]
    try:
        unpacked = zlib.decompressobj().decompress(packed, _MOST_TEXT_BYTES)
    except zlib.error:
        return False
    return len(unpacked) < _MOST_TEXT_BYTES


def _check_gif(data: bytes) -> None:
    if len(data) < 13:
        raise _cut("the file ends within the GIF header")
    position = 13 + _colour_table_bytes(data[10])
    while position < len(data):
        kind = data[position]
        if kind == 0x3B:
            return
        if kind == 0x21:
            position += 2
        elif kind == 0x2C and position + 10 < len(data):
            position += 10 + _colour_table_bytes(data[position + 9]) + 1
        elif kind == 0x2C:
            break
        else:
            # Junk between blocks: the decoder may judge it.
            return
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    raise _cut("the file ends before the last GIF block")


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _check_webp(data: bytes) -> None:
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise _cut("the file is shorter than its WebP header says")


def _check_boxes(data: bytes) -> None:
    """The top-level boxes of HEIF, AVIF and JPEG 2000 must lie within the file."""
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 0:
            return
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length < 8:
            return
        position += length
        if position > len(data):
            raise _cut("a box reaches beyond the end of the file")


def _check_tiff(data: bytes) -> None:
    order = "little" if data[:2] == b"II" else "big"
    if int.from_bytes(data[4:8], order) >= len(data):  # type: ignore[arg-type]
        raise _cut("the TIFF directory lies beyond the end of the file")


def check_jpeg_headers(data: bytes) -> None:
    """Raise `truncated` if a JPEG ends before its compressed pixels begin."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return
        marker = data[position + 1]
        if marker == 0xDA:
            return
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise _cut("the file ends within the JPEG headers")


_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (PNG, "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BIGTIFF"),
    (b"MM\0+", "BIGTIFF"),
    (b"8BPS", "PSD"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"icns", "ICNS"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "J2K"),
)

_CHECKS: dict[str, Callable[[bytes], None]] = {
    "PNG": _check_png,
    "GIF": _check_gif,
    "WEBP": _check_webp,
    "TIFF": _check_tiff,
    "HEIF": _check_boxes,
    "AVIF": _check_boxes,
    "JPEG2000": _check_boxes,
}
