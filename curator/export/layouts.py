"""Which image becomes which file in a folder: names, and the order to make them in.

A plan follows from the rows alone, so an interrupted export finds the same one again,
and it streams: what has to be put into order is put into order on disk. An image with
several locations is one file.

Names are safe wherever a dataset may be unpacked: one path component, no separator, no control
character, nothing hidden, nothing that a shell, Windows or a case-insensitive disk would take for
something else. Names that would collide get the beginning of the image's SHA-256, and a name that
looks as if it had one always gets one, so no two can collide by accident.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from curator.base.text import path_bytes
from curator.export.rows import ExportFile, sorted_on_disk

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\<>:"|?*%\u2028\u2029\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z", re.IGNORECASE)
_HASH_ENDING = re.compile(r"-[0-9a-f]{12}\Z")
_LEADING = " .-~'=+@\uff1d\uff0b\uff0d\uff20"
"""What a name may not begin with: hidden files, options, homes, and formulas of spreadsheets."""
_LONGEST = 120
_MOST_OTHERS = 16

SUFFIXES = {
    "AVIF": ".avif", "BMP": ".bmp", "GIF": ".gif", "HEIF": ".heic", "ICO": ".ico",
    "JPEG": ".jpg", "JPEG2000": ".jp2", "MPO": ".jpg", "PCX": ".pcx", "PNG": ".png",
    "PPM": ".ppm", "TGA": ".tga", "TIFF": ".tif", "WEBP": ".webp",
}  # fmt: skip
"""The usual suffix of each format, by the decoder's name."""

TORCHVISION_READS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
"""What `torchvision.datasets.ImageFolder` looks at; it passes over the rest without a word."""

KEY_LENGTH = 32
"""Hexadecimal digits of the SHA-256 that name an image where its own name does not."""

WHOLE = "train"
"""The part that everything is in where nobody asked for parts, as loaders expect it."""

UNLABELLED = "unlabelled"
"""The part of images without a label, where there are parts: nobody trains or tests on them."""

_BLOCK = 512
_FILES_PER_SAMPLE = 3
_MOST_SAMPLES = 20_000


class PlannedFile(NamedTuple):
    """A file and its path: components of a folder, joined by `/`, and a name.

    In shards, `folder` is the name of the shard and `name` the key of the sample.
    """

    folder: str
    name: str
    file: ExportFile

    def at_new_path(self) -> ExportFile:
        """The file with its path relative to the root of the export."""
        row = self.file.row._replace(path=f"{self.folder}/{self.name}")
        return self.file._replace(row=row)

    @classmethod
    def restored(cls, values: list[Any]) -> PlannedFile:
        """The planned file that JSON made a list of."""
        return cls(values[0], values[1], ExportFile.restored(values[2]))


Plan = Callable[[Iterable[ExportFile], Path], Iterator[PlannedFile]]
"""From files and a folder for temporary files to planned files, in order."""


def one_per_image(files: Iterable[ExportFile], scratch: Path) -> Iterator[ExportFile]:
    """The first location of each image, with its other ones."""

    def key(file: ExportFile) -> tuple[int, str, str]:
        return file.image_id, file.path, file.source

    in_order = sorted_on_disk(files, scratch, key=key, restore=ExportFile.restored)
    for _, of_image in groupby(in_order, key=lambda file: file.image_id):
        first = next(of_image)
        # Not as a list: a blank picture may have any number of locations.
        other_paths = dict.fromkeys(file.path for file in islice(of_image, _MOST_OTHERS))
        other_paths.pop(first.path, None)
        yield first._replace(other_paths=tuple(other_paths))


def tree_plan(folder_of: Mapping[str | None, str], *, divided: bool) -> Plan:
    """CLASS/NAME, or PART/CLASS/NAME: what `torchvision.datasets.ImageFolder` reads."""

    def planned(file: ExportFile) -> PlannedFile:
        class_folder = folder_of[file.row.label]
        stem = file_stem(file.path)
        if ends_like_a_hash(stem):
            stem = with_hash(stem, file.row.sha256)
        return PlannedFile(
            f"{_part(file, divided)}/{class_folder}" if divided else class_folder,
            stem + suffix_of(file.format),
            file,
        )

    def plan(files: Iterable[ExportFile], scratch: Path) -> Iterator[PlannedFile]:
        return _distinct_names(_sorted(map(planned, files), scratch, key=_by_name))

    return plan


