"""Label events in bulk, and what reports show of them. Reads only.

Events of people come from their own indexes, those of a round from the round's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import sqlalchemy as sa

from curator.base.arrays import NEGATIVE_CODE, POSITIVE_CODE, CodeArray, IntArray
from curator.base.vocabulary import (
    NO_CODE,
    CurrentLabel,
    EventKind,
    GroupKind,
    Label,
    LocationState,
    Method,
    Origin,
    Quarantine,
    code_of,
)
from curator.catalogue.bulk import column, columns, records
from curator.catalogue.constructs import raw_rows
from curator.catalogue.current_labels.arrays import PeopleEvents
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import (
    Grouping,
    HeadMove,
    Image,
    ImageGroup,
    ImageState,
    LabelEvent,
    LabelImport,
    Location,
    Membership,
    Source,
)
from curator.catalogue.queues import in_open_audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Likenesses:
    """A group of near-duplicates: some of its usable images, and how many it has in all."""

    image_ids: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """An image or a file in quarantine: a path relative to its source, why, and what was said."""

    path: bytes
    source: str
    reason: Quarantine
    detail: str


def count_decisions(catalogue: Catalogue) -> int:
    """How many decisions of people stand, made or imported; from indexes alone."""
    # Each condition is literally that of a partial index; a decision is taken back once at most.
    asserted, retracted = (
        sa.select(sa.func.count()).select_from(LabelEvent).where(sa.text(condition))
        for condition in ("label_event.kind = 'assert'", "label_event.target_id IS NOT NULL")
    )
    with catalogue.read() as connection:
        decisions = connection.execute(asserted).scalar_one()
        return decisions - connection.execute(retracted).scalar_one()


def count_new_labels(catalogue: Catalogue, after: datetime) -> int:
    """How many images people labelled after a moment, those of audits apart."""
    taken_back = LabelEvent.alias()
    query = sa.select(sa.func.count(sa.distinct(LabelEvent.c.image_id))).where(
        sa.text("label_event.kind = 'assert'"),  # literally that of a partial index
        LabelEvent.c.made_at > after,
        LabelEvent.c.origin != Origin.AUDIT,
        ~sa.exists().where(taken_back.c.target_id == LabelEvent.c.id),
    )
    with catalogue.read() as connection:
        return connection.execute(query).scalar_one()


def people_events(catalogue: Catalogue, *, imports: bool = True) -> PeopleEvents:
    """All events of people, in their order; without `imports` only those that took them time."""
    event = LabelEvent.c
    fields = (
        event.id, event.image_id, event.target_id, event.kind, event.label, event.origin,
        event.method, sa.type_coerce(event.made_at, sa.BigInteger),
        # An import took nobody's time, whatever its method: it is no session.
        sa.case((LabelImport.c.session.is_(None), event.session)),
    )  # fmt: skip
    imports_of = LabelImport.c.session == event.session
    query = sa.select(*fields).select_from(sa.outerjoin(LabelEvent, LabelImport, imports_of))
    if not imports:
        query = query.where(event.method != Method.IMPORT)
    with catalogue.read() as connection:
        rows = [
            row
            # Each condition is literally that of a partial index.
            for condition in ("label_event.kind = 'assert'", "label_event.target_id IS NOT NULL")
            for row in raw_rows(connection.execute(query.where(sa.text(condition))))
        ]
    rows.sort()
    turned: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(fields)
    ids, images, targets, kinds, labels, origins, methods, moments, sessions = turned
    numbers: dict[Any, int] = {None: -1}
    return PeopleEvents(
        event_ids=column(ids, np.int64),
        image_ids=column(images, np.int64),
        targets=column((target or 0 for target in targets), np.int64),
        kinds=_codes(kinds, EventKind),
        labels=_codes(labels, Label),
        origins=_codes(origins, Origin),
        methods=_codes(methods, Method),
        moments=column(moments, np.int64),
        sessions=column(
            (numbers.setdefault(session, len(numbers) - 1) for session in sessions), np.int64
        ),
    )


def _codes(words: Sequence[str], vocabulary: type[StrEnum]) -> CodeArray:
    codes = {str(word): code_of(word) for word in vocabulary}
    return column((codes[word] for word in words), np.int8)


def round_events(catalogue: Catalogue, round_id: int) -> tuple[IntArray, CodeArray]:
    """Images that a round promoted or revoked; the class's `CurrentLabel` code, -1 for revoked."""
    event = LabelEvent.c
    class_code = sa.case(
        (event.kind == EventKind.REVOKE, NO_CODE),
        (event.label == Label.POSITIVE, POSITIVE_CODE),
        else_=NEGATIVE_CODE,
    )
    query = sa.select(event.image_id, class_code).where(event.round_id == round_id)
    with catalogue.read() as connection:
        images, codes = columns(connection, query, np.int64, np.int8)
    return images, codes


def last_change(catalogue: Catalogue) -> datetime | None:
    """When a person last recorded an event or the head last moved; None before all that."""
    queries = (
        sa.select(LabelEvent.c.made_at).order_by(LabelEvent.c.id.desc()).limit(1),
        sa.select(HeadMove.c.moved_at).order_by(HeadMove.c.id.desc()).limit(1),
    )
    with catalogue.read() as connection:
        moments = [connection.execute(query).scalar_one_or_none() for query in queries]
    return max((moment for moment in moments if moment is not None), default=None)


