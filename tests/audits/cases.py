"""Frames, plans and exact chances that the tests of audits share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from curator.audits.draw import AuditDraw
from curator.audits.frame import Frame, freeze_frame
from curator.audits.plan import AuditPlan, Promise, exact_share, nested_plan
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


def exact_chances(
    plan: AuditPlan, wrong: Ints, inner: int | None = None, *, miss_rate: float = 0.0
) -> tuple[float, float]:
    """The exact chances of a false certificate and of none, by dynamic programming over strata.

    `wrong` is (strata,), the wrong labels that the annotator would notice in each, `inner` how many
    of the first stratum's lie in the part of the rescue (None: it is not
    counted). Beside them as many are overlooked as
    `miss_rate` allows, none of which is in a sample. A certificate is false if more images that
    nobody has seen are wrong than the number that it states. Shares no code with the tests.
    """
    hyp = stats.hypergeom
    noticed = 1 - exact_share(miss_rate)
    true = np.array([int(total / noticed) for total in np.cumsum(wrong).tolist()])
    stated = [int(step.allowed / noticed) for step in plan.steps]
    alive, false = np.ones(1), 0.0
    nothing = 0.0
    for number, (start, end, drawn) in enumerate(plan.strata):
        found = np.arange(len(alive))
        critical = plan.steps[number].critical
        # Wrong ones in this stratum's sample that still let the step pass, given those before.
        fails = hyp.sf(critical - found, end - start, wrong[number], drawn)
        if number == 0:
            nothing = float(fails[0])
        else:
            left = true[number - 1] - found
            false += float((alive * fails)[left > stated[number - 1]].sum())
        chances = hyp.pmf(np.arange(critical + 1), end - start, wrong[number], drawn)
        alive = np.convolve(alive, chances)[: critical + 1]
    left = true[-1] - np.arange(len(alive))
    false += float(alive[left > stated[-1]].sum())
    if plan.rescue is None or inner is None:
        return false, nothing
    rescued_false, rescued = _exact_rescue(plan, int(wrong[0]), inner, noticed)
    return false + rescued_false, nothing - rescued


@functools.lru_cache(maxsize=8)
def _rescue_tests(plan: AuditPlan) -> tuple[Ints, NDArray[np.float64], Ints, Ints, Ints]:
    """Overlaps of the first sample with the rescue's part, their chances, and the tests then."""
    assert plan.rescue is not None
    first, rescue = plan.steps[0], plan.rescue
    overlaps = np.arange(min(first.drawn, rescue.size) + 1)
    chances = stats.hypergeom.pmf(overlaps, first.size, rescue.size, first.drawn)
    overlaps, chances = overlaps[chances > 1e-12], chances[chances > 1e-12]
    tests = [rescue.test(overlap, plan.promise.max_error) for overlap in overlaps.tolist()]
    size, allowed, critical = (
        np.array([getattr(test, name) for test in tests])
        for name in ("size", "allowed", "critical")
    )
    return overlaps, chances, size, allowed, critical


def _exact_rescue(
    plan: AuditPlan, wrong: int, inner: int, noticed: Fraction
) -> tuple[float, float]:
    """The chances that the first step fails and the rescue certifies falsely, or at all."""
    assert plan.rescue is not None
    hyp, first, rescue = stats.hypergeom, plan.steps[0], plan.rescue
    overlaps, chances, sizes, allowed, criticals = _rescue_tests(plan)
    # Axes: overlap, wrong ones of the inner part found by the first sample, then by the rescue.
    found = np.arange(min(inner, int(overlaps[-1]), 150) + 1)
    here = chances[:, None] * hyp.pmf(found, rescue.size, inner, overlaps[:, None])
    here *= hyp.sf(
        first.critical - found,
        first.size - rescue.size,
        wrong - inner,
        (first.drawn - overlaps)[:, None],
    )
    again = np.arange(int(criticals.max()) + 1)
    rest = np.minimum(np.maximum(inner - found, 0), sizes[:, None])
    tails = hyp.pmf(again, sizes[:, None, None], rest[:, :, None], rescue.drawn)
    tails *= again <= criticals[:, None, None]
    # Whole numbers: floor(count / (p / q)) is count * q // p.
    true, stated = (count * noticed.denominator // noticed.numerator for count in (rest, allowed))
    too_many = true[:, :, None] - again > stated[:, None, None]
    both = here[:, :, None] * tails
    return float(both[too_many].sum()), float(both.sum())


def rescue_adversaries(plan: AuditPlan, wrong: Ints) -> Iterator[int]:
    """How many wrong labels of the first stratum may lie in the part of the rescue."""
    if plan.rescue is None:
        yield 0
        return
    size, first = plan.rescue.size, int(wrong[0])
    test = plan.rescue.test(
        plan.steps[0].drawn * size // plan.steps[0].size, plan.promise.max_error
    )
    least = max(first - (plan.steps[0].size - size), 0)
    limit = plan.promise.max_error * size
    for excess in (0.0, 0.5, 1.0):
        broken = test.allowed + 1 + round(excess * max(test.critical, 0))
        for inner in (broken, broken + round(limit * plan.steps[0].drawn / plan.steps[0].size)):
            yield min(max(inner, least), first, size)
    yield min(max(first * size // plan.steps[0].size, least), size)


def false_proofs(size: int, wrong: int, points: Ints, allowed: Ints) -> float:
    """The exact chance that a sequential test proves what is false if `wrong` labels are wrong.

    `points` and `allowed` as in `stopping_points`; a path for each number of errors that is found.
    """
    found = np.arange(wrong + 1)
    chance, false = np.zeros(wrong + 1), 0.0
    chance[0] = 1.0
    for answered in range(1, int(points[-1]) + 1):
        error = np.clip((wrong - found) / (size - answered + 1), 0.0, 1.0)
        moved = chance * error
        chance = chance - moved
        chance[1:] += moved[:-1]
        number = int((points <= answered).sum()) - 1
        stops = (found <= number) & (answered == points[max(number, 0)])
        false += float(chance[stops & (wrong - found > allowed[answered - 1])].sum())
        chance[stops] = 0.0
    return false
