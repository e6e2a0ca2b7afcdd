"""What errors a frame may hold, before any audit label: a forecast for planning only.

The classifier estimates for every image how likely its label is wrong. Such estimates can be
too bold or too shy as a whole, so a forecast is a set of scenarios: in each, the log-odds
of every estimate are stretched and shifted, and scenarios weigh as much as they agree with
labels that the heads never met. Some of these may be slips themselves, which say nothing
about the pool. A forecast that is off makes a plan weak, never a promise false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.core.audit.frame import Frame
from curator.core.calibration import sigmoid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 400
_STRETCH = (0.0, 0.35, np.linspace(-2.5, 2.5, 15))
_BEND = (0.08, 0.12, np.linspace(-2.0, 2.0, 5))
_SHIFT = (0.0, 0.12, np.linspace(-2.0, 2.0, 5))
_LIGHT = 0.01
_SLIPS = ((0.0, 0.7), (0.03, 0.075), (0.06, 0.075), (0.1, 0.075), (0.15, 0.075))
"""Shares of people's labels that may be slips, whatever the image, and how likely each is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """People's labels beside what heads that never met them said; arrays are (labels,).

    `estimated_error` is the out-of-fold probability that the head's own label is wrong,
    `wrong` whether it was, and `weight` how many images of the pool a label stands for
    (1 for all of a random sample).
    """

    estimated_error: Floats
    wrong: NDArray[np.bool_]
    weight: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Bins of consecutive places and, per scenario, the share of wrong labels in each.

    `edges` is (bins + 1,), places from 0 to the size of the frame; `rates` is (scenarios,
    bins); `weights` (scenarios,) add up to 1.
    """

    edges: Ints
    rates: Floats
    weights: Floats

    @property
    def sizes(self) -> Ints:
        """Images in each bin, (bins,)."""
        return np.diff(self.edges)

    @property
    def mean_rates(self) -> Floats:
        """The expected share of wrong labels in each bin, (bins,)."""
        mean: Floats = self.weights @ self.rates
        return mean

    def cumulative(self) -> Floats:
        """Share of wrong labels among the images up to the end of each bin, (scenarios, bins)."""
        wrong = np.cumsum(self.rates * self.sizes, axis=1)
        return wrong / self.edges[1:]


def forecast_errors(
    frame: Frame, judged: Judged | None = None, *, slips: float = 0.0, bins: int = BINS
) -> Forecast:
    """Scenarios for the errors of a frame.

    `slips` is the share of right labels that the audit is expected to call wrong or cannot
    settle (unsure, unshowable): it costs coverage, and a plan should know.
    """
    bins = min(bins, len(frame))
    edges = np.linspace(0, len(frame), bins + 1).round().astype(np.int64)
    log_odds = np.add.reduceat(_logit(frame.estimated_error), edges[:-1]) / np.diff(edges)
    scenarios, weights = _scenarios(judged)
    rates = sigmoid(_moved(log_odds, scenarios))
    return Forecast(edges=edges, rates=slips + (1 - slips) * rates, weights=weights)


def _scenarios(judged: Judged | None) -> tuple[Floats, Floats]:
    """Stretch, bend and shift, (scenarios, 3), with posterior weights under normal priors."""
    axes = (_STRETCH, _BEND, _SHIFT)
    grids = np.meshgrid(*(steps for _, _, steps in axes), indexing="ij")
    steps = np.stack([grid.ravel() for grid in grids], axis=1)
    centre = np.array([mean for mean, _, _ in axes])
    spread = np.array([deviation for _, deviation, _ in axes])
    scenarios = centre + spread * steps
    log_weight = -0.5 * np.square(steps).sum(axis=1)
    if judged is not None and len(judged.wrong):
        log_weight = log_weight + _log_likelihood(judged, scenarios)
    weights = np.exp(log_weight - log_weight.max())
    kept = weights > _LIGHT
    return scenarios[kept], weights[kept] / weights[kept].sum()


def _moved(log_odds: Floats, scenarios: Floats) -> Floats:
    """Log-odds of being wrong in each scenario, (scenarios, values), for values at most 0."""
    stretch, bend = np.exp(scenarios[:, :1]), np.exp(scenarios[:, 1:2])
    moved: Floats = scenarios[:, 2:] - stretch * np.power(-log_odds[None, :], bend)
    return moved


def _log_likelihood(judged: Judged, scenarios: Floats) -> Floats:
    wrong = sigmoid(_moved(_logit(np.clip(judged.estimated_error, 1e-6, 0.5)), scenarios))
    weight = judged.weight * (len(judged.weight) / judged.weight.sum())
    found = []
    for share, likely in _SLIPS:
        seen_wrong = share + (1 - 2 * share) * wrong
        seen = np.where(judged.wrong[None, :], seen_wrong, 1 - seen_wrong)
        found.append(np.log(seen) @ weight + np.log(likely))
    total: Floats = np.logaddexp.reduce(found, axis=0)
    return total


def _logit(probability: Floats) -> Floats:
    odds: Floats = np.log(probability) - np.log1p(-probability)
    return odds
