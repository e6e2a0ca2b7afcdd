"""Decoded pixels of many small squares in one file, so that training never opens an image.

A pack holds each image once, by its SHA-256, at one size and in one colour mode: as raw
bytes that are mapped into memory, or as JPEGs where raw bytes would not fit the budget.
Pixels reach the disk before the index names them, so a build that is cut off goes on
where it was. Every row carries a digest, which is checked the first time it is read. A
pack is worth nothing by itself: it can always be made again from the images.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.files import cannot_write
from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.errors import StorageError
from curator.imaging.opening import Fit, open_square, read_file
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings

Codec = Literal["raw", "jpeg"]
Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableSquare:
    """An image that could not be put into a pack, and why."""

    image_id: int
    reason: Quarantine
    detail: str


class PackDamageError(StorageError):
    """A pack does not hold what it held when it was made."""


class PixelPack:
    """A pack opened for reading. Rows never change; there may be more when it is opened again."""

    def __init__(self, folder: Path, spec: PackSpec) -> None:
        """Open `folder`; one that is not there is an empty pack."""
        self.spec = spec
        self.folder = folder
        self._index = _read_index(folder)
        self._seen = np.zeros(len(self._index), dtype=np.bool_)
        path = _pixels_path(folder)
        self._data: Pixels = (
            np.memmap(path, dtype=np.uint8, mode="r") if len(self._index) else np.empty(0, np.uint8)
        )
        order = np.argsort(_keys(self._index["sha256"]), kind="stable")
        self._order, self._sorted = order, _keys(self._index["sha256"])[order]

    def __len__(self) -> int:
        """How many images the pack holds."""
        return len(self._index)

    @property
    def bytes_on_disk(self) -> int:
        """Size of pixels and index."""
        return int(len(self._data) + self._index.nbytes)

    def rows_of(self, sha256s: Sequence[bytes]) -> Rows:
        """The row of each image, in the order given; -1 where there is none."""
        if not len(sha256s) or not len(self._index):
            return np.full(len(sha256s), -1, dtype=np.int64)
        wanted = np.frombuffer(b"".join(sha256s), dtype="S32")
        place = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        found = self._sorted[place] == wanted
        rows: Rows = np.where(found, self._order[place], -1).astype(np.int64)
        return rows

    def gather(self, rows: Rows) -> Pixels:
        """The pixels of these rows, (rows, side, side, channels) uint8, in the order given.

        Raises PackDamageError if a row is not what it was when it was written.
        """
        side, channels = self.spec.side, self.spec.channels
        pixels = np.empty((len(rows), side, side, channels), dtype=np.uint8)
        for place, row in enumerate(rows):
            pixels[place] = self._decode(self._bytes(int(row)))
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

    def _bytes(self, row: int) -> Pixels:
        entry = self._index[row]
        start = int(entry["offset"])
        data = self._data[start : start + int(entry["length"])]
        if not self._seen[row]:
            if _digest(data.data) != entry["digest"].tobytes():
                raise PackDamageError(
                    f"Row {row:,} of the packed pixels in {self.folder} is damaged.",
                    "Run `curator pack`; it checks all rows and makes the pack again.",
                )
            self._seen[row] = True
        return data

    def _decode(self, data: Pixels) -> Pixels:
        shape = (self.spec.side, self.spec.side, self.spec.channels)
        if self.spec.codec == "raw":
            return data.reshape(shape)
        import simplejpeg

        space = "GRAY" if self.spec.channels == 1 else "RGB"
        decoded: Pixels = simplejpeg.decode_jpeg(data, colorspace=space)
        return decoded.reshape(shape)


def decode_square(data: bytes, spec: PackSpec, ingest: IngestSettings) -> Pixels:
    """The pixels that a raw pack would hold of a file's bytes, (side, side, channels).

    Raises ImageProblem.
    """
    pixels = open_square(data, spec.side, spec.fit, ingest)
    if spec.channels == 3:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def choose_codec(spec: PackSpec, images: int, max_bytes: int) -> PackSpec:
    """`spec` with raw rows where `images` of them fit `max_bytes`, else with JPEGs."""
    raw = PackSpec(**{**asdict(spec), "codec": "raw"})
    if raw.estimated_bytes(images) <= max_bytes:
        return raw
    return PackSpec(**{**asdict(spec), "codec": "jpeg"})


def build_pack(
    folder: Path,
    spec: PackSpec,
    files: Iterable[ImageFile],
    *,
    ingest: IngestSettings,
    workers: int,
    advance: Callable[[int], None] = lambda count: None,
) -> list[UnreadableSquare]:
    """Append these images to the pack in `folder`; images that it holds must not be among them.

    Images are decoded by `workers` threads and written in the order given, so the same
    images give the same bytes however often the build was interrupted. Returns the images
    that could not be used. Raises StorageError if the disk does not take them.
    """
    unreadable: list[UnreadableSquare] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Writer(folder) as writer, ThreadPoolExecutor(max(1, workers)) as pool:
            packed = partial(_packed, spec=spec, ingest=ingest)
            for chunk in _chunks(files):
                rows = []
                for file, result in zip(chunk, pool.map(packed, chunk), strict=True):
                    if isinstance(result, ImageProblem):
                        problem = UnreadableSquare(
                            image_id=file.image_id, reason=result.reason, detail=result.detail
                        )
                        unreadable.append(problem)
                    else:
                        rows.append((file.sha256, result))
                writer.append(rows)
                advance(len(chunk))
    except OSError as error:
        raise cannot_write(folder, error) from error
    return unreadable


def remove_pack(folder: Path) -> None:
    """Delete a pack; one that is not there is no matter."""
    shutil.rmtree(folder, ignore_errors=True)


class _Writer:
    """Appends rows: pixels first, and the index when these are on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> _Writer:
        known = _read_index(self._folder)
        self._end = int(known[-1]["offset"] + known[-1]["length"]) if len(known) else 0
        self._pixels = _open_at(_pixels_path(self._folder), self._end)
        self._index = _open_at(_index_path(self._folder), known.nbytes)
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
        _write_all(self._pixels, b"".join(data for _, data in rows))
        _write_all(self._index, entries.tobytes())


