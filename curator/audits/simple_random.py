"""An audit of one fixed set: a simple random sample of it, and one bound for the rest.

Nothing is chosen after the audit, so there is one set and one exact bound (see `whole`). As
for a ladder, chance comes from the digest of the plan, the seed and the attempt, and plan,
draw and answers refuse to work with another frame.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.audits.draw import AuditDraw, entropy
from curator.audits.frame import Frame, certified_set_digest, check_same_frame
from curator.audits.promise import Promise
from curator.audits.test import refuted_labels, wrong_labels
from curator.audits.whole import bound_whole
from curator.errors import DataError

_FORMAT = "curator-single-1"
LARGEST_SHARE = 0.5
"""Most of a set that is audited; beyond it, labelling all by hand is hardly more work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleRandomPlan:
    """How many images of which frame are drawn, and at which risk the rest is bounded.

    The promise's `max_error` is what was wished for; the bound may be above it.
    """

    frame_digest: str
    frame_size: int
    promise: Promise
    sample: int

    @property
    def digest(self) -> str:
        """SHA-256 over everything that was fixed beforehand."""
        text = json.dumps(describe_simple_random(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimpleRandomResult:
    """What the audit of one set says about the places of it that it did not show.

    With a chance of at least `confidence`, at most `wrong` of them are wrong, a share of
    `bound`. `errors` is all that was not confirmed, and `refuted` of these were called the
    other class. `estimate` is the plain share of errors in the sample.
    """

    unseen_places: NDArray[np.int64]
    sample: int
    errors: int
    refuted: int
    wrong: int
    bound: float
    estimate: float
    confidence: float
    claim: str


def plan_simple_random(frame: Frame, promise: Promise, sample: int) -> SimpleRandomPlan:
    """The plan that draws `sample` images. Raises DataError if that leaves too few unseen."""
    if not 1 <= sample <= max(1, int(LARGEST_SHARE * len(frame))) or len(frame) < 2:
        raise DataError(
            f"An audit of {sample:,} images cannot be drawn from a frame of {len(frame):,}.",
            f"Ask for at most {int(LARGEST_SHARE * len(frame)):,}, half of the frame;"
            " beyond that, labelling all of it by hand is not much more work.",
        )
    return SimpleRandomPlan(
        frame_digest=frame.digest, frame_size=len(frame), promise=promise, sample=sample
    )


def draw_simple_random(
    frame: Frame, plan: SimpleRandomPlan, *, seed: int, attempt: int
) -> AuditDraw:
    """Draw the sample in random order. Raises DataError if the plan is for another frame."""
    check_same_frame(frame, plan.frame_digest)
    generator = np.random.default_rng(entropy(plan.digest, seed, attempt))
    places = generator.choice(len(frame), size=plan.sample, replace=False).astype(np.int64)
    return AuditDraw(
        plan_digest=plan.digest,
        places=places,
        image_ids=frame.image_ids[places],
        shells=np.zeros(plan.sample, dtype=np.int64),
        inclusion_probability=np.full(plan.sample, plan.sample / len(frame)),
    )


def close_simple_random(
    frame: Frame, plan: SimpleRandomPlan, draw: AuditDraw, outcomes: NDArray[np.int8]
) -> SimpleRandomResult:
    """Bound the wrong labels of the unseen rest.

    `outcomes` is (sample,) of `Outcome`. Raises DataError if an image is still open, or if
    frame, plan and draw do not belong together.
    """
    check_same_frame(frame, plan.frame_digest)
    if draw.plan_digest != plan.digest:
        raise DataError(
            "These answers belong to an audit with another plan.",
            "Go on with the audit that is open, or plan a new one with `curator audit`.",
        )
    errors = int(wrong_labels(frame, draw, outcomes).sum())
    refuted = int(refuted_labels(frame, draw, outcomes).sum())
    bound = bound_whole(len(frame), plan.sample, errors, plan.promise.risk, refuted=refuted)
    unseen = np.ones(len(frame), dtype=np.bool_)
    unseen[draw.places] = False
    places = np.flatnonzero(unseen)
    return SimpleRandomResult(
        unseen_places=places,
        sample=plan.sample,
        errors=errors,
        refuted=refuted,
        wrong=bound.wrong,
        bound=bound.bound,
        estimate=errors / plan.sample,
        confidence=plan.promise.confidence,
        claim=certified_set_digest(frame.image_ids[places], frame.positive[places]),
    )


def describe_simple_random(plan: SimpleRandomPlan) -> dict[str, Any]:
    """The plan as plain values for the catalogue."""
    return {
        "format": _FORMAT,
        "frame_digest": plan.frame_digest,
        "frame_size": plan.frame_size,
        "promise": asdict(plan.promise),
        "sample": plan.sample,
    }


def restore_simple_random(design: dict[str, Any], frame: Frame) -> SimpleRandomPlan:
    """The plan that `describe_simple_random` gave. Raises DataError if it is for another frame."""
    if design.get("format") != _FORMAT or design.get("frame_digest") != frame.digest:
        raise DataError(
            "This audit was planned for another frame: images or labels changed.",
            "Plan a new audit with `curator audit`; the old one cannot say anything.",
        )
    try:
        promise = Promise(**design["promise"])
        return plan_simple_random(frame, promise, int(design["sample"]))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"The stored plan of this audit is damaged: {error}.",
            "Restore the workspace from a backup, or plan a new audit with `curator audit`.",
        ) from error
