"""What an audit can be expected to achieve, before anybody labels an image for it.

An outlook says yes with a plan, or why not: the promise is empty, there are too few decisions
for it, or the task is too hard for these features however many are made. It comes with the
numbers that would change the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from curator.audits.forecast import Forecast
from curator.audits.frame import Frame
from curator.audits.plan import (
    LARGEST_SHARE,
    NEVER,
    AuditPlan,
    Promise,
    allowed_wrong,
    check_sample,
    critical_count,
)
from curator.audits.planner import NOTHING, Expectation, choose_plan, rarer_share, rough_expectation

SAMPLES = (100, 150, 200, 300, 400, 500, 650, 800, 1_000, 1_300, 1_600, 2_000)
"""Audit sizes that are considered if none is set."""

_LARGER_SAMPLES = (2_500, 3_500, 5_000, 7_000, 10_000, 15_000, 20_000)
_LOOSER_PROMISES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2)
_LEAST_CHANCE = 0.5
_FRAME_PER_DECISION = 20_000
_WORTH_IT = 0.1


class Advice(StrEnum):
    """Whether an audit is worth its decisions."""

    READY = "ready"
    EMPTY_PROMISE = "empty-promise"
    MORE_DECISIONS = "more-decisions"
    TOO_HARD = "too-hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class BestPlan:
    """The best plan for an audit of `size` images (None: there is none), and what to expect.

    `worthwhile` says whether it may give enough for its decisions.
    """

    size: int
    plan: AuditPlan | None
    expectation: Expectation
    worthwhile: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The answer and its numbers.

    `fewest` is how many decisions the promise takes if not one is wrong, `enough` how many would
    be expected to carry it, `looser` the smallest error that this many decisions could be expected
    to promise (None: there is no such number). `within_reach` is the share of the frame that a
    perfect audit is expected to certify, `rarer_share` the share of the rarer label where the
    promise may be kept.
    """

    answer: Advice
    best: BestPlan
    promise: Promise
    frame_size: int
    fewest: int
    enough: int | None
    looser: float | None
    within_reach: float
    rarer_share: float

    @property
    def sample(self) -> int:
        """Images that the plan audits; without a plan those that it was to audit."""
        return self.best.plan.sample if self.best.plan else self.best.size


def best_plan(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int | None, seed: int
) -> BestPlan:
    """Plan an audit of `sample` images, or of as many as are worth it.

    Raises DataError for a sample that leaves nothing to certify.
    """
    if sample is not None:
        check_sample(frame, sample)
    size = sample or _worth_most(frame, forecast, promise, seed)
    choice = choose_plan(frame, forecast, promise, sample=size, seed=seed)
    plan, expectation = choice or (None, NOTHING)
    # The advice must be right where the forecast is too low: nine audits in ten end below `high`.
    worthwhile = expectation.high >= _WORTH_IT * len(frame)
    return BestPlan(size=size, plan=plan, expectation=expectation, worthwhile=worthwhile)


def assess_audit(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int | None, seed: int
) -> Outlook:
    """Plan an audit and assess the plan; where the answer is no, find out what would help.

    Raises DataError for a sample that leaves nothing to certify.
    """
    best = best_plan(frame, forecast, promise, sample=sample, seed=seed)
    rarer = _rarer_within(frame, forecast, promise)
    answer, enough, looser = Advice.READY, None, None
    if not best.worthwhile:
        if rarer <= promise.max_error:
            answer = Advice.EMPTY_PROMISE
        else:
            enough = _enough(frame, forecast, promise, best.size, seed)
            looser = _looser(frame, forecast, promise, best.size, seed)
            answer = Advice.MORE_DECISIONS if enough else Advice.TOO_HARD
    return Outlook(
        answer=answer,
        best=best,
        promise=promise,
        frame_size=len(frame),
        fewest=fewest_decisions(promise, len(frame)),
        enough=enough,
        looser=looser,
        within_reach=_within_reach(forecast, promise.max_error),
        rarer_share=rarer,
    )


