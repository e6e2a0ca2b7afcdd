"""Pictures of what a network sees: feature maps side by side, and a map over its image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GAP = 2
_SMALLEST_CELL = 48
_MAPS_SHOWN = 64


def map_grid(maps: NDArray[np.float32], columns: int = 8) -> Image.Image:
    """The first 64 maps (channels, h, w) as grey squares, each from its own darkest to lightest."""
    shown = maps[:_MAPS_SHOWN]
    cell = max(_SMALLEST_CELL, shown.shape[2])
    rows = math.ceil(len(shown) / columns)
    width = min(columns, len(shown)) * (cell + _GAP) - _GAP
    sheet = Image.new("L", (width, rows * (cell + _GAP) - _GAP), 255)
    for number, values in enumerate(shown):
        low, high = float(values.min()), float(values.max())
        grey = (values - low) / (high - low) if high > low else np.zeros_like(values)
        square = Image.fromarray((255 * grey).astype(np.uint8)).resize(
            (cell, cell), Image.Resampling.NEAREST
        )
        corner = ((number % columns) * (cell + _GAP), (number // columns) * (cell + _GAP))
        sheet.paste(square, corner)
    return sheet


def overlay(picture: NDArray[np.uint8], heat: NDArray[np.float32], side: int = 384) -> Image.Image:
    """The picture (s, s, 1 or 3) and, beside it, the picture under its map (s, s) from 0 to 1.

    The warmer a pixel, the more it contributes to the score.
    """
    rgb = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    plain = Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC)
    enlarged = Image.fromarray((255 * heat).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    share = np.asarray(enlarged, dtype=np.float64)[..., None] / 255
    grey = np.asarray(plain.convert("L").convert("RGB"), dtype=np.float64)
    warm = np.array([255.0, 90.0, 0.0])
    mixed = grey * (1 - 0.65 * share) + warm * (0.65 * share)
    both = Image.new("RGB", (2 * side + _GAP, side), "white")
    both.paste(plain, (0, 0))
    both.paste(Image.fromarray(mixed.clip(0, 255).astype(np.uint8)), (side + _GAP, 0))
    return both
