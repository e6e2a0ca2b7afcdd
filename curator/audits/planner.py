"""Chooses a nested test before any of its labels is seen, to certify as much as can be expected.

An audit of so many images can be spread over a small part of the frame or over much of it.
Spread thin, it may prove nothing; concentrated, it cannot certify what it never sampled. Several
prefixes are tried on simulated audits of the forecast's scenarios, each with the steps that suit
it best. A bad choice costs coverage and never the promise.

For one prefix, every simulated audit says at which sizes the test would pass. Steps are tested
from the smallest and end at the first failure, so a step can help (something is certified
although a larger set fails) and harm (it fails although a larger set would have passed). Steps
are added one at a time while the expected certified size grows. Each step of several asks for at
least `fewest_of_step` images, because a person is interrupted between steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from curator.audits.forecast import Forecast
from curator.audits.frame import Frame
from curator.audits.plan import (
    NEVER,
    AuditPlan,
    Promise,
    Rescue,
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
_RESCUED_PARTS = (0.5, 0.75, 1.0)
_RESCUE_SAMPLES = 8
_STEP_IMAGES, _STEP_SHARE = 20, 0.05
_RANGE = (0.1, 0.9)

SPARE_SHARE = 0.002
"""Share of the unseen images of a step that may vanish before its bound exceeds the promise."""

RESCUE_SHARE = 0.2
"""Share of an audit's risk that is kept for the rescue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a plan is expected to give: mean certified and unseen images, and how often any.

    Eight audits of ten are expected to certify from `low` to `high` images.
    """

    certified: float
    chance: float
    low: float = 0.0
    high: float = 0.0


NOTHING = Expectation(certified=0.0, chance=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedAudits:
    """Simulated audits that test nested sets.

    `sizes` and `drawn` are (sets,), `passed` is (audits, sets), `weights` (audits,).
    """

    sizes: IntArray
    drawn: IntArray
    passed: BoolArray
    weights: FloatArray

    @property
    def gains(self) -> IntArray:
        """Images that would be certified and unseen, (sets,)."""
        return self.sizes - self.drawn


def choose_plan(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int, seed: int
) -> tuple[AuditPlan, Expectation] | None:
    """The plan with up to `sample` audited images that is expected to certify most, or None.

    If the sample is large enough for a rescue that can pass, a part of the risk is kept for it.
    None means that no set of this frame can be expected to keep the promise, or that the
    promise is empty wherever it could be kept (see `rarer_share`). Chance enters only
    through `seed`. Raises DataError for a `max_error` outside (0, 0.5].
    """
    not_empty = rarer_share(frame, forecast.edges[1:]) > promise.max_error
    tested = _for_steps(promise, sample)
    best: tuple[float, SimulatedAudits, list[int]] | None = None
    finalists = [
        last for _, last in _rank_prefixes(frame, forecast, tested, sample, seed)[:_FINALISTS]
    ]
    for _, audits in _try_prefixes(
        forecast, tested, finalists, sample, not_empty, _MANY_SETS, _MANY_AUDITS, [seed, 1]
    ):
        steps, certified = best_steps(audits, fewest_of_step(sample))
        if certified > (best[0] if best else 0.0):
            best = certified, audits, steps
    if best is None:
        return None
    _, audits, steps = best
    sizes, drawn = audits.sizes[steps].tolist(), audits.drawn[steps].tolist()
    rescue = _plan_rescue(frame, promise, sizes[0], drawn[0], sample)
    plan = nested_plan(frame, promise, sizes, drawn, rescue, spare=SPARE_SHARE)
    return None if plan is None else (plan, expect(plan, forecast, seed=seed))


def _rescue_sample(promise: Promise, sample: int) -> int:
    """The fewest images that a rescue draws: half as many again; 0 if no such sample could pass."""
    risk = RESCUE_SHARE * promise.risk
    fewest = int(np.ceil(np.log(risk) / np.log1p(-promise.max_error)))
    drawn = max(sample // 2, fewest)
    return drawn if drawn <= sample else 0


def _for_steps(promise: Promise, sample: int) -> Promise:
    """The promise at the risk that its steps are tested at."""
    if not _rescue_sample(promise, sample):
        return promise
    return replace(promise, risk=(1.0 - RESCUE_SHARE) * promise.risk)


def _plan_rescue(
    frame: Frame, promise: Promise, size: int, first_drawn: int, sample: int
) -> Rescue | None:
    """The rescue of a first set of `size` images with `first_drawn` in its sample, or None.

    It is about the inner half, or about more where half is too small or its promise empty, and
    draws as few as can pass.
    """
    fewest = _rescue_sample(promise, sample)
    if not fewest:
        return None
    inner = np.array([int(part * size) for part in _RESCUED_PARTS])
    inner = inner[rarer_share(frame, inner) > promise.max_error]
    for drawn in np.unique(np.linspace(fewest, sample, _RESCUE_SAMPLES).astype(np.int64)).tolist():
        for part in inner[inner - first_drawn >= 2 * drawn].tolist():
            rescue = Rescue(size=part, drawn=drawn, risk=RESCUE_SHARE * promise.risk)
            # However many of its images the first sample holds.
            overlaps = (0, first_drawn // 2, first_drawn)
            tests = [rescue.test(overlap, promise.max_error) for overlap in overlaps]
            if all(test.critical != NEVER for test in tests):
                return rescue
    return None


def rough_expectation(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int, seed: int
) -> Expectation:
    """About what the best audit of this size is expected to give; quick, and slightly too high."""
    ranked = _rank_prefixes(frame, forecast, _for_steps(promise, sample), sample, seed)
    return ranked[0][0] if ranked else NOTHING


def expect(plan: AuditPlan, forecast: Forecast, *, seed: int) -> Expectation:
    """What to expect of a plan, on simulated audits that were not used to choose it."""
    ends = np.searchsorted(forecast.edges[1:], plan.sizes)
    audits = _simulate(
        forecast,
        np.minimum(ends, len(forecast.sizes) - 1),
        plan.sizes,
        np.array([step.drawn for step in plan.steps]),
        np.array([step.critical for step in plan.steps]),
        rate=plan.sample / int(plan.sizes[-1]),
        audits=_MANY_AUDITS,
        seed=[seed, 2],
    )
    gained = _gained(audits)
    if plan.rescue is not None:
        rescue, first = plan.rescue, plan.steps[0]
        last = min(int(np.searchsorted(forecast.edges[1:], rescue.size)), len(forecast.sizes) - 1)
        repeats = len(audits.weights) // len(forecast.weights)
        wrong_share = np.repeat(forecast.cumulative[:, last], repeats)
        errors = np.random.default_rng([seed, 3]).poisson(wrong_share * rescue.drawn)
        test = rescue.test(first.drawn * rescue.size // first.size, plan.promise.max_error)
        gained[~audits.passed[:, 0] & (errors <= test.critical)] = test.unseen
    return expectation_of(gained, audits.weights)


def expectation_of(gained: IntArray, weights: FloatArray) -> Expectation:
    """What simulated audits with these weights certified, both (audits,), in short."""
    order = np.argsort(gained, kind="stable")
    low, high = np.searchsorted(np.cumsum(weights[order]), _RANGE)
    return Expectation(
        certified=float(weights @ gained),
        chance=float(weights @ (gained > 0)),
        low=float(gained[order[low]]),
        high=float(gained[order[high]]),
    )


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


def fewest_of_step(sample: int) -> int:
    """The fewest images that a step asks for beyond the step before it."""
    return min(sample, max(_STEP_IMAGES, math.ceil(_STEP_SHARE * sample)))


def best_steps(audits: SimulatedAudits, fewest: int) -> tuple[list[int], float]:
    """The steps, as rising indices into the sets, and the expected certified images.

    Steps differ by at least `fewest` drawn images.
    """
    passes = audits.passed.astype(np.float64)
    alone = (audits.weights @ passes) * audits.gains
    steps, value = [int(np.argmax(alone))], float(alone.max())
    while True:
        added, better = _best_addition(audits, passes, steps, fewest)
        if better <= value * (1 + _WORTH_A_STEP):
            return steps, value
        steps, value = sorted([*steps, added]), better


def run_steps(audits: SimulatedAudits) -> tuple[float, float]:
    """Expected certified images if all sets are steps, and the chance to certify any."""
    gained = _gained(audits)
    return float(audits.weights @ gained), float(audits.weights @ (gained > 0))


def _gained(audits: SimulatedAudits) -> IntArray:
    """Images certified by each audit, (audits,), if all sets are steps."""
    passed = np.cumprod(audits.passed, axis=1).sum(axis=1)
    gained: IntArray = np.concatenate([[0], audits.gains])[passed]
    return gained


def _rank_prefixes(
    frame: Frame, forecast: Forecast, promise: Promise, sample: int, seed: int
) -> list[tuple[Expectation, int]]:
    """Rough expectation and last bin of every prefix, the best first."""
    not_empty = rarer_share(frame, forecast.edges[1:]) > promise.max_error
    ends = list(_prefix_ends(forecast, promise.max_error, sample))
    tried = []
    for last, audits in _try_prefixes(
        forecast, promise, ends, sample, not_empty, _FEW_SETS, _FEW_AUDITS, [seed, 0]
    ):
        steps, certified = best_steps(audits, fewest_of_step(sample))
        chance = float(audits.weights @ audits.passed[:, steps[0]])
        tried.append((Expectation(certified=certified, chance=chance), last))
    return sorted(tried, key=lambda prefix: (prefix[0].certified, prefix[1]), reverse=True)


def _prefix_ends(forecast: Forecast, max_error: float, sample: int) -> Iterator[int]:
    """Last bins of the prefixes to be tried: up to where the forecast breaks the promise."""
    ends = forecast.edges[1:]
    share = np.cumsum(forecast.mean_rates * forecast.sizes) / ends
    # The most favourable tenth of the scenarios may extend further than the mean.
    reach = np.minimum(share, forecast.favourable)
    within = np.flatnonzero((reach <= max_error) & (ends > sample))
    if len(within):
        first = max(int(within[0]), int(_LEAST_PREFIX * len(ends)))
        last = max(int(within[-1]), first)
        yield from (int(end) for end in np.unique(np.linspace(first, last, _PREFIXES).astype(int)))


def _try_prefixes(
    forecast: Forecast,
    promise: Promise,
    ends: Sequence[int],
    sample: int,
    not_empty: BoolArray,
    sets: int,
    audits: int,
    seed: list[int],
) -> Iterator[tuple[int, SimulatedAudits]]:
    """Audits of the prefixes up to the end of these bins, but for those without a set to be tested.

    `not_empty` is (bins,): where the promise says something, see `rarer_share`.
    """
    tried: list[tuple[int, int, IntArray, IntArray, IntArray]] = []
    for last in ends:
        prefix = int(forecast.edges[last + 1])
        bins = np.unique(np.linspace(0.15 * last, last, sets).round().astype(np.int64))
        # A set ends where the sample drawn from it is a whole number at the common rate, so that
        # no stratum is sampled at a lower rate than another.
        drawn = forecast.edges[bins + 1] * sample // prefix
        usable = not_empty[bins] & (drawn >= fewest_of_step(sample))
        usable[1:] &= np.diff(drawn) > 0
        if usable.any():
            bins, drawn = bins[usable], drawn[usable]
            tried.append((last, prefix, bins, drawn, drawn * prefix // sample))
    if not tried:
        return
    # Of all prefixes at once: SciPy's tails cost more to call than to compute.
    all_drawn = np.concatenate([drawn for _, _, _, drawn, _ in tried])
    all_sizes = np.concatenate([sizes for _, _, _, _, sizes in tried])
    allowed = allowed_wrong(all_sizes - all_drawn, promise.max_error, SPARE_SHARE)
    criticals = critical_counts(allowed, all_drawn / all_sizes, all_drawn, promise.risk)
    borders = np.cumsum([len(drawn) for _, _, _, drawn, _ in tried])[:-1]
    for (last, prefix, bins, drawn, sizes), critical in zip(
        tried, np.split(criticals, borders), strict=True
    ):
        rate = sample / prefix
        yield (
            last,
            _simulate(forecast, bins, sizes, drawn, critical, rate=rate, audits=audits, seed=seed),
        )


def _simulate(
    forecast: Forecast,
    bins: IntArray,
    sizes: IntArray,
    drawn: IntArray,
    criticals: IntArray,
    *,
    rate: float,
    audits: int,
    seed: list[int],
) -> SimulatedAudits:
    """About `audits` audits over all scenarios; arrays are (sets,), `bins` where each set ends.

    Every image is drawn at `rate`.
    """
    repeats = -(-audits // len(forecast.weights))
    wrong = np.diff(forecast.wrong[:, bins], axis=1, prepend=0.0)
    expected = np.repeat(rate * wrong, repeats, axis=0)
    # The wrong labels that a thin sample of many images finds are close to Poisson.
    errors = np.cumsum(np.random.default_rng(seed).poisson(expected), axis=1)
    return SimulatedAudits(
        sizes=sizes,
        drawn=drawn,
        passed=(errors <= criticals) & (criticals != NEVER),
        weights=np.repeat(forecast.weights, repeats) / repeats,
    )


def _best_addition(
    audits: SimulatedAudits, passes: FloatArray, steps: list[int], fewest: int
) -> tuple[int, float]:
    """The set that helps most as a further step, and the expected value it then has.

    `passes` is `audits.passed` as numbers.
    """
    weights, passed = audits.weights, np.cumprod(audits.passed[:, steps], axis=1).sum(axis=1)
    gains = np.concatenate([[0], audits.gains[steps]])
    number = np.arange(len(gains))[:, None]
    # A set between two steps lifts audits that would end at the one below, if it passes, and costs
    # those that would get further what they gain beyond it, if it fails: (steps + 1, audits).
    lifted = weights * (passed == number)
    at_risk = weights * (passed > number) * (gains[passed] - gains[:, None])
    if_passed = np.concatenate([lifted, at_risk]) @ passes
    value = float(weights @ gains[passed])
    best, best_value = -1, -1.0
    bounds = [-1, *steps, len(audits.gains)]
    for below, (low, high) in enumerate(itertools.pairwise(bounds)):
        between = np.arange(low + 1, high)
        if low >= 0:
            between = between[audits.drawn[between] - audits.drawn[low] >= fewest]
        if high < len(audits.drawn):
            between = between[audits.drawn[high] - audits.drawn[between] >= fewest]
        if len(between) == 0:
            continue
        gained = (audits.gains[between] - gains[below]) * if_passed[below, between]
        change = gained + if_passed[len(gains) + below, between] - at_risk[below].sum()
        index = int(np.argmax(change))
        if value + change[index] > best_value:
            best, best_value = int(between[index]), value + float(change[index])
    return best, best_value
