"""Which rows of the feature stores belong to which images.

A row is recorded only after its bytes are on disk, so what the catalogue names exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.catalogue.engine import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSetRecord:
    """A feature set: its fingerprint names the encoder, weights, preprocessing, backend."""

    feature_set_id: int
    fingerprint: str
    name: str
    dimension: int
    details: Mapping[str, Any]
    made_at: datetime


def feature_set(
    catalogue: Catalogue,
    *,
    fingerprint: str,
    name: str,
    dimension: int,
    details: Mapping[str, Any] | None = None,
) -> FeatureSetRecord:
    """The feature set with this fingerprint, made if there is none yet.

    Raises DataError if it exists with another dimension.
    """
    raise NotImplementedError


def find_feature_set(catalogue: Catalogue, fingerprint: str) -> FeatureSetRecord | None:
    """The feature set with this fingerprint."""
    raise NotImplementedError


def list_feature_sets(catalogue: Catalogue) -> list[FeatureSetRecord]:
    """All feature sets, oldest first."""
    raise NotImplementedError


def record_rows(
    catalogue: Catalogue,
    feature_set_id: int,
    image_ids: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> int:
    """Record that these array rows, already on disk, hold these images' features.

    Images that have a row keep it. Returns how many were recorded.
    """
    raise NotImplementedError


def forget_rows(catalogue: Catalogue, feature_set_id: int) -> int:
    """Forget all rows of a set, because its file is lost or is not to be trusted."""
    raise NotImplementedError


def row_count(catalogue: Catalogue, feature_set_id: int) -> int:
    """How many images have a row in this set."""
    raise NotImplementedError


def end_row(catalogue: Catalogue, feature_set_id: int) -> int:
    """One more than the largest recorded array row; 0 for an empty set."""
    raise NotImplementedError


def rows_of(
    catalogue: Catalogue, feature_set_id: int, image_ids: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.int64]:
    """The array row of each image, in the order given; -1 where there is none."""
    raise NotImplementedError


def images_without_features(
    catalogue: Catalogue, feature_set_id: int, *, size: int = 1_024
) -> Iterator[NDArray[np.int64]]:
    """Ids of usable images without a row, ascending, in chunks of exactly `size` but the last.

    Streams in short transactions; images that get rows or leave meanwhile are no matter.
    """
    raise NotImplementedError


def count_without_features(catalogue: Catalogue, feature_set_id: int | None) -> int:
    """How many usable images have no row in this set (None: a set that is not there yet)."""
    raise NotImplementedError
