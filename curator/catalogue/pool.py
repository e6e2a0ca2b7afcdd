"""The pool as arrays, in order of image ids, and its current scores.

Words are coded by their position in their vocabulary (`code_of`), -1 for none. The current
scores are those of the round that the head points at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import BoolArray, CodeArray, FloatArray, IntArray
from curator.base.vocabulary import (
    NO_CODE,
    CurrentLabel,
    EventKind,
    Method,
    Origin,
    Split,
    code_of,
)
from curator.catalogue.bulk import CHUNK, Query, chunked, column, columns
from curator.catalogue.constructs import raw_rows, within
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import contradicted
from curator.catalogue.models import (
    Block,
    FeatureRow,
    Head,
    ImageState,
    LabelEvent,
    Location,
    RandomDrawMember,
    ScoreRow,
)
from curator.catalogue.random_draws import count_unanswered, covering_draws

CHUNK_IMAGES = 16_384
"""Images of a chunk of a `Pool`."""

IS_USABLE = ImageState.c.usable + 0 == 1
"""A sum is in no index: else SQLite would go through all usable images for each range."""


def id_ranges(catalogue: Catalogue, size: int) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions on `image_state`, each true for at most `size` images, that follow in order."""
    with catalogue.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(ImageState.c.image_id))).scalar_one()
    for start in range(0, newest or 0, size):
        yield ImageState.c.image_id.between(start + 1, start + size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolChunk:
    """A run of usable images, all arrays of one length n.

    `image_ids`, `feature_rows` (-1 where there is none), `unit_keys`: int64. `standing`,
    `origin`, `first_origin` (see `HumanLabels`), `split`: int8 codes. `blocked`: bool.
    """

    image_ids: IntArray
    feature_rows: IntArray
    standing: CodeArray
    origin: CodeArray
    first_origin: CodeArray
    unit_keys: IntArray
    split: CodeArray
    blocked: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The usable images that have features or pixels, as they were when a round began.

    Read once, about 50 bytes an image; images that come later wait for the next round.
    """

    chunks: tuple[PoolChunk, ...]

    def __len__(self) -> int:
        return sum(len(chunk.image_ids) for chunk in self.chunks)

    @property
    def rows(self) -> IntArray:
        """The feature row of each image, in order of image ids."""
        nothing = np.empty(0, dtype=np.int64)
        return np.concatenate([nothing, *(chunk.feature_rows for chunk in self.chunks)])

    def by_rows(self) -> tuple[IntArray, IntArray]:
        """All feature rows, rising, and the ids of their images."""
        nothing = np.empty(0, dtype=np.int64)
        image_ids = np.concatenate([nothing, *(chunk.image_ids for chunk in self.chunks)])
        order = np.argsort(self.rows)
        return self.rows[order], image_ids[order]


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanLabels:
    """All usable images with a current human label (unsure and conflict included).

    Arrays of one length, ordered by image id: `image_ids`, `feature_rows` (-1 where there
    is none), `unit_keys`, `source_ids` (of the first location, -1 without one): int64;
    `standing`, `first_origin`, `first_method`, `split`: int8 codes; `sampled`, `confirmed`: bool.

    The newest label says which class an image has. What it may measure depends on how the image
    was chosen for its first label, taken back or not: that origin and method do not change when
    somebody labels the image again. An image that was answered in an audit has the origin
    `audit`, whatever came before. `confirmed`: a person has looked at the image by itself and
    given it the class that an earlier label gave it. `sampled`: the image belongs to a random draw
    that speaks for the pool as it is now; `unanswered` images of such draws were passed over.
    """

    image_ids: IntArray
    feature_rows: IntArray
    unit_keys: IntArray
    source_ids: IntArray
    standing: CodeArray
    first_origin: CodeArray
    first_method: CodeArray
    split: CodeArray
    sampled: BoolArray
    confirmed: BoolArray
    unanswered: int

    @property
    def speaks_for_pool(self) -> BoolArray:
        """Which labels are a random sample of the pool, each image looked at by itself."""
        drawn: BoolArray = self.sampled & (self.split == code_of(Split.CALIBRATION))
        drawn &= self.first_origin == code_of(Origin.CALIBRATION)
        drawn &= self.first_method != code_of(Method.SHEET)
        return drawn


def read_pool(catalogue: Catalogue, feature_set_id: int) -> Pool:
    """The present pool."""
    return Pool(chunks=tuple(pool_chunks(catalogue, feature_set_id, size=CHUNK_IMAGES)))


def pool_chunks(
    catalogue: Catalogue, feature_set_id: int | None, *, size: int = 65_536
) -> Iterator[PoolChunk]:
    """All usable images in order of ids, at most `size` a chunk, in short transactions.

    With a feature set, only images that have a feature row. Near-duplicates labelled both ways are
    conflicts.
    """
    query = _select_pool(feature_set_id)
    with catalogue.read() as connection:
        conflicts = contradicted(connection)
    for inside in id_ranges(catalogue, size):
        with catalogue.read() as connection:
            chunk = _pool_chunk(connection, query.where(inside))
        chunk.standing[np.isin(chunk.image_ids, conflicts)] = code_of(CurrentLabel.CONFLICT)
        if len(chunk.image_ids):
            yield chunk


def _select_pool(feature_set_id: int | None) -> Query:
    state = ImageState.c
    of_image = _feature_row_of(feature_set_id)
    return (
        sa.select(
            state.image_id,
            sa.func.coalesce(FeatureRow.c.array_row, -1),
            _code(state.standing, CurrentLabel),
            _code(state.origin, Origin),
            _first_origin(),
            state.unit_key,
            _code(state.split, Split),
            Block.c.image_id.is_not(None),
        )
        .select_from(ImageState)
        .outerjoin(_FIRST, _FIRST.c.id == state.pinned_by)
        .join(FeatureRow, of_image, isouter=feature_set_id is None)
        .outerjoin(Block, Block.c.image_id == state.image_id)
        .where(IS_USABLE)
    )


def _feature_row_of(feature_set_id: int | None) -> sa.ColumnElement[bool]:
    # No set has the number 0; a NULL instead would make SQLite walk all rows.
    return sa.and_(
        FeatureRow.c.feature_set_id == (feature_set_id or 0),
        FeatureRow.c.image_id == ImageState.c.image_id,
    )


def _code(words: sa.Column[Any], vocabulary: type[StrEnum]) -> sa.ColumnElement[int]:
    return sa.case({str(word): code_of(word) for word in vocabulary}, value=words, else_=NO_CODE)


def _pool_chunk(connection: Connection, query: Query) -> PoolChunk:
    arrays = columns(
        connection,
        query,
        *(np.int64, np.int64, np.int8, np.int8, np.int8, np.int64, np.int8, np.bool_),
    )
    order = np.argsort(arrays[0], kind="stable")
    ids, feature_rows, standing, origin, first_origin, units, split, blocked = (
        each[order] for each in arrays
    )
    return PoolChunk(
        image_ids=ids,
        feature_rows=feature_rows,
        standing=standing,
        origin=origin,
        first_origin=first_origin,
        unit_keys=units,
        split=split,
        blocked=blocked,
    )


def pool_size(catalogue: Catalogue) -> int:
    """How many usable images there are."""
    with catalogue.read() as connection:
        query = sa.select(sa.func.count()).select_from(ImageState).where(ImageState.c.usable == 1)
        return connection.execute(query).scalar_one()


def human_labels(catalogue: Catalogue, feature_set_id: int | None) -> HumanLabels:
    """Every current human label of a usable image, in one consistent view.

    Near-duplicates labelled both ways are conflicts: nobody knows which label is right.
    """
    with catalogue.read() as connection:
        draws = covering_draws(connection)
        unanswered = count_unanswered(connection, draws) if draws else 0
        arrays = columns(
            connection,
            _select_human(feature_set_id, draws),
            *(np.int64, np.int64, np.int64, np.int64),
            *(np.int8, np.int8, np.int8, np.int8, np.bool_, np.bool_),
        )
        conflicts = contradicted(connection)
    arrays[4][np.isin(arrays[0], conflicts)] = code_of(CurrentLabel.CONFLICT)
    order = np.argsort(arrays[0])
    ids, feature_rows, units, sources, standing, origin, method, split, sampled, confirmed = (
        each[order] for each in arrays
    )
    return HumanLabels(
        image_ids=ids,
        feature_rows=feature_rows,
        unit_keys=units,
        source_ids=sources,
        standing=standing,
        first_origin=origin,
        first_method=method,
        split=split,
        sampled=sampled,
        confirmed=confirmed,
        unanswered=unanswered,
    )


_FIRST = LabelEvent.alias("first_event")
"""The event of an image's first human label, as `image_state.pinned_by` records it."""


def _first_origin() -> sa.ColumnElement[int]:
    """The code of the origin of an image's first human label; `audit` if an audit asked for it."""
    event = LabelEvent.alias()
    audited = sa.exists().where(
        event.c.image_id == ImageState.c.image_id,
        event.c.kind == EventKind.ASSERT,
        event.c.origin == Origin.AUDIT,
    )
    return sa.case(
        # First, so that events are looked for only where there is a label.
        (_FIRST.c.id.is_(None), NO_CODE),
        (audited, code_of(Origin.AUDIT)),
        else_=_code(_FIRST.c.origin, Origin),
    )


def is_confirmed() -> sa.ColumnElement[bool]:
    """Whether a person looked at an image by itself and repeated a label that it had.

    For a query over `image_state` joined with the `label_event` of the current label. Labels
    that were taken back do not count.
    """
    before, retraction = LabelEvent.alias(), LabelEvent.alias()
    current = LabelEvent.c
    return sa.and_(
        ImageState.c.standing == current.label,
        current.method.in_([Method.SINGLE, Method.BLIND]),
        sa.exists().where(
            before.c.image_id == ImageState.c.image_id,
            before.c.kind == EventKind.ASSERT,
            before.c.label == current.label,
            before.c.id < current.id,
            ~sa.exists().where(retraction.c.target_id == before.c.id),
        ),
    )


def _select_human(feature_set_id: int | None, draws: Sequence[int]) -> Query:
    state = ImageState.c
    source = (
        sa.select(Location.c.source_id)
        .where(Location.c.image_id == state.image_id)
        .order_by(Location.c.state.desc(), Location.c.id)
        .limit(1)
        .scalar_subquery()
    )
    of_image = _feature_row_of(feature_set_id)
    people = [origin for origin in Origin if origin is not Origin.PROMOTED]
    drawn = sa.exists().where(
        RandomDrawMember.c.image_id == state.image_id, RandomDrawMember.c.draw_id.in_(draws)
    )
    return (
        sa.select(
            state.image_id,
            sa.func.coalesce(FeatureRow.c.array_row, -1),
            state.unit_key,
            sa.func.coalesce(source, -1),
            _code(state.standing, CurrentLabel),
            _first_origin(),
            _code(_FIRST.c.method, Method),
            _code(state.split, Split),
            sa.and_(_FIRST.c.origin == Origin.CALIBRATION, drawn),
            is_confirmed(),
        )
        .select_from(ImageState)
        .join(LabelEvent, LabelEvent.c.id == state.event_id)
        .join(_FIRST, _FIRST.c.id == state.pinned_by)
        .outerjoin(FeatureRow, of_image)
        .where(state.usable == 1, state.standing.in_(list(CurrentLabel)), state.origin.in_(people))
    )


def unit_key(catalogue: Catalogue, image_id: int) -> int | None:
    """The unit that an image belongs to; None for an image that is not in the pool."""
    query = sa.select(ImageState.c.unit_key).where(ImageState.c.image_id == image_id)
    with catalogue.read() as connection:
        return connection.execute(query).scalar_one_or_none()


NO_GENERATION = 0
"""No generation has this number. A NULL instead would make SQLite walk all scores."""


def generation_now(connection: Connection) -> int:
    """The generation of the current scores, `NO_GENERATION` if there are none."""
    return connection.execute(sa.select(Head.c.generation_id)).scalar_one() or NO_GENERATION


def current_scores(catalogue: Catalogue, image_ids: IntArray) -> FloatArray:
    """P(positive) of these images in the current scores; NaN where there is none."""
    scores: list[float] = []
    with catalogue.read() as connection:
        of_now = ScoreRow.c.generation_id == generation_now(connection)
        query = sa.select(ScoreRow.c.image_id, ScoreRow.c.probability).where(of_now)
        for ids in chunked(image_ids.tolist(), CHUNK):
            in_chunk = query.where(within(ScoreRow.c.image_id, ids))
            score_of = dict(raw_rows(connection.execute(in_chunk)))
            scores += [score_of.get(image_id, np.nan) for image_id in ids]
    return column(scores, np.float64)


def has_scores(catalogue: Catalogue) -> bool:
    """Whether there are current scores, as the score queues need them."""
    with catalogue.read() as connection:
        return generation_now(connection) != NO_GENERATION
