"""Groups, the units that follow from them, and the images that bridge splits.

A unit is a connected component over primary memberships of the current groupings. Its
key decides its fold and, with the first human label of a member, its split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import IntArray
from curator.base.vocabulary import GroupKind, Origin
from curator.catalogue.bulk import CHUNK, chunked, plain_text, records
from curator.catalogue.constructs import within
from curator.catalogue.counts import count_withheld
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import Grouping, ImageGroup, ImageState, Membership, Round
from curator.catalogue.units import grouped_before, refresh_units
from curator.errors import DataError
from curator.settings.sections import SplitsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A group to be recorded.

    `primary` members are tied into one unit; `secondary` ones lie near the representative
    too, but belong to another group. An image is primary in at most one group of a
    grouping. A group with secondary members has a representative among its primary ones.
    """

    name: str
    primary: tuple[int, ...]
    secondary: tuple[int, ...] = ()
    representative_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingRecord:
    """One version of a grouping."""

    grouping_id: int
    kind: GroupKind
    version: int
    digest: str
    groups: int
    members: int
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingReport:
    """What replacing a grouping did; `changed` is False if it was the same already."""

    grouping: GroupingRecord
    changed: bool
    units_changed: int
    withheld: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldReport:
    """Images that must not be trained on because they bridge splits.

    `labelled` counts those with a human label; `units` the units that span pinned splits.
    """

    images: int
    labelled: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMate:
    """A membership of an image in a current group."""

    kind: GroupKind
    name: str
    primary: bool
    representative_id: int | None


_UNITS_RULE = b"units 2\n"
"""Changes whenever other units follow from the same groups, so that they are derived again."""


def replace_grouping(
    catalogue: Catalogue,
    kind: GroupKind,
    groups: Iterable[GroupRecord],
    *,
    details: Mapping[str, Any] | None = None,
    splits: SplitsSettings | None = None,
    seed: int = 0,
) -> GroupingReport:
    """Make `groups` the current grouping of its kind, and derive units and splits anew.

    One transaction. Groups of one image need not be given. Images that leave a unit are pinned
    as if labelled now, with the shares of `splits` and `seed`. A grouping equal to the
    current one changes nothing but its details. Memberships of superseded versions are
    kept only where a round ran under them. Raises DataError if an image is primary in two
    groups.
    """
    with catalogue.write() as connection:
        before = _groupings(connection, Grouping.c.kind == kind, Grouping.c.is_current == 1)
        with connection.begin_nested() as savepoint:
            grouping_id = _insert_grouping(connection, kind, groups, details or {})
            (new,) = _groupings(connection, Grouping.c.id == grouping_id)
            same = bool(before) and new.digest == before[0].digest
            if same:
                savepoint.rollback()
        if same:
            this = Grouping.c.id == before[0].grouping_id
            connection.execute(sa.update(Grouping).where(this).values(details=dict(details or {})))
            (grouping,) = _groupings(connection, this)
            moved = 0
        else:
            grouping = new
            former = grouped_before(connection, before[0].grouping_id if before else None)
            _make_current(connection, kind, grouping_id)
            moved = refresh_units(connection, former, splits, seed)
            _drop_superseded(connection)
        withheld_images = connection.execute(count_withheld()).scalar_one()
    if not same:
        catalogue.checkpoint()
    return GroupingReport(
        grouping=grouping, changed=not same, units_changed=moved, withheld=withheld_images
    )


