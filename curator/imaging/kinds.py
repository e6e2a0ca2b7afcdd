"""What a file is that no decoder here reads, told from its first bytes.

A picture of a kind that has no decoder is `unsupported`: it is whole, and converting it helps. A
sound, a text or an archive is `not-an-image`. Both say which kind it is.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import TiffImagePlugin

from curator.base.vocabulary import Quarantine
from curator.imaging.problems import DECODER_ERRORS, ImageProblem

_CONVERT = "convert it to PNG or JPEG"
_RAW = "develop it to TIFF or JPEG with a raw converter"
_SVG = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!doctype\s+svg[^>]*>\s*)*<(\w+:)?svg\b",
    re.DOTALL | re.IGNORECASE,
)
_HTML = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b",
    re.DOTALL | re.IGNORECASE,
)
_RIFF = (b"AVI ", b"WAVE")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_PICTURES: tuple[tuple[int, bytes, str, str], ...] = (
    (4, b"ftyphe", "HEIF", "install pillow-heif to read it"),
    (4, b"ftypmif1", "HEIF", "install pillow-heif to read it"),
    (4, b"ftypmsf1", "HEIF", "install pillow-heif to read it"),
    (4, b"ftypavi", "AVIF", _CONVERT),
    (0, b"%!PS", "EPS or PostScript", _CONVERT),
    (0, b"\xc5\xd0\xd3\xc6", "EPS", _CONVERT),
    (0, b"%PDF-", "PDF document", "export its pages as PNG"),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)", _CONVERT),
    (0, b"\1\0\x09\0\0\3", "Windows metafile (WMF)", _CONVERT),
    (40, b" EMF", "Windows metafile (EMF)", _CONVERT),
    (0, b"\xff\x0a", "JPEG XL", _CONVERT),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", _CONVERT),
    (0, b"II\xbc", "JPEG XR", _CONVERT),
    (0, b"AT&TFORM", "DjVu document", "export its pages as PNG"),
    (0, b"gimp xcf ", "GIMP picture (XCF)", _CONVERT),
    (0, b"v/1\x01", "OpenEXR", _CONVERT),
    (0, b"#?RADIANCE", "Radiance HDR", _CONVERT),
    (0, b"#?RGBE", "Radiance HDR", _CONVERT),
    (128, b"DICM", "DICOM", _CONVERT),
    (344, b"n+1\0", "NIfTI volume", "export its slices as PNG"),
    (0, b"\xabKTX ", "KTX texture", _CONVERT),
    (0, b"FLIF", "FLIF", _CONVERT),
    (0, b"BPG\xfb", "BPG", _CONVERT),
    (0, b"\x8aMNG", "MNG", _CONVERT),
    (0, b"\x8bJNG", "JNG", _CONVERT),
    (522, b"\0\x11\2\xff\x0c\0", "PICT", _CONVERT),
    (30, b"mimetypeapplication/x-krita", "Krita picture", _CONVERT),
    (30, b"mimetypeapplication/x-kra", "Krita picture", _CONVERT),
    (30, b"mimetypeimage/openraster", "OpenRaster picture", _CONVERT),
    (8, b"CR\2", "camera raw (CR2)", _RAW),
    (6, b"HEAPCCDR", "camera raw (CRW)", _RAW),
    (4, b"ftypcrx ", "camera raw (CR3)", _RAW),
    (0, b"IIRO", "camera raw (ORF)", _RAW),
    (0, b"IIRS", "camera raw (ORF)", _RAW),
    (0, b"MMOR", "camera raw (ORF)", _RAW),
    (0, b"IIU\0", "camera raw (RW2)", _RAW),
    (0, b"FUJIFILMCCD-RAW", "camera raw (RAF)", _RAW),
    (0, b"FOVb", "camera raw (X3F)", _RAW),
    (0, b"\0MRM", "camera raw (MRW)", _RAW),
)  # fmt: skip

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "a video or sound (MP4, QuickTime)"),
    (4, b"moov", "a video (QuickTime)"),
    (4, b"wide", "a video (QuickTime)"),
    (4, b"mdat", "a video (QuickTime)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska, WebM)"),
    (8, b"AVI ", "a video (AVI)"),
    (0, b"\0\0\1\xba", "a video (MPEG)"),
    (0, b"\0\0\1\xb3", "a video (MPEG)"),
    (0, b"FLV\1", "a video (FLV)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a video or sound (ASF, WMV)"),
    (8, b"WAVE", "a sound (WAV)"),
    (0, b"ID3", "a sound (MP3)"),
    (0, b"\xff\xfb", "a sound (MP3)"),
    (0, b"\xff\xf3", "a sound (MP3)"),
    (0, b"\xff\xf1", "a sound (AAC)"),
    (0, b"fLaC", "a sound (FLAC)"),
    (0, b"OggS", "a sound or video (Ogg)"),
    (0, b"MThd", "a sound (MIDI)"),
    (30, b"[Content_Types].xml", "an Office document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document or a thumbnail database"),
    (0, b"PK\3\4", "an archive (ZIP): unpack it and add its folder"),
    (0, b"7z\xbc\xaf'\x1c", "an archive (7z): unpack it and add its folder"),
    (0, b"Rar!\x1a\7", "an archive (RAR): unpack it and add its folder"),
    (257, b"ustar", "an archive (tar): unpack it and add its folder"),
    (0, b"\x1f\x8b", "compressed data (gzip)"),
    (0, b"BZh", "compressed data (bzip2)"),
    (0, b"\xfd7zXZ\0", "compressed data (xz)"),
    (0, b"(\xb5/\xfd", "compressed data (Zstandard)"),
    (0, b"SQLite format 3\0", "a database (SQLite)"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"PAR1", "a table (Parquet)"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
)


def other_kind(head: bytes) -> ImageProblem | None:
    """The kind of a file that cannot be read here, by its first bytes; None if not known.

    Decoders are asked first: some of them know files that begin like these.
    """
    for offset, magic, name, cure in _PICTURES:
        if head.startswith(magic, offset):
            return ImageProblem(Quarantine.UNSUPPORTED, f"{name}: {cure}")
    text = head
    if head.startswith(b"\x1f\x8b"):
        try:
            text = zlib.decompressobj(wbits=31).decompress(head, 4096)
        except zlib.error:
            text = b""
    if _SVG.match(text):
        return ImageProblem(Quarantine.UNSUPPORTED, f"SVG drawing: {_CONVERT}")
    for offset, magic, name in _OTHERS:
        if head.startswith(magic, offset) and (head[:4] == b"RIFF" or magic not in _RIFF):
            return ImageProblem(Quarantine.NOT_AN_IMAGE, name)
    if _HTML.match(head):
        return ImageProblem(Quarantine.NOT_AN_IMAGE, "an HTML page, perhaps of a failed download")
    if head and _CONTROL.search(head[:4096]) is None and _is_text(head[:4096]):
        return ImageProblem(Quarantine.NOT_AN_IMAGE, "a text")
    return None


def _is_text(head: bytes) -> bool:
    """Whether the bytes are UTF-8, but for a character that the end may have cut."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) > 4
    return True


