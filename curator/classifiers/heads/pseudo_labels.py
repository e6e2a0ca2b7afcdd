"""Which images a head teaches itself with.

Cross-fitting under self-training leaks unless it is built for it: a label that all heads
agreed on has been taught, through the others, by the very fold that one head must not
know. So there are K chains. Chain k takes its pseudo-labels from its own last head alone,
which saw no human label of fold k, and only on images outside fold k; nothing that chain
k ever learns depends on fold k. The rule uses the head's own claim, not a calibrated one,
because the calibration of head k rests on fold k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.statistics.calibration import sigmoid

CLASSES = (1, -1)
"""The codes of a positive and of a negative pseudo-label; 0 is none."""
EARNED = ((50.0, 0.01), (15.0, 0.03), (5.0, 0.1), (1.5, 0.3), (0.5, 1.0))
"""Weight of all pseudo-labels beside the human ones, and the error up to which it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoRule:
    """When a head trusts itself: bars on its own P(positive), and the most it takes per class."""

    above: float
    below: float
    limit: int


def claims(
    margins: NDArray[np.floating],
    folds: NDArray[np.int64],
    teachable: NDArray[np.bool_],
    rule: PseudoRule,
) -> NDArray[np.int8]:
    """What each head would teach itself: (rows, K) codes 1, -1 or 0.

    `margins` is (rows, K) from the last round's heads, `folds` (rows,), and `teachable`
    (rows,) is True where nobody has decided and the image may be trained on.
    """
    probability = sigmoid(margins)
    codes = (probability > rule.above).astype(np.int8) - (probability < rule.below).astype(np.int8)
    codes[folds[:, None] == np.arange(margins.shape[1])] = 0
    codes[~teachable] = 0
    return codes


class PseudoSampler:
    """Finds, chunk by chunk, at most `limit` images per head and class that it teaches itself.

    Memory is bounded by K * 2 * limit whatever the size of the pool. The sample is uniform
    among what a head claims, since the surest images alone would teach it nothing.
    """

    def __init__(self, heads: int, limit: int) -> None:
        self._heads, self._limit = heads, limit
        self._kept = {
            (head, code): (np.empty(0), np.empty(0, dtype=np.int64))
            for head in range(heads)
            for code in CLASSES
        }

    def offer(
        self, codes: NDArray[np.int8], ranks: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> None:
        """Take in one chunk: `codes` (rows, K) from `claims`; `ranks` and `rows` are (rows,)."""
        for (head, code), (kept_ranks, kept_rows) in self._kept.items():
            claimed = codes[:, head] == code
            merged_ranks = np.concatenate([kept_ranks, ranks[claimed]])
            merged_rows = np.concatenate([kept_rows, rows[claimed]])
            if len(merged_ranks) > self._limit:
                smallest = np.argpartition(merged_ranks, self._limit - 1)[: self._limit]
                merged_ranks, merged_rows = merged_ranks[smallest], merged_rows[smallest]
            self._kept[head, code] = (merged_ranks, merged_rows)

    def cuts(self) -> NDArray[np.float64]:
        """The largest rank that is taken, (2, K): row 0 for positives, row 1 for negatives."""
        return np.array(
            [
                [self._kept[head, code][0].max(initial=-1.0) for head in range(self._heads)]
                for code in CLASSES
            ]
        )

    def counts(self) -> NDArray[np.int64]:
        """How many images are taken, (2, K), in the order of `cuts`."""
        return np.array(
            [[len(self._kept[head, code][0]) for head in range(self._heads)] for code in CLASSES]
        )

    def sample(self, code: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rising feature rows (rows,) that any head takes as `code`, and which heads, (rows, K)."""
        rows = np.unique(np.concatenate([self._kept[h, code][1] for h in range(self._heads)]))
        member = np.zeros((len(rows), self._heads), dtype=np.bool_)
        for head in range(self._heads):
            member[np.searchsorted(rows, self._kept[head, code][1]), head] = True
        return rows, member


def taken(
    codes: NDArray[np.int8], ranks: NDArray[np.float64], cuts: NDArray[np.float64]
) -> NDArray[np.int8]:
    """`codes` (rows, K) with everything beyond the cuts set to 0."""
    positive = (codes == 1) & (ranks[:, None] <= cuts[0])
    negative = (codes == -1) & (ranks[:, None] <= cuts[1])
    chosen: NDArray[np.int8] = positive.astype(np.int8) - negative.astype(np.int8)
    return chosen


def human_weights(
    positive: NDArray[np.bool_],
    folds: NDArray[np.int64],
    heads: int,
    *,
    balanced: bool,
    trust: NDArray[np.floating] | float = 1.0,
) -> NDArray[np.float32]:
    """Training weights of human labels, (rows, K): 0 in a head's own fold.

    `trust` is what each label counts for in each head, (rows, K) or one for all.
    """
    seen = (folds[:, None] != np.arange(heads)).astype(np.float64)
    return class_weights(positive, seen * trust, balanced=balanced)


def class_weights(
    positive: NDArray[np.bool_], counting: NDArray[np.generic], *, balanced: bool
) -> NDArray[np.float32]:
    """Training weights of labels that count for so much in each head, (rows, K).

    Balanced, the two classes weigh the same in every head, and each head's weights add
    up to what its labels count for.
    """
    weights = counting.astype(np.float64)
    if balanced:
        total = weights.sum(axis=0)
        for side in (positive, ~positive):
            of_class = weights[side].sum(axis=0)
            weights[side] *= total / (2 * np.maximum(of_class, 1e-9))
    result: NDArray[np.float32] = weights.astype(np.float32)
    return result


def earned_share(wrong: int, labels: int) -> float:
    """What pseudo-labels may weigh in all, in multiples of the human labels.

    The fewer out-of-fold labels the last heads had `wrong`, the more their claims are worth:
    pure pseudo-labels sharpen a classifier, impure ones drown it. The steps are coarse, so
    that no single label moves a head that must not know it.
    """
    error = (wrong + 1) / (labels + 2)
    return next((share for share, most in EARNED if error <= most), 0.0)


def pseudo_weight_per_image(
    human_totals: NDArray[np.floating],
    counts: NDArray[np.int64],
    *,
    share: float | NDArray[np.float64],
    balanced: bool,
) -> NDArray[np.float32]:
    """The weight of one pseudo-label, (2, K), never more than that of one human label.

    All pseudo-labels of a head weigh at most `share` (one for all, or (K,)) times its human
    labels (`human_totals`, (K,)); balanced, each class gets half of that.
    """
    wanted = share * np.asarray(human_totals, dtype=np.float64)[None, :]
    if balanced:
        each = wanted / 2 / np.maximum(counts, 1)
    else:
        each = np.repeat(wanted / np.maximum(counts.sum(axis=0), 1), len(counts), axis=0)
    weights: NDArray[np.float32] = np.minimum(each, 1.0).astype(np.float32)
    return weights
