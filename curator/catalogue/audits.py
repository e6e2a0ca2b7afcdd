"""Audits: opened with everything that was fixed beforehand, answered blind, closed once.

What a person says about a drawn image is a label event like any other; an answer of the audit
is such an event of origin `audit` that was made since it was opened, stands, and has not
been contradicted since. So an answer can be taken back until the audit is closed, an image that
was called something else elsewhere is asked for again, and nothing has to be kept in step.
Only one audit is open at a time. What an audit spent is never given back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.text import count
from curator.base.vocabulary import (
    AuditKind,
    AuditScope,
    AuditState,
    EventKind,
    Label,
    LocationState,
    Origin,
)
from curator.catalogue.bulk import CHUNK, Fetched, batch, chunked, column
from curator.catalogue.claims import is_claimed
from curator.catalogue.current_labels.sql import head_of
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.frames import check_whole
from curator.catalogue.models import (
    Audit,
    AuditFrame,
    AuditItem,
    Claim,
    FrameMember,
    ImageState,
    LabelEvent,
    LabelEventColumns,
    Location,
    Skip,
)
from curator.catalogue.queues import NO_FILTER, QueueFilter
from curator.errors import BusyError, DataError

QUEUE = "audit"
"""The queue in which an audit is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAudit:
    """An audit that is about to be opened.

    `plan` is what the rest follows from, as plain values; `round_id` the head that the frame
    was made from; `risk` what it spends. Arrays are
    (sample,), in the order in which images are shown.
    """

    kind: AuditKind
    scope: AuditScope
    plan: Mapping[str, Any]
    round_id: int | None
    seed: int
    max_error: float
    risk: float
    overlooked: float
    image_ids: IntArray
    strata: IntArray
    inclusion_probability: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """An audit. `first_event` is the newest label event when it was opened.

    `round_id` is the round whose labels it is about. `answered` counts its images with an
    answer that stands, and is what it was at the end once it is closed.
    """

    audit_id: int
    frame_id: int
    frame_digest: str
    frame_size: int
    round_id: int | None
    kind: AuditKind
    scope: AuditScope
    state: AuditState
    attempt: int
    seed: int
    max_error: float
    risk: float
    overlooked: float
    plan: Mapping[str, Any]
    first_event: int
    sample: int
    answered: int
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAnswers:
    """What became of the drawn images, all arrays (sample,), in the order of the draw.

    `labels` holds the answer that stands, or None; `event_ids` its event, or 0. `skipped`
    marks images that somebody passed over, `unshowable` those that cannot be opened any
    more; both only say why there is no answer. So does `contradicted`, while the audit is
    open: there was one, and then somebody said something else.
    """

    image_ids: IntArray
    strata: IntArray
    inclusion_probability: FloatArray
    labels: Sequence[Label | None]
    event_ids: IntArray
    skipped: BoolArray
    unshowable: BoolArray
    contradicted: BoolArray

    @property
    def answered(self) -> int:
        """Images with an answer."""
        return int((self.event_ids > 0).sum())

    @property
    def waiting(self) -> int:
        """Images that still want an answer."""
        return int(((self.event_ids == 0) & ~self.skipped & ~self.unshowable).sum())


def list_audits(catalogue: Catalogue) -> list[AuditRecord]:
    """All audits, in the order in which they were opened."""
    with catalogue.read() as connection:
        return _records(connection)


def open_audit(catalogue: Catalogue) -> AuditRecord | None:
    """The audit that takes answers now."""
    with catalogue.read() as connection:
        return next(iter(_records(connection, Audit.c.state == AuditState.OPEN)), None)


def begin_audit(catalogue: Catalogue, frame_id: int, new: NewAudit) -> AuditRecord:
    """Open an audit of a frame, all of it in one transaction.

    Raises BusyError if another audit is open, or if the head has moved since the frame was
    made.
    """
    with catalogue.write() as connection:
        check_whole(connection, frame_id)
        for record in _records(connection, Audit.c.state == AuditState.OPEN):
            raise BusyError(
                f"Audit {record.audit_id} has been opened meanwhile.",
                "Go on with it: `curator audit`.",
            )
        if new.round_id != head_of(connection):
            raise BusyError(
                "Another process moved the head while this audit was planned.",
                "Nothing was opened; run the command again.",
            )
        attempts = connection.execute(sa.select(sa.func.count()).select_from(Audit)).scalar_one()
        newest = connection.execute(sa.select(sa.func.max(LabelEvent.c.id))).scalar_one() or 0
        values = {
            "frame_id": frame_id,
            "scope": new.scope,
            "attempt": attempts + 1,
            "design": {
                "kind": str(new.kind),
                "round": new.round_id,
                "plan": dict(new.plan),
                "overlooked": new.overlooked,
                "first_event": newest,
            },
            "seed": new.seed,
            "max_error": new.max_error,
            "level": new.risk,
            "state": AuditState.OPEN,
            "opened_at": now(),
        }
        insert = sa.insert(Audit).values(**values).returning(Audit.c.id)
        audit_id = int(connection.execute(insert).scalar_one())
        for rows in chunked(_items(audit_id, new), CHUNK):
            connection.execute(sa.insert(AuditItem), rows)
        return _records(connection, Audit.c.id == audit_id)[0]


