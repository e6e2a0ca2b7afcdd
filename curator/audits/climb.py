"""Tries an audit design on many imagined audits, and picks the rungs that certify most.

For one design, every imagined audit says at which sizes the test would pass. A ladder is
walked from its smallest rung and ends at the first that fails, so a rung can help (something
is certified although a larger set fails) and harm (it fails although a larger set would have
passed). Rungs are added one at a time while the expected certified size grows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.audits.forecast import Forecast
from curator.audits.ladder import NEVER

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_WORTH_A_RUNG = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trials:
    """Imagined audits of one design: `passed` is (audits, sets), `weights` (audits,).

    `gains` (sets,) are the images that would be certified and unseen.
    """

    gains: Ints
    passed: Flags
    weights: Floats


def imagine(
    forecast: Forecast,
    bins: Ints,
    rate: float,
    criticals: Ints,
    gains: Ints,
    *,
    audits: int,
    generator: np.random.Generator,
) -> Trials:
    """About `audits` audits over all scenarios, tested at the ends of the given bins.

    Every image is drawn at `rate`; `criticals` and `gains` are (sets,), one per given bin.
    """
    repeats = -(-audits // len(forecast.weights))
    wrong = np.cumsum(forecast.rates * forecast.sizes, axis=1)[:, bins]
    expected = rate * np.diff(wrong, axis=1, prepend=0.0)
    found = np.cumsum(generator.poisson(np.repeat(expected, repeats, axis=0)), axis=1)
    return Trials(
        gains=gains,
        passed=(found <= criticals) & (criticals != NEVER),
        weights=np.repeat(forecast.weights, repeats) / repeats,
    )


def climb(trials: Trials) -> tuple[list[int], float]:
    """The rungs, as rising indices into the sets, and the expected certified images."""
    alone = (trials.weights @ trials.passed) * trials.gains
    rungs, value = [int(np.argmax(alone))], float(alone.max())
    while True:
        added, better = _best_addition(trials, rungs)
        if better <= value * (1 + _WORTH_A_RUNG):
            return rungs, value
        rungs, value = sorted([*rungs, added]), better


def walk(trials: Trials) -> tuple[float, float]:
    """Expected certified images on the ladder of all sets, and the chance to certify any."""
    climbed = np.cumprod(trials.passed, axis=1).sum(axis=1)
    gained = np.concatenate([[0], trials.gains])[climbed]
    return float(trials.weights @ gained), float(trials.weights @ (climbed > 0))


def _best_addition(trials: Trials, rungs: list[int]) -> tuple[int, float]:
    """The set whose test helps most when it joins the ladder, and the value it then has."""
    climbed = np.cumprod(trials.passed[:, rungs], axis=1).sum(axis=1)
    gains = np.concatenate([[0], trials.gains[rungs]])
    final = gains[climbed]
    best, best_value = -1, -1.0
    bounds = [-1, *rungs, len(trials.gains)]
    for below, (low, high) in enumerate(itertools.pairwise(bounds)):
        between = np.arange(low + 1, high)
        if len(between) == 0:
            continue
        reached, stops_here = climbed >= below, climbed == below
        with_rung = np.where(stops_here[:, None], trials.gains[between], final[:, None])
        new = np.where(trials.passed[:, between], with_rung, gains[below])
        value = trials.weights @ np.where(reached[:, None], new, final[:, None])
        place = int(np.argmax(value))
        if value[place] > best_value:
            best, best_value = int(between[place]), float(value[place])
    return best, best_value
