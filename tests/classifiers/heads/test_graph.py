"""The neighbours that are found are near, and they are the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.graph import DIRECTIONS, NeighbourIndex, find_projection
from curator.errors import LearnError


class Held:
    def __init__(self, features: NDArray[np.float32]) -> None:
        self.features = features

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.features[rows]


def clusters(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(40, width)) * 3
    return (
        centres[generator.integers(0, 40, count)] + generator.normal(size=(count, width))
    ).astype(np.float32)


def exact(vectors: NDArray[np.floating], first: int, rows: int, count: int) -> NDArray[np.int64]:
    some = vectors[first : first + rows].astype(np.float64)
    everything = vectors.astype(np.float64)
    squares = np.square(everything).sum(axis=1)
    distance = squares[None, :] - 2 * some @ everything.T
    distance[np.arange(rows), first + np.arange(rows)] = np.inf
    return np.argsort(distance, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize(("count", "least"), [(1_000, 0.999), (6_000, 0.9)])
def test_most_of_the_nearest_are_found_and_never_an_image_itself(count: int, least: float) -> None:
    vectors = clusters(count, 16)
    index = NeighbourIndex(vectors)
    found = index.nearest_of_own(vectors[100:300], 100, 15)
    assert found.shape == (200, 15)
    assert (found != np.arange(100, 300)[:, None]).all()
    expected = exact(vectors, 100, 200, 15)
    both = [len(np.intersect1d(a, b)) for a, b in zip(found, expected, strict=True)]
    assert np.mean(both) / 15 > least
    assert (NeighbourIndex(vectors).nearest_of_own(vectors[100:300], 100, 15) == found).all()


def test_where_copies_abound_an_image_still_is_not_its_own_neighbour() -> None:
    vectors = np.repeat(clusters(20, 4), 30, axis=0)
    found = NeighbourIndex(vectors).nearest_of_own(vectors, 0, 15)
    assert (found != np.arange(len(vectors))[:, None]).all()
    assert (found // 30 == np.arange(len(vectors))[:, None] // 30).all()


def test_a_projection_keeps_who_is_near() -> None:
    generator = np.random.default_rng(1)
    features = clusters(800, 20) @ generator.normal(size=(20, 300)).astype(np.float32)
    held, rows = Held(features), np.arange(800)
    projection = find_projection(held, rows)
    vectors = projection.apply(held.gather(rows))
    assert vectors.shape == (800, DIRECTIONS)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    near, expected = exact(vectors, 0, 100, 10), exact(unit, 0, 100, 10)
    both = [len(np.intersect1d(a, b)) for a, b in zip(near, expected, strict=True)]
    assert np.mean(both) > 9.5
    again = find_projection(held, rows)
    assert (again.directions == projection.directions).all()


def test_features_that_are_no_numbers_get_a_sentence() -> None:
    features = clusters(50, 8)
    features[7, 3] = np.inf
    with pytest.raises(LearnError, match="not finite"):
        find_projection(Held(features), np.arange(50))
