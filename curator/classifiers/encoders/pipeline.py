"""From references to features: a function on chunks, and the workers that apply it.

`encode_chunk` turns a chunk of image references into a chunk of arrays and needs nothing
else, so any pool can run it. `encode_stream` is the pool of this machine: each worker
reads, decodes and infers its own chunk, which keeps every core busy without a queue of
pixels in between, and chunks come back in order whatever worker was first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import Quarantine
from curator.classifiers.encoders.engine import Engine, Pixels
from curator.errors import LearnError

Item = TypeVar("Item")
Float16 = NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Why there are no pixels for an image."""

    reason: Quarantine
    detail: str


Load = Callable[[Item], Pixels | Unreadable]
"""Gives uint8 pixels (S, S, 3) of a reference, or says why not; called from many threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk(Generic[Item]):
    """Features (len(items), dimension), float16; rows of unreadable items are zero.

    `problems` maps positions in `items` to what was wrong there.
    """

    items: tuple[Item, ...]
    features: Float16
    problems: Mapping[int, Unreadable]

    def readable(self) -> NDArray[np.intp]:
        """Positions of the items that have features."""
        return np.array([i for i in range(len(self.items)) if i not in self.problems], np.intp)


def encode_chunk(engine: Engine, items: Sequence[Item], load: Load[Item]) -> EncodedChunk[Item]:
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
    features = _as_float16(engine.run(batch)[: len(items)])
    features[list(problems)] = 0
    return EncodedChunk(items=tuple(items), features=features, problems=problems)


def encode_stream(
    engine: Engine, items: Iterable[Item], load: Load[Item], *, workers: int
) -> Iterator[EncodedChunk[Item]]:
    """Encode any number of references with `workers` threads; chunks in order.

    At most two chunks per worker are under way, so memory does not grow with the number
    of items. An error in a worker is raised here and ends the stream.
    """
    remaining = iter(items)
    under_way: deque[Future[EncodedChunk[Item]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="encode")
    try:
        while chunk := list(islice(remaining, engine.batch_size)):
            under_way.append(pool.submit(encode_chunk, engine, chunk, load))
            if len(under_way) >= 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _as_float16(features: NDArray[np.float32]) -> Float16:
    with np.errstate(over="ignore"):
        small = features.astype(np.float16)
    if not np.isfinite(small).all():
        raise LearnError(
            "The encoder gives values that are not numbers, or beyond what 16 bits hold.",
            "Check its weights, set runtime.precision to `float32`, or choose another model.",
        )
    return small
