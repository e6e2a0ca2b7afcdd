"""Real pools whose labels are known, as features: what benchmarks of learning play on.

Photographs of clothes (Fashion-MNIST, 70,000) are encoded at 64 pixels, photographs of solar
cells (elpv-dataset, 2,223 that people were sure of) at 224, both by the default encoder. The
raw numbers of all its stages are kept as arrays in a folder, so that only the first benchmark
encodes; the projection is fitted on the pool of each task, as in a workspace.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.scaled_rows import pack_scaled, unpack_scaled
from curator.classifiers.encoders.encoder import open_encoder
from curator.classifiers.encoders.projection import fit_projection
from curator.classifiers.heads.frozen import FrozenHeads
from curator.classifiers.heads.graph import NeighbourIndex, find_projection
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.encoding.projections import SAMPLE
from curator.rounds.neighbour_graph import NEIGHBOURS
from curator.settings.sections import ClassifierSettings, RuntimeSettings, Settings
from curator.simulation.replay import KnownPool, SimulationRun
from tests.support import fashion

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Float16 = NDArray[np.float16]
Numbers = tuple[Float16, Ints, Flags]
"""Raw numbers of pictures, the places of those in a task, and the truth of all."""
Pictures = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]

FOLDER = Path(".data") / "features"
GROUPS = (*(size for size in (24, 40, 80, 112, 192, 320) for _ in range(3)), 1_280)
"""Sizes of the groups of the default encoder's raw numbers."""
RARE_SHARE = 0.03

