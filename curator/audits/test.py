"""Closes an audit: walks the ladder once, and says what may be promised.

Every audited image counts as it was drawn. What was not plainly confirmed is wrong: another
class, unsure, skipped, not showable. Nothing is replaced, nothing is looked at twice. What
passes is the claim of the certificate, and it is about the images that nobody looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from curator.audits.draw import AuditDraw
from curator.audits.frame import Frame, certified_set_digest, check_same_frame
from curator.audits.ladder import AuditPlan, Rung
from curator.errors import DataError

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


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
    """One rung that was tested.

    Of the `errors`, which are all that was not confirmed, `refuted` were called the other class.
    """

    rung: Rung
    errors: int
    refuted: int
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditResult:
    """What an audit proved.

    `certified_places` are the places of the frame that stay promoted and that nobody has seen;
    none if nothing passed. With a chance of at least `confidence`, over all audits that
    could have been drawn, no more than `bound` of their labels are wrong (`bound` is at most
    the promised error). `sample` and `errors` are those of the certified set; `estimate` is
    the plain share of errors in it. `claim` is the digest of what was certified.
    """

    steps: tuple[StepResult, ...]
    certified_places: Ints
    sample: int
    errors: int
    bound: float | None
    estimate: float | None
    confidence: float
    claim: str | None

    @property
    def certified(self) -> int:
        """Images that the certificate speaks about."""
        return len(self.certified_places)


def close_audit(
    frame: Frame, plan: AuditPlan, draw: AuditDraw, outcomes: NDArray[np.int8]
) -> AuditResult:
    """Test the ladder from strict to loose and stop at the first failure.

    `outcomes` is (sample,) of `AuditOutcome` in the order of the draw. Raises DataError if an
    image is still open, or if frame, plan and draw do not belong together.
    """
    check_same_frame(frame, plan.frame_digest)
    if draw.plan_digest != plan.digest:
        raise DataError(
            "These answers belong to an audit with another plan.",
            "Go on with the audit that is open, or plan a new one with `curator audit`.",
        )
    wrong, other = wrong_labels(frame, draw, outcomes), refuted_labels(frame, draw, outcomes)
    steps: list[StepResult] = []
    for rung in plan.rungs:
        inside = draw.places < rung.size
        errors, refuted = int(wrong[inside].sum()), int(other[inside].sum())
        step = StepResult(rung=rung, errors=errors, refuted=refuted, passed=errors <= rung.critical)
        steps.append(step)
        if not steps[-1].passed:
            break
    passed = [step for step in steps if step.passed]
    return _verdict(frame, plan, draw, tuple(steps), passed[-1] if passed else None)


def wrong_labels(frame: Frame, draw: AuditDraw, outcomes: NDArray[np.int8]) -> Flags:
    """Which audited images count as wrong, (sample,). Raises DataError if one is still open."""
    if len(outcomes) != len(draw.places):
        raise ValueError(f"{len(outcomes)} outcomes for {len(draw.places)} images")
    unanswered = int((outcomes == AuditOutcome.OPEN).sum())
    if unanswered:
        raise DataError(
            f"{unanswered:,} of the {len(outcomes):,} images of this audit have no answer yet.",
            "Go on with `curator audit`. An image that you skip, or cannot tell, counts as wrong.",
        )
    confirming = np.where(frame.positive[draw.places], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
    wrong: Flags = outcomes != confirming
    return wrong


def refuted_labels(frame: Frame, draw: AuditDraw, outcomes: NDArray[np.int8]) -> Flags:
    """Which audited images were plainly called the other class, (sample,).

    These are wrong labels that have left the set. What nobody could settle counts as wrong in
    the test, but may be right, so nothing is subtracted for it.
    """
    other = np.where(frame.positive[draw.places], AuditOutcome.NEGATIVE, AuditOutcome.POSITIVE)
    refuted: Flags = outcomes == other
    return refuted


def can_still_pass(
    frame: Frame, plan: AuditPlan, draw: AuditDraw, outcomes: NDArray[np.int8]
) -> bool:
    """Whether the first rung may still pass when every open image turns out right.

    If not, nothing can be certified any more, and the remaining decisions can be spared.
    """
    confirming = np.where(frame.positive[draw.places], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
    wrong = (outcomes != AuditOutcome.OPEN) & (outcomes != confirming)
    first = plan.rungs[0]
    return int(wrong[draw.places < first.size].sum()) <= first.critical


def _verdict(
    frame: Frame,
    plan: AuditPlan,
    draw: AuditDraw,
    steps: tuple[StepResult, ...],
    last: StepResult | None,
) -> AuditResult:
    if last is None:
        return AuditResult(
            steps=steps,
            certified_places=np.empty(0, dtype=np.int64),
            sample=0,
            errors=0,
            bound=None,
            estimate=None,
            confidence=plan.promise.confidence,
            claim=None,
        )
    rung = last.rung
    unseen = np.ones(rung.size, dtype=np.bool_)
    unseen[draw.places[draw.places < rung.size]] = False
    places = np.flatnonzero(unseen)
    return AuditResult(
        steps=steps,
        certified_places=places,
        sample=rung.drawn,
        errors=last.errors,
        # Of at most `allowed` wrong labels in the set, those that were found have left it.
        bound=max(rung.allowed - last.refuted, 0) / rung.unseen,
        estimate=last.errors / rung.drawn,
        confidence=plan.promise.confidence,
        claim=certified_set_digest(frame.image_ids[places], frame.positive[places]),
    )
