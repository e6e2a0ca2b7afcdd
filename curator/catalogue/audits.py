"""Audits: planned, opened with everything that was fixed beforehand, answered blind, closed once.

A planned audit has a frame and a plan. It is opened, and spends its risk, in the transaction that
writes its salt and its draw. What a person says about a drawn image is a label event like any
other; an answer of the audit is such an event of origin `audit` that was made since it was
opened, stands, and has not been contradicted since. Strata are asked one after the other. An
answer can be taken back until a verdict uses it: then its stratum is locked. Only one audit is
open at a time. What an audit spent is never given back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    PlannedAudit,
    Skip,
)
from curator.catalogue.queues import NO_FILTER, QueueFilter
from curator.errors import BusyError, DataError

QUEUE = "audit"
"""The queue in which an audit is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAudit:
    """An audit that is planned.

    `plan` is what the rest follows from, as plain values; `round_id` the head that the frame
    was made from; `risk` what it will spend; `rescue` the stratum that is asked only if nothing
    else passes.
    """

    kind: AuditKind
    scope: AuditScope
    plan: Mapping[str, Any]
    round_id: int | None
    seed: int
    max_error: float
    risk: float
    overlooked: float
    rescue: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRecord(NewAudit):
    """The planned audit with its frame; `last_event` is the newest event when it was planned."""

    frame_id: int
    last_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnImages:
    """What a salt draws for a plan; arrays are (drawn,), in the order in which images are shown.

    `salt_chosen` says that the salt does not come from the system's randomness. `terms` and
    `commitment` are what was promised and its digest, as they are shown when it is opened.
    """

    salt: str
    salt_chosen: bool
    terms: Mapping[str, Any]
    commitment: str
    image_ids: IntArray
    strata: IntArray
    inclusion_probability: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """An audit. `first_event` is the newest label event when it was opened.

    `round_id` is the round whose labels it is about, `asking` the stratum that is asked now
    (None: all at once). `sample` counts the images that may be asked, those of a rescue only
    once it is needed. `answered` counts its images with an answer that stands, and is what it
    was at the end once it is closed. `terms` are what was promised, `commitment` is the digest of
    all that was fixed when it was opened; both are empty for audits of older versions.
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
    salt: str | None
    asking: int | None
    terms: Mapping[str, Any]
    commitment: str


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


def list_audits(catalogue: Catalogue) -> list[AuditRecord]:
    """All audits, in the order in which they were opened."""
    with catalogue.read() as connection:
        return _records(connection)


def open_audit(catalogue: Catalogue) -> AuditRecord | None:
    """The audit that takes answers now."""
    with catalogue.read() as connection:
        return next(iter(_records(connection, Audit.c.state == AuditState.OPEN)), None)


def plan_audit(
    catalogue: Catalogue, frame_id: int, new: NewAudit, *, last_event: int | None = None
) -> None:
    """Keep the plan of an audit that is not opened yet, in place of one that was planned before.

    `last_event` is the newest label event that the frame knows of, that of now if not given.
    Raises BusyError if an audit is open, or if the head has moved since the frame was made.
    """
    with catalogue.write() as connection:
        _refuse_second(connection, new.round_id)
        check_whole(connection, frame_id)
        connection.execute(sa.delete(PlannedAudit))
        values = {
            "id": 1,
            "frame_id": frame_id,
            "scope": new.scope,
            "design": {
                "kind": str(new.kind),
                "round": new.round_id,
                "plan": dict(new.plan),
                "overlooked": new.overlooked,
                "rescue": new.rescue,
                "last_event": _newest_event(connection) if last_event is None else last_event,
            },
            "seed": new.seed,
            "max_error": new.max_error,
            "level": new.risk,
            "planned_at": now(),
        }
        connection.execute(sa.insert(PlannedAudit).values(**values))


def planned_audit(catalogue: Catalogue) -> PlannedRecord | None:
    """The audit that is planned and not opened."""
    with catalogue.read() as connection:
        row = connection.execute(sa.select(*PlannedAudit.c)).one_or_none()
    if row is None:
        return None
    return PlannedRecord(
        kind=AuditKind(row.design["kind"]),
        scope=row.scope,
        plan=row.design["plan"],
        round_id=row.design["round"],
        seed=row.seed,
        max_error=row.max_error,
        risk=row.level,
        overlooked=row.design["overlooked"],
        rescue=row.design["rescue"],
        frame_id=row.frame_id,
        last_event=row.design["last_event"],
    )


def begin_audit(catalogue: Catalogue, planned: PlannedRecord, drawn: DrawnImages) -> AuditRecord:
    """Open the planned audit: salt, draw and spent risk are one transaction.

    Raises BusyError if another audit is open, if the plan is not the one that is kept, or if
    labels of its frame changed since it was planned.
    """
    with catalogue.write() as connection:
        _refuse_second(connection, planned.round_id)
        check_whole(connection, planned.frame_id)
        frame, event = FrameMember.c, LabelEvent.c
        changed = (
            sa.select(event.id)
            .join(FrameMember, frame.image_id == event.image_id)
            .where(frame.frame_id == planned.frame_id, event.id > planned.last_event)
            .limit(1)
        )
        same = sa.select(*PlannedAudit.c).where(PlannedAudit.c.frame_id == planned.frame_id)
        row = connection.execute(same).one_or_none()
        if (
            row is None
            or row.design["plan"] != planned.plan
            or connection.execute(changed).first() is not None
        ):
            raise BusyError(
                "Labels changed since this audit was planned, so nothing was drawn or spent.",
                "Plan it again: `curator audit`.",
            )
        attempts = connection.execute(sa.select(sa.func.count()).select_from(Audit)).scalar_one()
        opening = {
            "salt_chosen": drawn.salt_chosen,
            "terms": dict(drawn.terms),
            "commitment": drawn.commitment,
            "first_event": _newest_event(connection),
        }
        values = {
            "frame_id": row.frame_id,
            "scope": row.scope,
            "attempt": attempts + 1,
            "design": {**row.design, **opening},
            "seed": row.seed,
            "max_error": row.max_error,
            "level": row.level,
            "state": AuditState.OPEN,
            "opened_at": now(),
            "salt": drawn.salt,
            "asking": 0,
        }
        insert = sa.insert(Audit).values(**values).returning(Audit.c.id)
        audit_id = int(connection.execute(insert).scalar_one())
        for rows in chunked(_items(audit_id, drawn), CHUNK):
            connection.execute(sa.insert(AuditItem), rows)
        connection.execute(sa.delete(PlannedAudit))
        return _records(connection, Audit.c.id == audit_id)[0]


def _refuse_second(connection: Connection, round_id: int | None) -> None:
    for record in _records(connection, Audit.c.state == AuditState.OPEN):
        raise BusyError(
            f"Audit {record.audit_id} has been opened meanwhile.",
            "Go on with it: `curator audit`.",
        )
    if round_id != head_of(connection):
        raise BusyError(
            "The head has moved since this audit was planned.",
            "Nothing was opened or spent; plan it again: `curator audit`.",
        )


def newest_event(catalogue: Catalogue) -> int:
    """The newest label event, 0 if there is none."""
    with catalogue.read() as connection:
        return _newest_event(connection)


def _newest_event(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.max(LabelEvent.c.id))).scalar_one() or 0


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
        return _records(connection, this)[0]


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


def refuse_frame(connection: Connection) -> None:
    """Raises DataError if decisions of `batch` are about the open audit and are no answers to it.

    A label from elsewhere would change what the audit is about, in a way that its draw knows
    nothing of. The database decides, in the transaction of the labels: no audit can be opened
    between looking and recording.
    """
    opened, item = Audit.c, AuditItem.c
    is_asked = sa.exists().where(
        item.audit_id == opened.id,
        item.image_id == batch.c.image_id,
        item.outcome.is_(None),
        sa.or_(opened.asking.is_(None), opened.asking == item.stratum),
    )
    query = (
        sa.select(sa.func.count())
        .select_from(Audit)
        .join(FrameMember, FrameMember.c.frame_id == opened.frame_id)
        .join(batch, batch.c.image_id == FrameMember.c.image_id)
        .where(opened.state == AuditState.OPEN)
        .where(sa.or_(batch.c.origin != Origin.AUDIT, ~is_asked.correlate(Audit, batch)))
    )
    audited = sa.exists().where(opened.state == AuditState.OPEN)
    if not connection.execute(sa.select(audited)).scalar_one():
        return
    refused = connection.execute(query).scalar_one()
    if refused:
        (record,) = _records(connection, opened.state == AuditState.OPEN)
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
        .where(item.outcome.is_(None), ~_answered(record).correlate(AuditItem))
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
        salt=row.salt,
        asking=row.asking,
        terms=design.get("terms", {}),
        commitment=design.get("commitment", ""),
    )
    answered: sa.ColumnElement[bool] = AuditItem.c.event_id.is_not(None)
    if record.state is AuditState.OPEN:
        live = sa.and_(AuditItem.c.outcome.is_(None), _answered(record).correlate(AuditItem))
        answered = sa.or_(answered, live)
    drawn = sa.select(sa.func.count()).where(AuditItem.c.audit_id == row.id)
    rescue = design.get("rescue")
    may_be_asked = drawn
    if rescue is not None and row.asking != rescue:
        may_be_asked = drawn.where(AuditItem.c.stratum != rescue)
    return replace(
        record,
        sample=connection.execute(may_be_asked).scalar_one(),
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
    newest: Any = (
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
            answer.c.label,
            sa.func.coalesce(answer.c.id, 0),
            sa.case((locked, item.outcome == "skipped"), else_=sa.and_(requested, skipped)),
            sa.case(
                (locked, item.outcome == "unshowable"),
                else_=sa.and_(requested, sa.or_(ImageState.c.usable == 0, ~there)),
            ),
            sa.and_(once_answered, answer.c.id.is_(None)),
            requested,
            locked,
        )
        .select_from(AuditItem)
        .join(ImageState, ImageState.c.image_id == item.image_id)
        .outerjoin(answer, answer.c.id == sa.case((locked, item.event_id), else_=newest))
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


def _items(audit_id: int, new: DrawnImages) -> list[dict[str, Any]]:
    columns = (new.image_ids, new.strata, new.inclusion_probability)
    drawn = zip(*(values.tolist() for values in columns), strict=True)
    names = ("image_id", "stratum", "inclusion_probability")
    return [
        {"audit_id": audit_id, "position": position, **dict(zip(names, row, strict=True))}
        for position, row in enumerate(drawn)
    ]
