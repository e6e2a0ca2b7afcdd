"""What errors a frame may hold, before any audit label: a forecast for planning only.

The classifier estimates for every image how likely its label is wrong. Such estimates can be
too bold or too shy as a whole, so a forecast is a set of scenarios: in each, the log-odds
of every estimate are stretched and shifted, and scenarios weigh as much as they agree with
labels that the heads never met. Some of these may be slips themselves, which say nothing
about the pool; where labels seem to hold many, estimates that were calibrated on them are also
read without these. A forecast that is off makes a plan weak, never a promise false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.audits.frame import Frame
from curator.statistics.calibration import sigmoid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 400
_STRETCH = (0.0, 0.35, np.linspace(-2.5, 2.5, 15))
_BEND = (0.08, 0.12, np.linspace(-2.0, 2.0, 5))
_SHIFT = (0.0, 0.12, np.linspace(-2.0, 2.0, 5))
_LIGHT = 0.01
_SLIPS = ((0.0, 0.7), (0.03, 0.075), (0.06, 0.075), (0.1, 0.075), (0.15, 0.075))
"""Shares of people's labels that may be slips, whatever the image, and how likely each is."""
_FEWEST_SLIPS, _SLIPS_ARE_SLIPS, _LEAST_LEFT = 0.01, 0.5, 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelEvidence:
    """People's labels beside what heads that never met them said; arrays are (labels,).

    `estimated_error` is the out-of-fold probability that the head's own label is wrong,
    `wrong` whether it was, and `weight` how many images of the pool a label stands for
    (1 for all of a random sample). `slips` is the share of them that seem wrong whatever the
    image shows: what the estimates were calibrated on, so that they hold it, too.
    """

    estimated_error: Floats
    wrong: NDArray[np.bool_]
    weight: Floats
    slips: float = 0.0


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
    frame: Frame, judged: LabelEvidence | None = None, *, slips: float = 0.0, bins: int = BINS
) -> Forecast:
    """Scenarios for the errors of a frame.

    `slips` is the share of right labels that the audit is expected to call wrong or cannot
    settle (unsure, unshowable): it costs coverage, and a plan should know.
    """
    bins = min(bins, len(frame))
    edges = np.linspace(0, len(frame), bins + 1).round().astype(np.int64)
    scenarios, prior = _grid()
    rates, log_weights = [], []
    for share, log_likely in _readings(judged):
        log_odds = _logit(_without_slips(frame.estimated_error, share))
        mean = np.add.reduceat(log_odds, edges[:-1]) / np.diff(edges)
        likelihood = _log_likelihood(judged, scenarios, share) if judged else 0.0
        rates.append(sigmoid(_moved(mean, scenarios)))
        log_weights.append(prior + log_likely + likelihood)
    log_weight = np.concatenate(log_weights)
    weights = np.exp(log_weight - log_weight.max())
    kept = weights > _LIGHT
    return Forecast(
        edges=edges,
        rates=slips + (1 - slips) * np.concatenate(rates)[kept],
        weights=weights[kept] / weights[kept].sum(),
    )


def _readings(judged: LabelEvidence | None) -> list[tuple[float, float]]:
    """What share of the estimates may be slips of people, and the log of how likely that is."""
    if judged is None or not len(judged.wrong) or judged.slips < _FEWEST_SLIPS:
        return [(0.0, 0.0)]
    return [
        (0.0, float(np.log1p(-_SLIPS_ARE_SLIPS))),
        (judged.slips, float(np.log(_SLIPS_ARE_SLIPS))),
    ]


def _without_slips(estimated_error: Floats, share: float) -> Floats:
    """The estimates of the error that is left if people got this share of labels wrong.

    How small they may get is not known that well: a tenth always stays.
    """
    cleaned = (estimated_error - share) / (1 - 2 * share)
    left: Floats = np.maximum(cleaned, _LEAST_LEFT * estimated_error) if share else estimated_error
    return left


def _grid() -> tuple[Floats, Floats]:
    """Stretch, bend and shift, (scenarios, 3), and the logs of their normal priors."""
    axes = (_STRETCH, _BEND, _SHIFT)
    grids = np.meshgrid(*(steps for _, _, steps in axes), indexing="ij")
    steps = np.stack([grid.ravel() for grid in grids], axis=1)
    centre = np.array([mean for mean, _, _ in axes])
    spread = np.array([deviation for _, deviation, _ in axes])
    return centre + spread * steps, -0.5 * np.square(steps).sum(axis=1)


def _moved(log_odds: Floats, scenarios: Floats) -> Floats:
    """Log-odds of being wrong in each scenario, (scenarios, values), for values at most 0."""
    stretch, bend = np.exp(scenarios[:, :1]), np.exp(scenarios[:, 1:2])
    moved: Floats = scenarios[:, 2:] - stretch * np.power(-log_odds[None, :], bend)
    return moved


def _log_likelihood(judged: LabelEvidence, scenarios: Floats, slips: float) -> Floats:
    """Of the labels, (scenarios,); without a share of `slips` each of `_SLIPS` may be theirs."""
    if not len(judged.wrong):
        return np.zeros(len(scenarios))
    estimated = _without_slips(np.clip(judged.estimated_error, 1e-6, 0.5), slips)
    wrong = sigmoid(_moved(_logit(estimated), scenarios))
    weight = judged.weight * (len(judged.weight) / judged.weight.sum())
    found = []
    for share, likely in ((slips, 1.0),) if slips else _SLIPS:
        seen_wrong = share + (1 - 2 * share) * wrong
        seen = np.where(judged.wrong[None, :], seen_wrong, 1 - seen_wrong)
        found.append(np.log(seen) @ weight + np.log(likely))
    total: Floats = np.logaddexp.reduce(found, axis=0)
    return total


def _logit(probability: Floats) -> Floats:
    odds: Floats = np.log(probability) - np.log1p(-probability)
    return odds
