"""The duplicates among usable images: one image in several files, and images that look the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa

from curator.base.vocabulary import CurrentLabel, GroupKind, LocationState, Origin
from curator.catalogue import queues
from curator.catalogue.bulk import CHUNK, chunked
from curator.catalogue.constructs import within
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import ImageDetails, image_details
from curator.catalogue.models import (
    Grouping,
    ImageState,
    Location,
    Membership,
    PictureQualityRow,
)
from curator.catalogue.queues import NO_FILTER, QueueFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFile:
    """A file of a usable image in a group of duplicates; `path` is absolute."""

    image_id: int
    sha256: bytes
    path: bytes
    size: int
    width: int
    height: int
    sharpness: float | None
    standing: CurrentLabel | None
    origin: Origin | None

    @property
    def is_labelled(self) -> bool:
        """Whether a person labelled the image."""
        return self.origin not in (None, Origin.PROMOTED)


def near_duplicate_ids(
    catalogue: Catalogue, *, of_image: int | None = None
) -> dict[int, list[int]]:
    """Group → usable images, ascending, of each current perceptual group with two or more.

    With `of_image` only the group of this image.
    """
    query = (
        sa.select(Membership.c.group_id, Membership.c.image_id)
        .join(Grouping, Grouping.c.id == Membership.c.grouping_id)
        .join(ImageState, ImageState.c.image_id == Membership.c.image_id)
        .where(
            Grouping.c.kind == GroupKind.PERCEPTUAL,
            Grouping.c.is_current == 1,
            sa.text("membership.is_primary = 1"),
            ImageState.c.usable == 1,
        )
        .order_by(Membership.c.group_id, Membership.c.image_id)
    )
    if of_image is not None:
        own = Membership.alias()
        same = own.c.group_id == Membership.c.group_id
        query = query.where(
            sa.exists().where(same, own.c.image_id == of_image, own.c.is_primary == 1)
        )
    groups: dict[int, list[int]] = {}
    with catalogue.read() as connection:
        for group_id, image_id in connection.execute(query):
            groups.setdefault(group_id, []).append(image_id)
    return {group_id: ids for group_id, ids in groups.items() if len(ids) > 1}


def near_duplicates(catalogue: Catalogue) -> list[list[DuplicateFile]]:
    """The near-duplicate groups, each image with the file where it lies now."""
    groups = near_duplicate_ids(catalogue)
    image_ids = [image_id for ids in groups.values() for image_id in ids]
    files = {
        file.image_id: file
        for details, sharpness in _described(catalogue, image_ids)
        for file in _files(details, sharpness)[:1]
    }
    return [[files[image_id] for image_id in ids] for ids in groups.values()]


def exact_duplicates(catalogue: Catalogue) -> list[list[DuplicateFile]]:
    """The present files of each usable image that has two or more."""
    location = Location.c
    query = (
        sa.select(location.image_id)
        .join(ImageState, ImageState.c.image_id == location.image_id)
        .where(location.state == LocationState.PRESENT, ImageState.c.usable == 1)
        .group_by(location.image_id)
        .having(sa.func.count() > 1)
    )
    with catalogue.read() as connection:
        image_ids = [i for i in connection.execute(query).scalars() if i is not None]
    described = _described(catalogue, image_ids)
    return [_files(details, sharpness) for details, sharpness in described]


def _described(
    catalogue: Catalogue, image_ids: Sequence[int]
) -> list[tuple[ImageDetails, float | None]]:
    """Images with their sharpness, in the order of the ids."""
    quality = PictureQualityRow.c
    sharpness: dict[int, float | None] = {}
    query = sa.select(quality.image_id, quality.sharpness)
    with catalogue.read() as connection:
        for ids in chunked(image_ids, CHUNK):
            rows = connection.execute(query.where(within(quality.image_id, ids)))
            sharpness.update((image_id, value) for image_id, value in rows)
    details = image_details(catalogue, image_ids)
    return [(details[image_id], sharpness.get(image_id)) for image_id in image_ids]


def _files(image: ImageDetails, sharpness: float | None) -> list[DuplicateFile]:
    present = [each for each in image.locations if each.state is LocationState.PRESENT]
    return [
        DuplicateFile(
            image_id=image.image_id,
            sha256=image.sha256,
            path=location.path,
            size=image.size,
            width=image.width or 1,
            height=image.height or 1,
            sharpness=sharpness,
            standing=image.standing,
            origin=image.origin,
        )
        for location in present or image.locations[:1]
    ]


def duplicate_queue(
    catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER
) -> dict[int, str]:
    """Near-duplicates group by group, the largest groups first; each with how many there are."""
    groups = sorted(near_duplicate_ids(catalogue).values(), key=lambda ids: (-len(ids), ids))
    image_ids = [image_id for ids in groups for image_id in ids]
    passing = set(queues.passing(catalogue, image_ids, leave_out=leave_out))
    reasons = {
        image_id: f"{number} of {len(ids)} near-duplicates"
        for ids in groups
        for number, image_id in enumerate(ids, start=1)
        if image_id in passing
    }
    return dict(islice(reasons.items(), size))
