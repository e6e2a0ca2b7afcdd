"""Batches of people's decisions: an import, a contact sheet, or what one session decided singly.

A batch is derived from its events, by session and moment, and its number is that of its first
event, so that it never changes. Imports of earlier versions have no session: those of one person
at one moment are one batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from curator.base.vocabulary import EventKind, Label, Method, Origin
from curator.catalogue.bulk import CHUNK, chunked
from curator.catalogue.constructs import within
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import AuditItem, LabelEvent, LabelImport
from curator.errors import DataError

_event = LabelEvent.c
_retraction = LabelEvent.alias()
_taken_back = sa.exists().where(_retraction.c.target_id == _event.id)
_audited = sa.exists().where(AuditItem.c.event_id == _event.id)
# Decisions made one by one belong to their session; a sheet is recorded in one moment, and so
# was an import of earlier versions.
_at_once = sa.or_(_event.method == Method.SHEET, _event.session.is_(None))
_IDENTITY = (
    sa.func.coalesce(_event.session, ""),
    _event.actor,
    sa.case((_at_once, sa.type_coerce(_event.made_at, sa.BigInteger)), else_=-1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBatch:
    """Decisions that were recorded together, and can be taken back together.

    `file` is what they were imported from: empty for a review, and where a version before 0008
    of the schema did not record it. `labels` counts all decisions, `taken_back` those of them that
    somebody took back. `locked` are answers that the verdict of an audit used: they stay.
    """

    batch_id: int
    kind: str
    file: str
    actor: str
    origins: tuple[Origin, ...]
    decisions: int
    taken_back: int
    locked: int
    labels: dict[Label, int]
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentDecision:
    """A decision of a person that nobody took back; `locked` as in `LabelBatch`."""

    event_id: int
    image_id: int
    label: Label
    batch_id: int
    locked: bool


def _sum_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    # Summed as booleans, SQLAlchemy would give True for any number.
    return sa.func.sum(sa.cast(condition, sa.Integer))


def _any_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.max(sa.cast(condition, sa.Integer))


def list_batches(catalogue: Catalogue) -> list[LabelBatch]:
    """All batches, the oldest first."""
    # Joined, as PostgreSQL knows no session behind the GROUP BY, and each has one import at most.
    is_imported = LabelImport.c.session.is_not(None)
    query = (
        sa.select(
            sa.func.min(_event.id),
            *_IDENTITY,
            _event.label,
            _event.origin,
            _any_of(_event.method == Method.SHEET),
            _any_of(sa.or_(_event.session.is_(None), _event.method == Method.IMPORT, is_imported)),
            sa.func.coalesce(sa.func.max(LabelImport.c.file), ""),
            sa.func.count(),
            _sum_of(_taken_back),
            _sum_of(sa.and_(_audited, ~_taken_back)),
            sa.func.min(_event.made_at),
            sa.func.max(_event.made_at),
        )
        .select_from(LabelEvent)
        .outerjoin(LabelImport, LabelImport.c.session == _event.session)
        .where(sa.text("label_event.kind = 'assert'"))
        .group_by(*_IDENTITY, _event.label, _event.origin)
    )
    parts: dict[tuple[str, str, int], list[Any]] = {}
    with catalogue.read() as connection:
        for row in connection.execute(query):
            parts.setdefault((row[1], row[2], row[3]), []).append(row)
    return sorted((_batch(rows) for rows in parts.values()), key=lambda batch: batch.batch_id)


def _batch(rows: Sequence[Any]) -> LabelBatch:
    """The batch of rows that count its decisions of one label and origin each."""
    labels: Counter[Label] = Counter()
    for row in rows:
        labels[Label(row[4])] += row[9]
    sheet, imported = any(row[6] for row in rows), any(row[7] for row in rows)
    return LabelBatch(
        batch_id=min(row[0] for row in rows),
        kind="import" if imported else "sheet" if sheet else "review",
        file=rows[0][8],
        actor=rows[0][2] or "",
        origins=tuple(sorted({Origin(row[5]) for row in rows})),
        decisions=labels.total(),
        taken_back=sum(row[10] for row in rows),
        locked=sum(row[11] for row in rows),
        labels=dict(sorted(labels.items())),
        started_at=min(row[12] for row in rows),
        ended_at=max(row[13] for row in rows),
    )


def decisions_of_batch(catalogue: Catalogue, batch_id: int) -> list[CurrentDecision]:
    """The decisions of a batch that nobody took back; DataError if there is no such batch."""
    with catalogue.read() as connection:
        first = connection.execute(
            sa.select(*_IDENTITY).where(_event.id == batch_id, _event.kind == EventKind.ASSERT)
        ).one_or_none()
        if first is not None:
            # By session where there is one: then the index on actors serves.
            of_batch = [part == value for part, value in zip(_IDENTITY, first, strict=True)]
            rows = connection.execute(
                sa.select(_event.id, _event.image_id, _event.label, _taken_back, _audited)
                .where(sa.text("label_event.kind = 'assert'"), *of_batch)
                .order_by(_event.id)
            ).all()
            if rows[0][0] == batch_id:
                return [
                    CurrentDecision(
                        event_id=event_id,
                        image_id=image_id,
                        label=Label(label),
                        batch_id=batch_id,
                        locked=bool(locked),
                    )
                    for event_id, image_id, label, taken_back, locked in rows
                    if not taken_back
                ]
    raise DataError(f"There is no batch {batch_id}.", "`curator log` lists the batches.")


def decisions_about(catalogue: Catalogue, image_ids: Sequence[int]) -> list[CurrentDecision]:
    """All decisions about images that nobody took back, each with the number of its batch."""
    query = (
        sa.select(_event.id, _event.image_id, _event.label, _audited, *_IDENTITY)
        .where(_event.kind == EventKind.ASSERT, ~_taken_back)
        .order_by(_event.id)
    )
    first = sa.select(sa.func.min(_event.id), *_IDENTITY).where(
        sa.text("label_event.kind = 'assert'")
    )
    with catalogue.read() as connection:
        number_of = {
            tuple(identity): number
            for number, *identity in connection.execute(first.group_by(*_IDENTITY))
        }
        return [
            CurrentDecision(
                event_id=event_id,
                image_id=image_id,
                label=Label(label),
                batch_id=number_of[tuple(identity)],
                locked=bool(locked),
            )
            for ids in chunked(image_ids, CHUNK)
            for event_id, image_id, label, locked, *identity in connection.execute(
                query.where(within(_event.image_id, ids))
            )
        ]
