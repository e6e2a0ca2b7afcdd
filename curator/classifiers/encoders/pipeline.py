"""From references to features: reading an image, and encoding a chunk.

`encode_chunk` turns a chunk of image references into a chunk of arrays and needs nothing
else, so any pool can run it. Each worker reads, decodes and infers its own chunk, which keeps
every core busy without a queue of pixels in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import Float16Array, FloatArray, PixelArray
from curator.base.values import ImageFile
from curator.errors import LearnError
from curator.imaging.opening import Fit, open_square, read_catalogued, read_file
from curator.imaging.problems import ImageProblem, Unreadable
from curator.imaging.structure import check_structure
from curator.settings.sections import IngestSettings

Item = TypeVar("Item")
Load = Callable[[Item], PixelArray | Unreadable]
"""Gives uint8 pixels (S, S, 3) of a reference, or says why not; called from many threads."""


class Engine(Protocol):
    """Computes features of a batch of uint8 pixels, always of the same size.

    It may be called from several threads at once. On a CPU the same image gives the same
    bits whatever else is in the batch, and whatever the number of threads.
    """

    batch_size: int
    image_size: int

    def new_batch(self) -> PixelArray:
        """An empty batch, (batch_size, S, S, 3), in memory that suits the device."""

    def run(self, pixels: PixelArray) -> NDArray[np.float32]:
        """Features (batch_size, dimension) of a whole batch."""

    def close(self) -> None:
        """Release memory and restore the library's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLoader:
    """Reads images as pixels (side, side, 3), uint8. Can be sent to other processes."""

    side: int
    fit: Fit
    ingest: IngestSettings

    def load_path(self, path: bytes) -> PixelArray | Unreadable:
        """The pixels of a file that is not in the catalogue."""
        try:
            data = read_file(path, self.ingest.max_bytes)
            # `add` has checked the structure of catalogued files, and of no other file.
            check_structure(data)
            return open_square(data, self.side, self.fit, self.ingest)
        except ImageProblem as problem:
            return problem.as_value()

    def load_file(self, file: ImageFile) -> PixelArray | Unreadable:
        """The pixels of a catalogued image, never those of another image at its path."""
        try:
            data = read_catalogued(file, self.ingest.max_bytes)
            return open_square(data, self.side, self.fit, self.ingest)
        except ImageProblem as problem:
            return problem.as_value()


Finish = Callable[[NDArray[np.float32]], tuple[NDArray[np.floating], FloatArray]]
"""Makes features of an engine's output, and says which share of it each row captures, (rows,)."""


def as_float16(raw: NDArray[np.float32]) -> tuple[Float16Array, FloatArray]:
    """The engine's output as it is, in 16 bits."""
    with np.errstate(over="ignore"):
        return raw.astype(np.float16), np.ones(len(raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk(Generic[Item]):
    """Features (len(items), dimension) as they are stored; rows of unreadable items are zero.

    `captured` (len(items),) is the share of each image that a projection captures, 1 without
    one. `problems` maps positions in `items` to what was wrong there. `host` is the node
    of a cluster that encoded them, empty for this computer.
    """

    items: tuple[Item, ...]
    features: NDArray[np.floating]
    captured: FloatArray
    problems: Mapping[int, Unreadable]
    host: str = ""

    def readable(self) -> NDArray[np.intp]:
        """Positions of the items that have features."""
        return np.array([i for i in range(len(self.items)) if i not in self.problems], np.intp)


def encode_chunk(
    engine: Engine, items: Sequence[Item], load: Load[Item], finish: Finish = as_float16
) -> EncodedChunk[Item]:
    """Read, decode and encode one chunk of at most `engine.batch_size` references.

    The batch is filled up with black images, so that the engine always sees the same
    shape. Raises LearnError if the encoder gives something that is not a number.
    """
    if not 0 < len(items) <= engine.batch_size:
        raise ValueError(f"a chunk has 1 to {engine.batch_size} items, not {len(items)}")
    batch = engine.new_batch()
    problems = {}
    for position, item in enumerate(items):
        pixels = load(item)
        if isinstance(pixels, Unreadable):
            problems[position] = pixels
        else:
            batch[position] = pixels
    features, captured = finish(engine.run(batch)[: len(items)])
    if not np.isfinite(features).all():
        raise LearnError(
            "The encoder returned values that are NaN, infinite or too large for 16 bits.",
            "Check its weights, set runtime.precision to `float32`, or choose another model.",
        )
    features[list(problems)] = 0
    return EncodedChunk(items=tuple(items), features=features, captured=captured, problems=problems)
