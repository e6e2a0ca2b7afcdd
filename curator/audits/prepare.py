"""From scores to a frame, and from people's labels to what errors it may hold.

Pure functions on arrays that the audit of a workspace and the simulation share, so that what
is simulated is what is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.audits.forecast import LabelEvidence, forecast_errors
from curator.audits.frame import Frame, of_class
from curator.audits.outlook import Outlook, look_ahead
from curator.audits.promise import Promise, next_promise
from curator.audits.scored import frame_of_scores
from curator.base.vocabulary import AuditScope
from curator.errors import DataError

_LEAST_RISK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The risk that an earlier audit took, and what it was about."""

    scope: AuditScope
    risk: float


def rank_pool(
    image_ids: NDArray[np.int64],
    probability: NDArray[np.float64],
    *,
    balanced: bool,
    seed: int,
    scope: AuditScope = AuditScope.ALL,
) -> Frame:
    """The frame of images without a human label, by their P(positive); both arrays (images,).

    Each image has the class that it leans to, and the surest come first: over both
    classes together, or with `balanced` in the proportion of the classes. A `scope` of one
    class leaves the other out. Raises DataError if nothing is left.
    """
    frame = frame_of_scores(image_ids, probability, balanced=balanced, seed=seed)
    return frame if scope is AuditScope.ALL else of_class(frame, positive=_is_positive(scope))


def plan_audit(
    frame: Frame,
    judged: LabelEvidence | None,
    promise: Promise,
    *,
    sample: int | None,
    slips: float,
    seed: int,
) -> Outlook:
    """Plan the audit of a frame, and say what can be expected of it, before any of its labels.

    `sample` None takes as many as are worth it. Raises as `look_ahead` does.
    """
    forecast = forecast_errors(frame, judged, slips=slips)
    return look_ahead(frame, forecast, promise, sample=sample, seed=seed)


def promise_for(
    max_error: float,
    confidence: float,
    earlier: Sequence[Spending],
    *,
    scope: AuditScope = AuditScope.ALL,
    reserve: float = 0.0,
) -> Promise:
    """The promise of the next audit about `scope`, after earlier ones have spent risk.

    Each class has half of what audits of both classes left as a budget of its own. What
    all audits spend together never exceeds 1 - `confidence`. Raises as `next_promise` does.
    """
    spent = [one.risk for one in earlier]
    if scope is AuditScope.ALL:
        return next_promise(max_error, confidence, spent, reserve=reserve)
    pooled = sum(one.risk for one in earlier if one.scope is AuditScope.ALL)
    own = sum(one.risk for one in earlier if one.scope is scope)
    whole = 1.0 - confidence
    left = min((whole - pooled) / 2 - own, whole - sum(spent))
    if left < _LEAST_RISK:
        # Says why there is nothing left, or that only the other class has something.
        next_promise(max_error, confidence, spent)
        raise DataError(
            "Earlier audits of this class have spent its half of the risk that a confidence"
            f" of {confidence:.4g} allows.",
            "Lower promotion.confidence, or audit both classes together without --class.",
        )
    return Promise(max_error=max_error, risk=left * (1.0 - reserve), spent=float(sum(spent)))


def _is_positive(scope: AuditScope) -> bool:
    return scope is AuditScope.POSITIVE
