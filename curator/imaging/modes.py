"""Every mode that Pillow knows becomes RGB with 8 bits a channel.

The conversions that lose something are described in the package's docstring; they depend
on the image alone, so the same bytes give the same pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.imaging.problems import DECODER_ERRORS

Colour = tuple[int, int, int]

_BAND_PIXELS = 2_000_000
_ORIENTATION_TAG = 0x0112
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}
_DECODER_BYTES = {"JPEG": 8, "MPO": 8, "WEBP": 17, "JPEG2000": 21, "AVIF": 11, "HEIF": 10}
"""Bytes for a pixel where the decoder holds planes or coefficients of its own; measured."""


def decoding_bytes(image: Image.Image) -> int:
    """What decoding an opened image and its conversion to RGB take at most, in bytes, about."""
    mode, file_format = image.mode, image.format or ""
    each = _MODE_BYTES.get(mode[:4], 4)
    if file_format in _DECODER_BYTES:
        each = _DECODER_BYTES[file_format]
    elif file_format == "TIFF":
        # libtiff holds one strip unpacked, and a strip may be the whole picture.
        tags = getattr(image, "tag_v2", {})
        share = min(1.0, tags.get(278, image.height) / image.height)
        each += ceil(share * sum(tags.get(258, (1,))) / 8)
    if mode != "RGB":
        each += 4
    if mode.startswith("I") or mode == "F":
        each += 2
    elif image.has_transparency_data and mode != "RGBA":
        each += 4
    if orientation(image) != 1:
        each += 4
    return image.width * image.height * each


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; damaged metadata do not make a good picture bad."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except DECODER_ERRORS:
        return 1


def to_rgb(image: Image.Image, background: Colour) -> Image.Image:
    """`image` as RGB, its transparent parts laid on `background`."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = _narrow(image)
    if image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    # No copy of a large image is made that is not needed.
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    canvas = Image.new("RGB", layer.size, background)
    canvas.paste(layer, mask=layer)
    return canvas


def _narrow(image: Image.Image) -> Image.Image:
    """A wide grey image as L, or LA where one of its values means transparent."""
    # In bands of rows: as arrays of floats, a whole image would take seven times its size.
    height = max(1, _BAND_PIXELS // image.width)
    bands = [(top, min(image.height, top + height)) for top in range(0, image.height, height)]

    def values_of(top: int, bottom: int) -> NDArray[Any]:
        return np.asarray(image.crop((0, top, image.width, bottom)))

    white = _white_level(image)
    scale = (0.0, 1.0)
    if white is None:
        scale = _scale([_extent(values_of(*band)) for band in bands])
    key = image.info.get("transparency")
    grey = np.empty((image.height, image.width), dtype=np.uint8)
    alpha = np.empty_like(grey) if isinstance(key, int) else None
    for top, bottom in bands:
        values = values_of(top, bottom)
        grey[top:bottom] = _shift(values, white) if white else _stretch(values, scale)
        if alpha is not None:
            alpha[top:bottom] = np.where(values == key, 0, 255)
    narrow = Image.fromarray(grey)
    if alpha is not None:
        narrow.putalpha(Image.fromarray(alpha))
    return narrow


def _white_level(image: Image.Image) -> int | None:
    """The value that the format calls white; None where it does not say."""
    if image.mode == "F":
        return None
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(258, (16,))
        return 4095 if tuple(bits) == (12,) else 65535
    # Pillow scales netpbm pictures with more than 8 bits to 16 in a wider mode.
    return 65535 if image.format == "PPM" else None


def _shift(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    integers = np.asarray(values, dtype=np.int32 if values.dtype.itemsize > 2 else np.uint16)
    upper = np.right_shift(integers, white.bit_length() - 8)
    return np.asarray(np.clip(upper, 0, 255), dtype=np.uint8)


def _extent(values: NDArray[Any]) -> tuple[float, float, bool]:
    """Smallest and largest finite value, and whether these are floats."""
    real = np.asarray(values, dtype=np.float32)
    finite = real[np.isfinite(real)]
    is_float = np.issubdtype(values.dtype, np.floating)
    if not finite.size:
        return np.inf, -np.inf, is_float
    return float(finite.min()), float(finite.max()), is_float


def _scale(extents: Sequence[tuple[float, float, bool]]) -> tuple[float, float]:
    """The values that become black and white."""
    low, high = min(low for low, _, _ in extents), max(high for _, high, _ in extents)
    if low > high:
        low = high = 0.0
    is_float = extents[0][2]
    white = next((top for top in (1, 255, 65535) if high <= top and (top > 1 or is_float)), None)
    if low < 0 or white is None:
        return low, high if high > low else low + 1.0
    return 0.0, float(white)


def _stretch(values: NDArray[Any], scale: tuple[float, float]) -> NDArray[np.uint8]:
    black, white = scale
    scaled = (np.asarray(values, dtype=np.float32) - black) / (white - black) * 255.0
    finite_only = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
    return np.asarray(np.clip(np.rint(finite_only), 0, 255), dtype=np.uint8)
