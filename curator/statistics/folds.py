"""Chance that can be repeated: which fold, which sample, which share.

Every draw is a hash of what it concerns (a unit of images that belong together, or one
image) and the workspace's seed. A fold therefore never changes when more images or
labels arrive, which is what keeps a head from meeting labels that it will be judged on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import FloatArray, IntArray

UInt64 = NDArray[np.uint64]

_FOLD_STREAM = 1
_SAMPLE_STREAM = 2
_SHARE_STREAM = 3
_DIVISION_STREAM = 4
_ERROR_STREAM = 5
_LEAST_ERROR = 1e-4


def fold_of(unit_keys: IntArray, folds: int, seed: int) -> IntArray:
    """The fold, 0 to `folds` - 1, of each unit; all images of a unit share its key."""
    hashed = _mix(unit_keys, seed, _FOLD_STREAM)
    return (hashed % np.uint64(folds)).astype(np.int64)


def sampling_rank(keys: IntArray, seed: int) -> FloatArray:
    """A number in [0, 1) for each key; the smallest n of them are a random sample of n."""
    return _unit_interval(_mix(keys, seed, _SAMPLE_STREAM))


def in_proportion_to_error(keys: IntArray, probability: FloatArray, seed: int) -> IntArray:
    """The keys in the order in which they are drawn in proportion to min(P, 1 - P), (keys,).

    One by one and without replacement (Efraimidis and Spirakis, 2006, Information Processing
    Letters 97), the same for the same seed. `probability` (keys,) is P(positive). What is
    doubtful comes early, and nothing never.
    """
    error = np.maximum(np.minimum(probability, 1.0 - probability), _LEAST_ERROR)
    chance = _unit_interval(_mix(keys, seed, _ERROR_STREAM))
    order: IntArray = keys[np.lexsort((keys, -np.log1p(-chance) / error))]
    return order


def share_rank(unit_keys: IntArray, seed: int) -> FloatArray:
    """A number in [0, 1) for each unit, to set a share of them aside, stable as they grow."""
    return _unit_interval(_mix(unit_keys, seed, _SHARE_STREAM))


def division_rank(unit_keys: IntArray, seed: int) -> FloatArray:
    """A number in [0, 1) for each unit, to divide an export into parts for training elsewhere."""
    return _unit_interval(_mix(unit_keys, seed, _DIVISION_STREAM))


def _unit_interval(hashed: UInt64) -> FloatArray:
    return (hashed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(keys: IntArray, seed: int, stream: int) -> UInt64:
    """SplitMix64 over key, seed and stream; Steele, Lea and Flood (2014), OOPSLA, fig. 17."""
    start = np.uint64((seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03) % (1 << 64))
    with np.errstate(over="ignore"):
        z = keys.astype(np.int64).view(np.uint64) ^ start
        for _ in range(2):
            z = z + np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    return z
