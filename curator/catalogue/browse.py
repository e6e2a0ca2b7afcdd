"""Looking through the pool as a reviewer wishes: filtered, ordered, a class at a time.

Reads only. Every query is bounded by a size; the usual ones walk an index, a rare filter
may walk the pool once. Score means the current score, P(positive).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from curator.base.vocabulary import CurrentLabel, EventKind, Label, LocationState, Method, Origin
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import Claim, ImageState, LabelEvent, Location, ScoreRow, Skip
from curator.catalogue.queues import NO_FILTER, QueueFilter, in_open_audit
from curator.catalogue.scores import NO_GENERATION, generation_now
from curator.catalogue.sets import Query, within


class BaseQueue(StrEnum):
    """Which images are looked through."""

    UNLABELLED = "unlabelled"
    PROMOTED = "promoted"
    WITHOUT_HUMAN = "without-human"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowseQuery:
    """A filter and an order; None filters nothing, the empty order is by id.

    `side` is the class that an image has or leans to; `low` and `high` bound the score;
    `order` is one of `score`, `-score`, `undecided`, `source`, `class`, `round`, `new`, `old`.
    """

    source_id: int | None = None
    side: CurrentLabel | None = None
    low: float | None = None
    high: float | None = None
    round: int | None = None
    order: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDecision:
    """A decision that a person made in a review and that stands."""

    event_id: int
    image_id: int
    label: Label
    method: Method
    session: str | None
    made_at: datetime


_BASES = {
    BaseQueue.UNLABELLED: "image_state.standing IS NULL",
    BaseQueue.PROMOTED: "image_state.origin = 'promoted'",
    BaseQueue.WITHOUT_HUMAN: "(image_state.standing IS NULL OR image_state.origin = 'promoted')",
    BaseQueue.CONFLICT: "image_state.standing = 'conflict'",
}
_leaning_to = sa.case(
    (ImageState.standing.in_([CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE]), ImageState.standing),
    (ScoreRow.probability >= 0.5, sa.literal(str(CurrentLabel.POSITIVE))),
    (ScoreRow.probability < 0.5, sa.literal(str(CurrentLabel.NEGATIVE))),
)


def browse(
    catalogue: Catalogue,
    base: BaseQueue,
    look: BrowseQuery,
    *,
    size: int,
    leave_out: QueueFilter = NO_FILTER,
) -> list[int]:
    """Usable images of the base that the look lets through, in its order."""
    with catalogue.read() as connection:
        query = _looked(generation_now(connection), look)
        query = query.where(ImageState.usable == 1, sa.text(_BASES[base]), *_free(leave_out))
        return list(connection.execute(query.limit(size)).scalars())


def matching(catalogue: Catalogue, image_ids: Sequence[int], look: BrowseQuery) -> list[int]:
    """Those of the images that the look lets through; as given, or in the look's order."""
    with catalogue.read() as connection:
        query = _looked(generation_now(connection), look)
        query = query.where(within(ImageState.image_id, image_ids))
        found = list(connection.execute(query).scalars())
    if look.order is not None:
        return found
    kept = set(found)
    return [image_id for image_id in image_ids if image_id in kept]


def leaning(
    catalogue: Catalogue, side: CurrentLabel, *, size: int, leave_out: QueueFilter = NO_FILTER
) -> list[int]:
    """Unlabelled or promoted images that the current scores put in a class, surest first."""
    with catalogue.read() as connection:
        generation = generation_now(connection)
        if generation == NO_GENERATION:
            return []
        inside = (
            ScoreRow.probability >= 0.5
            if side is CurrentLabel.POSITIVE
            else ScoreRow.probability < 0.5
        )
        query = (
            sa.select(ScoreRow.image_id)
            .join(ImageState, ImageState.image_id == ScoreRow.image_id)
            .where(
                ScoreRow.generation_id == generation,
                inside,
                sa.text("+image_state.usable = 1"),
                sa.text(_BASES[BaseQueue.WITHOUT_HUMAN]),
                *_free(leave_out),
            )
            .order_by(ScoreRow.undecided.desc(), ScoreRow.image_id.desc())
            .limit(size)
        )
        return list(connection.execute(query).scalars())


