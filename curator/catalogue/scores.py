"""The current scores: those of the round that the head points at."""

from __future__ import annotations

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.catalogue.engine import Catalogue
from curator.catalogue.models import Head, ScoreRow
from curator.catalogue.sets import CHUNK, within
from curator.catalogue.sqlite import raw_rows

NO_GENERATION = 0
"""No generation has this number. A NULL instead would make SQLite walk all scores."""


def generation_now(connection: Connection) -> int:
    """The generation of the current scores, `NO_GENERATION` if there are none."""
    return connection.execute(sa.select(Head.generation_id)).scalar_one() or NO_GENERATION


def current_scores(catalogue: Catalogue, image_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(positive) of these images in the current scores; NaN where there is none."""
    scores = np.full(len(image_ids), np.nan, dtype=np.float64)
    with catalogue.read() as connection:
        of_now = ScoreRow.generation_id == generation_now(connection)
        query = sa.select(ScoreRow.image_id, ScoreRow.probability).where(of_now)
        for start in range(0, len(image_ids), CHUNK):
            some = image_ids[start : start + CHUNK].tolist()
            found = dict(raw_rows(connection.execute(query.where(within(ScoreRow.image_id, some)))))
            scores[start : start + CHUNK] = [found.get(image_id, np.nan) for image_id in some]
    return scores


def has_scores(catalogue: Catalogue) -> bool:
    """Whether there are current scores, as the score queues need them."""
    with catalogue.read() as connection:
        return generation_now(connection) != NO_GENERATION
