"""What people say about images: recorded for good, taken back by another event.

Every function keeps `image_state` in step with the events within one transaction.
`curator.catalogue.current_labels.rule` is the rule in plain Python; tests and `verify` compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Split
from curator.catalogue.bulk import (
    CHUNK,
    Fetched,
    Query,
    batch,
    chunked,
    emptied,
    fill,
    plain_text,
    touched,
    within,
)
from curator.catalogue.current_labels.sql import head_of, lineage_of, refresh_current_labels
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import ImageState, LabelEvent, Moment
from curator.catalogue.sqlite import insert_or_ignore
from curator.catalogue.units import NO_SHARES, SplitShares, pin_first_labels
from curator.errors import DataError

__all__ = [
    "CurrentLabel",
    "HistoryEvent",
    "RecordReport",
    "SplitShares",
    "current",
    "history",
    "last_decisions",
    "record_decisions",
    "retract",
]

_MADE_AT = sa.bindparam("made_at", type_=Moment())

_DROP_REPEATED_IMPORTS = sa.text("""
DELETE FROM batch WHERE position IN (
    SELECT position FROM (
        SELECT b.position, b.image_id, b.label, b.origin, b.method,
            lag(b.label || ' ' || b.origin || ' ' || b.method) OVER one AS before
        FROM batch b WINDOW one AS (PARTITION BY b.image_id ORDER BY b.position)
    ) b
    WHERE b.method = 'import' AND (
        b.before = b.label || ' ' || b.origin || ' import'
        OR EXISTS (
            SELECT 1 FROM image_state s JOIN label_event e ON e.id = s.event_id
            WHERE s.image_id = b.image_id AND b.before IS NULL
              AND s.standing = b.label AND s.origin = b.origin AND e.method = 'import'
        )
        OR EXISTS (
            SELECT 1 FROM image_state s JOIN label_event e ON e.image_id = s.image_id
            WHERE s.image_id = b.image_id AND s.standing = 'conflict' AND :replace = 0
              AND e.kind = 'assert' AND e.method = 'import'
              AND e.label = b.label AND e.origin = b.origin
              AND NOT EXISTS (SELECT 1 FROM label_event r WHERE r.target_id = e.id)
              AND NOT EXISTS (
                  SELECT 1 FROM label_event o
                  WHERE o.image_id = e.image_id AND o.id > e.id
                    AND o.kind = 'assert' AND o.method <> 'import'
                    AND NOT EXISTS (SELECT 1 FROM label_event r WHERE r.target_id = o.id))
        )
    )
)
""")
"""An import that says what the image's newest decision says, or what its conflict holds."""

_RETRACT_REPLACED = sa.text("""
INSERT INTO label_event (image_id, kind, label, origin, method, actor, session, target_id, made_at)
SELECT e.image_id, 'retract', e.label, e.origin, 'import', :actor, :session, e.id, :made_at
FROM (SELECT DISTINCT image_id FROM batch) b CROSS JOIN label_event e
WHERE e.image_id = b.image_id AND e.kind = 'assert'
  AND NOT EXISTS (SELECT 1 FROM label_event r WHERE r.target_id = e.id)
ORDER BY e.id
""").bindparams(_MADE_AT)

_ASSERT = sa.text("""
INSERT INTO label_event (
    image_id, kind, label, origin, method, reasons, note, actor, session, probability, made_at)
SELECT image_id, 'assert', label, origin, method, reasons, note, :actor, :session,
    probability, :made_at
FROM batch ORDER BY position
""").bindparams(_MADE_AT)

_CONFLICTS = sa.text("""
SELECT count(*) FROM touched t CROSS JOIN image_state s
WHERE s.image_id = t.image_id AND s.standing = 'conflict'
""")

