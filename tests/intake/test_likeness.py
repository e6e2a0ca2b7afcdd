"""Hash and signature against a reference, and on real photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from curator.intake.near_duplicates import near, perceptual_hash, shrunk_for_comparing, signature
from tests.imaging.pictures import photograph

Change = Callable[[Image.Image], Image.Image]


@cache
def sample(number: int) -> Image.Image:
    return Image.fromarray(load_sample_images().images[number])


@cache
def pieces(count: int = 40) -> list[Image.Image]:
    """Different parts of two real photographs, each looking like a photograph of its own."""
    rng = np.random.default_rng(5)
    found = []
    for number in range(count):
        whole = sample(number % 2)
        width, height = int(rng.integers(160, 420)), int(rng.integers(160, 400))
        x, y = int(rng.integers(0, 640 - width)), int(rng.integers(0, 427 - height))
        found.append(whole.crop((x, y, x + width, y + height)))
    return found


def described(picture: Image.Image) -> tuple[int, NDArray[np.uint8]]:
    small = shrunk_for_comparing(picture)
    return perceptual_hash(small), np.frombuffer(signature(small), np.uint8)


def alike(
    first: Image.Image, second: Image.Image, radius: int = 5, tolerance: float = 0.08
) -> bool:
    one, two = described(first), described(second)
    are_near, _ = near(one[1][None], two[1][None], tolerance)
    return (one[0] ^ two[0]).bit_count() <= radius and bool(are_near[0])


def saved_again(quality: int) -> Change:
    def change(picture: Image.Image) -> Image.Image:
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        return Image.open(stream).convert("RGB")

    return change


def scaled(factor: float) -> Change:
    return lambda picture: picture.resize(
        (round(picture.width * factor), round(picture.height * factor)), Image.Resampling.LANCZOS
    )


def cropped(share: float) -> Change:
    def change(picture: Image.Image) -> Image.Image:
        x, y = round(picture.width * share / 2), round(picture.height * share / 2)
        return picture.crop((x, y, picture.width - x, picture.height - y))

    return change


@pytest.mark.parametrize("size", [(28, 28), (96, 64), (700, 300), (1, 1), (5, 900)])
def test_the_hash_is_that_of_imagehash(size: tuple[int, int]) -> None:
    for seed in range(20):
        grey = photograph(*size, seed=seed).convert("L")
        assert perceptual_hash(grey) == int(str(imagehash.phash(grey)), 16)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_flat_picture_has_a_steady_hash(level: int) -> None:
    grey = Image.new("L", (40, 30), level)
    assert perceptual_hash(grey) == int(str(imagehash.phash(grey)), 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "least"),
    [
        (saved_again(50), 1.0),
        (saved_again(75), 1.0),
        (saved_again(95), 1.0),
        (scaled(0.5), 1.0),
        (scaled(0.75), 1.0),
        (scaled(2.0), 1.0),
        (lambda picture: ImageEnhance.Brightness(picture).enhance(1.05), 0.95),
        (lambda picture: ImageEnhance.Brightness(picture).enhance(1.1), 0.9),
        (cropped(0.01), 0.95),
        (cropped(0.02), 0.5),
    ],
)
def test_copies_of_photographs_are_recognised(change: Change, least: float) -> None:
    originals = pieces()
    found = [alike(picture, change(picture)) for picture in originals]
    assert np.mean(found) >= least


def test_different_photographs_are_told_apart() -> None:
    looks = [described(picture) for picture in pieces()]
    for at, (_, one) in enumerate(looks[1:], start=1):
        others = np.stack([other for _, other in looks[:at]])
        are_near, _ = near(np.repeat(one[None], at, axis=0), others, tolerance=0.08)
        assert not are_near.any()


def test_the_same_picture_in_another_colour_is_not_a_copy() -> None:
    picture = photograph(200, 200)
    red, green, blue = picture.split()
    swapped = Image.merge("RGB", (blue, green, red))
    tinted = Image.blend(picture, Image.new("RGB", picture.size, (255, 120, 90)), 0.25)
    assert alike(picture, picture)
    assert not alike(picture, swapped)
    assert not alike(picture, tinted)


def test_blank_pages_of_different_brightness_are_not_copies() -> None:
    white, black = Image.new("RGB", (50, 50), "white"), Image.new("RGB", (50, 50), "black")
    grey = Image.new("RGB", (80, 80), (250, 250, 250))
    assert not alike(white, black, radius=64)
    assert alike(white, grey, radius=64)


def test_distances_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (50, 259), dtype=np.uint8)
    second = rng.integers(0, 256, (50, 259), dtype=np.uint8)
    _, distances = near(first, second, 1.0)
    for row, distance in enumerate(distances):
        a = first[row, 3:].view(np.int8).astype(float) / 32
        b = second[row, 3:].view(np.int8).astype(float) / 32
        assert distance == pytest.approx(np.sqrt(np.mean((a - b) ** 2)), rel=1e-5)
