"""Every mode that Pillow knows becomes RGB with 8 bits a channel.

The conversions that lose something are described in the package's docstring; they depend
on the image alone, so the same bytes give the same pixels everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]


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
    layer = image.convert("RGBA")
    canvas = Image.new("RGB", layer.size, background)
    canvas.paste(layer, mask=layer.getchannel("A"))
    return canvas


def _narrow(image: Image.Image) -> Image.Image:
    """A wide grey image as L, or LA where one of its values means transparent."""
    values = np.asarray(image)
    white = _white_level(image)
    grey = _stretch(values) if white is None else _shift(values, white)
    narrow = Image.fromarray(grey)
    key = image.info.get("transparency")
    if isinstance(key, int):
        alpha = np.where(values == key, 0, 255).astype(np.uint8)
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


def _stretch(values: NDArray[Any]) -> NDArray[np.uint8]:
    real = np.asarray(values, dtype=np.float32)
    finite = real[np.isfinite(real)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    is_float = np.issubdtype(values.dtype, np.floating)
    white = next((top for top in (1, 255, 65535) if high <= top and (top > 1 or is_float)), None)
    if low < 0 or white is None:
        scaled = (real - low) / (high - low if high > low else 1.0) * 255.0
    else:
        scaled = real / white * 255.0
    finite_only = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
    return np.asarray(np.clip(np.rint(finite_only), 0, 255), dtype=np.uint8)
