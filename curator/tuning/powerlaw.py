"""How error falls as labels grow: a power law with a floor, and how sure it is.

error(n) = floor + scale * n^-rate is what learning curves mostly follow: Hestness et al.
(2017), "Deep learning scaling is predictable, empirically"; Rosenfeld et al. (2020), ICLR.
The uncertainty has three parts: chance of the repetitions, by drawing them again (bootstrap:
Efron 1979); chance of the labels that judged them all; and whether there is a floor at all,
which no small sizes can tell, so that half of the drawn laws have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_SIZES = 3
"""Different sizes below which no curve is fitted; with fewer than five, the floor is nothing."""

_SIZES_FOR_FLOOR = 5
_SMALLEST_ERROR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """error(n) = floor + scale * n^-rate."""

    scale: float
    rate: float
    floor: float

    def at(self, sizes: NDArray[np.floating]) -> Floats:
        """The error at these sizes."""
        found: Floats = self.floor + self.scale * np.asarray(sizes, dtype=np.float64) ** -self.rate
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCurve:
    """The best law, and the laws that repetitions drawn again would have given."""

    law: PowerLaw
    others: tuple[PowerLaw, ...]

    def interval(self, sizes: NDArray[np.floating], level: float = 0.9) -> tuple[Floats, Floats]:
        """Within which the error at these sizes lies at this level, as far as the draws tell."""
        drawn = np.stack([law.at(sizes) for law in self.others])
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def fit_power_law(
    sizes: NDArray[np.floating],
    errors: NDArray[np.floating],
    *,
    judged: int,
    draws: int = 200,
    seed: int = 0,
) -> FittedCurve | None:
    """Fit errors (repetitions, sizes) measured at `sizes` (sizes,); None with too few sizes.

    `judged` is the number of different images that the errors were counted on, over all
    repetitions: a sample that happens to be hard makes the whole curve too high.
    """
    if len(np.unique(sizes)) < FEWEST_SIZES:
        return None
    rng = np.random.default_rng(seed)
    has_floor = len(np.unique(sizes)) >= _SIZES_FOR_FLOOR
    law = _fit(sizes, errors.mean(axis=0), has_floor)
    last = float(np.clip(errors[:, -1].mean(), 1 / judged, 1 - 1 / judged))
    relative = np.sqrt((1 - last) / last / judged)
    others = []
    for number in range(draws):
        again = rng.integers(0, len(errors), size=errors.shape)
        drawn = np.take_along_axis(errors, again, axis=0).mean(axis=0)
        drawn = drawn * np.exp(relative * rng.standard_normal())
        others.append(_fit(sizes, drawn, has_floor and number % 2 == 0))
    return FittedCurve(law=law, others=tuple(others))


def _fit(sizes: NDArray[np.floating], errors: NDArray[np.floating], has_floor: bool) -> PowerLaw:
    """Least squares on the logarithms, so that small errors count as much as large ones."""
    from scipy.optimize import least_squares

    n = np.asarray(sizes, dtype=np.float64)
    target = np.log(np.maximum(errors, _SMALLEST_ERROR))
    largest_floor = max(float(np.min(errors)), 2 * _SMALLEST_ERROR)

    def law(point: Floats) -> PowerLaw:
        floor = float(point[2]) if has_floor else 0.0
        return PowerLaw(scale=float(np.exp(point[0])), rate=float(point[1]), floor=floor)

    def misfit(point: Floats) -> Floats:
        found: Floats = np.log(np.maximum(law(point).at(n), _SMALLEST_ERROR)) - target
        return found

    slope, level = np.polyfit(np.log(n), target, 1)
    start = np.array([level, np.clip(-slope, 1e-3, 2.9), largest_floor / 10])
    bounds = ([-40.0, 0.0, 0.0], [40.0, 3.0, largest_floor])
    solved = least_squares(misfit, np.clip(start, *map(np.array, bounds)), bounds=bounds)
    return law(solved.x)
