"""Figures about scores: their distribution, their calibration, coverage against error."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from curator.base.text import percent
from curator.charts.svg import (
    INK,
    NEGATIVE,
    NEGATIVE_SOFT,
    NOBODY,
    POSITIVE,
    POSITIVE_SOFT,
    QUIET,
    WARNING,
    Styles,
    short_name,
)
from curator.report.data import ReportData
from curator.report.figures import Figure, draw_figure, percents, share_rows
from curator.report.scores import ErrorCurve, RoundScores
from curator.report.sentences import error_curve_basis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NO_SCORES = "There are no scores of a current round."


def scores_figure(report: ReportData, styles: Styles) -> Figure:
    """The scores of the current round, with its thresholds."""
    title, classes = "Scores and thresholds", report.classes
    if not report.scores:
        return Figure(key="scores", title=title, caption=_missing(report))
    last = report.scores[-1]
    bins = len(last.histogram)
    edges = np.linspace(0.0, 1.0, bins + 1)

    def paint(axes: Axes) -> None:
        colours = [
            NEGATIVE_SOFT if high <= last.below else POSITIVE_SOFT if low >= last.above else NOBODY
            for low, high in pairwise(edges)
        ]
        axes.bar(edges[:-1], last.histogram, width=1 / bins, align="edge", color=colours)
        for threshold, colour in ((last.below, NEGATIVE), (last.above, POSITIVE)):
            axes.axvline(threshold, color=colour, linewidth=1.4, linestyle="--")
        axes.set_yscale("log")
        axes.set_ylim(0.7, max(2.0, 3.0 * max(last.histogram)))
        _plain_log(axes)
        axes.set_xlim(-0.01, 1.01)
        top = axes.get_ylim()[1]
        axes.text(last.below + 0.015, top, f"{last.below:g}", color=NEGATIVE, va="top", ha="left")
        axes.text(last.above - 0.015, top, f"{last.above:g}", color=POSITIVE, va="top", ha="right")
        axes.set_xlabel(f"{'raw ' if last.raw else ''}P({short_name(classes.positive)})")
        axes.set_ylabel("images")

    return draw_figure(
        "scores",
        title,
        f"Round {last.round}, n = {last.images:,} images without a human label:"
        f" {last.bands[0]:,} below {last.below:g}, {last.bands[3]:,} above {last.above:g},"
        f" {last.bands[1] + last.bands[2]:,} between. The upright scale is logarithmic.",
        paint,
        styles,
        legend=(
            ("negative-soft", f"may become {classes.negative}"),
            ("nobody", "neither"),
            ("positive-soft", f"may become {classes.positive}"),
        ),
        header=("from", "to", *(f"round {scores.round}" for scores in report.scores)),
        rows=[
            (f"{low:.2f}", f"{high:.2f}", *(scores.histogram[number] for scores in report.scores))
            for number, (low, high) in enumerate(pairwise(edges))
        ],
    )


def bands_figure(report: ReportData, styles: Styles) -> Figure:
    """Shares of the pool on either side of the thresholds, round by round."""
    title, rounds = "Probabilities by round", report.scores
    if not rounds:
        return Figure(key="bands", title=title, caption=_missing(report))
    first, last = rounds[0], rounds[-1]
    caption = (
        f"Beyond a threshold lay {percent(_beyond(first))} of the images without a human label in"
        f" round {first.round}"
    )
    caption += f" and {percent(_beyond(last))} in round {last.round}." if first != last else "."
    if report.missing_scores:
        caption += (
            f" Scores that no longer exist: rounds {', '.join(map(str, report.missing_scores))}."
        )
    colours = (NEGATIVE_SOFT, NOBODY, NOBODY, POSITIVE_SOFT)
    return draw_figure(
        "bands",
        title,
        caption,
        lambda axes: share_rows(
            axes,
            [f"round {scores.round}" for scores in rounds],
            [
                (colour, [scores.bands[number] / max(scores.images, 1) for scores in rounds])
                for number, colour in enumerate(colours)
            ],
            x_label="share of images without a human label",
            height=0.72,
            stroke_after=1,  # at one half
        ),
        styles,
        legend=(
            ("negative-soft", f"P below {last.below:g}"),
            ("nobody", "between; the stroke is at one half"),
            ("positive-soft", f"P above {last.above:g}"),
        ),
        header=("round", "n", "below", "leaning below", "leaning above", "above", "thresholds"),
        rows=[
            (str(each.round), each.images, *each.bands, f"{each.below:g}, {each.above:g}")
            for each in rounds
        ],
        height=1.1 + 0.3 * max(len(rounds), 2),
    )


def _beyond(scores: RoundScores) -> float:
    return (scores.bands[0] + scores.bands[3]) / max(scores.images, 1)


def reliability_figure(report: ReportData, styles: Styles) -> Figure:
    """Scores against the shares that labels have, in bins of P(positive)."""
    title, quality = "Calibration: predicted and observed", report.quality
    if quality is None:
        return Figure(key="reliability", title=title, caption=report.quality_sentences[0])
    bins, positive = quality.reliability, report.classes.positive

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1.0)
        x = [each.mean_probability for each in bins]
        y = [each.share_positive for each in bins]
        low = [max(0.0, each.share_positive - each.low_share) for each in bins]
        high = [max(0.0, each.high_share - each.share_positive) for each in bins]
        axes.errorbar(x, y, yerr=[low, high], fmt="o", color=POSITIVE, markersize=5, linewidth=1.4)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.04)
        percents(axes.yaxis)
        axes.set_xlabel(f"P({short_name(positive)}) predicted")
        axes.set_ylabel(f"{short_name(positive, 14)} found")

    return draw_figure(
        "reliability",
        title,
        f"n = {quality.measured_on} that had no part in the scores; bars are 95% intervals,"
        " the dashed line is perfect calibration. Expected calibration error"
        f" {quality.calibration_error:.3f}.",
        paint,
        styles,
        header=("from", "to", "labels", "claimed", "found", "95% interval"),
        rows=[
            (
                f"{each.low:.1f}",
                f"{each.high:.1f}",
                each.count,
                percent(each.mean_probability),
                percent(each.share_positive),
                f"{percent(each.low_share)} to {percent(each.high_share)}",
            )
            for each in bins
        ],
    )


def selection_figure(report: ReportData, styles: Styles) -> Figure:
    """Coverage against estimated error, with what was promoted."""
    title, curve = "Coverage against error", report.error_curve
    if curve is None:
        return Figure(key="selection", title=title, caption=report.no_error_curve)
    certified = _certified(report)
    legend = [("ink", "predicted by scores")]
    if curve.labels:
        legend.append(("quiet", "observed on labels, with 95% interval"))
    legend.append(("warning", "chosen"))
    if certified is not None:
        legend.append(("positive", "certified bound"))
    return draw_figure(
        "selection",
        title,
        f"Estimated. {error_curve_basis(curve)} Chosen in round {curve.round.round_id}: coverage"
        f" {percent(curve.round.coverage)}, estimated error {percent(curve.error, 2)}"
        f" (n = {curve.round.standing_promoted:,} promoted).",
        lambda axes: _paint_curve(axes, curve, certified),
        styles,
        legend=legend,
        header=("coverage", "at least so sure", "claimed", "labels", "wrong", "95% interval"),
        rows=[
            (
                percent(point.coverage),
                f"{point.certainty:.4f}",
                percent(point.claimed, 2),
                point.measured.sample,
                point.measured.errors,
                f"{percent(point.measured.low)} to {percent(point.measured.high)}"
                if point.measured.sample
                else None,
            )
            for point in curve.points
        ],
    )


def _paint_curve(axes: Axes, curve: ErrorCurve, certified: tuple[float, float] | None) -> None:
    points = curve.points
    claimed = [point.claimed for point in points]
    coverage = [point.coverage for point in points]
    axes.plot([0.0, *coverage], [claimed[0], *claimed], color=INK)
    measured = [point for point in points[1::2] if point.measured.sample]
    rates = [point.measured.errors / point.measured.sample for point in measured]
    if measured:
        low = [rate - point.measured.low for rate, point in zip(rates, measured, strict=True)]
        high = [point.measured.high - rate for rate, point in zip(rates, measured, strict=True)]
        axes.errorbar(
            [point.coverage for point in measured],
            rates,
            yerr=[np.maximum(low, 0.0), np.maximum(high, 0.0)],
            fmt="o",
            color=QUIET,
            ecolor=NOBODY,
            markersize=4,
            linewidth=1.6,
        )
    if certified is not None:
        axes.plot([certified[0]], [certified[1]], "D", color=POSITIVE, markersize=7)
    axes.plot([curve.round.coverage], [curve.error], "o", color=WARNING, markersize=9, zorder=5)
    axes.set_xlim(-0.02, 1.03)
    highest = max([*claimed, *rates, curve.error, 0.01])
    axes.set_ylim(-0.03 * highest, 1.35 * highest)
    percents(axes.xaxis)
    percents(axes.yaxis, digits=0 if highest > 0.05 else 1)
    axes.set_xlabel(f"coverage (n = {curve.images:,})")
    axes.set_ylabel("share wrong, estimated")


def _certified(report: ReportData) -> tuple[float, float] | None:
    """Coverage and bound of the valid certificate for promoted labels."""
    certificate = report.valid_certificate
    if certificate is None:
        return None
    counts = report.status.counts
    coverage = certificate.certified / max(counts.promoted + counts.unlabelled, 1)
    return min(1.0, coverage), certificate.bound


def _missing(report: ReportData) -> str:
    if report.missing_scores:
        rounds = ", ".join(map(str, report.missing_scores))
        return f"The scores of rounds {rounds} no longer exist."
    return _NO_SCORES


def _plain_log(axes: Axes) -> None:
    """1, 10, 100 instead of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(base=10.0, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
