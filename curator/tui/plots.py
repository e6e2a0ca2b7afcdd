"""Small plots in characters: bars, and lines in Braille dots with their numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_COLUMN = " ▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille character: four rows of two dots."""


def bar(share: float, width: int) -> str:
    """A horizontal bar of `width` cells, filled to `share`, to an eighth of a cell."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return (("█" * full) + (_EIGHTHS[rest] if rest else "")).ljust(width)


def columns(values: Sequence[float], height: int) -> list[str]:
    """A histogram: one column of cells for each value, the highest `height` cells high."""
    top = max([*values, 0.0]) or 1.0
    # What is there at all is seen, however small it is beside the highest.
    eighths = [max(1, round(value / top * height * 8)) if value else 0 for value in values]
    return [
        "".join(_COLUMN[min(8, max(0, each - level * 8))] for each in eighths)
        for level in reversed(range(height))
    ]


def curve(values: Sequence[float | None], width: int, height: int, top: float) -> list[str]:
    """A line through the values, from 0 to `top`, on `width` by `height` cells.

    None leaves a gap. A single value is one dot.
    """
    cells = [[0] * width for _ in range(height)]
    last = max(1, len(values) - 1)
    points = [
        (
            round(number / last * (width * 2 - 1)),
            round((1 - min(1.0, value / top if top else 0.0)) * (height * 4 - 1)),
        )
        if value is not None
        else None
        for number, value in enumerate(values)
    ]
    before: tuple[int, int] | None = None
    for point in points:
        if point is not None:
            for x, y in _between(before or point, point):
                cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
        before = point
    return ["".join(chr(0x2800 + bits) for bits in line) for line in cells]


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * step / steps),
            round(start[1] + (end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]
