"""Real pictures whose classes are known, at whatever size a network takes, and one training.

Tasks are pairs of Fashion-MNIST (28 pixels, enlarged where a network wants more) and the
solar cells on which all raters agreed. Every draw takes other labels and other test images.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.classifiers.networks.batch_loading import margins_of
from curator.classifiers.networks.classifier import PixelsInMemory
from curator.classifiers.networks.network import NetworkRequest, build_network, resolve_input
from curator.classifiers.networks.train import train_network
from curator.classifiers.networks.training_set import (
    NO_LABELS,
    LabelledRows,
    training_set,
    validation_members,
)
from curator.classifiers.networks.training_state import TrainedNetwork
from curator.settings.sections import TrainingSettings
from tests.support import fashion

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

TASKS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "footwear": (fashion.FOOTWEAR, frozenset(fashion.CLASSES) - fashion.FOOTWEAR),
    "sneaker/boot": (frozenset({"sneaker"}), frozenset({"ankle-boot"})),
    "t-shirt/shirt": (frozenset({"t-shirt"}), frozenset({"shirt"})),
}
"""Pairs of Fashion-MNIST: classes that are positive and classes that are negative."""

SOLAR = "solar"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Random pictures of a task as packed pixels, and their classes, (n,)."""

    pixels: PixelsInMemory
    positive: Flags


def draw(task: str, count: int, side: int, channels: int, seed: int) -> Drawn:
    """At most `count` random pictures of `task`."""
    pictures, positive = _solar() if task == SOLAR else _clothes(task)
    places = np.random.default_rng(seed).permutation(len(pictures))[:count]
    mode = "L" if channels == 1 else "RGB"
    squares = [
        np.asarray(
            Image.fromarray(pictures[place])
            .convert(mode)
            .resize((side, side), Image.Resampling.BICUBIC)
        ).reshape(side, side, channels)
        for place in places
    ]
    return Drawn(PixelsInMemory(np.stack(squares)), positive[places])


def fit(
    request: NetworkRequest,
    recipe: TrainingSettings,
    drawn: Drawn,
    labels: int,
    *,
    seed: int,
    pseudo: LabelledRows = NO_LABELS,
    device: str = "cpu",
) -> tuple[TrainedNetwork, float]:
    """Train on the first `labels` pictures, a part of which validates; and the seconds."""
    rows, positive = np.arange(labels), drawn.positive[:labels]
    watched = validation_members(rows, positive, recipe.validation_share, seed)
    data = training_set(
        rows[~watched],
        positive[~watched],
        pseudo,
        balanced=True,
        pseudo_share=0.5,
        human_share=recipe.human_share,
    )
    network = build_network(request, resolve_input(request), seed=seed)
    start = time.perf_counter()
    trained = train_network(
        network,
        data,
        drawn.pixels,
        recipe,
        validation=LabelledRows(rows=rows[watched], positive=positive[watched]),
        device=device,
        seed=seed,
    )
    return trained, time.perf_counter() - start


def accuracy(trained: TrainedNetwork, drawn: Drawn, rows: Ints) -> float:
    """Share of these pictures that the network calls by their class."""
    odds = margins_of(trained.network, drawn.pixels, rows)
    return float(((odds > 0) == drawn.positive[rows]).mean())


def _clothes(task: str) -> tuple[NDArray[np.uint8], Flags]:
    images, labels = fashion.load("train")
    names = np.array(fashion.CLASSES)[labels]
    positive, negative = TASKS[task]
    chosen = np.flatnonzero(np.isin(names, [*positive, *negative]))
    return images[chosen], np.isin(names[chosen], list(positive))


def _solar() -> tuple[list[NDArray[np.uint8]], Flags]:
    from elpv_dataset.utils import load_dataset

    images, probability, _ = load_dataset()
    sure = np.flatnonzero((probability == 0) | (probability == 1))
    return [images[index] for index in sure], probability[sure] == 0
