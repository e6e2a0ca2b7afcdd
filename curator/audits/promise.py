"""What is promised, and how much risk an audit may take for it when it is not the first.

Whoever audits until something passes has many chances to be lucky. So risk is money: a
promise at 95% holds 5% of it, every audit that is opened spends some, whatever comes of it,
and what is spent does not come back. The chance that any certificate of a workspace is false
is at most what its audits spent in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curator.errors import DataError

_SMALLEST_RISK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """At most `max_error` of the labels are wrong; false with a chance of at most `risk`.

    `spent` is the risk that earlier audits took. Raises DataError for a `max_error` outside
    (0, 0.5], and ValueError for risks that leave no confidence above one half.
    """

    max_error: float
    risk: float
    spent: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.max_error <= 0.5:
            raise DataError(
                f"A promise of at most {self.max_error:g} wrong labels cannot be tested.",
                "Set promotion.max_error above 0 and at most 0.5, for instance 0.01: no sample"
                " short of looking at every image proves that there is no error at all.",
            )
        if not (self.risk > 0.0 and self.spent >= 0.0 and self.risk + self.spent < 0.5):
            raise ValueError(f"a risk of {self.risk} after {self.spent}")

    @property
    def confidence(self) -> float:
        """What a certificate may state: all audits so far count."""
        return 1.0 - self.spent - self.risk


def next_promise(
    max_error: float,
    confidence: float,
    spent: Sequence[float] = (),
    *,
    reserve: float = 0.0,
    classes: int = 1,
) -> Promise:
    """The promise of the next audit at the wished confidence, after audits that spent risk.

    It takes what is left, less the share `reserve` that is kept for later ones. With no
    reserve the first audit takes all; with a reserve q the attempts take (1 - q), (1 - q) q,
    (1 - q) q^2, ... of it. Of `classes` audits that are opened together, one for each
    class, each takes an equal part.
    Raises DataError if nothing is left, and ValueError unless 0.5 < confidence < 1 and
    0 <= reserve < 1.
    """
    if not 0.5 < confidence < 1.0 or not 0.0 <= reserve < 1.0:
        raise ValueError(f"a confidence of {confidence} with a reserve of {reserve}")
    left = (1.0 - confidence) - sum(spent)
    if left < _SMALLEST_RISK:
        raise DataError(
            f"Earlier audits ({len(spent)} so far) have spent the whole risk that a confidence"
            f" of {confidence:.4g} allows.",
            "A further audit can promise less: set promotion.confidence to"
            f" {payable_confidence(spent):.4g} or lower.",
        )
    return Promise(
        max_error=max_error, risk=left * (1.0 - reserve) / classes, spent=float(sum(spent))
    )


def payable_confidence(spent: Sequence[float], risk: float = 0.05) -> float:
    """The highest confidence at which another audit at `risk` can be paid for."""
    return max(0.0, 1.0 - sum(spent) - risk)