_BLOCK = 8_192


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A pool with features, (images, d) float16, and its truth, (images,)."""

    keeps_variance: ClassVar[bool] = True
    name: str
    features: Float16
    truth: Flags

    def part(self, places: Ints) -> Task:
        """The pool of these images alone."""
        return Task(name=self.name, features=self.features[places], truth=self.truth[places])

    def gather(self, rows: Ints) -> Float16:
        """The features of these rows: a task is its own feature reader."""
        return self.features[rows]


def tasks(folder: Path, names: Sequence[str] = ()) -> Iterator[Task]:
    """The tasks of these names, or all; what is not there yet is encoded first."""
    for name, numbers in _TASKS.items():
        if not names or name in names:
            yield projected_task(name, *numbers(folder))


def small_pool(folder: Path, name: str, size: int, number: int) -> Task:
    """Pool `number` of `size` random images of a task; pools have no image in common.

    It has a projection of its own, as a workspace of these images would have. Where the task has
    too few images for another pool, the first is given again.
    """
    raw, places, truth = _TASKS[name](folder)
    order = np.random.default_rng(0).permutation(places)
    start = number * size if (number + 1) * size <= len(order) else 0
    return projected_task(name, raw, np.sort(order[start : start + size]), truth)


def parts(task: Task, size: int, seed: int) -> list[Task]:
    """Random pools of about `size` images of a task that have no image in common."""
    count = max(1, round(len(task.truth) / size))
    order = np.random.default_rng(seed).permutation(len(task.truth))
    return [task.part(np.sort(places)) for places in np.array_split(order, count)]


def with_copies(task: Task, copies: int, seed: int) -> Task:
    """A pool as large, in which each image has near-copies that nobody knows of.

    Copies differ by noise of a hundredth of each feature's spread.
    """
    generator = np.random.default_rng(seed)
    kept = generator.permutation(len(task.truth))[: len(task.truth) // copies]
    places = np.repeat(np.sort(kept), copies)
    noise = generator.normal(0, 0.01, (len(places), task.features.shape[1]))
    spread = task.features.astype(np.float32).std(axis=0)
    features = (task.features[places] + noise * spread).astype(np.float16)
    return Task(name=task.name, features=features, truth=task.truth[places])


def rehearsal(task: Task, settings: Settings | None = None) -> SimulationRun:
    """Rounds on this task, with the settings that a new workspace has if no others are given."""
    chosen = settings or Settings()
    images = np.arange(len(task.truth))
    pool = KnownPool(rows=images, unit_keys=images, truth=task.truth)
    vectors, around = map_of(task)
    return SimulationRun(
        pool,
        task,
        FrozenHeads(chosen),
        neighbours=around if chosen.classifier.neighbours else None,
        vectors=vectors,
        distance=chosen.gates.distance,
    )


def map_of(task: Task) -> tuple[Float16, Neighbourhood]:
    """A task in few directions, and who lies near whom, found as a workspace finds it."""
    rows = np.arange(len(task.truth))
    projection = find_projection(task, rows)
    blocks = np.array_split(rows, -(-len(rows) // _BLOCK))
    vectors = np.concatenate([projection.apply(task.gather(part)) for part in blocks])
    vectors = vectors.astype(np.float16)
    index = NeighbourIndex(vectors)
    graph = [index.nearest_of_own(vectors[part], int(part[0]), NEIGHBOURS) for part in blocks]
    around = Neighbourhood(rows=rows, graph=np.concatenate(graph), digest=task.name)
    return vectors, around


def clothes(folder: Path) -> tuple[Float16, NDArray[np.uint8]]:
    """Raw numbers of all photographs of clothes, and their class numbers."""
    loaded = [fashion.load(part) for part in ("train", "t10k")]
    pictures = np.concatenate([pictures for pictures, _ in loaded])
    raw = _encoded(folder / "fashion-64-raw.npy", pictures, 64)
    return raw, np.concatenate([labels for _, labels in loaded])


def _numbers(*names: str) -> list[int]:
    return [fashion.CLASSES.index(name) for name in names]


def _footwear(folder: Path) -> Numbers:
    raw, labels = clothes(folder)
    return raw, np.arange(len(labels)), np.isin(labels, _numbers(*fashion.FOOTWEAR))


def _upper_body(folder: Path) -> Numbers:
    raw, labels = clothes(folder)
    upper = _numbers("t-shirt", "pullover", "coat", "shirt")
    return raw, np.arange(len(labels)), np.isin(labels, upper)


def _shirts(folder: Path) -> Numbers:
    raw, labels = clothes(folder)
    kept = np.flatnonzero(np.isin(labels, _numbers("t-shirt", "shirt")))
    return raw, kept, labels == fashion.CLASSES.index("t-shirt")


def _rare(folder: Path) -> Numbers:
    """Sneakers, of which so few are kept that they are 3% of the pool."""
    raw, labels = clothes(folder)
    rare = labels == fashion.CLASSES.index("sneaker")
    others = int((~rare).sum())
    kept = np.random.default_rng(0).permutation(np.flatnonzero(rare))
    kept = kept[: round(others * RARE_SHARE / (1 - RARE_SHARE))]
    places = np.sort(np.concatenate([np.flatnonzero(~rare), kept]))
    return raw, places, rare


def solar_cells(folder: Path, name: str) -> Task:
    """Cells that work, or for the name `solar type` those of monocrystalline silicon."""
    raw, sure, positive = solar_numbers(folder, name)
    return projected_task(name, raw, sure, positive)


def solar_numbers(folder: Path, name: str) -> Numbers:
    """Raw numbers of all cells, the places of those that people were sure of, and the truth."""
    from elpv_dataset.utils import load_dataset

    pictures, probability, kinds = load_dataset()
    sure = (probability < 0.1) | (probability > 0.9)
    raw = _encoded(folder / "elpv-224-raw.npy", pictures, 224)
    positive = np.array(kinds) == "mono" if name == "solar type" else probability < 0.1
    return raw, np.flatnonzero(sure), positive


def projected_task(name: str, raw: Float16, places: Ints, truth: Flags) -> Task:
    """The pool of the images at `places`, projected on its own leading directions."""
    generator = np.random.default_rng(0)
    sample = np.sort(generator.permutation(places)[:SAMPLE])
    projection = fit_projection(raw[sample].astype(np.float32), GROUPS)
    features = np.empty((len(places), projection.axes), np.float16)
    for start in range(0, len(places), _BLOCK):
        part = places[start : start + _BLOCK]
        projected, _ = projection.apply(raw[part].astype(np.float32))
        features[start : start + _BLOCK] = unpack_scaled(pack_scaled(projected))
    return Task(name=name, features=features, truth=truth[places])


_TASKS: dict[str, Callable[[Path], Numbers]] = {
    "footwear": _footwear,
    "upper-body garments": _upper_body,
    "T-shirt vs. shirt": _shirts,
    "solar cells": partial(solar_numbers, name="solar cells"),
    "3% positives": _rare,
}
NAMES = tuple(_TASKS)


def _encoded(path: Path, pictures: Pictures, side: int) -> Float16:
    if path.exists():
        kept: Float16 = np.load(path, mmap_mode="r")
        return kept

    def load(index: int) -> NDArray[np.uint8]:
        picture = Image.fromarray(pictures[index]).convert("RGB")
        return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))

    print(f"encoding {len(pictures):,} pictures at {side} pixels", file=sys.stderr, flush=True)
    with open_encoder(ClassifierSettings(), RuntimeSettings(), image_size=side) as encoder:
        assert encoder.groups == GROUPS
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        shape = (len(pictures), sum(GROUPS))
        raw: np.memmap[Any, np.dtype[np.float16]] = np.lib.format.open_memmap(
            part, "w+", np.float16, shape
        )
        done = 0
        for chunk in encoder.encode(range(len(pictures)), load):
            raw[done : done + len(chunk.items)] = chunk.features
            done += len(chunk.items)
        raw.flush()
        part.rename(path)
    return raw
