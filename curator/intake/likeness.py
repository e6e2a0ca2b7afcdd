"""What two pictures are compared by: a hash that proposes, a small picture that confirms.

The hash is the 64-bit pHash: which of the low frequencies of a 32x32 grey picture lie
above their median; bit for bit that of the library imagehash, in half the time. It is
blunt: many a garment has an unlike one nearby. The signature is a 16x16 grey picture,
shifted and scaled to mean 0 and standard deviation 1, with the mean colour beside it.
Scaling by its own contrast makes it blind to brightness and sharp on pictures with little
contrast; smooth (triangle) filtering makes it blind to resizing.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
STEPS = 32
"""Signature values per standard deviation."""
COLOUR_BYTES = 3
SIGNATURE_BYTES = COLOUR_BYTES + SIDE * SIDE

FLAT_CONTRAST = 2.0
"""Grey levels of standard deviation below which a picture counts as flat."""
MEAN_TOLERANCE = 32
"""Grey levels by which the mean brightness of near-duplicates may differ."""
HUE_TOLERANCE = 12
"""Levels by which the mean colours may differ once brightness is taken out."""

_SMALL_SIDE = 128
_HASH_SIDE, _OVERSAMPLING = 8, 4


def shrunk_for_comparing(pixels: Image.Image) -> Image.Image:
    """The picture with a shorter side of 128 to 255 pixels where it is larger."""
    factor = min(pixels.size) // _SMALL_SIDE
    return pixels.reduce(factor) if factor > 1 else pixels


def perceptual_hash(small: Image.Image) -> int:
    """The 64-bit pHash of a picture as an unsigned integer.

    Krawetz (2011), "Looks like it", with the median over all 64 coefficients.
    """
    side = _HASH_SIDE * _OVERSAMPLING
    grey = small.convert("L").resize((side, side), Image.Resampling.LANCZOS)
    values = np.asarray(grey, dtype=np.float64)
    waves = _low_waves()
    # Without BLAS, whose threads cost more than this product; rounded, so that the noise of
    # arithmetic stays out of flat pictures.
    rows = np.einsum("wi,ij->wj", waves, values)
    frequencies = np.round(np.einsum("wj,vj->wv", rows, waves), 6)
    middle = np.partition(frequencies, (31, 32), axis=None)
    bits = np.packbits(frequencies > (middle[31] + middle[32]) / 2)
    return int.from_bytes(bits.tobytes(), "big")


@cache
def _low_waves() -> NDArray[np.float64]:
    """The first eight rows of the cosine transform (type II, not normalised), (8, 32)."""
    from scipy.fft import dct

    whole = dct(np.eye(_HASH_SIDE * _OVERSAMPLING), axis=0)
    return np.asarray(whole[:_HASH_SIDE], dtype=np.float64)


def signature(small: Image.Image) -> bytes:
    """Mean red, green and blue, then 16x16 values of the normalised grey picture.

    259 bytes: three unsigned, then signed ones in steps of 1/32 standard deviation.
    """
    triangle = Image.Resampling.BILINEAR
    grey = small.convert("L").convert("F")
    values = np.asarray(grey.resize((SIDE, SIDE), triangle)).ravel()
    centred = values - values.sum() / values.size
    contrast = max(math.sqrt(np.square(centred).sum() / values.size), FLAT_CONTRAST)
    steps = np.rint(centred * (STEPS / contrast)).clip(-127, 127).astype(np.int8)
    colour = small.resize((1, 1), Image.Resampling.BOX)
    return bytes(colour.tobytes() + steps.tobytes())


def near(
    first: NDArray[np.uint8], second: NDArray[np.uint8], tolerance: float
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether signatures are near each other row by row, and their distances.

    Both have shape (n, 259). The distance is the root mean square of the difference in
    standard deviations; it is sqrt(2 (1 - r)) for pictures with correlation r.
    """
    steps = first[:, COLOUR_BYTES:].view(np.int8).astype(np.int16)
    steps -= second[:, COLOUR_BYTES:].view(np.int8)
    squares = np.einsum("ij,ij->i", steps, steps, dtype=np.int64)
    distance = np.sqrt(squares / (SIDE * SIDE)).astype(np.float32) / STEPS
    colour = first[:, :COLOUR_BYTES].astype(np.int16) - second[:, :COLOUR_BYTES]
    brightness = colour.mean(axis=1)
    hue = np.abs(colour - brightness[:, None]).max(axis=1)
    same_colour = (np.abs(brightness) <= MEAN_TOLERANCE) & (hue <= HUE_TOLERANCE)
    return (distance <= tolerance) & same_colour, distance
