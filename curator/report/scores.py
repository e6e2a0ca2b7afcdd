"""What rounds thought of the pool, for the report: from the score file that each one left.

Only images without a human label at present are counted. The error that a coverage would
have is estimated twice: by what the scores claim, and by labels which judge them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.catalogue.certificates import promoted_labels
from curator.catalogue.rounds import RoundRecord, RoundStatus
from curator.report.data import ScoreFacts, Selection, SelectionPoint
from curator.rounds.judge import QualityLabels, quality_labels
from curator.statistics.metrics import error_estimate
from curator.storage.scores import read_scores
from curator.workspace import Workspace

BINS = 50
MOST_ROUNDS = 12
_STEPS = tuple(step / 20 for step in range(1, 21))
_EDGES = np.linspace(0.0, 1.0, BINS + 1)

Floats = NDArray[np.float64]


def scores_of(
    workspace: Workspace, rounds: Sequence[RoundRecord], human_ids: NDArray[np.int64]
) -> tuple[tuple[ScoreFacts, ...], tuple[int, ...]]:
    """The scores of the latest standing rounds, and the rounds whose scores are gone."""
    standing = [r for r in rounds if r.status is not RoundStatus.ROLLED_BACK and r.score_digest]
    found, missing = [], []
    for one in standing[-MOST_ROUNDS:]:
        records = read_scores(workspace.folder("scores"), one.score_digest or "")
        if records is None:
            missing.append(one.round_id)
            continue
        bars = _bars(workspace, one)
        raw = bars.get("score") == "raw"
        scores = _of_the_pool(records, human_ids, "raw" if raw else "probability")
        below, above = float(bars["promote_below"]), float(bars["promote_above"])
        found.append(
            ScoreFacts(
                round=one.round_id,
                images=len(scores),
                histogram=tuple(np.histogram(scores, _EDGES)[0].tolist()),
                bands=_bands(scores, below, above),
                below=below,
                above=above,
                raw=raw,
            )
        )
    return tuple(found), tuple(missing)


def selection_of(
    workspace: Workspace, current: RoundRecord | None, human_ids: NDArray[np.int64]
) -> tuple[Selection | None, str]:
    """Coverage against estimated error in the round that stands, or why there is none."""
    if current is None:
        return None, "No round stands yet."
    records = read_scores(workspace.folder("scores"), current.score_digest or "")
    if records is None:
        return None, f"Round {current.round_id} has no scores here, so none can be given."
    scores = _of_the_pool(records, human_ids, "probability")
    if not len(scores):
        return None, "Every image that was scored has a human label."
    judged = None
    if current.feature_set_id is not None:
        judged = quality_labels(workspace, current.feature_set_id, current.score_digest or "")
    promoted = current.standing_promoted
    return Selection(
        round=current.round_id,
        images=len(scores),
        points=_points(scores, judged),
        coverage=current.coverage,
        error=_chosen_error(workspace, current),
        promoted=promoted,
        on_pool=judged is not None and judged.on_pool,
        labels=0 if judged is None else len(judged.positive),
        rests=_rests(judged, len(scores)),
    ), ""


def _chosen_error(workspace: Workspace, current: RoundRecord) -> float:
    """The share of what stands promoted that is wrong by the scores' own doubts.

    A round that only certified or imported has no sum of them: then it is made of what was kept
    with each label.
    """
    expected = current.outcome.get("expected_errors")
    if expected is not None:
        return float(expected) / max(current.standing_promoted, 1)
    _, positive, probability = promoted_labels(workspace.catalogue)
    doubt = np.where(positive, 1 - probability, probability)
    doubt = doubt[np.isfinite(doubt)]
    return float(doubt.mean()) if len(doubt) else 0.0


def _bars(workspace: Workspace, one: RoundRecord) -> Mapping[str, Any]:
    """The thresholds that a round went by."""
    bars: Mapping[str, Any] = one.settings.get(
        "promotion", workspace.settings.promotion.model_dump(mode="json")
    )
    return bars


def _of_the_pool(records: NDArray[Any], human_ids: NDArray[np.int64], name: str) -> Floats:
    place = np.searchsorted(human_ids, records["image_id"])
    place = np.minimum(place, max(len(human_ids) - 1, 0))
    free = np.ones(len(records), dtype=np.bool_)
    if len(human_ids):
        free = human_ids[place] != records["image_id"]
    scores: Floats = records[name][free]
    return scores[np.isfinite(scores)]


def _bands(scores: Floats, below: float, above: float) -> tuple[int, int, int, int]:
    counts = (
        (scores < below).sum(),
        ((scores >= below) & (scores < 0.5)).sum(),
        ((scores >= 0.5) & (scores <= above)).sum(),
        (scores > above).sum(),
    )
    first, second, third, last = (int(one) for one in counts)
    return first, second, third, last


def _points(scores: Floats, judged: QualityLabels | None) -> tuple[SelectionPoint, ...]:
    """The surest part of the pool, by twentieths: what scores claim, and what labels find."""
    doubt = np.sort(np.minimum(scores, 1 - scores))
    claimed = np.cumsum(doubt) / np.arange(1, len(doubt) + 1)
    if judged is None:
        own, wrong = np.empty(0), np.empty(0, dtype=np.bool_)
    else:
        own = np.minimum(judged.probability, 1 - judged.probability)
        wrong = (judged.probability >= 0.5) != judged.positive
    points = []
    for share in _STEPS:
        place = max(1, round(share * len(doubt))) - 1
        limit = doubt[place] if share < 1 else 0.5  # of the whole pool, every label is one
        found = error_estimate(wrong[own <= limit])
        points.append(
            SelectionPoint(
                coverage=(place + 1) / len(doubt),
                certainty=float(1 - doubt[place]),
                claimed=float(claimed[place]),
                labels=found.sample,
                errors=found.errors,
                low=found.low,
                high=found.high,
            )
        )
    return tuple(points)


def _rests(judged: QualityLabels | None, images: int) -> str:
    scores = f"The line is what the scores of {images:,} images without a human label claim"
    if judged is None:
        return f"{scores}; too few labels could judge them, so nothing confirms it."
    labels = f"{len(judged.positive):,} labels that had no part in the scores"
    if judged.on_pool:
        return f"{scores}; the points are {labels}, a random sample of the pool."
    return (
        f"{scores}; the points are {labels}. These are seeds, no random sample of the pool, so"
        " the error there may be another: only an audit measures it."
    )