def _open_at(path: Path, size: int) -> FileIO:
    """The file opened for appending, without whatever a cut-off build left beyond `size`."""
    stream = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+")
    stream.truncate(size)
    stream.seek(size)
    return stream


def _write_all(stream: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
    os.fsync(stream.fileno())


def _read_index(folder: Path) -> NDArray[Any]:
    """The rows whose pixels are all there."""
    try:
        content = _index_path(folder).read_bytes()
        size = _pixels_path(folder).stat().st_size
    except FileNotFoundError:
        return np.empty(0, dtype=_INDEX)
    whole = len(content) // _INDEX.itemsize * _INDEX.itemsize
    index = np.frombuffer(content[:whole], dtype=_INDEX)
    missing = np.flatnonzero(index["offset"] + index["length"] > size)
    return index[: missing[0]] if len(missing) else index


def _packed(file: ImageFile, *, spec: PackSpec, ingest: IngestSettings) -> bytes | ImageProblem:
    try:
        data = read_file(file.path, ingest.max_bytes)
        if hashlib.sha256(data).digest() != file.sha256:
            return ImageProblem(Quarantine.CHANGING, "its content is not what was added")
        pixels = decode_square(data, spec, ingest)
    except ImageProblem as problem:
        return problem
    if spec.codec == "raw":
        return pixels.tobytes()
    import simplejpeg

    space = "GRAY" if spec.channels == 1 else "RGB"
    square = np.ascontiguousarray(pixels)
    encoded: bytes = simplejpeg.encode_jpeg(square, spec.quality, space, "444")
    return encoded


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _keys(sha256: Pixels) -> NDArray[np.bytes_]:
    return np.frombuffer(np.ascontiguousarray(sha256).tobytes(), dtype="S32")


def _chunks(files: Iterable[ImageFile]) -> Iterator[list[ImageFile]]:
    remaining = iter(files)
    while chunk := list(islice(remaining, _AT_ONCE)):
        yield chunk


def _pixels_path(folder: Path) -> Path:
    return folder / "pixels.u8"


def _index_path(folder: Path) -> Path:
    return folder / "index.bin"
