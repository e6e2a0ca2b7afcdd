"""Reading images for an encoder, which checks files as `add` does, and encoding them in order."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from curator.base.arrays import PixelArray
from curator.base.vocabulary import Quarantine
from curator.classifiers.encoders.pipeline import PixelLoader, encode_chunk
from curator.errors import LearnError
from curator.imaging.opening import decode_whole
from curator.imaging.problems import ImageProblem, Unreadable
from curator.settings.sections import IngestSettings

INGEST = IngestSettings(max_pixels=10_000, max_bytes=100_000, background="#ffffff")
LOADER = PixelLoader(side=8, fit="squash", ingest=INGEST)


@pytest.mark.parametrize(("file_format", "cut"), [("PNG", 12), ("JPEG", 2)])
def test_a_file_without_its_end_is_truncated_outside_the_catalogue_too(
    tmp_path: Path, file_format: str, cut: int
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 20, 200)).save(stream, file_format)
    whole, path = stream.getvalue(), tmp_path / "picture"
    path.write_bytes(whole)
    assert isinstance(LOADER.load_path(os.fsencode(path)), np.ndarray)
    path.write_bytes(whole[:-cut])
    with pytest.raises(ImageProblem) as refused:
        decode_whole(whole[:-cut], INGEST)
    found = LOADER.load_path(os.fsencode(path))
    assert isinstance(found, Unreadable)
    assert found.reason is refused.value.reason is Quarantine.TRUNCATED


class FakeEngine:
    """An engine whose feature is the mean of an image."""

    batch_size, image_size = 4, 2

    def __init__(self, value: float = 1.0) -> None:
        self.value = value
        self.batches = 0

    def new_batch(self) -> PixelArray:
        return np.zeros((4, 2, 2, 3), np.uint8)

    def run(self, pixels: PixelArray) -> NDArray[np.float32]:
        assert pixels.shape == (4, 2, 2, 3)
        self.batches += 1
        means: NDArray[np.float32] = pixels.reshape(4, -1).mean(axis=1, dtype=np.float32)[:, None]
        return np.where(means > 0, self.value * np.maximum(means, 1), 0).astype(np.float32)

    def close(self) -> None: ...


def grey(level: int) -> PixelArray:
    return np.full((2, 2, 3), level, np.uint8)


def test_what_cannot_be_read_is_reported_and_the_others_are_encoded() -> None:
    bad = Unreadable(reason=Quarantine.TRUNCATED, detail="cut off")
    chunk = encode_chunk(FakeEngine(), [5, 6, 7], lambda item: bad if item == 6 else grey(item))
    assert chunk.problems == {1: bad}
    assert chunk.readable().tolist() == [0, 2]
    assert chunk.features[:, 0].tolist() == [5.0, 0.0, 7.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(LearnError, match="NaN, infinite"):
        encode_chunk(FakeEngine(value), [1], grey)
