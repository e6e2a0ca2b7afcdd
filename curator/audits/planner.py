"""Chooses an audit before any of its labels is seen, to certify as much as can be expected.

An audit of so many images can be spread over a small part of the frame or over much of it.
Spread thin, it may prove nothing; kept close, it cannot certify what it never reached. Every
reach is tried on scenarios of the forecast, each with the ladder that suits it best. What
is chosen badly costs coverage and never the promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.audits.climb import climb, imagine, walk
from curator.audits.forecast import Forecast
from curator.audits.frame import Frame
from curator.audits.ladder import AuditPlan, allowed_wrong, critical_counts, lay_ladder
from curator.audits.promise import Promise

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_REACHES, _FINALISTS = 32, 6
_FEW_AUDITS, _MANY_AUDITS = 500, 2_000
_FEW_SETS, _MANY_SETS = 24, 120
_LEAST_REACHED = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a plan is expected to give: mean certified and unseen images, and how often any."""

    certified: float
    chance: float


NOTHING = Expectation(certified=0.0, chance=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reach:
    """The sets that an audit of `rate` can test: ends of bins, images, drawn images, tests."""

    rate: float
    bins: Ints
    sizes: Ints
    drawn: Ints
    criticals: Ints


def choose_plan(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int, seed: int
) -> tuple[AuditPlan, Expectation] | None:
    """The plan with up to `sample` audited images that is expected to certify most, or None.

    None means that no set of this frame can be expected to keep the promise, or that the
    promise is empty wherever it could be kept (see `rarer_share`). Chance enters only
    through `seed`. Raises DataError for a `max_error` outside (0, 0.5].
    """
    tried = _survey(frame, forecast, promise, sample, seed)
    telling = rarer_share(frame, forecast.edges[1:]) > promise.max_error
    best: tuple[float, _Reach, list[int]] | None = None
    for _, last in tried[:_FINALISTS]:
        reach = _reach(forecast, promise, last, sample, telling, _MANY_SETS)
        if reach is not None:
            expected, rungs = _try(reach, forecast, _MANY_AUDITS, [seed, 1])
            if expected.certified > (best[0] if best else 0.0):
                best = expected.certified, reach, rungs
    if best is None:
        return None
    _, reach, rungs = best
    plan = lay_ladder(
        frame,
        promise,
        [int(size) for size in reach.sizes[rungs]],
        [int(count) for count in reach.drawn[rungs]],
    )
    return None if plan is None else (plan, expect(plan, forecast, seed=seed))


def rough_expectation(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int, seed: int
) -> Expectation:
    """About what the best audit of this size is expected to give; quick, and a little hopeful."""
    tried = _survey(frame, forecast, promise, sample, seed)
    return tried[0][0] if tried else NOTHING


def expect(plan: AuditPlan, forecast: Forecast, *, seed: int) -> Expectation:
    """What the forecast lets expect of a plan, on imagined audits that did not choose it."""
    trials = imagine(
        forecast,
        np.minimum(np.searchsorted(forecast.edges[1:], plan.sizes), len(forecast.sizes) - 1),
        plan.sample / int(plan.sizes[-1]),
        np.array([rung.critical for rung in plan.rungs]),
        np.array([rung.unseen for rung in plan.rungs]),
        audits=_MANY_AUDITS,
        generator=np.random.default_rng([seed, 2]),
    )
    certified, chance = walk(trials)
    return Expectation(certified=certified, chance=chance)


def rarer_share(frame: Frame, sizes: Ints) -> Floats:
    """The share of the rarer label in prefixes of these sizes, (sizes,).

    Where it is no more than `max_error`, giving all the other label keeps the same promise,
    and a certificate would say nothing about the labels: such sets are not tested. For a frame
    of one class it is the share of the other in the whole pool: if that is no more than
    `max_error`, calling everything this class keeps the promise.
    """
    if frame.other_share is not None:
        return np.full(len(sizes), frame.other_share)
    positive = np.cumsum(frame.positive)[sizes - 1] / sizes
    rarer: Floats = np.minimum(positive, 1.0 - positive)
    return rarer


def _survey(
    frame: Frame, forecast: Forecast, promise: Promise, sample: int, seed: int
) -> list[tuple[Expectation, int]]:
    """Every reach, as what to expect roughly and its last bin, the best first."""
    telling = rarer_share(frame, forecast.edges[1:]) > promise.max_error
    tried = []
    for last in _ends(forecast, promise.max_error, sample):
        reach = _reach(forecast, promise, last, sample, telling, _FEW_SETS)
        if reach is not None:
            tried.append((_try(reach, forecast, _FEW_AUDITS, [seed, 0])[0], last))
    return sorted(tried, key=lambda one: (one[0].certified, one[1]), reverse=True)


def _ends(forecast: Forecast, max_error: float, sample: int) -> Iterator[int]:
    """The last bins of the reaches to be tried: up to where the forecast breaks the promise."""
    ends = forecast.edges[1:]
    share = np.cumsum(forecast.mean_rates * forecast.sizes) / ends
    # The most hopeful tenth of the scenarios may reach further than the mean.
    hopeful = np.quantile(forecast.cumulative(), 0.1, axis=0)
    within = np.flatnonzero((np.minimum(share, hopeful) <= max_error) & (ends > sample))
    if len(within):
        first = max(int(within[0]), int(_LEAST_REACHED * len(ends)))
        last = max(int(within[-1]), first)
        yield from (int(end) for end in np.unique(np.linspace(first, last, _REACHES).astype(int)))


def _reach(
    forecast: Forecast,
    promise: Promise,
    last: int,
    sample: int,
    telling: NDArray[np.bool_],
    sets: int,
) -> _Reach | None:
    """The sets that an audit reaching to the end of bin `last` can test.

    A set ends where the sample drawn from it is a whole number at the common rate, so that
    no shell is sampled thinner than another.
    """
    reached = int(forecast.edges[last + 1])
    bins = np.unique(np.linspace(0.15 * last, last, sets).round().astype(np.int64))
    drawn = forecast.edges[bins + 1] * sample // reached
    sizes = drawn * reached // sample
    usable = telling[bins] & (drawn > 0)
    usable[1:] &= np.diff(drawn) > 0
    if not usable.any():
        return None
    bins, drawn, sizes = bins[usable], drawn[usable], sizes[usable]
    allowed = allowed_wrong(sizes - drawn, promise.max_error)
    return _Reach(
        rate=sample / reached,
        bins=bins,
        sizes=sizes,
        drawn=drawn,
        criticals=critical_counts(allowed, drawn / sizes, drawn, promise.risk),
    )


def _try(
    reach: _Reach, forecast: Forecast, audits: int, seed: list[int]
) -> tuple[Expectation, list[int]]:
    """What to expect of a reach with its best rungs, and these."""
    trials = imagine(
        forecast,
        reach.bins,
        reach.rate,
        reach.criticals,
        reach.sizes - reach.drawn,
        audits=audits,
        generator=np.random.default_rng(seed),
    )
    rungs, value = climb(trials)
    chance = float(trials.weights @ trials.passed[:, rungs[0]])
    return Expectation(certified=value, chance=chance), rungs
