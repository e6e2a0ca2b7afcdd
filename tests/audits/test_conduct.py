"""How an audit is frozen, drawn, answered and closed; and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.audits.draw import draw_audit
from curator.audits.frame import (
    balanced_confidence,
    certified_set_digest,
    freeze_frame,
    of_class,
    rank_pool,
)
from curator.audits.plan import (
    AuditPlan,
    AuditStep,
    Design,
    Promise,
    Rescue,
    Spending,
    allowed_wrong,
    describe,
    nested_plan,
    next_promise,
    payable_confidence,
    restore,
    simple_random_plan,
)
from curator.audits.test import (
    AuditOutcome,
    AuditResult,
    CertifiedSet,
    answered_in_order,
    asked_stratum,
    close_audit,
    most_wrong,
)
from curator.base.vocabulary import AuditKind, AuditScope
from curator.errors import DataError
from tests.audits.cases import answers, frame_of, plan_of

PROMISE = Promise(max_error=0.1, risk=0.05)
SIZES, DRAWN = [400, 700, 1_000], [100, 175, 250]


def certified(result: AuditResult) -> CertifiedSet:
    assert result.certified is not None
    return result.certified


def test_a_frame_goes_from_the_surest_label_to_the_least_sure() -> None:
    ids = np.array([7, 3, 9, 5])
    frame = freeze_frame(
        ids,
        np.array([True, False, True, True]),
        np.array([0.2, 0.9, 0.9, 0.5]),
        np.array([0.4, 0.0, 0.1, 0.2]),
        seed=0,
    )
    assert set(frame.image_ids[:2]) == {3, 9}
    assert frame.image_ids[2:].tolist() == [5, 7]
    assert frame.estimated_error[2:].tolist() == [0.2, 0.4]
    assert (frame.positive[frame.image_ids == 3] == [False]).all()


def test_ties_repeat_with_the_seed_whatever_the_order_of_arrival() -> None:
    ids = np.arange(50)
    same = np.zeros(50)
    label = ids % 3 == 0
    frames = [
        freeze_frame(ids[order], label[order], same, same, seed=seed)
        for order, seed in [(ids, 4), (ids[::-1], 4), (ids, 5)]
    ]
    assert frames[0].digest == frames[1].digest != frames[2].digest
    assert frames[0].image_ids.tolist() != ids.tolist()


def test_the_digest_notices_a_label_an_image_and_an_order() -> None:
    frame = frame_of(30)
    flipped = frame.positive.copy()
    flipped[4] = ~flipped[4]
    others = [
        frame_of(30, positive=flipped),
        frame_of(31),
        freeze_frame(np.arange(30), frame.positive, np.arange(30.0), np.zeros(30), seed=0),
    ]
    assert len({frame.digest, *(other.digest for other in others)}) == 4


def test_a_claim_is_about_a_set_of_labelled_images_in_any_order() -> None:
    ids, label = np.arange(20), np.arange(20) % 2 == 0
    claim = certified_set_digest(ids, label)
    assert claim == certified_set_digest(ids[::-1], label[::-1])
    assert claim != certified_set_digest(ids[1:], label[1:])
    assert claim != certified_set_digest(ids, ~label)


@pytest.mark.parametrize("fault", ["empty", "twice", "nan"])
def test_frames_that_cannot_be(fault: str) -> None:
    ids = np.array([] if fault == "empty" else [1, 1] if fault == "twice" else [1, 2])
    confidence = np.full(len(ids), np.nan if fault == "nan" else 0.5)
    error = DataError if fault == "empty" else ValueError
    with pytest.raises(error):
        freeze_frame(ids, np.ones(len(ids), dtype=bool), confidence, confidence, seed=0)


def test_a_class_has_its_own_frame_in_the_same_order() -> None:
    frame = frame_of(40)
    positives = of_class(frame, positive=True)
    assert positives.positive.all()
    assert positives.image_ids.tolist() == list(range(0, 40, 2))
    with pytest.raises(DataError, match="labelled negative"):
        of_class(positives, positive=False)


def test_a_class_frame_knows_the_share_of_the_other() -> None:
    frame = frame_of(100)
    assert of_class(frame, positive=True).other_share == pytest.approx(1 - frame.positive.mean())
    assert frame.other_share is None


def test_balanced_confidence_keeps_the_classes_in_proportion() -> None:
    generator = np.random.default_rng(1)
    positive = generator.random(1_000) < 0.1
    confidence = generator.random(1_000) - 0.5 * positive
    order = np.argsort(-balanced_confidence(confidence, positive), kind="stable")
    for end in (200, 500, 900):
        assert positive[order[:end]].mean() == pytest.approx(positive.mean(), abs=0.006)
    of_class_in_order = confidence[order][positive[order]]
    assert (np.diff(of_class_in_order) <= 0).all()


def test_images_get_their_likelier_label_and_the_surest_come_first() -> None:
    probability = np.array([0.6, 0.999, 0.02, 0.3])
    frame = rank_pool(np.array([7, 5, 9, 3]), probability, balanced=False, seed=0)
    assert frame.image_ids.tolist() == [5, 9, 3, 7]
    assert frame.positive.tolist() == [True, False, False, True]
    assert np.allclose(frame.estimated_error, [0.001, 0.02, 0.3, 0.4])


def test_balanced_a_rare_class_is_not_behind_the_common_one() -> None:
    probability = np.concatenate([np.linspace(0.6, 0.9, 10), np.linspace(0.001, 0.05, 90)])
    plain = rank_pool(np.arange(100), probability, balanced=False, seed=0)
    balanced = rank_pool(np.arange(100), probability, balanced=True, seed=0)
    assert not plain.positive[:50].any()
    assert balanced.positive[:50].sum() == 5
    # Within each class the surest still come first.
    assert (np.diff(balanced.estimated_error[balanced.positive]) >= 0).all()


def test_a_draw_takes_the_planned_number_from_every_stratum_the_inner_ones_first() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "3 1")
    assert len(np.unique(draw.ranks)) == plan.sample == 250
    for number, (start, end, drawn) in enumerate(plan.strata):
        inside = (draw.ranks >= start) & (draw.ranks < end)
        assert inside.sum() == drawn
        assert (draw.strata[inside] == number).all()
        assert draw.inclusion_probability[inside] == pytest.approx(drawn / (end - start))
    assert (draw.image_ids == frame.image_ids[draw.ranks]).all()
    assert (np.diff(draw.strata) >= 0).all()  # from the inside out
    inner = draw.ranks[draw.strata == 0]
    assert (np.diff(inner) < 0).any()


@pytest.mark.slow
def test_every_image_of_a_stratum_is_as_likely_as_the_next() -> None:
    frame = frame_of(20)
    plan = plan_of(frame, Promise(max_error=0.4, risk=0.2), [12, 20], [6, 10])
    runs = 4_000
    counts = np.zeros(20)
    for attempt in range(runs):
        counts[draw_audit(frame, plan, f"{0} {attempt}").ranks] += 1
    assert np.abs(counts / runs - 0.5).max() < 4.5 * 0.5 / np.sqrt(runs)


def test_a_draw_repeats_and_depends_on_its_salt() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    first = draw_audit(frame, plan, "3 1").ranks
    assert (first == draw_audit(frame, plan, "3 1").ranks).all()
    assert (first != draw_audit(frame, plan, "3 2").ranks).any()
    assert (first != draw_audit(frame, plan, "4 1").ranks).any()


def test_a_clean_audit_certifies_all_that_it_reached_and_only_what_nobody_saw() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "3 1")
    verdict = close_audit(frame, plan, draw, answers(frame, draw, np.zeros(1_200, dtype=bool)))
    ranks = certified(verdict).ranks
    assert len(ranks) == 1_000 - 250
    assert not np.isin(ranks, draw.ranks).any()
    assert ranks.max() < 1_000
    assert (certified(verdict).sample, certified(verdict).errors) == (250, 0)
    assert plan.promise.confidence == 0.95
    assert (certified(verdict).wrong, certified(verdict).bound) == (75, 75 / 750)
    digest = certified_set_digest(frame.image_ids[ranks], frame.positive[ranks])
    assert certified(verdict).digest == digest


@pytest.mark.parametrize("called", ["other", "unsure"])
def test_what_was_found_is_not_subtracted_from_what_the_rest_may_hold(called: str) -> None:
    """A right label that is called wrong by a slip would be subtracted as well."""
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, [1_000], [250])
    draw = draw_audit(frame, plan, "3 1")
    outcomes = answers(frame, draw, np.zeros(1_200, dtype=bool))
    outcomes[:5] = 1 - outcomes[:5] if called == "other" else AuditOutcome.UNSURE
    verdict = close_audit(frame, plan, draw, outcomes)
    assert (certified(verdict).errors, certified(verdict).estimate) == (5, 5 / 250)
    assert certified(verdict).bound == 75 / 750


@pytest.mark.parametrize("percent", range(1, 91))
def test_an_overlooked_share_never_costs_an_image_by_rounding(percent: int) -> None:
    """41 / (1 - 0.18) is 50, and as a float 49.99999999999999."""
    overlooked = Fraction(percent, 100)
    frame = frame_of(3_000)
    for design in (Design.NESTED_TEST, Design.SIMPLE_RANDOM):
        promise = next_promise(0.2, 0.95, miss_rate=float(overlooked))
        if design is Design.NESTED_TEST:
            assert promise.max_error == float(Fraction(1, 5) * (1 - overlooked))
            plan = plan_of(frame, promise, [3_000], [500])
            allowed = plan.steps[0].allowed
            assert allowed == math.floor(Fraction(1, 5) * (1 - overlooked) * 2_500)
        else:
            plan = simple_random_plan(frame, promise, 500)
            allowed = most_wrong(3_000, 500, 0, 0.05)
        draw = draw_audit(frame, plan, "1 1")
        said = answers(frame, draw, np.zeros(3_000, dtype=bool))
        verdict = close_audit(frame, plan, draw, said, miss_rate=float(overlooked))
        assert certified(verdict).wrong == min(math.floor(allowed / (1 - overlooked)), 2_500)


@given(st.integers(1, 500), st.integers(0, 90), st.integers(1, 3_000_000))
def test_stored_plans_of_floats_allow_what_exact_plans_allow(
    thousandth: int, percent: int, unseen: int
) -> None:
    exact = Fraction(thousandth, 1_000) * (1 - Fraction(percent, 100))
    as_float = thousandth / 1_000 * (1.0 - percent / 100)
    allowed = int(allowed_wrong(np.array([unseen]), as_float)[0])
    assert allowed == math.floor(exact * unseen) == math.floor(as_float * unseen + 1e-9)


@pytest.mark.parametrize(
    "outcome", [AuditOutcome.UNSURE, AuditOutcome.SKIPPED, AuditOutcome.UNSHOWABLE]
)
def test_what_is_not_confirmed_is_wrong(outcome: AuditOutcome) -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "3 1")
    outcomes = answers(frame, draw, np.zeros(1_200, dtype=bool))
    strict = np.flatnonzero(draw.ranks < SIZES[0])
    outcomes[strict[: plan.steps[0].critical + 1]] = outcome
    verdict = close_audit(frame, plan, draw, outcomes)
    assert (verdict.certified, verdict.widest) == (None, None)
    assert [step.passed for step in verdict.steps] == [False]


def test_the_test_ends_at_the_first_failure_though_a_larger_set_would_pass() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "3 1")
    wrong = np.zeros(1_200, dtype=bool)
    wrong[draw.ranks[draw.strata == 0][: plan.steps[0].critical + 1]] = True
    assert wrong[draw.ranks].sum() <= plan.steps[2].critical
    assert close_audit(frame, plan, draw, answers(frame, draw, wrong)).certified is None


def test_a_failure_further_out_keeps_what_passed_before() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "3 1")
    wrong = np.zeros(1_200, dtype=bool)
    wrong[draw.ranks[draw.strata == 2]] = True
    verdict = close_audit(frame, plan, draw, answers(frame, draw, wrong))
    assert [step.passed for step in verdict.steps] == [True, True, False]
    assert len(certified(verdict).ranks) == 700 - 175


def test_strata_are_asked_from_the_inside_out_and_no_further_than_the_first_that_fails() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "a salt")
    right = answers(frame, draw, np.zeros(1_200, dtype=bool))
    outcomes = np.full(250, AuditOutcome.OPEN, dtype=np.int8)
    for stratum, size in ((0, 100), (1, 75), (2, 75)):
        assert asked_stratum(frame, plan, draw, outcomes) == stratum
        with pytest.raises(DataError, match=f"{size} answers about the {size} images"):
            close_audit(frame, plan, draw, outcomes)
        part = np.flatnonzero(draw.strata == stratum)
        outcomes[part[1:]] = right[part[1:]]
        assert asked_stratum(frame, plan, draw, outcomes) == stratum  # no verdict on a part of it
        outcomes[part[0]] = right[part[0]]
    assert asked_stratum(frame, plan, draw, outcomes) is None
    assert (outcomes == right).all()
    for failing in (0, 1, 2):
        said = right.copy()
        said[draw.strata == failing] = AuditOutcome.UNSURE
        outcomes = answered_in_order(frame, plan, draw, said)
        assert ((outcomes == AuditOutcome.OPEN) == (draw.strata > failing)).all()
        stopped, whole = (close_audit(frame, plan, draw, each) for each in (outcomes, said))
        # What was not asked changes no verdict.
        assert [result.passed for result in stopped.steps] == [True] * failing + [False]
        assert stopped.steps == whole.steps
        size = None if stopped.certified is None else stopped.certified.size
        assert size == (SIZES[failing - 1] if failing else None)


RESCUE = Rescue(size=300, drawn=90, risk=0.01)


def test_if_no_step_passes_a_rescue_decides_about_the_inner_part() -> None:
    frame = frame_of(1_200)
    plan = nested_plan(frame, PROMISE, SIZES, DRAWN, RESCUE)
    assert plan is not None
    assert plan.step_promise.risk == pytest.approx(0.04)
    assert restore(json.loads(json.dumps(describe(plan))), frame, AuditKind.PROMISE) == plan
    draw = draw_audit(frame, plan, "a salt")
    extra = draw.strata == 3
    assert extra.sum() == 90
    assert draw.ranks[extra].max() < 300
    assert len(np.unique(draw.ranks)) == 250 + 90
    right = answers(frame, draw, np.zeros(1_200, dtype=bool))
    passed = answered_in_order(frame, plan, draw, right)
    assert (passed[extra] == AuditOutcome.OPEN).all()
    # Images that were drawn for the rescue and never shown stay in what is certified.
    assert len(certified(close_audit(frame, plan, draw, passed)).ranks) == 1_000 - 250
    said = right.copy()
    said[draw.strata == 0] = AuditOutcome.UNSURE
    outcomes = answered_in_order(frame, plan, draw, said)
    assert ((outcomes == AuditOutcome.OPEN) == np.isin(draw.strata, (1, 2))).all()
    result = close_audit(frame, plan, draw, outcomes)
    assert [(step.passed, step.rescue) for step in result.steps] == [(False, False), (True, True)]
    taken = int((draw.ranks[draw.strata == 0] < 300).sum())
    kept = certified(result)
    assert (kept.size, kept.sample, kept.errors) == (300, 90, 0)
    assert len(kept.ranks) == 300 - taken - 90
    assert kept.wrong == (300 - taken - 90) // 10
    said[extra] = AuditOutcome.UNSURE
    outcomes = answered_in_order(frame, plan, draw, said)
    lost = close_audit(frame, plan, draw, outcomes)
    assert (lost.certified, [step.passed for step in lost.steps]) == (None, [False, False])


@pytest.mark.parametrize(
    "rescue",
    [
        Rescue(size=401, drawn=90, risk=0.01),  # more than the first set
        Rescue(size=150, drawn=90, risk=0.01),  # no room beside the first sample
        Rescue(size=300, drawn=90, risk=0.05),  # leaves the steps no risk
    ],
)
def test_a_rescue_that_is_no_test_of_a_part_of_the_first_set_is_refused(rescue: Rescue) -> None:
    with pytest.raises(ValueError, match=r"rescue|risk"):
        nested_plan(frame_of(1_200), PROMISE, SIZES, DRAWN, rescue)


def test_nothing_works_with_another_frame() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "3 1")
    outcomes = answers(frame, draw, np.zeros(1_200, dtype=bool))
    retrained = frame_of(1_200, positive=np.arange(1_200) % 2 == 1)
    for attempt in (
        lambda: draw_audit(retrained, plan, "3 1"),
        lambda: close_audit(retrained, plan, draw, outcomes),
        lambda: restore(describe(plan), retrained, AuditKind.PROMISE),
    ):
        with pytest.raises(DataError, match=r"changed"):
            attempt()


def test_a_plan_survives_being_stored() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    assert restore(json.loads(json.dumps(describe(plan))), frame, AuditKind.PROMISE) == plan
    with pytest.raises(DataError, match="another frame"):
        restore(describe(plan), frame, AuditKind.MEASURE)


@pytest.mark.parametrize("field", ["critical", "allowed"])
def test_a_plan_with_inexact_tests_is_refused(field: str) -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    stored = json.loads(json.dumps(describe(plan)))
    stored["rungs"][1][field] += 1
    with pytest.raises(DataError, match="damaged"):
        restore(stored, frame, AuditKind.PROMISE)
    wider = dataclasses.replace(plan.steps[0], critical=plan.steps[0].critical + 1)
    with pytest.raises(ValueError, match="inexact"):
        dataclasses.replace(plan, steps=(wider, *plan.steps[1:]))


def test_a_plan_cannot_be_altered_once_it_was_drawn() -> None:
    frame = frame_of(1_200)
    plan = plan_of(frame, PROMISE, SIZES, DRAWN)
    draw = draw_audit(frame, plan, "3 1")
    outcomes = answers(frame, draw, np.zeros(1_200, dtype=bool))
    altered = plan_of(frame, PROMISE, [401, 700, 1_000], DRAWN)
    with pytest.raises(DataError, match="another plan"):
        close_audit(frame, altered, draw, outcomes)
    redrawn = draw_audit(frame, altered, "3 1")
    assert (redrawn.image_ids != draw.image_ids).any()


def test_steps_that_cannot_pass_join_the_next() -> None:
    frame = frame_of(1_200)
    plan = nested_plan(frame, PROMISE, [40, 400], [10, 100])
    assert plan is not None
    assert [(step.size, step.drawn) for step in plan.steps] == [(400, 100)]
    assert nested_plan(frame, PROMISE, [400], [20]) is None
    with pytest.raises(ValueError, match="at least one image"):
        nested_plan(frame, PROMISE, [400, 700], [100, 100])
    with pytest.raises(ValueError, match="larger than the frame"):
        AuditPlan(
            design=Design.NESTED_TEST,
            frame_digest=frame.digest,
            frame_size=300,
            promise=PROMISE,
            steps=(AuditStep(size=400, drawn=100, allowed=30, critical=4),),
        )
    with pytest.raises(ValueError, match="a part of the frame"):
        dataclasses.replace(plan, design=Design.SIMPLE_RANDOM)


@pytest.mark.parametrize("max_error", [0.0, -0.1, 0.51, 1.0])
def test_promises_that_cannot_be_tested(max_error: float) -> None:
    with pytest.raises(DataError, match=r"promotion\.max_error"):
        Promise(max_error=max_error, risk=0.05)


@given(
    st.floats(0.6, 0.999),
    st.floats(0.0, 0.9),
    st.integers(1, 8),
)
def test_however_often_one_audits_the_risk_is_never_overspent(
    confidence: float, reserve: float, audits: int
) -> None:
    spent: list[Spending] = []
    for _ in range(audits):
        try:
            promise = next_promise(0.01, confidence, spent, reserve=reserve)
        except DataError:
            break
        spent.append(Spending(scope=AuditScope.ALL, risk=promise.risk))
        assert promise.confidence >= confidence - 1e-9
    assert sum(audit.risk for audit in spent) <= 1 - confidence + 1e-9


def test_without_a_reserve_a_second_audit_promises_less() -> None:
    first = next_promise(0.01, 0.95)
    earlier = [Spending(scope=AuditScope.ALL, risk=first.risk)]
    assert first.risk == pytest.approx(0.05)
    with pytest.raises(DataError, match=r"promotion\.confidence to 0\.9"):
        next_promise(0.01, 0.95, earlier)
    second = next_promise(0.01, payable_confidence(0.95, earlier), earlier)
    assert (second.risk, second.confidence) == (pytest.approx(0.05), pytest.approx(0.9))
