"""Who is promoted and who loses a promotion: the rule, and what a round's decisions add up to.

`decide` is a pure function of probabilities, present labels and thresholds. An image gains a
label above or below the promotion thresholds, and loses it when it crosses a second, less strict
one; the gap between the two stops labels from flapping. Images that a person has labelled, that
are blocked or withheld are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import CodeArray, FloatArray
from curator.settings.sections import PromotionSettings


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
