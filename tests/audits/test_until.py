"""Sequential audits: the test in exact arithmetic, false proofs, and a whole audit to its end."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import exp
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.audits.audit import audit, begin
from curator.audits.certify import certify
from curator.audits.draw import draw_audit
from curator.audits.forecast import Forecast
from curator.audits.frame import Frame, freeze_frame
from curator.audits.outlook import Advice
from curator.audits.plan import AuditPlan, Promise, allowed_wrong, describe
from curator.audits.sequential import log_e_value, proves, stopping_points
from curator.audits.test import answered_in_order, close_audit
from curator.audits.until import UntilOutlook, assess_until
from curator.base.vocabulary import Label
from curator.catalogue import audit_answers
from curator.check_certificate import _proved_counts, check
from curator.errors import DataError, UsageError
from curator.workspace import create_workspace
from tests.audits.cases import answers, false_proofs, frame_of
from tests.support.audited import answer, make_pool, problems, with_settings
from tests.support.command import curator

RISK = 0.05


def allowed_after(size: int, max_error: float, most: int) -> np.ndarray:
    return allowed_wrong(size - np.arange(1, most + 1), max_error)


def plan_until(frame: Frame, error: float, max_error: float, share: float = 1.0) -> UntilOutlook:
    edges = np.linspace(0, len(frame), 51).round().astype(np.int64)
    forecast = Forecast(edges=edges, rates=np.full((1, 50), error), weights=np.ones(1))
    promise = Promise(max_error=max_error, risk=RISK)
    return assess_until(frame, forecast, promise, share=share, most=None, seed=0)


def the_plan(outlook: UntilOutlook) -> AuditPlan:
    plan = outlook.outlook.best.plan
    assert plan is not None
    return plan


@settings(deadline=None)
@given(data=st.data())
def test_the_closed_form_is_the_product_of_the_bets(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 60))
    given_answers = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=size - 1))
    right = len(given_answers) - sum(given_answers)
    wrong = data.draw(st.integers(sum(given_answers), size - right))
    prior = data.draw(st.sampled_from([2, 12, 198]))
    value, found = Fraction(1), 0
    for answered, is_wrong in enumerate(given_answers):
        predicted = Fraction(2 + found, 2 + prior + answered)
        true = Fraction(wrong - found, size - answered)
        value *= (predicted if is_wrong else 1 - predicted) / (true if is_wrong else 1 - true)
        found += is_wrong
    log = log_e_value(size, len(given_answers), found, wrong, prior=prior)
    assert exp(float(log)) == pytest.approx(float(value), rel=1e-8)


@settings(deadline=None)
@given(data=st.data())
def test_it_is_proved_exactly_when_every_breaking_number_is_refuted(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    answered = data.draw(st.integers(1, size))
    errors = data.draw(st.integers(0, min(answered, 8)))
    allowed = data.draw(st.integers(0, size // 3))
    breaking = range(errors + allowed + 1, errors + size - answered + 1)
    refuted = all(
        float(log_e_value(size, answered, errors, wrong, prior=98)) >= 1e-6 - np.log(RISK)
        for wrong in breaking
    )
    assert refuted == bool(proves(size, answered, errors, allowed, prior=98, risk=RISK))


@pytest.mark.parametrize(
    ("size", "max_error", "prior"), [(400, 0.03, 650), (400, 0.03, 130), (150, 0.1, 98)]
)
def test_a_false_promise_is_proved_at_most_as_often_as_its_risk(
    size: int, max_error: float, prior: int
) -> None:
    """The exact chance to end with a broken promise, for every number of wrong labels near it."""
    allowed = allowed_after(size, max_error, size // 2)
    points = stopping_points(size, allowed, prior=prior, risk=RISK)
    worst = max(
        false_proofs(size, wrong, points, allowed)
        for wrong in range(int(0.5 * max_error * size), int(1.5 * max_error * size) + 2)
    )
    assert 0.005 < worst <= RISK


def test_looking_at_the_stopping_points_alone_ends_as_soon_as_looking_after_every_answer() -> None:
    size = 1_000
    allowed = allowed_after(size, 0.05, 500)
    points = stopping_points(size, allowed, prior=98, risk=RISK)
    answered = np.arange(1, 501)
    generator = np.random.default_rng(0)
    for share in (0.005, 0.02, 0.04):
        for _ in range(30):
            found = np.cumsum(generator.permutation(size)[:500] < share * size)
            always = proves(size, answered, found, allowed, prior=98, risk=RISK)
            after_each = answered[always][0] if always.any() else None
            at_points = points[found[points - 1] <= np.arange(len(points))]
            assert (at_points[0] if len(at_points) else None) == after_each


def test_the_checker_computes_the_stopping_points_exactly_and_finds_one_too_early() -> None:
    for size, max_error, error in ((600, 0.05, 0.01), (9_000, 0.01, 0.001)):
        plan = the_plan(plan_until(frame_of(size), error, max_error))
        stored = describe(plan)
        criticals = [step.critical for step in plan.steps]
        assert _proved_counts(stored) == criticals == [*range(len(plan.steps))]
        for number in range(len(plan.steps)):
            step = plan.steps[number]
            changed = stored["rungs"][number] | {"drawn": step.drawn - 1}
            early = [*stored["rungs"][:number], changed]
            assert _proved_counts(stored | {"rungs": early})[-1] == -1
            steps = (*plan.steps[:number], replace(step, drawn=step.drawn - 1))
            with pytest.raises(ValueError, match="ends too soon"):
                replace(plan, steps=steps)


def test_it_ends_at_the_first_proof_and_slips_never_help() -> None:
    frame = frame_of(1_000)
    plan = the_plan(plan_until(frame, 0.01, 0.05))
    generator = np.random.default_rng(1)
    ends = []
    for attempt in range(60):
        draw = draw_audit(frame, plan, f"attempt {attempt}")
        assert len(np.unique(draw.ranks)) == plan.sample
        wrong = np.zeros(1_000, dtype=bool)
        wrong[generator.choice(1_000, generator.integers(0, 60), replace=False)] = True
        slips = wrong | (generator.random(1_000) < 0.01)
        lengths = []
        for called_wrong in (wrong, slips):
            outcomes = answered_in_order(frame, plan, draw, answers(frame, draw, called_wrong))
            result = close_audit(frame, plan, draw, outcomes)
            asked = int((outcomes >= 0).sum())
            passed = [step.passed for step in result.steps]
            assert passed[:-1] == [False] * (len(passed) - 1)
            assert (result.certified is not None) == passed[-1]
            if result.certified is not None:
                assert len(result.certified.ranks) == 1_000 - asked
                assert result.certified.bound <= 0.05
                # With slips, too: no right label that is called wrong is counted on.
                assert result.certified.wrong == plan.steps[len(passed) - 1].allowed
            else:
                assert result.errors > len(plan.steps) - 1 or asked == plan.sample
            lengths.append(asked if passed[-1] else 10_000)
        assert lengths[1] >= lengths[0]
        ends.append(lengths[0])
    assert min(ends) == plan.steps[0].drawn
    assert len(set(ends)) > 5


def test_what_is_expected_is_where_eight_audits_of_ten_end() -> None:
    frame = frame_of(6_000)
    outlook = plan_until(frame, 0.01, 0.05)
    plan = the_plan(outlook)
    generator = np.random.default_rng(2)
    ends = []
    for attempt in range(300):
        draw = draw_audit(frame, plan, f"attempt {attempt}")
        wrong = np.zeros(6_000, dtype=bool)
        wrong[generator.choice(6_000, 60, replace=False)] = True
        outcomes = answered_in_order(frame, plan, draw, answers(frame, draw, wrong))
        ends.append(int((outcomes >= 0).sum()))
    inside = np.mean((np.array(ends) >= outlook.low) & (np.array(ends) <= outlook.high))
    assert 0.8 <= inside <= 0.97
    assert f"after {outlook.low:,} to {outlook.high:,} answers" in outlook.text


def test_advice_of_a_sequential_audit() -> None:
    rank = np.arange(4_000)
    rare = freeze_frame(rank, rank % 50 == 0, -rank.astype(float), np.full(4_000, 0.01), seed=0)
    assert plan_until(rare, 0.005, 0.05).outlook.answer is Advice.EMPTY_PROMISE
    assert plan_until(frame_of(4_000), 0.15, 0.05).outlook.answer is Advice.TOO_HARD
    assert plan_until(frame_of(4_000), 0.02, 0.05).outlook.answer is Advice.READY
    with pytest.raises(DataError, match="more than half of them"):
        plan_until(frame_of(100), 0.01, 0.05)


def test_a_sequential_audit_from_plan_to_evidence(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    pool = make_pool(workspace, tmp_path / "photos", size=700, hard=0.05, max_error=0.1)
    curator("-w", workspace.root, "config", "promotion.policy=certified", "promotion.max_error=0.1")
    told = audit(pool.workspace, until=0.8)
    assert "the most certain 512 of 640 images" in told.text
    record = begin(pool.workspace)
    assert audit(pool.workspace, until=0.8).record is not None
    for other in ({"until": 0.5}, {"size": 20}, {"missed": True}):
        with pytest.raises(UsageError, match="is open"):
            audit(pool.workspace, **other)
    # Two wrong answers in the first part: the audit goes on, and what was answered is locked.
    first = audit_answers.waiting_ids(pool.workspace.catalogue, record, size=None)
    lies = set(first[:2])

    def says(image_id: int) -> Label:
        right = pool.says(image_id)
        if image_id not in lies:
            return right
        return Label.NEGATIVE if right is Label.POSITIVE else Label.POSITIVE

    answered = answer(pool.workspace, says)
    assert len(first) < answered < record.sample
    locked = audit_answers.answers_of(pool.workspace.catalogue, begin(pool.workspace)).locked
    assert locked[: len(first)].all()
    report = certify(pool.workspace)
    assert report.certificate is not None
    assert report.certificate.sample == answered
    assert report.certificate.bound <= 0.1
    assert report.certificate.certified == 512 - answered
    assert not problems(pool.workspace)
    curator(
        "-w", workspace.root, "export", tmp_path / "manifest.csv", "--evidence",
        tmp_path / "evidence.zip",
    )  # fmt: skip
    checked = check(
        tmp_path / "evidence.zip",
        tmp_path / "manifest.csv",
        [record.commitment, report.commitment],
    )
    assert checked.valid, [each for each in checked.checks if not each.passed]


def test_until_is_refused_where_it_has_no_meaning(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    pool = make_pool(workspace, tmp_path / "photos", size=300, max_error=0.1)
    for wanted in ({"until": 1.5}, {"until": 0.0}, {"until": 0.5, "missed": True}):
        with pytest.raises(UsageError):
            audit(pool.workspace, **wanted)
    thresholds = with_settings(pool.workspace, promotion={"policy": "thresholds"})
    with pytest.raises(UsageError, match="certified"):
        audit(thresholds, until=0.5)