def hashed_plan(*, divided: bool) -> Plan:
    """PART/ab/SHA.jpg: names that say nothing, so that no loader reads a part into them."""

    def planned(file: ExportFile) -> PlannedFile:
        sha256 = file.row.sha256
        name = sha256[:KEY_LENGTH] + suffix_of(file.format)
        return PlannedFile(f"{_part(file, divided)}/{sha256[:2]}", name, file)

    def plan(files: Iterable[ExportFile], scratch: Path) -> Iterator[PlannedFile]:
        return _sorted(map(planned, files), scratch, key=_by_hash)

    return plan


def shard_plan(shard_bytes: int, *, divided: bool) -> Plan:
    """PART-000000.tar and a key, in the order of keys: as good as shuffled, and repeatable."""

    def planned(file: ExportFile) -> PlannedFile:
        return PlannedFile(_part(file, divided), file.row.sha256[:KEY_LENGTH], file)

    def plan(files: Iterable[ExportFile], scratch: Path) -> Iterator[PlannedFile]:
        part, number, filled, samples = "", 0, 0, 0
        for sample in _sorted(map(planned, files), scratch, key=_by_hash):
            # The picture in whole blocks, and two small files; each of the three has a header.
            needed = -(-sample.file.size // _BLOCK) * _BLOCK + (2 * _FILES_PER_SAMPLE) * _BLOCK
            if sample.folder != part:
                part, number, filled, samples = sample.folder, 0, 0, 0
            elif filled + needed > shard_bytes or samples == _MOST_SAMPLES:
                number, filled, samples = number + 1, 0, 0
            filled, samples = filled + needed, samples + 1
            yield sample._replace(folder=f"{part}-{number:06d}.tar")

    return plan


def _part(file: ExportFile, divided: bool) -> str:
    if not divided:
        return WHOLE
    return UNLABELLED if file.row.label is None else file.row.split or WHOLE


def _sorted(
    planned: Iterable[PlannedFile], scratch: Path, *, key: Callable[[PlannedFile], Any]
) -> Iterator[PlannedFile]:
    return sorted_on_disk(planned, scratch, key=key, restore=PlannedFile.restored)


def _by_name(planned: PlannedFile) -> tuple[str, str, str]:
    return planned.folder, collision_key(planned.name), planned.file.row.sha256


def _by_hash(planned: PlannedFile) -> tuple[str, str]:
    return planned.folder, planned.file.row.sha256


def _distinct_names(in_name_order: Iterable[PlannedFile]) -> Iterator[PlannedFile]:
    """Files that share a name get one that says which image it is."""
    for _, group in groupby(in_name_order, key=lambda planned: _by_name(planned)[:2]):
        namesakes = iter(group)
        first, second = next(namesakes), next(namesakes, None)
        if second is None:
            yield first
            continue
        # Not as a list: any number of images may share a name.
        for planned in chain((first, second), namesakes):
            stem, _, suffix = planned.name.rpartition(".")
            name = f"{with_hash(stem, planned.file.row.sha256)}.{suffix}"
            yield planned._replace(name=name)


def safe_name(text: str, fallback: str) -> str:
    """`text` as one safe path component of at most 120 bytes; `fallback` if nothing is left."""
    plain = _UNSAFE.sub("_", unicodedata.normalize("NFC", text))
    while len(plain.encode()) > _LONGEST:
        plain = plain[:-1]
    plain = plain.strip(" ").rstrip(".").lstrip(_LEADING)
    if _RESERVED.match(plain):
        plain = f"_{plain}"
    return plain or fallback


def suffix_of(format: str | None) -> str:
    """The suffix that says what the file holds, whatever it was called before."""
    if format is None:
        return ".img"
    return SUFFIXES.get(format.upper(), f".{safe_name(format.lower(), 'img')}")


def file_stem(path: str) -> str:
    """The safe name of the file at `path` (text of `text.path_text`), without its suffix."""
    last = path_bytes(path).rpartition(b"/")[2].decode("utf-8", "replace").replace("\ufffd", "_")
    stem, dot, _ = last.rpartition(".")
    return safe_name(stem if dot and stem.strip(".") else last, "image")


def with_hash(stem: str, sha256: str) -> str:
    """`stem` with the beginning of the image's hash, for one that has namesakes."""
    return f"{stem}-{sha256[:12]}"


def ends_like_a_hash(stem: str) -> bool:
    """Whether a stem ends like one of `with_hash`, and so may not be used as it is."""
    return bool(_HASH_ENDING.search(stem))


def collision_key(name: str) -> str:
    """Names with the same key would be one file on some disk."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A safe folder for each label, no two the same on any disk."""
    folders: dict[str, str] = {}
    used_keys: set[str] = set()
    for label in labels:
        name = base = safe_name(label, "class")
        number = 1
        while collision_key(name) in used_keys:
            number += 1
            name = f"{base}_{number}"
        used_keys.add(collision_key(name))
        folders[label] = name
    return folders
