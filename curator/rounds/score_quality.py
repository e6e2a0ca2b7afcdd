"""What human labels say of a round's scores, without flattering them; stored with the round.

A label that was trained on has a score from the head that was not taught it. That score is mapped
to a probability by a calibration that the label had no part in either: one map per fold, fitted
on the labels of the other folds. Rounds are compared on the same labels, pair by pair, because
the difference between rounds is smaller than the difference between samples of labels. No
statement goes further than its standard error allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import (
    CLASS_CODES,
    NEGATIVE_CODE,
    POSITIVE_CODE,
    BoolArray,
    CodeArray,
    FloatArray,
    IntArray,
    positions_in,
)
from curator.base.text import count
from curator.base.vocabulary import NO_CODE, Method, Origin, code_of
from curator.catalogue.pool import HumanLabels
from curator.catalogue.rounds import RoundRecord
from curator.settings.sections import ClassesSettings, PromotionSettings
from curator.statistics.calibration import SAMPLE_FOR_POOL, Evidence, fit_map
from curator.statistics.metrics import (
    ReliabilityBin,
    brier_score,
    expected_calibration_error,
    reliability,
)

FEWEST = 20
"""Labels below which nothing is said about a round or a source."""
SOURCE_LIMIT = 3.0
"""Standard deviations by which a source's positives may miss what scores lead to expect."""
LARGE_DIFFERENCE = 0.1
"""Difference between the class shares of labels and pool from which on it is mentioned."""

_SMALLEST = 1e-9
_DEVIATIONS = 2.0
_LEAST_GAIN = 0.01
_EM_STEPS = 1_000
_EM_TOLERANCE = 1e-6
_SMALLEST_SHARE = 1e-4


class Trend(StrEnum):
    """How a round compares with another one on the same labels."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """This round's log loss less that of `round_id`, on labels, both out of fold.

    `labels` are those that can show a difference: either round left them undecided. `before` is
    the log loss of that round on them. `gained` labels lie beyond the thresholds by this round's
    scores and not by that round's, `lost` labels the other way round.
    """

    round_id: int
    labels: int
    before: float
    difference: float
    standard_error: float
    gained: int = 0
    lost: int = 0

    @property
    def verdict(self) -> Trend:
        """Better or worse only beyond two standard errors, and by more than a hundredth.

        Better is a round, too, that takes more labels beyond the thresholds than chance does.
        """
        if self.gained - self.lost > _DEVIATIONS * np.sqrt(self.gained + self.lost):
            return Trend.BETTER
        least = max(_DEVIATIONS * self.standard_error, _LEAST_GAIN * self.before)
        if abs(self.difference) <= least:
            return Trend.NO_DIFFERENCE
        return Trend.BETTER if self.difference < 0 else Trend.WORSE


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceQuality:
    """Quality of the scores of one source: positives expected and found among its labels.

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
        """Whether the scores are not calibrated in this source."""
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

    @property
    def measured_on(self) -> str:
        """The number of labels, and what they are a sample of."""
        kind = "a random sample of the pool" if self.on_pool else "seeds, not a sample of the pool"
        return f"{self.labels:,} labels ({kind})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PastRound:
    """A committed round, and its scores (`SCORE_RECORD`) unless their file is lost or empty."""

    record: RoundRecord
    model_path: Path
    scores: NDArray[Any] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QualityLabels:
    """Labels that judge a round's scores, all arrays (labels,).

    `probability` is P(positive), of heads and of a calibration that the label had no part in;
    `on_pool` says whether the labels are a random sample of the pool. With `shared_calibration`
    labels had a part in the calibration of their own scores, as those of networks have.
    """

    image_ids: IntArray
    source_ids: IntArray
    probability: FloatArray
    raw: FloatArray
    folds: IntArray
    positive: BoolArray
    on_pool: bool
    shared_calibration: bool


def quality_labels(
    records: NDArray[Any], human: HumanLabels, *, shared_calibration: bool = False
) -> QualityLabels | None:
    """The labels that judge these scores; None if they are too few or of one class.

    A random sample of the pool judges if it is large enough, else the seeds do.
    """
    positions = positions_in(records["image_id"], human.image_ids)
    scored = positions >= 0
    scored[scored] = np.isfinite(records["raw"][positions[scored]])
    usable = scored & np.isin(human.standing, CLASS_CODES)
    # Labels from a contact sheet were not looked at one by one.
    usable &= human.first_method != code_of(Method.SHEET)
    sampled = usable & human.speaks_for_pool
    on_pool = bool(sampled.sum() >= SAMPLE_FOR_POOL)
    judging = sampled if on_pool else usable & (human.first_origin == code_of(Origin.SEED))
    members = np.flatnonzero(judging)
    positive = human.standing[members] == POSITIVE_CODE
    if len(members) < FEWEST or positive.all() or not positive.any():
        return None
    raw = records["raw"][positions[members]]
    folds = records["fold"][positions[members]].astype(np.int64)
    return QualityLabels(
        image_ids=human.image_ids[members],
        source_ids=human.source_ids[members],
        probability=cross_calibrated(raw, folds, positive),
        raw=raw,
        folds=folds,
        positive=positive,
        on_pool=on_pool,
        shared_calibration=shared_calibration,
    )


