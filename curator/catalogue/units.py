"""Units, images that must stay together, and the splits that they are pinned to.

A unit is a connected component over groups and never spans two folds or splits. Its key is that
of one of its members, so that two units never share one. It does not change while a unit grows: the
first human label of a member pins it, and before that the smallest hash among the members decides.

A pin is a fact about an image. From the pins follow the splits of everything in the same
unit, and of images that lie near a second group: an image between two splits is
withheld from training, and so is a training label whose unit meets another split. A pin that an
image has only because of its unit is given anew when the unit is taken apart, but never to an image
whose label may have taught: it stays with training.

Units are derived from arrays of one number per membership, so memory is that of the groups
and not of the pool; images without a group are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import chain

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import IntArray
from curator.base.vocabulary import SPLIT_OF_ORIGIN, Split
from curator.catalogue.bulk import (
    CHUNK,
    chunked,
    column,
    derived_split,
    emptied,
    execute_all,
    fill,
    noting_touched,
    own_unit_key,
    pin,
    touched,
    unit_of,
    unit_pin,
)
from curator.catalogue.constructs import within
from curator.catalogue.models import Grouping, Image, ImageState, Membership
from curator.settings.sections import SplitsSettings
from curator.statistics.folds import share_rank


def unit_keys(
    images: IntArray,
    groups: IntArray,
    own_keys: IntArray,
    pinned_keys: IntArray,
    pinned_by: IntArray,
) -> tuple[IntArray, IntArray]:
    """The unit key of every image that is in a group: (image ids ascending, keys).

    One entry per primary membership, all arrays (m,) int64: image id, group id, the
    image's own key (first 64 bits of its hash, signed), its pinned key, and the event that
    pinned it (0 if it is not pinned). The earliest pin decides whose key is that of a member; else,
    where what gave the key has left, the own key of the image pinned first; without any pin the
    smallest own key when read as unsigned.
    """
    members, first, image_index = np.unique(images, return_index=True, return_inverse=True)
    if not len(members):
        return members, members.copy()
    component = _components(image_index, groups, len(members))
    own, pins, by = own_keys[first], pinned_keys[first], pinned_by[first]
    order = np.argsort(own)
    namesake = order[np.searchsorted(own[order], pins).clip(max=len(own) - 1)]
    is_inside = (by > 0) & (own[namesake] == pins) & (component[namesake] == component)
    ranked = np.lexsort((own.view(np.uint64), by, by == 0, ~is_inside, component))
    leaders = ranked[np.unique(component[ranked], return_index=True)[1]]
    key_of_component = np.where(is_inside[leaders], pins[leaders], own[leaders])
    return members, key_of_component[component]


def _components(image_index: IntArray, groups: IntArray, image_count: int) -> IntArray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, group_index = np.unique(groups, return_inverse=True)
    nodes = image_count + len(names)
    edges = (np.ones(len(image_index), dtype=np.int8), (image_index, group_index + image_count))
    graph = coo_array(edges, shape=(nodes, nodes))
    _, labels = connected_components(graph, directed=False)
    return np.unique(labels[:image_count], return_inverse=True)[1].astype(np.int64)


def split_of(pinned: Split | None, own: Set[Split], near: Set[Split]) -> Split | None:
    """What the labels of an image may be used for.

    `pinned`: its own pin. `own`: the splits that members of its unit are pinned to.
    `near`: those of other units whose representative it lies near, too. Between two
    splits an image is withheld; in a unit that spans splits, the training side is.
    """
    linked = own | near
    if pinned is None:
        if len(linked) > 1:
            return Split.WITHHELD
        return next(iter(linked), None)
    if near - {pinned} or (pinned is Split.TRAIN and own - {pinned}):
        return Split.WITHHELD
    return pinned


_OF_ORIGIN = " ".join(
    f"WHEN '{origin}' THEN '{split}'" for origin, split in SPLIT_OF_ORIGIN.items()
)

_FIRST_LABELS = sa.text(f"""
INSERT INTO pin (image_id, unit_key, event_id, split, is_free, is_new)
SELECT image_id, unit_key, event_id, coalesce(bound, by_origin),
    CASE WHEN bound IS NULL AND by_origin = 'train' THEN 1 ELSE 0 END, 0
