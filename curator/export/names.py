"""File names that are safe wherever a dataset may be unpacked.

A name here is one path component: no separator, no control character, nothing hidden,
nothing that a shell, Windows or a case-blind disk would take for something else. Names
that would meet each other are told apart by the beginning of the image's SHA-256, and a
name that looks as if it had been told apart always is, so no two can meet by accident.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from curator.base.text import path_bytes

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\<>:"|?*%\u2028\u2029\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z", re.IGNORECASE)
_TOLD_APART = re.compile(r"-[0-9a-f]{12}\Z")
_LONGEST = 120

SUFFIXES = {
    "AVIF": ".avif", "BMP": ".bmp", "GIF": ".gif", "HEIF": ".heic", "ICO": ".ico",
    "JPEG": ".jpg", "JPEG2000": ".jp2", "MPO": ".jpg", "PCX": ".pcx", "PNG": ".png",
    "PPM": ".ppm", "TGA": ".tga", "TIFF": ".tif", "WEBP": ".webp",
}  # fmt: skip
"""The usual suffix of each format, by the decoder's name."""

TORCHVISION_READS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
"""What `torchvision.datasets.ImageFolder` looks at; it passes over the rest without a word."""


def safe_name(text: str, fallback: str) -> str:
    """`text` as one safe path component of at most 120 bytes; `fallback` if nothing is left."""
    plain = _UNSAFE.sub("_", unicodedata.normalize("NFC", text))
    while len(plain.encode()) > _LONGEST:
        plain = plain[:-1]
    plain = plain.strip(" ").rstrip(".").lstrip(".-~")
    if _RESERVED.match(plain):
        plain = f"_{plain}"
    return plain or fallback


def suffix_of(format: str | None) -> str:
    """The suffix that says what the file holds, whatever it was called before."""
    if format is None:
        return ".img"
    return SUFFIXES.get(format.upper(), f".{safe_name(format.lower(), 'img')}")


def file_stem(path: str) -> str:
    """The safe name of the file at `path` (text of `paths.path_text`), without its suffix."""
    last = path_bytes(path).rpartition(b"/")[2].decode("utf-8", "replace").replace("\ufffd", "_")
    stem, dot, _ = last.rpartition(".")
    return safe_name(stem if dot and stem.strip(".") else last, "image")


def told_apart(stem: str, sha256: str) -> str:
    """`stem` with the beginning of the image's hash, for one that has namesakes."""
    return f"{stem}-{sha256[:12]}"


def looks_told_apart(stem: str) -> bool:
    """Whether a stem ends like one of `told_apart`, and so may not be used as it is."""
    return bool(_TOLD_APART.search(stem))


def meeting_key(name: str) -> str:
    """Names with the same key would be one file on some disk."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A safe folder for each label, no two the same on any disk."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        name = base = safe_name(label, "class")
        number = 1
        while meeting_key(name) in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(meeting_key(name))
        folders[label] = name
    return folders
