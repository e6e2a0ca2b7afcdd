"""Lines over a horizontal axis, as a PNG file and as text for a terminal.

The same few values serve both, so that what is printed is what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INKS = ("#3465a4", "#cc5500", "#4e9a06", "#75507b", "#8f5902", "#a40000")
_MARKS = "●○▲△■□"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A named line; `low` and `high`, where given, are a band around `y`."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines with a title and named axes; `marked` is a point on the x axis, named `mark_name`."""

    title: str
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    logarithmic_x: bool = False
    logarithmic_y: bool = False
    marked: float | None = None
    mark_name: str = ""


def draw_charts(path: Path, charts: Sequence[Chart]) -> Path:
    """Write the charts side by side as one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(charts), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    for column, chart in enumerate(charts, 1):
        axes = figure.add_subplot(1, len(charts), column)
        for number, line in enumerate(chart.lines):
            ink = _INKS[number % len(_INKS)]
            style = "--" if line.dashed else "-"
            marker = "o" if len(line.x) <= 30 and not line.dashed else None
            axes.plot(
                line.x, line.y, style, color=ink, label=line.name, marker=marker, markersize=3
            )
            if line.low:
                axes.fill_between(line.x, line.low, line.high, color=ink, alpha=0.15, linewidth=0)
        if chart.marked is not None:
            axes.axvline(chart.marked, color="#555753", linewidth=0.8, linestyle=":")
            axes.annotate(
                chart.mark_name, (chart.marked, 1.0), xycoords=("data", "axes fraction"),
                xytext=(3, -9), textcoords="offset points", fontsize=8,
            )  # fmt: skip
        axes.set_title(chart.title)
        axes.set_xlabel(chart.x_name)
        axes.set_ylabel(chart.y_name)
        if chart.logarithmic_x:
            axes.set_xscale("log")
            _plain_numbers(axes.xaxis)
        if chart.logarithmic_y:
            axes.set_yscale("log")
            _plain_numbers(axes.yaxis)
        axes.grid(visible=True, color="#d3d7cf", linewidth=0.5)
        if len(chart.lines) <= 8:
            axes.legend(fontsize=8)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path


def _plain_numbers(axis: Any) -> None:
    """Numbers as people write them; within one power of ten also those between."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(MaxNLocator(6) if high < 10 * low else LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_formatter(NullFormatter())


def chart_text(chart: Chart, width: int = 72, height: int = 16) -> str:
    """The chart in characters, at most `width` columns and `height` rows of plot."""
    points = [(x, y) for line in chart.lines for x, y in zip(line.x, line.y, strict=True)]
    points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not points:
        return f"{chart.title}: nothing to draw"
    across = _Scale([x for x, _ in points], chart.logarithmic_x, width - 11)
    upward = _Scale([y for _, y in points], chart.logarithmic_y, height)
    cells = [[" "] * (width - 10) for _ in range(height)]
    for number, line in enumerate(chart.lines):
        for x, y in zip(line.x, line.y, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                cells[height - 1 - upward.cell(y)][across.cell(x)] = _MARKS[number % len(_MARKS)]
    labels = {0: upward.high, height // 2: upward.middle(), height - 1: upward.low}
    rows = [
        f"{_short(labels[row]) if row in labels else '':>8} │{''.join(cells[row]).rstrip()}"
        for row in range(height)
    ]
    axis = f"{'':>8} └{'─' * (width - 10)}"
    ends = f"{_short(across.low)}{chart.x_name:^{width - 24}}{_short(across.high):>7}"
    legend = "  ".join(
        f"{_MARKS[number % len(_MARKS)]} {line.name}" for number, line in enumerate(chart.lines[:6])
    )
    head = f"{chart.title} ({chart.y_name})"
    return "\n".join([head, *rows, axis, f"{'':>10}{ends}", f"{'':>10}{legend}"])


class _Scale:
    """From values to cells, evenly or by factors."""

    def __init__(self, values: Sequence[float], logarithmic: bool, cells: int) -> None:
        self._logarithmic = logarithmic and min(values) > 0
        self.low, self.high = min(values), max(values)
        self._cells = cells

    def cell(self, value: float) -> int:
        low, high = self._of(self.low), self._of(self.high)
        share = (self._of(value) - low) / (high - low) if high > low else 0.0
        return min(self._cells - 1, round(share * (self._cells - 1)))

    def middle(self) -> float:
        middle = (self._of(self.low) + self._of(self.high)) / 2
        return math.exp(middle) if self._logarithmic else middle

    def _of(self, value: float) -> float:
        return math.log(value) if self._logarithmic else value


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
