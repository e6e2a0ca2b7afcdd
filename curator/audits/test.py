"""Closes an audit: what its answers prove about the images that nobody has seen.

Every audited image counts as it was drawn. What was not plainly confirmed is wrong: another
class, unsure, skipped, not showable. Nothing is replaced, nothing is looked at twice. A nested
test runs its steps once, from strict to loose, and ends at the first failure: what lies further
out is not asked. If not even the first step passes, the rescue decides. A sequential test ends at
the first step that passes. A simple random sample bounds the error of the rest of its set.

Images may leave the frame between draw and test, because their files vanish. While the test
holds, every set that passed has no more wrong labels than it was allowed, so no more are wrong
among those that are left, and no new test is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from curator.audits.draw import AuditDraw
from curator.audits.frame import Frame, certified_set_digest, check_same_frame
from curator.audits.plan import NEVER, AuditPlan, AuditStep, Design, exact_share
from curator.base.arrays import BoolArray, CodeArray, IntArray
from curator.base.text import count
from curator.errors import DataError


class AuditOutcome(IntEnum):
    """What became of an audited image. Only the confirming class is not an error."""

    OPEN = -1
    NEGATIVE = 0
    POSITIVE = 1
    UNSURE = 2
    SKIPPED = 3
    UNSHOWABLE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A step that was tested; `errors` are all that was not confirmed.

    For a `rescue` the step counts only what the first sample left of its set.
    """

    step: AuditStep
    errors: int
    passed: bool
    rescue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CertifiedSet:
    """What a certificate may say: at most `wrong` of the labels at `ranks` are wrong.

    The set is the first `size` images of the frame; `ranks` are those that nobody has seen and
    that can be promoted, `left` the unseen ones that are no part of it any more. `bound` is
    `wrong` as a share of `ranks`. `sample` and `errors` are those of the set, and `digest`
    covers images and labels at `ranks`.
    """

    size: int
    ranks: IntArray
    left: IntArray
    wrong: int
    bound: float
    sample: int
    errors: int
    digest: str

    @property
    def estimate(self) -> float:
        """The plain share of errors in the sample."""
        return self.errors / self.sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditResult:
    """What an audit proved.

    `errors` of all images that were asked were not confirmed. `steps` are those of a nested test
    up to its end, with that of a `rescue` last. `certified` is the widest set that keeps the
    promise, or None; for a simple random sample it is the frame, whatever its bound. `widest`
    passed the test, whatever it keeps now.
    """

    errors: int
    steps: tuple[StepResult, ...]
    certified: CertifiedSet | None
    widest: CertifiedSet | None


def asked_stratum(
    frame: Frame, plan: AuditPlan, draw: AuditDraw, outcomes: CodeArray
) -> int | None:
    """The stratum whose images are to be answered now; None when the verdict is there.

    `outcomes` is (drawn,) of `AuditOutcome`. A step is tested when the whole sample of its
    stratum is answered, and the next stratum is asked if it passed; in a sequential test if it
    failed, while a later step can still pass.
    """
    if plan.design is Design.SIMPLE_RANDOM:
        return 0 if (outcomes == AuditOutcome.OPEN).any() else None
    wrong = outcomes != _confirming(frame.positive[draw.ranks])
    for number, step in enumerate(plan.steps):
        in_stratum = draw.strata == number
        if (outcomes[in_stratum] == AuditOutcome.OPEN).any():
            return number
        passed = wrong[draw.strata <= number].sum() <= step.critical
        if plan.design is Design.SEQUENTIAL:
            if passed or wrong[draw.strata <= number].sum() > plan.steps[-1].critical:
                return None
        elif not passed:
            # A larger set may pass by chance: to go on would break the promised risk.
            if number > 0 or plan.rescue is None or _rescue_test(plan, draw).critical == NEVER:
                return None
            rescue = draw.strata == len(plan.steps)
            return len(plan.steps) if (outcomes[rescue] == AuditOutcome.OPEN).any() else None
    return None


def answered_in_order(
    frame: Frame, plan: AuditPlan, draw: AuditDraw, answers: CodeArray
) -> CodeArray:
    """The outcomes of an audit if `answers`, (drawn,), is what would be said of each image.

    Images that are not asked stay open. For simulations.
    """
    outcomes = np.full(len(answers), AuditOutcome.OPEN, dtype=np.int8)
    while (stratum := asked_stratum(frame, plan, draw, outcomes)) is not None:
        outcomes[draw.strata == stratum] = answers[draw.strata == stratum]
    return outcomes


