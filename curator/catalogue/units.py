"""Units in bulk: from the memberships of the current groupings to `image_state`.

Works on arrays of one number per membership, so its memory is that of the groups and not
of the pool; images without a group are never touched.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.catalogue.models import Grouping, Image, ImageState, Membership
from curator.catalogue.sets import (
    CHUNK,
    Fetched,
    emptied,
    fill,
    own_unit_key,
    touched,
    unit_of,
    within,
)
from curator.catalogue.splits import refresh_splits
from curator.catalogue.unit_keys import unit_keys

Ids = NDArray[np.int64]

_MOVE = (
    sa.text("""
DELETE FROM unit_of WHERE unit_key = (
    SELECT s.unit_key FROM image_state s WHERE s.image_id = unit_of.image_id)
"""),
    sa.text("""
UPDATE image_state
SET unit_key = (SELECT u.unit_key FROM unit_of u WHERE u.image_id = image_state.image_id)
WHERE image_id IN (SELECT image_id FROM unit_of)
"""),
)


def grouped_before(connection: Connection, grouping_id: int | None) -> Ids:
    """The images in any role in a grouping, which is about to be superseded."""
    query = sa.select(Membership.image_id).where(Membership.grouping_id == grouping_id)
    found = connection.execute(query).scalars()
    return np.unique(np.fromiter(found, dtype=np.int64))


def refresh_units(connection: Connection, former: Ids) -> int:
    """Derive units and splits of all images in groups, now or before; how many moved."""
    images, keys = unit_keys(*_memberships(connection))
    alone = np.setdiff1d(former, images)
    rows = zip(images.tolist(), keys.tolist(), strict=True)
    emptied(connection, unit_of)
    fill(connection, unit_of, ({"image_id": i, "unit_key": key} for i, key in rows))
    fill(connection, unit_of, _own_units(connection, alone))
    moved = [connection.execute(statement).rowcount for statement in _MOVE][-1]
    current = sa.select(Grouping.id).where(Grouping.is_current == 1)
    near = sa.select(Membership.image_id).where(Membership.grouping_id.in_(current)).distinct()
    emptied(connection, touched)
    connection.execute(sa.insert(touched).from_select(["image_id"], near))
    fill(connection, touched, _missing_from_touched(connection, former))
    refresh_splits(connection)
    return moved


def _memberships(connection: Connection) -> tuple[Ids, Ids, Ids, Ids, Ids]:
    """Primary memberships as the arrays that `core.units.unit_keys` takes."""
    query = (
        sa.select(
            Membership.image_id,
            Membership.group_id,
            Image.sha256,
            ImageState.pinned_key,
            ImageState.pinned_by,
        )
        .join(Grouping, Grouping.id == Membership.grouping_id)
        .join(Image, Image.id == Membership.image_id)
        .join(ImageState, ImageState.image_id == Membership.image_id)
        .where(Grouping.is_current == 1, Membership.is_primary == 1)
    )
    facts = (_facts(row) for row in connection.execute(query))
    flat = np.fromiter(chain.from_iterable(facts), dtype=np.int64).reshape(-1, 5)
    images, groups, own, pinned, by = np.ascontiguousarray(flat.T)
    return images, groups, own, pinned, by


def _facts(row: Fetched) -> tuple[int, int, int, int, int]:
    image_id, group_id, sha256, pinned_key, pinned_by = row
    return image_id, group_id, own_unit_key(sha256), pinned_key or 0, pinned_by or 0


def _own_units(connection: Connection, images: Ids) -> list[dict[str, int]]:
    """The units of images that are in no group any more: what was pinned, or their own."""
    rows = []
    query = sa.select(Image.id, Image.sha256, ImageState.pinned_key).join(
        ImageState, ImageState.image_id == Image.id
    )
    for start in range(0, len(images), CHUNK):
        some = within(Image.id, images[start : start + CHUNK].tolist())
        for image_id, sha256, pinned_key in connection.execute(query.where(some)):
            key = own_unit_key(sha256) if pinned_key is None else pinned_key
            rows.append({"image_id": image_id, "unit_key": key})
    return rows


def _missing_from_touched(connection: Connection, former: Ids) -> list[dict[str, int]]:
    now_in = np.fromiter(connection.execute(sa.select(touched.c.image_id)).scalars(), np.int64)
    return [{"image_id": image_id} for image_id in np.setdiff1d(former, now_in).tolist()]
