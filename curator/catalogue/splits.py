"""Splits: pinned with the first human label of a unit, and what follows for the others.

A pin is a fact about an image. From the pins follow the splits of everything in the same
unit, and of images that lie near a second group: an image between two splits is
withheld from training, and so is a training label whose unit meets another split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.vocabulary import SPLIT_OF_ORIGIN, Split
from curator.catalogue.sets import CHUNK, column, derived_split, emptied, pin, touched, unit_pin
from curator.statistics.folds import share_rank


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitShares:
    """Shares of units, first labelled by seed or review, that only calibrate or test.

    Which units these are follows from their keys and `seed`.
    """

    calibration: float = 0.0
    test: float = 0.0
    seed: int = 0


NO_SHARES = SplitShares()
"""Every unit trains that seed or review labelled first."""

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
    FROM touched t CROSS JOIN image_state s CROSS JOIN label_event e
    WHERE s.image_id = t.image_id AND s.pinned_split IS NULL
      AND e.id = (SELECT min(f.id) FROM label_event f
                  WHERE f.image_id = t.image_id AND f.kind = 'assert')
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


def pin_first_labels(connection: Connection, shares: SplitShares) -> None:
    """Pin the images in `touched` that have their first human label, and what follows.

    Empties and refills `touched`: with everything whose split may have changed.
    """
    emptied(connection, pin)
    if not connection.execute(_FIRST_LABELS).rowcount:
        return
    if shares.calibration + shares.test > 0:
        _draw_shares(connection, shares)
    connection.execute(_IS_NEW)
    connection.execute(_PIN)
    emptied(connection, touched)
    for statement in _TOUCH:
        connection.execute(statement)
    refresh_splits(connection)


def _draw_shares(connection: Connection, shares: SplitShares) -> None:
    """Set shares of the units aside that would train, by chance that can be repeated."""
    free = sa.select(pin.c.image_id, pin.c.unit_key).where(pin.c.is_free == 1)
    following = free.order_by(pin.c.image_id).limit(CHUNK)
    change = sa.update(pin).where(pin.c.image_id == sa.bindparam("at"))
    last = 0
    while rows := connection.execute(following.where(pin.c.image_id > last)).all():
        ranks = share_rank(column([row.unit_key for row in rows], np.int64), shares.seed)
        drawn = [
            {"at": row.image_id, "drawn": _drawn_split(float(rank), shares)}
            for row, rank in zip(rows, ranks, strict=True)
        ]
        connection.execute(change.values(split=sa.bindparam("drawn")), drawn)
        last = rows[-1].image_id


def _drawn_split(rank: float, shares: SplitShares) -> Split:
    if rank < shares.calibration:
        return Split.CALIBRATION
    return Split.TEST if rank < shares.calibration + shares.test else Split.TRAIN


def refresh_splits(connection: Connection) -> int:
    """Derive the splits of the images in `touched` from pins and groups; how many changed."""
    emptied(connection, unit_pin)
    connection.execute(_UNIT_PINS)
    emptied(connection, derived_split)
    connection.execute(_DERIVE)
    return connection.execute(_KEEP).rowcount
