"""Which rows of the feature stores belong to which images.

A row is recorded only after its bytes are on disk, so what the catalogue names exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.vocabulary import LocationState
from curator.catalogue.bulk import CHUNK, Fetched, Query, chunked, column, plain_text, within
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import FeatureRow, FeatureSetRow, ImageState, Location
from curator.catalogue.pool import IS_USABLE
from curator.catalogue.sqlite import insert_or_ignore
from curator.errors import DataError


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
    with catalogue.write() as connection:
        row = {"fingerprint": fingerprint, "name": plain_text(name), "dimension": dimension}
        connection.execute(
            insert_or_ignore(FeatureSetRow).values(
                **row, details=dict(details or {}), made_at=now()
            )
        )
        made = _find(connection, fingerprint)
    assert made is not None
    if made.dimension != dimension:
        raise DataError(
            f"The features `{made.name}` have {made.dimension} columns, not {dimension}.",
            "Give the new features another name.",
        )
    return made


def _select() -> Query:
    return sa.select(
        FeatureSetRow.c.id,
        FeatureSetRow.c.fingerprint,
        FeatureSetRow.c.name,
        FeatureSetRow.c.dimension,
        FeatureSetRow.c.details,
        FeatureSetRow.c.made_at,
    )


def _record(row: Fetched) -> FeatureSetRecord:
    set_id, fingerprint, name, dimension, details, made_at = row
    return FeatureSetRecord(
        feature_set_id=set_id,
        fingerprint=fingerprint,
        name=name,
        dimension=dimension,
        details=details,
        made_at=made_at,
    )


def _find(connection: Connection, fingerprint: str) -> FeatureSetRecord | None:
    row = connection.execute(_select().where(FeatureSetRow.c.fingerprint == fingerprint)).first()
    return None if row is None else _record(row)


def find_feature_set(catalogue: Catalogue, fingerprint: str) -> FeatureSetRecord | None:
    """The feature set with this fingerprint."""
    with catalogue.read() as connection:
        return _find(connection, fingerprint)


def list_feature_sets(catalogue: Catalogue) -> list[FeatureSetRecord]:
    """All feature sets, oldest first."""
    with catalogue.read() as connection:
        return [_record(row) for row in connection.execute(_select().order_by(FeatureSetRow.c.id))]


def record_rows(
    catalogue: Catalogue,
    feature_set_id: int,
    image_ids: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> int:
    """Record that these array rows, already on disk, hold these images' features.

    Images that have a row keep it. Returns how many were recorded.
    """
    recorded = 0
    pairs = zip(image_ids.tolist(), rows.tolist(), strict=True)
    with catalogue.write() as connection:
        for some in chunked(pairs, CHUNK):
            values = [
                {"feature_set_id": feature_set_id, "image_id": image_id, "array_row": row}
                for image_id, row in some
            ]
            recorded += connection.execute(insert_or_ignore(FeatureRow), values).rowcount
    return recorded


def forget_rows(catalogue: Catalogue, feature_set_id: int) -> int:
    """Forget all rows of a set, because its file is lost or is not to be trusted."""
    with catalogue.write() as connection:
        of_set = FeatureRow.c.feature_set_id == feature_set_id
        return connection.execute(sa.delete(FeatureRow).where(of_set)).rowcount


def row_count(catalogue: Catalogue, feature_set_id: int) -> int:
    """How many images have a row in this set."""
    with catalogue.read() as connection:
        query = sa.select(sa.func.count()).where(FeatureRow.c.feature_set_id == feature_set_id)
        return connection.execute(query).scalar_one()


def end_row(catalogue: Catalogue, feature_set_id: int) -> int:
    """One more than the largest recorded array row; 0 for an empty set."""
    last = sa.func.max(FeatureRow.c.array_row)
    with catalogue.read() as connection:
        query = sa.select(last).where(FeatureRow.c.feature_set_id == feature_set_id)
        largest = connection.execute(query).scalar_one()
    return 0 if largest is None else int(largest) + 1


def rows_of(
    catalogue: Catalogue, feature_set_id: int, image_ids: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.int64]:
    """The array row of each image, in the order given; -1 where there is none."""
    wanted = np.asarray(image_ids, dtype=np.int64)
    rows = np.full(len(wanted), -1, dtype=np.int64)
    query = sa.select(FeatureRow.c.image_id, FeatureRow.c.array_row).where(
        FeatureRow.c.feature_set_id == feature_set_id
    )
    with catalogue.read() as connection:
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            found = dict(
                connection.execute(query.where(within(FeatureRow.c.image_id, some.tolist()))).all()
            )
            rows[start : start + CHUNK] = [found.get(image_id, -1) for image_id in some.tolist()]
    return rows


def images_without_features(
    catalogue: Catalogue, feature_set_id: int, *, size: int = 1_024
) -> Iterator[NDArray[np.int64]]:
    """Ids of usable images without a row, ascending, in chunks of exactly `size` but the last.

    Only images with a present file. Streams in short transactions; images that get rows
    or leave meanwhile are no matter.
    """
    query = (
        sa.select(ImageState.c.image_id)
        .where(IS_USABLE, _has_no_row(feature_set_id), _is_present())
        .order_by(ImageState.c.image_id)
        .limit(size)
    )
    last = 0
    while True:
        with catalogue.read() as connection:
            found = connection.execute(query.where(ImageState.c.image_id > last)).scalars().all()
        if found:
            yield column(found, np.int64)
            last = found[-1]
        if len(found) < size:
            return


def _has_no_row(feature_set_id: int) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(
        FeatureRow.c.feature_set_id == feature_set_id,
        FeatureRow.c.image_id == ImageState.c.image_id,
    )


def _is_present() -> sa.ColumnElement[bool]:
    return sa.exists().where(
        Location.c.image_id == ImageState.c.image_id, Location.c.state == LocationState.PRESENT
    )


def count_without_features(catalogue: Catalogue, feature_set_id: int | None) -> int:
    """How many images `images_without_features` would give (None: a set not made yet)."""
    query = sa.select(sa.func.count()).select_from(ImageState)
    query = query.where(ImageState.c.usable == 1, _is_present())
    if feature_set_id is not None:
        query = query.where(_has_no_row(feature_set_id))
    with catalogue.read() as connection:
        if feature_set_id is not None and _all_have_rows(connection, feature_set_id):
            return 0
        return connection.execute(query).scalar_one()


def _all_have_rows(connection: Connection, feature_set_id: int) -> bool:
    """Whether every usable image has a row, from counts that indexes give at once."""
    of_set = FeatureRow.c.feature_set_id == feature_set_id
    usable = sa.select(sa.func.count()).select_from(ImageState).where(ImageState.c.usable == 1)
    rows = sa.select(sa.func.count()).select_from(FeatureRow).where(of_set)
    spare = (
        sa.select(sa.func.count())
        .select_from(ImageState)
        .join(FeatureRow, sa.and_(of_set, FeatureRow.c.image_id == ImageState.c.image_id))
        .where(ImageState.c.usable == 0)
    )
    counted = sa.select(*(each.scalar_subquery() for each in (usable, rows, spare)))
    wanted, there, unused = connection.execute(counted).one()
    return bool(wanted == there - unused)
