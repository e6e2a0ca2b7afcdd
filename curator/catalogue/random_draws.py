"""Random draws: which images were drawn, in which order, from which frame.

A draw puts the images without a human label in a random order and records every image that it
hands out with its place. Its frame ends at the newest image of that moment: a label measures the
images that its draw could have handed out, and no image that was added later. A draw serves as
long as its frame holds nearly the whole pool (`COVERING`); then another one begins, and labels of
the earlier one measure no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Origin
from curator.catalogue.bulk import CHUNK, chunked
from curator.catalogue.constructs import insert_or_ignore, within
from curator.catalogue.current_labels.sql import lineage_of
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    HeadMove,
    Image,
    ImageState,
    LabelEvent,
    RandomDraw,
    RandomDrawMember,
)

COVERING = 0.95
"""Share of the images without a human label that a draw's frame must hold to speak for all."""

WITHOUT_HUMAN = sa.or_(ImageState.c.standing.is_(None), ImageState.c.origin == Origin.PROMOTED)
_POOL_SIZE = sa.select(sa.func.count()).where(ImageState.c.usable == 1, WITHOUT_HUMAN)


def covering_draws(connection: Connection) -> list[int]:
    """The draws whose labels measure the images that have no human label now."""
    draw = RandomDraw.c
    rows = connection.execute(sa.select(draw.id, draw.newest_image_id).order_by(draw.id)).all()
    if not rows:
        return []
    size = connection.execute(_POOL_SIZE).scalar_one()
    newest = _newest_image(connection)
    covering = []
    for draw_id, last in rows:
        added = 0
        if last < newest:
            added = connection.execute(_POOL_SIZE.where(ImageState.c.image_id > last)).scalar_one()
        if size - added >= COVERING * size:
            covering.append(draw_id)
    return covering


def open_draw(connection: Connection, seed: int) -> tuple[int, int]:
    """The draw to go on with, or a new one: its id, and the newest image of its frame."""
    draw = RandomDraw.c
    covering = covering_draws(connection)
    query = sa.select(draw.id, draw.newest_image_id).where(draw.id.in_(covering))
    row = connection.execute(query.where(draw.seed == seed).order_by(draw.id.desc())).first()
    if row is not None:
        return row.id, row.newest_image_id
    newest = _newest_image(connection)
    values = {
        "seed": seed,
        "newest_image_id": newest,
        "frame_size": connection.execute(_POOL_SIZE).scalar_one(),
        "made_at": now(),
    }
    insert = sa.insert(RandomDraw).values(**values).returning(draw.id)
    return int(connection.execute(insert).scalar_one()), newest


def record_members(
    connection: Connection, draw_id: int, members: Iterable[tuple[int, int]]
) -> None:
    """Record images that a draw hands out, each with its place in the draw's order."""
    rows = [
        {"draw_id": draw_id, "position": position, "image_id": image_id}
        for position, image_id in members
    ]
    for chunk in chunked(rows, CHUNK):
        connection.execute(insert_or_ignore(RandomDrawMember), chunk)


def newest_draw(catalogue: Catalogue, seed: int) -> int | None:
    """The newest draw with this seed, which is the one that images come from."""
    draw = RandomDraw.c
    with catalogue.read() as connection:
        newest = sa.select(sa.func.max(draw.id)).where(draw.seed == seed)
        return connection.execute(newest).scalar_one()


def drawn_among(
    catalogue: Catalogue, image_ids: Sequence[int], draw_id: int | None = None
) -> set[int]:
    """Those of the images that this draw, or without one any draw, has handed out."""
    member = RandomDrawMember.c.image_id
    query = sa.select(member)
    if draw_id is not None:
        query = query.where(RandomDrawMember.c.draw_id == draw_id)
    with catalogue.read() as connection:
        return {
            image_id
            for ids in chunked(image_ids, CHUNK)
            for image_id in connection.execute(query.where(within(member, ids))).scalars()
        }


def count_unanswered(connection: Connection, draws: Sequence[int]) -> int:
    """Images that were passed over: drawn before an image that was answered, and not answered.

    Rows of a CSV that stay blank and images that a reviewer skips are not missing at random, so
    they are counted with the sample.
    """
    state, member, first = ImageState.c, RandomDrawMember.c, LabelEvent.c
    answered = sa.and_(~WITHOUT_HUMAN, first.origin == Origin.CALIBRATION)
    members = (
        sa.select(member.draw_id, member.position, answered.label("answered"))
        .select_from(RandomDrawMember)
        .join(ImageState, state.image_id == member.image_id)
        .outerjoin(LabelEvent, first.id == state.pinned_by)
        .where(member.draw_id.in_(draws), state.usable == 1)
    )
    last: dict[int, int] = {}
    open_positions: list[tuple[int, int]] = []
    for draw_id, position, is_answered in connection.execute(members):
        if is_answered:
            last[draw_id] = max(position, last.get(draw_id, -1))
        else:
            open_positions.append((draw_id, position))
    return sum(position < last.get(draw_id, -1) for draw_id, position in open_positions)


def sample_since(
    catalogue: Catalogue, seed: int, event_id: int
) -> tuple[dict[int, CurrentLabel], int]:
    """Blind labels of the newest draw after an event, by image, and how many were passed over.

    Passed over are images of the draw that come before one of the labelled ones and have no label.
    """
    state, member = ImageState.c, RandomDrawMember.c
    query = (
        sa.select(member.image_id, state.standing, state.origin, state.event_id)
        .select_from(RandomDrawMember)
        .join(ImageState, state.image_id == member.image_id)
        .where(member.draw_id == newest_draw(catalogue, seed), state.usable == 1)
        .order_by(member.position)
    )
    labels: dict[int, CurrentLabel] = {}
    passed, open_before = 0, 0
    with catalogue.read() as connection:
        for image_id, standing, origin, event in connection.execute(query):
            if origin == Origin.CALIBRATION and standing is not None and (event or 0) > event_id:
                labels[image_id] = standing
                passed += open_before
                open_before = 0
            elif standing is None or origin == Origin.PROMOTED:
                open_before += 1
    return labels, passed


def answers_until_rollback(
    catalogue: Catalogue, round_id: int, event_id: int
) -> tuple[dict[int, Label], dict[int, Label]]:
    """Blind answers after an event and before a round was rolled back, and the machine's labels.

    Both by image, for the images that were answered; what was taken back before then is left out.
    """
    event, move = LabelEvent.c, HeadMove.c
    undone_at = (
        sa.select(sa.func.min(move.moved_at))
        .where(move.kind == "rollback", move.from_id == round_id)
        .scalar_subquery()
    )
    later = LabelEvent.alias("later").c
    retracted = sa.exists().where(later.target_id == event.id, later.made_at <= undone_at)
    query = (
        sa.select(event.image_id, event.label)
        .where(
            event.kind == EventKind.ASSERT,
            event.origin.in_((Origin.CALIBRATION, Origin.AUDIT)),
            event.id > event_id,
            event.made_at <= undone_at,
            ~retracted,
        )
        .order_by(event.id)
    )
    with catalogue.read() as connection:
        answers = {row.image_id: row.label for row in connection.execute(query)}
        promoted = (
            sa.select(event.image_id, event.label)
            .where(
                event.kind == EventKind.PROMOTE,
                event.round_id.in_(lineage_of(connection, round_id)),
            )
            .order_by(event.id)
        )
        machine = {
            row.image_id: row.label
            for ids in chunked(list(answers), CHUNK)
            for row in connection.execute(promoted.where(within(event.image_id, ids)))
        }
    return answers, machine


def _newest_image(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.max(Image.c.id))).scalar_one() or 0