_SETTLED = (
    sa.text("DELETE FROM block WHERE image_id IN (SELECT image_id FROM touched)"),
    sa.text("DELETE FROM claim WHERE image_id IN (SELECT image_id FROM touched)"),
)
"""What a person's decision about an image brings to an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReport:
    """What recording decisions did.

    `unchanged` counts imports that said what stood already; `conflicts` is how many of
    the images touched stand as a conflict now. `last_event_id` is the newest event, or
    None if nothing was recorded.
    """

    recorded: int
    unchanged: int
    retracted: int
    conflicts: int
    last_event_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One event of an image's history.

    `retracted`: a person took this one back. `undone`: it belongs to a round that was
    rolled back and is not on the way to the current one.
    """

    event_id: int
    kind: EventKind
    label: Label
    origin: Origin
    method: Method
    reasons: tuple[str, ...]
    note: str
    actor: str | None
    session: str | None
    round: int | None
    target_id: int | None
    probability: float | None
    threshold: float | None
    made_at: datetime
    retracted: bool
    undone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    """What stands for an image now."""

    image_id: int
    standing: CurrentLabel | None
    origin: Origin | None
    method: Method | None
    probability: float | None
    round: int | None
    event_id: int | None
    split: Split | None


def record_decisions(
    catalogue: Catalogue,
    decisions: Iterable[Decision],
    *,
    actor: str,
    session: str | None = None,
    shares: SplitShares = NO_SHARES,
    replace: bool = False,
) -> RecordReport:
    """Record decisions of a person, all of them or none, in the order given.

    An import that repeats what stands (same label, same origin, also an import) records
    nothing. With `replace`, standing human labels of these images that say otherwise are
    retracted first, so that an import settles instead of contradicting. The first human
    label of a unit pins its split. Images leave the block list. Raises DataError if an
    image id is unknown or an origin is not a person's.
    """
    with catalogue.write() as connection:
        given = fill(connection, emptied(connection, batch), map(_batch_row, enumerate(decisions)))
        _refuse_unknown(connection)
        _touch_batch(connection)
        connection.execute(_DROP_REPEATED_IMPORTS, {"replace": int(replace)})
        who = _who(actor, session)
        retracted = connection.execute(_RETRACT_REPLACED, who).rowcount if replace else 0
        recorded = connection.execute(_ASSERT, who).rowcount
        last = connection.execute(sa.select(sa.func.max(LabelEvent.c.id))).scalar_one()
        for statement in _SETTLED:
            connection.execute(statement)
        refresh_current_labels(connection)
        conflicts = connection.execute(_CONFLICTS).scalar_one()
        pin_first_labels(connection, shares)
    return RecordReport(
        recorded=recorded,
        unchanged=given - recorded,
        retracted=retracted,
        conflicts=conflicts,
        last_event_id=last if recorded else None,
    )


def _batch_row(numbered: tuple[int, Decision]) -> dict[str, Any]:
    position, decision = numbered
    if decision.origin is Origin.PROMOTED or decision.method is Method.ROUND:
        raise DataError(
            "A person's decision cannot have the origin of a promotion.",
            "Use one of seed, review, calibration, audit.",
        )
    return {
        "position": position,
        "image_id": decision.image_id,
        "label": decision.label,
        "origin": decision.origin,
        "method": decision.method,
        "reasons": [plain_text(reason) for reason in decision.reasons] or None,
        "note": plain_text(decision.note) or None,
        "probability": decision.probability,
    }


def _who(actor: str, session: str | None) -> dict[str, Any]:
    return {
        "actor": plain_text(actor),
        "session": None if session is None else plain_text(session),
        "made_at": now(),
    }


def _refuse_unknown(connection: Connection) -> None:
    known = sa.exists().where(ImageState.c.image_id == batch.c.image_id)
    query = sa.select(batch.c.image_id).where(~known).order_by(batch.c.position).limit(3)
    unknown = connection.execute(query).scalars().all()
    if unknown:
        raise DataError(
            f"No image has the number {', '.join(map(str, unknown))}.",
            "Nothing was recorded; label images that are in the catalogue.",
        )


def _touch_batch(connection: Connection) -> None:
    emptied(connection, touched)
    images = sa.select(batch.c.image_id).distinct()
    connection.execute(sa.insert(touched).from_select(["image_id"], images))


