"""The rule of promotion, as a table and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.rounds.promotion import PoolLabel, RoundAction, decide
from curator.settings.sections import PromotionSettings

POLICY = PromotionSettings(
    promote_above=0.99, promote_below=0.03, revoke_below=0.9, revoke_above=0.2
)


@pytest.mark.parametrize(
    ("probability", "held", "expected"),
    [
        (0.995, PoolLabel.NOTHING, RoundAction.PROMOTE_POSITIVE),
        (0.99, PoolLabel.NOTHING, RoundAction.KEEP),
        (0.5, PoolLabel.NOTHING, RoundAction.KEEP),
        (0.03, PoolLabel.NOTHING, RoundAction.KEEP),
        (0.02, PoolLabel.NOTHING, RoundAction.PROMOTE_NEGATIVE),
        (0.95, PoolLabel.PROMOTED_POSITIVE, RoundAction.KEEP),
        (0.9, PoolLabel.PROMOTED_POSITIVE, RoundAction.KEEP),
        (0.89, PoolLabel.PROMOTED_POSITIVE, RoundAction.REVOKE),
        (0.001, PoolLabel.PROMOTED_POSITIVE, RoundAction.REVOKE),
        (0.1, PoolLabel.PROMOTED_NEGATIVE, RoundAction.KEEP),
        (0.21, PoolLabel.PROMOTED_NEGATIVE, RoundAction.REVOKE),
        (0.999, PoolLabel.UNTOUCHABLE, RoundAction.KEEP),
        (0.001, PoolLabel.UNTOUCHABLE, RoundAction.KEEP),
        (np.nan, PoolLabel.NOTHING, RoundAction.KEEP),
        (np.nan, PoolLabel.PROMOTED_POSITIVE, RoundAction.REVOKE),
        (np.nan, PoolLabel.PROMOTED_NEGATIVE, RoundAction.REVOKE),
    ],
)
def test_the_rule(probability: float, held: PoolLabel, expected: RoundAction) -> None:
    actions = decide(np.array([probability]), np.array([held], dtype=np.int8), POLICY)
    assert actions.tolist() == [expected]


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_what_was_just_promoted_is_not_revoked_at_the_same_probability(values: list[float]) -> None:
    probability = np.array(values)
    first = decide(probability, np.zeros(len(values), dtype=np.int8), POLICY)
    held = np.where(
        first == RoundAction.PROMOTE_POSITIVE, PoolLabel.PROMOTED_POSITIVE, PoolLabel.NOTHING
    )
    held = np.where(first == RoundAction.PROMOTE_NEGATIVE, PoolLabel.PROMOTED_NEGATIVE, held)
    again = decide(probability, held.astype(np.int8), POLICY)
    assert (again == RoundAction.KEEP).all()
