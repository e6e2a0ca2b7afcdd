"""Bar charts of a report: the pool, the rounds, decisions of people, sources, quarantine.

A figure is a drawing with its caption, and a table with the same numbers as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.base.text import count, percent
from curator.base.vocabulary import CurrentLabel, LocationState, Origin
from curator.catalogue.rounds import RoundStatus
from curator.charts.svg import (
    GOOD,
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
    short_name,
)
from curator.report.data import (
    MEASURES_SHOWN,
    LabelCounts,
    ReportData,
    files_of,
    score_quality_of_round,
)
from curator.report.sentences import decisions_sentence, threshold_error_cell
from curator.settings.sections import ClassesSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 24
"""Rounds that are drawn; the table has all."""
MOST_SOURCES = 20

_ORIGIN_COLOURS = {
    Origin.SEED: (QUIET, "quiet"),
    Origin.REVIEW: (INK, "ink"),
    Origin.CALIBRATION: (NOBODY, "nobody"),
    Origin.AUDIT: (GOOD, "good"),
}

Cell = str | int | float | None
Layer = tuple[str, Sequence[float]]
"""A colour, and the length of the bar's part in each row or column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure; `legend` is (name of a colour of the page, text).

    Without a drawing, `svg` is empty and `caption` says why there is nothing to draw.
    """

    key: str
    title: str
    caption: str
    svg: str = ""
    legend: Sequence[tuple[str, str]] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def draw_figure(
    key: str,
    title: str,
    caption: str,
    paint: Callable[[Axes], None] | None,
    styles: Styles,
    *,
    legend: Sequence[tuple[str, str]] = (),
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    height: float = 2.9,
) -> Figure:
    """A figure that `paint` draws, `height` inches high, with its table; or the table alone."""
    svg = ""
    if paint is not None:
        svg = draw(key, paint, styles, title=title, description=caption, height=height)
    return Figure(
        key=key,
        title=title,
        caption=caption,
        svg=svg,
        legend=legend,
        header=header,
        rows=[[_cell(cell) for cell in row] for row in rows],
    )


def _cell(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4f}" if isinstance(cell, float) else cell


def percents(axis: Any, *, digits: int = 0) -> None:
    """Shares on an axis as percentages."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.{digits}f}%"))


