"""The pool as arrays, in order of image ids: what rounds are computed from.

Words are coded by their place in their vocabulary (`core.words.code_of`), -1 for none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.catalogue.engine import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolChunk:
    """A run of usable images, all arrays of one length n.

    `image_ids`, `feature_rows` (-1 where there is none), `unit_keys`: int64. `standing`,
    `origin`, `split`: int8 codes. `blocked`: bool. `probability`: float64, P(positive) at
    promotion for promoted images, else NaN. `rounds`: int64, the round that promoted, -1.
    """

    image_ids: NDArray[np.int64]
    feature_rows: NDArray[np.int64]
    standing: NDArray[np.int8]
    origin: NDArray[np.int8]
    unit_keys: NDArray[np.int64]
    split: NDArray[np.int8]
    blocked: NDArray[np.bool_]
    probability: NDArray[np.float64]
    rounds: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanLabels:
    """All usable images with a standing human label (unsure and conflict included).

    Arrays of one length, ordered by image id: `image_ids`, `feature_rows` (-1 where there
    is none), `unit_keys`, `source_ids` (of the first location, -1 without one): int64;
    `standing`, `origin`, `method`, `split`: int8 codes.
    """

    image_ids: NDArray[np.int64]
    feature_rows: NDArray[np.int64]
    unit_keys: NDArray[np.int64]
    source_ids: NDArray[np.int64]
    standing: NDArray[np.int8]
    origin: NDArray[np.int8]
    method: NDArray[np.int8]
    split: NDArray[np.int8]


def pool_chunks(
    catalogue: Catalogue,
    feature_set_id: int | None,
    *,
    size: int = 65_536,
    with_features_only: bool = True,
) -> Iterator[PoolChunk]:
    """All usable images in order of ids, at most `size` a chunk, in short transactions.

    Without a feature set (None) or with `with_features_only=False`, images without a
    feature row are there too.
    """
    raise NotImplementedError


def pool_size(catalogue: Catalogue) -> int:
    """How many usable images there are."""
    raise NotImplementedError


def human_labels(catalogue: Catalogue, feature_set_id: int | None) -> HumanLabels:
    """Every standing human label of a usable image, in one consistent view."""
    raise NotImplementedError


def labels_of(catalogue: Catalogue, image_ids: NDArray[np.int64]) -> NDArray[np.int8]:
    """The standing code of each image in the order given; -1 for none or unknown."""
    raise NotImplementedError
