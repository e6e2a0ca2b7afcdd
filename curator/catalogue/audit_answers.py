"""What people say about the drawn images of an audit, locked stratum by stratum, closed once.

An answer is a label event of origin `audit` that was made since the audit was opened, stands, and
has not been contradicted since. It can be taken back until a verdict uses it: then its stratum is
locked, and what the images came to is written down with the event that said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.vocabulary import AuditState, EventKind, Label, LocationState, Origin
from curator.catalogue.audits import AuditRecord, audit_records, has_answer, is_answer, was_answer
from curator.catalogue.bulk import column
from curator.catalogue.claims import is_claimed
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    Audit,
    AuditItem,
    Claim,
    ImageState,
    LabelEvent,
    Location,
    Skip,
)
from curator.catalogue.queues import NO_FILTER, QueueFilter
from curator.errors import BusyError

# Made once: the columns of an alias cost more than the query that uses it.
_answer = LabelEvent.alias()

QUEUE = "audit"
"""The queue in which an audit is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvent:
    """What became of a drawn image of a closed audit, and who said so when.

    `outcome` is the label, `unsure`, `skipped`, `unshowable`, or empty where nobody was asked.
    """

    image_id: int
    stratum: int
    outcome: str
    made_at: datetime | None
    actor: str | None
    method: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAnswers:
    """What became of the drawn images, all arrays (drawn,), in the order of the draw.

    `labels` holds the answer that stands, or None; `event_ids` its event, or 0. `skipped`
    marks images that somebody passed over, `unshowable` those that cannot be opened any
    more; both only say why there is no answer. So does `contradicted`, while the audit is
    open: there was one, and then somebody said something else. `requested` images belong to the
    strata that were asked so far, `locked` ones to those whose verdict is there.
    """

    image_ids: IntArray
    strata: IntArray
    inclusion_probability: FloatArray
    labels: Sequence[Label | None]
    event_ids: IntArray
    skipped: BoolArray
    unshowable: BoolArray
    contradicted: BoolArray
    requested: BoolArray
    locked: BoolArray

    @property
    def answered(self) -> int:
        """Images with an answer."""
        return int((self.event_ids > 0).sum())

    @property
    def waiting(self) -> int:
        """Images that are asked and still want an answer."""
        unanswered = (self.event_ids == 0) & ~self.skipped & ~self.unshowable
        return int((self.requested & unanswered).sum())


def answers_of(catalogue: Catalogue, record: AuditRecord) -> AuditAnswers:
    """What people have said about the drawn images: so far, or when the audit was closed."""
    with catalogue.read() as connection:
        return _answers(connection, record)


def _answers(connection: Connection, record: AuditRecord) -> AuditAnswers:
    item = AuditItem.c
    newest: Any = (
        sa.select(sa.func.max(LabelEvent.c.id))
        .where(*is_answer(record.first_event))
        .correlate(AuditItem)
        .scalar_subquery()
    )
    once_answered: sa.ColumnElement[bool] = (
        sa.exists().where(*was_answer(record.first_event)).correlate(AuditItem)
    )
    skipped = sa.exists().where(
        Skip.c.image_id == item.image_id,
        Skip.c.queue == QUEUE,
        Skip.c.skipped_at >= record.opened_at,
    )
    there = sa.exists().where(
        Location.c.image_id == item.image_id, Location.c.state == LocationState.PRESENT
    )
    # Locked, or closed, is as it was then, whatever has been said since.
    locked: sa.ColumnElement[bool] = item.outcome.is_not(None)
    requested: sa.ColumnElement[bool] = locked
    if record.state is AuditState.OPEN:
        requested = sa.or_(locked, item.stratum == record.asking) if record.salt else sa.true()
    else:
        newest, once_answered = item.event_id, sa.false()
    query = (
        sa.select(
            item.image_id,
            item.stratum,
            item.inclusion_probability,
            _answer.c.label,
            sa.func.coalesce(_answer.c.id, 0),
            sa.case((locked, item.outcome == "skipped"), else_=sa.and_(requested, skipped)),
            sa.case(
                (locked, item.outcome == "unshowable"),
                else_=sa.and_(requested, sa.or_(ImageState.c.usable == 0, ~there)),
            ),
            sa.and_(once_answered, _answer.c.id.is_(None)),
            requested,
            locked,
        )
        .select_from(AuditItem)
        .join(ImageState, ImageState.c.image_id == item.image_id)
        .outerjoin(_answer, _answer.c.id == sa.case((locked, item.event_id), else_=newest))
        .where(item.audit_id == record.audit_id)
        .order_by(item.position)
    )
    rows = connection.execute(query).all()
    ids, strata, chances, labels, events, *flags = zip(*rows, strict=True)
    skips, absent, changed, of_requested, of_locked = (
        column(map(bool, f), np.bool_) for f in flags
    )
    return AuditAnswers(
        image_ids=column(ids, np.int64),
        strata=column(strata, np.int64),
        inclusion_probability=column(chances, np.float64),
        labels=[None if label is None else Label(label) for label in labels],
        event_ids=column(events, np.int64),
        skipped=skips,
        unshowable=absent,
        contradicted=changed,
        requested=of_requested,
        locked=of_locked,
    )


def answer_events(catalogue: Catalogue, record: AuditRecord) -> list[AnswerEvent]:
    """What became of the drawn images of a closed audit, in the order of the draw."""
    item, event = AuditItem.c, LabelEvent.c
    query = (
        sa.select(
            item.image_id,
            item.stratum,
            item.outcome,
            event.label,
            event.made_at,
            event.actor,
            event.method,
        )
        .select_from(AuditItem)
        .outerjoin(LabelEvent, event.id == item.event_id)
        .where(item.audit_id == record.audit_id)
        .order_by(item.position)
    )
    with catalogue.read() as connection:
        rows = connection.execute(query).all()
    return [
        AnswerEvent(
            image_id=image_id,
            stratum=stratum,
            outcome=str(label) if label and outcome == "answered" else outcome or "",
            made_at=made_at,
            actor=actor,
            method=None if method is None else str(method),
        )
        for image_id, stratum, outcome, label, made_at, actor, method in rows
    ]


