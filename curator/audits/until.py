"""Plans a sequential audit of one set, the surest part of a frame, and says what to expect.

It asks until the set is proved, so that nobody has to guess beforehand how many answers that
takes: fewer than a fixed size where the labels are as good as expected, more where they are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curator.audits.forecast import Forecast
from curator.audits.frame import Frame
from curator.audits.outlook import Advice, BestPlan, Outlook
from curator.audits.plan import (
    LARGEST_SHARE,
    AuditPlan,
    AuditStep,
    Design,
    Promise,
    allowed_wrong,
)
from curator.audits.planner import SPARE_SHARE, expectation_of, rarer_share
from curator.audits.sequential import PRIOR_ERRORS, stopping_points
from curator.base.arrays import FloatArray
from curator.errors import DataError

_MOST_ANSWERS = 10
_LEAST_EXPECTED, _MOST_EXPECTED = 0.1, 0.5
_AUDITS = 4_000
_WORTH_IT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class UntilOutlook:
    """The outlook of a sequential audit; eight of ten end after `low` to `high` answers."""

    outlook: Outlook
    low: int
    high: int

    @property
    def text(self) -> str:
        """The outlook in plain sentences."""
        outlook, plan = self.outlook, self.outlook.best.plan
        assert plan is not None
        size = int(plan.sizes[0])
        about = (
            f"At most {100 * outlook.promise.max_error:.3g}% wrong at"
            f" {100 * outlook.promise.confidence:.4g}% confidence for the most certain {size:,} of"
            f" {outlook.frame_size:,} images"
        )
        if outlook.answer is Advice.EMPTY_PROMISE:
            return (
                f"{about} is an empty promise: only {outlook.rarer_share:.1%} of them carry the"
                " rarer label, so one label for all of them would keep it as well."
            )
        unproved = max(0.0, 1 - outlook.best.expectation.chance)
        answers = f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"
        return (
            f"{about}: an audit is expected to end after {answers} answers (eight audits of ten"
            f" do); {unproved:.0%} prove nothing with {plan.sample:,}."
        )


def until_plan(
    frame: Frame, forecast: Forecast, promise: Promise, *, share: float, most: int | None
) -> AuditPlan:
    """The sequential test of the surest `share` of a frame, with at most `most` answers.

    Raises DataError if the set is too small to be proved by looking at half of it.
    """
    size = min(max(1, round(share * len(frame))), len(frame))
    # How good the set is expected to be, within limits that keep a wrong forecast cheap.
    share_of_limit = float(_rates(forecast, size) @ forecast.weights) / promise.max_error
    expected = min(max(share_of_limit, _LEAST_EXPECTED), _MOST_EXPECTED) * promise.max_error
    prior = max(1, round(PRIOR_ERRORS * (1 - expected) / expected))
    answered = np.arange(1, int(LARGEST_SHARE * size) + 1)
    allowed = allowed_wrong(size - answered, promise.max_error, SPARE_SHARE)
    first = stopping_points(size, allowed, prior=prior, risk=promise.risk, first=True)
    limit = most or (_MOST_ANSWERS * int(first[0]) if len(first) else 0)
    points = stopping_points(size, allowed[:limit], prior=prior, risk=promise.risk)
    if not len(points):
        needed = f"at least {int(first[0]):,} answers" if len(first) else "more than half of them"
        raise DataError(
            f"{size:,} images cannot be proved to hold at most {promise.max_error:.2%} wrong labels"
            f" with {min(len(allowed), most or len(allowed)):,} answers: that takes {needed}.",
            "Allow more with --size, name a larger share, or set a larger promotion.max_error.",
        )
    return AuditPlan(
        design=Design.SEQUENTIAL,
        frame_digest=frame.digest,
        frame_size=len(frame),
        promise=promise,
        steps=tuple(
            AuditStep(size=size, drawn=drawn, allowed=int(allowed[drawn - 1]), critical=errors)
            for errors, drawn in enumerate(points.tolist())
        ),
        prior=prior,
    )


def assess_until(
    frame: Frame,
    forecast: Forecast,
    promise: Promise,
    *,
    share: float,
    most: int | None,
    seed: int,
) -> UntilOutlook:
    """Plan a sequential audit, and play it on the forecast's scenarios. Raises as `until_plan`."""
    plan = until_plan(frame, forecast, promise, share=share, most=most)
    size, drawn = int(plan.sizes[0]), np.array([step.drawn for step in plan.steps])
    repeats = -(-_AUDITS // len(forecast.weights))
    rates = np.repeat(_rates(forecast, size), repeats)
    weights = np.repeat(forecast.weights, repeats) / repeats
    generator = np.random.default_rng([seed, 4])
    wrong_drawn = np.cumsum(generator.poisson(rates[:, None] * np.diff(drawn, prepend=0)), axis=1)
    ends = (wrong_drawn <= np.arange(len(drawn))) | (wrong_drawn >= len(drawn))
    last = np.where(ends.any(axis=1), np.argmax(ends, axis=1), len(drawn) - 1)
    proved = wrong_drawn[np.arange(len(wrong_drawn)), last] <= last
    expectation = expectation_of(proved * (size - drawn[last]), weights)
    answers = expectation_of(drawn[last], weights)
    rarer = float(rarer_share(frame, np.array([size]))[0])
    if rarer <= promise.max_error:
        answer = Advice.EMPTY_PROMISE
    else:
        answer = Advice.READY if expectation.chance >= _WORTH_IT else Advice.TOO_HARD
    return UntilOutlook(
        outlook=Outlook(
            answer=answer,
            best=BestPlan(
                size=plan.sample,
                plan=plan,
                expectation=expectation,
                worthwhile=answer is Advice.READY,
            ),
            promise=promise,
            frame_size=len(frame),
            fewest=int(drawn[0]),
            enough=None,
            looser=None,
            within_reach=size / len(frame),
            rarer_share=rarer,
        ),
        low=int(answers.low),
        high=int(answers.high),
    )


def _rates(forecast: Forecast, size: int) -> FloatArray:
    """The share of wrong labels among the first `size` images, (scenarios,)."""
    end = min(int(np.searchsorted(forecast.edges[1:], size)), len(forecast.sizes) - 1)
    rates: FloatArray = forecast.cumulative[:, end]
    return rates
