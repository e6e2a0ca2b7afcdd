"""Seeded synthetic photographs of two visibly different classes.

`good` pictures show one filled disc on a warm ground, `bad` ones diagonal stripes on a
cold one; shades, places and noise differ from picture to picture, so that no two are
near-duplicates of each other. The same seed gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

WARM = ((170, 120, 40), (250, 210, 130))
COLD = ((30, 80, 140), (120, 190, 250))
"""The darkest and the lightest ground of each class, as RGB."""


def disc(rng: np.random.Generator, width: int = 64, height: int = 48) -> Pixels:
    """A picture of the class `good`, uint8 of shape (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = rng.uniform(0.3, 0.7, 2) * (width, height)
    radius = rng.uniform(0.18, 0.4) * min(width, height)
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return _paint(rng, inside, rows / height, WARM)


def stripes(rng: np.random.Generator, width: int = 64, height: int = 48) -> Pixels:
    """A picture of the class `bad`, uint8 of shape (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    period, slope = rng.uniform(5, 12), rng.uniform(0.4, 2.0)
    inside = ((columns + slope * rows + rng.uniform(0, period)) % period) < period / 2
    return _paint(rng, inside, columns / width, COLD)


def make_folder(
    root: Path, *, good: int, bad: int, seed: int = 0, size: tuple[int, int] = (64, 48)
) -> Path:
    """Write `good/` and `bad/` under `root`, every third picture as PNG, the rest as JPEG."""
    rng = np.random.default_rng(seed)
    for name, count, draw in (("good", good, disc), ("bad", bad, stripes)):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            save(draw(rng, *size), folder / f"{name}-{number:04d}.{'jpg' if number % 3 else 'png'}")
    return root


def save(pixels: Pixels, path: Path) -> Path:
    """Write `pixels` in the format that the suffix names."""
    Image.fromarray(pixels).save(path)
    return path


def _paint(
    rng: np.random.Generator,
    inside: NDArray[np.bool_],
    ramp: NDArray[np.float64],
    grounds: tuple[tuple[int, ...], tuple[int, ...]],
) -> Pixels:
    ground, figure = rng.uniform(*grounds), rng.uniform(10, 100, 3)
    shade = ramp[..., None] * rng.uniform(-60, 60, 3)
    picture = np.where(inside[..., None], figure, ground + shade)
    return (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
