"""Scores of the pool, and who is promoted or loses a promotion by them; values only.

`decide` is a pure function of probabilities, present labels and thresholds. An image gains a
label above or below the promotion thresholds, and loses it when it crosses a second, less strict
one; the gap between the two stops labels from flapping. Images that a person has labelled, that
are blocked or withheld are never touched. `hold_back` is the gate of distances (ADR 0014).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import NEGATIVE_CODE, POSITIVE_CODE, CodeArray, FloatArray
from curator.base.progress import Progress
from curator.base.vocabulary import Origin, code_of
from curator.catalogue.pool import Pool, PoolChunk
from curator.classifiers.protocol import PoolSlice, TrainedClassifier
from curator.rounds.labels import is_human
from curator.settings.sections import PromotionSettings
from curator.storage.scores import SCORE_RECORD


class PoolLabel(IntEnum):
    """What a round may find on an image."""

    NOTHING = 0
    PROMOTED_POSITIVE = 1
    PROMOTED_NEGATIVE = 2
    UNTOUCHABLE = 3


class RoundAction(IntEnum):
    """What a round does to an image."""

    KEEP = 0
    PROMOTE_POSITIVE = 1
    PROMOTE_NEGATIVE = 2
    REVOKE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """How many promotions each gate held back, and how many wait because of a warning."""

    distance: int = 0
    warning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCounts:
    """What the decisions of a round add up to, before anything else changed the labels.

    `expected_errors` is the sum over promoted images of the probability that the label is wrong.
    `below_upper` promoted images do not pass the threshold any more at which a label is given, but
    still that at which it is kept.
    """

    promoted_positive: int
    promoted_negative: int
    revoked: int
    standing_promoted: int
    without_human: int
    expected_errors: float
    below_upper: int
    held_back: HeldBack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateInputs:
    """Distance of each image to the nearest labelled one, (images,), None if not measured.

    Images beyond `limit` are not promoted.
    """

    distances: FloatArray | None = None
    limit: float = float("inf")


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


def pool_labels(chunk: PoolChunk) -> CodeArray:
    """The `PoolLabel` of each image: what a round finds on it and may change."""
    codes = np.full(len(chunk.image_ids), PoolLabel.NOTHING, dtype=np.int8)
    promoted = chunk.origin == code_of(Origin.PROMOTED)
    codes[promoted & (chunk.standing == POSITIVE_CODE)] = PoolLabel.PROMOTED_POSITIVE
    codes[promoted & (chunk.standing == NEGATIVE_CODE)] = PoolLabel.PROMOTED_NEGATIVE
    codes[is_human(chunk.standing, chunk.origin) | chunk.blocked] = PoolLabel.UNTOUCHABLE
    return codes


def decide(
    probability: NDArray[np.floating], labels: CodeArray, thresholds: PromotionSettings
) -> CodeArray:
    """One `RoundAction` per image, for P(positive) and `PoolLabel` codes; all arrays are (rows,).

    A probability that is not a number never promotes, and revokes what was promoted.
    """
    actions = np.full(len(labels), RoundAction.KEEP, dtype=np.int8)
    free = labels == PoolLabel.NOTHING
    actions[free & (probability > thresholds.promote_above)] = RoundAction.PROMOTE_POSITIVE
    actions[free & (probability < thresholds.promote_below)] = RoundAction.PROMOTE_NEGATIVE
    # "not at least" instead of "below", so that NaN revokes.
    fallen = (labels == PoolLabel.PROMOTED_POSITIVE) & ~(probability >= thresholds.revoke_below)
    risen = (labels == PoolLabel.PROMOTED_NEGATIVE) & ~(probability <= thresholds.revoke_above)
    actions[fallen | risen] = RoundAction.REVOKE
    return actions


def hold_back(actions: CodeArray, inputs: GateInputs, *, warned: bool = False) -> HeldBack:
    """Turn promotions of images beyond the limit into no action, in place; all if `warned`."""
    promoted = np.isin(actions, (RoundAction.PROMOTE_POSITIVE, RoundAction.PROMOTE_NEGATIVE))
    beyond = promoted & (False if inputs.distances is None else inputs.distances > inputs.limit)
    held_back = promoted if warned else beyond
    actions[held_back] = RoundAction.KEEP
    return HeldBack(distance=int(beyond.sum()), warning=int((held_back & ~beyond).sum()))


def labels_after(labels: CodeArray, actions: CodeArray) -> CodeArray:
    """The `PoolLabel` of each image once these actions are taken; arrays as in `decide`."""
    after = labels.copy()
    after[actions == RoundAction.PROMOTE_POSITIVE] = PoolLabel.PROMOTED_POSITIVE
    after[actions == RoundAction.PROMOTE_NEGATIVE] = PoolLabel.PROMOTED_NEGATIVE
    after[actions == RoundAction.REVOKE] = PoolLabel.NOTHING
    return after


def count_actions(
    probability: FloatArray,
    labels: CodeArray,
    actions: CodeArray,
    *,
    without_human: int,
    held_back: HeldBack,
    thresholds: PromotionSettings,
) -> RoundCounts:
    """What these actions come to; arrays as in `decide`."""
    after = labels_after(labels, actions)
    positive, negative = after == PoolLabel.PROMOTED_POSITIVE, after == PoolLabel.PROMOTED_NEGATIVE
    return RoundCounts(
        promoted_positive=int((actions == RoundAction.PROMOTE_POSITIVE).sum()),
        promoted_negative=int((actions == RoundAction.PROMOTE_NEGATIVE).sum()),
        revoked=int((actions == RoundAction.REVOKE).sum()),
        standing_promoted=int(positive.sum() + negative.sum()),
        without_human=without_human,
        expected_errors=float((1 - probability[positive]).sum() + probability[negative].sum()),
        below_upper=int(
            (positive & ~(probability > thresholds.promote_above)).sum()
            + (negative & ~(probability < thresholds.promote_below)).sum()
        ),
        held_back=held_back,
    )
