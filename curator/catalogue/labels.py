"""What people say about images: recorded for good, taken back by another event.

Every function keeps `image_state` in step with the events within one transaction.
`curator.catalogue.current_labels.rule` is the rule in plain Python; tests and `verify` compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Split
from curator.catalogue import audits
from curator.catalogue.backend import Turn
from curator.catalogue.bulk import (
    CHUNK,
    Query,
    batch,
    chunked,
    emptied,
    execute_all,
    fill,
    plain_text,
    records,
    touched,
    values_of,
)
from curator.catalogue.changes import IS_UNLABEL
from curator.catalogue.constructs import insert_or_ignore, within
from curator.catalogue.current_labels.sql import head_of, lineage_of, refresh_current_labels
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.leases import new_session
from curator.catalogue.models import ImageState, LabelEvent, LabelImport, Moment
from curator.catalogue.units import pin_first_labels
from curator.errors import DataError
from curator.settings.sections import SplitsSettings

_event = LabelEvent.c
_retraction = LabelEvent.alias()
_is_retracted = sa.exists().where(_retraction.c.target_id == _event.id)

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

_ASSERT_REPLACED = sa.text("""
INSERT INTO label_event (
    image_id, kind, label, origin, method, reasons, note, actor, session, probability, made_at)
SELECT e.image_id, 'assert', e.label, e.origin, e.method, e.reasons, e.note, :actor, :session,
    e.probability, :made_at
FROM label_event e WHERE e.id IN (
SELECT r.target_id FROM touched t CROSS JOIN label_event own
JOIN label_event b ON b.id = own.target_id
JOIN label_event r ON r.image_id = b.image_id AND r.kind = 'retract' AND r.method = 'import'
    AND coalesce(r.session, '') = coalesce(b.session, '') AND r.made_at = b.made_at AND r.id < b.id
WHERE own.image_id = t.image_id AND own.kind = 'retract' AND own.made_at = :made_at
    AND coalesce(own.session, '') = coalesce(:session, '')
) ORDER BY e.id
""").bindparams(_MADE_AT)
"""What the decisions that are taken back now had replaced, in the order in which it was said."""

_TOUCH = sa.text("INSERT INTO touched (image_id) SELECT DISTINCT image_id FROM batch")

_CONFLICTS = sa.text("""
SELECT count(*), (SELECT max(id) FROM label_event) FROM touched t CROSS JOIN image_state s
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

    `unchanged` counts imports that repeat the current label; `conflicts` is how many of
    these images are in conflict now. `last_event_id` is the newest event, or
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
    image_id: int
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
    retracted: bool = False
    undone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    """The current label of an image."""

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
    file: str = "",
    splits: SplitsSettings | None = None,
    seed: int = 0,
    replace: bool = False,
    unless_after: int | None = None,
) -> RecordReport:
    """Record decisions of a person, all of them or none, in the order given.

    `file` is what they were imported from; all with the same `session`, one of their own if none
    is given, are one batch (`curator.catalogue.batches`).

    An import that repeats the current label (same label, same origin, also an import) records
    nothing. With `replace`, current human labels of these images that say otherwise are
    retracted first, so that an import settles instead of contradicting. The first human
    label of a unit pins its split; `splits` and `seed` may set its unit aside. Images leave
    the block list. Raises DataError if an image id is unknown, an origin is not a person's, or
    an image is in the frame of the open audit and this is no answer that it asks for.

    Who sends decisions again, because the answer was lost, says `unless_after`, the newest event
    that was known before: session, image and that event are the key of a decision, and what the
    session has recorded behind it is not recorded twice. This is settled in turn with the
    transaction whose answer was lost, so it also holds while the server still works on that.
    """
    decisions = list(decisions) if unless_after is not None else decisions
    with catalogue.write(Turn.SHORT) as connection:
        if unless_after is not None and isinstance(decisions, list):
            event_id = _recorded(connection, decisions, session, unless_after)
            if event_id is not None:
                return RecordReport(
                    recorded=len(decisions),
                    unchanged=0,
                    retracted=0,
                    conflicts=0,
                    last_event_id=event_id,
                )
        methods: set[Method] = set()
        rows = (_batch_row(at, each, methods) for at, each in enumerate(decisions))
        count = fill(connection, emptied(connection, batch), rows)
        _refuse_unknown(connection)
        audits.refuse_frame(connection)
        execute_all(connection, touched, _TOUCH)
        if Method.IMPORT in methods:
            connection.execute(_DROP_REPEATED_IMPORTS, {"replace": int(replace)})
        if file:
            session = session or new_session()
        who = _who(actor, session)
        retracted = connection.execute(_RETRACT_REPLACED, who).rowcount if replace else 0
        recorded = connection.execute(_ASSERT, who).rowcount
        if file and recorded:
            import_row = {"session": who["session"], "file": plain_text(file)}
            connection.execute(insert_or_ignore(LabelImport), import_row)
        refresh_current_labels(connection, *_SETTLED)
        conflicts, last = connection.execute(_CONFLICTS).one()
        # Last: it fills `touched` anew, with what follows from the pins.
        pin_first_labels(connection, splits, seed)
    return RecordReport(
        recorded=recorded,
        unchanged=count - recorded,
        retracted=retracted,
        conflicts=conflicts,
        last_event_id=last if recorded else None,
    )


