"""How a picture looks, measured while `add` reads it.

All measures but the size come from the grey picture that `shrunk_for_comparing` makes (shorter
side of 128 to 255 pixels, or less), so they cost a few per cent of reading the image. Which images
stand out by them follows from the whole pool (`catalogue/quality.py`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

import numpy as np
from PIL import Image

from curator.base.values import PictureQuality

_SMALLEST_SIDE = 6
"""Pixels of a side below which no sharpness is measured: half of it must hold 3 x 3 blocks."""


def picture_quality(grey: Image.Image, width: int, height: int) -> PictureQuality:
    """The measures of a grey picture whose image has `width` x `height` pixels."""
    histogram = grey.histogram()
    at_most = list(accumulate(histogram))
    pixels = at_most[-1]
    shadows = bisect_left(at_most, 0.05 * pixels) / 255
    highlights = bisect_left(at_most, 0.99 * pixels) / 255
    return PictureQuality(
        sharpness=sharpness(grey),
        brightness=(256 - sum(at_most) / pixels) / 255,
        shadows=shadows,
        highlights=highlights,
        entropy=grey.entropy(),
        side=math.sqrt(width * height),
        aspect=max(width, height) / min(width, height),
    )


def sharpness(grey: Image.Image) -> float | None:
    """Mean detail of a picture divided by that of the picture at half its size.

    Detail is the difference of a pixel from the mean of the 3 x 3 pixels around it. Blur takes
    detail at full size and leaves that at half size; contrast and brightness cancel out. About
    0.5 for a sharp photograph, 0.2 for a blurred one, above 1 for noise. None where there
    is no detail at half size, or too few pixels.
    """
    if min(grey.size) < _SMALLEST_SIDE:
        return None
    coarse = _detail(grey.reduce(2))
    return _detail(grey) / coarse if coarse else None


def _detail(grey: Image.Image) -> float:
    """Mean absolute difference from the mean of 3 x 3 pixels, in whole grey levels."""
    # Rounded to whole levels on purpose: what 8 bits leave of a smooth ramp is then no detail.
    values = np.frombuffer(grey.tobytes(), np.uint8).reshape(grey.height, grey.width)
    values = values.astype(np.int16)
    rows = values[1:] + values[:-1]
    rows = rows[1:] + values[:-2]
    sums = rows[:, 1:] + rows[:, :-1]
    sums = sums[:, 1:] + rows[:, :-2]
    sums -= 9 * values[1:-1, 1:-1]
    np.abs(sums, out=sums)
    sums += 4
    sums //= 9
    return float(sums.mean())
