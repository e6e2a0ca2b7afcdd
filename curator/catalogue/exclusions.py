"""Images that people dropped as near-duplicates: excluded by events, and taken back by events.

An excluded image cannot be used: it is not trained on, promoted, reviewed or exported, and a
certificate that covered it is stale. Its labels, features and groups stay, so that a drop that is
taken back changes no group, fold or split.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.vocabulary import ExclusionKind
from curator.catalogue.audits import refuse_while_open
from curator.catalogue.bulk import plain_text
from curator.catalogue.constructs import within
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.files import refresh_usable
from curator.catalogue.models import Exclusion, Image, ImageState
from curator.errors import DataError

_exclusion, _restoration = Exclusion.c, Exclusion.alias()
_STANDS = sa.and_(
    _exclusion.kind == ExclusionKind.EXCLUDE,
    ~sa.exists().where(_restoration.c.target_id == _exclusion.id),
)


def exclude(
    catalogue: Catalogue, keeper_of: Mapping[int, int], *, actor: str, session: str | None = None
) -> tuple[int, list[int]]:
    """Exclude images (id → the image that is kept instead), all of them in one transaction.

    Gives the number of the step, for `restore`, and the images that were usable before. Raises
    DataError while an audit is open, or if an image that is to be kept cannot be used.
    """
    with catalogue.write() as connection:
        refuse_while_open(connection, "dropping near-duplicates")
        involved = sorted({*keeper_of, *keeper_of.values()})
        usable = _usable(connection, involved)
        missing = sorted(set(keeper_of.values()) - usable)
        if missing or set(keeper_of) & set(keeper_of.values()):
            raise DataError(
                "An image that was to be kept cannot be used any more.",
                "Nothing was dropped; look at the groups again: `curator duplicates`.",
            )
        image_ids = [image_id for image_id in keeper_of if image_id in usable]
        newest = connection.execute(sa.select(sa.func.max(_exclusion.id))).scalar_one() or 0
        step = newest + 1
        rows = [
            {
                "image_id": image_id,
                "kept_id": keeper_of[image_id],
                "kind": ExclusionKind.EXCLUDE,
                "step": step,
                "actor": plain_text(actor),
                "session": session,
                "made_at": now(),
            }
            for image_id in image_ids
        ]
        if rows:
            connection.execute(sa.insert(Exclusion), rows)
            refresh_usable(connection, image_ids)
    return step, image_ids


def restore(
    catalogue: Catalogue, step: int | None = None, *, actor: str, session: str | None = None
) -> list[int]:
    """Take back a step, or the newest that was not taken back; the images that came back.

    Raises DataError while an audit is open.
    """
    with catalogue.write() as connection:
        if step is None:
            step = connection.execute(
                sa.select(sa.func.max(_exclusion.step)).where(_STANDS)
            ).scalar()
        query = sa.select(_exclusion.id, _exclusion.image_id, _exclusion.kept_id)
        rows = connection.execute(query.where(_STANDS, _exclusion.step == step)).all()
        if not rows:
            return []
        refuse_while_open(connection, "taking dropped images back")
        connection.execute(
            sa.insert(Exclusion),
            [
                {
                    "image_id": row.image_id,
                    "kept_id": row.kept_id,
                    "kind": ExclusionKind.RESTORE,
                    "target_id": row.id,
                    "step": step,
                    "actor": plain_text(actor),
                    "session": session,
                    "made_at": now(),
                }
                for row in rows
            ],
        )
        image_ids = [row.image_id for row in rows]
        refresh_usable(connection, image_ids)
        return sorted(_usable(connection, image_ids))


def count_excluded(connection: Connection) -> int:
    """Images that are excluded now, and not in quarantine besides."""
    query = sa.select(sa.func.count(sa.distinct(_exclusion.image_id))).join(
        Image, Image.c.id == _exclusion.image_id
    )
    return connection.execute(query.where(_STANDS, Image.c.quarantine.is_(None))).scalar_one()


def _usable(connection: Connection, image_ids: list[int]) -> set[int]:
    query = sa.select(ImageState.c.image_id).where(
        within(ImageState.c.image_id, image_ids), ImageState.c.usable == 1
    )
    return set(connection.execute(query).scalars())
