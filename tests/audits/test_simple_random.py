"""Bounds for one fixed set, and what an annotator who overlooks errors does to a promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curator.audits.draw import draw_audit
from curator.audits.plan import Promise, describe, error_to_test, restore, simple_random_plan
from curator.audits.test import AuditOutcome, close_audit, most_wrong
from curator.base.vocabulary import AuditKind
from curator.errors import DataError
from tests.audits.cases import frame_of


@pytest.mark.parametrize(("size", "sample"), [(40, 10), (60, 45), (25, 24), (120, 30)])
def test_the_bound_covers_every_number_of_wrong_labels(size: int, sample: int) -> None:
    """For each true number, the chance that the bound for the unseen is too low is within risk."""
    bounds = [most_wrong(size, sample, errors, 0.1) - errors for errors in range(sample + 1)]
    worst = 0.0
    for wrong in range(size + 1):
        chances = stats.hypergeom.pmf(np.arange(sample + 1), size, wrong, sample)
        too_low = [wrong - errors > bounds[errors] for errors in range(sample + 1)]
        worst = max(worst, float(chances[too_low].sum()))
    assert 0.02 < worst <= 0.1 + 1e-9


@given(st.integers(2, 5_000), st.data())
def test_the_bound_is_where_the_tail_meets_the_risk(size: int, data: st.DataObject) -> None:
    sample = data.draw(st.integers(1, size - 1))
    errors = data.draw(st.integers(0, sample))
    wrong = most_wrong(size, sample, errors, 0.05) - errors
    whole = wrong + errors
    assert stats.hypergeom.cdf(errors, size, whole, sample) > 0.05
    if wrong < size - sample:
        assert stats.hypergeom.cdf(errors, size, whole + 1, sample) <= 0.05


def test_a_large_frame_has_the_bound_of_clopper_and_pearson() -> None:
    unseen = 2_000_000 - 299
    bound = most_wrong(2_000_000, 299, 0, 0.05) / unseen
    assert bound == pytest.approx(0.00997, abs=2e-5)
    assert most_wrong(500, 500, 3, 0.05) == 3
    assert most_wrong(500, 0, 0, 0.05) == 500


@pytest.mark.parametrize(("size", "sample", "errors"), [(10, 11, 0), (10, 5, 6), (10, 5, -1)])
def test_impossible_counts_are_refused(size: int, sample: int, errors: int) -> None:
    with pytest.raises(ValueError, match="errors in"):
        most_wrong(size, sample, errors, 0.05)


@given(st.floats(0.001, 0.3), st.floats(0.0, 0.5))
def test_auditing_for_less_makes_up_for_what_is_overlooked(
    max_error: float, overlooked: float
) -> None:
    audited = error_to_test(max_error, overlooked)
    assert audited / (1 - overlooked) == pytest.approx(max_error)


def test_an_annotator_who_overlooks_errors_weakens_the_promise_as_stated() -> None:
    """With a third overlooked the promise of 3% breaks; the one of 4.5% stands."""
    size, sample, runs = 20_000, 400, 6_000
    generator = np.random.default_rng(2)
    stated = 0.03 / (1 - 1 / 3)
    assert error_to_test(stated, 1 / 3) == pytest.approx(0.03)
    wrong = int(stated * size) + 20
    found = generator.hypergeometric(wrong, size - wrong, sample, size=runs)
    noticed = generator.binomial(found, 2 / 3)
    passed = np.array(
        [most_wrong(size, sample, n, 0.05) - n <= 0.03 * (size - sample) for n in range(20)]
    )
    certified = passed[np.minimum(noticed, 19)]
    left = (wrong - found) / (size - sample)
    assert (certified & (left > 0.03)).mean() > 0.03
    assert (certified & (left > stated)).mean() <= 0.06
    honest = passed[np.minimum(found, 19)]
    assert honest.mean() < 0.005


@pytest.mark.parametrize("overlooked", [-0.1, 1.0])
def test_impossible_miss_rates_are_refused(overlooked: float) -> None:
    with pytest.raises(ValueError, match="overlooks"):
        error_to_test(0.01, overlooked)


def test_the_bound_of_one_set_covers_the_truth_as_often_as_it_says() -> None:
    size, sample, wrong = 400, 80, 24
    frame = frame_of(size)
    plan = simple_random_plan(frame, Promise(max_error=0.1, risk=0.1), sample)
    truth = frame.positive.copy()
    truth[np.random.default_rng(0).choice(size, wrong, replace=False)] ^= True
    missed = 0
    for attempt in range(600):
        draw = draw_audit(frame, plan, f"{1} {attempt}")
        outcomes = np.where(truth[draw.ranks], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
        certified = close_audit(frame, plan, draw, outcomes.astype(np.int8)).certified
        assert certified is not None
        left = int((truth != frame.positive)[certified.ranks].sum())
        assert len(set(certified.ranks) | set(draw.ranks)) == size
        missed += left > certified.wrong
    assert missed <= stats.binom.ppf(0.9999, 600, 0.1)


def test_a_simple_random_plan_survives_being_stored_and_no_other_frame() -> None:
    frame = frame_of(300)
    plan = simple_random_plan(frame, Promise(max_error=0.1, risk=0.05), 60)
    assert restore(json.loads(json.dumps(describe(plan))), frame, AuditKind.MEASURE) == plan
    with pytest.raises(DataError, match="another frame"):
        restore(describe(plan), frame_of(301), AuditKind.MEASURE)
    with pytest.raises(DataError, match="another frame"):
        restore(describe(plan), frame, AuditKind.PROMISE)
    with pytest.raises(DataError, match="cannot be drawn"):
        simple_random_plan(frame, plan.promise, 200)
    draw = draw_audit(frame, plan, "0 1")
    other = simple_random_plan(frame, plan.promise, 59)
    with pytest.raises(DataError, match="another plan"):
        close_audit(frame, other, draw, np.zeros(60, dtype=np.int8))


def test_only_what_was_called_the_other_class_is_subtracted_from_the_bound() -> None:
    frame = frame_of(400)
    plan = simple_random_plan(frame, Promise(max_error=0.05, risk=0.05), 60)
    draw = draw_audit(frame, plan, "0 1")
    right = np.where(frame.positive[draw.ranks], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
    unsure, wrong = right.astype(np.int8), right.astype(np.int8)
    unsure[:4], wrong[:4] = AuditOutcome.UNSHOWABLE, 1 - right[:4]
    called, doubted = (close_audit(frame, plan, draw, said) for said in (wrong, unsure))
    assert called.errors == doubted.errors == 4
    for result, others in ((called, 4), (doubted, 0)):
        assert result.certified is not None
        assert result.certified.wrong == most_wrong(400, 60, 4, 0.05) - others


@settings(deadline=None)
@given(st.data())
def test_slips_never_make_the_bound_of_one_set_too_low(data: st.DataObject) -> None:
    """Exact: each number found gets the number of slips that does the most harm."""
    size, risk = data.draw(st.integers(10, 60)), 0.1
    sample = data.draw(st.integers(1, size // 2))
    wrong = data.draw(st.integers(0, size))
    bounds = [most_wrong(size, sample, errors, risk) for errors in range(sample + 1)]
    false = 0.0
    for found in range(min(wrong, sample) + 1):
        chance = float(stats.hypergeom.pmf(found, size, wrong, sample))
        slipped = range(sample - found + 1)
        too_low = any(bounds[found + slips] - (found + slips) < wrong - found for slips in slipped)
        false += chance * too_low
    assert false <= risk + 1e-9
