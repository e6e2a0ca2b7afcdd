"""Splits: pinned with the first human label of a unit, and what follows for the others.

A pin is a fact about an image. From the pins follow the splits of everything in the same
unit, and of images that lie near a second group: an image between two splits is
withheld from training, and so is a training label whose unit meets another split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.catalogue.models import ImageState
from curator.catalogue.sets import CHUNK, Fetched, column, emptied, pin, touched, unit_pin
from curator.core.folds import share_rank
from curator.core.words import SPLIT_OF_ORIGIN, Origin, Split


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

_FIRST_LABELS = sa.text("""
INSERT INTO pin (image_id, unit_key, event_id, origin, split_before, unit_split)
SELECT s.image_id, s.unit_key, e.id,
    first_value(e.origin) OVER (PARTITION BY s.unit_key ORDER BY e.id),
    s.split,
    (SELECT max(m.pinned_split) FROM image_state m
     WHERE m.unit_key = s.unit_key AND m.pinned_split IS NOT NULL)
FROM touched t CROSS JOIN image_state s CROSS JOIN label_event e
WHERE s.image_id = t.image_id AND s.pinned_split IS NULL
  AND e.id = (SELECT min(f.id) FROM label_event f
              WHERE f.image_id = t.image_id AND f.kind = 'assert')
""")
"""`max` of the splits of a unit: train before test before calibration."""

_TOUCH_NEIGHBOURS = (
    sa.text("""
INSERT INTO touched (image_id)
SELECT s.image_id FROM (SELECT DISTINCT unit_key FROM pin) p CROSS JOIN image_state s
WHERE s.unit_key = p.unit_key
"""),
    sa.text("""
INSERT INTO touched (image_id)
SELECT m.image_id
FROM (SELECT DISTINCT unit_key FROM pin) p CROSS JOIN image_state r
CROSS JOIN image_group g CROSS JOIN grouping v CROSS JOIN membership m
WHERE r.unit_key = p.unit_key AND g.representative_id = r.image_id
  AND v.id = g.grouping_id AND v.is_current = 1
  AND m.group_id = g.id AND m.is_primary = 0
ON CONFLICT DO NOTHING
"""),
)

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

_REFRESH = sa.text(f"""
UPDATE image_state SET split = derived.split
FROM (
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
)
SELECT t.image_id,
    CASE
        WHEN s.pinned_split IS NULL AND f.low = f.high THEN f.low
        WHEN s.pinned_split IS NULL AND f.low <> f.high THEN 'withheld'
        WHEN f.near_other = 1 THEN 'withheld'
        WHEN s.pinned_split = 'train' AND f.own_other = 1 THEN 'withheld'
        ELSE s.pinned_split
    END AS split
FROM touched t CROSS JOIN image_state s LEFT JOIN facts f ON f.image_id = t.image_id
WHERE s.image_id = t.image_id
) AS derived
WHERE image_state.image_id = derived.image_id
  AND coalesce(image_state.split, '') <> coalesce(derived.split, '')
""")  # noqa: S608 - put together from constants


def pin_first_labels(connection: Connection, shares: SplitShares) -> None:
    """Pin the images in `touched` that have their first human label, and what follows.

    Empties and refills `touched`: with everything whose split may have changed.
    """
    emptied(connection, pin)
    connection.execute(_FIRST_LABELS)
    if not _write_pins(connection, shares):
        return
    emptied(connection, touched)
    for statement in _TOUCH_NEIGHBOURS:
        connection.execute(statement)
    refresh_splits(connection)


def _write_pins(connection: Connection, shares: SplitShares) -> int:
    state = ImageState
    update = sa.update(state).where(state.image_id == sa.bindparam("at"))
    update = update.values(
        pinned_split=sa.bindparam("chosen"),
        pinned_key=sa.bindparam("key"),
        pinned_by=sa.bindparam("event"),
    )
    query = sa.select(pin).order_by(pin.c.image_id).limit(CHUNK)
    last, written = 0, 0
    while rows := connection.execute(query.where(pin.c.image_id > last)).all():
        connection.execute(update, _pin_rows(rows, shares))
        written += len(rows)
        last = rows[-1].image_id
    return written


def _pin_rows(rows: Sequence[Fetched], shares: SplitShares) -> list[dict[str, Any]]:
    ranks = share_rank(column([row.unit_key for row in rows], np.int64), shares.seed)
    return [
        {
            "at": row.image_id,
            "key": row.unit_key,
            "event": row.event_id,
            "chosen": _first_split(row, float(rank), shares),
        }
        for row, rank in zip(rows, ranks, strict=True)
    ]


def _first_split(row: Fetched, rank: float, shares: SplitShares) -> Split:
    """What is pinned: the split that binds the image already, else that of the origin."""
    if row.split_before is not None and row.split_before != Split.WITHHELD:
        return Split(row.split_before)
    if row.unit_split is not None:
        return Split(row.unit_split)
    split = SPLIT_OF_ORIGIN[Origin(row.origin)]
    if split is Split.TRAIN and rank < shares.calibration + shares.test:
        return Split.CALIBRATION if rank < shares.calibration else Split.TEST
    return split


def refresh_splits(connection: Connection) -> int:
    """Derive the splits of the images in `touched` from pins and groups; how many changed."""
    emptied(connection, unit_pin)
    connection.execute(_UNIT_PINS)
    return connection.execute(_REFRESH).rowcount
