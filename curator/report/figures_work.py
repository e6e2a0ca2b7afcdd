"""Plots of what went in: people's decisions, the sources, what could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from curator.base.text import percent
from curator.base.vocabulary import CurrentLabel
from curator.charts.drawing import (
    INK,
    NEGATIVE,
    NEGATIVE_SOFT,
    NOBODY,
    POSITIVE,
    POSITIVE_SOFT,
    WARNING,
    Styles,
    draw,
    shown,
)
from curator.report.data import ReportData, SourceFacts, WorkFacts
from curator.report.figures import Figure, percents, told, who_labelled
from curator.report.sentences import decisions_sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SOURCES = 20


def work_figure(story: ReportData, styles: Styles) -> Figure:
    """How many decisions people made, and how long they looked."""
    title = "Decisions of people"
    if not story.work:
        return Figure(key="work", title=title, caption="Nobody has decided anything yet.")
    work = story.work
    caption = (
        f"{decisions_sentence(story.decisions, story.minutes)[:1].upper()}"
        f"{decisions_sentence(story.decisions, story.minutes)[1:]}. The clock runs between the"
        " decisions of a session; a pause counts for one minute, imports for none."
    )

    def paint(axes: Axes) -> None:
        _lying(
            axes,
            [f"{one.origin}, {one.method}" for one in work],
            [one.decisions for one in work],
            [_work_label(one) for one in work],
            INK,
        )
        axes.set_xlabel("decisions")

    return Figure(
        key="work",
        title=title,
        caption=caption,
        svg=draw(
            "work", paint, styles, title=title, description=caption, height=_lying_height(len(work))
        ),
        header=("origin", "method", "decisions", "taken back", "sessions", "minutes"),
        rows=tuple(
            told(
                one.origin, one.method, one.decisions, one.taken_back, one.sessions,
                None if one.minutes is None else f"{one.minutes:.1f}",
            )
            for one in work
        ),
    )  # fmt: skip


def _work_label(one: WorkFacts) -> str:
    minutes = "" if one.minutes is None else f", {one.minutes:.0f} min"
    return f"{one.decisions:,}{minutes}"


def sources_figure(story: ReportData, styles: Styles) -> Figure:
    """The sources beside each other: shares of labels, and whether scores fare well there."""
    title = "Sources compared"
    if not story.sources:
        return Figure(key="sources", title=title, caption="No source has been added yet.")
    drawn = [one for one in story.sources if _usable(one)][:MOST_SOURCES]
    caption = _sources_caption(story)

    def paint(axes: Axes) -> None:
        _paint_sources(axes, drawn)

    return Figure(
        key="sources",
        title=title,
        caption=caption,
        svg=draw(
            "sources", paint, styles, title=title, description=caption,
            height=_lying_height(len(drawn)),
        ) if drawn else "",
        legend=who_labelled(story),
        header=(
            "source", "files", "missing", f"{story.positive} by people",
            f"{story.positive} promoted", f"{story.negative} by people",
            f"{story.negative} promoted", "unsure or conflict", "unlabelled",
            "labels that judge", f"{story.positive} expected", f"{story.positive} found",
            "licence", "attribution",
        ),
        rows=tuple(
            told(
                one.name, one.files, one.missing, one.people[CurrentLabel.POSITIVE],
                one.promoted[CurrentLabel.POSITIVE], one.people[CurrentLabel.NEGATIVE],
                one.promoted[CurrentLabel.NEGATIVE], _undecided(one), one.unlabelled, one.judged,
                None if one.expected is None else f"{one.expected:.1f}", one.found,
                one.licence or None, one.attribution or None,
            )
            for one in story.sources
        ),
    )  # fmt: skip


def _sources_caption(story: ReportData) -> str:
    differing = [one.name for one in story.sources if one.differs]
    judged = [one for one in story.sources if one.judged]
    if differing:
        told_apart = f"Scores do not mean what they say in {', '.join(differing)}."
    elif len(story.sources) == 1:
        told_apart = "There is one source, so scores have nothing to differ in."
    elif judged:
        told_apart = (
            f"Scores mean what they say in each of the {len(judged):,} sources (of"
            f" {len(story.sources):,}) that have the labels to judge them."
        )
    else:
        told_apart = "No source has the 20 labels that are needed to judge its scores."
    more = len(story.sources) - MOST_SOURCES
    return f"{told_apart} {more:,} more are in the table." if more > 0 else told_apart


def _paint_sources(axes: Axes, drawn: list[SourceFacts]) -> None:
    places = np.arange(len(drawn))[::-1]
    totals = np.array([max(_usable(one), 1) for one in drawn])
    left = np.zeros(len(drawn))
    layers = (
        (POSITIVE, [one.people[CurrentLabel.POSITIVE] for one in drawn]),
        (POSITIVE_SOFT, [one.promoted[CurrentLabel.POSITIVE] for one in drawn]),
        (NOBODY, [_undecided(one) + one.unlabelled for one in drawn]),
        (NEGATIVE_SOFT, [one.promoted[CurrentLabel.NEGATIVE] for one in drawn]),
        (NEGATIVE, [one.people[CurrentLabel.NEGATIVE] for one in drawn]),
    )
    for colour, values in layers:
        shares = np.array(values) / totals
        axes.barh(places, shares, left=left, color=colour, height=0.6)
        left += shares
    axes.set_ylim(-0.7, len(drawn) - 0.3)
    names = [f"{shown(one.name, 18)}\nn = {_usable(one):,}" for one in drawn]
    axes.set_yticks(places, names)
    axes.grid(visible=False)
    axes.set_xlim(0.0, 1.0)
    percents(axes, of_x=True)
    axes.set_xlabel("share of usable images")


def _undecided(one: SourceFacts) -> int:
    return one.people[CurrentLabel.UNSURE] + one.people[CurrentLabel.CONFLICT]


def _usable(one: SourceFacts) -> int:
    return sum(one.people.values()) + sum(one.promoted.values()) + one.unlabelled


def quarantine_figure(story: ReportData, styles: Styles) -> Figure:
    """What could not be used, and why."""
    title = "Quarantine by reason"
    found: Mapping[str, int] = story.quarantine
    total = sum(found.values())
    if not total:
        return Figure(key="quarantine", title=title, caption="Every image can be used.")
    share = percent(total / max(story.images, total), 2)
    caption = f"{total:,} images or files cannot be used ({share} of {story.images:,} images)."
    reasons = sorted(found, key=lambda reason: (-found[reason], reason))

    def paint(axes: Axes) -> None:
        numbers = [found[reason] for reason in reasons]
        _lying(axes, reasons, numbers, [f"{number:,}" for number in numbers], WARNING)
        axes.set_xlabel("images or files")

    return Figure(
        key="quarantine",
        title=title,
        caption=caption,
        svg=draw(
            "quarantine", paint, styles, title=title, description=caption,
            height=_lying_height(len(reasons)),
        ),
        header=("reason", "number"),
        rows=tuple(told(reason, found[reason]) for reason in reasons),
    )  # fmt: skip


def _lying(axes: Axes, names: list[str], values: list[int], texts: list[str], colour: str) -> None:
    """Bars from the left, each with its number at its end."""
    places = np.arange(len(names))[::-1]
    axes.barh(places, values, color=colour, height=0.6)
    axes.set_ylim(-0.7, len(names) - 0.3)
    longest = max([*values, 1])
    for place, value, text in zip(places, values, texts, strict=True):
        axes.text(value + 0.02 * longest, place, text, va="center", ha="left", fontsize=10.5)
    axes.set_yticks(places, names)
    axes.grid(visible=False)
    axes.set_xlim(0.0, 1.45 * longest)
    axes.set_xticks([])


def _lying_height(bars: int) -> float:
    """Inches for so many bars and what stands below them."""
    return 0.65 + 0.42 * max(bars, 1)
