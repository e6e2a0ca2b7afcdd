"""Queues choose what a plain, slow reference chooses, whatever way the pool is cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_distances

from curator.review.selection import farthest, nearest, random_sample, spread, unit_length

Array = NDArray[np.float64]


def pool(count: int, seed: int, width: int = 12) -> tuple[NDArray[np.int64], Array]:
    random = np.random.default_rng(seed)
    ids = np.sort(random.choice(10 * count, count, replace=False)).astype(np.int64)
    return ids, random.normal(size=(count, width))


def chunks(
    ids: NDArray[np.int64], features: Array, size: int
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size], features[start : start + size]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1_000), st.integers(1, 60), st.integers(1, 70))
def test_nearest_is_exact(seed: int, size: int, chunk: int) -> None:
    ids, features = pool(50, seed)
    query = np.random.default_rng(seed + 1).normal(size=12)
    distances = cosine_distances(features, query[np.newaxis])[:, 0]
    found = nearest(query[None, :], features[:0], chunks(ids, features, chunk), size)
    assert found.ids.tolist() == ids[np.argsort(distances)][:size].tolist()
    assert found.distances == pytest.approx(np.sort(distances)[:size], abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1_000), st.integers(1, 60), st.integers(1, 70), st.integers(1, 9))
def test_farthest_is_exact(seed: int, size: int, chunk: int, known: int) -> None:
    ids, features = pool(50, seed)
    references = np.random.default_rng(seed + 1).normal(size=(known, 12))
    distances = cosine_distances(features, references).min(axis=1)
    found = farthest(references, chunks(ids, features, chunk), size)
    assert found.ids.tolist() == ids[np.argsort(-distances)][:size].tolist()
    assert found.distances == pytest.approx(np.sort(distances)[::-1][:size], abs=1e-5)


def test_ties_go_to_the_smaller_id() -> None:
    ids = np.arange(10, dtype=np.int64)
    same = np.ones((10, 3))
    assert nearest(np.ones((1, 3)), np.empty((0, 3)), chunks(ids, same, 3), 4).ids.tolist() == [
        0,
        1,
        2,
        3,
    ]
    assert farthest(np.ones((1, 3)), chunks(ids, same, 3), 4).ids.tolist() == [0, 1, 2, 3]
    nothing_known = np.empty((0, 3))
    assert farthest(nothing_known, chunks(ids, same, 3), 2).ids.tolist() == [0, 1]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**63), st.integers(1, 40), st.integers(1, 100))
def test_a_sample_does_not_depend_on_chunks(seed: int, size: int, chunk: int) -> None:
    ids = np.arange(1, 201, dtype=np.int64)
    whole = random_sample([ids], size, seed)
    parts = (ids[start : start + chunk] for start in range(0, len(ids), chunk))
    assert random_sample(parts, size, seed).tolist() == whole.tolist()
    assert len(set(whole.tolist())) == min(size, 200)


def test_a_sample_stays_when_others_leave() -> None:
    ids = np.arange(1, 1_001, dtype=np.int64)
    first = random_sample([ids], 50, seed=7)
    rest = np.setdiff1d(ids, first[:10])
    assert random_sample([rest], 40, seed=7).tolist() == first[10:].tolist()


def test_samples_are_uniform() -> None:
    """Every id is drawn about equally often: chi-square over 4,000 samples of 10 from 100."""
    ids = np.arange(100, dtype=np.int64)
    drawn = np.zeros(100)
    for seed in range(4_000):
        drawn[random_sample([ids], 10, seed)] += 1
    # 99 degrees of freedom: beyond 160 once in 10,000.
    assert ((drawn - 400) ** 2 / 400).sum() < 160


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 300), st.integers(0, 4))
def test_spread_follows_its_definition(seed: int, known: int) -> None:
    """Each choice is the best of its four draws, by all distances in double precision."""
    ids, features = pool(60, seed)
    references = np.random.default_rng(seed + 1).normal(size=(known, 12))
    chosen = np.searchsorted(ids, spread(ids, features, references, 15, seed).ids).tolist()
    random = np.random.default_rng(seed)

    def squared(places: list[int]) -> Array:
        taken = np.concatenate([references, features[places]])
        if not len(taken):
            return np.ones(len(ids))
        return 2 * cosine_distances(features, taken).min(axis=1)

    for rank, place in enumerate(chosen):
        weights = squared(chosen[:rank])
        weights[chosen[:rank]] = 0
        bounds = np.cumsum(weights)
        draws = random.random(4) * bounds[-1]
        near = 1e-5 * bounds[-1]
        drawn = [set(np.searchsorted(bounds, draw + np.array([-near, near]))) for draw in draws]
        potential = {
            int(one): squared([*chosen[:rank], int(one)]).sum() for one in set().union(*drawn)
        }
        # A draw within rounding of a boundary may fall to either side.
        certain = [potential[int(min(places))] for places in drawn if len(places) == 1]
        assert place in potential
        assert potential[place] <= min(certain, default=np.inf) * (1 + 1e-4)


def test_spread_finds_every_cluster_and_avoids_known_ones() -> None:
    random = np.random.default_rng(3)
    centres = np.eye(8)
    # One cluster holds nine tenths of the pool: a random sample would hardly see the rest.
    clusters = np.repeat(np.arange(8), [900, 20, 20, 20, 10, 10, 10, 10])
    features = centres[clusters] + random.normal(scale=0.02, size=(1_000, 8))
    ids = np.arange(1_000, dtype=np.int64)
    found = clusters[spread(ids, features, np.empty((0, 8)), 16, seed=0).ids]
    assert set(found) == set(range(8))
    away = clusters[spread(ids, features, centres[:4], 4, seed=0).ids]
    assert set(away) == {4, 5, 6, 7}


def test_spread_of_identical_images_ends() -> None:
    ids = np.arange(5, dtype=np.int64)
    found = spread(ids, np.ones((5, 3)), np.empty((0, 3)), 9, seed=1)
    assert sorted(found.ids.tolist()) == [0, 1, 2, 3, 4]
    assert spread(ids[:0], np.ones((0, 3)), np.empty((0, 3)), 3, seed=1).ids.tolist() == []


def test_a_longer_choice_begins_with_the_shorter_one() -> None:
    ids, features = pool(80, 5)
    nothing = np.empty((0, 12))
    short = spread(ids, features, nothing, 10, seed=2).ids
    assert spread(ids, features, nothing, 30, seed=2).ids[:10].tolist() == short.tolist()


def test_features_of_zeros_stay_zeros() -> None:
    rows = unit_length(np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float16))
    assert rows.dtype == np.float32
    assert rows == pytest.approx(np.array([[0, 0], [0.6, 0.8]]), abs=1e-3)
