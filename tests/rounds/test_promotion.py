"""The rule of promotion, as a table and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.rounds.promotion import Action, Held, ThresholdPolicy, decide

POLICY = ThresholdPolicy(promote_above=0.99, promote_below=0.03, revoke_below=0.9, revoke_above=0.2)


@pytest.mark.parametrize(
    ("probability", "held", "expected"),
    [
        (0.995, Held.NOTHING, Action.PROMOTE_POSITIVE),
        (0.99, Held.NOTHING, Action.KEEP),
        (0.5, Held.NOTHING, Action.KEEP),
        (0.03, Held.NOTHING, Action.KEEP),
        (0.02, Held.NOTHING, Action.PROMOTE_NEGATIVE),
        (0.95, Held.PROMOTED_POSITIVE, Action.KEEP),
        (0.9, Held.PROMOTED_POSITIVE, Action.KEEP),
        (0.89, Held.PROMOTED_POSITIVE, Action.REVOKE),
        (0.001, Held.PROMOTED_POSITIVE, Action.REVOKE),
        (0.1, Held.PROMOTED_NEGATIVE, Action.KEEP),
        (0.21, Held.PROMOTED_NEGATIVE, Action.REVOKE),
        (0.999, Held.UNTOUCHABLE, Action.KEEP),
        (0.001, Held.UNTOUCHABLE, Action.KEEP),
        (np.nan, Held.NOTHING, Action.KEEP),
        (np.nan, Held.PROMOTED_POSITIVE, Action.REVOKE),
        (np.nan, Held.PROMOTED_NEGATIVE, Action.REVOKE),
    ],
)
def test_the_rule(probability: float, held: Held, expected: Action) -> None:
    actions = decide(np.array([probability]), np.array([held], dtype=np.int8), POLICY)
    assert actions.tolist() == [expected]


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_what_was_just_promoted_is_not_revoked_at_the_same_probability(values: list[float]) -> None:
    probability = np.array(values)
    first = decide(probability, np.zeros(len(values), dtype=np.int8), POLICY)
    held = np.where(first == Action.PROMOTE_POSITIVE, Held.PROMOTED_POSITIVE, Held.NOTHING)
    held = np.where(first == Action.PROMOTE_NEGATIVE, Held.PROMOTED_NEGATIVE, held)
    again = decide(probability, held.astype(np.int8), POLICY)
    assert (again == Action.KEEP).all()
