"""The cross-validated error beyond the promotion thresholds, of each round.

A human label is scored by heads that were not taught it. A label whose score lies beyond a
threshold is an image that the round would have promoted if nobody had labelled it; the share of
such labels whose score names the other class estimates the error of what rounds promote. Labels
that the last round's scores did not take beyond its thresholds stand in the same way for what
this round adds. No label is weighted, so the intervals are exact (Clopper and Pearson, 1934,
Biometrika 26), and they hold for the pool where the labels are a random sample of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from curator.base.arrays import POSITIVE_CODE
from curator.base.text import count, percent
from curator.base.vocabulary import NO_CODE
from curator.rounds.pool_error import OtherThresholds, ThresholdError
from curator.rounds.promotion import PoolLabel, RoundDecisions
from curator.rounds.score_quality import PastRound, QualityLabels, promoted_classes
from curator.rounds.source_shortcut import RoundWarning
from curator.settings.sections import PromotionSettings
from curator.statistics.metrics import error_estimate

CERTAINTIES = (0.98, 0.97, 0.95, 0.9, 0.8, 0.7)
"""Probabilities of the likelier class that are tried as other thresholds."""
LEAST_MORE = 0.01
"""Share of the pool below which other thresholds are not worth a line."""


def measure_threshold_error(
    records: NDArray[Any],
    labels: QualityLabels | None,
    last: PastRound | None,
    promotion: PromotionSettings,
) -> ThresholdError | None:
    """The error beyond the thresholds of these scores; None if too few labels can judge."""
    if labels is None:
        return None
    now = promoted_classes(records, labels, promotion.model_dump())
    beyond, wrong = now != NO_CODE, (now == POSITIVE_CODE) != labels.positive
    error = ThresholdError(
        beyond=error_estimate(wrong[beyond]),
        added=error_estimate(wrong[beyond]),
        on_pool=labels.on_pool,
    )
    if last is None:
        return error
    thresholds = last.record.settings.get("promotion")
    waiting = last.record.outcome.get("held_back", {}).get("warning", 0)
    # What a round held back is promoted by the next one, which scores alone do not show.
    if last.scores is None or thresholds is None or waiting:
        return replace(error, added=None)
    before = promoted_classes(last.scores, labels, thresholds)
    return replace(error, added=error_estimate(wrong[beyond & (before != now)]))


def threshold_warning(
    error: ThresholdError | None, promotion: PromotionSettings
) -> tuple[RoundWarning, ...]:
    """A warning that holds promotions back if labels show more errors than the user accepts."""
    if error is None:
        return ()
    subject, estimate = "of what rounds promote", error.beyond
    if estimate.low <= promotion.max_error:
        if error.added is None or error.added.low <= promotion.max_error:
            return ()
        subject, estimate = "of what this round would promote", error.added
    command = "curator review suspect"
    cure = (
        f"Check the labels that scores contradict (`{command}`), label more (`curator review"
        " random`), then run `curator round` again."
    )
    if promotion.score == "raw":
        command = "curator config promotion.score=calibrated"
        cure = f"Apply the thresholds to calibrated scores (`{command}`), or: {cure}"
    return (
        RoundWarning(
            kind="error",
            problem=(
                f"By cross-validation, {percent(estimate.rate or 0.0)} {subject} is wrong (95%"
                f" interval {100 * estimate.low:.1f} to {percent(estimate.high)},"
                f" {count(estimate.sample, 'label')}); you accept"
                f" {percent(promotion.max_error)} (promotion.max_error)."
            ),
            cure=cure,
            command=command,
            # An audit measures what the certified policy delivers; a round need not wait for it.
            holds=promotion.policy == "thresholds",
        ),
    )


def other_thresholds(
    records: NDArray[Any],
    labels: QualityLabels | None,
    decisions: RoundDecisions,
    promotion: PromotionSettings,
) -> tuple[OtherThresholds, ...]:
    """What looser thresholds than those of `promotion` would give, the strictest first.

    Only a random sample of the pool can say that: without one there are none.
    """
    if labels is None or not labels.on_pool:
        return ()
    p = decisions.probability[decisions.labels != PoolLabel.UNTOUCHABLE]
    options: list[OtherThresholds] = []
    for certain in CERTAINTIES:
        thresholds = {
            **promotion.model_dump(),
            "promote_above": min(certain, promotion.promote_above),
            "promote_below": max(round(1 - certain, 4), promotion.promote_below),
        }
        above, below = thresholds["promote_above"], thresholds["promote_below"]
        images = int(((p > above) | (p < below)).sum()) - decisions.counts.standing_promoted
        least = options[-1].images if options else 0
        if images - least < LEAST_MORE * len(p):
            continue
        classes = promoted_classes(records, labels, thresholds)
        wrong = (classes == POSITIVE_CODE) != labels.positive
        error = error_estimate(wrong[classes != NO_CODE])
        if error.low > promotion.max_error:  # a round would promote nothing there
            break
        options.append(
            OtherThresholds(promote_above=above, promote_below=below, images=images, error=error)
        )
    return tuple(options)