def waiting_ids(
    catalogue: Catalogue,
    record: AuditRecord,
    *,
    size: int | None,
    leave_out: QueueFilter = NO_FILTER,
) -> list[int]:
    """Images that are asked and have no answer, in the order of the draw.

    Those in quarantine are left out.

    `leave_out` keeps away what another session has claimed and what this one has skipped.
    """
    item = AuditItem.c
    query = (
        sa.select(item.image_id)
        .join(ImageState, ImageState.c.image_id == item.image_id)
        .join(Audit, Audit.c.id == item.audit_id)
        .where(item.audit_id == record.audit_id, ImageState.c.usable == 1)
        .where(item.outcome.is_(None), ~has_answer(record.first_event).correlate(AuditItem))
        .where(sa.or_(Audit.c.asking.is_(None), Audit.c.asking == item.stratum))
        .order_by(item.position)
        .limit(size)
    )
    if leave_out.session is not None:
        claimed = sa.exists().where(
            Claim.c.image_id == item.image_id,
            is_claimed(),
            Claim.c.session != leave_out.session,
        )
        skipped = sa.exists().where(
            Skip.c.session == leave_out.session,
            Skip.c.queue == QUEUE,
            Skip.c.image_id == item.image_id,
        )
        query = query.where(~claimed, ~skipped)
    with catalogue.read() as connection:
        return list(connection.execute(query).scalars())


def misplaced_answers(catalogue: Catalogue) -> list[str]:
    """Answers of closed audits that are no answers: another image's, or of another origin."""
    item, event = AuditItem.c, LabelEvent.c
    query = (
        sa.select(item.audit_id, item.image_id, item.event_id)
        .join(LabelEvent, event.id == item.event_id)
        .where(
            sa.or_(
                event.image_id != item.image_id,
                event.kind != EventKind.ASSERT,
                event.origin != Origin.AUDIT,
            )
        )
    )
    with catalogue.read() as connection:
        return [
            f"Audit {audit_id}: event {event_id} is not an answer about image {image_id}."
            for audit_id, image_id, event_id in connection.execute(query)
        ]


def lock_stratum(
    catalogue: Catalogue,
    record: AuditRecord,
    *,
    tested: AuditAnswers,
    then: int | None,
    beforehand: Callable[[], None] = lambda: None,
) -> AuditRecord:
    """Keep the answers of the stratum that is asked for good, and ask another one.

    `beforehand` writes them down elsewhere, when they cannot change any more. Raises BusyError if
    they are not those that were `tested`.
    """
    with catalogue.write() as connection:
        _keep_outcomes(connection, record, tested, only=record.asking)
        beforehand()
        this = Audit.c.id == record.audit_id
        connection.execute(sa.update(Audit).where(this).values(asking=then))
        return audit_records(connection, this)[0]


def abandon(catalogue: Catalogue, audit_id: int) -> None:
    """Give an open audit up; its answers stay labels, and its risk stays spent."""
    with catalogue.write() as connection:
        end(connection, audit_id, AuditState.ABANDONED)


def end(
    connection: Connection,
    audit_id: int,
    state: AuditState,
    *,
    tested: AuditAnswers | None = None,
) -> None:
    """Close an audit, keeping which event answered which image.

    Raises BusyError if it is not open any more, or if its answers are not those that were
    `tested`: a person may have taken one back, or said something else, meanwhile.
    """
    is_open = sa.and_(Audit.c.id == audit_id, Audit.c.state == AuditState.OPEN)
    opened = audit_records(connection, is_open)
    if not opened:
        raise BusyError(
            f"Audit {audit_id} is not open any more: another process has closed it.",
            "See `curator status`.",
        )
    _keep_outcomes(connection, opened[0], tested)
    connection.execute(sa.update(Audit).where(is_open).values(state=state, closed_at=now()))


def _keep_outcomes(
    connection: Connection,
    record: AuditRecord,
    tested: AuditAnswers | None,
    *,
    only: int | None = None,
) -> None:
    """Write what answered each image that was asked, or those of one stratum."""
    answers = _answers(connection, record)
    if tested is not None and not _same(answers, tested):
        raise BusyError(
            "Answers of the audit changed while it was tested.",
            "Nothing was changed; run `curator certify` again.",
        )
    drawn = zip(_outcomes(answers), answers.event_ids.tolist(), answers.strata, strict=True)
    rows = [
        {"at": position, "with_outcome": outcome, "with_event": event_id or None}
        for position, (outcome, event_id, stratum) in enumerate(drawn)
        if only is None or stratum == only
    ]
    item = AuditItem.c
    update = (
        sa.update(AuditItem)
        .where(item.audit_id == record.audit_id, item.position == sa.bindparam("at"))
        .values(outcome=sa.bindparam("with_outcome"), event_id=sa.bindparam("with_event"))
    )
    connection.execute(update, rows)


def _same(answers: AuditAnswers, other: AuditAnswers) -> bool:
    same_events = np.array_equal(answers.event_ids, other.event_ids)
    return same_events and _outcomes(answers) == _outcomes(other)


def _outcomes(answers: AuditAnswers) -> list[str | None]:
    return [
        "answered" if event_id else "unshowable" if unshowable else "skipped" if skipped else None
        for event_id, skipped, unshowable in zip(
            answers.event_ids.tolist(), answers.skipped, answers.unshowable, strict=True
        )
    ]
