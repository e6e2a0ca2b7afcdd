"""Which images a queue shows, decided on feature arrays alone.

Distances are between features scaled to unit length (cosine). Pools are read in chunks,
and nothing here holds more than a few chunks; ties go to the smaller image id, so that a
queue depends on the features and the seed and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.statistics.folds import sampling_rank

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
FeatureChunk = tuple[Ids, NDArray[np.floating]]
"""Image ids of shape (n,) and their features of shape (n, d)."""

SAMPLE_LIMIT = 32_768
"""Most images that `diverse` and `unfamiliar` choose from; a random sample beyond that."""

_REFERENCE_BLOCK = 2_048
_CANDIDATES = 4
_FARTHEST = np.float32(2)
"""The largest cosine distance."""


def unit_length(features: NDArray[np.floating]) -> Floats:
    """Rows scaled to Euclidean length 1 in float32; rows of zeros stay zeros."""
    rows = features.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled


def random_sample(chunks: Iterable[Ids], size: int, seed: int) -> Ids:
    """A uniform random sample of `size` ids without replacement, in random order.

    The ids of the smallest rank are kept, so that the sample does not depend on how the
    pool was cut into chunks, and stays as it is when others join or leave the pool.
    """
    sample = np.empty(0, dtype=np.int64)
    for chunk in chunks:
        ids = np.concatenate([sample, chunk])
        sample = ids[np.lexsort((ids, sampling_rank(ids, seed)))][:size]
    return sample


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarTo:
    """Ids of the images that `similar` starts from, and of those that it turns away from."""

    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()


NO_EXAMPLES = SimilarTo()


@dataclass(frozen=True, slots=True)
class Ranked:
    """Chosen images, the first the foremost, with the distance that ranked them."""

    ids: Ids
    distances: Floats


def nearest(
    like: NDArray[np.floating],
    unlike: NDArray[np.floating],
    chunks: Iterable[FeatureChunk],
    size: int,
) -> Ranked:
    """The `size` images nearest to one of `like`, (m, d), by exact search.

    Images that are nearer to one of `unlike`, (n, d), come after all others.
    """
    targets, away_from = unit_length(like), unit_length(unlike)
    best = _nothing()
    for ids, features in chunks:
        rows = unit_length(features)
        distances = _distance_to_nearest(rows, targets)
        if len(away_from):
            distances[_distance_to_nearest(rows, away_from) < distances] += _FARTHEST
        best = _first(best, Ranked(ids, distances), size, descending=False)
    return best


def farthest(references: NDArray[np.floating], chunks: Iterable[FeatureChunk], size: int) -> Ranked:
    """The `size` images whose nearest neighbour among `references`, (m, d), is farthest away.

    Without any reference, all distances are infinite and the smallest ids come first.
    """
    targets = unit_length(references)
    best = _nothing()
    for ids, features in chunks:
        distances = _distance_to_nearest(unit_length(features), targets)
        best = _first(best, Ranked(ids, distances), size, descending=True)
    return best


def spread(
    ids: Ids,
    features: NDArray[np.floating],
    references: NDArray[np.floating],
    size: int,
    seed: int,
) -> Ranked:
    """Choose `size` of the images so that they cover feature space, away from `references`.

    The first `n` of the result are themselves a spread choice of `n`. `features` is
    (n, d), `references` (m, d) and possibly empty. This is greedy k-means++ seeding (Arthur and
    Vassilvitskii 2007): each step draws four candidates with a probability proportional
    to their squared distance from all chosen and reference images, and keeps the one that
    brings the pool nearest; unlike the farthest-first rule, that does not collect
    outliers. Images that coincide with chosen ones come last, in order of id.
    """
    rows = unit_length(features)
    random = np.random.default_rng(seed)
    # Between unit vectors the squared Euclidean distance is twice the cosine distance.
    squared = 2 * _distance_to_nearest(rows, unit_length(references))
    free = np.ones(len(ids), dtype=bool)
    picked = np.empty(min(size, len(ids)), dtype=np.int64)
    distances = np.empty(len(picked), dtype=np.float32)
    for rank in range(len(picked)):
        candidates = _draw(squared, free, random)
        away = np.maximum(2 - 2 * (rows[candidates] @ rows.T), 0)
        remaining = np.minimum(squared, away)
        best = int(np.argmin(remaining.sum(axis=1, dtype=np.float64)))
        row = candidates[best]
        picked[rank], distances[rank] = row, squared[row] / 2
        free[row] = False
        squared = remaining[best]
    return Ranked(ids[picked], distances)


def _draw(
    squared: Floats, free: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.int64]:
    """Candidates for the next choice; only the first free one if all coincide with chosen ones."""
    weights = np.where(np.isinf(squared), 1, squared).astype(np.float64)
    # Below this two float32 unit vectors cannot be told from equal ones.
    weights[~free | (weights <= 1e-5)] = 0
    possible = np.flatnonzero(weights)
    if not len(possible):
        return np.flatnonzero(free)[:1]
    bounds = np.cumsum(weights[possible])
    drawn = np.searchsorted(bounds, random.random(_CANDIDATES) * bounds[-1], side="right")
    candidates: NDArray[np.int64] = possible[np.minimum(drawn, len(possible) - 1)]
    return candidates


def _distance_to_nearest(rows: Floats, references: Floats) -> Floats:
    similarity = np.full(len(rows), -np.inf, dtype=np.float32)
    for start in range(0, len(references), _REFERENCE_BLOCK):
        block = rows @ references[start : start + _REFERENCE_BLOCK].T
        similarity = np.maximum(similarity, block.max(axis=1))
    return np.float32(1) - similarity


def _nothing() -> Ranked:
    return Ranked(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def _first(best: Ranked, more: Ranked, size: int, *, descending: bool) -> Ranked:
    ids = np.concatenate([best.ids, more.ids])
    distances = np.concatenate([best.distances, more.distances])
    order = np.lexsort((ids, -distances if descending else distances))[:size]
    return Ranked(ids[order], distances[order])