def columns(axes: Axes, names: Sequence[str], layers: Sequence[Layer], x_label: str) -> None:
    """Upright bars of stacked layers, images on the left side."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    bottom = np.zeros(len(names), dtype=np.int64)
    for colour, values in layers:
        axes.bar(range(len(names)), values, bottom=bottom, color=colour, width=0.78)
        bottom = bottom + np.asarray(values)
    # A name under each bar, or counted from the last one under every few where there are many.
    step, last = max(1, -(-len(names) // 8)), len(names) - 1
    ticks = [index for index in range(len(names)) if (last - index) % step == 0]
    axes.set_xticks(ticks, [names[index] for index in ticks])
    axes.set_xlim(-0.6, last + 0.6)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylabel("images")
    axes.set_xlabel(x_label)


def share_rows(
    axes: Axes,
    names: Sequence[str],
    layers: Sequence[Layer],
    *,
    x_label: str,
    height: float = 0.6,
    stroke_after: int | None = None,
) -> None:
    """Lying bars of shares, the first on top; a stroke at the end of the layer `stroke_after`."""
    rows = np.arange(len(names))[::-1]
    left = np.zeros(len(names))
    for number, (colour, shares) in enumerate(layers):
        axes.barh(rows, shares, left=left, color=colour, height=height)
        left = left + np.asarray(shares)
        if number == stroke_after:
            axes.vlines(left, rows - height / 2, rows + height / 2, color=QUIET, linewidth=1.0)
    axes.set_yticks(rows, names)
    axes.grid(visible=False)
    axes.set_xlim(0.0, 1.0)
    percents(axes.xaxis)
    axes.set_xlabel(x_label)


def number_rows(
    axes: Axes,
    names: Sequence[str],
    values: Sequence[int],
    texts: Sequence[str],
    *,
    colour: str,
    x_label: str,
) -> None:
    """Lying bars, the first on top, each with its text at its end."""
    rows = np.arange(len(names))[::-1]
    axes.barh(rows, values, color=colour, height=0.6)
    axes.set_ylim(-0.7, len(names) - 0.3)
    longest = max([*values, 1])
    for row, value, text in zip(rows, values, texts, strict=True):
        axes.text(value + 0.02 * longest, row, text, va="center", ha="left", fontsize=10.5)
    axes.set_yticks(rows, names)
    axes.grid(visible=False)
    axes.set_xlim(0.0, 1.45 * longest)
    axes.set_xticks([])
    axes.set_xlabel(x_label)


def rows_height(bars: int) -> float:
    """Inches for this many lying bars and the axis below them."""
    return 0.65 + 0.42 * max(bars, 1)


def label_legend(classes: ClassesSettings) -> Sequence[tuple[str, str]]:
    """The legend of bars by class and by who gave it."""
    return (
        ("positive", f"{classes.positive}, by people"),
        ("positive-soft", f"{classes.positive}, promoted"),
        ("nobody", "unlabelled, unsure or conflict"),
        ("negative-soft", f"{classes.negative}, promoted"),
        ("negative", f"{classes.negative}, by people"),
    )


def label_layers(counts: Sequence[LabelCounts]) -> list[tuple[str, list[int]]]:
    """The layers of such bars."""
    positive, negative = CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE
    return [
        (POSITIVE, [each.by_people(positive) for each in counts]),
        (POSITIVE_SOFT, [each.promoted[positive] for each in counts]),
        (NOBODY, [each.undecided + each.unlabelled for each in counts]),
        (NEGATIVE_SOFT, [each.promoted[negative] for each in counts]),
        (NEGATIVE, [each.by_people(negative) for each in counts]),
    ]


def label_header(classes: ClassesSettings) -> Sequence[str]:
    """The header of `label_cells`."""
    return (
        f"{classes.positive} by people",
        f"{classes.positive} promoted",
        f"{classes.negative} by people",
        f"{classes.negative} promoted",
        "unsure or conflict",
        "unlabelled",
    )


def label_cells(counts: LabelCounts) -> Sequence[int]:
    """Images by class and by who gave it, for a table."""
    positive, negative = CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE
    return (
        counts.by_people(positive),
        counts.promoted[positive],
        counts.by_people(negative),
        counts.promoted[negative],
        counts.undecided,
        counts.unlabelled,
    )


def pool_figure(report: ReportData, styles: Styles) -> Figure:
    """All usable images by who labelled them, after each round and now."""
    title, usable = "The pool by label", report.status.counts.usable
    if not usable:
        return Figure(key="pool", title=title, caption="There is no image that can be used yet.")
    now, moments = report.pool[-1], report.pool[-MOST_BARS:]
    people = sum(now.by_people(label) for label in CurrentLabel)
    return draw_figure(
        "pool",
        title,
        f"Labelled now: {people:,} by people, {sum(now.promoted.values()):,} by rounds. Unlabelled:"
        f" {now.unlabelled:,} of {count(usable, 'image')}.",
        lambda axes: columns(axes, _moment_names(report), label_layers(moments), "after round"),
        styles,
        legend=label_legend(report.classes),
        header=("after", *label_header(report.classes)),
        rows=[(moment.name, *label_cells(moment)) for moment in report.pool],
    )


def _moment_names(report: ReportData) -> list[str]:
    return [moment.name.removeprefix("round ") for moment in report.pool[-MOST_BARS:]]


def people_figure(report: ReportData, styles: Styles) -> Figure:
    """Images that people labelled, by where the label comes from."""
    title = "Labels of people by origin"
    counts = [
        {origin: sum(by.get(origin, 0) for by in moment.people.values()) for origin in Origin}
        for moment in report.pool
    ]
    origins = [origin for origin in _ORIGIN_COLOURS if any(each[origin] for each in counts)]
    if not origins:
        return Figure(key="people", title=title, caption="People have not labelled any image yet.")
    drawn = counts[-MOST_BARS:]
    layers = [(_ORIGIN_COLOURS[each][0], [by[each] for by in drawn]) for each in origins]
    numbers = ", ".join(f"{counts[-1][origin]:,} {origin}" for origin in origins)
    return draw_figure(
        "people",
        title,
        f"Current human labels: {numbers}.",
        lambda axes: columns(axes, _moment_names(report), layers, "after round"),
        styles,
        legend=[(_ORIGIN_COLOURS[origin][1], str(origin)) for origin in origins],
        header=("after", "label", *origins),
        rows=[
            (moment.name, report.classes.name_of(label), *(by.get(each, 0) for each in origins))
            for moment in report.pool
            for label, by in moment.people.items()
        ],
    )


def rounds_figure(report: ReportData, styles: Styles) -> Figure:
    """What each round promoted and revoked."""
    title, rounds, classes = "Promoted and revoked", report.status.rounds, report.classes
    if not rounds:
        return Figure(key="rounds", title=title, caption="No round has run yet.")
    promoted = sum(record.promoted_positive + record.promoted_negative for record in rounds)
    revoked = sum(record.revoked for record in rounds)
    undone = [str(record.round_id) for record in rounds if record.status is RoundStatus.ROLLED_BACK]
    caption = f"{count(promoted, 'promotion')} and {count(revoked, 'revocation')}"
    caption += f" in {count(len(rounds), 'round')}"
    if undone:
        caption += f"; rolled back and marked with ×: {', '.join(undone[-12:])}"
    drawn = rounds[-MOST_BARS:]

    def paint(axes: Axes) -> None:
        layers = [
            (POSITIVE_SOFT, [record.promoted_positive for record in drawn]),
            (NEGATIVE_SOFT, [record.promoted_negative for record in drawn]),
        ]
        marks = {RoundStatus.ROLLED_BACK: "×"}
        names = [f"{record.round_id}{marks.get(record.status, '')}" for record in drawn]
        columns(axes, names, layers, "round")
        below = [-record.revoked for record in drawn]
        axes.bar(range(len(drawn)), below, color=WARNING, width=0.78)
        axes.axhline(0.0, color=QUIET, linewidth=0.8)

    rows: list[Sequence[Cell]] = []
    for record in rounds:
        quality = score_quality_of_round(record)
        kind = "" if record.kind == "train" else f" ({record.kind})"
        rows.append(
            (
                str(record.round_id),
                f"{record.status}{kind}",
                record.promoted_positive,
                record.promoted_negative,
                record.revoked,
                record.standing_promoted,
                percent(record.coverage),
                threshold_error_cell(record),
                None if quality is None else quality.log_loss,
                None if quality is None else quality.calibration_error,
                f"{record.seconds:.1f}",
            )
        )
    figure = draw_figure(
        "rounds",
        title,
        caption,
        paint,
        styles,
        legend=(
            ("positive-soft", f"promoted to {classes.positive}"),
            ("negative-soft", f"promoted to {classes.negative}"),
            ("warning", "revoked (below zero)"),
        ),
        header=(
            "round", "status", f"+{classes.positive}", f"+{classes.negative}", "revoked",
            "standing", "coverage", "error (labels)", "log loss", "calibration error", "seconds",
        ),
        rows=rows,
    )  # fmt: skip
    return replace(figure, caption=f"{caption}.")


def work_figure(report: ReportData, styles: Styles) -> Figure:
    """How many decisions people made, and how long they looked."""
    title, work = "Decisions of people", report.work
    if not work:
        return Figure(key="work", title=title, caption="There are no decisions yet.")
    total = decisions_sentence(report.status.decisions, report.status.minutes)
    minutes = ["" if row.minutes is None else f", {row.minutes:.0f} min" for row in work]
    return draw_figure(
        "work",
        title,
        f"{total[:1].upper()}{total[1:]}. The clock runs between the decisions of a session; a"
        " pause counts for one minute, imports for none.",
        lambda axes: number_rows(
            axes,
            [f"{row.origin}, {row.method}" for row in work],
            [row.decisions for row in work],
            [f"{row.decisions:,}{spent}" for row, spent in zip(work, minutes, strict=True)],
            colour=INK,
            x_label="decisions",
        ),
        styles,
        header=("origin", "method", "decisions", "taken back", "sessions", "minutes"),
        rows=[
            (
                str(row.origin), str(row.method), row.decisions, row.taken_back, row.sessions,
                None if row.minutes is None else f"{row.minutes:.1f}",
            )
            for row in work
        ],
        height=rows_height(len(work)),
    )  # fmt: skip


def sources_figure(report: ReportData, styles: Styles) -> Figure:
    """The sources beside each other: shares of labels, and whether scores mean the same there."""
    title, classes = "Sources compared", report.classes
    if not report.status.sources:
        return Figure(key="sources", title=title, caption="No source has been added yet.")
    drawn = {
        source.name: report.labels_of(source)
        for source in report.status.sources
        if report.labels_of(source).total
    }
    names = list(drawn)[:MOST_SOURCES]
    counts = [drawn[name] for name in names]

    def paint(axes: Axes) -> None:
        totals = np.array([each.total for each in counts])
        share_rows(
            axes,
            [
                f"{short_name(n, 18)}\nn = {each.total:,}"
                for n, each in zip(names, counts, strict=True)
            ],
            [(colour, np.array(images) / totals) for colour, images in label_layers(counts)],
            x_label="share of usable images",
        )
        axes.set_ylim(-0.7, len(names) - 0.3)

    rows: list[Sequence[Cell]] = []
    for source in report.status.sources:
        quality = report.quality_of(source)
        rows.append(
            (
                source.name,
                files_of(source),
                source.locations.get(LocationState.MISSING, 0),
                *label_cells(report.labels_of(source)),
                0 if quality is None else quality.labels,
                None if quality is None else f"{quality.expected_positive:.1f}",
                None if quality is None else quality.positive,
                source.licence or None,
                source.attribution or None,
            )
        )
    return draw_figure(
        "sources",
        title,
        _sources_caption(report),
        paint if names else None,
        styles,
        legend=label_legend(classes),
        header=(
            "source", "files", "missing", *label_header(classes), "labels used",
            f"{classes.positive} expected", f"{classes.positive} found", "licence", "attribution",
        ),
        rows=rows,
        height=rows_height(len(names)),
    )  # fmt: skip


def _sources_caption(report: ReportData) -> str:
    sources = report.status.sources
    qualities = [quality for source in sources if (quality := report.quality_of(source))]
    differing = [quality.source for quality in qualities if quality.differs]
    if differing:
        caption = f"Scores are not calibrated in {', '.join(differing)}."
    elif len(sources) == 1:
        caption = "There is one source, so there is nothing to compare."
    elif qualities:
        caption = (
            f"Scores are calibrated in each of the {len(qualities):,} sources (of"
            f" {len(sources):,}) that have the labels to judge them."
        )
    else:
        caption = "No source has the 20 labels that are needed to judge its scores."
    more = len(sources) - MOST_SOURCES
    return f"{caption} More in the table: {more:,}." if more > 0 else caption


def quarantine_figure(report: ReportData, styles: Styles) -> Figure:
    """What could not be used, and why."""
    title, quarantine = "Quarantine by reason", report.quarantine
    total, images = sum(quarantine.values()), report.status.counts.images
    if not total:
        return Figure(key="quarantine", title=title, caption="Every image can be used.")
    share = percent(total / max(images, total), 2)
    reasons = sorted(quarantine, key=lambda reason: (-quarantine[reason], reason))
    numbers = [quarantine[reason] for reason in reasons]
    return draw_figure(
        "quarantine",
        title,
        f"Not usable: {total:,} images or files ({share} of {count(images, 'image')}).",
        lambda axes: number_rows(
            axes,
            reasons,
            numbers,
            [f"{number:,}" for number in numbers],
            colour=WARNING,
            x_label="images or files",
        ),
        styles,
        header=("reason", "number"),
        rows=list(zip(reasons, numbers, strict=True)),
        height=rows_height(len(reasons)),
    )


def quality_figure(report: ReportData, styles: Styles) -> Figure:
    """How pictures look: a small histogram of each measure."""
    title = "Sharpness, brightness, contrast, entropy"
    measured = {name: counts for name, counts in report.measures.items() if counts.any()}
    if not measured:
        return Figure(
            key="quality",
            title=title,
            caption="No image was measured yet; `curator add --rehash PATH` reads them again.",
        )

    def paint(axes: Axes) -> None:
        axes.set_axis_off()
        for number, (name, counts) in enumerate(measured.items()):
            low, high = MEASURES_SHOWN[name]
            small = axes.inset_axes((0.56 * (number % 2), 0.62 * (1 - number // 2), 0.44, 0.3))
            edges = np.linspace(low, high, len(counts) + 1)
            small.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=INK)
            small.set_xlim(low, high)
            small.set_yticks([])
            small.set_xlabel(name)

    odd = report.status.counts.odd
    listed = ", ".join(f"{number:,} {oddity}" for oddity, number in odd.items())
    rows: list[Sequence[Cell]] = []
    for name, counts in measured.items():
        edges = np.linspace(*MEASURES_SHOWN[name], len(counts) + 1)
        rows += [
            (name, f"{edge:.2f}", int(number))
            for edge, number in zip(edges[:-1], counts, strict=True)
            if number
        ]
    return draw_figure(
        "quality",
        title,
        f"Images that stand out by how they look: {listed}." if odd else "No image stands out.",
        paint,
        styles,
        header=("measure", "from", "images"),
        rows=rows,
        height=3.4,
    )
