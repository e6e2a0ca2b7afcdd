"""Exact chances of a false certificate, with a rescue, against the number that it states."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from curator.audits.draw import draw_audit
from curator.audits.plan import AuditPlan, Promise, Rescue, nested_plan
from curator.audits.test import answered_in_order, close_audit
from tests.audits.cases import (
    Walker,
    adversary,
    answers,
    exact_chances,
    frame_of,
    plan_of,
    rescue_adversaries,
    spreads,
)

SHAPES = ("even", "loosest", "strictest", "rising", "tight")


def with_rescue(sizes: list[int], drawn: list[int], promise: Promise, rescue: Rescue) -> AuditPlan:
    plan = nested_plan(frame_of(sizes[-1]), promise, sizes, drawn, rescue)
    assert plan is not None
    assert rescue.test(0, promise.max_error).critical >= 0
    return plan


def test_the_two_exact_counts_agree() -> None:
    plan = plan_of(frame_of(20), Promise(max_error=0.3, risk=0.2), [9, 15, 20], [5, 9, 12])
    walker = Walker(plan)
    for wrong in itertools.islice(spreads(plan), 0, None, 7):
        false, nothing = exact_chances(plan, np.array(wrong))
        assert false == pytest.approx(walker.false_certificates(wrong), abs=1e-12)
        ended = sum(chance for (step, _), chance in walker.ends(wrong).items() if step < 0)
        assert nothing == pytest.approx(ended, abs=1e-12)


def test_no_spread_breaks_the_promise_of_an_audit_with_a_rescue() -> None:
    promise = Promise(max_error=0.4, risk=0.2)
    plan = with_rescue([26, 36], [10, 15], promise, Rescue(size=20, drawn=7, risk=0.06))
    worst = 0.0
    for first, second, inner in itertools.product(range(8, 21), (0, 3), range(4, 18, 2)):
        if inner <= first and first - inner <= 26 - 20:
            false, nothing = exact_chances(plan, np.array([first, second]), inner)
            assert -1e-9 <= nothing <= 1
            worst = max(worst, false)
    assert 0.08 < worst <= 0.2 + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "drawn", "max_error", "rescue"),
    [
        ([2_000, 2_600, 3_000], [350, 455, 525], 0.03, Rescue(size=1_000, drawn=262, risk=0.01)),
        (
            [9_000, 14_000, 20_000],
            [450, 700, 1_000],
            0.01,
            Rescue(size=4_500, drawn=500, risk=0.01),
        ),
    ],
)
@pytest.mark.parametrize("overlooked", [0.0, 0.2])
def test_worst_populations_stay_below_the_risk(
    sizes: list[int], drawn: list[int], max_error: float, rescue: Rescue, overlooked: float
) -> None:
    promise = Promise(max_error=max_error * (1 - overlooked), risk=0.05)
    plan = nested_plan(frame_of(sizes[-1]), promise, sizes, drawn, rescue)
    assert plan is not None
    worst = 0.0
    for shape, first, excess in itertools.product(SHAPES, range(len(sizes)), (0.5, 1.0)):
        wrong = adversary(plan, first, shape, excess)
        for inner in set(rescue_adversaries(plan, wrong)):
            worst = max(worst, exact_chances(plan, wrong, inner, miss_rate=overlooked)[0])
    assert 0.01 < worst <= 0.05


@pytest.mark.slow
def test_real_draws_of_a_rescue_follow_the_counted_chances() -> None:
    promise = Promise(max_error=0.4, risk=0.3)
    plan = with_rescue([26, 36], [10, 15], promise, Rescue(size=20, drawn=7, risk=0.12))
    frame = frame_of(36)
    wrong = np.zeros(36, dtype=bool)
    wrong[[0, 3, 5, 8, 11, 14, 17, 19, 22, 24, 30]] = True
    expected = exact_chances(plan, np.array([10, 1]), int(wrong[:20].sum()))
    runs, false, nothing = 4_000, 0, 0
    for run in range(runs):
        draw = draw_audit(frame, plan, f"salt {run}")
        outcomes = answered_in_order(frame, plan, draw, answers(frame, draw, wrong))
        certified = close_audit(frame, plan, draw, outcomes).certified
        nothing += certified is None
        false += certified is not None and int(wrong[certified.ranks].sum()) > certified.wrong
    for count, chance in zip((false, nothing), expected, strict=True):
        assert abs(count - runs * chance) <= 4.5 * np.sqrt(runs * chance * (1 - chance)) + 1
