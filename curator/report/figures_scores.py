"""Plots of scores: how they spread, whether they mean what they say, what they would cost."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from curator.base.text import percent
from curator.charts.drawing import (
    INK,
    NEGATIVE,
    NEGATIVE_SOFT,
    NOBODY,
    POSITIVE,
    POSITIVE_SOFT,
    QUIET,
    WARNING,
    Styles,
    draw,
    shown,
)
from curator.report.data import ReportData, ScoreFacts, Selection
from curator.report.figures import Figure, percents, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NO_SCORES = "There are no scores of a round that stands."


def scores_figure(story: ReportData, styles: Styles) -> Figure:
    """The scores of the round that stands, with its thresholds."""
    title = "Scores and thresholds"
    if not story.scores:
        return Figure(key="scores", title=title, caption=_missing(story))
    last = story.scores[-1]
    bins = len(last.histogram)
    edges = np.linspace(0.0, 1.0, bins + 1)
    caption = (
        f"Round {last.round}, n = {last.images:,} images without a human label:"
        f" {last.bands[0]:,} below {last.below:g}, {last.bands[3]:,} above {last.above:g},"
        f" {last.bands[1] + last.bands[2]:,} between. The upright scale is logarithmic."
    )

    def paint(axes: Axes) -> None:
        colours = [
            NEGATIVE_SOFT if high <= last.below else POSITIVE_SOFT if low >= last.above else NOBODY
            for low, high in pairwise(edges)
        ]
        axes.bar(edges[:-1], last.histogram, width=1 / bins, align="edge", color=colours)
        for bar, colour in ((last.below, NEGATIVE), (last.above, POSITIVE)):
            axes.axvline(bar, color=colour, linewidth=1.4, linestyle="--")
        axes.set_yscale("log")
        axes.set_ylim(0.7, max(2.0, 3.0 * max(last.histogram)))
        _plain_log(axes)
        axes.set_xlim(-0.01, 1.01)
        top = axes.get_ylim()[1]
        axes.text(last.below + 0.015, top, f"{last.below:g}", color=NEGATIVE, va="top", ha="left")
        axes.text(last.above - 0.015, top, f"{last.above:g}", color=POSITIVE, va="top", ha="right")
        axes.set_xlabel(f"{'raw ' if last.raw else ''}P({shown(story.positive)})")
        axes.set_ylabel("images")

    return Figure(
        key="scores",
        title=title,
        caption=caption,
        svg=draw("scores", paint, styles, title=title, description=caption),
        legend=(
            ("negative-soft", f"may become {story.negative}"),
            ("nobody", "neither"),
            ("positive-soft", f"may become {story.positive}"),
        ),
        header=("from", "to", *(f"round {one.round}" for one in story.scores)),
        rows=tuple(
            told(
                f"{edges[place]:.2f}",
                f"{edges[place + 1]:.2f}",
                *(one.histogram[place] for one in story.scores),
            )
            for place in range(bins)
        ),
    )


def bands_figure(story: ReportData, styles: Styles) -> Figure:
    """Shares of the pool on either side of the thresholds, round by round."""
    title = "How sure each round was"
    if not story.scores:
        return Figure(key="bands", title=title, caption=_missing(story))
    rounds = story.scores
    first, last = rounds[0], rounds[-1]
    caption = (
        f"Beyond a threshold lay {percent(_sure(first))} of the images without a human label in"
        f" round {first.round}"
    )
    caption += f" and {percent(_sure(last))} in round {last.round}." if first != last else "."
    if story.scores_missing:
        caption += f" Scores are gone: rounds {', '.join(map(str, story.scores_missing))}."

    def paint(axes: Axes) -> None:
        places = np.arange(len(rounds))[::-1]
        left = np.zeros(len(rounds))
        colours = (NEGATIVE_SOFT, NOBODY, NOBODY, POSITIVE_SOFT)
        for band, colour in enumerate(colours):
            shares = np.array([one.bands[band] / max(one.images, 1) for one in rounds])
            axes.barh(places, shares, left=left, color=colour, height=0.72)
            left += shares
            if band == 1:  # one half
                axes.vlines(left, places - 0.36, places + 0.36, color=QUIET, linewidth=1.0)
        axes.set_yticks(places, [f"round {one.round}" for one in rounds])
        axes.grid(visible=False)
        axes.set_xlim(0.0, 1.0)
        percents(axes, of_x=True)
        axes.set_xlabel("share of images without a human label")

    return Figure(
        key="bands",
        title=title,
        caption=caption,
        svg=draw(
            "bands", paint, styles, title=title, description=caption,
            height=1.1 + 0.3 * max(len(rounds), 2),
        ),
        legend=(
            ("negative-soft", f"P below {last.below:g}"),
            ("nobody", "between; the stroke is at one half"),
            ("positive-soft", f"P above {last.above:g}"),
        ),
        header=("round", "n", "below", "leaning below", "leaning above", "above", "thresholds"),
        rows=tuple(
            told(str(one.round), one.images, *one.bands, f"{one.below:g}, {one.above:g}")
            for one in rounds
        ),
    )  # fmt: skip


def reliability_figure(story: ReportData, styles: Styles) -> Figure:
    """What scores claim and what people found."""
    title = "Calibration: claimed and found"
    judgement = None if story.current is None else story.current.judgement
    if judgement is None:
        return Figure(key="reliability", title=title, caption=story.judged[0])
    bins = judgement.reliability
    caption = (
        f"n = {judgement.labels:,} labels that had no part in the scores; bars are 95% intervals,"
        " the dashed line is where claim and finding agree. Expected calibration error"
        f" {judgement.calibration_error:.3f}."
    )

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1.0)
        x = [one.mean_probability for one in bins]
        y = [one.share_positive for one in bins]
        low = [max(0.0, one.share_positive - one.low_share) for one in bins]
        high = [max(0.0, one.high_share - one.share_positive) for one in bins]
        axes.errorbar(x, y, yerr=[low, high], fmt="o", color=POSITIVE, markersize=5, linewidth=1.4)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.04)
        percents(axes)
        axes.set_xlabel(f"P({shown(story.positive)}) claimed")
        axes.set_ylabel(f"{shown(story.positive, 14)} found")

    return Figure(
        key="reliability",
        title=title,
        caption=caption,
        svg=draw("reliability", paint, styles, title=title, description=caption),
        header=("from", "to", "labels", "claimed", "found", "95% interval"),
        rows=tuple(
            told(
                f"{one.low:.1f}", f"{one.high:.1f}", one.count, percent(one.mean_probability),
                percent(one.share_positive),
                f"{percent(one.low_share)} to {percent(one.high_share)}",
            )
            for one in bins
        ),
    )  # fmt: skip


def selection_figure(story: ReportData, styles: Styles) -> Figure:
    """Coverage against estimated error, with what was chosen."""
    title = "Coverage against error"
    found = story.selection
    if found is None:
        return Figure(key="selection", title=title, caption=story.selection_missing)
    caption = (
        f"Estimated. {found.rests} Chosen in round {found.round}: coverage"
        f" {percent(found.coverage)}, estimated error {percent(found.error, 2)}"
        f" (n = {found.promoted:,} promoted)."
    )

    def paint(axes: Axes) -> None:
        _paint_selection(axes, story, found)

    legend = [("ink", "claimed by scores")]
    if found.labels:
        legend.append(("quiet", "found by labels, with 95% interval"))
    legend.append(("warning", "chosen"))
    if _certified(story):
        legend.append(("positive", "certified bound"))
    return Figure(
        key="selection",
        title=title,
        caption=caption,
        svg=draw("selection", paint, styles, title=title, description=caption),
        legend=tuple(legend),
        header=("coverage", "at least so sure", "claimed", "labels", "wrong", "95% interval"),
        rows=tuple(
            told(
                percent(one.coverage), f"{one.certainty:.4f}", percent(one.claimed, 2),
                one.labels, one.errors,
                f"{percent(one.low)} to {percent(one.high)}" if one.labels else None,
            )
            for one in found.points
        ),
    )  # fmt: skip


def _paint_selection(axes: Axes, story: ReportData, found: Selection) -> None:
    points = found.points
    coverage = [one.coverage for one in points]
    axes.plot([0.0, *coverage], [points[0].claimed, *(p.claimed for p in points)], color=INK)
    judged = [one for one in points[1::2] if one.labels]
    rates = [one.errors / one.labels for one in judged]
    if judged:
        low = [rate - one.low for rate, one in zip(rates, judged, strict=True)]
        high = [one.high - rate for rate, one in zip(rates, judged, strict=True)]
        axes.errorbar(
            [one.coverage for one in judged],
            rates,
            yerr=[np.maximum(low, 0.0), np.maximum(high, 0.0)],
            fmt="o",
            color=QUIET,
            ecolor=NOBODY,
            markersize=4,
            linewidth=1.6,
        )
    certified = _certified(story)
    if certified is not None:
        axes.plot([certified[0]], [certified[1]], "D", color=POSITIVE, markersize=7)
    axes.plot([found.coverage], [found.error], "o", color=WARNING, markersize=9, zorder=5)
    axes.set_xlim(-0.02, 1.03)
    highest = max([one.claimed for one in points] + rates + [found.error, 0.01])
    axes.set_ylim(-0.03 * highest, 1.35 * highest)
    percents(axes, of_x=True)
    percents(axes, digits=0 if highest > 0.05 else 1)
    axes.set_xlabel(f"coverage (n = {found.images:,})")
    axes.set_ylabel("share wrong, estimated")


def _certified(story: ReportData) -> tuple[float, float] | None:
    """Coverage and bound of the certificate that holds for promoted labels."""
    for one in story.certificates:
        if one.valid and one.about_promoted and story.selection is not None:
            return min(1.0, one.certified / max(story.promoted + story.unlabelled, 1)), one.bound
    return None


def _sure(one: ScoreFacts) -> float:
    return (one.bands[0] + one.bands[3]) / max(one.images, 1)


def _missing(story: ReportData) -> str:
    if story.scores_missing:
        rounds = ", ".join(map(str, story.scores_missing))
        return f"The scores of rounds {rounds} are not there any more."
    return _NO_SCORES


def _plain_log(axes: Axes) -> None:
    """1, 10, 100 instead of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(base=10.0, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