def _recorded(
    connection: Connection, decisions: Sequence[Decision], session: str | None, after: int
) -> int | None:
    """The last event of a session that recorded all of these behind an event, else None."""
    query = (
        sa.select(_event.image_id, _event.label, _event.id)
        .where(
            within(_event.image_id, (decision.image_id for decision in decisions)),
            _event.id > after,
            _event.kind == EventKind.ASSERT,
            _event.session == session,
            ~_is_retracted,
        )
        .order_by(_event.id)
    )
    events = connection.execute(query).all()
    labels = {decision.image_id: decision.label for decision in decisions}
    is_recorded = {image_id: label for image_id, label, _ in events} == labels
    return events[-1][2] if is_recorded else None


def _batch_row(position: int, decision: Decision, methods: set[Method]) -> dict[str, Any]:
    """A row of `batch`; its method joins `methods`."""
    methods.add(decision.method)
    if decision.origin is Origin.PROMOTED or decision.method is Method.ROUND:
        raise DataError(
            "A person's decision cannot have the origin of a promotion.",
            "Use one of seed, review, calibration, audit.",
        )
    return values_of(decision) | {
        "position": position,
        "reasons": [plain_text(reason) for reason in decision.reasons] or None,
        "note": plain_text(decision.note) or None,
    }


def _who(actor: str, session: str | None) -> dict[str, Any]:
    return {
        "actor": plain_text(actor),
        "session": None if session is None else plain_text(session),
        "made_at": now(),
    }


def _refuse_unknown(connection: Connection) -> None:
    in_catalogue = sa.exists().where(ImageState.c.image_id == batch.c.image_id)
    query = sa.select(batch.c.image_id).where(~in_catalogue).order_by(batch.c.position).limit(3)
    unknown = connection.execute(query).scalars().all()
    if unknown:
        raise DataError(
            f"No image has the number {', '.join(map(str, unknown))}.",
            "Nothing was recorded; label images that are in the catalogue.",
        )