def close_audit(
    frame: Frame,
    plan: AuditPlan,
    draw: AuditDraw,
    outcomes: CodeArray,
    *,
    left: BoolArray | None = None,
    miss_rate: float = 0.0,
) -> AuditResult:
    """Test a nested plan, or bound the rest of a simple random sample.

    `outcomes` is (drawn,) of `AuditOutcome` in the order of the draw. `left`, (images,), marks
    images that cannot be promoted any more. The plan was made for an annotator who overlooks
    the share `miss_rate` of the wrong labels. Raises DataError if an image is still open, or if
    frame, plan and draw do not belong together.
    """
    check_same_frame(frame, plan.frame_digest)
    if draw.plan_digest != plan.digest:
        raise DataError(
            "These answers belong to an audit with another plan.",
            "Go on with the audit that is open, or plan a new one with `curator audit`.",
        )
    if len(outcomes) != len(draw.ranks):
        raise ValueError(f"{len(outcomes)} outcomes for {len(draw.ranks)} images")
    stratum = asked_stratum(frame, plan, draw, outcomes)
    if stratum is not None:
        waiting = outcomes[draw.strata == stratum] == AuditOutcome.OPEN
        raise DataError(
            f"The audit waits for {count(int(waiting.sum()), 'answer')} about the {len(waiting):,}"
            " images that it asks for.",
            "Go on with `curator audit`. An image that you skip, or cannot tell, counts as wrong.",
        )
    answered = outcomes != AuditOutcome.OPEN
    positive = frame.positive[draw.ranks]
    wrong = answered & (outcomes != _confirming(positive))
    errors = int(wrong.sum())
    audited = np.zeros(len(frame), dtype=np.bool_)
    audited[draw.ranks[answered]] = True
    gone = np.zeros(len(frame), dtype=np.bool_) if left is None else left & ~audited
    noticed = 1 - exact_share(miss_rate)
    if plan.design is Design.SIMPLE_RANDOM:
        # Called the other class: they have left, and a bound on all that would be called so
        # holds for the rest without them. What nobody could settle may be right and stays in.
        called = int((outcomes == _confirming(~positive)).sum())
        whole = most_wrong(len(frame), plan.sample, errors, plan.promise.risk)
        unseen = int((~audited & ~gone).sum())
        at_most = min(int(whole / noticed) - called, unseen)
        rest = _certified_set(frame, len(frame), at_most, plan.sample, errors, audited, gone)
        return AuditResult(errors=errors, steps=(), certified=rest, widest=rest)

    steps = _run_steps(plan, draw, wrong, answered)
    certified: CertifiedSet | None = None
    widest: CertifiedSet | None = None
    for result in reversed([result for result in steps if result.passed]):
        step = result.step
        # `allowed` counts wrong labels that the annotator would notice. Nothing is subtracted
        # for those that were found: a right label called wrong would be subtracted, too.
        at_most = int(step.allowed / noticed)
        size = plan.rescue.size if result.rescue and plan.rescue else step.size
        candidate = _certified_set(frame, size, at_most, step.drawn, result.errors, audited, gone)
        if not len(candidate.ranks):
            continue
        widest = widest or candidate
        if at_most * noticed <= exact_share(plan.promise.max_error) * len(candidate.ranks):
            certified = candidate
            break
    return AuditResult(errors=errors, steps=steps, certified=certified, widest=widest)


def _run_steps(
    plan: AuditPlan, draw: AuditDraw, wrong: BoolArray, answered: BoolArray
) -> tuple[StepResult, ...]:
    """The steps of a nested test up to the first that fails, of a sequential one that passes."""
    sequential = plan.design is Design.SEQUENTIAL
    results: list[StepResult] = []
    for number, step in enumerate(plan.steps):
        if sequential and not answered[draw.strata == number].all():
            break
        errors = int(wrong[draw.strata <= number].sum())
        results.append(StepResult(step=step, errors=errors, passed=errors <= step.critical))
        if results[-1].passed == sequential:
            break
    in_rescue = draw.strata == len(plan.steps)
    if in_rescue.any() and answered[in_rescue].all():
        step, errors = _rescue_test(plan, draw), int(wrong[in_rescue].sum())
        passed = errors <= step.critical
        results.append(StepResult(step=step, errors=errors, passed=passed, rescue=True))
    return tuple(results)


def _rescue_test(plan: AuditPlan, draw: AuditDraw) -> AuditStep:
    assert plan.rescue is not None
    inside = (draw.strata < len(plan.steps)) & (draw.ranks < plan.rescue.size)
    return plan.rescue.test(int(inside.sum()), plan.promise.max_error)


def _certified_set(
    frame: Frame,
    size: int,
    wrong: int,
    sample: int,
    errors: int,
    audited: BoolArray,
    gone: BoolArray,
) -> CertifiedSet:
    """What is left to promote of the first `size` images, of which at most `wrong` are wrong."""
    ranks = np.flatnonzero(~audited[:size] & ~gone[:size])
    return CertifiedSet(
        size=size,
        ranks=ranks,
        left=np.flatnonzero(gone[:size]),
        wrong=wrong,
        bound=wrong / len(ranks) if len(ranks) else 0.0,
        sample=sample,
        errors=errors,
        digest=certified_set_digest(frame.image_ids[ranks], frame.positive[ranks]),
    )


def most_wrong(size: int, sample: int, errors: int, risk: float) -> int:
    """Upper bound on the wrong labels of a set, those in its sample among them.

    Inverts the exact hypergeometric tails: every number of wrong images in the set that
    would give so few errors with a chance of at most `risk` is excluded (Buonaccorsi, 1987,
    The American Statistician 41). Raises ValueError unless 0 <= errors <= sample <= size and
    0 < risk < 1.
    """
    from scipy.stats import hypergeom

    if not 0 <= errors <= sample <= size or not 0.0 < risk < 1.0:
        raise ValueError(f"{errors} errors in {sample} of {size} images at a risk of {risk}")
    low, high = errors, size - sample + errors
    while low < high:
        middle = (low + high + 1) // 2
        likely = float(hypergeom.cdf(errors, size, middle, sample)) > risk
        low, high = (middle, high) if likely else (low, middle - 1)
    return low


def _confirming(positive: BoolArray) -> CodeArray:
    """The outcomes that confirm these labels, (labels,)."""
    return np.where(positive, AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE).astype(np.int8)
