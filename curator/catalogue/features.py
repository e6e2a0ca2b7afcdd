"""Which rows of the feature stores belong to which images, and the digests of their bytes.

A row is recorded only after its bytes are on disk, so what the catalogue names exists; the
digest says whether it is still what was written.
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

from curator.base.arrays import IntArray
from curator.base.vocabulary import LocationState
from curator.catalogue.bulk import CHUNK, chunked, column, columns, plain_text, records
from curator.catalogue.constructs import insert_or_ignore, within
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    FeatureBlock,
    FeatureProjection,
    FeatureRow,
    FeatureSetRow,
    Image,
    ImageState,
    Location,
)
from curator.catalogue.pool import IS_USABLE
from curator.errors import DataError

_BLOCK_ROWS = 1_024
"""Rows whose digests stand in one record; never to be changed."""


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
    projection: bytes | None = None,
) -> FeatureSetRecord:
    """The feature set with this fingerprint, made with its projection if there is none yet.

    Raises DataError if it exists with another dimension.
    """
    row = {"fingerprint": fingerprint, "name": plain_text(name), "dimension": dimension}
    with catalogue.write() as connection:
        insert = insert_or_ignore(FeatureSetRow)
        connection.execute(insert.values(**row, details=dict(details or {}), made_at=now()))
        (record,) = _feature_sets(connection, FeatureSetRow.c.fingerprint == fingerprint)
        if projection is not None:
            values = {"feature_set_id": record.feature_set_id, "content": projection}
            insert = insert_or_ignore(FeatureProjection)
            connection.execute(insert.values(**values, images_added=0, captured_added=0.0))
    if record.dimension != dimension:
        raise DataError(
            f"The features `{record.name}` have {record.dimension} columns, not {dimension}.",
            "Give the new features another name.",
        )
    return record


def _feature_sets(
    connection: Connection, *conditions: sa.ColumnElement[bool]
) -> list[FeatureSetRecord]:
    query = sa.select(
        FeatureSetRow.c.id.label("feature_set_id"),
        *(column for column in FeatureSetRow.c if column.name != "id"),
    )
    ordered = query.where(*conditions).order_by(FeatureSetRow.c.id)
    return records(connection, ordered, FeatureSetRecord)


def find_feature_set(catalogue: Catalogue, fingerprint: str) -> FeatureSetRecord | None:
    """The feature set with this fingerprint."""
    with catalogue.read() as connection:
        matching = _feature_sets(connection, FeatureSetRow.c.fingerprint == fingerprint)
    return matching[0] if matching else None


def list_feature_sets(catalogue: Catalogue) -> list[FeatureSetRecord]:
    """All feature sets, oldest first."""
    with catalogue.read() as connection:
        return _feature_sets(connection)


def projection_content(catalogue: Catalogue, feature_set_id: int) -> bytes | None:
    """The projection of a feature set, None if it has none."""
    query = sa.select(FeatureProjection.c.content)
    with catalogue.read() as connection:
        content: bytes | None = connection.execute(
            query.where(FeatureProjection.c.feature_set_id == feature_set_id)
        ).scalar()
    return content


def add_captured(catalogue: Catalogue, feature_set_id: int, images: int, captured: float) -> None:
    """Record what the projection captures of `images` that it was not fitted on: their sum."""
    table = FeatureProjection.c
    update = sa.update(FeatureProjection).where(table.feature_set_id == feature_set_id)
    with catalogue.write() as connection:
        connection.execute(
            update.values(
                images_added=table.images_added + images,
                captured_added=table.captured_added + captured,
            )
        )


def captured_of_added(catalogue: Catalogue, feature_set_id: int) -> tuple[int, float]:
    """How many images `add_captured` has recorded, and the mean of their shares."""
    query = sa.select(FeatureProjection.c.images_added, FeatureProjection.c.captured_added)
    with catalogue.read() as connection:
        row = connection.execute(
            query.where(FeatureProjection.c.feature_set_id == feature_set_id)
        ).one_or_none()
    images, captured = row or (0, 0.0)
    return images, captured / images if images else 1.0


def images_by_content(catalogue: Catalogue, limit: int) -> IntArray:
    """Ids of usable images with a present file, the first `limit` by SHA-256.

    A random sample that depends on which images there are, and not on the order of adding.
    """
    query = (
        sa.select(ImageState.c.image_id)
        .join(Image, Image.c.id == ImageState.c.image_id)
        .where(IS_USABLE, _IS_PRESENT)
        .order_by(Image.c.sha256)
        .limit(limit)
    )
    with catalogue.read() as connection:
        (ids,) = columns(connection, query, np.int64)
    return ids


def record_rows(
    catalogue: Catalogue,
    feature_set_id: int,
    image_ids: IntArray,
    rows: IntArray,
    digests: NDArray[np.uint64],
) -> int:
    """Record that these array rows, already on disk, hold these images' features.

    `digests` are those of the rows' bytes. Images that have a row keep it. Returns how many
    were recorded.
    """
    recorded = 0
    pairs = zip(image_ids.tolist(), rows.tolist(), strict=True)
    with catalogue.write() as connection:
        for chunk in chunked(pairs, CHUNK):
            values = [
                {"feature_set_id": feature_set_id, "image_id": image_id, "array_row": row}
                for image_id, row in chunk
            ]
            recorded += connection.execute(insert_or_ignore(FeatureRow), values).rowcount
        _set_digests(connection, feature_set_id, rows, digests)
    return recorded


def record_digests(
    catalogue: Catalogue, feature_set_id: int, rows: IntArray, digests: NDArray[np.uint64]
) -> None:
    """Record digests of rows that have none because they are older than digests."""
    with catalogue.write() as connection:
        _set_digests(connection, feature_set_id, rows, digests)


def _set_digests(
    connection: Connection, feature_set_id: int, rows: IntArray, digests: NDArray[np.uint64]
) -> None:
    numbers = rows // _BLOCK_ROWS
    for number in np.unique(numbers).tolist():
        this = sa.and_(
            FeatureBlock.c.feature_set_id == feature_set_id, FeatureBlock.c.number == number
        )
        stored = connection.execute(sa.select(FeatureBlock.c.digests).where(this)).scalar()
        block = np.zeros(_BLOCK_ROWS, "<u8")
        if stored is not None:
            block[: len(stored) // 8] = np.frombuffer(stored, "<u8")
        in_block = numbers == number
        block[rows[in_block] % _BLOCK_ROWS] = digests[in_block]
        values = {"number": number, "digests": block.tobytes(), "feature_set_id": feature_set_id}
        connection.execute(sa.delete(FeatureBlock).where(this))
        connection.execute(sa.insert(FeatureBlock).values(values))


def row_digests(catalogue: Catalogue, feature_set_id: int) -> NDArray[np.uint64]:
    """The digest of each row up to the last recorded one.

    0 for a row that no image refers to, and for one that was recorded before digests were.
    """
    query = sa.select(FeatureBlock.c.number, FeatureBlock.c.digests)
    digests = np.zeros(end_row(catalogue, feature_set_id), np.uint64)
    with catalogue.read() as connection:
        of_set = FeatureBlock.c.feature_set_id == feature_set_id
        for number, stored in connection.execute(query.where(of_set)):
            run = digests[number * _BLOCK_ROWS :][: len(stored) // 8]
            run[:] = np.frombuffer(stored, "<u8")[: len(run)]
    return digests


def free_rows(catalogue: Catalogue, feature_set_id: int) -> IntArray:
    """Rows before the last recorded one that no image refers to, rising."""
    end = end_row(catalogue, feature_set_id)
    if row_count(catalogue, feature_set_id) == end:
        return np.empty(0, np.int64)
    query = sa.select(FeatureRow.c.array_row).where(FeatureRow.c.feature_set_id == feature_set_id)
    with catalogue.read() as connection:
        (rows,) = columns(connection, query, np.int64)
    return np.setdiff1d(np.arange(end), rows)


def forget_rows(catalogue: Catalogue, feature_set_id: int, rows: IntArray | None = None) -> int:
    """Forget these rows of a set, or all, because they are lost or not to be trusted."""
    forgotten, of_set = 0, FeatureRow.c.feature_set_id == feature_set_id
    with catalogue.write() as connection:
        if rows is None:
            blocks = FeatureBlock.c.feature_set_id == feature_set_id
            connection.execute(sa.delete(FeatureBlock).where(blocks))
            return connection.execute(sa.delete(FeatureRow).where(of_set)).rowcount
        for chunk in chunked(rows.tolist(), CHUNK):
            deleted = sa.delete(FeatureRow).where(of_set, within(FeatureRow.c.array_row, chunk))
            forgotten += connection.execute(deleted).rowcount
        _set_digests(connection, feature_set_id, rows, np.zeros(len(rows), np.uint64))
    return forgotten


def row_count(catalogue: Catalogue, feature_set_id: int) -> int:
    """How many images have a row in this set."""
    query = sa.select(sa.func.count()).where(FeatureRow.c.feature_set_id == feature_set_id)
    with catalogue.read() as connection:
        return connection.execute(query).scalar_one()


def end_row(catalogue: Catalogue, feature_set_id: int) -> int:
    """One more than the largest recorded array row; 0 for an empty set."""
    last = sa.select(sa.func.max(FeatureRow.c.array_row))
    with catalogue.read() as connection:
        query = last.where(FeatureRow.c.feature_set_id == feature_set_id)
        largest: int | None = connection.execute(query).scalar_one()
    return 0 if largest is None else largest + 1


def rows_of(
    catalogue: Catalogue, feature_set_id: int, image_ids: Sequence[int] | IntArray
) -> IntArray:
    """The array row of each image, in the order given; -1 where there is none."""
    query = sa.select(FeatureRow.c.image_id, FeatureRow.c.array_row)
    query = query.where(FeatureRow.c.feature_set_id == feature_set_id)
    rows: list[int] = []
    with catalogue.read() as connection:
        for ids in chunked(np.asarray(image_ids, dtype=np.int64).tolist(), CHUNK):
            in_chunk = query.where(within(FeatureRow.c.image_id, ids))
            row_of = dict(connection.execute(in_chunk).all())
            rows += [row_of.get(image_id, -1) for image_id in ids]
    return column(rows, np.int64)


def images_without_features(
    catalogue: Catalogue, feature_set_id: int, *, size: int = 1_024
) -> Iterator[IntArray]:
    """Ids of usable images without a row, ascending, in chunks of exactly `size` but the last.

    Only images with a present file. Streams in short transactions; images that get rows
    or leave meanwhile do not matter.
    """
    query = (
        sa.select(ImageState.c.image_id)
        .where(IS_USABLE, _has_no_row(feature_set_id), _IS_PRESENT)
        .order_by(ImageState.c.image_id)
        .limit(size)
    )
    last = 0
    while True:
        with catalogue.read() as connection:
            ids = connection.execute(query.where(ImageState.c.image_id > last)).scalars().all()
        if ids:
            yield column(ids, np.int64)
            last = ids[-1]
        if len(ids) < size:
            return


_IS_PRESENT = sa.exists().where(
    Location.c.image_id == ImageState.c.image_id, Location.c.state == LocationState.PRESENT
)


def _has_no_row(feature_set_id: int) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(
        FeatureRow.c.feature_set_id == feature_set_id,
        FeatureRow.c.image_id == ImageState.c.image_id,
    )


def count_without_features(catalogue: Catalogue, feature_set_id: int | None) -> int:
    """How many images `images_without_features` would give (None: a set not made yet)."""
    query = sa.select(sa.func.count()).select_from(ImageState)
    query = query.where(ImageState.c.usable == 1, _IS_PRESENT)
    if feature_set_id is not None:
        query = query.where(_has_no_row(feature_set_id))
    with catalogue.read() as connection:
        if feature_set_id is not None and _all_have_rows(connection, feature_set_id):
            return 0
        return connection.execute(query).scalar_one()


def _all_have_rows(connection: Connection, feature_set_id: int) -> bool:
    """Whether every usable image has a row, from counts that indexes give at once."""
    of_set = FeatureRow.c.feature_set_id == feature_set_id
    images = sa.select(sa.func.count()).select_from(ImageState)
    usable = images.where(ImageState.c.usable == 1)
    rows = sa.select(sa.func.count()).select_from(FeatureRow).where(of_set)
    unusable = images.join(
        FeatureRow, sa.and_(of_set, FeatureRow.c.image_id == ImageState.c.image_id)
    ).where(ImageState.c.usable == 0)
    counted = sa.select(*(count.scalar_subquery() for count in (usable, rows, unusable)))
    usable_images, rows_in_set, rows_of_unusable = connection.execute(counted).one()
    return bool(usable_images == rows_in_set - rows_of_unusable)
