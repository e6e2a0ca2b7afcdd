"""Decoded pixels of many small squares in one file, so that training never opens an image.

A pack holds each image once, by its SHA-256, at one size and in one colour mode: as raw
bytes that are mapped into memory, or as JPEGs where raw bytes would not fit the budget.
Pixels are synced to disk before the index names them, so an interrupted build continues
where it stopped. Every row has a digest, which is checked the first time it is read. A
pack can always be built again from the images.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.arrays import IntArray, PixelArray
from curator.base.files import cannot_write, write_synced
from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.errors import StorageError
from curator.imaging.opening import Fit, open_square, read_file
from curator.imaging.problems import ImageProblem, Unreadable
from curator.settings.sections import IngestSettings

Codec = Literal["raw", "jpeg"]

FORMAT = 1
"""Raise it when a change of the code changes the bytes of a row."""

_DIGEST_BYTES = 8
_INDEX = np.dtype(
    [("sha256", "u1", 32), ("digest", "u1", _DIGEST_BYTES), ("offset", "<u8"), ("length", "<u4")]
)
_AT_ONCE = 256
_JPEG_BYTES_PER_PIXEL = 0.8
"""What a pixel of a JPEG of quality 95 takes, about; only for estimates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSpec:
    """What every row of a pack is: a square of `side` pixels with 1 (grey) or 3 channels."""

    side: int
    channels: int
    fit: Fit = "squash"
    background: tuple[int, int, int] = (255, 255, 255)
    codec: Codec = "raw"
    quality: int = 95

    @property
    def row_bytes(self) -> int:
        """Bytes of one image, decoded."""
        return self.side * self.side * self.channels

    def estimated_bytes(self, images: int) -> int:
        """Bytes on disk for so many images; exact for raw rows."""
        each = self.row_bytes if self.codec == "raw" else self.row_bytes * _JPEG_BYTES_PER_PIXEL / 3
        return int(images * (each + _INDEX.itemsize))

    def name(self) -> str:
        """The folder of a pack: readable, and different for different bytes."""
        facts = {**asdict(self), "format": FORMAT}
        if self.codec == "raw":
            del facts["quality"]
        digest = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()
        colour = "grey" if self.channels == 1 else "rgb"
        return f"{self.side}-{colour}-{self.codec}-{digest[:12]}"


class PackDamageError(StorageError):
    """A pack does not hold what it held when it was made."""


class PixelPack:
    """A pack opened for reading. Rows never change; there may be more when it is opened again."""

    def __init__(self, folder: Path, spec: PackSpec) -> None:
        """Open `folder`; one that is not there is an empty pack."""
        self.spec = spec
        self.folder = folder
        self._index = _read_index(folder)
        self._checked = np.zeros(len(self._index), dtype=np.bool_)
        path = _pixels_path(folder)
        self._data: PixelArray = (
            np.memmap(path, dtype=np.uint8, mode="r") if len(self._index) else np.empty(0, np.uint8)
        )
        order = np.argsort(_keys(self._index["sha256"]), kind="stable")
        self._order, self._sorted = order, _keys(self._index["sha256"])[order]

    def __len__(self) -> int:
        """How many images the pack holds."""
        return len(self._index)

    @property
    def bytes_on_disk(self) -> int:
        return int(len(self._data) + self._index.nbytes)

    def rows_of(self, sha256s: Sequence[bytes]) -> IntArray:
        """The row of each image, in the order given; -1 where there is none."""
        if not len(sha256s) or not len(self._index):
            return np.full(len(sha256s), -1, dtype=np.int64)
        keys = np.frombuffer(b"".join(sha256s), dtype="S32")
        # A key beyond the last one is compared with the last one, and differs.
        position = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        is_packed = self._sorted[position] == keys
        rows: IntArray = np.where(is_packed, self._order[position], -1).astype(np.int64)
        return rows

    def gather(self, rows: IntArray) -> PixelArray:
        """The pixels of these rows, (rows, side, side, channels) uint8, in the order given.

        Raises PackDamageError if a row is not what it was when it was written.
        """
        side, channels = self.spec.side, self.spec.channels
        pixels = np.empty((len(rows), side, side, channels), dtype=np.uint8)
        for position, row in enumerate(rows):
            pixels[position] = self._decode(self._bytes(int(row)))
        return pixels

    def check(self) -> Iterator[int]:
        """Read every row and compare its digest, yielding how many were read at a time.

        Raises PackDamageError at the first that differs.
        """
        for start in range(0, len(self), _AT_ONCE):
            end = min(start + _AT_ONCE, len(self))
            for row in range(start, end):
                self._bytes(row)
            yield end - start

    def _bytes(self, row: int) -> PixelArray:
        entry = self._index[row]
        start = int(entry["offset"])
        data = self._data[start : start + int(entry["length"])]
        if not self._checked[row]:
            if _digest(data.data) != entry["digest"].tobytes():
                raise PackDamageError(
                    f"Row {row:,} of the packed pixels in {self.folder} is damaged.",
                    "Run `curator pack`; it checks all rows and makes the pack again.",
                )
            self._checked[row] = True
        return data

    def _decode(self, data: PixelArray) -> PixelArray:
        shape = (self.spec.side, self.spec.side, self.spec.channels)
        if self.spec.codec == "raw":
            return data.reshape(shape)
        import simplejpeg

        space = "GRAY" if self.spec.channels == 1 else "RGB"
        decoded: PixelArray = simplejpeg.decode_jpeg(data, colorspace=space)
        return decoded.reshape(shape)