def explain(outlook: Outlook) -> str:
    """The outlook in plain sentences: what can be expected or why not, and what would help."""
    confidence = f"{100 * outlook.promise.confidence:.4g}% confidence"
    promise = f"{100 * outlook.promise.max_error:.3g}% at {confidence}"
    expectation = outlook.best.expectation
    low, high = (f"{end / outlook.frame_size:.0%}" for end in (expectation.low, expectation.high))
    expected = (
        f"an audit of {outlook.sample:,} images is expected to certify"
        f" {low if low == high else f'{low} to {high}'} of {outlook.frame_size:,} images"
        f" (eight audits of ten do; {max(0.0, 1 - expectation.chance):.0%} certify nothing)"
    )
    if outlook.answer is Advice.READY:
        return f"At most {promise}: {expected}."
    if outlook.answer is Advice.EMPTY_PROMISE:
        return (
            f"At most {promise} is an empty promise here: only {outlook.rarer_share:.1%} of the"
            " images that it could be kept for carry the rarer label, so one label for all"
            " of them would keep it as well. Promise something for each class by itself, or"
            " promise a smaller error; the audit can also bound how many of the rarer class"
            " were missed."
        )
    looser = (
        ""
        if outlook.looser is None
        else f" With as many decisions {100 * outlook.looser:.3g}% could be promised instead."
    )
    fewest = f" Even without a single error {outlook.fewest:,} decisions would be needed."
    if outlook.answer is Advice.MORE_DECISIONS:
        return (
            f"These decisions cannot carry a promise of at most {promise}: {expected}.{fewest}"
            f" {outlook.enough or 0:,} decisions can be expected to carry it.{looser}"
        )
    return (
        f"This pool cannot be certified at {promise}: the task is too hard for these features."
        f" By the estimates {outlook.within_reach:.0%} of the images are sure enough,"
        f" and {expected}, for more decisions than that is worth.{fewest}{looser}"
        " Label more images for training (`curator review informative`), or choose a stronger"
        " encoder."
    )


def fewest_decisions(promise: Promise, frame_size: int | None = None) -> int:
    """Audits without a single wrong label that prove a promise: 299 for 1% at 95%.

    For a frame of `frame_size` images the promise is about those that stay unseen; without
    it the frame has no end. The whole frame if nothing less will do.
    """
    endless = int(np.ceil(np.log(promise.risk) / np.log1p(-promise.max_error)))
    if frame_size is None:
        return endless
    for drawn in range(min(endless // 2 + 1, frame_size), frame_size):
        allowed = int(allowed_wrong(np.array([frame_size - drawn]), promise.max_error)[0])
        if critical_count(frame_size, drawn, allowed, promise.risk) != NEVER:
            return drawn
    return frame_size


def _recommended(expectation: Expectation, sample: int, frame_size: int) -> bool:
    """Whether an audit gives enough for its decisions, and more often than not anything."""
    price = max(1.0, frame_size / _FRAME_PER_DECISION)
    return expectation.chance >= _LEAST_CHANCE and expectation.certified >= price * sample


def _worth_most(frame: Frame, forecast: Forecast, promise: Promise, seed: int) -> int:
    """The size at which another decision no longer certifies enough further images."""
    price = max(1.0, len(frame) / _FRAME_PER_DECISION)
    sizes = [size for size in SAMPLES if size <= LARGEST_SHARE * len(frame)]
    if not sizes:
        return max(1, int(LARGEST_SHARE * len(frame)))
    values = [
        rough_expectation(frame, forecast, promise, sample=size, seed=seed).certified
        for size in sizes
    ]
    return sizes[int(np.argmax(np.array(values) - price * np.array(sizes)))]


def _enough(
    frame: Frame, forecast: Forecast, promise: Promise, sample: int, seed: int
) -> int | None:
    larger = [size for size in (*SAMPLES, *_LARGER_SAMPLES) if size > sample]
    for size in larger:
        if size <= LARGEST_SHARE * len(frame) and _pays(frame, forecast, promise, size, seed):
            return size
    return None


def _looser(
    frame: Frame, forecast: Forecast, promise: Promise, sample: int, seed: int
) -> float | None:
    for error in _LOOSER_PROMISES:
        if error > promise.max_error:
            looser = replace(promise, max_error=error)
            if _pays(frame, forecast, looser, sample, seed):
                return error
    return None


def _pays(frame: Frame, forecast: Forecast, promise: Promise, sample: int, seed: int) -> bool:
    """Whether such an audit can be recommended."""
    # The rough expectation is quick and slightly too high, so it rules most sizes out.
    rough = rough_expectation(frame, forecast, promise, sample=sample, seed=seed)
    if not _recommended(rough, sample, len(frame)):
        return False
    choice = choose_plan(frame, forecast, promise, sample=sample, seed=seed)
    return choice is not None and _recommended(choice[1], sample, len(frame))


def _rarer_within(frame: Frame, forecast: Forecast, promise: Promise) -> float:
    """The share of the rarer label in the largest part that is expected to keep the promise.

    If it does not exceed `max_error`, one label for all keeps the promise just as well.
    """
    ends = forecast.edges[1:]
    share = np.cumsum(forecast.mean_rates * forecast.sizes) / ends
    within = np.flatnonzero(share <= promise.max_error)
    return float(rarer_share(frame, ends)[within[-1] if len(within) else -1])


def _within_reach(forecast: Forecast, max_error: float) -> float:
    """The expected share of the frame that the largest set within `max_error` has."""
    within = forecast.cumulative <= max_error
    bins = np.where(within.any(axis=1), within.shape[1] - np.argmax(within[:, ::-1], axis=1), 0)
    return float(forecast.weights @ forecast.edges[bins]) / float(forecast.edges[-1])
