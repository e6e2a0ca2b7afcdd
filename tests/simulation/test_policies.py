"""Rehearsals count what truly came of a policy, and decide with the real functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from curator.rounds.promotion import GateInputs
from curator.settings.sections import AuditSettings, PromotionSettings
from curator.simulation.policies import (
    KnownScores,
    PolicyOutcome,
    ReadyAudit,
    draw_labels,
    nothing_learned,
    oracle_coverage,
    play_audit,
    play_certified,
    play_thresholds,
    ready_audit,
)

BARS = PromotionSettings(promote_above=0.9, promote_below=0.1, revoke_below=0.7, revoke_above=0.3)

NOTHING_SEEN = GateInputs(distances=None, limit=1.0)


def easy(size: int = 6_000, seed: int = 0) -> KnownScores:
    """Scores that are right about themselves: each label is wrong as often as they say."""
    generator = np.random.default_rng(seed)
    error = generator.beta(0.25, 4.0, size) / 2
    positive = generator.random(size) < 0.4
    wrong = generator.random(size) < error
    probability = np.where(positive, 1 - error, error)
    return KnownScores(
        probability=probability,
        raw=probability,
        truth=positive ^ wrong,
        label_probability=probability[:300],
        label_raw=probability[:300],
        label_positive=(positive ^ wrong)[:300],
        gate_inputs=NOTHING_SEEN,
    )


def repeated(ready: ReadyAudit, attempts: int, *, slips: float, seed: int) -> list[PolicyOutcome]:
    return [
        play_certified(ready, slips=slips, seed=seed, attempt=attempt)
        for attempt in range(attempts)
    ]


def test_seeds_are_a_random_sample_and_flipped_as_asked() -> None:
    truth = np.arange(1_000) % 3 == 0
    places, said = draw_labels(truth, 200, 0.1, np.random.default_rng(1))
    assert (np.diff(places) > 0).all()
    assert (said != truth[places]).sum() == 20
    others, _ = draw_labels(truth, 200, 0.1, np.random.default_rng(2))
    assert set(places) != set(others)


def scored(probability: list[float], truth: list[bool], far: list[float]) -> KnownScores:
    """Scores of a few images after three labels, one of them positive."""
    p = np.array(probability)
    return KnownScores(
        probability=p,
        raw=np.full(len(p), 0.5),
        truth=np.array(truth),
        label_probability=np.full(3, 0.9),
        label_raw=np.full(3, 0.5),
        label_positive=np.array([True, False, False]),
        gate_inputs=GateInputs(distances=np.array(far), limit=1.0),
    )


TRUTH = [True, True, True, False, True, False]
FIRST = scored([0.95, 0.95, 0.05, 0.05, 0.5, 0.95], TRUTH, [0.0] * 6)
SECOND = scored([0.80, 0.60, 0.05, 0.40, 0.95, 0.95], TRUTH, [0.0] * 6)


def test_thresholds_count_the_true_error_of_each_label_through_rounds() -> None:
    played = play_thresholds([FIRST, SECOND], BARS)
    # Kept: 0 (above the lower bar), 2, 5; new: 4. Revoked: 1 and 3.
    assert (played.positive, played.wrong_positive) == (3, 1)
    assert (played.negative, played.wrong_negative) == (1, 1)
    assert played.coverage == pytest.approx(4 / 6)
    assert played.error == pytest.approx(2 / 4)
    assert played.positive_error == pytest.approx(1 / 3)
    assert played.negative_error == 1.0
    assert played.decisions == 3
    assert not played.issued


def test_gates_hold_back_what_they_hold_back_in_rounds() -> None:
    far = scored([0.95, 0.95, 0.05, 0.05, 0.5, 0.95], TRUTH, [2.0, 0.5, 2.0, 0.5, 0.0, 0.5])
    gated = play_thresholds([far], BARS)
    assert (gated.positive, gated.negative) == (2, 1)
    open_ = play_thresholds([replace(far, gate_inputs=NOTHING_SEEN)], BARS)
    assert (open_.positive, open_.negative) == (3, 2)


def test_nothing_promoted_has_no_error() -> None:
    played = play_thresholds([FIRST.as_raw()], BARS)
    assert played.coverage == 0.0
    assert played.error is None
    lost = nothing_learned(10, 50)
    assert (lost.decisions, lost.images, lost.trained, lost.error) == (10, 40, False, None)


def test_the_oracle_takes_the_largest_part_that_keeps_the_limit() -> None:
    wrong = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1], dtype=bool)
    assert oracle_coverage(wrong, 0.1) == pytest.approx(10 / 12)
    assert oracle_coverage(wrong, 0.0) == pytest.approx(2 / 12)
    assert oracle_coverage(~wrong, 0.05) == 0.0
    assert oracle_coverage(wrong, 0.5) == 1.0


def test_a_certificate_covers_less_than_the_oracle_and_counts_its_decisions() -> None:
    ready = ready_audit(
        easy(), PromotionSettings(max_error=0.05), AuditSettings(), sample=400, seed=0
    )
    for played in repeated(ready, 5, slips=0.0, seed=3):
        assert played.decisions == 300 + ready.prepared.plan.sample  # type: ignore[union-attr]
        assert played.images == 6_000 - ready.prepared.plan.sample  # type: ignore[union-attr]
        assert played.issued
        assert played.false == ((played.error or 0.0) > 0.05)
        assert 0.3 < (played.of_oracle or 0.0) < 1.1
        assert played.oracle == ready.oracle


def test_what_is_unlike_anything_labelled_is_never_certified_but_counts_as_left() -> None:
    scores = easy()
    far = np.where(np.arange(6_000) % 4 == 0, 2.0, 0.5)
    gated = replace(scores, gate_inputs=replace(NOTHING_SEEN, distances=far))
    ready = ready_audit(
        gated, PromotionSettings(max_error=0.05), AuditSettings(), sample=400, seed=0
    )
    assert not (far[ready.frame.image_ids] > 1).any()
    assert ready.images == 6_000
    assert (ready.truth == scores.truth[ready.frame.image_ids]).all()
    open_ = ready_audit(
        scores, PromotionSettings(max_error=0.05), AuditSettings(), sample=400, seed=0
    )
    assert ready.oracle == pytest.approx(0.75 * open_.oracle, abs=0.05)
    played = play_certified(ready, slips=0.0, seed=3)
    asked = played.decisions - ready.labels
    assert 0 < asked <= ready.prepared.plan.sample  # type: ignore[union-attr]
    assert played.images == 6_000 - asked
    assert 0.3 < played.coverage <= 0.75


def test_the_same_seed_plays_the_same_and_another_does_not() -> None:
    ready = ready_audit(
        easy(), PromotionSettings(max_error=0.05), AuditSettings(), sample=400, seed=0
    )
    some = [repeated(ready, 4, slips=0.01, seed=seed) for seed in (1, 1, 2)]
    assert some[0] == some[1] != some[2]


def test_slips_of_the_annotator_cost_coverage() -> None:
    ready = ready_audit(
        easy(), PromotionSettings(max_error=0.05), AuditSettings(), sample=400, seed=0
    )
    coverage = [
        np.mean([one.coverage for one in repeated(ready, 20, slips=s, seed=0)]) for s in (0.0, 0.05)
    ]
    assert coverage[1] < coverage[0] - 0.05


def test_a_plan_that_is_not_worth_it_is_not_audited_unless_one_insists() -> None:
    ready = ready_audit(
        easy(), PromotionSettings(max_error=0.01), AuditSettings(), sample=150, seed=0
    )
    assert not ready.prepared.worthwhile
    left = play_certified(ready, slips=0.0, seed=0)
    assert (left.issued, left.decisions, left.coverage) == (False, 300, 0.0)
    # Insisting changes nothing where no plan can pass, and audits where one can.
    insisted = play_audit(ready, slips=0.0, seed=0)
    plan = ready.prepared.plan
    assert insisted.decisions == 300 + (plan.sample if plan else 0)


def test_on_a_pool_just_over_the_limit_false_certificates_are_seen_and_rare() -> None:
    """The scores claim 1% of errors where 5.5% are wrong, and 5% is promised."""
    size, runs = 4_000, 600
    generator = np.random.default_rng(0)
    positive = generator.random(size) < 0.5
    error = generator.uniform(0.005, 0.015, size)
    wrong = np.zeros(size, dtype=bool)
    wrong[generator.choice(size, round(0.055 * size), replace=False)] = True
    probability = np.where(positive, 1 - error, error)
    scores = KnownScores(
        probability=probability,
        raw=probability,
        truth=positive ^ wrong,
        label_probability=probability[:200],
        label_raw=probability[:200],
        label_positive=positive[:200],
        gate_inputs=NOTHING_SEEN,
    )
    ready = ready_audit(
        scores, PromotionSettings(max_error=0.05), AuditSettings(), sample=300, seed=0
    )
    played = repeated(ready, runs, slips=0.0, seed=0)
    false = sum(one.false for one in played)
    assert sum(one.issued for one in played) == false > 0
    assert false <= binom.ppf(0.9999, runs, 0.05)


def test_an_annotator_who_overlooks_errors_costs_coverage_and_not_the_promise() -> None:
    """With `overlooked` the audit tests a smaller error; the promise it makes is the same."""
    plain, careful = (
        ready_audit(
            easy(),
            PromotionSettings(max_error=0.05),
            AuditSettings(overlooked=share),
            sample=400,
            seed=0,
        )
        for share in (0.0, 0.4)
    )
    covered = [
        np.mean([one.coverage for one in repeated(ready, 10, slips=0.0, seed=0)])
        for ready in (plain, careful)
    ]
    assert 0.0 < covered[1] < covered[0]
    assert careful.prepared.plan is not None
    assert careful.prepared.plan.promise.max_error == pytest.approx(0.03)
    played = repeated(careful, 10, slips=0.0, seed=0)
    assert all(one.false == ((one.error or 0.0) > 0.05) for one in played)


def test_raw_scores_decide_where_the_settings_say_so() -> None:
    scores = replace(easy(), raw=np.full(6_000, 0.7), label_raw=np.full(300, 0.7))
    decided = scores.as_raw()
    assert (decided.probability == 0.7).all()
    assert (decided.label_probability == 0.7).all()
    assert (decided.truth == scores.truth).all()