def attempts(catalogue: Catalogue) -> int:
    """How many audits were ever opened."""
    with catalogue.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(Audit)).scalar_one()


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
    opened = _records(connection, is_open)
    if not opened:
        raise BusyError(
            f"Audit {audit_id} is not open any more: another process has closed it.",
            "See `curator status`.",
        )
    answers = _answers(connection, opened[0])
    if tested is not None and not _same(answers, tested):
        raise BusyError(
            "Answers of the audit changed while it was tested.",
            "Nothing was changed; run `curator certify` again.",
        )
    rows = [
        {"at": position, "with_outcome": outcome, "with_event": event_id or None}
        for position, (outcome, event_id) in enumerate(
            zip(_outcomes(answers), answers.event_ids.tolist(), strict=True)
        )
    ]
    item = AuditItem.c
    update = (
        sa.update(AuditItem)
        .where(item.audit_id == audit_id, item.position == sa.bindparam("at"))
        .values(outcome=sa.bindparam("with_outcome"), event_id=sa.bindparam("with_event"))
    )
    connection.execute(update, rows)
    connection.execute(sa.update(Audit).where(is_open).values(state=state, closed_at=now()))


def refuse_frame(connection: Connection) -> None:
    """Raises DataError if decisions of `batch` are about the open audit and are no answers to it.

    A label from elsewhere would change what the audit is about, in a way that its draw knows
    nothing of. The database decides, in the transaction of the labels: no audit can be opened
    between looking and recording.
    """
    opened = _records(connection, Audit.c.state == AuditState.OPEN)
    if not opened:
        return
    record, item = opened[0], AuditItem.c
    is_drawn = sa.exists().where(
        item.audit_id == record.audit_id, item.image_id == batch.c.image_id
    )
    query = (
        sa.select(sa.func.count())
        .select_from(batch)
        .join(FrameMember, FrameMember.c.image_id == batch.c.image_id)
        .where(FrameMember.c.frame_id == record.frame_id)
        .where(sa.or_(batch.c.origin != Origin.AUDIT, ~is_drawn))
    )
    refused = connection.execute(query).scalar_one()
    if refused:
        raise DataError(
            f"{count(refused, 'decision')} would change labels that audit {record.audit_id} is"
            f" about, which is open ({record.answered:,} of {record.sample:,} answered).",
            "Nothing was recorded. Finish the audit with `curator audit` and `curator certify`, or"
            " give it up with `curator audit --abandon`; then record them.",
        )


def answers_of(catalogue: Catalogue, record: AuditRecord) -> AuditAnswers:
    """What people have said about the drawn images: so far, or when the audit was closed."""
    with catalogue.read() as connection:
        return _answers(connection, record)


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
            f"Audit {audit_id}: event {event_id} is no answer about image {image_id}."
            for audit_id, image_id, event_id in connection.execute(query)
        ]


