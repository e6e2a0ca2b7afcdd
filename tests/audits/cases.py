"""Frames, plans and exact chances that the tests of audits share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from curator.audits.draw import AuditDraw
from curator.audits.frame import Frame, freeze_frame
from curator.audits.plan import AuditPlan, Promise, nested_plan
from curator.audits.test import AuditOutcome

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def frame_of(
    size: int,
    *,
    positive: Flags | None = None,
    estimated_error: NDArray[np.float64] | None = None,
) -> Frame:
    """Image i at rank i; every other label is positive by default."""
    rank = np.arange(size)
    return freeze_frame(
        rank,
        rank % 2 == 0 if positive is None else positive,
        -rank.astype(np.float64),
        np.full(size, 0.01) if estimated_error is None else estimated_error,
        seed=0,
    )


def plan_of(frame: Frame, promise: Promise, sizes: list[int], drawn: list[int]) -> AuditPlan:
    """The nested test of these sets, which must be able to pass."""
    plan = nested_plan(frame, promise, sizes, drawn)
    assert plan is not None
    return plan


def answers(frame: Frame, draw: AuditDraw, wrong: Flags) -> NDArray[np.int8]:
    """What a perfect annotator answers when `wrong` (ranks,) marks the wrong labels."""
    truth = frame.positive ^ wrong
    return np.where(truth[draw.ranks], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE).astype(np.int8)


def spreads(plan: AuditPlan) -> Iterator[tuple[int, ...]]:
    """Every way to spread wrong labels over the strata; within a stratum all ranks are alike."""
    return itertools.product(*(range(end - start + 1) for start, end, _ in plan.strata))


class Walker:
    """The exact distribution of where an audit ends, counted without curator's own tests."""

    def __init__(self, plan: AuditPlan) -> None:
        self.plan = plan
        self.chances = [
            stats.hypergeom.pmf(
                np.arange(drawn + 1)[None, :],
                end - start,
                np.arange(end - start + 1)[:, None],
                drawn,
            )
            for start, end, drawn in plan.strata
        ]

    def ends(self, wrong: tuple[int, ...]) -> dict[tuple[int, int], float]:
        """Chance of each (certified step or -1, errors in its sample)."""
        alive, ended = {0: 1.0}, dict[tuple[int, int], float]()
        for number, table in enumerate(self.chances):
            chances = table[wrong[number]]
            following = dict[int, float]()
            for found, chance in alive.items():
                for more in np.flatnonzero(chances).tolist():
                    here = chance * float(chances[more])
                    if found + more <= self.plan.steps[number].critical:
                        following[found + more] = following.get(found + more, 0.0) + here
                    else:
                        key = (number - 1, found)
                        ended[key] = ended.get(key, 0.0) + here
            alive = following
        last = len(self.plan.steps) - 1
        return ended | {(last, found): chance for found, chance in alive.items()}

    def false_certificates(self, wrong: tuple[int, ...]) -> float:
        """The chance that the unseen images of what is certified are wrong too often."""
        total = 0.0
        for (number, found), chance in self.ends(wrong).items():
            if number >= 0:
                step = self.plan.steps[number]
                left = sum(wrong[: number + 1]) - found
                if left > self.plan.promise.max_error * step.unseen + 1e-9:
                    total += chance
        return total


def runs_allowed(runs: int, risk: float) -> int:
    """False certificates in so many runs that chance alone explains, one time in 10,000 not."""
    return int(stats.binom.ppf(0.9999, runs, risk))


def adversary(plan: AuditPlan, first: int, shape: str, excess: float) -> Ints:
    """Wrong labels per stratum, such that step `first` is the first to hold too many.

    Up to there each set holds as many as the shape wants and its limit allows. `excess` 0
    is one too many, 1 so many that no error found in a sample that passes makes it good.
    """
    limits = np.array([step.allowed for step in plan.steps])
    criticals = np.array([step.critical for step in plan.steps])
    share = plan.sizes / plan.sizes[first]
    shapes = {
        "even": limits[first] * share,
        "loosest": np.zeros(len(limits)),
        "strictest": np.full(len(limits), limits[0]),
        "rising": limits * share**2,
        "tight": limits,
    }
    held = np.minimum(np.floor(shapes[shape]), limits).astype(np.int64)
    over = limits + 1 + np.round(excess * criticals).astype(np.int64)
    held[first:] = np.maximum(over[first:], held[first - 1] if first else 0)
    wrong: Ints = np.minimum(np.diff(held, prepend=0), np.diff(plan.sizes, prepend=0))
    return wrong
