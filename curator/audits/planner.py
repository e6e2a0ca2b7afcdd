"""Chooses a nested test before any of its labels is seen, to certify as much as can be expected.

An audit of so many images can be spread over a small part of the frame or over much of it.
Spread thin, it may prove nothing; concentrated, it cannot certify what it never sampled. Several
prefixes are tried on simulated audits of the forecast's scenarios, each with the steps that suit
it best. A bad choice costs coverage and never the promise.

For one prefix, every simulated audit says at which sizes the test would pass. Steps are tested
from the smallest and end at the first failure, so a step can help (something is certified
although a larger set fails) and harm (it fails although a larger set would have passed). Steps
are added one at a time while the expected certified size grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curator.audits.forecast import Forecast
from curator.audits.frame import Frame
from curator.audits.plan import (
    NEVER,
    AuditPlan,
    Promise,
    allowed_wrong,
    critical_counts,
    nested_plan,
)
from curator.base.arrays import BoolArray, FloatArray, IntArray

_PREFIXES, _FINALISTS = 32, 6
_FEW_AUDITS, _MANY_AUDITS = 500, 2_000
_FEW_SETS, _MANY_SETS = 24, 120
_LEAST_PREFIX = 0.02
_WORTH_A_STEP = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a plan is expected to give: mean certified and unseen images, and how often any."""

    certified: float
    chance: float