def measure_quality(
    records: NDArray[Any],
    human: HumanLabels,
    labels: QualityLabels | None,
    source_names: Mapping[int, str],
    last: PastRound | None,
    first: PastRound | None,
    promotion: PromotionSettings,
) -> ScoreQuality | None:
    """What `quality_labels` of these records say of a round's scores; None if they are too few.

    `last` and `first` are the round before and the first one of the lineage.
    """
    if labels is None:
        return None
    probability, positive = labels.probability, labels.positive
    sources = [source_names.get(int(number), "") for number in labels.source_ids]
    thresholds = promotion.model_dump()
    now = promoted_classes(records, labels, thresholds)

    def compared(past: PastRound | None) -> Comparison | None:
        if past is None or past.scores is None:
            return None
        before = promoted_classes(past.scores, labels, thresholds)
        return _compared(past.record.round_id, past.scores, labels, now, before)

    implied = None
    if not labels.on_pool:
        unlabelled = records["probability"][~np.isin(records["image_id"], human.image_ids)]
        unlabelled = unlabelled[np.isfinite(unlabelled)]
        implied = pool_share(unlabelled, float(positive.mean())) if len(unlabelled) else None
    return replace(
        score_quality(probability, positive, on_pool=labels.on_pool),
        pool_share=implied,
        sources=source_qualities(probability, positive, np.array(sources, dtype=np.str_)),
        last=compared(last),
        first=compared(first),
    )


def promoted_classes(
    scores: NDArray[Any], labels: QualityLabels, thresholds: Mapping[str, Any]
) -> CodeArray:
    """The class beyond whose threshold each label lies by these scores, (labels,).

    `NO_CODE` for neither. `thresholds` are the settings of a section `promotion`. Labels that had
    a part in the calibration of `scores` are calibrated anew here, fold by fold.
    """
    positions = positions_in(scores["image_id"], labels.image_ids)
    own = scores[np.maximum(positions, 0)]
    usable = (positions >= 0) & np.isfinite(own["raw"])
    probability = own["raw"].astype(np.float64)
    if thresholds["score"] != "raw" and not labels.shared_calibration:
        probability = own["probability"]
    elif thresholds["score"] != "raw":
        positive = labels.positive[usable]
        if positive.all() or not positive.any():
            return np.full(len(probability), NO_CODE, dtype=np.int8)
        probability[usable] = cross_calibrated(probability[usable], labels.folds[usable], positive)
    classes: CodeArray = np.full(len(probability), NO_CODE, dtype=np.int8)
    classes[usable & (probability > thresholds["promote_above"])] = POSITIVE_CODE
    classes[usable & (probability < thresholds["promote_below"])] = NEGATIVE_CODE
    return classes


def _compared(
    round_id: int,
    scores: NDArray[Any],
    labels: QualityLabels,
    now: CodeArray,
    before: CodeArray,
) -> Comparison | None:
    """The present round against round `round_id`, on the labels that can show a difference.

    A label that both rounds take beyond a threshold cannot: `now` and `before` (labels,) are the
    classes of `promoted_classes`.
    """
    positions = positions_in(scores["image_id"], labels.image_ids)
    both = positions >= 0
    both[both] = np.isfinite(scores["raw"][positions[both]])
    positive, folds = labels.positive[both], labels.folds[both]
    if both.sum() < FEWEST or positive.all() or not positive.any():
        return None
    present = labels.probability[both]
    if not both.all():
        present = cross_calibrated(labels.raw[both], folds, positive)
    past = cross_calibrated(scores["raw"][positions[both]], folds, positive)
    now, before = now[both], before[both]
    undecided = (now == NO_CODE) | (before == NO_CODE)
    if undecided.sum() < FEWEST:
        return None
    return replace(
        compare(round_id, present[undecided], past[undecided], positive[undecided]),
        gained=int(((before == NO_CODE) & (now != NO_CODE)).sum()),
        lost=int(((before != NO_CODE) & (now == NO_CODE)).sum()),
    )


def cross_calibrated(raw: FloatArray, folds: IntArray, positive: BoolArray) -> FloatArray:
    """P(positive) of labels, (labels,), each by a map that its fold had no part in.

    `raw` is the heads' own probability, strictly between 0 and 1; all arrays are (labels,).
    """
    clipped = np.clip(raw, _SMALLEST, 1 - _SMALLEST)
    margins = np.log(clipped) - np.log1p(-clipped)
    probability = np.empty(len(margins))
    for fold in np.unique(folds):
        rest, own = folds != fold, folds == fold
        fitted = fit_map(Evidence(margins[rest]), positive[rest])
        probability[own] = fitted.probabilities(Evidence(margins[own]))
    return probability


