"""Encoded pictures for the tests of this room: real files, made by Pillow."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image


def photograph(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """A colourful picture with large forms and fine grain, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 13, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def encode(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def quadrants(width: int = 64, height: int = 32) -> Image.Image:
    """Red, green / blue, white: every turn and mirroring of it looks different."""
    picture = Image.new("RGB", (width, height), (255, 255, 255))
    picture.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    picture.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    picture.paste((0, 0, 255), (0, height // 2, width // 2, height))
    return picture


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be as large as one likes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(bytes(1000))),
        chunk(b"IEND", b""),
    ])  # fmt: skip
