"""Pseudo-labels: which images each head trains on without a human label, and their weight.

Cross-fitting under self-training leaks unless it is built for it. If all heads voted for a
pseudo-label, the human labels of fold k would reach head k through the other heads. So there are
K chains: chain k takes its pseudo-labels from its own last head alone, which saw no human label
of fold k, and only on images outside fold k. Nothing that chain k ever learns depends on fold k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, CodeArray, FloatArray, IntArray
from curator.settings.sections import PromotionSettings
from curator.statistics.calibration import sigmoid

CLASSES = (1, -1)
"""The codes of a positive and of a negative pseudo-label; 0 is none."""
EARNED = ((50.0, 0.01), (15.0, 0.03), (5.0, 0.1), (1.5, 0.3), (0.5, 1.0))
"""Weight of all pseudo-labels beside the human ones, and the error up to which it is given."""


def pseudo_labels(
    margins: NDArray[np.floating],
    folds: IntArray,
    teachable: BoolArray,
    thresholds: PromotionSettings,
) -> CodeArray:
    """The pseudo-label of each image for each head: (rows, K) codes 1, -1 or 0.

    `margins` is (rows, K) from the last round's heads, `folds` (rows,), and `teachable`
    (rows,) is True where nobody has decided and the image may be trained on.
    """
    # Raw probabilities, not calibrated ones: the calibration of head k rests on fold k.
    probability = sigmoid(margins)
    codes = (probability > thresholds.promote_above).astype(np.int8)
    codes -= (probability < thresholds.promote_below).astype(np.int8)
    # Head k judges fold k, so it must not train on it.
    codes[folds[:, None] == np.arange(margins.shape[1])] = 0
    codes[~teachable] = 0
    return codes


class PseudoSampler:
    """Samples, chunk by chunk, at most `limit` pseudo-labels per head and class.

    Memory is bounded by K * 2 * limit whatever the size of the pool. The sample is uniform among
    all pseudo-labels, since the most certain images alone would teach a head nothing.
    """

    def __init__(self, heads: int, limit: int) -> None:
        self._heads, self._limit = heads, limit
        self._sampled = {
            (head, code): (np.empty(0), np.empty(0, dtype=np.int64))
            for head in range(heads)
            for code in CLASSES
        }

    def offer(self, codes: CodeArray, ranks: FloatArray, rows: IntArray) -> None:
        """Add one chunk: `codes` (rows, K) of pseudo-labels; `ranks` and `rows` are (rows,)."""
        for (head, code), (ranks_so_far, rows_so_far) in self._sampled.items():
            labelled = codes[:, head] == code
            merged_ranks = np.concatenate([ranks_so_far, ranks[labelled]])
            merged_rows = np.concatenate([rows_so_far, rows[labelled]])
            if len(merged_ranks) > self._limit:
                smallest = np.argpartition(merged_ranks, self._limit - 1)[: self._limit]
                merged_ranks, merged_rows = merged_ranks[smallest], merged_rows[smallest]
            self._sampled[head, code] = (merged_ranks, merged_rows)

    def cuts(self) -> FloatArray:
        """The largest rank in the sample, (2, K): row 0 for positives, row 1 for negatives."""
        return np.array(
            [
                [self._sampled[head, code][0].max(initial=-1.0) for head in range(self._heads)]
                for code in CLASSES
            ]
        )

    def counts(self) -> IntArray:
        """Pseudo-labels in the sample, (2, K), in the order of `cuts`."""
        return np.array(
            [[len(self._sampled[head, code][0]) for head in range(self._heads)] for code in CLASSES]
        )

    def sample(self, code: int) -> tuple[IntArray, BoolArray]:
        """Rising feature rows (rows,) with `code` for any head, and which heads, (rows, K)."""
        rows = np.unique(np.concatenate([self._sampled[h, code][1] for h in range(self._heads)]))
        member = np.zeros((len(rows), self._heads), dtype=np.bool_)
        for head in range(self._heads):
            member[np.searchsorted(rows, self._sampled[head, code][1]), head] = True
        return rows, member


def within_cuts(codes: CodeArray, ranks: FloatArray, cuts: FloatArray) -> CodeArray:
    """`codes` (rows, K) with everything that was not sampled set to 0."""
    positive = (codes == 1) & (ranks[:, None] <= cuts[0])
    negative = (codes == -1) & (ranks[:, None] <= cuts[1])
    sampled: CodeArray = positive.astype(np.int8) - negative.astype(np.int8)
    return sampled


def human_weights(
    positive: BoolArray,
    folds: IntArray,
    heads: int,
    *,
    balanced: bool,
    trust: NDArray[np.floating] | float = 1.0,
) -> NDArray[np.float32]:
    """Training weights of human labels, (rows, K): 0 in a head's own fold.

    `trust` is the weight of each label in each head, (rows, K) or one for all.
    """
    teaching = (folds[:, None] != np.arange(heads)).astype(np.float64)
    return class_weights(positive, teaching * trust, balanced=balanced)


def class_weights(
    positive: BoolArray, counting: NDArray[np.generic], *, balanced: bool
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

    The fewer out-of-fold labels the last heads had `wrong`, the more their pseudo-labels weigh.
    """
    # Coarse steps (`EARNED`), so that hardly any single label changes the share.
    error = (wrong + 1) / (labels + 2)
    return next((share for share, most in EARNED if error <= most), 0.0)


def pseudo_weight_per_image(
    human_totals: NDArray[np.floating],
    counts: IntArray,
    *,
    share: float | FloatArray,
    balanced: bool,
) -> NDArray[np.float32]:
    """The weight of one pseudo-label, (2, K), never more than that of one human label.

    All pseudo-labels of a head weigh at most `share` (one for all, or (K,)) times its human
    labels (`human_totals`, (K,)); balanced, each class gets half of that.
    """
    total = share * np.asarray(human_totals, dtype=np.float64)[None, :]
    if balanced:
        each = total / 2 / np.maximum(counts, 1)
    else:
        each = np.repeat(total / np.maximum(counts.sum(axis=0), 1), len(counts), axis=0)
    weights: NDArray[np.float32] = np.minimum(each, 1.0).astype(np.float32)
    return weights
