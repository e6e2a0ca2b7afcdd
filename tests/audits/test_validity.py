"""The promise itself: a certificate is false with at most the stated chance, over all audits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curator.audits.draw import draw_audit
from curator.audits.plan import (
    AuditPlan,
    Promise,
    Spending,
    allowed_wrong,
    critical_count,
    exact_criticals,
    nested_plan,
    next_promise,
)
from curator.audits.test import close_audit
from curator.base.vocabulary import AuditScope
from tests.audits.cases import Walker, adversary, answers, frame_of, plan_of, runs_allowed, spreads

SMALL_TESTS = [
    ([9, 15, 20], [5, 9, 12], 0.3, 0.2),
    ([14, 20, 24], [6, 9, 11], 0.45, 0.1),
    ([12, 16, 20], [8, 11, 14], 0.5, 0.05),
    ([10, 18, 24], [7, 13, 18], 0.5, 0.1),
    ([20, 34], [11, 19], 0.45, 0.2),
    ([24, 40], [14, 22], 0.4, 0.05),
    ([60], [30], 0.2, 0.1),
]


@pytest.mark.parametrize(("sizes", "drawn", "max_error", "risk"), SMALL_TESTS)
def test_no_spread_of_wrong_labels_breaks_the_promise_too_often(
    sizes: list[int], drawn: list[int], max_error: float, risk: float
) -> None:
    plan = plan_of(frame_of(sizes[-1]), Promise(max_error=max_error, risk=risk), sizes, drawn)
    walker = Walker(plan)
    worst = max(walker.false_certificates(wrong) for wrong in spreads(plan))
    assert 0.0 < worst <= risk + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_same_for_nested_tests_of_any_shape(data: st.DataObject) -> None:
    strata = data.draw(st.lists(st.integers(3, 9), min_size=1, max_size=3))
    samples = [data.draw(st.integers(1, stratum)) for stratum in strata]
    promise = Promise(
        max_error=data.draw(st.sampled_from([0.1, 0.2, 0.35, 0.5])),
        risk=data.draw(st.sampled_from([0.05, 0.1, 0.25])),
    )
    sizes = np.cumsum(strata).tolist()
    plan = nested_plan(frame_of(sizes[-1]), promise, sizes, np.cumsum(samples).tolist())
    if plan is not None:
        walker = Walker(plan)
        worst = max(walker.false_certificates(wrong) for wrong in spreads(plan))
        assert worst <= promise.risk + 1e-9


def test_the_tests_of_one_stratum_are_as_sharp_as_they_can_be() -> None:
    for size, drawn, allowed in [(40, 20, 3), (200, 60, 8), (1000, 299, 9), (70_000, 600, 2000)]:
        critical = critical_count(size, drawn, allowed, 0.05)
        tail = stats.hypergeom(size, allowed + 1, drawn).cdf
        assert tail(critical) <= 0.05 < tail(critical + 1)


def test_299_error_free_audits_prove_one_percent_of_a_large_frame() -> None:
    promise = Promise(max_error=0.01, risk=0.05)
    for size, needed in [(1_000_000, 299), (70_000, 299), (20_000, 299), (2_000, 322)]:
        for drawn, proves in [(needed, True), (needed - 1, False)]:
            sizes, samples = np.array([size]), np.array([drawn])
            allowed = allowed_wrong(sizes - samples, promise.max_error)
            criticals = exact_criticals(sizes, samples, allowed, promise.risk)
            assert (criticals[0] >= 0) == proves, (size, drawn)


@pytest.mark.slow
def test_real_draws_and_verdicts_follow_the_counted_chances() -> None:
    frame = frame_of(24)
    plan = plan_of(frame, Promise(max_error=0.3, risk=0.2), [9, 15, 20], [5, 9, 12])
    wrong = np.zeros(24, dtype=bool)
    wrong[[1, 4, 9, 12, 13, 17, 19]] = True
    in_strata = tuple(int(wrong[start:end].sum()) for start, end, _ in plan.strata)
    expected = Walker(plan).ends(in_strata)
    seen: dict[tuple[int, int], int] = {}
    runs = 3_000
    for attempt in range(runs):
        draw = draw_audit(frame, plan, f"{1} {attempt}")
        verdict = close_audit(frame, plan, draw, answers(frame, draw, wrong))
        certified = verdict.certified
        key = (sum(step.passed for step in verdict.steps) - 1, certified.errors if certified else 0)
        seen[key] = seen.get(key, 0) + 1
    merged: dict[tuple[int, int], float] = {}
    for (step, found), chance in expected.items():
        key = (step, found) if step >= 0 else (-1, 0)
        merged[key] = merged.get(key, 0.0) + chance
    for key, chance in merged.items():
        spread = 4.5 * np.sqrt(runs * chance * (1 - chance)) + 1
        assert abs(seen.get(key, 0) - runs * chance) <= spread, key
    assert set(seen) <= set(merged)


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 5])
def test_near_duplicates_do_not_count_as_independent_audits(copies: int) -> None:
    """Copies share their error. Drawn image by image they leave the promise as it is."""
    frame = frame_of(4_000)
    plan = plan_of(frame, Promise(max_error=0.1, risk=0.05), [4_000], [200])
    wrong = just_over(plan, copies)
    runs = 2_000
    false = 0
    for attempt in range(runs):
        draw = draw_audit(frame, plan, f"{copies} {attempt}")
        verdict = close_audit(frame, plan, draw, answers(frame, draw, wrong))
        certified = verdict.certified
        false += certified is not None and wrong[certified.ranks].mean() > 0.1
    assert 0.01 * runs < false <= runs_allowed(runs, 0.05)


def just_over(plan: AuditPlan, copies: int) -> np.ndarray:
    """Wrong labels in whole units of copies, so many that every certificate is false."""
    step = plan.steps[0]
    units = -(-(step.allowed + step.critical + 1) // copies)
    wrong = np.zeros(plan.frame_size, dtype=bool)
    starts = np.random.default_rng(3).choice(plan.frame_size // copies, units, replace=False)
    for copy in range(copies):
        wrong[starts * copies + copy] = True
    return wrong


LARGE_TESTS = [
    ([20_000, 26_000, 31_000, 35_000, 38_000], [300, 390, 465, 525, 570], 0.03),
    ([20_000, 30_000, 40_000], [500, 750, 1_000], 0.01),
    ([900, 1_200, 1_500], [300, 400, 500], 0.03),
    ([2_000, 2_600, 3_000, 3_200], [350, 455, 525, 560], 0.02),
]


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "drawn", "max_error"), LARGE_TESTS)
@pytest.mark.parametrize("shape", ["even", "loosest", "strictest", "rising", "tight"])
def test_pools_just_over_the_limit(
    sizes: list[int], drawn: list[int], max_error: float, shape: str
) -> None:
    frame = frame_of(sizes[-1])
    plan = plan_of(frame, Promise(max_error=max_error, risk=0.05), sizes, drawn)
    runs = 8_000
    generator = np.random.default_rng(11)
    for first_broken, excess in itertools.product(range(len(plan.steps)), (0.0, 0.5, 1.0)):
        wrong = adversary(plan, first_broken, shape, excess)
        false = simulated_false_certificates(plan, wrong, runs, generator)
        assert false <= runs_allowed(runs, 0.05), (first_broken, excess, wrong)


def simulated_false_certificates(
    plan: AuditPlan, wrong: np.ndarray, runs: int, generator: np.random.Generator
) -> int:
    """Audits whose certified set holds too many wrong labels among its unseen images."""
    found = np.cumsum(
        [
            generator.hypergeometric(bad, end - start - bad, drawn, size=runs)
            for bad, (start, end, drawn) in zip(wrong, plan.strata, strict=True)
        ],
        axis=0,
    )
    criticals = np.array([step.critical for step in plan.steps])
    reached = np.cumprod(found <= criticals[:, None], axis=0).sum(axis=0) - 1
    left = np.cumsum(wrong)[reached] - found[reached, np.arange(runs)]
    unseen = np.array([step.unseen for step in plan.steps])[reached]
    return int(((reached >= 0) & (left > plan.promise.max_error * unseen + 1e-9)).sum())


def test_what_is_not_offered_would_break_the_promise() -> None:
    """The traps that the design avoids are real: each exceeds the risk on some pool."""
    plan = plan_of(
        frame_of(4_000),
        Promise(max_error=0.05, risk=0.05),
        [1_000, 2_000, 3_000, 4_000],
        [100, 200, 300, 400],
    )
    wrong = np.diff([step.allowed + step.critical + 1 for step in plan.steps], prepend=0)
    runs = 20_000
    generator = np.random.default_rng(5)
    found = np.cumsum(
        [generator.hypergeometric(bad, 1_000 - bad, 100, size=runs) for bad in wrong],
        axis=0,
    )
    passed = found <= np.array([step.critical for step in plan.steps])[:, None]
    widest_that_passes = passed.any(axis=0).mean()
    until_the_first_failure = passed[0].mean()
    assert until_the_first_failure <= 0.05 + 0.006 < widest_that_passes

    # The bound of the whole set, stated for the images that nobody has seen.
    size, drawn, max_error = 1_000, 500, 0.1
    critical = critical_count(size, drawn, int(max_error * size), 0.05)
    bad = int(max_error * size)
    counts = np.arange(critical + 1)
    rest_too_wrong = bad - counts > max_error * (size - drawn)
    chance = stats.hypergeom.pmf(counts, size, bad, drawn)[rest_too_wrong].sum()
    assert chance > 0.05

    # A second audit after a failed one, at full risk; and with the risk that is left.
    assert 1 - (1 - 0.05) ** 2 > 0.05
    first = next_promise(0.01, 0.95, reserve=0.3)
    second = next_promise(
        0.01, 0.95, [Spending(scope=AuditScope.ALL, risk=first.risk)], reserve=0.3
    )
    assert first.risk + second.risk < 0.05
