"""Who is promoted and who loses a promotion: the rule, and nothing else.

`decide` is a pure function of probabilities, of what currently stands, and of the policy.
An image gains a label above or below the promotion thresholds, and keeps it until it
crosses a second, lower bar; the gap between the two keeps labels from flapping. Images
that a person has labelled, that are blocked or withheld are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


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
    """How many promotions each gate held back."""

    distance: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdPolicy:
    """Bars on P(positive): strict ones to gain a label, lower ones to keep it."""

    promote_above: float
    promote_below: float
    revoke_below: float
    revoke_above: float


def decide(
    probability: NDArray[np.floating], held: NDArray[np.int8], policy: ThresholdPolicy
) -> NDArray[np.int8]:
    """One `RoundAction` per image, for P(positive) and `PoolLabel` codes; all arrays are (rows,).

    A probability that is not a number never promotes, and revokes what was promoted.
    """
    actions = np.full(len(held), RoundAction.KEEP, dtype=np.int8)
    free = held == PoolLabel.NOTHING
    actions[free & (probability > policy.promote_above)] = RoundAction.PROMOTE_POSITIVE
    actions[free & (probability < policy.promote_below)] = RoundAction.PROMOTE_NEGATIVE
    fallen = (held == PoolLabel.PROMOTED_POSITIVE) & ~(probability >= policy.revoke_below)
    risen = (held == PoolLabel.PROMOTED_NEGATIVE) & ~(probability <= policy.revoke_above)
    actions[fallen | risen] = RoundAction.REVOKE
    return actions