FROM (
    SELECT s.image_id, s.unit_key, e.id AS event_id,
        coalesce(
            CASE WHEN s.split <> 'withheld' THEN s.split END,
            (SELECT max(m.pinned_split) FROM image_state m
             WHERE m.unit_key = s.unit_key AND m.pinned_split IS NOT NULL)
        ) AS bound,
        CASE first_value(e.origin) OVER (PARTITION BY s.unit_key ORDER BY e.id)
            {_OF_ORIGIN} END AS by_origin
    FROM (
        SELECT u.image_id, min(f.id) AS event_id
        FROM touched t CROSS JOIN image_state u CROSS JOIN label_event f
        WHERE u.image_id = t.image_id AND u.pinned_split IS NULL
          AND f.image_id = t.image_id AND f.kind = 'assert'
        GROUP BY u.image_id
    ) a CROSS JOIN image_state s CROSS JOIN label_event e
    WHERE s.image_id = a.image_id AND e.id = a.event_id
) first
""")  # noqa: S608 - put together from constants
"""The split that binds an image already, else that of the origin of its unit's first label.

Of a unit with several splits, `max` takes train before test before calibration.
"""

_IS_NEW = sa.text("""
UPDATE pin SET is_new = 1 WHERE NOT EXISTS (
    SELECT 1 FROM image_state m
    WHERE m.unit_key = pin.unit_key AND m.pinned_split = pin.split)
""")

_PIN = sa.text("""
UPDATE image_state
SET (pinned_split, pinned_key, pinned_by) = (
    SELECT p.split, p.unit_key, p.event_id FROM pin p WHERE p.image_id = image_state.image_id)
WHERE image_id IN (SELECT image_id FROM pin)
""")

_TOUCH = (
    sa.text("INSERT INTO touched (image_id) SELECT image_id FROM pin"),
    sa.text("""
INSERT INTO touched (image_id)
SELECT s.image_id
FROM (SELECT DISTINCT unit_key FROM pin WHERE is_new = 1) p CROSS JOIN image_state s
WHERE s.unit_key = p.unit_key
ON CONFLICT DO NOTHING
"""),
    sa.text("""
INSERT INTO touched (image_id)
SELECT m.image_id
FROM (SELECT DISTINCT unit_key FROM pin WHERE is_new = 1) p CROSS JOIN image_state r
CROSS JOIN image_group g CROSS JOIN grouping v CROSS JOIN membership m
WHERE r.unit_key = p.unit_key AND g.representative_id = r.image_id
  AND v.id = g.grouping_id AND v.is_current = 1
  AND m.group_id = g.id AND m.is_primary = 0
ON CONFLICT DO NOTHING
"""),
)
"""What new pins bear on: the images themselves, their units, and who is near these."""

_NEAR = """
    SELECT t.image_id, r.unit_key
    FROM touched t CROSS JOIN membership m CROSS JOIN grouping v CROSS JOIN image_group g
    CROSS JOIN image_state r CROSS JOIN image_state s
    WHERE m.image_id = t.image_id AND m.is_primary = 0
      AND v.id = m.grouping_id AND v.is_current = 1
      AND g.id = m.group_id AND r.image_id = g.representative_id
      AND s.image_id = t.image_id AND r.unit_key <> s.unit_key
