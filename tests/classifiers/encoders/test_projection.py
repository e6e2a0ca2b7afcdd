"""The projection against scikit-learn's components, and what it promises of its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from curator.base.scaled_rows import pack_scaled, unpack_scaled
from curator.classifiers.encoders.projection import SQUARED_LENGTH, PoolProjection, fit_projection

GROUPS = (16, 81)


def sample(count: int, seed: int = 0, pool: int = 0) -> NDArray[np.float32]:
    """Rows of a pool that varies in 20 directions, less and less."""
    mixing, generator = np.random.default_rng([pool, 7]), np.random.default_rng(seed)
    causes = generator.normal(size=(count, 20)) * 0.9 ** np.arange(20)
    mixed = causes @ mixing.normal(size=(20, sum(GROUPS)))
    scale = np.exp(mixing.normal(size=sum(GROUPS)))
    noise = generator.normal(size=mixed.shape) * 0.1
    return np.asarray((mixed + noise) * scale + 5, np.float32)


@pytest.mark.parametrize("count", [60, 400])
def test_axes_are_the_components_of_standardised_and_weighed_numbers(count: int) -> None:
    """Both ways to the components, through the small and through the large square matrix."""
    raw = sample(count)
    found = fit_projection(raw, GROUPS, axes=12).apply(raw)[0]
    quarter = np.concatenate([np.full(size, size**-0.25) for size in GROUPS])
    weighed = (raw - raw.mean(axis=0)) / raw.std(axis=0) * quarter
    expected = PCA(n_components=12, svd_solver="full").fit_transform(weighed.astype(np.float64))
    expected *= np.sqrt(SQUARED_LENGTH / np.square(expected).sum(axis=1).mean())
    expected *= np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert np.square(found).sum(axis=1).mean() == pytest.approx(SQUARED_LENGTH)
    deviations = found.std(axis=0)
    assert (np.diff(deviations) < 0).all()
    assert deviations[0] > 2 * deviations[-1]


def test_images_that_were_held_out_say_what_the_axes_capture() -> None:
    raw = sample(600)
    projection = fit_projection(raw, GROUPS, axes=10)
    assert projection.fitted_on == 540
    unseen = sample(4_000, seed=1)
    assert projection.captured == pytest.approx(projection.apply(unseen)[1].mean(), abs=0.02)
    strangers = sample(500, seed=1, pool=1)
    assert projection.apply(strangers)[1].mean() < projection.captured - 0.1


def test_a_projection_comes_back_from_its_bytes_and_a_torn_one_does_not() -> None:
    projection = fit_projection(sample(50), GROUPS)
    content = projection.to_bytes()
    again = PoolProjection.from_bytes(content)
    assert again.to_bytes() == content
    assert again.digest == projection.digest
    np.testing.assert_array_equal(again.apply(sample(9))[0], projection.apply(sample(9))[0])
    with pytest.raises((ValueError, EOFError)):
        PoolProjection.from_bytes(content[:-20])


def test_constant_numbers_are_left_out_and_a_constant_sample_gives_one_empty_axis() -> None:
    raw = sample(50)
    raw[:, 3] = 7
    projection = fit_projection(raw, GROUPS)
    assert projection.weight[3] == 0
    assert projection.axes == 49
    empty = fit_projection(np.ones((4, 97), np.float32), GROUPS)
    assert empty.axes == 1
    assert not empty.apply(np.ones((2, 97), np.float32))[0].any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(-3, 4))
def test_packed_rows_come_back_within_half_a_step_and_pack_to_the_same_bytes(
    seed: int, width: int, exponent: float
) -> None:
    values = np.random.default_rng(seed).normal(size=(5, width)) * 10**exponent
    values[0] = 0
    packed = pack_scaled(values)
    unpacked = unpack_scaled(packed)
    half = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, 2.0**-14) * 0.501
    assert (np.abs(unpacked - values) <= half).all()
    assert pack_scaled(unpacked).tobytes() == packed.tobytes()


def test_numbers_beyond_what_a_row_holds_are_refused() -> None:
    for bad in (np.inf, np.nan, 1e9):
        with pytest.raises(ValueError, match="not finite, or too large"):
            pack_scaled(np.array([[1.0, bad]]))
