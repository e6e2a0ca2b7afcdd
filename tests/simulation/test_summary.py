"""Figures and advice follow from what was played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from curator.simulation.policies import PolicyOutcome, nothing_learned
from curator.simulation.summary import Setting, SimulationOutcome, advise, summarise

CERTIFIED = Setting(features="f", seeds=100, rounds=1, policy="certified", max_error=0.03)
ISSUED = PolicyOutcome(
    decisions=500, images=1_000, positive=300, negative=400, wrong_positive=6, wrong_negative=1,
    issued=True, oracle=0.8,
)  # fmt: skip
FAILED = replace(
    ISSUED, positive=0, negative=0, wrong_positive=0, wrong_negative=0, issued=False, oracle=0.6
)


def row(coverage: float, **changed: object) -> SimulationOutcome:
    """A row of the table in which only what is said is unusual."""
    base = summarise(CERTIFIED, [ISSUED] * 4, [1.0] * 4)
    return replace(base, coverage=coverage, **changed)  # type: ignore[arg-type]


def test_means_are_over_all_rehearsals_and_errors_over_those_that_promoted() -> None:
    found = summarise(CERTIFIED, [ISSUED, FAILED], [1.0, 3.0])
    assert found.coverage == pytest.approx(0.35)
    assert found.error == pytest.approx(0.01)
    assert found.positive_error == pytest.approx(0.02)
    assert found.negative_error == pytest.approx(0.0025)
    assert (found.issued, found.false, found.untrained) == (0.5, 0.0, 0.0)
    assert found.of_oracle == pytest.approx(0.35 / 0.7)
    assert found.seconds == 2.0
    assert summarise(CERTIFIED, [FAILED], [1.0]).error is None
    assert summarise(CERTIFIED, [ISSUED, nothing_learned(9, 90)], [1, 1]).untrained == 0.5


def test_the_cheapest_of_about_the_best_is_advised() -> None:
    rows = [
        row(0.50, setting=replace(CERTIFIED, seeds=100), decisions=300.0),
        row(0.69, setting=replace(CERTIFIED, seeds=200), decisions=800.0),
        row(0.70, setting=replace(CERTIFIED, seeds=400), decisions=1_200.0),
    ]
    said = advise(rows, risk=0.05)
    assert "At most 0.03 wrong: label 200 seeds and answer about 600 images of the audit" in said
    assert "certified 69% of the rest" in said
    dearer = [*rows[:2], row(0.80, setting=replace(CERTIFIED, seeds=400), decisions=1_200.0)]
    assert "label 400 seeds and answer about 800 images of the audit" in advise(dearer, risk=0.05)


def test_where_nothing_is_certified_it_says_so_and_what_may_help() -> None:
    said = advise([row(0.01, issued=0.25)], risk=0.05)
    assert "not reached with these features and so few labels" in said
    assert "25% of its repetitions" in said
    assert "stronger encoder" in said


def test_thresholds_that_break_a_promise_are_named() -> None:
    raw = replace(CERTIFIED, policy="raw", max_error=None)
    said = advise([row(0.7), row(0.86, setting=raw, error=0.131)], risk=0.05)
    assert "covered 86% with 13.10% wrong, more than 0.03" in said
    kept = advise([row(0.7), row(0.86, setting=raw, error=0.02)], risk=0.05)
    assert "covered 86% with 2.00% wrong." in kept


def test_false_certificates_are_told_when_chance_does_not_explain_them() -> None:
    assert "false certificate" in advise([row(0.7, false=0.2, repetitions=50)], risk=0.05)
    assert "false certificate" not in advise([row(0.7, false=0.06, repetitions=50)], risk=0.05)


def test_seeds_that_could_not_teach_are_told() -> None:
    said = advise([row(0.7, untrained=0.5)], risk=0.05)
    assert "In 50% of repetitions 100 random seeds had too few images of one class" in said


def test_features_are_named_where_there_are_several() -> None:
    other = row(0.9, setting=replace(CERTIFIED, features="g"), decisions=400.0)
    assert "label 100 seeds (g) and answer" in advise([row(0.7), other], risk=0.05)
