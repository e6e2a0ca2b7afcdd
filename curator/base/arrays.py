"""NumPy array types, and the codes that stand for the two classes in arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import CurrentLabel, code_of

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Float16Array = NDArray[np.float16]
PixelArray = NDArray[np.uint8]
CodeArray = NDArray[np.int8]
"""Codes of words in their vocabulary (`code_of`), -1 for none."""

POSITIVE_CODE = code_of(CurrentLabel.POSITIVE)
NEGATIVE_CODE = code_of(CurrentLabel.NEGATIVE)
CLASS_CODES = (POSITIVE_CODE, NEGATIVE_CODE)
"""Codes of the two classes; `np.isin(standing, CLASS_CODES)` leaves out unsure and conflict."""


def positions_in(rising: IntArray, values: IntArray) -> IntArray:
    """The position of each of `values` in `rising`, -1 where it is missing."""
    if not len(rising):
        return np.full(len(values), -1, dtype=np.int64)
    positions = np.minimum(np.searchsorted(rising, values), len(rising) - 1)
    return np.where(rising[positions] == values, positions, -1)