def _insert_grouping(
    connection: Connection,
    kind: GroupKind,
    groups: Iterable[GroupRecord],
    details: Mapping[str, Any],
) -> int:
    """Write a grouping that is not current yet, streaming; the digest follows its order."""
    versions = sa.select(sa.func.max(Grouping.c.version)).where(Grouping.c.kind == kind)
    version = (connection.execute(versions).scalar_one() or 0) + 1
    row = {"kind": kind, "version": version, "is_current": 0, "digest": "", "made_at": now()}
    row |= {"group_count": 0, "member_count": 0, "details": dict(details)}
    inserted = connection.execute(sa.insert(Grouping).values(**row).returning(Grouping.c.id))
    grouping_id = int(inserted.scalar_one())
    last = connection.execute(sa.select(sa.func.max(ImageGroup.c.id))).scalar_one() or 0
    digest = hashlib.sha256(_UNITS_RULE)
    group_count = member_count = 0
    for chunk in chunked(groups, CHUNK):
        numbered = list(enumerate(chunk, start=last + 1 + group_count))
        member_count += _insert_groups(connection, grouping_id, numbered)
        group_count += len(chunk)
        for group in chunk:
            members = [sorted(group.primary), sorted(group.secondary), group.representative_id]
            digest.update(json.dumps([plain_text(group.name), *members]).encode("utf-8") + b"\n")
    totals = {"group_count": group_count, "member_count": member_count}
    change = sa.update(Grouping).where(Grouping.c.id == grouping_id)
    connection.execute(change.values(digest=digest.hexdigest(), **totals))
    return grouping_id


def _insert_groups(
    connection: Connection, grouping_id: int, numbered: Sequence[tuple[int, GroupRecord]]
) -> int:
    for _, group in numbered:
        _check(group)
    rows = [
        {
            "id": group_id,
            "grouping_id": grouping_id,
            "name": plain_text(group.name),
            "representative_id": group.representative_id,
        }
        for group_id, group in numbered
    ]
    members = [
        {
            "group_id": group_id,
            "image_id": image_id,
            "grouping_id": grouping_id,
            "is_primary": int(is_primary),
        }
        for group_id, group in numbered
        for is_primary, ids in ((True, group.primary), (False, group.secondary))
        for image_id in ids
    ]
    try:
        connection.execute(sa.insert(ImageGroup), rows)
        connection.execute(sa.insert(Membership), members)
    except sa.exc.IntegrityError as error:
        raise DataError(
            "These groups contradict each other.",
            "Each image belongs to one group of a kind, each group has a name of its own,"
            " and all images are in the catalogue.",
        ) from error
    return len(members)


def _check(group: GroupRecord) -> None:
    if not group.primary:
        raise DataError(f"The group {group.name} has no members.", "Leave empty groups out.")
    if group.secondary and group.representative_id not in group.primary:
        raise DataError(
            f"The group {group.name} has images near a representative that is not its own.",
            "The representative must be a primary member.",
        )


def _make_current(connection: Connection, kind: GroupKind, grouping_id: int) -> None:
    of_kind = sa.and_(Grouping.c.kind == kind, Grouping.c.is_current == 1)
    connection.execute(sa.update(Grouping).where(of_kind).values(is_current=0))
    this = Grouping.c.id == grouping_id
    connection.execute(sa.update(Grouping).where(this).values(is_current=1))


def _drop_superseded(connection: Connection) -> None:
    """Forget the members of groupings that are neither current nor of a round."""
    used = sa.exists().where(
        (Round.c.perceptual_grouping_id == Grouping.c.id)
        | (Round.c.user_grouping_id == Grouping.c.id)
    )
    superseded = sa.select(Grouping.c.id).where(Grouping.c.is_current == 0, ~used)
    groups = sa.select(ImageGroup.c.id).where(ImageGroup.c.grouping_id.in_(superseded))
    connection.execute(sa.delete(Membership).where(Membership.c.group_id.in_(groups)))
    connection.execute(sa.delete(ImageGroup).where(ImageGroup.c.grouping_id.in_(superseded)))


def current_grouping(catalogue: Catalogue, kind: GroupKind) -> GroupingRecord | None:
    """The current grouping of a kind."""
    with catalogue.read() as connection:
        current = _groupings(connection, Grouping.c.kind == kind, Grouping.c.is_current == 1)
    return current[0] if current else None


