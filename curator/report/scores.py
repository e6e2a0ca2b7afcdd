"""Scores of the pool, for the report: from the score file that each round left.

Only images without a human label at present are counted. The error that a coverage would
have is estimated twice: by what the scores claim, and by labels that had no part in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.catalogue.certificates import promoted_labels
from curator.catalogue.engine import Catalogue
from curator.catalogue.pool import human_labels
from curator.catalogue.rounds import RoundRecord, RoundStatus
from curator.rounds.score_quality import QualityLabels, quality_labels
from curator.statistics.metrics import ErrorEstimate, error_estimate
from curator.workspace import Workspace

BINS = 50
MOST_ROUNDS = 12
_COVERAGES = tuple(step / 20 for step in range(1, 21))
_EDGES = np.linspace(0.0, 1.0, BINS + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundScores:
    """How a round scored the images without a human label.

    `histogram` counts them in equal intervals of P(positive). `bands` counts those below
    `below`, from there to one half, from one half to `above`, and beyond `above`. `raw` scores
    are not calibrated.
    """

    round: int
    images: int
    histogram: tuple[int, ...]
    bands: tuple[int, ...]
    below: float
    above: float
    raw: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The error if the surest images were promoted up to a coverage.

    `claimed` follows from the scores; `measured` is the error on the labels at least as sure
    (`certainty`).
    """

    coverage: float
    certainty: float
    claimed: float
    measured: ErrorEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCurve:
    """Estimated error against coverage, by the scores of the current round.

    `error` is that of what was promoted after the round. `labels` measure the error; `on_pool`
    says whether they are a random sample of the pool.
    """

    round: RoundRecord
    images: int
    points: tuple[CurvePoint, ...]
    error: float
    on_pool: bool
    labels: int


def scores_of(
    workspace: Workspace, rounds: Sequence[RoundRecord], human_ids: IntArray
) -> tuple[tuple[RoundScores, ...], tuple[int, ...]]:
    """The scores of the latest rounds, and the rounds whose score files are gone."""
    current = [r for r in rounds if r.status is not RoundStatus.ROLLED_BACK and r.score_digest]
    distributions, missing = [], []
    for record in current[-MOST_ROUNDS:]:
        records = workspace.scores(record.score_digest)
        if records is None:
            missing.append(record.round_id)
            continue
        # The thresholds are those that the round used.
        promotion: Any = record.settings.get(
            "promotion", workspace.settings.promotion.model_dump(mode="json")
        )
        raw = promotion.get("score") == "raw"
        below, above = float(promotion["promote_below"]), float(promotion["promote_above"])
        scores = _without_human(records, human_ids, "raw" if raw else "probability")
        bands = (
            scores < below,
            (scores >= below) & (scores < 0.5),
            (scores >= 0.5) & (scores <= above),
            scores > above,
        )
        distributions.append(
            RoundScores(
                round=record.round_id,
                images=len(scores),
                histogram=tuple(np.histogram(scores, _EDGES)[0].tolist()),
                bands=tuple(int(band.sum()) for band in bands),
                below=below,
                above=above,
                raw=raw,
            )
        )
    return tuple(distributions), tuple(missing)


def error_curve_of(
    workspace: Workspace, record: RoundRecord | None, human_ids: IntArray
) -> tuple[ErrorCurve | None, str]:
    """Coverage against estimated error in the current round, or why there is none."""
    if record is None:
        return None, "There is no current round yet."
    alarms = record.outcome.get("alarms", [])
    if any(each.get("holds") and each["kind"] != "error" for each in alarms):
        return None, "A warning says that the error of the pool is unknown."
    records = workspace.scores(record.score_digest)
    if records is None:
        return None, f"Round {record.round_id} has no scores here, so none can be given."
    scores = _without_human(records, human_ids, "probability")
    if not len(scores):
        return None, "Every image that was scored has a human label."
    labels = None
    if record.feature_set_id is not None:
        human = human_labels(workspace.catalogue, record.feature_set_id)
        labels = quality_labels(records, human)
    return ErrorCurve(
        round=record,
        images=len(scores),
        points=curve_points(scores, labels),
        error=promoted_error(workspace.catalogue, record),
        on_pool=labels is not None and labels.on_pool,
        labels=0 if labels is None else len(labels.positive),
    ), ""


def promoted_error(catalogue: Catalogue, record: RoundRecord) -> float:
    """The share of the promoted labels that is wrong, by the scores' own doubts."""
    expected = record.outcome.get("expected_errors")
    if expected is not None:
        return float(expected) / max(record.standing_promoted, 1)
    # A round that certified or imported has no such sum; each label has its probability.
    _, positive, probability = promoted_labels(catalogue)
    doubt = np.where(positive, 1 - probability, probability)
    doubt = doubt[np.isfinite(doubt)]
    return float(doubt.mean()) if len(doubt) else 0.0


def curve_points(scores: FloatArray, labels: QualityLabels | None) -> tuple[CurvePoint, ...]:
    """The error of the surest part of the pool, by twentieths."""
    doubt = np.sort(np.minimum(scores, 1 - scores))
    claimed = np.cumsum(doubt) / np.arange(1, len(doubt) + 1)
    label_doubt: FloatArray = np.empty(0)
    wrong: BoolArray = np.empty(0, dtype=np.bool_)
    if labels is not None:
        label_doubt = np.minimum(labels.probability, 1 - labels.probability)
        wrong = (labels.probability >= 0.5) != labels.positive
    points = []
    for coverage in _COVERAGES:
        last = max(1, round(coverage * len(doubt))) - 1
        limit = doubt[last] if coverage < 1 else 0.5  # the whole pool has every label in it
        points.append(
            CurvePoint(
                coverage=(last + 1) / len(doubt),
                certainty=float(1 - doubt[last]),
                claimed=float(claimed[last]),
                measured=error_estimate(wrong[label_doubt <= limit]),
            )
        )
    return tuple(points)


def _without_human(records: NDArray[Any], human_ids: IntArray, column: str) -> FloatArray:
    """A column of score records (n,), without images in `human_ids` and without NaN."""
    scores: FloatArray = records[column][~np.isin(records["image_id"], human_ids)]
    return scores[np.isfinite(scores)]
