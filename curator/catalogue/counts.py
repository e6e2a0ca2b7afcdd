"""Counts for `status`: answered from indexes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.vocabulary import CurrentLabel, LocationState, Origin, Quarantine
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import LIES_SOMEWHERE
from curator.catalogue.models import Block, Grouping, Image, ImageState, Location, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """A source and how many locations of it there are in each state."""

    name: str
    root: bytes
    licence: str
    attribution: str
    locations: Mapping[LocationState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The catalogue in numbers.

    `images` counts all images, `usable` those not in quarantine (the pool). `labels` is
    standing → origin → count over usable images. `quarantined` counts images by reason,
    and files that could not even be read. `duplicates` are present locations beyond the
    first of their image. `without_human` = unlabelled + promoted. `gone` are images of
    which no file is left, since other bytes lie at their paths now. `groups` is the number
    of current groups by kind.
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
    blocked: int
    withheld: int
    groups: Mapping[str, int]

    @property
    def coverage(self) -> float:
        """Promoted images / images without a human label."""
        return self.promoted / self.without_human if self.without_human else 0.0


def counts(catalogue: Catalogue) -> Counts:
    """Everything `status` counts, in one consistent view."""
    with catalogue.read() as connection:
        labels, unlabelled, unusable = _labels(connection)
        quarantined_images = _by_reason(connection, Image.c.quarantine, LIES_SOMEWHERE)
        states = _location_states(connection)
        duplicates = _duplicates(connection)
        blocked = _count(connection, sa.select(sa.func.count()).select_from(Block))
        withheld = _count(connection, count_withheld())
        current = sa.select(Grouping.c.kind, Grouping.c.group_count).where(
            Grouping.c.is_current == 1
        )
        groups = dict(connection.execute(current).all())
        unread = _by_reason(connection, Location.c.quarantine)
    promoted = sum(by_origin.get(Origin.PROMOTED, 0) for by_origin in labels.values())
    usable = unlabelled + sum(sum(by_origin.values()) for by_origin in labels.values())
    return Counts(
        images=usable + unusable,
        usable=usable,
        gone=unusable - sum(quarantined_images.values()),
        locations=sum(count for state, count in states.items() if state != LocationState.CHANGED),
        duplicates=duplicates,
        missing=states.get(LocationState.MISSING, 0),
        labels=labels,
        unlabelled=unlabelled,
        without_human=unlabelled + promoted,
        promoted=promoted,
        quarantined=_summed(quarantined_images, unread),
        blocked=blocked,
        withheld=withheld,
        groups=groups,
    )


def count_withheld() -> sa.Select[int]:
    """The query for how many images are withheld from training."""
    # Literally the condition of the partial index, so that it is used.
    condition = sa.text("image_state.split = 'withheld'")
    return sa.select(sa.func.count()).select_from(ImageState).where(condition)


def _count(connection: Connection, query: sa.Select[int]) -> int:
    return connection.execute(query).scalar_one()


def _labels(
    connection: Connection,
) -> tuple[dict[CurrentLabel, dict[Origin, int]], int, int]:
    """Labels by standing and origin, unlabelled, and images that cannot be used."""
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
            labels.setdefault(CurrentLabel(standing), {})[Origin(origin)] = count
    return labels, unlabelled, unusable


def _by_reason(
    connection: Connection,
    reason: sa.Column[str | None],
    *which: sa.ColumnElement[bool],
) -> dict[Quarantine, int]:
    found = sa.select(reason, sa.func.count()).where(reason.is_not(None), *which)
    query = found.group_by(reason)
    return {Quarantine(word or ""): count for word, count in connection.execute(query)}


def _summed(*tallies: Mapping[Quarantine, int]) -> dict[Quarantine, int]:
    reasons = [reason for reason in Quarantine if any(reason in tally for tally in tallies)]
    return {reason: sum(tally.get(reason, 0) for tally in tallies) for reason in reasons}


def _location_states(connection: Connection) -> dict[str, int]:
    query = sa.select(Location.c.source_id, Location.c.state, sa.func.count())
    totals: dict[str, int] = {}
    for _, state, count in connection.execute(
        query.group_by(Location.c.source_id, Location.c.state)
    ):
        totals[state] = totals.get(state, 0) + count
    return totals


def _duplicates(connection: Connection) -> int:
    beyond = (
        sa.select((sa.func.count() - 1).label("more"))
        .where(Location.c.image_id.is_not(None), Location.c.state == LocationState.PRESENT)
        .group_by(Location.c.image_id)
        .subquery()
    )
    return _count(connection, sa.select(sa.func.coalesce(sa.func.sum(beyond.c.more), 0)))


def source_counts(catalogue: Catalogue) -> list[SourceCount]:
    """Locations by source and state."""
    query = sa.select(Location.c.source_id, Location.c.state, sa.func.count())
    tallies: dict[int, dict[LocationState, int]] = {}
    with catalogue.read() as connection:
        grouped = query.group_by(Location.c.source_id, Location.c.state)
        for source_id, state, count in connection.execute(grouped):
            tallies.setdefault(source_id, {})[LocationState(state)] = count
        columns = (
            Source.c.id,
            Source.c.name,
            Source.c.root,
            Source.c.licence,
            Source.c.attribution,
        )
        sources = connection.execute(sa.select(*columns).order_by(Source.c.id)).all()
    return [
        SourceCount(
            name=name,
            root=root,
            licence=licence,
            attribution=attribution,
            locations=tallies.get(source_id, {}),
        )
        for source_id, name, root, licence, attribution in sources
    ]


def human_counts(catalogue: Catalogue) -> Mapping[CurrentLabel, int]:
    """Usable images by standing human label."""
    with catalogue.read() as connection:
        labels, _, _ = _labels(connection)
    return {
        standing: sum(n for origin, n in by_origin.items() if origin is not Origin.PROMOTED)
        for standing, by_origin in labels.items()
    }