def own_decisions(
    catalogue: Catalogue, actor: str, *, limit: int = 1, origin: Origin | None = None
) -> list[OwnDecision]:
    """The newest decisions of a reviewer that stand, newest first; imports left out.

    With an `origin` only those made in such work: open review, calibration or an audit.
    """
    taken_back = aliased(LabelEvent)
    query: Query = (
        sa.select(
            LabelEvent.id,
            LabelEvent.image_id,
            LabelEvent.label,
            LabelEvent.method,
            LabelEvent.session,
            LabelEvent.made_at,
        )
        .where(
            sa.text("label_event.kind = 'assert'"),
            LabelEvent.actor == actor,
            LabelEvent.method != Method.IMPORT,
            LabelEvent.session.is_not(None),  # what was imported belongs to no session
            ~sa.exists().where(taken_back.target_id == LabelEvent.id),
            *([] if origin is None else [LabelEvent.origin == origin]),
        )
        .order_by(LabelEvent.id.desc())
        .limit(limit)
    )
    with catalogue.read() as connection:
        return [_own(row) for row in connection.execute(query)]


def page_decisions(catalogue: Catalogue, decision: OwnDecision, actor: str) -> list[OwnDecision]:
    """All decisions that were made in one go with this one on a contact sheet."""
    if decision.method is not Method.SHEET:
        return [decision]
    newest = own_decisions(catalogue, actor, limit=2_000)
    return [
        one
        for one in newest
        if one.method is Method.SHEET
        and one.session == decision.session
        and one.made_at == decision.made_at
    ]


def newest_event(catalogue: Catalogue) -> int:
    """The number of the newest label event, 0 without any."""
    with catalogue.read() as connection:
        return connection.execute(sa.select(sa.func.max(LabelEvent.id))).scalar_one() or 0


def decisions_since(catalogue: Catalogue, event_id: int) -> int:
    """How many decisions people have recorded after an event."""
    query = sa.select(sa.func.count()).where(
        LabelEvent.id > event_id, LabelEvent.kind == EventKind.ASSERT
    )
    with catalogue.read() as connection:
        return connection.execute(query).scalar_one()


def waiting(catalogue: Catalogue, base: BaseQueue) -> int:
    """How many usable images the base holds now."""
    query = sa.select(sa.func.count()).select_from(ImageState)
    with catalogue.read() as connection:
        counted = query.where(ImageState.usable == 1, sa.text(_BASES[base]))
        return connection.execute(counted).scalar_one()


def _own(row: Any) -> OwnDecision:
    return OwnDecision(
        event_id=row.id,
        image_id=row.image_id,
        label=Label(row.label),
        method=Method(row.method),
        session=row.session,
        made_at=row.made_at,
    )


def _looked(generation: int | None, look: BrowseQuery) -> sa.Select[int]:
    scored = sa.and_(ScoreRow.generation_id == generation, ScoreRow.image_id == ImageState.image_id)
    query = sa.select(ImageState.image_id).outerjoin(ScoreRow, scored)
    if look.source_id is not None:
        query = query.where(sa.exists().where(_lies_in(look.source_id)))
    if look.side is not None:
        query = query.where(_leaning_to == look.side)
    if look.low is not None:
        query = query.where(ScoreRow.probability >= look.low)
    if look.high is not None:
        query = query.where(ScoreRow.probability <= look.high)
    if look.round is not None:
        query = query.where(ImageState.round_id == look.round)
    return query.order_by(*_order(look.order), ImageState.image_id)


def _lies_in(source_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(
        Location.image_id == ImageState.image_id,
        Location.source_id == source_id,
        Location.state != LocationState.CHANGED,
    )


def _order(order: str | None) -> list[Any]:
    first_source = (
        sa.select(sa.func.min(Location.source_id))
        .where(Location.image_id == ImageState.image_id, Location.state != LocationState.CHANGED)
        .scalar_subquery()
    )
    clauses: dict[str | None, list[Any]] = {
        None: [],
        "score": [sa.nulls_last(ScoreRow.probability.asc())],
        "-score": [sa.nulls_last(ScoreRow.probability.desc())],
        "undecided": [sa.nulls_last(ScoreRow.undecided.asc())],
        "source": [first_source],
        "class": [sa.nulls_last(_leaning_to.asc())],
        "round": [sa.nulls_last(ImageState.round_id.asc())],
        "new": [ImageState.image_id.desc()],
        "old": [ImageState.image_id.asc()],
    }
    return clauses[order]


def _free(leave_out: QueueFilter) -> list[sa.ColumnElement[bool]]:
    """Not of an open audit, neither skipped in this session nor claimed by another one."""
    if leave_out.session is None:
        return [~in_open_audit()]
    image_id = ImageState.image_id
    skipped = sa.exists().where(
        Skip.session == leave_out.session, Skip.queue == leave_out.queue, Skip.image_id == image_id
    )
    claimed = sa.exists().where(
        Claim.image_id == image_id, Claim.expires_at > now(), Claim.session != leave_out.session
    )
    return [~in_open_audit(), ~skipped, ~claimed]
