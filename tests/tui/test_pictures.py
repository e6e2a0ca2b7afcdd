"""Half cells, plots, terminal answers and work done ahead: what needs no screen."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from curator.tui.pictures import GLYPHS, Canvas, cell_rows, picture_strips, two_colours
from curator.tui.preparation import Ahead
from curator.tui.screens.dashboard import bar, columns, curve
from curator.tui.terminal import Cells, Depth, Graphics, cells_of, depth_of, read_answers

PIXELS = np.array(
    [[[252, 0, 0], [252, 0, 0], [0, 0, 252]], [[252, 0, 0], [0, 252, 0], [0, 0, 252]]],
    dtype=np.uint8,
)


def shown(depth: Depth) -> str:
    return picture_strips(PIXELS, depth)[0].render(Console())


def test_two_pixels_stand_in_a_cell_and_equal_ones_are_said_once() -> None:
    assert shown(Depth.TRUE) == (
        "\x1b[48;2;252;0;0m \x1b[38;2;252;0;0;48;2;0;252;0m▀\x1b[48;2;0;0;252m \x1b[0m"
    )


def test_fewer_colours_take_the_nearest() -> None:
    assert shown(Depth.PALETTE) == "\x1b[48;5;196m \x1b[38;5;196;48;5;46m▀\x1b[48;5;21m \x1b[0m"
    assert "\x1b" not in shown(Depth.NONE)


@pytest.mark.parametrize(
    ("environment", "depth"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, Depth.TRUE),
        ({"TERM": "xterm-256color"}, Depth.PALETTE),
        ({"TERM": "xterm-16color"}, Depth.NONE),
        ({"TERM": "linux"}, Depth.NONE),
    ],
)
def test_a_terminal_of_16_colours_gets_plain_characters(
    environment: dict[str, str], depth: Depth
) -> None:
    console = Console(force_terminal=True, _environ=environment)
    assert depth_of(console._color_system) is depth


@pytest.mark.parametrize("cells", list(Cells))
@pytest.mark.parametrize("depth", list(Depth))
@pytest.mark.parametrize("size", [(300, 200), (31, 77), (1, 1), (2000, 3)])
def test_a_picture_fills_its_canvas_exactly(
    depth: Depth, size: tuple[int, int], cells: Cells
) -> None:
    picture = Image.effect_noise(size, 80).convert("RGB")
    strips = cell_rows(picture, Canvas(41, 13, depth, 0x102030, Graphics(cells=cells)))
    assert len(strips) == 13
    for strip in strips:
        assert strip.cell_length == 41
        assert len(strip.text) == 41
        assert sum(part.cell_length for part in strip.divide([10, 41])) == 41


@pytest.mark.parametrize("count", [4, 6])
def test_two_colours_leave_the_smallest_squared_error(count: int) -> None:
    parts = np.random.default_rng(count).integers(0, 256, (40, count, 3), dtype=np.uint8)
    parts[0] = 77  # one colour
    filled, ink, paper = two_colours(parts)
    for cell, bits, *colours in zip(parts, filled, ink, paper, strict=True):
        shown = np.array([colours[0] if bits >> part & 1 else colours[1] for part in range(count)])
        error = ((cell.astype(float) - shown) ** 2).sum()
        least = min(
            sum(
                ((side - side.mean(axis=0)) ** 2).sum()
                for side in (cell[chosen].astype(float), cell[~chosen].astype(float))
                if len(side)
            )
            for chosen in (
                np.array([number >> part & 1 for part in range(count)], dtype=bool)
                for number in range(1 << count)
            )
        )
        # Colours are whole numbers: at most half a level off in three channels.
        assert error <= least + count * 3 * 0.25 + 1e-3


@pytest.mark.parametrize("cells", [Cells.QUADRANT, Cells.SEXTANT])
def test_every_pattern_of_parts_has_its_character(cells: Cells) -> None:
    import unicodedata

    across, down = cells.grid
    count = across * down
    glyphs = GLYPHS[cells]
    assert len(set(glyphs)) == len(glyphs) == 1 << count
    for filled in range(1 << count):
        parts = [filled >> part & 1 for part in range(count)]
        pixels = np.array(parts, dtype=np.uint8).reshape(down, across, 1) * np.full(
            3, 252, np.uint8
        )
        (strip,) = picture_strips(pixels, Depth.TRUE, cells)
        (part,) = strip
        assert part.style is not None
        ink = None if part.style.color is None else part.style.color.triplet
        bits = glyphs.index(part.text)
        if ink is not None and ink[0] == 0:  # the dark parts are drawn
            bits ^= (1 << count) - 1
        elif ink is None:
            ground = part.style.bgcolor
            assert ground is not None
            assert ground.triplet is not None
            bits = (1 << count) - 1 if ground.triplet[0] else 0
        assert bits == filled
    if cells is Cells.SEXTANT:
        for bits, glyph in enumerate(glyphs):
            name = unicodedata.name(glyph)
            if name.startswith("BLOCK SEXTANT-"):
                digits = name.removeprefix("BLOCK SEXTANT-")
                assert bits == sum(1 << int(digit) - 1 for digit in digits)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("kitty(0.35.2)", Cells.SEXTANT),
        ("kitty(0.19.3)", Cells.HALF),
        ("foot(1.20.2)", Cells.SEXTANT),
        ("VTE(7802)", Cells.SEXTANT),
        ("VTE(6003)", Cells.HALF),
        ("WezTerm 20240203-110809-5046fc22", Cells.SEXTANT),
        ("ghostty 1.1.3", Cells.SEXTANT),
        ("XTerm(390)", Cells.HALF),
        ("tmux 3.4", Cells.HALF),
        ("", Cells.HALF),
    ],
)
def test_finer_cells_only_where_the_terminal_draws_them(name: str, cells: Cells) -> None:
    assert cells_of(name) is cells
    assert read_answers(f"\x1bP>|{name}\x1b\\\x1b[?62;c").cells is cells


def test_cut_rows_show_the_same_colours() -> None:
    strip = picture_strips(PIXELS, Depth.TRUE)[0]
    first, rest = strip.divide([1, 3])
    assert first.text + rest.text == strip.text
    style = next(iter(first)).style
    assert style is not None
    assert style.bgcolor is not None
    assert style.bgcolor.triplet == (252, 0, 0)


def test_plots() -> None:
    assert bar(0.5, 4) == "██  "
    assert bar(2.0, 2) == "██"
    assert columns([0, 1, 8], 1) == [" ▁█"]
    assert columns([0.001, 1000], 2)[1][0] == "▁"
    lines = curve([0.0, 1.0], 4, 2, 1.0)
    assert len(lines) == 2
    assert lines[0][-1] != "⠀"
    assert lines[1][0] != "⠀"
    assert curve([None, None], 3, 1, 1.0) == ["⠀⠀⠀"]


@pytest.mark.parametrize(
    ("answers", "name", "cell"),
    [
        ("\x1b_Gi=31;OK\x1b\\\x1b[6;18;9t\x1b[?62;c", "Kitty graphics", (9, 18)),
        ("\x1b[6;20;10t\x1b[?62;4;22c", "Sixel", (10, 20)),
        ("\x1b[?1;2c", "half cells", (10, 20)),
        ("", "half cells", (10, 20)),
        ("axn\x1b[?64;1;2;4c", "Sixel", (10, 20)),
        ("\x1b_Gi=31;OK\x1b\\\x1b[?65;4;18;22c", "Sixel", (10, 20)),
    ],
)
def test_what_terminals_answer(answers: str, name: str, cell: tuple[int, int]) -> None:
    graphics = read_answers(answers)
    assert (graphics.name, graphics.cell) == (name, cell)


def test_work_ahead_stays_within_its_bounds_and_is_done_once() -> None:
    made: list[int] = []
    gate = threading.Event()

    def make(number: int) -> int:
        gate.wait(10)
        made.append(number)
        return number * 2

    ahead: Ahead[int, int] = Ahead(make, keep=5, workers=1)
    ahead.prepare(range(4))
    ahead.prepare([100, 101])  # what has not begun is dropped
    gate.set()
    assert ahead.get(101).result(10) == 202
    for start in range(200, 260):
        ahead.prepare([start])
        ahead.get(start).result(10)
    assert len(ahead) <= 6
    assert ahead.ready(259) == 518
    assert ahead.ready(200) is None
    assert made.count(101) == 1
    assert not {2, 3} & set(made)
    ahead.close()
