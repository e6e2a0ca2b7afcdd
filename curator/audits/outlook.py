"""What an audit can be expected to achieve, told before anybody labels an image for it.

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
from curator.audits.ladder import NEVER, AuditPlan, allowed_wrong, critical_count
from curator.audits.planner import NOTHING, Expectation, choose_plan, rarer_share, rough_expectation
from curator.audits.promise import Promise
from curator.errors import DataError

SAMPLES = (100, 150, 200, 300, 400, 500, 650, 800, 1_000, 1_300, 1_600, 2_000)
"""Audit sizes that are considered when none is asked for."""

_LARGER_SAMPLES = (2_500, 3_500, 5_000, 7_000, 10_000, 15_000, 20_000)
_LOOSER_PROMISES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2)
_LARGEST_SHARE = 0.5
_LEAST_CHANCE = 0.5
_FRAME_PER_DECISION = 20_000


class Advice(StrEnum):
    """Whether an audit is worth its decisions."""

    READY = "ready"
    EMPTY_PROMISE = "empty-promise"
    MORE_DECISIONS = "more-decisions"
    TOO_HARD = "too-hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The answer and its numbers.

    `plan` is the best that was found, also when the answer is no, and None if there is none.
    `sample` is the size that was asked for or chosen. `fewest` is how many decisions the
    promise takes when not one is wrong, `enough` how many would make the audit worth them,
    `looser` the smallest error that this many decisions could promise (None: neither found).
    `within_reach` is the share of the frame that a perfect audit is expected to certify.
    `rarer_share` is the share of the rarer label where the promise may be kept.
    """

    answer: Advice
    plan: AuditPlan | None
    expectation: Expectation
    promise: Promise
    frame_size: int
    sample: int
    fewest: int
    enough: int | None
    looser: float | None
    within_reach: float
    rarer_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningInputs:
    """The best plan for an audit of `sample` images, and whether it is worth them."""

    sample: int
    plan: AuditPlan | None
    expectation: Expectation
    worthwhile: bool


def prepare(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int | None, seed: int
) -> PlanningInputs:
    """Plan an audit of `sample` images, or of as many as are worth it.

    Raises DataError for a sample that leaves nothing to certify.
    """
    _check_sample(frame, sample)
    chosen = sample or _worth_most(frame, forecast, promise, seed)
    found = choose_plan(frame, forecast, promise, sample=chosen, seed=seed)
    plan, expectation = found or (None, NOTHING)
    return PlanningInputs(
        sample=chosen,
        plan=plan,
        expectation=expectation,
        worthwhile=_worthwhile(expectation, chosen, len(frame)),
    )


def look_ahead(
    frame: Frame, forecast: Forecast, promise: Promise, *, sample: int | None, seed: int
) -> Outlook:
    """Plan an audit and judge the plan; where the answer is no, find out what would help.

    Raises DataError for a sample that leaves nothing to certify.
    """
    prepared = prepare(frame, forecast, promise, sample=sample, seed=seed)
    chosen, plan, expectation = prepared.sample, prepared.plan, prepared.expectation
    rarer = _rarer_within(frame, forecast, promise)
    answer, enough, looser = Advice.READY, None, None
    if not prepared.worthwhile:
        if rarer <= promise.max_error:
            answer = Advice.EMPTY_PROMISE
        else:
            enough = _enough(frame, forecast, promise, chosen, seed)
            looser = _looser(frame, forecast, promise, chosen, seed)
            answer = Advice.MORE_DECISIONS if enough else Advice.TOO_HARD
    return Outlook(
        answer=answer,
        plan=plan,
        expectation=expectation,
        promise=promise,
        frame_size=len(frame),
        sample=plan.sample if plan else chosen,
        fewest=fewest_decisions(promise, len(frame)),
        enough=enough,
        looser=looser,
        within_reach=_within_reach(forecast, promise.max_error),
        rarer_share=rarer,
    )


def explain(outlook: Outlook) -> str:
    """The outlook in plain sentences: what can be expected or why not, and what would help."""
    promise = f"{outlook.promise.max_error:.3g} at {outlook.promise.confidence:.4g}"
    expected = (
        f"an audit of {outlook.sample:,} images is expected to certify"
        f" {outlook.expectation.certified / outlook.frame_size:.0%} of {outlook.frame_size:,}"
        f" (anything at all in {outlook.expectation.chance:.0%} of cases)"
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
        else f" With as many decisions {outlook.looser:.3g} could be promised instead."
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
        f" and {expected}, for more decisions than it is worth.{fewest}{looser}"
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


def _worthwhile(expectation: Expectation, sample: int, frame_size: int) -> bool:
    """Whether an audit gives enough for its decisions, and more often than not anything."""
    price = max(1.0, frame_size / _FRAME_PER_DECISION)
    return expectation.chance >= _LEAST_CHANCE and expectation.certified >= price * sample


def _worth_most(frame: Frame, forecast: Forecast, promise: Promise, seed: int) -> int:
    """The size at which another decision no longer certifies enough further images."""
    price = max(1.0, len(frame) / _FRAME_PER_DECISION)
    sizes = [size for size in SAMPLES if size <= _LARGEST_SHARE * len(frame)]
    if not sizes:
        return max(1, int(_LARGEST_SHARE * len(frame)))
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
        if size <= _LARGEST_SHARE * len(frame) and _pays(frame, forecast, promise, size, seed):
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
    """Whether such an audit is worthwhile; a rough look first, as it is the more hopeful."""
    rough = rough_expectation(frame, forecast, promise, sample=sample, seed=seed)
    if not _worthwhile(rough, sample, len(frame)):
        return False
    found = choose_plan(frame, forecast, promise, sample=sample, seed=seed)
    return found is not None and _worthwhile(found[1], sample, len(frame))


def _rarer_within(frame: Frame, forecast: Forecast, promise: Promise) -> float:
    """The share of the rarer label in the largest part that is expected to keep the promise.

    If it does not exceed `max_error`, one label for all keeps the promise just as well.
    """
    ends = forecast.edges[1:]
    kept = np.cumsum(forecast.mean_rates * forecast.sizes) / ends <= promise.max_error
    last = np.flatnonzero(kept)[-1:] if kept.any() else [-1]
    return float(rarer_share(frame, ends)[last][0])


def _within_reach(forecast: Forecast, max_error: float) -> float:
    kept = forecast.cumulative() <= max_error
    last = np.where(kept.any(axis=1), kept.shape[1] - np.argmax(kept[:, ::-1], axis=1), 0)
    return float(forecast.weights @ forecast.edges[last]) / float(forecast.edges[-1])


def _check_sample(frame: Frame, sample: int | None) -> None:
    if sample is not None and not 1 <= sample <= _LARGEST_SHARE * len(frame):
        raise DataError(
            f"An audit of {sample:,} images cannot be drawn from a frame of {len(frame):,}.",
            f"Ask for at most {int(_LARGEST_SHARE * len(frame)):,}, half of the frame;"
            " beyond that, labelling all of it by hand is not much more work.",
        )
