"""The sequential test against exact arithmetic: e-values, decisions, false proofs."""

from __future__ import annotations

from fractions import Fraction
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.audits.sequential import log_e_value, proves


def exact_e_value(size: int, answers: list[int], wrong: int, expected_error: Fraction) -> float:
    """The product of the bets, one answer after the other, in exact fractions."""
    a = Fraction(2)
    b = a * (1 - expected_error) / expected_error
    value = Fraction(1)
    found = 0
    for answered, answer in enumerate(answers):
        predicted = (a + found) / (a + b + answered)
        true = Fraction(wrong - found, size - answered)
        value *= (predicted if answer else 1 - predicted) / (true if answer else 1 - true)
        found += answer
    return float(value)


@settings(deadline=None)
@given(data=st.data())
def test_the_closed_form_is_the_product_of_the_bets(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 60))
    answers = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=size - 1))
    right = len(answers) - sum(answers)
    wrong = data.draw(st.integers(sum(answers), size - right))
    expected = data.draw(st.sampled_from([Fraction(1, 100), Fraction(1, 7), Fraction(1, 2)]))
    log = log_e_value(size, len(answers), sum(answers), wrong, float(expected))
    assert exp(float(log)) == pytest.approx(exact_e_value(size, answers, wrong, expected), rel=1e-8)


@settings(deadline=None)
@given(data=st.data())
def test_it_is_proved_exactly_when_every_breaking_number_is_refuted(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    answered = data.draw(st.integers(1, size))
    errors = data.draw(st.integers(0, min(answered, 8)))
    max_error = data.draw(st.sampled_from([0.01, 0.05, 0.2]))
    unseen = size - answered
    breaking = [
        wrong
        for wrong in range(errors, unseen + errors + 1)
        if Fraction(wrong - errors) > Fraction(str(max_error)) * unseen
    ]
    refuted = all(
        float(log_e_value(size, answered, errors, wrong, 0.02)) >= 1e-6 - np.log(0.05)
        for wrong in breaking
    )
    assert refuted == bool(
        proves(size, answered, errors, max_error=max_error, risk=0.05, expected_error=0.02)
    )


@pytest.mark.parametrize(
    ("size", "max_error", "expected_error"),
    [(400, 0.03, 0.003), (400, 0.03, 0.008), (150, 0.1, 0.02)],
)
def test_a_false_promise_is_proved_at_most_as_often_as_its_risk(
    size: int, max_error: float, expected_error: float
) -> None:
    # The chance that the test stops while the promise is broken, exactly, over every order of the
    # answers, looked at after each of them.
    answered = np.arange(size + 1)
    errors = np.arange(size + 1)
    decided = proves(
        size,
        np.maximum(answered[:, None], errors[None, :]),
        errors[None, :],
        max_error=max_error,
        risk=0.05,
        expected_error=expected_error,
    )
    worst = 0.0
    for wrong in range(int(0.7 * max_error * size), int(1.2 * max_error * size) + 2):
        found = np.arange(wrong + 1)
        chance = np.zeros(wrong + 1)
        chance[0] = 1.0
        false = 0.0
        for step in range(1, size):
            error = np.clip((wrong - found) / (size - step + 1), 0.0, 1.0)
            moved = chance * error
            chance = chance - moved
            chance[1:] += moved[:-1]
            stops = decided[step, : wrong + 1] & (found <= step)
            broken = wrong - found > int(max_error * (size - step) + 1e-9)
            false += float(chance[stops & broken].sum())
            chance[stops] = 0.0
        worst = max(worst, false)
    assert 0.005 < worst <= 0.05


def test_a_proof_needs_answers_and_gets_them_from_the_last_image_at_the_latest() -> None:
    def at(answered: int, errors: int) -> bool:
        decided = proves(500, answered, errors, max_error=0.02, risk=0.05, expected_error=0.005)
        return bool(decided)

    assert not at(0, 0)
    assert not at(20, 0)
    assert at(500, 100)
    with pytest.raises(ValueError, match="errors 3 in 2 answers"):
        at(2, 3)
