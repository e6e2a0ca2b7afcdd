"""Nodes of a cluster that see other files or compute other bits are refused, by name."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.base.arrays import PixelArray
from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.classifiers.encoders.encoder import Encoder, EncoderIdentity
from curator.encoding.nodes import check_host
from curator.errors import DataError, LearnError
from curator.imaging.problems import Unreadable
from curator.runtime.runtime import LocalRuntime

IDENTITY = EncoderIdentity(
    model="mean", weights_digest="", dimension=1, image_size=2, mean=(), deviation=(), fit="squash",
    background="#ffffff", device="cpu", backend="torch", precision="float32", instructions="avx2",
)  # fmt: skip


class MeanEngine:
    """An engine whose feature is the mean of an image."""

    batch_size, image_size = 4, 2

    def new_batch(self) -> PixelArray:
        return np.zeros((4, 2, 2, 3), np.uint8)

    def run(self, pixels: PixelArray) -> NDArray[np.float32]:
        return pixels.reshape(4, -1).mean(axis=1, dtype=np.float32)[:, None]

    def close(self) -> None: ...


class OtherNode(LocalRuntime):
    """Works as a node of a cluster would, in chunks of two batches."""

    is_here = False

    def chunks(self, items: Iterable[Any], batch: int) -> Iterator[list[Any]]:
        return super().chunks(items, 2 * batch)


def opened(there: EncoderIdentity = IDENTITY) -> Encoder:
    """An encoder here; a node opens one with the identity `there`."""

    def open_again(projection: None, workers: int) -> Encoder:
        return Encoder(there, MeanEngine(), workers, (1,), open_again=open_again)

    return Encoder(IDENTITY, MeanEngine(), 1, (1,), open_again=open_again)


def grey(level: int) -> PixelArray:
    return np.full((2, 2, 3), level, np.uint8)


def test_a_node_encodes_in_the_same_batches_and_gives_its_name() -> None:
    here = list(opened().encode(range(11), grey))
    there = list(opened().encode(range(11), grey, OtherNode(1)))
    assert [chunk.items for chunk in there] == [chunk.items for chunk in here]
    for mine, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(mine.features, other.features)
        assert (mine.host, other.host) == ("", platform.node())


def test_a_node_that_computes_other_bits_is_refused() -> None:
    encoder = opened(replace(IDENTITY, instructions="avx512"))
    with pytest.raises(LearnError, match="instructions is `avx512` there and `avx2` here"):
        list(encoder.encode(range(3), grey, OtherNode(1)))


@pytest.mark.parametrize("reason", [Quarantine.VANISHED, Quarantine.UNREADABLE])
def test_a_file_that_only_a_node_cannot_read_is_no_bad_image(
    reason: Quarantine, tmp_path: Path
) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(b"bytes")
    status = path.stat()
    file = ImageFile(
        image_id=1, sha256=b"", path=os.fsencode(path), size=5, mtime_ns=status.st_mtime_ns
    )
    unreadable = [(file, Unreadable(reason, "not there"))]
    with pytest.raises(DataError, match=r"node-7 .* cannot read .*image\.jpg"):
        check_host("node-7", 1_000, unreadable)
    check_host("", 1_000, unreadable)
    check_host("node-7", 1_000, [(file, Unreadable(Quarantine.CORRUPT, "no image"))])
    path.unlink()
    check_host("node-7", 1_000, unreadable)
