"""Audits: planned with a frame, opened with everything that was fixed beforehand, one at a time.

A planned audit has a frame and a plan. It is opened, and spends its risk, in the transaction that
writes its salt and its draw. What it spent is never given back. Strata are asked one after the
other; `audit_answers` reads what people say, and closes the audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import FloatArray, IntArray
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope, AuditState, EventKind, Origin
from curator.catalogue.bulk import CHUNK, Fetched, batch, chunked
from curator.catalogue.current_labels.sql import head_of
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    Audit,
    AuditFrame,
    AuditItem,
    FrameMember,
    LabelEvent,
    LabelEventColumns,
    PlannedAudit,
)
from curator.errors import BusyError, DataError

# Made once: the columns of an alias cost more than the query that uses it.
_later, _taken_back = LabelEvent.alias(), LabelEvent.alias()


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


def list_audits(catalogue: Catalogue) -> list[AuditRecord]:
    """All audits, in the order in which they were opened."""
    with catalogue.read() as connection:
        return audit_records(connection)


def open_audit(catalogue: Catalogue) -> AuditRecord | None:
    """The audit that takes answers now."""
    with catalogue.read() as connection:
        return next(iter(audit_records(connection, Audit.c.state == AuditState.OPEN)), None)


def plan_audit(
    catalogue: Catalogue, frame_id: int, new: NewAudit, *, last_event: int | None = None
) -> None:
    """Keep the plan of an audit that is not opened yet, in place of one that was planned before.

    `last_event` is the newest label event that the frame knows of, that of now if not given.
    Raises BusyError if an audit is open, or if the head has moved since the frame was made.
    """
    with catalogue.write() as connection:
        _refuse_second(connection, new.round_id)
        _check_whole(connection, frame_id)
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
        _check_whole(connection, planned.frame_id)
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
        arrays = (drawn.image_ids, drawn.strata, drawn.inclusion_probability)
        items = [
            {
                "audit_id": audit_id,
                "position": position,
                "image_id": image_id,
                "stratum": stratum,
                "inclusion_probability": chance,
            }
            for position, (image_id, stratum, chance) in enumerate(
                zip(*(values.tolist() for values in arrays), strict=True)
            )
        ]
        for rows in chunked(items, CHUNK):
            connection.execute(sa.insert(AuditItem), rows)
        connection.execute(sa.delete(PlannedAudit))
        return audit_records(connection, Audit.c.id == audit_id)[0]


def refuse_open_audit(catalogue: Catalogue, what: str) -> None:
    """Raises DataError while an audit is open: `what` would change what it is about."""
    with catalogue.read() as connection:
        refuse_while_open(connection, what)


def refuse_while_open(connection: Connection, what: str) -> None:
    """`refuse_open_audit` in a transaction."""
    for record in audit_records(connection, Audit.c.state == AuditState.OPEN):
        raise DataError(
            f"Audit {record.audit_id} is open ({record.answered:,} of {record.sample:,} answered),"
            f" and {what} would change the labels that it is about.",
            "Finish it with `curator audit` and `curator certify`, or abandon it with"
            " `curator audit --abandon`; the risk that it spent stays spent.",
        )


def _refuse_second(connection: Connection, round_id: int | None) -> None:
    for record in audit_records(connection, Audit.c.state == AuditState.OPEN):
        raise BusyError(
            f"Audit {record.audit_id} has been opened meanwhile.",
            "Go on with it: `curator audit`.",
        )
    if round_id != head_of(connection):
        raise BusyError(
            "Another round became current after this audit was planned.",
            "Nothing was opened or spent; plan it again: `curator audit`.",
        )


def _check_whole(connection: Connection, frame_id: int) -> None:
    """Raises BusyError unless every image of the frame is there."""
    size = connection.execute(
        sa.select(AuditFrame.c.size).where(AuditFrame.c.id == frame_id)
    ).scalar()
    members = sa.select(sa.func.count()).where(FrameMember.c.frame_id == frame_id)
    if size is None or connection.execute(members).scalar_one() != size:
        raise BusyError(
            "Another process deleted this frame while it was written.",
            "Nothing was opened; run the command again.",
        )


def newest_event(catalogue: Catalogue) -> int:
    """The newest label event, 0 if there is none."""
    with catalogue.read() as connection:
        return _newest_event(connection)


def _newest_event(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.max(LabelEvent.c.id))).scalar_one() or 0


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
        (record,) = audit_records(connection, opened.state == AuditState.OPEN)
        raise DataError(
            f"{count(refused, 'decision')} would change labels that audit {record.audit_id} is"
            f" about, which is open ({record.answered:,} of {record.sample:,} answered).",
            "Nothing was recorded. Finish the audit with `curator audit` and `curator certify`, or"
            " abandon it with `curator audit --abandon`; then record them.",
        )


def audit_records(connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[AuditRecord]:
    """Audits for which these conditions hold, in the order in which they were opened."""
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
    design, item = row.design, AuditItem.c
    answered: sa.ColumnElement[bool] = item.event_id.is_not(None)
    if row.state is AuditState.OPEN:
        has_now = has_answer(design["first_event"]).correlate(AuditItem)
        answered = sa.or_(answered, sa.and_(item.outcome.is_(None), has_now))
    drawn = sa.select(sa.func.count()).where(item.audit_id == row.id)
    may_be_asked, rescue = drawn, design.get("rescue")
    if rescue is not None and row.asking != rescue:
        may_be_asked = drawn.where(item.stratum != rescue)
    return AuditRecord(
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
        sample=connection.execute(may_be_asked).scalar_one(),
        answered=connection.execute(drawn.where(answered)).scalar_one(),
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        salt=row.salt,
        asking=row.asking,
        terms=design.get("terms", {}),
        commitment=design.get("commitment", ""),
    )


def has_answer(first_event: int) -> sa.Exists:
    """Whether an image of `audit_item` has an answer of its audit that stands."""
    return sa.exists().where(*is_answer(first_event))


def is_answer(first_event: int) -> list[sa.ColumnElement[bool]]:
    """Whether a label event answers `audit_item`; `first_event` is that of the audit's record."""
    event = LabelEvent.c
    contradicted = sa.exists().where(
        _later.c.image_id == event.image_id,
        _later.c.id > event.id,
        _later.c.kind == EventKind.ASSERT,
        _later.c.label != event.label,
        _stands(_later),
    )
    return [*was_answer(first_event), ~contradicted]


def was_answer(first_event: int) -> list[sa.ColumnElement[bool]]:
    """Whether a label event answered `audit_item`, contradicted since or not."""
    event = LabelEvent.c
    return [
        event.image_id == AuditItem.c.image_id,
        event.id > first_event,
        event.kind == EventKind.ASSERT,
        event.origin == Origin.AUDIT,
        _stands(LabelEvent),
    ]


def _stands(event: sa.FromClause[LabelEventColumns]) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(_taken_back.c.target_id == event.c.id)