def _groupings(connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[GroupingRecord]:
    grouping = Grouping.c
    query = sa.select(
        grouping.id.label("grouping_id"),
        grouping.kind,
        grouping.version,
        grouping.digest,
        grouping.group_count.label("groups"),
        grouping.member_count.label("members"),
        grouping.details,
    )
    return records(connection, query.where(*conditions), GroupingRecord)


def groups_of(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, tuple[GroupMate, ...]]:
    """The current groups of each image that is in any."""
    query = (
        sa.select(
            Membership.c.image_id,
            Grouping.c.kind,
            ImageGroup.c.name,
            Membership.c.is_primary,
            ImageGroup.c.representative_id,
        )
        .join(ImageGroup, ImageGroup.c.id == Membership.c.group_id)
        .join(Grouping, Grouping.c.id == Membership.c.grouping_id)
        .where(sa.text("+grouping.is_current = 1"))
        .order_by(
            Membership.c.image_id,
            Grouping.c.kind,
            Membership.c.is_primary.desc(),
            ImageGroup.c.id,
        )
    )
    mates: dict[int, tuple[GroupMate, ...]] = {}
    with catalogue.read() as connection:
        for ids in chunked(image_ids, CHUNK):
            for image_id, kind, name, is_primary, representative in connection.execute(
                query.where(within(Membership.c.image_id, ids))
            ):
                mate = GroupMate(
                    kind=kind,
                    name=name,
                    primary=bool(is_primary),
                    representative_id=representative,
                )
                mates[image_id] = (*mates.get(image_id, ()), mate)
    return mates


CONTRADICTED = """
SELECT s.image_id FROM membership m CROSS JOIN image_state s
WHERE s.image_id = m.image_id AND m.is_primary = 1 AND s.usable = 1
  AND s.standing IN ('positive', 'negative') AND s.origin <> 'promoted'
  AND m.group_id IN (
    SELECT m.group_id FROM grouping v CROSS JOIN membership m CROSS JOIN image_state s
    WHERE v.kind = 'perceptual' AND v.is_current = 1
      AND m.grouping_id = v.id AND m.is_primary = 1
      AND s.image_id = m.image_id AND s.usable = 1
      AND s.standing IN ('positive', 'negative') AND s.origin <> 'promoted'
    GROUP BY m.group_id HAVING min(s.standing) <> max(s.standing))
  AND NOT EXISTS (
    SELECT 1 FROM label_event c JOIN label_event b ON b.image_id = c.image_id
    WHERE c.id = s.event_id AND c.label = s.standing AND c.method IN ('single', 'blind')
      AND b.kind = 'assert' AND b.label = c.label AND b.id < c.id
      AND NOT EXISTS (SELECT 1 FROM label_event r WHERE r.target_id = b.id))
"""
"""Images that people labelled, of near-duplicates that people labelled both ways.

A label that a person confirmed (`pool.is_confirmed`) is no conflict: the pictures are alike, what
they show is not.
"""


def contradicted(connection: Connection) -> IntArray:
    """The ids of the images of `CONTRADICTED`, ascending."""
    ids = connection.execute(sa.text(CONTRADICTED)).scalars()
    return np.sort(np.fromiter(ids, dtype=np.int64))


def count_contradicted(catalogue: Catalogue) -> int:
    """How many images `CONTRADICTED` names."""
    with catalogue.read() as connection:
        return len(contradicted(connection))


def unit_mates(catalogue: Catalogue, image_id: int, *, limit: int = 100) -> list[int]:
    """Other usable images of the same unit, by id."""
    state = ImageState.c
    key = sa.select(state.unit_key).where(state.image_id == image_id).scalar_subquery()
    query = sa.select(state.image_id).where(
        state.unit_key == key, state.image_id != image_id, state.usable + 0 == 1
    )
    with catalogue.read() as connection:
        ordered = query.order_by(state.image_id).limit(limit)
        return list(connection.execute(ordered).scalars())


def withheld(catalogue: Catalogue) -> WithheldReport:
    """How many images are withheld from training now."""
    people = [origin for origin in Origin if origin is not Origin.PROMOTED]
    state = ImageState.c
    spanning = (
        sa.select(state.unit_key)
        .where(sa.text("image_state.pinned_split IS NOT NULL"))
        .group_by(state.unit_key)
        .having(sa.func.min(state.pinned_split) < sa.func.max(state.pinned_split))
        .subquery()
    )
    with catalogue.read() as connection:
        images = connection.execute(count_withheld()).scalar_one()
        labelled = count_withheld().where(state.origin.in_(people))
        units = sa.select(sa.func.count()).select_from(spanning)
        return WithheldReport(
            images=images,
            labelled=connection.execute(labelled).scalar_one(),
            units=connection.execute(units).scalar_one(),
        )
