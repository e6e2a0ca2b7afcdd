"""Counts for `status`: answered from indexes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.vocabulary import (
    CurrentLabel,
    GroupKind,
    LocationState,
    Oddity,
    Origin,
    Quarantine,
)
from curator.catalogue.bulk import values_of
from curator.catalogue.engine import Catalogue
from curator.catalogue.exclusions import count_excluded
from curator.catalogue.files import LIES_SOMEWHERE
from curator.catalogue.models import Block, Grouping, Image, ImageState, Location
from curator.catalogue.quality import count_odd
from curator.catalogue.sources import SourceRecord, read_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount(SourceRecord):
    """A source and how many locations of it there are in each state."""

    locations: Mapping[LocationState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The catalogue in numbers.

    `images` counts all images, `usable` those not in quarantine (the pool). `labels` is
    standing → origin → count over usable images. `quarantined` counts images by reason,
    and files that could not even be read. `other_files` lie among the images and are none
    (texts, sounds); no other number counts them. `locations` are files of images,
    `duplicates` those present beyond the first of their image. `without_human` =
    unlabelled + promoted. `gone` are images of which no file is left: other bytes lie at their
    paths now, or their source was dropped. `dropped` images
    are near-duplicates that people dropped. `odd` images
    stand out by how they look. `groups` is the number of current groups by kind.
    """

    images: int
    usable: int
    gone: int
    locations: int
    duplicates: int
    missing: int
    labels: Mapping[CurrentLabel, Mapping[Origin, int]]
    unlabelled: int
    without_human: int
    promoted: int
    quarantined: Mapping[Quarantine, int]
    other_files: int
    blocked: int
    withheld: int
    dropped: int
    odd: Mapping[Oddity, int]
    groups: Mapping[GroupKind, int]

    @property
    def coverage(self) -> float:
        """Promoted images / images without a human label."""
        return self.promoted / self.without_human if self.without_human else 0.0


def counts(catalogue: Catalogue) -> Counts:
    """Everything `status` counts, in one consistent view."""
    with catalogue.read() as connection:
        labels, unlabelled, unusable = _labels(connection)
        is_image = Image.c.quarantine != Quarantine.NOT_AN_IMAGE
        quarantined_images = _by_reason(connection, Image.c.quarantine, is_image, LIES_SOMEWHERE)
        other_files = _count_other_files(connection)
        locations: dict[LocationState, int] = {}
        for by_state in _location_states(connection).values():
            for state, count in by_state.items():
                locations[state] = locations.get(state, 0) + count
        duplicates = _duplicates(connection)
        blocked = connection.execute(sa.select(sa.func.count()).select_from(Block)).scalar_one()
        withheld = connection.execute(count_withheld()).scalar_one()
        current = sa.select(Grouping.c.kind, Grouping.c.group_count)
        groups = dict(connection.execute(current.where(Grouping.c.is_current == 1)).all())
        odd = count_odd(connection)
        dropped = count_excluded(connection)
        unread_files = _by_reason(connection, Location.c.quarantine)
    promoted = sum(by_origin.get(Origin.PROMOTED, 0) for by_origin in labels.values())
    usable = unlabelled + sum(sum(by_origin.values()) for by_origin in labels.values())
    quarantined = Counter(quarantined_images) + Counter(unread_files)
    unusable -= other_files.contents
    return Counts(
        images=usable + unusable,
        usable=usable,
        gone=max(0, unusable - sum(quarantined_images.values()) - dropped),
        locations=sum(locations.values())
        - locations.get(LocationState.CHANGED, 0)
        - other_files.files,
        duplicates=duplicates - other_files.duplicates,
        missing=locations.get(LocationState.MISSING, 0) - other_files.missing,
        labels=labels,
        unlabelled=unlabelled,
        without_human=unlabelled + promoted,
        promoted=promoted,
        quarantined={reason: quarantined[reason] for reason in Quarantine if reason in quarantined},
        other_files=other_files.files,
        blocked=blocked,
        withheld=withheld,
        dropped=dropped,
        odd=odd,
        groups=groups,
    )


