"""Budgets of risk, promises about one class, and certified sets when images have left."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.audits.draw import draw_audit
from curator.audits.frame import rank_pool
from curator.audits.plan import (
    Promise,
    Spending,
    critical_count,
    nested_plan,
    next_promise,
)
from curator.audits.planner import rarer_share
from curator.audits.test import AuditOutcome, close_audit
from curator.base.vocabulary import AuditScope
from curator.errors import DataError
from tests.audits.cases import frame_of

SCOPES = st.sampled_from(list(AuditScope))


@given(
    st.lists(st.tuples(SCOPES, st.booleans()), max_size=12),
    st.floats(0.0, 0.8),
    st.floats(0.6, 0.99),
)
def test_whatever_is_audited_in_whatever_order_the_risk_is_never_overspent(
    asked: list[tuple[AuditScope, bool]], reserve: float, confidence: float
) -> None:
    spent: list[Spending] = []
    for scope, alone in asked:
        try:
            promise = next_promise(
                0.03, confidence, spent, scope=scope, alone=alone, reserve=reserve
            )
        except DataError:
            continue
        assert promise.spent == pytest.approx(sum(one.risk for one in spent))
        assert promise.confidence >= confidence - 1e-9
        spent.append(Spending(scope=scope, risk=promise.risk))
    assert sum(one.risk for one in spent) <= 1 - confidence + 1e-9


def test_a_class_has_half_of_what_pooled_audits_left() -> None:
    pooled = [Spending(scope=AuditScope.ALL, risk=0.01)]
    good = next_promise(0.03, 0.95, pooled, scope=AuditScope.POSITIVE)
    assert good.risk == pytest.approx(0.02)
    spent = [*pooled, Spending(scope=AuditScope.POSITIVE, risk=good.risk)]
    with pytest.raises(DataError, match=r"this class's half .* or lower"):
        next_promise(0.03, 0.95, spent, scope=AuditScope.POSITIVE)
    bad = next_promise(0.03, 0.95, spent, scope=AuditScope.NEGATIVE)
    assert bad.risk == pytest.approx(0.02)
    assert bad.confidence == pytest.approx(0.95)


def test_a_promise_about_the_common_class_is_empty_and_about_the_rare_one_is_not() -> None:
    probability = np.where(np.arange(1_000) < 30, 0.99, 0.01)
    ids = np.arange(1_000)
    sizes = np.array([10, 20])
    common, rare = (
        rank_pool(ids, probability, balanced=False, seed=0, scope=scope)
        for scope in (AuditScope.NEGATIVE, AuditScope.POSITIVE)
    )
    assert rarer_share(common, sizes).max() <= 0.03
    assert rarer_share(rare, sizes).min() == pytest.approx(0.97)
    assert (len(common), len(rare)) == (970, 30)


@pytest.mark.parametrize("overlooked", [0.0, 0.25])
@pytest.mark.parametrize("seed", range(8))
def test_a_restated_bound_is_true_whenever_the_steps_that_passed_are(
    seed: int, overlooked: float
) -> None:
    """Counting by hand: take any truth, any images that leave, and compare."""
    generator = np.random.default_rng(seed)
    frame = frame_of(1_200)
    plan = nested_plan(
        frame,
        Promise(max_error=0.05 * (1 - overlooked), risk=0.2),
        [600, 900, 1_200],
        [80, 120, 160],
    )
    assert plan is not None
    wrong = generator.random(1_200) < 0.03 * (1 - overlooked)
    # Every fourth of the wrong ones is overlooked, if any is.
    seen_wrong = wrong & (np.cumsum(wrong) % 4 != 0) if overlooked else wrong
    draw = draw_audit(frame, plan, f"{seed} {1}")
    outcomes = np.where(frame.positive ^ seen_wrong, AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
    left = generator.random(1_200) < 0.05
    verdict = close_audit(
        frame,
        plan,
        draw,
        outcomes[draw.ranks].astype(np.int8),
        left=left,
        miss_rate=overlooked,
    )
    for one in (verdict.certified, verdict.widest):
        if one is None:
            continue
        held = [tested.step for tested in verdict.steps if tested.step.size == one.size]
        true_so_far = seen_wrong[: one.size].sum() <= held[0].allowed
        if true_so_far:
            assert wrong[one.ranks].sum() <= one.wrong
        assert not left[one.ranks].any()
        assert not np.isin(one.ranks, draw.ranks).any()
        assert one.bound == one.wrong / len(one.ranks)
    if verdict.certified is not None:
        assert verdict.certified.bound <= 0.05 + 1e-9


@pytest.mark.parametrize(("spare", "certified"), [(0.002, 600), (0.0, None)])
def test_a_few_files_that_vanish_do_not_push_a_step_above_its_promise(
    spare: float, certified: int | None
) -> None:
    """25 of 500 is 5%, of 499 it is more."""
    frame, promise = frame_of(1_200), Promise(max_error=0.05, risk=0.2)
    plan = nested_plan(frame, promise, [600], [100], spare=spare)
    assert plan is not None
    draw = draw_audit(frame, plan, "0 1")
    outcomes = np.where(frame.positive[draw.ranks], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
    left = np.zeros(1_200, dtype=np.bool_)
    left[np.setdiff1d(np.arange(600), draw.ranks)[0]] = True
    verdict = close_audit(frame, plan, draw, outcomes.astype(np.int8), left=left)
    size = verdict.certified.size if verdict.certified else None
    assert size == certified
    # A plan may allow less than its promise, and never more.
    step = plan.steps[0]
    assert step.allowed == (24 if spare else 25)
    assert step.critical == critical_count(600, 100, step.allowed, 0.2)


def test_when_too_many_have_left_a_smaller_set_or_nothing_is_certified() -> None:
    frame = frame_of(1_200)
    plan = nested_plan(frame, Promise(max_error=0.05, risk=0.2), [600, 1_200], [80, 160])
    assert plan is not None
    draw = draw_audit(frame, plan, "0 1")
    outcomes = np.where(frame.positive[draw.ranks], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
    sizes = []
    for first_gone in (1_200, 1_100, 500):
        left = np.arange(1_200) >= first_gone
        verdict = close_audit(frame, plan, draw, outcomes.astype(np.int8), left=left)
        sizes.append(verdict.certified.size if verdict.certified else 0)
        assert verdict.widest is not None
        assert verdict.widest.size == 1_200
    assert sizes == [1_200, 600, 0]
    assert all(before >= after for before, after in pairwise(sizes))
