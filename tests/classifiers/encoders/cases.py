"""What the tests of encoders share: real photographs, random pixels, one kept conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import skimage
import sklearn
from numpy.typing import NDArray

from curator.base.arrays import PixelArray
from curator.classifiers.encoders.encoder import Encoder, open_encoder
from curator.classifiers.encoders.pipeline import PixelLoader
from curator.settings.sections import ClassifierSettings, IngestSettings, RuntimeSettings
from tests.support.encoder import IMAGE_SIZE, MODEL

_SKIMAGE = Path(skimage.__file__).parent / "data"
_SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"

PHOTOGRAPHS = {
    _SKIMAGE / "chelsea.png": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    _SKIMAGE / "coffee.png": {967},  # espresso
    _SKIMAGE / "camera.png": {872},  # tripod
    _SKIMAGE / "motorcycle_left.png": {665, 670},  # moped, motor scooter
    _SKLEARN / "flower.jpg": {985},  # daisy
}
"""Photographs of known things, and the ImageNet classes that would be right for them."""


def open_tiny(
    weights: Path, cache_folder: Path | None = None, layers: Any = "stages", **runtime: Any
) -> Encoder:
    """The tiny encoder; `runtime` are settings of that section."""
    return open_encoder(
        ClassifierSettings(model=MODEL, weights=str(weights), layers=layers),
        RuntimeSettings(**({"batch_size": 8, "workers": 2} | runtime)),
        image_size=IMAGE_SIZE,
        cache_folder=cache_folder,
    )


def photographs(side: int) -> PixelArray:
    """All photographs as squares, (n, side, side, 3)."""
    loader = PixelLoader(side=side, fit="squash", ingest=IngestSettings())
    loaded = [loader.load_path(str(path).encode()) for path in PHOTOGRAPHS]
    return np.stack([pixels for pixels in loaded if isinstance(pixels, np.ndarray)])


def random_pixels(count: int, side: int = IMAGE_SIZE, seed: int = 0) -> PixelArray:
    """Noise, (count, side, side, 3)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def encode_all(encoder: Encoder, images: PixelArray) -> NDArray[np.floating]:
    """The features of images that are in memory already."""
    chunks = encoder.encode(range(len(images)), lambda index: images[index])
    return np.concatenate([chunk.features for chunk in chunks])
