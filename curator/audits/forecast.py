"""Forecast of the errors in a frame, before any audit label; plans alone use it.

The classifier estimates for every image how likely its label is wrong. As a whole such
estimates can be too low or too high, so a forecast is a set of scenarios: each stretches and
shifts the log-odds of all estimates, and its weight is the likelihood of human labels under
cross-validated predictions. Some human labels may be wrong themselves, which says nothing about
the pool; estimates that were calibrated on noisy labels are therefore also used with the noise
taken out. Labels of a random sample also bring the predictions for labels to the scale of those
for the pool, which differ in how sure they are. A wrong forecast makes a plan weak, never a
promise false.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curator.audits.frame import Frame
from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.statistics.calibration import SAMPLE_FOR_POOL, sigmoid

BINS = 400
_STRETCH = (0.0, 0.35, np.linspace(-2.5, 2.5, 15))
_BEND = (0.08, 0.12, np.linspace(-2.0, 2.0, 5))
_SHIFT = (0.0, 0.12, np.linspace(-2.0, 2.0, 5))
_LEAST_WEIGHT = 0.01
_NOISE_PRIOR = ((0.0, 0.7), (0.03, 0.075), (0.06, 0.075), (0.1, 0.075), (0.15, 0.075))
"""Shares of human labels that may be wrong whatever the image shows, with their priors."""
_LEAST_NOISE = 0.01
_NOISE_IS_NOISE = 0.5
"""Prior that labels which seem wrong are label noise, and not hard images."""
_LEAST_LEFT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelEvidence:
    """Human labels beside cross-validated predictions; arrays are (labels,).

    `estimated_error` is the out-of-fold probability that the predicted class is wrong, `wrong`
    whether it was. `noise` is the share of the labels that seem wrong whatever the image shows;
    the estimates were calibrated on these labels, so they contain it, too.
    """

    estimated_error: FloatArray
    wrong: BoolArray
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """Bins of consecutive ranks and, per scenario, the share of wrong labels in each.

    `edges` is (bins + 1,), ranks from 0 to the size of the frame; `rates` is (scenarios,
    bins); `weights` (scenarios,) add up to 1.
    """

    edges: IntArray
    rates: FloatArray
    weights: FloatArray

    @property
    def sizes(self) -> IntArray:
        """Images in each bin, (bins,)."""
        return np.diff(self.edges)

    @property
    def mean_rates(self) -> FloatArray:
        """The expected share of wrong labels in each bin, (bins,)."""
        mean: FloatArray = self.weights @ self.rates
        return mean

    @cached_property
    def wrong(self) -> FloatArray:
        """Wrong labels among the images up to the end of each bin, (scenarios, bins)."""
        total: FloatArray = np.cumsum(self.rates * self.sizes, axis=1)
        return total

    @cached_property
    def cumulative(self) -> FloatArray:
        """Share of wrong labels among the images up to the end of each bin, (scenarios, bins)."""
        share: FloatArray = self.wrong / self.edges[1:]
        return share

    @cached_property
    def favourable(self) -> FloatArray:
        """That share in the most favourable tenth of the scenarios, (bins,)."""
        lowest: FloatArray = np.quantile(self.cumulative, 0.1, axis=0)
        return lowest


def label_evidence(
    probability: FloatArray,
    positive: BoolArray,
    *,
    sampled: BoolArray,
    pool: FloatArray,
    noise: float = 0.0,
) -> LabelEvidence:
    """Human labels beside cross-validated P(positive), all (labels,).

    `sampled` labels are a random sample of the pool, whose P(positive) is `pool`, (images,).
    """
    estimated_error = np.minimum(probability, 1.0 - probability)
    if sampled.sum() >= SAMPLE_FOR_POOL:
        # A label is judged by the one head that it did not teach, with a map from fewer labels,
        # and so less surely than an image of the pool. In a random sample estimates have the
        # quantiles of the pool. Without this, what labels say of their own estimates would be
        # said of surer ones (Fashion-MNIST, a class against the rest: forecast 3.2%, true 5.2%).
        drawn = np.sort(estimated_error[sampled])
        quantiles = (np.arange(len(drawn)) + 0.5) / len(drawn)
        estimated_error = np.interp(
            estimated_error, drawn, np.quantile(np.minimum(pool, 1.0 - pool), quantiles)
        )
    return LabelEvidence(
        estimated_error=estimated_error, wrong=(probability > 0.5) != positive, noise=noise
    )


def forecast_errors(
    frame: Frame,
    evidence: LabelEvidence | None = None,
    *,
    false_alarm_rate: float = 0.0,
    bins: int = BINS,
) -> Forecast:
    """Scenarios for the errors of a frame.

    `false_alarm_rate` is the share of right labels that the audit is expected to call wrong or
    cannot settle (unsure, unshowable): it costs coverage, and a plan should allow for it.
    """
    bins = min(bins, len(frame))
    edges = np.linspace(0, len(frame), bins + 1).round().astype(np.int64)
    scenarios, prior = _scenario_grid()
    rates, log_weights = [], []
    for noise, log_prior in _noise_scenarios(evidence):
        log_odds = _logit(_without_noise(frame.estimated_error, noise))
        mean = np.add.reduceat(log_odds, edges[:-1]) / np.diff(edges)
        likelihood = _log_likelihood(evidence, scenarios, noise) if evidence else 0.0
        rates.append(sigmoid(_transformed(mean, scenarios)))
        log_weights.append(prior + log_prior + likelihood)
    log_weight = np.concatenate(log_weights)
    weights = np.exp(log_weight - log_weight.max())
    # Scenarios of next to no weight cost time in every plan and change none.
    relevant = weights > _LEAST_WEIGHT
    return Forecast(
        edges=edges,
        rates=false_alarm_rate + (1 - false_alarm_rate) * np.concatenate(rates)[relevant],
        weights=weights[relevant] / weights[relevant].sum(),
    )


def _noise_scenarios(evidence: LabelEvidence | None) -> list[tuple[float, float]]:
    """Shares of label noise contained in the estimates, each with the log of its prior."""
    if evidence is None or not len(evidence.wrong) or evidence.noise < _LEAST_NOISE:
        return [(0.0, 0.0)]
    return [
        (0.0, float(np.log1p(-_NOISE_IS_NOISE))),
        (evidence.noise, float(np.log(_NOISE_IS_NOISE))),
    ]


def _without_noise(estimated_error: FloatArray, noise: float) -> FloatArray:
    """The estimates of the error that is left if people got this share of labels wrong."""
    if not noise:
        return estimated_error
    cleaned = (estimated_error - noise) / (1 - 2 * noise)
    # How small they may get is not that certain: a tenth always stays.
    left: FloatArray = np.maximum(cleaned, _LEAST_LEFT * estimated_error)
    return left


def _scenario_grid() -> tuple[FloatArray, FloatArray]:
    """Stretch, bend and shift, (scenarios, 3), and the logs of their normal priors."""
    axes = (_STRETCH, _BEND, _SHIFT)
    grids = np.meshgrid(*(steps for _, _, steps in axes), indexing="ij")
    steps = np.stack([grid.ravel() for grid in grids], axis=1)
    centre = np.array([mean for mean, _, _ in axes])
    spread = np.array([deviation for _, deviation, _ in axes])
    return centre + spread * steps, -0.5 * np.square(steps).sum(axis=1)


def _transformed(log_odds: FloatArray, scenarios: FloatArray) -> FloatArray:
    """Log-odds of being wrong in each scenario, (scenarios, values), for values at most 0."""
    stretch, bend = np.exp(scenarios[:, :1]), np.exp(scenarios[:, 1:2])
    transformed: FloatArray = scenarios[:, 2:] - stretch * np.power(-log_odds[None, :], bend)
    return transformed


def _log_likelihood(
    evidence: LabelEvidence, scenarios: FloatArray, noise: float
) -> FloatArray | float:
    """Log-likelihood of the human labels, (scenarios,), averaged over `_NOISE_PRIOR` if 0 noise."""
    if not len(evidence.wrong):
        return 0.0
    estimated = _without_noise(np.clip(evidence.estimated_error, 1e-6, 0.5), noise)
    wrong = sigmoid(_transformed(_logit(estimated), scenarios))
    each = np.ones(len(evidence.wrong))
    log_likelihoods = []
    for share, prior in ((noise, 1.0),) if noise else _NOISE_PRIOR:
        observed_wrong = share + (1 - 2 * share) * wrong
        observed = np.where(evidence.wrong[None, :], observed_wrong, 1 - observed_wrong)
        log_likelihoods.append(np.log(observed) @ each + np.log(prior))
    total: FloatArray = np.logaddexp.reduce(log_likelihoods, axis=0)
    return total


def _logit(probability: FloatArray) -> FloatArray:
    odds: FloatArray = np.log(probability) - np.log1p(-probability)
    return odds
