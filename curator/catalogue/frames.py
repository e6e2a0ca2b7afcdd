"""Frames: which images an audit speaks about, with which labels, in which order.

A frame is written in chunks and means nothing until an audit names it; one that was left
unfinished is thrown away by the next. It is kept in the catalogue itself, because a
certificate is about exactly these images and must not depend on a file that can be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import sqlalchemy as sa

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.vocabulary import CurrentLabel, Label, Method, Origin
from curator.catalogue.bulk import Query, column
from curator.catalogue.constructs import insert_columns, raw_rows
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    Audit,
    AuditFrame,
    Block,
    FrameMember,
    Head,
    Image,
    ImageState,
    LabelEvent,
    PlannedAudit,
    ScoreRow,
)
from curator.catalogue.pool import NO_GENERATION, generation_now

CHUNK = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPool:
    """Usable images with a current score, ordered by id; all arrays are (images,).

    `probability` and `raw` are P(positive), `distance` says how unlike anything labelled an
    image is (NaN: not measured). `human` images carry a label that a person gave
    (`positive` says which; not `settled`: unsure or in conflict). `promoted` ones are
    promoted to the class that `positive` says. `blocked` may not be promoted. `sheet`
    marks labels given on a contact sheet.
    """

    round_id: int | None
    image_ids: IntArray
    probability: FloatArray
    raw: FloatArray
    distance: FloatArray
    human: BoolArray
    settled: BoolArray
    promoted: BoolArray
    positive: BoolArray
    blocked: BoolArray
    sheet: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRows:
    """A frame as it is kept: all arrays are (images,), in the order of their places."""

    digest: str
    image_ids: IntArray
    positive: BoolArray
    probability: FloatArray
    strata: IntArray


def scored_pool(catalogue: Catalogue) -> ScoredPool:
    """The pool with its current scores, in one consistent view."""
    with catalogue.read() as connection:
        rows = raw_rows(connection.execute(_select_scored(generation_now(connection))))
        round_id = connection.execute(sa.select(Head.c.round_id)).scalar_one()
    ids, probability, raw, distance, standing, origin, blocked, method = (
        zip(*rows, strict=True) if rows else ((),) * 8
    )
    standings, origins = column(standing, object), column(origin, object)
    promoted = origins == Origin.PROMOTED
    labelled = np.array([word is not None for word in standing], dtype=np.bool_)
    return ScoredPool(
        round_id=round_id,
        image_ids=column(ids, np.int64),
        probability=column(probability, np.float64),
        raw=column(raw, np.float64),
        distance=column(distance, np.float64),
        human=labelled & ~promoted,
        settled=np.isin(standings, [CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE]),
        promoted=promoted,
        positive=standings == CurrentLabel.POSITIVE,
        blocked=column(blocked, np.bool_),
        sheet=column(method, object) == Method.SHEET,
    )


def _select_scored(generation: int) -> Query:
    state = ImageState.c
    return (
        sa.select(
            state.image_id,
            ScoreRow.c.probability,
            ScoreRow.c.raw,
            ScoreRow.c.distance,
            state.standing,
            state.origin,
            Block.c.image_id.is_not(None),
            LabelEvent.c.method,
        )
        .select_from(ScoreRow)
        .join(ImageState, state.image_id == ScoreRow.c.image_id)
        .outerjoin(Block, Block.c.image_id == state.image_id)
        .outerjoin(LabelEvent, LabelEvent.c.id == state.event_id)
        .where(ScoreRow.c.generation_id == (generation or NO_GENERATION), state.usable == 1)
        .order_by(state.image_id)
    )


def keep_frame(
    catalogue: Catalogue, rows: FrameRows, *, round_id: int | None, details: Mapping[str, Any]
) -> int:
    """Write a frame in short transactions; its number. One that is kept already is used again.

    Call it while holding the `round` lease: what others left unfinished is thrown away.
    """
    _drop_unfinished(catalogue)
    with catalogue.write() as connection:
        same = sa.select(AuditFrame.c.id).where(AuditFrame.c.digest == rows.digest)
        stored_id = connection.execute(same).scalar()
        if stored_id is not None:
            return stored_id
        values = {
            "digest": rows.digest,
            "size": len(rows.image_ids),
            "round_id": round_id,
            "details": dict(details),
            "made_at": now(),
        }
        insert = sa.insert(AuditFrame).values(**values).returning(AuditFrame.c.id)
        frame_id = int(connection.execute(insert).scalar_one())
    words = np.where(rows.positive, Label.POSITIVE.value, Label.NEGATIVE.value).tolist()
    for start in range(0, len(rows.image_ids), CHUNK):
        end = min(start + CHUNK, len(rows.image_ids))
        columns = {
            "frame_id": repeat(frame_id, end - start),
            "image_id": rows.image_ids[start:end].tolist(),
            "rank": range(start, end),
            "shell": rows.strata[start:end].tolist(),
            "label": words[start:end],
            "probability": rows.probability[start:end].tolist(),
        }
        with catalogue.write() as connection:
            insert_columns(connection, FrameMember, columns)
    return frame_id


def _drop_unfinished(catalogue: Catalogue) -> None:
    """Frames without an audit: their command was interrupted, or thought better of it."""
    named = sa.union_all(sa.select(Audit.c.frame_id), sa.select(PlannedAudit.c.frame_id))
    unnamed = AuditFrame.c.id.not_in(named)
    with catalogue.read() as connection:
        frames = connection.execute(sa.select(AuditFrame.c.id).where(unnamed)).scalars().all()
    for frame_id in frames:
        deleted, end = 1, 0
        while deleted:  # places have no gaps
            end += CHUNK
            members = sa.and_(FrameMember.c.frame_id == frame_id, FrameMember.c.rank < end)
            with catalogue.write() as connection:
                deleted = connection.execute(sa.delete(FrameMember).where(members)).rowcount
        with catalogue.write() as connection:
            connection.execute(sa.delete(AuditFrame).where(AuditFrame.c.id == frame_id))


def frame_rows(catalogue: Catalogue, frame_id: int) -> FrameRows:
    """A frame in the order of its places."""
    member = FrameMember.c
    query = (
        sa.select(member.image_id, member.label, member.probability, member.shell)
        .where(member.frame_id == frame_id)
        .order_by(member.rank)
    )
    with catalogue.read() as connection:
        digest = connection.execute(
            sa.select(AuditFrame.c.digest).where(AuditFrame.c.id == frame_id)
        )
        name = str(digest.scalar_one())
        rows = raw_rows(connection.execute(query))
    ids, label, probability, strata = zip(*rows, strict=True) if rows else ((),) * 4
    return FrameRows(
        digest=name,
        image_ids=column(ids, np.int64),
        positive=column((word == Label.POSITIVE for word in label), np.bool_),
        probability=column(probability, np.float64),
        strata=column(strata, np.int64),
    )


def frame_hashes(catalogue: Catalogue, frame_id: int) -> list[bytes]:
    """The SHA-256 of the images of a frame, in the order of places."""
    member = FrameMember.c
    query = (
        sa.select(Image.c.sha256)
        .select_from(FrameMember)
        .join(Image, Image.c.id == member.image_id)
        .where(member.frame_id == frame_id)
        .order_by(member.rank)
    )
    with catalogue.read() as connection:
        return [sha256 for (sha256,) in raw_rows(connection.execute(query))]


def unavailable(catalogue: Catalogue, frame_id: int) -> BoolArray:
    """Images of a frame that no round could promote now, in the order of places, (images,).

    A person has labelled them since, they are blocked, or cannot be used any more.
    """
    member, state = FrameMember.c, ImageState.c
    people = sa.and_(state.standing.is_not(None), state.origin != Origin.PROMOTED)
    query = (
        sa.select(sa.or_(state.usable == 0, people, Block.c.image_id.is_not(None)))
        .select_from(FrameMember)
        .join(ImageState, state.image_id == member.image_id)
        .outerjoin(Block, Block.c.image_id == member.image_id)
        .where(member.frame_id == frame_id)
        .order_by(member.rank)
    )
    with catalogue.read() as connection:
        rows = raw_rows(connection.execute(query))
    return column((bool(left) for (left,) in rows), np.bool_)
