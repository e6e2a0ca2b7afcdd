"""Sentences about what was counted and measured, the same on every front end.

Names of classes and sources go in as the user wrote them; who shows a sentence escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curator.base.text import count, percent

if TYPE_CHECKING:
    from curator.classifiers.heads.label_noise import LabelNoise
    from curator.rounds.score_quality import ScoreQuality
    from curator.statistics.metrics import ErrorEstimate

PROVISIONAL = "provisional: no certificate speaks about their error yet"
"""What is said of promoted labels that no audit has looked at."""


def coverage_sentence(promoted: int, without_human: int, coverage: float) -> str:
    """How much of what people did not label was promoted."""
    return (
        f"{percent(coverage)}: {promoted:,} promoted of {count(without_human, 'image')} without a"
        " human label"
    )


def decisions_sentence(decisions: int, minutes: float) -> str:
    """What people decided, and how long they looked."""
    about = f", about {minutes:,.0f} minutes of looking" if minutes >= 1 else ""
    return f"{count(decisions, 'decision')} by people{about}"


def scores_sentence(judgement: ScoreQuality) -> str:
    """Calibration in one line."""
    kind = "a random sample of the pool" if judgement.on_pool else "seeds, no sample of the pool"
    return (
        f"on {judgement.labels:,} labels ({kind}) that had no part in them, expected calibration"
        f" error {judgement.calibration_error:.3f}, Brier score {judgement.brier:.4f}, log loss"
        f" {judgement.log_loss:.4f}"
    )


def label_noise_sentences(belief: LabelNoise) -> Iterator[str]:
    """How strictly heads were fitted, and what labels they were told to doubt."""
    how = "chosen by held-out labels" if belief.chosen else "as set"
    yield f"Heads: C = {belief.regularization:g}, {how} (classifier.regularization)."
    if belief.doubted:
        yield (
            f"Labels: about {percent(belief.wrong_share)} look wrong to heads that never met them;"
            f" {belief.doubted:,} hardly count in training (classifier.doubt). Look at them with"
            " `curator review suspect`."
        )


def error_sentence(estimate: ErrorEstimate, *, on_pool: bool) -> str:
    """The error where heads were not taught, and how far it can be trusted."""
    if not estimate.sample:
        return "No label was set aside to measure the error on."
    measured = (
        f"Error on {estimate.sample:,} labels that the judging head had not seen:"
        f" {percent(estimate.rate)} ({percent(estimate.low)} to {percent(estimate.high)})."
    )
    if on_pool:
        return f"{measured} They are a random sample of the pool."
    return (
        f"{measured} These labels are no random sample, so scores are uncalibrated for the"
        " pool and the error there may be another."
    )


def share_sentences(judgement: ScoreQuality, positive: str) -> Iterator[str]:
    """Labels whose class shares are far from those that the scores imply for the pool."""
    from curator.rounds.class_shares import FAR_APART

    implied = judgement.pool_share
    if implied is not None and abs(implied - judgement.positive_share) > FAR_APART:
        yield (
            f"Of the labels {percent(judgement.positive_share)} are {positive}; if the pool differs"
            f" in nothing but its shares, about {percent(implied)} of it is. Scores take the"
            " labels' shares for granted until a random sample of the pool says otherwise:"
            " `curator review calibration` (50 or more)."
        )


def source_sentences(judgement: ScoreQuality, positive: str) -> Iterator[str]:
    """Sources in which scores do not mean what they say."""
    for one in judgement.sources:
        if one.differs:
            yield (
                f"Source {one.source} differs: of {one.labels:,} labelled images there, scores"
                f" expect {one.expected_positive:.0f} {positive} and people found"
                f" {one.positive:,}. Label more of that source."
            )
