"""Fashion-MNIST as image folders: 70,000 labelled 28x28 photographs of clothes.

The Debian package `dataset-fashion-mnist` brings IDX files; any classes of the ten make
a binary task. Nothing here downloads anything.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path("/usr/share/datasets/fashion-mnist")

CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip
FOOTWEAR = frozenset({"sandal", "sneaker", "ankle-boot"})


def load(part: str = "train") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures (n, 28, 28) and class numbers (n,) of `train` (60,000) or `t10k` (10,000).

    Skips the test loudly where the Debian package is not installed.
    """
    pictures, labels = (
        FOLDER / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")
    )
    if not pictures.is_file():
        pytest.skip(
            "the Debian package dataset-fashion-mnist is missing: `make test` installs it as root"
        )
    with gzip.open(pictures) as stream:
        values = np.frombuffer(stream.read(), np.uint8, offset=16)
    with gzip.open(labels) as stream:
        return values.reshape(-1, 28, 28), np.frombuffer(stream.read(), np.uint8, offset=8)


def write_folder(
    root: Path, *, positive: Iterable[str], per_class: int, part: str = "train"
) -> Path:
    """Write the first `per_class` pictures of each class as PNG under `root`/good and /bad.

    Classes named in `positive` go to `good`, all others to `bad`.
    """
    pictures, labels = load(part)
    positive = set(positive)
    for number, name in enumerate(CLASSES):
        folder = root / ("good" if name in positive else "bad")
        folder.mkdir(parents=True, exist_ok=True)
        for index in np.flatnonzero(labels == number)[:per_class]:
            Image.fromarray(pictures[index]).save(folder / f"{name}-{index:05d}.png")
    return root