"""

_UNIT_PINS = sa.text(f"""
INSERT INTO unit_pin (unit_key, split)
SELECT DISTINCT s.unit_key, s.pinned_split
FROM (
    SELECT s.unit_key FROM touched t CROSS JOIN image_state s WHERE s.image_id = t.image_id
    UNION
    SELECT unit_key FROM ({_NEAR}) near
) u CROSS JOIN image_state s
WHERE s.unit_key = u.unit_key AND s.pinned_split IS NOT NULL
""")  # noqa: S608 - put together from constants

_DERIVE = sa.text(f"""
INSERT INTO derived_split (image_id, split)
WITH linked AS (
    SELECT t.image_id, p.split, 0 AS near
    FROM touched t CROSS JOIN image_state s CROSS JOIN unit_pin p
    WHERE s.image_id = t.image_id AND p.unit_key = s.unit_key
    UNION
    SELECT n.image_id, p.split, 1 AS near
    FROM ({_NEAR}) n CROSS JOIN unit_pin p WHERE p.unit_key = n.unit_key
),
facts AS (
    SELECT l.image_id, min(l.split) AS low, max(l.split) AS high,
        max(CASE WHEN l.near = 1 AND l.split <> s.pinned_split THEN 1 ELSE 0 END) AS near_other,
        max(CASE WHEN l.near = 0 AND l.split <> s.pinned_split THEN 1 ELSE 0 END) AS own_other
    FROM linked l CROSS JOIN image_state s
    WHERE s.image_id = l.image_id
    GROUP BY l.image_id
),
derived AS (
    SELECT t.image_id, s.split AS before,
        CASE
            WHEN s.pinned_split IS NULL AND f.low = f.high THEN f.low
            WHEN s.pinned_split IS NULL AND f.low <> f.high THEN 'withheld'
            WHEN f.near_other = 1 THEN 'withheld'
            WHEN s.pinned_split = 'train' AND f.own_other = 1 THEN 'withheld'
            ELSE s.pinned_split
        END AS split
    FROM touched t CROSS JOIN image_state s LEFT JOIN facts f ON f.image_id = t.image_id
    WHERE s.image_id = t.image_id
)
SELECT image_id, split FROM derived WHERE coalesce(before, '') <> coalesce(split, '')
""")  # noqa: S608 - put together from constants

_KEEP = sa.text("""
UPDATE image_state
SET split = (SELECT d.split FROM derived_split d WHERE d.image_id = image_state.image_id)
WHERE image_id IN (SELECT image_id FROM derived_split)
""")


def pin_first_labels(connection: Connection, splits: SplitsSettings | None, seed: int) -> None:
    """Pin the images in `touched` that have their first human label, and what follows.

    `splits` names the shares of units that are set aside although they would train; which units
    these are follows from their keys and `seed`. Empties and refills `touched`: with everything
    whose split may have changed.
    """
    if not execute_all(connection, pin, _FIRST_LABELS):
        return
    if splits is not None and splits.calibration_share + splits.test_share > 0:
        _draw_shares(connection, splits, seed)
    refresh_splits(connection, _IS_NEW, _PIN, touched, *_TOUCH)


def _draw_shares(connection: Connection, splits: SplitsSettings, seed: int) -> None:
    """Set shares of the units aside that would train, by chance that can be repeated."""
    below_calibration = splits.calibration_share
    below_test = below_calibration + splits.test_share
    free = sa.select(pin.c.image_id, pin.c.unit_key).where(pin.c.is_free == 1)
    following = free.order_by(pin.c.image_id).limit(CHUNK)
    change = sa.update(pin).where(pin.c.image_id == sa.bindparam("at"))
    last = 0
    while rows := connection.execute(following.where(pin.c.image_id > last)).all():
        ranks = share_rank(column([row.unit_key for row in rows], np.int64), seed)
        drawn = np.where(ranks < below_test, Split.TEST.value, Split.TRAIN.value)
        drawn = np.where(ranks < below_calibration, Split.CALIBRATION.value, drawn)
        values = [
            {"at": row.image_id, "drawn": split}
            for row, split in zip(rows, drawn.tolist(), strict=True)
        ]
        connection.execute(change.values(split=sa.bindparam("drawn")), values)
        last = rows[-1].image_id


def refresh_splits(connection: Connection, *before: sa.TextClause | sa.Table) -> int:
    """Derive the splits of the images in `touched` from pins and groups; how many changed.

    Statements that are to be run `before` save their way to a server.
    """
    noted = noting_touched(connection)
    return execute_all(
        connection, *before, unit_pin, _UNIT_PINS, derived_split, _DERIVE, *noted, _KEEP
    )


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


def grouped_before(connection: Connection, grouping_id: int | None) -> IntArray:
    """The images in any role in a grouping, which is about to be superseded."""
    query = sa.select(Membership.c.image_id).where(Membership.c.grouping_id == grouping_id)
    return np.unique(np.fromiter(connection.execute(query).scalars(), dtype=np.int64))


def refresh_units(
    connection: Connection, former: IntArray, splits: SplitsSettings | None, seed: int
) -> int:
    """Derive units, pins and splits of all images in groups, now or before; how many moved."""
    images, keys = unit_keys(*_memberships(connection))
    # Labelled images may have a key that an older version left them with.
    pinned = sa.text("SELECT image_id FROM image_state WHERE pinned_split IS NOT NULL")
    labelled = np.fromiter(connection.execute(pinned).scalars(), dtype=np.int64)
    ungrouped = np.setdiff1d(np.union1d(former, labelled), images)
    rows = zip(images.tolist(), keys.tolist(), strict=True)
    emptied(connection, unit_of)
    fill(connection, unit_of, ({"image_id": i, "unit_key": key} for i, key in rows))
    fill(connection, unit_of, _own_units(connection, ungrouped))
    moved = [connection.execute(statement).rowcount for statement in _MOVE][-1]
    released = _release_pins(connection)
    current = sa.select(Grouping.c.id).where(Grouping.c.is_current == 1)
    near = sa.select(Membership.c.image_id).where(Membership.c.grouping_id.in_(current)).distinct()
    emptied(connection, touched)
    connection.execute(sa.insert(touched).from_select(["image_id"], near))
    already = np.fromiter(connection.execute(sa.select(touched.c.image_id)).scalars(), np.int64)
    missing = np.setdiff1d(np.union1d(former, ungrouped), already).tolist()
    fill(connection, touched, ({"image_id": image_id} for image_id in missing))
    refresh_splits(connection)
    if len(released):
        emptied(connection, touched)
        fill(connection, touched, ({"image_id": image_id} for image_id in released.tolist()))
        pin_first_labels(connection, splits, seed)
    return moved


_PINNED = sa.text("""
SELECT image_id, unit_key, pinned_key, pinned_split FROM image_state
WHERE pinned_split IS NOT NULL ORDER BY pinned_by
""")

_LEAVE_WHAT_TAUGHT = sa.text("""
DELETE FROM touched WHERE EXISTS (
    SELECT 1 FROM image_state s CROSS JOIN label_event e
    WHERE s.image_id = touched.image_id AND s.pinned_split = 'train'
      AND e.image_id = s.image_id AND e.kind = 'assert' AND e.origin IN ('seed', 'review'))
