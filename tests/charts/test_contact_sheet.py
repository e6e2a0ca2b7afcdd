"""The contact sheet shows every picture where it belongs, whatever their shapes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from curator.charts.contact_sheet import SheetSection, Tile, contact_sheet

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255)}


def plain(colour: str, size: tuple[int, int] = (40, 40), mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", size, colour).convert(mode)


def pixels_of(sheet: Image.Image, colour: str) -> np.ndarray:
    return np.argwhere((np.asarray(sheet) == COLOURS[colour]).all(axis=2))


def test_strips_and_tiles_are_in_order() -> None:
    sheet = contact_sheet(
        [
            SheetSection(
                heading="first", tiles=(Tile(picture=plain("red")), Tile(picture=plain("green")))
            ),
            SheetSection(heading="second", remark="two", tiles=(Tile(picture=plain("blue")),)),
        ],
        tile_size=60,
    )
    red, green, blue = (pixels_of(sheet, name) for name in COLOURS)
    assert len(red) == len(green) == len(blue) == 60 * 60
    assert red[:, 1].max() < green[:, 1].min()
    assert red[:, 0].max() < blue[:, 0].min()
    assert red[:, 1].min() == blue[:, 1].min()


def test_pictures_keep_their_shape_and_any_mode_is_shown() -> None:
    tiles = (Tile(picture=plain("red", (80, 20))), Tile(picture=plain("blue", (9, 9), "P")))
    sheet = contact_sheet([SheetSection(heading="shapes", tiles=tiles)], tile_size=40)
    red = pixels_of(sheet, "red")
    assert np.ptp(red[:, 1]) + 1 == 40
    assert np.ptp(red[:, 0]) + 1 == 10
    assert len(pixels_of(sheet, "blue")) == 40 * 40


def test_captions_are_drawn_below_their_picture() -> None:
    def sheet(*caption: str) -> Image.Image:
        return contact_sheet(
            [SheetSection(heading="x", tiles=(Tile(picture=plain("red"), caption=caption),))]
        )

    bare, said = np.asarray(sheet("", "")), np.asarray(sheet("P 0.99", "rated 0"))
    changed = np.argwhere((bare != said).any(axis=2))
    assert len(changed) > 20
    assert changed[:, 0].min() > pixels_of(sheet("", ""), "red")[:, 0].max()


def test_an_empty_strip_and_no_strip() -> None:
    sheet = contact_sheet([SheetSection(heading="surest good")])
    assert (np.asarray(sheet) < 128).any()
    assert contact_sheet([]).size[0] > 0


def test_the_same_pictures_give_the_same_sheet() -> None:
    strips = [SheetSection(heading="x", tiles=(Tile(picture=plain("red"), caption=("a",)),))]
    assert contact_sheet(strips).tobytes() == contact_sheet(strips).tobytes()
