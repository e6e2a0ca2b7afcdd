"""Hash and signature against a reference, and on real photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.datasets import load_sample_images

from curator.intake import likeness
from curator.intake.likeness import (
    SIDE,
    misfit,
    near,
    outlines,
    perceptual_hash,
    shrunk_for_comparing,
    signature,
)
from curator.intake.near_duplicates import MISFIT_TOLERANCE
from curator.settings.sections import DuplicatesSettings
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
    return (
        perceptual_hash(shrunk_for_comparing(picture)),
        np.frombuffer(signature(picture), np.uint8),
    )


def alike(first: Image.Image, second: Image.Image, **settings: float) -> bool:
    duplicates = DuplicatesSettings(**settings)  # type: ignore[arg-type]
    one, two = described(first), described(second)
    are_near, _ = near(one[1][None], two[1][None], duplicates)
    return (one[0] ^ two[0]).bit_count() <= duplicates.hash_radius and bool(are_near[0])


def local_difference(first: Image.Image, second: Image.Image) -> float:
    wide = DuplicatesSettings(local_tolerance=255, pixel_tolerance=1)
    _, difference = near(described(first)[1][None], described(second)[1][None], wide)
    return float(difference[0])


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
        (saved_again(30), 1.0),
        (saved_again(75), 1.0),
        (saved_again(95), 1.0),
        (scaled(0.3), 0.9),
        (scaled(0.5), 1.0),
        (scaled(0.75), 1.0),
        (scaled(2.0), 0.9),
        (lambda picture: saved_again(75)(scaled(0.5)(picture)), 0.9),
        (lambda picture: ImageEnhance.Brightness(picture).enhance(1.05), 0.95),
        (lambda picture: ImageEnhance.Brightness(picture).enhance(1.1), 0.8),
        (lambda picture: ImageEnhance.Color(picture).enhance(1.2), 0.95),
        (cropped(0.01), 0.95),
        (cropped(0.02), 0.95),
        (cropped(0.04), 0.9),
        (lambda picture: saved_again(75)(cropped(0.02)(picture)), 0.9),
    ],
)
def test_copies_of_photographs_are_recognised(change: Change, least: float) -> None:
    originals = pieces()
    found = [alike(picture, change(picture)) for picture in originals]
    assert np.mean(found) >= least
    sides = (
        np.stack([described(p)[1] for p in side]) for side in (originals, map(change, originals))
    )
    # The coarse comparison before it lets all of them pass, but for few that differ most.
    passing = misfit(*map(outlines, sides)) <= MISFIT_TOLERANCE
    assert passing[found].mean() > 0.98


def test_different_photographs_are_told_apart() -> None:
    looks = [described(picture)[1] for picture in pieces()]
    for at, one in enumerate(looks[1:], start=1):
        are_near, _ = near(
            np.repeat(one[None], at, axis=0), np.stack(looks[:at]), DuplicatesSettings()
        )
        assert not are_near.any()


@pytest.mark.parametrize(("side", "shake"), [(6, 0), (10, 1), (14, 2)])
def test_a_small_defect_tells_pictures_apart_whatever_the_camera_does(
    side: int, shake: int
) -> None:
    """A fiftieth of the side is enough, with noise, another exposure, a shift and JPEG."""
    rng = np.random.default_rng(side)
    scene = np.asarray(sample(0).crop((90, 90, 410, 410)).convert("L"), np.float64)

    def shot(defect: tuple[int, int] | None) -> Image.Image:
        y, x = rng.integers(10 - shake, 11 + shake, 2)
        part = scene[y : y + 300, x : x + 300] * rng.uniform(0.95, 1.05)
        part = part + rng.normal(0, 2, part.shape)
        if defect is not None:
            down, across = defect
            part[down : down + side, across : across + side] -= 120
        picture = Image.fromarray(part.clip(0, 255).astype(np.uint8)).convert("RGB")
        return saved_again(85)(picture)

    sound = [shot(None) for _ in range(6)]
    assert shake or all(alike(sound[0], other) for other in sound[1:])
    for defect in ((60, 240), (150, 260), (200, 250)):
        assert not any(alike(shot(defect), other) for other in sound)


def test_forms_that_are_filled_in_otherwise_are_not_copies() -> None:
    def form(name: str) -> Image.Image:
        page = Image.new("RGB", (800, 1100), "white")
        draw = ImageDraw.Draw(page)
        for row in range(8):
            draw.text((60, 180 + 100 * row), f"Question {row + 1}", fill="black", font_size=20)
            draw.rectangle((240, 170 + 100 * row, 740, 220 + 100 * row), outline="black", width=2)
        draw.text((250, 180), name, fill="black", font_size=22)
        return saved_again(80)(page)

    assert alike(form("Anna Smith"), scaled(0.5)(form("Anna Smith")))
    assert not alike(form("Anna Smith"), form("Bert Jones"))
    assert not alike(form("Anna Smith"), form(""))


def test_a_mark_of_another_colour_is_a_difference() -> None:
    def lamp(colour: str) -> Image.Image:
        picture = photograph(200, 200)
        ImageDraw.Draw(picture).ellipse((90, 90, 112, 112), fill=colour)
        return picture

    same_brightness = "#009000", "#4040ff"
    assert alike(lamp(same_brightness[0]), saved_again(80)(lamp(same_brightness[0])))
    assert not alike(lamp(same_brightness[0]), lamp(same_brightness[1]), local_tolerance=255)


@pytest.mark.parametrize(
    ("zoom", "shift"), [(1.0, 0.0), (1.0, 0.03), (0.96, 0.0), (1.05, -0.02), (0.9, 0.05)]
)
def test_the_motion_between_two_pictures_is_found(zoom: float, shift: float) -> None:
    large = sample(1).convert("L").crop((100, 60, 500, 360))

    def seen(zoom: float, shift: float) -> NDArray[np.float32]:
        half_x, half_y = 150 * zoom, 110 * zoom
        x, y = 200 + 150 * shift, 150 + 110 * shift
        box = (x - half_x, y - half_y, x + half_x, y + half_y)
        small = large.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
        return np.asarray(small, np.float32)[None]

    motion, _ = likeness._fit(seen(zoom, shift), seen(1, 0), likeness._still(1), 8)
    assert motion[0] == pytest.approx([zoom, shift, zoom, shift], abs=0.01)


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
    assert not alike(white, black)
    assert alike(white, grey)
