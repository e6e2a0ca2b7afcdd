"""The frozen values that rooms hand to each other.

Rooms in the middle do not import one another; what `ingest` found, `catalogue` stores
and `learn` opens travels in these. Paths are bytes, because file names need not be text.
"""

from __future__ import annotations

from dataclasses import dataclass

from curator.base.vocabulary import Label, Method, Origin, Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """A file as a walk saw it: path relative to its source, bytes, nanoseconds."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureQuality:
    """How a picture looks; brightness is grey from 0 (black) to 1 (white).

    `sharpness` is None where it cannot be measured. `brightness` is the mean, `shadows` the 5th
    and `highlights` the 99th percentile of the pixels. `entropy` of the grey histogram is in bits
    (0 to 8). `side` is the square root of width x height in pixels, `aspect` the longer side
    divided by the shorter one.
    """

    sharpness: float | None
    brightness: float
    shadows: float
    highlights: float
    entropy: float
    side: float
    aspect: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedFile:
    """What one pass over one file found.

    `sha256` is None only when the bytes could not be read (`unreadable`, `vanished`,
    `changing`). Width and height are those after EXIF orientation, in pixels.
    `perceptual_hash` is an unsigned 64-bit integer, `preview` an encoded JPEG or None when
    previews are off or the image is unusable. `quality` is None for an unusable image.
    """

    stamp: FileStamp
    sha256: bytes | None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    perceptual_hash: int | None = None
    preview: bytes | None = None
    quality: PictureQuality | None = None
    quarantine: Quarantine | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPlace:
    """Where a stored preview lies: pack number, byte offset, byte length.

    `digest` is that of its bytes, None where it is older than digests.
    """

    pack: int
    offset: int
    length: int
    digest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One way to open an image: its identity, and an absolute path where it was seen."""

    image_id: int
    sha256: bytes
    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One answer of a person about one image."""

    image_id: int
    label: Label
    origin: Origin
    method: Method
    reasons: tuple[str, ...] = ()
    note: str = ""
    probability: float | None = None


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something that keeps a file from being imported."""

    line: int
    text: str
