"""Walking over all images by ranges of their ids, in short transactions.

Ids are handed out one after the other and never taken back, so a range of ids holds about
as many images, and the next one begins without looking for where the last one ended. A walk
ends at the newest image that there was when it began.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from curator.catalogue.engine import Catalogue
from curator.catalogue.models import ImageState

IS_USABLE = ImageState.usable + 0 == 1
"""A sum is in no index: else SQLite would go through all usable images for each range."""


def id_ranges(catalogue: Catalogue, size: int) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions on `image_state`, each true for at most `size` images, that follow in order."""
    with catalogue.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(ImageState.image_id))).scalar_one()
    for start in range(0, newest or 0, size):
        yield ImageState.image_id.between(start + 1, start + size)
