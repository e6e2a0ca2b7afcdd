"""Where scores and decisions of a round wait until it is committed or thrown away.

They lie under a generation of their own, written in short transactions while others
work. Nobody reads a generation that the head does not point at.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.vocabulary import EventKind, Label
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import Head, ScoreGeneration, ScoreRow, StagedDecision
from curator.catalogue.sets import insert_columns
from curator.errors import CatalogueError

_STAGED_AT_ONCE = 16_384
_DELETED_AT_ONCE = 20_000
_KINDS = {True: str(EventKind.PROMOTE), False: str(EventKind.REVOKE)}
_LABELS = {True: str(Label.POSITIVE), False: str(Label.NEGATIVE)}


def begin_staging(catalogue: Catalogue) -> str:
    """Open a place for scores and decisions that nobody sees yet; returns its token."""
    token = uuid.uuid4().hex
    with catalogue.write() as connection:
        connection.execute(sa.insert(ScoreGeneration).values(token=token, made_at=now()))
    return token


def generation_of(connection: Connection, token: str) -> int:
    """The generation behind a token. Raises CatalogueError if it was thrown away."""
    query = sa.select(ScoreGeneration.id).where(ScoreGeneration.token == token)
    generation = connection.execute(query).scalar()
    if generation is None:
        raise CatalogueError(
            "What this round had staged is gone: another process has cleaned it away.",
            "Run the round again.",
        )
    return generation


def stage_scores(
    catalogue: Catalogue,
    token: str,
    image_ids: NDArray[np.int64],
    probabilities: NDArray[np.floating[Any]],
    raw: NDArray[np.floating[Any]],
    distances: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Stage scores, P(positive) calibrated and raw, in short transactions.

    `distances` may hold NaN where nothing was measured.
    """
    staged = {
        "image_id": image_ids.tolist(),
        "probability": _floats(probabilities),
        "raw": _floats(raw),
        "distance": [None] * len(image_ids) if distances is None else _or_none(distances),
    }
    _stage(catalogue, token, sa.insert(ScoreRow), staged)


def stage_decisions(
    catalogue: Catalogue,
    token: str,
    image_ids: NDArray[np.int64],
    *,
    promote: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    probabilities: NDArray[np.floating[Any]],
    thresholds: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Stage promotions (`promote`) and revocations, one image once at most.

    `positive` is the class promoted to, or the class of the promotion that is revoked.
    """
    staged = {
        "image_id": image_ids.tolist(),
        "kind": [_KINDS[is_so] for is_so in promote.tolist()],
        "label": [_LABELS[is_so] for is_so in positive.tolist()],
        "probability": _floats(probabilities),
        "threshold": [None] * len(image_ids) if thresholds is None else _or_none(thresholds),
    }
    _stage(catalogue, token, sa.insert(StagedDecision), staged)


def _stage(
    catalogue: Catalogue,
    token: str,
    insert: sa.Insert,
    staged: Mapping[str, Sequence[Any]],
) -> None:
    for start in range(0, len(staged["image_id"]), _STAGED_AT_ONCE):
        some = {name: values[start : start + _STAGED_AT_ONCE] for name, values in staged.items()}
        with catalogue.write() as connection:
            generation = generation_of(connection, token)
            rows = {"generation_id": repeat(generation, len(some["image_id"])), **some}
            insert_columns(connection, insert, rows)


def _floats(values: NDArray[np.floating[Any]]) -> list[float]:
    floats: list[float] = values.astype(np.float64).tolist()
    return floats


def _or_none(values: NDArray[np.floating[Any]]) -> list[float | None]:
    return [None if value != value else value for value in _floats(values)]


def has_rows(connection: Connection, generation: int) -> bool:
    """Whether scores lie in a generation."""
    some = sa.select(ScoreRow.image_id).where(ScoreRow.generation_id == generation).limit(1)
    return connection.execute(some).first() is not None


def discard_staging(catalogue: Catalogue, token: str) -> None:
    """Throw staged scores and decisions away, in short transactions."""
    with catalogue.read() as connection:
        query = sa.select(ScoreGeneration.id).where(ScoreGeneration.token == token)
        generation = connection.execute(query).scalar()
    if generation is not None:
        _delete_generation(catalogue, generation)


def clean_scores(catalogue: Catalogue) -> int:
    """Delete scores and decisions that are neither current nor of a living staging.

    Call it while holding the `round` lease: everything staged by others is then orphaned.
    Works in short transactions; returns how many generations went.
    """
    with catalogue.read() as connection:
        current = sa.select(Head.generation_id).where(Head.generation_id.is_not(None))
        query = sa.select(ScoreGeneration.id).where(ScoreGeneration.id.not_in(current))
        stale = connection.execute(query).scalars().all()
    for generation in stale:
        _delete_generation(catalogue, generation)
    return len(stale)


def _delete_generation(catalogue: Catalogue, generation: int) -> None:
    for table in (ScoreRow, StagedDecision):
        of_generation = table.generation_id == generation
        in_order = sa.select(table.image_id).where(of_generation).order_by(table.image_id)
        more = True
        while more:
            with catalogue.write() as connection:
                last = connection.execute(in_order.offset(_DELETED_AT_ONCE).limit(1)).scalar()
                more = last is not None
                chosen = sa.and_(of_generation, table.image_id < last) if more else of_generation
                connection.execute(sa.delete(table).where(chosen))
    with catalogue.write() as connection:
        connection.execute(sa.delete(ScoreGeneration).where(ScoreGeneration.id == generation))