def retract(
    catalogue: Catalogue,
    event_ids: Sequence[int],
    *,
    actor: str,
    session: str | None = None,
    give_back: str = "",
) -> int:
    """Take back human decisions; returns how many were not taken back before.

    Raises DataError if an id is no human decision, or as `record_decisions` does for the open
    audit. The label before (an earlier decision, else a promotion) is then current again. What
    an import had replaced (`replace`) is recorded anew if `give_back` says as which file.
    """
    ids_to_retract = sorted(set(event_ids))
    with catalogue.write(Turn.SHORT) as connection:
        query = sa.select(*LabelEvent.c).where(LabelEvent.c.kind == EventKind.ASSERT)
        events = {
            event.id: event
            for ids in chunked(ids_to_retract, CHUNK)
            for event in connection.execute(query.where(within(LabelEvent.c.id, ids)))
        }
        missing = [event_id for event_id in ids_to_retract if event_id not in events]
        if missing:
            raise DataError(
                f"Event {missing[0]} is not a decision of a person.",
                "Only decisions of people can be taken back; rounds are rolled back.",
            )
        fill(
            connection,
            emptied(connection, batch),
            (
                {
                    "position": position,
                    "image_id": event.image_id,
                    "label": event.label,
                    "origin": event.origin,
                    "method": event.method,
                }
                for position, event in enumerate(events.values())
            ),
        )
        audits.refuse_frame(connection)
        who = _who(actor, session)
        rows = [
            {
                "image_id": event.image_id,
                "kind": EventKind.RETRACT,
                "label": event.label,
                "origin": event.origin,
                "method": Method.SINGLE,
                "target_id": event_id,
                **who,
            }
            for event_id, event in sorted(events.items())
        ]
        retracted = 0
        for chunk in chunked(rows, CHUNK):
            retracted += connection.execute(insert_or_ignore(LabelEvent), chunk).rowcount
        images = {event.image_id for event in events.values()}
        fill(connection, emptied(connection, touched), ({"image_id": each} for each in images))
        if give_back and connection.execute(_ASSERT_REPLACED, who).rowcount:
            import_row = {"session": who["session"], "file": give_back}
            connection.execute(insert_or_ignore(LabelImport), import_row)
        refresh_current_labels(connection)
    return retracted


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelUndone:
    """Decisions that are recorded again, about how many images, and how many of each label.

    `unchanged` images are left alone: somebody decided about them after they were taken back.
    """

    decisions: int
    images: int
    labels: dict[Label, int]
    unchanged: int


def undo_unlabel(
    catalogue: Catalogue, number: int, *, actor: str, session: str, dry_run: bool = False
) -> UnlabelUndone:
    """Record the decisions again that an `unlabel` took back, and take back what it gave back.

    `number` is that of its first event. Each decision keeps its label, origin, method, reasons and
    note. Repeated, it changes nothing. Raises DataError if there is no such `unlabel`, or as
    `record_decisions` does for the open audit.
    """
    with catalogue.read() if dry_run else catalogue.write(Turn.SHORT) as connection:
        former = connection.execute(
            sa.select(_event.session).where(IS_UNLABEL, _event.id == number)
        ).scalar()
        of_session = _event.session == former
        first = connection.execute(sa.select(sa.func.min(_event.id)).where(IS_UNLABEL, of_session))
        if former is None or first.scalar() != number:
            raise DataError(
                f"There is no unlabel {number}.", "`curator log` lists them, with their numbers."
            )
        targets = sa.select(_event.target_id).where(IS_UNLABEL, of_session)
        events = connection.execute(
            sa.select(*LabelEvent.c).where(_event.id.in_(targets)).order_by(_event.id)
        ).all()
        stands = sa.and_(_event.kind == EventKind.ASSERT, ~_is_retracted)
        images = sorted({event.image_id for event in events})
        decided_since: set[int] = set()
        given_back: dict[int, Any] = {}
        for ids in chunked(images, CHUNK):
            later = sa.select(*LabelEvent.c).where(
                within(_event.image_id, ids), stands, _event.id > number
            )
            for event in connection.execute(later):
                if event.session == former:
                    given_back[event.id] = event
                else:
                    decided_since.add(event.image_id)
        again = [event for event in events if event.image_id not in decided_since]
        undone = UnlabelUndone(
            decisions=len(again),
            images=len({event.image_id for event in again}),
            labels=dict(sorted(Counter(event.label for event in again).items())),
            unchanged=len(decided_since),
        )
        if dry_run or not again:
            return undone
        columns = ("image_id", "label", "origin", "method", "reasons", "note", "probability")
        rows = [{name: getattr(event, name) for name in columns} for event in again]
        numbered = ({"position": n, **row} for n, row in enumerate(rows))
        fill(connection, emptied(connection, batch), numbered)
        audits.refuse_frame(connection)
        who = _who(actor, session)
        retractions = [
            {
                "image_id": event.image_id,
                "kind": EventKind.RETRACT,
                "label": event.label,
                "origin": event.origin,
                "method": Method.IMPORT,
                "target_id": event_id,
                **who,
            }
            for event_id, event in sorted(given_back.items())
            if event.image_id not in decided_since
        ]
        for chunk in chunked(retractions, CHUNK):
            connection.execute(insert_or_ignore(LabelEvent), chunk)
        fill(
            connection,
            emptied(connection, touched),
            ({"image_id": image_id} for image_id in {event.image_id for event in again}),
        )
        connection.execute(_ASSERT, who)
        import_row = {"session": who["session"], "file": f"unlabel {number}, undone"}
        connection.execute(insert_or_ignore(LabelImport), import_row)
        refresh_current_labels(connection, *_SETTLED)
    return undone


