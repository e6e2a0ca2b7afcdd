"""Current labels derived from the events in SQL, for a set of images at once.

This is the rule of `rule.py`: a person's last decision, unless imports since the last personal
one name both classes; else the newest promotion or revocation of a round on the way to the
head. It always derives from the events, never from the label before.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.catalogue.bulk import derived_label, execute_all, noting_touched, standing_round
from curator.catalogue.models import Head, Round

_DERIVE = sa.text("""
INSERT INTO derived_label (image_id, standing, origin, event_id, round_id, probability)
WITH human AS (
    SELECT e.image_id, e.id, e.label, e.method
    FROM touched t CROSS JOIN label_event e
    WHERE e.image_id = t.image_id AND e.kind = 'assert'
      AND NOT EXISTS (SELECT 1 FROM label_event r WHERE r.target_id = e.id)
),
looked AS (
    SELECT image_id, max(id) AS id FROM human WHERE method <> 'import' GROUP BY image_id
),
imported AS (
    SELECT h.image_id, max(h.id) AS id,
        max(CASE WHEN h.label = 'positive' THEN 1 ELSE 0 END)
        + max(CASE WHEN h.label = 'negative' THEN 1 ELSE 0 END) AS classes
    FROM human h LEFT JOIN looked l ON l.image_id = h.image_id
    WHERE h.method = 'import' AND h.id > coalesce(l.id, 0)
    GROUP BY h.image_id
),
deciding AS (
    SELECT t.image_id, coalesce(i.classes, 0) AS classes,
        coalesce(i.id, l.id, (
            SELECT max(e.id) FROM label_event e JOIN standing_round s ON s.id = e.round_id
            WHERE e.image_id = t.image_id
        )) AS event_id
    FROM touched t
    LEFT JOIN imported i ON i.image_id = t.image_id
    LEFT JOIN looked l ON l.image_id = t.image_id
),
derived AS (
    SELECT d.image_id, e.id AS event_id,
        CASE WHEN d.classes = 2 THEN 'conflict' ELSE e.label END AS standing,
        e.origin, e.round_id,
        CASE WHEN e.kind = 'promote' THEN e.probability END AS probability
    FROM deciding d LEFT JOIN label_event e ON e.id = d.event_id AND e.kind <> 'revoke'
)
SELECT d.image_id, d.standing, d.origin, d.event_id, d.round_id, d.probability
FROM derived d CROSS JOIN image_state s
WHERE s.image_id = d.image_id
  AND (coalesce(s.event_id, 0) <> coalesce(d.event_id, 0)
       OR coalesce(s.standing, '') <> coalesce(d.standing, ''))
""")

_KEEP = sa.text("""
UPDATE image_state
SET (standing, origin, event_id, round_id, probability) = (
    SELECT d.standing, d.origin, d.event_id, d.round_id, d.probability
    FROM derived_label d WHERE d.image_id = image_state.image_id)
WHERE image_id IN (SELECT image_id FROM derived_label)
""")
"""Written with IN so that SQLite goes from the few to their rows, never over all rows."""


_LINEAGE = sa.text("""
INSERT INTO standing_round (id)
WITH RECURSIVE line (id, parent_id) AS (
    SELECT r.id, r.parent_id FROM round r JOIN head h ON h.round_id = r.id
    UNION ALL
    SELECT r.id, r.parent_id FROM round r JOIN line l ON r.id = l.parent_id
)
SELECT id FROM line
""")


def refresh_current_labels(connection: Connection, *before: sa.TextClause) -> int:
    """Derive the current labels of the images in `touched`; how many changed.

    Statements that are to be run `before` save their way to a server.
    """
    noted = noting_touched(connection)
    return execute_all(
        connection, *before, standing_round, _LINEAGE, derived_label, _DERIVE, *noted, _KEEP
    )


def head_of(connection: Connection) -> int | None:
    """The current round, None before the first one."""
    return connection.execute(sa.select(Head.c.round_id)).scalar_one()


def lineage_of(connection: Connection, round_id: int | None) -> list[int]:
    """The rounds on the way to a round, first to last, itself included."""
    line = sa.select(Round.c.id, Round.c.parent_id).where(Round.c.id == round_id)
    walk = line.cte("line", recursive=True)
    parents = sa.select(Round.c.id, Round.c.parent_id).join(walk, Round.c.id == walk.c.parent_id)
    walk = walk.union_all(parents)
    return sorted(connection.execute(sa.select(walk.c.id)).scalars())