def score_quality(probability: FloatArray, positive: BoolArray, *, on_pool: bool) -> ScoreQuality:
    """Quality of cross-calibrated probabilities; both arrays are (labels,), not empty."""
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
    probability: FloatArray, positive: BoolArray, sources: NDArray[np.str_]
) -> tuple[SourceQuality, ...]:
    """Quality of the scores in each source with `FEWEST` labels or more; arrays are (labels,)."""
    qualities = []
    for source in np.unique(sources):
        inside = sources == source
        if inside.sum() < FEWEST:
            continue
        p, y = probability[inside], positive[inside]
        spread = float(np.sqrt(np.maximum((p * (1 - p)).sum(), 1e-12)))
        qualities.append(
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
    return tuple(qualities)


def compare(round_id: int, now: FloatArray, before: FloatArray, positive: BoolArray) -> Comparison:
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


def log_losses(probability: FloatArray, positive: BoolArray) -> FloatArray:
    """-log of the probability of the label, per label."""
    right = np.where(positive, probability, 1 - probability)
    losses: FloatArray = -np.log(np.clip(right, _SMALLEST, 1.0))
    return losses


def advice(quality: ScoreQuality) -> str:
    """Whether another round can be expected to help, in one sentence."""
    last, first = quality.last, quality.first
    if first is not None and first.verdict is Trend.WORSE:
        return (
            f"Round {first.round_id} was better than this one: `curator rollback --to"
            f" {first.round_id}`, and label more instead."
        )
    if last is None and first is None:
        return (
            "Whether another round helps is known after the next one; in trials the first round"
            " was about as good as any, and more labels helped more."
        )
    if last is None:
        return "Another round: too few undecided labels to show whether it helps."
    if last.verdict is Trend.BETTER:
        return "This round helped; another one may, too."
    if last.verdict is Trend.WORSE:
        return (
            f"This round made it worse: `curator rollback --to {last.round_id}`, and label more"
            " instead."
        )
    return "Another round: these labels show no gain from this one; new labels help more."


def comparison_sentence(comparison: Comparison) -> str:
    """The figures behind `advice`."""
    return (
        f"Against round {comparison.round_id}: log loss {comparison.difference:+.4f} (standard"
        f" error {comparison.standard_error:.4f}, {comparison.labels:,} labels that either round"
        f" left undecided); beyond the thresholds {count(comparison.gained, 'label')} more and"
        f" {comparison.lost:,} fewer."
    )


def as_stored(quality: ScoreQuality | None) -> dict[str, Any] | None:
    """As JSON, for the outcome of a round."""
    return None if quality is None else asdict(quality)


def from_stored(stored: dict[str, Any] | None) -> ScoreQuality | None:
    """Read back what `as_stored` wrote; None for what another version stored in another form."""
    if stored is None or stored.keys() != {field.name for field in fields(ScoreQuality)}:
        return None
    values = dict(stored)
    values["reliability"] = tuple(ReliabilityBin(**row) for row in stored["reliability"])
    values["sources"] = tuple(SourceQuality(**row) for row in stored["sources"])
    for name in ("last", "first"):
        values[name] = None if stored[name] is None else Comparison(**stored[name])
    return ScoreQuality(**values)


def pool_share(probability: NDArray[np.floating], labelled_share: float) -> float:
    """The share of positives among images with these scores, (images,).

    `labelled_share` is that of the labels which the scores were calibrated on. Saerens, Latinne
    and Decaestecker (2002), Neural Computation 14, eq. 2.9: expectation and maximisation. It
    holds if the pool differs from the labels in its class shares alone, and not in what either
    class looks like. Scores cannot show whether that is so, and so this share promotes nobody.
    """
    p = np.asarray(probability, dtype=np.float64)
    before = float(np.clip(labelled_share, _SMALLEST_SHARE, 1 - _SMALLEST_SHARE))
    share = before
    for _ in range(_EM_STEPS):
        positive = p * (share / before)
        negative = (1 - p) * ((1 - share) / (1 - before))
        total = positive + negative
        following = float(np.mean(np.divide(positive, total, where=total > 0, out=p.copy())))
        following = float(np.clip(following, _SMALLEST_SHARE, 1 - _SMALLEST_SHARE))
        if abs(following - share) < _EM_TOLERANCE:
            return following
        share = following
    return share


def draw_calibration(
    folder: Path, quality: ScoreQuality, round_id: int, classes: ClassesSettings
) -> Path:
    """Draw the reliability diagram of a round as a PNG in `folder`."""
    from curator.charts.lines import Chart, Line, draw_charts

    bins = quality.reliability
    measured = Line(
        name=quality.measured_on,
        x=tuple(bin.mean_probability for bin in bins),
        y=tuple(bin.share_positive for bin in bins),
        low=tuple(bin.low_share for bin in bins),
        high=tuple(bin.high_share for bin in bins),
    )
    chart = Chart(
        title=f"Round {round_id}: predicted and observed shares",
        x_name=f"P({classes.positive})",
        y_name=f"share {classes.positive}",
        lines=(measured, Line(name="perfect calibration", x=(0.0, 1.0), y=(0.0, 1.0), dashed=True)),
    )
    return draw_charts(folder / f"calibration-{round_id}.png", (chart,))