def own_decisions(
    catalogue: Catalogue, actor: str, *, limit: int = 1, origin: Origin | None = None
) -> list[HistoryEvent]:
    """The newest decisions of a reviewer that were not taken back, newest first.

    Imports are left out. With an `origin` only those made in such work: open review,
    calibration or an audit.
    """
    retraction = LabelEvent.alias()
    imported = sa.exists().where(LabelImport.c.session == LabelEvent.c.session)
    query = _EVENTS.where(
        # Literally the condition of the partial index on actors, so that it is used.
        sa.text("label_event.kind = 'assert'"),
        LabelEvent.c.actor == plain_text(actor),
        LabelEvent.c.method != Method.IMPORT,
        LabelEvent.c.session.is_not(None),  # imports of earlier versions have no session
        ~imported,
        ~sa.exists().where(retraction.c.target_id == LabelEvent.c.id),
    )
    if origin is not None:
        query = query.where(LabelEvent.c.origin == origin)
    with catalogue.read() as connection:
        ordered = query.order_by(LabelEvent.c.id.desc()).limit(limit)
        return records(connection, ordered, _history_event)


def sheet_decisions(catalogue: Catalogue, decision: HistoryEvent) -> list[HistoryEvent]:
    """All decisions that were made in one go with this one on a contact sheet."""
    if decision.method is not Method.SHEET or decision.actor is None:
        return [decision]
    return [
        event
        for event in own_decisions(catalogue, decision.actor, limit=2_000)
        if event.method is Method.SHEET
        and event.session == decision.session
        and event.made_at == decision.made_at
    ]


def history(catalogue: Catalogue, image_id: int) -> list[HistoryEvent]:
    """Every label event of an image, oldest first."""
    query = _EVENTS.where(LabelEvent.c.image_id == image_id).order_by(LabelEvent.c.id)
    with catalogue.read() as connection:
        events = records(connection, query, _history_event)
        lineage = set(lineage_of(connection, head_of(connection)))
    retracted = {event.target_id for event in events if event.target_id is not None}
    return [
        replace_fields(
            event,
            retracted=event.event_id in retracted,
            undone=event.round is not None and event.round not in lineage,
        )
        for event in events
    ]


_EVENTS: Query = sa.select(
    LabelEvent.c.id.label("event_id"),
    LabelEvent.c.round_id.label("round"),
    *(each for each in LabelEvent.c if each.name not in ("id", "round_id")),
)


def _history_event(*, reasons: list[str] | None, note: str | None, **fields: Any) -> HistoryEvent:
    return HistoryEvent(reasons=tuple(reasons or ()), note=note or "", **fields)


def current(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, LabelRecord]:
    """The current label of each of these images; unknown ids are left out."""
    state = ImageState.c
    query: Query = sa.select(
        state.image_id,
        state.standing,
        state.origin,
        LabelEvent.c.method,
        state.probability,
        state.round_id.label("round"),
        state.event_id,
        state.split,
    ).outerjoin(LabelEvent, LabelEvent.c.id == state.event_id)
    with catalogue.read() as connection:
        return {
            record.image_id: record
            for ids in chunked(image_ids, CHUNK)
            for record in records(connection, query.where(within(state.image_id, ids)), LabelRecord)
        }