def retract(
    catalogue: Catalogue, event_ids: Sequence[int], *, actor: str, session: str | None = None
) -> int:
    """Take back standing human decisions; how many were.

    Those already taken back are passed over. Raises DataError if an id is no human
    decision. What stood before (an earlier decision, else a promotion) stands again.
    """
    wanted = sorted(set(event_ids))
    with catalogue.write() as connection:
        query = _select_events().where(LabelEvent.c.kind == EventKind.ASSERT)
        found: dict[int, Fetched] = {}
        for ids in chunked(wanted, CHUNK):
            events = connection.execute(query.where(within(LabelEvent.c.id, ids)))
            found.update((event.id, event) for event in events)
        missing = [event_id for event_id in wanted if event_id not in found]
        if missing:
            raise DataError(
                f"Event {missing[0]} is not a decision of a person.",
                "Only decisions of people can be taken back; rounds are rolled back.",
            )
        rows = [_retraction(found[event_id]) | _who(actor, session) for event_id in wanted]
        retracted = 0
        for some in chunked(rows, CHUNK):
            retracted += connection.execute(insert_or_ignore(LabelEvent), some).rowcount
        fill(connection, emptied(connection, touched), _images_of(found.values()))
        refresh_current_labels(connection)
    return retracted


def _retraction(event: Fetched) -> dict[str, Any]:
    return {
        "image_id": event.image_id,
        "kind": EventKind.RETRACT,
        "label": event.label,
        "origin": event.origin,
        "method": Method.SINGLE,
        "target_id": event.id,
    }


def _images_of(events: Iterable[Fetched]) -> Iterator[dict[str, Any]]:
    return ({"image_id": image_id} for image_id in {event.image_id for event in events})


def last_decisions(
    catalogue: Catalogue, *, actor: str | None = None, session: str | None = None, limit: int = 1
) -> list[tuple[int, HistoryEvent]]:
    """The newest decisions that were not taken back, as (image id, event), newest first."""
    taken_back = LabelEvent.alias()
    query = (
        _select_events()
        .where(
            sa.text("label_event.kind = 'assert'"),
            ~sa.exists().where(taken_back.c.target_id == LabelEvent.c.id),
        )
        .order_by(LabelEvent.c.id.desc())
        .limit(limit)
    )
    if actor is not None:
        query = query.where(LabelEvent.c.actor == plain_text(actor))
    if session is not None:
        query = query.where(LabelEvent.c.session == plain_text(session))
    with catalogue.read() as connection:
        return [(row.image_id, _event(row, set(), set())) for row in connection.execute(query)]


def history(catalogue: Catalogue, image_id: int) -> list[HistoryEvent]:
    """Every label event of an image, oldest first."""
    query = _select_events().where(LabelEvent.c.image_id == image_id).order_by(LabelEvent.c.id)
    with catalogue.read() as connection:
        rows = connection.execute(query).all()
        standing = set(lineage_of(connection, head_of(connection)))
    taken_back = {row.target_id for row in rows if row.target_id is not None}
    rolled_back = {row.round_id for row in rows if row.round_id is not None} - standing
    return [_event(row, taken_back, rolled_back) for row in rows]


def _select_events() -> Query:
    return sa.select(*(LabelEvent.c))


def _event(row: Fetched, taken_back: set[int], rolled_back: set[int]) -> HistoryEvent:
    return HistoryEvent(
        event_id=row.id,
        kind=EventKind(row.kind),
        label=Label(row.label),
        origin=Origin(row.origin),
        method=Method(row.method),
        reasons=tuple(row.reasons or ()),
        note=row.note or "",
        actor=row.actor,
        session=row.session,
        round=row.round_id,
        target_id=row.target_id,
        probability=row.probability,
        threshold=row.threshold,
        made_at=row.made_at,
        retracted=row.id in taken_back,
        undone=row.round_id in rolled_back,
    )


def current(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, LabelRecord]:
    """What stands for each of these images; unknown ids are left out."""
    state = ImageState.c
    query: Query = sa.select(
        state.image_id,
        state.standing,
        state.origin,
        LabelEvent.c.method,
        state.probability,
        state.round_id,
        state.event_id,
        state.split,
    ).outerjoin(LabelEvent, LabelEvent.c.id == state.event_id)
    with catalogue.read() as connection:
        return {
            row[0]: _current(row)
            for ids in chunked(image_ids, CHUNK)
            for row in connection.execute(query.where(within(state.image_id, ids)))
        }


def _current(row: Fetched) -> LabelRecord:
    image_id, standing, origin, method, probability, round_id, event_id, split = row
    return LabelRecord(
        image_id=image_id,
        standing=None if standing is None else CurrentLabel(standing),
        origin=None if origin is None else Origin(origin),
        method=None if method is None else Method(method),
        probability=probability,
        round=round_id,
        event_id=event_id,
        split=None if split is None else Split(split),
    )