""")

_UNPIN = sa.text("""
UPDATE image_state SET pinned_split = NULL, pinned_key = NULL, pinned_by = NULL
WHERE image_id IN (SELECT image_id FROM touched)
""")


def _release_pins(connection: Connection) -> IntArray:
    """Unpin the images that were pinned by a unit they have left; which these are.

    An image bound its unit if it was pinned first, with the same key and split. An image whose
    label may have taught keeps its pin to training, or it could measure what it taught.
    """
    bound: list[int] = []
    first_of_key: set[tuple[int, str]] = set()
    first_of_unit: set[tuple[int, str]] = set()
    for image_id, unit_key, pinned_key, split in connection.execute(_PINNED):
        if (pinned_key, split) in first_of_key and (unit_key, split) not in first_of_unit:
            bound.append(image_id)
        first_of_key.add((pinned_key, split))
        first_of_unit.add((unit_key, split))
    emptied(connection, touched)
    fill(connection, touched, ({"image_id": image_id} for image_id in bound))
    connection.execute(_LEAVE_WHAT_TAUGHT)
    connection.execute(_UNPIN)
    return np.fromiter(connection.execute(sa.select(touched.c.image_id)).scalars(), np.int64)


def _memberships(
    connection: Connection,
) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
    """Primary memberships as the arrays that `unit_keys` takes."""
    query = (
        sa.select(
            Membership.c.image_id,
            Membership.c.group_id,
            Image.c.sha256,
            ImageState.c.pinned_key,
            ImageState.c.pinned_by,
        )
        .join(Grouping, Grouping.c.id == Membership.c.grouping_id)
        .join(Image, Image.c.id == Membership.c.image_id)
        .join(ImageState, ImageState.c.image_id == Membership.c.image_id)
        .where(Grouping.c.is_current == 1, Membership.c.is_primary == 1)
    )
    numbers = (
        (image_id, group_id, own_unit_key(sha256), pinned_key or 0, pinned_by or 0)
        for image_id, group_id, sha256, pinned_key, pinned_by in connection.execute(query)
    )
    flat = np.fromiter(chain.from_iterable(numbers), dtype=np.int64).reshape(-1, 5)
    images, groups, own, pinned, by = np.ascontiguousarray(flat.T)
    return images, groups, own, pinned, by


def _own_units(connection: Connection, images: IntArray) -> Iterator[dict[str, int]]:
    """The units of images that are in no group: their own."""
    query = sa.select(Image.c.id, Image.c.sha256)
    for ids in chunked(images.tolist(), CHUNK):
        for image_id, sha256 in connection.execute(query.where(within(Image.c.id, ids))):
            yield {"image_id": image_id, "unit_key": own_unit_key(sha256)}
