"""The projection of an encoder's raw numbers on the leading directions of a pool.

Each number is standardised on a sample of the pool, and a group of d numbers is weighed by
d^(-1/4), so that wide layers do not drown narrow ones. Directions are the principal components
of that; axes keep their variance, which says what they are worth (scaled to unit variance each,
the noise of the last axes counts as much as the first).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import FloatArray

AXES = 512
"""Most axes. In 8 bits they take 514 bytes for an image; 256 in 16 bits cost .02 of the oracle
coverage at 1% (six tasks, 200 labels)."""
HELD_OUT_FROM = 500
SQUARED_LENGTH = 1_000.0
"""Mean squared length of the sample's rows after the projection."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolProjection:
    """Raw numbers x become (x - mean) * weight @ directions * factor.

    `mean` and `weight` are (raw,) float32, `directions` (raw, axes) float16. `captured` is the
    mean share of an image that the axes hold, on images that were held out (1 if the sample is
    too small for that), `fitted_on` the number of images behind the axes.
    """

    mean: NDArray[np.float32]
    weight: NDArray[np.float32]
    directions: NDArray[np.float16]
    factor: float
    captured: float
    fitted_on: int

    @property
    def axes(self) -> int:
        return int(self.directions.shape[1])

    @cached_property
    def _exact_directions(self) -> FloatArray:
        return self.directions.astype(np.float64) * self.factor

    def apply(self, raw: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
        """Projected rows, (rows, axes) float64, and the share of each that the axes hold, (rows,).

        Sums in float64 differ by so little between batches, threads and processors that the
        float16 numbers that are stored do not.
        """
        weighed = (raw.astype(np.float64) - self.mean) * self.weight
        projected = weighed @ self._exact_directions
        length = np.square(weighed).sum(axis=1) * self.factor**2
        share = np.square(projected).sum(axis=1) / np.where(length > 0, length, 1.0)
        return projected, np.where(length > 0, share, 1.0)

    def to_bytes(self) -> bytes:
        """As the catalogue keeps it; the same projection gives the same bytes."""
        stream = io.BytesIO()
        for array in (self.mean, self.weight, self.directions, self._scalars()):
            np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> PoolProjection:
        """Raises ValueError if that is not what `to_bytes` gives."""
        stream = io.BytesIO(content)
        mean, weight, directions, scalars = (
            np.lib.format.read_array(stream, allow_pickle=False) for _ in range(4)
        )
        return cls(
            mean=mean,
            weight=weight,
            directions=directions,
            factor=float(scalars[0]),
            captured=float(scalars[1]),
            fitted_on=int(scalars[2]),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its content, hexadecimal; a part of the features' fingerprint."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def _scalars(self) -> FloatArray:
        return np.array([self.factor, self.captured, self.fitted_on], np.float64)


def fit_projection(
    sample: NDArray[np.float32], groups: Sequence[int], axes: int = AXES
) -> PoolProjection:
    """The projection of a sample (images, raw) on at most `axes` directions.

    `groups` are the sizes of the groups that the raw numbers consist of. Constant numbers are
    left out; of a sample without any variance one axis remains, which is zero.
    """
    # A tenth says what the axes hold of images that did not make them. The order of the sample
    # is that of images, so these are taken evenly.
    held_out = np.zeros(len(sample), np.bool_)
    if len(sample) >= HELD_OUT_FROM:
        held_out[::10] = True
    raw = sample[~held_out].astype(np.float64)
    mean = raw.mean(axis=0).astype(np.float32)
    raw -= mean
    deviation = np.sqrt(np.square(raw).mean(axis=0))
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1.0)
    quarter = np.concatenate([np.full(size, size**-0.25) for size in groups])
    weight = np.where(varies, quarter / np.where(varies, deviation, 1.0), 0.0).astype(np.float32)
    raw *= weight
    # As few images as numbers or fewer: the small one of the two square matrices.
    is_wide = raw.shape[0] < raw.shape[1]
    values, vectors = np.linalg.eigh(raw @ raw.T if is_wide else raw.T @ raw)
    rank = max(1, min(axes, int((values > 1e-9 * max(values[-1], 1e-300)).sum())))
    leading = vectors[:, ::-1][:, :rank]
    directions = raw.T @ leading if is_wide else leading
    norms = np.linalg.norm(directions, axis=0)
    directions /= np.where(norms > 0, norms, 1.0)
    # An eigenvector's sign is an accident of the routine that found it.
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(rank)]
    directions *= np.where(largest < 0, -1.0, 1.0)
    rounded = directions.astype(np.float16)
    squares = np.square(raw @ rounded.astype(np.float64)).sum()
    factor = np.sqrt(SQUARED_LENGTH * len(raw) / squares) if squares > 0 else 1.0
    projection = PoolProjection(
        mean=mean,
        weight=weight,
        directions=rounded,
        factor=float(factor),
        captured=1.0,
        fitted_on=len(raw),
    )
    if not held_out.any():
        return projection
    return replace(projection, captured=float(projection.apply(sample[held_out])[1].mean()))
