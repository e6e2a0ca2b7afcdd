"""What a row of packed pixels is: a small square, decoded once, so that training opens no file.

A pack holds each image at one size and in one colour mode: as raw bytes that are mapped into
memory, or as JPEGs where raw bytes would not fit the budget. A pack can always be built
again from the images.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from curator.base.arrays import PixelArray
from curator.base.values import ImageFile
from curator.imaging.opening import Fit, open_square, read_catalogued
from curator.imaging.problems import ImageProblem, Unreadable
from curator.settings.sections import IngestSettings
from curator.storage.rows import Content, RowFile

Codec = Literal["raw", "jpeg"]

FORMAT = 1
"""Raise it when a change of the code changes the bytes of a row."""

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
        return int(images * each)

    def name(self) -> str:
        """The folder of a pack: readable, and different for different bytes."""
        facts = {**asdict(self), "format": FORMAT}
        if self.codec == "raw":
            del facts["quality"]
        digest = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()
        colour = "grey" if self.channels == 1 else "rgb"
        return f"{self.side}-{colour}-{self.codec}-{digest[:12]}"

    def row_file(self, folder: Path) -> RowFile:
        """The file of such rows, in a folder of its own in `folder`."""
        return RowFile(
            path=folder / self.name() / "pixels.u8",
            dtype="u1",
            shape=(self.side, self.side, self.channels),
            mend="`curator pack` makes them again.",
            decode=None if self.codec == "raw" else self.decode_jpeg,
        )

    def encode(self, pixels: PixelArray) -> Content:
        """The bytes of a row."""
        if self.codec == "raw":
            return pixels.tobytes()
        import simplejpeg

        square = np.ascontiguousarray(pixels)
        encoded: bytes = simplejpeg.encode_jpeg(square, self.quality, self._space, "444")
        return encoded

    def decode_jpeg(self, content: Content) -> PixelArray:
        """The pixels of a row that is a JPEG, (side, side, channels)."""
        import simplejpeg

        decoded: PixelArray = simplejpeg.decode_jpeg(content, colorspace=self._space)
        return decoded.reshape(self.side, self.side, self.channels)

    @property
    def _space(self) -> str:
        return "GRAY" if self.channels == 1 else "RGB"


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


def packed_row(file: ImageFile, *, spec: PackSpec, ingest: IngestSettings) -> Content | Unreadable:
    """The row of a catalogued image, or why there is none; may be called from many threads."""
    try:
        data = read_catalogued(file, ingest.max_bytes)
        return spec.encode(decode_square(data, spec, ingest))
    except ImageProblem as problem:
        return problem.as_value()
