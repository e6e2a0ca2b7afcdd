"""Forecasts, plans and outlooks: what is expected before anybody labels an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.audits.draw import draw_audit
from curator.audits.forecast import Forecast, LabelEvidence, forecast_errors, label_evidence
from curator.audits.frame import Frame, freeze_frame, rank_pool
from curator.audits.outlook import (
    Advice,
    Outlook,
    assess_audit,
    best_plan,
    explain,
    fewest_decisions,
)
from curator.audits.plan import Promise
from curator.audits.planner import SimulatedAudits, best_steps, choose_plan, expect, run_steps
from curator.audits.test import AuditOutcome, answered_in_order, close_audit
from curator.errors import DataError
from tests.audits.cases import frame_of

pytestmark = pytest.mark.slow

Floats = NDArray[np.float64]
ONE_PERCENT = Promise(max_error=0.01, risk=0.05)
THREE_PERCENT = Promise(max_error=0.03, risk=0.05)


def rising_errors(size: int, hardness: float) -> Floats:
    """Error probabilities by place, from almost none up to one half at the end."""
    place = (np.arange(size) + 0.5) / size
    return 1 / (1 + np.exp(6 * (1 - place) / hardness))


def frame_with(errors: Floats, positive_share: float = 0.4, seed: int = 0) -> Frame:
    generator = np.random.default_rng(seed)
    return frame_of(
        len(errors),
        positive=generator.random(len(errors)) < positive_share,
        estimated_error=errors,
    )


def judged_by(errors: Floats, count: int, seed: int) -> LabelEvidence:
    """A random sample of labels whose out-of-fold estimates are `errors` and tell the truth."""
    generator = np.random.default_rng(seed)
    sample = generator.choice(errors, count, replace=False)
    return LabelEvidence(
        estimated_error=sample,
        wrong=generator.random(count) < sample,
    )


def sharp(errors: Floats, bins: int = 200) -> Forecast:
    """A forecast that knows the truth."""
    edges = np.linspace(0, len(errors), bins + 1).round().astype(np.int64)
    rates = np.add.reduceat(errors, edges[:-1]) / np.diff(edges)
    return Forecast(edges=edges, rates=rates[None, :], weights=np.ones(1))


def test_scenarios_that_agree_with_people_weigh_more() -> None:
    claimed = rising_errors(20_000, 2.0)
    frame = frame_with(claimed)
    bold, shy = claimed**0.6 * 0.5**0.4, claimed**1.6 * 0.5**-0.6
    total = {}
    for name, truth in (("bold", bold), ("honest", claimed), ("shy", shy)):
        generator = np.random.default_rng(7)
        picked = generator.choice(20_000, 400, replace=False)
        judged = LabelEvidence(
            estimated_error=claimed[picked],
            wrong=generator.random(400) < truth[picked],
        )
        forecast = forecast_errors(frame, judged)
        assert forecast.weights.sum() == pytest.approx(1.0)
        total[name] = forecast.mean_rates @ forecast.sizes / truth.sum()
    for name, ratio in total.items():
        assert ratio == pytest.approx(1.0, abs=0.3), name


def test_labels_that_lie_do_not_slander_the_pool() -> None:
    """A tenth of the labels is flipped; scores that were calibrated on them look as bad."""
    truth = rising_errors(20_000, 1.0)
    seen = 0.1 + 0.8 * truth
    frame = frame_with(seen)
    hopeful = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        places = generator.choice(len(truth), 300, replace=False)
        judged = LabelEvidence(
            estimated_error=seen[places],
            wrong=(generator.random(300) < truth[places]) ^ (generator.random(300) < 0.1),
        )
        # So many are contradicted however sure the heads are: that is told beside the scores.
        for known in (judged, replace(judged, noise=0.08)):
            forecast = forecast_errors(frame, known)
            shares = forecast.cumulative[:, np.searchsorted(forecast.edges[1:], 6_000)]
            hopeful.append(forecast.weights @ (shares < 0.05))
    assert truth[:6_000].mean() < 0.02
    unaware, aware = np.reshape(hopeful, (8, 2)).mean(axis=0)
    assert unaware > 0.04
    assert 0.3 < aware < 0.7, "nobody knows whether they are slips or hard images"


def test_a_forecast_without_labels_is_wider() -> None:
    claimed = rising_errors(20_000, 2.0)
    frame = frame_with(claimed)

    def spread(forecast: Forecast) -> float:
        wrong = forecast.rates @ forecast.sizes
        mean = forecast.weights @ wrong
        return float(np.sqrt(forecast.weights @ (wrong - mean) ** 2) / mean)

    assert spread(forecast_errors(frame)) > 1.5 * spread(
        forecast_errors(frame, judged_by(claimed, 400, 1))
    )


def test_slips_raise_every_rate() -> None:
    frame = frame_with(rising_errors(5_000, 2.0))
    plain, slipping = forecast_errors(frame), forecast_errors(frame, false_alarm_rate=0.02)
    assert slipping.rates == pytest.approx(0.02 + 0.98 * plain.rates)


@pytest.mark.parametrize("size", [1, 7, 399, 12_345])
def test_bins_cover_the_frame(size: int) -> None:
    forecast = forecast_errors(frame_with(np.full(size, 0.1)))
    assert (forecast.edges[0], forecast.edges[-1]) == (0, size)
    assert (forecast.sizes > 0).all()


def test_the_best_steps_are_among_the_best_of_all() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        strength = generator.random((200, 1))
        passed = generator.random((200, 6)) < 1.2 * strength - np.linspace(0, 0.7, 6)
        trials = SimulatedAudits(
            sizes=np.array([10, 20, 30, 40, 50, 60]),
            drawn=np.zeros(6, dtype=np.int64),
            passed=passed,
            weights=np.full(200, 1 / 200),
        )
        steps, value = best_steps(trials, 0)
        every = [
            value_of(trials, [place for place in range(6) if subset >> place & 1])
            for subset in range(1, 64)
        ]
        assert value == pytest.approx(value_of(trials, steps))
        assert value >= 0.95 * max(every)


@pytest.mark.parametrize("sample", [30, 120, 500])
def test_no_step_of_several_asks_for_a_few_images(sample: int) -> None:
    errors = rising_errors(3_000, 1.0)
    choice = choose_plan(
        frame_with(errors), sharp(errors), Promise(max_error=0.1, risk=0.05), sample=sample, seed=0
    )
    assert choice is not None
    drawn = [count for _, _, count in choice[0].strata]
    assert len(drawn) == 1 or min(drawn) >= max(20, 0.05 * sample), drawn
    assert (len(drawn) > 1) == (sample > 30)


def value_of(trials: SimulatedAudits, steps: list[int]) -> float:
    alone = replace(
        trials,
        sizes=trials.sizes[steps],
        drawn=trials.drawn[steps],
        passed=trials.passed[:, steps],
    )
    return run_steps(alone)[0]


def test_a_plan_does_what_was_expected_of_it() -> None:
    errors = rising_errors(30_000, 0.8)
    frame, forecast = frame_with(errors), sharp(errors)
    found = choose_plan(frame, forecast, THREE_PERCENT, sample=500, seed=0)
    assert found is not None
    plan, expected = found
    generator = np.random.default_rng(9)
    certified = []
    for _ in range(1_000):
        wrong = generator.random(30_000) < errors
        counts = np.cumsum(
            [
                generator.hypergeometric(
                    bad := int(wrong[start:end].sum()), end - start - bad, drawn
                )
                for start, end, drawn in plan.strata
            ]
        )
        passed = np.cumprod(counts <= [step.critical for step in plan.steps]).sum()
        certified.append(plan.steps[passed - 1].unseen if passed else 0)
    assert np.mean(certified) == pytest.approx(expected.certified, rel=0.03)
    oracle = np.flatnonzero(np.cumsum(errors) <= 0.03 * np.arange(1, 30_001)).max()
    assert np.mean(certified) > 0.77 * oracle
    assert 450 < plan.sample <= 500


def test_plans_repeat() -> None:
    errors = rising_errors(8_000, 1.5)
    frame, forecast = frame_with(errors), forecast_errors(frame_with(errors))
    plans = [choose_plan(frame, forecast, THREE_PERCENT, sample=300, seed=4) for _ in range(2)]
    assert plans[0] == plans[1] is not None


@pytest.mark.parametrize(
    ("number", "images", "spread", "max_error", "sample", "labels", "digest", "certified"),
    [
        (0, 400, 3, 0.05, None, 100, "94c3dbcfee95fd3a", 46.301963),
        (2, 400, 2, 0.05, 150, 60, "c416b23d37ba9ab6", 2.965357),
        (4, 3_000, 4, 0.01, 600, 200, "0972ac07e664c375", 230.750993),
        (6, 12_000, 3, 0.03, 500, 300, "58984733a72493a2", 2_623.461473),
        (9, 900, 6, 0.1, None, 50, "0482fd2ee6cd4175", 553.625746),
    ],
)
def test_plans_are_those_of_the_first_planner(
    number: int,
    images: int,
    spread: float,
    max_error: float,
    sample: int | None,
    labels: int,
    digest: str,
    certified: float,
) -> None:
    """Digests from the planner that simulated one prefix and one step after the other."""
    generator = np.random.default_rng(number)
    pool = 1 / (1 + np.exp(-generator.normal(0, spread, images)))
    frame = rank_pool(np.arange(images), pool, balanced=bool(number % 2), seed=number)
    judged = 1 / (1 + np.exp(-generator.normal(0, spread, labels)))
    positive = generator.random(labels) < judged
    evidence = label_evidence(judged, positive, sampled=np.ones(labels, dtype=np.bool_), pool=pool)
    best = best_plan(
        frame,
        forecast_errors(frame, evidence),
        Promise(max_error=max_error, risk=0.05),
        sample=sample,
        seed=number,
    )
    assert best.plan is not None
    assert best.plan.digest.startswith(digest)
    assert best.expectation.certified == pytest.approx(certified, abs=1e-4)


def test_a_plan_that_was_stored_can_be_judged_again() -> None:
    errors = rising_errors(8_000, 1.5)
    frame, forecast = frame_with(errors), sharp(errors)
    found = choose_plan(frame, forecast, THREE_PERCENT, sample=300, seed=4)
    assert found is not None
    assert expect(found[0], forecast, seed=4) == found[1]


def test_eight_audits_of_ten_end_in_the_range_if_the_forecast_is_right() -> None:
    errors = rising_errors(30_000, 0.8)
    frame = frame_with(errors)
    plan, expected = choose_plan(frame, sharp(errors), THREE_PERCENT, sample=500, seed=0)
    truth = np.random.default_rng(0).random(len(errors)) < errors
    ends = []
    for attempt in range(100):
        draw = draw_audit(frame, plan, f"attempt {attempt}")
        right = np.where(frame.positive, AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
        other = np.where(frame.positive, AuditOutcome.NEGATIVE, AuditOutcome.POSITIVE)
        answers = np.where(truth, other, right)[draw.ranks].astype(np.int8)
        outcomes = answered_in_order(frame, plan, draw, answers)
        closed = close_audit(frame, plan, draw, outcomes, miss_rate=0.0)
        ends.append(0 if closed.certified is None else len(closed.certified.ranks))
    below = np.mean(np.array(ends) < expected.low)
    above = np.mean(np.array(ends) > expected.high)
    assert 0 < expected.low < expected.high
    assert below < 0.15
    assert above < 0.15


def look(errors: Floats, promise: Promise, sample: int | None, share: float = 0.4) -> Outlook:
    frame = frame_with(errors, share)
    judged = judged_by(errors, min(400, len(errors) // 4), 1)
    return assess_audit(frame, forecast_errors(frame, judged), promise, sample=sample, seed=0)


def test_an_easy_pool_is_ready_and_says_what_to_expect() -> None:
    outlook = look(rising_errors(40_000, 0.5), ONE_PERCENT, None)
    assert outlook.answer is Advice.READY
    assert outlook.best.plan is not None
    assert outlook.best.plan.sample == outlook.sample
    assert outlook.best.expectation.certified > 0.6 * 40_000
    assert "is expected to certify" in explain(outlook)


def test_too_few_decisions_are_told_how_many_are_enough() -> None:
    errors = rising_errors(40_000, 0.5)
    outlook = look(errors, ONE_PERCENT, 150)
    assert outlook.answer is Advice.MORE_DECISIONS
    assert outlook.fewest == 299
    assert outlook.enough is not None
    assert outlook.enough >= 299
    assert look(errors, ONE_PERCENT, outlook.enough).answer is Advice.READY
    assert outlook.looser is not None
    assert look(errors, Promise(max_error=outlook.looser, risk=0.05), 150).answer is Advice.READY
    assert f"{outlook.enough:,} decisions" in explain(outlook)


def test_a_pool_that_is_too_hard_is_told_so_before_anybody_labels() -> None:
    outlook = look(rising_errors(12_000, 6.0), ONE_PERCENT, 800)
    assert outlook.answer is Advice.TOO_HARD
    assert outlook.within_reach < 0.1
    assert "cannot be certified at 1% at 95% confidence" in explain(outlook)


def test_a_promise_that_one_label_for_all_keeps_is_empty() -> None:
    errors = np.full(20_000, 0.002)
    for promise, share, answer in [
        (THREE_PERCENT, 0.02, Advice.EMPTY_PROMISE),
        (ONE_PERCENT, 0.02, Advice.READY),
        (THREE_PERCENT, 0.98, Advice.EMPTY_PROMISE),
        (THREE_PERCENT, 0.06, Advice.READY),
    ]:
        outlook = look(errors, promise, 500, share)
        assert outlook.answer is answer, (promise, share)
    assert "empty promise" in explain(look(errors, THREE_PERCENT, 500, 0.02))


def test_no_set_is_tested_where_the_promise_is_empty() -> None:
    """The surest images are all negative here: certifying them says nothing."""
    errors = rising_errors(20_000, 0.4)
    positive = np.zeros(20_000, dtype=bool)
    positive[12_000::4] = True
    frame = freeze_frame(np.arange(20_000), positive, -np.arange(20_000.0), errors, seed=0)
    found = choose_plan(frame, sharp(errors), THREE_PERCENT, sample=600, seed=0)
    assert found is not None
    for step in found[0].steps:
        assert positive[: step.size].mean() > 0.03


def test_the_audit_is_no_larger_than_it_is_worth() -> None:
    easy, hard = (look(rising_errors(40_000, h), THREE_PERCENT, None) for h in (0.3, 0.9))
    assert easy.sample < hard.sample
    assert easy.answer is hard.answer is Advice.READY


@pytest.mark.parametrize("sample", [0, 501])
def test_impossible_samples_are_refused(sample: int) -> None:
    frame = frame_with(np.full(1_000, 0.01))
    with pytest.raises(DataError, match="cannot be drawn"):
        assess_audit(frame, forecast_errors(frame), ONE_PERCENT, sample=sample, seed=0)


def test_a_tiny_frame_has_an_outlook_too() -> None:
    outlook = look(np.full(12, 0.05), THREE_PERCENT, None)
    assert outlook.answer in {Advice.TOO_HARD, Advice.EMPTY_PROMISE}
    assert explain(outlook)


def test_the_fewest_decisions_are_the_fewest() -> None:
    assert fewest_decisions(ONE_PERCENT) == 299
    assert fewest_decisions(THREE_PERCENT) == 99
    assert fewest_decisions(ONE_PERCENT, 1_000_000) == 299
    assert fewest_decisions(ONE_PERCENT, 50) == 50


def test_labels_that_heads_contradict_are_wrong_labels_of_the_heads() -> None:
    nobody, pool = np.zeros(3, dtype=bool), np.array([0.99, 0.02, 0.97])
    probability, positive = np.array([0.9, 0.2, 0.7]), np.array([True, True, False])
    evidence = label_evidence(probability, positive, sampled=nobody, pool=pool)
    assert evidence.wrong.tolist() == [False, True, True]
    assert np.allclose(evidence.estimated_error, [0.1, 0.2, 0.3])


def test_labels_that_were_judged_less_surely_than_the_pool_make_no_forecast_too_low() -> None:
    generator = np.random.default_rng(4)
    pool = generator.beta(0.3, 0.3, 12_000)
    error = np.minimum(pool, 1 - pool)
    rows = generator.choice(12_000, 2_000, replace=False)
    # The pool's estimates are right. A single head with a map of its own is less sure of labels.
    log_odds = np.log(error[rows] / (1 - error[rows]))
    judged = 1 / (1 + np.exp(-0.6 * log_odds))
    wrong = generator.random(2_000) < error[rows]
    frame = rank_pool(np.arange(12_000), pool, balanced=False, seed=0)

    def forecast_error(*, drawn: bool) -> float:
        evidence = label_evidence(1 - judged, ~wrong, sampled=np.full(len(rows), drawn), pool=pool)
        forecast = forecast_errors(frame, evidence)
        return float(forecast.weights @ forecast.cumulative[:, -1])

    assert forecast_error(drawn=True) == pytest.approx(error.mean(), rel=0.1)
    assert forecast_error(drawn=False) < 0.75 * error.mean()


def test_only_an_audit_that_almost_surely_certifies_little_is_advised_against() -> None:
    frame = frame_with(np.full(20_000, 0.04))
    edges = np.linspace(0, 20_000, 201).round().astype(np.int64)
    rates = np.repeat([[0.005], [0.06]], 200, axis=1)

    def outlook(chance: float) -> Outlook:
        forecast = Forecast(edges=edges, rates=rates, weights=np.array([chance, 1 - chance]))
        return assess_audit(frame, forecast, THREE_PERCENT, sample=500, seed=0)

    # Three audits in ten certify most of the frame: a person may want to try that.
    assert outlook(0.3).answer is Advice.READY
    assert outlook(0.3).best.expectation.chance < 0.5
    assert "0% to 9" in explain(outlook(0.3))
    assert outlook(0.02).answer is Advice.TOO_HARD


def test_an_outlook_holds_the_best_plan_and_is_ready_if_that_is_worthwhile() -> None:
    probability = np.linspace(0.0001, 0.02, 4_000)
    probability[::2] = 1 - probability[::2]
    frame = rank_pool(np.arange(4_000), probability, balanced=False, seed=0)
    promise = Promise(max_error=0.05, risk=0.05)
    forecast = forecast_errors(frame)
    for sample in (None, 20, 200):
        best = best_plan(frame, forecast, promise, sample=sample, seed=3)
        outlook = assess_audit(frame, forecast, promise, sample=sample, seed=3)
        assert best.worthwhile == (outlook.answer is Advice.READY)
        assert best == outlook.best
    assert not best_plan(frame, forecast, promise, sample=20, seed=3).worthwhile
