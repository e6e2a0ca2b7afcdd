"""What people did besides labelling, for `curator log`: labels, sources and images taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.text import path_text
from curator.base.vocabulary import EventKind, ExclusionKind, Label, Method
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import Exclusion, LabelEvent, LabelImport, SourceDrop

_event = LabelEvent.c
_decision = LabelEvent.alias().c
_review_sessions = (
    sa.select(_decision.session)
    .where(_decision.kind == EventKind.ASSERT, _decision.session.is_not(None))
    .where(_decision.session.not_in(sa.select(LabelImport.c.session)))
)
IS_UNLABEL = sa.and_(
    sa.text("label_event.target_id IS NOT NULL"),
    _event.method == Method.SINGLE,
    _event.session.is_not(None),
    _event.session.not_in(_review_sessions),
)
"""A decision that `unlabel` took back. `--replace` leaves another method, `u` in a review its
session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueChange:
    """Labels that were taken back (`unlabel`), a source that was dropped (`drop`), or images
    that were dropped as near-duplicates (`duplicates`).

    `number` is that of the first event of an `unlabel`, which `unlabel --undo` takes; `labels` its
    decisions by label. `restored` counts images whose drop was taken back. `source` and `root` are
    those of a dropped source, empty otherwise.
    """

    kind: Literal["unlabel", "drop", "duplicates"]
    number: int
    actor: str
    started_at: datetime
    images: int
    labels: dict[Label, int]
    restored: int = 0
    source: str = ""
    root: str = ""


def list_changes(catalogue: Catalogue) -> list[CatalogueChange]:
    """All changes, the oldest first."""
    with catalogue.read() as connection:
        changes = [*_unlabels(connection), *_drops(connection), *_exclusions(connection)]
    return sorted(changes, key=lambda change: change.started_at)


def unlabel_number(catalogue: Catalogue, session: str) -> int | None:
    """The number of the `unlabel` of this session; None if it took nothing back."""
    query = sa.select(sa.func.min(_event.id)).where(IS_UNLABEL, _event.session == session)
    with catalogue.read() as connection:
        return connection.execute(query).scalar()


def _unlabels(connection: Connection) -> Iterator[CatalogueChange]:
    query = (
        sa.select(
            _event.session,
            _event.label,
            sa.func.min(_event.id),
            sa.func.max(_event.actor),
            sa.func.min(_event.made_at),
            sa.func.count(),
        )
        .where(IS_UNLABEL)
        .group_by(_event.session, _event.label)
    )
    by_session: dict[str | None, list[Any]] = {}
    for session, *row in connection.execute(query):
        by_session.setdefault(session, []).append(row)
    images = sa.select(_event.session, sa.func.count(sa.distinct(_event.image_id)))
    counted = connection.execute(images.where(IS_UNLABEL).group_by(_event.session))
    images_of = {row[0]: row[1] for row in counted}
    for session, rows in by_session.items():
        labels: Counter[Label] = Counter()
        for label, *_, number in rows:
            labels[Label(label)] += number
        yield CatalogueChange(
            kind="unlabel",
            number=min(row[1] for row in rows),
            actor=rows[0][2] or "",
            started_at=min(row[3] for row in rows),
            images=images_of[session],
            labels=dict(sorted(labels.items())),
        )


def _drops(connection: Connection) -> Iterator[CatalogueChange]:
    for row in connection.execute(sa.select(*SourceDrop.c)):
        yield CatalogueChange(
            kind="drop",
            number=row.id,
            actor=row.actor,
            started_at=row.made_at,
            images=row.images,
            labels={},
            source=row.source,
            root=path_text(row.root),
        )


def _exclusions(connection: Connection) -> Iterator[CatalogueChange]:
    is_drop = Exclusion.c.kind == ExclusionKind.EXCLUDE
    query = sa.select(
        Exclusion.c.step,
        sa.func.min(Exclusion.c.actor),
        sa.func.min(Exclusion.c.made_at),
        sa.func.sum(sa.cast(is_drop, sa.Integer)),
        sa.func.sum(sa.cast(~is_drop, sa.Integer)),
    ).group_by(Exclusion.c.step)
    for step, actor, made_at, dropped, restored in connection.execute(query):
        yield CatalogueChange(
            kind="duplicates",
            number=step,
            actor=actor,
            started_at=made_at,
            images=dropped,
            labels={},
            restored=restored,
        )