def unread_variant(name: str, data: bytes) -> ImageProblem | None:
    """The variant of the format `name` that Pillow does not read; None if its header shows none."""
    try:
        variant = _VARIANTS[name](data) if name in _VARIANTS else None
    except DECODER_ERRORS:  # a damaged header
        return None
    return None if variant is None else ImageProblem(Quarantine.UNSUPPORTED, variant)


def raw_of(tags: Mapping[int, Any]) -> str | None:
    """What a TIFF whose first directory has these `tags` is, if that holds a mere preview."""
    if 50706 in tags:
        return f"camera raw (DNG): {_RAW}"
    if tags.get(262) in (32803, 34892):
        return f"camera raw: {_RAW}"
    if tags.get(254, 0) & 1 and 330 in tags:
        maker = str(tags.get(271, "")).strip(" \0")
        return (
            f"camera raw ({maker}): {_RAW}" if maker else f"a preview of another page: {_CONVERT}"
        )
    return None


def _tiff_variant(data: bytes) -> str | None:
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])
    stream = BytesIO(data)
    stream.seek(directory.next)
    directory.load(stream)
    compression = int(directory.get(259, 1))
    if 256 not in directory or 257 not in directory:
        return None
    if (raw := raw_of(directory)) is not None:
        return raw
    if compression not in TiffImagePlugin.COMPRESSION_INFO or compression in (6, 50001):
        words = _COMPRESSIONS.get(compression, f"compression {compression}")
        return f"TIFF with {words}: save it with LZW or Deflate compression"
    bits = directory.get(258, (1,))
    if all(1 <= size <= 128 for size in bits):
        kind = ("", "unsigned", "signed", "float", "", "complex", "complex float")
        sample = kind[min(int(directory.get(339, (1,))[0]), 6)]
        return f"TIFF with {len(bits)} x {bits[0]} bits ({sample}) per pixel: {_CONVERT}"
    return None


def _jpeg_variant(data: bytes) -> str | None:
    position = 2
    while position + 5 <= len(data) and data[position] == 0xFF:
        marker, size = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xF7:
            return f"JPEG-LS: {_CONVERT}"
        if marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
            return f"lossless or hierarchical JPEG: {_CONVERT}"
        if marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
            depth = data[position + 4]
            return f"JPEG with {depth} bits per sample: {_CONVERT}" if depth != 8 else None
        position += 2 + size
    return None


def _psd_variant(data: bytes) -> str | None:
    version, depth = int.from_bytes(data[4:6], "big"), int.from_bytes(data[22:24], "big")
    if version == 2:
        return f"large Photoshop document (PSB): {_CONVERT}"
    if version == 1 and depth in (1, 8, 16, 32):
        return (
            f"Photoshop document with {depth} bits per sample, or compressed with ZIP: {_CONVERT}"
        )
    return None


_VARIANTS = {
    "TIFF": _tiff_variant,
    "BIGTIFF": _tiff_variant,
    "JPEG": _jpeg_variant,
    "PSD": _psd_variant,
}
_COMPRESSIONS = {
    6: "old-style JPEG compression",
    50001: "WebP compression",
    33003: "JPEG 2000 compression (Aperio)",
    33005: "JPEG 2000 compression (Aperio)",
    34661: "JBIG compression",
    34712: "JPEG 2000 compression",
    34713: "Nikon raw compression",
    34887: "LERC compression",
    50002: "JPEG XL compression",
    52546: "JPEG XL compression",
}