def waiting_ids(
    catalogue: Catalogue,
    record: AuditRecord,
    *,
    size: int | None,
    leave_out: QueueFilter = NO_FILTER,
) -> list[int]:
    """Drawn images without an answer, in the order of the draw; those in quarantine are left out.

    `leave_out` keeps away what another session has claimed and what this one has skipped.
    """
    item = AuditItem.c
    query = (
        sa.select(item.image_id)
        .join(ImageState, ImageState.c.image_id == item.image_id)
        .where(item.audit_id == record.audit_id, ImageState.c.usable == 1)
        .where(~_answered(record).correlate(AuditItem))
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


def _records(connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[AuditRecord]:
    query = (
        sa.select(
            *Audit.c,
            AuditFrame.c.digest.label("frame_digest"),
            AuditFrame.c.size.label("frame_size"),
        )
        .join(AuditFrame, AuditFrame.c.id == Audit.c.frame_id)
        .where(*conditions)
        .order_by(Audit.c.id)
    )
    return [_record(connection, row) for row in connection.execute(query).all()]


def _record(connection: Connection, row: Fetched) -> AuditRecord:
    design = row.design
    record = AuditRecord(
        audit_id=row.id,
        frame_id=row.frame_id,
        frame_digest=row.frame_digest,
        frame_size=row.frame_size,
        round_id=design["round"],
        kind=AuditKind(design["kind"]),
        scope=row.scope,
        state=row.state,
        attempt=row.attempt,
        seed=row.seed,
        max_error=row.max_error,
        risk=row.level,
        overlooked=design["overlooked"],
        plan=design["plan"],
        first_event=design["first_event"],
        sample=0,
        answered=0,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )
    answered = (
        _answered(record).correlate(AuditItem)
        if record.state is AuditState.OPEN
        else AuditItem.c.event_id.is_not(None)
    )
    drawn = sa.select(sa.func.count()).where(AuditItem.c.audit_id == row.id)
    return replace(
        record,
        sample=connection.execute(drawn).scalar_one(),
        answered=connection.execute(drawn.where(answered)).scalar_one(),
    )


def _answered(record: AuditRecord) -> sa.Exists:
    """Whether an image of `audit_item` has an answer of this audit that stands."""
    return sa.exists().where(*_is_answer(record))


def _is_answer(record: AuditRecord) -> list[sa.ColumnElement[bool]]:
    event, later = LabelEvent.c, LabelEvent.alias()
    contradicted = sa.exists().where(
        later.c.image_id == event.image_id,
        later.c.id > event.id,
        later.c.kind == EventKind.ASSERT,
        later.c.label != event.label,
        _stands(later),
    )
    return [*_was_answer(record), ~contradicted]


def _was_answer(record: AuditRecord) -> list[sa.ColumnElement[bool]]:
    event = LabelEvent.c
    return [
        event.image_id == AuditItem.c.image_id,
        event.id > record.first_event,
        event.kind == EventKind.ASSERT,
        event.origin == Origin.AUDIT,
        _stands(LabelEvent),
    ]


def _stands(event: sa.FromClause[LabelEventColumns]) -> sa.ColumnElement[bool]:
    taken_back = LabelEvent.alias()
    return ~sa.exists().where(taken_back.c.target_id == event.c.id)


def _answers(connection: Connection, record: AuditRecord) -> AuditAnswers:
    item = AuditItem.c
    newest = (
        sa.select(sa.func.max(LabelEvent.c.id))
        .where(*_is_answer(record))
        .correlate(AuditItem)
        .scalar_subquery()
    )
    answer = LabelEvent.alias()
    once_answered: sa.ColumnElement[bool] = (
        sa.exists().where(*_was_answer(record)).correlate(AuditItem)
    )
    skipped = sa.exists().where(
        Skip.c.image_id == item.image_id,
        Skip.c.queue == QUEUE,
        Skip.c.skipped_at >= record.opened_at,
    )
    there = sa.exists().where(
        Location.c.image_id == item.image_id, Location.c.state == LocationState.PRESENT
    )
    gone: sa.ColumnElement[bool] = sa.or_(ImageState.c.usable == 0, ~there)
    passed: sa.ColumnElement[bool] = skipped
    event_id: Any = newest
    if record.state is not AuditState.OPEN:  # as it was then, whatever has been said since
        event_id, once_answered = item.event_id, sa.false()
        passed, gone = item.outcome == "skipped", item.outcome == "unshowable"
    query = (
        sa.select(
            item.image_id,
            item.stratum,
            item.inclusion_probability,
            answer.c.label,
            sa.func.coalesce(answer.c.id, 0),
            sa.func.coalesce(passed, False),
            sa.func.coalesce(gone, False),
            sa.and_(once_answered, answer.c.id.is_(None)),
        )
        .select_from(AuditItem)
        .join(ImageState, ImageState.c.image_id == item.image_id)
        .outerjoin(answer, answer.c.id == event_id)
        .where(item.audit_id == record.audit_id)
        .order_by(item.position)
    )
    rows = connection.execute(query).all()
    ids, strata, chances, labels, events, skips, absent, changed = zip(*rows, strict=True)
    return AuditAnswers(
        image_ids=column(ids, np.int64),
        strata=column(strata, np.int64),
        inclusion_probability=column(chances, np.float64),
        labels=[None if label is None else Label(label) for label in labels],
        event_ids=column(events, np.int64),
        skipped=column(map(bool, skips), np.bool_),
        unshowable=column(map(bool, absent), np.bool_),
        contradicted=column(map(bool, changed), np.bool_),
    )


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


def _items(audit_id: int, new: NewAudit) -> list[dict[str, Any]]:
    drawn = zip(
        new.image_ids.tolist(),
        new.strata.tolist(),
        new.inclusion_probability.tolist(),
        strict=True,
    )
    return [
        {
            "audit_id": audit_id,
            "position": position,
            "image_id": image_id,
            "stratum": stratum,
            "inclusion_probability": probability,
        }
        for position, (image_id, stratum, probability) in enumerate(drawn)
    ]
