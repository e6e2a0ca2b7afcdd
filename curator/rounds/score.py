"""Scores of the whole pool and the decisions that follow from them; values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import CodeArray, FloatArray
from curator.base.progress import Progress
from curator.classifiers.protocol import PoolSlice, TrainedClassifier
from curator.rounds.gates import GateInputs, hold_back
from curator.rounds.labels import Pool, is_human, pool_labels
from curator.rounds.promotion import RoundCounts, count_actions, decide
from curator.settings.sections import PromotionSettings
from curator.storage.scores import SCORE_RECORD


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundDecisions:
    """The `PoolLabel` and the `RoundAction` of each image of the pool, and what they add up to.

    `probability` is the P(positive) that decided, calibrated or raw.
    """

    labels: CodeArray
    actions: CodeArray
    probability: FloatArray
    counts: RoundCounts


def score_pool(
    trained: TrainedClassifier[Any],
    pool: Pool,
    slices: Iterable[PoolSlice],
    distances: FloatArray | None,
    progress: Progress,
) -> NDArray[Any]:
    """A `SCORE_RECORD` for each image of the pool, in order of image ids, without an action."""
    records = np.zeros(len(pool), dtype=SCORE_RECORD)
    records["distance"] = np.nan if distances is None else distances
    start = 0
    with progress.stage("score", len(pool)) as stage:
        for chunk, part in zip(pool.chunks, slices, strict=True):
            run = records[start : start + len(chunk.image_ids)]
            run["image_id"], run["fold"] = chunk.image_ids, part.folds
            run["probability"], run["raw"] = trained.score(part)
            start += len(run)
            stage.advance(len(run))
    return records


def decide_pool(
    records: NDArray[Any],
    pool: Pool,
    promotion: PromotionSettings,
    gate: GateInputs,
    *,
    hold: bool,
) -> RoundDecisions:
    """Thresholds, then gates; writes the actions into the records, too.

    With `hold`, which a warning asks for, nothing is promoted; revocations go on.
    """
    probability: FloatArray = np.ascontiguousarray(
        records["raw" if promotion.score == "raw" else "probability"]
    )
    nothing = np.empty(0, dtype=np.int8)
    labels = np.concatenate([nothing, *(pool_labels(chunk) for chunk in pool.chunks)])
    human = sum(int(is_human(chunk.standing, chunk.origin).sum()) for chunk in pool.chunks)
    actions = decide(probability, labels, promotion)
    held_back = hold_back(actions, gate, warned=hold)
    records["action"] = actions
    counts = count_actions(
        probability,
        labels,
        actions,
        without_human=len(pool) - human,
        held_back=held_back,
        thresholds=promotion,
    )
    return RoundDecisions(labels=labels, actions=actions, probability=probability, counts=counts)
