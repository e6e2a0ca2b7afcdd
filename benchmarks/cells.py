"""How much of a picture each kind of character cell shows, and what it costs.

Photographs of solar cells and of clothes are drawn as in the review: fitted to a terminal's
columns and rows, in cells of two colours. What the terminal then shows is painted with ten by
twenty pixels a cell, and compared with the photograph at that size: the similarity (SSIM of
Wang et al. 2004, on brightness, Gaussian window of 1.5) and the correlation of the edges (lengths
of Sobel gradients). SSIM of fine grain is low in any cells, so it is also given after a blur of a
quarter of a cell. The time is that of making the rows, in one thread.

    python -m benchmarks.cells [--images N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.segment import Segment
from scipy import ndimage

from benchmarks.report import Line, median, print_report
from curator.tui.pictures import GLYPHS, Canvas, cell_rows, fitted
from curator.tui.terminal import Cells, Depth, Graphics
from tests.support import fashion

CELL = (10, 20)
"""Pixels of a cell when it is painted."""
CANVASES = {"120x40": (82, 37), "200x60": (128, 57)}
"""Columns and rows of the picture beside the panel, by the size of the terminal."""
BLUR = 2.5

Grey = NDArray[np.float64]


def photographs(count: int) -> Iterator[tuple[str, Image.Image]]:
    """Solar cells of 300 pixels and clothes of 28, evenly spread over both sets."""
    import elpv_dataset

    files = sorted((Path(elpv_dataset.__file__).parent / "data" / "images").glob("*.png"))
    for file in files[:: max(1, len(files) // count)][:count]:
        yield "solar cells", Image.open(file).convert("RGB")
    clothes, _ = fashion.load("t10k")
    for pixels in clothes[:: max(1, len(clothes) // count)][:count]:
        yield "clothes", Image.fromarray(np.asarray(pixels, dtype=np.uint8)).convert("RGB")


def painted(rows: list[list[Segment]], cells: Cells, columns: int) -> NDArray[np.uint8]:
    """What a terminal shows: each character as parts of its cell in two colours."""
    across, down = cells.grid
    bits = np.arange(across * down)
    picture = np.zeros((len(rows) * CELL[1], columns * CELL[0], 3), dtype=np.uint8)
    lines = (np.arange(CELL[1]) * down // CELL[1])[:, None]
    parts = lines * across + np.arange(CELL[0]) * across // CELL[0]
    for number, row in enumerate(rows):
        column = 0
        for text, style, _ in row:
            assert style is not None
            colours = [
                (0, 0, 0) if colour is None else tuple(colour.get_truecolor())
                for colour in (style.bgcolor, style.color)
            ]
            for letter in text:
                filled = (GLYPHS[cells].index(letter) >> bits & 1)[parts]
                top, left = number * CELL[1], column * CELL[0]
                picture[top : top + CELL[1], left : left + CELL[0]] = np.array(colours)[filled]
                column += 1
    return picture


def grey(pixels: NDArray[np.uint8]) -> Grey:
    """Brightness, from 0 to 255."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]), dtype=np.float64)


def similarity(first: Grey, second: Grey) -> float:
    """Mean SSIM."""
    steady, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def smooth(values: Grey) -> Grey:
        return np.asarray(ndimage.gaussian_filter(values, 1.5, truncate=3.5))

    means = smooth(first), smooth(second)
    squares = smooth(first**2) - means[0] ** 2, smooth(second**2) - means[1] ** 2
    product = smooth(first * second) - means[0] * means[1]
    numerator = (2 * means[0] * means[1] + steady) * (2 * product + contrast)
    denominator = (means[0] ** 2 + means[1] ** 2 + steady) * (sum(squares) + contrast)
    return float((numerator / denominator).mean())


def edges(values: Grey) -> Grey:
    """Lengths of the gradients of a slightly smoothed picture."""
    smooth = ndimage.gaussian_filter(values, BLUR)
    return np.asarray(np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40, help="photographs of each kind")
    count = parser.parse_args().images
    figures: dict[tuple[str, str, Cells, str], list[float]] = {}
    for kind, photograph in photographs(count):
        for size, (columns, rows) in CANVASES.items():
            for cells in Cells:
                canvas = Canvas(columns, rows, Depth.TRUE, 0, Graphics(cells=cells))
                # As in a review: the picture is read at the detail that can be drawn.
                source = photograph.copy()
                source.thumbnail(canvas.pixels, Image.Resampling.LANCZOS)
                start = time.perf_counter()
                strips = cell_rows(source, canvas)
                spent = 1000 * (time.perf_counter() - start)
                drawn = painted([list(strip) for strip in strips], cells, columns)
                large = fitted(photograph, columns * CELL[0], rows * CELL[1])
                truth = np.zeros_like(drawn)
                left, top = (
                    (drawn.shape[1] - large.width) // 2,
                    (drawn.shape[0] - large.height) // 2,
                )
                inside = np.s_[top : top + large.height, left : left + large.width]
                truth[inside] = np.asarray(large)
                shown, real = grey(drawn)[inside], grey(truth)[inside]
                blurred = [ndimage.gaussian_filter(each, BLUR) for each in (shown, real)]
                correlation = np.corrcoef(edges(shown).ravel(), edges(real).ravel())[0, 1]
                for name, value in (
                    ("SSIM", similarity(shown, real)),
                    ("SSIM, blurred", similarity(blurred[0], blurred[1])),
                    ("edges", float(correlation)),
                    ("squared error", float(((shown - real) ** 2).mean())),
                    ("time", spent),
                    ("bytes", sum(len((s._render_cache or "").encode()) for s in strips) / 1000),
                ):
                    figures.setdefault((kind, size, cells, name), []).append(value)
    units = {"time": "ms", "bytes": "kB"}
    lines = [
        Line(
            name=f"{name}, {kind}, {size}, {cells}",
            median=median(values),
            unit=units.get(name, ""),
            n=len(values),
            ratio=median(values) / median(figures[kind, size, Cells.HALF, name]),
            beside="half cells",
        )
        for (kind, size, cells, name), values in sorted(
            figures.items(), key=lambda item: (item[0][0], item[0][1], item[0][3])
        )
    ]
    print_report("cells", lines)


if __name__ == "__main__":
    main()
