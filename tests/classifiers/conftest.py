"""What is made once for all tests of learning: weights, networks, features of real photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from curator.classifiers.encoders.encoder import open_encoder
from curator.settings.sections import ClassifierSettings, RuntimeSettings
from tests.support import encoder, fashion

GARMENTS = 5_000
UPPER_BODY = ("t-shirt", "pullover", "coat", "shirt")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the tiny test network."""
    return encoder.write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="session")
def converted_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for converted networks, so that each is converted once."""
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="session")
def clothes() -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Features (5000, 1280) of real photographs, and their class numbers."""
    pictures, classes = fashion.load("t10k")

    def load(index: int) -> NDArray[np.uint8]:
        picture = Image.fromarray(pictures[index]).convert("RGB")
        return np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC))

    with open_encoder(ClassifierSettings(), RuntimeSettings(), image_size=64) as opened:
        chunks = [chunk.features for chunk in opened.encode(range(GARMENTS), load)]
    return np.concatenate(chunks), classes[:GARMENTS]


@pytest.fixture(scope="session")
def garments(
    clothes: tuple[NDArray[np.float16], NDArray[np.uint8]],
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """The same features, and which are upper-body garments."""
    upper = [fashion.CLASSES.index(name) for name in UPPER_BODY]
    return clothes[0], np.isin(clothes[1], upper)