def decode_square(data: bytes, spec: PackSpec, ingest: IngestSettings) -> PixelArray:
    """The pixels that a raw pack would hold of a file's bytes, (side, side, channels).

    Raises ImageProblem.
    """
    pixels = open_square(data, spec.side, spec.fit, ingest)
    if spec.channels == 3:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def choose_codec(spec: PackSpec, images: int, max_bytes: int) -> PackSpec:
    """`spec` with raw rows where `images` of them fit `max_bytes`, else with JPEGs."""
    raw = replace(spec, codec="raw")
    return raw if raw.estimated_bytes(images) <= max_bytes else replace(spec, codec="jpeg")


def build_pack(
    folder: Path,
    spec: PackSpec,
    files: Iterable[ImageFile],
    *,
    ingest: IngestSettings,
    workers: int,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[int, Unreadable]:
    """Append images to the pack in `folder`, which must not hold any of them yet.

    Images are decoded by `workers` threads and written in this order, so the same images
    give the same bytes however often the build was interrupted. Returns the problems of
    unreadable images by image id. Raises StorageError if the disk is full.
    """
    unreadable: dict[int, Unreadable] = {}
    remaining = iter(files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Writer(folder) as writer, ThreadPoolExecutor(max(1, workers)) as pool:
            packed = partial(_packed, spec=spec, ingest=ingest)
            while chunk := list(islice(remaining, _AT_ONCE)):
                rows = []
                for file, row in zip(chunk, pool.map(packed, chunk), strict=True):
                    if isinstance(row, Unreadable):
                        unreadable[file.image_id] = row
                    else:
                        rows.append((file.sha256, row))
                writer.append(rows)
                advance(len(chunk))
    except OSError as error:
        raise cannot_write(folder, error) from error
    return unreadable


def remove_pack(folder: Path) -> None:
    """Delete a pack if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


class _Writer:
    """Appends rows: pixels first, and the index once they are synced to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> _Writer:
        index = _read_index(self._folder)
        self._end = int(index[-1]["offset"] + index[-1]["length"]) if len(index) else 0
        self._pixels = _open_at(_pixels_path(self._folder), self._end)
        self._index = _open_at(_index_path(self._folder), index.nbytes)
        return self

    def __exit__(self, *_: object) -> None:
        self._pixels.close()
        self._index.close()

    def append(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        entries = np.empty(len(rows), dtype=_INDEX)
        for entry, (sha256, data) in zip(entries, rows, strict=True):
            entry["sha256"] = np.frombuffer(sha256, dtype=np.uint8)
            entry["digest"] = np.frombuffer(_digest(data), dtype=np.uint8)
            entry["offset"], entry["length"] = self._end, len(data)
            self._end += len(data)
        # Pixels first: a row that the index names has its bytes on the disk.
        write_synced(self._pixels, b"".join(data for _, data in rows))
        write_synced(self._index, entries.tobytes())


def _open_at(path: Path, size: int) -> FileIO:
    """The file opened for appending; what an interrupted build left beyond `size` is cut off."""
    stream = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+")
    stream.truncate(size)
    stream.seek(size)
    return stream


def _read_index(folder: Path) -> NDArray[Any]:
    """The rows whose pixels are complete."""
    try:
        content = _index_path(folder).read_bytes()
        size = _pixels_path(folder).stat().st_size
    except FileNotFoundError:
        return np.empty(0, dtype=_INDEX)
    whole = len(content) // _INDEX.itemsize * _INDEX.itemsize
    index = np.frombuffer(content[:whole], dtype=_INDEX)
    missing = np.flatnonzero(index["offset"] + index["length"] > size)
    return index[: missing[0]] if len(missing) else index


def _packed(file: ImageFile, *, spec: PackSpec, ingest: IngestSettings) -> bytes | Unreadable:
    try:
        data = read_file(file.path, ingest.max_bytes)
        if hashlib.sha256(data).digest() != file.sha256:
            return Unreadable(Quarantine.CHANGING, "its content is not what was added")
        pixels = decode_square(data, spec, ingest)
    except ImageProblem as problem:
        return problem.as_value()
    if spec.codec == "raw":
        return pixels.tobytes()
    import simplejpeg

    space = "GRAY" if spec.channels == 1 else "RGB"
    square = np.ascontiguousarray(pixels)
    encoded: bytes = simplejpeg.encode_jpeg(square, spec.quality, space, "444")
    return encoded


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _keys(sha256: PixelArray) -> NDArray[np.bytes_]:
    return np.frombuffer(np.ascontiguousarray(sha256).tobytes(), dtype="S32")


def _pixels_path(folder: Path) -> Path:
    return folder / "pixels.u8"


def _index_path(folder: Path) -> Path:
    return folder / "index.bin"