def current_promotions(catalogue: Catalogue, round_id: int) -> IntArray:
    """Usable images whose current promotion is of a round, by id; none of an open audit."""
    event, state = LabelEvent.c, ImageState.c
    query = (
        sa.select(event.image_id)
        .join(ImageState, state.event_id == event.id)
        .where(event.round_id == round_id, event.kind == EventKind.PROMOTE, state.usable == 1)
        .where(~in_open_audit())
        .order_by(event.image_id)
    )
    with catalogue.read() as connection:
        return column(connection.execute(query).scalars(), np.int64)


def revoked(catalogue: Catalogue, rounds: Sequence[int], *, size: int) -> list[tuple[int, int]]:
    """Images that these rounds revoked and that no round promoted since, with the round.

    The newest first; each image once; none of an open audit.
    """
    event, state = LabelEvent.c, ImageState.c
    round_of: dict[int, int] = {}
    with catalogue.read() as connection:
        for round_id in sorted(rounds, reverse=True):
            if len(round_of) >= size:
                break
            query = (
                sa.select(event.image_id)
                .join(ImageState, state.image_id == event.image_id)
                .where(event.round_id == round_id, event.kind == EventKind.REVOKE)
                .where(sa.or_(state.origin.is_(None), state.origin != Origin.PROMOTED))
                .where(state.usable == 1, ~in_open_audit())
                .order_by(event.image_id)
                .limit(size)
            )
            for image_id in connection.execute(query).scalars():
                round_of.setdefault(image_id, round_id)
    return list(round_of.items())[:size]


def near_duplicates(catalogue: Catalogue, *, groups: int, members: int) -> list[Likenesses]:
    """The largest groups of near-duplicates, each with its first images; none of an open audit."""
    member, state = Membership.c, ImageState.c
    with catalogue.read() as connection:
        current = sa.select(Grouping.c.id).where(
            Grouping.c.is_current == 1, Grouping.c.kind == GroupKind.PERCEPTUAL
        )
        usable = sa.and_(state.image_id == member.image_id, state.usable == 1)
        size = sa.func.count().label("size")
        largest = (
            sa.select(member.group_id, size)
            .join(ImageState, usable)
            .where(member.grouping_id.in_(current), member.is_primary == 1, ~in_open_audit())
            .group_by(member.group_id)
            .having(size > 1)
            .order_by(size.desc(), member.group_id)
            .limit(groups)
        )
        largest_groups = []
        for group_id, count in connection.execute(largest).all():
            first = (
                sa.select(member.image_id)
                .join(ImageState, usable)
                .join(ImageGroup, ImageGroup.c.id == member.group_id)
                .where(member.group_id == group_id, member.is_primary == 1, ~in_open_audit())
                .order_by(member.image_id != ImageGroup.c.representative_id, member.image_id)
                .limit(members)
            )
            ids = tuple(connection.execute(first).scalars())
            largest_groups.append(Likenesses(image_ids=ids, size=count))
    return largest_groups


def labels_by_source(
    catalogue: Catalogue,
) -> dict[str, dict[tuple[CurrentLabel | None, Origin | None], int]]:
    """Source → current label and origin → usable images with a file there.

    An image that lies in two sources counts in both.
    """
    state = ImageState.c
    here = (
        sa.select(Location.c.source_id, Location.c.image_id)
        .where(Location.c.state != LocationState.CHANGED, Location.c.image_id.is_not(None))
        .distinct()
        .subquery()
    )
    query = (
        sa.select(Source.c.name, state.standing, state.origin, sa.func.count())
        .select_from(here)
        .join(Source, Source.c.id == here.c.source_id)
        .join(ImageState, state.image_id == here.c.image_id)
        .where(state.usable == 1)
        .group_by(here.c.source_id, state.standing, state.origin)
    )
    counted: dict[str, dict[tuple[CurrentLabel | None, Origin | None], int]] = {}
    with catalogue.read() as connection:
        for source, standing, origin, count in connection.execute(query):
            counted.setdefault(source, {})[standing, origin] = count
    return counted


def unusable(catalogue: Catalogue, *, size: int) -> list[Unusable]:
    """Some of what is in quarantine, in order of reason and path; nothing that is no image."""
    images = (
        sa.select(
            Location.c.path,
            Source.c.name.label("source"),
            Image.c.quarantine.label("reason"),
            Image.c.detail,
        )
        .join(Image, Image.c.id == Location.c.image_id)
        .join(Source, Source.c.id == Location.c.source_id)
        .where(
            Image.c.quarantine != Quarantine.NOT_AN_IMAGE,
            Location.c.state != LocationState.CHANGED,
        )
    )
    unread_files = (
        sa.select(Location.c.path, Source.c.name, Location.c.quarantine, Location.c.detail)
        .join(Source, Source.c.id == Location.c.source_id)
        .where(Location.c.quarantine.is_not(None))
    )
    both = sa.union_all(images, unread_files).subquery()
    query = sa.select(both).order_by(both.c.reason, both.c.source, both.c.path).limit(size)
    with catalogue.read() as connection:
        return records(connection, query, Unusable)