NOTHING = Expectation(certified=0.0, chance=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedAudits:
    """Simulated audits of one design: `passed` is (audits, sets), `weights` (audits,).

    `gains` (sets,) are the images that would be certified and unseen.
    """

    gains: IntArray
    passed: BoolArray
    weights: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Candidates:
    """The sets that an audit of one prefix can test: ends of bins, images, drawn images, tests."""

    rate: float
    bins: IntArray
    sizes: IntArray
    drawn: IntArray
    criticals: IntArray


def choose_plan(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int, seed: int
) -> tuple[AuditPlan, Expectation] | None:
    """The plan with up to `sample` audited images that is expected to certify most, or None.

    None means that no set of this frame can be expected to keep the promise, or that the
    promise is empty wherever it could be kept (see `rarer_share`). Chance enters only
    through `seed`. Raises DataError for a `max_error` outside (0, 0.5].
    """
    not_empty = rarer_share(frame, forecast.edges[1:]) > promise.max_error
    best: tuple[float, _Candidates, list[int]] | None = None
    for _, last in _rank_prefixes(frame, forecast, promise, sample, seed)[:_FINALISTS]:
        candidates = _candidates(forecast, promise, last, sample, not_empty, _MANY_SETS)
        if candidates is not None:
            expected, steps = _best_of(candidates, forecast, _MANY_AUDITS, [seed, 1])
            if expected.certified > (best[0] if best else 0.0):
                best = expected.certified, candidates, steps
    if best is None:
        return None
    _, candidates, steps = best
    plan = nested_plan(
        frame, promise, candidates.sizes[steps].tolist(), candidates.drawn[steps].tolist()
    )
    return None if plan is None else (plan, expect(plan, forecast, seed=seed))


def rough_expectation(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int, seed: int
) -> Expectation:
    """About what the best audit of this size is expected to give; quick, and slightly too high."""
    ranked = _rank_prefixes(frame, forecast, promise, sample, seed)
    return ranked[0][0] if ranked else NOTHING


def expect(plan: AuditPlan, forecast: Forecast, *, seed: int) -> Expectation:
    """What to expect of a plan, on simulated audits that were not used to choose it."""
    certified, chance = run_steps(
        _simulate(
            forecast,
            np.minimum(np.searchsorted(forecast.edges[1:], plan.sizes), len(forecast.sizes) - 1),
            plan.sample / int(plan.sizes[-1]),
            np.array([step.critical for step in plan.steps]),
            np.array([step.unseen for step in plan.steps]),
            audits=_MANY_AUDITS,
            generator=np.random.default_rng([seed, 2]),
        )
    )
    return Expectation(certified=certified, chance=chance)


def rarer_share(frame: Frame, sizes: IntArray) -> FloatArray:
    """The share of the rarer label in prefixes of these sizes, (sizes,).

    Where it is no more than `max_error`, giving all the other label keeps the same promise,
    and a certificate would say nothing about the labels: such sets are not tested. For a frame
    of one class it is the share of the other in the whole pool: if that is no more than
    `max_error`, calling everything this class keeps the promise.
    """
    if frame.other_share is not None:
        return np.full(len(sizes), frame.other_share)
    positive = np.cumsum(frame.positive)[sizes - 1] / sizes
    rarer: FloatArray = np.minimum(positive, 1.0 - positive)
    return rarer


def best_steps(audits: SimulatedAudits) -> tuple[list[int], float]:
    """The steps, as rising indices into the sets, and the expected certified images."""
    alone = (audits.weights @ audits.passed) * audits.gains
    steps, value = [int(np.argmax(alone))], float(alone.max())
    while True:
        added, better = _best_addition(audits, steps)
        if better <= value * (1 + _WORTH_A_STEP):
            return steps, value
        steps, value = sorted([*steps, added]), better


def run_steps(audits: SimulatedAudits) -> tuple[float, float]:
    """Expected certified images if all sets are steps, and the chance to certify any."""
    passed = np.cumprod(audits.passed, axis=1).sum(axis=1)
    gained = np.concatenate([[0], audits.gains])[passed]
    return float(audits.weights @ gained), float(audits.weights @ (passed > 0))


def _rank_prefixes(
    frame: Frame, forecast: Forecast, promise: Promise, sample: int, seed: int
) -> list[tuple[Expectation, int]]:
    """Rough expectation and last bin of every prefix, the best first."""
    not_empty = rarer_share(frame, forecast.edges[1:]) > promise.max_error
    tried = []
    for last in _prefix_ends(forecast, promise.max_error, sample):
        candidates = _candidates(forecast, promise, last, sample, not_empty, _FEW_SETS)
        if candidates is not None:
            tried.append((_best_of(candidates, forecast, _FEW_AUDITS, [seed, 0])[0], last))
    return sorted(tried, key=lambda prefix: (prefix[0].certified, prefix[1]), reverse=True)


def _prefix_ends(forecast: Forecast, max_error: float, sample: int) -> Iterator[int]:
    """Last bins of the prefixes to be tried: up to where the forecast breaks the promise."""
    ends = forecast.edges[1:]
    share = np.cumsum(forecast.mean_rates * forecast.sizes) / ends
    # The most favourable tenth of the scenarios may extend further than the mean.
    favourable = np.quantile(forecast.cumulative(), 0.1, axis=0)
    within = np.flatnonzero((np.minimum(share, favourable) <= max_error) & (ends > sample))
    if len(within):
        first = max(int(within[0]), int(_LEAST_PREFIX * len(ends)))
        last = max(int(within[-1]), first)
        yield from (int(end) for end in np.unique(np.linspace(first, last, _PREFIXES).astype(int)))


def _candidates(
    forecast: Forecast,
    promise: Promise,
    last: int,
    sample: int,
    not_empty: BoolArray,
    sets: int,
) -> _Candidates | None:
    """The sets that an audit of the prefix up to the end of bin `last` can test.

    `not_empty` is (bins,): where the promise says something, see `rarer_share`.
    """
    prefix = int(forecast.edges[last + 1])
    bins = np.unique(np.linspace(0.15 * last, last, sets).round().astype(np.int64))
    # A set ends where the sample drawn from it is a whole number at the common rate, so that
    # no stratum is sampled at a lower rate than another.
    drawn = forecast.edges[bins + 1] * sample // prefix
    sizes = drawn * prefix // sample
    usable = not_empty[bins] & (drawn > 0)
    usable[1:] &= np.diff(drawn) > 0
    if not usable.any():
        return None
    bins, drawn, sizes = bins[usable], drawn[usable], sizes[usable]
    allowed = allowed_wrong(sizes - drawn, promise.max_error)
    return _Candidates(
        rate=sample / prefix,
        bins=bins,
        sizes=sizes,
        drawn=drawn,
        criticals=critical_counts(allowed, drawn / sizes, drawn, promise.risk),
    )


def _best_of(
    candidates: _Candidates, forecast: Forecast, audits: int, seed: list[int]
) -> tuple[Expectation, list[int]]:
    """What to expect of a prefix with its best steps, and these."""
    simulated = _simulate(
        forecast,
        candidates.bins,
        candidates.rate,
        candidates.criticals,
        candidates.sizes - candidates.drawn,
        audits=audits,
        generator=np.random.default_rng(seed),
    )
    steps, value = best_steps(simulated)
    chance = float(simulated.weights @ simulated.passed[:, steps[0]])
    return Expectation(certified=value, chance=chance), steps


def _simulate(
    forecast: Forecast,
    bins: IntArray,
    rate: float,
    criticals: IntArray,
    gains: IntArray,
    *,
    audits: int,
    generator: np.random.Generator,
) -> SimulatedAudits:
    """About `audits` audits over all scenarios, tested at the ends of these bins.

    Every image is drawn at `rate`; `criticals` and `gains` are (sets,), one for each bin.
    """
    repeats = -(-audits // len(forecast.weights))
    wrong = np.cumsum(forecast.rates * forecast.sizes, axis=1)[:, bins]
    expected = rate * np.diff(wrong, axis=1, prepend=0.0)
    errors = np.cumsum(generator.poisson(np.repeat(expected, repeats, axis=0)), axis=1)
    return SimulatedAudits(
        gains=gains,
        passed=(errors <= criticals) & (criticals != NEVER),
        weights=np.repeat(forecast.weights, repeats) / repeats,
    )


def _best_addition(audits: SimulatedAudits, steps: list[int]) -> tuple[int, float]:
    """The set that helps most as a further step, and the expected value it then has."""
    passed = np.cumprod(audits.passed[:, steps], axis=1).sum(axis=1)
    gains = np.concatenate([[0], audits.gains[steps]])
    final = gains[passed]
    best, best_value = -1, -1.0
    bounds = [-1, *steps, len(audits.gains)]
    for below, (low, high) in enumerate(itertools.pairwise(bounds)):
        between = np.arange(low + 1, high)
        if len(between) == 0:
            continue
        reached, ends_here = passed >= below, passed == below
        with_step = np.where(ends_here[:, None], audits.gains[between], final[:, None])
        gained = np.where(audits.passed[:, between], with_step, gains[below])
        value = audits.weights @ np.where(reached[:, None], gained, final[:, None])
        index = int(np.argmax(value))
        if value[index] > best_value:
            best, best_value = int(between[index]), float(value[index])
    return best, best_value
