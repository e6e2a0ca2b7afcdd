"""From a round's scores to what an audit needs: the frame, and how far scores can be believed.

Every image gets its likelier label and is ranked by how sure that is. Beside it stand
people's labels with what heads that never met them said. Real audits and rehearsed ones
call the same two functions, so that a simulation speaks about the real thing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.audits.forecast import LabelEvidence
from curator.audits.frame import Frame, balanced_confidence, freeze_frame

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def frame_of_scores(
    image_ids: Ints, probability: Floats, *, seed: int, balanced: bool = False
) -> Frame:
    """Freeze the frame of these images with their P(positive), both (images,).

    With `balanced` the two labels keep their proportion in every prefix, so that a rare
    class is not ranked behind all of the common one. Raises DataError for no image.
    """
    positive = probability > 0.5
    estimated_error = np.minimum(probability, 1.0 - probability)
    confidence = -estimated_error
    if balanced:
        confidence = balanced_confidence(confidence, positive)
    return freeze_frame(image_ids, positive, confidence, estimated_error, seed=seed)


def label_evidence(
    probability: Floats, positive: Flags, weight: Floats | None = None, *, slips: float = 0.0
) -> LabelEvidence:
    """People's labels beside P(positive) from heads that never met them; all (labels,).

    `weight` says how many images of the pool a label stands for; all the same if not given.
    `slips` is the share of the labels that seem wrong, whatever the image shows.
    """
    return LabelEvidence(
        estimated_error=np.minimum(probability, 1.0 - probability),
        wrong=(probability > 0.5) != positive,
        weight=np.ones(len(positive)) if weight is None else weight,
        slips=slips,
    )
