"""Claims, skips and flags: what several reviewers need to work at once.

A claim says that an image is before somebody's eyes; it expires by itself, and ends with
a decision about the image or with the process that made it. Time is that of the database. Claims
keep two people from looking at the same image, no more: one that seems to expire later than any
can, since the clock was set back, does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from curator.catalogue.backend import Turn
from curator.catalogue.bulk import plain_text
from curator.catalogue.constructs import database_clock, insert_or_ignore, within
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.leases import session_is_dead
from curator.catalogue.models import Claim, Flag, Skip

CLAIM_SECONDS = 600.0
"""How long a claim lasts that is not renewed."""


def is_claimed() -> sa.ColumnElement[bool]:
    """Whether a claim counts now: not expired, nor from a clock that is far ahead."""
    moment, expires_at = database_clock(), sa.type_coerce(Claim.c.expires_at, sa.BigInteger)
    return expires_at.between(moment, moment + round(2e6 * CLAIM_SECONDS))


def claim(
    catalogue: Catalogue,
    image_ids: Sequence[int],
    *,
    queue: str,
    actor: str,
    session: str,
    seconds: float = CLAIM_SECONDS,
) -> list[int]:
    """Claim those of these images that no other session holds; returns them in order."""
    if not image_ids:
        return []
    terms = {"queue": queue, "actor": plain_text(actor), "session": plain_text(session)}
    rows = [{"image_id": image_id, **terms} for image_id in image_ids]
    until = database_clock() + round(1e6 * seconds)
    of_these = within(Claim.c.image_id, image_ids)
    with catalogue.write(Turn.SHORT) as connection:
        over = sa.or_(~is_claimed(), Claim.c.session == terms["session"])
        connection.execute(sa.delete(Claim).where(of_these, over))
        connection.execute(insert_or_ignore(Claim).values(expires_at=until), rows)
        mine = sa.select(Claim.c.image_id).where(of_these, Claim.c.session == terms["session"])
        claimed = set(connection.execute(mine).scalars())
    return [image_id for image_id in image_ids if image_id in claimed]


def release(catalogue: Catalogue, *, session: str) -> int:
    """End all claims of a session; returns how many."""
    with catalogue.write(Turn.SHORT) as connection:
        mine = Claim.c.session == plain_text(session)
        return connection.execute(sa.delete(Claim).where(mine)).rowcount


def release_the_dead(catalogue: Catalogue) -> int:
    """End the claims of sessions whose processes were killed; returns how many.

    A reviewer who starts again then continues at the same image, and the last images of a
    queue need not wait for a claim to expire.
    """
    with catalogue.read() as connection:
        sessions = connection.execute(sa.select(Claim.c.session).distinct()).scalars().all()
    return sum(release(catalogue, session=name) for name in sessions if session_is_dead(name))


def live_sessions(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Actor and name of the sessions that have images before them and are not known to be dead."""
    query = sa.select(Claim.c.actor, Claim.c.session).where(is_claimed()).distinct()
    with catalogue.read() as connection:
        sessions = connection.execute(query).all()
    return [(actor, session) for actor, session in sessions if not session_is_dead(session)]


def skip(catalogue: Catalogue, image_id: int, *, queue: str, actor: str, session: str) -> None:
    """Leave an image out of this queue for this session; its claim ends."""
    row = {"image_id": image_id, "queue": queue, "session": plain_text(session)}
    with catalogue.write(Turn.SHORT) as connection:
        connection.execute(
            insert_or_ignore(Skip).values(**row, actor=plain_text(actor), skipped_at=now())
        )
        mine = sa.and_(Claim.c.image_id == image_id, Claim.c.session == row["session"])
        connection.execute(sa.delete(Claim).where(mine))


def unskip(catalogue: Catalogue, image_id: int, *, queue: str, session: str) -> None:
    """Take an image back into this queue for this session."""
    with catalogue.write(Turn.SHORT) as connection:
        connection.execute(
            sa.delete(Skip).where(
                Skip.c.session == plain_text(session),
                Skip.c.queue == queue,
                Skip.c.image_id == image_id,
            )
        )


def flag(catalogue: Catalogue, image_id: int, *, note: str | None, actor: str) -> None:
    """Mark an image for somebody to look at, in place of its flag so far; None ends that."""
    who, moment = plain_text(actor), now()
    is_open = sa.and_(Flag.c.image_id == image_id, Flag.c.resolved_at.is_(None))
    with catalogue.write(Turn.SHORT) as connection:
        ended = sa.update(Flag).where(is_open).values(resolved_at=moment, resolved_by=who)
        connection.execute(ended)
        if note is not None:
            row = {"image_id": image_id, "note": plain_text(note), "actor": who}
            connection.execute(sa.insert(Flag).values(**row, flagged_at=moment))


def flags_of(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, str]:
    """The notes of the flags that images have; images without a flag are left out."""
    query = sa.select(Flag.c.image_id, Flag.c.note).where(
        within(Flag.c.image_id, image_ids), Flag.c.resolved_at.is_(None)
    )
    with catalogue.read() as connection:
        return {row.image_id: row.note for row in connection.execute(query)}
