"""Where stored previews lie; the pack files themselves belong to `pixels`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from curator.base.values import PreviewPlace
from curator.catalogue.engine import Catalogue
from curator.catalogue.ingested import preview_row, store_previews
from curator.catalogue.models import Preview
from curator.catalogue.sets import within


def preview_places(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, PreviewPlace]:
    """The preview of each image that has one."""
    query = sa.select(Preview.image_id, Preview.pack, Preview.start, Preview.length)
    with catalogue.read() as connection:
        rows = connection.execute(query.where(within(Preview.image_id, image_ids)))
        return {
            image_id: PreviewPlace(pack=pack, offset=start, length=length)
            for image_id, pack, start, length in rows
        }


def record_previews(catalogue: Catalogue, places: Mapping[int, PreviewPlace]) -> None:
    """Record previews that are on disk (image id → place); replaces former places."""
    if places:
        with catalogue.write() as connection:
            store_previews(connection, [preview_row(i, place) for i, place in places.items()])


def preview_ends(catalogue: Catalogue) -> dict[int, int]:
    """For each pack, the byte after its last recorded preview; beyond lies only waste."""
    last = sa.select(Preview.pack, sa.func.max(Preview.start).label("start")).group_by(Preview.pack)
    ends = last.subquery()
    query = sa.select(Preview.pack, Preview.start + Preview.length).join(
        ends, sa.and_(ends.c.pack == Preview.pack, ends.c.start == Preview.start)
    )
    with catalogue.read() as connection:
        return dict(connection.execute(query).all())
