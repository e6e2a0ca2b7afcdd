"""The queue `borderline`: mostly the least certain, some unlike the others, a few at random.

On a screen and as CSV it is the same queue, and each image is told with why it is there.
Without features for the scored images the diverse ones give their turns to the least
certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from curator.catalogue import queues
from curator.catalogue.features import rows_of
from curator.encoding.feature_set import current_features
from curator.review.mixing import MixReason, mix
from curator.review.selection import spread

if TYPE_CHECKING:
    from curator.review.queues import Request

MIXED_FROM = 1_200
"""Least certain images among which diverse ones are chosen."""


def borderline(request: Request) -> dict[int, str]:
    """The first images of the mixture with why each is in it (nothing for the least certain).

    Raises DataError if there are no scores yet.
    """
    catalogue, size = request.workspace.catalogue, request.size
    near = queues.borderline(catalogue, size=max(size, MIXED_FROM), leave_out=request.leave_out)
    random = queues.random_unlabelled(
        catalogue, size=max(1, size // 5), seed=request.seed, leave_out=request.leave_out
    )
    mixed = mix(near, _diverse(request, near[:MIXED_FROM]), random, size)
    return {one.image_id: one.why if one.why is not MixReason.UNCERTAIN else "" for one in mixed}


def _diverse(request: Request, near: list[int]) -> list[int]:
    features = current_features(request.workspace)
    if features is None:
        return []
    ids = np.array(sorted(near), dtype=np.int64)
    rows = rows_of(request.workspace.catalogue, features.feature_set_id, ids)
    there = (rows >= 0) & (rows < features.rows)
    ids, rows = ids[there], rows[there]
    if not len(ids):
        return []
    known = features.gather(rows)
    none = np.empty((0, features.dimension), dtype=known.dtype)
    wanted = min(len(ids), max(1, request.size // 4))
    return [int(one) for one in spread(ids, known, none, wanted, request.seed).ids]
