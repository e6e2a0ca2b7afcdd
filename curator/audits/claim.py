"""What a verdict still says when images have left the frame before the audit was closed.

Between draw and verdict a person may label further images of the frame, and files may
vanish. On the event that the tests hold, every rung that passed holds no more wrong labels
than it was allowed, all at once; what follows from that for the images that are left is
plain counting. The largest rung is taken of which the rest still keeps the promise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.audits.frame import Frame, certified_set_digest
from curator.audits.ladder import AuditPlan
from curator.audits.test import AuditResult, StepResult

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CertifiedSet:
    """What a certificate may say: at most `bound` of the labels at `places` are wrong.

    `wrong` is that as a number of labels, `left` how many unseen images of the set are no
    part of it any more. `sample`, `errors` and `estimate` are those of the set.
    """

    size: int
    places: Ints
    left: int
    wrong: int
    bound: float
    sample: int
    errors: int
    estimate: float
    digest: str


def certified_sets(
    frame: Frame,
    plan: AuditPlan,
    audited: Ints,
    verdict: AuditResult,
    *,
    left: Flags,
    found_wrong: Flags,
    overlooked: float = 0.0,
) -> tuple[CertifiedSet | None, CertifiedSet | None]:
    """The widest claim that keeps the promise, and the widest that passed whatever it keeps.

    `audited` are the places that were drawn. `left` and `found_wrong`, both (images,), mark
    images that cannot be promoted any more, and those of them that a person has called the
    other class. `plan` was made for the promise times (1 - `overlooked`): that share of the
    wrong labels the annotator may have overlooked.
    """
    seen = np.zeros(len(frame), dtype=np.bool_)
    seen[audited] = True
    promised = plan.promise.max_error / (1.0 - overlooked)
    widest: CertifiedSet | None = None
    for step in reversed([step for step in verdict.steps if step.passed]):
        gone = left[: step.rung.size] & ~seen[: step.rung.size]
        places = np.flatnonzero(~seen[: step.rung.size] & ~gone)
        if not len(places):
            continue
        counted = 0 if overlooked else int((gone & found_wrong[: step.rung.size]).sum())
        claim = _claim(frame, step, places, int(gone.sum()), counted, overlooked)
        widest = widest or claim
        if claim.bound <= promised + _ROUNDING:
            return claim, widest
    return None, widest


def _claim(
    frame: Frame, step: StepResult, places: Ints, left: int, found_wrong: int, overlooked: float
) -> CertifiedSet:
    # At most `allowed` labels are wrong that the annotator would call wrong, so all in all
    # at most this many; those that were found have left the set. What was unsure, skipped or
    # not to be shown may have been right, so it does not count as found.
    at_most = int(step.rung.allowed / (1.0 - overlooked) + _ROUNDING)
    wrong = max(at_most - step.refuted - found_wrong, 0)
    return CertifiedSet(
        size=step.rung.size,
        places=places,
        left=left,
        wrong=wrong,
        bound=wrong / len(places),
        sample=step.rung.drawn,
        errors=step.errors,
        estimate=step.errors / step.rung.drawn,
        digest=certified_set_digest(frame.image_ids[places], frame.positive[places]),
    )
