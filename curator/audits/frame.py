"""The frame of an audit: images, labels and ranking, frozen under one digest.

Plan, draw and test carry the digest and refuse another frame, so neither new training nor a
new ranking can come between an audit and its certificate.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.vocabulary import AuditScope
from curator.catalogue.frames import FrameRows
from curator.errors import DataError
from curator.statistics.folds import sampling_rank

_FRAME_FORMAT = b"curator-frame-1\n"
_CERTIFIED_SET_FORMAT = b"curator-claim-1\n"
_SMALLEST_ERROR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """Images from the surest label to the least sure; all arrays are (images,).

    `positive` is the label that the image would get, `estimated_error` the classifier's
    probability that it is wrong. Only plans use the estimates: no promise rests on them.
    `other_share`, in a frame of one class, is the share of the other class in the pool.
    """

    image_ids: IntArray
    positive: BoolArray
    estimated_error: FloatArray
    digest: str
    other_share: float | None = None

    def __len__(self) -> int:
        return len(self.image_ids)


def rank_pool(
    image_ids: IntArray,
    probability: FloatArray,
    *,
    balanced: bool,
    seed: int,
    scope: AuditScope = AuditScope.ALL,
) -> Frame:
    """The frame of images without a human label; both arrays are (images,).

    Each image has the class that its P(positive) favours, and the surest come first: over both
    classes together, or with `balanced` in the proportion of the classes. A `scope` of one
    class leaves the other out. Raises DataError if nothing is left.
    """
    positive = probability > 0.5
    estimated_error = np.minimum(probability, 1.0 - probability)
    confidence = -estimated_error
    if balanced:
        confidence = balanced_confidence(confidence, positive)
    frame = freeze_frame(image_ids, positive, confidence, estimated_error, seed=seed)
    if scope is AuditScope.ALL:
        return frame
    return of_class(frame, positive=scope is AuditScope.POSITIVE)


def freeze_frame(
    image_ids: IntArray,
    positive: BoolArray,
    confidence: NDArray[np.floating],
    estimated_error: NDArray[np.floating],
    *,
    seed: int,
) -> Frame:
    """Rank images by falling `confidence` and freeze them; all arrays are (images,).

    Equal confidences are ordered by a hash of image id and seed, so the order repeats.
    Raises DataError for an empty frame, and ValueError for repeated ids or values that are
    not numbers.
    """
    if len(image_ids) == 0:
        raise DataError(
            "There is nothing to audit: no image has been given a label by a round.",
            "Run `curator round` first.",
        )
    ids = np.asarray(image_ids, dtype=np.int64)
    if len(np.unique(ids)) != len(ids):
        raise ValueError("an image is in the frame twice")
    if not (np.isfinite(confidence).all() and np.isfinite(estimated_error).all()):
        raise ValueError("a confidence or an estimated error is not a number")
    order = np.lexsort((ids, sampling_rank(ids, seed), -np.asarray(confidence, dtype=np.float64)))
    clipped = np.clip(np.asarray(estimated_error, dtype=np.float64), _SMALLEST_ERROR, 0.5)
    labels = np.asarray(positive, dtype=np.bool_)[order]
    return Frame(
        image_ids=ids[order],
        positive=labels,
        estimated_error=clipped[order],
        digest=frame_digest(ids[order], labels),
    )


def of_class(frame: Frame, *, positive: bool) -> Frame:
    """The frame of one class alone, in the same order, for a promise about that class.

    Raises DataError if no image carries the label.
    """
    of_label = frame.positive == positive
    if not of_label.any():
        raise DataError(
            "There is nothing to audit: no image is labelled"
            f" {'positive' if positive else 'negative'}.",
            "Label more examples of this class and run `curator round` again.",
        )
    ids, labels = frame.image_ids[of_label], frame.positive[of_label]
    return Frame(
        image_ids=ids,
        positive=labels,
        estimated_error=frame.estimated_error[of_label],
        digest=frame_digest(ids, labels),
        other_share=float((~of_label).mean()),
    )


def check_same_frame(frame: Frame, digest: str) -> None:
    """Raises DataError unless the digest is that of the frame."""
    if digest != frame.digest:
        raise DataError(
            "Images, labels or their order changed since this audit was planned, so its answers"
            " say nothing about the labels of now.",
            "Plan a new audit with `curator audit`; the answers stay as labels.",
        )


def balanced_confidence(confidence: NDArray[np.floating], positive: BoolArray) -> FloatArray:
    """Confidence within the own class, (images,): the share of the class that is less sure.

    Ranked so, every prefix of a frame has the classes in the same proportion. With a rare
    class a plain ranking puts the common one first, and promises about that say little.
    """
    balanced = np.empty(len(confidence))
    for side in (positive, ~positive):
        order = np.argsort(confidence[side], kind="stable")
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order)) + 0.5
        balanced[side] = rank / max(len(order), 1)
    return balanced


def frame_digest(image_ids: IntArray, positive: BoolArray) -> str:
    """SHA-256 over images and labels in the order of the frame."""
    return _digest(_FRAME_FORMAT, image_ids, positive)


def certified_set_digest(image_ids: IntArray, positive: BoolArray) -> str:
    """SHA-256 over images and labels whatever their order: what a certificate is about.

    While the same images carry the same promoted labels, the digest is the same and the
    certificate holds; otherwise it is stale.
    """
    order = np.argsort(image_ids, kind="stable")
    return _digest(_CERTIFIED_SET_FORMAT, image_ids[order], positive[order])


def _digest(kind: bytes, image_ids: IntArray, positive: BoolArray) -> str:
    rows = np.empty(len(image_ids), dtype=[("image", "<i8"), ("positive", "u1")])
    rows["image"], rows["positive"] = image_ids, positive
    return hashlib.sha256(kind + rows.tobytes()).hexdigest()


def frame_of(rows: FrameRows) -> Frame:
    """A stored frame. Raises DataError if images, labels or order are not those frozen."""
    if frame_digest(rows.image_ids, rows.positive) != rows.digest:
        raise DataError(
            "The frame of this audit is damaged: its images, labels or order are not those that"
            " were frozen.",
            "`curator verify` says more; restore the workspace from a backup.",
        )
    return Frame(
        image_ids=rows.image_ids,
        positive=rows.positive,
        estimated_error=np.minimum(rows.probability, 1.0 - rows.probability),
        digest=rows.digest,
    )
