"""The heart of a round's commit: promotions and revocations in plain SQL.

Runs inside the commit's transaction and never brings a row into Python. An image that a
person labelled while the round was running is left alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.vocabulary import Origin
from curator.catalogue.engine import now
from curator.catalogue.models import ImageState, Round, ScoreGeneration, StagedDecision
from curator.catalogue.models.base import Moment

_APPLYING = """
FROM staged_decision d CROSS JOIN image_state s
WHERE d.generation_id = :generation AND s.image_id = d.image_id
  AND (
    (d.kind = 'revoke' AND s.origin = 'promoted')
    OR (d.kind = 'promote' AND s.usable = 1
        AND (s.standing IS NULL OR (s.origin = 'promoted' AND s.standing <> d.label))
        AND NOT EXISTS (SELECT 1 FROM block b WHERE b.image_id = d.image_id))
  )
"""
"""The decisions that still make sense in this instant; people's labels win."""

_COUNTS = sa.text(f"""
SELECT
    coalesce(sum(CASE WHEN d.kind = 'promote' AND d.label = 'positive' THEN 1 END), 0),
    coalesce(sum(CASE WHEN d.kind = 'promote' AND d.label = 'negative' THEN 1 END), 0),
    coalesce(sum(CASE WHEN d.kind = 'revoke' THEN 1 END), 0),
    coalesce(sum(CASE WHEN d.kind = 'promote' AND s.standing IS NULL THEN 1
                      WHEN d.kind = 'revoke' AND s.usable = 1 THEN -1 END), 0)
{_APPLYING}
""")

_EVENTS = sa.text(f"""
INSERT INTO label_event (
    image_id, kind, label, origin, method, round_id, probability, threshold, made_at)
SELECT d.image_id, d.kind, CASE d.kind WHEN 'revoke' THEN s.standing ELSE d.label END,
    'promoted', 'round', :round, d.probability, d.threshold, :made_at
{_APPLYING}
ORDER BY d.image_id
""").bindparams(sa.bindparam("made_at", type_=Moment()))

_STANDING = sa.text("""
UPDATE image_state SET
    standing = CASE e.kind WHEN 'promote' THEN e.label END,
    origin = CASE e.kind WHEN 'promote' THEN 'promoted' END,
    event_id = CASE e.kind WHEN 'promote' THEN e.id END,
    round_id = CASE e.kind WHEN 'promote' THEN e.round_id END,
    probability = CASE e.kind WHEN 'promote' THEN e.probability END
FROM label_event e
WHERE e.round_id = :round AND image_state.image_id = e.image_id
""")


def count_decisions(connection: Connection, generation: int) -> dict[str, int]:
    """The counts that a round's row keeps, as they will be once it is committed."""
    row = connection.execute(_COUNTS, {"generation": generation}).one()
    positive, negative, revoked, gained = row
    query = (
        sa.select(ImageState.origin, sa.func.count())
        .where(ImageState.usable == 1)
        .group_by(ImageState.origin)
    )
    before = dict(connection.execute(query).all())
    return {
        "promoted_positive": positive,
        "promoted_negative": negative,
        "revoked": revoked,
        "standing_promoted": before.get(Origin.PROMOTED, 0) + gained,
        "without_human": before.get(Origin.PROMOTED, 0) + before.get(None, 0),
    }


def promote_and_revoke(connection: Connection, generation: int, round_id: int) -> None:
    """Write the events of a round, and what stands because of them."""
    connection.execute(_EVENTS, {"generation": generation, "round": round_id, "made_at": now()})
    connection.execute(_STANDING, {"round": round_id})


def settle_generation(connection: Connection, generation: int, round_id: int) -> None:
    """Bind staged scores to their round; the decisions have done their work."""
    of_generation = ScoreGeneration.id == generation
    connection.execute(sa.update(ScoreGeneration).where(of_generation).values(round_id=round_id))
    decisions = StagedDecision.generation_id == generation
    connection.execute(sa.delete(StagedDecision).where(decisions))


def next_round_id(connection: Connection) -> int:
    """The number of the next round: one more than any before, rolled back or not."""
    return (connection.execute(sa.select(sa.func.max(Round.id))).scalar_one() or 0) + 1
