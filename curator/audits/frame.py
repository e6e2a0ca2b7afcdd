"""The frozen frame: which images, which labels, in which order, under one digest.

After the freeze nothing may move. The digest covers every image, its label and its place;
plan, draw and verdict carry it and refuse to work with another frame, so that neither new
training nor a new ranking can slip in between an audit and its certificate.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.errors import DataError
from curator.statistics.folds import sampling_rank

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

_FORMAT = b"curator-frame-1\n"
_CLAIM_FORMAT = b"curator-claim-1\n"
_SMALLEST_ERROR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """Images from the surest label to the least sure; all arrays are (images,).

    `positive` is the label given, `estimated_error` the probability that it is wrong as far
    as the classifier can tell. Only plans use the estimates: no promise rests on them.
    `other_share`, of a frame of one class, is the share of the other class in the whole one.
    """

    image_ids: Ints
    positive: Flags
    estimated_error: Floats
    digest: str
    other_share: float | None = None

    def __len__(self) -> int:
        return len(self.image_ids)


def freeze_frame(
    image_ids: Ints,
    positive: Flags,
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
    kept = frame.positive == positive
    if not kept.any():
        raise DataError(
            f"There is nothing to audit: no image is labelled {_class_name(positive)}.",
            "Label more examples of this class and run `curator round` again.",
        )
    ids, labels = frame.image_ids[kept], frame.positive[kept]
    return Frame(
        image_ids=ids,
        positive=labels,
        estimated_error=frame.estimated_error[kept],
        digest=frame_digest(ids, labels),
        other_share=float((~kept).mean()),
    )


def check_same_frame(frame: Frame, digest: str) -> None:
    """Raises DataError unless the digest is that of the frame."""
    if digest != frame.digest:
        raise DataError(
            "Images, labels or their order changed since this audit was planned, so its answers"
            " say nothing about the labels of now.",
            "Plan a new audit with `curator audit`; the answers stay as labels.",
        )


def balanced_confidence(confidence: NDArray[np.floating], positive: Flags) -> NDArray[np.float64]:
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


def frame_digest(image_ids: Ints, positive: Flags) -> str:
    """SHA-256 over images and labels in the order of the frame."""
    return _digest(_FORMAT, image_ids, positive)


def certified_set_digest(image_ids: Ints, positive: Flags) -> str:
    """SHA-256 over images and labels whatever their order: what a certificate is about.

    Taken of the images that a certificate left promoted. While the same images still carry
    the same labels, the digest is the same and the certificate stands; otherwise it is stale.
    """
    order = np.argsort(image_ids, kind="stable")
    return _digest(_CLAIM_FORMAT, image_ids[order], positive[order])


def _digest(kind: bytes, image_ids: Ints, positive: Flags) -> str:
    rows = np.empty(len(image_ids), dtype=[("image", "<i8"), ("positive", "u1")])
    rows["image"], rows["positive"] = image_ids, positive
    return hashlib.sha256(kind + rows.tobytes()).hexdigest()


def _class_name(positive: bool) -> str:
    return "positive" if positive else "negative"