def count_withheld() -> sa.Select[int]:
    """The query for how many images are withheld from training."""
    # Literally the condition of the partial index, so that it is used.
    condition = sa.text("image_state.split = 'withheld'")
    return sa.select(sa.func.count()).select_from(ImageState).where(condition)


def _labels(
    connection: Connection,
) -> tuple[dict[CurrentLabel, dict[Origin, int]], int, int]:
    """Images by current label and origin, unlabelled ones, and those that cannot be used."""
    columns = (ImageState.c.usable, ImageState.c.standing, ImageState.c.origin)
    query = sa.select(*columns, sa.func.count()).group_by(*columns)
    labels: dict[CurrentLabel, dict[Origin, int]] = {}
    unlabelled = unusable = 0
    for usable, standing, origin, count in connection.execute(query):
        if not usable:
            unusable += count
        elif standing is None or origin is None:
            unlabelled += count
        else:
            labels.setdefault(standing, {})[origin] = count
    return labels, unlabelled, unusable


def _by_reason(
    connection: Connection,
    reason: sa.Column[Quarantine | None],
    *conditions: sa.ColumnElement[bool],
) -> dict[Quarantine, int]:
    query = sa.select(reason, sa.func.count()).where(reason.is_not(None), *conditions)
    counted = connection.execute(query.group_by(reason))
    return {word: count for word, count in counted if word is not None}


@dataclass(frozen=True, slots=True)
class _OtherFiles:
    """What is no image: distinct contents, files, those missing, and present beyond the first."""

    contents: int
    files: int
    missing: int
    duplicates: int


def _count_other_files(connection: Connection) -> _OtherFiles:
    state = Location.c.state
    number = sa.func.count().filter
    each = (
        sa.select(
            number(state != LocationState.CHANGED).label("files"),
            number(state == LocationState.MISSING).label("missing"),
            number(state == LocationState.PRESENT).label("present"),
        )
        .select_from(Image)
        .outerjoin(Location, Location.c.image_id == Image.c.id)
        .where(Image.c.quarantine == Quarantine.NOT_AN_IMAGE)
        .group_by(Image.c.id)
        .subquery()
    )
    total = sa.func.sum
    more = sa.case((each.c.present > 1, each.c.present - 1), else_=0)
    query = sa.select(sa.func.count(), total(each.c.files), total(each.c.missing), total(more))
    return _OtherFiles(
        *(number or 0 for number in connection.execute(query.select_from(each)).one())
    )


def _location_states(connection: Connection) -> dict[int, dict[LocationState, int]]:
    """Locations by source and state."""
    columns = (Location.c.source_id, Location.c.state)
    counted: dict[int, dict[LocationState, int]] = {}
    query = sa.select(*columns, sa.func.count()).group_by(*columns)
    for source_id, state, count in connection.execute(query):
        counted.setdefault(source_id, {})[state] = count
    return counted


def _duplicates(connection: Connection) -> int:
    """Present locations beyond the first of their image."""
    beyond = (
        sa.select((sa.func.count() - 1).label("more"))
        .where(Location.c.image_id.is_not(None), Location.c.state == LocationState.PRESENT)
        .group_by(Location.c.image_id)
        .subquery()
    )
    total = sa.select(sa.func.coalesce(sa.func.sum(beyond.c.more), 0))
    return int(connection.execute(total).scalar_one())


def source_counts(catalogue: Catalogue) -> list[SourceCount]:
    """Every source with its locations by state."""
    with catalogue.read() as connection:
        counted = _location_states(connection)
        sources = read_sources(connection)
    return [
        SourceCount(**values_of(source), locations=counted.get(source.source_id, {}))
        for source in sources
    ]


def human_counts(catalogue: Catalogue) -> Mapping[CurrentLabel, int]:
    """Usable images by current human label."""
    with catalogue.read() as connection:
        labels, _, _ = _labels(connection)
    return {
        standing: sum(n for origin, n in by_origin.items() if origin is not Origin.PROMOTED)
        for standing, by_origin in labels.items()
    }
