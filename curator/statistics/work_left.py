"""How many more decisions finish a pool, from how doubtful its images are and how that has changed.

Finished means: of all images, at most a share has a wrong label, where people label the most
doubtful images and the rest gets its likelier class. An image with P(positive) p is then wrong
with the probability min(p, 1 - p), its doubt. If m more images are labelled, the doubts of the
others also fall, as (1 + m / labels)^-a: a power law, whose exponent is fitted to the doubts of
earlier rounds and drawn to one that fitted the pools of `benchmarks.finish`. The widths of the
range were chosen on the same pools: 8 of 10 ends lay in it, 7 of 10 from 300 labels on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curator.base.arrays import FloatArray

_EDGES = np.geomspace(1e-5, 0.5, 61)
_MIDDLES = np.concatenate([[_EDGES[0] / 2], np.sqrt(_EDGES[:-1] * _EDGES[1:])])

_EXPONENT = 0.4
_SLOWEST, _FASTEST = -0.3, 0.3
"""The range of the exponent, around its estimate."""
_FEWER, _MORE, _MORE_REVIEWED = 0.6, 1.5, 2.0
"""The range of the wrong labels, in multiples of the expected ones. Scores that were taught by
doubtful images are surer than they are right, so its upper end rises with the share of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """The doubts of the images without a human label after a round on so many labels.

    `counts` has the number of images in each interval of the doubt; `reviewed` of the `labels`
    were selected by scores.
    """

    labels: int
    reviewed: int
    counts: Sequence[int]

    def descending(self) -> FloatArray:
        """A doubt for each image, the largest first."""
        doubts: FloatArray = np.repeat(_MIDDLES, self.counts)[::-1]
        return doubts


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLeft:
    """Decisions that are left, with a range that holds the truth in about 8 of 10 pools."""

    decisions: int
    low: int
    high: int


def doubt_counts(probability: FloatArray) -> list[int]:
    """How many images have their doubt in each interval; P(positive) is (images,)."""
    doubt = np.minimum(probability, 1.0 - probability)
    interval = np.searchsorted(_EDGES[:-1], doubt, side="right")
    return [int(number) for number in np.bincount(interval, minlength=len(_MIDDLES))]


def work_left(rounds: Sequence[Doubts], images: int, *, error: float, coverage: float) -> WorkLeft:
    """Decisions after the last of these rounds, until the pool of `images` is finished.

    At the end at most `error` * `images` labels are wrong, and the most doubtful images may
    remain without a label, as long as the share `coverage` has one.
    """
    last = rounds[-1]
    reviewed = last.reviewed / last.labels
    exponent = _fitted_exponent(rounds)
    doubts = last.descending()
    after = np.concatenate([np.cumsum(doubts[::-1])[::-1], [0.0]])
    left_out = int((1.0 - coverage) * images)
    decisions = np.arange(len(after))
    remaining = after[np.minimum(decisions + left_out, len(doubts))]

    def until(factor: float, exponent: float) -> int:
        wrong = (
            factor
            * (1.0 + reviewed)
            * remaining
            * (1.0 + decisions / last.labels) ** -max(exponent, 0.0)
        )
        return int(np.argmax(wrong <= error * images))

    return WorkLeft(
        decisions=until(1.0, exponent),
        low=until(_FEWER, exponent + _FASTEST),
        high=until(_MORE + _MORE_REVIEWED * reviewed, exponent + _SLOWEST),
    )


def _fitted_exponent(rounds: Sequence[Doubts]) -> float:
    """How doubts fell from the first round to the last, drawn to the usual exponent."""
    first, last = rounds[0], rounds[-1]
    growth = float(np.log(last.labels / first.labels)) if last.labels > first.labels else 0.0
    expected = first.descending()[last.labels - first.labels :].sum()
    if growth == 0.0 or expected <= 0.0:
        return _EXPONENT
    fallen = -float(np.log(max(last.descending().sum(), 1e-9) / expected))
    # `fallen` / `growth` is the exponent between the two; growth by a factor e counts as much as
    # all that is known of other pools.
    return (_EXPONENT + fallen) / (1.0 + growth)
