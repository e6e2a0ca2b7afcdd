"""What a plot is on the page: a drawing, its key, a caption, and the table behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from curator.report.data import ReportData

MOST_BARS = 24
"""Rounds that are drawn; the table has all."""

Cell = str | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One plot; `legend` is (name of a colour of the page, text).

    `rows` say the same as the drawing, as text. Without a drawing, `svg` is empty and
    `caption` says why there is nothing to draw.
    """

    key: str
    title: str
    caption: str
    svg: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def told(*cells: Cell) -> tuple[str, ...]:
    """A row of a table: numbers with separators, a dash for nothing."""
    return tuple(_told(cell) for cell in cells)


def _told(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4f}" if isinstance(cell, float) else cell


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """A word under each bar, or under every few where there are many."""
    step = max(1, -(-len(names) // 8))
    last = len(names) - 1
    places = [place for place in range(len(names)) if (last - place) % step == 0]
    axes.set_xticks(places, [names[place] for place in places])
    axes.set_xlim(-0.6, last + 0.6)


def thousands(axes: Axes) -> None:
    """Whole numbers with separators up the side."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def percents(axes: Axes, *, of_x: bool = False, digits: int = 0) -> None:
    """Shares as percentages up the side, or along the bottom."""
    from matplotlib.ticker import FuncFormatter

    axis = axes.xaxis if of_x else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.{digits}f}%"))


def who_labelled(story: ReportData) -> tuple[tuple[str, str], ...]:
    """The legend of bars that are parted by class and by who gave it: variable, words."""
    return (
        ("positive", f"{story.positive}, by people"),
        ("positive-soft", f"{story.positive}, promoted"),
        ("nobody", "unlabelled, unsure or conflict"),
        ("negative-soft", f"{story.negative}, promoted"),
        ("negative", f"{story.negative}, by people"),
    )
