"""What human labels say of a round's scores, without flattering them.

A label is judged by a score that it never taught, mapped to a probability by a calibration
that it had no part in either: one map per fold, fitted on the labels of the other folds.
Rounds are compared on the same labels, pair by pair, so that the difference is not drowned
by which labels these are. No statement goes further than its standard error allows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.statistics.calibration import calibrate_out_of_fold
from curator.statistics.metrics import (
    ReliabilityBin,
    brier_score,
    expected_calibration_error,
    reliability,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FEWEST = 20
"""Labels below which nothing is said about a round or a source."""
SOURCE_LIMIT = 3.0
"""Standard deviations by which a source's positives may miss what scores lead to expect."""

_SMALLEST = 1e-9
_DEVIATIONS = 2.0
_WORTH_A_WORD = 0.01


class Trend(StrEnum):
    """How a round compares with another one on the same labels."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """This round's log loss less that of `round_id`, on labels that both judge out of fold.

    `before` is the log loss of that round.
    """

    round_id: int
    labels: int
    before: float
    difference: float
    standard_error: float

    @property
    def verdict(self) -> Trend:
        """Better or worse only beyond two standard errors, and by more than a hundredth."""
        least = max(_DEVIATIONS * self.standard_error, _WORTH_A_WORD * self.before)
        if abs(self.difference) <= least:
            return Trend.NO_DIFFERENCE
        return Trend.BETTER if self.difference < 0 else Trend.WORSE


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceQuality:
    """How the scores of one source fare: positives expected and found among its labels.

    `deviations` is their difference in standard deviations of what the scores allow.
    """

    source: str
    labels: int
    expected_positive: float
    positive: int
    brier: float
    calibration_error: float
    deviations: float

    @property
    def differs(self) -> bool:
        """Whether the scores do not mean here what they say."""
        return abs(self.deviations) > SOURCE_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreQuality:
    """The scores of a round against labels that had no part in them.

    `on_pool` says whether the labels are a random sample of the pool. `last` and `first`
    compare with the round before and with the first one of the lineage, where their scores
    are still there. `positive_share` is that of the labels; `pool_share`, where the labels are
    no sample of the pool, what the pool's would be if it differed from them in nothing else.
    """

    labels: int
    on_pool: bool
    log_loss: float
    brier: float
    calibration_error: float
    reliability: tuple[ReliabilityBin, ...]
    positive_share: float
    pool_share: float | None = None
    sources: tuple[SourceQuality, ...] = ()
    last: Comparison | None = None
    first: Comparison | None = None


def cross_calibrated(raw: Floats, folds: Ints, positive: Flags) -> Floats:
    """P(positive) of judged labels, (labels,), each by a map that its fold had no part in.

    `raw` is what the heads claim, strictly between 0 and 1; all arrays are (labels,).
    """
    clipped = np.clip(raw, _SMALLEST, 1 - _SMALLEST)
    margins = np.log(clipped) - np.log1p(-clipped)
    probability = np.empty(len(margins))
    for fold in np.unique(folds):
        others, own = folds != fold, folds == fold
        nobody = np.zeros(int(others.sum()), dtype=np.int64)
        fitted = calibrate_out_of_fold(margins[others], nobody, positive[others], 1)
        probability[own] = fitted.probabilities(margins[own, None])[:, 0]
    return probability


def score_quality(probability: Floats, positive: Flags, *, on_pool: bool) -> ScoreQuality:
    """How good cross-calibrated probabilities are; both arrays are (labels,), not empty."""
    return ScoreQuality(
        labels=len(positive),
        on_pool=on_pool,
        log_loss=float(log_losses(probability, positive).mean()),
        brier=brier_score(probability, positive),
        calibration_error=expected_calibration_error(probability, positive),
        reliability=reliability(probability, positive),
        positive_share=float(positive.mean()),
    )


def source_qualities(
    probability: Floats, positive: Flags, sources: NDArray[np.str_]
) -> tuple[SourceQuality, ...]:
    """The same for each source with at least `FEWEST` labels; all arrays are (labels,)."""
    found = []
    for source in np.unique(sources):
        inside = sources == source
        if inside.sum() < FEWEST:
            continue
        p, y = probability[inside], positive[inside]
        spread = float(np.sqrt(np.maximum((p * (1 - p)).sum(), 1e-12)))
        found.append(
            SourceQuality(
                source=str(source),
                labels=len(p),
                expected_positive=float(p.sum()),
                positive=int(y.sum()),
                brier=brier_score(p, y),
                calibration_error=expected_calibration_error(p, y),
                deviations=float((y.sum() - p.sum()) / spread),
            )
        )
    return tuple(found)


def compare(round_id: int, now: Floats, before: Floats, positive: Flags) -> Comparison:
    """This round's probabilities against those of round `round_id`, all (labels,)."""
    losses = log_losses(before, positive)
    differences = log_losses(now, positive) - losses
    return Comparison(
        round_id=round_id,
        labels=len(positive),
        before=float(losses.mean()),
        difference=float(differences.mean()),
        standard_error=float(differences.std(ddof=1) / np.sqrt(len(positive))),
    )


def log_losses(probability: Floats, positive: Flags) -> Floats:
    """-log of the probability of what turned out true, per label."""
    right = np.where(positive, probability, 1 - probability)
    losses: Floats = -np.log(np.clip(right, _SMALLEST, 1.0))
    return losses


def advice(judgement: ScoreQuality) -> str:
    """Whether another round can be expected to help, in one sentence."""
    if judgement.last is None:
        return (
            "Whether another round helps is known after the next one; in our trials the first"
            " round was as good as any, and more labels helped more."
        )
    last, first = judgement.last, judgement.first
    if first is not None and first.verdict is Trend.WORSE:
        return (
            f"Round {first.round_id} was better (log loss {first.difference:+.4f} since then,"
            f" standard error {first.standard_error:.4f}): `curator rollback --to"
            f" {first.round_id}`, and label more instead."
        )
    told = f"{last.difference:+.4f} against round {last.round_id}, standard error"
    told = f"log loss {told} {last.standard_error:.4f}, {last.labels:,} labels"
    if last.verdict is Trend.BETTER:
        return f"This round helped ({told}); another one may, too."
    if last.verdict is Trend.WORSE:
        return (
            f"This round did harm ({told}): `curator rollback --to {last.round_id}`, and label"
            " more instead."
        )
    return f"These labels show no gain from this round ({told}); new labels would help more."


def as_kept(judgement: ScoreQuality | None) -> dict[str, Any] | None:
    """A judgement as JSON, as the round's outcome keeps it."""
    return None if judgement is None else asdict(judgement)


def from_kept(kept: dict[str, Any] | None) -> ScoreQuality | None:
    """Read back what `as_kept` made; None for what another version kept in another form."""
    if kept is None or kept.keys() != {one.name for one in fields(ScoreQuality)}:
        return None
    values = dict(kept)
    values["reliability"] = tuple(ReliabilityBin(**one) for one in kept["reliability"])
    values["sources"] = tuple(SourceQuality(**one) for one in kept["sources"])
    for name in ("last", "first"):
        values[name] = None if kept[name] is None else Comparison(**kept[name])
    return ScoreQuality(**values)
