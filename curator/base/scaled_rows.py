"""Rows of numbers in 8 bits with a scale for each row: 512 numbers take 514 bytes.

The scale is rounded up to 16 bits, so that packing what was unpacked gives the same bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEPS = 127
_SMALLEST_SCALE = 2.0**-14


def scaled_dtype(width: int) -> np.dtype[np.void]:
    """One packed row of `width` numbers."""
    return np.dtype([("scale", "<f2"), ("steps", "i1", (width,))])


def pack_scaled(values: NDArray[np.floating]) -> NDArray[np.void]:
    """Packed rows (rows,) of `values` (rows, width). Raises ValueError beyond what 16 bits hold."""
    exact = np.maximum(np.abs(values).max(axis=1) / _STEPS, _SMALLEST_SCALE)
    with np.errstate(over="ignore"):
        scale = exact.astype(np.float16)
        scale = np.where(scale < exact, np.nextafter(scale, np.float16(np.inf)), scale)
    if not np.isfinite(scale).all():
        raise ValueError("numbers that are not finite, or too large")
    packed = np.empty(len(values), scaled_dtype(values.shape[1]))
    packed["scale"] = scale
    packed["steps"] = np.rint(values / scale[:, None].astype(np.float64))
    return packed


def unpack_scaled(packed: NDArray[np.void]) -> NDArray[np.float32]:
    """The numbers (rows, width) of packed rows."""
    values: NDArray[np.float32] = packed["steps"].astype(np.float32)
    values *= packed["scale"].astype(np.float32)[:, None]
    return values
