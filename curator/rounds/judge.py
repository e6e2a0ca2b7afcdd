"""What a round's scores are worth, measured on labels and kept with the round.

Scores are taken from the round's array file, in which a label that was trained on stands
with the word of a head that never met it. Earlier rounds are compared from their own files,
on the same labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import CurrentLabel, Method, Origin, Split, code_of
from curator.catalogue import pool, rounds
from curator.catalogue.pool import HumanLabels
from curator.catalogue.sources import list_sources
from curator.charts.lines import Chart, Line, draw_charts
from curator.classifiers.heads.frozen import SAMPLE_FOR_POOL
from curator.rounds.class_shares import pool_share
from curator.rounds.score_quality import (
    FEWEST,
    Comparison,
    ScoreQuality,
    compare,
    cross_calibrated,
    score_quality,
    source_qualities,
)
from curator.storage.scores import read_scores
from curator.workspace import Workspace

Flags = NDArray[np.bool_]

_CLASSES = [code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QualityLabels:
    """Labels that may judge a round's scores, all arrays (labels,).

    `probability` is P(positive), of heads and of a calibration that the label had no part in;
    `on_pool` says whether the labels are a random sample of the pool.
    """

    probability: NDArray[np.float64]
    raw: NDArray[np.float64]
    folds: NDArray[np.int64]
    positive: Flags
    on_pool: bool
    source_ids: NDArray[np.int64]


def quality_labels(
    workspace: Workspace, feature_set_id: int, score_digest: str
) -> QualityLabels | None:
    """The labels that judge scores which are written; None if they are too few."""
    found = _evidence(workspace, feature_set_id, score_digest)
    return None if found is None else found[0]


def _evidence(
    workspace: Workspace, feature_set_id: int, score_digest: str
) -> tuple[QualityLabels, HumanLabels, Flags, NDArray[Any]] | None:
    records = read_scores(workspace.folder("scores"), score_digest)
    if records is None or not len(records):
        return None
    human = pool.human_labels(workspace.catalogue, feature_set_id)
    place, known = _places(records, human)
    judged, on_pool = _judged(human, known)
    if judged.sum() < FEWEST or not _both_classes(human, judged):
        return None
    raw = records["raw"][place[judged]]
    folds = records["fold"][place[judged]].astype(np.int64)
    positive = human.standing[judged] == code_of(CurrentLabel.POSITIVE)
    found = QualityLabels(
        probability=cross_calibrated(raw, folds, positive),
        raw=raw,
        folds=folds,
        positive=positive,
        on_pool=on_pool,
        source_ids=human.source_ids[judged],
    )
    return found, human, judged, records


def score_quality_of(
    workspace: Workspace, parent_id: int | None, feature_set_id: int, score_digest: str
) -> ScoreQuality | None:
    """What labels say of scores that are written but not committed; None if they are too few."""
    evidence = _evidence(workspace, feature_set_id, score_digest)
    if evidence is None:
        return None
    by, human, judged, records = evidence
    found = score_quality(by.probability, by.positive, on_pool=by.on_pool)
    share = None if by.on_pool else _pool_share(records, human, found.positive_share)
    first = _first_of(workspace, parent_id)
    return replace(
        found,
        pool_share=share,
        sources=source_qualities(by.probability, by.positive, _names(workspace, by.source_ids)),
        last=_compared(workspace, parent_id, human, judged, by.raw, by.folds, by.probability),
        first=_compared(workspace, first, human, judged, by.raw, by.folds, by.probability),
    )


def _places(records: NDArray[Any], human: HumanLabels) -> tuple[NDArray[np.int64], Flags]:
    place = np.searchsorted(records["image_id"], human.image_ids)
    known: Flags = place < len(records)
    place = np.minimum(place, len(records) - 1)
    known &= records["image_id"][place] == human.image_ids
    known &= np.isfinite(records["raw"][place])
    return place, known


def _judged(human: HumanLabels, known: Flags) -> tuple[Flags, bool]:
    """Which labels judge: a random sample of the pool if it is large enough, else the seeds."""
    usable = known & np.isin(human.standing, _CLASSES)
    usable &= human.method != code_of(Method.SHEET)
    sampled = usable & (human.origin == code_of(Origin.CALIBRATION))
    sampled &= human.split == code_of(Split.CALIBRATION)
    if sampled.sum() >= SAMPLE_FOR_POOL:
        return sampled, True
    return usable & (human.origin == code_of(Origin.SEED)), False


def _both_classes(human: HumanLabels, judged: Flags) -> bool:
    return len(np.unique(human.standing[judged])) == len(_CLASSES)


def _first_of(workspace: Workspace, parent_id: int | None) -> int | None:
    lineage = rounds.lineage(workspace.catalogue)
    return lineage[0] if parent_id is not None and lineage else None


def _pool_share(records: NDArray[Any], human: HumanLabels, labelled_share: float) -> float | None:
    """The share of positives that the scores of images without a human label imply."""
    others = ~np.isin(records["image_id"], human.image_ids)
    scores = records["probability"][others]
    scores = scores[np.isfinite(scores)]
    return pool_share(scores, labelled_share) if len(scores) else None


def _names(workspace: Workspace, source_ids: NDArray[np.int64]) -> NDArray[np.str_]:
    names = {one.source_id: one.name for one in list_sources(workspace.catalogue)}
    return np.array([names.get(int(one), "") for one in source_ids], dtype=np.str_)


def _compared(
    workspace: Workspace,
    round_id: int | None,
    human: HumanLabels,
    judged: Flags,
    now: NDArray[np.float64],
    folds: NDArray[np.int64],
    probability: NDArray[np.float64],
) -> Comparison | None:
    """This round against another one, on the labels that both have scored.

    `probability` is what its claims `now` come to, if the other one has scored all of them.
    """
    if round_id is None:
        return None
    digest = rounds.get_round(workspace.catalogue, round_id).score_digest
    before = read_scores(workspace.folder("scores"), digest or "")
    if before is None or not len(before):
        return None
    place, known = _places(before, human)
    both = known[judged]
    positive = human.standing[judged][both] == code_of(CurrentLabel.POSITIVE)
    if both.sum() < FEWEST or len(np.unique(positive)) < len(_CLASSES):
        return None
    then = before["raw"][place[judged][both]]
    return compare(
        round_id,
        probability if both.all() else cross_calibrated(now[both], folds[both], positive),
        cross_calibrated(then, folds[both], positive),
        positive,
    )


def draw_calibration(workspace: Workspace, judgement: ScoreQuality, round_id: int) -> Path:
    """The reliability diagram of a round as a PNG under the workspace's reports."""
    bins = judgement.reliability
    measured = Line(
        name=f"{judgement.labels:,} labels",
        x=tuple(one.mean_probability for one in bins),
        y=tuple(one.share_positive for one in bins),
        low=tuple(one.low_share for one in bins),
        high=tuple(one.high_share for one in bins),
    )
    chart = Chart(
        title=f"Round {round_id}: what scores say and what is found",
        x_name=f"P({workspace.settings.classes.positive})",
        y_name=f"share {workspace.settings.classes.positive}",
        lines=(measured, Line(name="as it should be", x=(0.0, 1.0), y=(0.0, 1.0), dashed=True)),
    )
    return draw_charts(workspace.folder("reports") / f"calibration-{round_id}.png", (chart,))
